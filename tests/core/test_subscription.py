"""Delivery: at least once, in order where asked, resumable."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rarera_sim.adapters.memory import MemoryLog
from rarera_sim.core.errors import SkippedPosition
from rarera_sim.core.event import Event, Recorded
from rarera_sim.core.log import Query
from rarera_sim.core.subscription import Subscription


def a_log(streams):
    log = MemoryLog()
    extend(log, streams)
    return log


def extend(log, streams):
    first = log.head() + 1
    log.append(
        [Event(stream, "tick", {}, source="s", sequence=n, time=n) for n, stream in enumerate(streams, start=first)]
    )


def drain(subscription):
    taken = []
    while recorded := subscription.poll():
        taken.append(recorded)
    return taken


def positions(recorded):
    return [each.position for each in recorded]


def test_events_come_in_order_each_once_while_nothing_fails():
    subscription = Subscription(a_log("abcab"), prefetch=2)
    assert positions(drain(subscription)) == [1, 2, 3, 4, 5]
    assert (subscription.in_flight, subscription.checkpoint) == (5, 0)


def test_an_idle_subscription_asks_the_log_only_when_rung():
    log = a_log("a")
    subscription = Subscription(log)
    drain(subscription)
    extend(log, "b")
    assert subscription.poll() is None
    subscription.ring()
    assert subscription.poll().position == 2


def test_a_ring_during_the_read_is_not_lost():
    log = a_log("a")
    subscription = Subscription(log)
    read = log.read

    def read_and_be_rung(*arguments, **options):
        found = list(read(*arguments, **options))
        extend(log, "b")
        subscription.ring()
        log.read = read
        return iter(found)

    log.read = read_and_be_rung
    assert positions(drain(subscription)) == [1, 2]


def test_the_checkpoint_waits_for_the_oldest_that_is_not_acknowledged():
    subscription = Subscription(a_log("abc"))
    first, second, third = drain(subscription)
    subscription.ack(second)
    assert subscription.checkpoint == 0
    subscription.ack(first)
    assert subscription.checkpoint == 2
    subscription.ack(third)
    assert subscription.checkpoint == 3


def test_a_restart_from_the_checkpoint_delivers_what_was_not_acknowledged():
    log = a_log("abcd")
    before = Subscription(log, prefetch=2)
    taken = drain(before)
    before.ack(taken[0])
    before.ack(taken[2])
    assert positions(drain(Subscription(log, after=before.checkpoint))) == [2, 3, 4]


def test_what_is_released_comes_again_before_anything_newer():
    subscription = Subscription(a_log("abcd"), prefetch=2)
    first, second = subscription.poll(), subscription.poll()
    subscription.release(second)
    subscription.release(first)
    assert positions(drain(subscription)) == [1, 2, 3, 4]


def test_all_that_may_be_delivered_comes_at_once_what_was_released_first():
    subscription = Subscription(a_log("abcdef"), prefetch=4)
    first, second, third = (subscription.poll() for _ in range(3))
    subscription.release(second)
    subscription.release(first)
    assert positions(subscription.poll_all()) == [1, 2, 4, 5, 6]
    assert (subscription.in_flight, subscription.poll_all()) == (6, [])
    subscription.ack(third)
    assert subscription.checkpoint == 0


def test_all_at_once_is_no_more_than_may_be_in_flight():
    subscription = Subscription(a_log("abcdef"), in_flight_max=4)
    assert positions(subscription.poll_all()) == [1, 2, 3, 4]


def test_only_what_was_delivered_can_be_acknowledged_or_released():
    subscription = Subscription(a_log("a"))
    recorded = subscription.poll()
    subscription.ack(recorded)
    for wrong in (subscription.ack, subscription.release):
        with pytest.raises(AssertionError, match="without delivery"):
            wrong(recorded)


def test_ordered_keeps_one_event_per_stream_in_flight():
    subscription = Subscription(a_log("aabab"), ordered=True)
    first, other = drain(subscription)
    assert (first.position, other.position) == (1, 3)
    subscription.ack(first)
    assert positions(drain(subscription)) == [2]
    subscription.ack(other)
    assert positions(drain(subscription)) == [5]
    assert subscription.checkpoint == 1


def test_ordered_delivers_a_released_event_before_its_successors():
    subscription = Subscription(a_log("aa"), ordered=True)
    first = subscription.poll()
    assert subscription.poll() is None
    subscription.release(first)
    assert subscription.poll() == first
    assert subscription.poll() is None


def test_parked_events_are_bounded_and_all_come_in_the_end():
    log = a_log("a" * 50 + "b")
    subscription = Subscription(log, ordered=True, parked_max=3, prefetch=2)
    first = subscription.poll()
    assert subscription.poll() is None
    assert sum(len(queue) for queue in subscription._parked.values()) == 3
    delivered = []
    holding = first
    while holding:
        delivered.append(holding.position)
        subscription.ack(holding)
        holding = subscription.poll()
    assert sorted(delivered) == list(range(1, 52))
    assert subscription.checkpoint == 51


@given(st.lists(st.text("abcdé/", min_size=1, max_size=4), max_size=40), st.integers(1, 5))
def test_the_members_of_a_group_share_out_everything_once(streams, members):
    log = a_log(streams)
    shares = [drain(Subscription(log, partition=(k, members), prefetch=3)) for k in range(members)]
    assert sorted(position for share in shares for position, _ in share) == list(range(1, len(streams) + 1))
    owners = {(event.stream, k) for k, share in enumerate(shares) for _, event in share}
    assert len(owners) == len(set(streams)), "a stream has one owner"


def test_a_checkpoint_passes_what_is_not_ours():
    log = a_log("abcdefgh")
    member = Subscription(log, partition=(0, 3))
    for recorded in drain(member):
        member.ack(recorded)
    assert member.checkpoint == 8
    picky = Subscription(log, Query(streams=("c",)))
    picky.ack(picky.poll())
    assert picky.poll() is None
    assert picky.checkpoint == 8


def test_a_query_looks_once_through_what_it_leaves_out():
    log = a_log("a" * 10)
    subscription = Subscription(log, Query(streams=("none",)))
    asked = []
    read = log.read
    log.read = lambda query, *, after, limit: asked.append(after) or read(query, after=after, limit=limit)
    for _ in range(3):
        subscription.ring()
        assert subscription.poll() is None
    assert asked == [0, 10, 10]


class HoledLog(MemoryLog):
    def read(self, *arguments, **options):
        return (recorded for recorded in super().read(*arguments, **options) if recorded.position != 3)


@pytest.mark.parametrize("query", [None, Query()])
def test_a_skipped_position_is_an_error(query):
    log = HoledLog()
    extend(log, "abcd")
    subscription = Subscription(log) if query is None else Subscription(log, query)
    with pytest.raises(SkippedPosition, match="4 came after 2"):
        drain(subscription)


def test_a_checkpoint_beyond_the_end_of_the_log_is_an_error():
    with pytest.raises(SkippedPosition, match="beyond the end"):
        Subscription(a_log("abc"), after=4)
    assert Subscription(a_log("abc"), after=3).poll() is None


@pytest.mark.parametrize(
    "options",
    [{"prefetch": 0}, {"partition": (2, 2)}, {"partition": (-1, 2)}, {"partition": (0, 0)}, {"parked_max": 0}],
    ids=str,
)
def test_options_that_cannot_be_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Subscription(MemoryLog(), **options)


@settings(max_examples=300)
@given(
    streams=st.text("ab/c", max_size=12),
    later=st.text("abd", max_size=4),
    ordered=st.booleans(),
    prefetch=st.integers(1, 4),
    parked_max=st.integers(1, 4),
    member=st.sampled_from([None, (0, 2), (1, 2)]),
    steps=st.lists(
        st.tuples(st.sampled_from(["poll", "poll", "ack", "release", "append"]), st.integers(0, 5)), max_size=60
    ),
)
def test_any_interleaving_delivers_each_and_the_checkpoint_never_passes_what_is_open(
    streams, later, ordered, prefetch, parked_max, member, steps
):
    log = a_log(streams)
    subscription = Subscription(log, ordered=ordered, prefetch=prefetch, parked_max=parked_max, partition=member)
    held: list[Recorded] = []
    done: list[int] = []
    checkpoint = 0

    def mine():
        everything = MemoryLog()
        everything.append([event for _, event in log.read()])
        return positions(drain(Subscription(everything, partition=member)))

    def check():
        nonlocal checkpoint
        open_ones = [position for position in mine() if position not in done]
        assert checkpoint <= subscription.checkpoint, "a checkpoint never goes back"
        checkpoint = subscription.checkpoint
        assert all(position > checkpoint for position in open_ones)
        assert subscription.in_flight == len(held)
        if ordered:
            assert len({recorded.event.stream for recorded in held}) == len(held)

    for step, number in steps:
        if step == "poll":
            twin = copy.deepcopy(subscription)
            assert twin.poll_all() == list(iter(copy.deepcopy(subscription).poll, None))
            assert twin.poll() is None
            recorded = subscription.poll()
            if recorded:
                assert recorded.position not in done
                if ordered:
                    stream = recorded.event.stream
                    earlier = [p for p, event in log.read(Query(streams=(stream,)), upto=recorded.position - 1)]
                    assert all(position in done for position in earlier), "a stream is delivered in order"
                held.append(recorded)
        elif step == "append":
            extend(log, later)
            subscription.ring()
        elif held:
            recorded = held.pop(number % len(held))
            if step == "ack":
                subscription.ack(recorded)
                done.append(recorded.position)
            else:
                subscription.release(recorded)
        check()
    while held or (recorded := subscription.poll()):
        recorded = held.pop() if held else recorded
        subscription.ack(recorded)
        done.append(recorded.position)
    check()
    assert sorted(done) == mine(), "each once, as none was acknowledged twice"
    assert subscription.checkpoint == log.head()
