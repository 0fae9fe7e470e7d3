"""Per-subject encryption: to forget somebody in a log that forgets nothing, throw away the key.

Sealed data is one text, and the event around it is like any other::

    data  = {"sealed": "1.<key id>.<base64 of nonce (12) + ciphertext + tag (16)>"}      AES-256-GCM
    bound = canonical JSON of ["rarera.sealed/1", key id, time, stream, type, source, sequence, schema,
                               causation, correlation]                                   associated data
    nonce = HMAC-SHA-256(nonce key, length of bound (8 bytes) + bound + plaintext)[:12]

UID, chain and Merkle tree are over the ciphertext, so a log whose keys are gone still verifies. Everything of the
event but its data is bound to the ciphertext: one that is moved to another event, source or time does not open.

The nonce is computed and not drawn, because the same event sealed twice must be the same bytes: only then is a repeat
a repeat. It depends on all of the plaintext, so that two contents under one source and sequence (a `Conflict`, but
somebody may have seen both) have two nonces, where a nonce made of the sequence alone would give the plaintext away.

What is *not* sealed: stream, type, source, times, links, and how long the data is. A subject's name belongs in none of
them; the key id names the subject to nobody once the key store has forgotten it.
"""

from __future__ import annotations

import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import msgspec
import orjson

from rarera_sim.core.errors import BadInput, InvalidEvent, UnknownKey
from rarera_sim.core.event import TIME_BYTES, Event, Recorded, canonical_json
from rarera_sim.core.log import EventLog, Query
from rarera_sim.core.projection import Projection
from rarera_sim.core.time import Timestamp

S = TypeVar("S")

KEY_BYTES = 32
NONCE_BYTES = 12
KEY_ID_BYTES = 16

ERASURE_STREAM = "erasure"
ERASURE_TYPE = "subject-erased"

# What `erase_subject` cannot reach; docs/integrity.md says what to do about each.
BEYOND_REACH = (
    "states and caches in the memory of running processes: rebuild or restart them",
    "exports, archives and caches made of unsealed events: delete them or make them again",
    "backups of the key store: delete them, or call replay_erasures after restoring one",
    "stores of snapshots and materialised states that were not handed in: clear them",
)

_FORM = re.compile(r"1\.([0-9a-f]{32})\.([A-Za-z0-9+/]+={0,2})")
_DOMAIN = "rarera.sealed/1"


class DataKey:
    """A key for the data of one subject; shows its id, never itself.

    The id is computed from the key, so it says nothing about whose key it is, and the store that gives the wrong key
    for an id is found out.

    >>> DataKey(bytes(32))
    DataKey('8bad00880b670053199f4b86290d320d')
    """

    __slots__ = ("_cipher", "_nonce_key", "id", "secret")

    def __init__(self, secret: bytes) -> None:
        if type(secret) is not bytes or len(secret) != KEY_BYTES:
            # Its length and no more: it is a secret.
            what = f"{len(secret)} bytes" if isinstance(secret, bytes) else type(secret).__name__
            raise BadInput(f"a data key must be {KEY_BYTES} bytes, got {what}")
        self.secret = secret
        # One key, one use: what is used for the id or the nonce never encrypts.
        self.id = hmac.digest(secret, b"rarera.sealed.id/1\0", "sha256")[:KEY_ID_BYTES].hex()
        self._nonce_key = hmac.digest(secret, b"rarera.sealed.nonce/1\0", "sha256")
        self._cipher = _aes_gcm(hmac.digest(secret, b"rarera.sealed.cipher/1\0", "sha256"))

    def __repr__(self) -> str:
        return f"DataKey({self.id!r})"

    def encrypt(self, plaintext: bytes, bound: bytes) -> bytes:
        message = len(bound).to_bytes(8, "big") + bound + plaintext
        nonce = hmac.digest(self._nonce_key, message, "sha256")[:NONCE_BYTES]
        ciphertext: bytes = self._cipher.encrypt(nonce, plaintext, bound)
        return nonce + ciphertext

    def decrypt(self, sealed: bytes, bound: bytes) -> bytes | None:
        """The plaintext; None where it was not encrypted by this key with this `bound`."""
        from cryptography.exceptions import InvalidTag

        try:
            plaintext: bytes = self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound)
        except (InvalidTag, ValueError):  # ValueError for what is shorter than a nonce
            return None
        return plaintext


