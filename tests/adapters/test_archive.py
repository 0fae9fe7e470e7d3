"""Archives and copies: nothing is lost on the way, and no damage passes."""

from __future__ import annotations

import errno
import os
import random
from importlib.util import find_spec
from io import BytesIO

import orjson
import polars as pl
import pytest

from rarera_sim.adapters import archive
from rarera_sim.adapters.archive import Copied, copy_log, export_jsonl, export_parquet, import_archive
from rarera_sim.adapters.files import FilesLog
from rarera_sim.adapters.memory import MemoryLog
from rarera_sim.adapters.sqlite import SqliteLog
from rarera_sim.core.errors import BadInput, Conflict, DamagedLog, RareraError, StorageFailed, UnknownFormat
from rarera_sim.core.event import ID_BYTES, Event, decode, identify
from rarera_sim.core.integrity import verify
from rarera_sim.core.log import Query

TORTURE = bool(os.environ.get("RARERA_TORTURE"))  # the long mode of what has a short one
EXTREMES = (
    Event("a", "b", {}, source="c", sequence=1, time=0),
    Event("é/\U0001f600", "two words", {"": [None, -0.0, 1e300]}, "s", 2**63 - 1, 2**63 - 1, schema=7),
    Event("a", "b", {"blob": "x" * 200_000}, "c", 2, 1, causation=b"\xff" * 32, correlation=b"\0" * 31 + b"\1"),
)
EXPORTS = {"parquet": export_parquet, "jsonl": export_jsonl}


def an_event(sequence=1, *, stream="EWR/UA1", kind="departed", source="EWR", **data):
    return Event(stream, kind, data, source=source, sequence=sequence, time=sequence)


def some_events(first, last):
    return [
        an_event(n, stream=f"EWR/{n % 5}", kind=("departed", "arrived")[n % 2], speed=1.5 * n)
        for n in range(first, last + 1)
    ]


def a_log(events):
    log = MemoryLog()
    log.append(list(events))
    return log


def foreign_event():
    """An event that another program wrote in JSON with spaces: the UID covers these bytes, so they have to be kept."""
    body = b'["a", "b", "foreign", 1, 1, "", "", {"x": 1}]'
    return decode(identify(b"\0" * 8, body) + body)


@pytest.fixture(params=EXPORTS)
def export(request, tmp_path):
    def write(log, name="archive", **options):
        path = tmp_path / f"{name}.{request.param}"
        return path, EXPORTS[request.param](log, path, **options)

    return write


def test_what_is_imported_is_what_was_exported_to_the_byte(export):
    log = a_log([*EXTREMES, foreign_event(), *some_events(1, 100)])
    path, exported = export(log)
    other = MemoryLog()
    imported = import_archive(path, other, batch=7)
    assert [event.frame for _, event in other.read()] == [event.frame for _, event in log.read()]
    assert exported == (104, verify(log).head.chain.hex())
    assert imported == (104, 104, exported.digest)
    assert verify(other).head == verify(log).head


def test_an_empty_log_and_a_query_are_exported_too(export):
    path, exported = export(MemoryLog(), "empty")
    assert exported.events == 0
    assert import_archive(path, MemoryLog()).events == 0
    log = a_log(some_events(1, 50))
    path, exported = export(log, query=Query(types=("arrived",), since=10))
    other = MemoryLog()
    assert import_archive(path, other).appended == exported.events == 20
    assert [event for _, event in other.read()] == [event for event in some_events(10, 50) if event.type == "arrived"]


def test_both_forms_have_one_digest(tmp_path):
    log = a_log(some_events(1, 9))
    parquet, jsonl = (export(log, tmp_path / name) for name, export in EXPORTS.items())
    assert parquet == jsonl


def test_an_import_repeated_appends_nothing_and_a_conflict_is_said(export):
    path, _ = export(a_log(some_events(1, 30)))
    log = a_log(some_events(1, 12))
    assert import_archive(path, log, batch=5).appended == 18
    assert import_archive(path, log).appended == 0
    with pytest.raises(Conflict, match="EWR#30"):
        import_archive(path, a_log([an_event(30, other=True)]))


def test_progress_is_told(export):
    path, _ = export(a_log(some_events(1, 25)))
    told = []
    import_archive(path, MemoryLog(), batch=10, progress=lambda *of: told.append(of))
    assert told == [(10, 25), (20, 25), (25, 25)]


