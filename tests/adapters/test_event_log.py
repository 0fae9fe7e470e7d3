"""The contract of `EventLog`: every adapter runs all of it."""

from __future__ import annotations

from importlib.util import find_spec
from itertools import islice
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from rarera_sim.adapters.beside import FolderCheckpoints, FolderSnapshots
from rarera_sim.adapters.follow import follow
from rarera_sim.adapters.memory import MemoryCheckpoints, MemoryLog, MemorySnapshots
from rarera_sim.adapters.sqlite import SqliteCheckpoints, SqliteSnapshots
from rarera_sim.adapters.urls import open_log
from rarera_sim.core.errors import BadInput, Conflict, InvalidEvent, WrongPosition
from rarera_sim.core.event import Event, Recorded
from rarera_sim.core.integrity import CHAIN_START, link, verify
from rarera_sim.core.log import ALL, Query
from rarera_sim.core.projection import Materialised, Tally, rebuild
from rarera_sim.core.snapshot import Snapshot
from rarera_sim.core.subscription import Subscription
from rarera_sim.core.trace import Stage, Step

ADAPTERS = ("memory", "sqlite", "postgres", "files", "files buffered", "tiered", "tiered parquet", "tiered postgres")
# So small that events change their form and their tier all the time.
SMALL = {
    "files": "files://{path}?segment_bytes=1000&compression=zstd&block_events=5",
    "files buffered": "files://{path}?segment_bytes=1000&buffer_bytes=400",
    "tiered": "tiered://{path}?hot=3&warm=8",
    "tiered parquet": "tiered://{path}?hot=0&warm=8&cold=parquet",
    "tiered postgres": "tiered://{path}?hot=3&warm=30&store={postgres}",
}
# The smallest and largest of everything that a log has to store.
EXTREMES = (
    Event("a", "b", {}, source="c", sequence=1, time=0),
    Event(
        "é/\U0001f600", "type of two words", {"": [None, -0.0, "'; DROP TABLE events; --"]}, "s", 2**63 - 1, 2**63 - 1
    ),
    Event("a", "b", {"blob": "x" * 200_000}, source="c", sequence=2, time=1, causation=b"\xff" * 32),
)


def an_event(sequence=1, *, stream="EWR/UA1", kind="departed", source="EWR", time=None, **data):
    return Event(stream, kind, data, source=source, sequence=sequence, time=sequence if time is None else time)


def some_events(count, **fields):
    return [an_event(sequence, **fields) for sequence in range(1, count + 1)]


@pytest.fixture(params=ADAPTERS)
def make_log(request, tmp_path):
    made = []

    def make():
        options = {}
        match request.param:
            case "memory":
                name = "memory:"
            case "sqlite":
                name = f"sqlite:///{tmp_path}/{len(made)}.sqlite"
            case "postgres":
                name = request.getfixturevalue("postgres_url")()
            case kind:
                pytest.importorskip("zstandard", reason="rarera-sim[zstd] is not installed")
                postgres = quote(request.getfixturevalue("postgres_url")()) if "postgres" in kind else ""
                name = SMALL[kind].format(path=f"/{tmp_path}/{len(made)}", postgres=postgres)
                options = {"durability": "normal"}
        made.append(open_log(name, **options))
        return made[-1]

    yield make
    for log in made:
        log.close()


@pytest.fixture
def log(make_log):
    return make_log()


def test_an_empty_log_is_at_position_zero_and_gives_nothing(log):
    assert (log.head(), list(log.read()), log.sequences(), log.append([])) == (0, [], {}, [])


def test_positions_are_dense_from_one_in_the_order_given(log):
    events = some_events(3)
    assert log.append(events[:2]) == [Recorded(1, events[0]), Recorded(2, events[1])]
    assert log.append(events[2:]) == [Recorded(3, events[2])]
    assert log.head() == 3


