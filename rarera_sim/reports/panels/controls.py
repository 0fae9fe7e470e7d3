"""Controls made from a scenario: one for each number, switch and choice in it, with its unit, range and help.

Nothing is said twice: the type of a field says what is allowed, the docstring of its class what it means.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import ipywidgets as widgets
import msgspec
from msgspec import inspect as types

from rarera_sim.core.errors import BadInput
from rarera_sim.experiments.scenario import Scenario, check_scenario
from rarera_sim.reports.panels.look import note

# What a person looks for together; a table of the scenario stands in one of them.
SECTIONS: dict[str, tuple[str, ...]] = {
    "Faults of network and machines": ("channel", "crashes", "slowness", "outages", "spot"),
    "What arrives": ("arrivals", "trace"),
    "Work": ("service", "line", "path"),
    "Control and objective": ("control", "objective"),
    "Hardware and prices": ("hardware", "prices"),
    "Sources, queue and log": ("source", "queue", "log"),
    "Length and replications": ("run",),
}
FAULTS = SECTIONS["Faults of network and machines"]
NONE = "none"


@dataclass(frozen=True)
class Allowed:
    """What a field may hold.

    Parameters
    ----------
    path
        Where it stands in the scenario: `channel.loss`.
    kind
        `float`, `int`, `bool` or `choice`.
    ge, gt, le, lt
        Ends of its range, None where there is none.
    optional
        Whether it may be left empty.
    choices
        Of a choice.
    unit, help
        In words.

    Examples
    --------
    >>> loss = allowed_of(Scenario, "channel.loss")
    >>> loss.range, loss.parsed("0.25")
    ('0 to 1', 0.25)
    >>> loss.parsed("1.5")
    Traceback (most recent call last):
    rarera_sim.core.errors.BadInput: channel.loss must be 0 to 1, got 1.5
    """

    path: str
    kind: str
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    optional: bool = False
    choices: tuple[str, ...] = ()
    unit: str = ""
    help: str = ""

    @property
    def range(self) -> str:
        """What is allowed, in words."""
        if self.kind == "choice":
            return ", ".join(self.choices)
        least = self.ge if self.ge is not None else self.gt
        most = self.le if self.le is not None else self.lt
        word = "whole number " if self.kind == "int" else ""
        if self.ge is not None and self.le is not None:
            said = f"{word}{self.ge:,.10g} to {self.le:,.10g}"
        elif least is not None and most is not None:
            said = f"{word}between {least:,.10g} and {most:,.10g}"
        elif self.gt is not None:
            said = f"{word}> {self.gt:,.10g}"
        elif self.ge is not None:
            said = f"{word}≥ {self.ge:,.10g}"
        else:
            said = word or "any number"
        return said.strip() + (", or empty" if self.optional else "")

    def parsed(self, text: str) -> float | int | None:
        """The value that a person typed."""
        text = text.strip()
        if not text and self.optional:
            return None
        try:
            value = int(text) if self.kind == "int" else float(text)
        except ValueError:
            value = math.nan
        inside = (
            math.isfinite(value)
            and (self.ge is None or value >= self.ge)
            and (self.gt is None or value > self.gt)
            and (self.le is None or value <= self.le)
            and (self.lt is None or value < self.lt)
        )
        if not inside:
            shown = text if len(text) <= 40 else f"{text[:37]}..."
            raise BadInput(f"{self.path} must be {self.range}, got {shown or 'nothing'}")
        return value

    def slider_range(self, value: float) -> tuple[float, float]:
        """From where to where a slider goes; the number box allows all that is allowed."""
        low = self.ge if self.ge is not None else self.gt or 0.0
        if self.le is not None and self.le <= 100:
            return low, self.le
        if self.lt is not None:
            return low, self.lt
        return low, max(_nice(4.0 * value), low + 1.0)


def allowed_of(struct: type[msgspec.Struct], path: str) -> Allowed:
    """What the field at a path may hold."""
    for found in allowed_in(struct, path.rpartition(".")[0]):
        if found.path == path:
            return found
    raise BadInput(f"{path} is no number, switch or choice of a scenario")


def allowed_in(struct: type[msgspec.Struct], table: str = "") -> Iterator[Allowed]:
    """The fields of a table for which there can be a control."""
    for step in filter(None, table.split(".")):
        found = {each.name: each.type for each in msgspec.structs.fields(struct)}.get(step)
        if not (isinstance(found, type) and issubclass(found, msgspec.Struct)):
            return
        struct = found
    helps = help_of(struct)
    info = types.type_info(struct)
    assert isinstance(info, types.StructType), "a table of a scenario"
    for field in info.fields:
        path = f"{table}.{field.name}" if table else field.name
        made = _allowed(path, field.type, helps.get(field.name, ""))
        if made is not None:
            yield made


def _allowed(path: str, kind: types.Type, text: str, *, optional: bool = False, unit: str = "") -> Allowed | None:
    match kind:
        case types.Metadata():
            schema = kind.extra_json_schema or {}
            return _allowed(path, kind.type, text, optional=optional, unit=_unit(schema.get("unit", "")))
        case types.UnionType(types=(inner, types.NoneType())):
            return _allowed(path, inner, text, optional=True, unit=unit)
        case types.FloatType() | types.IntType():
            name = "int" if isinstance(kind, types.IntType) else "float"
            return Allowed(path, name, kind.ge, kind.gt, kind.le, kind.lt, optional, (), unit, text)
        case types.BoolType() if not optional:
            return Allowed(path, "bool", help=text)
        case types.LiteralType():
            choices = tuple(map(str, kind.values))
            return Allowed(path, "choice", optional=optional, choices=choices, help=text)
    return None


def _unit(unit: str) -> str:
    return "" if unit == "1" else unit


def help_of(struct: type) -> dict[str, str]:
    """What a class says of its fields under "Parameters", by field.

    >>> from rarera_sim.simulation.control import Objective
    >>> help_of(Objective)["bound"]
    'Response time allowed, seconds.'
    """
    found: dict[str, str] = {}
    for each in reversed(struct.__mro__):
        text = inspect.cleandoc(each.__doc__ or "")
        section = re.search(r"^Parameters\n-+\n(.*?)(?=^\S[^\n]*\n-+\n|\Z)", text, re.DOTALL | re.MULTILINE)
        names: list[str] = []
        for line in section[1].splitlines() if section else ():
            if line and not line.startswith(" "):
                names = [name.strip() for name in line.split(",")]
                found.update(dict.fromkeys(names, ""))
            elif line.strip():
                for name in names:
                    found[name] = f"{found[name]} {line.strip()}".strip()
    return found


class Control:
    """One field: its number box with a slider, its switch or its choice, and beside it what is allowed.

    Parameters
    ----------
    allowed
        What it may hold.
    value
        What it holds first.
    changed
        Called when it holds something else.
    """

    def __init__(self, allowed: Allowed, value: Any, changed: Callable[[], None]) -> None:
        self.allowed = allowed
        self.value = value
        self.refused = ""
        self._changed = changed
        self._setting = False
        name = allowed.path.replace(".", " ").replace("_", " ")
        self.note = widgets.HTML(layout=_NOTE)
        self.slider: Any = None
        common = {"description": name, "style": _LABEL, "layout": _BOX, "tooltip": allowed.help or name}
        if allowed.kind == "bool":
            self.box = widgets.Checkbox(value=value, indent=False, **common)
        elif allowed.kind == "choice":
            options = [*((NONE,) if allowed.optional else ()), *allowed.choices]
            self.box = widgets.Dropdown(options=options, value=NONE if value is None else value, **common)
        else:
            self.box = widgets.Text(value=_typed(value), continuous_update=False, **common)
            self.slider = self._make_slider(value)
        self.box.observe(self._typed_in, "value")
        self.row = widgets.HBox([each for each in (self.box, self.slider, self.note) if each is not None], layout=_ROW)
        self._say()

    def _make_slider(self, value: float | None) -> Any:
        low, high = self.allowed.slider_range(value or 0.0)
        kind = widgets.IntSlider if self.allowed.kind == "int" else widgets.FloatSlider
        step = 1 if self.allowed.kind == "int" else (high - low) / 1000.0
        shown = min(max(low if value is None else value, low), high)
        # The number box beside it is what keyboards and screen readers use.
        slider = kind(min=low, max=high, step=step, value=shown, readout=False, layout=_SLIDER, disabled=value is None)
        slider.observe(self._slid, "value")
        return slider

    def _typed_in(self, change: Any) -> None:
        if self._setting:
            return
        if self.slider is None:
            self.refused = ""
            self.value = None if self.allowed.optional and change["new"] == NONE else change["new"]
        else:
            try:
                value = self.allowed.parsed(change["new"])
            except BadInput as error:
                self.refuse(str(error))
                self._changed()
                return
            self.refused = ""
            self.value = value
            self._show_on_slider()
        self._say()
        self._changed()

    def _slid(self, change: Any) -> None:
        if self._setting:
            return
        value, allowed = change["new"], self.allowed
        if value == allowed.gt or value == allowed.lt:
            return  # the very end is not allowed; the number box still says what holds
        self.set(float(f"{value:.6g}") if allowed.kind == "float" else value, slider=False)
        self._changed()

    def set(self, value: Any, *, slider: bool = True) -> None:
        """Hold a value, and show it."""
        self._setting = True
        try:
            self.value, self.refused = value, ""
            if self.slider is None:
                self.box.value = NONE if value is None else value
            else:
                self.box.value = _typed(value)
                if slider:
                    self._show_on_slider()
        finally:
            self._setting = False
        self._say()

    def _show_on_slider(self) -> None:
        inside, self._setting = self._setting, True
        self.slider.disabled = self.value is None
        if self.value is not None:
            self.slider.max = max(self.slider.max, _nice(self.value))
            self.slider.value = self.value
        self._setting = inside

    def refuse(self, why: str) -> None:
        """Say beside it what is wrong."""
        self.refused = why
        self._say()

    def _say(self) -> None:
        if self.refused:
            self.box.add_class("rarera-refused")
            self.note.value = note(self.refused, bad=True)
            return
        self.box.remove_class("rarera-refused")
        unit = f"{self.allowed.unit} · " if self.allowed.unit else ""
        said = f"{unit}{self.allowed.range}" if self.slider is not None else ""
        self.note.value = note(said, title=self.allowed.help)


class Controls:
    """The controls of a scenario, by path. They are made when their section is opened, or somebody asks for one.

    Parameters
    ----------
    scenario
        What they show first, and again after `reset`. What has no control stays as it is there.
    changed
        Called when anything changes.

    Examples
    --------
    >>> from rarera_sim.experiments.scenario import default_scenario
    >>> controls = Controls(default_scenario())
    >>> controls["channel.loss"].box.value = "0.25"
    >>> controls.scenario.channel.loss
    0.25
    >>> controls["channel.loss"].box.value = "much"
    >>> controls.problem, controls["channel.loss"].value
    ('channel.loss must be 0 to 1, got much', 0.25)
    """

    def __init__(self, scenario: Scenario, changed: Callable[[], None] = lambda: None) -> None:
        self._base = scenario
        self._made: dict[str, Control] = {}
        self._tell = changed
        self.problem = ""
        self._boxes = {title: widgets.VBox() for title in SECTIONS}
        self.widget = widgets.Accordion(
            [*self._boxes.values()], titles=tuple(self._boxes), selected_index=None, layout={"width": "auto"}
        )
        self.widget.observe(lambda change: self._open(change["new"]), "selected_index")

    def _open(self, index: int | None) -> None:
        if index is not None:
            self._make([*SECTIONS][index])

    def _make(self, title: str) -> None:
        box = self._boxes[title]
        if box.children:
            return
        for name in SECTIONS[title]:
            table = getattr(self._base, name)
            # Arrivals are of one kind among many: the fields are those of the kind that there is.
            if table is None or (name == "trace" and self._base.arrivals is not None):
                continue
            for allowed in allowed_in(type(table)):
                whole = Allowed(**{**vars(allowed), "path": f"{name}.{allowed.path}"})
                self._made[whole.path] = Control(whole, getattr(table, allowed.path), self._changed)
        box.children = [each.row for path, each in self._made.items() if path.partition(".")[0] in SECTIONS[title]]

    def __getitem__(self, path: str) -> Control:
        table = path.partition(".")[0]
        for title, tables in SECTIONS.items():
            if table in tables:
                self._make(title)
        try:
            return self._made[path]
        except KeyError:
            raise BadInput(f"there is no control for {path!r}") from None

    @property
    def scenario(self) -> Scenario:
        """What the controls say, whether or not it goes together."""
        changes: dict[str, dict[str, Any]] = {}
        for path, control in self._made.items():
            table, _, field = path.partition(".")
            changes.setdefault(table, {})[field] = control.value
        replaced = {
            table: msgspec.structs.replace(getattr(self._base, table), **fields) for table, fields in changes.items()
        }
        return msgspec.structs.replace(self._base, **replaced)

    def reset(self, scenario: Scenario) -> None:
        """Show another scenario."""
        kinds = [type(each.arrivals) for each in (self._base, scenario)]
        self._base = scenario
        if kinds[0] is not kinds[1]:
            self._made.clear()
            for box in self._boxes.values():
                box.children = ()
            self._open(self.widget.selected_index)
        for path, control in self._made.items():
            table, _, field = path.partition(".")
            control.set(getattr(getattr(scenario, table), field))
        self._changed()

    def _changed(self) -> None:
        self.check()
        self._tell()

    def check(self) -> None:
        """Look whether all goes together; what does not is said beside the control that it is about."""
        for control in self._made.values():
            if control.refused and control.refused.startswith("together: "):
                control.refuse("")
        self.problem = next((each.refused for each in self._made.values() if each.refused), "")
        if self.problem:
            return
        try:
            check_scenario(self.scenario)
        except BadInput as error:
            self.problem = str(error).removeprefix("scenario: ")
            for path in re.findall(r"[a-z_]+\.[a-z_]+", self.problem):
                if path in self._made:
                    self._made[path].refuse(f"together: {self.problem}")
                    break


def _typed(value: float | int | None) -> str:
    return "" if value is None else f"{value:.10g}" if isinstance(value, float) else str(value)


def _nice(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, ... that is not less."""
    if value <= 0.0:
        return 1.0
    decade = 10.0 ** math.floor(math.log10(value))
    return next(factor * decade for factor in (1.0, 2.0, 5.0, 10.0) if factor * decade >= value * (1 - 1e-9))


_LABEL = {"description_width": "210px"}
_BOX = {"width": "340px", "flex": "0 0 auto"}
_SLIDER = {"width": "200px", "flex": "0 0 auto"}
_NOTE = {"min_width": "160px", "flex": "1 1 auto"}
_ROW = {"align_items": "center", "flex_flow": "row wrap"}
