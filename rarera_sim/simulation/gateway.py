"""The event log as transport: the real inbox, log, bus, subscription and projection, moved by SimPy.

Frames are checked by the inbox, committed to the log in batches, announced on the bus and acknowledged to their
sources. What is missing is asked for; what comes twice is refused by the log.

Between two commits nothing that comes has an effect that anybody could see. So sources and frames are caught up with
when a batch is closed or somebody looks (`settle`), each with the moment that it had, and not one call after the other:
two fifths of the cost of an event were those of calling for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappush
from math import inf
from typing import Any

import simpy

from rarera_sim.core.bus import EVERYTHING, EventBus, Notification, notifications
from rarera_sim.core.event import Frame, Recorded
from rarera_sim.core.inbox import Corrupt, Inbox, Order
from rarera_sim.core.log import EventLog
from rarera_sim.core.projection import Materialised, Projection
from rarera_sim.core.subscription import Subscription
from rarera_sim.core.trace import Stage
from rarera_sim.simulation.channel import Channel
from rarera_sim.simulation.cluster import Cluster
from rarera_sim.simulation.kernel import Call, Mailbox, after, push
from rarera_sim.simulation.note import Note
from rarera_sim.simulation.processor import Processor, State
from rarera_sim.simulation.producer import Acknowledgement, Producer
from rarera_sim.simulation.short_way import ShortJob, ShortWay
from rarera_sim.simulation.storage import Batch, LogSettings, Storage
from rarera_sim.simulation.transport import Work


@dataclass(frozen=True)
class Ports:
    """The core's objects that a run works on; whoever starts the run chooses the technology.

    `incidents` is the log in which `vigilance` writes what it finds; None: nowhere.
    """

    log: EventLog
    bus: EventBus
    projection: Projection[Any]
    incidents: EventLog | None = None


class LogTransport(ShortWay):
    """From frames to work by way of the log.

    Parameters
    ----------
    cluster, services
        Who does the work, and how long each event takes at speed 1, seconds, by number.
    note
        Told what happens to events.
    prompt
        Look at each frame and at the end of each service at its moment, for those who have to be told then and not when
        the next batch is closed.
    """

    def __init__(
        self,
        env: simpy.Environment,
        settings: LogSettings,
        ports: Ports,
        cluster: Cluster,
        services: Sequence[float],
        note: Note,
        *,
        prompt: bool = False,
    ) -> None:
        super().__init__(env, services)
        self._settings = settings
        self._bus = ports.bus
        self._cluster = cluster
        self._note = note
        self._inbox = Inbox(ports.log.sequences())
        self._storage = Storage(env, settings, ports.log, self._catch_up, self._committed)
        self._coming = Mailbox()  # frames, each with the number of its event
        # Who is impatient sees what is put off.
        self._prompt = prompt or settings.gap_patience <= settings.commit_window + settings.commit_duration(
            settings.batch_max
        )
        self._next_look = inf
        self._catching_up = False
        self._subscription = Subscription(ports.log, after=ports.log.head())
        self._materialised = Materialised(ports.projection)
        self._materialised.position = ports.log.head()
        self._recorded = 0  # and not yet taken from the subscription
        self._numbers: dict[int, int] = {}  # by position, of events recorded and not yet finished
        self._short = cluster.takes_the_short_way and not prompt
        self._taken: dict[int, Recorded] = {}  # by number, of events that take the short way
        self._ended: list[tuple[int, float, float, float]] = []  # their services, see `Cluster.count`
        self._begun: set[int] = set()  # of those under way, the ones that are told of
        if self._short:
            cluster.connect_lane(self)
        self._publishing = self._heard = False
        self._asked: dict[str, int] = {}
        self._held: dict[str, list[Recorded]] = {}  # events of sources in quarantine
        ports.bus.listen([EVERYTHING], self._rung)
        after(env, settings.ring_period, self._look)

    def connect(self, producer: Producer, channel: Channel) -> None:
        """The way back to the sources."""
        self._producer = producer
        self._channel = channel
        self._look_in_time()

    @property
    def state(self) -> Any:
        """What the processors have made of the events."""
        return self._materialised.state

    @property
    def waiting(self) -> int:
        return self._recorded + len(self._waiting)

    @property
    def idle(self) -> bool:
        return self._storage.idle and not (self._coming or self._recorded or self._subscription.in_flight)

    def settle(self) -> None:
        self._catch_up()
        for processor in self._processors.values():
            for job in processor.jobs:
                if job.number not in self._begun:
                    self._begun.add(job.number)
                    self._cluster.began([job.number], [job.since])

    # In

    def expect(self, moment: float, arriving: tuple[Frame, int]) -> None:
        """A frame will come out of the network, with the number of its event."""
        self._coming.post(moment, arriving)
        if not self._catching_up:
            self._look_in_time()

    def receive(self, arrived: tuple[Frame, int]) -> None:
        self.expect(self._env._now, arrived)

    def _catch_up(self) -> None:
        """Look at what has come by now."""
        now = self._env._now
        self._catching_up = True
        self._producer.catch_up(now)
        if self._coming.next_time <= now:
            self._receive(self._coming.until(now))
        if self._ended:
            self._finish_all()
        self._catching_up = False
        self._look_in_time()

    def _look_in_time(self) -> None:
        """Have somebody look when the next frame comes, if nobody would in time."""
        storage, coming, producer = self._storage, self._coming, self._producer
        if not (self._prompt or storage.idle):
            # Who writes the batch looks when it is written, and who closes it before, unless it is full earlier.
            closes_at = storage.closes_at
            if closes_at == inf:
                return
            # Each event to come may come twice.
            room = storage.room - 1 - len(coming)
            if room >= 0 and not producer.makes_more_by(closes_at, room // 2):
                return
        moment = min(coming.next_time, producer.next_time)
        if moment < self._next_look:
            self._next_look = moment
            push(self._env, moment, Call(self._look_now, moment))

    def _look_now(self, moment: float) -> None:
        if moment == self._next_look:
            self._next_look = inf
            self._catch_up()

    def _receive(self, frames: list[tuple[float, tuple[Frame, int]]]) -> None:
        receive, put, note = self._inbox.receive, self._storage.put, self._note
        numbers: list[int] = []
        moments: list[float] = []
        for moment, (frame, number) in frames:
            found = receive(frame)
            if isinstance(found, Corrupt):
                note(Stage.DETECTED_DAMAGE, number, moment)
                continue
            event, order = found
            if order is not Order.SEEN:
                numbers.append(number)
                moments.append(moment)
                if order is Order.AHEAD:
                    patient_until = max(self._env._now, moment + self._settings.gap_patience)
                    push(self._env, patient_until, Call(self._ask_for_missing, (event.source, event.sequence)))
            if not put(event, number):
                if numbers:
                    note.all(Stage.RECEIVED, numbers, moments)
                    numbers, moments = [], []
                self._refuse(number, moment)
        if numbers:
            note.all(Stage.RECEIVED, numbers, moments)

    def _committed(self, batch: Batch, appended: list[Recorded]) -> None:
        self._recorded += len(appended)
        now = self._env._now
        received: dict[str, list[int]] = {}
        numbers, recorded_numbers = self._numbers, []
        fresh = iter(appended)  # in the order of the batch, without the repeats
        recorded = next(fresh, None)
        for event, number in batch:
            source = received.get(event.source)
            if source is None:
                source = received[event.source] = []
            source.append(event.sequence)
            if recorded is not None and (recorded.event is event or recorded.event.id == event.id):
                numbers[recorded.position] = number
                recorded_numbers.append(number)
                recorded = next(fresh, None)
            else:
                self._refuse(number, now)
        assert recorded is None, "the log recorded what it was not given"
        self._note.all(Stage.RECORDED, recorded_numbers, [now] * len(recorded_numbers))
        # After the commit, never before: a bell that rings for what is not there yet is a lie.
        self._publishing, self._heard = True, False
        self._bus.publish(notifications(appended))
        self._publishing = False
        if self._heard:
            self._rung(None)
        # Repeats are acknowledged again: their source has not heard of the first time.
        replies: dict[float, list[Acknowledgement]] = {}
        for name, sequences in received.items():
            delay = self._channel.reply_delay()
            if delay is not None:
                replies.setdefault(delay, []).append((name, sequences))
        for delay, acknowledgements in replies.items():
            self._producer.hear(now + delay, acknowledgements)

    def _refuse(self, number: int, moment: float) -> None:
        self._note(Stage.DETECTED_REPEAT, number, moment)
        self._note(Stage.REFUSED, number, moment)

    def _ask_for_missing(self, place: tuple[str, int]) -> None:
        """Ask a source for what has not come although something later has; each sequence once, the outbox insists."""
        self._catch_up()
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
        if self._waiting:
            return self.work_of(self._waiting.popleft())  # taken when services took the short way
        recorded = self._subscription.poll()
        while recorded is not None and recorded.event.source in self._held:
            self._held[recorded.event.source].append(recorded)
            self._recorded -= 1
            recorded = self._subscription.poll()
        if recorded is None:
            return None
        self._recorded -= 1
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
        self._recorded += 1
        self._note(Stage.RELEASED, work.number)
        self._ring()

    def bury(self, work: Work) -> None:
        """It is done with, and has had no effect: the log keeps it, whoever wants to try again finds it there."""
        recorded = _recorded(work)
        self._note(Stage.DETECTED_CRASH, work.number)
        self._note(Stage.DEAD_LETTER, work.number)
        self._subscription.ack(recorded)
        del self._numbers[recorded.position]

    def give_up(self, work: Work) -> None:
        recorded = _recorded(work)
        self._note(Stage.ABANDONED, work.number)
        self._subscription.ack(recorded)
        del self._numbers[recorded.position]

    def hold(self, source: str) -> None:
        """Pass nothing of this source on. What it sends is recorded as ever, and waits."""
        self._held.setdefault(source, [])

    def release(self, source: str) -> int:
        """Pass the source's events on again, those held first; how many they were."""
        held = self._held.pop(source, [])
        for recorded in held:
            self._subscription.release(recorded)
        self._recorded += len(held)
        self._ring()
        return len(held)

    def _rung(self, _: Notification | None) -> None:
        if self._publishing:
            self._heard = True  # one answer for all of a batch: it is in the log already
            return
        self._subscription.ring()
        self._ring()

    def _ring(self) -> None:
        """There may be new work."""
        if self._short:
            self._take_all()
        self._cluster.dispatch()

    def _look(self, _: object) -> None:
        """Look at the log although nobody rang: what a lost notification costs is bounded by this."""
        self._subscription.ring()
        self._ring()
        after(self._env, self._settings.ring_period, self._look)

    # For a cluster that takes the short way

    def _take_all(self) -> None:
        """Have all that was recorded stand in line."""
        taken, waiting = self._taken, self._waiting
        for recorded in self._subscription.poll_all():
            self._recorded -= 1
            number = self._numbers[recorded.position]
            taken[number] = recorded
            if not waiting or taken[waiting[-1]].position < recorded.position:
                waiting.append(number)
                continue
            # It was released: it comes again, before all that was recorded later.
            before = []
            while taken[waiting[0]].position < recorded.position:
                before.append(waiting.popleft())
            waiting.appendleft(number)
            waiting.extendleft(reversed(before))

    def work_of(self, number: int) -> Work:
        recorded = self._taken.pop(number)
        return Work(number, recorded.event, recorded)

    def abandon(self, processor: Processor) -> tuple[Work, float]:
        work, since = super().abandon(processor)
        if work.number in self._begun:
            self._begun.remove(work.number)
        else:
            self._cluster.began([work.number], [since])
        return work, since

    def leave_the_short_way(self) -> None:
        self._finish_all()
        self._short = False
        super().leave_the_short_way()

    def _done(self, job: ShortJob) -> None:
        processor = job.processor
        if processor is None:
            return  # ended early
        env = self._env
        now = env._now
        since = job.since
        self._ended.append((job.number, since, now, processor.speed))
        processor.busy_time += now - since
        if processor.place >= 0 and self._waiting:
            job.number = number = self._waiting.popleft()
            job.since = now
            job.callbacks = self._done_call
            heappush(env._queue, (now + self._services[number] / processor.speed, 1, next(env._eid), job))  # type: ignore[misc]
        elif processor.place >= 0:
            processor.jobs = job.idle
            heappush(self._free, processor.rank)
        else:
            processor.jobs = []
            if processor.state is State.DRAINING:
                self._cluster.drained(processor)

    def _finish_all(self) -> None:
        """Have what has been done take effect."""
        ended, self._ended = self._ended, []
        apply, ack, taken, numbers = self._materialised.apply, self._subscription.ack, self._taken, self._numbers
        for number, _, _, _ in ended:
            recorded = taken.pop(number)
            applied = apply(recorded)
            assert applied, "on the short way an event is with one processor"
            ack(recorded)
            del numbers[recorded.position]
        self._cluster.count(ended)
        begun = ended
        if self._begun:
            begun = [each for each in ended if each[0] not in self._begun]
            self._begun.difference_update(number for number, _, _, _ in ended)
        self._cluster.began([each[0] for each in begun], [each[1] for each in begun])
        self._note.all(Stage.FINISHED, [each[0] for each in ended], [each[2] for each in ended])


def _recorded(work: Work) -> Recorded:
    assert isinstance(work.token, Recorded), "work of another transport"
    return work.token
