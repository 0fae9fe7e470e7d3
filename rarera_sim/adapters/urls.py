"""Logs by name: what a person writes on a command line or in a scenario."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from rarera_sim.adapters.memory import MemoryLog
from rarera_sim.adapters.sqlite import SqliteLog
from rarera_sim.core.errors import BadInput

if TYPE_CHECKING:
    from rarera_sim.adapters.files import FilesLog
    from rarera_sim.adapters.postgres import PostgresLog
    from rarera_sim.adapters.tiered import TieredLog

_ALLOWED = (
    "'memory:', 'sqlite:///FILE' (four slashes for an absolute path), 'files:///FOLDER', 'tiered:///FOLDER', "
    "'postgresql://USER@HOST/DATABASE' or a file ending in .sqlite or .db"
)


def open_log(url: str | os.PathLike[str], **options: Any) -> MemoryLog | SqliteLog | FilesLog | TieredLog | PostgresLog:
    """Open the log that a URL or a path names.

    Parameters
    ----------
    url
        `memory:`, `sqlite:///FILE` or a path that ends in `.sqlite` or `.db`. As in SQLAlchemy, what follows the
        third slash is the path: `sqlite:///log.db` lies in the working folder, `sqlite:////data/log.db` does not.
        `files:///FOLDER` and `tiered:///FOLDER` name folders in the same way.
        `postgresql://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=...&schema=...` needs the extra `rarera-sim[postgres]`.
    options
        For the adapter, see `SqliteLog` and `PostgresLog`: `create`, `read_only`, `durability`, `busy_timeout`;
        `FilesLog` and `TieredLog` have some more.

    Examples
    --------
    >>> open_log("memory:").head()
    0
    >>> open_log("nosql://host/log")
    Traceback (most recent call last):
    rarera_sim.core.errors.BadInput: log 'nosql://host/log' has an unknown scheme; allowed are 'memory:', ...
    """
    text = os.fspath(url)
    scheme, colon, rest = text.partition(":")
    if text == "memory:":
        return MemoryLog()
    if colon and scheme in ("sqlite", "files", "tiered"):
        path = unquote(rest.removeprefix("///"))
        if not rest.startswith("///") or not path:
            raise BadInput(f"log {text!r} names no file or folder; write sqlite:///FILE or {scheme}:///...")
        if scheme == "files":
            from rarera_sim.adapters.files import FilesLog

            return FilesLog(path, **options)
        if scheme == "tiered":
            from rarera_sim.adapters.tiered import TieredLog

            return TieredLog(path, **options)
        return SqliteLog(path, **options)
    if colon and scheme == "postgresql":
        try:
            from rarera_sim.adapters.postgres import PostgresLog
        except ImportError as error:
            raise BadInput(str(error)) from None
        return PostgresLog(text, **options)
    if "://" in text or text.endswith(":"):
        # What stands before an @ may be a password.
        raise BadInput(f"log {_without_secret(text)!r} has an unknown scheme; allowed are {_ALLOWED}")
    if text.endswith((".sqlite", ".db")):
        return SqliteLog(text, **options)
    raise BadInput(f"log {text!r} is of an unknown kind; allowed are {_ALLOWED}")


def _without_secret(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    return scheme + separator + rest.rpartition("@")[2]
