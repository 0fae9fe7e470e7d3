"""What one service takes, how soon a replica is there and how long it lasts: learned, with how sure one may be."""

from __future__ import annotations

import math
import random

import pytest

from rarera_sim.learning.failures import GammaRate, Reliability, _gamma_share
from rarera_sim.learning.services import ServiceEstimate, ServiceProfile, StartUp


def test_the_variability_of_one_service_is_found_from_means_over_several() -> None:
    chance = random.Random(1)
    service = ServiceEstimate(half_life=1e9)
    for _ in range(2000):
        count = chance.randint(1, 50)
        service.learn_one(sum(chance.expovariate(0.5) for _ in range(count)) / count, count)
    assert service.mean == pytest.approx(2.0, rel=0.02)
    assert service.scv == pytest.approx(1.0, rel=0.15)


def test_a_true_rate_is_above_the_low_one_as_often_as_stated() -> None:
    chance = random.Random(2)
    held = 0
    for _ in range(400):
        service = ServiceEstimate()
        for _ in range(100):
            service.learn_one(chance.expovariate(1.0))
        held += (service.rate_low(0.9) or math.inf) < 1.0
    assert held / 400 == pytest.approx(0.9, abs=0.05)


# A change of the mean


def batches(chance: random.Random, mean: float, periods: int, count: int = 900) -> list[float]:
    """Means over `count` lognormal services each, scv .5."""
    sigma = math.sqrt(math.log(1.5))
    return [
        math.fsum(mean * chance.lognormvariate(-(sigma**2) / 2.0, sigma) for _ in range(count)) / count
        for _ in range(periods)
    ]


@pytest.mark.parametrize("factor", [1.75, 1.2, 0.6])
def test_a_changed_mean_is_learned_within_eight_batches_and_the_variability_kept(factor: float) -> None:
    chance = random.Random(4)
    service = ServiceEstimate()
    for mean in batches(chance, 0.2, 60):
        service.learn_one(mean, 900)
    for mean in batches(chance, 0.2 * factor, 8):
        service.learn_one(mean, 900)
    assert service.mean == pytest.approx(0.2 * factor, rel=0.05)
    assert service.scv == pytest.approx(0.5, rel=0.4)


def test_without_an_alarm_nothing_is_begun_anew() -> None:
    service = ServiceEstimate(half_life=1e9, alarm=None)
    for mean in [0.2] * 60 + [0.4] * 60:
        service.learn_one(mean, 900)
    assert service.mean == pytest.approx(0.3, rel=1e-3)
    with pytest.raises(ValueError, match="alarm must be > 4 or None, got 3"):
        ServiceEstimate(alarm=3.0)


def test_a_mean_that_grows_slowly_is_followed() -> None:
    chance = random.Random(5)
    service = ServiceEstimate()
    for mean in batches(chance, 0.2, 60):
        service.learn_one(mean, 900)
    behind = []
    for period in range(80):
        truth = 0.2 * (1.0 + 0.75 * period / 80)
        service.learn_one(batches(chance, truth, 1)[0], 900)
        behind.append(1.0 - (service.mean or 0.0) / truth)
    assert max(behind) < 0.08


@pytest.mark.parametrize("odd", [1e-6, 1e6])
def test_one_odd_batch_is_no_change(odd: float) -> None:
    chance = random.Random(6)
    service = ServiceEstimate()
    for mean in batches(chance, 0.2, 60):
        service.learn_one(mean, 900)
    service.learn_one(odd, 1)
    for mean in batches(chance, 0.2, 3):
        service.learn_one(mean, 900)
    assert service.mean == pytest.approx(0.2, rel=0.02)


def test_false_alarms_are_as_rare_as_stated() -> None:
    chance = random.Random(7)
    service = ServiceEstimate()
    alarms, services = 0, 0.0
    for _ in range(200_000):
        service.learn_one(max(0.1, chance.gauss(1.0, 0.07)), 100, scv=0.49)
        alarms += service._services < services
        services = service._services
    # One in 9,500 makes 21, and a Poisson number of that mean is hardly ever above 38; some must come.
    assert 1 <= alarms <= 38


def test_a_mean_of_services_that_cannot_all_have_ended_is_not_taken() -> None:
    for span, followed in ((15.0, False), (300.0, True)):
        service = ServiceEstimate(prior=150.0)
        for _ in range(60):
            service.learn_one(150.0, 10, 0.2, span=150.0)
        for _ in range(8):
            service.learn_one(50.0, 10, 0.2, span=span)
        assert (service.mean == pytest.approx(50.0, rel=0.1)) is followed


# By type, size and hardware


