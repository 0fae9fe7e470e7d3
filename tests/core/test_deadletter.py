"""What cannot be processed is tried again, put aside, and can be had again; nothing else waits for it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rarera_sim.adapters.memory import MemoryCheckpoints, MemoryLog
from rarera_sim.core.deadletter import Delivery, letters
from rarera_sim.core.errors import BadInput
from rarera_sim.core.event import Event
from rarera_sim.core.group import Group, Member
from rarera_sim.core.log import Query
from rarera_sim.core.retry import Backoff, DeadLetter
from rarera_sim.core.subscription import Subscription

SECOND = 10**9
WORK = Query(types=("tick",))


def a_log(streams):
    log = MemoryLog()
    log.append([Event(s, "tick", {}, source="s", sequence=n, time=n) for n, s in enumerate(streams, start=1)])
    return log


def a_delivery(log, *, after=0, attempts=2, **options):
    subscription = Subscription(log, WORK, after=after, ordered=True, **options)
    return Delivery("w", log, subscription, Backoff(delay=1.0, factor=2.0, attempts_max=attempts))


def bury(delivery, now=0, reason="broken"):
    """Fail whatever comes next until it is a dead letter."""
    recorded = delivery.poll(now)
    while not isinstance(due := delivery.fail(recorded, reason, now), DeadLetter):
        assert delivery.poll(due - 1) != recorded
        now = due
        assert delivery.poll(now) == recorded
    return recorded


def test_a_failure_comes_again_later_each_time_and_its_stream_waits():
    delivery = a_delivery(a_log("aa"), attempts=4)
    first = delivery.poll(0)
    assert delivery.fail(first, "broken", 0) == SECOND
    assert (delivery.poll(SECOND - 1), delivery.next_due(), delivery.waiting) == (None, SECOND, 1)
    assert delivery.poll(SECOND) == first
    assert delivery.fail(first, "broken", SECOND) == 3 * SECOND
    delivery.ack(delivery.poll(3 * SECOND), 3 * SECOND)
    assert delivery.poll(3 * SECOND).position == 2
    assert letters(delivery._log, "w") == []


def test_other_streams_do_not_wait_for_one_that_fails():
    delivery = a_delivery(a_log("ab"))
    delivery.fail(delivery.poll(0), "broken", 0)
    assert delivery.poll(0).position == 2


def test_a_dead_letter_says_why_and_its_stream_goes_on():
    log = a_log("aa")
    delivery = a_delivery(log)
    recorded = bury(delivery, reason="no fare")
    (letter,) = letters(log, "w")
    assert (letter.position, letter.reason, letter.attempts, letter.replayed) == (1, "no fare", 2, None)
    (said,) = (event for _, event in log.read(Query(types=("letter-parked",))))
    assert said.causation == recorded.event.id
    assert delivery.poll(SECOND).position == 2
    assert delivery.subscription.checkpoint == 1


def test_a_replay_begins_anew_and_settles_the_letter():
    log = a_log("ab")
    delivery = a_delivery(log)
    recorded = bury(delivery)
    delivery.replay(1, 5 * SECOND)
    assert letters(log, "w")[0].replayed == 5 * SECOND
    assert delivery.fail(delivery.poll(5 * SECOND), "still broken", 5 * SECOND) == 6 * SECOND
    assert bury(delivery, 6 * SECOND, "still broken") == recorded
    assert [(letter.reason, letter.replayed) for letter in letters(log, "w")] == [("still broken", None)]
    delivery.replay(1, 9 * SECOND)
    delivery.ack(delivery.poll(9 * SECOND), 9 * SECOND)
    assert letters(log, "w") == []
    with pytest.raises(BadInput, match="position 1 is no dead letter"):
        delivery.replay(1, 9 * SECOND)


def test_a_replay_that_was_not_finished_comes_again_after_a_restart():
    log = a_log("ab")
    delivery = a_delivery(log)
    bury(delivery)
    delivery.replay(1, 2 * SECOND)
    with pytest.raises(BadInput, match="being replayed"):
        delivery.replay(1, 2 * SECOND)
    again = a_delivery(log, after=delivery.subscription.checkpoint)
    recorded = again.poll(0)
    assert recorded.position == 1
    again.ack(recorded, 3 * SECOND)
    assert (letters(log, "w"), again.poll(0).position) == ([], 2)


def test_a_crash_after_the_letter_and_before_the_checkpoint_makes_one_letter():
    log = a_log("a")
    bury(a_delivery(log))
    again = a_delivery(log)
    bury(again, SECOND * 9)
    assert len(letters(log, "w")) == 1


def test_failures_are_bounded_like_all_that_is_in_flight():
    delivery = a_delivery(a_log("abcd"), in_flight_max=2)
    for _ in range(2):
        delivery.fail(delivery.poll(0), "broken", 0)
    assert delivery.poll(0) is None


def test_what_waits_here_of_a_partition_that_goes_elsewhere_is_handed_over():
    log, group = a_log("a"), Group("g", MemoryCheckpoints(), partitions=1)
    old = Member("old", group, Subscription(log, WORK, partitions=1, ordered=True))
    delivery = Delivery("old", log, old.subscription, Backoff(delay=100.0, delay_max=100.0, attempts_max=5))
    old.beat(0.0)
    delivery.fail(delivery.poll(0), "broken", 0)
    new = Member("new", group, Subscription(log, WORK, partitions=1, ordered=True))
    new.beat(0.0)
    old.leave()
    assert delivery.poll(1) is None
    old.beat(0.0)
    assert old.gone
    new.beat(0.0)
    assert new.subscription.poll().position == 1


def test_without_a_last_attempt_nothing_would_be_a_dead_letter():
    log = MemoryLog()
    with pytest.raises(BadInput, match="attempts_max"):
        Delivery("w", log, Subscription(log), Backoff())


@settings(max_examples=200)
@given(
    streams=st.text("abc", min_size=1, max_size=12),
    failures=st.dictionaries(st.integers(1, 12), st.integers(1, 6)),
    crashes=st.sets(st.integers(0, 60), max_size=3),
)
def test_any_failures_and_crashes_leave_every_event_done_or_a_letter(streams, failures, crashes):
    log = a_log(streams)
    left, done, order = dict(failures), [], []
    delivery, checkpoint, now = a_delivery(log, attempts=3), 0, 0
    for step in range(400):
        if step in crashes:
            delivery = a_delivery(log, attempts=3, after=checkpoint)
        recorded = delivery.poll(now)
        if recorded is None:
            if delivery.next_due() is None:
                break
            now = delivery.next_due()
            continue
        if left.get(recorded.position, 0):
            left[recorded.position] -= 1
            delivery.fail(recorded, "broken", now)
        else:
            delivery.ack(recorded, now)
            done.append(recorded.position)
            order.append((recorded.event.stream, recorded.position))
        checkpoint = delivery.subscription.checkpoint
    parked = {letter.position for letter in letters(log, "w")}
    assert parked | set(done) == set(range(1, len(streams) + 1))
    if not crashes:
        assert not parked & set(done)
        assert len(done) == len(set(done))
        assert parked == {p for p, n in failures.items() if n >= 3 and p <= len(streams)}
        for stream in set(streams):
            mine = [position for each, position in order if each == stream]
            assert mine == sorted(mine)
    for position in sorted(parked):
        left[position] = 0
        delivery.replay(position, now)
    while recorded := delivery.poll(now):
        delivery.ack(recorded, now)
        done.append(recorded.position)
    assert letters(log, "w") == []
    assert set(done) == set(range(1, len(streams) + 1))
