"""Ask for replicas before they are needed: forecast the load at the moment when they will be ready."""

from __future__ import annotations

from typing import ClassVar

from rarera_sim.learning.intervals import QuantileTracker
from rarera_sim.learning.rates import LinearQuantile, RateForecaster
from rarera_sim.policies.base import Decision, Observation
from rarera_sim.policies.staffing import USUAL, Staffing, Surroundings, believed, learn_service, usable
from rarera_sim.policies.tuning import Range, Tunable


class Predictive:
    """Erlang-C staffing for a forecast quantile of the peak rate until the next decision can take effect.

        smallest c with P(response > bound) <= 1 - quantile at lambda' = forecast + backlog / catch_up   (M/M/c)
        forecast = River's linear quantile regression of the peak within start_up + period, plus a conformal margin

    Regression features are the last rates, the same time of the days before, hour, and minute of the hour. Both parts
    learn from every observation, before the run as in it: what was forecast is tested first, when the periods it
    spoke about are over, then learned from.

    Parameters
    ----------
    surroundings
        The objective, the clock and the limits; see `Surroundings`.
    forecast_quantile
        Share of the periods whose peak the forecast shall not fall short of, in (0, 1).
    learning_rate
        Of the regression, relative to its usual error, > 0; see `LinearQuantile`.
    catch_up
        Time in which a backlog shall be gone, s, > 0.

    Examples
    --------
    A day of 240 s whose second half is busy: on the fifth day, replicas are asked for before the rush.

    >>> policy = Predictive(Surroundings(bound=0.5, period=5.0, start_up=15.0, day=240.0))
    >>> for step in range(1, 4 * 48 + 24):
    ...     rate = 100.0 if (5.0 * step - 2.5) % 240.0 > 120.0 else 10.0
    ...     policy.observe(Observation(rate, service_rate=10.0, backlog=0, replicas=12, time=5.0 * step))
    >>> rate, policy.decide().replicas >= 12
    (10.0, True)

    References
    ----------
    Koenker, Bassett (1978), Regression quantiles, Econometrica 46(1), 33-50.
    Angelopoulos, Candès, Tibshirani (2023), Conformal PID control for time series prediction, NeurIPS 36.
    """

    TUNABLE: ClassVar[Tunable] = {
        "forecast_quantile": Range(0.5, 0.9995),
        "learning_rate": Range(0.02, 1.0, "log"),
        "catch_up": Range(5.0, 600.0, "log"),
    }

    def __init__(
        self,
        surroundings: Surroundings = USUAL,
        *,
        forecast_quantile: float = 0.95,
        learning_rate: float = 0.2,
        catch_up: float = 60.0,
    ) -> None:
        if not 0.0 < forecast_quantile < 1.0:
            raise ValueError(f"forecast_quantile must be > 0 and < 1, got {forecast_quantile!r}")
        self.surroundings = surroundings
        self.staffing = Staffing(surroundings.bound, surroundings.quantile, catch_up, surroundings.limits)
        self.forecaster = RateForecaster(
            LinearQuantile(forecast_quantile, learning_rate),
            period=surroundings.period,
            horizon=surroundings.horizon,
            day=surroundings.day,
            margin=QuantileTracker(forecast_quantile),
        )
        self.forecast_quantile = forecast_quantile
        self._service = believed(surroundings.service_rate)
        self._observation: Observation | None = None
        self._known = False

    def __repr__(self) -> str:
        surroundings = f"{self.surroundings}, start_up={self.surroundings.start_up:g}"
        return f"Predictive(forecast_quantile={self.forecast_quantile:g}, {surroundings})"

    def observe(self, observation: Observation) -> None:
        """Test the forecast that came due, then train on it; the same in history and in the run."""
        self.forecaster.learn(observation.arrival_rate, observation.time)
        learn_service(self._service, observation, self.forecaster.period)
        self._known = self._known or usable(observation.arrival_rate)
        self._observation = observation

    def decide(self) -> Decision:
        """Replicas for the forecast."""
        observation, rate = self._observation, self._service.rate
        if observation is None:
            return Decision(self.staffing.limits.replicas_min, "Nothing observed yet.")
        if rate is None or not self._known:
            current = observation.replicas + observation.pending
            return Decision(self.staffing.limits.within(current), "Nothing to go by yet, so as it is.")
        forecast = self.forecaster.forecast()
        replicas = self.staffing.replicas(forecast, rate, observation.backlog)
        waiting = f" and {observation.backlog} waiting" if observation.backlog > 0 else ""
        ahead = self.forecaster.periods * self.forecaster.period
        return Decision(
            replicas,
            f"Up to {forecast:.4g}/s expected within {ahead:g} s ({self.forecast_quantile * 100:g}% sure), "
            f"now {observation.arrival_rate:.4g}/s{waiting}, at {rate:.4g}/s each: {replicas}.",
        )
