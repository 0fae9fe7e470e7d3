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
from rarera_sim.simulation.arrivals import AnyArrivals, Closed, Content
from rarera_sim.simulation.misbehaviour import Misbehaviour
from rarera_sim.simulation.quantities import Name, Positive, PositiveSeconds, Seconds, Settings
from rarera_sim.simulation.services import ServiceTime
from rarera_sim.simulation.storage import LogSettings
from rarera_sim.simulation.world import System, TransportKind

DEFAULT = "nyc-flights"
_FILE_MAX = 1_000_000
# A key of thousands of dots makes a parser build thousands of nested tables: 20 kB cost half a gigabyte.
_DOTTED = re.compile(r"(?:[^\s.=\"'#\[\]]+\s*\.\s*){20}")
_PATH = re.compile(r" - at `\$\.?([^`]*)`")
_STEPS = re.compile(r"([A-Za-z_]\w*)|\[(\d+|\.\.\.)\]")
_IN_WORDS = {
    "queue-at-most-once": "queue at-most-once",
    "queue-at-least-once": "queue at-least-once",
    "log": "log",
    "direct": "direct",
}


class Piece(Settings, frozen=True, kw_only=True):
    """A part of a trace, [since, until): ISO 8601 with a time zone."""

    since: Name
    until: Name


class TraceSettings(Settings, frozen=True, kw_only=True):
    """Which recorded events are replayed, how fast, and what is made of them.

    Parameters
    ----------
    name
        A trace that ships with the package; not together with `file` or `url`.
    file
        Path of a CSV, Parquet or JSON Lines file, as `experiments.traces.read_trace` reads it.
    url
        Of an event log, as `adapters.urls.open_log` reads it: `sqlite:///log.sqlite`.
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
    splice
        Parts that are joined, in this order, into what the model runs on: it begins at `since`, or where the first
        part does. Policies learn from what was before `since`, as it was.
    resample
        Length of a block in seconds of the trace, 86400 for days: the run is made of blocks of [since, until) drawn
        with replacement, each seed's others. What happens at an hour of the day stays at that hour.
    copies, jitter
        Each event `copies` times, moved by up to `jitter` seconds of the trace either way.
    """

    name: Name | None = None
    file: Name | None = None
    url: Name | None = None
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
    splice: tuple[Piece, ...] = ()
    resample: PositiveSeconds | None = None
    copies: Annotated[int, Meta(ge=1, le=1000)] | None = None
    jitter: Seconds | None = None

    @property
    def varies(self) -> bool:
        """Whether each seed has other arrivals."""
        return self.resample is not None or self.copies is not None or self.jitter is not None


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
    duration, training
        For generated arrivals, seconds: how long the run lasts, and from how much before it policies learn; None: as
        much again.
    """

    warmup: Seconds | None = None
    replications: Annotated[int, Meta(ge=1, le=10_000)] = 10
    drain_max: Seconds = 600.0
    duration: PositiveSeconds | None = None
    training: Seconds | None = None


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
    """A question: what arrives, through what, by which configurations.

    Parameters
    ----------
    name, title, description
        What to call it, in an identifier, a line, and as many words as it takes.
    field
        Numeric field of the events' data that the state sums up.
    trace, arrivals
        What arrives: recorded events, or a kind of `simulation.arrivals` that draws them. One of both.
    content
        What generated events say.
    service
        How long a processor works on an event.
    run
        How long and how often.
    misbehaviours
        When sources are not themselves: what `vigilance` is for.
    configurations
        What is compared.

    Examples
    --------
    >>> scenario = default_scenario()
    >>> scenario.name, len(scenario.configurations), scenario.objective.bound
    ('nyc-flights', 9, 30.0)
    >>> parse_scenario(scenario.to_toml()) == scenario
    True

    The same in Python, a textbook's M/M/10:

    >>> from rarera_sim.simulation.arrivals import Poisson
    >>> mm10 = Scenario(
    ...     name="mm10",
    ...     arrivals=Poisson(rate=9.0),
    ...     service=ServiceTime(distribution="exponential", mean=1.0),
    ...     run=RunSettings(duration=3600.0),
    ...     configurations=(Configuration(transport="log", policy="fixed", parameters={"replicas": 10}),),
    ... )
    >>> check_scenario(mm10).warnings()
    []
    """

    name: Name
    trace: TraceSettings = TraceSettings()
    configurations: tuple[Configuration, ...]
    title: str = ""
    description: str = ""
    field: Name = "speed"
    service: ServiceTime = ServiceTime()
    log: StoredLogSettings = StoredLogSettings()
    run: RunSettings = RunSettings()
    arrivals: AnyArrivals | None = None
    content: Content | None = None
    misbehaviours: tuple[Misbehaviour, ...] = ()

    def to_toml(self) -> str:
        """The scenario as TOML that `parse_scenario` reads back; what is not set is left out."""
        tables = _without_none(msgspec.to_builtins(self))
        return tomli_w.dumps({name: value for name, value in tables.items() if value != {}})

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """JSON Schema of a scenario file: with it an editor completes and checks TOML as it is typed."""
        schema = msgspec.json.schema(cls)
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "RARERA scenario", **schema}

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
        return list(_doubts(self))


_STARTER = """\
# A system of your own. Times are seconds, rates are events per second; what you leave out has a default.
# Run it with: rarera run --scenario THIS_FILE

