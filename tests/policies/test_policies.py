"""The shared checks over every policy, and what each of the simpler ones has to answer."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from rarera_sim import theory
from rarera_sim.core.errors import BadInput
from rarera_sim.policies import (
    POLICIES,
    SURROUNDINGS,
    Decision,
    Observation,
    Scaler,
    check_policy,
    make_policy,
    parameters_of,
    tunable,
)
from rarera_sim.policies.fixed import Fixed, Peak
from rarera_sim.policies.queueing import ErlangC, SquareRootStaffing
from rarera_sim.policies.staffing import Surroundings
from rarera_sim.policies.tuning import Range

NEEDED: dict[str, dict[str, Any]] = {"fixed": {"replicas": 8}}
FACTS = {"period": 15.0, "start_up": 60.0, "bound": 1.0, "quantile": 0.99, "day": 3600.0, "service_rate": 10.0}


def make(name: str, **parameters: Any) -> Scaler:
    return make_policy(name, {**NEEDED.get(name, {}), **parameters}, **FACTS, replicas_min=2, replicas_max=40)


def observed(policy: Scaler, *observations: Observation) -> Scaler:
    for observation in observations:
        policy.observe(observation)
    return policy


def seen(arrival_rate: float = 100.0, service_rate: float = 10.0, backlog: int = 0, **more: Any) -> Observation:
    return Observation(arrival_rate, service_rate, backlog, **{"replicas": 10, **more})


# Every policy


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_stands_the_checks(name: str) -> None:
    check_policy(lambda: make(name), replicas_min=2, replicas_max=40)


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_shows_its_parameters_shortly(name: str) -> None:
    assert repr(make(name)).startswith(POLICIES[name].__name__ + "(")
    assert len(repr(make(name))) < 120


@pytest.mark.parametrize("name", POLICIES)
def test_every_decision_gives_a_reason_in_one_sentence(name: str) -> None:
    reason = observed(make(name), seen(utilisation=0.9, time=15.0)).decide().reason
    assert reason[0].isupper() or reason[0].isdigit()
    assert reason.endswith(".")


@pytest.mark.parametrize("name", POLICIES)
def test_a_decision_does_not_grow_dearer_with_what_was_seen(name: str) -> None:
    def cost(policy: Scaler, start: int) -> float:
        begun = time.process_time()
        for step in range(start, start + 300):
            policy.observe(seen(arrival_rate=50.0 + step % 7, time=15.0 * step, late_share=0.0, utilisation=0.5))
            policy.decide()
        return time.process_time() - begun

    policy = make(name)
    early = min(cost(policy, 300 * block) for block in range(3))
    late = min(cost(policy, 300 * block) for block in range(20, 23))
    assert late < 3.0 * early + 0.01


class _Odd:
    """A policy with one flaw."""

    def __init__(self, decide: Callable[[Observation | None], Any]) -> None:
        self._decide = decide
        self._observation: Observation | None = None

    def __repr__(self) -> str:
        return "Odd()"

    def observe(self, observation: Observation) -> None:
        self._observation = observation

    def decide(self) -> Decision:
        return Decision(self._decide(self._observation))


counter = iter(range(10**9))

FLAWS: dict[str, Callable[[], Scaler]] = {
    "fewer than 1": lambda: _Odd(lambda seen: 0 if seen is None or seen.arrival_rate == 0 else 1),
    "no whole number": lambda: _Odd(lambda _: 2.0),
    "differently on the same": lambda: _Odd(lambda _: 1 + next(counter) % 97),
    "wall clock": lambda: _Odd(lambda _: 1 + int(time.time() * 0)),
    "random number": lambda: _Odd(lambda _: 1 + int(random.random() * 0)),
    "more than 100": lambda: _Odd(lambda seen: 101 if seen is not None and seen.backlog > 10**6 else 1),
}


@pytest.mark.parametrize("phrase", FLAWS)
def test_the_checks_name_a_flaw(phrase: str) -> None:
    with pytest.raises(AssertionError, match=phrase):
        check_policy(FLAWS[phrase], replicas_max=100)


def test_the_checks_find_a_policy_poisoned_by_nan() -> None:
    class Poisoned(_Odd):
        def __init__(self) -> None:
            super().__init__(lambda _: 40 if math.isnan(self.mean) else max(1, int(self.mean / 8.0)))
            self.mean = 50.0

        def observe(self, observation: Observation) -> None:
            self.mean += 0.1 * (min(observation.arrival_rate, 1000.0) - self.mean)

    with pytest.raises(AssertionError, match="long after one NaN"):
        check_policy(Poisoned)


# By name


def test_surroundings_go_where_there_is_a_parameter_for_them() -> None:
    assert repr(make_policy("erlang-c", bound=2.0, quantile=0.9, late_price=1.0, service_scv=0.5)).startswith(
        "ErlangC(bound=2, quantile=0.9,"
    )


def test_parameters_go_before_surroundings() -> None:
    assert "bound=3," in repr(make_policy("erlang-c", {"bound": 3}, bound=2.0))


def test_surroundings_that_are_unknown_are_left_to_the_default() -> None:
    assert repr(make_policy("predictive", service_rate=None, bound=None)) == repr(make_policy("predictive"))


def test_a_misspelt_surrounding_is_a_fault_of_the_caller() -> None:
    with pytest.raises(TypeError, match="periods"):
        make_policy("predictive", periods=15.0)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("hpaa", {}, "unknown policy 'hpaa'; did you mean 'hpa'. .there are fixed, peak, threshold, hpa, "),
        ("", {}, "unknown policy ''"),
        (7, {}, "unknown policy 7"),
        ("erlang-c", {"bond": 2.0}, "no parameter 'bond'; did you mean 'bound'. .it has bound, quantile, period"),
        ("erlang-c", {"zzz": 2.0}, r"no parameter 'zzz' \(it has bound"),
        ("erlang-c", {"bound": "2"}, "'bound' of policy 'erlang-c' must be a number, got '2'"),
        ("erlang-c", {"bound": True}, "must be a number, got True"),
        ("erlang-c", {"bound": -2.0}, "policy 'erlang-c': bound must be > 0 s, got -2.0"),
        ("erlang-c", {"bound": math.nan}, "bound must be > 0 s, got nan"),
        ("erlang-c", {"replicas_max": 2.5}, "must be a whole number, got 2.5"),
        ("hpa", {"metric": "cpu"}, "must be 'utilisation' or 'rate', got 'cpu'"),
        ("hpa", {"scale_down": 3}, "must be a Behaviour or a table, got 3"),
        ("hpa", {"scale_down": {"windo": 3}}, "not 'windo'"),
        ("hpa-rate", {}, "target must be given"),
        ("fixed", {}, "policy 'fixed' needs the parameter 'replicas', a whole number"),
        ("fixed", {"replicas": 0}, "replicas must be a whole number >= 1, got 0"),
        ("fixed", [1], "must be a table, got"),
    ],
)
def test_what_cannot_be_made_is_bad_input_that_says_what_can(name: Any, parameters: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        make_policy(name, parameters)


@pytest.mark.parametrize("name", POLICIES)
def test_every_number_is_checked_for_nan(name: str) -> None:
    for key, parameter in parameters_of(name).items():
        if "float" in str(parameter.annotation):
            with pytest.raises(BadInput, match=key):
                make_policy(name, {**NEEDED.get(name, {}), key: math.nan}, service_rate=10.0 if name != key else None)


def test_surroundings_are_spelt_as_the_parameters_are() -> None:
    known = {key for name in POLICIES for key in parameters_of(name)}
    assert set(SURROUNDINGS) - known == {"price_per_hour", "service_scv"}, "observed, and kept for later"


# What a tuner may turn


@pytest.mark.parametrize("name", POLICIES)
def test_every_corner_of_what_is_tunable_makes_a_policy(name: str) -> None:
    assert tunable(name) or name == "guarded", "two policies, and nothing of its own"
    for shares in ((0.0, 1.0), (1.0, 0.0), (0.5, 0.5)):
        chosen = {key: each.at(shares[turn % 2]) for turn, (key, each) in enumerate(tunable(name).items())}
        assert observed(make(name, **chosen), seen(time=15.0)).decide().replicas >= 1


def test_a_range_goes_from_low_to_high_on_its_scale() -> None:
    assert [Range(1.0, 3.0).at(share) for share in (0.0, 0.5, 1.0)] == [1.0, 2.0, 3.0]
    assert [Range(0.01, 100.0, "log").at(share) for share in (0.0, 0.5, 1.0)] == pytest.approx([0.01, 1.0, 100.0])
    assert [Range(1, 4, "int").at(share / 8) for share in range(9)] == [1, 1, 2, 2, 3, 3, 4, 4, 4]


# Policies within policies


def test_a_policy_within_a_policy_is_given_the_same_surroundings() -> None:
    made = make_policy("alarm", {"policy": "erlang-c"}, bound=2.0, replicas_max=9)
    assert repr(made) == "Alarm(ErlangC(bound=2, quantile=0.99, memory=15, catch_up=60), threshold=2)"
    assert observed(made, seen(1e6)).decide().replicas == 9


@pytest.mark.parametrize("inner", ["nobody", {"replicas": 3}, 7, {"name": "fixed"}, {"name": "hpa", "traget": 1.0}])
def test_a_policy_within_a_policy_that_cannot_be_made_is_bad_input(inner: Any) -> None:
    with pytest.raises(BadInput, match=r"policy"):
        make_policy("alarm", {"policy": inner})
    with pytest.raises(BadInput, match=r"policy"):
        make_policy("bandit", {"arms": [inner]})
    with pytest.raises(BadInput, match=r"list of policies"):
        make_policy("bandit", {"arms": "hpa"})


# Fixed and peak


def test_fixed_is_fixed() -> None:
    assert observed(Fixed(3), seen(backlog=10**9)).decide().replicas == 3


def test_peak_holds_the_staffing_of_the_highest_rate_of_its_history() -> None:
    policy = observed(Peak(), *(seen(rate) for rate in (10.0, 200.0, 30.0)))
    needed = theory.servers_for_response(200.0, 10.0, bound=1.0, quantile=0.99, servers_max=1000)
    assert policy.decide().replicas == needed
    assert observed(policy, seen(9000.0)).decide().replicas == needed


def test_a_peak_quantile_leaves_out_the_rare_spikes() -> None:
    rates = [float(rate) for rate in range(1, 101)]
    policy = observed(Peak(peak_quantile=0.9), *(seen(rate) for rate in rates))
    assert policy.decide() == observed(Peak(), seen(90.0)).decide()


# Erlang C


@pytest.mark.parametrize("rate", [0.1, 1.0, 9.0, 77.0, 640.0])
@pytest.mark.parametrize("quantile", [0.5, 0.95, 0.99])
def test_erlang_c_takes_the_fewest_replicas_that_keep_the_objective(rate: float, quantile: float) -> None:
    replicas = (
        observed(ErlangC(Surroundings(bound=5.0, quantile=quantile)), seen(rate, service_rate=1.0)).decide().replicas
    )
    assert theory.response_tail(rate, 1.0, replicas, bound=5.0) <= 1.0 - quantile
    assert replicas == 1 or theory.response_tail(rate, 1.0, replicas - 1, bound=5.0) > 1.0 - quantile


def test_a_backlog_adds_the_rate_that_works_it_off_in_time() -> None:
    waiting = observed(ErlangC(catch_up=60.0), seen(100.0, backlog=1200)).decide()
    assert waiting == observed(ErlangC(), seen(120.0)).decide()


def test_where_the_service_alone_is_too_slow_it_only_avoids_waiting() -> None:
    replicas = observed(ErlangC(Surroundings(bound=0.1)), seen(100.0, service_rate=10.0)).decide().replicas
    assert theory.erlang_c(replicas, 10.0) <= 0.01 < theory.erlang_c(replicas - 1, 10.0)


def test_the_rate_is_smoothed_over_the_memory() -> None:
    policy = observed(ErlangC(memory=15.0), seen(0.0), seen(100.0))
    smoothed = observed(ErlangC(memory=0.0), seen(100.0 * (1.0 - math.exp(-1.0))))
    assert policy.decide() == smoothed.decide()


def test_the_service_rate_is_learned_from_what_busy_replicas_finish() -> None:
    slow = [seen(100.0, service_rate=5.0, utilisation=1.0, time=15.0 * step) for step in range(1, 100)]
    policy = observed(ErlangC(Surroundings(service_rate=10.0)), *slow)
    assert policy.decide().replicas == observed(ErlangC(), seen(100.0, service_rate=5.0)).decide().replicas


def test_more_than_all_there_are_is_all_there_are() -> None:
    assert observed(ErlangC(Surroundings(replicas_max=9)), seen(1e12)).decide().replicas == 9


def test_without_a_service_rate_the_replicas_stay() -> None:
    for policy in (ErlangC(), SquareRootStaffing(), Peak()):
        assert observed(policy, seen(service_rate=0.0, replicas=6, pending=2)).decide().replicas == 8


# Square-root staffing


@pytest.mark.parametrize("beta", [0.5, 1.0, 1.7])
def test_square_root_staffing_makes_few_enough_wait(beta: float) -> None:
    policy = SquareRootStaffing(beta=beta, replicas_max=20_000)
    replicas = observed(policy, seen(10_000.0, service_rate=1.0)).decide().replicas
    assert theory.erlang_c(replicas, 10_000.0) == pytest.approx(theory.wait_probability_halfin_whitt(beta), abs=0.01)


def test_a_rate_that_says_nothing_leaves_the_last_one_in_force() -> None:
    policy = observed(SquareRootStaffing(), seen(100.0), seen(math.nan, service_rate=0.0))
    assert policy.decide().replicas == 14
