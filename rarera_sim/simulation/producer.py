"""The sources: each makes its events at its time, and keeps them until they are acknowledged."""

from __future__ import annotations

import zlib
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import inf
from typing import Literal

import numpy as np
import simpy

from rarera_sim.core.event import Event, Frame, encode_all
from rarera_sim.core.outbox import Outbox
from rarera_sim.core.retry import Backoff
from rarera_sim.core.time import SECOND
from rarera_sim.core.trace import Stage
from rarera_sim.simulation.arrivals import Arrival, Workload
from rarera_sim.simulation.channel import Channel
from rarera_sim.simulation.kernel import Call, Mailbox, after, checked, push
from rarera_sim.simulation.note import Note
from rarera_sim.simulation.quantities import PositiveSeconds, Seconds, Settings

Acknowledgement = tuple[str, Sequence[int]]  # source, sequences


class SourceSettings(Settings, frozen=True, kw_only=True):
    """How a source sends, and how patiently it waits for its acknowledgements.

    Parameters
    ----------
    compression
        What frames are packed with for the channel's `bandwidth`: `zlib` with the source's first frame as a dictionary
        that both sides know, each frame by itself, so that a lost one spoils no other. Its real length counts.
    compression_time
        Seconds that packing takes before a frame is sent.
    resend_after, resend_after_max
        Seconds until an unacknowledged frame is sent again, doubling up to the longest.
    check_period
        Seconds between looks at what is overdue.
    """

    compression: Literal["none", "zlib"] = "none"
    compression_time: Seconds = 0.0
    resend_after: PositiveSeconds = 2.0
    resend_after_max: PositiveSeconds = 30.0
    check_period: PositiveSeconds = 0.5