def test_type_size_and_hardware_are_told_apart() -> None:
    chance = random.Random(3)
    profile = ServiceProfile()
    truth = {"order": (0.1, 0.002), "refund": (0.5, 0.0)}
    speeds = {"small": 1.0, "large": 2.0, "old": 0.5}
    for _ in range(6000):
        kind, hardware, size = chance.choice(list(truth)), chance.choice(list(speeds)), chance.randint(1, 400)
        base, slope = truth[kind]
        seconds = (base + slope * size) / speeds[hardware] * chance.lognormvariate(-0.125, 0.5)
        profile.learn_one(seconds, type=kind, size=size, hardware=hardware)
    reference = next(iter(profile._speeds))
    for kind, (base, slope) in truth.items():
        for hardware, speed in speeds.items():
            for size in (50, 200, 350):
                estimate = profile.predict(kind, size=size, hardware=hardware)
                assert estimate is not None
                assert estimate.mean == pytest.approx((base + slope * size) / speed, rel=0.15), (kind, hardware, size)
                assert estimate.scv == pytest.approx(math.exp(0.25) - 1.0, rel=0.3)
    assert reference in speeds


def test_what_was_never_seen_is_expected_to_be_as_all_are() -> None:
    profile = ServiceProfile()
    assert profile.predict("order") is None
    for _ in range(100):
        profile.learn_one(2.0, type="order", hardware="small")
    estimate = profile.predict("refund", hardware="large")
    assert estimate is not None
    assert estimate.mean == pytest.approx(2.0)
    assert estimate.mean_high(0.95) >= estimate.mean


def test_no_sample_spoils_the_profile() -> None:
    profile = ServiceProfile()
    for step in range(2000):
        for seconds, size in ((math.nan, 1.0), (math.inf, 1.0), (-1.0, 1.0), (1.0, math.nan), (0.0, 1.0)):
            profile.learn_one(seconds, size=size)
        profile.learn_one(1e12 if step == 500 else 2.0)
    estimate = profile.predict()
    assert estimate is not None
    assert estimate.mean == pytest.approx(2.0, rel=0.15)


# Start-up


def test_start_ups_have_a_mean_and_quantiles() -> None:
    start_up = StartUp(prior=60.0, window=100)
    assert start_up.mean == start_up.quantile(0.9) == 60.0
    for step in range(1000):
        start_up.learn_one(40.0 + step % 10)
    assert start_up.mean == pytest.approx(44.5)
    assert 48.0 <= start_up.quantile(0.95) <= 49.0
    start_up.learn_one(math.nan)
    start_up.learn_one(-5.0)
    assert start_up.quantile(0.0) >= 40.0


# Failures


@pytest.mark.parametrize(
    ("shape", "x", "share"),
    [(1.0, 1.0, 1.0 - math.exp(-1.0)), (1.0, 5.0, 1.0 - math.exp(-5.0)), (2.0, 2.0, 1.0 - 3.0 * math.exp(-2.0)),
     (0.5, 0.5, math.erf(math.sqrt(0.5))), (0.5, 4.0, math.erf(2.0)), (3.0, 10.0, 1.0 - 61.0 * math.exp(-10.0))],
)  # fmt: skip
def test_the_gamma_distribution_is_what_it_is(shape: float, x: float, share: float) -> None:
    assert _gamma_share(shape, x) == pytest.approx(share, rel=1e-12)


def test_a_true_failure_rate_lies_within_the_belief_as_often_as_stated() -> None:
    chance = random.Random(4)
    held = 0
    for _ in range(400):
        belief = GammaRate(prior_events=0.5, prior_exposure=1.0)
        events, time = 0, chance.expovariate(0.01)
        while time < 2000.0:
            events += 1
            time += chance.expovariate(0.01)
        belief.learn_one(events, 2000.0)
        held += belief.quantile(0.05) <= 0.01 <= belief.quantile(0.95)
    assert held / 400 == pytest.approx(0.9, abs=0.04)


def test_old_evidence_fades() -> None:
    belief = GammaRate(0.5, 1.0, half_life=1000.0)
    belief.learn_one(100, 1000.0)
    for _ in range(20):
        belief.learn_one(1, 1000.0)
    assert belief.mean == pytest.approx(0.001, rel=0.4)


def test_availability_follows_from_failures_and_repairs() -> None:
    hardware = Reliability(mtbf=1000.0, repair_time=50.0)
    for _ in range(1000):
        hardware.learn_period(running=900.0, failures=1)
        hardware.learn_repair(100.0)
    assert hardware.availability == pytest.approx(0.9, abs=0.001)
    assert 0.88 < hardware.availability_low(0.95) < 0.9


def test_senseless_evidence_is_left_out() -> None:
    hardware = Reliability()
    before = repr(hardware)
    hardware.learn_period(running=math.nan, failures=1)
    hardware.learn_period(running=-1.0, failures=1)
    hardware.learn_repair(math.inf)
    hardware.learn_repair(0.0)
    assert repr(hardware) == before
