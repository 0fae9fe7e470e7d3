"""A scenario: everything that is asked of the model, as a typed value that reads and writes TOML."""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec
import tomli_w
from msgspec import Meta

from rarera_sim.core.errors import BadInput
from rarera_sim.core.time import Timestamp, parse_timestamp
from rarera_sim.experiments.catalogue import hardware
from rarera_sim.experiments.data import data_folder
from rarera_sim.policies import make_policy
from rarera_sim.simulation.quantities import Name, Positive, PositiveSeconds, Seconds, Settings
from rarera_sim.simulation.services import ServiceTime
from rarera_sim.simulation.storage import LogSettings
from rarera_sim.simulation.world import System, TransportKind

DEFAULT = "nyc-flights"
_FILE_MAX = 1_000_000
# A key of thousands of dots makes a parser build thousands of nested tables: 20 kB cost half a gigabyte.
_DOTTED = re.compile(r"(?:[^\s.=\"'#\[\]]+\s*\.\s*){20}")
_PATH = re.compile(r" - at `\$\.?([^`]*)`")
_IN_WORDS = {"queue-at-most-once": "queue at-most-once", "queue-at-least-once": "queue at-least-once", "log": "log"}


class TraceSettings(Settings, frozen=True, kw_only=True):
    """Which recorded events are replayed, and how fast.

    Parameters
    ----------
    name
        A trace that ships with the package; not together with `file`.
    file
        Path of a CSV, Parquet or JSON Lines file, as `experiments.traces.read_trace` reads it.
    time_column, time_unit, source_column, stream_column, type_column
        For `file`: what its columns mean.
    train_from, since, until
        ISO 8601 with a time zone. Policies are trained on [train_from, since), the model runs on [since, until).
        Without `since` the first two fifths train, without `until` all to the end is replayed.
    compression
        Seconds of the trace that pass in one second of the model. None: chosen so that `load` processors are busy
        on average.
    load
        Mean number of busy processors aimed at where `compression` is None.
    """

    name: Name | None = None
    file: Name | None = None
    time_column: Name | None = None
    time_unit: Literal["s", "ms", "us", "ns"] | None = None
    source_column: Name | None = None
    stream_column: Name | None = None
    type_column: Name | None = None
    train_from: Name | None = None
    since: Name | None = None
    until: Name | None = None
    compression: Positive | None = None
    load: Positive = 8.0


class StoredLogSettings(LogSettings, frozen=True, kw_only=True):
    """The log of the model, and what keeps it.

    Parameters
    ----------
    storage
        `memory`, or `sqlite`: a real file, in a folder of its own for every run.
    """

    storage: Literal["memory", "sqlite"] = "sqlite"


class RunSettings(Settings, frozen=True, kw_only=True):
    """How long, and how often.

    Parameters
    ----------
    warmup
        Seconds at the beginning that are left out of every figure; None: a tenth of the run.
    replications
        Runs of each configuration, each with weather of its own.
    drain_max
        Seconds after the last event until a run is ended although something is still under way.
    """

    warmup: Seconds | None = None
    replications: Annotated[int, Meta(ge=1, le=10_000)] = 10
    drain_max: Seconds = 600.0


class Configuration(Settings, frozen=True, kw_only=True):
    """What is compared: a transport with a policy.

    Parameters
    ----------
    transport
        `queue-at-most-once`, `queue-at-least-once` or `log`.
    policy
        One of `policies.POLICIES`.
    parameters
        Of the policy, where they shall differ from its defaults.
    name
        What to call it in results; made of transport and policy where it is left out.
    """

    transport: TransportKind
    policy: Name
    parameters: dict[str, Any] = msgspec.field(default_factory=dict)
    name: Name | None = None

    @property
    def label(self) -> str:
        return self.name or f"{_IN_WORDS[self.transport]} / {self.policy}"


