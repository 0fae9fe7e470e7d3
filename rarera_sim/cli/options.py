"""Kinds of values, and the options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from rarera_sim.core.errors import BadInput
from rarera_sim.core.time import parse_timestamp

if TYPE_CHECKING:
    from rarera_sim.core.integrity import Head
    from rarera_sim.core.log import Query

_POSITION_DIGITS = 15


class _Time(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return value if type(value) is int else parse_timestamp(value)
        except BadInput as error:
            self.fail(str(error), param, ctx)


class _Head(click.ParamType):  # type: ignore[type-arg]
    """POSITION or POSITION:CHAIN, as `rarera log verify` prints it."""

    name = "position[:chain]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Head | int:
        position, colon, chain_hex = str(value).partition(":")
        if not position.isascii() or not position.isdecimal() or len(position) > _POSITION_DIGITS:
            self.fail(f"{value!r} does not begin with a position", param, ctx)
        if not colon:
            return int(position)
        from rarera_sim.core.integrity import Head

        chain_value = unhex(chain_hex)
        if chain_value is None:
            self.fail(f"the chain in {value!r} is not 64 hex digits", param, ctx)
        return Head(int(position), chain_value)


TIME = _Time()
HEAD = _Head()


def filters(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that make a `Query`."""
    for option in (
        click.option("--until", type=TIME, help="Created at this time or before."),
        click.option("--since", type=TIME, help="Created at this time or after."),
        click.option("--source", "sources", multiple=True, metavar="NAME", help="Only from this source; repeatable."),
        click.option("--stream", "streams", multiple=True, metavar="NAME", help="Only of this stream; repeatable."),
        click.option("--type", "types", multiple=True, metavar="NAME", help="Only of this type; repeatable."),
        click.option("--processor", "processors", multiple=True, metavar="NAME", help="Only of this one; repeatable."),
    ):
        command = option(command)
    return command


def query_of(filters: dict[str, Any]) -> Query:
    from rarera_sim.core.log import Query

    return Query(**filters)


JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
BATCH = click.option(
    "--batch",
    default=1_000,
    type=click.IntRange(1, 1_000_000),
    show_default=True,
    metavar="N",
    help="Events per append.",
)
FIELD = click.option("--field", default="speed", show_default=True, metavar="NAME", help="Numeric field of the data.")


def unhex(text: str) -> bytes | None:
    """32 bytes from 64 hex digits; `bytes.fromhex` alone would pass over spaces."""
    try:
        return bytes.fromhex(text) if len(text) == 64 and text.isalnum() else None
    except ValueError:
        return None
