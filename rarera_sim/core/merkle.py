"""A Merkle tree over the UIDs of a log: one value stands for all of it, and a short proof for any part.

    leaf(UID)        = SHA-256(00 + UID)
    node(left, right) = SHA-256(01 + left + right)
    root(n UIDs)     = node(root(first k), root(the rest)),   k the largest power of two below n

The shape of RFC 6962 and RFC 9162, so any tool that checks certificate logs checks ours. The chain of
:mod:`rarera_sim.core.integrity` says the same of a whole log; what it cannot do is show somebody without the log that
one event is in it (inclusion), or that today's log begins with yesterday's (consistency), by a few hashes.

Leaves are UIDs and not frames: a UID stands for every byte of its event already, every store has it at hand without
reading contents, and a proof then needs nothing that might be secret. Positions count from 1, here as everywhere.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import islice
from typing import NamedTuple

from rarera_sim.core.errors import BadInput
from rarera_sim.core.integrity import CHAIN_START, Auditable, Head, Row, Verdict, link, verify
from rarera_sim.core.time import Timestamp, format_timestamp, parse_timestamp

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()

_SIZE_DIGITS = 19  # no log has more events than a position has room for; int() of a million digits takes long


def leaf_hash(entry: bytes) -> bytes:
    return sha256(b"\0" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\1" + left + right).digest()


class Tree:
    r"""A tree that only grows: it keeps the roots of its full subtrees, one per bit of its size, and no leaf.

    Parameters
    ----------
    size, peaks
        Where to go on, as `size` and `peaks` said earlier.

    Examples
    --------
    >>> tree = Tree()
    >>> for entry in (b"", b"\x00", b"\x10"):
    ...     tree.add(entry)
    >>> tree.size, tree.root().hex()[:16], len(tree.peaks)
    (3, 'aeb6bcfe274b70a1', 2)
    >>> Tree(tree.size, tree.peaks).root() == tree.root()
    True

    References
    ----------
    RFC 6962, section 2.1; RFC 9162, section 2.1.2.
    """

    __slots__ = ("_peaks", "size")

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        if type(size) is not int or size < 0 or len(peaks) != size.bit_count():
            raise BadInput(f"a tree of {size!r} entries has as many peaks as its size has bits set, got {len(peaks)}")
        if any(len(peak) != HASH_BYTES for peak in peaks):
            raise BadInput(f"every peak must be a hash of {HASH_BYTES} bytes")
        self.size = size
        self._peaks = list(peaks)

    @property
    def peaks(self) -> tuple[bytes, ...]:
        """Roots of the full subtrees, the largest first."""
        return tuple(self._peaks)

    def add(self, entry: bytes) -> None:
        peaks = self._peaks
        node = sha256(b"\0" + entry).digest()
        # Each bit carried is a subtree that has become full: counting in binary is building the tree.
        carry = self.size
        while carry & 1:
            node = sha256(b"\1" + peaks.pop() + node).digest()
            carry >>= 1
        peaks.append(node)
        self.size += 1

    def root(self) -> bytes:
        if not self._peaks:
            return EMPTY_ROOT
        *others, node = self._peaks
        for peak in reversed(others):
            node = node_hash(peak, node)
        return node


def root_of(entries: Iterable[bytes]) -> bytes:
    tree = Tree()
    for entry in entries:
        tree.add(entry)
    return tree.root()


# Proofs. One pass over the entries and O(log n) memory: a proof is the roots of ranges that do not overlap.


def prove_inclusion(entries: Iterable[bytes], position: int, size: int) -> list[bytes]:
    """The hashes that lead from the entry at `position` to the root of the first `size` entries.

    >>> uids = [bytes([n]) * 32 for n in range(7)]
    >>> proof = prove_inclusion(uids, position=3, size=7)
    >>> len(proof), verify_inclusion(uids[2], 3, 7, proof, root_of(uids))
    (3, True)
    >>> verify_inclusion(uids[3], 3, 7, proof, root_of(uids))
    False
    """
    if not 1 <= position <= size:
        raise BadInput(f"position must be 1 to {size}, the size of the tree, got {position!r}")
    start, end = 0, size
    ranges = []
    while end - start > 1:
        middle = start + _split(end - start)
        if position <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    return _roots(entries, ranges[::-1])


def verify_inclusion(entry: bytes, position: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether `proof` shows that `entry` stands at `position` of the `size` entries under `root`.

    References
    ----------
    RFC 9162, section 2.1.3.2.
    """
    if not 1 <= position <= size:
        return False
    here, last = position - 1, size - 1
    node = leaf_hash(entry)
    for sibling in proof:
        if last == 0:
            return False
        if here & 1 or here == last:
            node = node_hash(sibling, node)
            while here and not here & 1:
                here >>= 1
                last >>= 1
        else:
            node = node_hash(node, sibling)
        here >>= 1
        last >>= 1
    return last == 0 and node == root


