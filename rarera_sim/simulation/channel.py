"""The network between sources and the system: it loses, repeats, delays, reorders and damages frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import simpy
from numpy.typing import NDArray

from rarera_sim.core.event import Frame
from rarera_sim.core.trace import Stage
from rarera_sim.simulation.distributions import Distribution
from rarera_sim.simulation.fates import Spells
from rarera_sim.simulation.kernel import Streams, after, checked
from rarera_sim.simulation.note import Note
from rarera_sim.simulation.quantities import Count, Positive, PositiveSeconds, Seconds, Settings, Share

_BLOCK = 4096

Direction = Literal["both", "to-system", "to-sources"]


class LossBursts(Settings, frozen=True, kw_only=True):
    """Losses that come together: a line that is good or bad, and changes from frame to frame.

    Beside `loss`, which holds while the line is good. The long-run share of bad frames is enter / (enter + leave),
    and a bad stretch has 1 / leave frames on average.

    Parameters
    ----------
    enter, leave
        How likely the line turns bad, and good again, at each frame.
    loss
        Share of frames that vanish while it is bad.

    References
    ----------
    Gilbert (1960), Capacity of a burst-noise channel; Elliott (1963), Estimates of error rates for codes on
    burst-noise channels. Bell System Technical Journal 39(5) and 42(5).
    """

    enter: Share
    leave: Share
    loss: Share = 1.0


class Partition(Settings, frozen=True, kw_only=True):
    """A time in which nothing comes through.

    Parameters
    ----------
    since, until
        Seconds since the run began.
    direction
        `both`; `to-system` cuts off frames alone, `to-sources` acknowledgements and requests alone.
    """

    since: Seconds
    until: PositiveSeconds
    direction: Direction = "both"


class Partitions(Settings, frozen=True, kw_only=True):
    """Partitions by chance, exponential.

    Parameters
    ----------
    gap_mean, length_mean
        Seconds between two, and of one.
    """

    gap_mean: PositiveSeconds
    length_mean: PositiveSeconds
    direction: Direction = "both"


class Faults(Settings, frozen=True, kw_only=True):
    """What the network does to frames, each independently of the others unless it says otherwise.

    Parameters
    ----------
    loss, duplication, damage
        Share of frames that vanish, arrive twice, or arrive with one bit flipped.
    delay_min, delay_mean
        Every frame takes `delay_min` plus an exponential time, `delay_mean` seconds in all on average.
    reordering, reordering_delay
        Share of frames held back, and for how long: later frames overtake them.
    bursts
        Losses that come together.
    delay
        Instead of the exponential time, seconds.
    hold
        Instead of the constant `reordering_delay`, seconds.
    corruption, corruption_bytes
        Share of frames of which so many bytes in a row are overwritten with noise.
    bandwidth
        Bytes per second of the line to the system, which frames pass one after the other by their real length, copies
        too; those that are lost further on as well. None: no limit.
    partitions, partitions_random
        When nothing comes through.
    """

    loss: Share = 0.0
    duplication: Share = 0.0
    damage: Share = 0.0
    delay_min: Seconds = 0.0
    delay_mean: Seconds = 0.0
    reordering: Share = 0.0
    reordering_delay: Seconds = 0.0
    bursts: LossBursts | None = None
    delay: Distribution | None = None
    hold: Distribution | None = None
    corruption: Share | None = None
    corruption_bytes: Count | None = None
    bandwidth: Positive | None = None
    partitions: tuple[Partition, ...] = ()
    partitions_random: Partitions | None = None

    def problem(self) -> str | None:
        """What does not go together, beginning with the field; None if all does."""
        if self.delay is None and self.delay_mean < self.delay_min:
            return f"delay_mean is {self.delay_mean!r} s, less than delay_min, {self.delay_min!r} s"
        if self.delay is not None and self.delay_mean:
            return f"delay_mean is {self.delay_mean!r} s, and delay says another; leave one of them out"
        if self.bursts is not None and not self.bursts.leave:
            return "bursts.leave must be > 0, got 0.0"
        for number, each in enumerate(self.partitions):
            if not each.since < each.until:
                return f"partitions[{number}] must have since < until, got {each.since!r} and {each.until!r}"
        for name in ("delay", "hold"):
            part: Distribution | None = getattr(self, name)
            problem = part.problem() if part is not None else None
            if problem:
                return f"{name}.{problem}"
        return None

    @property
    def loss_mean(self) -> float:
        """Share of frames lost in the long run, partitions aside."""
        if self.bursts is None or not self.bursts.enter:
            return self.loss
        bad = self.bursts.enter / (self.bursts.enter + self.bursts.leave)
        return (1.0 - bad) * self.loss + bad * self.bursts.loss


class Fate(NamedTuple):
    """What becomes of one frame: decided before it is sent, so that every transport sees the same weather."""

    lost: bool
    repeated: bool
    damaged: bool
    delay: float
    repeat_delay: float
    bit: float  # which bit is flipped, or where the noise begins, as a share of the frame's length
    corrupt: bool = False


class Weather:
    """Draws fates from one named stream, in blocks, and counts nothing: a fate is the same for whoever asks first.

    What a plain network does is drawn from the stream `name`, each further kind of fault from one of its own.

    Parameters
    ----------
    name
        "sent" for first transmissions, one fate per arrival in order; anything else for what follows from them.
    """

    def __init__(self, faults: Faults, streams: Streams, name: str) -> None:
        self._faults = faults
        self._generator = streams.generator("channel", name)
        self._further = {
            kind: streams.generator("channel", name, kind) for kind in ("bursts", "delay", "hold", "corruption")
        }
        self._bad = False
        self._block: list[Fate] = []

    def draw(self) -> Fate:
        if not self._block:
            self._block = self._draw_block()
        return self._block.pop()

    def _draw_block(self) -> list[Fate]:
        faults, further = self._faults, self._further
        lost, repeated, damaged, held, bit = self._generator.random((5, _BLOCK))
        tail = max(faults.delay_mean - faults.delay_min, 0.0)
        delay, repeat_delay = faults.delay_min + self._generator.exponential(tail, (2, _BLOCK))
        if faults.delay is not None:
            delay, repeat_delay = faults.delay_min + faults.delay.draw(further["delay"], 2 * _BLOCK).reshape(2, -1)
        hold = faults.reordering_delay if faults.hold is None else faults.hold.draw(further["hold"], _BLOCK)
        delay = delay + (held < faults.reordering) * hold
        corrupt = further["corruption"].random(_BLOCK) < faults.corruption if faults.corruption else np.zeros(_BLOCK)
        columns = (
            lost < (faults.loss if faults.bursts is None else self._losses(faults.bursts)),
            repeated < faults.duplication,
            damaged < faults.damage,
            delay,
            repeat_delay,
            bit,
            corrupt > 0,
        )
        return list(map(Fate._make, zip(*(column.tolist() for column in columns), strict=True)))[::-1]

    def _losses(self, bursts: LossBursts) -> NDArray[np.float64]:
        """How likely each frame of a block is lost."""
        bad, states = self._bad, []
        for uniform in self._further["bursts"].random(_BLOCK).tolist():
            bad = uniform >= bursts.leave if bad else uniform < bursts.enter
            states.append(bad)
        self._bad = bad
        return np.where(states, bursts.loss, self._faults.loss)


class Channel:
    """Carries frames one way and short control messages (acknowledgements, requests) back.

    Parameters
    ----------
    deliver
        Called with (frame, number) for every copy that arrives; `number` is the event's number in the workload, for
        the tracer only: a receiver sees bytes.
    note
        Told what the network did.
    For a receiver that looks by itself, `post` is set: called with (moment, (frame, number)) for every copy that will
    arrive then, instead of `deliver` when it does.

    `counts` says how often each thing happened, to frames alone: sent, lost, repeated, damaged, corrupted, cut off;
    `bytes` is what the line carried.
    """

    def __init__(
        self,
        env: simpy.Environment,
        faults: Faults,
        streams: Streams,
        deliver: Callable[[tuple[Frame, int]], None],
        note: Note,
    ) -> None:
        self._env = env
        self._faults = faults
        self._deliver = deliver
        self.post: Callable[[float, tuple[Frame, int]], None] | None = None
        self._note = note
        self.in_flight = 0
        self.bytes = 0
        self.counts = dict.fromkeys(("sent", "lost", "repeated", "damaged", "corrupted", "cut off"), 0)
        self._sent = Weather(faults, streams, "sent")
        self._resent = Weather(faults, streams, "resent")
        self._control = Weather(faults, streams, "control")
        self._noise = streams.generator("channel", "noise")
        self._line_free = 0.0
        random = faults.partitions_random
        # The same for both directions, each asked in an order of its own.
        self._spells: dict[Direction, Spells] = {}
        if random is not None:
            for direction in ("to-system", "to-sources"):
                spells = Spells(streams, random.gap_mean, random.length_mean, "channel", "partitions")
                self._spells[direction] = spells
        self._limited = faults.bandwidth is not None
        self._parted = bool(faults.partitions) or random is not None

    def send(
        self,
        frame: Frame,
        number: int,
        now: float | None = None,
        *,
        again: bool = False,
        length: int | None = None,
        held: float = 0.0,
    ) -> None:
        """Give a frame to the network; `again` marks what is not a first transmission.

        Parameters
        ----------
        now
            When it was given, for a source that was not asked since: never before an earlier one.
        length
            Bytes on the line, where they are not those of the frame.
        held
            Seconds until it is sent.
        """
        if length is None:
            length = len(frame)
        if now is None:
            now = self._env._now
        # Drawn whatever becomes of it: the weather of the next frame does not depend on partitions.
        weather = self._resent if again else self._sent
        lost, repeated, damaged, delay, repeat_delay, bit, corrupt = weather.draw()
        self.counts["sent"] += 1
        if self._parted and self.parted("to-system", now):
            self.counts["cut off"] += 1
            self._note(Stage.FRAME_LOST, number, now)
            return
        self.bytes += length
        line = self._pass(length, now, held) if self._limited else held
        if lost:
            self.counts["lost"] += 1
            self._note(Stage.FRAME_LOST, number, now)
        else:
            arriving = frame
            if damaged:
                self.counts["damaged"] += 1
                self._note(Stage.FRAME_DAMAGED, number, now)
                arriving = flip(frame, bit)
            if corrupt:
                self.counts["corrupted"] += 1
                if not damaged:
                    self._note(Stage.FRAME_DAMAGED, number, now)
                arriving = overwrite(arriving, bit, self._noise.bytes(self._faults.corruption_bytes or 4))
            if self.post is not None:
                self.post(now + checked(line + delay), (arriving, number))
            else:
                self._carry(line + delay, arriving, number)
        # The copy travels on its own: it may arrive although the original is lost or damaged.
        if repeated:
            self.counts["repeated"] += 1
            self._note(Stage.FRAME_REPEATED, number, now)
            self.bytes += length
            line = self._pass(length, now, held) if self._limited else held
            if self.post is not None:
                self.post(now + checked(line + repeat_delay), (frame, number))
            else:
                self._carry(line + repeat_delay, frame, number)

    def parted(self, direction: Direction, now: float) -> bool:
        """Whether nothing comes through in this direction now; of one direction, `now` never goes back."""
        for each in self._faults.partitions:
            if each.since <= now < each.until and each.direction in ("both", direction):
                return True
        random = self._faults.partitions_random
        if random is None:
            return False
        since, until = self._spells[direction].at(now)
        return since <= now < until and random.direction in ("both", direction)

    def _pass(self, length: int, now: float, held: float) -> float:
        """Seconds until a frame is through the line: those before it, then its own bytes."""
        bandwidth = self._faults.bandwidth
        assert bandwidth is not None, "a line that is limited"
        self._line_free = max(now + held, self._line_free) + length / bandwidth
        return self._line_free - now

    def _carry(self, delay: float, frame: Frame, number: int) -> None:
        self.in_flight += 1
        after(self._env, delay, self._arrive, (frame, number))

    def _arrive(self, arrived: tuple[Frame, int]) -> None:
        self.in_flight -= 1
        self._deliver(arrived)

    def reply(self, callback: Callable[[Any], None], value: Any) -> None:
        """A control message: may be late or lost; a damaged one is dropped by its checksum, thus lost as well."""
        delay = self.reply_delay()
        if delay is not None:
            after(self._env, delay, callback, value)

    def reply_delay(self) -> float | None:
        """How long a control message takes that is sent now; None if it is lost."""
        fate = self._control.draw()
        if self._parted and self.parted("to-sources", self._env._now):
            return None
        return None if fate.lost or fate.damaged or fate.corrupt else fate.delay


def overwrite(frame: Frame, share: float, noise: bytes) -> Frame:
    r"""The frame with bytes replaced by noise, from `share` of the way through it on, and never the same as before.

    >>> overwrite(b"aaaaaa", 0.5, b"xyzw"), overwrite(b"aa", 0.9, b"aa")
    (b'aaaxyz', b'a\x9e')
    """
    start = min(int(share * len(frame)), len(frame) - 1)
    damaged = bytearray(frame)
    noise = noise[: len(frame) - start]
    damaged[start : start + len(noise)] = noise
    if damaged == frame:
        damaged[start] ^= 0xFF
    return bytes(damaged)


def flip(frame: Frame, share: float) -> Frame:
    """The frame with one bit flipped, `share` of the way through it.

    >>> flip(b"aaaa", 0.5)
    b'aa`a'
    """
    place = min(int(share * len(frame) * 8), len(frame) * 8 - 1)
    damaged = bytearray(frame)
    damaged[place // 8] ^= 1 << (place % 8)
    return bytes(damaged)
