"""Consumer groups: who delivers which partition of a log, while members come, go and fail.

A group has a fixed number of partitions; a stream belongs to one by its CRC-32. Each partition has one owner and one
checkpoint, and changes hands in one of two ways: its owner stops, waits until nothing of it is in flight, and gives it
up with its checkpoint; or its owner is silent for longer than the lease, and the next one starts from the last
checkpoint it committed. In the first case nothing is delivered twice; in the second what was in flight is, and the
epoch of the grant tells the group that a commit comes from an owner of the past.

Within a partition the events of a stream come in the order of the log (`Subscription(ordered=True)`), so an effect is
exactly-once where it remembers, in its own transaction, the last position it applied of each stream or, if it sees
the whole log, is a `Materialised`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import gcd
from typing import NamedTuple

from rarera_sim.core.errors import BadInput
from rarera_sim.core.subscription import CheckpointStore, Subscription


class Grant(NamedTuple):
    """What a member may deliver: a partition after a position, under an epoch, until it is told to give it up."""

    epoch: int
    after: int
    revoked: bool


@dataclass
class _Partition:
    position: int
    epoch: int = 0
    owner: str | None = None
    wanted: str | None = None


class Group:
    """Shares out the partitions of a group among its members; pure, so whoever runs it hands in the time.

    Members call `beat` at least once per lease and do what the grants say; nothing is ever pushed to them, so a lost
    answer costs one beat.

    Parameters
    ----------
    checkpoints
        Where the position of each partition is kept, as `NAME/K of N`.
    partitions
        The most members that can work at once. To change it, see `reshard`.
    lease
        Seconds of silence after which a member is taken to be dead. Longer than the longest pause of a live one:
        a member that was only slow finds its commits refused.

    Examples
    --------
    >>> from rarera_sim.adapters.memory import MemoryCheckpoints
    >>> group = Group("billing", MemoryCheckpoints(), partitions=2, lease=10.0)
    >>> sorted(group.beat("ann", now=0.0))
    [0, 1]
    >>> group.beat("bob", now=1.0)
    {}
    >>> [k for k, grant in group.beat("ann", now=2.0).items() if grant.revoked]
    [1]
    >>> group.give_up("ann", 1, epoch=2, position=7)
    True
    >>> group.beat("bob", now=3.0)
    {1: Grant(epoch=3, after=7, revoked=False)}
    """

    def __init__(self, name: str, checkpoints: CheckpointStore, *, partitions: int = 16, lease: float = 10.0) -> None:
        if partitions < 1:
            raise BadInput(f"partitions must be >= 1, got {partitions!r}")
        if not lease > 0:
            raise BadInput(f"lease must be > 0 s, got {lease!r}")
        self.name = name
        self._checkpoints = checkpoints
        self._lease = lease
        self._partitions = [_Partition(checkpoints.load(_key(name, k, partitions))) for k in range(partitions)]
        # Epochs go on where the last coordinator stopped, or a commit of its time would pass for one of ours.
        self._epoch = checkpoints.load(f"{name}/epoch")
        self._heard: dict[str, float] = {}
        self._leaving: set[str] = set()

    @property
    def members(self) -> list[str]:
        """Those that take part and are not leaving."""
        return sorted(self._heard.keys() - self._leaving)

    @property
    def checkpoint(self) -> int:
        """Everything up to here is done, in every partition."""
        return min(partition.position for partition in self._partitions)

    def positions(self) -> list[int]:
        """The checkpoint of each partition."""
        return [partition.position for partition in self._partitions]

    def beat(self, member: str, now: float) -> dict[int, Grant]:
        """A member says that it is there, whether for the first time or again; returns what it may deliver."""
        if member not in self._heard:
            self._heard[member] = now
            self._share_out()
        self._heard[member] = max(now, self._heard[member])
        self.expire(now)
        grants = {}
        for k, partition in enumerate(self._partitions):
            if partition.owner is None and partition.wanted == member:
                partition.owner = member
                partition.epoch = self._next_epoch()
            if partition.owner == member:
                grants[k] = Grant(partition.epoch, partition.position, partition.wanted != member)
        return grants

    def leave(self, member: str) -> None:
        """A member wants to go: its partitions are revoked, and it is gone when it has given up the last."""
        if member in self._heard:
            self._leaving.add(member)
            self._share_out()
            self._let_go(member)

    def expire(self, now: float) -> list[str]:
        """Take what silent members held, for others to go on from its checkpoint; returns who they were."""
        silent = [member for member, heard in self._heard.items() if now - heard > self._lease]
        for member in silent:
            self._forget(member)
        if silent:
            self._share_out()
        return silent

    def commit(self, member: str, partition: int, epoch: int, position: int) -> bool:
        """Everything of the partition up to `position` is done; False if it is no longer this member's."""
        held = self._partitions[partition]
        if held.owner != member or held.epoch != epoch:
            return False
        if position > held.position:
            held.position = position
            self._checkpoints.save(_key(self.name, partition, len(self._partitions)), position)
        return True

    def give_up(self, member: str, partition: int, epoch: int, position: int) -> bool:
        """Commit for the last time: nothing of the partition is in flight, and the next owner may have it."""
        if not self.commit(member, partition, epoch, position):
            return False
        self._partitions[partition].owner = None
        self._let_go(member)
        return True

    def _let_go(self, member: str) -> None:
        if member in self._leaving and all(partition.owner != member for partition in self._partitions):
            self._forget(member)

    def _forget(self, member: str) -> None:
        del self._heard[member]
        self._leaving.discard(member)
        for partition in self._partitions:
            if partition.owner == member:
                partition.owner = None

    def _share_out(self) -> None:
        """Say who should have what: as even as can be, and moving as few as that allows."""
        members = self.members
        if not members:
            for partition in self._partitions:
                partition.wanted = None
            return
        least, extra = divmod(len(self._partitions), len(members))
        held = {member: [p for p in self._partitions if p.wanted == member] for member in members}
        # Whoever has most keeps the odd ones, so that nothing moves between members that may both have as many.
        ranked = sorted(members, key=lambda member: (-len(held[member]), member))
        quota = {member: least + (rank < extra) for rank, member in enumerate(ranked)}
        kept = {id(partition) for member in members for partition in held[member][: quota[member]]}
        vacant = [partition for partition in self._partitions if id(partition) not in kept]
        for member in members:
            for _ in range(quota[member] - min(len(held[member]), quota[member])):
                vacant.pop(0).wanted = member
        assert not vacant, "a partition was left over"

    def _next_epoch(self) -> int:
        self._epoch += 1
        self._checkpoints.save(f"{self.name}/epoch", self._epoch)
        return self._epoch