class Producer:
    """All sources of a workload.

    Parameters
    ----------
    reliable
        Keep every event in an outbox until it is acknowledged. Without it a frame is sent once and forgotten.
    asked
        Whether `catch_up` is called by whoever needs to know what was sent. Otherwise each event is made at its moment;
        so it is anyhow where arrivals are closed, and answer to what happens.
    keep
        Have all events in `events`; without it an event is forgotten once it is acknowledged.
    note, tell
        Told what happens to events, and of events when they are made.
    """

    def __init__(
        self,
        env: simpy.Environment,
        workload: Workload,
        settings: SourceSettings,
        channel: Channel,
        note: Note,
        *,
        reliable: bool,
        asked: bool = False,
        keep: bool = True,
        tell: Callable[[Sequence[Event]], None] | None = None,
    ) -> None:
        self._env = env
        self._arrivals = workload.arrivals
        self._settings = settings
        self._channel = channel
        self._note = note
        self._reliable = reliable
        self._packs = settings.compression != "none"
        self._dictionaries: dict[str, Frame] = {}
        self.packed: dict[int, int] = {}  # by number of the event, bytes of its packed frame
        self._backoff = Backoff(delay=settings.resend_after, delay_max=settings.resend_after_max)
        self._outboxes: dict[str, Outbox] = {}
        self._waiting: dict[str, Outbox] = {}  # those that are not empty
        self._numbers: dict[str, array[int]] = {}  # per source, the workload number of each sequence
        self._times: dict[str, int] = {}
        self.events: list[Event] = []
        self.count = 0  # of the events made so far
        self._keep = keep
        self._tell = tell
        self._workload = workload
        self._closed = workload.closed
        self._users: dict[int, int] = {}  # who waits for which event
        self._asked = asked and self._closed is None
        self._moments = workload.times if self._asked else np.empty(0)
        self._ahead: deque[tuple[float, Event]] = deque()  # made before their time, each with it
        self._heard = Mailbox()  # acknowledgements
        # When the next event is to be made, where that is known.
        self.next_time = inf
        if self._closed is not None:
            for user in range(self._closed.settings.users):
                after(env, self._closed.think(), self._send_next, user)
        elif self._arrivals:
            self.next_time = env.now + checked(self._arrivals[0].time)
            if not self._asked:
                push(env, self.next_time, Call(self._create))
        if self._arrivals and reliable:
            after(env, 0.0, self._watch)

    def hear(self, moment: float, acknowledgements: Sequence[Acknowledgement]) -> None:
        """These will have come by this moment: they are taken when somebody looks at what is overdue."""
        self._heard.post(moment, acknowledgements)

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
        self.catch_up(self._env.now)
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
        """Everything is created, and nothing waits for an acknowledgement, as of the last `catch_up`."""
        if self._closed is not None:
            return bool(self._env.now >= self._workload.duration) and not self._waiting
        return self.count == len(self._arrivals) and not self._waiting

    @property
    def made(self) -> Iterator[Event]:
        """All events there are, those included that wait for their time."""
        yield from self.events
        for _, event in self._ahead:
            yield event

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
        number = self.count
        assert population is not None, "users send where arrivals are closed"
        assert number < len(self._arrivals), "more events than the think and service times allow"
        created = workload.epoch + round(now * workload.compression * SECOND)
        self._users[number] = user
        if population.settings.patience is not None:
            after(self._env, population.settings.patience, self.ended, number)
        arrival = self._arrivals[number]._replace(time=now, created=created, source=f"user-{user}")
        event = self._event_of(number, arrival)
        self._made([event])
        self._note(Stage.CREATED, number)
        self.catch_up(now)
        self._send(event, number, now)

    def _create(self, _: object) -> None:
        self.catch_up(self._env._now)
        if self.next_time < inf:
            push(self._env, self.next_time, Call(self._create))

    def makes_more_by(self, moment: float, count: int) -> bool:
        """Whether more than so many events are to be made by a moment; not known where arrivals are closed."""
        place = self.count + count
        return place < len(self._moments) and bool(self._moments[place] <= moment)

    def catch_up(self, now: float) -> None:
        """Make and send what is to have been sent by now, and take what was acknowledged."""
        if self.next_time <= now:
            start = self.count
            events, moments = self._make_until(now)
            self._note.all(Stage.CREATED, range(start, self.count), moments)
            heard, send = self._heard, self._send
            for number, event, moment in zip(range(start, self.count), events, moments, strict=True):
                if heard.next_time <= moment:
                    self._take_heard(moment)
                send(event, number, moment)
        if self._heard.next_time <= now:
            self._take_heard(now)

    def _make_until(self, now: float) -> tuple[list[Event], list[float]]:
        """Make the events that are due, each with its moment."""
        events: list[Event] = []
        moments: list[float] = []
        moment, ahead = self.next_time, self._ahead
        while moment <= now:
            if not ahead:
                self._look_ahead(self.count + len(events))
            moments.append(moment)
            events.append(ahead.popleft()[1])
            if not ahead:
                self._look_ahead(self.count + len(events))
            # As if a call had been made in between: not to the last bit the same as the arrival's time.
            moment = moment + max(0.0, ahead[0][0] - moment) if ahead else inf
        self.next_time = moment
        self._made(events)
        return events, moments

    def _look_ahead(self, start: int) -> None:
        """Make some events before their time: what they say does not depend on what happens meanwhile."""
        rows = self._arrivals[start : start + _TOGETHER]
        events = [self._event_of(number, arrival) for number, arrival in enumerate(rows, start)]
        encode_all(events)
        self._ahead.extend((arrival.time, event) for arrival, event in zip(rows, events, strict=True))

    def _event_of(self, number: int, arrival: Arrival) -> Event:
        _, created, source, stream, kind, data = arrival
        numbers = self._numbers.get(source)
        if numbers is None:
            numbers = self._numbers[source] = array("q")
            self._times[source] = -1
        # A trace of whole minutes has equal times; a source's global timestamps are strictly increasing all the same.
        last = self._times[source]
        time = self._times[source] = created if created > last else last + 1
        numbers.append(number)
        return Event(stream, kind, data, source, len(numbers), time)

    def _made(self, events: list[Event]) -> None:
        self.count += len(events)
        if self._keep:
            self.events += events
        if self._tell is not None:
            self._tell(events)

    def _send(self, event: Event, number: int, now: float) -> None:
        if self._reliable:
            source = event.source
            outbox = self._outboxes.get(source)
            if outbox is None:
                outbox = self._outboxes[source] = Outbox(self._backoff)
            self._waiting[source] = outbox
            frame = outbox.add(event, now)
        else:
            frame = event.frame
        if self._packs:
            length = self.packed[number] = self._packed(frame, event.source)
            self._channel.send(frame, number, now, length=length, held=self._held)
        else:
            self._channel.send(frame, number, now)

    @property
    def _held(self) -> float:
        return self._settings.compression_time

    def _packed(self, frame: Frame, source: str) -> int:
        """How long a frame is on the line."""
        known = self._dictionaries.setdefault(source, frame)
        if known is frame:
            return len(frame)
        packer = zlib.compressobj(6, zlib.DEFLATED, -15, zdict=known)
        return min(len(frame), len(packer.compress(frame)) + len(packer.flush()))

    def _take_heard(self, now: float) -> None:
        for _, acknowledgements in self._heard.until(now):
            for acknowledgement in acknowledgements:
                self.acknowledge(acknowledgement)

    def _watch(self, _: object) -> None:
        """Begin to look at what is overdue, once per period."""
        if not self.done:
            after(self._env, self._settings.check_period, self._look)

    def _look(self, _: object) -> None:
        self.catch_up(self._env.now)
        for source, outbox in self._waiting.items():
            for sequence, frame in outbox.due(self._env.now):
                number = self.number_of(source, sequence)
                self._note(Stage.DETECTED_OVERDUE, number)
                self._send_again(number, frame)
        self._watch(None)

    def _resend(self, source: str, frames: Iterable[tuple[int, bytes]]) -> None:
        for sequence, frame in frames:
            self._send_again(self.number_of(source, sequence), frame)

    def _send_again(self, number: int, frame: Frame) -> None:
        self._note(Stage.RESENT, number)
        if self._packs:
            self._channel.send(frame, number, again=True, length=self.packed[number])
        else:
            self._channel.send(frame, number, again=True)


_TOGETHER = 100  # events that are made at once
