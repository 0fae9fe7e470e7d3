"""A scenario at many settings: which values of its fields do what to the answer."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import tomli_w

from rarera_sim.core.errors import BadInput
from rarera_sim.experiments import sensitivity
from rarera_sim.experiments.compare import interval_of
from rarera_sim.experiments.designs import Design, Knob, Point, Values, knob, points_of
from rarera_sim.experiments.replicate import Outcome, Task, Worked, runner, seed_of
from rarera_sim.experiments.run import VERSION
from rarera_sim.experiments.scenario import Scenario, parse_scenario
from rarera_sim.experiments.workload import prepared

_STEP = re.compile(r"([A-Za-z_][\w-]*)|\[(\d+|\*)\]")
_PATH = re.compile(r"[A-Za-z_][\w-]*(\[(\d+|\*)\])*(\.[A-Za-z_][\w-]*(\[(\d+|\*)\])*)*")


@dataclass(frozen=True)
class Sweep:
    """What came out of every point.

    Parameters
    ----------
    scenario
        What was varied.
    knobs
        The fields that were, by their paths, and their values.
    design, seed, replications, version, digest
        What makes the sweep, and the SHA-256 of what all its runs did.
    points
        One row per point and configuration: `point`, the knobs by their paths, `configuration`, and each measure's
        mean over the replications with its 95 % interval, `…_low` and `…_high`.
    runs
        One row per run: `point`, `configuration`, `replication`, `seed`, `digest` and its measures.
    interrupted
        Whether somebody stopped it: `replications` says how many there are of every point all the same.
    """

    scenario: Scenario
    knobs: tuple[Knob, ...]
    design: Design
    seed: int
    replications: int
    version: str
    digest: str
    points: pl.DataFrame
    runs: pl.DataFrame
    interrupted: bool = False

    def __repr__(self) -> str:
        paths = ", ".join(each.path for each in self.knobs)
        points = self.points["point"].n_unique() if self.replications else 0
        return (
            f"Sweep({self.scenario.name}: {paths}; {self.design}, {points} points x "
            f"{len(self.scenario.configurations)} configurations x {self.replications} replications, "
            f"seed={self.seed}, digest={self.digest[:12]})"
        )

    def effects(self, measure: str, configuration: str | None = None) -> pl.DataFrame:
        """Mean of a measure at each value of each knob, see `sensitivity.main_effects`."""
        return sensitivity.main_effects(*self._answers(measure, configuration))

    def tornado(self, measure: str, configuration: str | None = None) -> pl.DataFrame:
        """How far each knob alone swings a measure, widest first, see `sensitivity.tornado`."""
        return sensitivity.tornado(*self._answers(measure, configuration))

    def sensitivity(self, measure: str, configuration: str | None = None) -> pl.DataFrame:
        """Which knob matters, most important first: `knob` and `share`, how much of the variance of a measure over
        the points it explains alone; after a `saltelli` design the columns of `sensitivity.sobol_indices`.
        """
        knobs, answers = self._answers(measure, configuration)
        if self.design == "saltelli":
            return sensitivity.sobol_indices(answers, list(knobs))
        shares = [sensitivity.correlation_ratio(values, answers) for values in knobs.values()]
        frame = pl.DataFrame({"knob": list(knobs), "share": shares})
        return frame.sort("share", descending=True, maintain_order=True)

    def _answers(self, measure: str, configuration: str | None) -> tuple[dict[str, list[Any]], list[float]]:
        labels = [each.label for each in self.scenario.configurations]
        label = labels[0] if configuration is None else configuration
        if label not in labels:
            raise BadInput(f"configuration must be one of {', '.join(map(repr, labels))}, got {label!r}")
        if not self.replications:
            raise BadInput("the sweep was interrupted before every point had been done once")
        if f"{measure}_low" not in self.points.columns:
            known = [name.removesuffix("_low") for name in self.points.columns if name.endswith("_low")]
            raise BadInput(f"measure must be one of {', '.join(known)}, got {measure!r}")
        ours = self.points.filter(pl.col("configuration") == label).sort("point")
        answers: list[Any] = ours[measure].to_list()
        if None in answers:
            raise BadInput(f"{measure} is missing at point {answers.index(None)}: nothing was measured there")
        return {each.path: ours[each.path].to_list() for each in self.knobs}, answers


def sweep(
    scenario: Scenario,
    fields: Mapping[str, Values],
    *,
    design: Design = "factorial",
    samples: int | None = None,
    seed: int = 1,
    replications: int | None = None,
    jobs: int | None = None,
    cache: Path | None = None,
    dask: str | None = None,
    cancel: threading.Event | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Sweep:
    """Run a scenario at many settings of its fields, each several times, all under the same weather.

    Parameters
    ----------
    fields
        Values by the path of a field as in a scenario file: `hardware.start_up`, `arrivals.rate`, `pools[0].zone`,
        `configurations[*].parameters.replicas` (of all). A `hardware.name` brings all that its kind in the catalogue
        is. See `designs.knob` for what values are.
    design, samples
        See `designs.points_of`.
    seed, replications, jobs, cache, dask, cancel, progress
        As of `compare`.

    Examples
    --------
    >>> from rarera_sim.experiments.scenario import Configuration, RunSettings
    >>> from rarera_sim.simulation.arrivals import Poisson
    >>> mm3 = Scenario(
    ...     name="mm3",
    ...     arrivals=Poisson(rate=2.0),
    ...     run=RunSettings(duration=200.0, training=0.0),
    ...     configurations=(Configuration(transport="direct", policy="fixed", parameters={"replicas": 3}),),
    ... )
    >>> swept = sweep(mm3, {"service.mean": [0.5, 1.0], "arrivals.rate": [1.0, 2.0]}, replications=2, jobs=1)
    >>> swept.points.height, swept.sensitivity("mean_s")["knob"][0]
    (4, 'service.mean')

    Raises
    ------
    BadInput
        Names the field, its value and what is allowed, before anything is run.
    """
    if type(seed) is not int or not 0 <= seed < 2**63:
        raise BadInput(f"seed must be a whole number from 0 to 2^63 - 1, got {seed!r}")
    count = scenario.run.replications if replications is None else replications
    if count < 1:
        raise BadInput(f"replications must be >= 1, got {count!r}")
    table = msgspec.to_builtins(scenario)
    knobs = tuple(knob(path, given, design, whole=_is_whole(table, path)) for path, given in fields.items())
    points = points_of(knobs, design, samples=samples, seed=seed)
    scenarios = [with_fields(scenario, dict(zip(fields, point, strict=True))) for point in points]
    prepared(scenarios[0], seed)  # a bad trace is said before any work is done
    tasks = [
        Task(
            scenario=each,
            number=number,
            replication=replication,
            seed=seed_of(seed, replication),
            point=point,
            frames=False,
        )
        for replication in range(count)
        for point, each in enumerate(scenarios)
        for number in range(len(each.configurations))
    ]
    with runner(jobs, dask) as work:
        worked = Worked(work, cache=cache, cancel=cancel, progress=progress)
        worked.collect(tasks)
    count, outcomes = worked.whole(len(points) * len(scenario.configurations))
    return Sweep(
        scenario,
        knobs,
        design,
        seed,
        count,
        VERSION,
        _digest(outcomes),
        _points(scenario, knobs, points, outcomes),
        _runs(scenario, outcomes),
        worked.interrupted,
    )


def with_fields(scenario: Scenario, values: Mapping[str, Any]) -> Scenario:
    """The scenario with other values at these paths, checked as if it stood in a file.

    >>> from rarera_sim.experiments.scenario import default_scenario
    >>> with_fields(default_scenario(), {"hardware.start_up": 5.0}).hardware.start_up
    5.0
    """
    table = msgspec.to_builtins(scenario)
    for path, value in values.items():
        for holder, last in _places(table, path):
            if re.search(r"hardware\.name$", path):
                holder.clear()  # what the other kind costs and can do is no longer true
            holder[last] = value
    changed = ", ".join(f"{path} = {value!r}" for path, value in values.items())
    return parse_scenario(tomli_w.dumps(_without_none(table)), place=f"scenario with {changed}")


def _without_none(value: Any) -> Any:
    """As TOML has no null: what is not set is left out."""
    if isinstance(value, dict):
        return {name: _without_none(each) for name, each in value.items() if each is not None}
    if isinstance(value, list | tuple):
        return [_without_none(each) for each in value]
    return value


def _places(table: Any, path: str) -> list[tuple[Any, Any]]:
    """The tables and lists that hold what a path names, each with the key or place in it."""
    if not _PATH.fullmatch(path):
        raise BadInput(f"{path!r} is no path of a field, such as hardware.start_up or pools[0].zone")
    steps: list[Any] = [name or (index if index == "*" else int(index)) for name, index in _STEP.findall(path)]
    holders = [table]
    for done, step in enumerate(steps):
        last = done == len(steps) - 1
        found: list[tuple[Any, Any]] = []
        for holder in holders:
            if isinstance(step, str) and step != "*":
                if not isinstance(holder, dict):
                    raise BadInput(f"{path}: there is no field {step!r} in {holder!r}")
                found.append((holder, step))
            else:
                if not isinstance(holder, list | tuple) or (step != "*" and step >= len(holder)):
                    held = f"{len(holder)} entries" if isinstance(holder, list | tuple) else repr(holder)
                    raise BadInput(f"{path}: there is no entry [{step}], there is {held}")
                found += [(holder, place) for place in (range(len(holder)) if step == "*" else [step])]
        if last:
            return found
        holders = []
        for holder, key in found:
            if isinstance(holder, dict) and holder.get(key) is None:
                holder[key] = {}  # a table that was not set; the scenario's own checks say whether there may be one
            if isinstance(holder[key], tuple):
                holder[key] = list(holder[key])
            holders.append(holder[key])
    raise AssertionError("a path has a last step")


def _is_whole(table: Any, path: str) -> bool | None:
    """Whether a field holds a whole number now; None where it holds no number."""
    holder, last = _places(msgspec.json.decode(msgspec.json.encode(table)), path)[0]
    value = holder.get(last) if isinstance(holder, dict) else holder[last]
    return type(value) is int if type(value) in (int, float) else None


def _digest(outcomes: Sequence[Outcome]) -> str:
    total = sha256()
    for outcome in outcomes:
        total.update(f"{outcome.point} {outcome.number} {outcome.replication} {outcome.digest}\n".encode())
    return total.hexdigest()


def _points(
    scenario: Scenario, knobs: Sequence[Knob], points: Sequence[Point], outcomes: Sequence[Outcome]
) -> pl.DataFrame:
    groups: dict[tuple[int, int], list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault((outcome.point, outcome.number), []).append(outcome)
    rows = []
    for (point, number), ours in sorted(groups.items()):
        row: dict[str, Any] = {"point": point}
        row |= {each.path: value for each, value in zip(knobs, points[point], strict=True)}
        row["configuration"] = scenario.configurations[number].label
        for name in ours[0].measures:
            interval = interval_of(name, [outcome.measures[name] for outcome in ours])
            mean, low, high = interval or (None, None, None)
            row |= {name: mean, f"{name}_low": low, f"{name}_high": high}
        rows.append(row)
    return pl.DataFrame(rows, infer_schema_length=None)


def _runs(scenario: Scenario, outcomes: Sequence[Outcome]) -> pl.DataFrame:
    rows = [
        {
            "point": outcome.point,
            "configuration": scenario.configurations[outcome.number].label,
            "replication": outcome.replication,
            "seed": outcome.seed,
            "digest": outcome.digest,
            **outcome.measures,
        }
        for outcome in outcomes
    ]
    return pl.DataFrame(rows, infer_schema_length=None)
