"""`rarera log verify`: is a log what it was given?"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import click

from rarera_sim.cli.log.opening import open_log
from rarera_sim.cli.options import HEAD, JSON
from rarera_sim.cli.output import DONE, FAILED, Progress, head_text, print_json, shown
from rarera_sim.core.errors import DamagedLog

if TYPE_CHECKING:
    from rarera_sim.core.integrity import Head


@click.command(
    epilog="""\b
Examples:
  rarera log verify out/log.sqlite
  rarera log verify out/log.sqlite --head 18900     it had that many events when it was last looked at
  rarera log verify out/log.sqlite --checkpoint today.json --public-key gate.pub

A log whose last events are gone is a perfectly good shorter log: only a head or a checkpoint kept elsewhere tells.
""",
)
@click.argument("url", metavar="LOG")
@click.option("--head", "known", type=HEAD, help="A head that this log had earlier, kept elsewhere.")
@click.option("--checkpoint", "checkpoint_file", metavar="FILE", help="What `rarera log checkpoint` wrote earlier.")
@click.option("--public-key", "key_file", metavar="FILE", help="Keys of which one must have signed the checkpoint.")
@JSON
def verify(url: str, known: Head | int | None, checkpoint_file: str | None, key_file: str | None, as_json: bool) -> int:
    """Is LOG what it was given? Every event against its UID, its place and the chain of all before it.

    With a checkpoint also: does LOG begin with what it was then, and has only grown since?

    Prints the head, which is worth keeping elsewhere; else the first bad position and why, with exit code 1.
    """
    from rarera_sim.adapters.watched import Watched
    from rarera_sim.core.integrity import CHAIN_START, Head, Verdict
    from rarera_sim.core.integrity import verify as verify_log

    if key_file is not None and checkpoint_file is None:
        raise click.UsageError("--public-key is about a checkpoint; name it with --checkpoint FILE.")
    if checkpoint_file is not None and known is not None:
        raise click.UsageError("a checkpoint has a head in it; leave out --head or --checkpoint.")
    checkpoint = None
    if checkpoint_file is not None:
        from rarera_sim.adapters.checkpoints import read_checkpoint
        from rarera_sim.adapters.keys import read_verifiers
        from rarera_sim.core.merkle import verify_checkpoint

        checkpoint = read_checkpoint(checkpoint_file, None if key_file is None else read_verifiers(key_file))
    try:
        with closing(open_log(url, read_only=True)) as opened, Progress("events") as progress:
            watched = Watched(opened, progress)
            if checkpoint is None:
                verdict = verify_log(watched, expected_head=known)
            else:
                verdict = verify_checkpoint(watched, checkpoint)
    except DamagedLog as damage:
        verdict = Verdict(False, Head(0, CHAIN_START), None, str(damage))
    if as_json:
        fields = {"intact": verdict.intact, "head": head_text(verdict.head), "position": verdict.position}
        print_json({**fields, "reason": verdict.reason})
    elif verdict.intact:
        click.echo(f"intact, {verdict.head.position} events\nhead {head_text(verdict.head)}")
        if checkpoint is not None:
            signed = "signed by a known key" if key_file else "whose signature was not asked for"
            since = verdict.head.position - checkpoint.position
            click.echo(f"grown by {since} events since the checkpoint at {checkpoint.position}, {signed}")
    else:
        where = "" if verdict.position is None else f" at position {verdict.position}"
        click.echo(f"not intact{where}: {shown(verdict.reason)}\ngood up to {head_text(verdict.head)}")
    return DONE if verdict.intact else FAILED
