"""The model against what is known to be right: recursions, formulas, another simulator, laws, and its own statistics.

`validate` does all of it and `Validation.to_markdown` makes docs/validation.md. A section is a function that yields
`Check`s, each with the figures that it rests on; same effort and version, same page.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
from scipy import stats

from rarera_sim import theory
from rarera_sim.core.trace import Stage
from rarera_sim.experiments.replicate import seed_of
from rarera_sim.experiments.run import VERSION
from rarera_sim.experiments.statistics import Interval, batch_means, mean_interval, mser5, warmup_cut
from rarera_sim.experiments.textbook import (
    Customers,
    Times,
    bounded,
    drawn,
    given_up,
    machine_repair,
    recursion,
    served,
    through_the_log,
    units_up,
)
from rarera_sim.simulation.arrivals import ArrivalProcess, Batches, Mmpp, OnOff, Poisson, Renewal, Sinusoid
from rarera_sim.simulation.distributions import Distribution, Kind
from rarera_sim.simulation.generators import index_of_dispersion
from rarera_sim.simulation.kernel import Streams

CONFIDENCE = 0.99
_WARM = 0.1  # share of the customers that is left out at the beginning

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Effort:
    """How much is simulated.

    Parameters
    ----------
    customers
        Of each case that is compared bit for bit, and of each replication against a formula.
    replications
        Of each case against a formula.
    messages
        Of each replication that goes through a message queue.
    peers
        Customers of each replication beside Ciw.
    intervals
        Of each kind whose coverage is counted.
    """

    customers: int = 200_000
    replications: int = 10
    messages: int = 20_000
    peers: int = 10_000
    intervals: int = 1_000


FULL = Effort()
SHORT = Effort(customers=10_000, replications=4, messages=2_000, peers=1_500, intervals=100)


class Check(NamedTuple):
    """One thing that was looked at: what should be, what is, whether that will do."""

    case: str
    expected: str
    found: str
    holds: bool


@dataclass(frozen=True)
class Section:
    """Checks of one kind."""

    title: str
    about: str
    columns: tuple[str, str, str]
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class Validation:
    """All sections, and what they were made with."""

    sections: tuple[Section, ...]
    effort: Effort
    seed: int

    @property
    def failed(self) -> list[str]:
        """What does not hold, in words."""
        return [
            f"{section.title}: {check.case}: expected {check.expected}, found {check.found}"
            for section in self.sections
            for check in section.checks
            if not check.holds
        ]

    def __repr__(self) -> str:
        count = sum(len(section.checks) for section in self.sections)
        return f"Validation({count} checks, {len(self.failed)} do not hold, seed={self.seed})"

    def to_markdown(self) -> str:
        """docs/validation.md."""
        count = sum(len(section.checks) for section in self.sections)
        verdict = "all of them hold" if not self.failed else f"{len(self.failed)} do not hold"
        lines = [
            "# Validation",
            "",
            f"Written by `make validation`: version {VERSION}, seed {self.seed}, {self.effort.customers:,} customers "
            f"and {self.effort.replications} replications a case. {count} checks, {verdict}.",
        ]
        for section in self.sections:
            first, second, third = section.columns
            lines += ["", f"## {section.title}", "", section.about, "", f"| {first} | {second} | {third} | |"]
            lines += ["| --- | --- | --- | --- |"]
            for check in section.checks:
                holds = "holds" if check.holds else "**does not hold**"
                lines.append(f"| {check.case} | {check.expected} | {check.found} | {holds} |")
        return "\n".join([*lines, ""])


def validate(effort: Effort = FULL, *, seed: int = 1, progress: Progress | None = None) -> Validation:
    """Do all sections.

    Parameters
    ----------
    progress
        Called after each section with how much of the work is done, in per cent, and with 100.

    Examples
    --------
    >>> exact = bit_for_bit(Effort(customers=500), seed=1)
    >>> exact.title, len(exact.checks), all(check.holds for check in exact.checks)
    ('Bit for bit', 22, True)
    """
    # With their share of the time, per cent: formulas that hold for the long run need the most customers by far.
    parts = (
        (bit_for_bit, 8),
        (closed_forms, 77),
        (laws, 1),
        (beside_ciw, 5),
        (metamorphic, 1),
        (generators, 1),
        (faults, 3),
        (coverage, 4),
    )
    sections, done = [], 0
    for part, share in parts:
        sections.append(part(effort, seed))
        done += share
        if progress is not None:
            progress(done, 100)
    return Validation(tuple(sections), effort, seed)


# Customer by customer


def _of(kind: Kind, mean: float = 1.0, scv: float = 1.0) -> Distribution:
    return Distribution(distribution=kind, mean=mean, scv=scv)


_M, _D, _E2, _H2 = _of("exponential"), _of("deterministic"), _of("erlang", scv=0.5), _of("hyperexponential", scv=4.0)
_LOGNORMAL = _of("lognormal", scv=math.e - 1.0)  # sigma 1

# name, gaps and services of mean 1, servers, utilisation
_EXACT: tuple[tuple[str, Distribution, Distribution, int, float], ...] = (
    ("M/M/1", _M, _M, 1, 0.5),
    ("M/M/1", _M, _M, 1, 0.8),
    ("M/M/1", _M, _M, 1, 0.95),
    ("M/M/2", _M, _M, 2, 0.8),
    ("M/M/5", _M, _M, 5, 0.8),
    ("M/M/10", _M, _M, 10, 0.8),
    ("M/M/10", _M, _M, 10, 0.9),
    ("M/M/100", _M, _M, 100, 0.95),
    ("M/D/1", _M, _D, 1, 0.8),
    ("M/E2/1", _M, _E2, 1, 0.8),
    ("M/H2/1", _M, _H2, 1, 0.8),
    ("M/lognormal/1", _M, _LOGNORMAL, 1, 0.8),
    ("M/Pareto/1", _M, _of("pareto", scv=10.0), 1, 0.7),
    ("M/D/10", _M, _D, 10, 0.9),
    ("E2/E2/2", _E2, _E2, 2, 0.8),
    ("H2/lognormal/5", _H2, _LOGNORMAL, 5, 0.8),
    ("D/M/3", _D, _M, 3, 0.9),
    ("uniform/Weibull/4", _of("uniform", scv=0.2), _of("weibull", scv=3.0), 4, 0.9),
    ("gamma/gamma/8", _of("gamma", scv=2.0), _of("gamma", scv=0.3), 8, 0.95),
    ("lognormal/H2/10", _LOGNORMAL, _H2, 10, 0.9),
    ("Weibull/D/10", _of("weibull", scv=4.0), _D, 10, 0.85),
    ("Coxian/uniform/3", _of("coxian", scv=2.0), _of("uniform", scv=0.3), 3, 0.9),
)


def _customers(
    gap: Distribution, service: Distribution, servers: int, load: float, count: int, seed: int
) -> tuple[Times, Times]:
    arrived, services = drawn(gap, service, count, seed)
    return arrived / (load * servers), services


def bit_for_bit(effort: Effort, seed: int) -> Section:
    """The model beside the recursion of Kiefer and Wolfowitz on the same draws."""
    checks = []
    for name, gap, service, servers, load in _EXACT:
        arrived, services = _customers(gap, service, servers, load, effort.customers, seed)
        model, exact = served(arrived, services, servers), recursion(arrived, services, servers)
        same = int(((model.started == exact.started) & (model.finished == exact.finished)).sum())
        mean = f"{exact.waits.mean():.4f}"
        found = f"{same:,} of {len(arrived):,} customers, {_bits(model)}"
        checks.append(Check(f"{name}, rho {load:g}", f"mean wait {mean}", found, same == len(arrived)))
    about = (
        "The SimPy model and the recursion of Kiefer and Wolfowitz on the same draws: a customer counts where both "
        "moments, the start and the end of its service, are the same to the last bit."
    )
    return Section("Bit for bit", about, ("system", "recursion", "the same in the model"), tuple(checks))


def _bits(customers: Customers) -> str:
    wrong = customers.books()
    return wrong or "Little's law holds"


# Formulas


def closed_forms(effort: Effort, seed: int) -> Section:
    """Means, quantiles, losses and availabilities that are known exactly."""
    count, warm = effort.customers, int(effort.customers * _WARM)
    checks: list[Check] = []

    def line(name: str, service: Distribution, servers: int, rate: float, **exact: float) -> None:
        found: dict[str, list[float]] = {what: [] for what in exact}
        for replication in range(effort.replications):
            arrived, services = drawn(_of("exponential", 1.0 / rate), service, count, seed_of(seed, replication))
            customers = served(arrived, services, servers)
            waits, responses = customers.waits[warm:], customers.responses[warm:]
            measured = {
                "Wq": waits.mean(),
                "W": responses.mean(),
                "p95": np.quantile(responses, 0.95),
                "P(wait)": (waits > 0.0).mean(),
            }
            for what, values in found.items():
                values.append(float(measured[what]))
        checks.extend(_inside(f"{name}: {what}", exact[what], values) for what, values in found.items())

    line(
        "M/M/1, rho .8",
        _M,
        1,
        0.8,
        Wq=theory.wait_mean(0.8, 1.0, 1),
        W=theory.response_mean(0.8, 1.0, 1),
        p95=theory.response_quantile(0.8, 1.0, 1, 0.95),
    )
    for servers, rate in ((2, 1.6), (5, 4.0), (10, 8.0), (10, 9.0), (100, 95.0)):
        more = {"P(wait)": theory.erlang_c(servers, rate)} if rate == 9.0 else {}
        line(f"M/M/{servers}, lambda {rate:g}", _M, servers, rate, Wq=theory.wait_mean(rate, 1.0, servers), **more)
    for name, service, scv in (
        ("D", _D, 0.0),
        ("E2", _E2, 0.5),
        ("H2", _H2, 4.0),
        ("lognormal", _LOGNORMAL, math.e - 1),
    ):
        line(f"M/{name}/1, rho .8", service, 1, 0.8, Wq=theory.wait_mean_mg1(0.8, 1.0, scv))
    for servers, rate in ((2, 1.6), (5, 4.0), (10, 9.0)):
        line(f"M/D/{servers}, lambda {rate:g}", _D, servers, rate, Wq=theory.wait_mean_mdc(rate, 1.0, servers))
    # Values of REFERENCE: solved numerically, as no formula gives them.
    line("M/E2/10, lambda 9", _E2, 10, 9.0, Wq=0.50845169)
    line("M/H2/10, lambda 9", _H2, 10, 9.0, Wq=1.54895501)
    checks += _losses(effort, seed)
    checks += _impatience(effort, seed)
    checks += _availabilities(effort, seed)
    about = (
        f"Means over {effort.replications} replications, the first tenth of each left out, with {CONFIDENCE:.0%} "
        "intervals of Student's t; service rate 1. Losses, over four times as many, are measured at a message queue "
        "that rejects: at-least-once holds what is worked on in its memory, at-most-once what waits. Machines that are "
        "repaired are users who think, units that fail are replicas that crash, and who abandons has waited in a line "
        "with patience. Of a hundred such intervals one misses by chance."
    )
    return Section("Closed forms", about, ("system", "exact", "model"), tuple(checks))


def _losses(effort: Effort, seed: int) -> Iterator[Check]:
    # Losses come in bursts: ten replications of a loss of 3 % are too few for Student's t to be trusted.
    seeds = [seed_of(seed, number) for number in range(4 * effort.replications)]
    for servers, rate in ((5, 4.0), (10, 9.0), (100, 90.0)):
        found = [_lost(servers, servers, rate, effort, each, True) for each in seeds]
        yield _inside(f"M/M/{servers}/{servers}, lambda {rate:g}: loss", theory.erlang_b(servers, rate), found)
    for servers, rate, capacity in ((10, 9.0, 20), (5, 4.0, 12), (1, 0.8, 5)):
        found = [_lost(servers, capacity, rate, effort, each, False) for each in seeds]
        exact = theory.loss(rate, 1.0, servers, capacity)
        yield _inside(f"M/M/{servers}/{capacity}, lambda {rate:g}: loss", exact, found)


def _lost(servers: int, capacity: int, rate: float, effort: Effort, seed: int, insists: bool) -> float:
    arrived, services = drawn(_of("exponential", 1.0 / rate), _M, effort.messages, seed)
    done, lost = bounded(arrived, services, servers, capacity, insists=insists)
    assert (done ^ lost).all(), "arrived = done + lost"
    return float(lost[int(effort.messages * _WARM) :].mean())


def _impatience(effort: Effort, seed: int) -> Iterator[Check]:
    patience = _of("exponential", 2.0)
    for servers, rate in ((10, 9.5), (10, 12.0)):
        found = []
        for number in range(effort.replications):
            each = seed_of(seed, number)
            arrived, services = drawn(_of("exponential", 1.0 / rate), _M, effort.messages, each)
            left = given_up(arrived, services, servers, patience, seed=each)
            found.append(float(left[int(effort.messages * _WARM) :].mean()))
        exact = theory.abandonment(rate, 1.0, servers, 0.5)
        yield _inside(f"Erlang-A, M/M/{servers}+M, lambda {rate:g}, theta .5: P(abandon)", exact, found)


def _availabilities(effort: Effort, seed: int) -> Iterator[Check]:
    for machines, repairers, failures, repairs in ((4, 1, 0.1, 1.0), (10, 2, 0.05, 0.5)):
        exact = theory.availability_machine_repair(machines, repairers, failures, repairs)
        duration = effort.messages / (machines * failures * exact)
        found = [
            machine_repair(machines, repairers, failures, repairs, duration=duration, seed=seed_of(seed, n))
            for n in range(effort.replications)
        ]
        yield _inside(f"{machines} machines, {repairers} repairers: availability", exact, found)
    exact = theory.availability_k_of_n(2, 3, 0.99)
    found = [
        units_up(2, 3, mtbf=99.0, repair=1.0, duration=50.0 * effort.messages, seed=seed_of(seed, n))
        for n in range(effort.replications)
    ]
    yield _inside("2 of 3 replicas that crash, A = .99: availability", exact, found)


def _inside(case: str, exact: float, found: Sequence[float]) -> Check:
    interval = mean_interval(found, confidence=CONFIDENCE)
    return Check(case, f"{exact:.6g}", _shown(interval), not interval.excludes(exact))


def _shown(interval: Interval) -> str:
    assert interval.low is not None, "several replications"
    assert interval.high is not None, "several replications"
    return f"{interval.mean:.6g} ({interval.low:.6g} to {interval.high:.6g})"


# Laws


def laws(effort: Effort, seed: int) -> Section:
    """Little's law and conservation, to rounding, in systems that no formula knows."""
    checks = []
    for name, gap, service, servers, load in _EXACT[-6:]:
        arrived, services = _customers(gap, service, servers, load, effort.customers // 4, seed + 1)
        customers = served(arrived, services, servers, seed=seed)
        count = int(np.isfinite(customers.finished).sum())
        books = customers.books()
        found = f"{count:,} done, {books or 'L T = sum of W'}"
        checks.append(
            Check(f"{name}, rho {load:g}", f"{len(arrived):,} arrived", found, not books and count == len(arrived))
        )
    arrived, services = drawn(_of("exponential", 1.0 / 9.0), _M, effort.messages, seed)
    for insists, capacity in ((False, 15), (True, 10)):
        done, lost = bounded(arrived, services, 10, capacity, insists=insists)
        case = f"queue at-{'least' if insists else 'most'}-once of {capacity} places"
        found = f"{done.sum():,} done + {lost.sum():,} lost"
        checks.append(Check(case, f"{effort.messages:,} arrived", found, bool((done ^ lost).all() and lost.any())))
    about = (
        "All that arrived is done, lost or in the system; the customers present, over time, are their times, summed."
    )
    return Section("Little's law and conservation", about, ("system", "in", "out"), tuple(checks))


# Another simulator


def beside_ciw(effort: Effort, seed: int) -> Section:
    """Three networks that Ciw can express as well, with the same distributions and draws of its own."""
    about = (
        "The same distributions in Ciw, with draws of its own: the difference of the means of "
        f"{effort.replications} replications each, with Welch's {CONFIDENCE:.0%} interval."
    )
    columns = ("network", "Ciw", "model minus Ciw")
    if not find_spec("ciw"):
        return Section("Beside Ciw", about + " Not done: Ciw is not installed.", columns, ())
    from rarera_sim.experiments import peers

    checks = []
    warm = int(effort.peers * _WARM)
    for name, measures, theirs_of, ours_of in (
        ("E2/lognormal/3, rho .85", ("mean wait",), peers.ciw_general, _general),
        ("M/M/2, rho .8, two priorities", ("mean wait, urgent", "mean wait, others"), peers.ciw_priority, _priority),
        ("M/M/3/8, lambda 3", ("share lost",), peers.ciw_bounded, _bounded),
    ):
        seeds = [seed_of(seed, n) for n in range(effort.replications)]
        theirs = np.array([theirs_of(effort.peers, warm, each % 2**32) for each in seeds])
        ours = np.array([ours_of(effort.peers, warm, each) for each in seeds])
        for place, measure in enumerate(measures):
            test = stats.ttest_ind(ours[:, place], theirs[:, place], equal_var=False)
            low, high = test.confidence_interval(CONFIDENCE)
            mean = ours[:, place].mean() - theirs[:, place].mean()
            found = f"{mean:+.4f} ({low:+.4f} to {high:+.4f})"
            checks.append(
                Check(f"{name}: {measure}", f"{theirs[:, place].mean():.4f}", found, bool(low <= 0.0 <= high))
            )
    return Section("Beside Ciw", about, columns, tuple(checks))


def _general(count: int, warm: int, seed: int) -> list[float]:
    arrived, services = _customers(_E2, _LOGNORMAL, 3, 0.85, count, seed)
    return [float(served(arrived, services, 3).waits[warm:].mean())]


def _priority(count: int, warm: int, seed: int) -> list[float]:
    arrived, services = _customers(_M, _M, 2, 0.8, count, seed)
    customers = served(arrived, services, 2, classes=(0.3, 0.7), seed=seed)
    waits, classes = customers.waits[warm:], customers.classes[warm:]
    return [float(waits[classes == each].mean()) for each in (0, 1)]


def _bounded(count: int, _: int, seed: int) -> list[float]:
    arrived, services = drawn(_of("exponential", 1.0 / 3.0), _M, count, seed)
    lost = bounded(arrived, services, 3, 8, insists=False)[1]
    return [float(lost.mean())]


# What must not change, and what must


def metamorphic(effort: Effort, seed: int) -> Section:
    """Relations between runs that hold whatever the numbers are."""
    arrived, services = _customers(_H2, _LOGNORMAL, 5, 0.9, effort.customers // 4, seed)
    once = served(arrived, services, 5)
    twice = served(arrived / 2.0, services / 2.0, 5)
    halved = int((twice.responses == once.responses / 2.0).sum())
    more = served(arrived, services, 6)
    longer = int((more.waits > once.waits).sum())
    count = len(arrived)
    still = through_the_log(effort.messages, seed)
    incidents = sorted(stage for stage in still if stage not in _JOURNEY)
    checks = (
        Check("both rates twice as high", "every time halved", f"{halved:,} of {count:,}", halved == count),
        Check("one replica more, same weather", "no wait longer", f"{longer:,} of {count:,} longer", longer == 0),
        Check("no fault is on", "no incident", ", ".join(incidents) or "none", not incidents),
    )
    return Section(
        "Metamorphic relations", "What follows from a change, exactly.", ("change", "expected", "found"), checks
    )


_JOURNEY = {Stage.CREATED, Stage.RECEIVED, Stage.RECORDED, Stage.STARTED, Stage.FINISHED}


# Parts


def generators(effort: Effort, seed: int) -> Section:
    """Each kind of arrivals alone: rate, gaps, dispersion."""
    kinds: dict[str, ArrivalProcess] = {
        "Poisson": Poisson(rate=5.0),
        "renewal, lognormal gaps of scv 2": Renewal(gap=_of("lognormal", 0.2, 2.0)),
        "sinusoid": Sinusoid(rate=5.0, amplitude=0.8, period=50.0),
        "Markov-modulated": Mmpp(rates=(1.0, 20.0), stays=(8.0, 2.0)),
        "on-off": OnOff(rate=10.0, on=_of("exponential", 2.0), off=_of("erlang", 3.0, 0.5)),
        "geometric batches": Batches(batches=Poisson(rate=2.0), size_mean=3.0),
    }
    duration = max(1000.0, effort.customers / 50.0)
    checks = []
    for name, kind in kinds.items():
        runs = [kind.times(Streams(seed_of(seed, n)), duration) for n in range(max(4, effort.replications))]
        checks.append(_inside(f"{name}: rate", kind.rate_mean, [len(times) / duration for times in runs]))
        if name == "Poisson":
            found = [index_of_dispersion(times, duration=duration) for times in runs]
            checks.append(_inside("Poisson: index of dispersion", 1.0, found))
        if isinstance(kind, Poisson | Renewal):
            law = (
                stats.expon(scale=0.2)
                if isinstance(kind, Poisson)
                else stats.lognorm(np.sqrt(np.log(3.0)), scale=0.2 / np.sqrt(3.0))
            )
            chance = float(stats.kstest(np.diff(runs[0]), law.cdf).pvalue)
            checks.append(Check(f"{name}: gaps", "P > .01", f"Kolmogorov-Smirnov P = {chance:.3f}", chance > 0.01))
    about = f"Each kind of arrivals over {duration:,.0f} s: rates in events per second with {CONFIDENCE:.0%} intervals."
    return Section("Generators", about, ("kind", "expected", "drawn"), tuple(checks))


def faults(effort: Effort, seed: int) -> Section:
    """Each fault of the channel alone: it happens, at its rate, and the log gets over it."""
    checks = []
    for fault, stage in (
        ("loss", Stage.FRAME_LOST),
        ("duplication", Stage.FRAME_REPEATED),
        ("damage", Stage.FRAME_DAMAGED),
    ):
        counts = through_the_log(effort.messages, seed, {fault: 0.1})
        frames = counts[Stage.CREATED] + counts.get(Stage.RESENT, 0)
        happened = counts.get(stage, 0)
        interval = stats.binomtest(happened, frames).proportion_ci(CONFIDENCE)
        found = (
            f"{happened:,} of {frames:,} frames, {happened / frames:.4f} ({interval.low:.4f} to {interval.high:.4f})"
        )
        checks.append(Check(fault, "0.1 of the frames", found, bool(interval.low <= 0.1 <= interval.high)))
    about = "Through the event log, one kind at a time; every event was finished once, whatever the network did."
    return Section("Faults", about, ("fault", "rate", "happened"), tuple(checks))


# The intervals themselves


def coverage(effort: Effort, seed: int) -> Section:
    """How often intervals hold the true mean wait of M/M/1 at rho .9, by Lindley's recursion: the model equals it."""
    exact = theory.wait_mean(0.9, 1.0, 1)
    runs, long = 10, 10_000
    held: dict[str, list[bool]] = {}
    generator = Streams(seed).generator("coverage")
    pilots = _lindley(generator, 50, long)
    cut = min(warmup_cut(pilots), long // 2)

    def holds(method: str, interval: Interval) -> None:
        held.setdefault(method, []).append(not interval.excludes(exact))

    for _ in range(effort.intervals):
        waits = _lindley(generator, runs, long)
        (single,) = _lindley(generator, 1, runs * long)
        deviation = float(single.std(ddof=1)) / math.sqrt(len(single))
        half = float(stats.norm.ppf(0.975)) * deviation
        mean = float(single.mean())
        holds("1 run of 100,000, every customer as if independent", Interval(mean, mean - half, mean + half))
        holds("1 run of 100,000, 20 batch means", batch_means(single[cut:]))
        holds("10 runs of 10,000, a tenth left out", mean_interval(waits[:, long // 10 :].mean(axis=1).tolist()))
        own = [float(each[mser5(each) :].mean()) for each in waits]
        holds("10 runs of 10,000, MSER-5 in each", mean_interval(own))
        holds(f"10 runs of 10,000, MSER-5 on 50 pilots: {cut}", mean_interval(waits[:, cut:].mean(axis=1).tolist()))
    checks = []
    trusted = ("a tenth", "pilots")
    for method, each in held.items():
        share = sum(each) / len(each)
        interval = stats.binomtest(sum(each), len(each)).proportion_ci(CONFIDENCE)
        used = any(word in method for word in trusted)
        expected = "0.95, at least 0.90" if used else "a warning"
        found = f"{share:.3f} ({interval.low:.3f} to {interval.high:.3f})"
        checks.append(Check(method, expected, found, not used or bool(interval.high >= 0.90)))
    about = (
        f"Nominal 95 % intervals of the mean wait in M/M/1 at rho .9, {effort.intervals} of each kind, by Lindley's "
        "recursion. The means of ten runs are skewed at such a load, so that a little less than 95 % hold it. What is "
        "marked as a warning is not used: cutting each run by itself prefers runs that are calm by chance."
    )
    return Section("Coverage of the intervals", about, ("method", "coverage", "found"), tuple(checks))


def _lindley(generator: np.random.Generator, runs: int, count: int) -> Times:
    """Waits in M/M/1 at rho .9, shape (runs, count), from an empty start."""
    steps = generator.standard_exponential((runs, count)) - generator.exponential(1.0 / 0.9, (runs, count))
    sums = np.cumsum(steps, axis=1) - steps  # what came before each customer
    return np.asarray(sums - np.minimum.accumulate(sums, axis=1))
