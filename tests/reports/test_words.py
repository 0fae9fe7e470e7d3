"""The summary: only what the numbers support."""

from __future__ import annotations

import polars as pl
import pytest

from rarera_sim.reports.words import summary


def said(comparison) -> str:
    return "\n".join(summary(comparison))


def the(comparison, configuration: str) -> dict:
    (row,) = (row for row in comparison.rows if row["configuration"] == configuration)
    return row


def difference(comparison, configuration: str, against: str, low: float | None, high: float | None):
    """The comparison, with this interval for the difference in cost, and known one way round only."""
    frame = comparison.differences
    pair = [configuration, against]
    ours = (pl.col("measure") == "cost") & pl.col("configuration").is_in(pair) & pl.col("against").is_in(pair)
    mean = None if low is None else (low + high) / 2
    new = pl.DataFrame([(*pair, "cost", mean, low, high, low, high)], schema=frame.schema, orient="row")
    comparison.differences = pl.concat([frame.filter(~ours), new])
    return comparison


def test_what_the_queue_did_is_said_with_its_uncertainty(compare):
    text = said(compare(5))
    assert "queue at-most-once / hpa lost 813 ±26 of 18,900 events (4.3 %), applied 189 ±11 more than once" in text
    assert text.count("Its rebuilt state is wrong in all 5 replications.") == 2


def test_a_state_that_is_wrong_at_times_is_not_called_wrong_always(compare):
    comparison = compare(5)
    the(comparison, "queue at-most-once / hpa")["state_wrong"] = 2
    assert "Its rebuilt state is wrong in 2 of 5 replications." in said(comparison)


def test_the_log_that_lost_nothing_is_said_to_have_lost_nothing(compare):
    text = said(compare(5))
    assert "The event log lost no event, repeated none and applied no damaged content in any of 25 runs" in text
    assert "faults per run were detected" in text


@pytest.mark.parametrize("fault", ["lost", "repeated", "damaged"])
@pytest.mark.parametrize("value", [0.2, None])
def test_a_log_that_is_not_known_to_be_clean_is_not_called_clean(compare, fault, value):
    comparison = compare(5)
    row = the(comparison, "log / hpa")
    row |= {fault: value, f"{fault}_low": None, f"{fault}_high": None}
    text = said(comparison)
    assert "The event log lost no event" not in text
    assert "log / peak, log / erlang-c, log / predictive and log / price-aware lost no event" in text
    assert ("0.2" if value else "an unknown number") in next(p for p in summary(comparison) if "log / hpa" in p)


def test_a_log_with_a_wrong_state_is_not_called_right(compare):
    comparison = compare(5)
    the(comparison, "log / hpa").update(state_correct=False, state_wrong=1)
    text = said(comparison)
    assert "log / hpa lost none, applied none more than once and applied none with damaged content." in text
    assert "wrong in 1 of 5 replications" in text


def test_met_missed_and_unclear_are_told_apart(compare):
    text = said(compare(5))
    assert "It was met by log / peak (99.941 ±0.009 % on time)" in text
    assert "It was missed by queue at-most-once / hpa" in text
    assert "It cannot be told for log / erlang-c (98.98 ±0.09 % on time)" in text


def test_no_winner_where_the_paired_interval_contains_zero(compare):
    text = said(compare(5))
    assert "No winner on cost" in text
    assert "From log / predictive (153 ±4 USD) it cannot be told apart" in text
    assert "Cheapest" not in text
    assert "log / peak costs more than log / price-aware." in text


@pytest.mark.parametrize("interval", [(0.0, 2.0), (-1.0, 0.0), (0.0, 0.0)])
def test_an_interval_that_ends_at_zero_contains_it(compare, interval):
    assert "No winner" in said(difference(compare(5), "log / predictive", "log / price-aware", *interval))


