"""Whoever did not sign is found out, and no secret is shown on the way."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rarera_sim.core.errors import BadInput
from rarera_sim.core.event import Event
from rarera_sim.core.inbox import Inbox, Intact
from rarera_sim.core.signing import (
    Ed25519Signer,
    Ed25519Verifier,
    Genuine,
    HmacKey,
    Keyring,
    SignedFrame,
    WronglySigned,
    open_note,
    sign_note,
    unwrap,
    wrap,
)

pytest.importorskip("cryptography")

EWR = Ed25519Signer("EWR", bytes(range(32)))
EWR_PUBLIC = bytes.fromhex("03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8")
JFK = HmacKey("JFK", bytes(range(1, 33)))
KEYS = Keyring.of([EWR.verifier, JFK])


def an_event(source, sequence=1, **data):
    return Event(f"{source}/UA1", "departed", data, source=source, sequence=sequence, time=10**18)


# golang.org/x/mod/sumdb/note, which C2SP signed-note describes
NOTE = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
NOTE_SECRET = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
NOTE_PUBLIC = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
NOTE_SIGNATURE = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="


def test_the_published_note():
    signer = Ed25519Signer.parse(NOTE_SECRET)
    assert (signer.secret_text, signer.verifier.text) == (NOTE_SECRET, NOTE_PUBLIC)
    signed = sign_note(NOTE, signer)
    assert signed == f"{NOTE}\n\u2014 PeterNeumann {NOTE_SIGNATURE}\n"
    assert open_note(signed, [Ed25519Verifier.parse(NOTE_PUBLIC)]) == NOTE


def test_the_golden_signed_frames_never_change():
    frame = an_event("EWR").frame
    assert wrap(frame, EWR)[:13].hex() == "81591479af9f9d4cef57363ddf"
    frame = an_event("JFK").frame
    assert wrap(frame, JFK)[:37].hex() == "82430ba376ff3736b771053144412d5fa806505b7f1d245195d95331252c94b451a5a9ea2b"


@given(st.sampled_from(["EWR", "JFK"]), st.integers(1, 99), st.dictionaries(st.text("ab"), st.integers(0, 9)))
def test_what_a_source_signed_is_genuine_and_goes_into_the_inbox(source, sequence, data):
    event = Event(source, "t", data, source=source, sequence=sequence, time=sequence)
    genuine = unwrap(wrap(event.frame, EWR if source == "EWR" else JFK), KEYS)
    assert genuine == Genuine(event.frame, source)
    assert isinstance(Inbox().receive(genuine.frame), Intact)


@pytest.mark.parametrize(
    "signer", [EWR, JFK], ids=["Ed25519", "82430ba376ff3736b771053144412d5fa806505b7f1d245195d95331252c94b451a5a9ea2b"]
)
def test_every_flipped_bit_and_every_cut_is_wrongly_signed(signer):
    signed = wrap(an_event(signer.name).frame, signer)
    for position in range(len(signed)):
        for bit in (0, 7):
            flipped = bytearray(signed)
            flipped[position] ^= 1 << bit
            assert isinstance(unwrap(bytes(flipped), KEYS), WronglySigned)
    for length in range(len(signed)):
        assert isinstance(unwrap(signed[:length], KEYS), WronglySigned)


def test_another_source_cannot_sign_for_this_one():
    frame = an_event("EWR").frame
    assert unwrap(wrap(frame, JFK), KEYS).reason == f"key {JFK.key_id.hex()} is not one of source 'EWR'"
    impostor = Ed25519Signer("EWR", bytes(32))
    assert "is not one of source 'EWR'" in unwrap(wrap(frame, impostor), KEYS).reason
    posing = SignedFrame.parse(wrap(frame, impostor))._replace(key_id=EWR.key_id).pack()
    assert unwrap(posing, KEYS).reason == "signature is not one of source 'EWR' over this frame"


def test_a_signature_of_one_frame_does_not_fit_another_nor_a_text():
    first, second = an_event("EWR", 1), an_event("EWR", 2)
    swapped = SignedFrame.parse(wrap(first.frame, EWR))._replace(frame=second.frame).pack()
    assert "over this frame" in unwrap(swapped, KEYS).reason
    bare = SignedFrame(EWR.algorithm, EWR.key_id, EWR.sign(first.frame), first.frame).pack()
    assert "over this frame" in unwrap(bare, KEYS).reason


def test_a_public_key_is_not_taken_for_a_shared_secret():
    frame = an_event("EWR").frame
    assert Ed25519Verifier("EWR", EWR_PUBLIC).text == EWR.verifier.text
    forged = SignedFrame.parse(wrap(frame, HmacKey("EWR", EWR_PUBLIC)))._replace(key_id=EWR.key_id).pack()
    assert isinstance(unwrap(forged, KEYS), WronglySigned)


def test_a_frame_without_signature_and_a_source_without_key_are_refused():
    assert unwrap(an_event("EWR").frame, KEYS).reason == "frame is not signed"
    assert unwrap(b"", KEYS).reason == "frame is not signed"
    assert unwrap(wrap(an_event("LGA").frame, EWR), KEYS).reason == "source 'LGA' has no key"
    assert "nobody can say" in unwrap(wrap(b"no frame", EWR), KEYS).reason


def test_an_old_key_is_good_for_as_long_as_it_is_in_the_keyring():
    frame, newer = an_event("EWR").frame, Ed25519Signer("EWR", bytes(32))
    both = Keyring({"EWR": [EWR.verifier, newer.verifier]})
    assert isinstance(unwrap(wrap(frame, EWR), both), Genuine)
    assert isinstance(unwrap(wrap(frame, newer), both), Genuine)
    assert isinstance(unwrap(wrap(frame, EWR), Keyring({"EWR": [newer.verifier]})), WronglySigned)


@pytest.mark.parametrize(
    "signed",
    [
        "text\n",
        "text\n\n",
        "text\n\n\n",
        "text\n\nno dash abcd\n",
        "text\n\n\u2014 EWR ****\n",
        "text\n\n\u2014 EWR AAAA\n",
        sign_note("text\n", EWR)[:-1],
        sign_note("text\n", EWR).replace("\n\n", "\n"),
        sign_note("text\n", EWR) + "more\n",
        sign_note("text\n", EWR).replace("EWR", "JFK"),
        sign_note("more\ntext\n", EWR).replace("more\n", ""),
    ],
)
def test_a_text_that_is_not_signed_as_it_stands_is_refused(signed):
    with pytest.raises(BadInput):
        open_note(signed, [EWR.verifier])


def test_signatures_of_others_are_passed_over():
    other = Ed25519Signer("witness", bytes(32))
    signed = sign_note("text\n", EWR) + sign_note("text\n", other).partition("\n\n")[2]
    for known in (EWR, other):
        assert open_note(signed, [known.verifier]) == "text\n"
    with pytest.raises(BadInput, match="known are 'third'"):
        open_note(signed, [Ed25519Verifier("third", EWR_PUBLIC)])


@pytest.mark.parametrize("text", ["no end", "an\n\nempty line\n", ""])
def test_a_text_that_would_not_read_back_is_not_signed(text):
    with pytest.raises(BadInput, match="must end with a line break"):
        sign_note(text, EWR)


def test_a_shared_secret_signs_no_text():
    with pytest.raises(BadInput, match="Ed25519"):
        sign_note("text\n", JFK)


@pytest.mark.parametrize(
    "call",
    [
        lambda: Ed25519Signer.parse(NOTE_SECRET[:-4] + "AAAA"),
        lambda: Ed25519Signer.parse(NOTE_SECRET + "=="),
        lambda: Ed25519Signer.parse(NOTE_SECRET.removeprefix("PRIVATE+")),
        lambda: Ed25519Signer.parse(NOTE_SECRET.replace("+c74", "+d74")),
        lambda: Ed25519Verifier.parse(NOTE_SECRET),
        lambda: Ed25519Signer("EWR", b"YEKFALVFGyNhPJEMzD1Q"),
        lambda: HmacKey("EWR", "YEKFALVFGyNhPJEMzD1Q"),
    ],
)
def test_no_secret_is_in_an_error(call):
    with pytest.raises(BadInput) as caught:
        call()
    assert "YEKF" not in str(caught.value)


def test_no_secret_is_in_a_repr():
    for key, secret in ((EWR, bytes(range(32))), (JFK, bytes(range(1, 33)))):
        for text in (repr(key), str(key), f"{key}"):
            assert secret.hex() not in text
            assert repr(secret) not in text
            assert len(text) < 50


@pytest.mark.parametrize("name", ["", "two words", "a+b", "a\n"])
def test_a_name_that_would_break_the_text_form_is_refused(name):
    with pytest.raises(BadInput, match="name of a key"):
        Ed25519Signer(name, bytes(32))


def test_without_the_package_the_error_names_the_extra():
    program = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from rarera_sim.core.signing import Ed25519Signer, HmacKey\n"
        "HmacKey('EWR', bytes(32)).sign(b'')\n"
        "try: Ed25519Signer('EWR', bytes(32))\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "BadInput Ed25519 needs the package cryptography: install rarera-sim[crypto]\n"