def test_what_is_read_is_what_was_appended_to_the_byte(log):
    log.append(EXTREMES)
    assert [recorded.event.frame for recorded in log.read()] == [event.frame for event in EXTREMES]
    assert [recorded.event for recorded in log.read()] == list(EXTREMES)


def test_appending_again_changes_nothing(log):
    events = some_events(3)
    log.append(events)
    assert log.append(events) == []
    assert log.head() == 3


def test_an_event_twice_in_a_batch_is_recorded_once(log):
    first, second = some_events(2)
    assert log.append([first, first, second, first]) == [Recorded(1, first), Recorded(2, second)]


def test_repeats_between_new_events_leave_no_gaps(log):
    events = some_events(5)
    log.append(events[1:3])
    assert [recorded.position for recorded in log.append(events)] == [3, 4, 5]
    assert [event.sequence for _, event in log.read()] == [2, 3, 1, 4, 5]


def test_other_content_at_the_same_place_is_a_conflict_and_nothing_of_the_batch_stays(log):
    log.append([an_event(1)])
    with pytest.raises(Conflict, match="EWR#1"):
        log.append([an_event(2, stream="new"), an_event(1, delay=5), an_event(3)])
    assert log.head() == 1
    assert [recorded.position for recorded in log.append([an_event(2, stream="new")])] == [2]


def test_two_events_at_one_place_in_a_batch_are_a_conflict(log):
    with pytest.raises(Conflict):
        log.append([an_event(1), an_event(1, delay=5)])
    assert log.head() == 0


def test_one_sequence_of_two_sources_is_no_conflict(log):
    assert len(log.append([an_event(1, source="EWR"), an_event(1, source="JFK")])) == 2


def test_an_event_without_canonical_form_stops_the_whole_batch(log):
    with pytest.raises(InvalidEvent):
        log.append([an_event(1), an_event(2, delay=float("nan"))])
    assert log.head() == 0


def test_an_expected_position_is_that_of_the_streams_newest_event(log):
    log.append([an_event(1, stream="a"), an_event(2, stream="b")])
    assert log.append([an_event(3, stream="a")], expected=1)[0].position == 3
    assert log.append([an_event(4, stream="c")], expected=0)[0].position == 4


def test_a_stream_that_moved_on_refuses_and_appends_nothing(log):
    log.append([an_event(1), an_event(2)])
    for expected in (0, 1, 3):
        with pytest.raises(WrongPosition, match="is at position 2"):
            log.append([an_event(3), an_event(4)], expected=expected)
    assert log.head() == 2


def test_repeating_an_append_that_was_not_heard_of_is_no_lost_race(log):
    events = some_events(2)
    log.append(events, expected=0)
    assert log.append(events, expected=0) == []


def test_an_expected_position_is_about_one_stream(log):
    for events in ([an_event(1, stream="a"), an_event(2, stream="b")], []):
        with pytest.raises(BadInput, match="one stream"):
            log.append(events, expected=0)


def test_reading_goes_both_ways_and_stops_where_told(log):
    log.append(some_events(10))

    def positions(**range_):
        return [recorded.position for recorded in log.read(**range_)]

    assert positions(after=3, upto=6) == [4, 5, 6]
    assert positions(after=3, upto=6, backwards=True) == [6, 5, 4]
    assert positions(limit=2) == [1, 2]
    assert positions(limit=2, backwards=True) == [10, 9]
    assert positions(after=8, limit=5) == [9, 10]
    assert positions(limit=0) == positions(upto=0) == positions(after=10) == positions(after=2**70) == []
    assert positions(upto=2**70, limit=2**70) == list(range(1, 11))


@pytest.mark.parametrize("range_", [{"after": -1}, {"upto": -1}, {"limit": 1.5}, {"after": True}, {"limit": "1"}])
def test_a_position_that_is_none_is_refused_when_reading_begins(log, range_):
    with pytest.raises(BadInput, match="must be an integer"):
        log.read(**range_)


