"""What moves time in the model, and where its chance comes from."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from math import isfinite
from typing import Any

import numpy as np
import simpy
import simpy.rt

from rarera_sim.core.time import SECOND, Timestamp


class Streams:
    """Named random streams of one seed.

    Each component asks for its own by name, so that a new component moves nobody else's numbers, and two scenarios
    with the same seed see the same weather (common random numbers).

    Examples
    --------
    >>> Streams(1).generator("service").random() == Streams(1).generator("service").random()
    True
    >>> Streams(1).generator("service").random() == Streams(1).generator("channel", "loss").random()
    False
    """

    def __init__(self, seed: int) -> None:
        if type(seed) is not int or seed < 0:
            raise ValueError(f"seed must be an integer >= 0, got {seed!r}")
        self.seed = seed

    def generator(self, *name: str) -> np.random.Generator:
        """A fresh generator for this name, always the same one for the same seed and name."""
        # hash() depends on PYTHONHASHSEED, and a NUL cannot stand in a name.
        words = sha256("\0".join((str(self.seed), *name)).encode()).digest()
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(int.from_bytes(words, "big"))))


class SimClock:
    """The global timestamp of a model's now: `epoch + factor * now`.

    Parameters
    ----------
    epoch
        GST at which the run begins, ns.
    factor
        Compression: seconds of the trace's time that pass in one second of the model.
    """

    def __init__(self, env: simpy.Environment, epoch: Timestamp = 0, factor: float = 1.0) -> None:
        self._env = env
        self._epoch = epoch
        self._factor = factor

    def now(self) -> Timestamp:
        return self._epoch + round(self._env.now * self._factor * SECOND)


def virtual() -> simpy.Environment:
    """Time that jumps to the next event: as fast as the machine goes."""
    return simpy.Environment()


def paced(factor: float) -> simpy.rt.RealtimeEnvironment:
    """Time that passes on the wall clock: `factor` real seconds for one of the model."""
    return simpy.rt.RealtimeEnvironment(factor=factor, strict=False)


def after(env: simpy.Environment, delay: float, callback: Callable[[Any], None], value: Any = None) -> None:
    """Call `callback(value)` in `delay` seconds.

    A third of the cost of a process that waits and calls. SimPy accepts `timeout(nan)` and sets the clock to NaN,
    after which nothing is ever in order again, so that is refused here.
    """
    if not (isfinite(delay) and delay >= 0):
        raise ValueError(f"delay must be finite and >= 0 s, got {delay!r}")
    timeout = simpy.Timeout(env, delay, value)
    timeout.callbacks.append(lambda event: callback(event.value))
