"""The benchmark of policies: the study's rows, with ours among them, and what it is held against."""

from __future__ import annotations

import json

from click.testing import CliRunner

from rarera_sim.benchmarks import policies
from rarera_sim.cli.main import main


def test_the_quick_mode_gives_rows_of_ours_and_of_a_baseline() -> None:
    result = CliRunner().invoke(main, ["bench", "policies", "--quick", "--json"])
    assert result.exit_code in (0, 1), result.output
    cases = [row["case"] for row in json.loads(result.stdout)["rows"]]
    for policy in ("hpa", policies.OURS):
        assert any(f"calendar, 1.0% late: {policy}, equal" in case for case in cases)
    assert any(case == "rarera: one decision" for case in cases)
