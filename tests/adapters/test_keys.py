"""One suite for every key store; then what a file adds: wrapping, processes, damage."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import orjson
import pytest

from rarera_sim.adapters.keys import (
    FileKeys,
    MemoryKeys,
    new_key,
    new_signer,
    read_key,
    read_keyring,
    read_signer,
    read_verifiers,
    write_key,
    write_signer,
)
from rarera_sim.core.errors import BadInput, StorageFailed, UnknownFormat, UnknownKey
from rarera_sim.core.event import Event
from rarera_sim.core.sealing import seal, unseal
from rarera_sim.core.signing import Genuine, unwrap, wrap

pytest.importorskip("cryptography")

KEK = bytes(range(32))


@pytest.fixture(params=["memory", "file"])
def keys(request, tmp_path):
    return MemoryKeys() if request.param == "memory" else FileKeys(tmp_path / "keys.json", KEK)


def test_a_subject_has_no_key_until_one_is_created_and_then_always_the_same(keys):
    assert keys.get("ada") is None
    assert keys.ids("ada") == []
    key = keys.create("ada")
    assert keys.create("ada").id == keys.get("ada").id == keys.find(key.id).id == key.id
    assert keys.ids("ada") == [key.id]
    assert keys.create("bob").secret != key.secret


def test_rotation_adds_a_key_and_keeps_the_old_one(keys):
    old = keys.create("ada")
    new = keys.rotate("ada")
    assert new.secret != old.secret
    assert keys.get("ada").id == new.id
    assert keys.ids("ada") == [old.id, new.id]
    assert keys.find(old.id).secret == old.secret


def test_what_is_erased_is_gone_and_remembered_as_erased(keys):
    old, new, bobs = keys.create("ada"), keys.rotate("ada"), keys.create("bob")
    assert keys.erase([old.id]) == 1
    assert (keys.find(old.id), keys.get("ada").id) == (None, new.id)
    assert keys.erase([old.id, new.id]) == 1
    assert (keys.find(new.id), keys.get("ada"), keys.ids("ada")) == (None, None, [])
    assert keys.get("bob").id == bobs.id
    assert keys.create("ada").id not in (old.id, new.id)


def test_a_key_that_was_never_there_is_unknown_until_it_is_erased(keys):
    with pytest.raises(UnknownKey, match="never in this key store"):
        keys.find("00" * 16)
    assert keys.erase(["00" * 16]) == 0
    assert keys.find("00" * 16) is None


@pytest.mark.parametrize("subject", ["", 7, None, "\ud800"])
def test_a_subject_that_cannot_be_written_down_is_refused(keys, subject):
    with pytest.raises(BadInput):
        keys.create(subject)
    assert keys.get("ada") is None
    assert keys.create("ada")


def test_keys_that_are_drawn_twice_are_refused():
    keys = MemoryKeys(draw=bytes)
    key = keys.create("ada")
    with pytest.raises(BadInput, match="same key twice"):
        keys.create("bob")
    keys.erase([key.id])
    with pytest.raises(BadInput, match="same key twice"):
        keys.create("bob")


# The file


def test_keys_outlive_the_process(tmp_path):
    path = tmp_path / "keys.json"
    first = FileKeys(path, KEK)
    old, new, gone = first.create("Ada é"), first.rotate("Ada é"), first.create("bob")
    first.erase([gone.id])
    again = FileKeys(path, KEK)
    assert [again.find(each.id).secret for each in (old, new)] == [old.secret, new.secret]
    assert again.ids("Ada é") == [old.id, new.id]
    assert again.find(gone.id) is None


def test_one_object_sees_at_once_what_another_changed(tmp_path):
    path = tmp_path / "keys.json"
    one, other = FileKeys(path, KEK), FileKeys(path, KEK)
    key = one.create("ada")
    assert other.get("ada").id == key.id
    other.erase([key.id])
    assert one.find(key.id) is None
    assert one.get("ada") is None


CREATE_MANY = """
import sys
from rarera_sim.adapters.keys import FileKeys

keys = FileKeys(sys.argv[1], bytes(range(32)))
for number in range(15):
    keys.create(f"{sys.argv[2]}{number}")
    keys.create(f"shared{number}")
