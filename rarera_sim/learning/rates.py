"""Forecasts of the arrival rate: the peak of the periods until the next decision can take effect.

A decision taken now holds until replicas asked for one period later are ready. What it must survive is the highest
rate until then, start-up delay plus one control period ahead, not the mean: a perfect forecast of the mean is too
small half of the time.

Rates are forecast as logarithms of counts, relative to the last one:

    z = ln(1 + rate * period),   y = max(z of the next `periods`) - z now

A quantile of ln(x) is ln of the quantile of x, seasons and bursts multiply, and a model that knows nothing yet
answers 0, the last value. Features are differences of the same kind, clipped, beside calendar ones in [0, 1], so
nothing needs a scaler (River's StandardScaler zeroes sparse one-hots).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from rarera_sim.learning.intervals import Margin, QuantileTracker

_LIMIT = 6.0  # |difference of logarithms| a feature or label may have: a factor of 400
_JUMP = math.log(100.0)  # a rate counts at most as 100 times the level, or 100,000 events: see `_accepted`
_IDLE = math.log(1000.0)
_FIRST = math.log(1e9)
_PROFILE_SLOTS_MAX = 5760  # 15 s of a day of 24 h; finer is noise and memory


class Outcome(NamedTuple):
    """A forecast and what then was, both 1/s."""

    forecast: float
    actual: float


class Regressor(Protocol):
    """River's regressors fit unwrapped."""

    def learn_one(self, x: dict[str, float], y: float) -> Any: ...

    def predict_one(self, x: dict[str, float]) -> Any: ...


@runtime_checkable
class Series(Protocol):
    """River's time series models fit unwrapped."""

    def learn_one(self, y: float) -> Any: ...

    def forecast(self, horizon: int) -> list[float]: ...


class LastValue:
    """As it was, so it will be: the baseline that every forecast must beat.

    Examples
    --------
    >>> LastValue().predict_one({"season": 0.7})
    0.0
    """

    def learn_one(self, x: dict[str, float], y: float) -> None:
        """Nothing to learn."""

    def predict_one(self, x: dict[str, float]) -> float:  # noqa: ARG002 the form is River's
        """No difference to the last value."""
        return 0.0

    def __repr__(self) -> str:
        return "LastValue()"


class SeasonalNaive:
    """As it was at this time on the days before; the last value on the first day.

    Examples
    --------
    >>> SeasonalNaive().predict_one({"season": 0.7})
    0.7
    """

    def learn_one(self, x: dict[str, float], y: float) -> None:
        """Nothing to learn: the profile of the day is kept by `RateForecaster`."""

    def predict_one(self, x: dict[str, float]) -> float:
        """The difference between the profile of the day and now."""
        return x.get("season", 0.0)

    def __repr__(self) -> str:
        return "SeasonalNaive()"


