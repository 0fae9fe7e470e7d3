"""Logs as commands open them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rarera_sim.adapters.watched import WholeLog


def open_log(url: str, **options: bool) -> WholeLog:
    from rarera_sim.adapters import urls

    return urls.open_log(url, **options)
