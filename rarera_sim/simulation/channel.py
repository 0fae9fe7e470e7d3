"""The network between sources and the system: it loses, repeats, delays, reorders and damages frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import simpy

from rarera_sim.core.event import Frame
from rarera_sim.core.trace import Stage
from rarera_sim.simulation.kernel import Streams, after
from rarera_sim.simulation.quantities import Seconds, Settings, Share

_BLOCK = 4096


class Faults(Settings, frozen=True, kw_only=True):
    """What the network does to frames, each independently of the others.

    Parameters
    ----------
    loss, duplication, damage
        Share of frames that vanish, arrive twice, or arrive with one bit flipped.
    delay_min, delay_mean
        Every frame takes `delay_min` plus an exponential time, `delay_mean` seconds in all on average.
    reordering, reordering_delay
        Share of frames held back, and for how long: later frames overtake them.
    """

    loss: Share = 0.0
    duplication: Share = 0.0
    damage: Share = 0.0
    delay_min: Seconds = 0.0
    delay_mean: Seconds = 0.0
    reordering: Share = 0.0
    reordering_delay: Seconds = 0.0


class Fate(NamedTuple):
    """What becomes of one frame: decided before it is sent, so that every transport sees the same weather."""

    lost: bool
    repeated: bool
    damaged: bool
    delay: float
    repeat_delay: float
    bit: float  # which bit is flipped, as a share of the frame's length


class Weather:
    """Draws fates from one named stream, in blocks, and counts nothing: a fate is the same for whoever asks first.

    Parameters
    ----------
    name
        "sent" for first transmissions, one fate per arrival in order; anything else for what follows from them.
    """

    def __init__(self, faults: Faults, streams: Streams, name: str) -> None:
        self._faults = faults
        self._generator = streams.generator("channel", name)
        self._block: list[Fate] = []

    def draw(self) -> Fate:
        if not self._block:
            self._block = self._draw_block()
        return self._block.pop()

    def _draw_block(self) -> list[Fate]:
        faults = self._faults
        lost, repeated, damaged, held, bit = self._generator.random((5, _BLOCK))
        tail = max(faults.delay_mean - faults.delay_min, 0.0)
        delay, repeat_delay = faults.delay_min + self._generator.exponential(tail, (2, _BLOCK))
        delay = delay + (held < faults.reordering) * faults.reordering_delay
        columns = (
            lost < faults.loss,
            repeated < faults.duplication,
            damaged < faults.damage,
            delay,
            repeat_delay,
            bit,
        )
        return [Fate(*row) for row in zip(*(column.tolist() for column in columns), strict=True)][::-1]


class Channel:
    """Carries frames one way and short control messages (acknowledgements, requests) back.

    Parameters
    ----------
    deliver
        Called with (frame, number) for every copy that arrives; `number` is the event's number in the workload, for
        the tracer only: a receiver sees bytes.
    note
        Called with (stage, number) for what the network did.
    """

    def __init__(
        self,
        env: simpy.Environment,
        faults: Faults,
        streams: Streams,
        deliver: Callable[[tuple[Frame, int]], None],
        note: Callable[[str, int], None],
    ) -> None:
        self._env = env
        self._deliver = deliver
        self._note = note
        self.in_flight = 0
        self._sent = Weather(faults, streams, "sent")
        self._resent = Weather(faults, streams, "resent")
        self._control = Weather(faults, streams, "control")

    def send(self, frame: Frame, number: int, *, again: bool = False) -> None:
        """Give a frame to the network; `again` marks what is not a first transmission."""
        fate = (self._resent if again else self._sent).draw()
        if fate.lost:
            self._note(Stage.FRAME_LOST, number)
        else:
            arriving = frame
            if fate.damaged:
                self._note(Stage.FRAME_DAMAGED, number)
                arriving = flip(frame, fate.bit)
            self._carry(fate.delay, arriving, number)
        # The copy travels on its own: it may arrive although the original is lost or damaged.
        if fate.repeated:
            self._note(Stage.FRAME_REPEATED, number)
            self._carry(fate.repeat_delay, frame, number)

    def _carry(self, delay: float, frame: Frame, number: int) -> None:
        self.in_flight += 1
        after(self._env, delay, self._arrive, (frame, number))

    def _arrive(self, arrived: tuple[Frame, int]) -> None:
        self.in_flight -= 1
        self._deliver(arrived)

    def reply(self, callback: Callable[[Any], None], value: Any) -> None:
        """A control message: may be late or lost; a damaged one is dropped by its checksum, thus lost as well."""
        fate = self._control.draw()
        if not (fate.lost or fate.damaged):
            after(self._env, fate.delay, callback, value)


def flip(frame: Frame, share: float) -> Frame:
    """The frame with one bit flipped, `share` of the way through it.

    >>> flip(b"aaaa", 0.5)
    b'aa`a'
    """
    place = min(int(share * len(frame) * 8), len(frame) * 8 - 1)
    damaged = bytearray(frame)
    damaged[place // 8] ^= 1 << (place % 8)
    return bytes(damaged)
