"""Sweeps set what they are told to set, say what is wrong with it, and tell which knob matters."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from rarera_sim.core.errors import BadInput
from rarera_sim.experiments.compare import compare
from rarera_sim.experiments.scenario import Configuration, RunSettings, Scenario, default_scenario
from rarera_sim.experiments.sweep import Sweep, sweep, with_fields
from rarera_sim.simulation.arrivals import Poisson
from rarera_sim.simulation.services import ServiceTime

SMALL = Scenario(
    name="small",
    arrivals=Poisson(rate=2.0),
    service=ServiceTime(distribution="exponential", mean=1.0),
    run=RunSettings(duration=200.0, training=0.0),
    configurations=(
        Configuration(transport="direct", policy="fixed", parameters={"replicas": 3}, name="three"),
        Configuration(transport="direct", policy="fixed", parameters={"replicas": 5}, name="five"),
    ),
)
FIELDS: dict[str, Any] = {"service.mean": [0.5, 1.0], "control.period": [15.0, 60.0]}


@pytest.fixture(scope="module")
def swept() -> Sweep:
    return sweep(SMALL, FIELDS, replications=2, jobs=1)


def test_a_script_without_a_main_guard_is_told_so(tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text(
        "from rarera_sim.experiments.scenario import parse_scenario\n"
        "from rarera_sim.experiments.sweep import sweep\n"
        f"sweep(parse_scenario({SMALL.to_toml()!r}), {FIELDS!r}, replications=1, jobs=2)\n"
    )
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=300)
    assert ended.returncode == 1
    assert 'if __name__ == "__main__":' in ended.stderr.splitlines()[-1]


def test_every_point_has_a_row_of_each_configuration(swept: Sweep) -> None:
    assert swept.points.height == 8
    assert swept.points["service.mean"].to_list() == [0.5] * 4 + [1.0] * 4
    assert swept.runs.height == 16
    assert (swept.points["mean_s_low"] <= swept.points["mean_s"]).all()
    assert "service.mean, control.period; factorial, 4 points x 2 configurations x 2 replications" in repr(swept)


def test_a_point_is_what_a_comparison_of_its_scenario_is(swept: Sweep) -> None:
    alone = compare(with_fields(SMALL, {"service.mean": 0.5, "control.period": 60.0}), replications=2, jobs=1)
    assert swept.points.filter(point=1)["mean_s"].to_list() == [row["mean_s"] for row in alone.rows]
    assert swept.runs.filter(point=1)["digest"].to_list() == alone.measures["digest"].to_list()


def test_all_points_meet_the_same_weather(swept: Sweep) -> None:
    sent = swept.runs.group_by("replication").agg(swept.runs["seed"].name)
    assert all(len(set(seeds)) == 1 for seeds in sent["seed"].to_list())


def test_the_knob_that_matters_comes_first(swept: Sweep) -> None:
    for configuration in ("three", "five"):
        assert swept.sensitivity("mean_s", configuration)["knob"].to_list() == ["service.mean", "control.period"]
        assert swept.tornado("mean_s", configuration).row(0)[0] == "service.mean"
    assert swept.effects("mean_s").filter(knob="service.mean")["effect"].is_sorted()


def test_first_order_and_total_indices_of_a_saltelli_design() -> None:
    found = sweep(
        SMALL,
        {"service.mean": [0.2, 1.0], "objective.bound": [5.0, 50.0]},
        design="saltelli",
        samples=8,
        replications=1,
        jobs=1,
    ).sensitivity("mean_s")
    assert found["knob"].to_list() == ["service.mean", "objective.bound"]
    assert found["total"][1] == pytest.approx(0.0, abs=1e-9)


def test_processes_and_the_cache_change_no_number(swept: Sweep, tmp_path: Path) -> None:
    first = sweep(SMALL, FIELDS, replications=2, jobs=2, cache=tmp_path)
    told: list[tuple[int, int]] = []
    again = sweep(SMALL, FIELDS, replications=2, jobs=1, cache=tmp_path, progress=lambda *each: told.append(each))
    assert first.digest == again.digest == swept.digest
    assert first.points.equals(swept.points)
    assert again.points.equals(swept.points)
    assert told[-1] == (16, 16)
    assert len(list(tmp_path.iterdir())) == 16


def test_who_stops_keeps_replications_of_every_point() -> None:
    stop = threading.Event()
    stopped = sweep(
        SMALL, FIELDS, replications=3, jobs=1, cancel=stop, progress=lambda done, _: stop.set() if done == 10 else None
    )
    assert (stopped.interrupted, stopped.replications, stopped.points.height) == (True, 1, 8)
    early = sweep(SMALL, FIELDS, replications=3, jobs=1, cancel=stop)
    assert (early.replications, early.points.height) == (0, 0)
    assert "0 points" in repr(early)
    with pytest.raises(BadInput, match="interrupted before every point"):
        early.sensitivity("mean_s")


# Fields


def test_any_field_can_be_set() -> None:
    changed = with_fields(
        SMALL,
        {
            "arrivals.rate": 3.0,
            "configurations[*].parameters.replicas": 4,
            "configurations[1].name": "other",
            "crashes.mtbf": 100.0,
        },
    )
    assert changed.arrivals == Poisson(rate=3.0)
    assert [each.parameters for each in changed.configurations] == [{"replicas": 4}] * 2
    assert (changed.configurations[1].name, changed.crashes.mtbf) == ("other", 100.0)
    assert SMALL.configurations[0].parameters == {"replicas": 3}, "the scenario itself stays as it was"


def test_a_kind_of_the_catalogue_brings_its_price_and_speed() -> None:
    changed = with_fields(default_scenario(), {"hardware.name": "c5-large"})
    assert (changed.hardware.name, changed.hardware.price_per_hour) == ("c5-large", 0.085)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("hardware.startup", 5.0, r"hardware\.startup.*did you mean 'start_up'"),
        ("hardwar.start_up", 5.0, "did you mean 'hardware'"),
        ("hardware.start_up", -5.0, r"hardware\.start_up.*>= 0.*-5"),
        ("hardware.start_up", "soon", r"hardware\.start_up.*'soon'"),
        ("hardware.start_up", float("nan"), r"hardware\.start_up is nan"),
        ("objective.quantile", 1.0, r"objective\.quantile.*< 1"),
        ("name.x", 1, "no field 'x' in 'small'"),
        ("configurations[7].name", "x", r"no entry \[7\], there is 2 entries"),
        ("hardware[0]", 1, r"no entry \[0\]"),
        ("hardware..speed", 1, "no path of a field"),
        ("", 1, "no path of a field"),
        ("configurations[0].parameters.replica", 1, "replica"),
    ],
)
def test_a_wrong_field_or_value_is_one_clear_error(path: str, value: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message) as error:
        with_fields(SMALL, {path: value})
    assert "\n" not in str(error.value)


def test_points_that_contradict_each_other_are_refused_before_anything_runs() -> None:
    limits = {"control.replicas_min": [1, 50], "control.replicas_max": [10, 60]}
    with pytest.raises(BadInput, match=r"replicas_min = 50.*replicas_max = 10.*more than replicas_max"):
        sweep(SMALL, limits, replications=1, jobs=1)


@pytest.mark.parametrize(
    ("measure", "configuration", "message"),
    [("speed", None, "measure must be one of.*mean_s"), ("mean_s", "seven", "configuration must be one of 'three'")],
)
def test_an_unknown_measure_is_refused(swept: Sweep, measure: str, configuration: str | None, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        swept.sensitivity(measure, configuration)


def test_whole_numbers_stay_whole() -> None:
    drawn = sweep(
        replace(SMALL, configurations=SMALL.configurations[:1]),
        {"control.replicas_max": [10, 20], "control.period": [10, 60]},
        design="latin-hypercube",
        samples=4,
        replications=1,
        jobs=1,
    )
    assert drawn.points["control.replicas_max"].dtype.is_integer()
    assert drawn.points["control.period"].dtype.is_float()
