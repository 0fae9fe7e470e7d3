"""What can go wrong between us and a caller, one exception per situation.

What goes wrong in the *world* (a damaged frame, a lost event) is expected and modelled: it is a value, see
:mod:`rarera_sim.core.inbox`. An exception here means that the caller asked for something that cannot be.
"""

from __future__ import annotations


class RareraError(Exception):
    """Root of every exception that RARERA raises on purpose."""


class BadInput(RareraError, ValueError):
    """Something handed in by a person is not usable: names what, where, its value and what is allowed.

    The command line turns it into one line on stderr and exit code 2.
    """


class InvalidEvent(BadInput):
    """An event that has no canonical form: a field of the wrong kind, NaN, a lone surrogate, an integer too large."""


class Conflict(RareraError):
    """The place of an event is taken by another: same source and sequence, different content.

    Nothing of the batch was appended. A source that restarts its numbering without a new name causes this.
    """


class WrongPosition(RareraError):
    """Optimistic concurrency: the stream has moved on since the caller looked. Nothing was appended."""


class SkippedPosition(RareraError):
    """A reader was shown position n + 2 after n: something is missing from the log, which must not pass quietly.

    `first` and `last` are the positions missed, where whoever noticed knows them.
    """

    def __init__(self, message: str, first: int | None = None, last: int | None = None) -> None:
        super().__init__(message)
        self.first = first
        self.last = last


class DamagedLog(RareraError):
    """The log holds something that it was not given: names the first bad position."""


class BusyLog(RareraError):
    """Another process holds the log's write lock for longer than the caller was ready to wait."""


class StorageFailed(RareraError):
    """The disk or the connection under a log failed, or the log was closed: open it again and look what is there.

    What was acknowledged before is safe; the append that met this is in the log whole or not at all.
    """


class UnknownFormat(BadInput):
    """A log, snapshot or file of a format that this version does not read."""


class ClockFault(RareraError):
    """A clock stepped back, or a peer is further in the future than the bound: reported, never swallowed."""


class Unreachable(RareraError):
    """The cache or the bus cannot be reached. The log is not concerned: what it acknowledged is safe."""


class Refused(BadInput, Unreachable):
    """The server is there and will not have us: a wrong name or password, or a right that is missing."""


class UnknownKey(RareraError):
    """An event is sealed with a key that the key store never had: it is not the store that belongs to the log."""