class LinearQuantile:
    """Linear regression on the pinball loss with AdaGrad: a quantile directly, not mean plus guess.

        forecast = max(0, season) + w x
        w <- w - step / sqrt(sum of g^2) * g,   g = ([y < forecast] - quantile) x
        step = min(step_max, learning_rate * recent mean of |y - forecast|)

    Where `x` has the feature "season", it starts from it rather than from 0: that a day will rise as the days before
    did is the better guess of a high quantile, long before w could have learned it. That it will fall is not.

    The gradient of the pinball loss does not shrink near the answer. With a step in proportion to the errors that are
    usual, a smooth wave is followed smoothly (pinball loss .29 % of the rate against .64 with a constant step of 0.1)
    while bursts are learned as fast (4.6 against 4.3 %).

    Written out, as River's `LinearRegression` with `AdaGrad` and its quantile loss, of which it is the same recursion,
    takes 10.3 us where this takes 6.4 (11 features, learn and predict), and can be saved.

    Parameters
    ----------
    quantile
        Quantile to forecast, in (0, 1).
    learning_rate
        Step of AdaGrad, relative to the usual error, > 0. From about 1 on, the steps make the errors that make the
        steps: `step_max` ends that.
    step_max
        Largest step, in the unit of y, > 0.

    Examples
    --------
    >>> model = LinearQuantile(quantile=0.9)
    >>> for sample in range(5000):
    ...     model.learn_one({"one": 1.0}, sample % 11 / 10)
    >>> 0.8 < model.predict_one({"one": 1.0}) < 1.0
    True

    References
    ----------
    Duchi, Hazan, Singer (2011), Adaptive subgradient methods, Journal of Machine Learning Research 12, 2121-2159.
    Koenker, Bassett (1978), Regression quantiles, Econometrica 46(1), 33-50.
    """

    def __init__(self, quantile: float = 0.95, learning_rate: float = 0.2, step_max: float = 0.1) -> None:
        if not 0.0 < quantile < 1.0:
            raise ValueError(f"quantile must be > 0 and < 1, got {quantile!r}")
        for name, value in (("learning_rate", learning_rate), ("step_max", step_max)):
            if not 0.0 < value < math.inf:
                raise ValueError(f"{name} must be > 0, got {value!r}")
        self.quantile = quantile
        self.learning_rate = learning_rate
        self.step_max = step_max
        self._samples = 0
        self._error = 0.0
        self._weights: dict[str, float] = {}
        self._squares: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"LinearQuantile(quantile={self.quantile:g}, learning_rate={self.learning_rate:g})"

    def learn_one(self, x: dict[str, float], y: float) -> None:
        """One step. A sample with anything that is not finite is left out: one NaN would stay for good."""
        if not (math.isfinite(y) and all(map(math.isfinite, x.values()))):
            return
        forecast = self.predict_one(x)
        self._samples += 1
        self._error += max(0.01, 1.0 / self._samples) * (abs(y - forecast) - self._error)
        step = min(self.step_max, self.learning_rate * self._error)
        pull = (y < forecast) - self.quantile
        weights, squares = self._weights, self._squares
        for name, value in x.items():
            gradient = pull * value
            square = squares[name] = squares.get(name, 0.0) + gradient * gradient
            weights[name] = weights.get(name, 0.0) - step * gradient / math.sqrt(square + 1e-8)

    def predict_one(self, x: dict[str, float]) -> float:
        """The quantile of y given x."""
        weights = self._weights
        forecast = max(0.0, x.get("season", 0.0))
        for name, value in x.items():
            weight = weights.get(name)
            if weight is not None:
                forecast += weight * value
        return forecast

    def forget(self) -> None:
        """Take large steps again, from where it is: what was learned is kept, how sure it is of it is not."""
        self._samples = 0
        self._squares.clear()

    def state(self) -> dict[str, Any]:
        """What it has learned, as JSON can hold it."""
        return {
            "samples": self._samples,
            "error": self._error,
            "weights": dict(self._weights),
            "squares": dict(self._squares),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`."""
        self._samples = int(state["samples"])
        self._error = float(state["error"])
        self._weights = {str(name): float(weight) for name, weight in state["weights"].items()}
        self._squares = {str(name): float(square) for name, square in state["squares"].items()}


class RateForecaster:
    """Feeds a model with rates, and with labels no earlier than the world gives them.

    `learn` is called once per period. It first closes the forecast made `periods` ago, whose future is now past: test,
    then train. Then it makes the next one, from what is known now. A hole in time discards the open forecasts, as
    nobody saw what came true.

    Parameters
    ----------
    model
        A regressor with River's verbs, which is asked for y of the module's text; or a time series model with River's
        verbs (`learn_one(z)`, `forecast(horizon)`), whose peak is taken. One of this package, or any of River's.
    period
        Control period, s, > 0.
    horizon
        How far ahead, s: start-up delay plus one period. At least one period is forecast.
    day
        Length of a day, s, > 0: the season, and 24 hours of calendar features.
    margin
        Added to what the model says, in logarithms, and calibrated by what came true from the second day on; None
        adds nothing.

    Examples
    --------
    >>> forecaster = RateForecaster(LastValue(), period=15.0, horizon=30.0)
    >>> [forecaster.learn(rate, time) for time, rate in ((15.0, 10.0), (30.0, 20.0))]
    [None, None]
    >>> outcome = forecaster.learn(15.0, 45.0)  # closes what was said at 15 s
    >>> round(outcome.forecast, 6), round(outcome.actual, 6)
    (10.0, 20.0)
    >>> round(forecaster.forecast(), 6)
    15.0
    """

    def __init__(
        self,
        model: Regressor | Series,
        *,
        period: float,
        horizon: float,
        day: float = 86_400.0,
        margin: Margin | None = None,
    ) -> None:
        self.history = RateHistory(period, horizon, day)
        self.horizon = horizon
        self.model = model
        self.period = period
        self.periods = self.history.periods
        self.margin = margin
        self._series = model if isinstance(model, Series) else None
        self._latest: _Said | None = None  # outlives a hole: a silent sensor does not mean that nothing arrives

    def __repr__(self) -> str:
        horizon = self.periods * self.period
        return f"RateForecaster({self.model!r}, period={self.period:g}, horizon={horizon:g}, day={self.history.day:g})"

    def forecast(self) -> float:
        """The peak rate expected until `horizon`, margin included, 1/s. 0 before the first rate."""
        return 0.0 if self._latest is None else self.history.rate(self._latest.bound)

    def learn(self, rate: float, time: float) -> Outcome | None:
        """Take the mean rate of the period that ended at `time`; give the forecast that it closed, if any.

        A rate that is negative or not finite is a hole; one beyond 100 times the level is taken as that.
        """
        history = self.history
        if not history.learn(rate, time):
            return None
        outcome = None
        if history.closed is not None:
            made, peak = history.closed
            said: _Said = made.said
            if self._series is None:
                self.model.learn_one(made.features, _clipped(peak - made.now))  # type: ignore[call-arg, arg-type]
            # Errors of the first day, when no season was known, say nothing of the days to come.
            if self.margin is not None and "seasonal" in made.features:
                self.margin.learn_one(peak - said.point, promised=said.bound - said.point)
            outcome = Outcome(history.rate(said.bound), history.rate(peak))
        self._latest = self._foresee()
        history.say(self._latest)
        return outcome

    def state(self) -> dict[str, Any]:
        """What it remembers of the rates, as JSON can hold it; model and margin have a state of their own."""
        return {"history": self.history.state(), "latest": None if self._latest is None else list(self._latest)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`."""
        self.history.restore(state["history"])
        self._latest = None if state["latest"] is None else _Said(*map(float, state["latest"]))

    def _foresee(self) -> _Said:
        now = self.history.now
        if self._series is not None:
            self._series.learn_one(now)
            try:
                difference = max(self._series.forecast(horizon=self.periods)) - now
            except IndexError:  # River's, before they have seen a season
                difference = None
        else:
            difference = self.model.predict_one(self.history.features)  # type: ignore[union-attr]
        # Some of River's models answer None before the first sample, and a diverged one NaN: then the last value.
        point = now
        if isinstance(difference, (int, float)) and math.isfinite(difference):
            point = max(0.0, now + _clipped(float(difference)))
        margin = 0.0 if self.margin is None else self.margin.margin
        return _Said(point, max(0.0, point + _clipped(margin)))


class FanForecaster:
    """Several quantiles of the coming peak at once: a `LinearQuantile` and a `QuantileTracker` for each level.

    The same forecasts as one `RateForecaster` for each, from one history and one set of features: 44 us for four levels
    where four forecasters take 89.

    Parameters
    ----------
    levels
        Quantiles in (0, 1), ascending.
    period, horizon, day
        As in `RateForecaster`.
    learning_rate
        As in `LinearQuantile`.

    Examples
    --------
    >>> fan = FanForecaster((0.5, 0.9), period=15.0, horizon=30.0)
    >>> for step in range(1, 2000):
    ...     fan.learn(100.0 + 10.0 * (step * step % 7), 15.0 * step)
    >>> low, high = fan.forecasts()
    >>> 130.0 < low < high < 150.0
    True
    """

    def __init__(
        self,
        levels: Sequence[float],
        *,
        period: float,
        horizon: float,
        day: float = 86_400.0,
        learning_rate: float = 0.2,
    ) -> None:
        self.history = RateHistory(period, horizon, day)
        self.levels = tuple(levels)
        self.horizon = horizon
        self.learning_rate = learning_rate
        self.models = [LinearQuantile(level, learning_rate) for level in levels]
        self.margins = [QuantileTracker(level) for level in levels]
        self._latest: list[_Said] | None = None

    def __repr__(self) -> str:
        levels = ", ".join(f"{model.quantile:g}" for model in self.models)
        return f"FanForecaster(({levels}), period={self.history.period:g})"

    def learn(self, rate: float, time: float) -> None:
        """Take the mean rate of the period that ended at `time`: test, train, and forecast anew."""
        history = self.history
        if not history.learn(rate, time):
            return
        if history.closed is not None:
            made, peak = history.closed
            difference = _clipped(peak - made.now)
            for model in self.models:
                model.learn_one(made.features, difference)
            if "seasonal" in made.features:
                for margin, said in zip(self.margins, made.said, strict=True):
                    margin.learn_one(peak - said.point, promised=said.bound - said.point)
        now, features = history.now, history.features
        latest = []
        for model, margin in zip(self.models, self.margins, strict=True):
            point = max(0.0, now + _clipped(model.predict_one(features)))
            latest.append(_Said(point, max(0.0, point + _clipped(margin.margin))))
        self._latest = latest
        history.say(latest)

    def state(self) -> dict[str, Any]:
        """What it has learned, as JSON can hold it."""
        return {
            "history": self.history.state(),
            "models": [model.state() for model in self.models],
            "margins": [margin.state() for margin in self.margins],
            "latest": None if self._latest is None else [list(said) for said in self._latest],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`."""
        self.history.restore(state["history"])
        for model, each in zip(self.models, state["models"], strict=True):
            model.restore(each)
        for margin, each in zip(self.margins, state["margins"], strict=True):
            margin.restore(each)
        latest = state["latest"]
        self._latest = None if latest is None else [_Said(float(point), float(bound)) for point, bound in latest]

    def forecasts(self) -> list[float]:
        """The quantiles of the peak rate until `horizon`, 1/s, never falling. Zeros before the first rate."""
        if self._latest is None:
            return [0.0] * len(self.models)
        rates: list[float] = []
        for said in self._latest:
            # Models of several quantiles may cross while they learn.
            rates.append(max(rates[-1] if rates else 0.0, self.history.rate(said.bound)))
        return rates


class RateHistory:
    """What has been seen of a rate, as features of now, and the forecasts whose future is not yet past.

    Parameters
    ----------
    period, horizon, day
        As in `RateForecaster`.
    """

    def __init__(self, period: float, horizon: float, day: float = 86_400.0) -> None:
        for name, value in (("period", period), ("day", day)):
            if not 0.0 < value < math.inf:
                raise ValueError(f"{name} must be > 0 s, got {value!r}")
        if not 0.0 <= horizon < math.inf:
            raise ValueError(f"horizon must be >= 0 s, got {horizon!r}")
        self.period = period
        self.day = day
        self.periods = max(1, math.ceil(horizon / period - 1e-9))
        self.now = 0.0
        self.features: dict[str, float] = {}
        self.closed: tuple[_Open, float] | None = None
        self._calendar = Calendar(day, period)
        self._profile = _Profile(day, period)
        self._time: float | None = None
        self._level: float | None = None
        self._recent: deque[float] = deque(maxlen=max(self.periods, 4))
        self._open: deque[_Open] = deque()

    def learn(self, rate: float, time: float) -> bool:
        """Take the mean rate of the period that ended at `time`; False for a hole.

        Then `closed` holds the forecast whose future this ends and the peak of that, or None; `now` the logarithm of
        the count, and `features` what is known of it.
        """
        self.closed = None
        if not (math.isfinite(rate) and rate >= 0.0 and math.isfinite(time)):
            self._open.clear()
            return False
        if self._time is not None and not -1e-9 <= time - self._time < 1.5 * self.period:
            self._open.clear()
        self._time = time
        now = self.now = self._accepted(math.log1p(min(rate * self.period, 1e300)))
        self._level = now if self._level is None else self._level + 0.05 * (now - self._level)
        self._recent.append(now)
        if len(self._open) >= self.periods:
            self.closed = self._open.popleft(), max(list(self._recent)[-self.periods :])
        self._profile.learn(time - self.period / 2.0, now)
        self.features = self._features(now, self._level, time)
        return True

    def say(self, said: Any) -> None:
        """Keep what was forecast from `features` until it can be judged."""
        self._open.append(_Open(self.features, self.now, said))

    def rate(self, z: float) -> float:
        """The rate whose logarithm of the count is z, 1/s."""
        return math.expm1(min(z, 700.0)) / self.period

    def state(self) -> dict[str, Any]:
        """What it remembers, as JSON can hold it; open forecasts, which only a run can close, left out."""
        return {
            "level": self._level,
            "time": self._time,
            "recent": list(self._recent),
            "profile": self._profile.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`."""
        self._level = None if state["level"] is None else float(state["level"])
        self._time = None if state["time"] is None else float(state["time"])
        self._recent.extend(float(z) for z in state["recent"])
        self._profile.restore(state["profile"])
        self._open.clear()
        if self._level is not None and self._time is not None:
            self.now = self._recent[-1]
            self.features = self._features(self.now, self._level, self._time)

    def _features(self, now: float, level: float, time: float) -> dict[str, float]:
        recent = list(self._recent)[-4:]
        features = {
            "one": 1.0,
            "slope": _clipped(now - recent[-2]) if len(recent) > 1 else 0.0,
            "mean": _clipped(sum(recent) / len(recent) - now),
            "peak": _clipped(max(recent) - now),
            "level": _clipped(level - now),
            # Poisson noise: the standard deviation of ln(count) is 1 / sqrt(count).
            "noise": math.exp(-0.5 * now),
        }
        season = self._profile.peak(time, self.periods)
        if season is not None:
            features["season"] = _clipped(season - now)
            features["seasonal"] = 1.0
        features.update(self._calendar.features(time))
        return features

    def _accepted(self, z: float) -> float:
        if self._level is None:
            return min(z, _FIRST)
        return min(z, max(self._level, _IDLE) + _JUMP)


class Calendar:
    """Time of day and time within the hour as features in [0, 1].

    The hour is a pair of hats, linear between the full hours, as daily waves are smooth; the time within the hour is
    one-hot, as cron jobs are not. Where a period is too long to tell them apart there is none of the kind.

    Examples
    --------
    >>> Calendar(day=86_400.0, period=15.0).features(time=1.5 * 3600.0)
    {'hour 1': 0.5, 'hour 2': 0.5, 'minute 30': 1.0}
    >>> Calendar(day=240.0, period=5.0).features(time=15.0)  # an hour of the model is 10 s
    {'hour 1': 0.5, 'hour 2': 0.5}
    """

    def __init__(self, day: float, period: float) -> None:
        self.day = day
        self._hours = min(24, int(day // period))
        self._minutes = min(60, int(day / 24.0 // period))

    def features(self, time: float) -> dict[str, float]:
        """Features at `time`, s."""
        features: dict[str, float] = {}
        share = (time % self.day) / self.day
        if self._hours >= 4:
            place = share * self._hours
            hour = int(place) % self._hours
            features[f"hour {hour}"] = 1.0 - (place - int(place))
            features[f"hour {(hour + 1) % self._hours}"] = place - int(place)
        if self._minutes >= 4:
            features[f"minute {int(share * 24.0 * self._minutes + 1e-9) % self._minutes}"] = 1.0
        return features


class _Said(NamedTuple):
    """A forecast without and with its margin, in logarithms of counts."""

    point: float
    bound: float


class _Open(NamedTuple):
    """What was known, and said, when a forecast was made whose future is not yet past."""

    features: dict[str, float]
    now: float
    said: Any


class _Profile:
    """Exponentially weighted mean over the days, per slot of the day."""

    def __init__(self, day: float, period: float) -> None:
        self._day = day
        self._period = period
        self._slots: list[float | None] = [None] * max(1, min(_PROFILE_SLOTS_MAX, round(day / period)))

    def learn(self, time: float, z: float) -> None:
        slot = self._slot(time)
        old = self._slots[slot]
        self._slots[slot] = z if old is None else old + 0.3 * (z - old)

    def peak(self, time: float, periods: int) -> float | None:
        """Highest slot of the next `periods`; None where no day before has filled them."""
        first = self._slot(time + 0.5 * self._period)
        last = self._slot(time + (periods - 0.5) * self._period)
        count = min((last - first) % len(self._slots) + 1, len(self._slots))
        known = [z for k in range(count) if (z := self._slots[(first + k) % len(self._slots)]) is not None]
        return max(known, default=None)

    def state(self) -> list[list[float]]:
        """Slots that are filled, with their values."""
        return [[slot, z] for slot, z in enumerate(self._slots) if z is not None]

    def restore(self, state: Sequence[Sequence[float]]) -> None:
        for slot, z in state:
            self._slots[int(slot)] = float(z)

    def _slot(self, time: float) -> int:
        return int((time % self._day) / self._day * len(self._slots)) % len(self._slots)


def _clipped(difference: float) -> float:
    return max(-_LIMIT, min(_LIMIT, difference))
