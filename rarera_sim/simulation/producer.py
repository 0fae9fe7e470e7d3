"""The sources: each makes its events at its time, and keeps them until they are acknowledged."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import simpy

from rarera_sim.core.event import Event
from rarera_sim.core.outbox import Outbox
from rarera_sim.core.retry import Backoff
from rarera_sim.core.time import SECOND
from rarera_sim.core.trace import Stage
from rarera_sim.simulation.arrivals import Arrival, Workload
from rarera_sim.simulation.channel import Channel
from rarera_sim.simulation.kernel import after
from rarera_sim.simulation.quantities import PositiveSeconds, Settings

Acknowledgement = tuple[str, tuple[int, ...]]  # source, sequences


class SourceSettings(Settings, frozen=True, kw_only=True):
    """How patiently a source waits for its acknowledgements.

    Parameters
    ----------
    resend_after, resend_after_max
        Seconds until an unacknowledged frame is sent again, doubling up to the longest.
    check_period
        Seconds between looks at what is overdue.
    """

    resend_after: PositiveSeconds = 2.0
    resend_after_max: PositiveSeconds = 30.0
    check_period: PositiveSeconds = 0.5


class Producer:
    """All sources of a workload.

    Parameters
    ----------
    reliable
        Keep every event in an outbox until it is acknowledged. Without it a frame is sent once and forgotten.
    note
        Called with (stage, number) for what happens to an event.
    """

    def __init__(
        self,
        env: simpy.Environment,
        workload: Workload,
        settings: SourceSettings,
        channel: Channel,
        note: Callable[[str, int], None],
        *,
        reliable: bool,
    ) -> None:
        self._env = env
        self._arrivals = workload.arrivals
        self._settings = settings
        self._channel = channel
        self._note = note
        self._reliable = reliable
        self._backoff = Backoff(delay=settings.resend_after, delay_max=settings.resend_after_max)
        self._outboxes: dict[str, Outbox] = {}
        self._waiting: dict[str, Outbox] = {}  # those that are not empty
        self._numbers: dict[str, list[int]] = {}  # per source, the workload number of each sequence
        self._times: dict[str, int] = {}
        self.events: list[Event] = []
        self._workload = workload
        self._closed = workload.closed
        self._users: dict[int, int] = {}  # who waits for which event
        if self._closed is not None:
            for user in range(self._closed.settings.users):
                after(env, self._closed.think(), self._send_next, user)
        elif self._arrivals:
            after(env, self._arrivals[0].time, self._create)
        if self._arrivals and reliable:
            after(env, 0.0, self._watch)

    def acknowledge(self, acknowledgement: Acknowledgement) -> None:
        """The receiver has these for good."""
        source, sequences = acknowledgement
        outbox = self._outboxes[source]
        outbox.acknowledge(sequences)
        if not outbox:
            self._waiting.pop(source, None)

    def request(self, wanted: Acknowledgement) -> None:
        """The receiver misses these."""
        source, sequences = wanted
        self._resend(source, self._outboxes[source].request(sequences, self._env.now))

    def receipt_of(self, number: int) -> Acknowledgement:
        """What acknowledges an event to a broker's client, which knows its own message without reading it."""
        event = self.events[number]
        return event.source, (event.sequence,)

    def number_of(self, source: str, sequence: int) -> int:
        """The workload number of an event, for the tracer."""
        return self._numbers[source][sequence - 1]

    @property
    def done(self) -> bool:
        """Everything is created, and nothing waits for an acknowledgement."""
        if self._closed is not None:
            return bool(self._env.now >= self._workload.duration) and not self._waiting
        return len(self.events) == len(self._arrivals) and not self._waiting

    @property
    def closed(self) -> bool:
        """Whether sources wait for what becomes of their events: then `ended` has to be called."""
        return self._closed is not None

    def ended(self, number: int) -> None:
        """The system is through with an event, well or not: whoever waited for it thinks, and sends the next."""
        user = self._users.pop(number, None)
        if user is not None and self._closed is not None:
            after(self._env, self._closed.think(), self._send_next, user)

    def _send_next(self, user: int) -> None:
        now, workload, population = self._env.now, self._workload, self._closed
        if now >= workload.duration:
            return
        number = len(self.events)
        assert population is not None, "users send where arrivals are closed"
        assert number < len(self._arrivals), "more events than the think and service times allow"
        created = workload.epoch + round(now * workload.compression * SECOND)
        self._users[number] = user
        if population.settings.patience is not None:
            after(self._env, population.settings.patience, self.ended, number)
        self._make(self._arrivals[number]._replace(time=now, created=created, source=f"user-{user}"))

    def _create(self, _: object) -> None:
        arrivals, number = self._arrivals, len(self.events)
        self._make(arrivals[number])
        if number + 1 < len(arrivals):
            after(self._env, max(0.0, arrivals[number + 1].time - self._env.now), self._create)

    def _make(self, arrival: Arrival) -> None:
        number = len(self.events)
        numbers = self._numbers.get(arrival.source)
        if numbers is None:
            numbers = self._numbers[arrival.source] = []
        # A trace of whole minutes has equal times; a source's global timestamps are strictly increasing all the same.
        time = max(arrival.created, self._times.get(arrival.source, -1) + 1)
        self._times[arrival.source] = time
        numbers.append(number)
        event = Event(arrival.stream, arrival.type, arrival.data, arrival.source, len(numbers), time)
        self.events.append(event)
        self._note(Stage.CREATED, number)
        if self._reliable:
            outbox = self._outboxes.get(arrival.source)
            if outbox is None:
                outbox = self._outboxes[arrival.source] = Outbox(self._backoff)
            self._waiting[arrival.source] = outbox
            frame = outbox.add(event, self._env.now)
        else:
            frame = event.frame
        self._channel.send(frame, number)

    def _watch(self, _: object) -> None:
        """Begin to look at what is overdue, once per period."""
        if not self.done:
            after(self._env, self._settings.check_period, self._look)

    def _look(self, _: object) -> None:
        for source, outbox in self._waiting.items():
            for sequence, frame in outbox.due(self._env.now):
                number = self.number_of(source, sequence)
                self._note(Stage.DETECTED_OVERDUE, number)
                self._send_again(number, frame)
        self._watch(None)

    def _resend(self, source: str, frames: Iterable[tuple[int, bytes]]) -> None:
        for sequence, frame in frames:
            self._send_again(self.number_of(source, sequence), frame)

    def _send_again(self, number: int, frame: bytes) -> None:
        self._note(Stage.RESENT, number)
        self._channel.send(frame, number, again=True)
