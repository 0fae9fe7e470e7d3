"""The rules of other autoscalers against their own projects' tests, and sequences computed by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from rarera_sim.policies import DelayedOff, Ds2, Flink, Keda, Knative, Observation, Pool, Scaler, Threshold
from rarera_sim.policies.flink import target_capacity
from rarera_sim.policies.keda import desired_for_lag


def looked(policy: Scaler, *observations: Observation) -> list[int]:
    """What the policy asks for after each observation."""
    decisions = []
    for observation in observations:
        policy.observe(observation)
        decisions.append(policy.decide().replicas)
    return decisions


# Threshold


def steps(policy: Threshold, utilisations: Sequence[float], replicas: int = 10) -> list[int]:
    observations = [
        Observation(0.0, 10.0, 0, replicas, utilisation=each, time=15.0 * step)
        for step, each in enumerate(utilisations, start=1)
    ]
    return looked(policy, *observations)


def test_a_step_is_a_share_cut_off_above_one_and_one_below() -> None:
    assert steps(Threshold(step_up=0.25), [0.9]) == [12]  # 2.5
    assert steps(Threshold(step_up=0.1), [0.9], replicas=3) == [4]  # 0.3
    assert steps(Threshold(step_down=0.25), [0.1]) == [8]


def test_nothing_changes_between_the_thresholds_nor_at_them() -> None:
    assert steps(Threshold(up=0.8, down=0.4), [0.8, 0.6, 0.4]) == [10, 10, 10]


def test_nothing_changes_within_the_cooldown() -> None:
    assert steps(Threshold(step_up=0.1, cooldown=60.0), [0.9] * 9) == [11, 11, 11, 11, 12, 12, 12, 12, 13]


def test_a_step_that_a_limit_forbids_starts_no_cooldown() -> None:
    policy = Threshold(replicas_max=10, cooldown=900.0)
    assert steps(policy, [0.9, 0.9, 0.1]) == [10, 10, 9]


# KEDA


def test_lag_is_shared_out_and_rounded_up() -> None:
    assert [desired_for_lag(lag, 10, 1) for lag in (0, 1, 10, 11, 12, 100, 101)] == [0, 1, 1, 1, 2, 10, 11]


def test_lag_within_a_tenth_of_the_target_changes_nothing() -> None:
    assert [desired_for_lag(lag, 10, current=10) for lag in (89, 90, 110, 111)] == [9, 10, 10, 12]


def test_there_are_no_more_consumers_than_partitions() -> None:
    assert desired_for_lag(1000, 10, current=1, partitions=3) == 3
    # In integers: 39 // 10 is not beyond 3, so the lag is left as it is and rounded up.
    assert desired_for_lag(39, 10, current=1, partitions=3) == 4


def lags(policy: Keda, waiting: Sequence[int], replicas: int = 1, in_service: int = 0) -> list[int]:
    """Obeyed at once, period by period."""
    decisions = []
    for step, backlog in enumerate(waiting, start=1):
        policy.observe(Observation(0.0, 10.0, backlog, replicas, in_service=in_service, time=15.0 * step))
        replicas = policy.decide().replicas
        decisions.append(replicas)
    return decisions


def test_events_in_service_count_as_lag_until_they_are_committed() -> None:
    assert lags(Keda(), [25], in_service=10, replicas=3) == [4]


def test_keda_is_paced_and_stabilised_as_the_autoscaler_that_it_feeds() -> None:
    assert lags(Keda(), [10_000] * 4) == [5, 10, 20, 40]
    assert lags(Keda(), [80] + [20] * 21, replicas=8) == [8] * 20 + [2, 2]


def test_without_lag_for_the_cooldown_it_goes_to_the_least() -> None:
    # The last poll with lag was at 15 s; from 135 s on, no lag for 120 s, though the window would hold 8.
    assert lags(Keda(cooldown=120.0), [80] + [0] * 9, replicas=8) == [8] * 8 + [1, 1]


def test_activity_is_polled_every_30_seconds() -> None:
    # Polled at 15, 45, 75 s: the lag at 30 s was never seen, so the cooldown ends at 75 s, not at 90 s.
    assert lags(Keda(cooldown=60.0), [80, 80, 0, 0, 0, 0], replicas=8) == [8, 8, 8, 8, 1, 1]


@pytest.mark.parametrize("threshold", [0, -1, 2.5, True, math.nan])
def test_a_threshold_is_a_whole_number_from_one_on(threshold: Any) -> None:
    with pytest.raises(ValueError, match="threshold must be a whole number >= 1"):
        Keda(threshold=threshold)


# Knative: the cases of autoscaler_test.go. Its metric client gives both windows' means at will; here one observation
# fills both, and `of` puts different means into them.


def present(concurrency: float, ready: int, time: float = 0.0) -> Observation:
    return Observation(0.0, 1.0, 0, ready, time=time, concurrency=concurrency)


def of(stable: float, panic: float, ready: int, **parameters: Any) -> int:
    """One decision of a fresh autoscaler whose windows have these means."""
    policy = Knative(**{"utilisation": 1.0, "stable_window": 60.0, "panic_window": 6.0, **parameters})
    policy._stable.add(0.0, 2.0 * stable - panic)
    return looked(policy, present(panic, ready, time=30.0))[0]


@pytest.mark.parametrize(
    ("stable", "panic", "ready", "target", "more", "wanted"),
    [
        (50.0, 10.0, 1, 10.0, {}, 5),  # StableModeIncreaseWithConcurrencyDefault
        (100.0, 10.0, 1, 10.0, {}, 10),
        (11.0, 25.0, 10, 1.0, {}, 25),  # UnpanicAfterSlowIncrease, its first jump
        (50.0, 49.0, 1, 10.0, {}, 5),  # Autoscaler0TBC
        (3.0, 3.1, 2, 1.0, {"max_scale_up_rate": 1.1}, 3),  # StableModeIncreaseWithSmallScaleUpRate
        (1.0, 1.0, 100, 10.0, {"max_scale_down_rate": 1.1}, 100),  # a fresh one with many ready begins in panic
        (50.0, 100.0, 1, 10.0, {"max_scale_up_rate": 10.0}, 10),  # PanicModeDoublePodCount
        (20.0, 30.0, 5, 1.0, {}, 30),  # PanicStableLessThanPanic
        (50.0, 30.0, 5, 1.0, {}, 50),  # PanicStableLargerThanPanic
    ],
)
def test_knatives_own_cases_hold(
    stable: float, panic: float, ready: int, target: float, more: dict[str, float], wanted: int
) -> None:
    assert of(stable, panic, ready, concurrency=target, **more) == wanted


def test_the_way_down_is_limited_by_its_rate() -> None:
    policy = Knative(concurrency=10.0, utilisation=1.0, max_scale_down_rate=1.1)
    assert looked(policy, present(0.5, 1), present(1.0, 100, 15.0))[1] == 90  # StableModeDecreaseWithSmallScaleDownRate


def test_panic_tracks_an_exponential_rise_and_stays() -> None:
    """PanicModeExponentialTrackAndStabilize."""
    policy = Knative(utilisation=1.0, stable_window=2.0, panic_window=1.0)
    rise = [(6.0, 1), (36.0, 6), (216.0, 36), (1296.0, 216), (1296.0, 1296)]
    seen = (present(concurrency, ready, 2.0 * step) for step, (concurrency, ready) in enumerate(rise))
    assert looked(Knative(utilisation=1.0, replicas_max=2000, stable_window=2.0), *seen) == [6, 36, 216, 1296, 1296]
    assert policy.panic_threshold == 2.0


def test_there_is_no_way_down_until_a_window_has_passed_without_panic() -> None:
    policy = Knative(utilisation=1.0)
    surge = [present(4.0, 1, 0.0), present(4.0, 4, 15.0)]
    calm = [present(1.0, 4, 15.0 * step) for step in range(2, 8)]
    # Panic at 0 s (4 of 1). Calm enough at 15 s; over after 60 s, at 75 s, when the stable mean is 1 again; and not
    # below half of what is ready.
    assert looked(policy, *surge, *calm) == [4, 4, 4, 4, 4, 2, 2, 2]


def test_the_delay_holds_the_highest_number() -> None:
    policy = Knative(concurrency=10.0, utilisation=1.0, max_scale_down_rate=10.0, panic_threshold=100.0,
                     stable_window=15.0, scale_down_delay=300.0)  # fmt: skip
    seen = [present(40.0, 1, 0.0), *(present(20.0, 1, 15.0 * step) for step in range(1, 22))]
    assert looked(policy, *seen) == [4] * 20 + [2, 2]


def test_the_default_target_is_seven_tenths_of_one() -> None:
    assert looked(Knative(), present(7.0, 1)) == [10]


# DS2


def test_ds2_divides_rates_and_rounds_up() -> None:
    assert looked(Ds2(), Observation(40.0, 10.0, 0, 1)) == [4]
    assert looked(Ds2(), Observation(40.1, 10.0, 0, 1)) == [5]
    assert looked(Ds2(margin=1.5), Observation(40.0, 10.0, 0, 1)) == [6]


def test_a_mean_of_tenths_is_not_rounded_up_for_its_last_bit() -> None:
    assert 3 * 0.1 / 0.1 > 3
    assert looked(Ds2(), Observation(3 * 0.1, 0.1, 0, 1)) == [3]


# Flink: the cases of JobVertexScalerTest, with no catch-up as there


def rescaled(parallelism: int, rate: float, true_rate: float, **parameters: Any) -> int:
    """After a full window: `true_rate` of the whole vertex, so a share of it for one."""
    common = {"utilisation": 1.0, "boundary": 0.0, "window": 15.0, "catch_up": 0.0, "max_down": 1.0}
    policy = Flink(**{**common, "scale_down_interval": 0.0, "replicas_max": 720, **parameters})
    one = true_rate / parallelism
    seen = [Observation(rate, one, 0, parallelism, time=15.0 * step) for step in range(1, 3)]
    return looked(policy, *seen)[-1]


@pytest.mark.parametrize(
    ("parallelism", "rate", "true_rate", "more", "wanted"),
    [
        (10, 200.0, 10.0, {"max_up": 0.5}, 15),  # testParallelismScaling
        (10, 200.0, 10.0, {"max_up": 0.6}, 16),
        (5, 100.0, 50.0, {}, 10),  # testIneffectiveScalingDetection
        (10, 180.0, 90.0, {}, 20),
        (20, 180.0, 100.0, {}, 36),
        (20, 180.0, 90.0, {}, 40),
        (20, 45.0, 90.0, {}, 10),
        (10, 100.0, 500.0, {"replicas_min": 5, "utilisation": 0.8}, 5),  # testMinParallelismLimitIsUsed
        (10, 500.0, 100.0, {"replicas_max": 10}, 10),  # testMaxParallelismLimitIsUsed
        (6, 80.0, 100.0, {}, 5),  # testParallelismComputation: 6 * 0.8
        (200, 200.0, 100.0, {}, 400),
    ],
)
def test_flinks_own_cases_hold(
    parallelism: int, rate: float, true_rate: float, more: dict[str, float], wanted: int
) -> None:
    assert rescaled(parallelism, rate, true_rate, **more) == wanted


def test_the_capacity_adds_lag_restart_and_utilisation_rounded() -> None:
    assert target_capacity(100.0, 0.0, 0.7, 1800.0, 300.0) == 160.0  # 16.67 + 142.86 = 159.52
    assert target_capacity(100.0, 18_000.0, 0.7, 1800.0, 300.0) == 170.0
    assert target_capacity(100.0, 18_000.0, 0.7, 0.0, 300.0) == 143.0
    assert target_capacity(100.0, 0.0, 0.0, 1800.0, 300.0) == math.inf
    assert target_capacity(0.5, 0.0, 1.0, 0.0, 0.0) == 1.0  # halves are rounded up


def test_within_the_bounds_of_utilisation_nothing_changes() -> None:
    # At 0.7 +- 0.3 of 100/s: from 100/s, without restart, to 267/s, with it.
    bounds = {"utilisation": 0.7, "boundary": 0.3, "catch_up": 1800.0}
    assert [rescaled(10, 100.0, true, **bounds) for true in (99.0, 101.0, 266.0, 268.0)] == [17, 10, 10, 6]


def test_a_way_down_has_to_be_asked_for_throughout_the_interval() -> None:
    policy = Flink(
        window=15.0, scale_down_interval=60.0, stabilisation=0.0, boundary=0.0, catch_up=0.0, utilisation=1.0
    )
    rates = [40.0, 40.0, 30.0, 50.0, 40.0, 40.0, 40.0]
    seen = [Observation(rate, 10.0, 0, 10, time=15.0 * step) for step, rate in enumerate(rates)]
    # Asked for first at 15 s, so until 75 s nothing; then the highest within the last 60 s.
    assert looked(policy, *seen) == [10, 10, 10, 10, 10, 5, 5]


def test_nothing_changes_until_the_window_is_full_nor_in_the_stabilisation() -> None:
    policy = Flink(window=60.0, stabilisation=30.0, utilisation=1.0, boundary=0.0, catch_up=0.0)
    seen = [Observation(100.0 + 10.0 * step, 10.0, 0, 10, time=15.0 * step) for step in range(14)]
    # Full at 60 s, with the mean of 15 to 60 s; stable from 90 s, full again at 150 s, with 115 s to 150 s.
    assert looked(policy, *seen) == [10] * 4 + [13] * 6 + [19] * 4


# DELAYEDOFF


def needs(policy: DelayedOff, counts: Sequence[int], pool: Pool) -> list[tuple[int, int]]:
    answers = []
    for step, count in enumerate(counts):
        policy.observe(Observation(1.0, 1.0, 0, 10, in_service=count, time=15.0 * step, pools=(pool,)))
        decision = policy.decide()
        answers.append((decision.replicas, (decision.asleep or {}).get(pool.name, -1)))
    return answers


def test_the_idle_sleep_and_the_sleeping_are_given_back() -> None:
    pool = Pool("vm", ready=9, wake_up=5.0)
    assert needs(DelayedOff(idle=30.0, sleep=30.0), [9, 2, 2, 2, 2, 2], pool) == [
        (9, 0), (9, 0), (2, 7), (2, 7), (2, 0), (2, 0),
    ]  # fmt: skip


def test_what_cannot_sleep_is_given_back_at_once() -> None:
    assert needs(DelayedOff(idle=30.0), [9, 2, 2, 2], Pool("vm", ready=9)) == [(9, -1), (9, -1), (2, -1), (2, -1)]


def test_no_more_sleep_than_there_are() -> None:
    assert needs(DelayedOff(idle=0.0), [9, 2], Pool("vm", ready=4, wake_up=5.0))[-1] == (2, 4)


def test_every_event_that_waits_asks_for_a_replica() -> None:
    busy = Observation(1.0, 1.0, backlog=5, replicas=3, in_service=3)
    assert looked(DelayedOff(), busy) == [8]
    assert looked(DelayedOff(waiting_per_replica=2.0), busy) == [6]