@pytest.mark.parametrize("export", [export_parquet, export_jsonl])
def test_an_export_tells_how_far_it_has_read(export, tmp_path):
    told = []
    log = a_log(some_events(1, 2_500))
    query = Query(since=next(log.read(after=1_299)).event.time)
    assert export(log, tmp_path / "all", progress=lambda *of: told.append(of)).events == 2_500
    export(log, tmp_path / "some", query, progress=lambda *of: told.append(of))
    assert told == [(1_000, 2_500), (2_000, 2_500), (1_300, 2_500), (2_300, 2_500)]


def test_other_programs_can_read_an_archive(tmp_path):
    log = a_log(some_events(1, 9))
    export_parquet(log, tmp_path / "log.parquet")
    frame = pl.read_parquet(tmp_path / "log.parquet")
    assert frame["position"].to_list() == list(range(1, 10))
    assert frame["id"].to_list() == [event.id for _, event in log.read()]
    assert frame["time"].to_physical().to_list() == list(range(1, 10))
    assert frame.group_by("type").len().sort("type").rows() == [("arrived", 5), ("departed", 4)]
    assert orjson.loads(frame["body"][0])[-1] == {"speed": 1.5}
    export_jsonl(log, tmp_path / "log.jsonl")
    lines = [orjson.loads(line) for line in (tmp_path / "log.jsonl").read_bytes().splitlines()]
    assert [line["data"] for line in lines[1:-1]] == [event.data for _, event in log.read()]


# Damage


def outcome(path):
    log = MemoryLog()
    try:
        import_archive(path, log)
    except RareraError as error:
        assert log.head() == 0, "nothing is appended from a damaged archive"
        return error
    return None


def test_a_flipped_bit_in_any_byte_is_refused(export):
    path, _ = export(a_log([an_event(n, stream=f"EWR/{n}", speed=1.5 * n) for n in range(1, 5)]))
    good = path.read_bytes()
    draw = random.Random(path.suffix)
    errors = []
    # Parquet is slow to say where the damage is: the short mode asks for that at some bytes only.
    step = 1 if TORTURE or path.suffix == ".jsonl" else 5
    for place in range(0, len(good), step):
        for bit in range(8) if TORTURE else [draw.randrange(8)]:
            flipped = bytearray(good)
            flipped[place] ^= 1 << bit
            path.write_bytes(flipped)
            errors.append(outcome(path))
            assert errors[-1], f"bit {bit} of byte {place}"
    assert sum("position" in str(error) for error in errors) > 0.2 * len(errors)
    path.write_bytes(good)
    assert outcome(path) is None


def test_the_digest_of_a_parquet_file_covers_every_bit_of_it(tmp_path):
    export_parquet(a_log(some_events(1, 4)), tmp_path / "log.parquet")
    good = (tmp_path / "log.parquet").read_bytes()

    def fits(content):
        file = BytesIO(content)
        try:
            place = archive._place_of_sha256(file)
        except DamagedLog:
            return False
        return archive._sha256_of(file, place) == content[place : place + 64].decode("ascii", "replace")

    assert fits(good)
    for bit in range(8 * len(good)):
        flipped = bytearray(good)
        flipped[bit // 8] ^= 1 << bit % 8
        assert not fits(bytes(flipped)), f"bit {bit % 8} of byte {bit // 8}"


def test_every_truncation_and_whatever_is_added_is_refused(export):
    path, _ = export(a_log(some_events(1, 3)))
    good = path.read_bytes()
    for size in range(0, len(good), 1 if TORTURE or path.suffix == ".jsonl" else 5):
        path.write_bytes(good[:size])
        assert outcome(path), f"cut to {size} bytes"
    for more in (b"\0", b"\n", b"{}\n", good):
        path.write_bytes(good + more)
        assert outcome(path), f"with {more!r} behind"


@pytest.mark.parametrize(
    ("change", "position", "reason"),
    [
        (lambda lines: lines[3].replace(b"4.5", b"4.6"), 3, "is not that of this event"),
        (lambda lines: lines[3].replace(b'"departed"', b'"departed'), 3, "does not read as an event"),
        (lambda lines: lines[2], 3, "EWR#2 is there a second time"),
        (lambda lines: lines[3].replace(b'"position":3', b'"position":4'), None, "sha256"),
    ],
)
def test_damage_is_named_with_its_position_and_reason(tmp_path, change, position, reason):
    path = tmp_path / "log.jsonl"
    export_jsonl(a_log([an_event(n, speed=1.5 * n) for n in range(1, 6)]), path)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[3] = change(lines)
    path.write_bytes(b"".join(lines))
    error = outcome(path)
    assert isinstance(error, DamagedLog)
    assert reason in str(error)
    assert ("position 3 in the archive" in str(error)) == (position is not None)


def test_events_taken_out_of_an_archive_are_missed_though_all_others_are_good(tmp_path):
    path = tmp_path / "log.jsonl"
    export_jsonl(a_log(some_events(1, 5)), path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:4], *lines[5:]]))
    assert "says that its events is 5, and it is 4" in str(outcome(path))


