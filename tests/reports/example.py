"""A comparison that looks like the real one, made of arithmetic: what the report tests are run on."""

from __future__ import annotations

import math
from itertools import permutations
from types import SimpleNamespace

import numpy as np
import polars as pl
from scipy import stats

TOML = """\
name = "flights"
title = "New York flights, replayed 60 times as fast"

[objective]
quantile = 0.99
bound = 30.0

[faults]
loss = 0.02
duplication = 0.01
damage = 0.002
"""

# configuration -> cost, p99, share late, (lost, repeated, damaged) as shares of the events sent, spare replicas
WORLD = {
    "queue at-most-once / hpa": (118.0, 61.0, 0.021, (0.043, 0.010, 0.0004), 1.0),
    "queue at-least-once / hpa": (121.0, 74.0, 0.034, (0.0031, 0.031, 0.0004), 1.0),
    "log / peak": (311.0, 9.6, 0.0006, (0.0, 0.0, 0.0), 14.0),
    "log / hpa": (119.5, 66.0, 0.030, (0.0, 0.0, 0.0), 1.0),
    "log / erlang-c": (141.0, 31.0, 0.0101, (0.0, 0.0, 0.0), 3.0),
    "log / predictive": (152.0, 17.0, 0.0031, (0.0, 0.0, 0.0), 4.0),
    "log / price-aware": (151.6, 18.5, 0.0042, (0.0, 0.0, 0.0), 3.9),
}
MEASURES = (
    "p50_s",
    "p95_s",
    "p99_s",
    "end_to_end_p99_s",
    "on_time",
    "availability",
    "processor_availability",
    "slo_time",
    "cost",
    "replicas_mean",
    "launches",
    "sent",
    "recorded",
    "lost",
    "repeated",
    "late",
    "damaged",
    "detected",
    "compensated",
    "frames_lost",
    "frames_repeated",
    "frames_damaged",
)
LEVELS = (0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999)


def comparison(replications: int = 5, *, periods: int = 672, seed: int = 1) -> SimpleNamespace:
    random = np.random.default_rng(seed)
    weather = random.normal(0.0, 0.01, replications)
    # One generator per configuration: a figure or a row more moves nobody else's numbers.
    runs = [run(*item, k, weather[k]) for item in WORLD.items() for k in range(replications)]
    measures = pl.DataFrame(runs)
    rows = [row(measures.filter(configuration=name)) for name in WORLD]
    return SimpleNamespace(
        scenario=SimpleNamespace(
            name="flights",
            title="New York flights, replayed 60 times as fast",
            description="One week of flights from three airports; a day lasts 24 minutes.",
            objective=SimpleNamespace(quantile=0.99, bound=30.0),
            to_toml=lambda: TOML,
        ),
        seed=seed,
        replications=replications,
        version="0.1.0",
        digest="5f0c8e2a" * 8,
        command=f"rarera run --seed {seed}",
        trace_origin="flights from New York City, 2013; US Bureau of Transportation Statistics (CC0)",
        log_path="out/flights-1.sqlite",
        events=18900,
        interrupted=False,
        rows=rows,
        measures=measures,
        load=pl.concat([load(name, periods) for name in WORLD]),
        quantiles=pl.concat([quantiles(name, replications) for name in WORLD]),
        differences=differences(measures),
        crashes=pl.DataFrame(
            {
                "configuration": list(WORLD),
                "replica": ["processor-3"] * len(WORLD),
                "down_s": [4000.0] * len(WORLD),
                "up_s": [4120.0] * len(WORLD),
            }
        ),
    )


def run(name: str, world: tuple, replication: int, weather: float) -> dict:
    cost, p99, late, (lost, repeated, damaged), spare = world
    noise = np.random.default_rng([len(name), replication]).normal(0.0, 1.0, 6)
    sent = 18900
    log = name.startswith("log")
    late *= 1.0 + 4.0 * weather + 0.08 * noise[0]
    events = {
        "lost": round(sent * lost * (1.0 + 0.05 * noise[1])),
        "repeated": round(sent * repeated * (1.0 + 0.05 * noise[2])),
        "damaged": round(sent * damaged * (1.0 + 0.2 * noise[3])),
    }
    detected = round(1210 + 12 * noise[4]) if log else round(150 * repeated / 0.03)
    return {
        "configuration": name,
        "transport": "log" if log else name.split(" / ")[0].replace(" ", "-"),
        "policy": name.split(" / ")[1],
        "replication": replication,
        "seed": 1000 + replication,
        "p50_s": 3.1 + 0.3 / spare + 0.02 * noise[0],
        "p95_s": 8.0 + p99 / 4.0 + 0.2 * noise[1],
        "p99_s": p99 * (1.0 + 5.0 * weather + 0.03 * noise[2]),
        "end_to_end_p99_s": p99 * (1.0 + 5.0 * weather + 0.03 * noise[2]) + 1.2,
        "on_time": 1.0 - late - events["lost"] / sent,
        "availability": 1.0,
        "processor_availability": 0.9981 + 0.0002 * noise[3],
        "slo_time": 1.0 - 6.0 * late,
        "cost": cost * (1.0 + 2.0 * weather) + 0.4 * noise[5],
        "replicas_mean": 6.0 + spare + 0.05 * noise[5],
        "launches": float(round(60 + 4 * noise[0])),
        "sent": float(sent),
        "recorded": float(sent if log else sent - events["lost"]),
        "late": float(round(sent * late)),
        "detected": float(detected),
        "compensated": float(detected),
        "frames_lost": float(round(378 + 15 * noise[1])),
        "frames_repeated": float(round(189 + 12 * noise[2])),
        "frames_damaged": float(round(38 + 5 * noise[3])),
        "state_correct": log,
    } | {key: float(value) for key, value in events.items()}


