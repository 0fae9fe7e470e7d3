"""When events come into being, and what they say: a replayed trace or a drawn one.

What a scenario says under `[arrivals]` is one of the kinds below, a typed value that draws its times by itself:

>>> calls = Sinusoid(rate=2.0, amplitude=0.5, period=3600.0)
>>> workload = generate(calls, Content(), Streams(seed=1), duration=3600.0)
>>> len(workload), workload.arrivals[0].source
(7168, 'source-0')
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil, inf
from typing import Annotated, Any, Literal, NamedTuple, overload

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from rarera_sim.core.time import SECOND, Timestamp
from rarera_sim.simulation import generators
from rarera_sim.simulation.distributions import Distribution
from rarera_sim.simulation.generators import DAY, Rates, Times
from rarera_sim.simulation.kernel import Streams
from rarera_sim.simulation.quantities import Count, Name, NonNegative, Positive, PositiveSeconds, Rate, Settings, Share

ARRIVALS_MAX = 200_000_000  # of one run; more is a mistake in a rate sooner than a wish
_BLOCK = 8_192


class Arrival(NamedTuple):
    """One event to come: `time` in model seconds, `created` its GST."""

    time: float
    created: Timestamp
    source: str
    stream: str
    type: str
    data: dict[str, Any]


class Arrivals(Sequence[Arrival]):
    """Arrivals in columns: rows are made in blocks when somebody looks, so that ten million take 80 MB and not 8 GB.

    Parameters
    ----------
    times
        Model seconds, ascending.
    make
        Gives the arrivals [start, stop).
    """

    def __init__(self, times: Times, make: Callable[[int, int], list[Arrival]]) -> None:
        self.times = times
        self._make = make
        self._start = 0
        self._block: list[Arrival] = []

    def __len__(self) -> int:
        return len(self.times)

    @overload
    def __getitem__(self, number: int) -> Arrival: ...
    @overload
    def __getitem__(self, number: slice) -> list[Arrival]: ...
    def __getitem__(self, number: int | slice) -> Arrival | list[Arrival]:
        if isinstance(number, slice):
            start, stop, step = number.indices(len(self))
            if step == 1 and self._start <= start <= stop <= self._start + len(self._block):
                return self._block[start - self._start : stop - self._start]
            return [self[each] for each in range(start, stop, step)]
        place = number - self._start
        if not 0 <= place < len(self._block):
            if number < 0:
                number += len(self)
            if not 0 <= number < len(self):
                raise IndexError(f"arrival {number} of {len(self)}")
            self._start = number - number % _BLOCK
            self._block = self._make(self._start, min(self._start + _BLOCK, len(self)))
            place = number - self._start
        return self._block[place]

    def __iter__(self) -> Iterator[Arrival]:
        for start in range(0, len(self), _BLOCK):
            yield from self._make(start, min(start + _BLOCK, len(self)))

    def __deepcopy__(self, _: object) -> Arrivals:
        # A forked world reads the same columns, which nobody writes to.
        return Arrivals(self.times, self._make)


@dataclass(frozen=True)
class Workload:
    """All arrivals of a run in order, and the span they were cut from.

    Parameters
    ----------
    arrivals
        Ascending by time.
    duration
        Length in model seconds; arrivals lie in [0, duration).
    epoch
        GST of model time 0.
    compression
        Seconds of GST per model second.
    closed
        Where events answer to what became of earlier ones. Then `arrivals` says what they hold, in order and more
        than will be needed, and their times mean nothing.
    """

    arrivals: Sequence[Arrival]
    duration: float
    epoch: Timestamp = 0
    compression: float = 1.0
    closed: Population | None = None

    def __len__(self) -> int:
        return len(self.arrivals)

    @property
    def times(self) -> Times:
        """Model seconds of all arrivals."""
        if isinstance(self.arrivals, Arrivals):
            return self.arrivals.times
        return np.fromiter((arrival.time for arrival in self.arrivals), dtype=np.float64, count=len(self.arrivals))

    def after(self, moment: float) -> Workload:
        """What comes from a moment on, which becomes 0; the events keep what they say, and are created later by it."""
        first = int(np.searchsorted(self.times, moment))
        rows, shift = self.arrivals, round(moment * self.compression * SECOND)

        def make(start: int, stop: int) -> list[Arrival]:
            return [
                row._replace(time=row.time - moment, created=row.created - shift)
                for row in rows[first + start : first + stop]
            ]

        arrivals = Arrivals(self.times[first:] - moment, make)
        return Workload(arrivals, self.duration - moment, self.epoch, self.compression, self.closed)

    def column(self, field: str) -> NDArray[np.float64]:
        """A numeric field of the events' data; a missing or non-numeric one is NaN."""
        values = (arrival.data.get(field) for arrival in self.arrivals)
        numbers = (float(each) if isinstance(each, int | float) else np.nan for each in values)
        return np.fromiter(numbers, dtype=np.float64, count=len(self.arrivals))

    def types(self) -> NDArray[np.str_]:
        """The type of every event."""
        return np.array([arrival.type for arrival in self.arrivals], dtype=np.str_)


