"""The study of policies: every policy tuned on the past with the same budget, and all held against the oracle.

Three figures per policy, trace and allowed share of late events, each a multiple of what the oracle's plan costs:

- *tuned*: the setting that was the cheapest on the tuning days, played on the test days as it is. It may violate.
- *equal*: the same with its head-room moved, on the test days, until just the allowed share is late. Only at equal
  violations do costs compare.
- *hindsight*: tuned on the test days themselves, with its head-room moved likewise: the best that the policy can do.

Every policy is tried with events in order of arrival and with those served last that are late already, as ours may
choose that; and the best of them under mixes of faults and hardware, driven as an operator would (`mixes.Driven`).

What is done is kept, one file per job in a folder, by a hash of everything that the result depends on: a study that
was interrupted goes on where it stopped, and one that was changed does again only what the change concerns.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from hashlib import sha256
from importlib.metadata import version as version_of
from multiprocessing import get_context
from pathlib import Path
from textwrap import wrap
from typing import Any

import msgspec.structs
import numpy as np
import orjson
import polars as pl

from rarera_sim.experiments.loads import TRACES, Load, Part, available, load_of
from rarera_sim.experiments.mixes import MIXES, Driven
from rarera_sim.experiments.oracle import lower_bound, oracle
from rarera_sim.experiments.situations import Contender
from rarera_sim.experiments.statistics import mean_interval, paired_interval
from rarera_sim.experiments.tuning import NEAR, Limits, Lost, Try, best_of, equalise, place_of, tune
from rarera_sim.policies import POLICIES, parameters_of, tunable
from rarera_sim.policies.base import Decision, Observation, Scaler
from rarera_sim.policies.tuning import Range
from rarera_sim.simulation.generators import DAY
from rarera_sim.simulation.hardware import Hardware
from rarera_sim.simulation.kernel import Streams
from rarera_sim.simulation.recursion import Outcome

Progress = Callable[[int, int], None]
Settings = Callable[[float], dict[str, Any]]


@dataclass(frozen=True)
class Effort:
    """How much of the study is done.

    Parameters
    ----------
    learn_days, tune_days, test_days
        Days of a trace, at most; where a day is shorter than a real one, all of them. Of a trace that is drawn, the
        test days are those of all draws together, each whole.
    tries
        Evaluations of a tuning, on the tuning days of the first draw.
    tries_after
        Evaluations of a tuning in hindsight, on the test days, which starts from the setting that was tuned.
    tries_slow
        Instead of both for policies that take long, see `SLOW`.
    steps
        Of the way to equal violations, at most.
    rounds
        Of the oracle's search.
    seeds
        Draws of each trace; recorded ones have the first only.
    left_out
        Policies that are not tried.
    both_orders
        Policies that are also tried with late events served last; None: all.
    mix_traces
        Where mixes of faults and hardware are tried.
    """

    learn_days: float = 28.0
    tune_days: float = 3.0
    test_days: float = 21.0
    tries: int = 40
    tries_after: int = 40
    tries_slow: int = 12
    steps: int = 12
    rounds: int = 60
    seeds: tuple[int, ...] = (1, 2, 3)
    left_out: tuple[str, ...] = ()
    both_orders: tuple[str, ...] | None = None
    mix_traces: tuple[str, ...] = ("bursty", "calendar")


FULL = Effort()
SHORT = Effort(
    learn_days=1.0,
    tune_days=1.0,
    test_days=2.0,
    tries=6,
    tries_after=2,
    tries_slow=4,
    steps=5,
    rounds=4,
    seeds=(1, 2),
    left_out=(
        "peak",
        "threshold",
        "bandit",
        "alarm",
        "mpc",
        "price-aware",
        "delayed-off",
        "ds2",
        "square-root",
        "knative",
    ),
    both_orders=("hpa-rate", "erlang-c"),
    mix_traces=("bursty",),
)
QUICK = Effort(0.25, 1 / 24, 1 / 12, tries=4, tries_after=2, tries_slow=2, steps=2, rounds=4, seeds=(1,))

STUDY_TRACES = ("nasa", "calendar", "bursty", "flights", "llm")
TARGETS = (0.01, 0.001)
DISCIPLINES = ("fifo", "late-last")
OURS = "rarera"
# All but one that only watches over another.
STUDY_POLICIES = tuple(name for name in POLICIES if name != "guarded")
# Ours has one set of parameters for all, and chooses the discipline itself.
UNTUNED = (OURS,)
# Hundreds of microseconds a decision, so that one evaluation of a day takes seconds.
SLOW = ("mpc", "price-aware", "bandit")

MIX_TARGET = 0.01
MIX_POLICIES = ("hpa", "erlang-c", "predictive", OURS)

ABLATION_TRACES = ("calendar", "bursty")
ABLATIONS: dict[str, dict[str, Any]] = {
    "no calendar": {"calendar": False},
    "price not rehearsed": {"rehearse": False},
    "in order of arrival": {"late_last": False},
    "deaf to what was late": {"gain": 0.0},
    "gives back at once": {"patience": 1.0},
}

# What moves a policy along its own trade-off, and which way more replicas lie. The others are moved by a factor on what
# they decide.
HEAD_ROOM: dict[str, tuple[str, int]] = {
    "hpa": ("target", -1),
    "hpa-rate": ("share", -1),
    "knative": ("utilisation", -1),
    "ds2": ("margin", 1),
    "square-root": ("beta", 1),
    "predictive": ("forecast_quantile", 1),
    "erlang-c": ("head_room", 1),
    "flink": ("utilisation", -1),
    "price-aware": ("late_price", 1),
    "mpc": ("late_price", 1),
    OURS: ("budget_share", -1),
}
_FACTORS = (0.25, 8.0)
_HOPELESS = 3.0  # times the allowed late share: how many more there are does not matter
_DRIVING = ("factor", "pool", "prepared")  # parameters of `Driven`, and not of a policy


@dataclass(frozen=True)
class Job:
    """One policy, or the oracle, on all draws of one trace.

    Parameters
    ----------
    policy
        One of `policies.POLICIES`, or "oracle".
    targets
        Allowed shares of late events.
    mix
        What replicas run on and what happens to them, one of `mixes.MIXES`.
    discipline
        In which order waiting events are served, unless the policy chooses.
    parameters
        Fixed ones, such as the parts of an ablation that are switched off.
    label
        What to call it, where that is not the policy's name with its discipline.
    """

    trace: str
    policy: str
    effort: Effort
    targets: tuple[float, ...] = TARGETS
    mix: str = "plain"
    discipline: str = "fifo"
    parameters: tuple[tuple[str, Any], ...] = ()
    label: str = ""

    @property
    def key(self) -> str:
        """Hash of all that the result depends on, the code that makes it included."""
        # Which other jobs there are changes nothing.
        effort = replace(self.effort, left_out=(), both_orders=None, mix_traces=())
        words = orjson.dumps([asdict(replace(self, effort=effort)), _code()], option=_SORTED)
        return sha256(words).hexdigest()[:32]

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.label or (self.policy if self.discipline == "fifo" else f"{self.policy} + {self.discipline}")

    @property
    def seeds(self) -> tuple[int, ...]:
        """Its draws."""
        return self.effort.seeds if TRACES[self.trace].drawn else self.effort.seeds[:1]


_SORTED = orjson.OPT_SORT_KEYS


def jobs_of(
    effort: Effort,
    *,
    traces: Sequence[str] | None = None,
    policies: Sequence[str] | None = None,
    targets: Sequence[float] | None = None,
    disciplines: Sequence[str] = DISCIPLINES[:1],
) -> list[Job]:
    """Policies without faults, those of one trace one after the other; traces that cannot be had here are left out."""
    if policies is None:
        policies = [name for name in STUDY_POLICIES if name not in effort.left_out]
    traces = STUDY_TRACES if traces is None else traces
    targets = TARGETS if targets is None else targets
    return [
        Job(trace, name, effort, _possible(trace, targets), discipline=discipline)
        for trace in traces
        if available(trace)
        for name in ("oracle", *policies)
        for discipline in (disciplines[:1] if name == OURS else disciplines)
    ]


def _possible(trace: str, targets: Sequence[float]) -> tuple[float, ...]:
    return tuple(target for target in targets if target > TRACES[trace].unavoidable)


def jobs_of_study(effort: Effort) -> list[Job]:
    """All of it: every policy in both orders of serving; mixes of faults; and ours with one part left out each time."""
    jobs = [
        job
        for job in jobs_of(effort, disciplines=DISCIPLINES)
        if job.discipline == DISCIPLINES[0]
        or effort.both_orders is None
        or job.policy in ("oracle", *effort.both_orders)
    ]
    # One draw is enough to see who copes.
    once = replace(effort, seeds=effort.seeds[:1], test_days=effort.test_days / len(effort.seeds))
    for trace in effort.mix_traces:
        for mix in MIXES:
            policies = [*MIX_POLICIES, *(["delayed-off"] if mix == "warm-pool" else [])]
            jobs += [
                Job(trace, name, once, (MIX_TARGET,), mix, DISCIPLINES[0] if name == OURS else DISCIPLINES[1])
                for name in policies
                if mix != "plain"
            ]
    # What a part buys is more than a step or two.
    rough = replace(once, steps=math.ceil(once.steps / 2))
    jobs += [
        Job(trace, OURS, rough, (MIX_TARGET,), parameters=tuple(parameters.items()), label=f"{OURS}, {label}")
        for trace in ABLATION_TRACES
        for label, parameters in ABLATIONS.items()
    ]
    # A worker that has made a trace's arrivals goes on with them.
    return sorted(jobs, key=lambda job: STUDY_TRACES.index(job.trace) if job.trace in STUDY_TRACES else 0)


def run_study(
    jobs: Sequence[Job], folder: Path, *, workers: int | None = None, progress: Progress = lambda *_: None
) -> pl.DataFrame:
    """Do the jobs that have not been done yet; one row per job, draw, target and setting, see `rows_of`.

    Parameters
    ----------
    folder
        Where results are kept.
    workers
        Processes; one per core where it is left out, none but this one if 0.
    progress
        Called with the jobs done and those there are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [job for job in jobs if not _file(folder, job).is_file()]
    progress(len(jobs) - len(missing), len(jobs))
    done = len(jobs) - len(missing)
    for job, rows in _done(missing, os.cpu_count() if workers is None else workers):
        _keep(_file(folder, job), rows)
        done += 1
        progress(done, len(jobs))
    rows = [row for job in jobs for row in orjson.loads(_file(folder, job).read_bytes())]
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")


