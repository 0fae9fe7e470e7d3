"""Delivery that survives events which cannot be processed: try again, later each time, then put aside and go on.

What is put aside is a dead letter: an event in a stream of its own, `deadletters/NAME`, that says which position, why,
and after how many attempts. It stays there until somebody has it delivered again and it is acknowledged.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rarera_sim.core.errors import BadInput
from rarera_sim.core.event import Event, Recorded
from rarera_sim.core.journal import Journal
from rarera_sim.core.log import EventLog, Query
from rarera_sim.core.retry import Backoff, DeadLetter
from rarera_sim.core.subscription import Subscription
from rarera_sim.core.time import Timestamp, from_seconds

PROCESSOR = "deadletters"
PARKED = "letter-parked"
REPLAYED = "letter-replayed"
SETTLED = "letter-settled"


@dataclass(frozen=True, kw_only=True)
class Letter:
    """An event that could not be processed: its position, why, and since when; `replayed` once it is tried again."""

    position: int
    reason: str
    attempts: int
    parked: Timestamp
    replayed: Timestamp | None = None


class Delivery:
    """A subscription with retries and dead letters; times are GSTs.

    While an event of an ordered subscription waits for its next attempt its stream waits with it. Once it is a dead
    letter the stream goes on without it, and a replay comes out of the stream's order: that is what parking means.

    Parameters
    ----------
    backoff
        Between attempts at one event; its `attempts_max` makes a dead letter.
    log
        Where the events are, for replays, and where the letters of this name are found.
    append
        How letters are recorded, `log.append` if nothing is said.

    Examples
    --------
    >>> from rarera_sim.adapters.memory import MemoryLog
    >>> log = MemoryLog()
    >>> _ = log.append([Event("EWR/UA1", "departed", {}, source="EWR", sequence=1, time=0)])
    >>> billing = Query(types=("departed",))
    >>> delivery = Delivery("billing", log, Subscription(log, billing), Backoff(delay=1.0, attempts_max=2))
    >>> recorded = delivery.poll(now=0)
    >>> delivery.fail(recorded, "no fare", now=0), delivery.poll(now=10)
    (1000000000, None)
    >>> delivery.fail(delivery.poll(now=10**9), "no fare", now=10**9)
    DeadLetter(attempts=2)
    >>> [(letter.position, letter.reason) for letter in letters(log, "billing")]
    [(1, 'no fare')]
    >>> delivery.replay(1, now=2 * 10**9)
    >>> delivery.ack(delivery.poll(now=2 * 10**9), now=2 * 10**9)
    >>> letters(log, "billing")
    []
    """

    def __init__(
        self,
        name: str,
        log: EventLog,
        subscription: Subscription,
        backoff: Backoff,
        *,
        append: Callable[[Sequence[Event]], Any] | None = None,
    ) -> None:
        if backoff.attempts_max is None:
            raise BadInput("backoff must have attempts_max, or no event would ever be a dead letter")
        self.name = name
        self.subscription = subscription
        self._log = log
        self._append = append or log.append
        self._backoff = backoff
        self._journal = Journal.resume(log, f"{PROCESSOR}:{name}")
        self._attempts: dict[int, int] = {}  # by position, of those that have failed and are not done
        self._waiting: list[tuple[Timestamp, int, Recorded]] = []  # heap: in flight for the log, due again later
        self._parked = {letter.position: letter for letter in letters(log, name)}
        self._replays: dict[int, Recorded] = {}  # handed out, or due, outside the subscription
        for letter in self._parked.values():
            if letter.replayed is not None:  # and not settled before the restart
                self._queue_replay(letter.position, 0)

    @property
    def waiting(self) -> int:
        """Events that have failed and are due again later."""
        return len(self._waiting)

    def next_due(self) -> Timestamp | None:
        """When an event that failed is due again, None if none is."""
        return self._waiting[0][0] if self._waiting else None

    def poll(self, now: Timestamp) -> Recorded | None:
        """The next event that is due: one that failed before, or else a new one."""
        self._let_go()
        if self._waiting and self._waiting[0][0] <= now:
            return heapq.heappop(self._waiting)[2]
        return self.subscription.poll(now / 1e9)

    def ack(self, recorded: Recorded, now: Timestamp) -> None:
        """The event is done with; if it was a dead letter, it is one no more."""
        self._attempts.pop(recorded.position, None)
        if recorded.position in self._replays:
            self._write(SETTLED, {"position": recorded.position}, recorded, now)
            del self._replays[recorded.position], self._parked[recorded.position]
        else:
            self.subscription.ack(recorded)

    def fail(self, recorded: Recorded, reason: str, now: Timestamp, u: float = 0.0) -> Timestamp | DeadLetter:
        """It could not be processed: returns when it comes again, or that it is a dead letter now.

        `u` in [0, 1) is the share of the back-off's jitter, drawn by whoever may draw.
        """
        position = recorded.position
        self._attempts[position] = self._attempts.get(position, 0) + 1
        delay = self._backoff.after(self._attempts[position], 0.0, u)
        if isinstance(delay, DeadLetter):
            self._park(recorded, reason, delay.attempts, now)
            return delay
        heapq.heappush(self._waiting, (now + from_seconds(delay), position, recorded))
        return now + from_seconds(delay)

    def replay(self, position: int, now: Timestamp) -> None:
        """Deliver a dead letter again, with all its attempts before it."""
        letter = self._parked.get(position)
        if letter is None or position in self._replays:
            raise BadInput(f"position {position!r} is no dead letter of {self.name}, or is being replayed")
        recorded = self._queue_replay(position, now)
        self._write(REPLAYED, {"position": position}, recorded, now)
        self._parked[position] = replace(letter, replayed=now)

    def _queue_replay(self, position: int, now: Timestamp) -> Recorded:
        (recorded,) = self._log.read(after=position - 1, upto=position)
        self._replays[position] = recorded
        heapq.heappush(self._waiting, (now, position, recorded))
        return recorded

    def _park(self, recorded: Recorded, reason: str, attempts: int, now: Timestamp) -> None:
        position = recorded.position
        data = {"position": position, "reason": reason, "attempts": attempts}
        # Recorded first: a crash in between parks it twice, which is one letter, and the other way round loses it.
        self._write(PARKED, data, recorded, now)
        self._parked[position] = Letter(position=position, reason=reason, attempts=attempts, parked=now)
        del self._attempts[position]
        if self._replays.pop(position, None) is None:
            self.subscription.ack(recorded)

    def _let_go(self) -> None:
        """Give back what waits here of a partition that is no longer ours, or it could not be handed over."""
        lost = [each for each in self._waiting if each[1] not in self._replays and not self.subscription.owns(each[2])]
        if lost:
            self._waiting = [each for each in self._waiting if each not in lost]
            heapq.heapify(self._waiting)
            for _, position, recorded in lost:
                self._attempts.pop(position, None)
                self.subscription.release(recorded)

    def _write(self, event_type: str, data: dict[str, Any], recorded: Recorded, now: Timestamp) -> None:
        stream = f"{PROCESSOR}/{self.name}"
        self._append([self._journal.write(stream, event_type, data, now, recorded.event.id)])


def letters(log: EventLog, name: str) -> list[Letter]:
    """The dead letters of a delivery, by position: parked and not yet settled by a replay."""
    found: dict[int, Letter] = {}
    for _, event in log.read(Query(streams=(f"{PROCESSOR}/{name}",), sources=(f"{PROCESSOR}:{name}",))):
        position = event.data["position"]
        if event.type == PARKED:
            reason, attempts = event.data["reason"], event.data["attempts"]
            found[position] = Letter(position=position, reason=reason, attempts=attempts, parked=event.time)
        elif event.type == REPLAYED:
            found[position] = replace(found[position], replayed=event.time)
        else:
            found.pop(position, None)
    return [found[position] for position in sorted(found)]
