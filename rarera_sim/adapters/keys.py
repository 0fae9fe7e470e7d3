"""Where keys are kept: those of subjects (sealing) and those that sign. Here, and not in the core, they are drawn.

A file of subjects' keys holds them wrapped by a key-encryption key (KEK) that lies elsewhere::

    {"format": "rarera.keys/1", "kek": id, "subjects": {subject: [[key id, wrapped key], ...]}, "erased": [key id, ...]}

Wrapped is AES-256-GCM under a random nonce, with subject and key id bound to it, so that no key can be given to
another subject by editing the file. Each change writes the file anew and renames it into place: a crash leaves the old
one or the new one. That costs in proportion to the number of subjects; some ten thousand are fine, for millions put a
database or a key management service behind the same port.

On disks that keep old blocks (SSDs, snapshots of a file system) the wrapped keys of an erased subject may survive in
the raw medium. They are useless once the KEK is: after an erasure that must be beyond doubt, `rewrap` with a new KEK
and destroy the old one.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import orjson

from rarera_sim.core.errors import BadInput, StorageFailed, UnknownFormat, UnknownKey
from rarera_sim.core.event import canonical_json, parse_json
from rarera_sim.core.sealing import DataKey
from rarera_sim.core.signing import Ed25519Signer, Ed25519Verifier, Keyring

KEY_BYTES = 32
NONCE_BYTES = 12
FORMAT = "rarera.keys/1"

Draw = Callable[[int], bytes]


class MemoryKeys:
    """Keys of subjects in this process, gone with it.

    Parameters
    ----------
    draw
        Gives that many random bytes; a model or a test hands in its own, and everything else leaves it alone.

    Examples
    --------
    >>> keys = MemoryKeys()
    >>> first = keys.create("passenger 7")
    >>> keys.create("passenger 7") is first, keys.rotate("passenger 7") is first
    (True, False)
    >>> keys.find(first.id) is first, keys.erase(keys.ids("passenger 7")), keys.find(first.id) is None
    (True, 2, True)
    >>> keys
    MemoryKeys(0 subjects, 2 keys erased)
    """

    def __init__(self, *, draw: Draw = secrets.token_bytes) -> None:
        self._draw = draw
        self._subjects: dict[str, list[DataKey]] = {}
        self._owners: dict[str, tuple[str, DataKey]] = {}
        self._erased: set[str] = set()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self._subjects)} subjects, {len(self._erased)} keys erased)"

    def get(self, subject: str) -> DataKey | None:
        keys = self._subjects.get(subject)
        return keys[-1] if keys else None

    def create(self, subject: str) -> DataKey:
        return self.get(subject) or self.rotate(subject)

    def rotate(self, subject: str) -> DataKey:
        _check_subject(subject)
        key = DataKey(self._draw(KEY_BYTES))
        if key.id in self._owners or key.id in self._erased:
            # Two subjects with one key, or a key that was erased: whoever draws does not draw at random.
            raise BadInput("the source of random bytes gave the same key twice")
        self.restore(subject, key)
        return key

    def find(self, key_id: str) -> DataKey | None:
        owner = self._owners.get(key_id)
        if owner is not None:
            return owner[1]
        if key_id in self._erased:
            return None
        raise UnknownKey(f"key {key_id} was never in this key store")

    def ids(self, subject: str) -> list[str]:
        return [key.id for key in self._subjects.get(subject, ())]

    def erase(self, key_ids: Iterable[str]) -> int:
        found = 0
        for key_id in key_ids:
            self._erased.add(key_id)
            if key_id not in self._owners:
                continue
            found += 1
            subject, key = self._owners.pop(key_id)
            self._subjects[subject].remove(key)
            if not self._subjects[subject]:
                del self._subjects[subject]
        return found

    # For whoever keeps them longer than memory does

    def all(self) -> Iterator[tuple[str, DataKey]]:
        """Every subject's keys, the oldest of each first."""
        for subject, keys in self._subjects.items():
            for key in keys:
                yield subject, key

    @property
    def erased(self) -> frozenset[str]:
        return frozenset(self._erased)

    def restore(self, subject: str, key: DataKey) -> None:
        self._subjects.setdefault(subject, []).append(key)
        self._owners[key.id] = (subject, key)


