"""`late-last`: who can still keep the bound goes first, against a reference of thirty lines."""

from __future__ import annotations

import heapq
import math

import msgspec
import numpy as np
import pytest
from worlds import live

from rarera_sim.core.errors import BadInput
from rarera_sim.policies import Decision, Observation, Scaler
from rarera_sim.simulation.arrivals import Arrival, Workload
from rarera_sim.simulation.control import ControlSettings, Objective
from rarera_sim.simulation.hardware import Hardware
from rarera_sim.simulation.line import late_after
from rarera_sim.simulation.queue import QueueSettings
from rarera_sim.simulation.recursion import evaluate, evaluate_chunks
from rarera_sim.simulation.services import ServiceTime
from rarera_sim.simulation.world import System

BOUND, PERIOD = 2.0, 15.0
SYSTEM = System(
    hardware=Hardware(start_up=60.0),
    control=ControlSettings(period=PERIOD, replicas_max=60),
    objective=Objective(quantile=0.9, bound=BOUND),
)


class Asking:
    """So many replicas, and disciplines in turn."""

    def __init__(self, replicas: int, *disciplines: str | None) -> None:
        self.replicas = replicas
        self.disciplines = disciplines
        self.told: list[Observation] = []

    def observe(self, observation: Observation) -> None:
        self.told.append(observation)

    def decide(self) -> Decision:
        return Decision(self.replicas, discipline=self.disciplines[len(self.told) % len(self.disciplines)])


class Erratic(Asking):
    """Another number of replicas each time."""

    def decide(self) -> Decision:
        decision = super().decide()
        return Decision(1 + (7 * len(self.told)) % self.replicas, discipline=decision.discipline)


def load(seed: int, count: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    rates = np.repeat(generator.choice([2.0, 10.0, 40.0], count // 100), 100)
    return generator.exponential(1.0 / rates).cumsum(), generator.lognormal(-1.0, 0.6, count)


def reference(times: np.ndarray, services: np.ndarray, replicas: int, disciplines: tuple[str, ...]) -> np.ndarray:
    """When each event is done: the discipline, word by word."""
    done = np.full(len(times), np.nan)
    busy: list[tuple[float, int]] = []
    waiting: list[int] = []
    finished: list[float] = []
    coming, after, decision = 0, 0.0, 0
    while coming < len(times) or busy:
        arrival = times[coming] if coming < len(times) else math.inf
        departure = busy[0][0] if busy else math.inf
        if min(arrival, departure) >= decision * PERIOD:
            late_last = disciplines[decision % len(disciplines)] == "late-last"
            mean = sum(finished) / len(finished) if finished else 0.0
            after = late_after(BOUND, mean) if late_last else math.inf
            decision += 1
            continue
        now = min(arrival, departure)
        if departure <= arrival:
            _, number = heapq.heappop(busy)
            done[number] = now
            finished.append(services[number])
        else:
            waiting.append(coming)
            coming += 1
        while waiting and len(busy) < replicas:
            fresh = [number for number in waiting if now - times[number] <= after]
            number = (fresh or waiting)[0]
            waiting.remove(number)
            heapq.heappush(busy, (now + services[number], number))
    return done


@pytest.mark.parametrize("seed", range(1, 5))
@pytest.mark.parametrize("disciplines", [("late-last",), ("fifo",), ("late-last", "late-last", "fifo")])
def test_events_depart_as_in_the_reference(seed: int, disciplines: tuple[str, ...]) -> None:
    times, services = load(seed)
    policy = Asking(4, *disciplines)
    outcome = evaluate(times, services, policy, system=SYSTEM, departures=True, drain_max=1e5)
    expected = reference(times, services, 4, disciplines)
    assert np.allclose(outcome.departures, expected, rtol=0.0, atol=1e-6)
    assert outcome.late == int((expected - times > BOUND).sum())
    assert any(each.late_waiting for each in policy.told) == ("late-last" in disciplines)


def test_fewer_are_late_than_in_order_of_arrival() -> None:
    times, services = load(3)
    in_order, late_last = (
        evaluate(times, services, Asking(5, discipline), system=SYSTEM) for discipline in ("fifo", "late-last")
    )
    assert late_last.late < 0.8 * in_order.late
    assert late_last.replica_time == in_order.replica_time


def test_nobody_is_forgotten_while_replicas_come_and_go_and_arrivals_come_in_pieces() -> None:
    times, services = load(5)
    whole = evaluate(times, services, Erratic(9, "late-last", "fifo"), system=SYSTEM, drain_max=1e5)
    pieces = [(times[first : first + 97], services[first : first + 97]) for first in range(0, len(times), 97)]
    parted = evaluate_chunks(
        iter(pieces), Erratic(9, "late-last", "fifo"), system=SYSTEM, duration=float(times[-1]), drain_max=1e5
    )
    assert whole.periods.equals(parted.periods)
    assert whole.periods["finished"].sum() == len(times)
    told = whole.periods
    assert (told["arrived"].cum_sum() - told["finished"].cum_sum() >= told["backlog"]).all()


def test_what_was_never_done_is_late() -> None:
    times, services = load(2)
    outcome = evaluate(times, services, Asking(1, "late-last"), system=SYSTEM, departures=True, drain_max=0.0)
    never = np.isnan(outcome.departures)
    assert never.any()
    assert outcome.late == int((outcome.departures - times > BOUND).sum() + never.sum())


@pytest.mark.parametrize("disciplines", [("late-last",), ("late-last", "fifo")])
def test_the_model_and_the_evaluator_agree_event_by_event(disciplines: tuple[str, ...]) -> None:
    times, _ = load(6, 1500)
    model, compiled = Erratic(9, *disciplines), Erratic(9, *disciplines)
    system = msgspec.structs.replace(SYSTEM, queue=QueueSettings(memory_max=10**6))
    arrivals = [Arrival(at, number, "source", "processor", "reading", {}) for number, at in enumerate(times.tolist())]
    workload = Workload(arrivals, math.ceil(times[-1] / PERIOD) * PERIOD)
    service = ServiceTime(mean=0.4, scv=0.5)
    lived = live(system, "queue-at-most-once", seed=6, workload=workload, service=service, policy=model)
    services = service.draw(np.random.default_rng(6), len(times))
    outcome = evaluate(lived.journeys["received_s"].to_numpy(), services, compiled, system=system, departures=True)
    assert lived.finished
    assert np.array_equal(outcome.departures, lived.journeys["finished_s"].to_numpy())
    # The model ends once all is done, the evaluator with the period in which it is.
    told = [each.late_waiting for each in compiled.told]
    assert len(told) - len(model.told) in (0, 1)
    assert told[: len(model.told)] == [each.late_waiting for each in model.told]
    assert max(each.late_waiting for each in compiled.told) > 10


def test_another_discipline_is_refused() -> None:
    policy: Scaler = Asking(1, "sjf")
    with pytest.raises(BadInput, match="discipline must be fifo or late-last here, got 'sjf'"):
        evaluate(*load(1), policy, system=SYSTEM)
