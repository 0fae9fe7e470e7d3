"""`rarera log query`: how many, how much, how often."""

from __future__ import annotations

import re
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from rarera_sim.cli.log.opening import open_log
from rarera_sim.cli.options import FIELD, JSON, filters, query_of
from rarera_sim.cli.output import number, print_json, print_table, shown
from rarera_sim.core.time import format_timestamp

if TYPE_CHECKING:
    from rarera_sim.core.aggregate import Aggregate, Group

_BY = ("processor", "type", "source")
_UNITS = {"ms": 10**6, "s": 10**9, "min": 60 * 10**9, "h": 3_600 * 10**9, "d": 86_400 * 10**9}


class _Duration(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if type(value) is int:
            return value
        found = re.fullmatch(rf"([0-9]{{1,9}})({'|'.join(_UNITS)})", str(value))
        if found is None or int(found[1]) == 0:
            self.fail(f"{value!r} is not a length of time such as 15min (units are {', '.join(_UNITS)})", param, ctx)
        return int(found[1]) * _UNITS[found[2]]


@click.command(
    epilog="""\b
A rate is events per second over --window, or over --since to --until. Quantiles are interpolated linearly.

\b
Examples:
  rarera log query out/log.sqlite --processor EWR --type arrived
  rarera log query out/log.sqlite --type departed --field delay --quantile 0.5 --quantile 0.99 --by processor
  rarera log query out/log.sqlite --type arrived --by processor --window 1h --since 2013-01-14 --until 2013-01-15
""",
)
@click.argument("url", metavar="LOG")
@FIELD
@click.option("--by", multiple=True, type=click.Choice(_BY), help="One line for each that occurs; repeatable.")
@click.option("--window", type=_Duration(), metavar="TIME", help="One line for each window of this length, as 15min.")
@click.option("--quantile", "quantiles", multiple=True, type=float, metavar="Q", help="From 0 to 1; repeatable.")
@filters
@JSON
def query(
    url: str,
    field: str,
    by: tuple[str, ...],
    window: int | None,
    quantiles: tuple[float, ...],
    as_json: bool,
    **given: Any,
) -> None:
    """How many events match, how often they come, and the mean and quantiles of a field over those that carry it.

    Worked out by the database where LOG is in one.
    """
    from rarera_sim.adapters.stores import aggregate_log
    from rarera_sim.core.aggregate import Aggregate, Group

    asked = query_of(given)
    request = Aggregate(field=field, by=tuple(dict.fromkeys(by)), window=window, quantiles=quantiles)
    with closing(open_log(url, read_only=True)) as opened:
        groups = aggregate_log(opened, request, asked)
    if by or window:
        if as_json:
            print_json({"field": field, "groups": [_fields(group, request) for group in groups]})
        else:
            _print_groups(groups, request)
        return
    # Without groups, nothing found is an answer too.
    found = (
        groups[0] if groups else Group(None, None, None, asked.since, asked.until, 0, 0, None, (None,) * len(quantiles))
    )
    if as_json:
        print_json({"field": field, **_fields(found, request)})
        return
    lines = [f"count  {found.count}", f"mean   {number(found.mean)}   ({shown(field)})"]
    lines += [f"q{each:<5g} {number(value)}" for each, value in _quantiles(found, request)]
    if found.rate is not None:
        lines.append(f"rate   {number(found.rate)}   (1/s)")
    click.echo("\n".join(lines))


def _fields(group: Group, request: Aggregate) -> dict[str, Any]:
    fields: dict[str, Any] = {name: getattr(group, name) for name in _BY if name in request.by}
    if request.window is not None:
        assert group.since is not None, "a window begins"
        assert group.until is not None, "a window ends"
        fields |= {"since": format_timestamp(group.since), "until": format_timestamp(group.until)}
    fields |= {"count": group.count, "values": group.values, "mean": group.mean, "rate": group.rate}
    if request.quantiles:
        fields["quantiles"] = {f"{each:g}": value for each, value in _quantiles(group, request)}
    return fields


def _quantiles(group: Group, request: Aggregate) -> list[tuple[float, float | None]]:
    return list(zip(request.quantiles, group.quantiles, strict=True))


def _print_groups(groups: list[Group], request: Aggregate) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(*(["since"] if request.window is not None else []), *(name for name in _BY if name in request.by))
    titles = ["count", "1/s", f"mean {shown(request.field or '')}", *(f"q{each:g}" for each in request.quantiles)]
    for title in titles:
        table.add_column(Text(title), justify="right")
    for group in groups:
        cells = [getattr(group, name) for name in _BY if name in request.by]
        if request.window is not None and group.since is not None:
            cells.insert(0, format_timestamp(group.since))
        values = [number(value) for _, value in _quantiles(group, request)]
        numbers = [str(group.count), number(group.rate), number(group.mean), *values]
        table.add_row(*(Text(shown(cell)) for cell in cells), *numbers)
    print_table(table)