name = "mine"
title = "What I want to know"
field = "value"              # the state counts events and sums this field of their data

# What arrives. Recorded events instead: [trace] with file = "events.csv" and time_column = "sent_at".
[arrivals]
kind = "bursty"              # or poisson, renewal, profile, sinusoid, mmpp, on-off, calendar, batches, mixture, closed
rate = 20.0                  # mean
day = 3600.0                 # a day in an hour

[service]                    # of one event on hardware of speed 1
distribution = "lognormal"   # or exponential, deterministic, erlang, gamma, weibull, uniform, pareto, coxian, ...
mean = 0.2
scv = 0.5                    # variance over squared mean

[channel]                    # what the network does to frames, as shares
loss = 0.01
duplication = 0.01
damage = 0.001
delay_mean = 0.05

[control]                    # how often a policy is asked, and its limits
period = 15.0
replicas_max = 50

[objective]                  # 99 % of the events within 2 s of their receipt
quantile = 0.99
bound = 2.0

[run]
duration = 3600.0            # what is run, and
training = 7200.0            # from how much before it policies learn
replications = 5

[[configurations]]           # what is compared
transport = "log"
policy = "hpa"

[[configurations]]
transport = "log"
policy = "predictive"
"""


def default_scenario() -> Scenario:
    """The main job's: New York flights."""
    return load_scenario(data_folder() / "scenarios" / f"{DEFAULT}.toml")


def starter_scenario_text() -> str:
    """A small scenario with comments, as TOML, for somebody to begin with and change.

    >>> parse_scenario(starter_scenario_text()).name
    'mine'
    """
    return _STARTER


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
    return _beside(scenario, path.parent)


def _beside(scenario: Scenario, folder: Path) -> Scenario:
    """With the names of files as seen from the scenario's folder."""
    trace, service = scenario.trace, scenario.service
    if trace.file is not None:
        trace = msgspec.structs.replace(trace, file=str(folder / trace.file))
    if service.file is not None and ":" not in service.file:
        service = msgspec.structs.replace(service, file=str(folder / service.file))
    return msgspec.structs.replace(scenario, trace=trace, service=service)


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
    return _converted(table, place)


def check_scenario(scenario: Scenario, *, place: str = "scenario") -> Scenario:
    """The scenario, if it stands what a file has to stand: what Python builds is not looked at before.

    Raises
    ------
    BadInput
        Names the field, its value and what is allowed.
    """
    table = msgspec.to_builtins(scenario)
    for field, number in _numbers(table):
        if not math.isfinite(number):
            raise BadInput(f"{place}: {field} is {number!r}; a number must be finite")
    _converted(table, place)
    return scenario


def _converted(table: dict[str, Any], place: str) -> Scenario:
    try:
        scenario = msgspec.convert(table, Scenario)
    except msgspec.ValidationError as error:
        raise BadInput(f"{place}: {_in_words(str(error), table)}") from None
    except RecursionError:
        raise BadInput(f"{place}: arrivals lie too deep inside of each other") from None
    _check(scenario, place)
    return scenario


def _fill_in_hardware(table: dict[str, Any], place: str) -> None:
    """What a kind of the catalogue costs and can do, where the scenario names one and does not say otherwise."""
    pools = table.get("pools", [])
    holders = [(table, "hardware")]
    if isinstance(pools, list):
        holders += [(pool, f"pools[{at}].hardware") for at, pool in enumerate(pools) if isinstance(pool, dict)]
    for holder, field in holders:
        wanted = holder.get("hardware")
        if not isinstance(wanted, dict) or not isinstance(wanted.get("name"), str):
            continue
        if {"price_per_hour", "start_up", "speed"} <= wanted.keys():
            continue  # a kind of the user's own
        try:
            kind = hardware(wanted["name"])
        except BadInput as error:
            raise BadInput(f"{place}: {field}.name: {error}") from None
        holder["hardware"] = {**msgspec.to_builtins(kind), **wanted}


