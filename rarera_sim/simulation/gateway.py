"""The event log as transport: the real inbox, log, bus, subscription and projection, moved by SimPy.

Frames are checked by the inbox, committed to the log in batches, announced on the bus and acknowledged to their
sources. What is missing is asked for; what comes twice is refused by the log.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import simpy

from rarera_sim.core.bus import EVERYTHING, EventBus, Notification, notification
from rarera_sim.core.event import Frame, Recorded
from rarera_sim.core.inbox import Corrupt, Inbox, Order
from rarera_sim.core.log import EventLog
from rarera_sim.core.projection import Materialised, Projection
from rarera_sim.core.subscription import Subscription
from rarera_sim.core.trace import Stage
from rarera_sim.simulation.channel import Channel
from rarera_sim.simulation.kernel import after
from rarera_sim.simulation.producer import Producer
from rarera_sim.simulation.storage import Batch, LogSettings, Storage
from rarera_sim.simulation.transport import Work


@dataclass(frozen=True)
class Ports:
    """The core's objects that a run works on; whoever starts the run chooses the technology."""

    log: EventLog
    bus: EventBus
    projection: Projection[Any]


class LogTransport:
    """From frames to work by way of the log.

    Parameters
    ----------
    note
        Called with (stage, number) for what happens to an event.
    ring
        Called when there may be new work.
    """

    def __init__(
        self,
        env: simpy.Environment,
        settings: LogSettings,
        ports: Ports,
        note: Callable[[str, int], None],
        ring: Callable[[], None],
    ) -> None:
        self._env = env
        self._settings = settings
        self._bus = ports.bus
        self._note = note
        self._ring = ring
        self._inbox = Inbox(ports.log.sequences())
        self._storage = Storage(env, settings, ports.log, self._committed)
        self._subscription = Subscription(ports.log, after=ports.log.head())
        self._materialised = Materialised(ports.projection)
        self._materialised.position = ports.log.head()
        self._waiting = 0
        self._numbers: dict[int, int] = {}  # by position, of events recorded and not yet finished
        self._publishing = self._heard = False
        self._asked: dict[str, int] = {}
        ports.bus.listen([EVERYTHING], self._rung)
        after(env, settings.ring_period, self._look)

    def connect(self, producer: Producer, channel: Channel) -> None:
        """The way back to the sources."""
        self._producer = producer
        self._channel = channel

    @property
    def state(self) -> Any:
        """What the processors have made of the events."""
        return self._materialised.state

    @property
    def waiting(self) -> int:
        return self._waiting

    @property
    def idle(self) -> bool:
        return self._storage.idle and not (self._waiting or self._subscription.in_flight)

    # In

    def receive(self, arrived: tuple[Frame, int]) -> None:
        frame, number = arrived
        found = self._inbox.receive(frame)
        if isinstance(found, Corrupt):
            self._note(Stage.DETECTED_DAMAGE, number)
            return
        event, order = found
        if order is Order.AHEAD:
            after(self._env, self._settings.gap_patience, self._ask_for_missing, (event.source, event.sequence))
        if order is not Order.SEEN:
            self._note(Stage.RECEIVED, number)
        if not self._storage.put(event, number):
            self._refuse(number)

    def _committed(self, batch: Batch, appended: list[Recorded]) -> None:
        self._waiting += len(appended)
        received: dict[str, list[int]] = {}
        numbers, note = self._numbers, self._note
        fresh = iter(appended)  # in the order of the batch, without the repeats
        recorded = next(fresh, None)
        for event, number in batch:
            source = received.get(event.source)
            if source is None:
                source = received[event.source] = []
            source.append(event.sequence)
            if recorded is not None and (recorded.event is event or recorded.event.id == event.id):
                numbers[recorded.position] = number
                note(Stage.RECORDED, number)
                recorded = next(fresh, None)
            else:
                self._refuse(number)
        assert recorded is None, "the log recorded what it was not given"
        # After the commit, never before: a bell that rings for what is not there yet is a lie.
        self._publishing, self._heard = True, False
        self._bus.publish([notification(each) for each in appended])
        self._publishing = False
        if self._heard:
            self._rung(None)
        # Repeats are acknowledged again: their source has not heard of the first time.
        for name, sequences in received.items():
            self._channel.reply(self._producer.acknowledge, (name, tuple(sequences)))

    def _refuse(self, number: int) -> None:
        self._note(Stage.DETECTED_REPEAT, number)
        self._note(Stage.REFUSED, number)

    def _ask_for_missing(self, place: tuple[str, int]) -> None:
        """Ask a source for what has not come although something later has; each sequence once, the outbox insists."""
        source, before = place
        asked = self._asked.get(source, 0)
        missing = tuple(sequence for sequence in self._inbox.missing(source) if asked < sequence < before)
        if missing:
            self._asked[source] = missing[-1]
            for sequence in missing:
                self._note(Stage.DETECTED_GAP, self._producer.number_of(source, sequence))
            self._channel.reply(self._producer.request, (source, missing))

    # Out

    def take(self) -> Work | None:
        recorded = self._subscription.poll()
        if recorded is None:
            return None
        self._waiting -= 1
        return Work(self._numbers[recorded.position], recorded.event, recorded)

    def finish(self, work: Work) -> None:
        recorded = _recorded(work)
        # An event is applied once, however often it was delivered: its position decides.
        if self._materialised.apply(recorded):
            self._note(Stage.FINISHED, work.number)
        self._subscription.ack(recorded)
        del self._numbers[recorded.position]

    def fail(self, work: Work) -> None:
        self._note(Stage.DETECTED_CRASH, work.number)
        self._subscription.release(_recorded(work))
        self._waiting += 1
        self._note(Stage.RELEASED, work.number)
        self._ring()

    def bury(self, work: Work) -> None:
        """It is done with, and has had no effect: the log keeps it, whoever wants to try again finds it there."""
        recorded = _recorded(work)
        self._note(Stage.DETECTED_CRASH, work.number)
        self._note(Stage.DEAD_LETTER, work.number)
        self._subscription.ack(recorded)
        del self._numbers[recorded.position]

    def _rung(self, _: Notification | None) -> None:
        if self._publishing:
            self._heard = True  # one answer for all of a batch: it is in the log already
            return
        self._subscription.ring()
        self._ring()

    def _look(self, _: object) -> None:
        """Look at the log although nobody rang: what a lost notification costs is bounded by this."""
        self._subscription.ring()
        self._ring()
        after(self._env, self._settings.ring_period, self._look)


def _recorded(work: Work) -> Recorded:
    assert isinstance(work.token, Recorded), "work of another transport"
    return work.token