def prove_consistency(entries: Iterable[bytes], earlier: int, size: int) -> list[bytes]:
    """The hashes that show the first `earlier` of `size` entries to be what they were.

    >>> uids = [bytes([n]) * 32 for n in range(7)]
    >>> proof = prove_consistency(uids, earlier=3, size=7)
    >>> verify_consistency(3, root_of(uids[:3]), 7, root_of(uids), proof)
    True
    >>> verify_consistency(3, root_of(uids[1:4]), 7, root_of(uids), proof)
    False
    """
    if not 0 <= earlier <= size:
        raise BadInput(f"earlier must be 0 to {size}, the size of the tree, got {earlier!r}")
    if earlier in (0, size):
        return []
    start, end = 0, size
    ranges = []
    while earlier != end:
        middle = start + _split(end - start)
        if earlier <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    if start:  # otherwise the verifier has this one: it is the earlier root
        ranges.append((start, end))
    return _roots(entries, ranges[::-1])


def verify_consistency(earlier: int, earlier_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether `proof` shows that the tree under `root` begins with the one under `earlier_root`.

    References
    ----------
    RFC 9162, section 2.1.4.2.
    """
    if not 0 <= earlier <= size:
        return False
    if earlier == 0:
        return not proof and earlier_root == EMPTY_ROOT and (size > 0 or root == EMPTY_ROOT)
    if earlier == size:
        return not proof and earlier_root == root
    if not proof:
        return False
    here, last = earlier - 1, size - 1
    while here & 1:
        here >>= 1
        last >>= 1
    path = iter(proof)
    old = new = next(path) if here else earlier_root
    for sibling in path:
        if last == 0:
            return False
        if here & 1 or here == last:
            old = node_hash(sibling, old)
            new = node_hash(sibling, new)
            while here and not here & 1:
                here >>= 1
                last >>= 1
        else:
            new = node_hash(new, sibling)
        here >>= 1
        last >>= 1
    return last == 0 and old == earlier_root and new == root


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1


def _roots(entries: Iterable[bytes], ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    """The root over each range of entries, in the order of `ranges`; they do not overlap."""
    rest = iter(entries)
    at = 0
    found = {}
    for start, end in sorted(ranges):
        tree = Tree()
        for entry in islice(rest, start - at, end - at):
            tree.add(entry)
        if tree.size != end - start:
            raise BadInput(f"there are fewer entries than the {end} that the proof is about")
        found[start, end] = tree.root()
        at = end
    return [found[each] for each in ranges]


# Checkpoints


class MerkleCheckpoint(NamedTuple):
    """What a log was at one moment, to be kept where whoever can change the log cannot reach.

    Parameters
    ----------
    position
        How many events the log had.
    root, chain
        Merkle root and chain over their UIDs, 32 bytes each.
    time
        When it was taken, GST in ns.
    origin
        Which log: a name without spaces or "+", best one that no other log has.

    Examples
    --------
    >>> print(MerkleCheckpoint(0, EMPTY_ROOT, CHAIN_START, time=0).text, end="")
    rarera.log
    0
    47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=
    chain aXLBTpi1TKMGQsIA5M7W9ReGCKIt8rTt0sDSudr+Ej0=
    time 1970-01-01T00:00:00Z

    References
    ----------
    The first three lines are those of C2SP tlog-checkpoint; the others are extension lines to its readers.
    """

    position: int
    root: bytes
    chain: bytes
    time: Timestamp
    origin: str = "rarera.log"

    @property
    def head(self) -> Head:
        """What `integrity.verify` takes as `expected_head`."""
        return Head(self.position, self.chain)

    @property
    def text(self) -> str:
        """The canonical form, which is what gets signed (see :mod:`rarera_sim.core.signing`)."""
        if not self.origin or any(c.isspace() or c == "+" or not c.isprintable() for c in self.origin):
            raise BadInput(f"origin must be a name without spaces or '+', got {self.origin!r}")
        return (
            f"{self.origin}\n{self.position}\n{b64encode(self.root).decode()}\n"
            f"chain {b64encode(self.chain).decode()}\ntime {format_timestamp(self.time)}\n"
        )

    @classmethod
    def parse(cls, text: str) -> MerkleCheckpoint:
        r"""Read the canonical form; anything else, be it a space too many, is refused.

        >>> taken = MerkleCheckpoint(0, EMPTY_ROOT, CHAIN_START, time=1)
        >>> MerkleCheckpoint.parse(taken.text) == taken
        True
        >>> MerkleCheckpoint.parse("rarera.log\n0\n")
        Traceback (most recent call last):
        rarera_sim.core.errors.BadInput: a checkpoint has 5 lines: origin, position, root, chain and time, got 2
        """
        lines = text.splitlines()
        if len(lines) != 5:
            raise BadInput(f"a checkpoint has 5 lines: origin, position, root, chain and time, got {len(lines)}")
        origin, position, root, chain, time = lines
        if not (position.isascii() and position.isdigit() and len(position) <= _SIZE_DIGITS):
            raise BadInput(f"line 2 of a checkpoint must be a position, got {position!r}")
        checkpoint = cls(
            int(position),
            _hash_from(root, "", "line 3"),
            _hash_from(chain, "chain ", "line 4"),
            parse_timestamp(time.removeprefix("time ")),
            origin,
        )
        if checkpoint.text != text:
            raise BadInput("the checkpoint is not in canonical form: it was edited, or written by something else")
        return checkpoint


def take_checkpoint(log: Auditable, *, time: Timestamp, origin: str = "rarera.log") -> MerkleCheckpoint:
    """Read a log once, in O(log n) memory, and say what it is; `verify` it first, or at once by `verify_checkpoint`.

    >>> from rarera_sim.adapters.memory import MemoryLog
    >>> from rarera_sim.core.event import Event
    >>> log = MemoryLog()
    >>> _ = log.append([Event("EWR/UA1", "departed", {}, source="EWR", sequence=1, time=0)])
    >>> checkpoint = take_checkpoint(log, time=5)
    >>> checkpoint.position, verify_checkpoint(log, checkpoint).intact
    (1, True)
    """
    checkpointer = Checkpointer()
    for row in log.rows():
        checkpointer.add(row.id)
    return checkpointer.checkpoint(time=time, origin=origin)


class Checkpointer:
    """Follows a log as it grows, so that the next checkpoint costs only the events since the last one."""

    __slots__ = ("chain", "tree")

    def __init__(self, tree: Tree | None = None, chain: bytes = CHAIN_START) -> None:
        self.tree = tree or Tree()
        self.chain = chain

    def add(self, event_id: bytes) -> None:
        self.tree.add(event_id)
        self.chain = link(self.chain, event_id)

    def checkpoint(self, *, time: Timestamp, origin: str = "rarera.log") -> MerkleCheckpoint:
        return MerkleCheckpoint(self.tree.size, self.tree.root(), self.chain, time, origin)


def verify_checkpoint(log: Auditable, checkpoint: MerkleCheckpoint) -> Verdict:
    """`integrity.verify`, and whether the log begins with what the checkpoint says."""
    watched = _Watched(log, checkpoint.position)
    verdict = verify(watched, expected_head=checkpoint.head)
    if verdict.intact and watched.tree.root() != checkpoint.root:
        # The chain fits and the root does not: the checkpoint contradicts itself.
        reason = f"the Merkle root over the first {checkpoint.position} events is not the one that was recorded"
        return Verdict(False, verdict.head, None, reason)
    if verdict.intact and checkpoint.position == 0 and checkpoint.chain != CHAIN_START:
        return Verdict(False, verdict.head, None, "the checkpoint's chain is not that of an empty log")
    return verdict


class _Watched:
    """A log whose UIDs go into a tree while somebody else reads it."""

    def __init__(self, log: Auditable, upto: int) -> None:
        self._log = log
        self._upto = upto
        self.tree = Tree()

    def rows(self) -> Iterator[Row]:
        for row in self._log.rows():
            if self.tree.size < self._upto and type(row.id) is bytes:
                self.tree.add(row.id)
            yield row

    def self_check(self) -> str:
        return self._log.self_check()


def _hash_from(line: str, prefix: str, where: str) -> bytes:
    try:
        value = b64decode(line.removeprefix(prefix), validate=True)
    except ValueError:
        value = b""
    if len(value) != HASH_BYTES or not line.startswith(prefix):
        raise BadInput(f"{where} of a checkpoint must be {prefix!r} and {HASH_BYTES} bytes in base64, got {line!r}")
    return value
