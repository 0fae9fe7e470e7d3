"""Sealed events open for whoever has the key, for nobody else, and for nobody at all once it is erased."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rarera_sim.adapters.keys import FileKeys, MemoryKeys
from rarera_sim.adapters.memory import MemoryLog, MemorySnapshots
from rarera_sim.adapters.sqlite import SqliteLog, SqliteSnapshots
from rarera_sim.core.errors import BadInput, BusyLog, InvalidEvent, UnknownKey
from rarera_sim.core.event import Event, decode
from rarera_sim.core.integrity import verify
from rarera_sim.core.log import Query
from rarera_sim.core.projection import Materialised, rebuild
from rarera_sim.core.sealing import (
    BEYOND_REACH,
    DataKey,
    Erased,
    Unsealed,
    erase_subject,
    is_sealed,
    replay_erasures,
    seal,
    unseal,
)
from rarera_sim.core.snapshot import Snapshot

pytest.importorskip("cryptography")


class Seats:
    """Who sits where: a state full of what must be forgotten."""

    name = "seats"
    version = 1

    def initial(self):
        return {}

    def apply(self, state, event):
        if event.type == "boarded":
            state[event.data["name"]] = event.data["seat"]
        return state


def counting(start=0):
    """Draws 0, 1, 2, ... as keys: tests need no chance."""
    numbers = iter(range(start, 10**6))
    return lambda length: next(numbers).to_bytes(length, "big")


def an_event(sequence=1, **data):
    return Event("EWR/UA1", "boarded", data, source="EWR", sequence=sequence, time=10**18 + sequence)


def keys_of(*subjects):
    keys = MemoryKeys(draw=counting())
    for subject in subjects:
        keys.create(subject)
    return keys


json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
ids = st.none() | st.binary(min_size=32, max_size=32)
names = st.text("abé/ ", min_size=1, max_size=5)
events = st.builds(
    Event,
    names,
    names,
    st.dictionaries(st.text(max_size=5), json, max_size=4),
    source=names,
    sequence=st.integers(1, 2**63 - 1),
    time=st.integers(0, 2**63 - 1),
    schema=st.integers(1, 5),
    causation=ids,
    correlation=ids,
)


def test_the_golden_sealed_event_never_changes():
    sealed = seal(an_event(name="Ada", seat="12A"), keys_of("ada"), "ada")
    assert sealed.data == {
        "sealed": (
            "1.8bad00880b670053199f4b86290d320d."
            "zq0GEujdgvpQNW1HWH4krwub58px2ZgxxbYuRz4NvvcNVSYYVmsITVDl0UVihroQtfm+qRKcfA=="
        )
    }
    assert sealed.id.hex() == "0de0b6b3a7640001af93e4bc48db35f9bca2d859eb8679b8f720b050bf723f07"


@given(events)
def test_a_sealed_event_is_an_event_and_opens_to_what_it_was(event):
    keys = keys_of("ada")
    sealed = seal(event, keys, "ada")
    assert is_sealed(sealed)
    assert sealed.id != event.id
    assert decode(sealed.frame) == sealed
    opened = unseal(decode(sealed.frame), keys)
    assert opened == event
    assert opened.data == event.data
    assert (opened.id, opened.frame) == (sealed.id, sealed.frame)


@given(events, events)
def test_sealing_again_gives_the_same_bytes_and_other_content_another_nonce(one, other):
    keys = keys_of("ada")
    assert seal(one, keys, "ada").frame == seal(one, keys, "ada").frame
    if one.frame != other.frame:
        nonces = [seal(event, keys, "ada").data["sealed"].split(".")[2][:16] for event in (one, other)]
        assert nonces[0] != nonces[1]


def test_two_contents_in_one_place_share_no_nonce():
    # Equal nonces under one key give the difference of the plaintexts away, and the key of the tag.
    keys = keys_of("ada")
    nonces = {seal(an_event(seat=f"{row}A"), keys, "ada").data["sealed"].split(".")[2][:16] for row in range(1, 100)}
    assert len(nonces) == 99


@pytest.mark.parametrize(
    "change",
    [
        {"stream": "EWR/UA2"},
        {"type": "left"},
        {"source": "JFK"},
        {"sequence": 2},
        {"time": 0},
        {"schema": 2},
        {"causation": bytes(32)},
        {"correlation": bytes(32)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_ciphertext_moved_to_another_event_does_not_open(change):
    keys = keys_of("ada")
    sealed = seal(an_event(name="Ada"), keys, "ada")
    moved = msgspec.structs.replace(sealed, **change)
    assert is_sealed(moved)
    with pytest.raises(InvalidEvent, match="it was changed, or sealed for another event"):
        unseal(moved, keys)


def test_ciphertexts_that_changed_places_do_not_open():
    keys = keys_of("ada")
    one, other = (seal(an_event(n, seat=f"{n}A"), keys, "ada") for n in (1, 2))
    for event, data in ((one, other.data), (other, one.data)):
        with pytest.raises(InvalidEvent):
            unseal(msgspec.structs.replace(event, data=data), keys)


@pytest.mark.parametrize("position", [0, 7, 15, 16, 20, -8, -5])
def test_a_changed_ciphertext_does_not_open(position):
    keys = keys_of("ada", "bob")
    version, key_id, text = seal(an_event(name="Ada"), keys, "ada").data["sealed"].split(".")
    letters = list(text)
    letters[position] = "B" if letters[position] == "A" else "A"
    with pytest.raises(InvalidEvent, match=r"data of EWR#1 does not open"):
        unseal(an_event(sealed=f"{version}.{key_id}.{''.join(letters)}"), keys)
    [bobs] = keys.ids("bob")
    with pytest.raises(InvalidEvent, match=r"data of EWR#1 does not open"):
        unseal(an_event(sealed=f"{version}.{bobs}.{text}"), keys)
    with pytest.raises(InvalidEvent, match=r"data of EWR#1 does not open"):
        unseal(an_event(sealed=f"{version}.{key_id}.AAAA"), keys)


def test_a_store_that_gives_the_wrong_key_is_found_out():
    keys = keys_of("ada")
    sealed = seal(an_event(name="Ada"), keys, "ada")

    class Confused(MemoryKeys):
        def find(self, key_id):  # noqa: ARG002
            return DataKey(bytes(31) + b"?")

    with pytest.raises(InvalidEvent):
        unseal(sealed, Confused())


@pytest.mark.parametrize("data", [{}, {"sealed": 1}, {"sealed": "2.x"}, {"sealed": "1.00.AAAA"}, {"sealed": None}])
def test_what_is_not_sealed_is_left_alone(data):
    event = an_event(**data)
    assert not is_sealed(event)
    assert unseal(event, MemoryKeys()) is event


def test_data_that_looks_sealed_can_be_sealed():
    keys = keys_of("ada")
    inner = seal(an_event(name="Ada"), keys, "ada")
    assert unseal(seal(inner, keys, "ada"), keys) == inner


def test_after_rotation_old_events_open_and_new_ones_have_the_new_key():
    keys = keys_of("ada")
    old = seal(an_event(1, name="Ada"), keys, "ada")
    keys.rotate("ada")
    new = seal(an_event(2, name="Ada"), keys, "ada")
    assert old.data["sealed"][2:34] != new.data["sealed"][2:34]
    assert unseal(old, keys).data == unseal(new, keys).data == {"name": "Ada"}


def test_erased_and_never_heard_of_are_two_answers():
    keys = keys_of("ada")
    sealed = seal(an_event(name="Ada"), keys, "ada")
    with pytest.raises(UnknownKey, match="never in this key store"):
        unseal(sealed, MemoryKeys())
    [key_id] = keys.ids("ada")
    keys.erase([key_id])
    assert unseal(sealed, keys) == Erased(sealed, key_id)


def test_a_late_event_of_somebody_erased_is_refused():
    log, keys = MemoryLog(), keys_of("ada")
    erase_subject(log, keys, "ada", time=0)
    with pytest.raises(BadInput, match="no key"):
        seal(an_event(name="Ada"), keys, "ada")


def test_an_event_that_cannot_be_is_refused_before_it_is_sealed():
    with pytest.raises(InvalidEvent):
        seal(an_event(speed=float("nan")), keys_of("ada"), "ada")
    with pytest.raises(InvalidEvent):
        seal(msgspec.structs.replace(an_event(), sequence=0), keys_of("ada"), "ada")


# Logs


def a_sealed_log(log, keys):
    for sequence, (subject, name) in enumerate((("ada", "Ada L."), ("bob", "Bob B."), ("ada", "Ada K.")), start=1):
        keys.create(subject)
        log.append([seal(an_event(sequence, name=name, seat=f"{sequence}A"), keys, subject)])
    return log


def test_a_rebuild_passes_over_what_was_erased_and_the_log_still_verifies():
    keys, snapshots = MemoryKeys(draw=counting()), MemorySnapshots()
    log = a_sealed_log(MemoryLog(), keys)
    seats = Unsealed(Seats(), keys)
    materialised = Materialised(seats)
    for recorded in log.read():
        materialised.apply(recorded)
    snapshots.save(materialised.snapshot())
    assert rebuild(seats, log, snapshots=snapshots) == {"Ada L.": "1A", "Bob B.": "2A", "Ada K.": "3A"}
    head = verify(log).head
    erasure = erase_subject(log, keys, "ada", time=5, snapshots=[snapshots])
    assert rebuild(seats, log, snapshots=snapshots) == {"Bob B.": "2A"}
    assert verify(log, expected_head=head).intact
    assert erasure.beyond_reach == BEYOND_REACH


def test_the_erasure_is_an_event_that_names_keys_and_nobody():
    log, keys = MemoryLog(), MemoryKeys(draw=counting())
    a_sealed_log(log, keys)
    keys.rotate("ada")
    erased = keys.ids("ada")
    erase_subject(log, keys, "ada", time=5)
    erase_subject(log, keys, "bob", time=6)
    first, second = (recorded.event for recorded in log.read(Query(types=("subject-erased",))))
    assert (first.stream, first.source, first.sequence, first.time) == ("erasure", "erasure", 1, 5)
    assert (second.sequence, second.time) == (2, 6)
    assert first.data == {"keys": erased}
    assert len(erased) == 2
    assert all(name not in first.frame for name in (b"ada", b"Ada"))


def test_a_subject_that_nobody_knows_is_not_erased_quietly():
    log = MemoryLog()
    with pytest.raises(BadInput, match="nothing to erase"):
        erase_subject(log, keys_of("ada"), "adda", time=0)
    assert log.head() == 0


def test_an_erasure_that_broke_off_is_finished_at_the_next_start():
    log, keys = MemoryLog(), MemoryKeys(draw=counting())
    a_sealed_log(log, keys)

    class Full:
        def clear(self):
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        erase_subject(log, keys, "ada", time=5, snapshots=[Full()])
    assert keys.get("ada") is not None  # keys go last, so that nothing looks finished that is not
    snapshots = MemorySnapshots()
    snapshots.save(Snapshot.of("seats", 1, 1, 1, {"Ada L.": "1A"}))
    assert replay_erasures(log, keys, snapshots=[snapshots]) == 1
    assert keys.get("ada") is None
    assert snapshots.latest("seats", 1) is None
    assert replay_erasures(log, keys, snapshots=[Full()]) == 0


def test_a_key_store_from_a_backup_forgets_again(tmp_path):
    path = tmp_path / "keys.json"
    log, keys = MemoryLog(), FileKeys(path, bytes(32))
    a_sealed_log(log, keys)
    backup = path.read_bytes()
    erase_subject(log, keys, "ada", time=5)
    path.write_bytes(backup)
    restored = FileKeys(path, bytes(32))
    first = next(log.read()).event
    assert not isinstance(unseal(first, restored), Erased)
    assert replay_erasures(log, restored) == 1
    assert isinstance(unseal(first, restored), Erased)


def occurrences(folder: Path, *needles: bytes) -> dict[str, int]:
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            count = sum(path.read_bytes().count(needle) for needle in needles)
            if count:
                found[path.name] = count
    return found


@pytest.mark.parametrize("seed", range(8))
def test_no_byte_of_an_erased_subject_is_left_in_any_file(tmp_path, seed):
    # Snapshots of every size, replaced and not, between checkpoints of the WAL: wherever SQLite may leave old bytes.
    weather = random.Random(seed)
    needles = b"Lovelace", b"subject-ada"
    keys = FileKeys(tmp_path / "keys.json", bytes(32))
    keys.create("subject-ada")
    keys.create("bob")
    with SqliteLog(tmp_path / "log.sqlite", durability="normal") as log:
        snapshots = SqliteSnapshots(log)
        for sequence in range(1, 25):
            subject = weather.choice(("subject-ada", "bob"))
            name = "Lovelace" * weather.choice((1, 20, 300)) if subject == "subject-ada" else "Babbage"
            log.append([seal(an_event(sequence, name=f"{name}{sequence}", seat="1A"), keys, subject)])
            state = rebuild(Unsealed(Seats(), keys), log)
            position = log.head() if weather.random() < 0.5 else weather.randint(1, 5)
            snapshots.save(Snapshot.of("seats", 1, position, 1, state))
            if weather.random() < 0.3:
                log._fetch("PRAGMA wal_checkpoint(PASSIVE)")
        before = occurrences(tmp_path, *needles)
        assert before["keys.json"]
        assert before.keys() & {"log.sqlite", "log.sqlite-wal"}
        erase_subject(log, keys, "subject-ada", time=1, snapshots=[snapshots])
        assert occurrences(tmp_path, *needles) == {}
        assert "Babbage" in str(rebuild(Unsealed(Seats(), keys), log))
        assert verify(log).intact
    assert occurrences(tmp_path, *needles) == {}


def test_a_reader_that_holds_the_wal_is_named_and_clearing_again_works(tmp_path):
    with SqliteLog(tmp_path / "log.sqlite", busy_timeout=0.05) as log, SqliteLog(tmp_path / "log.sqlite") as other:
        snapshots = SqliteSnapshots(log)
        log.append([an_event()])
        snapshots.save(Snapshot.of("seats", 1, 1, 1, {"Lovelace": "1A"}))
        other._connection.execute("BEGIN")
        other._fetch("SELECT count(*) FROM snapshots")
        with pytest.raises(BusyLog, match="still in its WAL"):
            snapshots.clear()
        other._connection.execute("COMMIT")
        snapshots.clear()
        assert occurrences(tmp_path, b"Lovelace") == {}


# Secrets


def test_no_secret_is_in_a_repr_or_an_error():
    secret = b"0123456789abcdef0123456789abcdef"
    key = DataKey(secret)
    keys = MemoryKeys(draw=lambda _: secret)
    keys.create("ada")
    sealed = seal(an_event(name="Lovelace"), keys, "ada")
    shown = [repr(key), str(key), repr(keys), repr(sealed), repr(Erased(sealed, key.id))]
    for call in (
        lambda: DataKey(secret[:-1]),
        lambda: DataKey(secret.decode()),
        lambda: keys.create("bob"),
        lambda: unseal(msgspec.structs.replace(sealed, sequence=9), keys),
        lambda: unseal(sealed, MemoryKeys()),
    ):
        with pytest.raises((BadInput, UnknownKey)) as caught:
            call()
        shown.append(str(caught.value))
    for text in shown:
        assert "456789ab" not in text
        assert secret.hex()[:16] not in text
        assert "Lovelace" not in text


def test_without_the_package_the_error_names_the_extra():
    program = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from rarera_sim.core.sealing import DataKey\n"
        "try: DataKey(bytes(32))\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "BadInput sealing needs the package cryptography: install rarera-sim[crypto]\n"
