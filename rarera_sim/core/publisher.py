"""From the commit to the subscribers: the newest events on a board that all can see, and a ring on the bus.

The order is the point. First the log commits; only then is anything said, as a bell that rings for what may still be
rolled back is a lie. What is said can get lost, with its server or with its sender: the board therefore knows which
positions it is about, a reader knows which it has seen acknowledged, and where the two do not meet the log answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from rarera_sim.core.bus import EventBus, notification
from rarera_sim.core.errors import BadInput, Refused, SkippedPosition, Unreachable
from rarera_sim.core.event import Event, Recorded
from rarera_sim.core.log import EventLog, Query

_PAGE = 1_000


class Glance(NamedTuple):
    """What a board shows of one type and processor, and up to which position it knows the log."""

    upto: int
    recorded: Recorded | None


class Board(Protocol):
    """The newest event of each type and processor, for all to see, and the bell that says so."""

    def announce(self, recorded: Sequence[Recorded], *, afresh: bool = False) -> int:
        """Put up events of adjoining positions and notify their topics, in one step that only moves forward.

        Positions that the board knows already are left alone, whoever comes late with them. If there is a hole
        between what it knows and these, nothing happens, unless `afresh` lets it forget what it knew. Returns the
        position up to which it knows everything now. Raises `Unreachable`.
        """
        ...

    def upto(self) -> int:
        """The position up to which the board knows the log, 0 for an empty board. Raises `Unreachable`."""
        ...

    def latest(self, event_type: str, processor: str) -> Glance:
        """What the board says of a type and processor. Raises `Unreachable`."""
        ...


class LocalBoard:
    """A board in this process, in front of any bus."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._upto = 0
        self._newest: dict[tuple[str, str], Recorded] = {}

    def announce(self, recorded: Sequence[Recorded], *, afresh: bool = False) -> int:
        before = recorded[0].position - 1
        if self._upto < before and (afresh or self._upto == 0):
            self._newest.clear()
            self._upto = before
        if self._upto >= before:
            fresh = [each for each in recorded if each.position > self._upto]
            self._newest.update(((each.event.type, each.event.processor), each) for each in fresh)
            self._upto = max(self._upto, recorded[-1].position)
            self._bus.publish([notification(each) for each in fresh])
        return self._upto

    def upto(self) -> int:
        return self._upto

    def latest(self, event_type: str, processor: str) -> Glance:
        return Glance(self._upto, self._newest.get((event_type, processor)))


class Publisher:
    """Appends to a log and says so, and answers what the newest event is.

    Parameters
    ----------
    board
        May be gone at any time: appending goes on, and the first announcement after its return makes up for what was
        missed.
    catch_up_max
        Events of others, or of the time when the board was gone, that one announcement reads from the log to close a
        hole. A board further behind starts afresh and is asked only for what came after.

    Raises
    ------
    SkippedPosition
        The board knows more than the log has: the log lost its tail, or the board is another log's.
    Refused
        The board's server will not have us. Later on that is no error of an append either.

    Examples
    --------
    >>> from rarera_sim.adapters.memory import MemoryBus, MemoryLog
    >>> bus = MemoryBus()
    >>> _ = bus.listen(["event.arrived"], lambda said: print(said.topic, said.position, said.content))
    >>> publisher = Publisher(MemoryLog(), LocalBoard(bus))
    >>> _ = publisher.append([Event("EWR/UA1", "arrived", {"speed": 370}, source="IAH", sequence=1, time=0)])
    event.arrived 1 {'speed': 370}
    >>> publisher.latest("arrived", "EWR").position
    1
    """

    def __init__(self, log: EventLog, board: Board, *, catch_up_max: int = 10_000) -> None:
        if catch_up_max < 0:
            raise BadInput(f"catch_up_max must be >= 0, got {catch_up_max!r}")
        self._log = log
        self._board = board
        self._catch_up_max = catch_up_max
        self.seen = 0  # the newest position that this object has acknowledged or shown
        self.unannounced = 0  # appends that the board could not be told of
        try:
            upto = board.upto()
        except Refused:
            raise
        except Unreachable:
            return
        # Asked in this order: the log may grow in between, and what is on the board was committed before.
        if upto > (head := log.head()):
            raise SkippedPosition(f"position {upto} was announced and the log ends at {head}: its tail is lost")

    def append(self, events: Sequence[Event], *, expected: int | None = None) -> list[Recorded]:
        """Append as the log does, then announce what is new; an unreachable board is no error of the append."""
        recorded = self._log.append(events, expected=expected)
        if recorded:
            self.seen = max(self.seen, recorded[-1].position)
            try:
                self._announce(recorded)
            except Unreachable:
                self.unannounced += 1
        return recorded

    def catch_up(self) -> int:
        """Announce what is in the log and not on the board; returns up to where the board knows the log now.

        For a start, and for a timer where a crash between commit and announcement should not wait for the next
        append. Raises `Unreachable`.
        """
        upto = self._board.upto()
        start = max(upto, self._log.head() - self._catch_up_max)
        while page := list(self._log.read(after=start, limit=_PAGE)):
            upto = start = self._board.announce(page, afresh=True)
        return upto

    def latest(self, event_type: str, processor: str, *, at_least: int = 0) -> Recorded | None:
        """The newest event of a type and processor: from the board if that knows enough, else from the log.

        Never staler than any position that this object has acknowledged or shown, nor than `at_least`: hand in
        a position that was acknowledged elsewhere, and the answer has seen it.
        """
        wanted = max(self.seen, at_least)
        found = self._on_board(event_type, processor, wanted)
        if found is None:
            query = Query(types=(event_type,), processors=(processor,))
            found = next(self._log.read(query, backwards=True, limit=1), None)
        if found is not None:
            self.seen = max(self.seen, found.position)
        return found

    def _on_board(self, event_type: str, processor: str, wanted: int) -> Recorded | None:
        try:
            glance = self._board.latest(event_type, processor)
        except Unreachable:
            return None
        return glance.recorded if glance.upto >= wanted else None

    def _announce(self, recorded: Sequence[Recorded]) -> None:
        first, last = recorded[0].position, recorded[-1].position
        upto = self._board.announce(recorded)
        # Another writer's announcement is on its way, or was lost. Its events are in the log, before ours.
        while upto < last:
            if first - 1 - upto > self._catch_up_max:
                upto = self._board.announce(recorded, afresh=True)
            else:
                page = list(self._log.read(after=upto, limit=_PAGE))
                assert page, "the log lost what it has acknowledged"
                upto = self._board.announce(page)