def test_every_field_of_a_query_narrows(log):
    events = [
        an_event(number, stream=f"{processor}/{number % 3}", kind=kind, source=source, time=number * 10)
        for number, (processor, kind, source) in enumerate(
            ((p, k, s) for p in ("EWR", "JFK") for k in ("departed", "arrived") for s in ("x", "y", "z")), start=1
        )
    ]
    log.append(events)
    for query in (
        Query(processors=("EWR",)),
        Query(processors=("EWR", "JFK", "none such"), types=("arrived",)),
        Query(streams=("EWR/1", "JFK/2")),
        Query(sources=("x", "z"), since=30),
        Query(since=20, until=70, types=("departed",)),
        Query(since=70, until=70),
        Query(since=-5, until=2**80),
        Query(since=2**80),
        Query(until=-1),
        Query(types=("none such",)),
        Query(types=("\ud800",)),
        Query(streams=("EWR' OR 1=1 --",)),
    ):
        expected = [event for event in events if query.matches(event)]
        assert [event for _, event in log.read(query)] == expected, query
        assert [event for _, event in log.read(query, backwards=True)] == expected[::-1], query
        assert [event for _, event in log.read(query, after=2, limit=2)] == [e for e in expected if e.sequence > 2][:2]


def test_a_read_gives_what_was_recorded_when_it_began(log):
    events = some_events(4)
    log.append(events[:2])
    reading = log.read()
    assert next(reading).position == 1
    log.append(events[2:])
    assert [recorded.position for recorded in reading] == [2]


def test_readers_left_half_way_do_no_harm(log):
    log.append(some_events(2_500))
    readers = [log.read(backwards=backwards) for backwards in (False, True) for _ in range(20)]
    for reader in readers:
        next(reader)
    log.append([an_event(2_501)])
    del readers
    assert log.head() == 2_501


def test_a_long_read_crosses_pages_without_loss(log):
    events = some_events(2_345)
    log.append(events)
    assert [recorded.position for recorded in log.read()] == list(range(1, 2_346))
    assert [recorded.position for recorded in log.read(backwards=True)] == list(range(2_345, 0, -1))
    assert [recorded.position for recorded in log.read(after=500, upto=2_100, limit=1_500)] == list(range(501, 2_001))


def test_an_event_is_found_by_its_id(log):
    events = some_events(3)
    log.append(events)
    assert log.find(events[1].id) == Recorded(2, events[1])
    assert log.find(b"\0" * 32) is None


def test_events_are_found_by_the_first_digits_of_their_uid_in_its_order(log):
    events = [an_event(n, time=n % 3 * 10**18) for n in range(1, 20)]
    fill_slowly(log, events)
    in_order = sorted(events, key=lambda event: event.id)
    for event in events:
        for digits in (1, 2, 15, 17, 40, 63, 64):
            prefix = event.id.hex()[:digits]
            expected = [each for each in in_order if each.id.hex().startswith(prefix)]
            assert [found.event for found in log.find_prefix(prefix.upper())] == expected
    assert [found.event for found in log.find_prefix("0", limit=2)] == in_order[:2]
    assert all(log.find(found.event.id) == found for found in log.find_prefix("0"))
    assert log.find_prefix("f") == log.find_prefix("7") == []
    for prefix in ("", "xyz", "0" * 65):
        with pytest.raises(BadInput, match="hex digits"):
            log.find_prefix(prefix)


def test_the_journey_of_an_event_is_given_in_order_of_time(log):
    event = an_event(1)
    log.append([event])
    first = [Step(2.5, Stage.RECORDED, event.id, "log"), Step(0.25, Stage.CREATED, event.id, "EWR")]
    second = [Step(2.5, Stage.STARTED, event.id, "processor é"), Step(0.1, Stage.CREATED, an_event(2).id, "EWR")]
    assert log.steps_of(event.id) == []
    log.save_steps(iter(first))
    log.save_steps([])
    log.save_steps(iter(second))
    assert log.steps_of(event.id) == [first[1], first[0], second[0]]
    assert log.steps_of(an_event(2).id) == [second[1]]
    assert log.steps_of(b"\0" * 32) == []
    assert verify(log).intact
    assert log.head() == 1, "a journey is no part of the log"


