"""The traditional message queue: a bounded memory that keeps the newest, and messages that nobody can identify.

It does what its kind does: it takes bytes for messages, hands each to one consumer, and forgets it. What comes twice
is two messages. What is damaged and still parses is another message. What finds the memory full pushes out the oldest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Literal

import simpy

from rarera_sim.core.errors import InvalidEvent
from rarera_sim.core.event import Frame, decode
from rarera_sim.core.projection import Projection
from rarera_sim.core.trace import Stage
from rarera_sim.simulation.channel import Channel
from rarera_sim.simulation.kernel import after
from rarera_sim.simulation.note import Note
from rarera_sim.simulation.producer import Producer
from rarera_sim.simulation.quantities import Count, PositiveSeconds, Settings
from rarera_sim.simulation.transport import Work

Delivery = Literal["at-most-once", "at-least-once"]


class QueueSettings(Settings, frozen=True, kw_only=True):
    """What a queue can hold, and how long it waits for its consumers.

    Parameters
    ----------
    memory_max
        Messages held, those that a consumer works on included.
    full
        What happens when there are so many: the oldest one waiting is dropped, or the new one is rejected, or the
        source is blocked, with what it sends waiting at the door, in order, until there is room.
    visibility_timeout
        At-least-once: seconds after which a message that no consumer has acknowledged is delivered again.
    """

    memory_max: Count = 200
    full: Literal["drop-oldest", "reject", "block"] = "drop-oldest"
    visibility_timeout: PositiveSeconds = 30.0


class QueueTransport:
    """From frames to work by way of a message queue.

    At-most-once: a source sends and forgets, a message is gone once it is handed out. At-least-once: a source sends
    again until the broker confirms, a message is gone once its consumer has acknowledged it.

    Parameters
    ----------
    note
        Told what happens to events.
    ring
        Called when there may be new work.
    """

    def __init__(
        self,
        env: simpy.Environment,
        settings: QueueSettings,
        delivery: Delivery,
        projection: Projection[Any],
        note: Note,
        ring: Callable[[], None],
    ) -> None:
        self._env = env
        self._settings = settings
        self._insists = delivery == "at-least-once"
        self._projection = projection
        self._note = note
        self._ring = ring
        self._tag = 0  # of the newest message
        self._messages: dict[int, tuple[Frame, int]] = {}  # waiting, oldest first, by delivery tag
        self._unacknowledged: dict[int, tuple[Frame, int]] = {}
        self._door: deque[tuple[Frame, int]] = deque()  # of sources that are blocked
        self._received: set[int] = set()
        self._held = 0  # messages with consumers, acknowledged or not
        self.state = projection.initial()

    def connect(self, producer: Producer, channel: Channel) -> None:
        """The way back to the sources, for the broker's confirmations."""
        self._producer = producer
        self._channel = channel

    def settle(self) -> None:
        self._producer.catch_up(self._env._now)

    @property
    def waiting(self) -> int:
        return len(self._messages)

    @property
    def idle(self) -> bool:
        return not (self._messages or self._unacknowledged or self._held or self._door)

    def receive(self, arrived: tuple[Frame, int]) -> None:
        number = arrived[1]
        if number not in self._received:
            self._received.add(number)
            self._note(Stage.RECEIVED, number)
        if self._settings.full == "block" and (self._door or self._is_full):
            self._door.append(arrived)
            return
        self._enter(arrived)
        self._ring()

    def _enter(self, arrived: tuple[Frame, int]) -> None:
        number = arrived[1]
        if not self._put(arrived):
            return  # nobody confirms it: a source that insists sends it again
        self._note(Stage.RECORDED, number)
        if self._insists:
            delay = self._channel.reply_delay()
            if delay is not None:
                self._producer.hear(self._env._now + delay, [self._producer.receipt_of(number)])

    def _open_door(self) -> None:
        while self._door and not self._is_full:
            self._enter(self._door.popleft())

    @property
    def _is_full(self) -> bool:
        return len(self._messages) + len(self._unacknowledged) >= self._settings.memory_max

    def take(self) -> Work | None:
        if self._door:
            self._open_door()
        while self._messages:
            tag = next(iter(self._messages))
            frame, number = message = self._messages.pop(tag)
            try:
                event = decode(frame, verify=False)
            except InvalidEvent:
                self._note(Stage.UNREADABLE, number)
                continue
            if self._insists:
                self._unacknowledged[tag] = message
                after(self._env, self._settings.visibility_timeout, self._time_out, tag)
            self._held += 1
            return Work(number, event, tag)
        return None

    def finish(self, work: Work) -> None:
        self._held -= 1
        assert work.event is not None, "messages have content"
        self.state = self._projection.apply(self.state, work.event)
        # The truth, known to the model only: whoever consumes a message takes it for what it says.
        intact = work.event == self._producer.events[work.number]
        self._note(Stage.FINISHED if intact else Stage.MISREAD, work.number)
        assert isinstance(work.token, int), "work of another transport"
        self._unacknowledged.pop(work.token, None)
        if self._door:
            self._open_door()

    def fail(self, work: Work) -> None:
        self._held -= 1
        if not self._insists:
            self._note(Stage.DROPPED, work.number)
        # Otherwise nobody tells the broker: the visibility timeout has to run out.

    def bury(self, work: Work) -> None:
        self._held -= 1
        assert isinstance(work.token, int), "work of another transport"
        self._unacknowledged.pop(work.token, None)
        self._note(Stage.DEAD_LETTER, work.number)

    def give_up(self, work: Work) -> None:
        self._held -= 1
        assert isinstance(work.token, int), "work of another transport"
        self._unacknowledged.pop(work.token, None)
        self._note(Stage.ABANDONED, work.number)

    def _put(self, message: tuple[Frame, int], *, again: bool = False) -> bool:
        if self._is_full and not (again and self._settings.full != "drop-oldest"):
            if self._settings.full == "reject":
                self._note(Stage.REJECTED, message[1])
                return False
            if self._messages:
                _, number = self._messages.pop(next(iter(self._messages)))
                self._note(Stage.DROPPED, number)
        self._tag += 1
        self._messages[self._tag] = message
        return True

    def _time_out(self, tag: int) -> None:
        message = self._unacknowledged.pop(tag, None)
        if message is not None:
            self._note(Stage.REDELIVERED, message[1])
            self._put(message, again=True)
            self._ring()
