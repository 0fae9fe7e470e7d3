"""One run of the model: a scenario, one of its configurations, a seed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import simpy

from rarera_sim.adapters.memory import MemoryBus, MemoryLog
from rarera_sim.adapters.sqlite import SqliteLog
from rarera_sim.core.errors import BadInput
from rarera_sim.core.event import ID_BYTES, canonical_json
from rarera_sim.core.log import EventLog
from rarera_sim.core.projection import Tally, fold, rebuild
from rarera_sim.core.trace import Step, untraced
from rarera_sim.experiments.scenario import Configuration, Scenario, parse_scenario
from rarera_sim.experiments.workload import Prepared, prepared, services_of
from rarera_sim.metrics.availability import processor_frame, uptime
from rarera_sim.metrics.correctness import correctness, on_time
from rarera_sim.metrics.cost import Traffic, cost_frame, replica_cost
from rarera_sim.metrics.journeys import Journeys, between, quantiles
from rarera_sim.metrics.load import load_frame, slo_time
from rarera_sim.policies import Scaler, make_policy
from rarera_sim.simulation.control import Control
from rarera_sim.simulation.direct import DirectTransport
from rarera_sim.simulation.gateway import Ports
from rarera_sim.simulation.kernel import Streams
from rarera_sim.simulation.processor import Capacity, Lease
from rarera_sim.simulation.world import Watchers, World

VERSION = version_of("rarera-sim")
LEVELS = (0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999)

FRAMES = ("journeys", "load", "crashes", "costs", "leases", "processors", "alerts")
LEASES = {
    "pool": pl.String,
    "slot": pl.Int64,
    "since": pl.Float64,
    "until": pl.Float64,
    "asleep": pl.Boolean,
    "busy": pl.Float64,
    "ended": pl.Boolean,
}
ALERTS = {
    "time": pl.Float64,
    "behaviour": pl.String,
    "source": pl.String,
    "score": pl.Float64,
    "threshold": pl.Float64,
    "rising": pl.Boolean,
    "incident": pl.String,
    "remedy": pl.String,
    "until": pl.Float64,
}
CRASHES = {"replica": pl.Int64, "down_s": pl.Float64, "up_s": pl.Float64, "pool": pl.String, "cause": pl.String}

Measures = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """What came out of one run.

    Parameters
    ----------
    scenario
        With everything filled in that was left to be chosen.
    configuration, seed, version, digest
        What makes the run, and the SHA-256 of what it did: the same first three give the same fourth.
    measures
        Numbers over the measured window, by name, see docs/faults-and-measures.md; None where nothing was measured.
    journeys
        One row per event, see `metrics.journeys`.
    load
        One row per control period, see `metrics.load`.
    crashes
        One row per crash: `replica` (slot), `down_s`, `up_s` (null if it never came up), seconds, `pool`, and what was
        the `cause`: `crash`, a component, `zone`, `spot`.
    state, intended
        What the processors made of the events, and what the events that were sent make.
    costs
        What the measured window cost, item by item, see `metrics.cost`.
    leases
        One row per time that a replica was paid for: `pool`, `slot`, `since`, `until`, `busy` in seconds, whether it
        was `asleep`, and whether it had `ended` before the run did.
    processors
        One row per processor, see `metrics.availability.processor_frame`.
    alerts
        One row per alert of `vigilance`, see `simulation.vigilance.Alert`; times in seconds since the run began.
    """

    scenario: Scenario
    configuration: Configuration
    seed: int
    version: str
    digest: str
    measures: Measures
    journeys: pl.DataFrame
    load: pl.DataFrame
    crashes: pl.DataFrame
    state: Any
    intended: Any
    costs: pl.DataFrame
    leases: pl.DataFrame
    processors: pl.DataFrame
    alerts: pl.DataFrame

    def __repr__(self) -> str:
        return f"Run({self.configuration.label}, seed={self.seed}, digest={self.digest[:12]})"

    @property
    def response_quantiles(self) -> dict[float, float | None]:
        """Response time in seconds at `LEVELS`, over the measured window."""
        return dict(zip(LEVELS, quantiles(self._window["response_s"], LEVELS), strict=True))

    def save(self, folder: Path | str) -> None:
        """Keep the run in a folder: its frames as Parquet, the rest in run.json. `load_run` reads it back."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name in FRAMES:
            getattr(self, name).write_parquet(folder / f"{name}.parquet")
        about = {
            "format": 1,
            "scenario": self.scenario.to_toml(),
            "configuration": msgspec.to_builtins(self.configuration),
            "seed": self.seed,
            "version": self.version,
            "digest": self.digest,
            "measures": self.measures,
            "state": self.state,
            "intended": self.intended,
            # One flipped bit in a Parquet file can be another table without a word.
            "files": {name: _hash_of(folder / f"{name}.parquet") for name in FRAMES},
        }
        (folder / "run.json").write_bytes(msgspec.json.format(msgspec.json.encode(about), indent=1))

    @property
    def _window(self) -> pl.DataFrame:
        return between(self.journeys, self.scenario.run.warmup or 0.0, float("inf"))