def replay(
    rows: Iterable[tuple[Timestamp, str, str, str, dict[str, Any]]],
    *,
    since: Timestamp,
    until: Timestamp,
    compression: float,
) -> Workload:
    """A trace as it was, `compression` times as fast.

    Parameters
    ----------
    rows
        (time, source, stream, type, data), ascending by time.
    since, until
        The part of the trace to replay, until left out.
    """
    if not compression > 0:
        raise ValueError(f"compression must be > 0, got {compression!r}")
    arrivals = [
        Arrival((time - since) / SECOND / compression, time, source, stream, kind, data)
        for time, source, stream, kind, data in rows
        if since <= time < until
    ]
    return Workload(arrivals, (until - since) / SECOND / compression, since, compression)


def poisson(streams: Streams, *, rate: float, count: int, sources: int = 1, processors: int = 1) -> Workload:
    """`count` arrivals with exponential gaps of mean 1 / `rate` seconds, dealt to sources and processors in turn."""
    if not rate > 0:
        raise ValueError(f"rate must be > 0 1/s, got {rate!r}")
    times = streams.generator("arrivals").exponential(1.0 / rate, count).cumsum()

    def make(start: int, stop: int) -> list[Arrival]:
        return [
            Arrival(
                time,
                round(time * SECOND),
                f"source-{number % sources}",
                f"processor-{number % processors}/{number % 97}",
                "reading",
                {"value": number},
            )
            for number, time in enumerate(times[start:stop].tolist(), start)
        ]

    return Workload(Arrivals(times, make), float(times[-1]) if count else 0.0)


# The kinds of arrivals


class Poisson(Settings, frozen=True, kw_only=True, tag_field="kind", tag="poisson"):
    """Independent events at a constant rate, 1/s."""

    rate: Rate

    @property
    def rate_mean(self) -> float:
        return self.rate

    def problem(self) -> str | None:
        return None

    def times(self, streams: Streams, duration: float, *name: str) -> Times:
        return generators.homogeneous(streams.generator("arrivals", *name), self.rate, duration)


class Renewal(Settings, frozen=True, kw_only=True, tag_field="kind", tag="renewal"):
    """Gaps of any distribution, each independent of the others; `gap.mean` is 1 / rate, in seconds."""

    gap: Distribution

    @property
    def rate_mean(self) -> float:
        return 1.0 / self.gap.effective_mean

    def problem(self) -> str | None:
        return _inside("gap", self.gap.problem())

    def times(self, streams: Streams, duration: float, *name: str) -> Times:
        return _sums(self.gap, streams.generator("arrivals", *name), duration)


