"""`rarera log key`: keys that sign, and keys that wrap keys."""

from __future__ import annotations

import click


@click.command(
    epilog="""\b
Examples:
  rarera log key gate.key --name gate > gate.pub      sign with the one, verify with the other
  rarera log key kek.hex --wrapping                   for a key store, see `rarera log erase`
""",
)
@click.argument("file", metavar="FILE")
@click.option("--name", default="rarera", show_default=True, metavar="NAME", help="Whose key it is.")
@click.option("--wrapping", is_flag=True, help="32 bytes in hex that wrap the keys of a key store, instead.")
def key(file: str, name: str, wrapping: bool) -> None:
    """Make a new Ed25519 key in FILE, readable by you alone, and print its public half."""
    from rarera_sim.adapters.keys import new_key, new_signer, write_key, write_signer

    if wrapping:
        write_key(file, new_key())
        return
    signer = new_signer(name)
    write_signer(file, signer)
    click.echo(signer.verifier.text)