def test_a_follower_catches_up_and_then_gets_what_is_new_once_and_in_order(log):
    log.append(some_events(5))
    follower = Subscription(log, prefetch=2)
    seen = []
    for first in (6, 9, 20):
        follower.ring()
        while recorded := follower.poll():
            seen.append(recorded.position)
            follower.ack(recorded)
        assert seen == list(range(1, log.head() + 1))
        log.append([an_event(n) for n in range(first, first + 3)])
    resumed = Subscription(log, after=follower.checkpoint)
    assert resumed.poll().position == len(seen) + 1


def test_following_catches_up_and_then_waits_for_what_is_new(log):
    log.append(some_events(5))
    waits = []

    def wait(_):
        waits.append(log.head())
        log.append([an_event(log.head() + 1)])

    seen = [recorded.position for recorded in islice(follow(log, after=2, sleep=wait), 6)]
    assert seen == [3, 4, 5, 6, 7, 8]
    assert waits == [5, 6, 7]


def test_following_ends_after_a_quiet_time(log):
    log.append(some_events(3))
    waits = []
    assert [each.position for each in follow(log, period=0.5, idle_max=2.0, sleep=waits.append)] == [1, 2, 3]
    assert waits == [0.5] * 4


def test_a_chain_known_at_a_position_is_that_of_the_events_up_to_there(log):
    events = some_events(30)
    fill_slowly(log, events)
    assert log.chain_head() == verify(log).head
    chain = CHAIN_START
    for position in range(31):
        assert log.chain_at(position) == chain
        chain = link(chain, events[position % 30].id)
    assert log.chain_at(31) is None


def test_the_sequences_of_each_source_are_given_in_runs(log):
    log.append([an_event(n, source="EWR") for n in (7, 1, 2, 5, 3)] + [an_event(4, source="JFK")])
    assert log.sequences() == {"EWR": [(1, 3), (5, 5), (7, 7)], "JFK": [(4, 4)]}


def test_an_intact_log_is_said_to_be_intact_with_its_head(log):
    log.append(some_events(5))
    verdict = verify(log)
    assert (verdict.intact, verdict.reason, verdict.head.position) == (True, "", 5)
    assert verify(log, expected_head=verdict.head).intact


def test_logs_have_one_head_exactly_when_they_hold_the_same_events_in_order(make_log):
    events = some_events(6)
    logs = [make_log() for _ in range(3)]
    logs[0].append(events)
    logs[1].append(events[:1])
    logs[1].append(events[1:])
    logs[2].append([*events[:4], events[5], events[4]])
    heads = [verify(log).head for log in logs]
    assert heads[0] == heads[1] == verify(fill(MemoryLog(), events)).head
    assert heads[0].chain != heads[2].chain


def test_a_head_kept_elsewhere_finds_the_lost_tail(make_log):
    whole, cut = fill(make_log(), some_events(5)), fill(make_log(), some_events(3))
    verdict = verify(cut, expected_head=verify(whole).head)
    assert (verdict.intact, verdict.position) == (False, 4)
    assert "tail is lost" in verdict.reason


def test_a_head_kept_elsewhere_finds_a_log_written_anew(make_log):
    original = fill(make_log(), some_events(5))
    forged = fill(make_log(), [an_event(n, delay=n) if n == 2 else an_event(n) for n in range(1, 8)])
    verdict = verify(forged, expected_head=verify(original).head)
    assert (verdict.intact, verdict.position) == (False, 5)


def fill(log, events):
    log.append(events)
    return log