@pytest.mark.parametrize(
    ("configuration", "against", "low", "high"),
    [("log / predictive", "log / price-aware", 0.5, 1.5), ("log / price-aware", "log / predictive", -1.5, -0.5)],
)
def test_a_winner_is_named_whichever_way_round_the_difference_was_taken(compare, configuration, against, low, high):
    text = said(difference(compare(5), configuration, against, low, high))
    assert "Cheapest of the 3 that met the objective with the right state: log / price-aware costs 152 ±3 USD" in text
    assert "the next, log / predictive, costs 1.0 ±0.5 USD more (paired)" in text
    assert "No winner" not in text


def test_a_winner_has_to_win_against_all_at_once(compare):
    comparison = difference(compare(5), "log / predictive", "log / price-aware", 0.1, 1.9)
    alone = pl.col("low") == 0.1
    comparison.differences = comparison.differences.with_columns(
        low_all=pl.when(alone).then(-0.2).otherwise("low_all"), high_all=pl.when(alone).then(2.2).otherwise("high_all")
    )
    assert "No winner" in said(comparison)


def test_no_winner_without_a_paired_interval(compare):
    text = said(difference(compare(5), "log / predictive", "log / price-aware", None, None))
    assert "there is no interval of their paired difference" in text
    assert "Cheapest" not in text


def test_the_only_one_that_met_it_is_said_to_be_the_only_one(compare):
    comparison = compare(5)
    for name in ("log / peak", "log / price-aware"):
        the(comparison, name)["slo_met"] = False
    text = said(comparison)
    assert "log / predictive costs 153 ±4 USD, and is the only one that met the objective" in text
    assert "Cheapest" not in text


def test_none_met_means_none_is_cheapest(compare):
    comparison = compare(5)
    for row in comparison.rows:
        row["slo_met"] = False
    text = said(comparison)
    assert "No configuration met it." in text
    assert "none is called cheapest" in text


def test_none_known_to_have_met_it_is_not_none_met(compare):
    comparison = compare(5)
    for row in comparison.rows:
        row["slo_met"] = None
    assert "No configuration is known to have met it." in said(comparison)


def test_a_wrong_state_does_not_compete_on_cost(compare):
    comparison = compare(5)
    the(comparison, "queue at-most-once / hpa")["slo_met"] = True
    text = said(comparison)
    assert "queue at-most-once / hpa met the objective without getting the state right" in text
    assert "Lowest mean: log / price-aware" in text


def test_one_replication_names_no_winner(compare):
    text = said(compare(1))
    assert "One replication gives no intervals" in text
    assert "which is cheapest cannot be told from one replication" in text
    assert "Cheapest" not in text
    assert "±" not in text


def test_numbers_that_do_not_exist_are_called_unknown(compare):
    comparison = compare(5)
    row = the(comparison, "log / peak")
    for measure in ("on_time", "cost", "detected", "compensated", "availability", "lost", "sent"):
        row |= {measure: None, f"{measure}_low": None, f"{measure}_high": None}
    row["slo_met"] = row["state_correct"] = None
    text = said(comparison)
    assert "log / peak lost an unknown number" in text
    assert "Whether its rebuilt state is right is not known." in text
    assert "log / peak (n/a on time)" in text
    assert "None" not in text
    assert "nan" not in text


def test_nearly_always_available_is_not_always(compare):
    comparison = compare(5)
    the(comparison, "log / hpa")["availability"] = 0.9999999
    assert "all the time" not in said(comparison)
    assert "between 99.999 and 100 % of the time" in said(comparison)


def test_an_interrupted_run_says_so_first(compare):
    comparison = compare(3)
    comparison.interrupted = True
    assert summary(comparison)[0].startswith("The run was interrupted: what follows rests on the 3 replications")


def test_a_comparison_of_queues_alone_says_nothing_of_a_log(compare):
    comparison = compare(5)
    comparison.rows = comparison.rows[:2]
    assert "event log" not in said(comparison)
