"""Results for people: words, tables, figures and a page. Nothing is computed here that the experiments could compute.

What a report is made of is described here, so that a report can be made of anything that has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import polars as pl

Row = Mapping[str, Any]


class Objective(Protocol):
    """What the service promises: this share of the events (`quantile`) within so many seconds (`bound`)."""

    @property
    def quantile(self) -> float: ...
    @property
    def bound(self) -> float: ...


class Described(Protocol):
    """A scenario, as far as a report shows it."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def objective(self) -> Objective: ...
    def to_toml(self) -> str: ...


class Compared(Protocol):
    """The outcome of an experiment that compares configurations.

    `rows` holds one mapping per configuration: each measure M with the ends of its interval, `M_low` and `M_high`,
    None where there is none. `measures` has one row per configuration and replication, `load` one per control period
    and `crashes` one per crash of the first replication; `quantiles` are response times. `differences` are paired;
    `low_all` and `high_all` are wide enough to hold for one configuration against all others at once.
    """

    @property
    def scenario(self) -> Described: ...
    @property
    def seed(self) -> int: ...
    @property
    def replications(self) -> int: ...
    @property
    def version(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def command(self) -> str: ...
    @property
    def trace_origin(self) -> str: ...
    @property
    def log_path(self) -> str | None: ...
    @property
    def events(self) -> int: ...
    @property
    def interrupted(self) -> bool: ...
    @property
    def rows(self) -> Sequence[Row]: ...
    @property
    def measures(self) -> pl.DataFrame: ...
    @property
    def load(self) -> pl.DataFrame: ...
    @property
    def quantiles(self) -> pl.DataFrame: ...
    @property
    def differences(self) -> pl.DataFrame: ...
    @property
    def crashes(self) -> pl.DataFrame: ...
