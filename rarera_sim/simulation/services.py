"""How long a processor works on an event: a distribution, or what the event's type, size and machine make of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rarera_sim.simulation.distributions import Distribution, Draws
from rarera_sim.simulation.kernel import Streams
from rarera_sim.simulation.quantities import Name, Positive, Seconds


class TypeServiceTime(Distribution, frozen=True, kw_only=True):
    """Service times of one type of event.

    Parameters
    ----------
    hardware
        Factor on the time, by name of the hardware, beside its speed: `{"g4dn-xlarge" = 0.1}` is ten times as fast
        there.
    """

    hardware: dict[Name, Positive] | None = None


class ServiceTime(TypeServiceTime, frozen=True, kw_only=True):
    """Service times in seconds on hardware of speed 1.

    Parameters
    ----------
    file, column
        Of an `empirical` distribution: a CSV, Parquet or JSON Lines file or a log's URL, and the column or field of the
        events' data that holds service times in seconds.
    size_field
        Numeric field of the events' data that a time grows with: (fixed + per_unit * size), times a draw of mean 1.
    per_unit
        Seconds per unit of size. None: such that `mean` comes out over the run.
    fixed
        Seconds that an event takes whatever its size.
    types
        By type of event, where some differ from the rest.

    Examples
    --------
    >>> ServiceTime(distribution="deterministic", mean=2.0).draw(np.random.default_rng(1), 3)
    array([2., 2., 2.])
    >>> tokens = ServiceTime(distribution="deterministic", size_field="tokens", per_unit=0.02, fixed=0.5)
    >>> tokens.draw_for(Streams(1), 3, sizes=np.array([0.0, 50.0, 100.0]))
    array([0.5, 1.5, 2.5])
    """

    file: Name | None = None
    column: Name | None = None
    size_field: Name | None = None
    per_unit: Positive | None = None
    fixed: Seconds | None = None
    types: dict[Name, TypeServiceTime] | None = None

    def problem(self) -> str | None:
        problem = super().problem()
        if problem:
            return problem
        if (self.file is None) != (self.column is None):
            return f"file and column go together, got {self.file!r} and {self.column!r}"
        if self.file is not None and self.distribution != "empirical":
            return f"file is for distribution = 'empirical', got {self.distribution!r}"
        if self.distribution == "empirical" and (self.file is None) == (self.values is None):
            return "distribution 'empirical' needs either values or file and column"
        if self.size_field is None and (self.per_unit is not None or self.fixed is not None):
            return f"per_unit and fixed need a size_field, got {self.per_unit!r} and {self.fixed!r}"
        if self.size_field is not None and self.types:
            return f"size_field {self.size_field!r} and types do not go together"
        for name, each in (self.types or {}).items():
            problem = each.problem()
            if problem is None and each.distribution == "empirical" and each.values is None:
                problem = "values must be given for empirical, got none"
            if problem:
                return f"types.{name}.{problem}"
        return None

    @property
    def plain(self) -> bool:
        """Whether a time depends on nothing of the event."""
        return self.size_field is None and not self.types

    def draw_for(
        self,
        streams: Streams,
        count: int,
        *,
        types: NDArray[np.str_] | None = None,
        sizes: NDArray[np.float64] | None = None,
        sample: Draws | None = None,
    ) -> Draws:
        """Service times of events in their order, shape (events,), seconds at speed 1 on hardware without a factor.

        The n-th event takes the same time under every policy, and a type's times do not move another type's.

        Parameters
        ----------
        count
            How many events.
        types
            Of the events, where `types` say more.
        sizes
            Of the events, where there is a `size_field`.
        sample
            What `file` holds.
        """
        generator = streams.generator("service")
        if sample is None:
            times, mean = self.draw(generator, count), self.effective_mean
        else:
            times, mean = sample[generator.integers(len(sample), size=count)], float(sample.mean())
        if self.size_field is not None:
            assert sizes is not None, "a size for each event"
            return np.asarray(self.expected(sizes) * (times / mean))
        if not self.types:
            return times
        assert types is not None, "a type for each event"
        for name, each in sorted(self.types.items()):
            here = np.flatnonzero(types == name)
            times[here] = each.draw(streams.generator("service", name), len(here))
        return times

    def expected(self, sizes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean seconds of events of these sizes."""
        fixed = self.fixed or 0.0
        per_unit = self.per_unit
        if per_unit is None:
            mean = float(sizes.mean())
            if not mean > 0 or self.mean < fixed:
                raise ValueError(
                    f"mean {self.mean!r} s cannot come out of fixed {fixed!r} s and sizes of mean {mean!r}; "
                    "set per_unit, or a smaller fixed"
                )
            per_unit = (self.mean - fixed) / mean
        return np.asarray(fixed + per_unit * sizes)

    def on(self, hardware: str, times: Draws, types: Sequence[str] | NDArray[np.str_]) -> Draws:
        """Times drawn for no hardware in particular, as they are on this one; its speed is counted elsewhere."""
        general = (self.hardware or {}).get(hardware, 1.0)
        factors = {name: (each.hardware or {}).get(hardware, general) for name, each in (self.types or {}).items()}
        if set(factors.values()) <= {general}:
            return times if general == 1.0 else times * general
        names, codes = np.unique(np.asarray(types), return_inverse=True)
        return np.asarray(times * np.array([factors.get(str(name), general) for name in names])[codes])

    @property
    def by_hardware(self) -> bool:
        """Whether some kinds of hardware take longer than others, beside their speed."""
        return bool(self.hardware) or any(each.hardware for each in (self.types or {}).values())

    def factors(self, kinds: Iterable[str], types: Sequence[str] | NDArray[np.str_]) -> dict[str, list[float]]:
        """How many times as long each event takes on kinds of hardware, those left out on which all take their time.

        >>> service = ServiceTime(types={"frame": TypeServiceTime(hardware={"gpu": 0.1})})
        >>> service.factors(["cpu", "gpu"], ["frame", "reading"])
        {'gpu': [0.1, 1.0]}
        """
        if not self.by_hardware:
            return {}
        once = np.ones(len(types))
        found = {kind: self.on(kind, once, types) for kind in kinds}
        return {kind: factors.tolist() for kind, factors in found.items() if (factors != 1.0).any()}

    def mixed(self, shares: Mapping[str, float]) -> tuple[float, float]:
        """Mean and scv over all events, where types have these shares."""
        first = second = 0.0
        for name, share in shares.items():
            each: Distribution = (self.types or {}).get(name, self)
            mean = each.effective_mean
            first += share * mean
            second += share * mean**2 * (1.0 + each.effective_scv)
        return first, second / first**2 - 1.0
