"""What takes the wall clock and chance away: for the checks that policies and detectors have to stand."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch


@contextmanager
def no_clock_and_no_chance(who: str) -> Iterator[None]:
    """Whoever looks at the clock or draws meanwhile fails; `who` is what the error calls it.

    Examples
    --------
    >>> with no_clock_and_no_chance("a policy"):
    ...     time.monotonic()
    Traceback (most recent call last):
    ...
    AssertionError: a policy looked at the wall clock or drew a random number; time and chance are values
    """

    def refuse(*_: object, **__: object) -> float:
        raise AssertionError(f"{who} looked at the wall clock or drew a random number; time and chance are values")

    clocks = ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "sleep")
    draws = ("random", "uniform", "randint", "choice", "gauss", "shuffle")
    patches = [patch.object(time, name, refuse) for name in clocks]
    patches += [patch.object(random, name, refuse) for name in draws]
    for each in patches:
        each.start()
    try:
        yield
    finally:
        for each in patches:
            each.stop()
