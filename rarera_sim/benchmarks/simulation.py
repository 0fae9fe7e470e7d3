"""The model.

Customers of M/M/10 at a load of .9, unless a case says otherwise. "Naive SimPy" is how its documentation teaches it: a
`Resource`, and a process per customer that requests it. Both sides draw their numbers while they run or before, as
their users would, and keep every customer's response time; ours also keeps when each was received, started and
finished, what policies see once per period, and the frame of all journeys. "Whole path" is the real core inside:
canonical bytes, channel, UID checked, group commit to the log, bus, subscription, projection, acknowledgement to the
source's outbox; 900 events/s, so that commits gather some 20 events.

"A comparison" is what `compare` takes by the clock with two processes: twelve policies, a day of `bursty` arrivals at
60 events/s, replicas that start in a minute, core off, metrics on. One replication of a part of that day is run, and
the time scaled to ten of a whole one.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import simpy

from rarera_sim.adapters.memory import MemoryBus, MemoryLog
from rarera_sim.adapters.sqlite import SqliteLog
from rarera_sim.benchmarks.measure import Cost, Progress, Row, absent, against, at_most, cost_of, in_rounds
from rarera_sim.core.log import EventLog
from rarera_sim.core.projection import Tally
from rarera_sim.experiments.compare import compare
from rarera_sim.experiments.scenario import Configuration, RunSettings, Scenario
from rarera_sim.metrics.journeys import Journeys
from rarera_sim.policies import Fixed
from rarera_sim.simulation.arrivals import Bursty, poisson
from rarera_sim.simulation.control import ControlSettings, Objective
from rarera_sim.simulation.gateway import Ports
from rarera_sim.simulation.generators import DAY
from rarera_sim.simulation.hardware import Hardware
from rarera_sim.simulation.kernel import Streams
from rarera_sim.simulation.line import LineSettings
from rarera_sim.simulation.services import ServiceTime
from rarera_sim.simulation.world import System, Watchers, World

TITLE = "The model"
ABOUT = __doc__

SERVERS, LOAD = 10, 0.9
MEMORY_MAX = 1_000.0
WHOLE_MEMORY_EVENTS = 10_000_000
COMPARISON_MAX = 30.0  # minutes
REPLICATIONS = 10
# From the plainest to ours; the three that plan by simulating or try others out take longer.
COMPARED = (
    "fixed", "threshold", "hpa", "hpa-rate", "keda", "knative",
    "ds2", "flink", "erlang-c", "square-root", "predictive", "rarera",
)  # fmt: skip


class Size(NamedTuple):
    """How much is measured."""

    customers: int
    rounds: int
    whole: int
    curve: tuple[int, ...]
    memory: int
    whole_memory: int
    compared: float  # seconds of the day


QUICK = Size(5_000, 3, 2_000, (1_000, 10_000), 200_000, 10_000, 60.0)
FULL = Size(50_000, 7, 20_000, (10_000, 100_000, 1_000_000), 10_000_000, 200_000, DAY / 8)
LONG = Size(50_000, 7, 20_000, (10_000, 100_000, 1_000_000, 10_000_000), 10_000_000, 10_000_000, DAY)


def run(*, quick: bool, long: bool, progress: Progress) -> list[Row]:
    size = QUICK if quick else LONG if long else FULL
    parts: list[Callable[[Size], list[Row]]] = [
        _bare,
        _lines,
        _whole_path,
        _events_curve,
        _replicas_curve,
        _memory,
        _comparison,
    ]
    rows = []
    for done, part in enumerate(parts):
        progress(done, len(parts))
        rows += part(size)
    progress(len(parts), len(parts))
    return rows


# A queueing system


class Times:
    """Arrivals of which only the times are known."""

    arrivals = ()

    def __init__(self, times: array[float]) -> None:
        self.times = times
        self.duration = times[-1]

    def __len__(self) -> int:
        return len(self.times)


def queueing(
    count: int,
    servers: int = SERVERS,
    load: float = LOAD,
    system: System | None = None,
    spill: Path | None = None,
    period: float = 15.0,
) -> Callable[[], Journeys]:
    """Our model of M/M/c, ready to be run: with metrics, without the core."""

    def work() -> Journeys:
        streams = Streams(1)
        # In blocks, so that no second copy of all is ever there.
        times, services = array("d"), array("d")
        arrivals, lengths = streams.generator("arrivals"), streams.generator("service")
        last = 0.0
        for start in range(0, count, _BLOCK):
            block = arrivals.exponential(1.0 / (load * servers), min(_BLOCK, count - start)).cumsum() + last
            last = float(block[-1])
            times.frombytes(block.tobytes())
            services.frombytes(lengths.exponential(1.0, len(block)).tobytes())
        journeys = Journeys(spill)
        capacities: list[Any] = []
        periods: list[Any] = []
        watchers = Watchers(
            capacity=capacities.append, control=periods.append, note=journeys.note, serve=journeys.serve
        )
        made = system or System(control=ControlSettings(replicas_max=100_000, period=period))
        ports: Any = None
        workload: Any = Times(times)
        world = World(made, workload, services, "direct", ports, Fixed(servers), streams, watchers)
        assert world.run(drain_max=1e9), "all are served in the end"
        if spill is None:
            frame = journeys.frame(arrivals=np.frombuffer(times))
            assert frame["finished"].sum() == count, "each customer is served once"
        return journeys

    return work


_BLOCK = 1 << 20


def naive_simpy(count: int) -> list[float]:
    """Response times of M/M/10 the way SimPy is taught."""
    rng = random.Random(1)
    env = simpy.Environment()
    servers = simpy.Resource(env, SERVERS)
    responses: list[float] = []

    def customer() -> Any:
        came = env.now
        with servers.request() as request:
            yield request
            yield env.timeout(rng.expovariate(1.0))
        responses.append(env.now - came)

    def source() -> Any:
        for _ in range(count):
            yield env.timeout(rng.expovariate(LOAD * SERVERS))
            env.process(customer())

    env.process(source())
    env.run()
    return responses


def ciw_missing() -> str:
    """Why Ciw cannot be run here; empty if it can."""
    try:
        import ciw  # type: ignore[import-untyped]  # noqa: F401
    except ImportError:
        return "ciw is not installed"
    return ""


def ciw_network(count: int) -> Callable[[], object]:
    """Response times of M/M/10 by Ciw."""
    import ciw

    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Exponential(rate=LOAD * SERVERS)],
        service_distributions=[ciw.dists.Exponential(rate=1.0)],
        number_of_servers=[SERVERS],
    )

    def work() -> object:
        ciw.seed(1)
        simulation = ciw.Simulation(network)
        simulation.simulate_until_max_customers(count, method="Finish")
        return [record.exit_date - record.arrival_date for record in simulation.get_all_records()]

    return work


def _bare(size: Size) -> list[Row]:
    count = size.customers
    actions: dict[str, Callable[[], Cost]] = {
        "ours": lambda: cost_of(queueing(count)),
        "naive SimPy": lambda: cost_of(lambda: naive_simpy(count)),
    }
    why = ciw_missing()
    if not why:
        actions["Ciw"] = lambda: cost_of(ciw_network(count))
    costs = in_rounds(actions, size.rounds)
    case = "M/M/10, core off, metrics on"
    rows = [against(case, costs["ours"], "naive SimPy", costs["naive SimPy"], events=count, aim=4.0)]
    if why:
        return [*rows, absent(case, "us/event", why, 8.0)]
    return [*rows, against(case, costs["ours"], "Ciw", costs["Ciw"], events=count, aim=8.0)]


def _lines(size: Size) -> list[Row]:
    """What other ways to wait cost: they inform."""
    count = size.customers // 2
    rows = []
    for line in (
        LineSettings(dispatch="round-robin"),
        LineSettings(dispatch="jsq"),
        LineSettings(dispatch="power-of-two"),
        LineSettings(discipline="sjf"),
    ):
        system = System(control=ControlSettings(replicas_max=1_000), line=line)
        costs = in_rounds(
            {
                "ours": partial(cost_of, queueing(count, system=system, load=0.8)),
                "naive SimPy": lambda: cost_of(lambda: naive_simpy(count)),
            },
            min(size.rounds, 3),
        )
        name = line.dispatch if line.dispatch != "central" else line.discipline
        case = f"core off, metrics on, {name}"
        rows.append(against(case, costs["ours"], "naive SimPy", costs["naive SimPy"], events=count, aim=None))
    return rows


# The whole path


def whole_path(count: int, log: EventLog, spilled: Journeys | None = None) -> Callable[[], Journeys]:
    """Events from their sources into the state, with the real core inside; `spilled` instead of journeys in memory."""
    streams = Streams(1)
    workload = poisson(streams, rate=LOAD * SERVERS * 100.0, count=count, sources=20, processors=5)
    services = array("d", streams.generator("service").exponential(0.01, count).tobytes())

    def work() -> Journeys:
        journeys = spilled if spilled is not None else Journeys()
        capacities: list[Any] = []
        periods: list[Any] = []
        ids: list[bytes] = []
        watchers = Watchers(
            capacity=capacities.append,
            control=periods.append,
            note=journeys.note,
            notes=journeys.notes,
            made=None if spilled is not None else lambda events: ids.extend([event.id for event in events]),
        )
        ports = Ports(log, MemoryBus(), Tally("value"))
        world = World(System(), workload, services, "log", ports, Fixed(SERVERS), streams, watchers, keep_events=False)
        assert world.run(drain_max=1e6), "all are served in the end"
        if spilled is None:
            frame = journeys.frame(ids)
            assert frame["finished"].sum() == count, "each event is applied once"
        return journeys

    return work


def _whole_path(size: Size) -> list[Row]:
    count = size.whole

    def memory() -> Cost:
        return cost_of(whole_path(count, MemoryLog()))

    def sqlite() -> Cost:
        with (
            tempfile.TemporaryDirectory() as folder,
            SqliteLog(Path(folder) / "log.sqlite", durability="normal") as log,
        ):
            return cost_of(whole_path(count, log))

    actions = {"memory": memory, "sqlite": sqlite}
    why = ciw_missing()
    if not why:
        actions["Ciw"] = lambda: cost_of(ciw_network(count))
    costs = in_rounds(actions, size.rounds)
    case = "whole path, real core inside, memory log"
    rows = []
    if why:
        rows.append(absent(case, "us/event", why, 1.0))
    else:
        rows.append(against(case, costs["memory"], "Ciw, bare M/M/10", costs["Ciw"], events=count, aim=1.0))
    for name, aim in (("memory", 15.0), ("sqlite", 25.0)):
        value = median(cost.cpu for cost in costs[name]) / count * 1e6
        rows.append(at_most(f"whole path, real core inside, {name} log", value, "us/event", aim))
    return rows


# Curves


def _events_curve(size: Size) -> list[Row]:
    costs = {count: cost_of(queueing(count)).cpu / count for count in size.curve}
    return _curve("events", costs)


def _replicas_curve(size: Size) -> list[Row]:
    """The same events per period everywhere, so that what is done once per period weighs the same."""
    count = size.curve[1]
    costs = {}
    for servers in (1, 10, 100, 1_000):
        work = queueing(count, servers, 0.8, period=1_350.0 / servers)
        costs[servers] = median(cost_of(work).cpu for _ in range(3)) / count
    return _curve("replicas", costs)


def _curve(what: str, costs: dict[int, float]) -> list[Row]:
    (smallest, base), *_ = costs.items()
    rows = []
    for count, spent in costs.items():
        case = f"core off, {count:,} {what}"
        if count == smallest:
            rows.append(Row(case, spent * 1e6, "us/event"))
        else:
            # A heap of a thousand is seven levels deeper than one of ten: a quarter more is what they cost.
            ratio = base / spent
            rows.append(Row(case, spent * 1e6, "us/event", f"{smallest:,} {what}", ratio, 0.75, ratio >= 0.75))
    return rows


# Memory


def _memory(size: Size) -> list[Row]:
    """In a process of its own: the peak of this one is not of the run alone."""
    peaks = {count: _peak_of(count) for count in (size.memory // 10, size.memory)}
    small, large = peaks.values()
    whole = {count: _peak_of(count, "whole") for count in (size.whole_memory // 4, size.whole_memory)}
    base, most = whole.values()
    streamed = f"memory for {size.whole_memory:,} events, whole path, SQLite log, journeys streamed"
    rows = [
        at_most(f"memory for {size.memory:,} events, journeys streamed to disk", large, "MB", MEMORY_MAX),
        Row(f"of it, more than for {size.memory // 10:,} events", max(0.0, large - small), "MB"),
    ]
    if size.whole_memory >= WHOLE_MEMORY_EVENTS:
        return [*rows, at_most(streamed, most, "MB", MEMORY_MAX)]
    rows.append(Row(streamed, most, "MB"))
    if size.whole_memory >= 100_000:  # of fewer, what Python takes for itself decides
        each = max(0.0, most - base) / (0.75 * size.whole_memory)  # of an event
        projected = most + each * (WHOLE_MEMORY_EVENTS - size.whole_memory)
        case = f"the same for {WHOLE_MEMORY_EVENTS:,} events, by what the last three quarters took"
        rows.append(at_most(case, projected, "MB", MEMORY_MAX))
    return rows


# A comparison


def comparison(duration: float) -> Scenario:
    """Twelve policies under bursts that nobody can foresee."""
    return Scenario(
        name="twelve-policies",
        arrivals=Bursty(rate=60.0),
        service=ServiceTime(mean=0.2, scv=0.5),
        hardware=Hardware(start_up=60.0),
        control=ControlSettings(replicas_max=200),
        objective=Objective(quantile=0.99, bound=2.0),
        run=RunSettings(duration=duration, training=3_600.0),
        configurations=tuple(
            Configuration(transport="direct", policy=name, parameters={"replicas": 40} if name == "fixed" else {})
            for name in COMPARED
        ),
    )


def _comparison(size: Size) -> list[Row]:
    scenario = comparison(size.compared)
    started = time.perf_counter()
    done = compare(scenario, replications=1, jobs=2)
    minutes = (time.perf_counter() - started) / 60.0 * REPLICATIONS * DAY / size.compared
    assert len(done.rows) == len(COMPARED), "every policy was run"
    case = f"a comparison: {len(COMPARED)} policies, {REPLICATIONS} replications of a day, 2 processes"
    return [at_most(case, minutes, "minutes by the clock", COMPARISON_MAX)]


def _peak_of(count: int, what: str = "bare") -> float:
    command = [sys.executable, "-m", "rarera_sim.benchmarks.simulation", str(count), what]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _stream(count: int, what: str) -> None:
    from rarera_sim.benchmarks.log import _peak

    with tempfile.TemporaryDirectory() as folder:
        if what == "bare":
            journeys = queueing(count, spill=Path(folder))()
        else:
            with SqliteLog(Path(folder) / "log.sqlite", durability="normal") as log:
                # A file for each fiftieth, so that fewer events show what more take.
                journeys = whole_path(count, log, Journeys(Path(folder), max(1_000, count // 50)))()
        print(_peak())
        assert journeys.scan().select("number").collect().height == count, "each event is written once"


if __name__ == "__main__":
    _stream(int(sys.argv[1]), sys.argv[2])