class Profile(Settings, frozen=True, kw_only=True, tag_field="kind", tag="profile"):
    """A Poisson process whose rate follows a table, over and over.

    Parameters
    ----------
    rates
        Events per second, one for each step.
    step
        Seconds.
    """

    rates: Annotated[tuple[NonNegative, ...], Meta(min_length=1, max_length=1_000_000)]
    step: PositiveSeconds

    @property
    def rate_mean(self) -> float:
        return float(np.mean(self.rates))

    def problem(self) -> str | None:
        return None if any(self.rates) else "rates must not all be 0"

    def times(self, streams: Streams, duration: float, *name: str) -> Times:
        steps = ceil(duration / self.step)
        drawn = Rates(np.resize(np.array(self.rates), steps), self.step).draw(streams.generator("arrivals", *name))
        return _before(drawn, duration)


class Sinusoid(Settings, frozen=True, kw_only=True, tag_field="kind", tag="sinusoid"):
    """A Poisson process whose rate swings around its mean, by thinning.

        rate(t) = rate * (1 + amplitude * cos(2 pi (t - peak) / period))

    Parameters
    ----------
    rate
        Mean, 1/s.
    amplitude
        Share of the mean, 0 to 1.
    period, peak
        Seconds; the rate is highest at `peak`.
    """

    rate: Rate
    amplitude: Share = 0.5
    period: PositiveSeconds = DAY
    peak: NonNegative = 0.0

    @property
    def rate_mean(self) -> float:
        return self.rate

    def problem(self) -> str | None:
        return None

    def times(self, streams: Streams, duration: float, *name: str) -> Times:
        def rate(times: Times) -> Times:
            wave = np.cos((times - self.peak) * (2.0 * np.pi / self.period))
            return np.asarray(self.rate * (1.0 + self.amplitude * wave))

        highest = self.rate * (1.0 + self.amplitude)
        return generators.by_thinning(streams.generator("arrivals", *name), rate, highest, duration)


class Mmpp(Settings, frozen=True, kw_only=True, tag_field="kind", tag="mmpp"):
    """A Markov-modulated Poisson process: states that nobody sees, each with its rate.

    Parameters
    ----------
    rates
        Events per second in each state.
    stays
        Mean seconds that a state lasts, exponential.
    next
        Row i: how likely each state follows on state i. Left out: the states follow each other in a ring.
    """

    rates: Annotated[tuple[NonNegative, ...], Meta(min_length=1, max_length=100)]
    stays: Annotated[tuple[PositiveSeconds, ...], Meta(min_length=1, max_length=100)]
    next: tuple[tuple[Share, ...], ...] | None = None

    @property
    def time_shares(self) -> NDArray[np.float64]:
        """How much of the time is spent in each state in the long run."""
        visits = np.ones(len(self.stays))
        if self.next is not None:
            matrix = np.array(self.next)
            # The visits are the left eigenvector of 1: solved with the sum instead of one equation too many.
            equations = np.vstack(((matrix.T - np.eye(len(visits)))[:-1], visits))
            visits = np.linalg.lstsq(equations, np.eye(len(visits))[-1], rcond=None)[0]
        time = visits * np.array(self.stays)
        return np.asarray(time / time.sum())

    @property
    def rate_mean(self) -> float:
        return float(self.time_shares @ np.array(self.rates))

    def problem(self) -> str | None:
        count = len(self.rates)
        if len(self.stays) != count:
            return f"stays must be as many as rates, got {len(self.stays)} and {count}"
        if not any(self.rates):
            return "rates must not all be 0"
        if self.next is not None:
            if len(self.next) != count or any(len(row) != count for row in self.next):
                return f"next must be {count} rows of {count} shares, got rows of {[len(row) for row in self.next]}"
            for number, row in enumerate(self.next):
                if abs(sum(row) - 1.0) > 1e-9:
                    return f"next[{number}] must sum to 1, got {sum(row)!r}"
        return None

    def times(self, streams: Streams, duration: float, *name: str) -> Times:
        chance = streams.generator("arrivals", *name, "states")
        # Stationary from the first moment on, so that no warm-up is needed.
        first = int(chance.choice(len(self.rates), p=self.time_shares))
        entered, states = generators.sojourns(chance, self.stays, duration, first=first, following=self.next)
        return _modulated(entered, np.array(self.rates)[states], duration, streams.generator("arrivals", *name))


