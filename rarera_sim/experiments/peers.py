"""Three networks in Ciw, for `validation`: imported only where Ciw is installed."""

from __future__ import annotations

import math
from typing import Any

import ciw  # type: ignore[import-untyped]

_LOGNORMAL = (-0.5, 1.0)  # mean and deviation of the logarithm: mean 1, scv e - 1


def ciw_general(count: int, warm: int, seed: int) -> list[float]:
    """Mean wait in E2/lognormal/3 at rho .85."""
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Gamma(2.0, 0.5 / (0.85 * 3))],
        service_distributions=[ciw.dists.Lognormal(*_LOGNORMAL)],
        number_of_servers=[3],
    )
    records = _records(network, count, seed)
    return [_mean([each.waiting_time for each in records[warm:]])]


def ciw_priority(count: int, warm: int, seed: int) -> list[float]:
    """Mean waits in M/M/2 at rho .8, of the urgent 30 % and of the others; nobody is interrupted."""
    classes = {"urgent": 0.3, "others": 0.7}
    network = ciw.create_network(
        arrival_distributions={name: [ciw.dists.Exponential(1.6 * share)] for name, share in classes.items()},
        service_distributions={name: [ciw.dists.Exponential(1.0)] for name in classes},
        number_of_servers=[2],
        priority_classes={name: place for place, name in enumerate(classes)},
    )
    records = _records(network, count, seed)[warm:]
    return [_mean([each.waiting_time for each in records if each.customer_class == name]) for name in classes]


def ciw_bounded(count: int, _: int, seed: int) -> list[float]:
    """Share lost in M/M/3/8 with 3 arrivals per service."""
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Exponential(3.0)],
        service_distributions=[ciw.dists.Exponential(1.0)],
        number_of_servers=[3],
        queue_capacities=[5],
    )
    ciw.seed(seed)
    simulation = ciw.Simulation(network)
    simulation.simulate_until_max_time(count / 3.0)
    kinds = [each.record_type for each in simulation.get_all_records()]
    return [kinds.count("rejection") / len(kinds)]


def _records(network: Any, count: int, seed: int) -> list[Any]:
    """Of the customers that finished, in the order of their arrival."""
    ciw.seed(seed)
    simulation = ciw.Simulation(network)
    simulation.simulate_until_max_customers(count, method="Finish")
    return sorted(simulation.get_all_records(only=["service"]), key=lambda each: each.arrival_date)


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)
