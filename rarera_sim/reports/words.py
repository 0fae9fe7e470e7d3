"""The results in plain sentences: only what the numbers support, each with its uncertainty."""

from __future__ import annotations

import math
from collections.abc import Sequence

import polars as pl

from rarera_sim.reports import Compared, Row
from rarera_sim.reports.tables import UNKNOWN, estimate, written

FAULTS = ("lost", "repeated", "damaged")


def summary(comparison: Compared) -> list[str]:
    """What an attentive reader would say after the tables, one paragraph per item, the same for the same numbers."""
    said = [
        _setting(comparison),
        *_integrity(comparison),
        _availability(comparison.rows),
        _objective(comparison),
        *_cheapest(comparison),
    ]
    return [paragraph for paragraph in said if paragraph]


def listed(words: Sequence[str]) -> str:
    """Words in a row.

    >>> listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])
    ('a', 'a and b', 'a, b and c')
    """
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _setting(comparison: Compared) -> str:
    several = comparison.replications > 1
    times = f"{comparison.replications} replications" if several else "one replication"
    stopped = f"The run was interrupted: what follows rests on the {times} that was finished before. "
    said = stopped.replace(" was finished", " were finished") if several else stopped
    said = said if comparison.interrupted else ""
    said += f"{comparison.scenario.title.rstrip('.')}: {comparison.events:,} events, {times}, "
    said += "the same events and the same faults of the network for every configuration. "
    if several:
        return said + "Numbers are means over the replications; ± and square brackets give 95 % intervals."
    return said + "One replication gives no intervals, so no configuration is called better than another."


def _integrity(comparison: Compared) -> list[str]:
    rows, replications = comparison.rows, comparison.replications
    logs = [row for row in rows if _is_log(row)]
    clean = [row for row in logs if row["state_correct"] and all(row[fault] == 0 for fault in FAULTS)]
    said = [_faulty(row, replications) for row in rows if not _is_log(row)]
    said += [_faulty(row, replications) for row in logs if row not in clean]
    if clean:
        runs = len(clean) * replications
        which = "The event log" if len(clean) == len(logs) else listed([str(row["configuration"]) for row in clean])
        where = f"in any of {runs:,} runs" if runs > 1 else "in its one run"
        said.append(
            f"{which} lost no event, repeated none and applied no damaged content {where}; "
            f"the state rebuilt from it equals the intended one{' every time' if runs > 1 else ''}."
        )
    if logs:
        said.append(
            f"On the event log {_span(logs, 'detected')} faults per run were detected and {_span(logs, 'compensated')} "
            "compensated: events resent and recorded, repeats refused, work of failed processors delivered again."
        )
    return said


def _is_log(row: Row) -> bool:
    return str(row["transport"]).startswith("log")


def _faulty(row: Row, replications: int) -> str:
    name, sent = row["configuration"], row["sent"]
    lost = "lost none"
    if row["lost"]:
        share = f" ({estimate(row['lost'] / sent, None, None, scale=100, decimals=1)} %)" if sent else ""
        lost = f"lost {_count(row, 'lost')} of {_count(row, 'sent')} events{share}"
    elif row["lost"] is None:
        lost = "lost an unknown number"
    repeated = _or_none(row, "repeated", "applied {} more than once")
    damaged = _or_none(row, "damaged", "applied {} with damaged content")
    return f"{name} {lost}, {repeated} and {damaged}. {_state(row, replications)}"


def _or_none(row: Row, measure: str, words: str) -> str:
    if row[measure] is None:
        return words.format("an unknown number")
    return words.format(_count(row, measure) if row[measure] else "none")


def _state(row: Row, replications: int) -> str:
    if row["state_correct"] is None:
        return "Whether its rebuilt state is right is not known."
    if row["state_correct"]:
        return "Its rebuilt state equals the intended one."
    if replications == 1:
        return "Its rebuilt state is wrong."
    wrong = "all" if row["state_wrong"] == replications else f"{row['state_wrong']} of"
    return f"Its rebuilt state is wrong in {wrong} {replications} replications."


def _count(row: Row, measure: str) -> str:
    return written(row, measure, decimals=1)


