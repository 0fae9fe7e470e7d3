"""What moves time in the model, and where its chance comes from."""

from __future__ import annotations

import gc
from collections.abc import Callable
from hashlib import sha256
from heapq import heappop, heappush
from math import inf
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


class Call:
    """A call to come, as SimPy's loop takes it from its heap: a third of the cost of a `Timeout` with a callback.

    SimPy asks of an event only `callbacks` and `_ok`. Whoever pushes the same calls again and again keeps them: set
    `callbacks` anew, which SimPy has taken away, and push. Unlike a generator, a call can be copied, so that a world
    can be forked.
    """

    __slots__ = ("callbacks", "function", "value")
    _ok = True

    def __init__(self, function: Callable[[Any], object], value: Any = None) -> None:
        self.callbacks: tuple[Callable[[Any], object], ...] | None = _RUN
        self.function = function
        self.value = value


def _run(call: Call) -> None:
    call.function(call.value)


_RUN = (_run,)


def after(env: simpy.Environment, delay: float, callback: Callable[[Any], object], value: Any = None) -> None:
    """Call `callback(value)` in `delay` seconds.

    SimPy accepts `timeout(nan)` and sets the clock to NaN, after which nothing is ever in order again, so that is
    refused here.
    """
    heappush(env._queue, (env._now + checked(delay), 1, next(env._eid), Call(callback, value)))  # type: ignore[misc]


def checked(delay: float) -> float:
    """A delay that is one: finite, and not negative."""
    if not 0.0 <= delay < inf:
        raise ValueError(f"delay must be finite and >= 0 s, got {delay!r}")
    return delay


def push(env: simpy.Environment, moment: float, call: Any) -> None:
    """Have SimPy's loop run a call, or anything else with `callbacks` and `_ok`, at `moment`; it is not in the past."""
    # What `Environment.schedule` does, without its conversions. Equal moments come in the order they were pushed.
    heappush(env._queue, (moment, 1, next(env._eid), call))  # type: ignore[misc]


class Mailbox:
    """What will have come by some moment, for somebody who looks now and then: cheaper than a call for each.

    Things of one moment come in the order in which they were posted, as calls would.

    Examples
    --------
    >>> mailbox = Mailbox()
    >>> for moment, letter in ((2.0, "b"), (1.0, "a"), (3.0, "c")):
    ...     mailbox.post(moment, letter)
    >>> [letter for _, letter in mailbox.until(2.0)], mailbox.next_time, len(mailbox)
    (['a', 'b'], 3.0, 1)
    """

    __slots__ = ("_count", "_heap")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Any]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def next_time(self) -> float:
        """When the next thing comes; infinity where nothing will."""
        return self._heap[0][0] if self._heap else inf

    def post(self, moment: float, thing: Any) -> None:
        self._count = count = self._count + 1
        heappush(self._heap, (moment, count, thing))

    def until(self, moment: float) -> list[tuple[float, Any]]:
        """Take what has come by a moment, that included, each with when it came."""
        heap = self._heap
        come = []
        while heap and heap[0][0] <= moment:
            time, _, thing = heappop(heap)
            come.append((time, thing))
        return come


def run_until(env: simpy.Environment, end: simpy.Event) -> None:
    """Run until an event has been triggered: SimPy's `run(until=end)`, a fifth faster where nothing has to wait."""
    if type(env) is not simpy.Environment:
        env.run(end)  # paced: its `step` waits
        return
    queue = env._queue
    # A run keeps what it makes, so that looking for garbage finds none: a third of the time with Python's thresholds.
    thresholds = gc.get_threshold()
    gc.set_threshold(100_000, 50, 100)
    try:
        while end.callbacks is not None:
            env._now, _, _, event = heappop(queue)
            # What `Environment.step` does, in place: a call costs as much as what it does.
            callbacks, event.callbacks = event.callbacks, None  # type: ignore[assignment]
            for callback in callbacks:
                callback(event)
            if not event._ok and not hasattr(event, "_defused"):
                raise event._value
    finally:
        gc.set_threshold(*thresholds)


class Blocks:
    """Numbers drawn by the thousand and given one at a time: a tenth of the cost of single draws.

    Parameters
    ----------
    generator
        Where they come from.
    kind, parameters
        The generator's method, and what it takes before the size.

    Examples
    --------
    >>> numbers = Blocks(Streams(1).generator("coins"), "exponential", 2.0)
    >>> numbers.next() >= 0.0
    True
    """

    # The method is kept by its name: a bound one would be shared by the copies of a forked world.
    def __init__(self, generator: np.random.Generator, kind: str = "random", *parameters: float) -> None:
        self._generator = generator
        self._kind = kind
        self._parameters = parameters
        self._left: list[float] = []

    def next(self) -> float:
        if not self._left:
            draw = getattr(self._generator, self._kind)
            self._left = draw(*self._parameters, _BLOCK).tolist()[::-1]
        return self._left.pop()


_BLOCK = 8192
