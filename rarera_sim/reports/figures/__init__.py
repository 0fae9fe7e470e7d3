"""Figures of results: frames in, a Plotly figure out; one look, with the text for those who cannot see it.

Every figure has a transparent ground and reads on light and dark pages. A configuration has the same colour, dash and
marker in all of them, so none depends on colour alone. `figure.layout.meta["alt"]` says in words what it shows. At most
`POINTS_MAX` points are sent to a browser: beyond that values share points, and the figure says so.
"""

from __future__ import annotations

from rarera_sim.reports.figures.fate import causation_tree, funnel
from rarera_sim.reports.figures.learned import anomaly_timeline, forecast_fan
from rarera_sim.reports.figures.load import (
    availability_timeline,
    backlog_and_replicas,
    replicas_and_decisions,
    thinned,
)
from rarera_sim.reports.figures.look import (
    BLUE,
    COLOURS,
    CONFIG,
    DASHES,
    FAINT,
    GREEN,
    GREY,
    INK,
    MARKERS,
    ORANGE,
    POINTS_MAX,
    PURPLE,
    SKY,
    TEMPLATE,
    VERMILION,
    Look,
    looks,
)
from rarera_sim.reports.figures.models import theory_against_model, tornado
from rarera_sim.reports.figures.money import cost_against_p99, cost_and_energy, pareto_front, regret
from rarera_sim.reports.figures.policies import behaviour_in_situations, lateness_and_cost
from rarera_sim.reports.figures.response import (
    latency_breakdown,
    latency_quantiles,
    response_distribution,
    response_over_time,
)

FIGURES = {
    "response-over-time": response_over_time,
    "response-by-stage": latency_breakdown,
    "response-distribution": response_distribution,
    "response-by-quantile": latency_quantiles,
    "backlog-and-replicas": backlog_and_replicas,
    "replicas-and-decisions": replicas_and_decisions,
    "cost-against-response": cost_against_p99,
    "pareto-front": pareto_front,
    "regret": regret,
    "cost-and-late": lateness_and_cost,
    "behaviour": behaviour_in_situations,
    "cost-and-energy": cost_and_energy,
    "availability": availability_timeline,
    "funnel": funnel,
    "forecast-fan": forecast_fan,
    "anomalies": anomaly_timeline,
    "theory-against-model": theory_against_model,
    "tornado": tornado,
    "causation": causation_tree,
}

__all__ = [
    "BLUE",
    "COLOURS",
    "CONFIG",
    "DASHES",
    "FAINT",
    "FIGURES",
    "GREEN",
    "GREY",
    "INK",
    "MARKERS",
    "ORANGE",
    "POINTS_MAX",
    "PURPLE",
    "SKY",
    "TEMPLATE",
    "VERMILION",
    "Look",
    "anomaly_timeline",
    "availability_timeline",
    "backlog_and_replicas",
    "behaviour_in_situations",
    "causation_tree",
    "cost_against_p99",
    "cost_and_energy",
    "forecast_fan",
    "funnel",
    "latency_breakdown",
    "latency_quantiles",
    "lateness_and_cost",
    "looks",
    "pareto_front",
    "regret",
    "replicas_and_decisions",
    "response_distribution",
    "response_over_time",
    "theory_against_model",
    "thinned",
    "tornado",
]