def _span(rows: Sequence[Row], measure: str) -> str:
    """The mean of one row, or the range of the means of several."""
    values = [row[measure] for row in rows if row[measure] is not None]
    if len(rows) == 1:
        return _count(rows[0], measure)
    if not values:
        return "an unknown number of"
    low, high = (estimate(value, None, None, decimals=1) for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _availability(rows: Sequence[Row]) -> str:
    shares = [row["availability"] for row in rows if row["availability"] is not None]
    if not shares or len(shares) < len(rows):
        return ""
    if min(shares) == 1.0:
        return "At least one processor was running all the time, in every configuration."
    # Rounded down, so that nearly always does not become always.
    least, most = (f"{math.floor(1e5 * share) / 1e3:g}" for share in (min(shares), max(shares)))
    between = least if least == most else f"between {least} and {most}"
    return f"At least one processor was running {between} % of the time, depending on the configuration."


def _objective(comparison: Compared) -> str:
    objective = comparison.scenario.objective
    said = (
        f"The objective is that {100 * objective.quantile:g} % of the events sent finish within {objective.bound:g} s "
    )
    said += "of their receipt. "
    met, missed, open_ = (
        [row for row in comparison.rows if row["slo_met"] is verdict] for verdict in (True, False, None)
    )
    if comparison.replications == 1:
        said += "What follows is one replication. "
    if met:
        said += f"It was met by {_on_time(met)}. "
    else:
        said += "No configuration is known to have met it. " if open_ else "No configuration met it. "
    if missed:
        said += f"It was missed by {_on_time(missed)}. "
    if open_:
        some_interval = any(row["on_time_low"] is not None for row in open_)
        why = ": the interval holds values on both sides of the objective" if some_interval else ""
        said += f"It cannot be told for {_on_time(open_)}{why}."
    return said.rstrip()


def _on_time(rows: Sequence[Row]) -> str:
    words = []
    for row in rows:
        share = written(row, "on_time", scale=100, decimals=3)
        words.append(f"{row['configuration']} ({share if share == UNKNOWN else share + ' %'} on time)")
    return listed(words)


def _cheapest(comparison: Compared) -> list[str]:
    """Who costs least among those that kept the objective and got the state right, if that can be told at all."""
    met = [row for row in comparison.rows if row["slo_met"] is True]
    wrong = [row for row in met if not row["state_correct"]]
    right = [row for row in met if row["state_correct"]]
    priced = sorted((row for row in right if _finite(row["cost"])), key=lambda row: float(row["cost"]))
    said = []
    if wrong:
        names = listed([str(row["configuration"]) for row in wrong])
        said.append(f"{names} met the objective without getting the state right, and so does not compete on cost.")
    if not priced:
        return [
            *said,
            "No configuration both met the objective and got the state right at a known cost: none is called cheapest.",
        ]
    first, others = priced[0], priced[1:]
    if not others:
        said.append(f"{_price(first)}, and is the only one that met the objective with the right state.")
    elif comparison.replications == 1:
        costs = listed([_price(row) for row in priced])
        said.append(f"Of those that met the objective, {costs}; which is cheapest cannot be told from one replication.")
    else:
        said.append(_against(first, others, comparison.differences))
    return said


def _against(first: Row, others: Sequence[Row], differences: pl.DataFrame) -> str:
    """The lowest mean against each of the others, in pairs: only an interval above 0 makes it the cheapest.

    To be the cheapest is to be cheaper than all others at once, so the intervals are those that hold for all at once.
    """
    gaps = [(row, _gap(row, first, differences)) for row in others]
    rivals = [(row, gap) for row, gap in gaps if gap is None or gap[1] <= 0.0]
    if not rivals:
        nearest, gap = min(gaps, key=lambda pair: pair[1][0] if pair[1] else math.inf)
        more = estimate(*gap, decimals=4) if gap else UNKNOWN
        return (
            f"Cheapest of the {len(others) + 1} that met the objective with the right state: {_price(first)}; "
            f"the next, {nearest['configuration']}, costs {more} USD more (paired)."
        )
    said = f"No winner on cost among those that met the objective. Lowest mean: {_price(first)}. "
    for row, gap in rivals:
        said += f"From {row['configuration']} ({written(row, 'cost', decimals=4)} USD) it cannot be told apart: "
        if gap is None:
            said += "there is no interval of their paired difference. "
        else:
            said += f"the paired difference is {estimate(*gap, decimals=4)} USD, an interval that contains 0. "
    if dearer := [str(row["configuration"]) for row, gap in gaps if gap is not None and gap[1] > 0.0]:
        said += f"{listed(dearer)} cost{'s' if len(dearer) == 1 else ''} more than {first['configuration']}."
    return said.rstrip()


def _gap(row: Row, against: Row, differences: pl.DataFrame) -> tuple[float, float, float] | None:
    """Cost of `row` minus cost of `against` with its interval, whichever way round it was computed."""
    for one, other, sign in ((row, against, 1.0), (against, row, -1.0)):
        found = differences.filter(
            measure="cost", configuration=one["configuration"], against=other["configuration"]
        ).select("difference", "low_all", "high_all")
        if found.height and all(map(_finite, found.row(0))):
            difference, *ends = (sign * value for value in found.row(0))
            return difference, min(ends), max(ends)
    return None


def _price(row: Row) -> str:
    return f"{row['configuration']} costs {written(row, 'cost', decimals=4)} USD"


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
