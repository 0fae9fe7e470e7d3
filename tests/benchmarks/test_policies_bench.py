"""The benchmark of policies: the study's rows, with ours among them, and what it is held against."""

from __future__ import annotations

import json

from click.testing import CliRunner

from rarera_sim.benchmarks.policies import OURS
from rarera_sim.cli.bench import bench


def test_the_quick_mode_gives_rows_of_ours_and_of_a_baseline() -> None:
    result = CliRunner().invoke(bench, ["policies", "--quick", "--json"])
    assert result.exit_code in (0, 1), result.output
    cases = [row["case"] for row in json.loads(result.stdout)["rows"]]
    for policy in ("hpa", OURS):
        assert any(case.startswith(f"calendar, 1.0% late: {policy}, equal") for case in cases)
    assert f"{OURS}: one decision" in cases