class SubjectKeys(Protocol):
    """Keeps the keys of subjects: a person, a vehicle, whoever may have to be forgotten.

    Adapters are in :mod:`rarera_sim.adapters.keys`. What is erased can never be had again from this store, but its id
    is remembered: "erased" and "never heard of" are two answers.
    """

    def get(self, subject: str) -> DataKey | None:
        """The key that seals now; None for a subject without one, be it new or erased."""
        ...

    def create(self, subject: str) -> DataKey:
        """The key that seals now, made if there is none."""
        ...

    def rotate(self, subject: str) -> DataKey:
        """A new key for what comes; the earlier ones still open what they sealed."""
        ...

    def find(self, key_id: str) -> DataKey | None:
        """The key with this id; None if it was erased. Raises `UnknownKey` if it was never here."""
        ...

    def ids(self, subject: str) -> list[str]:
        """Ids of all keys that a subject has, the oldest first."""
        ...

    def erase(self, key_ids: Iterable[str]) -> int:
        """Destroy keys for good, and say how many there still were; repeating it changes nothing."""
        ...


class Clearable(Protocol):
    """Whatever keeps something that can be made again: snapshots, caches."""

    def clear(self) -> None:
        """Forget everything, leaving no byte of it."""
        ...


@dataclass(frozen=True)
class Erased:
    """What `unseal` finds where a key was erased: the event as it stands in the log, and which key is gone."""

    event: Event
    key_id: str


def seal(event: Event, keys: SubjectKeys, subject: str) -> Event:
    """The event with its data encrypted for a subject: this is the one to append.

    The subject must have a key: `create` it when you learn of the subject. That `seal` does not do so is on purpose,
    as a late event of somebody just erased would otherwise quietly come back under a new key.

    Examples
    --------
    >>> from rarera_sim.adapters.keys import MemoryKeys
    >>> keys = MemoryKeys()
    >>> _ = keys.create("passenger 7")
    >>> event = Event("EWR/UA1", "boarded", {"seat": "12A"}, source="EWR", sequence=1, time=0)
    >>> sealed = seal(event, keys, "passenger 7")
    >>> list(sealed.data), unseal(sealed, keys).data
    (['sealed'], {'seat': '12A'})
    >>> seal(event, keys, "passenger 7").id == sealed.id
    True
    >>> _ = keys.erase(keys.ids("passenger 7"))
    >>> isinstance(unseal(sealed, keys), Erased)
    True
    """
    key = keys.get(subject)
    if key is None:
        raise BadInput(f"subject {subject!r} has no key: create one, or it was erased")
    _ = event.frame  # an event without canonical form is refused before it is hidden
    ciphertext = key.encrypt(canonical_json(event.data), _bound(event, key.id))
    return msgspec.structs.replace(event, data={"sealed": f"1.{key.id}.{b64encode(ciphertext).decode()}"})


def unseal(event: Event, keys: SubjectKeys) -> Event | Erased:
    """A view of the event with its data in the clear (see `view`), or `Erased`; an event not sealed as it is.

    Raises
    ------
    InvalidEvent
        The ciphertext was changed, or belongs to another event.
    UnknownKey
        The key store never had the key.
    """
    form = _sealed_form(event)
    if form is None:
        return event
    key_id, encoded = form.groups()
    key = keys.find(key_id)
    if key is None:
        return Erased(event, key_id)
    try:
        plaintext = key.decrypt(b64decode(encoded, validate=True), _bound(event, key_id))
    except ValueError:
        plaintext = None
    if plaintext is None or key.id != key_id:
        raise InvalidEvent(
            f"sealed data of {event.source}#{event.sequence} does not open with key {key_id}: "
            "it was changed, or sealed for another event"
        )
    return view(event, orjson.loads(plaintext), event.schema)


def is_sealed(event: Event) -> bool:
    return _sealed_form(event) is not None


def view(event: Event, data: dict[str, Any], schema: int) -> Event:
    """A stored event with other data: as unsealed, or in the shape of a later schema.

    Its `id`, `frame` and `body` are those of what is stored, for they say which event this is, and links point to
    them. So a view that is appended somewhere is appended as it was stored: neither plaintext nor a later shape slips
    into a log that way. To make a *new* event of a view's data, build one.
    """
    seen = msgspec.structs.replace(event, data=data, schema=schema)
    seen.__dict__["frame"] = event.frame
    return seen


