"""After the commit, never before; and never staler than what was seen, whatever the board forgets."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rarera_sim.adapters.memory import MemoryBus, MemoryLog
from rarera_sim.core.bus import EVERYTHING
from rarera_sim.core.errors import BadInput, Conflict, Refused, SkippedPosition, Unreachable
from rarera_sim.core.event import Event
from rarera_sim.core.log import Query
from rarera_sim.core.publisher import Glance, LocalBoard, Publisher


def an_event(sequence, source="gate", kind="tick", processor="EWR"):
    return Event(f"{processor}/UA1", kind, {}, source=source, sequence=sequence, time=sequence)


class Frail:
    """A board that can be gone, forget, or fall back to what it was."""

    def __init__(self, bus):
        self.bus, self.board, self.away = bus, LocalBoard(bus), False

    def __getattr__(self, name):
        if self.away:
            raise Unreachable("gone")
        return getattr(self.board, name)

    def forget(self):
        self.board = LocalBoard(self.bus)

    def fall_back_to(self, older):
        self.board._upto, self.board._newest = older

    def copy(self):
        return self.board._upto, dict(self.board._newest)


def test_a_conflict_is_not_announced():
    bus, said = MemoryBus(), []
    bus.listen([EVERYTHING], said.append)
    publisher = Publisher(MemoryLog(), LocalBoard(bus))
    publisher.append([an_event(1)])
    with pytest.raises(Conflict):
        publisher.append([an_event(2), an_event(1, kind="other")])
    assert publisher.append([an_event(1)]) == []
    assert [each.position for each in said] == [1]


def test_a_board_far_behind_starts_afresh():
    log, board = MemoryLog(), LocalBoard(MemoryBus())
    publisher = Publisher(log, board, catch_up_max=2)
    publisher.append([an_event(1, processor="IAH")])
    log.append([an_event(n) for n in range(2, 6)])
    publisher.append([an_event(6)])
    assert board.latest("tick", "IAH") == Glance(6, None)
    assert publisher.latest("tick", "IAH").position == 1, "what the board forgot the log knows"


def test_a_board_that_fell_back_is_not_believed_by_who_appended():
    board = Frail(MemoryBus())
    publisher = Publisher(MemoryLog(), board)
    publisher.append([an_event(1)])
    older = board.copy()
    publisher.append([an_event(2)])
    board.fall_back_to(older)
    assert publisher.latest("tick", "EWR").position == 2


def test_catching_up_warms_an_empty_board():
    log, board = MemoryLog(), LocalBoard(MemoryBus())
    log.append([an_event(n) for n in range(1, 8)])
    assert Publisher(log, board, catch_up_max=3).catch_up() == 7
    assert board.latest("tick", "EWR").recorded.position == 7
    assert Publisher(MemoryLog(), LocalBoard(MemoryBus())).catch_up() == 0


def test_a_board_that_refuses_us_is_an_error_at_the_start():
    class Refusing(LocalBoard):
        def upto(self):
            raise Refused("no")

    with pytest.raises(Refused):
        Publisher(MemoryLog(), Refusing(MemoryBus()))


def test_a_board_that_knows_more_than_the_log_is_an_error():
    board = LocalBoard(MemoryBus())
    Publisher(MemoryLog(), board).append([an_event(1)])
    with pytest.raises(SkippedPosition, match="the log ends at 0"):
        Publisher(MemoryLog(), board)


def test_a_limit_that_cannot_be_is_refused():
    with pytest.raises(BadInput, match="catch_up_max"):
        Publisher(MemoryLog(), LocalBoard(MemoryBus()), catch_up_max=-1)


STEPS = ["append", "append", "append", "elsewhere", "go", "come", "forget", "copy", "fall back", "look", "catch up"]


@settings(max_examples=300)
@given(
    st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 1), st.sampled_from("xy"), st.sampled_from("AB"))),
    st.integers(0, 5),
)
def test_the_latest_is_never_staler_than_what_was_acknowledged(steps, catch_up_max):
    log, bus, heard = MemoryLog(), MemoryBus(), []
    bus.listen([EVERYTHING], lambda said: heard.append((said.position, log.head())))
    board = Frail(bus)
    writers = [Publisher(log, board, catch_up_max=catch_up_max) for _ in range(2)]
    acknowledged, older, count = [0, 0], board.copy(), 0
    for step, number, kind, processor in steps:
        writer = writers[number]
        if step in ("append", "elsewhere"):
            count += 1
            event = an_event(count, kind=kind, processor=processor)
            # Somebody who appends and announces nothing is one whose announcement was lost.
            (recorded,) = (writer if step == "append" else log).append([event])
            if step == "append":
                acknowledged[number] = recorded.position
        elif step in ("go", "come"):
            board.away = step == "go"
        elif step == "forget":
            board.forget()
        elif step == "copy":
            older = board.copy()
        elif step == "fall back":
            board.fall_back_to(older)
        elif step == "catch up" and not board.away:
            assert writer.catch_up() == (log.head() if catch_up_max else board.upto())
        query = Query(types=(kind,), processors=(processor,))
        for at_least in (0, log.head()):
            seen = max(acknowledged[number], at_least)
            truth = next(log.read(query, backwards=True, upto=seen), None)
            found = writer.latest(kind, processor, at_least=at_least)
            if truth is not None:
                assert found is not None
                assert found.position >= truth.position, "stale"
            if found is not None:
                assert log.find(found.event.id) == found
                acknowledged[number] = max(acknowledged[number], found.position)
    assert all(position <= head for position, head in heard), "said before it was there"