def _check(scenario: Scenario, place: str) -> None:
    """What one field's type cannot say."""
    for name in ("service", "arrivals", "content", "channel", "line", "vigilance"):
        part = getattr(scenario, name)
        problem = part.problem() if part is not None else None
        if problem:
            raise BadInput(f"{place}: {name}.{problem}")
    control = scenario.control
    if control.replicas_min > control.replicas_max > 0:
        raise BadInput(
            f"{place}: control.replicas_min is {control.replicas_min}, more than replicas_max, {control.replicas_max}"
        )
    if scenario.source.resend_after > scenario.source.resend_after_max:
        raise BadInput(
            f"{place}: source.resend_after is {scenario.source.resend_after!r} s, more than resend_after_max, "
            f"{scenario.source.resend_after_max!r} s"
        )
    _check_pools(scenario, place)
    _check_arrivals(scenario, place)
    if scenario.misbehaviours and isinstance(scenario.arrivals, Closed):
        raise BadInput(f"{place}: misbehaviours need arrivals that do not wait for anything, got closed arrivals")
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


def _check_pools(scenario: Scenario, place: str) -> None:
    names = [pool.name for pool in scenario.all_pools]
    zones = sorted({pool.zone for pool in scenario.all_pools})
    for number, pool in enumerate(scenario.pools):
        if names.index(pool.name) != number:
            raise BadInput(f"{place}: pools[{number}].name is {pool.name!r}, and so is that of another; names differ")
        if not 0 <= pool.asleep <= pool.replicas_max:
            raise BadInput(
                f"{place}: pools[{number}].asleep is {pool.asleep}; allowed are 0 to replicas_max, {pool.replicas_max}"
            )
        if pool.asleep and pool.hardware.wake_up is None:
            raise BadInput(
                f"{place}: pools[{number}].asleep is {pool.asleep}, and hardware.wake_up is not set: it cannot sleep"
            )
    for number, outage in enumerate(scenario.outages.at):
        if outage.zone not in zones:
            raise BadInput(
                f"{place}: outages.at[{number}].zone is {outage.zone!r}; there is {', '.join(zones)} in the pools"
            )


def _check_arrivals(scenario: Scenario, place: str) -> None:
    trace, run = scenario.trace, scenario.run
    named = [name for name in ("name", "file", "url") if getattr(trace, name) is not None]
    if scenario.arrivals is not None:
        if named:
            raise BadInput(f"{place}: arrivals and trace.{named[0]} do not go together; leave one of them out")
        if run.duration is None:
            raise BadInput(f"{place}: run.duration is missing; generated arrivals need to know how many seconds")
        return
    if len(named) != 1:
        given = ", ".join(f"{name} = {getattr(trace, name)!r}" for name in named) or "nothing"
        raise BadInput(f"{place}: trace needs either name or file or url, got {given}; or give arrivals instead")
    for name, value in (("duration", run.duration), ("training", run.training)):
        if value is not None:
            raise BadInput(f"{place}: run.{name} is for generated arrivals, got {value!r}; a trace has since and until")
    if scenario.content is not None:
        raise BadInput(f"{place}: content is for generated arrivals; the events of a trace say what they say")
    if trace.splice and trace.resample is not None:
        raise BadInput(f"{place}: trace.splice and trace.resample do not go together; leave one of them out")
    for number, piece in enumerate(trace.splice):
        since, until = (_moment(getattr(piece, n), f"{place}: trace.splice[{number}].{n}") for n in ("since", "until"))
        if not since < until:
            raise BadInput(
                f"{place}: trace.splice[{number}] must have since < until, got {piece.since!r} and {piece.until!r}"
            )
    moments = [moment_of(scenario, name, place) for name in ("train_from", "since", "until")]
    given_moments = [moment for moment in moments if moment is not None]
    if given_moments != sorted(given_moments) or (moments[1] is not None and moments[1] == moments[2]):
        raise BadInput(
            f"{place}: trace must have train_from <= since < until, got {trace.train_from!r}, {trace.since!r}, "
            f"{trace.until!r}"
        )


