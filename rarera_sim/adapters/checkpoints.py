"""Merkle checkpoints in files: JSON with the text that is signed in it, or that text alone.

    {"origin": NAME, "position": N, "root": hex, "chain": hex, "time": ISO 8601, "note": the text, with signatures}

The note is the truth, in the form that other tools read (C2SP tlog-checkpoint, signed-note); the other fields are for
people and programs that do not, and a file where they say something else is refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from rarera_sim.adapters.folders import written_whole
from rarera_sim.core.errors import BadInput, StorageFailed
from rarera_sim.core.event import parse_json
from rarera_sim.core.merkle import MerkleCheckpoint
from rarera_sim.core.signing import Signer, Verifier, open_note, sign_note
from rarera_sim.core.time import format_timestamp


def checkpoint_json(checkpoint: MerkleCheckpoint, signer: Signer | None = None) -> dict[str, Any]:
    """A checkpoint as a JSON object, its note signed if there is somebody to sign it."""
    text = checkpoint.text
    return {**_fields(checkpoint), "note": text if signer is None else sign_note(text, signer)}


def write_checkpoint(path: str | os.PathLike[str], checkpoint: MerkleCheckpoint, signer: Signer | None = None) -> None:
    """Write `checkpoint_json` to a file, whole or not at all.

    Examples
    --------
    >>> import tempfile
    >>> from rarera_sim.adapters.memory import MemoryLog
    >>> from rarera_sim.core.merkle import take_checkpoint
    >>> from rarera_sim.core.signing import Ed25519Signer
    >>> taken, signer = take_checkpoint(MemoryLog(), time=5), Ed25519Signer("gate", bytes(32))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_checkpoint(folder + "/today.json", taken, signer)
    ...     read_checkpoint(folder + "/today.json", [signer.verifier]) == taken
    True
    """
    path = Path(path)
    content = orjson.dumps(checkpoint_json(checkpoint, signer), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    if not path.parent.is_dir():
        raise BadInput(f"there is no folder {path.parent} to write the checkpoint {path.name} in")
    try:
        with written_whole(path) as file:
            file.write(content)
    except OSError as error:
        raise StorageFailed(f"checkpoint {path} cannot be written: {error.strerror}") from error


def read_checkpoint(path: str | os.PathLike[str], verifiers: Iterable[Verifier] | None = None) -> MerkleCheckpoint:
    """What `write_checkpoint` wrote, or a note alone.

    Parameters
    ----------
    verifiers
        One of these keys must have signed it; None to take it as it is, signed or not.

    Raises
    ------
    BadInput
        The file is no checkpoint, was changed, or is not signed by any of the keys.
    """
    try:
        content = Path(path).read_bytes()
        note = content.decode()
    except OSError as error:
        raise BadInput(f"checkpoint {os.fspath(path)!r} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, ValueError):
        raise BadInput(f"{os.fspath(path)!r} is no checkpoint: it is not text") from None
    said = None
    if content[:1] == b"{":
        said = parse_json(content)
        if not isinstance(said, dict) or not isinstance(said.get("note"), str):
            raise BadInput(f"{path} is no checkpoint: it has no note")
        note = said.pop("note")
    text = f"{note.partition(chr(10) * 2)[0].rstrip(chr(10))}\n" if verifiers is None else open_note(note, verifiers)
    checkpoint = MerkleCheckpoint.parse(text)
    if said is not None and said != _fields(checkpoint):
        raise BadInput(f"the fields of {path} do not say what its note says: it was changed")
    return checkpoint


def _fields(checkpoint: MerkleCheckpoint) -> dict[str, Any]:
    return {
        "origin": checkpoint.origin,
        "position": checkpoint.position,
        "root": checkpoint.root.hex(),
        "chain": checkpoint.chain.hex(),
        "time": format_timestamp(checkpoint.time),
    }
