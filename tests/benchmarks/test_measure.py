"""How benchmarks measure, and the form of what they print."""

from __future__ import annotations

import json
import platform

import pytest

from rarera_sim import benchmarks
from rarera_sim.benchmarks import log as log_bench
from rarera_sim.benchmarks.measure import Cost, absent, against, at_most, in_rounds, machine

ROW = ["case", "value", "unit", "against", "ratio", "aim", "met"]


def costs(*seconds):
    return [Cost(each, 10 * each) for each in seconds]


def test_a_ratio_is_formed_inside_a_round_and_not_of_medians():
    # The machine was slow in the first round: medians of each side alone would say 1.5.
    row = against("case", costs(8, 1, 2), "peer", costs(16, 2, 3), events=1, aim=2.0)
    assert (row.ratio, row.met) == (2.0, True)


def test_a_ratio_below_its_aim_is_not_met_and_without_an_aim_only_told():
    assert against("case", costs(2), "peer", costs(3), events=1, aim=1.6).met is False
    assert against("case", costs(2), "peer", costs(3), events=1, aim=None).met is None


def test_a_value_is_per_event_in_microseconds():
    assert against("case", costs(1), "peer", costs(1), events=1_000_000, aim=1).value == 1.0
    by_the_clock = against("case", costs(1), "peer", costs(1), events=1_000_000, aim=1, clock="wall")
    assert (by_the_clock.value, by_the_clock.unit) == (10.0, "us/event by the clock")


def test_a_figure_without_a_peer_is_held_against_its_aim():
    assert (at_most("case", 2.0, "MB", 2.0).met, at_most("case", 2.1, "MB", 2.0).met) == (True, False)


def test_a_case_that_cannot_run_says_why():
    row = absent("case", "us/event", "no server", 2.0)
    assert (row.value, row.ratio, row.met, row.against) == (None, None, None, "not run: no server")


def test_peers_are_timed_in_the_same_rounds_and_take_turns_to_go_first():
    order = []

    def action(name):
        return lambda: order.append(name) or Cost(0, 0)

    found = in_rounds({"ours": action("ours"), "peer": action("peer")}, 2)
    assert order == ["ours", "peer", "peer", "ours"]
    assert [len(each) for each in found.values()] == [2, 2]


def test_the_machine_is_described_without_saying_whose_it_is():
    described = json.dumps(machine())
    assert sorted(machine()) == ["cores", "processor", "python", "system"]
    assert platform.node() not in described
    assert "/" not in described


@pytest.fixture(scope="module")
def result():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_bench, "QUICK", log_bench.Size(1_500, 1, 2_000, (2_000, 4_000)))
        steps = []
        found = benchmarks.run_bench("log", quick=True, progress=lambda *step: steps.append(step))
    assert steps[0][0] == 0
    assert steps[-1][0] == steps[-1][1]
    return found


def test_a_benchmark_is_one_object_of_a_fixed_form(result):
    assert list(result) == ["bench", "machine", "rows"]
    assert result["bench"] == "log"
    assert json.loads(json.dumps(result)) == result
    for row in result["rows"]:
        assert list(row) == ROW
        assert row["met"] in (True, False, None)
        assert (row["value"] is None) == row["against"].startswith("not run: ")
        if row["ratio"] is not None and row["aim"] is not None:
            assert row["met"] == (row["ratio"] >= row["aim"])


@pytest.mark.parametrize(
    "case",
    [
        "canonical encoding, UID and chain",
        *(
            f"{store}: {case}"
            for store in ("SQLite", "PostgreSQL")
            for case in (
                "append of encoded events, 100 at a time",
                "append of encoded events, 1,000 at a time",
                "objects in, 100 at a time",
                "objects out, to state",
                "replay, decoded and verified",
                "to_polars(), verified",
            )
        ),
        "memory to fold 2,000 events, peak of the whole process",
        "SQLite, 4,000 events: append, 1,000 at a time",
        "SQLite, 4,000 events: replay",
        "SQLite, 4,000 events: state as of a moment, with snapshots",
        "SQLite, 4,000 events: range query by processor, type and time",
    ],
)
def test_every_aim_has_its_row(result, case):
    assert [row["aim"] for row in result["rows"] if row["case"] == case and row["aim"] is not None]


def test_the_page_has_every_row_and_says_which_command_wrote_it(result, tmp_path):
    benchmarks.write_markdown([result], tmp_path / "benchmarks.md")
    page = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert "make bench" in page
    assert all(f"| {row['case']} |" in page for row in result["rows"])
    assert str(tmp_path) not in page


def test_the_table_has_every_row(result):
    assert benchmarks.table(result).row_count == len(result["rows"])