def test_a_changed_value_in_parquet_is_named_with_its_position(tmp_path):
    path = tmp_path / "log.parquet"
    log = a_log(some_events(1, 5))
    group = list(log.read())
    event = group[2].event
    forged = Event(event.stream, event.type, {"speed": 0.0}, event.source, event.sequence, event.time)
    forged.__dict__["frame"] = event.frame[:ID_BYTES] + forged.body
    log.read = lambda *_: iter([*group[:2], group[2]._replace(event=forged), *group[3:]])
    export_parquet(log, path)
    assert "position 3 in the archive: content does not match its UID" in str(outcome(path))


# Files


def test_an_archive_is_there_whole_or_not_at_all(export, tmp_path, monkeypatch):
    class Failing(MemoryLog):
        def read(self, *_, **__):
            yield from a_log(some_events(1, 3)).read()
            raise DamagedLog("position 4 is bad")

    with pytest.raises(DamagedLog, match="position 4"):
        export(Failing())
    assert list(tmp_path.iterdir()) == []
    path, _ = export(a_log(some_events(1, 3)))
    before = path.read_bytes()
    with pytest.raises(DamagedLog, match="position 4"):
        export(Failing(), overwrite=True)

    def fail(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("rarera_sim.adapters.folders.os.fsync", fail)
    with pytest.raises(StorageFailed, match="No space left"):
        export(a_log(some_events(1, 5)), overwrite=True)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_archive_is_overwritten_only_when_told_to(export):
    path, _ = export(a_log(some_events(1, 3)))
    with pytest.raises(BadInput, match="there already"):
        export(a_log(some_events(1, 4)))
    assert import_archive(path, MemoryLog()).events == 3
    export(a_log(some_events(1, 4)), overwrite=True)
    assert import_archive(path, MemoryLog()).events == 4


def test_what_is_no_archive_is_one_clear_error(tmp_path, export):
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "other.parquet")
    (tmp_path / "text").write_text("hello")
    (tmp_path / "other.jsonl").write_text('{"a":1}\n')
    (tmp_path / "half.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "empty").touch()
    for name, reason in (
        ("none", "cannot be read"),
        ("", "cannot be read"),
        ("text", "neither Parquet nor JSON Lines"),
        ("empty", "neither Parquet nor JSON Lines"),
        ("other.parquet", "not an RARERA archive"),
        ("other.jsonl", "not an RARERA archive"),
        ("a\0b", "cannot be read"),
    ):
        with pytest.raises(BadInput, match=reason):
            import_archive(tmp_path / name, MemoryLog())
    with pytest.raises(DamagedLog, match="no Parquet file"):
        import_archive(tmp_path / "half.parquet", MemoryLog())
    with pytest.raises(BadInput, match="there is no folder"):
        export(MemoryLog(), "no/folder")
    with pytest.raises(BadInput, match="batch"):
        import_archive(tmp_path / "text", MemoryLog(), batch=0)


def test_a_newer_format_is_refused_with_the_version_it_needs(export, monkeypatch):
    with monkeypatch.context() as newer:
        newer.setattr(archive, "FORMAT", 2)
        newer.setattr(archive, "FORMAT_SINCE", "3.1.0")
        path, _ = export(a_log(some_events(1, 3)))
    with pytest.raises(UnknownFormat, match=r"format 2.*up to 1.*needs rarera_sim 3\.1\.0"):
        import_archive(path, MemoryLog())


# Copies

KINDS = ["memory", "sqlite", "files", "tiered"]


def make(kind, path):
    if kind == "memory":
        return MemoryLog()
    if kind == "sqlite":
        return SqliteLog(path)
    if kind == "files":
        return FilesLog(path, segment_bytes=2_000)
    if not find_spec("zstandard"):
        pytest.skip("needs rarera-sim[zstd]")
    from rarera_sim.adapters.tiered import TieredLog

    return TieredLog(path, hot=5, warm=20)


@pytest.mark.parametrize("target", KINDS)
@pytest.mark.parametrize("source", KINDS)
def test_a_copy_between_any_two_logs_is_equal(tmp_path, source, target):
    one, other = make(source, tmp_path / "one"), make(target, tmp_path / "other")
    for start in range(1, 61, 6):
        one.append(some_events(start, start + 5))
    told = []
    copied = copy_log(one, other, batch=25, progress=lambda *of: told.append(of))
    assert copied == Copied(60, verify(one).head)
    assert verify(other).head == verify(one).head
    assert told == [(done, 180) for done in (25, 50, 60, 60, 120, 180)], "copied, then both read again"
    assert [event.frame for _, event in other.read()] == [event.frame for _, event in one.read()]
    one.close()
    other.close()


def test_a_copy_that_broke_off_goes_on_and_one_repeated_changes_nothing():
    source, target = a_log(some_events(1, 30)), MemoryLog()

    def break_off(done, _):
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_log(source, target, batch=10, progress=break_off)
    assert target.head() == 20
    assert copy_log(source, target, batch=7).appended == 10
    assert copy_log(source, target).appended == 0
    assert copy_log(source, target, after=3).appended == 0
    source.append(some_events(31, 35))
    assert copy_log(source, target) == Copied(5, verify(source).head)
    assert copy_log(MemoryLog(), MemoryLog()).appended == 0


def test_a_source_that_grows_meanwhile_is_copied_as_it_was():
    source, target = a_log(some_events(1, 5)), MemoryLog()
    copied = copy_log(source, target, batch=2, progress=lambda done, _: source.append([an_event(100 + done)]))
    assert (copied.appended, copied.head.position, source.head()) == (5, 5, 10)


def test_a_target_that_holds_other_events_is_refused():
    source = a_log(some_events(1, 9))
    for events, reason in (
        (some_events(1, 10), "ends at position 10"),
        ([an_event(1, source="JFK")], "at position 1 it holds another event"),
    ):
        with pytest.raises(BadInput, match=reason):
            copy_log(source, a_log(events))
    # The same last event, and something else before it: only the heads can tell.
    target = a_log([an_event(1, source="JFK"), *some_events(2, 3)])
    with pytest.raises(DamagedLog, match="source differs from its copy"):
        copy_log(source, target)
    assert target.head() == 3, "nothing was appended"
    for after in (-1, 4, True):
        with pytest.raises(BadInput, match="after must be 0 to 3"):
            copy_log(source, target, after=after)
    with pytest.raises(BadInput, match="batch"):
        copy_log(source, target, batch=0)


def test_a_target_that_swallows_an_event_is_found():
    class Forgetful(MemoryLog):
        def append(self, events, **_):
            return super().append([event for event in events if event.sequence != 4])

    with pytest.raises((BadInput, DamagedLog), match="position"):
        copy_log(a_log(some_events(1, 9)), Forgetful(), batch=3)
    with pytest.raises(DamagedLog, match="ends at position 3, and 4 were copied"):
        copy_log(a_log([*some_events(1, 3), an_event(4)]), Forgetful(), batch=3)


def test_a_damaged_source_or_target_is_no_proof():
    source = a_log(some_events(1, 5))
    rows = list(source.rows())
    source.rows = lambda: iter([*rows[:2], rows[3], *rows[3:]])
    with pytest.raises(DamagedLog, match="source differs from its copy: position 3"):
        copy_log(source, MemoryLog())
    target = MemoryLog()
    target.rows = lambda: iter(rows[1:])
    with pytest.raises(DamagedLog, match="target does not verify: position 1"):
        copy_log(a_log(some_events(1, 5)), target)