class OnOff(Settings, frozen=True, kw_only=True, tag_field="kind", tag="on-off"):
    """A source that talks and is silent in turn: Poisson while it is on.

    Parameters
    ----------
    rate
        Events per second while on.
    on, off
        Seconds that each lasts. Heavy tails here (pareto, scv 10) make load that looks the same on every scale.
    """

    rate: Rate
    on: Distribution
    off: Distribution

    @property
    def rate_mean(self) -> float:
        on, off = self.on.effective_mean, self.off.effective_mean
        return self.rate * on / (on + off)

    def problem(self) -> str | None:
        return _inside("on", self.on.problem()) or _inside("off", self.off.problem())

    def times(self, streams: Streams, duration: float, *name: str) -> Times:
        chance = streams.generator("arrivals", *name, "states")
        cycle = self.on.effective_mean + self.off.effective_mean
        begins_on = bool(chance.random() * cycle < self.on.effective_mean)
        ends = np.empty(0)
        while not len(ends) or ends[-1] < duration:
            count = ceil((duration - (ends[-1] if len(ends) else 0.0)) / cycle * 1.1) + 16
            pair = np.column_stack((self.on.draw(chance, count), self.off.draw(chance, count)))
            lengths = (pair if begins_on else pair[:, ::-1]).ravel()
            ends = np.concatenate((ends, (ends[-1] if len(ends) else 0.0) + np.cumsum(lengths)))
        entered = np.concatenate(([0.0], ends[ends < duration]))
        on = (np.arange(len(entered)) % 2 == 0) == begins_on
        return _modulated(entered, on * self.rate, duration, streams.generator("arrivals", *name))


class Calendar(Settings, frozen=True, kw_only=True, tag_field="kind", tag="calendar"):
    """Load that keeps the clock, see `generators.calendar_rates`; `day` in seconds of the model."""

    rate: Rate = 64.0
    day: PositiveSeconds = DAY

    @property
    def rate_mean(self) -> float:
        return self.rate

    def problem(self) -> str | None:
        return None

    def times(self, streams: Streams, duration: float, *name: str) -> Times:
        return _days(generators.calendar_rates, self.rate, self.day, streams, duration, name)


class Bursty(Settings, frozen=True, kw_only=True, tag_field="kind", tag="bursty"):
    """Load that nobody can foresee, see `generators.bursty_rates`; `day` in seconds of the model."""

    rate: Rate = 60.0
    day: PositiveSeconds = DAY

    @property
    def rate_mean(self) -> float:
        return self.rate

    def problem(self) -> str | None:
        return None

    def times(self, streams: Streams, duration: float, *name: str) -> Times:
        return _days(generators.bursty_rates, self.rate, self.day, streams, duration, name)


class Batches(Settings, frozen=True, kw_only=True, tag_field="kind", tag="batches"):
    """Events that come together, several at one moment.

    Parameters
    ----------
    batches
        When they come.
    size_mean
        Events in one, on average.
    size
        `constant`, `geometric` (from 1 on), or `poisson` (1 and a Poisson number).
    """

    batches: ArrivalProcess
    size_mean: Annotated[float, Meta(ge=1, le=1e6)]
    size: Literal["constant", "geometric", "poisson"] = "geometric"

    @property
    def rate_mean(self) -> float:
        return self.batches.rate_mean * self.size_mean

    def problem(self) -> str | None:
        if self.size == "constant" and self.size_mean != round(self.size_mean):
            return f"size_mean must be a whole number for constant, got {self.size_mean!r}"
        return _inside("batches", self.batches.problem())

    def times(self, streams: Streams, duration: float, *name: str) -> Times:
        moments = self.batches.times(streams, duration, *name, "batches")
        rng = streams.generator("arrivals", *name, "sizes")
        match self.size:
            case "constant":
                sizes = np.full(len(moments), round(self.size_mean))
            case "geometric":
                sizes = rng.geometric(1.0 / self.size_mean, len(moments))
            case "poisson":
                sizes = 1 + rng.poisson(self.size_mean - 1.0, len(moments))
        return np.repeat(moments, sizes)