class FileKeys:
    """Keys of subjects in a file, wrapped by a key-encryption key; several processes may share it.

    A process sees what another one changed before it uses a key again: what is erased by one is erased for all.

    Parameters
    ----------
    path
        The file; made on first use, readable by its owner only.
    kek
        The key-encryption key, 32 bytes. Keep it away from the file and from its backups.

    Examples
    --------
    >>> import tempfile
    >>> kek, new_kek = new_key(), new_key()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     keys = FileKeys(folder + "/keys.json", kek)
    ...     key = keys.create("passenger 7")
    ...     FileKeys(folder + "/keys.json", kek).get("passenger 7").id == key.id
    ...     keys.rewrap(new_kek)
    ...     FileKeys(folder + "/keys.json", new_kek).get("passenger 7").id == key.id
    True
    True
    """

    def __init__(self, path: str | os.PathLike[str], kek: bytes) -> None:
        self.path = Path(path)
        self._kek = _Kek(kek)
        self._keys = MemoryKeys()
        self._seen: tuple[int, ...] | None = None
        if not self.path.parent.is_dir():
            raise BadInput(f"there is no folder {self.path.parent} to keep the keys {self.path.name} in")
        self._refresh()

    def __repr__(self) -> str:
        return f"FileKeys({str(self.path)!r})"

    def get(self, subject: str) -> DataKey | None:
        return self._refresh().get(subject)

    def find(self, key_id: str) -> DataKey | None:
        return self._refresh().find(key_id)

    def ids(self, subject: str) -> list[str]:
        return self._refresh().ids(subject)

    def create(self, subject: str) -> DataKey:
        key = self.get(subject)
        if key is None:
            with self._changing() as keys:
                key = keys.create(subject)
        return key

    def rotate(self, subject: str) -> DataKey:
        with self._changing() as keys:
            return keys.rotate(subject)

    def erase(self, key_ids: Iterable[str]) -> int:
        with self._changing() as keys:
            return keys.erase(key_ids)

    def rewrap(self, kek: bytes) -> None:
        """Wrap every key by a new key-encryption key; sealed events stay readable, and the old KEK opens nothing."""
        new = _Kek(kek)
        with self._changing():
            self._kek = new

    @contextlib.contextmanager
    def _changing(self) -> Iterator[MemoryKeys]:
        """One writer at a time, from reading the file to its replacement."""
        import fcntl  # POSIX only, as is what it guards against: a store shared by processes

        with _open_lock(self.path.with_name(self.path.name + ".lock")) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            kek = self._kek
            keys = self._refresh()
            try:
                yield keys
                self._write(keys)
            except BaseException:
                # What was not written did not happen, in memory neither.
                self._kek = kek
                self._keys = MemoryKeys()
                self._seen = None
                raise

    def _refresh(self) -> MemoryKeys:
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            if self._seen is not None:
                raise StorageFailed(f"the key store {self.path} is gone") from None
            return self._keys
        except OSError as error:
            raise StorageFailed(f"the key store {self.path} cannot be read: {error}") from None
        seen = (status.st_ino, status.st_mtime_ns, status.st_size)
        if seen != self._seen:
            self._keys = self._read()
            self._seen = seen
        return self._keys

    def _read(self) -> MemoryKeys:
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise BadInput(f"the key store {self.path} cannot be read: {error}") from None
        try:
            stored = parse_json(content)
        except BadInput as error:
            raise UnknownFormat(f"{self.path} is not a key store: {error}") from None
        if not isinstance(stored, dict) or stored.get("format") != FORMAT:
            raise UnknownFormat(f"{self.path} is not a key store of format {FORMAT}")
        if stored.get("kek") != self._kek.id:
            raise BadInput(f"{self.path} is wrapped by another key-encryption key than the one given")
        keys = MemoryKeys()
        try:
            for subject, entries in stored["subjects"].items():
                for key_id, wrapped in entries:
                    keys.restore(subject, self._kek.unwrap(wrapped, subject, key_id))
            keys.erase(stored["erased"])
        except (KeyError, TypeError, ValueError, AttributeError):
            # From None: what failed may hold what it failed on.
            raise UnknownFormat(f"{self.path} is damaged: a key does not open, or is not where it was put") from None
        return keys

    def _write(self, keys: MemoryKeys) -> None:
        subjects: dict[str, list[list[str]]] = {}
        for subject, key in keys.all():
            subjects.setdefault(subject, []).append([key.id, self._kek.wrap(key, subject)])
        content = {"format": FORMAT, "kek": self._kek.id, "subjects": subjects, "erased": sorted(keys.erased)}
        _write_secret(self.path, orjson.dumps(content, option=orjson.OPT_INDENT_2))
        status = os.stat(self.path)
        self._seen = (status.st_ino, status.st_mtime_ns, status.st_size)