class Scenario(System, frozen=True, kw_only=True):
    """A question: what is replayed, through what, by which configurations.

    Parameters
    ----------
    name, title, description
        What to call it, in an identifier, a line, and as many words as it takes.
    field
        Numeric field of the events' data that the state sums up.
    trace, service
        What arrives, and how long a processor works on it.
    run
        How long and how often.
    configurations
        What is compared.

    Examples
    --------
    >>> scenario = default_scenario()
    >>> scenario.name, len(scenario.configurations), scenario.objective.bound
    ('nyc-flights', 8, 30.0)
    >>> parse_scenario(scenario.to_toml()) == scenario
    True
    """

    name: Name
    trace: TraceSettings
    configurations: tuple[Configuration, ...]
    title: str = ""
    description: str = ""
    field: Name = "speed"
    service: ServiceTime = ServiceTime()
    log: StoredLogSettings = StoredLogSettings()
    run: RunSettings = RunSettings()

    def to_toml(self) -> str:
        """The scenario as TOML that `parse_scenario` reads back; what is not set is left out."""
        return tomli_w.dumps(_without_none(msgspec.to_builtins(self)))

    def policy_surroundings(self, day: PositiveSeconds) -> dict[str, Any]:
        """What a policy may know of the scenario, see `policies.SURROUNDINGS`; `day` in seconds of the model."""
        return {
            "period": self.control.period,
            "start_up": self.hardware.start_up,
            "bound": self.objective.bound,
            "quantile": self.objective.quantile,
            "price_per_hour": self.hardware.price_per_hour,
            "day": day,
            "replicas_min": self.control.replicas_min,
            "replicas_max": self.control.replicas_max,
            "service_rate": self.hardware.speed / self.service.mean,
            "service_scv": self.service.effective_scv,
        }

    def warnings(self) -> list[str]:
        """What can be run and will hardly be meant."""
        found = []
        if self.objective.bound < self.service.mean / self.hardware.speed:
            found.append(
                f"objective.bound is {self.objective.bound:g} s, and a service takes "
                f"{self.service.mean / self.hardware.speed:g} s on average: no policy can keep it"
            )
        return found


def default_scenario() -> Scenario:
    """The main job's: New York flights."""
    return load_scenario(data_folder() / "scenarios" / f"{DEFAULT}.toml")


def load_scenario(path: str | Path) -> Scenario:
    """Read a scenario from a TOML file; relative trace files are looked for beside it.

    Raises
    ------
    BadInput
        Names the file, the field, its value and what is allowed.
    """
    path = Path(path)
    try:
        if not path.is_file():
            what = "is no regular file" if path.exists() else "does not exist"
            raise BadInput(f"scenario {path} {what}")
        if path.stat().st_size > _FILE_MAX:
            raise BadInput(f"scenario {path} has {path.stat().st_size} bytes, allowed are {_FILE_MAX}")
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"scenario {str(path)!r} cannot be read: {error}") from None
    if not content.strip():
        raise BadInput(f"scenario {path} is empty")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"scenario {path} is not UTF-8: {error}") from None
    scenario = parse_scenario(text, place=str(path))
    file = scenario.trace.file
    if file is not None and not Path(file).is_absolute():
        trace = msgspec.structs.replace(scenario.trace, file=str(path.parent / file))
        scenario = msgspec.structs.replace(scenario, trace=trace)
    return scenario


def parse_scenario(text: str, *, place: str = "scenario") -> Scenario:
    """Read a scenario from TOML text; `place` is what errors call it."""
    if _DOTTED.search(text):
        raise BadInput(f"{place}: a key has more than twenty dots; tables of a scenario are two deep")
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise BadInput(f"{place} is not TOML: {error}") from None
    for field, number in _numbers(table):
        if not math.isfinite(number):
            raise BadInput(f"{place}: {field} is {number!r}; a number must be finite")
    _fill_in_hardware(table, place)
    try:
        scenario = msgspec.convert(table, Scenario)
    except msgspec.ValidationError as error:
        raise BadInput(f"{place}: {_in_words(str(error), table)}") from None
    _check(scenario, place)
    return scenario


def _fill_in_hardware(table: dict[str, Any], place: str) -> None:
    """What a kind of the catalogue costs and can do, where the scenario names one and does not say otherwise."""
    wanted = table.get("hardware")
    if not isinstance(wanted, dict) or not isinstance(wanted.get("name"), str):
        return
    if {"price_per_hour", "start_up", "speed"} <= wanted.keys():
        return  # a kind of the user's own
    try:
        kind = hardware(wanted["name"])
    except BadInput as error:
        raise BadInput(f"{place}: hardware.name: {error}") from None
    table["hardware"] = {**msgspec.to_builtins(kind), **wanted}


