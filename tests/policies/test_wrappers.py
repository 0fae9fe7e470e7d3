"""Policies around policies: the alarm on response times, and the bandit."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from rarera_sim.policies import Alarm, Bandit, Decision, Fixed, Observation, Scaler


def seen(step: int, replicas: int = 10, response: float | None = None, late: float | None = None) -> Observation:
    return Observation(
        50.0, 10.0, 0, replicas, time=15.0 * step, response_quantile=response, late_share=late, price_per_hour=0.1
    )


def responses(policy: Scaler, *seconds: float | None) -> list[int]:
    answers = []
    for step, response in enumerate(seconds, start=1):
        policy.observe(seen(step, response=response))
        answers.append(policy.decide().replicas)
    return answers


# Alarm


def test_every_period_of_alarm_adds_a_step() -> None:
    assert responses(Alarm(Fixed(10), threshold=2.0, step=0.2), 1.0, 2.0, 2.1, 9.0, 1.5) == [10, 10, 12, 14, 14]


def test_the_surplus_goes_by_halves_once_it_has_been_calm() -> None:
    policy = Alarm(Fixed(10), threshold=2.0, step=0.4, hold=30.0)
    assert responses(policy, 3.0, 0.5, 0.5, 0.5, 0.5, 0.5, None, 0.5, 0.5) == [14, 14, 14, 12, 12, 11, 11, 10, 10]


def test_between_the_thresholds_the_surplus_stays() -> None:
    assert responses(Alarm(Fixed(10), threshold=2.0, clear=0.5, hold=15.0), 3.0, *[1.5] * 9) == [12] * 10


def test_an_alarm_keeps_the_limits() -> None:
    assert responses(Alarm(Fixed(10), threshold=2.0, step=1.0, replicas_max=25), *[9.0] * 5)[-1] == 25


def test_more_is_asked_of_the_pool_that_has_most() -> None:
    class Pools(Fixed):
        def decide(self) -> Decision:
            return Decision(10, "Two pools.", pools={"spot": 7, "vm": 3}, dispatch="jsq")

    policy = Alarm(Pools(10), threshold=2.0)
    policy.observe(seen(1, response=5.0))
    decision = policy.decide()
    assert decision.pools == {"spot": 9, "vm": 3}
    assert decision.dispatch == "jsq"
    assert decision.replicas == 12


# Bandit


def shares(policy: Bandit, late_of: dict[int, float], steps: int, start: int = 0) -> list[int]:
    followed = []
    for step in range(start + 1, start + steps + 1):
        replicas = policy.decide().replicas
        followed.append(replicas)
        policy.observe(seen(step, replicas, late=late_of[replicas]))
    return followed


def test_the_cheapest_arm_without_lateness_is_followed_most() -> None:
    policy = Bandit([Fixed(3), Fixed(10), Fixed(30)], epoch=60.0, late_price=0.001)
    followed = shares(policy, {3: 0.9, 10: 0.0, 30: 0.0}, 2000)
    assert followed.count(10) > 0.7 * len(followed)
    assert {3, 30} <= set(followed), "each is tried"


def test_when_the_world_changes_another_arm_is_followed() -> None:
    policy = Bandit([Fixed(10), Fixed(30)], epoch=60.0, late_price=0.001)
    assert shares(policy, {10: 0.0, 30: 0.0}, 1000)[-100:].count(10) > 60
    assert shares(policy, {10: 0.9, 30: 0.0}, 2000, start=1000)[-100:].count(30) > 60


def test_an_arm_stays_in_charge_for_an_epoch() -> None:
    followed = shares(Bandit([Fixed(10), Fixed(30)], epoch=60.0), {10: 0.0, 30: 0.0}, 400)
    changes = [step for step in range(1, 400) if followed[step] != followed[step - 1]]
    assert changes
    assert all(later - earlier >= 4 for earlier, later in pairwise(changes))


def test_history_judges_nobody() -> None:
    fresh, trained = (Bandit([Fixed(10), Fixed(30)], epoch=60.0) for _ in range(2))
    for step in range(1, 1000):
        trained.observe(seen(step, late=1.0))
    assert trained._counts == [0.0, 0.0]
    late_of = {10: 0.0, 30: 0.0}
    for policy in (fresh, trained):
        shares(policy, late_of, 40, start=1000)
    assert trained._usual == pytest.approx(fresh._usual, rel=0.3), "not the losses of another policy's history"


def test_every_arm_learns_all_the_time() -> None:
    class Counting(Fixed):
        observed = decided = 0

        def observe(self, observation: Observation) -> None:  # noqa: ARG002
            self.observed += 1

        def decide(self) -> Decision:
            self.decided += 1
            return super().decide()

    arms = [Counting(10), Counting(30)]
    shares(Bandit(arms, epoch=60.0), {10: 0.0, 30: 0.0}, 100)
    assert [arm.observed for arm in arms] == [100, 100]
    assert [arm.decided for arm in arms] == [100, 100]


@pytest.mark.parametrize(
    "parameters", [{"epoch": 0.0}, {"discount": 0.0}, {"late_price": -1.0}, {"exploration": math.nan}]
)
def test_bad_parameters_are_refused(parameters: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Bandit([Fixed(3)], **parameters)
    with pytest.raises(ValueError, match="at least one"):
        Bandit([])