def fill_slowly(log, events):
    """A few at a time, so that they come to lie in segments, blocks and tiers of every kind."""
    for at in range(0, len(events), 3):
        log.append(events[at : at + 3])
    return log


# Snapshots and checkpoints


def stores_of(log):
    """The snapshot store and the checkpoints that belong to a log."""
    match type(log).__name__:
        case "MemoryLog":
            return MemorySnapshots(log), MemoryCheckpoints()
        case "SqliteLog":
            return SqliteSnapshots(log), SqliteCheckpoints(log)
        case "PostgresLog":
            from rarera_sim.adapters.postgres import PostgresCheckpoints, PostgresSnapshots

            return PostgresSnapshots(log), PostgresCheckpoints(log)
        case _:
            return FolderSnapshots(log), FolderCheckpoints(log)


@pytest.fixture
def stores(log):
    fill_slowly(log, some_events(30))
    return stores_of(log)


def test_the_furthest_usable_snapshot_is_given(stores):
    snapshots, _ = stores
    kept = [
        Snapshot.of("tally", 1, position, time, {"n": position}) for position, time in ((10, 50), (20, 90), (30, 70))
    ]
    for snapshot in kept:
        snapshots.save(snapshot)
    assert snapshots.latest("tally", 1) == kept[2]
    assert snapshots.latest("tally", 1, upto=29) == kept[1]
    assert snapshots.latest("tally", 1, as_of=60) == kept[0]
    assert snapshots.latest("tally", 1, upto=25, as_of=75) == kept[0]
    assert snapshots.latest("tally", 1, upto=2**70, as_of=2**70) == kept[2]
    assert snapshots.latest("tally", 1, upto=9) is None


def test_a_snapshot_of_another_version_or_projection_is_not_read(stores):
    snapshots, _ = stores
    snapshots.save(Snapshot.of("tally", 1, 10, 50, {}))
    assert snapshots.latest("tally", 2) is None
    assert snapshots.latest("other", 1) is None


def test_a_snapshot_at_the_same_position_replaces_the_earlier_one(stores):
    snapshots, _ = stores
    snapshots.save(Snapshot.of("tally", 1, 10, 50, {"n": 1}))
    snapshots.save(Snapshot.of("tally", 1, 10, 50, {"n": 2}))
    assert snapshots.latest("tally", 1) == Snapshot.of("tally", 1, 10, 50, {"n": 2})


def test_nothing_is_left_of_snapshots_that_were_cleared(stores, log):
    snapshots, _ = stores
    for position in (10, 20):
        snapshots.save(Snapshot.of("tally", 1, position, 50, {"n": position}))
    snapshots.clear()
    snapshots.clear()
    assert snapshots.latest("tally", 1) is None
    snapshots.save(Snapshot.of("tally", 1, 10, 50, {"n": 1}))
    assert snapshots.latest("tally", 1) == Snapshot.of("tally", 1, 10, 50, {"n": 1})
    assert verify(log).intact


def test_a_rebuild_from_snapshots_gives_the_same_as_one_without(stores, log):
    snapshots, _ = stores
    tally = Materialised(Tally())
    for recorded in log.read():
        tally.apply(recorded)
        if recorded.position % 10 == 0:
            snapshots.save(tally.snapshot())
    for moment in ({}, {"upto": 25}, {"upto": 9}, {"as_of": 17}, {"as_of": 25, "upto": 12}):
        assert rebuild(Tally(), log, snapshots=snapshots, **moment) == rebuild(Tally(), log, **moment)


def test_checkpoints_are_kept_by_name(stores, log):
    _, checkpoints = stores
    assert checkpoints.load("billing") == 0
    checkpoints.save("billing", 5)
    checkpoints.save("billing", 7)
    checkpoints.save("other", 1)
    assert (checkpoints.load("billing"), checkpoints.load("other")) == (7, 1)
    assert verify(log).intact


# Any sequence of calls, against a plain list


