"""A fit finds again what a sample was drawn from, and says by how much the others miss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from rarera_sim.core.errors import BadInput
from rarera_sim.experiments.fit import fit_arrivals, fit_service
from rarera_sim.simulation.arrivals import ArrivalProcess, Mmpp, Poisson, Profile, Renewal
from rarera_sim.simulation.distributions import Distribution
from rarera_sim.simulation.kernel import Streams

SHARED = Path(__file__).parents[3] / "shared" / "traces"


@pytest.mark.parametrize(
    ("kind", "scv"),
    [("lognormal", 2.0), ("weibull", 0.3), ("uniform", 0.2), ("hyperexponential", 6.0), ("pareto", 3.0)],
)
def test_a_distribution_is_found_again(kind: Any, scv: float) -> None:
    truth = Distribution(distribution=kind, mean=0.4, scv=scv)
    fit = fit_service(truth.draw(np.random.default_rng(5), 20_000))
    assert fit.distribution.distribution == kind
    assert fit.distribution.mean == pytest.approx(0.4, rel=0.05)
    assert fit.candidates["ks"].is_sorted()
    assert fit.candidates["ks"][0] < 0.02 < fit.candidates["ks"][-1]
    middle = fit.quantiles.filter(pl.col("level").is_between(0.09, 0.91))
    assert middle[kind].to_numpy() == pytest.approx(middle["sample"].to_numpy(), rel=0.08)


@pytest.mark.parametrize(
    ("truth", "name"),
    [
        (Poisson(rate=5.0), "poisson"),
        (Renewal(gap=Distribution(distribution="erlang", mean=0.2, scv=0.1)), "renewal"),
        (Mmpp(rates=(2.0, 20.0), stays=(300.0, 100.0)), "mmpp"),
        (Profile(rates=tuple(5 + 4 * np.cos(np.arange(96) / 96 * 2 * np.pi)), step=36.0), "profile"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_arrivals_are_found_again_with_their_rate_and_burstiness(truth: ArrivalProcess, name: str) -> None:
    times = truth.times(Streams(7), 20_000.0)
    fit = fit_arrivals(times, duration=20_000.0, period=3_456.0)
    best = fit.candidates["arrivals"][0]
    # Poisson is renewal with exponential gaps, and a profile that is flat: any of these is right.
    assert best == name or (
        name == "poisson" and fit.candidates.filter(pl.col("arrivals") == "poisson")["score"][0] < 0.1
    )
    assert fit.candidates["score"].is_sorted()
    assert fit.arrivals.rate_mean == pytest.approx(len(times) / 20_000.0, rel=0.05)
    assert fit.dispersion[best].to_numpy() == pytest.approx(fit.dispersion["observed"].to_numpy(), rel=0.6)
    assert {"level", "sample", best} <= set(fit.quantiles.columns)


def test_a_real_trace_is_fitted_and_poisson_is_not_the_best() -> None:
    path = SHARED / "azure_llm_2023_conv.parquet"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    frame = pl.read_parquet(path)
    fit = fit_arrivals(frame["t_s"].to_numpy())
    scores = dict(zip(fit.candidates["arrivals"], fit.candidates["score"], strict=True))
    assert scores["poisson"] > 2 * fit.candidates["score"][0]
    assert fit_service(frame["generated_tokens"].to_numpy()).candidates.height >= 5


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ([], "got none"),
        ([1.0] * 19, "at least 20 are needed, got 19"),
        ([1.0] * 30 + [float("nan")], "got nan at place 31"),
        ([1.0] * 30 + [-1.0], "got -1.0 at place 31"),
    ],
)
def test_a_bad_sample_is_refused(sample: list[float], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        fit_service(sample)


def test_bad_times_are_refused() -> None:
    for times in ([1.0, 2.0], [float("nan")] * 50, [-1.0] * 50):
        with pytest.raises(BadInput, match="times must be at least 20 finite numbers"):
            fit_arrivals(times)
    with pytest.raises(BadInput, match=r"duration must be at least the last time, 50\.0 s, got 10\.0"):
        fit_arrivals(np.arange(1.0, 51.0), duration=10.0)