"""


def test_processes_that_create_at_once_lose_no_key(tmp_path):
    path = tmp_path / "keys.json"
    workers = [subprocess.Popen([sys.executable, "-c", CREATE_MANY, path, name]) for name in "abc"]
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    keys = FileKeys(path, KEK)
    for number in range(15):
        assert [len(keys.ids(f"{name}{number}")) for name in ("a", "b", "c", "shared")] == [1, 1, 1, 1]


def test_no_key_and_no_other_reader_in_the_file(tmp_path):
    path = tmp_path / "keys.json"
    keys = FileKeys(path, KEK)
    key = keys.create("ada")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    for file in tmp_path.iterdir():
        content = file.read_bytes()
        for secret in (key.secret, KEK):
            assert secret not in content
            assert secret.hex().encode() not in content
    assert repr(keys) == f"FileKeys({str(path)!r})"


def test_rewrapping_changes_the_key_encryption_key_and_nothing_else(tmp_path):
    path, new_kek = tmp_path / "keys.json", bytes(32)
    keys = FileKeys(path, KEK)
    key = keys.create("ada")
    keys.erase([keys.create("bob").id])
    event = Event("EWR/UA1", "boarded", {"seat": "12A"}, source="EWR", sequence=1, time=0)
    sealed = seal(event, keys, "ada")
    before = orjson.loads(path.read_bytes())
    keys.rewrap(new_kek)
    after = orjson.loads(path.read_bytes())
    assert before["subjects"]["ada"][0][1] != after["subjects"]["ada"][0][1]
    assert before["erased"] == after["erased"]
    for store in (keys, FileKeys(path, new_kek)):
        assert store.get("ada").secret == key.secret
        assert unseal(sealed, store) == event
    with pytest.raises(BadInput, match="another key-encryption key"):
        FileKeys(path, KEK)
    keys.rotate("ada")
    assert len(FileKeys(path, new_kek).ids("ada")) == 2


def test_a_process_with_the_old_key_encryption_key_says_so(tmp_path):
    path = tmp_path / "keys.json"
    one, other = FileKeys(path, KEK), FileKeys(path, KEK)
    one.create("ada")
    one.rewrap(bytes(32))
    with pytest.raises(BadInput, match="another key-encryption key"):
        other.create("bob")
    assert one.get("bob") is None


def test_a_change_that_cannot_be_written_has_not_happened(tmp_path):
    path = tmp_path / "keys.json"
    keys = FileKeys(path, KEK)
    key = keys.create("ada")
    blocked = tmp_path / ".keys.json.new"
    blocked.mkdir()
    for change in (lambda: keys.create("bob"), lambda: keys.erase([key.id]), lambda: keys.rewrap(bytes(32))):
        with pytest.raises(StorageFailed, match="cannot be written"):
            change()
        assert keys.get("bob") is None
        assert keys.find(key.id).secret == key.secret
    blocked.rmdir()
    assert FileKeys(path, KEK).ids("ada") == [key.id]
    assert keys.erase([key.id]) == 1


def test_a_key_store_that_is_gone_is_missed(tmp_path):
    # A new and empty one in its place would make every event unreadable, and look well.
    path = tmp_path / "keys.json"
    keys = FileKeys(path, KEK)
    keys.create("ada")
    path.unlink()
    with pytest.raises(StorageFailed, match="is gone"):
        keys.create("bob")


def swap_subjects(stored):
    stored["subjects"]["ada"], stored["subjects"]["bob"] = stored["subjects"]["bob"], stored["subjects"]["ada"]


def rename(stored):
    stored["subjects"]["ada"][0][0] = "00" * 16


@pytest.mark.parametrize(
    "edit",
    [
        swap_subjects,
        rename,
        lambda stored: stored.pop("subjects"),
        lambda stored: stored.pop("erased"),
        lambda stored: stored.update(subjects=[]),
        lambda stored: stored["subjects"].update(ada=[["id"]]),
        lambda stored: stored["subjects"].update(ada=[["id", "****"]]),
        lambda stored: stored["subjects"].update(ada=[["id", "AAAA"]]),
        lambda stored: stored["subjects"].update(ada=7),
        lambda stored: stored.update(erased=7),
        lambda stored: stored.update(format="rarera.keys/2"),
    ],
)
def test_a_file_that_was_edited_is_refused(tmp_path, edit):
    path = tmp_path / "keys.json"
    keys = FileKeys(path, KEK)
    keys.create("ada")
    keys.create("bob")
    stored = orjson.loads(path.read_bytes())
    edit(stored)
    path.write_bytes(orjson.dumps(stored))
    with pytest.raises(UnknownFormat):
        FileKeys(path, KEK)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b'{"format": 1, "format": 2}'])
def test_a_file_that_is_no_key_store_is_refused(tmp_path, content):
    path = tmp_path / "keys.json"
    path.write_bytes(content)
    with pytest.raises(UnknownFormat, match="not a key store"):
        FileKeys(path, KEK)


def test_a_place_where_no_key_store_can_be_is_refused(tmp_path):
    with pytest.raises(BadInput, match="no folder"):
        FileKeys(tmp_path / "nowhere" / "keys.json", KEK)
    with pytest.raises(BadInput, match="cannot be read"):
        FileKeys(tmp_path, KEK)
    with pytest.raises(BadInput, match="32 bytes, got 31 bytes"):
        FileKeys(tmp_path / "keys.json", KEK[1:])


# Keys that sign


def test_a_private_key_is_kept_for_its_owner_and_never_written_over(tmp_path):
    signer, path = new_signer("EWR"), tmp_path / "ewr.key"
    write_signer(path, signer)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert read_signer(path).sign(b"text") == signer.sign(b"text")
    with pytest.raises(BadInput, match="never written over"):
        write_signer(path, new_signer("EWR"))
    assert read_signer(path).key_id == signer.key_id
    assert new_signer("EWR").key_id != signer.key_id


def test_a_keyring_is_read_from_a_file_of_public_keys(tmp_path):
    ewr, jfk, path = new_signer("EWR"), new_signer("JFK"), tmp_path / "keys.txt"
    path.write_text(f"# sources\n\n{ewr.verifier.text}\n  {jfk.verifier.text}\n")
    keyring = read_keyring(path)
    event = Event("EWR/UA1", "departed", {}, source="EWR", sequence=1, time=0)
    assert unwrap(wrap(event.frame, ewr), keyring) == Genuine(event.frame, "EWR")
    assert "not one of source" in unwrap(wrap(event.frame, jfk), keyring).reason


def test_a_file_that_holds_no_key_is_refused_without_showing_what_it_holds(tmp_path):
    path = tmp_path / "secret"
    for content in (b"", b"hunter2", b"\xff\xfe", new_key()[:5].hex().encode()):
        path.write_bytes(content)
        for read in (read_key, read_signer):
            with pytest.raises(BadInput) as caught:
                read(path)
            assert "hunter2" not in str(caught.value)
    path.write_text("EWR+00000000+AAAA\n")
    with pytest.raises(BadInput, match="line 1 of"):
        read_verifiers(path)
    with pytest.raises(BadInput, match="cannot be read"):
        read_key(tmp_path / "nowhere")
    write_key(tmp_path / "kek", KEK)
    assert read_key(tmp_path / "kek") == KEK
