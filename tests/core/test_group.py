"""Groups: whoever comes, goes or dies, every event is delivered, in order per stream, and effects happen once."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rarera_sim.adapters.memory import MemoryCheckpoints, MemoryLog
from rarera_sim.core.errors import BadInput, SkippedPosition
from rarera_sim.core.event import Event, Recorded
from rarera_sim.core.group import Group, Member, reshard, save_positions
from rarera_sim.core.projection import Materialised, Tally
from rarera_sim.core.subscription import Subscription, partition_of

LEASE = 10.0


def extend(log, streams):
    first = log.head() + 1
    log.append(
        [Event(stream, "tick", {}, source="s", sequence=n, time=n) for n, stream in enumerate(streams, start=first)]
    )


def a_log(streams):
    log = MemoryLog()
    extend(log, streams)
    return log


def a_stream_of(partition, partitions):
    return next(name for name in map(str, range(1000)) if partition_of(name, partitions) == partition)


def a_group(partitions=4):
    return Group("g", MemoryCheckpoints(), partitions=partitions, lease=LEASE)


def held(group, *members, now=0.0):
    return {member: sorted(group.beat(member, now)) for member in members}


# The subscription's side


def test_a_partition_taken_later_begins_at_its_checkpoint_and_repeats_nothing_of_the_others():
    zero, one = a_stream_of(0, 2), a_stream_of(1, 2)
    log = a_log([zero, one] * 5)
    subscription = Subscription(log, partitions=2)
    assert subscription.poll() is None
    subscription.take(0, 0)
    taken = [subscription.poll() for _ in range(2)]
    subscription.take(1, 2)
    while recorded := subscription.poll():
        taken.append(recorded)
    assert [each.position for each in taken] == [1, 3, 4, 5, 6, 7, 8, 9, 10]
    assert (subscription.checkpoint_of(0), subscription.checkpoint_of(1)) == (0, 3)
    for each in taken:
        subscription.ack(each)
    assert (subscription.checkpoint_of(0), subscription.checkpoint_of(1)) == (10, 10)


def test_a_dropped_partition_keeps_the_checkpoint_of_what_is_not_done():
    one = a_stream_of(1, 2)
    subscription = Subscription(a_log([one] * 4), partitions=2, ordered=True)
    subscription.take(1, 0)
    first = subscription.poll()
    assert subscription.poll() is None, "the others are parked"
    subscription.drop(1)
    assert (subscription.poll(), subscription.checkpoint_of(1), subscription.holds(1)) == (None, 0, True)
    subscription.ack(first)
    assert (subscription.poll(), subscription.checkpoint_of(1), subscription.holds(1)) == (None, 1, False)


def test_what_is_released_after_the_drop_is_left_to_the_next_owner():
    one = a_stream_of(1, 2)
    subscription = Subscription(a_log([one] * 2), partitions=2)
    subscription.take(1, 0)
    first, second = subscription.poll(), subscription.poll()
    subscription.drop(1)
    assert not subscription.owns(first)
    subscription.ack(second)
    subscription.release(first)
    assert (subscription.poll(), subscription.checkpoint_of(1)) == (None, 0)
    subscription.take(1, 0)
    assert [subscription.poll().position for _ in range(2)] == [1, 2]


def test_a_partition_checkpoint_beyond_the_log_is_an_error():
    alarms = []
    subscription = Subscription(a_log("a"), partitions=2, alarm=lambda *hole: alarms.append(hole))
    with pytest.raises(SkippedPosition):
        subscription.take(0, 3)
    assert alarms == [(2, 3)]


# The group's side


def test_members_share_evenly_and_little_moves():
    group = a_group(7)
    assert held(group, "a") == {"a": list(range(7))}
    held(group, "b")
    revoked = [k for k, grant in group.beat("a", 0.0).items() if grant.revoked]
    assert len(revoked) == 3
    for k in revoked:
        assert group.give_up("a", k, group.beat("a", 0.0)[k].epoch, 5)
    assert held(group, "a", "b") == {"a": [0, 1, 2, 3], "b": revoked}
    assert {grant.after for grant in group.beat("b", 0.0).values()} == {5}


def test_a_partition_has_no_new_owner_until_the_old_one_gives_it_up():
    group = a_group(1)
    (grant,) = group.beat("b", 0.0).values()
    group.beat("a", 0.0)
    group.leave("b")
    assert held(group, "a", "b") == {"a": [], "b": [0]}
    assert group.beat("b", 0.0)[0].revoked
    assert group.commit("b", 0, grant.epoch, 3)
    assert group.give_up("b", 0, grant.epoch, 4)
    assert group.members == ["a"]
    assert group.beat("a", 0.0)[0].after == 4


def test_the_silent_lose_what_they_had_and_their_commits_are_refused():
    group = a_group(1)
    (old,) = group.beat("a", 0.0).values()
    assert group.commit("a", 0, old.epoch, 3)
    group.beat("b", 1.0)
    (new,) = group.beat("b", LEASE + 0.5).values()
    assert (new.after, new.epoch > old.epoch) == (3, True)
    assert not group.commit("a", 0, old.epoch, 9)
    assert not group.give_up("a", 0, old.epoch, 9)
    assert group.positions() == [3]


def test_whoever_comes_back_is_a_new_member():
    group = a_group(2)
    (old, _) = group.beat("a", 0.0).values()
    assert group.expire(LEASE * 2) == ["a"]
    assert all(grant.epoch > old.epoch for grant in group.beat("a", LEASE * 3).values())


def test_a_commit_never_goes_back():
    group = a_group(1)
    (grant,) = group.beat("a", 0.0).values()
    group.commit("a", 0, grant.epoch, 5)
    group.commit("a", 0, grant.epoch, 4)
    assert group.checkpoint == 5


def test_another_coordinator_goes_on_and_knows_old_epochs():
    checkpoints = MemoryCheckpoints()
    first = Group("g", checkpoints, partitions=2)
    epochs = {k: grant.epoch for k, grant in first.beat("a", 0.0).items()}
    first.commit("a", 0, epochs[0], 7)
    second = Group("g", checkpoints, partitions=2)
    assert second.positions() == [7, 0]
    again = second.beat("a", 0.0)
    assert not set(epochs.values()) & {grant.epoch for grant in again.values()}
    assert not second.commit("a", 1, epochs[1], 9)


def test_a_lost_answer_costs_a_beat():
    group = a_group(2)
    assert group.beat("a", 0.0) == group.beat("a", 0.1)


def test_when_all_have_left_the_next_takes_everything():
    group, log = a_group(3), a_log("abc")
    member = Member("a", group, Subscription(log, partitions=3))
    member.beat(0.0)
    member.leave()
    assert member.gone
    assert group.members == []
    assert held(group, "b") == {"b": [0, 1, 2]}


@pytest.mark.parametrize("options", [{"partitions": 0}, {"lease": 0.0}, {"lease": float("nan")}], ids=str)
def test_options_that_cannot_be_are_refused(options):
    with pytest.raises(BadInput, match=next(iter(options))):
        Group("g", MemoryCheckpoints(), **options)


@given(
    st.lists(st.text("abcdefgh/", min_size=1, max_size=3), max_size=30),
    st.integers(1, 8),
    st.integers(1, 8),
    st.data(),
)
def test_another_number_of_partitions_leaves_nothing_out(streams, old, new, data):
    log = a_log(streams)
    before = [data.draw(st.integers(0, log.head())) for _ in range(old)]
    done = {p for p, event in log.read() if p <= before[partition_of(event.stream, old)]}
    after = reshard(before, new)
    again = {p for p, event in log.read() if p > after[partition_of(event.stream, new)]}
    assert done | again == set(range(1, log.head() + 1))
    checkpoints = MemoryCheckpoints()
    save_positions("g", checkpoints, after)
    assert Group("g", checkpoints, partitions=new).positions() == after
    assert reshard(before, old) == before, "and nothing twice where nothing changes"


def test_a_group_of_nothing_is_refused():
    for positions, partitions in (([], 1), ([1], 0)):
        with pytest.raises(BadInput, match="at least one partition"):
            reshard(positions, partitions)


STEPS = ["poll", "poll", "poll", "ack", "ack", "release", "beat", "beat", "join", "leave", "die", "append", "wait"]


@settings(max_examples=300)
@given(
    streams=st.text("abcdefg", max_size=20),
    partitions=st.integers(1, 4),
    deaths=st.booleans(),
    prefetch=st.integers(1, 12),
    steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 11)), max_size=80),
)
def test_any_coming_and_going_delivers_all_in_order_and_takes_effect_once(streams, partitions, deaths, prefetch, steps):
    log, checkpoints = a_log(streams), MemoryCheckpoints()
    group = Group("g", checkpoints, partitions=partitions, lease=LEASE)
    now = 0.0
    live: dict[str, Member] = {}
    zombies: list[Member] = []
    hands: list[tuple[Member, Recorded]] = []
    born = 0
    effect, last = Materialised(Tally()), {}
    acknowledged: list[int] = []
    # What is given back when its partition is handed over comes again there, and so does what was done after it.
    once = not deaths and all(step != "release" for step, _ in steps)

    def join():
        nonlocal born
        born += 1
        member = Member(f"m{born}", group, Subscription(log, partitions=partitions, ordered=True, prefetch=prefetch))
        live[member.name] = member
        member.beat(now)

    def finish(member, recorded):
        position, event = recorded
        # A stream's events come in order, so one number per stream says what is done; it agrees with `Materialised`.
        fresh = position > last.get(event.stream, 0)
        assert effect.apply(recorded) == fresh
        last[event.stream] = max(position, last.get(event.stream, 0))
        member.subscription.ack(recorded)
        acknowledged.append(position)

    def beat(member):
        member.beat(now)
        if member.gone and member.name not in group.members:
            live.pop(member.name, None)

    def check():
        owners = [(k, m.name) for m in live.values() for k in m.subscription.partitions if m.name in group._heard]
        if not deaths:
            assert len({k for k, _ in owners}) == len(owners), "a partition has one owner"
            streams = [recorded.event.stream for _, recorded in hands]
            assert len(set(streams)) == len(streams), "one event per stream in flight in the whole group"
        for k, position in enumerate(group.positions()):
            todo = [p for p, e in log.read(upto=position) if partition_of(e.stream, partitions) == k]
            assert all(p <= last.get(log._records[p - 1].event.stream, 0) for p in todo), "a checkpoint passed by"

    for step, number in steps:
        members = [*live.values(), *zombies]
        member = members[number % len(members)] if members else None
        if step == "join" and len(live) < 4:
            join()
        elif step == "append":
            extend(log, "abcdefg"[: number % 7 + 1])
            for each in members:
                each.subscription.ring()
        elif step == "wait" and deaths:
            now += LEASE * 0.6
        elif member is None:
            continue
        elif step == "poll":
            if recorded := member.subscription.poll():
                if once:
                    assert recorded.position > last.get(recorded.event.stream, 0), "in order, and never twice"
                hands.append((member, recorded))
        elif step in ("ack", "release") and hands:
            holder, recorded = hands.pop(number % len(hands))
            if step == "ack":
                finish(holder, recorded)
            else:
                holder.subscription.release(recorded)
        elif step == "beat" and member.name in live:
            beat(member)
        elif step == "leave" and member.name in live:
            member.leave()
        elif step == "die" and deaths and member.name in live:
            # It works on with what it has and is heard of no more: the worst kind of dead.
            zombies.append(live.pop(member.name))
        check()
    now += LEASE * 2 if deaths else 0.0
    for member in zombies:
        for holder, recorded in [each for each in hands if each[0] is member]:
            hands.remove((holder, recorded))
            finish(holder, recorded)
    join()
    for _ in range(200):
        for member in tuple(live.values()):
            for holder, recorded in [each for each in hands if each[0] is member]:
                hands.remove((holder, recorded))
                finish(holder, recorded)
            beat(member)
            member.subscription.ring()
            while recorded := member.subscription.poll():
                finish(member, recorded)
            check()
        if group.checkpoint == log.head():
            break
    assert group.checkpoint == log.head()
    assert effect.position == log.head()
    assert set(acknowledged) == set(range(1, log.head() + 1))
    if once:
        assert len(acknowledged) == log.head(), "handed over, not delivered twice"
