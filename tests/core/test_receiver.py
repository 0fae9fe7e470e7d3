"""Whatever happens to frames on their way, each event is recorded once and each fault has an incident that ends."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rarera_sim.adapters.memory import MemoryLog
from rarera_sim.core.errors import BadInput, Conflict
from rarera_sim.core.event import Event, canonical_body, identify
from rarera_sim.core.incidents import Kind, incident_life, incidents
from rarera_sim.core.journal import Journal
from rarera_sim.core.outbox import Outbox
from rarera_sim.core.receiver import Acknowledge, Quarantine, Receiver, Resend, Tolerance, perform
from rarera_sim.core.retry import Backoff
from rarera_sim.core.signing import HmacKey, Keyring, id_check, sign_id

SECOND = 10**9
TOLERANCE = Tolerance(patience=1.0, backoff=Backoff(delay=1.0, factor=2.0, delay_max=4.0, attempts_max=4))


def an_event(sequence, source="EWR", time=None, **data):
    return Event(
        f"{source}/UA1", "tick", data, source=source, sequence=sequence, time=sequence if time is None else time
    )


class Gate:
    """A receiver with its log, and what it said to others."""

    def __init__(self, log=None, tolerance=TOLERANCE, **options):
        self.log = log or MemoryLog()
        self.receiver = Receiver(
            Journal.resume(self.log, "gate"),
            tolerance,
            known=self.log.sequences(),
            incidents=incidents(self.log, open_only=True),
            **options,
        )
        self.said = []

    def do(self, actions, now):
        said = perform(self.receiver, self.log.append, actions, now)
        self.said += said
        return said

    def receive(self, *events, now=0, **options):
        for event in events:
            self.do(self.receiver.receive(event if isinstance(event, bytes) else event.frame, now, **options), now)

    def due(self, now):
        return self.do(self.receiver.due(now), now)

    def recorded(self):
        return [event.sequence for _, event in self.log.read() if event.source not in ("gate", "log")]

    def incidents(self):
        return [(each.kind, each.first, each.last, each.status) for each in incidents(self.log)]

    def acknowledged(self):
        return {(each.source, n) for each in self.said if isinstance(each, Acknowledge) for n in each.sequences}


def flipped(frame, at, bit=1):
    return frame[:at] + bytes([frame[at] ^ bit]) + frame[at + 1 :]


def test_without_faults_there_are_no_incidents_and_all_is_acknowledged():
    gate = Gate()
    gate.receive(*(an_event(n) for n in range(1, 6)), via="EWR")
    gate.do(gate.receiver.heard("EWR", 5, 1), 1)
    assert (gate.recorded(), gate.incidents(), gate.due(100 * SECOND)) == ([1, 2, 3, 4, 5], [], [])
    assert gate.acknowledged() == {("EWR", n) for n in range(1, 6)}


def test_what_overtakes_is_held_until_its_turn():
    gate = Gate()
    gate.receive(an_event(3), an_event(1))
    assert (gate.recorded(), gate.receiver.held) == ([1], 1)
    gate.receive(an_event(2))
    assert gate.recorded() == [1, 2, 3]
    assert gate.incidents() == [
        (Kind.OUT_OF_ORDER, 1, 1, "compensated"),
        (Kind.OUT_OF_ORDER, 2, 2, "compensated"),
    ]


def test_what_does_not_come_in_time_is_asked_for_with_patience_and_blocks_nothing():
    gate = Gate()
    gate.receive(an_event(1), an_event(4), an_event(5))
    assert gate.due(SECOND - 1) == []
    (request, *_) = gate.due(SECOND)
    assert request == Resend("EWR", (2, 3), SECOND)
    assert gate.recorded() == [1, 4, 5]
    assert gate.due(2 * SECOND) == [Resend("EWR", (2, 3), 2 * SECOND)]
    gate.receive(an_event(3), now=3 * SECOND)
    assert gate.due(4 * SECOND) == [Resend("EWR", (2,), 4 * SECOND)]
    gate.receive(an_event(2), now=5 * SECOND)
    assert gate.recorded() == [1, 4, 5, 3, 2]
    assert gate.incidents() == [(Kind.MISSING, 2, 3, "compensated")]
    assert gate.due(100 * SECOND) == []


def test_a_full_window_does_not_wait():
    gate = Gate(tolerance=Tolerance(held_max=2))
    gate.receive(an_event(2), an_event(3), an_event(4))
    assert (gate.recorded(), gate.receiver.held) == ([2, 3, 4], 0)
    assert Resend("EWR", (1,), 0) in gate.said


def test_what_never_comes_is_given_up_when_it_was_said():
    gate = Gate()
    gate.receive(an_event(2))
    gate.due(SECOND)
    (due,) = (each.due for each in gate.receiver.open)
    while (next_due := gate.receiver.next_due()) < due:
        gate.due(next_due)
    assert gate.incidents() == [(Kind.MISSING, 1, 1, "traced")]
    gate.due(due)
    (incident,) = incidents(gate.log)
    assert (incident.status, incident.given_up, incident.outcome) == ("given up", due, "not mended after 4 requests")
    gate.receive(an_event(1), now=due + 1)
    assert gate.recorded() == [2, 1]
    assert gate.incidents()[1:] == [(Kind.LATE, 1, 1, "compensated")]


def test_what_cannot_be_repaired_is_compensated_by_events_of_the_domain():
    def remedy(incident):
        return [("EWR/ledger", "count-corrected", {"lost": incident.last - incident.first + 1})]

    gate = Gate(remedy=remedy)
    gate.receive(an_event(3))
    for n in range(1, 20):
        gate.due(n * SECOND)
    (incident,) = incidents(gate.log)
    (correction,) = (event for _, event in gate.log.read() if event.type == "count-corrected")
    assert (incident.status, correction.data, correction.causation) == ("compensated", {"lost": 2}, incident.opening)


def test_the_loss_of_the_newest_is_noticed_by_what_the_source_says():
    gate = Gate()
    gate.receive(an_event(1))
    gate.do(gate.receiver.heard("EWR", 3, 0), 0)
    assert gate.due(SECOND) == [Resend("EWR", (2, 3), SECOND)]
    gate.receive(an_event(2), an_event(3), now=SECOND)
    assert gate.incidents() == [(Kind.MISSING, 2, 3, "compensated")]


def test_a_source_that_says_the_incredible_is_not_believed():
    gate = Gate()
    gate.do(gate.receiver.heard("EWR", 10**15, 0), 0)
    assert gate.incidents() == [(Kind.DAMAGED, None, None, "compensated")]


def test_repeats_are_refused_by_the_log_and_acknowledged_again():
    gate = Gate()
    gate.receive(an_event(1), an_event(1))
    assert gate.recorded() == [1]
    assert gate.said.count(Acknowledge("EWR", (1,))) == 2
    assert gate.incidents() == [(Kind.REPEATED, 1, 1, "compensated")]


@pytest.mark.parametrize("half", ["id", "body"])
def test_a_damaged_frame_is_traced_by_the_half_that_is_whole(half):
    gate, event = Gate(), an_event(1, speed=370)
    gate.receive(flipped(event.frame, 9 if half == "id" else 40), via="EWR")
    assert any(isinstance(each, Quarantine) for each in gate.said)
    assert Resend("EWR", (), 0) in gate.said
    gate.receive(event, now=7)
    (incident,) = incidents(gate.log)
    assert (incident.kind, incident.source, incident.first, incident.status) == (Kind.DAMAGED, "EWR", 1, "compensated")
    assert incident_life(gate.log, incident.id).position == gate.log.find(event.id).position
    assert (incident.detected < incident.traced < incident.compensated, gate.receiver.open) == (True, [])


def test_bytes_without_any_sense_are_mended_when_all_that_was_sent_is_there():
    gate = Gate()
    gate.receive(b"", via="EWR")
    gate.do(gate.receiver.heard("EWR", 1, 1), 1)
    gate.receive(an_event(1), now=2)
    assert gate.incidents() == [(Kind.DAMAGED, None, None, "traced")], "an answer to nothing says nothing"
    gate.do(gate.receiver.heard("EWR", 1, 3, asked=0), 3)
    assert gate.incidents() == [(Kind.DAMAGED, None, None, "compensated")]


def mended_by_an_answer(gate, last, now):
    """Whether nonsense that comes now is held to be recorded when the source says that it sent so many."""
    gate.receive(b"nonsense", now=now, via="EWR")
    gate.do(gate.receiver.heard("EWR", last, now, asked=now), now)
    return incidents(gate.log, kind=Kind.DAMAGED)[-1].status == "compensated"


def test_an_answer_to_an_older_question_may_not_know_of_it():
    gate = Gate()
    gate.receive(an_event(1))
    gate.receive(b"nonsense", now=5, via="EWR")
    gate.do(gate.receiver.heard("EWR", 1, 6, asked=4), 6)
    assert gate.incidents() == [(Kind.DAMAGED, None, None, "traced")]
    gate.do(gate.receiver.heard("EWR", 1, 6, asked=5), 6)
    assert gate.incidents() == [(Kind.DAMAGED, None, None, "compensated")]


def test_it_may_be_what_is_still_missing_or_was_given_up():
    gate = Gate()
    gate.receive(an_event(2))
    gate.due(SECOND)
    assert not mended_by_an_answer(gate, 2, now=SECOND)
    gate.receive(an_event(1), now=SECOND)
    assert incidents(gate.log, kind=Kind.DAMAGED)[-1].status == "compensated"
    gate.receive(an_event(4), now=SECOND)
    for n in range(2, 20):
        gate.due(n * SECOND)
    assert gate.incidents()[-1] == (Kind.MISSING, 3, 3, "given up")
    assert not mended_by_an_answer(gate, 4, now=20 * SECOND)


def test_it_may_be_what_the_log_has_not_confirmed():
    gate, event = Gate(), an_event(1)
    gate.receive(b"nonsense", via="EWR")
    unconfirmed = gate.receiver.receive(event.frame, 0)
    gate.do(gate.receiver.heard("EWR", 1, 0, asked=0), 0)
    assert gate.incidents() == [(Kind.DAMAGED, None, None, "traced")]
    gate.do(unconfirmed, 0)
    assert gate.incidents() == [(Kind.DAMAGED, None, None, "compensated")]


def test_bytes_of_nobody_are_given_up_and_searches_are_bounded():
    gate = Gate(tolerance=Tolerance(open_max=2, frame_max=4))
    gate.receive(b"aaaaaa", b"bbbbbb", b"cccccc")
    assert [each.status for each in incidents(gate.log)] == ["given up", "detected", "detected"]
    assert incidents(gate.log)[0].frame == b"aaaa"
    for n in range(1, 400):
        gate.due(n * SECOND)
    assert (gate.receiver.open, gate.receiver._twins, gate.receiver.next_due()) == ([], {}, None)


def test_an_event_from_the_future_is_released_in_its_time():
    gate = Gate()
    gate.receive(an_event(1, time=5 * SECOND), an_event(2))
    assert gate.recorded() == [2]
    assert gate.acknowledged() == {("EWR", 1), ("EWR", 2)}, "what is in quarantine is in the log"
    gate.receive(an_event(1, time=5 * SECOND), now=1)
    assert gate.said.count(Acknowledge("EWR", (1,))) == 2
    gate.due(4 * SECOND)
    assert gate.recorded() == [2, 1]
    assert gate.incidents() == [
        (Kind.FROM_THE_FUTURE, 1, 1, "compensated"),
        (Kind.REPEATED, 1, 1, "compensated"),
    ]


def test_somebody_may_release_it_sooner():
    gate = Gate()
    gate.receive(an_event(1, time=5 * SECOND))
    (incident,) = gate.receiver.open
    gate.do(gate.receiver.release(incident.id), 1)
    assert (gate.recorded(), gate.due(9 * SECOND)) == ([1], [])
    with pytest.raises(BadInput, match="no event in quarantine"):
        gate.receiver.release(incident.id)


def test_late_events_are_recorded_and_said_to_be_late():
    gate = Gate(tolerance=Tolerance(late=10.0))
    gate.receive(an_event(1, time=0), an_event(2, time=15 * SECOND), now=20 * SECOND)
    assert (gate.recorded(), gate.incidents()) == ([1, 2], [(Kind.LATE, 1, 1, "compensated")])


def test_signatures_are_checked_with_real_keys():
    pytest.importorskip("cryptography")
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key, stranger = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()

    def verify(source, event_id, signature):
        try:
            key.public_key().verify(signature, event_id)
        except InvalidSignature:
            return False
        return source == "EWR"

    gate, event, forged = Gate(verify=verify), an_event(1), an_event(9)
    gate.receive(event, signature=stranger.sign(event.id))
    gate.receive(event)
    assert (gate.recorded(), Resend("EWR", (1,), 0) in gate.said) == ([], True)
    gate.receive(event, signature=key.sign(event.id), now=1)
    assert gate.recorded() == [1]
    assert gate.incidents() == [(Kind.WRONGLY_SIGNED, 1, 1, "compensated")] * 2
    gate.receive(forged, signature=stranger.sign(forged.id), now=2)
    gate.due(100 * SECOND)
    assert gate.recorded() == [1], "a forged event moves nothing"
    gate.receive(flipped(event.frame, 50), signature=key.sign(event.id), now=3)
    assert gate.incidents()[-1][0] is Kind.DAMAGED


def test_another_event_in_a_place_that_is_taken_is_kept_and_given_up():
    gate = Gate()
    gate.receive(an_event(1), an_event(2), an_event(1, time=7))
    assert gate.recorded() == [1, 2]
    assert {(kind, status) for kind, *_, status in gate.incidents()} == {
        (Kind.REPEATED, "given up"),
        (Kind.CONFLICTING, "given up"),
    }
    assert gate.said.count(Acknowledge("EWR", (1,))) == 2, "it must not be sent for ever"
    assert mended_by_an_answer(gate, 2, now=5), "and nothing waits for it"


def test_two_receivers_of_one_name_are_an_error():
    log = MemoryLog()
    one, other = Gate(log), Gate(log)
    one.receive(b"x")
    with pytest.raises(Conflict):
        other.receive(b"y")


def test_events_of_another_nodes_incidents_are_events_like_others():
    gate, edge = Gate(), Gate()
    edge.receiver._book.journal.source = "edge"
    edge.receive(b"x")
    gate.receive(*(event for _, event in edge.log.read()), now=SECOND)
    assert gate.acknowledged() == {("edge", 1)}
    assert [each.id for each in incidents(gate.log)] == ["edge-1"]


@pytest.mark.parametrize(
    "options",
    [{"patience": -1.0}, {"ahead": float("nan")}, {"late": 0.0}, {"held_max": 0}, {"backoff": Backoff()}],
    ids=str,
)
def test_tolerances_that_cannot_be_are_refused(options):
    with pytest.raises(BadInput, match=next(iter(options))):
        Tolerance(**options)


# Everything at once

FAULTS = ["none", "none", "lose", "repeat", "swap", "flip id", "flip body", "cut", "garble", "future", "sign"]
EXPECTED = {
    "lose": {Kind.MISSING},
    "repeat": {Kind.REPEATED},
    "swap": {Kind.OUT_OF_ORDER},
    "flip id": {Kind.DAMAGED},
    "flip body": {Kind.DAMAGED},
    "cut": {Kind.DAMAGED},
    "garble": {Kind.DAMAGED},
    "future": {Kind.FROM_THE_FUTURE},
    "sign": {Kind.WRONGLY_SIGNED},
}


def is_good(_source, _event_id, signature):
    return signature == b"good"


class Sources:
    """The other side: outboxes that answer requests, over a channel that is faulty at first sight only."""

    def __init__(self, gate):
        self.gate = gate
        self.boxes, self.last = {}, {}

    def send(self, event, fault, now):
        box = self.boxes.setdefault(event.source, Outbox(Backoff(delay=1000.0, delay_max=1000.0)))
        self.last[event.source] = event.sequence
        frame = box.add(event, now / SECOND)
        broken = {
            "lose": [],
            "repeat": [frame, frame],
            "flip id": [flipped(frame, 20)],
            "flip body": [flipped(frame, len(frame) - 2, 4)],
            "cut": [frame[:33]],
            "garble": [bytes(byte ^ 0x55 for byte in frame)],
        }
        return [(each, b"forged" if fault == "sign" else b"good") for each in broken.get(fault, [frame])]

    def deliver(self, source, sent, now):
        for frame, signature in sent:
            self.answer(self.gate.receiver.receive(frame, now, via=source, signature=signature), now)

    def answer(self, actions, now):
        said = self.gate.do(actions, now)
        for each in said:
            if isinstance(each, Acknowledge):
                self.boxes[each.source].acknowledge(each.sequences)
        for each in said:
            if isinstance(each, Resend):
                last = self.last[each.source]
                wanted = each.sequences or range(1, last + 1)
                for _, frame in tuple(self.boxes[each.source].request(wanted, now / SECOND)):
                    self.answer(self.gate.receiver.receive(frame, now, via=each.source, signature=b"good"), now)
                self.answer(self.gate.receiver.heard(each.source, last, now, asked=each.asked), now)


@settings(max_examples=300)
@given(
    plan=st.lists(st.tuples(st.sampled_from(["EWR", "JFK", "LGA"]), st.sampled_from(FAULTS)), max_size=25),
    restart=st.one_of(st.none(), st.integers(0, 24)),
)
def test_any_faults_end_with_each_event_once_and_an_incident_for_each_fault(plan, restart):
    gate = Gate(verify=is_good)
    sources, counts, injected, delayed = Sources(gate), {}, [], {}
    now = 1000 * SECOND
    for step, (source, fault) in enumerate(plan):
        now += SECOND // 1000
        if step == restart:
            # What the receiver held is gone with it; sources have it still, and the log says what was open.
            gate = Gate(gate.log, verify=is_good)
            sources.gate = gate
        sequence = counts[source] = counts.get(source, 0) + 1
        event = an_event(sequence, source, time=now + (3 * SECOND if fault == "future" else 0))
        sent = sources.send(event, fault, now)
        injected.append((source, sequence, fault, event))
        if fault == "swap" and source not in delayed:
            delayed[source] = (sequence, sent)  # its successor overtakes it
        else:
            sources.deliver(source, sent, now)
            if source in delayed:
                sources.deliver(source, delayed.pop(source)[1], now)
    for source, (_, sent) in delayed.items():
        sources.deliver(source, sent, now)  # nothing was left to overtake it
    for source, last in counts.items():
        sources.answer(gate.receiver.heard(source, last, now), now)
    for _ in range(400):
        now += SECOND // 4
        sources.answer(gate.receiver.due(now), now)
    recorded = [event.id for _, event in gate.log.read() if event.source != "gate"]
    assert sorted(recorded) == sorted(event.id for *_, event in injected), "each once"
    assert [len(box) for box in sources.boxes.values()] == [0] * len(sources.boxes), "and all acknowledged"
    found = incidents(gate.log)
    assert [each for each in found if each.status != "compensated"] == []
    assert (gate.receiver.open, gate.receiver.held) == ([], 0)
    if restart is None:
        check_kinds(injected, found)


def check_kinds(injected, found):
    damaged = sum(EXPECTED.get(fault) == {Kind.DAMAGED} for *_, fault, _ in injected)
    assert sum(each.kind is Kind.DAMAGED for each in found) == damaged
    covered = {(e.kind, e.source, n) for e in found if e.first for n in range(e.first, e.last + 1)}
    for source, sequence, fault, _ in injected:
        for kind in EXPECTED.get(fault, set()) - {Kind.DAMAGED}:
            overtaken = any(s == source and n > sequence and f != "lose" for s, n, f, _ in injected)
            # A lost one that a request for all that is open brings in, or a swap of the last, is seen as it looks.
            if fault == "lose" and (Kind.OUT_OF_ORDER, source, sequence) in covered:
                continue
            if fault == "swap" and (not overtaken or (kind, source, sequence) not in covered):
                continue
            if fault == "lose" and (kind, source, sequence) not in covered and damaged:
                continue
            assert (kind, source, sequence) in covered, (kind, source, sequence, found)
    if all(fault == "none" for *_, fault, _ in injected):
        assert found == []


@given(st.lists(st.tuples(st.sampled_from(["EWR", "JFK"]), st.sampled_from(["none", "lose", "repeat"])), max_size=20))
def test_kinds_that_do_not_hide_each_other_are_told_apart_exactly(plan):
    gate = Gate()
    sources, counts, expected = Sources(gate), {}, set()
    now = 1000 * SECOND
    for source, fault in plan:
        now += SECOND // 1000
        counts[source] = counts.get(source, 0) + 1
        event = an_event(counts[source], source, time=now)
        sources.deliver(source, sources.send(event, fault, now), now)
        if fault != "none":
            expected |= {(kind, source, counts[source]) for kind in EXPECTED[fault]}
    for source, last in counts.items():
        sources.answer(gate.receiver.heard(source, last, now), now)
    for _ in range(40):
        now += SECOND // 4
        sources.answer(gate.receiver.due(now), now)
    found = incidents(gate.log)
    assert {(e.kind, e.source, n) for e in found for n in range(e.first, e.last + 1)} == expected
    assert all(each.status == "compensated" for each in found)


def test_a_receiver_made_from_the_log_goes_on_where_the_last_one_stopped():
    log = MemoryLog()
    before = Gate(log)
    future, lost, damaged = an_event(4, time=9 * SECOND), an_event(2), an_event(5)
    before.receive(an_event(1), an_event(3), future)
    before.due(SECOND)
    before.receive(flipped(damaged.frame, 50), now=SECOND, via="EWR")
    after = Gate(log)
    assert after.receiver.next_due() == 0
    requests = after.due(2 * SECOND)
    assert {each for each in requests if isinstance(each, Resend)} == {
        Resend("EWR", (2,), 2 * SECOND),
        Resend("EWR", (), 2 * SECOND),
    }
    after.receive(lost, damaged, future, now=3 * SECOND)
    after.due(8 * SECOND)
    assert sorted(after.recorded()) == [1, 2, 3, 4, 5]
    assert (after.receiver.open, {each.status for each in incidents(log)}) == ([], {"compensated"})


def test_a_frame_that_is_whole_and_not_canonical_is_damaged():
    event = an_event(1)
    body = canonical_body(event) + b" "
    gate = Gate()
    gate.receive(identify(event.frame[:8], body) + body)
    assert gate.incidents() == [(Kind.DAMAGED, None, None, "detected")]


def test_every_kind_of_fault_is_recognised_written_down_and_compensated():
    """One source under each fault in turn: what it sent is in the log once, and each incident has ended."""
    ewr, stranger = HmacKey("EWR", b"e" * 32), HmacKey("EWR", b"s" * 32)
    tolerance = Tolerance(patience=1.0, late=60.0, ahead=1.0, backoff=TOLERANCE.backoff)
    gate = Gate(tolerance=tolerance, verify=id_check(Keyring({"EWR": [ewr]})))

    def send(event, now, key=ewr, frame=None):
        gate.receive(frame or event.frame, now=now, via="EWR", signature=sign_id(event.id, key))

    def found():
        life = incident_life(gate.log, incidents(gate.log)[-1].id)
        return life.kind, life.source, life.first, life.status

    now = 1_000 * SECOND
    sent = [an_event(n, time=now) for n in range(1, 11)]
    send(sent[0], now)

    send(sent[1], now, frame=flipped(sent[1].frame, 40))
    assert found() == (Kind.DAMAGED, "EWR", None, "traced")
    send(sent[1], now)
    assert found() == (Kind.DAMAGED, "EWR", 2, "compensated")

    send(sent[3], now)
    requests = [each for each in gate.due(now + 2 * SECOND) if isinstance(each, Resend)]
    assert ([each.sequences for each in requests], found()) == ([(3,)], (Kind.MISSING, "EWR", 3, "traced"))
    send(sent[2], now + 3 * SECOND)
    assert found() == (Kind.MISSING, "EWR", 3, "compensated")

    send(sent[3], now)
    assert found() == (Kind.REPEATED, "EWR", 4, "compensated")

    send(sent[5], now)
    send(sent[4], now)
    assert found() == (Kind.OUT_OF_ORDER, "EWR", 5, "compensated")

    late = an_event(7, time=now - 90 * SECOND)
    send(late, now)
    assert found() == (Kind.LATE, "EWR", 7, "compensated")

    future = an_event(8, time=now + 30 * SECOND)
    send(future, now)
    assert found() == (Kind.FROM_THE_FUTURE, "EWR", 8, "traced")
    gate.due(now + 29 * SECOND)
    assert found() == (Kind.FROM_THE_FUTURE, "EWR", 8, "compensated")

    send(sent[8], now + 30 * SECOND, key=stranger)
    assert found() == (Kind.WRONGLY_SIGNED, "EWR", 9, "traced")
    assert 9 not in gate.recorded()
    send(sent[8], now + 30 * SECOND)
    assert found() == (Kind.WRONGLY_SIGNED, "EWR", 9, "compensated")

    assert sorted(gate.recorded()) == list(range(1, 10))
    lives = [incident_life(gate.log, each.id) for each in incidents(gate.log)]
    assert {life.kind for life in lives} == set(Kind) - {Kind.CONFLICTING, Kind.SKIPPED, Kind.ABNORMAL}
    for life in lives:
        assert life.detected <= life.traced <= life.compensated
        assert life.due is not None
        assert life.outcome
        assert life.position is not None or life.kind is Kind.MISSING


def test_an_event_that_is_not_signed_at_all_is_wrongly_signed():
    gate = Gate(verify=id_check(Keyring({"EWR": [HmacKey("EWR", b"e" * 32)]})))
    gate.receive(an_event(1), now=5)
    gate.receive(an_event(1, source="JFK"), now=5, signature=bytes(37))
    assert [(each.kind, each.source) for each in incidents(gate.log)] == [
        (Kind.WRONGLY_SIGNED, "EWR"),
        (Kind.WRONGLY_SIGNED, "JFK"),
    ]
    assert gate.recorded() == []
