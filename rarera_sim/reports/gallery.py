"""Every figure once, each from a small computation that is really done here: what docs/figures.md shows.

Whoever wants one for data of his own reads here where each frame comes from.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import polars as pl
from msgspec.structs import replace

from rarera_sim import theory
from rarera_sim.adapters.memory import MemoryLog
from rarera_sim.anomalies import Behaviour, default_watch
from rarera_sim.core.event import Event
from rarera_sim.core.lineage import lineage
from rarera_sim.experiments.compare import Comparison, compare
from rarera_sim.experiments.run import Run, run
from rarera_sim.experiments.scenario import (
    Configuration,
    RunSettings,
    Scenario,
    StoredLogSettings,
    default_scenario,
)
from rarera_sim.experiments.situations import AT, SITUATIONS, Contender, behaviour
from rarera_sim.experiments.statistics import mean_interval
from rarera_sim.experiments.study import OURS, Effort, jobs_of, run_study
from rarera_sim.experiments.study import compared as held_against_the_oracle
from rarera_sim.reports import figures, frames
from rarera_sim.reports.chromium import images
from rarera_sim.simulation.arrivals import Poisson
from rarera_sim.simulation.hardware import Hardware
from rarera_sim.simulation.services import ServiceTime

SEED = 1
_SECOND = 1_000_000_000


def a_day(seed: int = SEED) -> tuple[Comparison, list[Run]]:
    """One day of the shipped flights: four configurations compared, and one run of two of them."""
    flights = default_scenario()
    chosen = tuple(each for each in flights.configurations if each.label in _CHOSEN)
    day = replace(flights, trace=replace(flights.trace, until="2013-02-06T20:00:00Z"), configurations=chosen)
    comparison = compare(day, seed=seed, replications=5)
    return comparison, [run(day, seed, configuration) for configuration in (chosen[1], chosen[-1])]


_CHOSEN = ("queue at-most-once / hpa", "log / hpa", "log / erlang-c", "log / price-aware")
_CONTENDERS = (Contender(OURS, OURS, {}), Contender("erlang-c", "erlang-c", {}), Contender("hpa", "hpa", {}))


def gallery(folder: Path, *, seed: int = SEED) -> dict[str, go.Figure]:
    """All figures, by their names in `figures.FIGURES`; `folder` keeps what the study of policies has done."""
    comparison, runs = a_day(seed)
    objective = comparison.scenario.objective
    promise: dict[str, Any] = {"bound": objective.bound, "quantile": objective.quantile}
    reactive, foresighted = runs
    changed, base = sensitivity(seed)
    study = small_study(folder)
    windows = frames.response_windows(reactive.journeys, window=300.0)
    times = pl.concat(
        [
            each.journeys.select(pl.lit(each.configuration.label).alias("configuration"), pl.col("response_s"))
            for each in runs
        ]
    )
    return {
        "response-over-time": figures.response_over_time(
            windows, alarms=frames.alarms(reactive.load, objective.quantile), **promise
        ),
        "response-by-stage": figures.latency_breakdown(frames.stage_times(reactive.journeys)),
        "response-distribution": figures.response_distribution(times, **promise),
        "response-by-quantile": figures.latency_quantiles(comparison.quantiles, **promise),
        "backlog-and-replicas": figures.backlog_and_replicas(comparison.load, comparison.crashes),
        "replicas-and-decisions": figures.replicas_and_decisions(reactive.load, reactive.crashes),
        "cost-against-response": figures.cost_against_p99(comparison.rows, **promise),
        "pareto-front": figures.pareto_front(comparison.measures, bound=objective.bound),
        "regret": figures.regret(study),
        "cost-and-late": figures.lateness_and_cost(study, ours=OURS),
        "behaviour": figures.behaviour_in_situations(
            behaviour(_CONTENDERS, ("burst", "crash", "drift")), SITUATIONS, at=AT
        ),
        "cost-and-energy": figures.cost_and_energy(frames.costs(runs)),
        "availability": figures.availability_timeline(foresighted.leases, foresighted.crashes),
        "funnel": figures.funnel(comparison.rows),
        "forecast-fan": figures.forecast_fan(flight_forecasts(reactive)),
        "anomalies": figures.anomaly_timeline(*planted(seed)),
        "theory-against-model": figures.theory_against_model(
            waits(seed), across="utilisation of a replica", up="mean response time [s]"
        ),
        "tornado": figures.tornado(changed, base=base, measure="99 % quantile of the response time [s]"),
        "causation": figures.causation_tree(delays()),
    }


def small_study(folder: Path) -> pl.DataFrame:
    """Six policies against the oracle on an hour of drawn arrivals: `experiments.study`, as little of it as there is."""  # noqa: E501
    effort = Effort(0.25, 1 / 24, 1 / 12, tries=4, tries_after=2, steps=3, rounds=4, seeds=(SEED,))
    policies = ("hpa", "keda", "erlang-c", "square-root", "predictive", OURS)
    jobs = jobs_of(effort, traces=("calendar", "bursty"), policies=policies, targets=(0.01,))
    return held_against_the_oracle(run_study(jobs, folder, workers=0))


def flight_forecasts(of: Run) -> pl.DataFrame:
    """Forecasts of the arrival rate that a run saw, made by quantiles that learn as they go."""
    period, start_up = of.scenario.control.period, of.scenario.hardware.start_up
    rates = of.load["arrival_rate"].to_list()
    return frames.forecasts(rates, period=period, horizon=start_up + period, day=1440.0, skip=len(rates) // 4)


def planted(seed: int = SEED) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Two sources whose behaviour is changed at a known moment, and what the default detectors make of them."""
    generator = np.random.default_rng([seed, 3000])
    steady = 20.0 + generator.normal(0.0, 1.0, 3000)
    shifted, spiked = steady.copy(), steady[::-1].copy()
    shifted[2000:] += 6.0
    spiked[[1250, 2350]] += 15.0
    samples = {
        name: [(number * 12 * _SECOND, float(value)) for number, value in enumerate(values)]
        for name, values in (("level shifts", shifted), ("two outliers", spiked))
    }
    behaviours = {"level shifts": Behaviour.DRIFT, "two outliers": Behaviour.CONTENT}
    watches = {name: default_watch(behaviours[name], name) for name in samples}
    made = frames.timeline(samples, {name: (watch.detector, watch.alerts) for name, watch in watches.items()})
    changes = pl.DataFrame(
        {
            "source": ["level shifts", "two outliers", "two outliers"],
            "time_s": [24_000.0, 15_000.0, 28_200.0],
            "what": ["shift planted", "outlier planted", "outlier planted"],
        }
    )
    return made, changes