class Mixture(Settings, frozen=True, kw_only=True, tag_field="kind", tag="mixture"):
    """Several kinds of arrivals at once, each with random numbers of its own."""

    parts: Annotated[tuple[ArrivalProcess, ...], Meta(min_length=1, max_length=1000)]

    @property
    def rate_mean(self) -> float:
        return sum(part.rate_mean for part in self.parts)

    def problem(self) -> str | None:
        return next((p for n, each in enumerate(self.parts) if (p := _inside(f"parts[{n}]", each.problem()))), None)

    def times(self, streams: Streams, duration: float, *name: str) -> Times:
        drawn = [part.times(streams, duration, *name, f"part-{n}") for n, part in enumerate(self.parts)]
        return np.sort(np.concatenate(drawn))


class Closed(Settings, frozen=True, kw_only=True, tag_field="kind", tag="closed"):
    """Users who send an event, wait until the system is through with it, think, and send the next.

    Parameters
    ----------
    users
        How many.
    think
        Seconds.
    patience
        Seconds after which a user gives an event up for lost and thinks again. None: they wait for ever.
    """

    users: Count
    think: Distribution
    patience: PositiveSeconds | None = None

    @property
    def rate_mean(self) -> float:
        """The most that they can send, when nothing keeps them waiting."""
        return self.users / self.think.effective_mean

    def problem(self) -> str | None:
        return _inside("think", self.think.problem())


ArrivalProcess = Poisson | Renewal | Profile | Sinusoid | Mmpp | OnOff | Calendar | Bursty | Batches | Mixture
AnyArrivals = ArrivalProcess | Closed


class Content(Settings, frozen=True, kw_only=True):
    """What generated events say.

    Parameters
    ----------
    sources
        Who sends them, in turn.
    processors, streams
        What they are about: `processor-k/s` with k below `processors` and s below `streams`, in turn.
    types
        How likely each type is, as weights.
    data
        Numeric fields, each of its distribution. Without any, `value` is the event's number.
    whole
        Fields that are rounded to whole numbers.
    """

    sources: Count = 1
    processors: Count = 1
    streams: Count = 97
    types: dict[Name, Positive] = msgspec.field(default_factory=lambda: {"reading": 1.0})
    data: dict[Name, Distribution] = msgspec.field(default_factory=dict)
    whole: tuple[Name, ...] = ()

    def problem(self) -> str | None:
        """What is wrong, beginning with the field; None if nothing is."""
        if not self.types:
            return "types must name one at least, got none"
        for name in self.whole:
            if name not in self.data:
                return f"whole names {name!r}, which is no field of data; there are: {', '.join(self.data) or 'none'}"
        return next((p for name, each in self.data.items() if (p := _inside(f"data.{name}", each.problem()))), None)


class Population:
    """The users of a closed workload, and how long each thinks before the next event.

    Parameters
    ----------
    settings
        How many, and how they think.
    generator
        Of the thinking times.
    """

    def __init__(self, settings: Closed, generator: np.random.Generator) -> None:
        self.settings = settings
        self._generator = generator
        self._left: list[float] = []

    def think(self) -> float:
        """Seconds."""
        if not self._left:
            self._left = self.settings.think.draw(self._generator, _BLOCK).tolist()[::-1]
        return self._left.pop()


