"""Scaling policies: told what is, asked how many replicas there shall be. `make_policy` makes one by its name."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from rarera_sim.core.errors import BadInput
from rarera_sim.policies.adaptive import PriceAware
from rarera_sim.policies.alarm import Alarm
from rarera_sim.policies.bandit import Bandit
from rarera_sim.policies.base import Decision, Observation, Pool, Scaler
from rarera_sim.policies.checks import check_policy
from rarera_sim.policies.delayed_off import DelayedOff
from rarera_sim.policies.dispatch import DISPATCHES
from rarera_sim.policies.ds2 import Ds2
from rarera_sim.policies.fixed import Fixed, Peak
from rarera_sim.policies.flink import Flink
from rarera_sim.policies.guarded import Guarded
from rarera_sim.policies.hpa import Behaviour, Hpa, HpaRate, Pace
from rarera_sim.policies.keda import Keda
from rarera_sim.policies.knative import Knative
from rarera_sim.policies.mpc import Mpc
from rarera_sim.policies.predictive import Predictive
from rarera_sim.policies.queueing import ErlangC, SquareRootStaffing
from rarera_sim.policies.rarera import Rarera
from rarera_sim.policies.staffing import Surroundings
from rarera_sim.policies.threshold import Threshold
from rarera_sim.policies.tuning import Range

__all__ = [
    "DISPATCHES",
    "POLICIES",
    "SURROUNDINGS",
    "Alarm",
    "Bandit",
    "Behaviour",
    "Decision",
    "DelayedOff",
    "Ds2",
    "ErlangC",
    "Fixed",
    "Flink",
    "Guarded",
    "Hpa",
    "HpaRate",
    "Keda",
    "Knative",
    "Mpc",
    "Observation",
    "Pace",
    "Peak",
    "Pool",
    "Predictive",
    "PriceAware",
    "Range",
    "Rarera",
    "Scaler",
    "SquareRootStaffing",
    "Surroundings",
    "Threshold",
    "check_policy",
    "make_policy",
    "parameters_of",
    "tunable",
]

POLICIES: dict[str, type] = {
    "fixed": Fixed,
    "peak": Peak,
    "threshold": Threshold,
    "hpa": Hpa,
    "hpa-rate": HpaRate,
    "keda": Keda,
    "knative": Knative,
    "ds2": Ds2,
    "flink": Flink,
    "erlang-c": ErlangC,
    "square-root": SquareRootStaffing,
    "predictive": Predictive,
    "price-aware": PriceAware,
    "mpc": Mpc,
    "bandit": Bandit,
    "delayed-off": DelayedOff,
    "alarm": Alarm,
    "guarded": Guarded,
    "rarera": Rarera,
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
        A policy within a policy is named, or is a table with its name and its own parameters.
    surroundings
        Facts of the scenario, any of `SURROUNDINGS`. Each is given to a policy that has a parameter of this name,
        unless `parameters` sets it; None means unknown.

    Examples
    --------
    >>> make_policy("erlang-c", {"memory": 60}, period=15.0, bound=2.0, quantile=0.99, start_up=60.0)
    ErlangC(bound=2, quantile=0.99, memory=60, catch_up=60)
    >>> make_policy("alarm", {"policy": {"name": "fixed", "replicas": 8}}, bound=2.0)
    Alarm(Fixed(replicas=8), threshold=2)
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
    accepted = parameters_of(name)
    arguments = {key: value for key, value in surroundings.items() if key in accepted and value is not None}
    for key, value in (parameters or {}).items():
        if key not in accepted:
            known = ", ".join(accepted)
            raise BadInput(f"policy {name!r} has no parameter {key!r}{_meant(key, accepted)} (it has {known})")
        hint = accepted[key].annotation
        if _nests(hint) is None and not _fits(value, hint):
            raise BadInput(f"parameter {key!r} of policy {name!r} must be {_kind(hint)}, got {value!r}")
        arguments[key] = value
    for key, parameter in accepted.items():
        nests = _nests(parameter.annotation)
        if nests is not None:
            inner = arguments.get(key, getattr(policy, "WITHIN", {}).get(key))
            arguments[key] = nests(key, name, inner, surroundings)
        elif parameter.default is parameter.empty and key not in arguments:
            raise BadInput(f"policy {name!r} needs the parameter {key!r}, {_kind(parameter.annotation)}")
    try:
        made: Scaler = policy(**_gathered(policy, arguments))
    except ValueError as error:
        raise BadInput(f"policy {name!r}: {error}") from error
    return made


def parameters_of(name: str) -> dict[str, inspect.Parameter]:
    """What the policy of this name can be given, by name: its surroundings one by one, then its own parameters.

    Examples
    --------
    >>> list(parameters_of("square-root"))
    ['beta', 'service_rate', 'replicas_min', 'replicas_max']
    """
    accepted: dict[str, inspect.Parameter] = {}
    for key, parameter in inspect.signature(POLICIES[name], eval_str=True).parameters.items():
        if parameter.annotation is Surroundings:
            accepted.update(inspect.signature(Surroundings, eval_str=True).parameters)
        else:
            accepted[key] = parameter
    return accepted


def tunable(name: str) -> dict[str, Range]:
    """What of a policy is worth tuning, and between which values; the limits on replicas, which belong to the load,
    left out.

    Examples
    --------
    >>> tunable("square-root")
    {'beta': Range(low=0.1, high=20.0, scale='log')}
    """
    if name not in POLICIES:
        raise BadInput(f"unknown policy {name!r}{_meant(name, POLICIES)} (there are {', '.join(POLICIES)})")
    return dict(getattr(POLICIES[name], "TUNABLE", {}))


def _gathered(policy: type, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with those that belong together put together, as the policy's signature has them."""
    gathered = dict(arguments)
    for key, parameter in inspect.signature(policy, eval_str=True).parameters.items():
        if parameter.annotation is Surroundings:
            facts = {each.name: gathered.pop(each.name) for each in fields(Surroundings) if each.name in gathered}
            gathered[key] = Surroundings(**facts)
    return gathered


def _nests(hint: Any) -> Callable[[str, str, Any, Mapping[str, Any]], Any] | None:
    """How to make the argument for a parameter that is a policy, or several; None for any other."""
    if hint is Scaler:
        return _within
    if get_origin(hint) is not None and get_args(hint)[:1] == (Scaler,):
        return _several_within
    return None


def _within(key: str, outer: str, inner: Any, surroundings: Mapping[str, Any]) -> Scaler:
    if isinstance(inner, str):
        return make_policy(inner, **surroundings)
    if isinstance(inner, Mapping) and isinstance(inner.get("name"), str):
        parameters = {name: value for name, value in inner.items() if name != "name"}
        return make_policy(inner["name"], parameters, **surroundings)
    raise BadInput(
        f"parameter {key!r} of policy {outer!r} must name a policy, or be a table with a name, got {inner!r}"
    )


def _several_within(key: str, outer: str, inner: Any, surroundings: Mapping[str, Any]) -> list[Scaler]:
    if isinstance(inner, (str, Mapping)) or not isinstance(inner, Sequence):
        raise BadInput(f"parameter {key!r} of policy {outer!r} must be a list of policies, got {inner!r}")
    return [_within(key, outer, each, surroundings) for each in inner]


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
