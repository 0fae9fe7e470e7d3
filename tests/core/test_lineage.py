"""Lineage: what caused an event, what it caused, which conversation it belongs to."""

from __future__ import annotations

import pytest

from rarera_sim.adapters.memory import MemoryLog
from rarera_sim.adapters.sqlite import SqliteLog
from rarera_sim.core.errors import BadInput
from rarera_sim.core.event import Event
from rarera_sim.core.lineage import find_event, lineage


@pytest.fixture(params=["memory", "sqlite"])
def log(request, tmp_path):
    log = MemoryLog() if request.param == "memory" else SqliteLog(tmp_path / "log.sqlite", durability="normal")
    yield log
    log.close()


def an_event(sequence, cause=None, correlation=None):
    links = {"causation": cause and cause.id, "correlation": correlation and correlation.id}
    return Event("EWR/UA1", f"e{sequence}", {}, source="EWR", sequence=sequence, time=sequence, **links)


def types(recorded):
    return [each.event.type for each in recorded]


def tree(found):
    return [(effect.depth, effect.recorded.event.type) for effect in found.effects]


def test_an_event_without_links_has_only_itself(log):
    alone = an_event(1)
    log.append([alone, an_event(2)])
    found = lineage(log, alone.id)
    assert (found.recorded.position, found.causes, found.cause_missing, found.effects) == (1, (), None, ())
    assert (found.correlation, list(found.conversation)) == (alone.id, [1])


def test_causes_go_back_to_the_first_and_effects_are_a_tree(log):
    root = an_event(1)
    left, right = an_event(2, root), an_event(3, root)
    below_left, below_right = an_event(4, left), an_event(5, right)
    deepest, unrelated, second = an_event(6, below_left), an_event(7), an_event(8, left)
    log.append([root, left, right, below_left, below_right, deepest, unrelated, second])
    assert tree(lineage(log, root.id)) == [(1, "e2"), (2, "e4"), (3, "e6"), (2, "e8"), (1, "e3"), (2, "e5")]
    assert tree(lineage(log, left.id)) == [(1, "e4"), (2, "e6"), (1, "e8")]
    assert types(lineage(log, deepest.id).causes) == ["e4", "e2", "e1"]
    assert types(lineage(log, unrelated.id).causes) == []


def test_an_effect_that_overtook_its_cause_is_found(log):
    cause = an_event(1)
    log.append([an_event(2, cause), cause])
    assert tree(lineage(log, cause.id)) == [(1, "e2")]


def test_a_cause_that_is_not_in_the_log_is_named(log):
    elsewhere = an_event(1)
    here = an_event(2, elsewhere)
    below = an_event(3, here)
    log.append([here, below])
    found = lineage(log, below.id)
    assert (types(found.causes), found.cause_missing) == (["e2"], elsewhere.id)


def test_a_conversation_is_the_same_from_each_of_its_events(log):
    first = an_event(1)
    others = [an_event(3, first, correlation=first), an_event(4, correlation=first)]
    log.append([first, an_event(2), *others, an_event(5, correlation=others[0])])
    for event in (first, *others):
        found = lineage(log, event.id)
        assert (found.correlation, list(found.conversation)) == (first.id, [1, 3, 4])


def test_a_chain_longer_than_the_stack_is_followed(log):
    events = [an_event(1)]
    for sequence in range(2, 3_001):
        events.append(an_event(sequence, events[-1]))
    log.append(events)
    assert lineage(log, events[0].id).effects[-1].depth == 2_999
    assert len(lineage(log, events[-1].id).causes) == 2_999


def test_an_unknown_id_is_bad_input(log):
    with pytest.raises(BadInput, match="no event of this log has the UID 0101"):
        lineage(log, b"\1" * 32)


# Naming an event


def test_an_event_is_found_by_source_and_sequence_by_position_and_by_uid(log):
    events = [
        Event("EWR/UA1", "tick", {}, source=source, sequence=n, time=1_357_035_000 * 10**9 + n)
        for n in (1, 2)
        for source in ("EWR", "a#b")
    ]
    log.append(events)
    for position, event in enumerate(events, start=1):
        names = (f"{event.source}#{event.sequence}", str(position), event.id.hex(), event.id.hex()[:24].upper())
        assert [find_event(log, name) for name in names] == [(position, event)] * len(names)


def test_the_beginning_of_several_uids_is_refused_with_examples(log):
    base = 0x12D5282482C5B000
    events = [Event("EWR/UA1", "tick", {}, source="EWR", sequence=n, time=base + n) for n in range(0x10, 0x40)]
    log.append(events)
    # Time stands in front: these are the 16 events from ...b020 to ...b02f.
    with pytest.raises(BadInput, match=f"fits 16 events, such as {events[16].id.hex()} and {events[17].id.hex()}"):
        find_event(log, "12d5282482c5b02")
    with pytest.raises(BadInput, match="fits more than 20 events"):
        find_event(log, "12d5")


@pytest.mark.parametrize("name", ["EWR#3", "JFK#1", "0", "3", "ab", "f" * 64, "EWR#9999999999999999999"])
def test_an_event_that_is_not_there_is_bad_input(log, name):
    log.append([an_event(1), an_event(2)])
    with pytest.raises(BadInput, match=r"there is no event|names no event"):
        find_event(log, name)


@pytest.mark.parametrize("name", ["", "#", "#1", "EWR#", "EWR#x", "EWR", "-1", "f" * 65, "١"])
def test_what_names_no_event_is_bad_input(log, name):
    with pytest.raises(BadInput, match="names no event"):
        find_event(log, name)
