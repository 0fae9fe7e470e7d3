"""When things fail: moments drawn for a place, not for its use, so that every policy meets the same weather."""

from __future__ import annotations

from rarera_sim.simulation.hardware import Slowness
from rarera_sim.simulation.kernel import Streams


class Moments:
    """Moments of a Poisson process, one after the other."""

    def __init__(self, streams: Streams, mean: float, *name: str) -> None:
        self._generator = streams.generator(*name)
        self._mean = mean
        self._moment = 0.0

    def after(self, now: float) -> float:
        """The first moment after `now`; the same one until it has passed."""
        while self._moment <= now:
            self._moment += self._generator.exponential(self._mean)
        return self._moment


class Spells:
    """Times in between which something is as it should not be: exponential gaps and lengths.

    Examples
    --------
    >>> spells = Spells(Streams(1), 100.0, 10.0, "slow", "1")
    >>> since, until = spells.at(0.0)
    >>> spells.at(until) == (since, until), spells.at(until + 0.001)[0] > until
    (True, True)
    """

    def __init__(self, streams: Streams, gap: float, length: float, *name: str) -> None:
        self._generator = streams.generator(*name)
        self._gap = gap
        self._length = length
        self._since = self._until = 0.0

    def at(self, now: float) -> tuple[float, float]:
        """The spell that is on at `now`, or else the next one; `now` never goes back."""
        while self._until < now or self._until == 0.0:
            self._since = self._until + self._generator.exponential(self._gap)
            self._until = self._since + self._generator.exponential(self._length)
        return self._since, self._until


def slow_factor(settings: Slowness, spells: Spells, now: float) -> float:
    """How many times as long a service takes that starts now."""
    since, until = spells.at(now)
    return settings.factor if since <= now < until else 1.0
