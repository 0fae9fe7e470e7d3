"""What the near future will need: a distribution, from what like situations needed before.

A scaling decision is about the worst that can come before the next one can help, so what is forecast is not the mean
rate but the *required rate*: the least capacity with which nothing that arrives within the horizon waits too long.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import mul
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Features = tuple[float, ...]

# The grid of log(required / reference): from an eighth to twenty times the reference, in steps of 2.5 %;
# with 5 % a steady load of twelve busy replicas was given one too many, for good.
_LOW, _STEP, _BINS = -2.0, 0.025, 200
_HEARD = 0.01  # weight below which an expert is not asked: saves time, moves no decision measured
_LEVELS = (0.7, 0.95)  # of the regression that serves as a reference: its middle and its high
_LONG = 120  # periods of the level that everything is measured by: half an hour of 15 s
_RECENT = 60  # periods in which a burst is "just over": a quarter of an hour of 15 s
_NEW = 2  # periods of which nobody can say yet what they are the beginning of
_FEW = 8  # periods
_SLOTS = 120  # of an hour, for what a calendar repeats: half a minute each
_BUSY, _VERY_BUSY, _QUIET = 1.6, 2.5, 0.8  # times the level: what counts as a burst


def required_rate(rates: Sequence[float], period: float, slack: float) -> float:
    """The least capacity, 1/s, with which nothing waits longer than `slack` seconds, starting empty.

        max over i <= j of   sum(rates[i..j]) * period / ((j - i + 1) * period + slack)

    What arrives within an interval has the interval and the slack to be done in: the arrival curve of network calculus
    against a constant rate with a delay bound.

    Parameters
    ----------
    rates
        Mean arrival rate of each period, 1/s.
    period
        Length of a period, s.
    slack
        Wait that is allowed, s, >= 0.

    Examples
    --------
    >>> required_rate([10.0, 40.0, 10.0], period=15.0, slack=0.0)
    40.0
    >>> required_rate([10.0, 40.0, 10.0], period=15.0, slack=5.0)
    30.0

    References
    ----------
    Le Boudec, Thiran (2001), Network Calculus, section 1.4.
    """
    if len(rates) > _FEW:
        return _required_of_many(np.asarray(rates), period, slack)
    most = 0.0
    for first in range(len(rates)):
        arrived, time = 0.0, slack
        for rate in rates[first:]:
            arrived += rate * period
            time += period
            most = max(most, arrived / time)
    return most


def _required_of_many(rates: Floats, period: float, slack: float) -> float:
    """The same, all intervals at once: the plain loop is the faster one for a handful of periods."""
    arrived = np.concatenate(([0.0], np.cumsum(rates))) * period
    first, last = np.triu_indices(len(arrived), 1)
    return float(np.max((arrived[last] - arrived[first]) / ((last - first) * period + slack)))


@dataclass(frozen=True, eq=False)
class Forecast:
    """A distribution of the required rate.

    Parameters
    ----------
    rates
        Upper ends of the bins, 1/s, ascending, shape (bins,).
    shares
        Probability of each bin, shape (bins,).
    """

    rates: Floats
    shares: Floats

    @cached_property
    def levels(self) -> Floats:
        """Probability that each of the rates suffices, shape (bins,)."""
        levels: Floats = self.shares.cumsum()
        return levels

    def quantile(self, level: float) -> float:
        """The least rate that suffices with probability `level`, 1/s."""
        place = int(self.levels.searchsorted(level))
        return float(self.rates[min(place, len(self.rates) - 1)])


class _Situation(NamedTuple):
    """What is known when a forecast is made: which histogram of each expert speaks, the logarithm of what each
    reference is now, and how busy it is and was.
    """

    rows: tuple[int, ...]
    logs: tuple[float, ...]
    state: int


class _Regression:
    """Linear quantile regression of the required rate on the last rates, both as multiples of the level, by AdaGrad.

    River's linear regression with a quantile loss learns one level at a time and from dicts; plain lists take a seventh
    of the time, and a third of what arrays of nine numbers take.

    References
    ----------
    Duchi, Hazan, Singer (2011), Adaptive subgradient methods, JMLR 12, 2121-2159.
    """

    def __init__(self, levels: Sequence[float], features: int, learning_rate: float) -> None:
        self.levels = tuple(levels)
        self.learning_rate = learning_rate
        # What was, will be.
        self.weights = [[float(feature == 1) for feature in range(features)] for _ in levels]
        self.squares = [[1e-3] * features for _ in levels]

    def predict(self, x: Features) -> list[float]:
        return [sum(map(mul, weights, x)) for weights in self.weights]

    def learn(self, x: Features, y: float) -> None:
        for level, weights, squares in zip(self.levels, self.weights, self.squares, strict=True):
            slope = -level if y > sum(map(mul, weights, x)) else 1.0 - level
            for place, value in enumerate(x):
                gradient = slope * value
                squares[place] += gradient * gradient
                weights[place] -= self.learning_rate * gradient / math.sqrt(squares[place])


# What an expert measures the future by, and what it tells situations apart by.
_LAST, _SMOOTH, _LEVEL, _YESTERDAY, _MIDDLE, _HIGH = range(6)
_ANY, _STATE, _SLOT, _HOUR, _QUARTER = range(5)
_QUARTERS = 96  # of an hour, in a day
_SIZES = (1, 9, _SLOTS * 9, 24 * 3, _QUARTERS)
_EXPERTS = (
    (_LAST, _ANY), (_LAST, _STATE), (_LAST, _SLOT),
    (_SMOOTH, _ANY), (_SMOOTH, _STATE), (_SMOOTH, _SLOT),
    (_LEVEL, _ANY), (_LEVEL, _STATE), (_LEVEL, _QUARTER),
    (_YESTERDAY, _ANY),
    (_MIDDLE, _ANY), (_MIDDLE, _STATE), (_MIDDLE, _SLOT), (_MIDDLE, _HOUR),
    (_HIGH, _ANY), (_HIGH, _STATE), (_HIGH, _SLOT),
)  # fmt: skip


def _dated(reference: int, kind: int) -> bool:
    return reference == _YESTERDAY or kind in (_SLOT, _HOUR, _QUARTER)


class PeakForecaster:
    """Distribution of the required rate of the next periods: a mixture of experts, each with histograms of its own.

    An expert measures the future in multiples of one thing (the last rate, a smoothed one, the level of the last half
    hour, the same time yesterday, one of a regression's two quantiles) and keeps a histogram of them for each
    situation that it tells apart (any; how busy it is and was; that at each half minute of the hour; at each hour, at
    each quarter of an hour of the day). A histogram that has seen little leans on the expert's first one. The weights
    of the experts are those of Bayes' rule with a share that never dies, so that the best for now is found again after
    the world has changed; and they are others for each state of how busy it is and was, as who is right when a burst
    begins is not who is right on a calm day.

        p(y) = sum_k w_k p_k(y),   w_k <- (1 - share) w_k p_k(y)^rate / sum_j w_j p_j(y)^rate + share / K

    Learning and forecasting together take about 0.1 ms.

    Parameters
    ----------
    period
        Control period, s.
    horizon
        How far a decision has to see, s: start-up and one period.
    slack
        Wait that is allowed, s, >= 0; see `required_rate`.
    day
        Length of a day, s.
    memory
        Samples of one situation from which on old ones fade.
    lean
        Samples that the expert's first histogram counts for in each of its others.
    learning_rate
        Of the weights, in (0, 1]: below 1, as forecasts of neighbouring periods overlap.
    share
        Of the weight that is dealt out evenly each time, in (0, 1).
    calendar
        Whether experts that know the time of day are heard.

    Examples
    --------
    Bursts of half a minute, each at the third minute of the hour: before it they are expected, after it not.

    >>> forecaster = PeakForecaster(period=15.0, horizon=75.0, slack=0.0)
    >>> for step in range(1, 3 * 5760 + 1):
    ...     forecaster.learn(100.0 if 180.0 <= (step * 15.0 - 7.5) % 3600.0 < 210.0 else 10.0, step * 15.0)
    ...     if step * 15.0 % 3600.0 in (150.0, 1800.0) and step > 3 * 5760 - 240:
    ...         print(forecaster.forecast().quantile(0.9) > 90.0)
    True
    False

    References
    ----------
    Herbster, Warmuth (1998), Tracking the best expert, Machine Learning 32, 151-178.
    Cesa-Bianchi, Lugosi (2006), Prediction, Learning, and Games, section 5.2.
    """

    def __init__(
        self,
        *,
        period: float = 15.0,
        horizon: float = 75.0,
        slack: float = 0.0,
        day: float = 86_400.0,
        memory: int = 3000,
        lean: float = 20.0,
        learning_rate: float = 0.2,
        share: float = 1e-3,
        calendar: bool = True,
    ) -> None:
        for name, value in (("period", period), ("horizon", horizon), ("day", day)):
            if not 0.0 < value < math.inf:
                raise ValueError(f"{name} must be > 0 s, got {value!r}")
        if not 0.0 <= slack < math.inf:
            raise ValueError(f"slack must be >= 0 s, got {slack!r}")
        if not 0.0 < learning_rate <= 1.0:
            raise ValueError(f"learning_rate must be > 0 and <= 1, got {learning_rate!r}")
        if not 0.0 < share < 1.0:
            raise ValueError(f"share must be > 0 and < 1, got {share!r}")
        self.period = period
        self.horizon = horizon
        self.periods = max(1, math.ceil(horizon / period - 1e-9))
        self.slack = slack
        self.day = day
        self.memory = memory
        self.lean = lean
        self.learning_rate = learning_rate
        self.share = share
        self.calendar = calendar
        self._per_day = max(1, round(day / period))
        self._rates: list[float] = []
        self._time: float | None = None  # at which the last of them was heard
        self._waiting: list[tuple[_Situation, Features, float]] = []  # forecasts whose future is not over yet
        self._level = self._smooth = self._lately = 0.0
        self._count = 0
        self._regression = _Regression(_LEVELS, 9, 0.1)
        self._experts = experts = _EXPERTS if calendar else tuple(each for each in _EXPERTS if not _dated(*each))
        starts = np.cumsum([0, *(_SIZES[kind] for _, kind in experts)])
        self._starts = starts[:-1].tolist()
        # Where nothing is known yet: about the reference, with tails on both sides.
        prior = np.exp(-np.abs((np.arange(_BINS) + 0.5) * _STEP + _LOW) / 0.3)
        self._prior = prior / prior.sum()
        self._priors = self._prior.tolist()
        # One memory, seen from two sides: single cells are read and written ten times as fast in an array of Python's,
        # and whole rows are added up in one of NumPy's.
        self._cells = array("d", bytes(8 * _BINS * int(starts[-1])))
        self._histograms = np.frombuffer(self._cells).reshape(-1, _BINS)
        self._seen = [0.0] * int(starts[-1])
        # A half minute of the hour leans on what is known of how busy it is.
        self._second = [experts.index((reference, _STATE if kind == _SLOT else _ANY)) for reference, kind in experts]
        self._first = [experts.index((reference, _ANY)) for reference, _ in experts]
        self._weights = [[1.0 / len(experts)] * len(experts) for _ in range(_SIZES[_STATE])]
        self._now: _Situation | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_histograms"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A copy, too, has one memory and not two.
        vars(self).update(state)
        self._histograms = np.frombuffer(self._cells).reshape(-1, _BINS)

    @property
    def weights(self) -> Floats:
        """How far each expert is believed, shape (states of how busy it is and was, experts)."""
        return np.array(self._weights)

    def learn(self, rate: float, time: float) -> None:
        """Hear the rate, 1/s, of the period that ended at `time`, s; test what was forecast for it, then learn it."""
        if not (0.0 <= rate < math.inf):
            return  # a hole in what was measured; nothing is learned from it
        if self._time is not None and not -self.period < time - self._time < 1.9 * self.period:
            # Periods are missing, or the clock was set: what was forecast is not of what was heard.
            self._waiting.clear()
        self._time = time
        self._hear(rate)
        if len(self._waiting) >= self.periods:
            situation, x, level = self._waiting.pop(0)
            required = max(required_rate(self._rates[-self.periods :], self.period, self.slack), 1e-3)
            self._test(situation, math.log(required))
            self._regression.learn(x, required / level)
        x = self._features()
        self._now = self._situation(x, time)
        self._waiting.append((self._now, x, self._level))

    @property
    def heard(self) -> list[tuple[float, float]]:
        """Rates, 1/s, of the last day or two, each with the time, s, at which its period ended."""
        if self._time is None:
            return []
        ago = range(len(self._rates) - 1, -1, -1)
        return [(rate, self._time - periods * self.period) for rate, periods in zip(self._rates, ago, strict=True)]

    def forecast(self) -> Forecast:
        """The required rate of the next periods, counted from the last period that was heard."""
        if self._now is None:
            raise ValueError("nothing was learned yet; call learn first")
        rows, logs, state = self._now
        seen, lean, believed = self._seen, self.lean, self._weights[state]
        heard = [expert for expert, weight in enumerate(believed) if weight > _HEARD]
        trust = 1.0 / sum([believed[expert] for expert in heard])
        # By what it is a multiple of: histograms, and what each of them says counts for.
        said: dict[int, tuple[list[int], list[float], list[float]]] = {}
        for expert in heard:
            own, second, first = rows[expert], rows[self._second[expert]], rows[self._first[expert]]
            by_own = trust * believed[expert] / (seen[own] + lean)
            by_second = by_own * lean / (seen[second] + lean)
            by_first = by_second * lean / (seen[first] + 1.0)
            whose, weights, priors = said.setdefault(self._experts[expert][0], ([], [], []))
            whose += (own, second, first)
            weights += (by_own, by_second, by_first)
            priors.append(by_first)
        # Each is moved to where its reference is, in parts to both neighbours.
        places = {reference: divmod(logs[reference] / _STEP, 1.0) for reference in said}
        lowest, highest = int(min(places.values())[0]), int(max(places.values())[0])
        shares = np.zeros(highest - lowest + _BINS + 1)
        for reference, (whose, weights, priors) in said.items():
            whole, part = places[reference]
            opinion = np.array(weights) @ self._histograms[whose] + sum(priors) * self._prior
            start = int(whole) - lowest
            moved = part * opinion
            shares[start + 1 : start + 1 + _BINS] += moved
            shares[start : start + _BINS] += opinion - moved
        return Forecast(_grid(lowest + 1, len(shares)), shares)

    def state(self) -> dict[str, Any]:
        """What it has learned, forecasts that are still open included, as JSON holds it."""
        rows = [row for row, seen in enumerate(self._seen) if seen > 0.0]
        situations = [situation for situation, _, _ in self._waiting]
        return {
            "time": self._time,
            "rates": list(self._rates),
            "level": self._level,
            "smooth": self._smooth,
            "lately": self._lately,
            "count": self._count,
            "weights": [list(weights) for weights in self._weights],
            "regression": [list(weights) for weights in self._regression.weights],
            "squares": [list(squares) for squares in self._regression.squares],
            "rows": rows,
            "seen": [self._seen[row] for row in rows],
            "histograms": [_sparse(self._histograms[row]) for row in rows],
            "open_rows": [list(situation.rows) for situation in situations],
            "open_logs": [list(situation.logs) for situation in situations],
            "open_states": [situation.state for situation in situations],
            "open_features": [list(x) for _, x, _ in self._waiting],
            "open_levels": [level for _, _, level in self._waiting],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`."""
        self._time = None if state["time"] is None else float(state["time"])
        self._rates = [float(rate) for rate in state["rates"]]
        self._level, self._smooth, self._lately = (float(state[name]) for name in ("level", "smooth", "lately"))
        self._count = int(state["count"])
        experts, shape = len(self._experts), np.shape(self._regression.weights)
        self._weights = shaped(state["weights"], np.shape(self._weights)).tolist()
        self._regression.weights = shaped(state["regression"], shape).tolist()
        self._regression.squares = shaped(state["squares"], shape).tolist()
        rows = [int(row) for row in state["rows"]]
        if len(rows) != len(state["histograms"]) or min(rows, default=0) < 0:
            raise ValueError("there must be one histogram for each row")
        for row, seen in zip(rows, shaped(state["seen"], (len(rows),)).tolist(), strict=True):
            self._seen[row] = seen
        for row, (bins, counts) in zip(rows, state["histograms"], strict=True):
            self._histograms[row, bins] = shaped(counts, (len(bins),))
        self._waiting = []
        opened = (state[f"open_{name}"] for name in ("rows", "logs", "states", "features", "levels"))
        for places, logs, busy, x, level in zip(*opened, strict=True):
            whose = [int(row) for row in places]
            if len(whose) != experts or min(whose) < 0 or max(whose) >= len(self._seen):
                raise ValueError("a forecast is of a histogram that there is not")
            if not 0 <= int(busy) < len(self._weights):
                raise ValueError(f"a forecast is of a state that there is not: {busy!r}")
            self._now = _Situation(tuple(whose), tuple(shaped(logs, (_HIGH + 1,)).tolist()), int(busy))
            self._waiting.append((self._now, tuple(shaped(x, shape[1:]).tolist()), float(level)))

    def _hear(self, rate: float) -> None:
        rates = self._rates
        rates.append(rate)
        if len(rates) > 2 * self._per_day + 2 * self.periods + _RECENT:
            del rates[: -self._per_day - self.periods - _RECENT]
        self._count += 1
        floor = 1.0 / self.period  # one event in a period: less cannot be told from nothing
        self._level = max(floor, self._level + (rate - self._level) / min(self._count, _LONG))
        self._smooth += (rate - self._smooth) / min(self._count, 4)
        self._lately += (rate - self._lately) / min(self._count, 16)

    def _yesterday(self) -> float | None:
        rates, day = self._rates, self._per_day
        if len(rates) <= day:
            return None
        return max(rates[-day : len(rates) - day + self.periods])

    def _features(self) -> Features:
        rates, level = self._rates, self._level
        last = rates[-1] / level
        before = self._yesterday()
        return (
            1.0,
            last,
            rates[-2] / level if len(rates) > 1 else last,
            rates[-4] / level if len(rates) > 3 else last,
            self._smooth / level,
            self._lately / level,
            max(rates[-5:]) / level,
            math.sqrt(max(last, 1e-3) / (level * self.period)),  # the noise of counting
            last if before is None else before / level,
        )

    def _situation(self, x: Features, time: float) -> _Situation:
        rates, level = self._rates, self._level
        last = rates[-1]
        middle, high = self._regression.predict(x)
        references = (last, 0.5 * (self._smooth + last), level, x[-1] * level, middle * level, high * level)
        now, lately = last / level, max(rates[-_RECENT:-_NEW] or rates) / level
        state = 0 if now < _QUIET else 1 if now < _BUSY else 2
        states = state * 3 + (0 if lately < _BUSY else 1 if lately < _VERY_BUSY else 2)
        of_day = time % self.day / self.day
        slot, hour = int(of_day * 24.0 % 1.0 * _SLOTS), int(of_day * 24.0)
        places = (0, states, slot * 9 + states, hour * 3 + state, int(of_day * _QUARTERS))
        rows = [start + places[kind] for start, (_, kind) in zip(self._starts, self._experts, strict=True)]
        floor = 1.0 / self.period
        return _Situation(tuple(rows), tuple([math.log(max(each, floor)) for each in references]), states)

    def _test(self, situation: _Situation, required: float) -> None:
        """Weigh the experts by what they had said, and tell them; in plain Python: so few numbers fill no array."""
        rows, logs, state = situation
        cells, seen, priors, lean, rate = self._cells, self._seen, self._priors, self.lean, self.learning_rate
        places = [min(max(int((required - log - _LOW) / _STEP), 1), _BINS - 2) for log in logs]
        weights, written = [], []
        for weight, (reference, _), own, second, first in zip(
            self._weights[state], self._experts, rows, self._second, self._first, strict=True
        ):
            place, second, first = places[reference], rows[second], rows[first]
            likelihood = (cells[first * _BINS + place] + priors[place]) / (seen[first] + 1.0)
            likelihood = (cells[second * _BINS + place] + lean * likelihood) / (seen[second] + lean)
            likelihood = (cells[own * _BINS + place] + lean * likelihood) / (seen[own] + lean)
            weights.append(weight * (likelihood + 1e-6) ** rate)
            written.append(own * _BINS + place)
        total, even = (1.0 - self.share) / sum(weights), self.share / len(weights)
        self._weights[state] = [total * weight + even for weight in weights]
        for cell in written:
            # Neighbouring bins have a part: half a grid step is no difference.
            cells[cell] += 0.6
            cells[cell - 1] += 0.2
            cells[cell + 1] += 0.2
        for row in rows:
            seen[row] += 1.0
        if seen[rows[0]] % 256 == 0:
            self._fade()

    def _fade(self) -> None:
        """Halve what has twice the memory's samples, so that the old weighs ever less."""
        for row, seen in enumerate(self._seen):
            if seen >= 2 * self.memory:
                self._histograms[row] *= 0.5
                self._seen[row] *= 0.5


_GRID_FROM = -2000
_GRID: Floats = np.exp(_LOW + _STEP * np.arange(_GRID_FROM, 6000))


def _grid(first: int, count: int) -> Floats:
    """Upper ends of so many bins."""
    start = first - _GRID_FROM
    if 0 <= start <= len(_GRID) - count:
        return _GRID[start : start + count]
    beyond: Floats = np.exp(_LOW + _STEP * np.arange(first, first + count))  # rates beyond any sense
    return beyond


def _sparse(row: Floats) -> tuple[list[int], list[float]]:
    """Where a histogram holds something, and what."""
    bins = np.flatnonzero(row)
    return bins.tolist(), row[bins].tolist()


def shaped(values: Any, shape: tuple[int, ...]) -> Floats:
    """Numbers that were written down, if they are as many as they should be."""
    array = np.array(values, dtype=np.float64)
    if array.shape != shape:
        raise ValueError(f"numbers must have the shape {shape}, got {array.shape}")
    return array