def _done(jobs: Sequence[Job], workers: int | None) -> Iterator[tuple[Job, list[dict[str, Any]]]]:
    if not workers or len(jobs) < 2:
        for job in jobs:
            yield job, rows_of(job)
        return
    # Workers keep the last arrivals they have made, so neighbours go to one worker after the other. A few at a time, so
    # that an interrupted study has little under way.
    with ProcessPoolExecutor(workers, mp_context=get_context("forkserver")) as pool:
        waiting = list(reversed(jobs))
        running: dict[Future[list[dict[str, Any]]], Job] = {}
        while waiting or running:
            while waiting and len(running) < workers:
                job = waiting.pop()
                running[pool.submit(rows_of, job)] = job
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                yield running.pop(future), future.result()


def _file(folder: Path, job: Job) -> Path:
    return folder / f"{job.trace}-{job.policy}-{job.mix}-{job.discipline}-{job.key}.json"


def _keep(path: Path, rows: list[dict[str, Any]]) -> None:
    # A file that is there is whole.
    part = path.with_suffix(".part")
    part.write_bytes(orjson.dumps(rows))
    part.replace(path)


@lru_cache(maxsize=1)
def _code() -> str:
    """Digest of the version and of the code that decides results."""
    package = Path(__file__).parents[1]
    total = sha256(version_of("rarera-sim").encode())
    files = [*package.glob("policies/*.py"), *package.glob("learning/*.py"), package / "theory.py"]
    files += [package / "simulation" / f"{name}.py" for name in ("recursion", "compiled", "generators", "services")]
    files += [package / "experiments" / f"{name}.py" for name in ("loads", "mixes", "oracle", "tuning", "study")]
    for path in sorted(files):
        total.update(path.name.encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


# One job

_SCHEMA: dict[str, Any] = {
    "trace": pl.String,
    "mix": pl.String,
    "seed": pl.Int64,
    "policy": pl.String,
    "fixed": pl.String,
    "target": pl.Float64,
    "setting": pl.String,
    "parameters": pl.String,
    "cost": pl.Float64,
    "lower_bound": pl.Float64,
    "violations": pl.Float64,
    "close": pl.Boolean,
    "late_minutes": pl.Float64,
    "launches": pl.Int64,
    "us_per_decision": pl.Float64,
    "parts": pl.List(pl.Float64),
}


def rows_of(job: Job) -> list[dict[str, Any]]:
    """Do one job: rows per target and draw, one per setting (`defaults`, `tuned`, `equal`, `hindsight`; `plan`).

    Costs are US dollars. `parts` is what stretches of the test days cost: whole days, or quarters where there are few.
    """
    return _Contest(job).rows()


class Timed:
    """A policy and the CPU time it takes."""

    def __init__(self, policy: Scaler) -> None:
        self._policy = policy
        self.seconds = 0.0
        self.decisions = 0

    def observe(self, observation: Observation) -> None:
        """Learn, and count."""
        began = time.thread_time()
        self._policy.observe(observation)
        self.seconds += time.thread_time() - began

    def decide(self) -> Decision:
        """Decide, and count."""
        began = time.thread_time()
        decision = self._policy.decide()
        self.seconds += time.thread_time() - began
        self.decisions += 1
        return decision


class _Contest:
    """One policy on its tuning days and on its test days."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.fixed = dict(job.parameters)
        self.loads: dict[tuple[Part, int, float], Load] = {}
        self.known: dict[Any, tuple[Outcome | Lost, Limits]] = {}
        self.seconds = 0.0
        self.decisions = 0

    def rows(self) -> list[dict[str, Any]]:
        # The loosest first: what is lost there is lost for the others as well.
        targets = sorted(self.job.targets, reverse=True)
        found = self.plans(targets) if self.job.policy == "oracle" else self.contests(targets)
        microseconds = self.seconds / self.decisions * 1e6 if self.decisions else 0.0
        return [_row(self.job, *each, microseconds) for each in found]

    def load(self, part: Part, seed: int, target: float) -> Load:
        key = part, seed, target
        if key not in self.loads:
            self.loads[key] = _load(self.job, part, seed, target)
        return self.loads[key]

    def plans(self, targets: Sequence[float]) -> list[_Found]:
        found: list[_Found] = []
        for target in targets:
            for seed in self.job.seeds:
                load = self.load("test", seed, target)
                plan = oracle(load, target, rounds=self.job.effort.rounds, discipline=self.job.discipline)
                found.append((load, target, "plan", {}, plan.planned))
        return found

    def contests(self, targets: Sequence[float]) -> list[_Found]:
        job = self.job
        found: list[_Found] = []
        tries, tries_after = job.effort.tries, job.effort.tries_after
        if job.policy in SLOW:
            tries, tries_after = (min(each, job.effort.tries_slow) for each in (tries, tries_after))
        for target in targets:
            tune_load = self.load("tune", job.seeds[0], target)
            ranges = self.ranges(tune_load)
            first = {"replicas": _needed(tune_load, 1.0)} if job.policy == "fixed" else {}
            # The same points for every target, so that they are tried once.
            generator = Streams(job.seeds[0]).generator("study", job.trace, job.policy, "tuning")
            tuned = self.tuned(tune_load, ranges, target, tries, generator, first) if ranges else first
            for seed in job.seeds:
                load = self.load("test", seed, target)
                played = [("defaults", first), ("tuned", tuned)]
                equal, near = self.equalled(load, tuned, target)
                played += [("equal" if near else "about equal", equal.parameters)]
                best = equal
                if ranges and tries_after > 1:
                    after = self.tuned(load, ranges, target, tries_after, generator, equal.parameters)
                    if after != equal.parameters:
                        best = best_of([equal, self.equalled(load, after, target)[0]], target)
                played += [("hindsight", best.parameters)]
                found += [(load, target, setting, chosen, self.whole(load, chosen)) for setting, chosen in played]
        return found

    def ranges(self, load: Load) -> dict[str, Range]:
        """What is tuned: the policy's own, its limit on replicas, and what its operator chooses."""
        if self.job.policy in UNTUNED:
            return {}
        needed = _needed(load, 1.0)
        if self.job.policy == "fixed":
            ranges = {"replicas": Range(1, needed * 2, "int")}
        else:
            least = _needed(load, 0.5)
            # The limit on replicas, between what the median and half as much again as the peak of the history need.
            ranges = dict(tunable(self.job.policy))
            ranges["replicas_max"] = Range(least, max(least + 1, needed * 1.5), "int")
        ranges |= MIXES[self.job.mix].settings(needed)
        return {name: each for name, each in ranges.items() if name not in self.fixed}

    def tuned(
        self,
        load: Load,
        ranges: Mapping[str, Range],
        target: float,
        budget: int,
        generator: np.random.Generator,
        first: Mapping[str, Any],
    ) -> dict[str, Any]:
        def evaluated(parameters: dict[str, Any], limits: Limits) -> Outcome | Lost:
            return self.outcome(load, parameters, limits)

        tries = tune(evaluated, ranges, budget=budget, violations=target, generator=generator, first=[first])
        return best_of(tries, target).parameters

    def whole(self, load: Load, parameters: Mapping[str, Any]) -> Outcome:
        outcome = self.outcome(load, parameters, Limits())
        assert isinstance(outcome, Outcome), "without limits nothing is given up"
        return replace(outcome, allowed=1.0 - load.system.objective.quantile)

    def outcome(self, load: Load, parameters: Mapping[str, Any], limits: Limits) -> Outcome | Lost:
        """What comes of a setting; what is known already is not done again, nor is what was lost within the limits."""
        # Of what is promised most policies are told nothing: it makes no difference to them.
        told = "quantile" in parameters_of(self.job.policy)
        key = load.part, load.seed, load.system.objective.quantile if told else None, _text(parameters)
        if key in self.known:
            result, then = self.known[key]
            dear = result.cost == math.inf and limits.cost <= then.cost
            if isinstance(result, Outcome) or result.violations > limits.violations or dear:
                return result
        policy = Timed(self.policy(load, parameters))
        result = load.play(self.driven(load, policy, parameters), limits)
        self.seconds += policy.seconds
        self.decisions += policy.decisions
        self.known[key] = result, limits
        return result

    def policy(self, load: Load, parameters: Mapping[str, Any]) -> Scaler:
        """A policy with these parameters that has seen the history: a new one each time, as a copy may share a part."""
        own = self.fixed | {name: value for name, value in parameters.items() if name not in _DRIVING}
        return load.on(self.hardware(load, parameters)).trained(self.job.policy, own)

    def hardware(self, load: Load, parameters: Mapping[str, Any]) -> Hardware:
        """What the policy is told it runs on: with replicas that sleep, they are as soon there as they wake."""
        if not load.system.pools:
            plain: Hardware = load.system.hardware
            return plain
        hardware: Hardware = load.system.pools[parameters.get("pool", 0)].hardware
        if hardware.wake_up is not None and parameters.get("prepared", 0) > 0:
            hardware = msgspec.structs.replace(hardware, start_up=hardware.wake_up)
        return hardware

    def driven(self, load: Load, policy: Scaler, parameters: Mapping[str, Any]) -> Scaler:
        chosen = {name: parameters[name] for name in _DRIVING if name in parameters}
        if not chosen and not load.system.pools and self.job.discipline == "fifo":
            return policy
        discipline = None if self.job.discipline == "fifo" else self.job.discipline
        period = load.system.control.period
        return Driven(policy, load.system.pools, **chosen, discipline=discipline, period=period)

    def equalled(self, load: Load, parameters: dict[str, Any], target: float) -> tuple[Try, bool]:
        """The setting with its head-room moved until it just keeps the objective; and whether it came near.

        First by the parameter that is made for it, then by a factor on what is decided, which reaches further. The
        limit on replicas was made for the tuning days: where nothing else helps it is lifted.
        """
        tries: list[Try] = []

        def moved(settings: Settings, start: float, low: float, high: float) -> bool:
            def evaluated(share: float) -> Outcome | Lost:
                chosen = settings(share)
                result = self.outcome(load, chosen, Limits(_HOPELESS * target))
                tries.append(Try(chosen, result))
                return result

            equalise(evaluated, start, low, high, violations=target, steps=self.job.effort.steps)
            return NEAR.equal([each.result for each in tries], target)

        unlimited = {name: value for name, value in parameters.items() if name != "replicas_max"}
        for chosen in (parameters, unlimited) if unlimited != parameters else (parameters,):
            own = HEAD_ROOM.get(self.job.policy)
            near = False
            if own is not None and own[0] not in self.fixed:
                name, sign = own
                within = tunable(self.job.policy)[name]
                value = chosen.get(name, parameters_of(self.job.policy)[name].default)
                # Where a policy finds its own value, from the middle.
                start = 0.5 if value is None else place_of(within, value)
                near = moved(_along(chosen, name, within, sign), start if sign > 0 else 1.0 - start, 0.0, 1.0)
            if not near:
                start_from = best_of(tries, target).parameters if tries else chosen
                least, most = map(math.log, _FACTORS)
                moved(_multiplied(start_from), math.log(start_from.get("factor", 1.0)), least, most)
            if any(each.keeps(target) for each in tries):
                break
        return best_of(tries, target), NEAR.equal([each.result for each in tries], target)


_Found = tuple[Load, float, str, dict[str, Any], Outcome]


def _load(job: Job, part: Part, seed: int, target: float) -> Load:
    trace, effort = TRACES[job.trace], job.effort
    days = trace.days
    # A day of a trace that is played faster is short, and all of them cost little.
    if trace.day >= DAY or effort.learn_days < 1.0:
        test_days = effort.test_days / len(job.seeds)
        days = days.shortened(effort.tune_days, math.floor(test_days) if test_days > 1.0 else test_days)
        days = replace(days, learn=max(days.learn, days.tune - effort.learn_days))
    return load_of(job.trace, part, seed, violations=target, days=days, mix=job.mix)


def _along(parameters: dict[str, Any], name: str, within: Range, sign: int) -> Settings:
    return lambda share: parameters | {name: within.at(share if sign > 0 else 1.0 - share)}


def _multiplied(parameters: dict[str, Any]) -> Settings:
    return lambda power: parameters | {"factor": math.exp(power)} if power else parameters


def _needed(load: Load, level: float) -> int:
    return max(2, math.ceil(float(np.quantile(load.history, level)) * load.service_mean * 1.2))


def _text(parameters: Mapping[str, Any]) -> str:
    return orjson.dumps(parameters, option=_SORTED).decode()


def _row(
    job: Job,
    load: Load,
    target: float,
    setting: str,
    parameters: Mapping[str, Any],
    outcome: Outcome,
    microseconds: float,
) -> dict[str, Any]:
    count = min(max(6, round(load.duration / load.day)), max(1, load.periods // 8))
    number = np.minimum(np.arange(outcome.periods.height) * count // load.periods, count - 1)
    return {
        "trace": job.trace,
        "mix": job.mix,
        "seed": load.seed,
        "policy": job.name,
        "fixed": _text(dict(job.parameters)),
        "target": target,
        "setting": setting.removeprefix("about "),
        "parameters": _text(parameters),
        "cost": outcome.cost,
        "lower_bound": lower_bound(load),
        "violations": outcome.violations,
        "close": not setting.startswith("about "),
        "late_minutes": outcome.late_minutes,
        "launches": outcome.launches,
        "us_per_decision": microseconds,
        "parts": np.bincount(number, outcome.periods["cost"].to_numpy(), count).tolist(),
    }


# What the rows say


def compared(rows: pl.DataFrame) -> pl.DataFrame:
    """Each policy against the oracle's plan on the same arrivals: one row per trace, mix, target, policy and setting.

    `multiple` is its cost over that of the plan which serves in order and meets no faults, all draws together, with
    `low` and `high` from the stretches of the test days (Student's t, 95 %). `keeps`: the allowed share of late events
    was kept on every draw. `close`: as nearly as it takes to compare costs, see `tuning.Near`. `near`: no policy at
    this setting is cheaper beyond the noise (paired by stretch, 95 %): it is the best, or cannot be told from it.
    """
    plans = {
        (row["trace"], row["seed"], row["target"]): row
        for row in rows.filter(setting="plan", policy="oracle", mix="plain").iter_rows(named=True)
    }
    found: list[dict[str, Any]] = []
    ratios: dict[tuple[Any, ...], dict[tuple[int, int], float]] = {}
    for _, group in rows.group_by(*_PLACE, maintain_order=True):
        stretches: dict[tuple[int, int], float] = {}
        cost = planned = 0.0
        for row in group.iter_rows(named=True):
            plan = plans[(row["trace"], row["seed"], row["target"])]
            cost += row["cost"]
            planned += plan["cost"]
            shares = zip(row["parts"], plan["parts"], strict=True)
            stretches |= {(row["seed"], number): mine / theirs for number, (mine, theirs) in enumerate(shares)}
        interval = mean_interval(list(stretches.values()))
        target = float(group["target"][0])
        made = {name: group[name][0] for name in (*_PLACE, "fixed")} | {
            "multiple": cost / planned,
            "low": interval.low,
            "high": interval.high,
            "violations": float(group["violations"].mean()),  # type: ignore[arg-type]
            "late_minutes": float(group["late_minutes"].mean()),  # type: ignore[arg-type]
            "launches": int(group["launches"].sum()),
            "us_per_decision": float(group["us_per_decision"].median()),  # type: ignore[arg-type]
            "keeps": bool((group["violations"] <= target * (1 + 1e-9)).all()),
            "close": bool(group["close"].all()),
        }
        ratios[_place(made)] = stretches
        found.append(made)
    for row in found:
        rivals = [
            each
            for each in found
            if all(each[name] == row[name] for name in _PLACE if name != "policy") and each["keeps"] and each != row
        ]
        ours = ratios[_place(row)]
        row["near"] = row["keeps"] and not any(_cheaper(ratios[_place(each)], ours) for each in rivals)
    return pl.DataFrame(found)


_PLACE = ("trace", "mix", "target", "setting", "policy")


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in _PLACE)


def _cheaper(theirs: Mapping[Any, float], ours: Mapping[Any, float]) -> bool:
    """Whether they are cheaper than we are, beyond the noise, on the stretches that both have."""
    both = [stretch for stretch in ours if stretch in theirs]
    if len(both) < 2:
        return False
    high = paired_interval([theirs[each] for each in both], [ours[each] for each in both]).high
    return high is not None and high < 0.0


_ABOUT = """\
Written by `make study`; edits are lost. Costs are US dollars, paid for from the request to the release, as multiples of
what a plan costs that knows every arrival and every service of the test days, serves in order of arrival and keeps the
same share of late events (`rarera_sim.experiments.oracle`). Start-up 60 s and billed, draining billed, control every
15 s.

*tuned*: the setting that was the cheapest on the tuning days, as it is, with its late events beside it. *equal*: its
head-room moved until just the allowed share is late, so that costs compare; late minutes, launches and time are of this
one. *hindsight*: tuned on the test days themselves. *defaults*: as a user finds it. A multiple in brackets did not keep
the share; one with a tilde kept more than it had to, as what the policy decides moves in steps or its head-room ends.
**Bold**: no policy of the table is cheaper at equal violations beyond the noise (paired by stretches of the test days,
95 %): several may be, and then none has won.

*+ late-last*: the same policy, tuned anew, with waiting events served in another order: first those that can still be
in time, then those that are late already (`rarera_sim.simulation.line`). `rarera` chooses the order itself, and chooses
this one where it may; compare it with these rows. It alone is not tuned: one set of parameters, its defaults, for all
traces, mixes and shares.
""".splitlines()

_ABOUT_MIXES = """\
The best of the tables above under faults and with other hardware, {target:.1%} late, one draw, at equal violations. All
are multiples of what the same plan as above costs, which meets no faults and has one kind of hardware: below 1 is what
cheaper hardware saves. Policies that know of no pools are driven as an operator would (`rarera_sim.experiments.mixes`):
spread over the zones that are there; on the kind of hardware, and with as many replicas prepared asleep, as the tuner
has found best. {about}
"""

_ABOUT_ABLATION = """\
`rarera` with one part left out each time, {target:.1%} late, one draw. As it is: what it costs and how many are late
without anybody's help; equal: with its share of the allowed lateness moved, or a factor, until they compare.
"""


def page_of(rows: pl.DataFrame, effort: Effort, pictures: Sequence[str] = ()) -> str:
    """docs/scheduling.md."""
    table = compared(rows)
    plain = table.filter(mix="plain", fixed="{}")
    slow = f"{min(effort.tries, effort.tries_slow)} for {', '.join(f'`{name}`' for name in SLOW)}, which take long"
    lines = [
        "# Scheduling policies against the oracle",
        "",
        *_ABOUT,
        "",
        *wrap(
            f"Effort: {effort.tries} evaluations per tuning ({slow}), {effort.tries_after} in hindsight, and at most "
            f"{2 * effort.steps} on the way to equal violations. Days to tune on: {effort.tune_days:g}; to test on: "
            f"{effort.test_days:g}, which are those of draws {', '.join(map(str, effort.seeds))} together where "
            "arrivals are drawn. Of traces that are played faster, all days.",
            width=120,
        ),
        *_left_out(plain, effort),
        "",
        *_regrets(plain),
        *pictures,
    ]
    for (trace, target), part in plain.group_by("trace", "target", maintain_order=True):
        named = {(row["policy"], row["setting"]): row for row in part.iter_rows(named=True)}
        equal = [row for (_, setting), row in named.items() if setting == "equal"]
        if not equal:
            continue
        of_plan = (pl.col("setting") == "plan") & (pl.col("policy") == "oracle") & (pl.col("mix") == "plain")
        plan = rows.filter(of_plan & (pl.col("trace") == trace) & (pl.col("target") == target))
        known = TRACES[str(trace)]
        over = float((plan["cost"] / plan["lower_bound"]).mean())  # type: ignore[arg-type]
        lines += [
            f"## {trace}, {float(str(target)):.1%} beyond {known.bound:g} s",
            "",
            *wrap(
                f"{known.about[:1].upper()}{known.about[1:]}. The plan costs {over:.2f} times the work alone"
                f"{_late_last_plan(part)}.",
                width=120,
            ),
            "",
            "| policy | equal | 95 % | tuned | late | hindsight | defaults | late minutes | launches | us/decision |",
            "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        for row in sorted(equal, key=_rank):
            tuned, defaults = named[(row["policy"], "tuned")], named[(row["policy"], "defaults")]
            interval = "" if row["low"] is None else f"{row['low']:.2f} to {row['high']:.2f}"
            cells = (
                row["policy"],
                _marked(row),
                interval,
                _multiple(tuned),
                f"{tuned['violations']:.2%}",
                _multiple(named[(row["policy"], "hindsight")]),
                _multiple(defaults),
                f"{row['late_minutes']:.1%}",
                f"{row['launches']:,}",
                f"{row['us_per_decision']:.0f}",
            )
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    lines += _mixes(table)
    lines += _ablation(table)
    return "\n".join(lines)


def _rank(row: Mapping[str, Any]) -> tuple[bool, float]:
    return not row["keeps"], row["multiple"]


def _late_last_plan(part: pl.DataFrame) -> str:
    other = part.filter(setting="plan", policy=f"oracle + {DISCIPLINES[1]}")
    return f"; one that serves late events last {other['multiple'][0]:.2f} of that" if other.height else ""


def _regrets(plain: pl.DataFrame) -> Iterator[str]:
    """Every policy on every trace, and how far it is from the best of each at worst."""
    equal = plain.filter(setting="equal")
    columns = equal.select("trace", "target").unique(maintain_order=True).rows()
    if len(columns) < 2:
        return
    kept = equal.filter("keeps").group_by("trace", "target").agg(pl.col("multiple").min())
    best = {(trace, target): multiple for trace, target, multiple in kept.iter_rows()}
    yield "## All traces: cost at equal violations"
    yield ""
    yield "Last column: the cost over that of the cheapest of its column, in the column where that is worst."
    yield ""
    yield f"| policy | {' | '.join(f'{trace} {target:.1%}' for trace, target in columns)} | at worst |"
    yield f"| --- |{' ---: |' * (len(columns) + 1)}"
    lines: list[tuple[float, str]] = []
    for (policy,), group in equal.group_by("policy", maintain_order=True):
        named = {(row["trace"], row["target"]): row for row in group.iter_rows(named=True)}
        whole = all(place in named and named[place]["keeps"] and place in best for place in columns)
        worst = max(named[place]["multiple"] / best[place] for place in columns) if whole else math.inf
        cells = [_marked(named[place]) if place in named else "" for place in columns]
        said = f"{worst - 1.0:+.0%}" if whole else "not kept" if len(named) == len(columns) else ""
        lines.append((worst, f"| {policy} | {' | '.join(cells)} | {said} |"))
    yield from (line for _, line in sorted(lines, key=lambda each: each[0]))
    yield ""


def _mixes(table: pl.DataFrame) -> Iterator[str]:
    mixes = table.filter((pl.col("mix") != "plain") & (pl.col("setting") == "equal"))
    if not mixes.height:
        return
    names = mixes["mix"].unique(maintain_order=True).to_list()
    about = " ".join(f"*{name}*: {MIXES[name].about}." for name in names)
    yield "## Mixes of faults and hardware"
    yield ""
    yield from wrap(_ABOUT_MIXES.format(target=MIX_TARGET, about=about), width=120)
    yield ""
    for (trace,), part in mixes.group_by("trace", maintain_order=True):
        yield f"### {trace}"
        yield ""
        yield f"| policy | {' | '.join(names)} |"
        yield f"| --- |{' ---: |' * len(names)}"
        named = {(row["policy"], row["mix"]): row for row in part.iter_rows(named=True)}
        for policy in part["policy"].unique(maintain_order=True).to_list():
            cells = [_marked(named[(policy, mix)]) if (policy, mix) in named else "" for mix in names]
            yield f"| {policy} | {' | '.join(cells)} |"
        yield ""


def _ablation(table: pl.DataFrame) -> Iterator[str]:
    parts = table.filter((pl.col("fixed") != "{}") & (pl.col("mix") == "plain"))
    if not parts.height:
        return
    yield f"## What each part of `{OURS}` buys"
    yield ""
    yield from _ABOUT_ABLATION.format(target=MIX_TARGET).splitlines()
    yield ""
    traces = parts["trace"].unique(maintain_order=True).to_list()
    yield f"| | {' | '.join(f'{trace}: as it is | late | equal' for trace in traces)} |"
    yield f"| --- |{' ---: | ---: | ---: |' * len(traces)}"
    target = parts["target"][0]
    everything = pl.concat([table.filter(mix="plain", policy=OURS, target=target), parts])
    named = {(row["policy"], row["trace"], row["setting"]): row for row in everything.iter_rows(named=True)}
    for policy in everything["policy"].unique(maintain_order=True).to_list():
        cells: list[str] = []
        for trace in traces:
            if (policy, trace, "equal") not in named:
                cells += ["", "", ""]
                continue
            tuned, equal = named[(policy, trace, "tuned")], named[(policy, trace, "equal")]
            cells += [_multiple(tuned), f"{tuned['violations']:.2%}", _multiple(equal)]
        yield f"| {policy} | {' | '.join(cells)} |"
    yield ""


def _left_out(table: pl.DataFrame, effort: Effort) -> Iterator[str]:
    """What the page does not show, said."""
    if effort.left_out:
        yield f"Left out here, and tried by `make study ARGS=--full`: {', '.join(effort.left_out)}."
    shown = set(table.select("trace", "target").iter_rows())
    wanted = [(name, target) for name in STUDY_TRACES for target in TARGETS]
    never = [f"{name} at {target:.1%}" for name, target in wanted if target <= TRACES[name].unavoidable]
    if never:
        yield f"Services alone are longer than the bound more often, whatever the capacity: {', '.join(never)}."
    missing = [f"{name} at {target:.1%}" for name, target in wanted if (name, target) not in shown]
    missing = [each for each in missing if each not in never]
    if missing:
        yield f"Not done yet, or not to be had where this was made: {', '.join(missing)}."


def _multiple(row: Mapping[str, Any]) -> str:
    return f"{row['multiple']:.2f}" if row["keeps"] else f"({row['multiple']:.2f})"


def _marked(row: Mapping[str, Any]) -> str:
    """At equal violations: bold where nobody is cheaper, with a tilde where it is dearer than it would have to be."""
    text = _multiple(row) + ("~" if row["keeps"] and not row["close"] else "")
    return f"**{text}**" if row["near"] else text


def rival_of(rows: pl.DataFrame, trace: str) -> Contender | None:
    """The best baseline of a trace at the usual share, with the setting that it has at equal violations."""
    table = compared(rows).filter(trace=trace, mix="plain", fixed="{}", target=MIX_TARGET, setting="equal", keeps=True)
    others = table.filter(pl.col("policy") != OURS).sort("multiple", "policy")
    if not others.height:
        return None
    name = others["policy"][0]
    policy, _, discipline = name.partition(" + ")
    found = rows.filter(trace=trace, mix="plain", target=MIX_TARGET, setting="equal", policy=name)
    parameters = orjson.loads(found.sort("seed")["parameters"][0])
    factor = parameters.pop("factor", 1.0)
    return Contender(name, policy, parameters, discipline or None, factor)


Draw = Callable[[pl.DataFrame], Sequence[str]]


def write_study(
    path: Path,
    folder: Path,
    effort: Effort = SHORT,
    *,
    workers: int | None = None,
    progress: Progress = lambda *_: None,
    draw: Draw = lambda _: (),
) -> None:
    """Do the study, or what is left of it, and write docs/scheduling.md: what `make study` calls.

    Parameters
    ----------
    draw
        Makes pictures of the rows, and gives the lines that show them.
    """
    rows = run_study(jobs_of_study(effort), folder, workers=workers, progress=progress)
    path.write_text(page_of(rows, effort, draw(rows)), encoding="utf-8")
