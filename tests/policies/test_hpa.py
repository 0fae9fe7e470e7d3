"""The autoscaler against Kubernetes' documentation, its controller's own tests, and sequences computed by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from rarera_sim.policies.base import Observation
from rarera_sim.policies.hpa import Hpa, HpaRate, desired_pods


def looks(policy: Hpa | HpaRate, utilisations: list[float], period: float = 15.0, replicas: int = 1) -> list[int]:
    """What the policy asks for when it is obeyed at once, period by period."""
    decisions = []
    for step, utilisation in enumerate(utilisations, start=1):
        policy.observe(Observation(0.0, 10.0, 0, replicas, utilisation=utilisation, time=step * period))
        replicas = policy.decide().replicas
        decisions.append(replicas)
    return decisions


def asked(utilisation: float, replicas: int, pending: int = 0, **parameters: Any) -> int:
    policy = Hpa(**parameters)
    policy.observe(Observation(0.0, 10.0, 0, replicas, pending=pending, utilisation=utilisation, time=15.0))
    return policy.decide().replicas


# The metric


def test_twice_the_target_doubles_and_half_of_it_halves() -> None:
    assert desired_pods(total=3 * 200, target=100, ready=3, pending=0, current=3) == 6
    assert desired_pods(total=4 * 50, target=100, ready=4, pending=0, current=4) == 2


def test_the_controllers_own_examples_hold() -> None:
    # replica_calculator_test.go: ScaleUp, ScaleUpUnreadyLessScale, ScaleUpUnreadyNoScale, ScaleDownIgnoresUnreadyPods
    assert desired_pods(total=30 + 50 + 70, target=30, ready=3, pending=0, current=3) == 5
    assert desired_pods(total=50 + 70, target=30, ready=2, pending=1, current=3) == 4
    assert desired_pods(total=40, target=30, ready=1, pending=2, current=3) == 3
    assert desired_pods(total=10 + 30 + 50, target=50, ready=3, pending=2, current=5) == 2


@pytest.mark.parametrize(("utilisation", "replicas"), [(0.62, 9), (0.63, 10), (0.70, 10), (0.77, 10), (0.78, 12)])
def test_ratios_within_a_tenth_of_one_change_nothing(utilisation: float, replicas: int) -> None:
    assert asked(utilisation, replicas=10, scale_down={"window": 0.0}) == replicas


def test_utilisation_is_a_whole_percentage_cut_off() -> None:
    assert asked(0.7799, replicas=10) == 10  # 77 %, inside the tolerance; 77.99 / 70 would be outside
    assert asked(0.29, replicas=100, target=0.29) == 100  # 0.29 * 100 is 28.999999999999996 in binary


def test_the_product_is_rounded_up_in_binary_as_the_controller_does() -> None:
    assert 1.12 * 25 > 28
    assert asked(0.56, replicas=25, target=0.5) == 29


def test_pending_replicas_count_as_idle_on_the_way_up() -> None:
    assert asked(1.0, replicas=2, pending=0, target=0.5) == 4
    assert asked(1.0, replicas=2, pending=1, target=0.5) == 4  # 66 % / 50 % of three
    assert asked(1.0, replicas=2, pending=2, target=0.5) == 4  # exactly at the target: as it is


def test_pending_replicas_never_turn_up_into_down() -> None:
    assert asked(0.8, replicas=1, pending=9, target=0.7) == 10


def test_pending_replicas_do_not_count_on_the_way_down() -> None:
    assert asked(0.3, replicas=3, pending=2, target=0.5, scale_down={"window": 0.0}) == 2


@pytest.mark.parametrize("utilisation", [0.9, math.nan, math.inf])
def test_without_a_metric_nothing_changes(utilisation: float) -> None:
    assert asked(utilisation, replicas=0, pending=3) == 3


def test_a_rate_asks_for_the_rate_over_the_target() -> None:
    policy = HpaRate(target=7.0)
    policy.observe(Observation(100.0, 10.0, 0, replicas=10, pending=2, time=15.0))
    assert policy.decide().replicas == math.ceil(100.0 / 7.0)


def test_the_target_of_a_rate_follows_from_the_service_rate() -> None:
    assert repr(HpaRate(service_rate=10.0)) == "HpaRate(target=7)"
    with pytest.raises(ValueError, match="target must be given"):
        HpaRate()


# The pace


def test_by_default_up_goes_by_four_or_by_doubling_per_15_seconds() -> None:
    assert looks(Hpa(target=0.1), [1.0] * 5) == [5, 10, 20, 40, 80]


def test_the_pace_counts_what_was_added_within_its_period() -> None:
    # Looking every 5 s: nothing beyond 1 + 4 until 15 s have passed since the step.
    assert looks(Hpa(target=0.1, sync=5.0), [1.0] * 5, period=5.0) == [5, 5, 5, 10, 10]


def test_down_by_default_goes_to_the_minimum_at_once_after_the_window() -> None:
    assert looks(Hpa(replicas_min=2), [0.7, *[0.0] * 21], replicas=50)[19:] == [50, 2, 2]


def test_the_documentations_scale_down_by_a_tenth_or_by_four_holds() -> None:
    behaviour = {
        "window": 0.0,
        "policies": [{"kind": "pods", "value": 4, "period": 60.0}, {"kind": "percent", "value": 10, "period": 60.0}],
    }
    policy = Hpa(target=1.0, replicas_min=10, scale_down=behaviour)
    steps = looks(policy, [0.05] * 14, period=60.0, replicas=80)
    # 80 - 8 = 72; 10 % of 72 is 7.2, rounded up to 8; below 40, four at a time.
    assert steps == [72, 64, 57, 51, 45, 40, 36, 32, 28, 24, 20, 16, 12, 10]


def test_the_smallest_change_is_chosen_when_asked_for() -> None:
    behaviour = {
        "window": 0.0,
        "select": "min",
        "policies": [{"kind": "percent", "value": 10, "period": 60.0}, {"kind": "pods", "value": 5, "period": 60.0}],
    }
    assert looks(Hpa(scale_down=behaviour), [0.0] * 3, period=60.0, replicas=80) == [75, 70, 65]


def test_disabled_never_goes_that_way() -> None:
    assert looks(Hpa(scale_down={"select": "disabled"}), [0.0] * 30, replicas=9) == [9] * 30
    assert looks(Hpa(scale_up={"select": "disabled"}), [1.0] * 3, replicas=9) == [9] * 3


def test_limits_are_kept() -> None:
    assert looks(Hpa(replicas_max=7), [1.0] * 3, replicas=6) == [7, 7, 7]
    assert asked(0.7, replicas=1, replicas_min=3) == 3
    assert asked(0.7, replicas=12, replicas_max=10) == 10


# Stabilisation


def test_down_follows_the_highest_recommendation_of_the_last_300_seconds() -> None:
    # 15 s: 4 * 1.0 / 0.5 = 8. From 30 s on, 8 * 0.25 / 0.5 = 4 is asked for and 8 held, until 315 s.
    decisions = looks(Hpa(target=0.5), [1.0] + [0.25] * 21, replicas=4)
    assert decisions == [8] * 20 + [4, 4]


def test_a_peak_within_the_window_starts_it_anew() -> None:
    decisions = looks(Hpa(target=0.5), [1.0] + [0.25] * 9 + [0.5] + [0.25] * 21, replicas=4)
    assert decisions == [8] * 30 + [4, 4]


def test_up_follows_the_lowest_recommendation_of_its_window() -> None:
    policy = Hpa(target=0.5, scale_up={"window": 60.0})
    assert looks(policy, [0.5, 1.0, 1.0, 1.0, 1.0, 1.0], replicas=4) == [4, 4, 4, 4, 8, 8]


def test_it_looks_only_every_sync_seconds() -> None:
    assert looks(Hpa(target=0.1, sync=15.0), [1.0] * 7, period=5.0) == [5, 5, 5, 10, 10, 10, 20]


def test_a_crashed_replica_is_still_asked_for() -> None:
    policy = Hpa()
    policy.observe(Observation(0.0, 10.0, 0, replicas=10, utilisation=0.7, time=15.0))
    assert policy.decide().replicas == 10
    policy.observe(Observation(0.0, 10.0, 0, replicas=9, utilisation=0.72, time=30.0))
    assert policy.decide().replicas == 10


def test_history_before_the_run_changes_nothing() -> None:
    fresh, trained = Hpa(), Hpa()
    for step in range(1, 100):
        trained.observe(Observation(0.0, 10.0, 0, replicas=50, utilisation=1.0, time=15.0 * step))
    assert looks(trained, [0.3, 0.9, 0.2], replicas=5) == looks(fresh, [0.3, 0.9, 0.2], replicas=5)


@pytest.mark.parametrize(
    "parameters",
    [
        {"metric": "cpu"},
        {"target": 0.0},
        {"target": math.nan},
        {"target": 0.004},
        {"tolerance": -0.1},
        {"sync": 0.0},
        {"replicas_min": 0},
        {"replicas_min": 5, "replicas_max": 4},
        {"scale_up": {"windows": 3.0}},
        {"scale_up": {"window": -1.0}},
        {"scale_up": {"select": "most"}},
        {"scale_up": {"policies": []}},
        {"scale_up": {"policies": "pods"}},
        {"scale_up": {"policies": [{"kind": "pod", "value": 4}]}},
        {"scale_up": {"policies": [{"kind": "pods", "value": 0}]}},
        {"scale_up": {"policies": [{"kind": "pods"}]}},
        {"scale_up": {"policies": [7]}},
    ],
)
def test_bad_parameters_are_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must|has"):
        Hpa(**parameters)
