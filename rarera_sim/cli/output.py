"""What people and machines see of a command: results on stdout, progress on stderr, an exit code."""

from __future__ import annotations

import difflib
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rarera_sim.core.integrity import Head

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

_PLAIN_EVERY = 10.0  # seconds between lines of progress where there is no terminal


class Progress:
    """How far a job is, on stderr: a bar with the time left on a terminal, else a line every ten seconds."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._bar: Any = None

    def __enter__(self) -> Progress:
        self._started = self._told = time.monotonic()
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Bar(*columns, TextColumn("left"), console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task(self._what, total=None)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._bar:
            self._bar.update(self._task, completed=done, total=total)
        elif now - self._told >= _PLAIN_EVERY:
            self._told = now
            left = f", about {(total - done) * (now - self._started) / done:.0f} s left" if done else ""
            click.echo(f"{done} of {total} {self._what}{left}", err=True)


def print_json(value: Any) -> None:
    import orjson

    # Past the text layer: JSON is UTF-8 whatever the terminal's encoding is.
    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY))


def print_table(table: Any) -> None:
    from rich.console import Console

    # A pipe has no width: without one rich would cut columns to fit 80.
    Console(width=None if sys.stdout.isatty() else 240).print(table)


def shown(text: str) -> str:
    """Text for a terminal: what a log or a file name holds must not move the cursor."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"


def head_text(head: Head) -> str:
    return f"{head.position}:{head.chain.hex()}"


def meant(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
