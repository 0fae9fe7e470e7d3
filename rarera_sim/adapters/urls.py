"""Logs by name: what a person writes on a command line or in a scenario."""

from __future__ import annotations

import os
from collections.abc import Callable
from inspect import signature
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
        `files:///FOLDER` and `tiered:///FOLDER` name folders in the same way. What follows a `?` sets options of these
        two, as in `tiered:///log?hot=1000&cold=parquet&store=postgresql://USER@HOST/DATABASE`; a `?` or `&` that is
        part of a name is written %3F or %26.
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
        rest, _, query = rest.partition("?") if scheme != "sqlite" else (rest, "", "")
        path = unquote(rest.removeprefix("///"))
        if not rest.startswith("///") or not path:
            raise BadInput(f"log {text!r} names no file or folder; write sqlite:///FILE or {scheme}:///...")
        if scheme == "files":
            from rarera_sim.adapters.files import FilesLog

            return FilesLog(path, **{**_options(query, FilesLog), **options})
        if scheme == "tiered":
            from rarera_sim.adapters.tiered import TieredLog

            return TieredLog(path, **{**_options(query, TieredLog), **options})
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


def _options(query: str, log: Callable[..., Any]) -> dict[str, Any]:
    """The options in a URL, each as the kind of value that the log's parameter of this name has."""
    allowed = {name: each for name, each in signature(log).parameters.items() if each.kind is each.KEYWORD_ONLY}
    options: dict[str, Any] = {}
    for name, _, text in (pair.partition("=") for pair in query.split("&") if pair):
        if name not in allowed or name in options:
            raise BadInput(f"option {name!r} is not one of {', '.join(sorted(allowed))}, or stands there twice")
        kind = type(allowed[name].default)
        value = unquote(text)
        if kind is bool and value in ("true", "false"):
            options[name] = value == "true"
        elif kind in (int, float):
            try:
                options[name] = kind(value)
            except ValueError:
                raise BadInput(f"{name} must be a number, got {value!r}") from None
        elif kind is bool:
            raise BadInput(f"{name} must be true or false, got {value!r}")
        else:
            options[name] = value
    return options


def _without_secret(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    return scheme + separator + rest.rpartition("@")[2]
