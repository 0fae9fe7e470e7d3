"""Counts, means, quantiles and rates: what they are, and that no order changes them."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rarera_sim.adapters.memory import MemoryLog
from rarera_sim.core.aggregate import Aggregate, aggregate
from rarera_sim.core.errors import BadInput
from rarera_sim.core.event import Event
from rarera_sim.core.log import Query
from rarera_sim.core.projection import summarise
from rarera_sim.core.time import SECOND

NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**64 - 1)


def an_event(sequence, time=0, stream="EWR/UA1", kind="arrived", source="IAH", **data):
    return Event(stream, kind, data, source=source, sequence=sequence, time=time)


def a_log(events):
    log = MemoryLog()
    log.append(list(events))
    return log


def of_values(values, **wanted):
    log = a_log(an_event(n, speed=value) for n, value in enumerate(values, start=1))
    [group] = aggregate(log, Aggregate(field="speed", **wanted))
    return group


def test_each_combination_that_occurs_is_a_group():
    log = a_log(
        [
            an_event(1, stream="EWR/UA1", kind="arrived", source="a"),
            an_event(1, stream="EWR/UA2", kind="arrived", source="b"),
            an_event(2, stream="JFK/UA3", kind="arrived", source="b"),
            an_event(3, stream="EWR/UA1", kind="departed", source="b"),
        ]
    )
    by_processor = aggregate(log, Aggregate(by=("processor",)))
    assert [(g.processor, g.type, g.source, g.count) for g in by_processor] == [
        ("EWR", None, None, 3),
        ("JFK", None, None, 1),
    ]
    by_all = aggregate(log, Aggregate(by=("source", "type", "processor")))
    assert [(g.processor, g.type, g.source, g.count) for g in by_all] == [
        ("EWR", "arrived", "a", 1),
        ("EWR", "arrived", "b", 1),
        ("EWR", "departed", "b", 1),
        ("JFK", "arrived", "b", 1),
    ]
    [everything] = aggregate(log, Aggregate())
    assert (everything.count, everything.values, everything.mean, everything.rate) == (4, 0, None, None)
    assert aggregate(log, Aggregate(), Query(types=("none",))) == []


def test_events_without_the_field_or_with_null_count_and_weigh_nothing():
    log = a_log([an_event(1, speed=10), an_event(2), an_event(3, speed=None), an_event(4, speed=20.0)])
    [group] = aggregate(log, Aggregate(field="speed", quantiles=(0.5,)))
    assert (group.count, group.values, group.mean, group.quantiles) == (4, 2, 15.0, (15.0,))
    [group] = aggregate(log, Aggregate(field="height", quantiles=(0.5, 1)))
    assert (group.count, group.values, group.mean, group.quantiles) == (4, 0, None, (None, None))


@pytest.mark.parametrize("value", ["fast", True, [1], {"kmh": 1}])
def test_a_field_that_is_no_number_is_refused_with_its_position(value):
    log = a_log([an_event(1, speed=1.0), an_event(2, speed=value), an_event(3, speed="also")])
    with pytest.raises(BadInput, match=r"field 'speed' at position 2 is .*, not a number"):
        aggregate(log, Aggregate(field="speed"))
    assert aggregate(log, Aggregate())[0].count == 3


def test_windows_begin_at_multiples_of_their_length_and_empty_ones_are_left_out():
    log = a_log(an_event(n, time) for n, time in enumerate((9, 10, 19, 20, 45), start=1))
    found = aggregate(log, Aggregate(window=10))
    assert [(g.since, g.until, g.count) for g in found] == [(0, 9, 1), (10, 19, 2), (20, 29, 1), (40, 49, 1)]


def test_a_rate_is_over_the_part_of_the_window_that_was_asked_about():
    log = a_log(an_event(n + 1, n * SECOND // 2) for n in range(40))
    query = Query(since=5 * SECOND, until=12 * SECOND - 1)
    found = aggregate(log, Aggregate(window=10 * SECOND), query)
    assert [(g.since, g.count, g.rate) for g in found] == [(5 * SECOND, 10, 2.0), (10 * SECOND, 4, 2.0)]
    assert [g.rate for g in aggregate(log, Aggregate(), query)] == [2.0]
    assert [g.rate for g in aggregate(log, Aggregate(), Query(since=0))] == [None]


@given(st.lists(NUMBERS, min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_the_order_of_events_changes_nothing_to_the_bit(values, draw):
    shuffled = draw.sample(values, len(values))
    one, other = (of_values(each, quantiles=(0, 0.3, 0.5, 1)) for each in (values, shuffled))
    assert repr(one) == repr(other)


@given(st.lists(NUMBERS, min_size=1, max_size=30))
def test_the_mean_is_the_exact_one_rounded(values):
    exact = sum(Fraction(float(value)) for value in values) / len(values)
    assert math.isclose(of_values(values).mean, exact, rel_tol=1e-15, abs_tol=5e-324)


def test_a_sum_beyond_the_largest_float_still_has_a_mean():
    assert of_values([1.5e308, 1.5e308]).mean == 1.5e308
    assert of_values([1.5e308, 1.5e308, -1.5e308]).mean == of_values([1.5e308, -1.5e308, 1.5e308]).mean == 0.5e308


@given(
    st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=40),
    st.lists(st.floats(0, 1), min_size=1, max_size=5),
)
def test_quantiles_are_numpys(values, quantiles):
    assert of_values(values, quantiles=tuple(quantiles)).quantiles == pytest.approx(
        np.quantile(values, quantiles), rel=1e-12, abs=1e-12
    )


@given(st.lists(NUMBERS, min_size=1, max_size=20))
def test_quantiles_grow_and_stay_between_the_least_and_the_largest(values):
    found = of_values(values, quantiles=tuple(n / 16 for n in range(17))).quantiles
    assert list(found) == sorted(found)
    assert (found[0], found[-1]) == (min(map(float, values)), max(map(float, values)))


def test_the_papers_query_has_the_same_answer_from_summarise():
    draw = random.Random(3)
    log = a_log(an_event(n, stream=f"{draw.choice('AB')}/1", speed=draw.gauss(400, 30)) for n in range(1, 300))
    query = Query(processors=("A",), types=("arrived",))
    [group] = aggregate(log, Aggregate(field="speed", by=("processor", "type")), query)
    summary = summarise(log, "speed", query)
    assert (group.count, group.mean) == (summary.count, summary.mean)


@pytest.mark.parametrize(
    "wrong",
    [
        {"field": 1},
        {"field": "\ud800"},
        {"by": "type"},
        {"by": ("type", "type")},
        {"by": ("stream",)},
        {"window": 0},
        {"window": 1.0},
        {"window": True},
        {"window": 2**63},
        {"field": "a", "quantiles": 0.5},
        {"field": "a", "quantiles": (1.01,)},
        {"field": "a", "quantiles": (float("nan"),)},
        {"field": "a", "quantiles": ("half",)},
        {"quantiles": (0.5,)},
    ],
)
def test_a_request_that_cannot_be_answered_is_refused(wrong):
    with pytest.raises(BadInput, match=[*wrong][-1]):
        Aggregate(**wrong)
