"""`rarera sweep` and `rarera validate` as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from rarera_sim.cli import main

SCENARIO = """
name = "small"
[arrivals]
kind = "poisson"
rate = 2.0
[run]
duration = 100.0
training = 0.0
replications = 2
[[configurations]]
transport = "direct"
policy = "fixed"
parameters = { replicas = 3 }
"""


@pytest.fixture
def scenario(tmp_path: Path) -> str:
    path = tmp_path / "small.toml"
    path.write_text(SCENARIO)
    return str(path)


def test_a_sweep_prints_what_matters_and_writes_its_frames(scenario, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    arguments = ["--scenario", scenario, "--out", str(out), "--jobs", "1", "--measure", "mean_s"]
    assert main(["sweep", "service.mean=0.5,1.0", "control.period=15,60", *arguments]) == 0
    printed = capsys.readouterr().out
    assert "service.mean" in printed
    assert printed.splitlines()[-1] == str(out / "sweep.parquet")
    assert pl.read_parquet(out / "sweep.parquet").height == 4
    assert pl.read_parquet(out / "sweep-runs.parquet").height == 8
    assert len(list((out / "cache").iterdir())) == 8


def test_json_is_one_object(scenario, tmp_path, capsys) -> None:
    arguments = ["--scenario", scenario, "--out", str(tmp_path / "out"), "--jobs", "1", "--measure", "mean_s", "--json"]
    fields = ["service.mean=0.5..1.0 log", "control.period=15..60"]
    assert main(["sweep", *fields, "--design", "sobol", "--samples", "4", *arguments]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tornado"][0]["knob"] == "service.mean"
    assert len(found["points"]) == 4
    assert all(0.5 <= each["service.mean"] <= 1.0 for each in found["points"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["service.mean"], "is not PATH=VALUE"),
        (["service.mean=1,2", "service.mean=3,4"], "there twice"),
        (["service.meen=1,2"], "did you mean 'mean'"),
        (["service.mean=1,-2"], ">"),
        (["service.mean=1..2"], "single values"),
        (["service.mean=1,2", "--configuration", "x"], "--configuration must be one of"),
        (["service.mean=1..2", "--design", "sobol", "--samples", "3"], "power of 2"),
    ],
)
def test_what_is_wrong_is_one_line(scenario, tmp_path, capsys, arguments, message) -> None:
    out = tmp_path / "out"
    assert main(["sweep", *arguments, "--scenario", scenario, "--out", str(out), "--jobs", "1"]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not out.exists()


def test_a_validation_is_not_begun_where_its_page_cannot_be_written(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["validate"]) == 2
    assert "go to the checkout" in capsys.readouterr().err