def _check(scenario: Scenario, place: str) -> None:
    """What one field's type cannot say."""
    problem = scenario.service.problem()
    if problem:
        raise BadInput(f"{place}: service.{problem}")
    control = scenario.control
    if control.replicas_min > control.replicas_max:
        raise BadInput(
            f"{place}: control.replicas_min is {control.replicas_min}, more than replicas_max, {control.replicas_max}"
        )
    if scenario.channel.delay_mean < scenario.channel.delay_min:
        raise BadInput(
            f"{place}: channel.delay_mean is {scenario.channel.delay_mean!r} s, less than delay_min, "
            f"{scenario.channel.delay_min!r} s"
        )
    if scenario.source.resend_after > scenario.source.resend_after_max:
        raise BadInput(
            f"{place}: source.resend_after is {scenario.source.resend_after!r} s, more than resend_after_max, "
            f"{scenario.source.resend_after_max!r} s"
        )
    trace = scenario.trace
    if (trace.name is None) == (trace.file is None):
        raise BadInput(f"{place}: trace needs either name or file, got {trace.name!r} and {trace.file!r}")
    moments = [moment_of(scenario, name, place) for name in ("train_from", "since", "until")]
    given = [moment for moment in moments if moment is not None]
    if given != sorted(given) or (moments[1] is not None and moments[1] == moments[2]):
        raise BadInput(
            f"{place}: trace must have train_from <= since < until, got {trace.train_from!r}, {trace.since!r}, "
            f"{trace.until!r}"
        )
    if not scenario.configurations:
        raise BadInput(f"{place}: configurations must name at least one, got none")
    labels = [configuration.label for configuration in scenario.configurations]
    for number, configuration in enumerate(scenario.configurations):
        if labels.index(configuration.label) != number:
            raise BadInput(f"{place}: two configurations are called {configuration.label!r}; give one a name")
        try:
            make_policy(configuration.policy, configuration.parameters, **scenario.policy_surroundings(86_400.0))
        except BadInput as error:
            raise BadInput(f"{place}: configurations[{number}]: {error}") from None


def moment_of(
    scenario: Scenario, name: Literal["train_from", "since", "until"] | str, place: str = "scenario"
) -> Timestamp | None:
    """A moment of the trace settings as GST."""
    text = getattr(scenario.trace, name)
    if text is None:
        return None
    try:
        return parse_timestamp(text)
    except BadInput as error:
        raise BadInput(f"{place}: trace.{name}: {error}") from None


# Errors in words


def _in_words(message: str, table: Mapping[str, Any]) -> str:
    """msgspec's message with the field, its value and, for a misspelt name, the one that was meant."""
    path = _PATH.search(message)
    field = path[1] if path else ""
    what = _PATH.sub("", message)
    unknown = re.match(r"Object contains unknown field `(.*)`", what, re.DOTALL)
    if unknown:
        known = _fields_at(field)
        near = difflib.get_close_matches(unknown[1], known, n=1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        where = f"{field}." if field else ""
        return f"unknown field {where + unknown[1]!r}{meant} (there are {', '.join(known)})"
    missing = re.match(r"Object missing required field `(.*)`", what)
    if missing:
        return f"field {(field + '.' if field else '') + missing[1]!r} is missing"
    return f"{field or 'the scenario'}: {what[0].lower()}{what[1:]}, got {_value_at(table, field)}"


def _fields_at(field: str) -> list[str]:
    """Names of the fields of the table at a path such as `trace` or `configurations[0]`."""
    kind: Any = Scenario
    for name in re.findall(r"[A-Za-z_]\w*", field):
        found = {each.name: each.type for each in msgspec.structs.fields(kind)}[name]
        # tuple[Configuration, ...] for an array of tables.
        kind = next((each for each in get_args(found) if isinstance(each, type)), found)
    return [each.name for each in msgspec.structs.fields(kind)]


def _value_at(table: Any, field: str) -> str:
    value = table
    for name, index in re.findall(r"([A-Za-z_]\w*)|\[(\d+)\]", field):
        try:
            value = value[name] if name else value[int(index)]
        except (KeyError, IndexError, TypeError):
            return "something else"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _numbers(value: Any, field: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(value, float):
        yield field, value
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from _numbers(each, f"{field}.{name}" if field else str(name))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _numbers(each, f"{field}[{index}]")


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_none(each) for name, each in value.items() if each is not None}
    if isinstance(value, list | tuple):
        return [_without_none(each) for each in value]
    return value