def generate(
    arrivals: AnyArrivals,
    content: Content,
    streams: Streams,
    *,
    duration: float,
    epoch: Timestamp = 0,
    service_mean: float = 0.0,
) -> Workload:
    """A workload drawn from typed settings.

    Times, types and each data field have random streams of their own: another field moves no times.

    Parameters
    ----------
    duration
        Seconds.
    service_mean
        Shortest mean time between a user's event and its end, for closed arrivals: bounds how many there can be.
    """
    if not 0 < duration < inf:
        raise ValueError(f"duration must be finite and > 0 s, got {duration!r}")
    expected = arrivals.rate_mean * duration
    if isinstance(arrivals, Closed):
        cycles = duration / (arrivals.think.effective_mean + service_mean)
        spread = 10.0 * (arrivals.users * (cycles + 1.0) * (1.0 + arrivals.think.effective_scv)) ** 0.5
        expected = arrivals.users * (cycles + 1.0) + spread + 100.0
    if expected > ARRIVALS_MAX:
        raise ValueError(f"arrivals must be at most {ARRIVALS_MAX}, expected are {expected:.3g} in {duration:g} s")
    if isinstance(arrivals, Closed):
        population = Population(arrivals, streams.generator("arrivals", "think"))
        times = np.zeros(ceil(expected))
        return Workload(_rows(times, content, streams, epoch), duration, epoch, closed=population)
    times = arrivals.times(streams, duration)
    assert np.isfinite(times).all(), "a generator gave a time that is no number"
    return Workload(_rows(times, content, streams, epoch), duration, epoch)


def _rows(times: Times, content: Content, streams: Streams, epoch: Timestamp) -> Arrivals:
    """Lazily made arrivals of drawn times; what they say is drawn in columns at once."""
    count = len(times)
    names = list(content.types)
    codes = None
    if len(names) > 1:
        weights = np.array(list(content.types.values()))
        uniform = streams.generator("content", "types").random(count)
        codes = np.searchsorted(np.cumsum(weights / weights.sum())[:-1], uniform, side="right").astype(np.int16)
    fields: dict[str, NDArray[Any]] = {}
    for name, each in content.data.items():
        column = each.draw(streams.generator("content", name), count)
        fields[name] = np.rint(column).astype(np.int64) if name in content.whole else column

    def make(start: int, stop: int) -> list[Arrival]:
        columns = [column[start:stop].tolist() for column in fields.values()]
        rows: Iterable[dict[str, Any]]
        if columns:
            rows = (dict(zip(fields, row, strict=True)) for row in zip(*columns, strict=True))
        else:
            rows = ({"value": number} for number in range(start, stop))
        kinds = [names[0]] * (stop - start) if codes is None else [names[code] for code in codes[start:stop].tolist()]
        return [
            Arrival(
                time,
                epoch + round(time * SECOND),
                f"source-{number % content.sources}",
                f"processor-{number % content.processors}/{number % content.streams}",
                kind,
                data,
            )
            for number, time, kind, data in zip(
                range(start, stop), times[start:stop].tolist(), kinds, rows, strict=True
            )
        ]

    return Arrivals(times, make)


# What several kinds need


def _inside(field: str, problem: str | None) -> str | None:
    return None if problem is None else f"{field}.{problem}"


def _before(times: Times, duration: float) -> Times:
    return times[: np.searchsorted(times, duration)]


def _sums(gap: Distribution, rng: np.random.Generator, duration: float) -> Times:
    """Running sums of gaps, as far as they lie before `duration`; the first gap is a whole one."""
    blocks, last = [], 0.0
    while last < duration:
        count = min(ceil((duration - last) / gap.effective_mean * 1.02) + 64, 1 << 22)
        block = last + np.cumsum(gap.draw(rng, count))
        blocks.append(block)
        last = float(block[-1])
    return _before(np.concatenate(blocks), duration)


def _modulated(entered: Times, rates: NDArray[np.float64], duration: float, rng: np.random.Generator) -> Times:
    """A Poisson process whose rate changes at the given moments."""
    edges = np.concatenate((entered, [duration]))
    cumulated = np.concatenate(([0.0], np.cumsum(rates * np.diff(edges))))
    unit = generators.homogeneous(rng, 1.0, float(cumulated[-1]))
    return _before(np.interp(unit, cumulated, edges), duration)


def _days(
    rates: Callable[..., Rates], rate: float, day: float, streams: Streams, duration: float, name: tuple[str, ...]
) -> Times:
    """A named generator on days that may be shorter than a day."""
    faster = DAY / day
    drawn = rates(streams.generator("arrivals", *name, "rates"), duration / day, rate=rate / faster)
    return _before(drawn.draw(streams.generator("arrivals", *name)) / faster, duration)
