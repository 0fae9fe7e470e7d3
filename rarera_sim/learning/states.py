"""Models as text and back: JSON, versioned, without pickle. See docs/models.md for the format.

    {"format": "rarera-model", "version": 1, "kind": ..., "settings": {...}, "state": {...}, "parts": {...}}

`kind` names the class, `settings` are its arguments, `state` is what it has learned, and `parts` are models within it.
A text is data: it names what is in `KINDS` and nothing else, and its numbers are finite.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from rarera_sim.core.errors import BadInput
from rarera_sim.learning.calibration import Budget, Rehearsal
from rarera_sim.learning.failures import GammaRate, Reliability
from rarera_sim.learning.intervals import AdaptiveConformal, QuantileTracker
from rarera_sim.learning.peaks import PeakForecaster
from rarera_sim.learning.rates import FanForecaster, LastValue, LinearQuantile, RateForecaster, SeasonalNaive
from rarera_sim.learning.series import HoltWinters
from rarera_sim.learning.services import ServiceEstimate, ServiceProfile, StartUp

FORMAT = "rarera-model"
VERSION = 1


class Kind(NamedTuple):
    """How a class is written down.

    Parameters
    ----------
    made_by
        The class.
    settings
        Arguments that are attributes of the same name, or of the name after the colon.
    parts
        Arguments that are models themselves.
    """

    made_by: type
    settings: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()


_CLOCK = ("period", "horizon", "day:history.day")
KINDS: dict[str, Kind] = {
    kind.made_by.__name__: kind
    for kind in (
        Kind(LastValue),
        Kind(SeasonalNaive),
        Kind(LinearQuantile, ("quantile", "learning_rate", "step_max")),
        Kind(HoltWinters, ("season", "alpha", "beta", "gamma", "damping")),
        Kind(QuantileTracker, ("coverage", "step")),
        Kind(AdaptiveConformal, ("coverage", "step", "window")),
        Kind(RateForecaster, _CLOCK, ("model", "margin")),
        Kind(FanForecaster, ("levels", "period:history.period", "horizon", "day:history.day", "learning_rate")),
        Kind(ServiceEstimate, ("half_life", "alarm")),
        Kind(ServiceProfile, ("half_life", "speed_weight")),
        Kind(StartUp, ("prior", "window")),
        Kind(
            PeakForecaster,
            ("period", "horizon", "slack", "day", "memory", "lean", "learning_rate", "share", "calendar"),
        ),
        Kind(Rehearsal, ("period", "start_up", "slack", "day", "patience", "late_last")),
        Kind(Budget, ("share", "gain")),
        Kind(GammaRate, ("prior_events", "prior_exposure", "half_life")),
        Kind(
            Reliability, ("mtbf:failures.prior_mean", "repair_time:repairs.prior_mean", "weight:failures.prior_events")
        ),
    )
}


def to_state(model: Any) -> dict[str, Any]:
    """A model as a value that JSON can hold.

    Examples
    --------
    >>> tracker = QuantileTracker(coverage=0.9, step=0.5)
    >>> tracker.learn_one(1.0)
    >>> to_state(tracker)["state"], to_state(tracker)["settings"]
    ({'margin': 0.45}, {'coverage': 0.9, 'step': 0.5})
    """
    kind = KINDS.get(type(model).__name__)
    if kind is None or type(model) is not kind.made_by:
        raise BadInput(f"a {type(model).__name__} cannot be saved; what can: {', '.join(KINDS)}")
    settings = {}
    for each in kind.settings:
        name, _, path = each.partition(":")
        value = model
        for attribute in (path or name).split("."):
            value = getattr(value, attribute)
        settings[name] = _written(value)
    parts = {name: getattr(model, name) for name in kind.parts}
    return {
        "format": FORMAT,
        "version": VERSION,
        "kind": type(model).__name__,
        "settings": settings,
        "state": model.state() if hasattr(model, "state") else {},
        "parts": {name: None if part is None else to_state(part) for name, part in parts.items()},
    }


def from_state(state: Mapping[str, Any]) -> Any:
    """The model that `to_state` wrote down; `BadInput` for anything else.

    Examples
    --------
    >>> from_state({"format": "rarera-model", "version": 2})
    Traceback (most recent call last):
    ...
    rarera_sim.core.errors.BadInput: version of a model must be 1, got 2
    """
    if not isinstance(state, Mapping) or state.get("format") != FORMAT:
        raise BadInput(f"a model has the format {FORMAT!r}, got {str(state)[:60]!r}")
    if state.get("version") != VERSION:
        raise BadInput(f"version of a model must be {VERSION}, got {state.get('version')!r}")
    name = state.get("kind")
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise BadInput(f"unknown kind of model {name!r}; there are {', '.join(KINDS)}")
    try:
        settings = {key: _read(value) for key, value in state["settings"].items()}
        parts = {key: None if part is None else from_state(part) for key, part in state["parts"].items()}
        unknown = set(settings) - {each.partition(":")[0] for each in kind.settings} | set(parts) - set(kind.parts)
        if unknown:
            raise BadInput(f"a {name} has no {min(unknown)!r}")
        model = kind.made_by(**settings, **parts)
        if hasattr(model, "restore"):
            _check_finite(state["state"])
            model.restore(state["state"])
    except BadInput:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise BadInput(f"a {name} cannot be read: {error}") from error
    return model


def save(model: Any) -> str:
    """A model as text.

    Examples
    --------
    >>> load(save(GammaRate(prior_events=2.0))).mean == GammaRate(prior_events=2.0).mean
    True
    """
    return json.dumps(to_state(model), allow_nan=False, sort_keys=True)


def load(text: str) -> Any:
    """The model that `save` wrote; `BadInput` for anything else."""
    try:
        state = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"a model must be JSON: {error}") from error
    return from_state(state)


def _written(value: Any) -> Any:
    # JSON has no infinity; as a setting it means "never".
    return "inf" if value == math.inf else list(value) if isinstance(value, tuple) else value


def _read(value: Any) -> Any:
    return math.inf if value == "inf" else tuple(value) if isinstance(value, list) else value


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number of JSON")


def _check_finite(value: Any) -> None:
    """1e999 is JSON, and would be infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"a number must be finite, got {value!r}")
    for each in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        _check_finite(each)
