"""Signatures: who says so? On frames at the border, and on texts (checkpoints) that are kept elsewhere.

A UID shows that an event is what its maker made; it does not show who that was, as anybody can compute one. A source
that signs its frames cannot be impersonated by whoever can write to the channel::

    signed frame = algorithm (1 byte) + key id (4) + signature (64 or 32) + frame

A frame begins with a time below 2^63, a signed one with a byte from 81 (hex): the two cannot be taken for each other.
The signature is checked at the border and not stored; inside, the log's own chain and checkpoints take over.

| algorithm | byte | sign | verify | whoever can verify |
| --- | --- | --- | --- | --- |
| Ed25519 | 81 | 37 us | 129 us | cannot sign |
| HMAC-SHA-256 | 82 | 3 us | 8 us | can sign as well: for sources and a gateway that trust each other |

CPU per frame of 187 bytes, on a machine where encoding that event takes 3.2 us; of a verification 5 us go into finding
out whose frame it says it is. Ed25519 needs `rarera-sim[crypto]`. Keys and signed texts have the form of C2SP
signed-note, so that other tools read them. Nothing here draws: keys are made in :mod:`rarera_sim.adapters.keys`.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple, Protocol

from rarera_sim.core.errors import BadInput, InvalidEvent
from rarera_sim.core.event import EventId, Frame, decode

KEY_BYTES = 32
KEY_ID_BYTES = 4

ED25519 = 0x81
HMAC_SHA256 = 0x82

_SIGNATURE_BYTES = {ED25519: 64, HMAC_SHA256: 32}
_FRAME_DOMAIN = b"rarera.signed/1\0"
_ID_DOMAIN = b"rarera.signed-id/1\0"
_NOTE_ED25519 = b"\x01"  # how C2SP signed-note numbers it
_DASH = "\u2014 "
_SECRET_PREFIX = "PRIVATE+KEY+"


class Signer(Protocol):
    """Makes signatures; `name` is whom they speak for."""

    name: str
    algorithm: int
    key_id: bytes

    def sign(self, message: bytes) -> bytes: ...


class Verifier(Protocol):
    """Checks signatures of one key."""

    name: str
    algorithm: int
    key_id: bytes

    def verify(self, message: bytes, signature: bytes) -> bool: ...


class SourceKeys(Protocol):
    """Which keys a source may sign with; several while one replaces another. Empty for a source that nobody knows."""

    def verifiers(self, source: str) -> Sequence[Verifier]: ...


class HmacKey:
    """A secret that two share: signs and verifies.

    >>> key = HmacKey("EWR", bytes(32))
    >>> key.verify(b"text", key.sign(b"text")), key.verify(b"test", key.sign(b"text")), key
    (True, False, HmacKey('EWR', id 1fc7e09a))
    """

    __slots__ = ("_secret", "algorithm", "key_id", "name")

    def __init__(self, name: str, secret: bytes) -> None:
        _check_key(secret)
        self.name = name
        self.algorithm = HMAC_SHA256
        self._secret = secret
        self.key_id = hmac.digest(secret, b"rarera.hmac.id/1\0" + name.encode(), "sha256")[:KEY_ID_BYTES]

    def __repr__(self) -> str:
        return f"HmacKey({self.name!r}, id {self.key_id.hex()})"

    def sign(self, message: bytes) -> bytes:
        return hmac.digest(self._secret, message, "sha256")

    def verify(self, message: bytes, signature: bytes) -> bool:
        return hmac.compare_digest(self.sign(message), signature)


class Ed25519Signer:
    """A private key; `secret_text` is what a file keeps of it, `verifier` what may be given to anybody.

    >>> signer = Ed25519Signer("EWR", bytes(32))
    >>> signer, signer.verifier.text
    (Ed25519Signer('EWR', id d33a9a33), 'EWR+d33a9a33+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop')
    """

    __slots__ = ("_private", "_seed", "algorithm", "key_id", "name", "verifier")

    def __init__(self, name: str, seed: bytes) -> None:
        _check_name(name)
        _check_key(seed)
        self.name = name
        self.algorithm = ED25519
        self._seed = seed
        self._private = _ed25519().Ed25519PrivateKey.from_private_bytes(seed)
        self.verifier = Ed25519Verifier(name, self._private.public_key().public_bytes_raw())
        self.key_id = self.verifier.key_id

    def __repr__(self) -> str:
        return f"Ed25519Signer({self.name!r}, id {self.key_id.hex()})"

    @property
    def secret_text(self) -> str:
        """The private key as C2SP writes it. A secret."""
        key = b64encode(_NOTE_ED25519 + self._seed).decode()
        return f"{_SECRET_PREFIX}{self.name}+{self.key_id.hex()}+{key}"

    @classmethod
    def parse(cls, text: str) -> Ed25519Signer:
        if not text.startswith(_SECRET_PREFIX):
            raise BadInput(f"a private key begins with {_SECRET_PREFIX!r}; this text does not")
        name, key_id, seed = _parse_key(text.removeprefix(_SECRET_PREFIX), "private key")
        signer = cls(name, seed)
        if signer.key_id != key_id:
            raise BadInput(f"the private key of {name!r} does not match its id: it is damaged")
        return signer

    def sign(self, message: bytes) -> bytes:
        signature: bytes = self._private.sign(message)
        return signature


class Ed25519Verifier:
    """A public key; `text` is its form for files and people: name, id and key, as C2SP writes it."""

    __slots__ = ("_key", "_public", "algorithm", "key_id", "name")

    def __init__(self, name: str, key: bytes) -> None:
        _check_name(name)
        _check_key(key)
        self.name = name
        self.algorithm = ED25519
        self._key = key
        self._public = _ed25519().Ed25519PublicKey.from_public_bytes(key)
        self.key_id = sha256(name.encode() + b"\n" + _NOTE_ED25519 + key).digest()[:KEY_ID_BYTES]

    def __repr__(self) -> str:
        return f"Ed25519Verifier({self.text!r})"

    @property
    def text(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{b64encode(_NOTE_ED25519 + self._key).decode()}"

    @classmethod
    def parse(cls, text: str) -> Ed25519Verifier:
        if text.startswith(_SECRET_PREFIX):
            raise BadInput("this is a private key, where a public one is wanted")
        name, key_id, key = _parse_key(text, "public key")
        verifier = cls(name, key)
        if verifier.key_id != key_id:
            raise BadInput(f"the public key of {name!r} does not match its id: it is damaged")
        return verifier

    def verify(self, message: bytes, signature: bytes) -> bool:
        from cryptography.exceptions import InvalidSignature

        try:
            self._public.verify(signature, message)
        except InvalidSignature:
            return False
        return True


# Frames


class Genuine(NamedTuple):
    """A frame that its source signed."""

    frame: Frame
    source: str


class WronglySigned(NamedTuple):
    """Bytes that no source that we know has signed as they are."""

    frame: bytes
    reason: str


class SignedFrame(NamedTuple):
    """A signed frame taken apart, not yet believed."""

    algorithm: int
    key_id: bytes
    signature: bytes
    frame: Frame

    @classmethod
    def parse(cls, data: bytes) -> SignedFrame | WronglySigned:
        length = _SIGNATURE_BYTES.get(data[0]) if data else None
        if length is None:
            return WronglySigned(data, "frame is not signed")
        start = 1 + KEY_ID_BYTES
        if len(data) <= start + length:
            return WronglySigned(data, f"signed frame of {len(data)} bytes is cut short")
        return cls(data[0], data[1:start], data[start : start + length], data[start + length :])

    def pack(self) -> bytes:
        return bytes([self.algorithm]) + self.key_id + self.signature + self.frame


class Keyring:
    """The keys of each source, in memory.

    >>> from rarera_sim.core.event import Event
    >>> key = HmacKey("EWR", bytes(32))
    >>> keys = Keyring({"EWR": [key]})
    >>> event = Event("EWR/UA1", "departed", {}, source="EWR", sequence=1, time=0)
    >>> unwrap(wrap(event.frame, key), keys) == Genuine(event.frame, "EWR")
    True
    >>> unwrap(event.frame, keys).reason
    'frame is not signed'
    """

    def __init__(self, keys: Mapping[str, Sequence[Verifier]] | None = None) -> None:
        self._keys = {source: tuple(verifiers) for source, verifiers in (keys or {}).items()}

    @classmethod
    def of(cls, verifiers: Iterable[Verifier]) -> Keyring:
        """Each key for the source that bears its name."""
        keys: dict[str, list[Verifier]] = {}
        for verifier in verifiers:
            keys.setdefault(verifier.name, []).append(verifier)
        return cls(keys)

    def verifiers(self, source: str) -> Sequence[Verifier]:
        return self._keys.get(source, ())


def wrap(frame: Frame, signer: Signer) -> bytes:
    """A frame with a signature in front."""
    signature = signer.sign(_FRAME_DOMAIN + frame)
    return SignedFrame(signer.algorithm, signer.key_id, signature, frame).pack()


def unwrap(data: bytes, keys: SourceKeys) -> Genuine | WronglySigned:
    """The frame inside, if the source that it names has signed it; whether it is intact is the inbox's business.

    A frame without a signature is refused too: otherwise an attacker would simply leave it out.
    """
    signed = SignedFrame.parse(data)
    if isinstance(signed, WronglySigned):
        return signed
    try:
        source = decode(signed.frame, verify=False).source
    except InvalidEvent as error:
        return WronglySigned(data, f"nobody can say who should have signed it: {error}")
    verifiers = keys.verifiers(source)
    if not verifiers:
        return WronglySigned(data, f"source {source!r} has no key")
    # An id of four bytes may be that of two keys. What a key can verify is its own business, not the frame's: an
    # algorithm chosen by the sender is how public keys came to be used as shared secrets elsewhere.
    matching = [key for key in verifiers if key.key_id == signed.key_id]
    if not matching:
        return WronglySigned(data, f"key {signed.key_id.hex()} is not one of source {source!r}")
    if not any(key.verify(_FRAME_DOMAIN + signed.frame, signed.signature) for key in matching):
        return WronglySigned(data, f"signature is not one of source {source!r} over this frame")
    return Genuine(signed.frame, source)


# Ids: for a channel that carries frames as they are, and signatures beside them


def sign_id(event_id: EventId, signer: Signer) -> bytes:
    """A signature of an event by its id, which covers every byte of it; what `id_check` checks."""
    return bytes([signer.algorithm]) + signer.key_id + signer.sign(_ID_DOMAIN + event_id)


def id_check(keys: SourceKeys) -> Callable[[str, EventId, bytes], bool]:
    """What a `Receiver` takes as `verify`: has this source signed this id?

    >>> key = HmacKey("EWR", bytes(32))
    >>> check = id_check(Keyring({"EWR": [key], "JFK": [HmacKey("JFK", b"x" * 32)]}))
    >>> signature = sign_id(bytes(32), key)
    >>> check("EWR", bytes(32), signature), check("JFK", bytes(32), signature), check("EWR", b"x" * 32, signature)
    (True, False, False)
    """

    def check(source: str, event_id: EventId, signature: bytes) -> bool:
        key_id, value = signature[1 : 1 + KEY_ID_BYTES], signature[1 + KEY_ID_BYTES :]
        # As in `unwrap`, the algorithm is the key's to say; in the signature it only tells them apart.
        return any(
            key.verify(_ID_DOMAIN + event_id, value)
            for key in keys.verifiers(source)
            if key.key_id == key_id and signature[:1] == bytes([key.algorithm])
        )

    return check


# Texts


def sign_note(text: str, signer: Signer) -> str:
    r"""A text with a signature below, in the form of C2SP signed-note.

    >>> print(sign_note("a text\n", Ed25519Signer("EWR", bytes(32))), end="")
    a text
    <BLANKLINE>
    — EWR 0zqaM7eaNRZwOJW3VDlfJuM2/xy/ttfJG73/NhHNei+6aYwfJdGH7HsxsrhR4HNhO6gOq8AFQRZK0DdmDSPgSRZTEwA=
    """
    if signer.algorithm != ED25519:
        raise BadInput("a text that others shall verify needs an Ed25519 key, not a shared secret")
    if not text.endswith("\n") or "\n\n" in text:
        # An empty line ends the text; in the middle of it, part of the text would read as signatures.
        raise BadInput("a text to sign must end with a line break and have no empty line")
    return f"{text}\n{_DASH}{signer.name} {b64encode(signer.key_id + signer.sign(text.encode())).decode()}\n"


def open_note(signed: str, verifiers: Iterable[Verifier]) -> str:
    r"""The text, if one of these keys signed it; signatures by other keys are passed over.

    >>> signer = Ed25519Signer("EWR", bytes(32))
    >>> open_note(sign_note("a text\n", signer), [signer.verifier])
    'a text\n'
    >>> open_note(sign_note("a text\n", signer).replace("text", "test"), [signer.verifier])
    Traceback (most recent call last):
    rarera_sim.core.errors.BadInput: the signature of 'EWR' is not one over this text: it was changed
    """
    text, separator, signatures = signed.partition("\n\n")
    text += "\n"
    if not separator or not signatures.endswith("\n"):
        raise BadInput("a signed text is the text, an empty line and a line per signature; this one is not")
    known = tuple(verifiers)
    valid = False
    for line in signatures[:-1].split("\n"):
        name, _, encoded = line.removeprefix(_DASH).partition(" ")
        try:
            value = _from_base64(encoded)
        except ValueError:
            value = b""
        if not line.startswith(_DASH) or len(value) <= KEY_ID_BYTES:
            raise BadInput(f"a signature is {_DASH!r}, a name and base64, got {line!r}")
        for key in known:
            if key.algorithm == ED25519 and (key.name, key.key_id) == (name, value[:KEY_ID_BYTES]):
                if not key.verify(text.encode(), value[KEY_ID_BYTES:]):
                    raise BadInput(f"the signature of {name!r} is not one over this text: it was changed")
                valid = True
    if not valid:
        names = ", ".join(f"{key.name!r} ({key.key_id.hex()})" for key in known) or "none"
        raise BadInput(f"the text is not signed by a known key; known are {names}")
    return text


def _parse_key(text: str, what: str) -> tuple[str, bytes, bytes]:
    # The text itself is in no message: it may be a private key that was mistyped.
    try:
        name, key_id_hex, encoded = text.strip().split("+", 2)
        key_id, key = bytes.fromhex(key_id_hex), _from_base64(encoded)
    except ValueError:
        raise BadInput(f"a {what} is a name, an id in hex and the key in base64, joined by '+'") from None
    if key[:1] != _NOTE_ED25519 or len(key) != 1 + KEY_BYTES:
        raise BadInput(f"the {what} of {name!r} is not an Ed25519 key")
    return name, key_id, key[1:]


def _from_base64(text: str) -> bytes:
    value = b64decode(text, validate=True)
    if b64encode(value).decode() != text:  # Python takes padding too much, and bits beyond the last byte
        raise ValueError("not canonical base64")
    return value


def _check_name(name: str) -> None:
    if not name or any(c.isspace() or c == "+" or not c.isprintable() for c in name):
        raise BadInput(f"the name of a key must have no spaces and no '+', got {name!r}")


def _check_key(key: bytes) -> None:
    if type(key) is not bytes or len(key) != KEY_BYTES:
        # Its length and no more: it may be a secret.
        what = f"{len(key)} bytes" if isinstance(key, bytes) else type(key).__name__
        raise BadInput(f"a key must be {KEY_BYTES} bytes, got {what}")


def _ed25519() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise BadInput("Ed25519 needs the package cryptography: install rarera-sim[crypto]") from None
    return ed25519