names = st.sampled_from(["EWR", "JFK/1", "JFK/2", "é"])
events = st.builds(
    Event,
    stream=names,
    type=names,
    data=st.sampled_from([{}, {"speed": 1}, {"speed": 1.0}]),
    source=names,
    sequence=st.integers(1, 6),
    time=st.integers(0, 3),
)
# Mostly one condition: several together hardly ever match anything.
some_names = st.just(()) | st.just(()) | st.lists(names, min_size=1, max_size=2).map(tuple)
queries = st.builds(
    Query,
    processors=some_names,
    streams=some_names,
    types=some_names,
    sources=some_names,
    since=st.none() | st.integers(0, 1),
    until=st.none() | st.integers(2, 3),
)


class AgainstAList(RuleBasedStateMachine):
    def __init__(self, make):
        super().__init__()
        self.make = make
        self.model: list[Event] = []

    @initialize()
    def open(self):
        self.log = self.make()

    @rule(batch=st.lists(events, max_size=5))
    def append(self, batch):
        places = {(event.source, event.sequence): event.id for event in self.model}
        fresh = []
        for event in batch:
            if places.setdefault((event.source, event.sequence), event.id) != event.id:
                with pytest.raises(Conflict):
                    self.log.append(batch)
                return
            if event.id not in {known.id for known in [*self.model, *fresh]}:
                fresh.append(event)
        appended = self.log.append(batch)
        assert [(position, event.id) for position, event in appended] == [
            (len(self.model) + number, event.id) for number, event in enumerate(fresh, start=1)
        ]
        self.model += fresh

    @rule(
        query=st.just(ALL) | queries,
        after=st.integers(0, 8),
        upto=st.none() | st.integers(0, 8),
        limit=st.none() | st.integers(0, 4),
        backwards=st.booleans(),
    )
    def read(self, query, after, upto, limit, backwards):
        expected = [
            (position, event.id)
            for position, event in enumerate(self.model, start=1)
            if position > after and (upto is None or position <= upto) and query.matches(event)
        ]
        expected = list(islice(reversed(expected) if backwards else expected, limit))
        found = self.log.read(query, after=after, upto=upto, limit=limit, backwards=backwards)
        assert [(position, event.id) for position, event in found] == expected

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def find(self, data):
        index = data.draw(st.integers(0, len(self.model) - 1))
        assert self.log.find(self.model[index].id).position == index + 1

    @invariant()
    def agree_on_the_whole(self):
        if hasattr(self, "log"):
            assert self.log.head() == len(self.model)
            runs = self.log.sequences()
            counted = {(s, n) for s, pairs in runs.items() for first, last in pairs for n in range(first, last + 1)}
            assert counted == {(event.source, event.sequence) for event in self.model}

    def teardown(self):
        assert verify(self.log).intact
        self.log.close()  # a server has only so many connections


@pytest.mark.parametrize("scan_max", [4_096, 0], ids=["by scan", "by index"])
def test_any_calls_in_any_order_agree_with_a_list(make_log, request, monkeypatch, scan_max):
    # Small logs never ask an index unless told; then they ask for every query that has a condition.
    monkeypatch.setattr("rarera_sim.adapters.sqlite.SCAN_MAX", scan_max)
    monkeypatch.setattr("rarera_sim.adapters.sqlite.SCAN_SHARE", 1)
    monkeypatch.setattr("rarera_sim.adapters.sqlite.PAGE", 2)
    if find_spec("psycopg"):
        monkeypatch.setattr("rarera_sim.adapters.postgres.PAGE", 2)
        monkeypatch.setattr("rarera_sim.adapters.postgres.POSITIONS_MAX", 3)
    run_state_machine_as_test(
        lambda: AgainstAList(make_log),
        settings=settings(
            # A server takes its time to make and drop a schema for each few events.
            max_examples=25 if "tiered postgres" in request.node.callspec.id else 100,
            stateful_step_count=20,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
