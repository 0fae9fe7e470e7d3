"""Rebuild, snapshots, and a state kept up to date beside the log."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rarera_sim.adapters.memory import MemoryLog, MemorySnapshots
from rarera_sim.core.errors import BadInput
from rarera_sim.core.event import Event, Recorded
from rarera_sim.core.log import Query
from rarera_sim.core.projection import Materialised, Tally, fold, rebuild, summarise
from rarera_sim.core.snapshot import Snapshot


class History:
    """Remembers which event came when; does not commute."""

    name = "history"
    version = 1

    def initial(self):
        return []

    def apply(self, state, event):
        state.append(event.sequence)
        return state


def an_event(sequence, time=None, **data):
    return Event("EWR/UA1", "arrived", data, source="s", sequence=sequence, time=sequence if time is None else time)


def a_log(*times):
    log = MemoryLog()
    log.append([an_event(n, time) for n, time in enumerate(times, start=1)])
    return log


def test_as_of_is_what_was_true_and_upto_is_what_we_knew():
    log = a_log(10, 20, 15, 40, 5)  # the third came late, the fifth very late
    assert rebuild(History(), log) == [1, 2, 3, 4, 5]
    assert rebuild(History(), log, as_of=15) == [1, 3, 5]
    assert rebuild(History(), log, upto=3) == [1, 2, 3]
    assert rebuild(History(), log, as_of=15, upto=3) == [1, 3]
    assert rebuild(History(), log, as_of=4) == rebuild(History(), log, upto=0) == []


@given(
    times=st.lists(st.integers(0, 20), max_size=25),
    taken_at=st.lists(st.integers(0, 25), max_size=5),
    as_of=st.none() | st.integers(0, 20),
    upto=st.none() | st.integers(0, 30),
)
def test_snapshots_never_change_the_answer(times, taken_at, as_of, upto):
    log, snapshots = a_log(*times), MemorySnapshots()
    materialised = Materialised(History())
    for recorded in log.read():
        if recorded.position - 1 in taken_at:
            snapshots.save(materialised.snapshot())
        materialised.apply(recorded)
    snapshots.save(materialised.snapshot())
    with_them = rebuild(History(), log, as_of=as_of, upto=upto, snapshots=snapshots)
    assert with_them == rebuild(History(), log, as_of=as_of, upto=upto)


def test_a_snapshot_saves_reading_what_it_holds():
    log, snapshots = a_log(*range(1, 11)), MemorySnapshots()
    snapshots.save(Snapshot.of("history", 1, 8, 8, ["from the snapshot"]))
    assert rebuild(History(), log, snapshots=snapshots) == ["from the snapshot", 9, 10]
    assert rebuild(History(), log, snapshots=snapshots, as_of=7) == list(range(1, 8))


def test_a_snapshot_of_another_version_or_beyond_the_end_is_not_used():
    log, snapshots = a_log(1, 2), MemorySnapshots()
    snapshots.save(Snapshot.of("history", 2, 1, 1, ["another version"]))
    snapshots.save(Snapshot.of("history", 1, 9, 9, ["the log lost its tail"]))
    assert rebuild(History(), log, snapshots=snapshots) == [1, 2]


@given(st.lists(st.integers(1, 12), max_size=40))
def test_a_position_is_applied_once_however_often_and_in_whatever_order_it_comes(deliveries):
    log = a_log(*range(1, 13))
    records = list(log.read())
    materialised = Materialised(Tally())
    for count, position in enumerate(deliveries):
        assert materialised.apply(records[position - 1]) == (position not in deliveries[:count])
    seen = set(deliveries)
    assert materialised.state == fold(Tally(), [records[position - 1].event for position in seen])
    whole = next(position for position in range(0, 13) if position + 1 not in seen)
    assert materialised.position == whole
    assert (materialised.snapshot() is None) == (max(seen, default=0) > whole)


def test_a_materialised_state_goes_on_from_its_snapshot():
    log = a_log(5, 9, 7)
    first = Materialised(History())
    for recorded in log.read(upto=2):
        first.apply(recorded)
    again = Materialised(History(), first.snapshot())
    assert [again.apply(recorded) for recorded in log.read()] == [False, False, True]
    assert (again.state, again.position, again.time_max) == ([1, 2, 3], 3, 9)


values = st.floats(-1e6, 1e6) | st.integers(-(10**9), 10**9) | st.sampled_from([None, "fast", True])


@given(st.lists(st.tuples(st.sampled_from(["EWR", "JFK/1"]), values), max_size=30), st.randoms(use_true_random=False))
def test_a_tally_does_not_depend_on_order(readings, shuffler):
    events = [
        Event(stream, "arrived", {"speed": value}, source="s", sequence=n, time=n)
        for n, (stream, value) in enumerate(readings, start=1)
    ]
    shuffled = events[:]
    shuffler.shuffle(shuffled)
    assert fold(Tally(), shuffled) == fold(Tally(), events)


def test_a_tally_counts_and_averages_numbers_only():
    values = [400, 410.5, None, "fast", True]
    state = fold(Tally("speed"), [an_event(n, speed=value) for n, value in enumerate(values, start=1)])
    assert state == {"EWR": {"arrived": [5, 2, 810_500_000]}}
    assert Tally.mean(state, "EWR", "arrived") == 405.25
    assert Tally.mean(state, "EWR", "departed") is None


def test_the_papers_query_counts_all_and_averages_what_carries_the_field():
    log = MemoryLog()
    log.append(
        [an_event(1, speed=400), an_event(2, speed=410.5), an_event(3), an_event(4, speed=None), an_event(5, speed=1)]
    )
    query = Query(processors=("EWR",), types=("arrived",), since=1, until=4)
    summary = summarise(log, "speed", query)
    assert (summary.count, summary.mean) == (4, 405.25)
    assert summarise(log, "speed", Query(types=("none",))).mean is None
    for wrong in ("fast", True, [1]):
        log.append([an_event(log.head() + 1, speed=wrong)])
        with pytest.raises(BadInput, match=f"position {log.head()}"):
            summarise(log, "speed", Query(since=log.head()))


def test_an_average_of_many_is_exact():
    draw = random.Random(3)
    values = [draw.uniform(-1e9, 1e9) for _ in range(2_000)]
    log = MemoryLog()
    log.append([an_event(n, speed=value) for n, value in enumerate(values, start=1)])
    assert summarise(log, "speed").mean == math.fsum(values) / len(values)


def test_a_query_for_letters_is_refused():
    for fields in ({"types": "arrived"}, {"types": ["arrived"]}, {"sources": (1,)}, {"since": 1.5}, {"until": "2013"}):
        with pytest.raises(BadInput, match=next(iter(fields))):
            Query(**fields)
    with pytest.raises(BadInput, match="since must not be after until"):
        Query(since=2, until=1)
    assert Materialised(History()).apply(Recorded(1, an_event(1)))
