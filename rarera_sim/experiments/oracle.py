"""What knowing the future is worth: the cost that no policy can undercut, and a plan that keeps the objective.

The lower bound pays for the work and for nothing else. The plan is feasible: it knows every arrival and every service,
starts replicas early enough, and is verified by the evaluator. The true optimum lies between the two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rarera_sim.experiments.loads import Load
from rarera_sim.experiments.tuning import Limits, Lost, Near, Try, best_of, equalise
from rarera_sim.policies.base import Decision, Observation
from rarera_sim.simulation.kernel import Streams
from rarera_sim.simulation.recursion import Outcome

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

_ROUNDS = 40
_BLOCK = 20  # periods that are changed, and judged, together
_NEAR = Near(0.97, 0.003)
_HOPELESS = 4.0  # times the allowed late share: how many more there are does not matter


class Plan:
    """So many replicas ready in each control period, whatever happens: a policy that knows the future.

        asked_k = max(ready_k, ..., ready_(k + ahead)),   ahead = ceil(start_up / period)

    so that who is needed has been started in time, and nobody is released who would have to be started again before
    the start-up has paid for itself.

    Parameters
    ----------
    ready
        Replicas that shall be ready, by period.
    ahead
        Periods that a start-up takes.
    discipline
        In which order waiting events are served.

    Examples
    --------
    >>> plan = Plan(np.array([3, 1, 1, 5, 1, 1]), ahead=2)
    >>> plan.asked.tolist()
    [3, 5, 5, 5, 1, 1]
    """

    def __init__(self, ready: Counts, ahead: int, discipline: str = "fifo") -> None:
        padded = np.concatenate((ready, np.ones(ahead, dtype=np.int64)))
        self.asked = np.lib.stride_tricks.sliding_window_view(padded, ahead + 1).max(axis=1)
        self._discipline = discipline
        self._period = 0

    def observe(self, _: Observation) -> None:
        """Nothing that was not known."""
        self._period += 1

    def decide(self) -> Decision:
        """What the plan says."""
        wanted = int(self.asked[min(self._period, len(self.asked) - 1)])
        return Decision(wanted, "As planned.", discipline=self._discipline)


class Oracle(NamedTuple):
    """Costs in US dollars, and what came of the plan."""

    lower_bound: float
    planned: Outcome

    @property
    def cost(self) -> float:
        """What the plan costs."""
        return self.planned.cost


def lower_bound(load: Load) -> float:
    """US dollars for the work alone: nothing idles, starts or waits."""
    hardware = load.system.hardware
    return float(load.services.sum()) / hardware.speed * hardware.price_per_hour / 3600.0


def oracle(
    load: Load,
    violations: float,
    *,
    rounds: int = _ROUNDS,
    discipline: str = "fifo",
    progress: Callable[[], None] = lambda: None,
) -> Oracle:
    """A plan with at most this share of late events, as cheap as a search in so many rounds makes it.

    First the work at hand, over several windows, with a margin that grows with its square root, found by
    bisection. Then local search: random changes within blocks of five minutes, all blocks at once, each judged
    by its own cost plus a price on its own late events; that price is moved until the share is met.
    """
    search = _Search(load, violations, discipline)
    search.bisect(progress)
    search.improve(rounds, progress)
    return Oracle(lower_bound(load), search.best[1])


class _Search:
    def __init__(self, load: Load, violations: float, discipline: str = "fifo") -> None:
        self.load = load
        self.violations = violations
        self.discipline = discipline
        self.ahead = int(np.ceil(load.system.hardware.start_up / load.system.control.period))
        everything = np.full(load.periods, min(load.system.control.replicas_max, int(_peaks(load, 1.0).max() * 2 + 10)))
        self.best = (everything, self.whole(everything))

    def whole(self, ready: Counts) -> Outcome:
        outcome = self.outcome(ready, Limits())
        assert isinstance(outcome, Outcome), "without limits nothing is given up"
        return outcome

    def outcome(self, ready: Counts, limits: Limits) -> Outcome | Lost:
        outcome = self.load.play(Plan(ready, self.ahead, self.discipline), limits)
        if isinstance(outcome, Lost) or outcome.violations > self.violations:
            return outcome
        if not hasattr(self, "best") or outcome.cost < self.best[1].cost:
            self.best = (ready, outcome)
        return outcome

    def within(
        self,
        plan: Callable[[float], Counts],
        start: float,
        low: float,
        high: float,
        progress: Callable[[], None],
        steps: int = 9,
    ) -> float:
        """The least head-room in [low, high] with which a plan keeps the share; that of the cheapest found."""
        hopeless = Limits(_HOPELESS * self.violations)

        def tried(head_room: float) -> Outcome | Lost:
            progress()
            return self.outcome(plan(head_room), hopeless)

        found = equalise(tried, start, low, high, violations=self.violations, steps=steps, near=_NEAR)
        best: float = best_of([Try({"at": place}, result) for place, result in found], self.violations).parameters["at"]
        return best

    def bisect(self, progress: Callable[[], None]) -> None:
        """The smallest margin over the work of a window, for several windows."""
        objective, period = self.load.system.objective, self.load.system.control.period
        windows = sorted({max(1.0, objective.bound / 2.0), period})
        works = [_peaks(self.load, window) for window in windows]
        if self.load.service_mean > period / 5.0:
            works.insert(0, _occupied(self.load))
        margin = 1.0
        for work in works:

            def plan(margin: float, work: Floats = work) -> Counts:
                return _counts(np.ceil(work + margin * np.sqrt(work)))

            margin = self.within(plan, margin, -6.0, 6.0, progress)

    def improve(self, rounds: int, progress: Callable[[], None]) -> None:
        """Change blocks at random and keep what pays, at a price on lateness that the share of late events sets."""
        ready, now = self.best
        generator = Streams(self.load.seed).generator("study", self.load.trace, "oracle")
        blocks = np.arange(len(ready)) // _BLOCK
        cost, late = _by_block(now, blocks)
        # Where all is well, one more late event is worth what the cheapest block pays per event.
        price = float(now.periods["paid_s"].sum()) / max(1.0, now.events) * 2.0
        for number in range(rounds):
            half = number % 2
            chosen = generator.random(blocks[-1] + 1) < 0.5
            step = generator.choice((-1, -1, -2, 1), size=len(chosen))
            # The whole block, or the periods in which there is least or most to do.
            part = generator.random(len(ready)) < generator.choice((0.2, 0.5, 1.0), size=len(chosen))[blocks]
            changed = np.where(chosen[blocks] & part, np.maximum(1, ready + step[blocks]), ready)
            then = self.whole(changed)
            new_cost, new_late = _by_block(then, blocks)
            better = new_cost + price * new_late < cost + price * late
            # A queue that is left to the next block is the neighbour's loss.
            better &= ~_worse_after(cost + price * late, new_cost + price * new_late)
            ready = np.where(better[blocks], changed, ready)
            progress()
            if half:
                now = self.whole(ready)
                cost, late = _by_block(now, blocks)
                price *= float(np.clip((now.violations + 1e-9) / (self.violations + 1e-9), 0.5, 2.0))
                progress()
            else:
                cost, late = np.where(better, new_cost, cost), np.where(better, new_late, late)
        self.meet(ready, progress)

    def meet(self, ready: Counts, progress: Callable[[], None]) -> None:
        """End on the right side: scale the plan until it keeps the share."""

        def scaled(factor: float) -> Counts:
            return _counts(np.floor(ready * factor + 0.5))

        self.within(scaled, 1.0, 0.8, 1.3, progress, steps=7)


def _counts(replicas: Floats) -> Counts:
    counts: Counts = np.maximum(1, replicas).astype(np.int64)
    return counts


def _peaks(load: Load, window: float) -> Floats:
    """Busy replicas that the work needs in each control period: the busiest window that begins in it."""
    period = load.system.control.period
    steps = max(1, round(period / window)) if window < period else 1
    length = period / steps if window < period else window
    edges = np.arange(0, load.periods * steps + 1) * (period / steps)
    work = np.concatenate(([0.0], np.cumsum(load.services))) / load.system.hardware.speed
    begun = np.searchsorted(load.times, edges[:-1])
    ended = np.searchsorted(load.times, edges[:-1] + length)
    busy = (work[ended] - work[begun]) / length
    peaks: Floats = busy.reshape(load.periods, steps).max(axis=1)
    return peaks


def _occupied(load: Load) -> Floats:
    """Busy replicas in each control period, on average, if nobody had to wait: what counts where services are long."""
    period, speed = load.system.control.period, load.system.hardware.speed
    edges = np.arange(load.periods + 1) * period
    present = np.zeros(len(edges))
    for moments, sign in ((load.times, 1.0), (np.sort(load.times + load.services / speed), -1.0)):
        count = np.searchsorted(moments, edges)
        present += sign * (count * edges - np.concatenate(([0.0], np.cumsum(moments)))[count])
    occupied: Floats = np.maximum(0.0, np.diff(present) / period)
    return occupied


def _by_block(outcome: Outcome, blocks: Counts) -> tuple[Floats, Floats]:
    periods = outcome.periods.head(len(blocks))
    number = blocks[: periods.height]
    size = int(blocks[-1]) + 1
    cost = np.bincount(number, periods["paid_s"].to_numpy(), size)
    late = np.bincount(number, periods["late"].to_numpy(), size)
    return cost.astype(np.float64), late.astype(np.float64)


def _worse_after(before: Floats, after: Floats) -> NDArray[np.bool_]:
    """Blocks whose next one has lost more than they have won."""
    change = after - before
    following = np.append(change[1:], 0.0)
    worse: NDArray[np.bool_] = (change + following) > 0.0
    return worse
