"""Sources that say the same again and again: a sensor that is stuck, a replay in a loop, an event that causes itself.

A run of repeats is unusual by how unlikely the source's own past makes it, so that one threshold does for all.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

from rarera_sim.core.errors import BadInput


class Stuck:
    """A run of equal contents, in nats: how unlikely so long a run is for this source.

        score = -run * ln p,   p = (repeats + 1) / (samples + 2) over the samples before the run

    A source that often repeats itself, such as a counter at rest, is used to runs. A run that has ended is learned.

    Parameters
    ----------
    feature
        Key of the content in a sample; any value that can be hashed.
    memory
        Half-life of p, samples, > 0.

    Examples
    --------
    >>> detector = Stuck()
    >>> for n in range(200):
    ...     detector.learn_one({"value": n % 7})
    >>> for _ in range(5):
    ...     detector.learn_one({"value": 3})
    >>> detector.score_one({"value": 4}), detector.score_one({"value": 3}) > 20.0
    (0.0, True)
    """

    def __init__(self, feature: str = "value", *, memory: float = 2_000.0) -> None:
        self.feature = feature
        self.memory = memory
        self._runs = _Runs(memory)
        self._last: Hashable = None

    def __repr__(self) -> str:
        return f"Stuck({self.feature!r}, memory={self.memory:g})"

    def score_one(self, x: dict[str, Any]) -> float:
        content = _content(x[self.feature])
        return self._runs.score(content is not None and content == self._last)

    def learn_one(self, x: dict[str, Any]) -> None:
        content = _content(x[self.feature])
        if content is None:
            return
        self._runs.learn(content == self._last)
        self._last = content


class Looping:
    """The same contents in the same order again, such as an input file read for ever: a run at one lag, in nats.

        a run goes on while the content is the one `lag` samples ago; where it ends, lag = samples since this content
        score = -run * ln p,   p = share of samples that went on with a run before this one

    A source that is stuck has a lag of 1, so this finds it too.

    Parameters
    ----------
    feature
        Key of the content in a sample; any value that can be hashed.
    window
        The longest loop, in different contents remembered, >= 1.
    memory
        Half-life of p, samples, > 0.

    Examples
    --------
    >>> detector = Looping()
    >>> for n in range(300):
    ...     detector.learn_one({"value": n if n < 250 else n % 10})
    >>> detector.score_one({"value": 0}) > 20.0, detector.score_one({"value": "new"})
    (True, 0.0)
    """

    def __init__(self, feature: str = "value", *, window: int = 1_000, memory: float = 2_000.0) -> None:
        if window < 1:
            raise BadInput(f"window must be >= 1, got {window!r}")
        self.feature = feature
        self.window = window
        self.memory = memory
        self._runs = _Runs(memory)
        self._seen: OrderedDict[Hashable, int] = OrderedDict()
        self._recent: list[Hashable] = [None] * window
        self._count = 0
        self._lag: int | None = None

    def __repr__(self) -> str:
        return f"Looping({self.feature!r}, window={self.window}, memory={self.memory:g})"

    def score_one(self, x: dict[str, Any]) -> float:
        return self._runs.score(self._goes_on(_content(x[self.feature])))

    def learn_one(self, x: dict[str, Any]) -> None:
        content = _content(x[self.feature])
        if content is None:
            return
        goes_on = self._goes_on(content)
        self._runs.learn(goes_on)
        if not goes_on:
            # Not the lag of each content: one that comes twice in a loop has two.
            before = self._seen.get(content)
            self._lag = None if before is None or self._count - before > self.window else self._count - before
        self._recent[self._count % self.window] = content
        self._seen[content] = self._count
        self._seen.move_to_end(content)
        if len(self._seen) > self.window:
            self._seen.popitem(last=False)
        self._count += 1

    def _goes_on(self, content: Hashable) -> bool:
        if self._lag is None or content is None:
            return False
        return self._recent[(self._count - self._lag) % self.window] == content


class CausationLoop:
    """How many ancestors of an event, one causing the next, are of its own kind: an echo that does not die out.

    Samples have the keys `id`, `causation` (the id of what caused it, or None) and `kind`, such as its type.

    Parameters
    ----------
    window
        Events remembered, >= 1; an ancestor further back is forgotten.

    Examples
    --------
    >>> detector = CausationLoop()
    >>> for n in range(1, 6):
    ...     detector.learn_one({"id": n, "causation": n - 1, "kind": ("ask", "answer")[n % 2]})
    >>> detector.score_one({"id": 6, "causation": 5, "kind": "ask"})
    2.0
    >>> detector.score_one({"id": 7, "causation": None, "kind": "ask"})
    0.0
    """

    def __init__(self, *, window: int = 10_000) -> None:
        if window < 1:
            raise BadInput(f"window must be >= 1, got {window!r}")
        self.window = window
        # Of each event how often each kind is among itself and its ancestors.
        self._kinds: OrderedDict[Hashable, dict[Hashable, int]] = OrderedDict()

    def __repr__(self) -> str:
        return f"CausationLoop(window={self.window})"

    def score_one(self, x: dict[str, Any]) -> float:
        return float(self._kinds.get(x["causation"], {}).get(x["kind"], 0))

    def learn_one(self, x: dict[str, Any]) -> None:
        kinds = dict(self._kinds.get(x["causation"], {}))
        kinds[x["kind"]] = kinds.get(x["kind"], 0) + 1
        self._kinds[x["id"]] = kinds
        if len(self._kinds) > self.window:
            self._kinds.popitem(last=False)


class _Runs:
    """Runs of repeats, and how usual a repeat is; a run counts as usual once it has ended."""

    def __init__(self, memory: float) -> None:
        if not 0.0 < memory < math.inf:
            raise BadInput(f"memory must be > 0 samples, got {memory!r}")
        self._keep = math.exp(-math.log(2.0) / memory)
        self._samples = self._repeats = 0.0
        self._run = 0

    def score(self, repeat: bool) -> float:
        if not repeat:
            return 0.0
        return -(self._run + 1) * math.log((self._repeats + 1.0) / (self._samples + 2.0))

    def learn(self, repeat: bool) -> None:
        if repeat:
            self._run += 1
            return
        keep = self._keep ** (self._run + 1)
        self._samples = keep * self._samples + self._run + 1
        self._repeats = keep * self._repeats + self._run
        self._run = 0


def _content(value: Any) -> Hashable:
    """The value as something that can be looked up; None for what is none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    try:
        hash(value)
    except TypeError:
        return repr(value)
    found: Hashable = value
    return found
