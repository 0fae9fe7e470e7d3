"""`rarera log trace`: the life of one event."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

import click

from rarera_sim.cli.log.opening import open_log
from rarera_sim.cli.options import JSON
from rarera_sim.cli.output import print_json, shown
from rarera_sim.core.time import format_timestamp

if TYPE_CHECKING:
    from rarera_sim.core.event import Recorded
    from rarera_sim.core.lineage import Lineage
    from rarera_sim.core.trace import Step

_SHOWN_MAX = 20


@click.command(
    epilog="""\b
EVENT is one of
  EWR#17          number 17 of the source EWR
  4711            a position, up to 15 digits
  12d5282482c5    the first digits of a UID, as many as it takes

\b
Examples:
  rarera log trace out/log.sqlite EWR#17
  rarera log trace out/log.sqlite 4711 --json
""",
)
@click.argument("url", metavar="LOG")
@click.argument("event")
@JSON
def trace(url: str, event: str, as_json: bool) -> None:
    """Where one event came from, what happened to it on its way, what caused it and what it caused."""
    from rarera_sim.adapters.jsonl import to_json
    from rarera_sim.core.lineage import find_event, lineage

    with closing(open_log(url, read_only=True)) as opened:
        recorded = find_event(opened, event)
        found = lineage(opened, recorded.event.id)
        # A journey is kept beside the log by the model, in stores that have a place for it.
        steps_of = getattr(opened, "steps_of", None)
        steps: list[Step] = steps_of(recorded.event.id) if steps_of else []
    if not as_json:
        _print_lineage(found, steps)
        return
    missing = found.cause_missing
    print_json(
        {
            "event": to_json(recorded),
            "journey": [{"time_s": step.time, "stage": step.stage, "where": step.where} for step in steps],
            "causes": [to_json(cause) for cause in found.causes],
            "cause_missing": missing.hex() if missing else None,
            "effects": [{"depth": depth, **to_json(effect)} for depth, effect in found.effects],
            "correlation": found.correlation.hex(),
            "conversation": list(found.conversation),
        }
    )


def _print_lineage(lineage: Lineage, steps: Sequence[Step]) -> None:
    position, event = lineage.recorded
    lines = [
        f"{event.type}  {event.stream}",
        f"  UID       {event.id.hex()}",
        f"  from      {event.source}#{event.sequence}, created {format_timestamp(event.time)}",
        f"  recorded  position {position}",
        f"  data      {event.data}",
    ]
    lines += ["journey", *(f"  {step.time:12.3f} s  {step.stage}  ({step.where})" for step in steps)] if steps else []
    if lineage.causes or lineage.cause_missing:
        lines += ["caused by", *(f"  {_brief(cause)}" for cause in lineage.causes)]
    if lineage.cause_missing:
        lines.append(f"  {lineage.cause_missing.hex()}, which is not in this log")
    if lineage.effects:
        lines += ["caused", *("  " * depth + _brief(effect) for depth, effect in lineage.effects)]
    if len(lineage.conversation) > 1:
        positions = ", ".join(map(str, lineage.conversation[:_SHOWN_MAX]))
        more = ", ..." if len(lineage.conversation) > _SHOWN_MAX else ""
        lines += [f"conversation of {len(lineage.conversation)} events", f"  positions {positions}{more}"]
    for line in lines:
        click.echo(shown(line))


def _brief(recorded: Recorded) -> str:
    position, event = recorded
    return f"position {position}: {event.type}  {event.stream}, {event.source}#{event.sequence}"
