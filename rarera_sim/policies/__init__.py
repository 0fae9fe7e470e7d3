"""Scaling policies: told what is, asked how many replicas there shall be. `make_policy` makes one by its name."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from rarera_sim.core.errors import BadInput
from rarera_sim.policies.adaptive import PriceAware
from rarera_sim.policies.base import Decision, Observation, Pool, Scaler
from rarera_sim.policies.checks import check_policy
from rarera_sim.policies.fixed import Fixed, Peak
from rarera_sim.policies.hpa import Behaviour, Hpa, HpaRate, Pace
from rarera_sim.policies.predictive import Predictive
from rarera_sim.policies.queueing import ErlangC, SquareRootStaffing

__all__ = [
    "POLICIES",
    "SURROUNDINGS",
    "Behaviour",
    "Decision",
    "ErlangC",
    "Fixed",
    "Hpa",
    "HpaRate",
    "Observation",
    "Pace",
    "Peak",
    "Pool",
    "Predictive",
    "PriceAware",
    "Scaler",
    "SquareRootStaffing",
    "check_policy",
    "make_policy",
]

POLICIES: dict[str, type] = {
    "fixed": Fixed,
    "peak": Peak,
    "hpa": Hpa,
    "hpa-rate": HpaRate,
    "erlang-c": ErlangC,
    "square-root": SquareRootStaffing,
    "predictive": Predictive,
    "price-aware": PriceAware,
}

SURROUNDINGS: dict[str, str] = {
    "period": "control period, s",
    "start_up": "from asking for a replica to its being ready, s",
    "bound": "response that the objective allows, s",
    "quantile": "share of the events that the objective wants within the bound",
    "price_per_hour": "what one replica costs per hour",
    "late_price": "what one late event costs",
    "day": "length of the model's day, s",
    "replicas_min": "fewest replicas",
    "replicas_max": "most replicas",
    "service_rate": "what one replica is believed to finish, 1/s",
    "service_scv": "squared coefficient of variation of the service time",
}


def make_policy(name: str, parameters: Mapping[str, Any] | None = None, **surroundings: Any) -> Scaler:
    """A new policy by its name.

    Parameters
    ----------
    name
        One of `POLICIES`.
    parameters
        What a person has set, as in a scenario's TOML. Unknown names and values of a wrong kind raise `BadInput`.
    surroundings
        Facts of the scenario, any of `SURROUNDINGS`. Each is given to a policy that has a parameter of this name,
        unless `parameters` sets it; None means unknown.

    Examples
    --------
    >>> make_policy("erlang-c", {"memory": 60}, period=15.0, bound=2.0, quantile=0.99, start_up=60.0)
    ErlangC(bound=2, quantile=0.99, memory=60, catch_up=60)
    >>> make_policy("hpa", {"traget": 0.5})
    Traceback (most recent call last):
    ...
    rarera_sim.core.errors.BadInput: policy 'hpa' has no parameter 'traget'; did you mean 'target'? (it has metric, ...)
    """
    strange = sorted(set(surroundings) - set(SURROUNDINGS))
    if strange:
        raise TypeError(f"make_policy() knows no surroundings {strange[0]!r}; known: {', '.join(SURROUNDINGS)}")
    if not isinstance(name, str) or name not in POLICIES:
        raise BadInput(f"unknown policy {name!r}{_meant(name, POLICIES)} (there are {', '.join(POLICIES)})")
    if parameters is not None and not isinstance(parameters, Mapping):
        raise BadInput(f"parameters of policy {name!r} must be a table, got {parameters!r}")
    policy = POLICIES[name]
    accepted = inspect.signature(policy, eval_str=True).parameters
    arguments = {key: value for key, value in surroundings.items() if key in accepted and value is not None}
    for key, value in (parameters or {}).items():
        if key not in accepted:
            known = ", ".join(accepted)
            raise BadInput(f"policy {name!r} has no parameter {key!r}{_meant(key, accepted)} (it has {known})")
        if not _fits(value, accepted[key].annotation):
            raise BadInput(
                f"parameter {key!r} of policy {name!r} must be {_kind(accepted[key].annotation)}, got {value!r}"
            )
        arguments[key] = value
    for key, parameter in accepted.items():
        if parameter.default is parameter.empty and key not in arguments:
            raise BadInput(f"policy {name!r} needs the parameter {key!r}, {_kind(accepted[key].annotation)}")
    try:
        made: Scaler = policy(**arguments)
    except ValueError as error:
        raise BadInput(f"policy {name!r}: {error}") from error
    return made


def _meant(name: object, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(str(name), known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _fits(value: object, hint: Any) -> bool:
    """Whether a value is of the kind that an annotation names. True is no number, and 3 is a fine float."""
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, each) for each in get_args(hint))
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    kind = get_origin(hint) or hint
    if kind in (int, float):
        return isinstance(value, (int, kind)) and not isinstance(value, bool)
    return isinstance(value, kind)


def _kind(hint: Any) -> str:
    """An annotation in words."""
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_kind(each) for each in get_args(hint) if each is not NoneType)
    if get_origin(hint) is Literal:
        return " or ".join(map(repr, get_args(hint)))
    words = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", Mapping: "a table"}
    kind = get_origin(hint) or hint
    return words.get(kind, f"a {kind.__name__}")