class Unsealed(Generic[S]):
    """A projection over a sealed log: folds what it can read, and passes over what was erased.

    Examples
    --------
    >>> from rarera_sim.adapters.keys import MemoryKeys
    >>> from rarera_sim.adapters.memory import MemoryLog
    >>> from rarera_sim.core.projection import Tally, rebuild
    >>> log, keys = MemoryLog(), MemoryKeys()
    >>> for sequence, subject in enumerate(("a", "b"), start=1):
    ...     _ = keys.create(subject)
    ...     event = Event("EWR/UA1", "arrived", {"speed": 400.0}, source="EWR", sequence=sequence, time=0)
    ...     _ = log.append([seal(event, keys, subject)])
    >>> rebuild(Unsealed(Tally(), keys), log)
    {'EWR': {'arrived': [2, 2, 800000000]}}
    >>> _ = erase_subject(log, keys, "a", time=1)
    >>> rebuild(Unsealed(Tally(), keys), log)["EWR"]
    {'arrived': [1, 1, 400000000]}
    """

    def __init__(self, projection: Projection[S], keys: SubjectKeys) -> None:
        self.projection = projection
        self.keys = keys
        # Not the bare name: the same projection over the bare log has another state.
        self.name = f"unsealed:{projection.name}"
        self.version = projection.version

    def initial(self) -> S:
        return self.projection.initial()

    def apply(self, state: S, event: Event) -> S:
        opened = unseal(event, self.keys)
        return state if isinstance(opened, Erased) else self.projection.apply(state, opened)


@dataclass(frozen=True)
class Erasure:
    """What was done to forget a subject, and what its owner still has to do."""

    recorded: Recorded
    key_ids: tuple[str, ...]
    beyond_reach: tuple[str, ...] = BEYOND_REACH


def erase_subject(
    log: EventLog,
    keys: SubjectKeys,
    subject: str,
    *,
    time: Timestamp,
    source: str = "erasure",
    snapshots: Iterable[Clearable] = (),
) -> Erasure:
    """Forget a subject: record that it is forgotten, destroy its keys, drop what was derived from its plaintext.

    The event comes first and names key ids only, never the subject. Whatever breaks off after it is finished by
    calling this again, or by `replay_erasures` at the next start: no erasure is half done and unnoticed.

    Parameters
    ----------
    time
        Of the erasure event, GST in ns.
    source
        Whose event it is; use it for nothing else, as its events are counted here.
    snapshots
        Every store that holds states in plaintext: snapshot stores of the log, caches.
    """
    key_ids = tuple(keys.ids(subject))
    if not key_ids:
        # Silence here would let a misspelt name pass for an erasure.
        raise BadInput(f"subject {subject!r} has no key: nothing to erase")
    snapshots = tuple(snapshots)
    newest = next(log.read(Query(sources=(source,)), limit=1, backwards=True), None)
    event = Event(
        ERASURE_STREAM,
        ERASURE_TYPE,
        {"keys": list(key_ids)},
        source=source,
        sequence=newest.event.sequence + 1 if newest else 1,
        time=time,
    )
    [recorded] = log.append([event])
    _forget(keys, key_ids, snapshots)
    return Erasure(recorded, key_ids)


def replay_erasures(log: EventLog, keys: SubjectKeys, *, snapshots: Iterable[Clearable] = ()) -> int:
    """Carry out every erasure in the log again, and say how many keys were still there.

    For the start of a program, in case an erasure was interrupted, and for a key store that came back from a backup.
    """
    snapshots = tuple(snapshots)
    found = 0
    for _, event in log.read(Query(types=(ERASURE_TYPE,))):
        found += _forget(keys, event.data["keys"], snapshots)
    return found


def _forget(keys: SubjectKeys, key_ids: Iterable[str], snapshots: Iterable[Clearable]) -> int:
    key_ids = [key_id for key_id in key_ids if _is_there(keys, key_id)]
    if not key_ids:
        return 0
    # Before, so that keys which are gone mean that snapshots were cleared; after, for one that was saved meanwhile.
    for store in snapshots:
        store.clear()
    found = keys.erase(key_ids)
    for store in snapshots:
        store.clear()
    return found


def _is_there(keys: SubjectKeys, key_id: str) -> bool:
    try:
        return keys.find(key_id) is not None
    except UnknownKey:
        return True  # `erase` then remembers that it is gone


def _sealed_form(event: Event) -> re.Match[str] | None:
    sealed = event.data.get("sealed")
    return _FORM.fullmatch(sealed) if type(sealed) is str and len(event.data) == 1 else None


def _bound(event: Event, key_id: str) -> bytes:
    return canonical_json(
        (
            _DOMAIN,
            key_id,
            event.time.to_bytes(TIME_BYTES, "big").hex(),
            event.stream,
            event.type,
            event.source,
            event.sequence,
            event.schema,
            event.causation.hex() if event.causation else "",
            event.correlation.hex() if event.correlation else "",
        )
    )


def _aes_gcm(key: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        raise BadInput("sealing needs the package cryptography: install rarera-sim[crypto]") from None
    return AESGCM(key)
