"""The sources: each makes its events at its time, and keeps them until they are acknowledged."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable

import simpy

from rarera_sim.core.event import Event
from rarera_sim.core.outbox import Outbox
from rarera_sim.core.retry import Backoff
from rarera_sim.core.trace import Stage
from rarera_sim.simulation.arrivals import Workload
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
        if self._arrivals:
            after(env, self._arrivals[0].time, self._create)
            if reliable:
                env.process(self._watch())

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
        return len(self.events) == len(self._arrivals) and not self._waiting

    def _create(self, _: object) -> None:
        number = len(self.events)
        arrival = self._arrivals[number]
        numbers = self._numbers.setdefault(arrival.source, [])
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
        if number + 1 < len(self._arrivals):
            after(self._env, max(0.0, self._arrivals[number + 1].time - self._env.now), self._create)

    def _watch(self) -> Generator[simpy.Event, object, None]:
        while not self.done:
            yield self._env.timeout(self._settings.check_period)
            for source, outbox in self._waiting.items():
                for sequence, frame in outbox.due(self._env.now):
                    number = self.number_of(source, sequence)
                    self._note(Stage.DETECTED_OVERDUE, number)
                    self._send_again(number, frame)

    def _resend(self, source: str, frames: Iterable[tuple[int, bytes]]) -> None:
        for sequence, frame in frames:
            self._send_again(self.number_of(source, sequence), frame)

    def _send_again(self, number: int, frame: bytes) -> None:
        self._note(Stage.RESENT, number)
        self._channel.send(frame, number, again=True)