def load_run(folder: Path | str) -> Run:
    """Read back what `Run.save` kept.

    Raises
    ------
    BadInput
        The folder holds no run, or a file is not as it was written.
    """
    folder = Path(folder)
    try:
        about = msgspec.json.decode((folder / "run.json").read_bytes())
        if not isinstance(about, dict) or about.get("format") != 1:
            raise BadInput(f"{folder / 'run.json'} is not a run of format 1")
        for name in FRAMES:
            if _hash_of(folder / f"{name}.parquet") != about["files"][name]:
                raise BadInput(f"{folder / f'{name}.parquet'} is not what was saved: its SHA-256 differs")
        parts: dict[str, Any] = {name: pl.read_parquet(folder / f"{name}.parquet") for name in FRAMES}
        parts |= {name: about[name] for name in ("seed", "version", "digest", "measures", "state", "intended")}
        scenario = parse_scenario(about["scenario"], place=str(folder / "run.json"))
        configuration = msgspec.convert(about["configuration"], Configuration)
    except (OSError, msgspec.MsgspecError, KeyError, TypeError) as error:
        raise BadInput(f"{folder} holds no saved run: {error}") from None
    return Run(scenario=scenario, configuration=configuration, **parts)


def _hash_of(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def run(
    scenario: Scenario,
    seed: int = 1,
    configuration: Configuration | None = None,
    *,
    log_path: Path | str | None = None,
    ports: Ports | None = None,
    env: simpy.Environment | None = None,
    watch: Watchers | None = None,
) -> Run:
    """Run a scenario once.

    Parameters
    ----------
    seed
        Of all chance in it, an integer >= 0.
    configuration
        One of the scenario's, or any other; the first where it is left out.
    log_path
        Keep the event log there, as an SQLite file with the journeys of all events beside it; the incidents that
        `vigilance` opens in another, whose name ends in `.incidents.sqlite`.
    ports
        Log, bus and projection to work on, instead of those that the scenario names.
    env
        What moves time; simulated time that jumps from event to event where it is left out.
    watch
        Told by its `control`, `note` and `serve` what happens while it happens; what it raises ends the run.

    Examples
    --------
    >>> import msgspec
    >>> from rarera_sim.experiments.scenario import default_scenario
    >>> scenario = default_scenario()
    >>> trace = msgspec.structs.replace(scenario.trace, until="2013-02-06T20:00:00Z")
    >>> day = msgspec.structs.replace(scenario, trace=trace)
    >>> outcome = run(day, seed=1, configuration=day.configurations[-1])
    >>> outcome.measures["lost"], outcome.measures["repeated"], outcome.state == outcome.intended
    (0, 0, True)
    """
    ready = prepared(scenario, seed)
    scenario = ready.scenario
    configuration = configuration or scenario.configurations[0]
    # A log that goes with the run needs no journeys beside it: they are in the `Run`.
    kept = log_path is not None or ports is not None
    with ExitStack() as stack:
        if ports is None:
            ports = _ports(scenario, configuration, None if log_path is None else Path(log_path), stack)
        return _run(ready, configuration, seed, ports, env, kept=kept, watch=watch)


def trained_policy(ready: Prepared, configuration: Configuration) -> Scaler:
    """A configuration's policy after it has seen the history."""
    surroundings = ready.scenario.policy_surroundings(ready.day)
    policy = make_policy(configuration.policy, configuration.parameters, **surroundings)
    for observation in ready.observations():
        policy.observe(observation)
    return policy


def _ports(scenario: Scenario, configuration: Configuration, log_path: Path | None, stack: ExitStack) -> Ports:
    projection = Tally(scenario.field)
    incidents: EventLog = MemoryLog()
    if scenario.vigilance.behaviours and log_path is not None:
        incidents = stack.enter_context(SqliteLog(log_path.with_suffix(".incidents.sqlite"), durability="normal"))
    if configuration.transport != "log" or (scenario.log.storage == "memory" and log_path is None):
        return Ports(MemoryLog(), MemoryBus(), projection, incidents)
    if log_path is None:
        log_path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rarera-"))) / "log.sqlite"
    # A model's log need not survive a power cut: the run is done again from its seed.
    return Ports(stack.enter_context(SqliteLog(log_path, durability="normal")), MemoryBus(), projection, incidents)


def _run(
    ready: Prepared,
    configuration: Configuration,
    seed: int,
    ports: Ports,
    env: simpy.Environment | None,
    *,
    kept: bool,
    watch: Watchers | None = None,
) -> Run:
    scenario = ready.scenario
    streams = Streams(seed)
    services = services_of(ready, streams).tolist()
    journeys = Journeys()
    steps: list[Step] = []
    keeps_steps = kept and isinstance(ports.log, SqliteLog) and configuration.transport == "log"
    capacities: list[Capacity] = []
    periods: list[Control] = []
    leases: list[Lease] = []
    watchers = Watchers(
        capacity=capacities.append,
        control=_told(periods.append, watch.control if watch is not None else None),
        lease=leases.append,
        note=_told(journeys.note, watch.note if watch is not None else None),
        notes=journeys.notes if watch is None or watch.note is None else None,
        serve=_told(journeys.serve, watch.serve if watch is not None else None),
        step=steps.append if keeps_steps else untraced,
    )
    world = World(
        scenario,
        ready.workload,
        services,
        configuration.transport,
        ports,
        trained_policy(ready, configuration),
        streams,
        watchers,
        env,
        factors=_factors(ready),
    )
    world.run(drain_max=scenario.run.drain_max)
    leases += world.cluster.leases()
    if isinstance(ports.log, SqliteLog) and keeps_steps:
        ports.log.save_steps(steps)
    direct = isinstance(world.transport, DirectTransport)
    intended = None if direct else fold(ports.projection, world.events)
    state = world.state
    # The state is right if it is what the events make, and if the log alone gives it again.
    right = state == intended and (configuration.transport != "log" or rebuild(ports.projection, ports.log) == intended)
    if isinstance(world.transport, DirectTransport):
        table = journeys.frame(arrivals=world.transport.times)
        sizes: list[int] = []
    else:
        frames = [event.frame for event in world.events]
        table = journeys.frame([frame[:ID_BYTES] for frame in frames])
        sizes = [len(frame) for frame in frames]
    load = load_frame(
        periods, period=scenario.control.period, service_mean=scenario.service.mean / scenario.hardware.speed
    )
    measures = _measures(ready, table, load, capacities)
    measures["launches"] = world.cluster.launches
    measures["state_correct"] = right
    crashes = pl.DataFrame(world.cluster.crashes, schema=CRASHES, orient="row")
    kinds = {each.name: each.hardware for each in scenario.all_pools}
    packed = world.producer.packed if world.producer is not None else {}
    traffic = _traffic(table, sizes, [packed[number] for number in range(len(packed))] or sizes, *ready.window)
    costs = cost_frame(leases, kinds, scenario.prices, *ready.window, traffic)
    processors = processor_frame(leases, world.cluster.crashes, *ready.window)
    measures |= _of_processors(costs, processors, leases, ready.window)
    if measures["cost"] is None:
        replicas = costs.filter(pl.col("item").is_in(["replicas", "replicas asleep"]))
        measures["cost"] = float(replicas["cost_usd"].sum())
    digest = _digest(scenario, configuration, seed, table, load, state)
    return Run(
        scenario=scenario,
        configuration=configuration,
        seed=seed,
        version=VERSION,
        digest=digest,
        measures=measures,
        journeys=table,
        load=load,
        crashes=crashes,
        state=state,
        intended=intended,
        costs=costs,
        leases=pl.DataFrame(leases, schema=LEASES, orient="row"),
        processors=processors,
        alerts=pl.DataFrame(world.alerts, schema=ALERTS, orient="row"),
    )


def _factors(ready: Prepared) -> dict[str, list[float]]:
    service = ready.scenario.service
    if not service.by_hardware:
        return {}  # without looking at the type of each event
    return service.factors((each.hardware.name for each in ready.scenario.all_pools), ready.workload.types())


def _told(ours: Callable[..., Any], theirs: Callable[..., Any] | None) -> Callable[..., Any]:
    """Tells both; ours alone, at no cost, where nobody else listens."""
    if theirs is None:
        return ours

    def both(*what: Any) -> None:
        ours(*what)
        theirs(*what)

    return both


def _traffic(journeys: pl.DataFrame, sizes: list[int], lengths: list[int], since: float, until: float) -> Traffic:
    """Bytes that were kept and carried in the window, of frames with these sizes, and lengths on the line."""
    if not sizes:
        return Traffic()
    size, length = pl.Series(sizes, dtype=pl.Float64), pl.Series(lengths, dtype=pl.Float64)
    recorded = journeys["recorded_s"].fill_null(until).clip(since, until)
    stored = float((size * (until - recorded)).sum())
    sent = journeys["created_s"].is_between(since, until, closed="left")
    carried = float((length * (1 + journeys["resent"])).filter(sent).sum())
    return Traffic(stored, carried)


def _of_processors(
    costs: pl.DataFrame, processors: pl.DataFrame, leases: Sequence[Lease], window: tuple[float, float]
) -> Measures:
    since, until = window
    awake = [lease for lease in leases if not lease.asleep and lease.since < until and lease.until > since]
    paid = sum(lease.until - lease.since for lease in awake)
    crashes = int(processors["crashes"].sum())
    up = float((processors["paid_s"] - processors["down_s"]).sum())
    return {
        "cost_total": float(costs["cost_usd"].sum()),
        "energy_kwh": float(costs["energy_kwh"].sum()),
        "carbon_g": float(costs["carbon_g"].sum()),
        "utilisation": sum(lease.busy for lease in awake) / paid if paid else None,
        "crashes": crashes,
        "mtbf_s": up / crashes if crashes else None,
        "mttr_s": processors["mttr_s"].mean(),
    }


def _measures(ready: Prepared, journeys: pl.DataFrame, load: pl.DataFrame, capacities: Sequence[Capacity]) -> Measures:
    since, until = ready.window
    objective = ready.scenario.objective
    window = between(journeys, since, until)
    p50, p95, p99, p999 = quantiles(window["response_s"], (0.5, 0.95, 0.99, 0.999))
    (end_to_end_p99,) = quantiles(window["end_to_end_s"], (0.99,))
    up = uptime(capacities, since, until)
    return {
        "p50_s": p50,
        "p95_s": p95,
        "p99_s": p99,
        "p999_s": p999,
        "mean_s": window["response_s"].mean(),
        "throughput": float(journeys["finished_s"].is_between(since, until, closed="left").sum()) / (until - since),
        "end_to_end_p99_s": end_to_end_p99,
        "on_time": on_time(window, objective.bound),
        "availability": up.service,
        "processor_availability": up.processor,
        "slo_time": slo_time(load, objective.quantile, since=since, until=until),
        "cost": replica_cost(up.paid, ready.scenario.hardware.price_per_hour) if not ready.scenario.pools else None,
        "replicas_mean": up.paid / (until - since),
        **correctness(window, objective.bound),
    }


def _digest(
    scenario: Scenario, configuration: Configuration, seed: int, journeys: pl.DataFrame, load: pl.DataFrame, state: Any
) -> str:
    """SHA-256 in hex of what a run did, to the last bit of every time.

    Of the scenario what differs from the defaults, of the counts those that are not 0 throughout: a field or a stage
    that is added later and does nothing changes no digest.
    """
    total = sha256(msgspec.json.encode(_said(scenario), order="sorted"))
    total.update(f"\0{configuration.label}\0{seed}\0{VERSION}\0".encode())
    for frame in (journeys, load):
        for column in frame:
            if column.dtype == pl.Int64 and not (column != 0).any():
                continue
            total.update(column.name.encode())
            if column.dtype in (pl.Binary, pl.String):
                total.update(repr(column.to_list()).encode())
            else:
                # A missing value is told from every number by the mask.
                total.update(column.is_null().to_numpy().tobytes())
                total.update(column.fill_null(0).to_numpy().tobytes())
    total.update(canonical_json(state))
    return total.hexdigest()


def _said(settings: msgspec.Struct) -> dict[str, Any]:
    """The fields of settings that differ from their defaults, those of settings in them alike."""
    said = {}
    for field in msgspec.structs.fields(settings):
        value = getattr(settings, field.name)
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        if value != default:
            said[field.name] = _said(value) if isinstance(value, msgspec.Struct) else msgspec.to_builtins(value)
    return said