def waits(seed: int = SEED, *, replications: int = 4, duration: float = 1000.0) -> pl.DataFrame:
    """Mean response of M/M/c beside the model's, over replications, for one server and for eight."""
    rows = []
    for servers in (1, 8):
        for load in (0.3, 0.5, 0.7, 0.85):
            rate = load * servers
            scenario = textbook(rate, servers, duration * 8 / servers)
            found = [run(scenario, seed + k).measures["mean_s"] for k in range(replications)]
            mean, low, high = mean_interval(found)
            expected = theory.response_mean(rate, 1.0, servers)
            rows.append((f"M/M/{servers}", load, expected, mean, low, high))
    columns = ["series", "at", "theory", "model", "model_low", "model_high"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def textbook(rate: float, servers: int, duration: float, **changes: Any) -> Scenario:
    """M/M/c: Poisson arrivals, exponential services of mean 1 s, a fixed number of replicas, no faults."""
    fixed = Configuration(transport="log", policy="fixed", parameters={"replicas": servers})
    scenario = Scenario(
        name=f"mm{servers}",
        arrivals=Poisson(rate=rate),
        service=ServiceTime(distribution="exponential", mean=1.0),
        hardware=Hardware(start_up=0.0),
        log=StoredLogSettings(storage="memory"),
        run=RunSettings(duration=duration, warmup=duration / 10.0, replications=1),
        configurations=(fixed,),
    )
    return replace(scenario, **changes)


def sensitivity(seed: int = SEED, *, replications: int = 4, duration: float = 1000.0) -> tuple[pl.DataFrame, float]:
    """What the p99 of eight replicas under a load of 6 depends on: each parameter alone, 15 % down and up."""

    def p99(**changes: Any) -> tuple[float, float | None, float | None]:
        rate, servers = changes.pop("rate", 6.0), changes.pop("servers", 8)
        scenario = textbook(rate, servers, duration, **changes)
        mean, low, high = mean_interval([run(scenario, seed + k).measures["p99_s"] for k in range(replications)])
        return mean, low, high

    settings: Mapping[str, Mapping[str, dict[str, Any]]] = {
        "arrival rate": {"5.1 /s": {"rate": 5.1}, "6.9 /s": {"rate": 6.9}},
        "replicas": {"9": {"servers": 9}, "7": {"servers": 7}},
        "mean service time": {"0.85 s": {"service": _service(mean=0.85)}, "1.15 s": {"service": _service(mean=1.15)}},
        "variance of the service time": {"0.5": {"service": _service(scv=0.5)}, "2": {"service": _service(scv=2.0)}},
    }
    rows = [
        (parameter, side, setting, *p99(**changes))
        for parameter, both in settings.items()
        for side, (setting, changes) in zip(("low", "high"), both.items(), strict=True)
    ]
    columns = ["parameter", "side", "setting", "result", "result_low", "result_high"]
    return pl.DataFrame(rows, schema=columns, orient="row"), p99()[0]


def _service(mean: float = 1.0, scv: float = 1.0) -> ServiceTime:
    if scv == 1.0:
        return ServiceTime(distribution="exponential", mean=mean)
    return ServiceTime(distribution="lognormal", mean=mean, scv=scv)


def delays() -> pl.DataFrame:
    """One late departure in a log, and all that it led to."""
    log = MemoryLog()
    begun = 1_360_152_000 * _SECOND
    sequence: dict[str, int] = {}

    def add(stream: str, kind: str, source: str, after: float, cause: Event | None) -> Event:
        sequence[source] = sequence.get(source, 0) + 1
        event = Event(
            stream,
            kind,
            {},
            source=source,
            sequence=sequence[source],
            time=begun + int(after * _SECOND),
            causation=cause.id if cause else None,
        )
        log.append([event])
        return event

    late = add("EWR/UA1", "departed", "EWR", 0.0, None)
    arrived = add("IAH/UA1", "arrived", "IAH", 13_380.0, late)
    for number, flight in enumerate(("UA7", "UA15", "UA318")):
        held = add(f"IAH/{flight}", "delayed", "UA", 13_400.0 + 20.0 * number, arrived)
        for passenger in range(3 - number):
            booking = add(f"UA/88{number}{passenger}", "rebooked", "UA", 13_500.0 + 45.0 * passenger + number, held)
            if passenger == 0:
                add(f"{booking.stream}/mail", "told", "mail", 13_512.5 + number, booking)
    add("EWR/gate-71", "kept", "EWR", 30.0, late)
    return frames.causation(lineage(log, late.id))


_ABOUT = """\
# Figures

Written by `rarera_sim.reports.gallery.write_gallery`; edits are lost. Every figure is a function in
`rarera_sim.reports.figures`: a frame goes in, a Plotly figure comes out, and what is seen here was computed by the
package with seed {seed} (see `rarera_sim.reports.gallery` for how). Grounds are transparent and the ink reads on light
and dark; colours are told apart with every kind of colour blindness, and lines, markers and patterns differ too.
Intervals are of 95 %. A browser is sent 20,000 points at most; beyond that values share points, and the figure says so.

```python
>>> from rarera_sim.reports.figures import FIGURES
>>> len(FIGURES)
{count}

```

In a report each comes with its numbers as CSV and Parquet. `rarera_sim.reports.chromium.write_image` writes one as PNG
or SVG.
"""


def write_gallery(page: Path, work: Path, *, seed: int = SEED) -> Path:
    """Write docs/figures.md and, in a folder of the same name beside it, each figure as SVG; `work` as in `gallery`."""
    drawn = gallery(work, seed=seed)
    pictures = images(drawn, "svg", width=900)
    beside = page.with_suffix("")
    beside.mkdir(parents=True, exist_ok=True)
    parts = [_ABOUT.format(seed=seed, count=len(figures.FIGURES))]
    for name, figure in drawn.items():
        (beside / f"{name}.svg").write_bytes(pictures[name])
        function = figures.FIGURES[name]
        title, alt = figure.layout.title.text, figure.layout.meta["alt"]
        first = (function.__doc__ or "").partition("\n")[0]
        where = f"`{function.__module__}.{function.__name__}`"
        picture = f"![{alt.replace('[', '(').replace(']', ')')}]({beside.name}/{name}.svg)"
        parts.append("\n\n".join([f"## {title}", first, where, picture]) + "\n")
    page.write_text("\n".join(parts), encoding="utf-8")
    return page
