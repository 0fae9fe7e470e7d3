"""What every scaling policy must stand, whoever wrote it: `check_policy(MyPolicy)` in a test is enough.

In the manner of River's `utils.check_estimator`: each check is a function, and says in a phrase what did not hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace

from rarera_sim.learning.checks import no_clock_and_no_chance
from rarera_sim.policies.base import Decision, Observation, Scaler

Factory = Callable[[], Scaler]


def check_policy(factory: Factory, *, replicas_min: int = 1, replicas_max: int | None = None) -> None:
    """Run every check on fresh policies; AssertionError with a phrase where one does not hold.

    Parameters
    ----------
    factory
        Makes a new policy, the same each time: the class, or a lambda around it.
    replicas_min, replicas_max
        Limits that every decision has to keep.

    Examples
    --------
    >>> from rarera_sim.policies.fixed import Fixed
    >>> check_policy(lambda: Fixed(3), replicas_max=3)
    >>> check_policy(lambda: Fixed(3), replicas_min=4)
    Traceback (most recent call last):
    ...
    AssertionError: Fixed(replicas=3) decided for 3 replicas, fewer than 4, in ordinary weather
    """
    for phrase, weather in WEATHERS.items():
        _check_decisions(factory, weather, phrase, replicas_min, replicas_max)
        _check_repeatable(factory, weather, phrase)
    _check_silence(factory, replicas_min)
    _check_asking_twice(factory)
    _check_clock_and_chance(factory)
    _check_forgives_nan(factory)
    _check_training(factory, replicas_min, replicas_max)
    _check_copy(factory)


def _check_decisions(
    factory: Factory, weather: Sequence[Observation], phrase: str, replicas_min: int, replicas_max: int | None
) -> None:
    policy = factory()
    for observation in weather:
        policy.observe(observation)
        decision = policy.decide()
        assert isinstance(decision, Decision), f"{policy!r} answered {decision!r}, no Decision, {phrase}"
        replicas = decision.replicas
        whole = isinstance(replicas, int) and not isinstance(replicas, bool)
        assert whole, f"{policy!r} decided for {replicas!r} replicas, no whole number, {phrase}"
        assert replicas >= replicas_min, (
            f"{policy!r} decided for {replicas} replicas, fewer than {replicas_min}, {phrase}"
        )
        assert replicas_max is None or replicas <= replicas_max, (
            f"{policy!r} decided for {replicas} replicas, more than {replicas_max}, {phrase}"
        )
        reason = decision.reason
        assert len(reason.splitlines()) <= 1, f"{policy!r} gave a reason of several lines, {phrase}"


def _check_repeatable(factory: Factory, weather: Sequence[Observation], phrase: str) -> None:
    first, second = (_decisions(factory(), weather) for _ in range(2))
    assert first == second, f"{factory()!r} decided differently on the same observations, {phrase}"


def _check_silence(factory: Factory, replicas_min: int) -> None:
    replicas = factory().decide().replicas
    assert replicas >= replicas_min, f"{factory()!r} decided for {replicas} replicas before any observation"


def _check_asking_twice(factory: Factory) -> None:
    once, twice = factory(), factory()
    for observation in ORDINARY:
        once.observe(observation)
        twice.observe(observation)
        decision = twice.decide()
        assert twice.decide() == decision, f"{twice!r} changed its mind when asked twice"
        assert once.decide() == decision, f"{twice!r} decided differently because it had been asked twice"


def _check_copy(factory: Factory) -> None:
    """A run that is forked copies its policy, and both go on as one would have."""
    policy = factory()
    half = len(ORDINARY) // 2
    _decisions(policy, ORDINARY[:half])
    copied = deepcopy(policy)
    assert _decisions(copied, ORDINARY[half:]) == _decisions(policy, ORDINARY[half:]), (
        f"{policy!r} and its copy decided differently"
    )


def _check_clock_and_chance(factory: Factory) -> None:
    with no_clock_and_no_chance("a policy"):
        _decisions(factory(), ORDINARY)


def _check_forgives_nan(factory: Factory) -> None:
    """A sensor that once said NaN must not decide what is done an hour later."""
    ill = [replace(ORDINARY[20], arrival_rate=math.nan, service_rate=math.nan, utilisation=math.nan, late_share=None)]
    calm = _calm(periods=400)
    # The same clock for both: only the reading of the sensor differs.
    without, hurt = (_decisions(factory(), [*ORDINARY[:20], *reading, *calm])[-1] for reading in (ORDINARY[20:21], ill))
    assert abs(without - hurt) <= max(1, 0.1 * without), (
        f"{factory()!r} wants {hurt} instead of {without} replicas long after one NaN"
    )


def _check_training(factory: Factory, replicas_min: int, replicas_max: int | None) -> None:
    """History is observed on the same clock, which then starts anew with the run."""
    policy = factory()
    for observation in ORDINARY:
        policy.observe(observation)
    for observation in ORDINARY[:20]:
        policy.observe(observation)
        replicas = policy.decide().replicas
        within = replicas_min <= replicas and (replicas_max is None or replicas <= replicas_max)
        assert within, f"{policy!r} decided for {replicas} replicas after training"


def _decisions(policy: Scaler, weather: Sequence[Observation]) -> list[int]:
    decisions = []
    for observation in weather:
        policy.observe(observation)
        decisions.append(policy.decide().replicas)
    return decisions


# What a policy may meet. Each is an hour or so of control periods of 15 s.


def _ordinary() -> list[Observation]:
    """A wave of load on replicas that follow it late, with responses that suffer from it."""
    observations = []
    replicas = 5
    for step in range(1, 241):
        rate = 60.0 + 40.0 * math.sin(step / 20.0) + 7.0 * math.sin(step * 2.399)
        utilisation = min(1.0, rate / (10.0 * replicas))
        late = 0.0 if utilisation < 0.9 else 0.2
        observations.append(
            Observation(
                arrival_rate=rate,
                service_rate=10.0 + math.cos(step),
                backlog=int(100 * late),
                replicas=replicas,
                pending=step % 3,
                in_service=int(rate / 10.0),
                utilisation=utilisation,
                time=15.0 * step,
                response_quantile=0.3 + late,
                late_share=late,
                price_per_hour=0.1,
            )
        )
        replicas = 1 + int(rate / 8.0)
    return observations


def _calm(periods: int) -> list[Observation]:
    start = ORDINARY[20].time
    calm = replace(ORDINARY[0], arrival_rate=50.0, service_rate=10.0, backlog=0, pending=0, late_share=0.0)
    return [
        replace(calm, time=start + 15.0 * step, replicas=8, utilisation=0.6, response_quantile=0.3)
        for step in range(1, periods + 1)
    ]


def _each(**changes: object) -> list[Observation]:
    """The ordinary weather up to the middle, then with `changes`, then ordinary again."""
    changed = [replace(observation, **changes) for observation in ORDINARY[60:120]]  # type: ignore[arg-type]
    return [*ORDINARY[:60], *changed, *ORDINARY[120:]]


ORDINARY = _ordinary()
WEATHERS: dict[str, Sequence[Observation]] = {
    "in ordinary weather": ORDINARY,
    "when nothing arrives": _each(arrival_rate=0.0, utilisation=0.0, in_service=0, backlog=0),
    "when nothing was ever finished": [
        replace(each, service_rate=0.0, response_quantile=None, late_share=None) for each in ORDINARY
    ],
    "when nothing is finished": _each(service_rate=0.0, response_quantile=None, late_share=None, backlog=10**6),
    "when no replica is ready": _each(replicas=0, service_rate=0.0, utilisation=0.0, late_share=None),
    "when quantiles are unknown": _each(response_quantile=None, late_share=None),
    "when everything is late": _each(late_share=1.0, utilisation=1.0, response_quantile=1e6, backlog=10**9),
    "when a rate is beyond any sense": _each(arrival_rate=1e300, service_rate=1e-300),
    "when a service rate is beyond any sense": _each(service_rate=1e300),
    "when sensors say NaN": _each(
        arrival_rate=math.nan, service_rate=math.nan, utilisation=math.nan, late_share=math.nan, price_per_hour=math.nan
    ),
    "when sensors say infinity": _each(arrival_rate=math.inf, service_rate=math.inf, price_per_hour=math.inf),
    "when replicas are free": _each(price_per_hour=0.0),
    "when the clock stands still": [replace(each, time=0.0) for each in ORDINARY],
    "when periods are missing": ORDINARY[::7],
}
