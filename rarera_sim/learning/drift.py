"""When the world has changed: a detector of River's listens to the errors of a model and shortens its memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

from rarera_sim.learning.rates import Regressor


class DriftDetector(Protocol):
    """River's drift detectors fit unwrapped: `ADWIN()`, `PageHinkley()`."""

    @property
    def drift_detected(self) -> bool: ...

    def update(self, x: float) -> Any: ...


class Forgetful:
    """A model that forgets when its errors change for the worse.

    The detector is told the absolute error of every forecast, before the model learns from it. On a drift, while the
    recent errors are above the usual ones, a model with `forget()` keeps what it knows and takes large steps again
    (`LinearQuantile`); any other is replaced by a new one. Errors that became smaller are a drift too, and no reason to
    forget anything.

    Parameters
    ----------
    make
        Makes a new model.
    detector
        Tells whether there was a drift.
    patience
        Samples after a drift in which no further one counts, >= 0: a new model errs at first.

    Examples
    --------
    >>> from river.drift import ADWIN
    >>> from rarera_sim.learning.rates import LinearQuantile
    >>> model = Forgetful(lambda: LinearQuantile(0.9), ADWIN())
    >>> for sample in range(3000):
    ...     model.learn_one({"one": 1.0}, sample % 11 / 10 + (2.0 if sample > 2000 else 0.0))
    >>> model.drifts
    1

    References
    ----------
    Bifet, Gavaldà (2007), Learning from time-changing data with adaptive windowing, SDM, 443-448: ADWIN.
    Page (1954), Continuous inspection schemes, Biometrika 41(1/2), 100-115.
    """

    def __init__(self, make: Callable[[], Regressor], detector: DriftDetector, patience: int = 200) -> None:
        if patience < 0:
            raise ValueError(f"patience must be >= 0, got {patience!r}")
        self.model = make()
        self.detector = detector
        self.patience = patience
        self.drifts = 0
        self._make = make
        self._since = 0
        self._usual = 0.0
        self._recent = 0.0
        self._samples = 0

    def __repr__(self) -> str:
        return f"Forgetful({self.model!r}, {type(self.detector).__name__})"

    def learn_one(self, x: dict[str, float], y: float) -> None:
        """Test, and forget if it must; then train."""
        if not math.isfinite(y):
            return
        forecast = self.model.predict_one(x)
        if isinstance(forecast, (int, float)) and math.isfinite(forecast):
            self._test(abs(y - forecast))
        self.model.learn_one(x, y)

    def predict_one(self, x: dict[str, float]) -> Any:
        """What the model says."""
        return self.model.predict_one(x)

    def _test(self, error: float) -> None:
        self._samples += 1
        self._since += 1
        self._usual += max(0.002, 1.0 / self._samples) * (error - self._usual)
        self._recent += max(0.05, 1.0 / self._samples) * (error - self._recent)
        self.detector.update(error)
        if self.detector.drift_detected and self._since > self.patience and self._recent > self._usual:
            self.drifts += 1
            self._since = 0
            forget = getattr(self.model, "forget", None)
            if forget is not None:
                forget()
            else:
                self.model = self._make()
