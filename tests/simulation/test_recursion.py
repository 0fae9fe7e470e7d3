"""The compiled evaluator and the SimPy model are one model: the same departures, observations and decisions."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import math
import sys
from dataclasses import fields

import msgspec
import numpy as np
import polars as pl
import pytest
from worlds import live

from rarera_sim.adapters.memory import MemoryBus, MemoryLog
from rarera_sim.core.errors import BadInput
from rarera_sim.core.projection import Tally
from rarera_sim.policies import Decision, Observation, Scaler, make_policy
from rarera_sim.simulation.arrivals import Arrival, Workload
from rarera_sim.simulation.control import ControlSettings, Objective
from rarera_sim.simulation.gateway import Ports
from rarera_sim.simulation.hardware import Crashes, Hardware, Outage, Outages, PoolSettings, Spot
from rarera_sim.simulation.kernel import Streams
from rarera_sim.simulation.processor import Capacity
from rarera_sim.simulation.queue import QueueSettings
from rarera_sim.simulation.recursion import Outcome, evaluate, evaluate_chunks
from rarera_sim.simulation.services import ServiceTime
from rarera_sim.simulation.world import System, Watchers, World

SYSTEM = System(
    queue=QueueSettings(memory_max=10**6),
    hardware=Hardware(start_up=60.0),
    control=ControlSettings(period=15.0, replicas_max=60),
    objective=Objective(quantile=0.95, bound=2.0),
)
SERVICE = ServiceTime(mean=1.0, scv=0.5)


class Watched:
    """A policy with all it was told and said."""

    def __init__(self, policy: Scaler) -> None:
        self.policy = policy
        self.told: list[Observation] = []
        self.said: list[int] = []

    def observe(self, observation: Observation) -> None:
        self.told.append(observation)
        self.policy.observe(observation)

    def decide(self) -> Decision:
        decision = self.policy.decide()
        self.said.append(decision.replicas)
        return decision


class Erratic:
    """Any number at any time, so that starts, stops and drains of all kinds are met."""

    def __init__(self, seed: int, most: int) -> None:
        self._generator = np.random.default_rng(seed)
        self._most = most

    def observe(self, observation: Observation) -> None:
        pass

    def decide(self) -> Decision:
        return Decision(int(self._generator.integers(1, self._most)))


def bursty_times(seed: int, count: int = 1500) -> np.ndarray:
    """Calm and bursts, so that queues build up and policies have something to do."""
    generator = np.random.default_rng(seed)
    rates = np.repeat(generator.choice([2.0, 6.0, 20.0], count // 100 + 1), 100)[:count]
    return generator.exponential(1.0 / rates).cumsum()


def workload_of(times: np.ndarray) -> Workload:
    arrivals = [
        Arrival(time, number, "source", f"processor-{number % 3}", "reading", {"value": number})
        for number, time in enumerate(times.tolist())
    ]
    return Workload(arrivals, math.ceil(times[-1] / 15.0) * 15.0)


def agree(ours: list[Observation], theirs: list[Observation]) -> None:
    for here, there in zip(ours, theirs, strict=False):
        for field in fields(Observation):
            one, other = getattr(here, field.name), getattr(there, field.name)
            exact = not isinstance(other, float)
            assert one == (other if exact else pytest.approx(other, rel=1e-6, abs=1e-9)), field.name


POLICIES = {
    "hpa": lambda: make_policy("hpa", {"target": 0.6}, replicas_max=60),
    "erlang-c": lambda: make_policy("erlang-c", {}, bound=2.0, quantile=0.95, start_up=60.0, replicas_max=60),
    "predictive": lambda: make_policy("predictive", {}, bound=2.0, quantile=0.95, start_up=60.0, replicas_max=60),
    "fixed": lambda: make_policy("fixed", {"replicas": 12}),
    "erratic": lambda: Erratic(5, 40),
}


def both(system: System, times: np.ndarray, policy: str, seed: int, service: ServiceTime = SERVICE):
    model, compiled = Watched(POLICIES[policy]()), Watched(POLICIES[policy]())
    lived = live(system, "queue-at-most-once", seed=seed, workload=workload_of(times), service=service, policy=model)
    arrived = lived.journeys["received_s"].to_numpy()
    services = service.draw(np.random.default_rng(seed), len(times))
    outcome = evaluate(arrived, services, compiled, system=system, departures=True)
    return lived, model, outcome, compiled


@pytest.mark.parametrize("seed", range(1, 3))
@pytest.mark.parametrize("policy", POLICIES)
def test_every_event_departs_at_the_same_moment_and_every_decision_is_the_same(policy: str, seed: int) -> None:
    lived, model, outcome, compiled = both(SYSTEM, bursty_times(seed), policy, seed)
    assert lived.finished
    assert np.array_equal(outcome.departures, lived.journeys["finished_s"].to_numpy())
    shared = min(len(model.said), len(compiled.said))
    assert shared > 10
    assert compiled.said[:shared] == model.said[:shared]


@pytest.mark.parametrize("policy", ["hpa", "erratic"])
def test_a_policy_is_told_the_same(policy: str) -> None:
    _, model, _, compiled = both(SYSTEM, bursty_times(7), policy, 7)
    agree(compiled.told, model.told)


def test_what_is_paid_for_is_what_the_model_counts() -> None:
    lived, _, outcome, _ = both(SYSTEM, bursty_times(3), "erratic", 3)
    end = outcome.periods.filter(pl.col("paid_s") > 0.0)["time_s"].max()
    changes = [*lived.capacities, Capacity(math.inf, 0, 0, 0, 0)]
    paid = sum(
        now.paid * (min(then.time, end) - now.time) for now, then in itertools.pairwise(changes) if now.time < end
    )
    assert outcome.replica_time == pytest.approx(paid, rel=1e-9)
    assert outcome.launches <= lived.world.cluster.launches


@pytest.mark.parametrize(("start_up", "speed"), [(0.0, 1.0), (15.0, 0.5), (7.0, 2.0)])
def test_start_up_and_speed_are_those_of_the_hardware(start_up: float, speed: float) -> None:
    """A start-up of one period ends when the next decision is due: it counts as ready then, on both sides."""
    system = msgspec.structs.replace(SYSTEM, hardware=Hardware(start_up=start_up, speed=speed))
    lived, model, outcome, compiled = both(system, bursty_times(2), "hpa", 2)
    assert np.array_equal(outcome.departures, lived.journeys["finished_s"].to_numpy())
    shared = min(len(model.told), len(compiled.told))
    assert [each.replicas for each in compiled.told[:shared]] == [each.replicas for each in model.told[:shared]]


def load(seed: int = 1, count: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    return bursty_times(seed, count), SERVICE.draw(np.random.default_rng(seed), count)


def summary(outcome: Outcome) -> tuple[object, ...]:
    return outcome.events, outcome.late, outcome.replica_time, outcome.launches, outcome.histogram.tolist()


def test_arrivals_may_come_in_pieces_of_any_size() -> None:
    times, services = load()
    duration = float(times[-1])
    whole = evaluate(times, services, POLICIES["hpa"](), system=SYSTEM, duration=duration)
    for size in (1, 7, 1000):
        pieces = [(times[at : at + size], services[at : at + size]) for at in range(0, len(times), size)]
        parts = evaluate_chunks(iter(pieces), POLICIES["hpa"](), system=SYSTEM, duration=duration)
        assert summary(parts) == summary(whole)
        assert parts.periods.equals(whole.periods)


def test_every_event_is_on_time_or_late_and_is_counted_in_its_minute() -> None:
    times, services = load()
    outcome = evaluate(times, services, POLICIES["fixed"](), system=SYSTEM, departures=True)
    late = int((outcome.departures - times > SYSTEM.objective.bound).sum())
    assert outcome.late == late > 0
    assert outcome.histogram.sum() == len(times)
    minutes = outcome.minutes
    assert minutes["arrived"].to_list() == np.bincount((times / 60.0).astype(int)).tolist()
    assert minutes["late"].sum() == late
    share = outcome.response_quantile(0.95)
    assert np.quantile(outcome.departures - times, 0.95) <= share * 1.001
    assert share <= np.quantile(outcome.departures - times, 0.95) * 1.05


def test_what_is_never_done_is_late() -> None:
    times, services = np.arange(0.0, 60.0), np.full(60, 100.0)
    outcome = evaluate(times, services, make_policy("fixed", {"replicas": 1}), system=SYSTEM, drain_max=0.0)
    assert outcome.late == outcome.events == 60


def test_many_replicas_and_long_periods_find_room() -> None:
    system = msgspec.structs.replace(SYSTEM, control=ControlSettings(period=15.0, replicas_max=3000))
    times = np.arange(20_000) / 1000.0
    outcome = evaluate(times, np.full(20_000, 1.5), Jump(), system=system)
    assert outcome.launches == 2600
    assert outcome.periods["ready"].max() == 2600


class Jump:
    """A few, and then many at once."""

    def __init__(self) -> None:
        self.replicas = 40

    def observe(self, _: Observation) -> None:
        self.replicas = 2600

    def decide(self) -> Decision:
        return Decision(self.replicas)


def test_without_numba_the_same_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    times, services = load(count=400)
    fast = evaluate(times, services, POLICIES["hpa"](), system=SYSTEM, departures=True)
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "numba" else real(name))
    plain = importlib.reload(sys.modules["rarera_sim.simulation.compiled"])
    try:
        assert not plain.COMPILED
        slow = evaluate(times, services, POLICIES["hpa"](), system=SYSTEM, departures=True)
    finally:
        monkeypatch.undo()
        importlib.reload(plain)
    assert summary(slow) == summary(fast)
    assert np.array_equal(slow.departures, fast.departures)


@pytest.mark.parametrize(
    ("times", "services", "word"),
    [
        ([1.0, 0.5], [1.0, 1.0], "ascending"),
        ([-1.0, 0.5], [1.0, 1.0], "ascending"),
        ([0.0, math.nan], [1.0, 1.0], "ascending"),
        ([0.0, 99.0], [1.0, 1.0], "duration"),
        ([0.0, 1.0], [1.0, -1.0], "services"),
        ([0.0, 1.0], [1.0, math.inf], "services"),
        ([0.0, 1.0], [1.0], "one length"),
    ],
)
def test_bad_arrivals_are_refused(times: list[float], services: list[float], word: str) -> None:
    with pytest.raises(BadInput, match=word):
        evaluate(np.array(times), np.array(services), POLICIES["fixed"](), duration=30.0)


# Weather, pools and sleep: against the model's `direct` way, event by event

FAST = Hardware(name="fast", speed=2.0, start_up=40.0, price_per_hour=3.0)
SPOT = Hardware(name="spot", speed=1.0, start_up=50.0, price_per_hour=0.3, spot=True)
SLEEPY = Hardware(name="sleepy", start_up=60.0, wake_up=5.0, price_per_hour=1.0, price_asleep_per_hour=0.1)
PLAIN = Hardware(name="plain")

WORLDS = {
    "crashes": {"crashes": Crashes(mtbf=200.0, detection_delay=10.0, at=(100.0, 400.0))},
    "crashes noticed at once": {"crashes": Crashes(mtbf=150.0, detection_delay=0.0)},
    "two kinds": {"pools": (PoolSettings(name="a", hardware=FAST), PoolSettings(name="b", hardware=PLAIN))},
    "spot": {
        "pools": (PoolSettings(name="a", hardware=SPOT), PoolSettings(name="b", hardware=PLAIN)),
        "spot": Spot(mtbi=150.0, notice=1.0),
        "crashes": Crashes(mtbf=500.0, detection_delay=7.0),
    },
    "zones": {
        "pools": (PoolSettings(name="a", hardware=PLAIN, zone="x"), PoolSettings(name="b", hardware=FAST, zone="y")),
        "outages": Outages(at=(Outage(zone="x", at=101.0, duration=130.0), Outage(zone="y", at=310.0, duration=20.0))),
    },
    "asleep": {
        "pools": (
            PoolSettings(name="a", hardware=SLEEPY, asleep=6, replicas_max=20),
            PoolSettings(name="b", hardware=PLAIN),
        ),
    },
    "all": {
        "pools": (
            PoolSettings(name="a", hardware=SLEEPY, asleep=6, replicas_max=20, zone="x"),
            PoolSettings(name="b", hardware=SPOT, zone="y"),
        ),
        "spot": Spot(mtbi=150.0, notice=1.0),
        "crashes": Crashes(mtbf=500.0, detection_delay=7.0),
        "outages": Outages(at=(Outage(zone="x", at=101.0, duration=130.0), Outage(zone="y", at=310.0, duration=20.0))),
    },
}


class Whims:
    """Any number of any pool at any time, awake and asleep."""

    def __init__(self, seed: int, names: list[str], *, sleeps: bool) -> None:
        self._generator = np.random.default_rng(seed)
        self._names = names
        self._sleeps = sleeps
        self._before: dict[str, int] = {}

    def observe(self, _: Observation) -> None:
        pass

    def decide(self) -> Decision:
        if not self._before or self._generator.random() < 0.5:
            self._before = {name: int(self._generator.integers(0, 14)) for name in self._names}
        asleep = {"a": int(self._generator.integers(0, 8))} if self._sleeps and self._generator.random() < 0.7 else None
        return Decision(sum(self._before.values()), pools=self._before, asleep=asleep)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("world", WORLDS)
def test_under_any_weather_every_event_departs_at_the_same_moment(world: str, seed: int) -> None:
    system = msgspec.structs.replace(SYSTEM, **WORLDS[world])
    times = bursty_times(seed)
    services = SERVICE.draw(np.random.default_rng(seed), len(times))
    names = [pool.name for pool in system.all_pools]
    sleeps = system.all_pools[0].hardware.wake_up is not None
    model, compiled = (Watched(Whims(seed, names, sleeps=sleeps)) for _ in range(2))
    served, leases = [], []
    workload = workload_of(times)
    ports = Ports(MemoryLog(), MemoryBus(), Tally("value"))
    simulated = World(
        system,
        workload,
        services.tolist(),
        "direct",
        ports,
        model,
        Streams(seed),
        Watchers(serve=served.append, lease=leases.append),
    )
    assert simulated.run()
    finished = np.full(len(times), np.nan)
    for each in served:
        finished[each.numbers] = each.finished
    outcome = evaluate(times, services, compiled, system=system, departures=True, streams=Streams(seed))
    assert np.array_equal(outcome.departures, finished)
    assert outcome.crashed + outcome.interrupted > 0 or world in ("two kinds", "asleep")
    agree(compiled.told, model.told)
    end = outcome.periods.filter(pl.col("cost") > 0.0)["time_s"].max()
    prices = {pool.name: pool.hardware for pool in system.all_pools}
    billed = 0.0
    for lease in [*leases, *simulated.cluster.leases()]:
        hardware = prices[lease.pool]
        price = hardware.price_asleep_per_hour if lease.asleep else hardware.price_per_hour
        billed += max(0.0, min(lease.until, end) - lease.since) * price / 3600.0
    assert outcome.cost == pytest.approx(billed, rel=1e-9)