def interval(values: pl.Series, confidence: float = 0.95) -> tuple[float, float | None, float | None]:
    mean = values.mean()
    if len(values) < 2:
        return mean, None, None
    half = stats.t.ppf(0.5 + confidence / 2, len(values) - 1) * values.std() / math.sqrt(len(values))
    return mean, mean - half, mean + half


def row(runs: pl.DataFrame) -> dict:
    first = runs.row(0, named=True)
    made = {key: first[key] for key in ("configuration", "transport", "policy")}
    for measure in MEASURES:
        made[measure], made[f"{measure}_low"], made[f"{measure}_high"] = interval(runs[measure])
    low, high = made["on_time_low"], made["on_time_high"]
    straddles = low is not None and low < 0.99 <= high
    made["slo_met"] = None if straddles else made["on_time"] >= 0.99
    made["state_wrong"] = int((~runs["state_correct"]).sum())
    made["state_correct"] = made["state_wrong"] == 0
    return made


def load(name: str, periods: int) -> pl.DataFrame:
    cost, _, _, (lost, _, _), spare = WORLD[name]
    random = np.random.default_rng(7)
    time = 15.0 * np.arange(periods)
    day = 2.0 * np.pi * time / 1440.0
    rate = np.maximum(0.05, 1.9 - 1.5 * np.cos(day) + 0.5 * np.sin(2.0 * day)) * random.lognormal(0.0, 0.15, periods)
    offered = 4.0 * rate
    delay = 0 if spare > 2.0 else 8
    ready = np.ceil(np.roll(offered, delay) + spare)
    if name.endswith("peak"):
        ready = np.full(periods, 24.0)
    backlog = np.zeros(periods)
    for k in range(1, periods):
        backlog[k] = max(0.0, backlog[k - 1] + 15.0 * (rate[k] - ready[k] / 4.0))
    if lost:
        backlog = np.minimum(backlog, 100.0)
    return pl.DataFrame(
        {
            "configuration": [name] * periods,
            "time_s": time,
            "arrival_rate": rate,
            "offered_load": offered,
            "backlog": backlog.round().astype(int),
            "in_service": np.minimum(ready, offered).astype(int),
            "ready": ready.astype(int),
            "pending": np.zeros(periods, dtype=int),
            "down": ((time >= 4000.0) & (time < 4120.0)).astype(int),
            "wanted": ready.astype(int),
            "utilisation": np.minimum(1.0, offered / ready),
            "response_quantile_s": [None if k % 50 == 0 else 4.0 + k % 7 for k in range(periods)],
            "late_share": [0.0] * periods,
            "cost_usd": cost * time / time[-1],
            "reason": ["as made up"] * periods,
        }
    )


def quantiles(name: str, replications: int) -> pl.DataFrame:
    p99 = WORLD[name][1]
    response = [3.2 * (p99 / 3.2) ** (math.log10(1.0 / (1.0 - level)) / 2.0) for level in LEVELS]
    spread = [0.02 + 0.03 * k for k in range(len(LEVELS))]
    alone = replications == 1
    return pl.DataFrame(
        {
            "configuration": [name] * len(LEVELS),
            "quantile": LEVELS,
            "response_s": response,
            "response_s_low": [None if alone else r * (1.0 - s) for r, s in zip(response, spread, strict=True)],
            "response_s_high": [None if alone else r * (1.0 + s) for r, s in zip(response, spread, strict=True)],
        },
        schema_overrides={"response_s_low": pl.Float64, "response_s_high": pl.Float64},
    )


def differences(measures: pl.DataFrame) -> pl.DataFrame:
    made = []
    for measure in ("cost", "p99_s", "on_time"):
        of = {name: measures.filter(configuration=name)[measure] for name in WORLD}
        for name, against in permutations(WORLD, 2):
            apart = of[name] - of[against]
            made.append((name, against, measure, *interval(apart), *interval(apart, 0.95 + 0.05 * 5 / 6)[1:]))
    columns = ["configuration", "against", "measure", "difference", "low", "high", "low_all", "high_all"]
    return pl.DataFrame(made, schema=columns, orient="row", infer_schema_length=None)