def _doubts(scenario: Scenario) -> Iterator[str]:
    service = scenario.service.mean / scenario.hardware.speed
    if scenario.objective.bound < service:
        yield (
            f"objective.bound is {scenario.objective.bound:g} s, and a service takes {service:g} s on average: no "
            "policy can keep it"
        )
    most = scenario.control.replicas_max
    if most == 0:
        yield "control.replicas_max is 0: nothing will ever be processed"
        return
    if scenario.arrivals is None:
        load = scenario.trace.load if scenario.trace.compression is None else 0.0
        where = f"trace.load is {load:g}"
    else:
        load = scenario.arrivals.rate_mean * service
        where = f"arrivals of {scenario.arrivals.rate_mean:g} 1/s and services of {service:g} s keep {load:g} busy"
    # Users who wait for their events never ask for more than there is.
    patient = scenario.line.patience is None
    if load >= most and patient and not isinstance(scenario.arrivals, Closed):
        yield f"{where} processors, and control.replicas_max is {most}: the backlog grows for ever"
    for configuration in scenario.configurations:
        replicas = configuration.parameters.get("replicas")
        too_few = isinstance(replicas, int) and 0 <= replicas <= min(load, most) and (patient or not replicas)
        if configuration.policy == "fixed" and too_few:
            yield (
                f"{configuration.label} keeps {replicas} processors, and {where}: the backlog grows for ever"
                if replicas
                else f"{configuration.label} keeps 0 processors: nothing will ever be processed"
            )
    if scenario.queue.visibility_timeout < service and any(
        each.transport == "queue-at-least-once" for each in scenario.configurations
    ):
        yield (
            f"queue.visibility_timeout is {scenario.queue.visibility_timeout:g} s, and a service takes {service:g} s "
            "on average: most messages are delivered again while they are worked on"
        )
    if scenario.channel.loss == 1.0:
        yield "channel.loss is 1: no frame will ever arrive"
    warmup, duration = scenario.run.warmup, scenario.run.duration
    if warmup is not None and duration is not None and warmup >= duration:
        yield f"run.warmup is {warmup:g} s and run.duration {duration:g} s: nothing is left to measure"
    if (
        isinstance(scenario.arrivals, Closed)
        and scenario.arrivals.patience is None
        and any(each.transport == "queue-at-most-once" for each in scenario.configurations)
    ):
        yield "arrivals.patience is not set: a user whose event a queue loses waits for ever"


def moment_of(
    scenario: Scenario, name: Literal["train_from", "since", "until"] | str, place: str = "scenario"
) -> Timestamp | None:
    """A moment of the trace settings as GST."""
    text = getattr(scenario.trace, name)
    return None if text is None else _moment(text, f"{place}: trace.{name}")


def _moment(text: str, place: str) -> Timestamp:
    try:
        return parse_timestamp(text)
    except BadInput as error:
        raise BadInput(f"{place}: {error}") from None


# Errors in words


def _in_words(message: str, table: Mapping[str, Any]) -> str:
    """msgspec's message with the field, its value and, for a misspelt name, the one that was meant."""
    path = _PATH.search(message)
    field = path[1] if path else ""
    what = _PATH.sub("", message)
    unknown = re.match(r"Object contains unknown field `(.*)`", what, re.DOTALL)
    if unknown:
        known = _fields_at(table, field, unknown[1])
        near = difflib.get_close_matches(unknown[1], known, n=1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        where = f"{field}." if field else ""
        return f"unknown field {where + unknown[1]!r}{meant} (there are {', '.join(known)})"
    missing = re.match(r"Object missing required field `(.*)`", what)
    if missing:
        return f"field {(field + '.' if field else '') + missing[1]!r} is missing"
    value = _value_at(table, field)
    tag = re.match(r"Invalid value ", what)
    if tag and field.endswith("kind"):
        kinds = sorted(str(each.__struct_config__.tag) for each in _structs(AnyArrivals))
        near = difflib.get_close_matches(str(value), kinds, n=1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        return f"{field}: no kind {_shown(value)}{meant} (there are {', '.join(kinds)})"
    return f"{field or 'the scenario'}: {what[0].lower()}{what[1:]}, got {_shown(value)}"


def _structs(kind: Any) -> list[type[msgspec.Struct]]:
    """The tables that a field of this type may hold: `Structs | None`, `tuple[Struct, ...]`, `dict[str, Struct]`."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return [kind]
    return [each for inner in get_args(kind) for each in _structs(inner)]


def _fields_at(table: Any, field: str, unknown: str) -> list[str]:
    """Names of the fields of the table at a path such as `trace`, `configurations[0]` or `content.data[...]`."""
    kinds: list[type[msgspec.Struct]] = [Scenario]
    for name, index in _STEPS.findall(field):
        if name:
            found = {each.name: each.type for each in msgspec.structs.fields(kinds[0])}[name]
            table, kinds = table.get(name, {}), _structs(found)
        elif index == "...":
            # msgspec does not say which entry; it is the one with the unknown field.
            table = next((each for each in table.values() if isinstance(each, dict) and unknown in each), {})
        else:
            table = table[int(index)]
        if len(kinds) > 1 and isinstance(table, dict):
            kinds = [each for each in kinds if each.__struct_config__.tag == table.get("kind")] or kinds
    config = kinds[0].__struct_config__
    return [
        *([config.tag_field] if config.tag_field else []),
        *(each.name for each in msgspec.structs.fields(kinds[0])),
    ]


def _value_at(table: Any, field: str) -> Any:
    value = table
    for name, index in _STEPS.findall(field):
        try:
            value = value[name] if name else value[int(index)]
        except (KeyError, IndexError, TypeError, ValueError):
            return "something else"
    return value


def _shown(value: Any) -> str:
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
        return {name: _without_none(each) for name, each in value.items() if each is not None and each != ()}
    if isinstance(value, list | tuple):
        return [_without_none(each) for each in value]
    return value