class Member:
    """One member of a group: keeps a subscription in line with what the group grants.

    Parameters
    ----------
    subscription
        With `partitions=` as many as the group has, and `ordered=True` if the order of a stream matters.

    Examples
    --------
    >>> from rarera_sim.adapters.memory import MemoryCheckpoints, MemoryLog
    >>> from rarera_sim.core.event import Event
    >>> log, group = MemoryLog(), Group("billing", MemoryCheckpoints(), partitions=4)
    >>> _ = log.append([Event("EWR/UA1", "departed", {}, source="EWR", sequence=1, time=0)])
    >>> ann = Member("ann", group, Subscription(log, partitions=4, ordered=True))
    >>> ann.beat(now=0.0)
    >>> ann.subscription.ack(ann.subscription.poll())
    >>> ann.beat(now=1.0)
    >>> group.checkpoint
    1
    """

    def __init__(self, name: str, group: Group, subscription: Subscription) -> None:
        self.name = name
        self.subscription = subscription
        self._group = group
        self._epochs: dict[int, int] = {}

    def beat(self, now: float) -> None:
        """Commit what is done, give up what was revoked and is no longer in flight, take what was granted."""
        for partition in tuple(self._epochs):
            self._report(partition)
        self._follow(self._group.beat(self.name, now))

    def leave(self) -> None:
        """Want to go; keep polling no more, acknowledge or release what is in flight, and beat until `gone`."""
        self._group.leave(self.name)
        for partition in self.subscription.partitions:
            self.subscription.drop(partition)
        for partition in tuple(self._epochs):
            self._report(partition)

    @property
    def gone(self) -> bool:
        """Whether nothing is granted and nothing in flight."""
        return not self._epochs and not self.subscription.in_flight

    def _report(self, partition: int) -> None:
        subscription, epoch = self.subscription, self._epochs[partition]
        position = subscription.checkpoint_of(partition)
        if partition in subscription.partitions or subscription.holds(partition):
            kept = self._group.commit(self.name, partition, epoch, position)
        else:
            kept = False
            self._group.give_up(self.name, partition, epoch, position)
        if not kept:
            # Given up, or taken from us while we were silent: others deliver it now.
            del self._epochs[partition]
            if partition in subscription.partitions:
                subscription.drop(partition)

    def _follow(self, grants: Mapping[int, Grant]) -> None:
        subscription = self.subscription
        for partition, grant in grants.items():
            if grant.revoked:
                if partition in subscription.partitions:
                    subscription.drop(partition)
            # What is still in flight from before we lost it must be done with, or it would be in flight twice.
            elif partition not in subscription.partitions and not subscription.holds(partition):
                subscription.take(partition, grant.after)
                self._epochs[partition] = grant.epoch


def reshard(positions: Sequence[int], partitions: int) -> list[int]:
    """The checkpoints of a group that changes its number of partitions, from those of the old ones.

    A stream in partition k of n may be in k' of m if k and k' are equal modulo gcd(n, m): from there the new partition
    starts at the least advanced. What others had done beyond it is delivered again, and is the effect's to recognise.

    >>> reshard([10, 20], 4), reshard([10, 20, 15, 25], 2), reshard([10, 20], 3)
    ([10, 20, 10, 20], [10, 20], [10, 10, 10])
    """
    if not positions or partitions < 1:
        raise BadInput(f"a group has at least one partition, got {len(positions)} and {partitions!r}")
    common = gcd(len(positions), partitions)
    return [min(positions[k % common :: common]) for k in range(partitions)]


def save_positions(name: str, checkpoints: CheckpointStore, positions: Sequence[int]) -> None:
    """Write the checkpoints of a group that is not running, as `reshard` gives them."""
    for k, position in enumerate(positions):
        checkpoints.save(_key(name, k, len(positions)), position)


def _key(name: str, partition: int, partitions: int) -> str:
    return f"{name}/{partition} of {partitions}"
