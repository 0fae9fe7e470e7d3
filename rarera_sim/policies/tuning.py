"""What of a policy is worth tuning, and between which values: for a tuner that gives every policy the same budget."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple


class Range(NamedTuple):
    """The values of one parameter that are worth trying.

    Parameters
    ----------
    low, high
        Both inclusive, in the unit of the parameter.
    scale
        How to go from one to the other: in equal steps, in equal ratios, or in whole numbers.

    Examples
    --------
    >>> Range(1.0, 100.0, "log").at(0.5), Range(1, 4, "int").at(0.5)
    (10.0, 3)
    """

    low: float
    high: float
    scale: Literal["linear", "log", "int"] = "linear"

    def at(self, share: float) -> float:
        """The value `share` of the way, 0 to 1, from low to high; a whole number on the scale "int"."""
        share = min(1.0, max(0.0, share))
        if self.scale == "int":
            # Each whole number has an equal part of the way.
            return min(int(self.high), int(self.low) + int(share * (self.high - self.low + 1)))
        if self.scale == "log":
            return min(self.high, max(self.low, math.pow(self.low, 1.0 - share) * math.pow(self.high, share)))
        return self.low + share * (self.high - self.low)


Tunable = Mapping[str, Range]
