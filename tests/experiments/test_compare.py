"""Comparisons are the same whoever does them, keep what is done, and remember it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import polars as pl
import pytest
from msgspec.structs import replace

from rarera_sim.core.errors import BadInput, RareraError, Unreachable
from rarera_sim.experiments import replicate
from rarera_sim.experiments.compare import Comparison, compare
from rarera_sim.experiments.replicate import Cache, Task, runner
from rarera_sim.experiments.scenario import Configuration, RunSettings, Scenario
from rarera_sim.experiments.warmup import with_warmup
from rarera_sim.simulation.arrivals import Poisson
from rarera_sim.simulation.services import ServiceTime

TWO = (
    Configuration(transport="direct", policy="fixed", parameters={"replicas": 3}, name="three"),
    Configuration(transport="direct", policy="fixed", parameters={"replicas": 5}, name="five"),
)
SMALL = Scenario(
    name="small",
    arrivals=Poisson(rate=2.0),
    service=ServiceTime(distribution="exponential", mean=1.0),
    run=RunSettings(duration=200.0, training=0.0),
    configurations=TWO,
)


def same(one: Comparison, other: Comparison) -> bool:
    return (
        one.digest == other.digest
        and one.rows == other.rows
        and one.measures.equals(other.measures)
        and one.load.equals(other.load)
        and one.quantiles.equals(other.quantiles)
    )


def test_one_process_several_and_the_cache_give_the_same(tmp_path: Path) -> None:
    alone = compare(SMALL, replications=3, jobs=1)
    assert not alone.interrupted
    assert same(alone, compare(SMALL, replications=3, jobs=2, cache=tmp_path))
    assert same(alone, compare(SMALL, replications=3, jobs=1, cache=tmp_path))


# The cache


def test_a_repeated_comparison_does_only_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compare(SMALL, replications=2, jobs=1, cache=tmp_path)
    done: list[bytes] = []
    do = replicate.do
    monkeypatch.setattr(replicate, "do", lambda task: done.append(task) or do(task))
    told: list[tuple[int, int]] = []
    again = compare(SMALL, replications=3, jobs=1, cache=tmp_path, progress=lambda *each: told.append(each))
    assert len(done) == 2
    assert told == [(number, 6) for number in range(1, 7)]
    assert same(again, compare(SMALL, replications=3, jobs=1))


@pytest.mark.parametrize("place", [0, 70, -1])
def test_a_damaged_entry_is_done_again(tmp_path: Path, place: int) -> None:
    compare(SMALL, replications=1, jobs=1, cache=tmp_path)
    kept = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for path, content in kept.items():
        damaged = bytearray(content)
        damaged[place] ^= 1
        path.write_bytes(damaged)
    assert same(compare(SMALL, replications=1, jobs=1, cache=tmp_path), compare(SMALL, replications=1, jobs=1))
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == kept


def test_every_cut_of_an_entry_is_noticed(tmp_path: Path) -> None:
    task = Task(scenario=SMALL, number=0, replication=1, seed=7)
    cache = Cache(tmp_path)
    cache.put(task, replicate.do(msgspec.json.encode(task)))
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    assert cache.get(task) is not None
    for length in range(0, len(content), 37):
        path.write_bytes(content[:length])
        assert cache.get(task) is None, length


def test_another_question_is_another_entry() -> None:
    task = Task(scenario=SMALL, number=0, replication=1, seed=7)
    slower = replace(SMALL, service=ServiceTime(distribution="exponential", mean=1.1))
    others = [
        replace(task, seed=8),
        replace(task, number=1),
        replace(task, scenario=slower),
        replace(task, replication=0),
    ]
    assert len({replicate.key_of(each) for each in [task, *others]}) == 5


def test_a_file_with_other_content_is_another_entry(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    keys = set()
    for step in (1, 2):
        lines = [f"2024-01-01T00:{minute:02d}:00Z" for minute in range(0, 60, step)]
        path.write_text("\n".join(["time", *lines]) + "\n")
        trace = replace(SMALL.trace, file=str(path), compression=60.0)
        scenario = replace(SMALL, arrivals=None, trace=trace, run=RunSettings())
        replicate._inputs_digest.cache_clear()
        replicate.prepared.__globals__["prepare"].cache_clear()
        replicate.prepared.__globals__["_read"].cache_clear()
        keys.add(replicate.key_of(Task(scenario=scenario, number=0, replication=1, seed=7)))
    assert len(keys) == 2


# Stopping


def test_who_stops_keeps_whole_replications_of_every_configuration(tmp_path: Path) -> None:
    stop = threading.Event()

    def progress(done: int, _: int) -> None:
        if done == 5:
            stop.set()

    stopped = compare(SMALL, replications=4, jobs=1, cancel=stop, progress=progress, cache=tmp_path)
    assert (stopped.interrupted, stopped.replications) == (True, 2)
    assert stopped.measures.height == 4
    whole = compare(SMALL, replications=2, jobs=1)
    assert same(stopped, whole)
    assert not compare(SMALL, replications=4, jobs=1, cache=tmp_path).interrupted


def test_nothing_done_is_an_empty_comparison_that_says_so() -> None:
    stop = threading.Event()
    stop.set()
    stopped = compare(SMALL, replications=2, jobs=1, cancel=stop)
    assert (stopped.interrupted, stopped.replications, stopped.rows) == (True, 0, [])
    assert stopped.measures.is_empty()
    assert "0 replications" in repr(stopped)


SCRIPT = """
import json, sys
from pathlib import Path
from rarera_sim.experiments.compare import compare
from rarera_sim.experiments.scenario import parse_scenario

