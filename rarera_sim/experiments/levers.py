"""The measures that the paper names, one field of a scenario each, and what each of them changes.

A lever is pulled alone: the field has one value, then another, and everything else, the weather as well, is the same.
Differences are therefore taken run by run. What a lever needs to be felt (threads that get into each other's way, a
zone that fails) is set on both sides, and stands with it: another system has other effects.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import polars as pl

from rarera_sim.core.errors import BadInput
from rarera_sim.experiments.compare import CONFIDENCE
from rarera_sim.experiments.run import VERSION
from rarera_sim.experiments.scenario import Configuration, RunSettings, Scenario, StoredLogSettings
from rarera_sim.experiments.statistics import Interval, mean_interval, paired_interval, simultaneous
from rarera_sim.experiments.sweep import sweep, with_fields
from rarera_sim.simulation.arrivals import Sinusoid
from rarera_sim.simulation.control import Objective
from rarera_sim.simulation.hardware import Hardware
from rarera_sim.simulation.services import ServiceTime

Constraint = Literal["response time", "availability", "cost"]
Verdict = Literal["better", "worse", "no difference shown"]

# What may be compared, and whether less of it is better; the four of the paper's constraints are compared always.
MEASURES: dict[str, bool] = {
    "mean_s": True,
    "p99_s": True,
    "end_to_end_p99_s": True,
    "on_time": False,
    "availability": False,
    "processor_availability": False,
    "cost_total": True,
    "energy_kwh": True,
}
ALWAYS = ("mean_s", "p99_s", "availability", "cost_total")

# A change below this share of what was is none, however sure one may be of it.
NEGLIGIBLE = 0.001


@dataclass(frozen=True)
class Lever:
    """One measure of the paper.

    Parameters
    ----------
    name
        In a few words.
    serves
        Which of the three constraints the paper names it for.
    path
        The field, by its path as in `sweep`.
    before, after
        What the field is without it, and with it.
    situation
        Other fields, by their paths, that are the same on both sides: what makes the lever felt.
    also
        Names of `MEASURES` that are compared beside `ALWAYS`.
    """

    name: str
    serves: Constraint
    path: str
    before: Any
    after: Any
    situation: Mapping[str, Any] = field(default_factory=dict)
    also: tuple[str, ...] = ()

    @property
    def change(self) -> str:
        """The field and its two values, in a line.

        >>> LEVERS[0].change
        'hardware.threads: 4 -> 1'
        """
        return f"{self.path}: {_shown(self.before)} -> {_shown(self.after)}"


@dataclass(frozen=True)
class Levers:
    """What pulling levers has changed.

    Parameters
    ----------
    scenario
        What they were pulled on.
    seed, replications, version, digest
        What makes the study, and the SHA-256 of what all its runs did.
    effects
        One row per lever and measure: `lever`, `serves`, `path`, `from`, `to`, `measure`; its mean
        without and with the lever, `before` and `after`; `difference`, after minus before, paired by replication, with
        its 95 % interval `low` to `high`, and `low_all` to `high_all`, wide enough for all rows to hold at once; and
        the `verdict` by the latter.
    runs
        One row per run: `lever`, `pulled`, and the columns of `Sweep.runs`.
    interrupted
        Whether somebody stopped it: levers that were not done are missing.
    """

    scenario: Scenario
    seed: int
    replications: int
    version: str
    digest: str
    effects: pl.DataFrame
    runs: pl.DataFrame
    interrupted: bool = False

    def __repr__(self) -> str:
        return (
            f"Levers({self.scenario.name}: {self.effects['lever'].n_unique()} levers x {self.replications} "
            f"replications, seed={self.seed}, digest={self.digest[:12]})"
        )


_POLICY, _TRANSPORT = "configurations[0].policy", "configurations[0].transport"
_SCALES: dict[str, Any] = {"configurations[0].parameters": {}}  # none of a fixed number's

# Most levers need no transport, and a run is four times as quick without; these go on for one wave less.
_LOGGED: dict[str, Any] = {_TRANSPORT: "log", "run.duration": 600.0}

LEVERS: tuple[Lever, ...] = (
    Lever(
        name="one thread per processor",
        serves="response time",
        path="hardware.threads",
        before=4,
        after=1,
        # One core that threads share: beside another event a service takes twice as long, and a tenth more.
        situation={"hardware.contention": 1.1},
    ),
    Lever(
        name="compression",
        serves="response time",
        path="channel.bandwidth",
        before=2000.0,
        after=6000.0,
        # A frame of a third of its bytes on the same line takes as long as the frame on a line of three times the
        # bandwidth; a third is what Zstandard makes of a flight with a trained dictionary (181 bytes become 61).
        situation=_LOGGED,
        also=("end_to_end_p99_s",),
    ),
    Lever(
        name="batching",
        serves="response time",
        path="line.batch",
        before=1,
        after=8,
        # Most of a service is what it takes to begin one.
        situation={"line.overhead": 0.5, "service.mean": 0.4},
    ),
    Lever(
        name="in-memory buffering",
        serves="response time",
        path="log.batch_max",
        before=1,
        after=500,
        # A store across the network: each commit is a round trip.
        situation={**_LOGGED, "log.commit_time": 0.1},
    ),
    Lever(
        name="hot and cold tiers",
        serves="response time",
        path="path.hot_max",
        before=1,
        after=128,
        situation={"path.cold_time": 0.1, "path.hot_time": 0.001},
    ),
    Lever(
        name="events, not commands",
        serves="response time",
        path="path.coupling",
        before="command",
        after="event",
        situation={"path.serialisation": 0.01, "path.round_trip": 0.1},
    ),
    Lever(
        name="cluster over two zones",
        serves="availability",
        path="pools[1].zone",
        before="a",
        after="b",
        # Two halves, each of which can carry the load alone, if hardly its peak.
        situation={
            "pools": [
                {"name": "one", "zone": "a", "replicas_max": 8, "hardware": {"name": "m5-large"}},
                {"name": "two", "zone": "a", "replicas_max": 8, "hardware": {"name": "m5-large"}},
                # Stays empty: the other zone is there on both sides.
                {"name": "other", "zone": "b", "replicas_max": 1, "hardware": {"name": "m5-large"}},
            ],
            "control.replicas_min": 16,
            "control.replicas_max": 16,
            # Each zone fails once.
            "outages.at": [
                {"zone": "a", "at": 400.0, "duration": 30.0},
                {"zone": "b", "at": 700.0, "duration": 30.0},
            ],
        },
        also=("on_time",),
    ),
    Lever(
        name="alarm on the response time",
        serves="availability",
        path="control.alarm",
        before=None,
        after=3.0,
        situation={**_SCALES, _POLICY: "erlang-c", "control.alarm_replicas": 3},
        also=("on_time",),
    ),
    Lever(
        name="SSD instead of a disk that fails",
        serves="availability",
        path="crashes.components[1].mtbf",
        before=600.0,
        after=6000.0,
        # Processor, store, network: a thousand times as often as data/hardware.toml has it, so that an hour shows it.
        situation={
            "crashes.components": [
                {"name": "cpu", "mtbf": 30000.0, "mttr": 15.0},
                {"name": "storage", "mtbf": 600.0, "mttr": 60.0},
                {"name": "network", "mtbf": 15000.0, "mttr": 6.0},
            ]
        },
        also=("processor_availability",),
    ),
    Lever(
        name="containers instead of machines",
        serves="cost",
        path="hardware.name",
        before="m5-large",
        after="fargate-1-2",
        situation={**_SCALES, _POLICY: "predictive"},
        also=("on_time", "energy_kwh"),
    ),
    Lever(
        name="machine learning",
        serves="cost",
        path=_POLICY,
        before="hpa",
        after="rarera",
        situation=_SCALES,
        also=("on_time", "energy_kwh"),
    ),
    Lever(
        name="power saving",
        serves="cost",
        path="configurations[0].parameters.idle",
        before=86400.0,
        after=90.0,
        # Six servers of one's own, whose electricity is on the bill; idle ones are put to sleep after so many seconds.
        situation={
            _POLICY: "delayed-off",
            "configurations[0].parameters": {"waiting_per_replica": 5.0, "sleep": 86400.0},
            "control.replicas_max": 6,
            "hardware.name": "local-server",
            "prices.energy_included": False,
        },
        also=("on_time", "energy_kwh"),
    ),
)


def levers_scenario() -> Scenario:
    """A small system with a wave of load every five minutes, on which the levers can be felt.

    >>> levers_scenario().warnings()
    []
    """
    return Scenario(
        name="levers",
        title="What does each measure of the paper change?",
        arrivals=Sinusoid(rate=8.0, amplitude=0.6, period=300.0, peak=150.0),
        service=ServiceTime(distribution="lognormal", mean=0.6, scv=0.5),
        hardware=Hardware(name="m5-large", price_per_hour=0.096, start_up=45.0, idle_w=7.0, busy_w=18.0),
        log=StoredLogSettings(storage="memory"),
        run=RunSettings(duration=900.0, warmup=300.0, training=1800.0, replications=8),
        objective=Objective(quantile=0.99, bound=5.0),
        configurations=(Configuration(transport="direct", policy="fixed", parameters={"replicas": 10}, name="ours"),),
    )


def measure_levers(
    scenario: Scenario | None = None,
    levers: Sequence[Lever] = LEVERS,
    *,
    seed: int = 1,
    replications: int | None = None,
    jobs: int | None = None,
    cache: Path | None = None,
    dask: str | None = None,
    cancel: threading.Event | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Levers:
    """Pull each lever alone, and say what it changes beyond the noise.

    Parameters
    ----------
    scenario
        With one configuration; `levers_scenario` where it is left out.
    replications
        Instead of the scenario's; 2 at least, or no interval can be told.
    seed, jobs, cache, dask, cancel, progress
        As of `compare`.

    Examples
    --------
    >>> import msgspec
    >>> short = msgspec.structs.replace(levers_scenario(), run=RunSettings(duration=120.0, warmup=0.0, training=0.0))
    >>> tiers = [lever for lever in LEVERS if lever.name == "hot and cold tiers"]
    >>> for row in measure_levers(short, tiers, replications=2, jobs=1).effects.iter_rows(named=True):
    ...     print(row["lever"], row["measure"], row["difference"] < 0)
    hot and cold tiers mean_s True
    hot and cold tiers p99_s True
    hot and cold tiers availability False
    hot and cold tiers cost_total False

    Raises
    ------
    BadInput
        Names what is wrong with the scenario or a lever, before anything is run.
    """
    scenario = levers_scenario() if scenario is None else scenario
    count = scenario.run.replications if replications is None else replications
    if count < 2:
        raise BadInput(f"replications must be >= 2, or no interval can be told, got {count!r}")
    if len(scenario.configurations) != 1:
        raise BadInput(f"levers are pulled on one configuration, the scenario has {len(scenario.configurations)}")
    names = [lever.name for lever in levers]
    if not names or len(set(names)) < len(names):
        raise BadInput(f"levers must be one at least, and each there once, got {', '.join(names) or 'none'}")
    for lever in levers:
        if lever.before == lever.after:
            raise BadInput(f"{lever.name}: {lever.path} is {_shown(lever.before)} before and after")
        unknown = [measure for measure in lever.also if measure not in MEASURES or measure in ALWAYS]
        if unknown:
            allowed = ", ".join(measure for measure in MEASURES if measure not in ALWAYS)
            raise BadInput(f"{lever.name}: also must be of {allowed}, got {unknown[0]!r}")
    situations = [_situation(scenario, lever) for lever in levers]
    per_lever = 2 * count
    runs: list[pl.DataFrame] = []
    total = sha256()
    interrupted = False
    for place, (lever, situation) in enumerate(zip(levers, situations, strict=True)):
        swept = sweep(
            situation,
            {lever.path: [lever.before, lever.after]},
            seed=seed,
            replications=count,
            jobs=jobs,
            cache=cache,
            dask=dask,
            cancel=cancel,
            progress=_counted(progress, place * per_lever, len(levers) * per_lever),
        )
        if swept.interrupted:
            interrupted = True
            break
        pulled = swept.runs.select(pl.lit(lever.name).alias("lever"), (pl.col("point") == 1).alias("pulled"), pl.all())
        runs.append(pulled.drop("point"))
        total.update(f"{lever.name} {swept.digest}\n".encode())
    frame = pl.concat(runs, how="vertical_relaxed") if runs else pl.DataFrame(schema={"lever": pl.String})
    effects = _effects(levers[: len(runs)], frame)
    return Levers(scenario, seed, count, VERSION, total.hexdigest(), effects, frame, interrupted)


def _situation(scenario: Scenario, lever: Lever) -> Scenario:
    """What both sides have in common; both are tried, so that a mistake is said before any run."""
    for value in (lever.after, lever.before):
        situation = with_fields(scenario, {**lever.situation, lever.path: value})
    return situation


def _counted(progress: Callable[[int, int], None] | None, before: int, count: int) -> Callable[[int, int], None] | None:
    """One count over all levers."""
    return None if progress is None else lambda done, _: progress(before + done, count)


_EFFECTS = {
    "lever": pl.String,
    "serves": pl.String,
    "path": pl.String,
    "from": pl.String,
    "to": pl.String,
    "measure": pl.String,
    "before": pl.Float64,
    "after": pl.Float64,
    "difference": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "low_all": pl.Float64,
    "high_all": pl.Float64,
    "verdict": pl.String,
}


def _effects(levers: Sequence[Lever], runs: pl.DataFrame) -> pl.DataFrame:
    pairs = []
    for lever in levers:
        ours = runs.filter(lever=lever.name).sort("replication")
        for measure in (*ALWAYS, *lever.also):
            before, after = (ours.filter(pulled=pulled)[measure].to_list() for pulled in (False, True))
            if None not in before and None not in after:  # else there is nothing to pair
                pairs.append((lever, measure, before, after))
    joint = simultaneous(CONFIDENCE, len(pairs))
    rows = []
    for lever, measure, before, after in pairs:
        single = paired_interval(after, before, confidence=CONFIDENCE)
        together = paired_interval(after, before, confidence=joint)
        named = (lever.name, lever.serves, lever.path, _shown(lever.before), _shown(lever.after), measure)
        means = mean_interval(before).mean, mean_interval(after).mean
        negligible = abs(single.mean) < NEGLIGIBLE * abs(means[0])
        verdict = "no difference shown" if negligible else verdict_of(together, lower_is_better=MEASURES[measure])
        rows.append((*named, *means, *single, together.low, together.high, verdict))
    return pl.DataFrame(rows, schema=_EFFECTS, orient="row")


def verdict_of(difference: Interval, *, lower_is_better: bool) -> Verdict:
    """What an interval of a difference allows to be said.

    >>> verdict_of(Interval(-1.0, -2.0, -0.5), lower_is_better=True)
    'better'
    >>> verdict_of(Interval(-1.0, -2.0, 0.5), lower_is_better=True)
    'no difference shown'
    """
    if not difference.excludes(0.0):
        return "no difference shown"
    return "better" if (difference.mean < 0.0) == lower_is_better else "worse"


def _shown(value: Any) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
