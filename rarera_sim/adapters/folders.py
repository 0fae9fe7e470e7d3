"""A folder that is a log: its manifest, its lock, and files that appear in it whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final

from rarera_sim.core.errors import BadInput, BusyLog, DamagedLog, StorageFailed, UnknownFormat

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FORMAT: Final = 1
FORMAT_SINCE: Final = "0.1.0"  # the first version of this package that reads FORMAT
NEW: Final = ".new"  # the end of a file's name while it is being made

_OURS = {"manifest", "head", "lock"}
_MANIFEST = re.compile(
    rb"rarera ([a-z]+) log\nformat ([1-9][0-9]{0,8})\nneeds rarera_sim ([0-9a-z.+-]+)\nsha256 [0-9a-f]{64}\n"
)


class Lock:
    """The lock of a folder, as `flock` gives it: it ends with the process that holds it, who may take it again."""

    def __init__(self, folder: Path, timeout: float) -> None:
        if fcntl is None:
            # Windows' locks belong to the file handle and block its readers: nothing that this could be built on.
            raise BadInput(
                f"a log in a folder ({folder}) needs flock, which this system does not have: it works on Linux and "
                "macOS; use sqlite:///FILE or postgresql://... here"
            )
        if not 0 <= timeout <= 86_400:
            raise BadInput(f"busy_timeout must be 0 to 86400 s, got {timeout!r}")
        self._path = folder / "lock"
        self._timeout = timeout
        self._file = -1
        self._depth = 0

    @contextmanager
    def held(self, *, patient: bool = True, shared: bool = False) -> Iterator[None]:
        """Hold it, `shared` with others who only look on; impatient ones get `BusyLog` at once."""
        if not self._depth and not self._acquire(patient, shared):
            yield  # nobody has ever locked it
            return
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if not self._depth and self._file >= 0:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def _acquire(self, patient: bool, shared: bool) -> bool:
        if self._file < 0:
            try:
                self._file = os.open(
                    self._path, os.O_CLOEXEC | (os.O_RDONLY if shared else os.O_RDWR | os.O_CREAT), 0o666
                )
            except FileNotFoundError:
                if not shared:
                    raise
                return False
        deadline = time.monotonic() + (self._timeout if patient else 0)
        while True:
            try:
                fcntl.flock(self._file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise BusyLog(f"another process holds the write lock of {self._path.parent}") from None
                time.sleep(0.001)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def make_folder(folder: Path, kind: str, create: bool, lock: Lock, head: bytes = b"") -> None:
    """Make the folder of a log with what every one has, unless it is there; `BadInput` where it cannot be."""
    try:
        mode = folder.stat().st_mode
    except FileNotFoundError:
        if not create:
            raise BadInput(f"there is no log {folder}") from None
        if not folder.parent.is_dir():
            raise BadInput(f"there is no folder {folder.parent} to make the log {folder.name} in") from None
        with suppress(FileExistsError):
            folder.mkdir()
            sync_folder(folder.parent)
    except (OSError, ValueError) as error:
        raise BadInput(f"log {str(folder)!r} cannot be opened: {error}") from None
    else:
        if not stat.S_ISDIR(mode):
            raise BadInput(f"log {folder} is a file, not a folder")
    if (folder / "manifest").exists():
        return
    _check_blank(folder)
    if not create:
        raise BadInput(f"there is no log {folder}")
    with lock.held():
        if (folder / "manifest").exists():
            return  # another process was faster
        _check_blank(folder)
        if head:
            with written_whole(folder / "head") as file:
                file.write(head)
        # Last, as it is what makes the folder a log.
        with written_whole(folder / "manifest") as file:
            file.write(_manifest(kind, FORMAT, FORMAT_SINCE))


def _check_blank(folder: Path) -> None:
    others = [name for name in os.listdir(folder) if name not in _OURS and not name.endswith(NEW)]
    if others:
        raise UnknownFormat(f"{folder} is not an RARERA log: it holds {min(others)!r} and no manifest")


def _manifest(kind: str, version: int, needs: str) -> bytes:
    text = f"rarera {kind} log\nformat {version}\nneeds rarera_sim {needs}\n".encode()
    return text + f"sha256 {sha256(text).hexdigest()}\n".encode()


def check_manifest(folder: Path, kind: str) -> None:
    """Refuse what is no log of this kind, is damaged, or has a format that only a newer version reads."""
    content = (folder / "manifest").read_bytes()
    found = _MANIFEST.fullmatch(content)
    if not found:
        raise UnknownFormat(f"{folder} is not an RARERA log, or its manifest is damaged")
    name, version, needs = found[1].decode(), int(found[2]), found[3].decode()
    if content != _manifest(name, version, needs):
        raise DamagedLog(f"{folder / 'manifest'} does not match its checksum")
    if name != kind:
        raise UnknownFormat(f"{folder} is a log of kind {name!r}, not {kind!r}")
    if version > FORMAT:
        raise UnknownFormat(
            f"{folder} has format {version}, this rarera_sim reads formats up to {FORMAT}: "
            f"it needs rarera_sim {needs} or newer"
        )


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A new file that appears under its name whole and forced to the disk, or not at all."""
    new = path.with_name(path.name + NEW)
    try:
        with open(new, "wb") as file:
            yield file
            file.flush()
            force(file.fileno())
        os.replace(new, path)
        sync_folder(path.parent)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Force the names in a folder to the disk: without it a new file can be lost with all that is in it."""
    if not hasattr(os, "O_DIRECTORY"):
        return  # Windows, which cannot open a folder, and whose file system keeps a journal of names
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def force(file: int) -> None:
    """Force what was written to the disk; a failure is final, as the next call may claim success without it."""
    os.fsync(file)


@contextmanager
def clear_errors(path: Path) -> Iterator[None]:
    """What the operating system says, in our words."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise BadInput(f"log {path} cannot be opened: may this process read it, and write to it?") from error
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StorageFailed(f"the disk that holds {path} is full; the append is not in the log") from error
        raise StorageFailed(f"reading or writing {path} failed: {error}; open the log again") from error
