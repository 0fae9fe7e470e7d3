"""Memory of the last so many seconds: means and highest values, by the time of the observations.

Both start anew when the clock does, as it does between history and run. A clock that stands still keeps the newest
value only, so that no window grows without end.
"""

from __future__ import annotations

from collections import deque


class MeanWindow:
    """Mean of the values of the last `length` seconds, the newest one always included.

    Examples
    --------
    >>> window = MeanWindow(60.0)
    >>> for time, value in ((15.0, 1.0), (30.0, 2.0), (45.0, 3.0), (60.0, 4.0), (75.0, 5.0)):
    ...     window.add(time, value)
    >>> window.mean
    3.5
    """

    def __init__(self, length: float) -> None:
        self.length = length
        self._samples: deque[tuple[float, float]] = deque()
        self._mean: float | None = None

    def add(self, time: float, value: float) -> None:
        """Take the value of the period that ended at `time`, s; forget what is older than the window."""
        samples = self._samples
        if samples and time < samples[-1][0]:
            samples.clear()
        elif samples and time == samples[-1][0]:
            samples.pop()
        samples.append((time, value))
        oldest = time - self.length + 1e-9
        while samples[0][0] <= oldest and len(samples) > 1:
            samples.popleft()
        self._mean = None

    def clear(self) -> None:
        """Forget everything."""
        self._samples.clear()
        self._mean = None

    @property
    def mean(self) -> float | None:
        """Their mean; None while there are none."""
        if self._mean is None and self._samples:
            # Summed anew each time: a running sum would keep the rounding of one huge value for good.
            self._mean = sum([value for _, value in self._samples]) / len(self._samples)
        return self._mean


class MaxWindow:
    """Highest of the values of the last `length` seconds, in O(1) per value.

    Examples
    --------
    >>> window = MaxWindow(60.0)
    >>> [window.add(15.0 * step, value) for step, value in enumerate([9, 4, 7, 2, 3, 1, 1, 1])]
    [9, 9, 9, 9, 7, 7, 3, 3]
    """

    def __init__(self, length: float) -> None:
        self.length = length
        self._falling: deque[tuple[float, int]] = deque()

    def add(self, time: float, value: int) -> int:
        """Take a value, give the highest of the window."""
        falling = self._falling
        if falling and time < falling[-1][0]:
            falling.clear()
        while falling and falling[-1][1] <= value:
            falling.pop()
        if not falling or time > falling[-1][0]:
            falling.append((time, value))
        oldest = time - self.length + 1e-9
        while falling[0][0] <= oldest and len(falling) > 1:
            falling.popleft()
        return falling[0][1]

    def clear(self) -> None:
        """Forget everything."""
        self._falling.clear()
