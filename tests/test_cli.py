"""The command `rarera`: what it prints, its exit codes, and that bad input is one clear line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from importlib.metadata import version

import apsw
import pytest

from rarera_sim import cli
from rarera_sim.adapters.sqlite import SqliteLog, SqliteSnapshots
from rarera_sim.cli import output
from rarera_sim.cli import run as run_command
from rarera_sim.core.event import Event
from rarera_sim.core.projection import Materialised, Tally
from rarera_sim.core.time import parse_timestamp
from rarera_sim.core.trace import Stage, Step

START = parse_timestamp("2013-01-14T12:00:00Z")
SECOND = 10**9
RARERA = [sys.executable, "-c", "import sys; from rarera_sim.cli import main; sys.exit(main())"]


def an_event(sequence, *, kind="arrived", stream="EWR/UA1", source="IAH", cause=None, correlation=None, **data):
    links = {"causation": cause and cause.id, "correlation": correlation and correlation.id}
    moment = START + sequence * SECOND
    return Event(stream, kind, data, source=source, sequence=sequence, time=moment, **links)


def some_events():
    """Four arrivals, a departure that one of them caused, and what that led to."""
    arrivals = [an_event(n, speed=400.0 + n) for n in range(1, 5)]
    departed = an_event(1, kind="departed", source="EWR", cause=arrivals[1], correlation=arrivals[0])
    noted = an_event(1, kind="noted", stream="JFK/7", source="JFK", cause=departed, correlation=arrivals[0])
    return [*arrivals, departed, noted]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log.sqlite"


@pytest.fixture
def log(path):
    with SqliteLog(path, durability="normal") as log:
        log.append(some_events())
    return str(path)


@pytest.fixture
def rarera(capfdbinary, monkeypatch):
    """Run a command in this process: exit code, stdout, stderr."""
    # Where lines break is the terminal's business, and whoever runs the tests may have exported its width.
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments, stdin=b""):
        if stdin:
            return _process(*arguments, stdin=stdin)
        code = cli.main([str(argument) for argument in arguments])
        sys.stdout.flush()
        out, err = capfdbinary.readouterr()
        return code, out.decode(), err.decode()

    return run


def _process(*arguments, stdin=b""):
    done = subprocess.run([*RARERA, *map(str, arguments)], input=stdin, capture_output=True, timeout=60, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def lines_of(events):
    return b"".join(json.dumps(fields).encode() + b"\n" for fields in events)


def a_line(sequence=1, **changes):
    fields = {
        "stream": "EWR/UA1",
        "type": "arrived",
        "data": {"speed": 1.5},
        "source": "IAH",
        "sequence": sequence,
        "time": "2013-01-14T12:00:00Z",
    }
    fields.update(changes)
    return {name: value for name, value in fields.items() if value is not ...}


def meddle(path, sql):
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute(sql)
    connection.close()


# Help


def test_version_is_that_of_the_package(rarera):
    assert rarera("--version") == (0, f"rarera {version('rarera-sim')}\n", "")


def test_every_command_has_help_with_examples(rarera):
    for command in [[], *(words for words, _ in commands_of(cli.cli))]:
        code, out, _ = rarera(*command, "--help")
        assert (code, "Examples:" in out, "  rarera " in out) == (0, True, True), command


def test_a_command_alone_prints_its_help(rarera):
    assert rarera() == rarera("--help")
    assert rarera("log") == rarera("log", "--help")


def test_python_m_is_the_command():
    done = subprocess.run([sys.executable, "-m", "rarera_sim", "--version"], capture_output=True, check=True)
    assert done.stdout.decode() == f"rarera {version('rarera-sim')}\n"


def commands_of(group, *names):
    """Every command by the words that call it."""
    for name, command in getattr(group, "commands", {}).items():
        yield [*names, name], command
        yield from commands_of(command, *names, name)


def test_every_command_is_called_what_the_registry_calls_it():
    found = list(commands_of(cli.cli))
    assert {words[-1]: command.name for words, command in found} == {words[-1]: words[-1] for words, _ in found}
    assert ["log", "verify"] in [words for words, _ in found]


def test_one_command_loads_no_other():
    code = "import sys, rarera_sim.cli as c; c.main(['log', 'verify', '--help']); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.decode().split()
    assert "rarera_sim.cli.log.verify" in loaded
    assert {"rarera_sim.cli.run", "rarera_sim.cli.log.copy"}.isdisjoint(loaded)


def test_help_loads_nothing_that_is_slow():
    slow = ["apsw", "numpy", "orjson", "polars", "rich", "river", "scipy", "simpy"]
    code = f"import sys, rarera_sim.cli as c; c.main(['--help']); sys.exit(len({set(slow)!r} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False).returncode == 0


def test_asking_a_log_loads_no_model(log):
    slow = ["numpy", "polars", "river", "scipy", "simpy"]
    code = (
        f"import sys, rarera_sim.cli as c; c.main(['log', 'verify', {log!r}]);"
        f"sys.exit(len({set(slow)!r} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False).returncode == 0


def test_help_names_every_policy_there_is(rarera):
    from rarera_sim.policies import POLICIES

    code, out, _ = rarera("run", "--help")
    names = " ".join(out.partition("repeatable: ")[2].split()).partition(".")[0].split(", ")
    assert (code, names) == (0, list(POLICIES))


# rarera log state, query


def test_state_is_counts_and_means_by_processor_and_type(rarera, log):
    code, out, err = rarera("log", "state", log, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == {
        "as_of": None,
        "position": 6,
        "field": "speed",
        "rows": [
            {"processor": "EWR", "type": "arrived", "count": 4, "mean": 402.5},
            {"processor": "EWR", "type": "departed", "count": 1, "mean": None},
            {"processor": "JFK", "type": "noted", "count": 1, "mean": None},
        ],
    }
    code, out, _ = rarera("log", "state", log)
    assert code == 0
    assert out.splitlines()[-1] == "position 6 of 6"
    assert "402.5" in out


@pytest.mark.parametrize(
    ("options", "arrived"),
    [
        (["--as-of", "2013-01-14T12:00:02Z"], (2, 401.5)),
        (["--as-of", "2013-01-14T13:00:02+01:00"], (2, 401.5)),
        (["--as-of", str(START + 3 * SECOND - 1)], (2, 401.5)),
        (["--upto", "3"], (3, 402.0)),
        (["--upto", "99"], (4, 402.5)),
        (["--upto", "3", "--as-of", "2013-01-15"], (3, 402.0)),
    ],
)
def test_state_goes_back_to_a_time_or_a_position(rarera, log, options, arrived):
    _, out, _ = rarera("log", "state", log, "--json", *options)
    first = json.loads(out)["rows"][0]
    assert (first["count"], first["mean"]) == arrived


def test_state_starts_from_a_snapshot_and_says_the_same(rarera, log, path):
    before = rarera("log", "state", log)
    with SqliteLog(path) as opened:
        tally = Materialised(Tally("speed"))
        for recorded in opened.read(upto=3):
            tally.apply(recorded)
        SqliteSnapshots(opened).save(tally.snapshot())
    assert rarera("log", "state", log) == before


def test_query_counts_and_averages(rarera, log):
    options = ["--processor", "EWR", "--type", "arrived"]
    assert rarera("log", "query", log, *options) == (0, "count  4\nmean   402.5   (speed)\n", "")
    window = ["--since", "2013-01-14T12:00:02Z", "--until", "2013-01-14T12:00:03Z"]
    _, out, _ = rarera("log", "query", log, *options, *window, "--json")
    assert json.loads(out) == {"field": "speed", "count": 2, "values": 2, "mean": 402.5, "rate": 1.999999998}
    _, out, _ = rarera("log", "query", log, "--stream", "JFK/7", "--source", "JFK", "--json")
    assert json.loads(out) == {"field": "speed", "count": 1, "values": 0, "mean": None, "rate": None}


# rarera log verify


def test_an_intact_log_shows_its_head(rarera, log, path):
    with SqliteLog(path) as opened:
        head = f"6:{opened.chain_head().chain.hex()}"
    assert rarera("log", "verify", log) == (0, f"intact, 6 events\nhead {head}\n", "")
    assert rarera("log", "verify", log, "--head", head)[0] == 0
    assert rarera("log", "verify", log, "--head", "6")[0] == 0


def test_damage_is_named_with_its_position_and_exit_code_1(rarera, log, path):
    meddle(path, "UPDATE events SET body = replace(body, '403', '503') WHERE position = 3")
    code, out, err = rarera("log", "verify", log)
    assert (code, err) == (1, "")
    assert out.startswith("not intact at position 3: UID or content are not bytes\ngood up to 2:")
    code, out, _ = rarera("log", "verify", log, "--json")
    found = json.loads(out)
    assert (code, found["intact"], found["position"], found["head"][:2]) == (1, False, 3, "2:")


def test_a_lost_tail_is_found_by_a_head_kept_elsewhere(rarera, path):
    with SqliteLog(path, durability="normal") as shorter:
        shorter.append(some_events()[:5])
    assert rarera("log", "verify", path)[0] == 0
    code, out, _ = rarera("log", "verify", path, "--head", "6")
    assert (code, "its tail is lost" in out) == (1, True)


def test_a_log_made_anew_is_found_by_the_chain_of_its_head(rarera, log):
    code, out, _ = rarera("log", "verify", log, "--head", "6:" + "0" * 64)
    assert (code, "the chain up to here is not the one" in out) == (1, True)


def test_a_log_too_damaged_to_open_is_not_intact(rarera, log, path):
    meddle(path, "DROP INDEX events_by_kind")
    code, out, err = rarera("log", "verify", log, "--json")
    assert (code, json.loads(out)["intact"], err) == (1, False, "")


# rarera log trace


@pytest.mark.parametrize("name", ["EWR#1", "5", some_events()[4].id.hex(), some_events()[4].id.hex()[:20]])
def test_trace_tells_where_an_event_came_from_and_what_it_did(rarera, log, path, name):
    events = some_events()
    with SqliteLog(path) as opened:
        opened.save_steps([Step(1.5, Stage.CREATED, events[4].id, "EWR"), Step(2, Stage.RECORDED, events[4].id, "log")])
    code, out, err = rarera("log", "trace", log, name, "--json")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert (found["event"]["source"], found["event"]["sequence"], found["event"]["position"]) == ("EWR", 1, 5)
    assert found["event"]["time"] == "2013-01-14T12:00:01Z"
    assert found["journey"] == [
        {"time_s": 1.5, "stage": "created", "where": "EWR"},
        {"time_s": 2.0, "stage": "recorded", "where": "log"},
    ]
    assert [cause["position"] for cause in found["causes"]] == [2]
    assert [(effect["depth"], effect["position"]) for effect in found["effects"]] == [(1, 6)]
    assert (found["correlation"], found["conversation"]) == (events[0].id.hex(), [1, 5, 6])
    code, out, _ = rarera("log", "trace", log, name)
    assert [line.strip() for line in out.splitlines()][5:] == [
        "journey",
        "1.500 s  created  (EWR)",
        "2.000 s  recorded  (log)",
        "caused by",
        "position 2: arrived  EWR/UA1, IAH#2",
        "caused",
        "position 6: noted  JFK/7, JFK#1",
        "conversation of 3 events",
        "positions 1, 5, 6",
    ]


def test_what_a_log_holds_does_not_move_the_cursor(rarera, path):
    with SqliteLog(path) as opened:
        opened.append([an_event(1, stream="EWR/\x1b[2J[red]", kind="\x1b]0;x\x07", note="\x9b1A")])
    for command in (["trace", path, "1"], ["state", path]):
        code, out, _ = rarera("log", *command)
        assert (code, [letter for letter in out if letter < " " and letter != "\n"]) == (0, [])
    assert "[red]" in rarera("log", "trace", path, "1")[1]


# rarera log read, append, copy


def test_what_read_prints_append_takes_to_the_same_log(rarera, log, tmp_path):
    copied = tmp_path / "copied.sqlite"
    code, out, _ = rarera("log", "read", log)
    assert (code, len(out.splitlines())) == (0, 6)
    assert rarera("log", "append", copied, stdin=out.encode())[:2] == (
        0,
        "appended 6, duplicates 0, the log is at 6\n",
    )
    assert rarera("log", "verify", copied) == rarera("log", "verify", log)


@pytest.mark.parametrize(
    ("options", "positions"),
    [
        ([], [1, 2, 3, 4, 5, 6]),
        (["--after", "4"], [5, 6]),
        (["--limit", "2"], [1, 2]),
        (["--backwards", "--limit", "2"], [6, 5]),
        (["--type", "noted", "--type", "departed"], [5, 6]),
        (["--processor", "EWR", "--source", "IAH", "--since", "2013-01-14T12:00:03Z"], [3, 4]),
        (["--follow", "--limit", "3", "--json"], [1, 2, 3]),
        (["--type", "nothing of the kind"], []),
    ],
)
def test_read_gives_what_was_asked_for(rarera, log, options, positions):
    code, out, _ = rarera("log", "read", log, *options)
    assert (code, [json.loads(line)["position"] for line in out.splitlines()]) == (0, positions)


def test_follow_catches_up_and_then_waits_for_more(log, path):
    command = [*RARERA, "log", "read", log, "--after", "5", "--follow", "--limit", "2"]
    # Buffered, as Python is by itself: what is there has to come before the wait.
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=buffered) as process:
        end = threading.Timer(20, process.kill)  # so that a failure does not hang
        end.start()
        assert json.loads(process.stdout.readline())["position"] == 6
        with SqliteLog(path) as opened:
            opened.append([an_event(9)])
        assert json.loads(process.stdout.readline())["sequence"] == 9
        assert process.wait() == 0
        end.cancel()


def test_appending_a_file_again_changes_nothing(rarera, path, tmp_path):
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + lines_of([a_line(n) for n in (1, 2)]) + b"\n" + lines_of([a_line(3)]).strip())
    code, out, _ = rarera("log", "append", path, file, "--json")
    assert (code, json.loads(out)) == (0, {"appended": 3, "duplicates": 0, "head": 3})
    code, out, _ = rarera("log", "append", path, file, "--json", "--batch", "2")
    assert (code, json.loads(out)) == (0, {"appended": 0, "duplicates": 3, "head": 3})


def test_the_batches_before_a_bad_line_stay_and_its_own_is_left_out_whole(rarera, path, tmp_path):
    file = tmp_path / "events.jsonl"
    lines = [a_line(n) for n in range(1, 8)]
    lines[5]["sequence"] = -1
    file.write_bytes(lines_of(lines))
    code, out, err = rarera("log", "append", path, file, "--batch", "2")
    assert (code, out) == (2, "")
    assert err == (
        f"rarera: {file}, line 6: sequence must be an integer from 1 to 9223372036854775807, got -1; "
        "the 4 events before this batch are in the log\n"
    )
    with SqliteLog(path) as opened:
        assert opened.head() == 4


def test_a_conflict_names_the_lines_and_appends_none_of_them(rarera, path):
    code, _, err = rarera("log", "append", path, stdin=lines_of([a_line(1), a_line(2), a_line(1, data={})]))
    assert code == 2
    assert err.startswith("rarera: <stdin>, lines 1 to 3: IAH#1 is recorded with other content")
    assert err.count("\n") == 1
    assert not path.exists()
    rarera("log", "append", path, stdin=lines_of([a_line(1)]))
    code, _, err = rarera("log", "append", path, stdin=lines_of([a_line(2), a_line(1, data={})]))
    assert (code, "lines 1 to 2: IAH#1 is recorded" in err) == (2, True)
    with SqliteLog(path) as opened:
        assert opened.head() == 1


def test_copy_proves_both_logs_equal_and_goes_on_later(rarera, log, path, tmp_path):
    copied = tmp_path / "copied.sqlite"
    code, out, err = rarera("log", "copy", log, copied, "--batch", "4")
    assert (code, err) == (0, "")
    assert out.startswith("copied 6 events, equal up to position 6\nhead 6:")
    with SqliteLog(path) as opened:
        opened.append([an_event(9)])
    code, out, _ = rarera("log", "copy", log, copied, "--json")
    found = json.loads(out)
    assert (code, found["copied"], found["equal"], found["head"][:2]) == (0, 1, True, "7:")
    assert rarera("log", "verify", copied) == rarera("log", "verify", log)


def test_a_copy_in_another_kind_of_store_has_the_same_head(rarera, log, tmp_path):
    copied = f"files:///{tmp_path}/copied"
    assert rarera("log", "copy", log, copied)[0] == 0
    for command in ("verify", "state", "read"):
        assert rarera("log", command, copied) == rarera("log", command, log)


def test_a_copy_of_a_damaged_log_ends_with_exit_code_1(rarera, log, path, tmp_path):
    meddle(path, "UPDATE events SET chain = x'00' WHERE position = 3")
    code, out, err = rarera("log", "copy", log, tmp_path / "copied.sqlite")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "position 3" in err
    code, out, _ = rarera("log", "copy", log, tmp_path / "copied.sqlite", "--json")
    assert (code, json.loads(out)["equal"], "position 3" in json.loads(out)["reason"]) == (1, False, True)


# Bad input: one line, exit code 2, nothing written


def check_refused(outcome, *words):
    code, out, err = outcome
    assert (code, out) == (2, "")
    assert err.startswith("rarera: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    for word in words:
        assert word in err


READING = (["read"], ["query"], ["state"], ["verify"], ["trace"])


@pytest.mark.parametrize("command", READING)
def test_a_log_that_cannot_be_opened_is_bad_input(rarera, tmp_path, command):
    event = ["1"] if command == ["trace"] else []
    (tmp_path / "folder.sqlite").mkdir()
    os.mkfifo(tmp_path / "pipe.sqlite")
    (tmp_path / "text.sqlite").write_text("what is this\n" * 100)
    (tmp_path / "empty.sqlite").touch()
    before = sorted(tmp_path.iterdir())
    for name, words in {
        "missing.sqlite": "there is no log",
        "folder.sqlite": "is a folder",
        "pipe.sqlite": "is a device or pipe",
        "text.sqlite": "is not an RARERA log",
        "empty.sqlite": "is not an RARERA log",
        "log.txt": "is of an unknown kind",
        "no\nsuch.sqlite": "there is no log",
        "\udcff.sqlite": "there is no log",
    }.items():
        check_refused(rarera("log", *command, tmp_path / name, *event), words)
    check_refused(rarera("log", *command, "", *event), "unknown kind")
    check_refused(rarera("log", *command, "nosql://user:secret@host/log", *event), "unknown scheme")
    assert "secret" not in rarera("log", *command, "nosql://user:secret@host/log", *event)[2]
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("option", ["--since", "--until"])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("yesterday", "is not ISO 8601"),
        ("2013-01-14T12:00", "has no time zone"),
        ("2013-02-30", "is not ISO 8601"),
        ("9999-01-01", "is outside 1970"),
        ("-5", "is not ISO 8601"),
        ("1e18", "is not ISO 8601"),
        ("", "is not ISO 8601"),
        ("99999999999999999999", "is not ISO 8601"),
        ("9999999999999999999", "is outside 1970"),
    ],
)
def test_a_time_that_is_none_is_bad_input(rarera, log, option, text, words):
    check_refused(rarera("log", "query", log, f"{option}={text}"), option, words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["stat"], ["stat"]),
        (["state", "LOG", "--as_of", "2013"], ["--as_of", "--as-of"]),
        (["state", "LOG", "--as-of", "2013-01-14 12:00"], ["--as-of", "no time zone"]),
        (["state", "LOG", "--upto", "-1"], ["--upto", "-1"]),
        (["state", "LOG", "--upto", "last"], ["--upto", "last"]),
        (["state"], ["LOG"]),
        (["query", "LOG", "--since", "2013-01-15", "--until", "2013-01-14"], ["since must not be after until"]),
        (["query", "LOG", "--field", "note", "--type", "text"], ["'note'", "position 7", "not a number"]),
        (["read", "LOG", "--limit", "1.5"], ["--limit", "1.5"]),
        (["read", "LOG", "--backwards", "--follow"], ["--follow", "--backwards"]),
        (["verify", "LOG", "--head", "x"], ["--head", "'x'", "position"]),
        (["verify", "LOG", "--head", "6:12"], ["--head", "64 hex digits"]),
        (["trace", "LOG", "nobody#1"], ["no event 'nobody#1'"]),
        (["trace", "LOG", "99"], ["no event '99'"]),
        (["trace", "LOG", "11"], ["no event"]),
        (["trace", "LOG", "the last one"], ["names no event"]),
        (["append", "LOG", "missing.jsonl"], ["missing.jsonl"]),
        (["append", "LOG", "/"], ["/"]),
        (["copy", "LOG"], ["TO"]),
        (["copy", "missing.sqlite", "LOG"], ["there is no log missing.sqlite"]),
        (["copy", "LOG", "no/such/folder.sqlite"], ["there is no folder no/such"]),
    ],
)
def test_a_wrong_argument_is_bad_input(rarera, log, path, arguments, words):
    with SqliteLog(path) as opened:
        opened.append([an_event(7, kind="text", note="seven")])
    check_refused(rarera("log", *(log if each == "LOG" else each for each in arguments)), *words)


def test_a_uid_that_several_events_begin_with_is_bad_input(rarera, log):
    check_refused(rarera("log", "trace", log, some_events()[0].id.hex()[:8]), "fits 3 events, such as")


GOOD = lines_of([a_line(1)])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (GOOD + b'{"stream": \n', ["line 2", "not JSON"]),
        (GOOD + b"\n\n[1, 2]\n", ["line 4", "an event is a JSON object, got list"]),
        (GOOD[:-20], ["line 1", "not JSON"]),
        (GOOD.decode().encode("utf-16"), ["line 1", "UTF-16"]),
        (GOOD.decode().encode("utf-16-le"), ["line 1", "not JSON"]),
        (GOOD.replace(b"EWR", b"Z\xfcrich"), ["line 1", "0xfc", "not UTF-8"]),
        (GOOD.replace(b"1.5", b"NaN"), ["line 1", "NaN"]),
        (GOOD.replace(b"1.5", b"-Infinity"), ["line 1", "Infinity"]),
        (GOOD.replace(b"1.5", b"1e999"), ["line 1", "inf"]),
        (GOOD.replace(b"1.5", b"9" * 25), ["line 1", "canonical"]),
        (GOOD.replace(b"1.5", b"9" * 5000), ["line 1"]),
        (GOOD.replace(b"1.5", b"1,5"), ["line 1", "not JSON"]),
        (GOOD.replace(b"1.5", b'"\\ud800"'), ["line 1"]),
        (GOOD.replace(b"1.5", b"[" * 100_000), ["line 1", "not JSON"]),
        (GOOD.replace(b'"speed"', b'"speed": 2, "speed"'), ["line 1", "'speed' stands twice"]),
        (GOOD.replace(b'"type"', b'"stream": "x", "type"'), ["line 1", "'stream' stands twice"]),
        (lines_of([a_line(time="2013-01-14T12:00:00")]), ["line 1", "no time zone"]),
        (lines_of([a_line(time="noon")]), ["line 1", "'noon' is not ISO 8601"]),
        (lines_of([a_line(time=1.5e18)]), ["line 1", "time must be"]),
        (lines_of([a_line(time=-1)]), ["line 1", "time must be"]),
        (lines_of([a_line(time=True)]), ["line 1", "time must be"]),
        (lines_of([a_line(time=...)]), ["line 1", "'time' is missing"]),
        (lines_of([a_line(tiem=1)]), ["line 1", "unknown field 'tiem'; did you mean 'time'?"]),
        (lines_of([a_line(sequence="1")]), ["line 1", "sequence must be"]),
        (lines_of([a_line(sequence=2**63)]), ["line 1", "sequence must be"]),
        (lines_of([a_line(sequence=True)]), ["line 1", "sequence must be"]),
        (lines_of([a_line(stream="")]), ["line 1", "stream"]),
        (lines_of([a_line(source="a\0b")]), ["line 1", "source"]),
        (lines_of([a_line(data=None)]), ["line 1", "data must be a JSON object"]),
        (lines_of([a_line(schema=0)]), ["line 1", "schema"]),
        (lines_of([a_line(causation="12")]), ["line 1", "causation must be a UID of 64 hex digits"]),
        (lines_of([a_line(correlation="ab " * 32)]), ["line 1", "correlation must be a UID"]),
        (lines_of([a_line(id="ab" * 32)]), ["line 1", "is not that of this event"]),
    ],
)
def test_a_bad_event_names_its_line_and_leaves_no_log_behind(rarera, path, tmp_path, content, words):
    file = tmp_path / "events.jsonl"
    file.write_bytes(content)
    check_refused(rarera("log", "append", path, file), "events.jsonl", *words)
    assert not path.exists()


def test_copying_over_another_log_is_bad_input_and_leaves_it(rarera, log, tmp_path):
    other = tmp_path / "other.sqlite"
    with SqliteLog(other) as opened:
        opened.append([an_event(3, source="another")])
    check_refused(rarera("log", "copy", log, other), "no copy of the source")
    with SqliteLog(other) as opened:
        assert opened.head() == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--policy", "hpaa"], ["--policy", "'hpaa'", "'hpa'"]),
        (["--replications", "0"], ["--replications", "0"]),
        (["--seed", "-1"], ["--seed", "-1"]),
        (["--seed", "1.5"], ["--seed", "1.5"]),
        (["--jobs", "many"], ["--jobs", "many"]),
        (["--time-column", "at"], ["--time-column", "--trace"]),
        (["--time-unit", "min", "--trace", "x.csv"], ["--time-unit", "min"]),
        (["--sed", "1"], ["--sed", "--seed"]),
        (["extra"], ["extra"]),
    ],
)
def test_a_wrong_option_of_run_is_bad_input(rarera, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    check_refused(rarera("run", *arguments), *words)
    assert list(tmp_path.iterdir()) == []


# Interruption, and readers that leave


def test_ctrl_c_ends_with_130_and_no_traceback(log):
    command = [*RARERA, "log", "read", log, "--follow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for _ in range(6):
            process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err.split()) == (130, ["rarera:", "interrupted"])


def test_a_reader_that_leaves_is_no_error(path):
    with SqliteLog(path, durability="normal") as opened:
        opened.append([an_event(n, text="x" * 100) for n in range(1, 5_001)])
    command = [*RARERA, "log", "read", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
        assert (process.wait(timeout=60), err) == (0, "")


def test_progress_without_a_terminal_is_a_line_now_and_then(monkeypatch, capsys):
    now = iter([0.0, 1.0, 12.0, 13.0, 30.0])
    monkeypatch.setattr(output.time, "monotonic", lambda: next(now))
    with output.Progress("runs") as progress:
        for done in (1, 12, 13, 30):
            progress(done, 60)
    assert capsys.readouterr().err == "12 of 60 runs, about 48 s left\n30 of 60 runs, about 30 s left\n"


# The options of `rarera run` as a scenario


def scenario_of(file=None, trace=None, policies=(), quick=False, **columns):
    names = ("time_column", "time_unit", "source_column", "stream_column", "type_column")
    return run_command._scenario(file, trace, {name: columns.get(name) for name in names}, policies, quick)


def test_without_options_the_shipped_scenario_runs():
    from rarera_sim.experiments.scenario import default_scenario

    assert scenario_of() == default_scenario()


def test_policies_replace_those_of_the_log_and_the_queues_stay():
    chosen = scenario_of(policies=("peak", "square-root", "peak"))
    assert [configuration.label for configuration in chosen.configurations] == [
        "queue at-most-once / hpa",
        "queue at-least-once / hpa",
        "log / peak",
        "log / square-root",
    ]


def test_a_trace_replaces_the_flights_and_keeps_the_rest():
    chosen = scenario_of(trace="some/taxi.csv", time_column="at", time_unit="ms", quick=True)
    assert (chosen.name, chosen.trace.file, chosen.trace.name) == ("taxi", "some/taxi.csv", None)
    assert (chosen.trace.time_column, chosen.trace.time_unit, chosen.trace.since) == ("at", "ms", None)
    assert (chosen.run.replications, chosen.run.warmup) == (2, None)
    assert chosen.configurations == scenario_of().configurations


# rarera run


@pytest.fixture
def trace(tmp_path):
    """Three days of an event every ten minutes, which is enough to train on and to measure."""
    file = tmp_path / "minutes.csv"
    rows = [f"{1_357_000_000 + 60 * minute},EWR,{minute % 7}\n" for minute in range(0, 3 * 24 * 60, 10)]
    file.write_text("at,source,speed\n" + "".join(rows))
    return file


SMALL = ["--time-column", "at", "--policy", "hpa", "--jobs", "1"]


def test_run_prints_results_and_the_path_of_the_report_last(rarera, trace, tmp_path):
    folder = tmp_path / "new" / "folder"
    code, out, err = rarera("run", "--trace", trace, *SMALL, "--replications", "2", "--out", folder)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == str(folder / "report.html")
    for word in ("log / hpa", "scenario minutes", "seed 1", f"version {version('rarera-sim')}", "digest "):
        assert word in out
    page = (folder / "report.html").read_text()
    assert f"rarera run --trace {trace} --time-column at" in page


def test_run_json_prints_one_object_which_the_seed_decides(rarera, trace, tmp_path):
    found = []
    for seed in ("3", "3", "4"):  # into one folder, where each run takes the place of the one before
        options = [*SMALL, "--replications", "1", "--seed", seed, "--out", tmp_path / "out", "--json"]
        code, out, err = rarera("run", "--trace", trace, *options)
        assert (code, err) == (0, f"{tmp_path / 'out' / 'report.html'}\n")
        found.append(json.loads(out))
    assert list(found[0]) == ["scenario", "seed", "version", "digest", "rows"]
    assert (found[0]["scenario"], found[0]["seed"]) == ("minutes", 3)
    assert found[0] == found[1] != found[2]
    for row in found[0]["rows"]:
        assert {"configuration", "transport", "policy", "p99_s", "p99_s_low", "lost", "state_correct"} <= row.keys()
    with SqliteLog(tmp_path / "out" / "log.sqlite") as opened:
        # The window that is measured begins after the warm-up.
        assert found[2]["rows"][-1]["recorded"] <= opened.head() <= 3 * 24 * 6
    assert rarera("log", "verify", tmp_path / "out" / "log.sqlite")[0] == 0


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        ("", [], ["is empty"]),
        ("at,source\n", [], ["no rows"]),
        ("at,source\n1,EWR\nNaN,EWR\n", [], ["NaN"]),
        ("at,source\n1,EWR\n", ["--time-column", "when"], ["when"]),
    ],
)
def test_a_bad_trace_is_bad_input_and_leaves_nothing(rarera, tmp_path, content, options, words):
    file = tmp_path / "bad.csv"
    file.write_text(content)
    options = ["--time-column", "at", *options]
    check_refused(rarera("run", "--trace", file, *options, "--out", tmp_path / "out"), "bad.csv", *words)
    assert not (tmp_path / "out").exists()


def test_a_bad_scenario_is_bad_input_and_leaves_nothing(rarera, tmp_path):
    from rarera_sim.experiments.scenario import default_scenario

    file = tmp_path / "mine.toml"
    file.write_text(default_scenario().to_toml().replace("visibility_timeout", "visibility_timeuot"))
    check_refused(rarera("run", "--scenario", file, "--out", tmp_path / "out"), "did you mean 'visibility_timeout'?")
    check_refused(rarera("run", "--scenario", tmp_path / "none.toml", "--out", tmp_path / "out"), "does not exist")
    check_refused(rarera("run", "--out", file), "--out")
    assert not (tmp_path / "out").exists()


def test_ctrl_c_ends_a_run_with_130(trace, tmp_path):
    command = [*RARERA, "run", "--trace", trace, "--time-column", "at", "--replications", "500", "--jobs", "2"]
    folder = tmp_path / "out"
    with subprocess.Popen([*command, "--out", folder], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while process.poll() is None and not folder.exists():
            time.sleep(0.05)
        time.sleep(1)  # the runs have begun
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    # What was finished is told, if anything was.
    assert process.returncode == 130
    assert b"configuration" in out or err.split() == [b"rarera:", b"interrupted"]


# rarera bench


def test_an_unknown_benchmark_is_bad_input(rarera):
    check_refused(rarera("bench", "lgo"), "'lgo'", "did you mean 'log'?")


@pytest.mark.benchmark
def test_a_benchmark_prints_one_object(rarera):
    code, out, err = rarera("bench", "policies", "--quick", "--json")
    assert (code, [line for line in err.splitlines() if line.startswith("rarera: ")]) == (0, [])
    assert list(json.loads(out)) == ["bench", "machine", "rows"]


def test_all_benchmarks_are_not_begun_where_their_page_cannot_be_written(rarera, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_refused(rarera("bench"), "docs")
