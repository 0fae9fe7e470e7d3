"""What `rarera log` does with keys, checkpoints, archives and formats, and that the examples of its help run."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from rarera_sim import cli
from rarera_sim.adapters.keys import FileKeys, read_key
from rarera_sim.adapters.sqlite import SqliteLog
from rarera_sim.adapters.stores import snapshots_of
from rarera_sim.cli.log import COMMANDS
from rarera_sim.core.event import Event
from rarera_sim.core.projection import Materialised, Tally
from rarera_sim.core.sealing import Erased, seal, unseal
from rarera_sim.core.time import parse_timestamp

START = parse_timestamp("2013-01-14T12:00:00Z")
SECOND = 10**9


def events_of(count, first=1):
    return [
        Event(f"EWR/UA{n % 7}", "arrived", {"speed": 400.0 + n}, source="IAH", sequence=n, time=START + n * SECOND)
        for n in range(first, first + count)
    ]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def log():
    with SqliteLog("log.sqlite", durability="normal") as log:
        log.append(events_of(20))
    return "log.sqlite"


@pytest.fixture
def rarera(capfdbinary):
    """Run a command in this process: exit code, stdout, stderr."""

    def run(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        sys.stdout.flush()
        out, err = capfdbinary.readouterr()
        return code, out.decode(), err.decode()

    return run


def check_refused(outcome, *words, code=2):
    assert (outcome[0], outcome[1], outcome[2].count("\n")) == (code, "", 1)
    for word in words:
        assert word in outcome[2]


def grow(count=5):
    with SqliteLog("log.sqlite") as log:
        log.append(events_of(count, first=log.head() + 1))


# Checkpoints


@pytest.fixture
def checkpoint(rarera, log):
    code, public, _ = rarera("log", "key", "gate.key", "--name", "gate")
    assert code == 0
    Path("gate.pub").write_text(public)
    assert rarera("log", "checkpoint", log, "--sign", "gate.key", "--out", "then.json") == (0, "then.json\n", "")
    return "then.json"


def test_a_log_that_has_grown_keeps_its_checkpoint(rarera, log, checkpoint):
    grow()
    code, out, err = rarera("log", "verify", log, "--checkpoint", checkpoint, "--public-key", "gate.pub")
    assert (code, err) == (0, "")
    assert out.startswith("intact, 25 events\nhead 25:")
    assert "grown by 5 events since the checkpoint at 20, signed by a known key" in out
    assert "not asked for" in rarera("log", "verify", log, "--checkpoint", checkpoint)[1]


def test_a_lost_tail_is_found_by_a_checkpoint(rarera, checkpoint):
    with SqliteLog("shorter.sqlite") as shorter:
        shorter.append(events_of(19))
    code, out, _ = rarera("log", "verify", "shorter.sqlite", "--checkpoint", checkpoint, "--json")
    found = json.loads(out)
    assert (code, found["intact"], found["position"]) == (1, False, 20)
    assert "its tail is lost" in found["reason"]


def test_a_log_made_anew_does_not_begin_with_its_checkpoint(rarera, checkpoint):
    others = events_of(30)
    others[4] = Event("EWR/UA9", "arrived", {}, source="IAH", sequence=5, time=START)
    with SqliteLog("anew.sqlite") as anew:
        anew.append(others)
    code, out, _ = rarera("log", "verify", "anew.sqlite", "--checkpoint", checkpoint)
    assert (code, "the chain up to here is not the one" in out) == (1, True)


def test_a_checkpoint_is_printed_as_what_would_be_written(rarera, log):
    code, out, err = rarera("log", "checkpoint", log, "--origin", "example.org/flights")
    assert (code, err) == (0, "")
    assert list(json.loads(out)) == ["origin", "position", "root", "chain", "time", "note"]
    Path("printed.json").write_text(out)
    assert rarera("log", "verify", log, "--checkpoint", "printed.json")[0] == 0
    Path("note").write_text(json.loads(out)["note"])
    assert rarera("log", "verify", log, "--checkpoint", "note")[0] == 0


@pytest.mark.parametrize("field", ["origin", "position", "root", "chain", "time", "note"])
def test_a_checkpoint_that_was_changed_is_refused(rarera, log, checkpoint, field):
    said = json.loads(Path(checkpoint).read_text())
    said[field] = 19 if field == "position" else said[field].translate(str.maketrans("02a", "13b"))
    Path(checkpoint).write_text(json.dumps(said))
    check_refused(rarera("log", "verify", log, "--checkpoint", checkpoint, "--public-key", "gate.pub"))


def test_a_checkpoint_that_nobody_known_has_signed_is_refused(rarera, log, checkpoint):
    _, public, _ = rarera("log", "key", "other.key", "--name", "gate")
    Path("other.pub").write_text(public)
    refused = rarera("log", "verify", log, "--checkpoint", checkpoint, "--public-key", "other.pub")
    check_refused(refused, "not signed by a known key")
    _, unsigned, _ = rarera("log", "checkpoint", log)
    Path("unsigned.json").write_text(unsigned)
    check_refused(rarera("log", "verify", log, "--checkpoint", "unsigned.json", "--public-key", "gate.pub"))


def test_a_damaged_log_gets_no_checkpoint(rarera, log):
    import apsw

    with apsw.Connection(log) as connection:
        connection.execute("UPDATE events SET body = replace(body, '403', '503') WHERE position = 3")
    connection.close()
    check_refused(rarera("log", "checkpoint", log, "--out", "then.json"), "position 3", code=1)
    assert not Path("then.json").exists()


@pytest.mark.usefixtures("log")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["verify", "log.sqlite", "--public-key", "x"], ["--checkpoint"]),
        (["verify", "log.sqlite", "--head", "1", "--checkpoint", "x"], ["--head"]),
        (["verify", "log.sqlite", "--checkpoint", "none.json"], ["none.json", "cannot be read"]),
        (["verify", "log.sqlite", "--checkpoint", "log.sqlite"], ["log.sqlite"]),
        (["verify", "log.sqlite", "--checkpoint", "."], ["cannot be read"]),
        (["checkpoint", "log.sqlite", "--origin", "two words"], ["origin", "two words"]),
        (["checkpoint", "log.sqlite", "--out", "no/such.json"], ["no"]),
        (["checkpoint", "log.sqlite", "--sign", "none.key"], ["none.key"]),
        (["key", "log.sqlite"], ["exists already"]),
        (["key", "new.key", "--name", "two words"], ["two words"]),
        (["erase", "log.sqlite", "somebody"], ["--keys"]),
        (["query", "log.sqlite", "--window", "5"], ["--window", "'5'"]),
        (["query", "log.sqlite", "--window", "0s"], ["--window"]),
        (["query", "log.sqlite", "--quantile", "50"], ["quantiles", "50"]),
        (["query", "log.sqlite", "--by", "stream"], ["--by", "stream"]),
        (["export", "log.sqlite", "log.txt"], [".parquet", "--format"]),
        (["export", "log.sqlite", "log.sqlite", "--format", "jsonl"], ["there already"]),
        (["import", "none.parquet", "new.sqlite"], ["none.parquet"]),
        (["import", "log.sqlite", "new.sqlite"], ["not an archive"]),
        (["upgrade", "none.sqlite"], ["there is no log"]),
    ],
)
def test_a_wrong_argument_is_bad_input_and_makes_nothing(rarera, folder, arguments, words):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    check_refused(rarera("log", *arguments), *words)
    after = {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith(("-shm", "-wal"))}
    assert after == before


# Erasing a subject


@pytest.fixture
def sealed(rarera):
    """A log of two passengers, sealed, with a snapshot; and the keys that seal them."""
    assert rarera("log", "key", "kek.hex", "--wrapping") == (0, "", "")
    keys = FileKeys("keys.json", read_key("kek.hex"))
    with SqliteLog("log.sqlite") as log:
        for n, event in enumerate(events_of(4)):
            subject = f"passenger {n % 2}"
            keys.create(subject)
            log.append([seal(event, keys, subject)])
        tally = Materialised(Tally("speed"))
        for recorded in log.read():
            tally.apply(recorded)
        snapshots_of(log).save(tally.snapshot())
    return keys


STORE = ("--keys", "keys.json", "--kek", "kek.hex")


def test_a_subject_is_forgotten_and_the_log_still_verifies(rarera, sealed):
    keys_before = sealed.ids("passenger 1")
    code, out, err = rarera("log", "erase", "log.sqlite", "passenger 1", *STORE, "--json")
    said = json.loads(out)
    assert (code, err, said["keys"], said["position"], said["finished"]) == (0, "", keys_before, 5, 0)
    assert "backups of the key store" in " ".join(said["beyond_reach"])
    assert rarera("log", "verify", "log.sqlite")[0] == 0
    keys = FileKeys("keys.json", read_key("kek.hex"))
    with SqliteLog("log.sqlite") as log:
        opened = [unseal(event, keys) for _, event in log.read(upto=4)]
        assert [isinstance(each, Erased) for each in opened] == [False, True, False, True]
        assert snapshots_of(log).latest("tally:speed", 1) is None
        assert log._fetch("SELECT count(*) FROM snapshots") == [(0,)]
        assert b"passenger" not in b"".join(event.body for _, event in log.read())


@pytest.mark.usefixtures("sealed")
def test_an_erasure_undone_by_a_backup_of_the_keys_is_finished_first(rarera):
    backup = Path("keys.json").read_bytes()
    assert rarera("log", "erase", "log.sqlite", "passenger 1", *STORE)[0] == 0
    Path("keys.json").write_bytes(backup)
    code, out, _ = rarera("log", "erase", "log.sqlite", "passenger 0", *STORE)
    assert (code, "finished earlier erasures: 1 keys were still there" in out) == (0, True)
    keys = FileKeys("keys.json", read_key("kek.hex"))
    assert keys.get("passenger 0") is keys.get("passenger 1") is None


@pytest.mark.usefixtures("sealed")
def test_a_subject_that_nobody_knows_is_bad_input_and_nothing_is_recorded(rarera):
    check_refused(rarera("log", "erase", "log.sqlite", "passenger 2", *STORE), "'passenger 2' has no key")
    check_refused(rarera("log", "erase", "none.sqlite", "passenger 1", *STORE), "there is no log")
    rarera("log", "key", "other.hex", "--wrapping")
    refused = rarera("log", "erase", "log.sqlite", "passenger 1", "--keys", "keys.json", "--kek", "other.hex")
    check_refused(refused, "another key-encryption key")
    with SqliteLog("log.sqlite") as log:
        assert log.head() == 4


# Archives


@pytest.mark.parametrize("archive", ["log.parquet", "log.jsonl"])
def test_what_export_writes_import_makes_the_same_log_of(rarera, log, archive):
    code, out, err = rarera("log", "export", log, archive, "--json")
    said = json.loads(out)
    assert (code, err, said["events"]) == (0, "", 20)
    code, out, _ = rarera("log", "import", archive, "files:///restored", "--json", "--batch", "7")
    assert (code, json.loads(out)) == (0, {"events": 20, "appended": 20, "head": 20, "digest": said["digest"]})
    assert rarera("log", "verify", "files:///restored") == rarera("log", "verify", log)
    assert rarera("log", "import", archive, log)[1] == "appended 0, duplicates 20, the log is at 20\n"


def test_a_part_of_a_log_can_be_exported(rarera, log):
    assert json.loads(rarera("log", "export", log, "part.jsonl", "--stream", "EWR/UA3", "--json")[1])["events"] == 3
    check_refused(rarera("log", "export", log, "part.jsonl"), "there already")
    assert rarera("log", "export", log, "part.jsonl", "--overwrite")[0] == 0


@pytest.mark.parametrize("archive", ["log.parquet", "log.jsonl"])
def test_a_damaged_archive_is_refused_and_leaves_no_log(rarera, log, archive):
    rarera("log", "export", log, archive)
    content = bytearray(Path(archive).read_bytes())
    content[len(content) // 2] ^= 4
    Path(archive).write_bytes(content)
    check_refused(rarera("log", "import", archive, "new.sqlite"), archive, code=1)
    assert not Path("new.sqlite").exists()


# Queries


def test_query_groups_by_window_with_rates_and_quantiles(rarera, log):
    options = ["--window", "10s", "--by", "processor", "--quantile", "0.5"]
    code, out, err = rarera("log", "query", log, *options, "--json")
    groups = json.loads(out)["groups"]
    assert (code, err) == (0, "")
    assert [(group["since"], group["count"], group["rate"]) for group in groups] == [
        ("2013-01-14T12:00:00Z", 9, 0.9),
        ("2013-01-14T12:00:10Z", 10, 1.0),
        ("2013-01-14T12:00:20Z", 1, 0.1),
    ]
    assert groups[1] == {
        "processor": "EWR",
        "since": "2013-01-14T12:00:10Z",
        "until": "2013-01-14T12:00:19.999999999Z",
        "count": 10,
        "values": 10,
        "mean": 414.5,
        "rate": 1.0,
        "quantiles": {"0.5": 414.5},
    }
    _, out, _ = rarera("log", "query", log, *options)
    assert [row for row in out.splitlines() if "414.5" in row and "EWR" in row]


def test_query_without_groups_prints_a_line_each(rarera, log):
    window = ["--since", "2013-01-14T12:00:01Z", "--until", "2013-01-14T12:00:10.999999999Z"]
    _, out, _ = rarera("log", "query", log, *window, "--quantile", "0", "--quantile", "0.25")
    assert out.splitlines() == [
        "count  10",
        "mean   405.5   (speed)",
        "q0     401",
        "q0.25  403.25",
        "rate   1   (1/s)",
    ]
    _, out, _ = rarera("log", "query", log, "--type", "none", "--quantile", "0.5", "--json")
    assert json.loads(out)["quantiles"] == {"0.5": None}


# Formats


def test_a_log_of_this_format_is_left_alone(rarera, log):
    rarera("log", "copy", log, "files:///folder")
    for url in (log, "files:///folder"):
        code, out, err = rarera("log", "upgrade", url)
        assert (code, re.sub("[0-9]+", "N", out), err) == (0, "already format N\n", "")


# The terminal


def test_verify_and_copy_show_a_bar_on_a_terminal(log):
    pty = pytest.importorskip("pty", reason="there are no terminals here")
    grow(3_000)
    # A copy is read again, and so is what it was made from.
    for command, total in ((["verify", log], 3_020), (["copy", log, "copied.sqlite"], 9_060)):
        ours, theirs = pty.openpty()
        words = [sys.executable, "-m", "rarera_sim", "log", *command]
        with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=theirs) as process:
            os.close(theirs)
            shown = b""
            try:
                while part := os.read(ours, 4096):
                    shown += part
            except OSError:  # how Linux says that nobody writes any more
                pass
        os.close(ours)
        assert process.returncode == 0
        assert b"events" in shown
        assert b"/%d" % total in shown.replace(b" ", b"")


# The examples of the help


def examples_of(command):
    """The lines behind `Examples:` that are commands, without what stands beside them."""
    behind = (command.epilog or "").partition("Examples:\n")[2]
    return [re.split(r" {3,}", line.strip())[0] for line in behind.splitlines() if line.startswith("  rarera log ")]


@pytest.fixture
def bench():
    """A folder that has what the examples speak of."""
    Path("out").mkdir()
    with SqliteLog("out/log.sqlite", durability="normal") as log:
        log.append(events_of(1_100))
        log.append(
            [Event("EWR/UA1", "departed", {"delay": n}, source="EWR", sequence=n, time=START) for n in range(1, 18)]
        )
    with SqliteLog("old.sqlite") as old:
        old.append(events_of(2))
    with Path("events.jsonl").open("w") as file:
        subprocess.run([*RARERA, "log", "read", "old.sqlite"], stdout=file, check=True)


RARERA = [sys.executable, "-m", "rarera_sim"]
ORDER = ["key", "checkpoint", "export"]  # what others need


@pytest.mark.usefixtures("bench")
def test_every_example_of_the_help_runs(rarera):
    names = [*ORDER, *sorted(set(COMMANDS) - set(ORDER))]
    examples = [(name, line) for name in names for line in examples_of(COMMANDS[name])]
    examples += [("log", line) for line in examples_of(cli.COMMANDS["log"])]
    assert {name for name, _ in examples} == {*names, "log"}
    for name, line in examples:
        if name == "erase" and not Path("keys.json").exists():
            keys = FileKeys("keys.json", read_key("kek.hex"))
            for subject in ("passenger 7", "passenger 8"):
                keys.create(subject)
        # The log here is shorter than the one they speak of.
        line = line.replace("18900", "900").replace("4711", "471").replace("--follow", "--follow --limit 1")
        line = line.removesuffix(" | jq .data")
        if re.search("[|>]", line):
            script = f'set -o pipefail; rarera() {{ {shlex.join(RARERA)} "$@"; }}; {line}'
            assert subprocess.run(["bash", "-c", script], capture_output=True, check=False).returncode == 0, line
        else:
            code, _, err = rarera(*shlex.split(line, comments=False)[1:])
            assert (code, err) == (0, ""), line
