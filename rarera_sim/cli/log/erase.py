"""`rarera log erase`: forget somebody in a log that forgets nothing."""

from __future__ import annotations

import sys
import time
from contextlib import closing

import click

from rarera_sim.cli.log.opening import open_log
from rarera_sim.cli.options import JSON
from rarera_sim.cli.output import print_json, shown


@click.command(
    epilog="""\b
Examples:
  rarera log erase out/log.sqlite "passenger 7" --keys keys.json --kek kek.hex
  rarera log erase out/log.sqlite "passenger 8" --keys keys.json --kek kek.hex --yes --json

The events stay, and verify as before; nobody can read their content any more. The erasure is itself an event, which
names keys and not SUBJECT. Erasures that were interrupted, or undone by a key store from a backup, are finished first.
""",
)
@click.argument("url", metavar="LOG")
@click.argument("subject", metavar="SUBJECT")
@click.option("--keys", "keys_file", required=True, metavar="FILE", help="The key store that the events are sealed by.")
@click.option("--kek", "kek_file", required=True, metavar="FILE", help="The key that the store is wrapped by, in hex.")
@click.option("--yes", is_flag=True, help="Do not ask first, where there is a terminal to ask.")
@JSON
def erase(url: str, subject: str, keys_file: str, kek_file: str, yes: bool, as_json: bool) -> None:
    """Forget SUBJECT in LOG, for good: destroy the keys that its events are sealed by, and every snapshot."""
    from rarera_sim.adapters.keys import FileKeys, read_key
    from rarera_sim.adapters.stores import snapshots_of
    from rarera_sim.core.sealing import erase_subject, replay_erasures

    keys = FileKeys(keys_file, read_key(kek_file))
    with closing(open_log(url, create=False)) as opened:
        snapshots = [snapshots_of(opened)]
        finished = replay_erasures(opened, keys, snapshots=snapshots)
        if not yes and sys.stdin.isatty() and keys.ids(subject):
            click.confirm(f"Destroy the keys of {shown(subject)} for good?", abort=True, err=True)
        erasure = erase_subject(opened, keys, subject, time=time.time_ns(), snapshots=snapshots)
    left = list(erasure.beyond_reach)
    if as_json:
        fields = {"keys": list(erasure.key_ids), "position": erasure.recorded.position, "finished": finished}
        print_json({**fields, "beyond_reach": left})
        return
    click.echo(f"erased {len(erasure.key_ids)} keys, recorded at position {erasure.recorded.position}")
    if finished:
        click.echo(f"finished earlier erasures: {finished} keys were still there")
    click.echo("left to you:")
    for each in left:
        click.echo(f"  {each}")
