"""The runs of a comparison, one after the other, with what is known so far at any moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from rarera_sim.experiments.compare import Comparison, compare
from rarera_sim.experiments.replicate import Cache, Outcome, Task, do, seed_of
from rarera_sim.experiments.scenario import Configuration, Scenario
from rarera_sim.experiments.statistics import mean_interval
from rarera_sim.experiments.workload import prepared
from rarera_sim.reports.panels.job import Job
from rarera_sim.reports.panels.live import Live

SHARES = ("on_time", "availability", "processor_availability", "slo_time")


class Experiment:
    """What `compare` does, in this thread, so that it can be watched and left in the middle of a run.

    The numbers are those of `compare`. What was done when somebody left stays: the same runs are not done again.

    Parameters
    ----------
    scenario
        Whose configurations are run.
    seed
        Of replication 0.
    memory
        A folder that remembers runs, see `compare`; one of its own where it is left out.
    shown
        Called with a `Live` from time to time.
    done
        Called when a run is done.
    """

    def __init__(
        self,
        scenario: Scenario,
        seed: int = 1,
        *,
        memory: TemporaryDirectory[str] | None = None,
        shown: Callable[[Live], None] = lambda _: None,
        done: Callable[[], None] = lambda: None,
    ) -> None:
        self.scenario = scenario
        self.seed = seed
        self.outcomes: list[Outcome] = []
        # Replication by replication, so that whoever stops early has every configuration equally often.
        self.tasks = [
            Task(scenario=scenario, number=number, replication=replication, seed=seed_of(seed, replication))
            for replication in range(scenario.run.replications)
            for number in range(len(scenario.configurations))
        ]
        self.task: Task | None = None
        self.live: Live | None = None
        self._memory = memory or TemporaryDirectory(prefix="rarera-runs-")
        self._shown = shown
        self._done = done
        self._started = time.monotonic()
        self._before = 0  # runs that were there already
        self._duration = 1.0

    def __call__(self, job: Job) -> None:
        """Run all of it, as the work of a job."""
        cache = Cache(Path(self._memory.name))
        self._started = time.monotonic()
        for task in self.tasks:
            job.check()
            self.task = task
            known = cache.get(task)
            if known is not None:
                self._before += 1
                self.outcomes.append(known)
            else:
                encoded = self._run(task, job)
                cache.put(task, encoded)
                self.outcomes.append(msgspec.json.decode(encoded, type=Outcome))
            self._done()

    def _run(self, task: Task, job: Job) -> bytes:
        ready = prepared(self.scenario, task.seed)
        scenario = ready.scenario
        self._duration = ready.workload.duration
        self.live = Live(
            job.check,
            self._shown,
            period=scenario.control.period,
            service_mean=scenario.service.mean / scenario.hardware.speed,
        )
        encoded = do(msgspec.json.encode(task), self.live.watchers)
        self._shown(self.live)
        return encoded

    @property
    def progress(self) -> float:
        """Share of the work that is done."""
        under_way = 0.0
        if self.live is not None and len(self.outcomes) < len(self.tasks):
            under_way = min(1.0, self.live.now / self._duration)
        return min(1.0, (len(self.outcomes) + under_way) / len(self.tasks))

    @property
    def time_left(self) -> float | None:
        """Seconds, if the rest goes as fast as what is done; None as long as that is too little to tell."""
        passed = time.monotonic() - self._started
        done = self.progress - self._before / len(self.tasks)
        return passed * (1.0 - self.progress) / done if done > 0.01 and passed > 0.5 else None

    def rows(self) -> list[dict[str, Any]]:
        """One per configuration that was run, over all its runs, and how many `runs` these are."""
        outcomes = list(self.outcomes)
        grouped = [
            (configuration, [each for each in outcomes if each.number == number])
            for number, configuration in enumerate(self.scenario.configurations)
        ]
        quantile = self.scenario.objective.quantile
        return [_row(configuration, ours, quantile) for configuration, ours in grouped if ours]

    def comparison(self) -> Comparison | None:
        """What is done, as `compare` gives it: the replications that every configuration has.

        Before the first such, the configurations that were run. None before the first run.
        """
        outcomes, scenario = list(self.outcomes), self.scenario
        if not outcomes:
            return None
        whole = len(outcomes) // len(scenario.configurations)
        cache = Path(self._memory.name)
        if not whole:
            chosen = tuple(scenario.configurations[each.number] for each in outcomes)
            scenario = msgspec.structs.replace(scenario, configurations=chosen)
            for number, each in enumerate(outcomes):
                task = Task(scenario=scenario, number=number, replication=0, seed=each.seed)
                Cache(cache).put(task, msgspec.json.encode(each))
        found = compare(scenario, seed=self.seed, replications=max(1, whole), jobs=1, cache=cache)
        return replace(found, interrupted=len(outcomes) < len(self.tasks))


def _row(configuration: Configuration, outcomes: Sequence[Outcome], quantile: float) -> dict[str, Any]:
    """Means with intervals, as `Comparison.rows` has them, of however many runs there are."""
    row: dict[str, Any] = {"configuration": configuration.label, "runs": len(outcomes)}
    for name in outcomes[0].measures:
        values = [each.measures[name] for each in outcomes]
        if name == "state_correct" or None in values:
            row |= {name: None, f"{name}_low": None, f"{name}_high": None}
            continue
        interval = mean_interval([float(value) for value in values])
        low, high = interval.low, interval.high
        if low is not None and high is not None:
            # Student's t does not know that a measure is never negative, and a share never above 1.
            low, high = max(low, 0.0), min(high, 1.0) if name in SHARES else high
        row |= {name: interval.mean, f"{name}_low": low, f"{name}_high": high}
    wrong = sum(not each.measures["state_correct"] for each in outcomes)
    share, low, high = (row[f"on_time{end}"] for end in ("", "_low", "_high"))
    straddles = share is None or (low is not None and high is not None and low < quantile <= high)
    return row | {
        "state_correct": wrong == 0,
        "state_wrong": wrong,
        "slo_met": None if straddles else share >= quantile,
    }