if __name__ == "__main__":
    scenario = parse_scenario(Path(sys.argv[1]).read_text())
    def told(done, total):
        print(done, flush=True)
    result = compare(scenario, replications=5000, jobs=int(sys.argv[2]), progress=told, folder=Path(sys.argv[3]))
    print(json.dumps([result.interrupted, result.replications, len(result.rows), result.digest, result.log_path]))
"""


def is_gone(group: int) -> bool:
    """Nobody of the group of processes is left, after a moment for the last to end."""
    for _ in range(200):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(os.name == "nt", reason="signals of a process group are POSIX")
@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_keeps_what_is_done_and_leaves_no_process(tmp_path: Path, jobs: int) -> None:
    """As a terminal sends it: to the whole group of processes, workers included."""
    log = Configuration(transport="log", policy="fixed", parameters={"replicas": 5})
    scenario = replace(SMALL, configurations=(*TWO, log))
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "scenario.toml").write_text(scenario.to_toml())
    command = [sys.executable, "script.py", "scenario.toml", str(jobs), "out"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= 9:
                break
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    interrupted, replications, rows, digest, log_path = json.loads(out.splitlines()[-1])
    assert interrupted
    assert 1 <= replications < 5000  # a process that began late may have one of replication 1 still
    assert rows == 3
    assert digest == compare(scenario, replications=replications, jobs=1).digest
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["log.sqlite"]
    assert log_path == "out/log.sqlite"
    assert is_gone(process.pid)


# Precision


def test_replications_go_on_until_the_mean_is_known_well_enough() -> None:
    rough = compare(SMALL, replications=3, jobs=1)
    fine = compare(SMALL, replications=3, jobs=1, precision=0.05, precision_of="replicas_mean")
    assert fine.replications == rough.replications == 3, "that does not vary"
    fine = compare(SMALL, replications=3, jobs=1, precision=0.10, precision_of="mean_s", replications_max=60)
    assert all((row["mean_s_high"] - row["mean_s_low"]) / 2 <= 0.10 * row["mean_s"] for row in fine.rows) or (
        fine.replications == 60
    )
    few = compare(SMALL, replications=3, jobs=1, precision=0.001, precision_of="mean_s", replications_max=5)
    assert few.replications == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [({"precision": 0.0}, "precision"), ({"precision": 0.1, "precision_of": "speed"}, "precision_of must be one of")],
)
def test_an_impossible_precision_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        compare(SMALL, replications=2, jobs=1, **options)  # type: ignore[arg-type]


def test_the_best_is_told_from_the_others() -> None:
    best = compare(SMALL, replications=4, jobs=1).best("cost")
    assert best["verdict"].to_list() == ["best", "not best"]
    with pytest.raises(BadInput, match="'speed'"):
        compare(SMALL, replications=2, jobs=1).best("speed")


# Processes and clusters


def test_what_is_wrong_in_a_process_is_said_here() -> None:
    wrong = replace(SMALL, configurations=(replace(TWO[0], policy="nonsense"),))
    encoded = [msgspec.json.encode(Task(scenario=wrong, number=0, replication=n, seed=1)) for n in (0, 1)]
    with runner(2) as work, pytest.raises(BadInput, match="nonsense"):
        list(work(encoded))


def test_a_process_that_dies_is_an_error_and_no_wait_for_ever() -> None:
    task = Task(scenario=replace(SMALL, run=RunSettings(duration=1e5)), number=0, replication=0, seed=1)
    with runner(2) as work:
        doing = work([msgspec.json.encode(task)] * 4)
        work._start(2)  # type: ignore[attr-defined]
        for process in work._workers.values():  # type: ignore[attr-defined]
            process.kill()
        with pytest.raises(RareraError, match="ended by itself"):
            list(doing)


def test_a_dask_cluster_gives_the_same_numbers(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="the extra dask is not installed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None, protocol="tcp"
    ) as cluster:
        there = compare(SMALL, replications=2, dask=cluster.scheduler_address, folder=tmp_path)
    assert same(there, compare(SMALL, replications=2, jobs=1))


def test_a_cluster_that_is_not_there_is_one_clear_error() -> None:
    pytest.importorskip("distributed", reason="the extra dask is not installed")
    with pytest.raises((Unreachable, BadInput), match="nowhere"):
        compare(SMALL, replications=2, dask="nowhere")


def test_without_dask_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(BadInput, match=r"rarera-sim\[dask\]"):
        compare(SMALL, replications=2, dask="tcp://127.0.0.1:1")


# What is known beforehand


def test_service_times_that_chance_gave_correct_the_mean() -> None:
    comparison = compare(SMALL, replications=8, jobs=1)
    corrected = comparison.controlled("mean_s")
    assert (corrected["low"] <= corrected["mean"]).all()
    assert (corrected["gain"] > 1.0).any()
    assert (
        comparison.measures.group_by("replication").agg(pl.col("service_mean_s").n_unique())["service_mean_s"].to_list()
        == [1] * 8
    ), "the same weather for every configuration"
    with pytest.raises(BadInput, match="'speed'"):
        comparison.controlled("speed")
    with pytest.raises(BadInput, match="3 replications"):
        compare(SMALL, replications=2, jobs=1).controlled()


def test_the_warm_up_is_as_long_as_the_empty_start_is_felt() -> None:
    empty = replace(
        SMALL,
        arrivals=Poisson(rate=9.7),
        service=ServiceTime(distribution="exponential", mean=1.0),
        run=RunSettings(duration=1000.0, training=0.0),
        configurations=(Configuration(transport="direct", policy="fixed", parameters={"replicas": 10}),),
    )
    chosen = with_warmup(empty, pilots=8)
    assert with_warmup(empty, pilots=8) == chosen
    assert chosen.run.warmup is not None
    assert 0.0 < chosen.run.warmup <= 500.0
    with pytest.raises(BadInput, match="pilots"):
        with_warmup(empty, pilots=0)