class _Kek:
    """The key that wraps the others."""

    __slots__ = ("_cipher", "id")

    def __init__(self, secret: bytes) -> None:
        if type(secret) is not bytes or len(secret) != KEY_BYTES:
            what = f"{len(secret)} bytes" if isinstance(secret, bytes) else type(secret).__name__
            raise BadInput(f"a key-encryption key must be {KEY_BYTES} bytes, got {what}")
        self.id = sha256(b"rarera.kek.id/1\0" + secret).hexdigest()[:32]
        self._cipher = _aes_gcm(secret)

    def __repr__(self) -> str:
        return f"_Kek({self.id!r})"

    def wrap(self, key: DataKey, subject: str) -> str:
        nonce = secrets.token_bytes(NONCE_BYTES)
        return b64encode(nonce + self._cipher.encrypt(nonce, key.secret, _bound(subject, key.id))).decode()

    def unwrap(self, wrapped: str, subject: str, key_id: str) -> DataKey:
        from cryptography.exceptions import InvalidTag

        value = b64decode(wrapped, validate=True)
        try:
            secret = self._cipher.decrypt(value[:NONCE_BYTES], value[NONCE_BYTES:], _bound(subject, key_id))
        except InvalidTag:
            raise ValueError("does not open") from None
        return DataKey(secret)


# Keys that sign


def new_key() -> bytes:
    """32 bytes nobody else has: a key-encryption key, or a secret for `HmacKey`."""
    return secrets.token_bytes(KEY_BYTES)


def new_signer(name: str) -> Ed25519Signer:
    """A private key that nobody else has."""
    return Ed25519Signer(name, new_key())


def write_key(path: str | os.PathLike[str], key: bytes) -> None:
    """Keep a key as one line of hex, for its owner's eyes only; refuses to replace a file."""
    _write_secret(Path(path), key.hex().encode() + b"\n", replace=False)


def read_key(path: str | os.PathLike[str]) -> bytes:
    """What `write_key` wrote.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     key = new_key()
    ...     write_key(folder + "/kek", key)
    ...     read_key(folder + "/kek") == key
    True
    """
    text = _read_text(path, "key")
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise BadInput(f"{path} does not hold a key: {2 * KEY_BYTES} hex digits")
    return key


def write_signer(path: str | os.PathLike[str], signer: Ed25519Signer) -> None:
    """Keep a private key, for its owner's eyes only; refuses to replace a file."""
    _write_secret(Path(path), signer.secret_text.encode() + b"\n", replace=False)


def read_signer(path: str | os.PathLike[str]) -> Ed25519Signer:
    return Ed25519Signer.parse(_read_text(path, "private key").strip())


def read_verifiers(path: str | os.PathLike[str]) -> list[Ed25519Verifier]:
    """Public keys, one a line (`Ed25519Verifier.text`); empty lines and those after a "#" are passed over."""
    verifiers = []
    for number, line in enumerate(_read_text(path, "public keys").splitlines(), start=1):
        line = line.strip()
        if line and not line.startswith("#"):
            try:
                verifiers.append(Ed25519Verifier.parse(line))
            except BadInput as error:
                raise BadInput(f"line {number} of {path}: {error}") from None
    return verifiers


def read_keyring(path: str | os.PathLike[str]) -> Keyring:
    """The keys of sources, each by the name of its source."""
    return Keyring.of(read_verifiers(path))


def _read_text(path: str | os.PathLike[str], what: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(f"the {what} in {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadInput(f"{path} does not hold a {what}: it is not text") from None


def _write_secret(path: Path, content: bytes, *, replace: bool = True) -> None:
    """Durable, and readable by the owner only from the first byte; replaces a file whole or not at all."""
    # Always the same name: a copy that a crash left behind would keep wrapped keys beyond their erasure.
    target = path.with_name(f".{path.name}.new") if replace else path
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | (os.O_TRUNC if replace else os.O_EXCL)
    try:
        with os.fdopen(os.open(target, flags, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(target, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except FileExistsError:
        raise BadInput(f"{path} exists already; a key is never written over") from None
    except OSError as error:
        raise StorageFailed(f"{path} cannot be written: {error.strerror}") from None


def _open_lock(path: Path) -> IO[str]:
    try:
        return open(path, "a")
    except OSError as error:
        raise StorageFailed(f"the lock {path} cannot be had: {error.strerror}") from None


def _check_subject(subject: str) -> None:
    if type(subject) is not str or not subject:
        raise BadInput(f"a subject must be a non-empty string, got {subject!r}")
    canonical_json(subject)  # a lone surrogate could not be written down


def _bound(subject: str, key_id: str) -> bytes:
    return canonical_json([FORMAT, subject, key_id])


def _aes_gcm(key: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        raise BadInput("a key store needs the package cryptography: install rarera-sim[crypto]") from None
    return AESGCM(key)
