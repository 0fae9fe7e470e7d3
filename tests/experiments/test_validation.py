"""The model stands what docs/validation.md says it stands; a model that is a little wrong does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from rarera_sim.experiments import textbook, validation
from rarera_sim.experiments.textbook import Customers, Times
from rarera_sim.experiments.validation import SHORT, Effort, Section, Validation

SECTIONS = [
    validation.bit_for_bit,
    validation.closed_forms,
    validation.laws,
    validation.beside_ciw,
    validation.metamorphic,
    validation.generators,
    validation.faults,
    validation.coverage,
]
TINY = replace(SHORT, customers=4000, messages=1000, intervals=40)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_section_holds(section: Callable[[Effort, int], Section]) -> None:
    # A hundred servers that start empty are not yet what the formula says after 1,000 messages.
    effort = replace(TINY, messages=4000, replications=3) if section is validation.closed_forms else TINY
    done = section(effort, 1)
    if done.title == "Beside Ciw" and not done.checks:
        pytest.skip("ciw is not installed")
    assert Validation((done,), TINY, 1).failed == []


def test_at_least_twenty_systems_are_compared_bit_for_bit() -> None:
    assert len(validation._EXACT) >= 20
    assert validation.FULL.customers == 200_000


def late(arrived: Times, services: Times, servers: int, **options: object) -> Customers:
    """The last bit of one customer in a thousand."""
    right = textbook.served(arrived, services, servers, **options)  # type: ignore[arg-type]
    finished = right.finished.copy()
    finished[::1000] = np.nextafter(finished[::1000], np.inf)
    return replace(right, finished=finished)


def slow(arrived: Times, services: Times, servers: int, **options: object) -> Customers:
    """A server that needs a tenth more."""
    return textbook.served(arrived, services * 1.1, servers, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("section", "wrong"), [(validation.bit_for_bit, late), (validation.closed_forms, slow), (validation.laws, None)]
)
def test_a_wrong_model_is_found(
    monkeypatch: pytest.MonkeyPatch, section: Callable[[Effort, int], Section], wrong: Callable[..., Customers] | None
) -> None:
    def lossy(arrived: Times, services: Times, servers: int, **options: object) -> Customers:
        """One customer vanishes."""
        right = textbook.served(arrived, services, servers, **options)  # type: ignore[arg-type]
        finished = right.finished.copy()
        finished[7] = np.nan
        return replace(right, finished=finished)

    monkeypatch.setattr(validation, "served", wrong or lossy)
    effort = replace(TINY, customers=8000, messages=200)
    failed = Validation((section(effort, 1),), effort, 1).failed
    assert len(failed) >= 3


def test_books_that_do_not_balance_are_noticed() -> None:
    moments = np.arange(1.0, 6.0)
    right = Customers(moments, moments, moments + 1.0, np.zeros(5, dtype=np.int64))
    assert right.books() == ""
    assert "before it came" in replace(right, finished=moments - 0.5).books()


def test_customers_who_lose_patience_are_held_against_erlang_a() -> None:
    checks = list(validation._impatience(replace(TINY, messages=3000), 1))
    assert [check.expected for check in checks] == ["0.084452", "0.195656"]
    assert all(check.holds for check in checks)


def test_the_page_shows_every_figure_and_what_does_not_hold() -> None:
    section = validation.generators(TINY, 1)
    page = Validation((section,), TINY, 1).to_markdown()
    assert page.startswith("# Validation\n")
    assert page.count("| holds |") == len(section.checks)
    broken = Validation((replace(section, checks=(section.checks[0]._replace(holds=False),)),), TINY, 1)
    assert "**does not hold**" in broken.to_markdown()
    assert "1 do not hold" in repr(broken)


def test_the_same_seed_makes_the_same_page() -> None:
    one, other = (Validation((validation.faults(TINY, 1),), TINY, 1).to_markdown() for _ in range(2))
    assert one == other


@pytest.mark.parametrize(("capacity", "insists"), [(20, False), (10, True), (15, True)])
def test_a_bounded_queue_loses_the_customers_that_a_loop_over_arrivals_loses(capacity: int, insists: bool) -> None:
    arrived, services = textbook.drawn(validation._of("exponential", 1.0 / 9.0), validation._M, 3000, seed=2)
    free, inside, lost = [0.0] * 10, list[float](), []
    for moment, service in zip(arrived.tolist(), services.tolist(), strict=True):
        inside = [leaves for leaves in inside if leaves > moment]
        lost.append(len(inside) >= capacity)
        if not lost[-1]:
            free.sort()
            free[0] = max(moment, free[0]) + service
            inside.append(free[0])
    assert textbook.bounded(arrived, services, 10, capacity, insists=insists)[1].tolist() == lost
    assert any(lost)
