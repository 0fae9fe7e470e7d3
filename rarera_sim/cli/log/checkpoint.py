"""`rarera log checkpoint`: what a log is now, to be kept where whoever can change the log cannot reach."""

from __future__ import annotations

import time
from contextlib import closing

import click

from rarera_sim.cli.log.opening import open_log
from rarera_sim.cli.output import Progress, print_json, shown
from rarera_sim.core.errors import DamagedLog


@click.command(
    epilog="""\b
Examples:
  rarera log checkpoint out/log.sqlite > today.json
  rarera log checkpoint out/log.sqlite --out today.json --sign gate.key --origin example.org/flights
  rarera log verify out/log.sqlite --checkpoint today.json --public-key gate.pub     tomorrow

`rarera log key` makes a key to sign with.
""",
)
@click.argument("url", metavar="LOG")
@click.option("--out", metavar="FILE", help="Write it there, whole or not at all, instead of printing it.")
@click.option("--sign", "key_file", metavar="FILE", help="Sign it with this Ed25519 key (`rarera log key`).")
@click.option("--origin", default="rarera.log", show_default=True, metavar="NAME", help="Which log this is.")
@click.option("--json", is_flag=True, expose_value=False, help="Changes nothing: a checkpoint is always JSON.")
def checkpoint(url: str, out: str | None, key_file: str | None, origin: str) -> None:
    """Take a Merkle checkpoint of LOG: position, Merkle root, chain and time, as JSON.

    LOG is verified meanwhile: a damaged one gets none, with exit code 1.
    """
    from rarera_sim.adapters.checkpoints import checkpoint_json, write_checkpoint
    from rarera_sim.adapters.keys import read_signer
    from rarera_sim.adapters.watched import Watched
    from rarera_sim.core.merkle import take_checkpoint, verify_checkpoint

    signer = read_signer(key_file) if key_file else None
    with closing(open_log(url, read_only=True)) as opened, Progress("events") as progress:
        taken = take_checkpoint(opened, time=time.time_ns(), origin=origin)
        _ = taken.text  # a bad origin is told before the second reading
        verdict = verify_checkpoint(Watched(opened, progress), taken)
    if not verdict.intact:
        raise DamagedLog(f"not intact at position {verdict.position}: {verdict.reason}; it gets no checkpoint")
    if out is None:
        print_json(checkpoint_json(taken, signer))
    else:
        write_checkpoint(out, taken, signer)
        click.echo(shown(out))
