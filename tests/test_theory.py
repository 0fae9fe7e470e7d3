"""The formulas agree with published values, with each other, with brute force, and bend the way they must."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rarera_sim import theory

# Servers, utilisation, service rate: every stable M/M/c from one server to a large pool, far from rho = 1 and near.
SERVERS = st.integers(1, 400)
UTILISATION = st.floats(0.001, 0.999)
SERVICE_RATE = st.floats(0.01, 100.0)
QUANTILE = st.floats(0.0, 0.9999)
SCV = st.floats(0.0, 10.0)


def for_all(*strategies: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """`given`, the same examples in every run and however slow the machine."""
    return lambda test: settings(deadline=None, derandomize=True)(given(*strategies)(test))


class TestPublishedValues:
    """Each to the last digit that was published; service times have mean 1."""

    @pytest.mark.parametrize(
        ("servers", "load", "published"), [(5, 4.0, 0.199066874), (10, 9.0, 0.167963226), (100, 90.0, 0.026957380)]
    )
    def test_erlang_b(self, servers: int, load: float, published: float) -> None:
        assert theory.erlang_b(servers, load) == pytest.approx(published, abs=5e-10)

    def test_erlang_c(self) -> None:
        assert theory.erlang_c(10, 9.0) == pytest.approx(0.6687315241, abs=5e-11)

    @pytest.mark.parametrize(
        ("servers", "arrival_rate", "published"),
        [
            (1, 0.8, 4.0),
            (2, 1.6, 1.7777777778),
            (5, 4.0, 0.5541125541),
            (10, 8.0, 0.2045900754),
            (10, 9.0, 0.6687315241),
            (100, 95.0, 0.1012913708),
        ],
    )
    def test_mean_wait_of_mmc(self, servers: int, arrival_rate: float, published: float) -> None:
        assert theory.wait_mean(arrival_rate, 1.0, servers) == pytest.approx(published, abs=5e-11)

    def test_response_of_mm1(self) -> None:
        assert theory.response_mean(0.8, 1.0, 1) == pytest.approx(5.0, rel=1e-14)
        assert theory.response_quantile(0.8, 1.0, 1, quantile=0.95) == pytest.approx(14.978661, abs=5e-7)

    @pytest.mark.parametrize(
        ("arrival_rate", "servers", "capacity", "published"),
        [(9.0, 10, 20, 0.0295100616), (4.0, 5, 12, 0.0256232189), (0.8, 1, 5, 0.0888194987)],
    )
    def test_loss_of_mmck(self, arrival_rate: float, servers: int, capacity: int, published: float) -> None:
        assert theory.loss(arrival_rate, 1.0, servers, capacity) == pytest.approx(published, abs=5e-11)

    @pytest.mark.parametrize(
        ("service_scv", "published"),
        [(0.0, 2.0), (0.5, 3.0), (4.0, 10.0), (math.e - 1.0, 5.4365636569)],
        ids=["constant", "Erlang-2", "hyperexponential", "lognormal"],
    )
    def test_mean_wait_of_mg1(self, service_scv: float, published: float) -> None:
        assert theory.wait_mean_mg1(0.8, 1.0, service_scv) == pytest.approx(published, abs=5e-11)

    @pytest.mark.parametrize(
        ("servers", "arrival_rate", "published"),
        [(1, 0.8, 2.0), (2, 1.6, 0.9032838794), (5, 4.0, 0.2890600073), (10, 9.0, 0.3445820504)],
    )
    def test_mean_wait_of_mdc(self, servers: int, arrival_rate: float, published: float) -> None:
        assert theory.wait_mean_mdc(arrival_rate, 1.0, servers) == pytest.approx(published, abs=5e-11)

    @pytest.mark.parametrize(
        ("service_scv", "exact"), [(0.5, 0.50845169), (4.0, 1.54895501)], ids=["Erlang-2", "hyperexponential"]
    )
    def test_kimura_is_within_its_known_error(self, service_scv: float, exact: float) -> None:
        assert theory.wait_mean_mgc(9.0, 1.0, 10, service_scv) == pytest.approx(exact, rel=0.01)

    @pytest.mark.parametrize(
        ("machines", "repairers", "failure_rate", "repair_rate", "published"),
        [(4, 1, 0.1, 1.0, 0.8833419555), (10, 2, 0.05, 0.5, 0.8961362181)],
    )
    def test_machine_repair(
        self, machines: int, repairers: int, failure_rate: float, repair_rate: float, published: float
    ) -> None:
        availability = theory.availability_machine_repair(machines, repairers, failure_rate, repair_rate)
        assert availability == pytest.approx(published, abs=1e-10)

    def test_two_of_three(self) -> None:
        assert theory.availability_k_of_n(2, 3, 0.99) == pytest.approx(0.999702, rel=1e-14)

    def test_erlang_a(self) -> None:
        assert theory.abandonment(9.5, 1.0, 10, patience_rate=0.5) == pytest.approx(0.0844520090, abs=5e-11)


class TestAgainstBruteForce:
    @pytest.mark.parametrize("load", ["0.25", "1", "7/2", "20", "70", "500"])
    @pytest.mark.parametrize("servers", [1, 2, 5, 17, 60])
    def test_erlang_b_is_right_to_the_last_bits(self, servers: int, load: str) -> None:
        exact = Fraction(1)
        for k in range(1, servers + 1):
            exact = Fraction(load) * exact / (k + Fraction(load) * exact)
        assert theory.erlang_b(servers, float(Fraction(load))) == pytest.approx(float(exact), rel=1e-14)

    @pytest.mark.parametrize(("servers", "load"), [(1, 0.8), (3, 2.0), (10, 9.0), (40, 39.0)])
    def test_the_area_under_the_response_tail_is_the_mean_response(self, servers: int, load: float) -> None:
        step, end = 0.01, theory.response_quantile(load, 1.0, servers, quantile=1.0 - 1e-12)
        tail = [theory.response_tail(load, 1.0, servers, bound=k * step) for k in range(int(end / step))]
        area = step * (math.fsum(tail) - tail[0] / 2.0)
        assert area == pytest.approx(theory.response_mean(load, 1.0, servers), rel=1e-4)

    @pytest.mark.parametrize(("servers", "load"), [(1, 0.5), (2, 1.8), (5, 4.0), (10, 3.0), (20, 18.0)])
    def test_mean_wait_of_mdc_is_that_of_the_chain_seen_once_per_service_time(self, servers: int, load: float) -> None:
        states = 400
        arrivals = [math.exp(k * math.log(load) - load - math.lgamma(k + 1)) for k in range(states)]
        moves = np.zeros((states, states))
        for queue in range(states):
            for arrived, probability in enumerate(arrivals):
                moves[queue, min(states - 1, max(0, queue + arrived - servers))] += probability
        shares = np.zeros(states)
        shares[0] = 1.0
        for _ in range(14):  # 2^14 service times
            moves = moves @ moves
        queue_mean = float((shares @ moves) @ np.arange(states))
        assert theory.wait_mean_mdc(load, 1.0, servers) == pytest.approx(queue_mean / load, rel=1e-9)

    @pytest.mark.parametrize("servers", [1, 2, 3, 10, 101])
    @pytest.mark.parametrize("rho", [0.3, 0.7, 0.9])
    def test_the_two_ways_to_mdc_agree(self, servers: int, rho: float) -> None:
        by_sum = theory._queue_mdc_by_sum(rho * servers, servers)
        by_roots = theory._queue_mdc_by_roots(rho * servers, servers)
        assert by_roots == pytest.approx(by_sum, rel=1e-9, abs=1e-12)

    def test_abandonment_at_the_pace_of_service_is_that_of_endless_servers(self) -> None:
        load, servers = 9.5, 10
        poisson = [math.exp(k * math.log(load) - load - math.lgamma(k + 1)) for k in range(200)]
        queue = math.fsum((k - servers) * p for k, p in enumerate(poisson) if k > servers)
        assert theory.abandonment(load, 1.0, servers, patience_rate=1.0) == pytest.approx(queue / load, rel=1e-12)

    @pytest.mark.parametrize("needed", range(8))
    def test_k_of_n_is_the_binomial_sum(self, needed: int) -> None:
        up = Fraction(9, 10)
        exact = sum(math.comb(7, j) * up**j * (1 - up) ** (7 - j) for j in range(needed, 8))
        assert theory.availability_k_of_n(needed, 7, 0.9) == pytest.approx(float(exact), rel=1e-14)


class TestSpecialCases:
    @for_all(UTILISATION, SERVICE_RATE)
    def test_one_server_with_exponential_service_is_mg1_with_scv_1(self, rho: float, rate: float) -> None:
        by_erlang = theory.wait_mean(rho * rate, rate, 1)
        assert theory.wait_mean_mg1(rho * rate, 1.0 / rate, 1.0) == pytest.approx(by_erlang, rel=1e-9)

    @for_all(UTILISATION, SCV)
    def test_one_server_makes_kimura_exact(self, rho: float, scv: float) -> None:
        exact = theory.wait_mean_mg1(rho, 1.0, scv)
        assert theory.wait_mean_mgc(rho, 1.0, 1, scv) == pytest.approx(exact, rel=1e-9)

    @for_all(SERVERS, st.floats(0.5, 0.999))
    def test_kimura_lies_on_mmc_and_mdc(self, servers: int, rho: float) -> None:
        rate = rho * servers
        assert theory.wait_mean_mgc(rate, 1.0, servers, 1.0) == pytest.approx(theory.wait_mean(rate, 1.0, servers))
        assert theory.wait_mean_mgc(rate, 1.0, servers, 0.0) == pytest.approx(theory.wait_mean_mdc(rate, 1.0, servers))

    @for_all(UTILISATION, SCV)
    def test_kingman_is_above_pollaczek_khinchine(self, rho: float, scv: float) -> None:
        assert theory.wait_bound_gg1(rho, 1.0, 1.0, scv) >= theory.wait_mean_mg1(rho, 1.0, scv)

    @for_all(SERVERS, st.floats(0.001, 3.0))
    def test_no_room_to_wait_makes_loss_erlang_b(self, servers: int, rho: float) -> None:
        load = rho * servers
        assert theory.loss(load, 1.0, servers, capacity=servers) == theory.erlang_b(servers, load)

    @for_all(st.floats(0.001, 0.999), st.integers(1, 60))
    def test_one_server_with_room_loses_what_mm1k_loses(self, rho: float, capacity: int) -> None:
        exact = (1.0 - rho) * rho**capacity / (1.0 - rho ** (capacity + 1))
        assert theory.loss(rho, 1.0, 1, capacity) == pytest.approx(exact, rel=1e-9)

    @for_all(st.floats(1.001, 3.0))
    def test_a_long_queue_in_overload_loses_the_surplus(self, rho: float) -> None:
        assert theory.loss(5.0 * rho, 1.0, 5, capacity=50_000) == pytest.approx(1.0 - 1.0 / rho, rel=1e-6)

    @for_all(st.integers(1, 50), st.floats(0.001, 10.0), st.floats(0.001, 10.0))
    def test_a_repairer_for_each_machine_makes_machines_independent(
        self, machines: int, failure_rate: float, repair_rate: float
    ) -> None:
        availability = theory.availability_machine_repair(machines, machines, failure_rate, repair_rate)
        assert availability == pytest.approx(repair_rate / (failure_rate + repair_rate), rel=1e-9)

    def test_the_halfin_whitt_limit_is_approached_by_erlang_c(self) -> None:
        limit = theory.wait_probability_halfin_whitt(1.0)
        errors = [abs(theory.erlang_c(n * n + n, float(n * n)) - limit) for n in (3, 10, 30, 100, 1000)]
        assert errors == sorted(errors, reverse=True)
        assert errors[-1] < 2e-4

    @pytest.mark.parametrize(("beta", "stated"), [(1.0, 0.22), (1.7, 0.05)])
    def test_the_halfin_whitt_values_quoted_in_the_docs_hold(self, beta: float, stated: float) -> None:
        normal = NormalDist()
        waiting = theory.wait_probability_halfin_whitt(beta)
        assert waiting == pytest.approx(1.0 / (1.0 + beta * normal.cdf(beta) / normal.pdf(beta)), rel=1e-14)
        assert waiting == pytest.approx(stated, abs=0.005)

    def test_the_customers_in_the_system_are_those_that_littles_law_counts(self) -> None:
        assert theory.number_mean(0.8, theory.response_mean(0.8, 1.0, 1)) == pytest.approx(0.8 / (1.0 - 0.8))


class TestMonotone:
    @for_all(SERVERS, st.floats(0.001, 2.0), st.floats(0.0, 0.5))
    def test_more_load_means_more_loss_and_more_waiting(self, servers: int, rho: float, more: float) -> None:
        less, greater = rho * servers, (rho + more) * servers
        assert theory.erlang_b(servers, less) <= theory.erlang_b(servers, greater) * (1.0 + 1e-12)
        assert theory.erlang_c(servers, less) <= theory.erlang_c(servers, greater) * (1.0 + 1e-12)

    @for_all(SERVERS, st.floats(0.001, 2.0))
    def test_more_servers_mean_less_of_every_trouble(self, servers: int, rho: float) -> None:
        rate = rho * servers
        for trouble in (
            lambda c: theory.erlang_b(c, rate),
            lambda c: theory.erlang_c(c, rate),
            lambda c: theory.wait_mean(rate, 1.0, c),
            lambda c: theory.wait_mean_mdc(rate, 1.0, c),
            lambda c: theory.response_tail(rate, 1.0, c, 2.0),
            lambda c: theory.response_quantile(rate, 1.0, c, 0.95),
            lambda c: theory.abandonment(rate, 1.0, c, 0.5),
        ):
            assert trouble(servers + 1) <= trouble(servers) * (1.0 + 1e-9)

    @for_all(SERVERS, UTILISATION, SERVICE_RATE, st.floats(0.0, 20.0), st.floats(0.0, 20.0))
    def test_tails_are_probabilities_and_fall_with_the_bound(
        self, servers: int, rho: float, rate: float, bound: float, more: float
    ) -> None:
        queue = (rho * servers * rate, rate, servers)
        for tail in (theory.wait_tail, theory.response_tail):
            assert 0.0 <= tail(*queue, bound + more) <= tail(*queue, bound) * (1.0 + 1e-12) <= 1.0 + 1e-9

    @for_all(SERVERS, UTILISATION, SERVICE_RATE, QUANTILE)
    def test_a_quantile_inverts_its_tail(self, servers: int, rho: float, rate: float, quantile: float) -> None:
        queue = (rho * servers * rate, rate, servers)
        response = theory.response_quantile(*queue, quantile)
        assert theory.response_tail(*queue, response) == pytest.approx(1.0 - quantile, rel=1e-9)
        wait = theory.wait_quantile(*queue, quantile)
        if wait > 0.0:
            assert theory.wait_tail(*queue, wait) == pytest.approx(1.0 - quantile, rel=1e-9)
        else:
            assert theory.wait_tail(*queue, 0.0) <= 1.0 - quantile + 1e-12
        assert wait <= response

    @for_all(SERVERS, UTILISATION)
    def test_response_time_does_not_care_in_what_unit_time_is_told(self, servers: int, rho: float) -> None:
        seconds = theory.response_quantile(rho * servers, 1.0, servers, 0.9)
        assert theory.response_quantile(rho * servers * 60.0, 60.0, servers, 0.9) * 60.0 == pytest.approx(seconds)

    @for_all(st.integers(1, 50), st.floats(0.0, 1.0))
    def test_needing_more_units_is_never_more_likely_met(self, units: int, availability: float) -> None:
        met = [theory.availability_k_of_n(needed, units, availability) for needed in range(units + 1)]
        assert met == sorted(met, reverse=True)
        assert met[0] == 1.0

    @for_all(st.integers(1, 60), st.floats(0.001, 5.0))
    def test_another_repairer_never_harms(self, machines: int, failure_rate: float) -> None:
        up = [theory.availability_machine_repair(machines, r, failure_rate, 1.0) for r in range(1, machines + 1)]
        assert all(fewer <= more + 1e-12 for fewer, more in pairwise(up))


class TestServersForResponse:
    @for_all(st.floats(0.0, 500.0), SERVICE_RATE, st.floats(0.1, 50.0), st.floats(0.01, 0.9999))
    def test_the_answer_suffices_and_one_less_does_not(
        self, load: float, rate: float, services: float, quantile: float
    ) -> None:
        arrival_rate, bound = load * rate, services / rate
        servers = theory.servers_for_response(arrival_rate, rate, bound, quantile, servers_max=600)
        if servers is None:
            assert theory.response_tail(arrival_rate, rate, 600, bound) > (1.0 - quantile) * (1.0 - 1e-9)
            return
        assert theory.response_tail(arrival_rate, rate, servers, bound) <= (1.0 - quantile) * (1.0 + 1e-9)
        if servers > 1:
            assert theory.response_tail(arrival_rate, rate, servers - 1, bound) > (1.0 - quantile) * (1.0 - 1e-9)

    def test_nobody_arriving_needs_one_server(self) -> None:
        assert theory.servers_for_response(0.0, 1.0, bound=10.0, quantile=0.99, servers_max=5) == 1

    def test_a_bound_that_service_alone_breaks_has_no_answer(self) -> None:
        assert theory.servers_for_response(1.0, 1.0, bound=4.6, quantile=0.99, servers_max=10**9) is None

    def test_a_bound_that_service_alone_just_keeps_has_one(self) -> None:
        assert theory.servers_for_response(1.0, 1.0, bound=4.6052, quantile=0.99, servers_max=100) == 7

    def test_a_load_beyond_all_servers_has_no_answer(self) -> None:
        assert theory.servers_for_response(10.0, 1.0, bound=100.0, quantile=0.9, servers_max=10) is None

    def test_numbers_from_numpy_are_as_good_as_any(self) -> None:
        servers = theory.servers_for_response(np.float64(100), np.int64(10), np.float64(0.5), np.float64(0.99), 64)
        assert servers == 12
        assert theory.erlang_b(np.int64(10_000), np.float64(1e-3)) == 0.0


class TestLargeAndExtreme:
    @pytest.mark.parametrize("load", [1e-3, 5_000.0, 9_999.0, 10_000.0, 20_000.0, 1e9])
    def test_ten_thousand_servers_are_no_trouble(self, load: float) -> None:
        assert 0.0 <= theory.erlang_b(10_000, load) <= 1.0
        assert 0.0 <= theory.erlang_c(10_000, load) <= 1.0

    def test_erlang_b_at_ten_thousand_is_what_the_recursion_gives(self) -> None:
        inverse = 1.0
        for k in range(1, 10_001):
            inverse = 1.0 + k / 9_900.0 * inverse
        assert theory.erlang_b(10_000, 9_900.0) == pytest.approx(1.0 / inverse, rel=1e-12)

    def test_a_very_long_bound_neither_overflows_nor_goes_below_zero(self) -> None:
        assert theory.response_tail(0.999, 1.0, 1, bound=1e6) == pytest.approx(0.0, abs=1e-300)
        assert theory.response_tail(9.0, 1.0, 400, bound=1e6) == 0.0

    def test_where_queue_and_service_empty_at_one_pace_the_tail_is_an_erlang_2_mixture(self) -> None:
        waiting = theory.erlang_c(2, 1.0)
        expected = math.exp(-3.0) * (1.0 + waiting * 3.0)
        assert theory.response_tail(1.0, 1.0, 2, bound=3.0) == pytest.approx(expected, rel=1e-14)
        nearly = theory.response_tail(1.0 - 1e-9, 1.0, 2, bound=3.0)
        assert nearly == pytest.approx(expected, rel=1e-8)

    def test_nearly_no_waiting_still_has_a_mean(self) -> None:
        waits = [theory.wait_mean_mdc(load, 1.0, 50) for load in (0.01, 0.1, 1.0, 10.0)]
        assert waits == sorted(waits)
        assert 0.0 < waits[0] < 1e-100

    def test_a_thousand_machines_or_units_do_not_overflow(self) -> None:
        assert theory.availability_machine_repair(1_000, 3, 10.0, 0.1) == pytest.approx(
            3 * 0.1 / 10.0 / 1_000, rel=1e-6
        )
        assert theory.availability_k_of_n(900, 1_000, 0.9) == pytest.approx(0.5, abs=0.03)

    def test_crowds_of_patient_customers_leave_as_the_surplus(self) -> None:
        assert theory.abandonment(200.0, 1.0, 100, patience_rate=0.01) == pytest.approx(0.5, rel=1e-9)

    def test_nobody_abandons_servers_that_are_never_full(self) -> None:
        assert theory.abandonment(1e-3, 1.0, 10_000, patience_rate=1.0) == 0.0


class TestOverload:
    @pytest.mark.parametrize("arrival_rate", [4.0, 4.0000001, 1e6])
    def test_waits_without_end_and_surely(self, arrival_rate: float) -> None:
        assert theory.erlang_c(4, arrival_rate) == 1.0
        assert theory.wait_tail(arrival_rate, 1.0, 4, bound=100.0) == 1.0
        assert theory.response_tail(arrival_rate, 1.0, 4, bound=100.0) == 1.0
        for time in (
            theory.wait_mean(arrival_rate, 1.0, 4),
            theory.wait_quantile(arrival_rate, 1.0, 4, 0.5),
            theory.response_mean(arrival_rate, 1.0, 4),
            theory.response_quantile(arrival_rate, 1.0, 4, 0.5),
            theory.wait_mean_mdc(arrival_rate, 1.0, 4),
            theory.wait_mean_mgc(arrival_rate, 1.0, 4, 0.5),
            theory.wait_mean_mg1(arrival_rate, 1.0, 0.5),
            theory.wait_bound_gg1(arrival_rate, 1.0, 1.0, 0.5),
        ):
            assert time == math.inf

    def test_counts_the_queue_as_endless(self) -> None:
        assert theory.number_mean(2.0, theory.response_mean(2.0, 1.0, 1)) == math.inf


class TestNobodyArrives:
    def test_nobody_waits_and_nothing_is_lost(self) -> None:
        assert theory.erlang_b(3, 0.0) == theory.erlang_c(3, 0.0) == theory.wait_mean(0.0, 1.0, 3) == 0.0
        assert theory.wait_mean_mg1(0.0, 1.0, 2.0) == theory.wait_mean_mdc(0.0, 1.0, 3) == 0.0
        assert theory.wait_mean_mgc(0.0, 1.0, 3, 2.0) == theory.loss(0.0, 1.0, 3, 5) == 0.0
        assert theory.abandonment(0.0, 1.0, 3, 0.5) == theory.wait_quantile(0.0, 1.0, 3, 0.99) == 0.0
        assert theory.number_mean(0.0, math.inf) == 0.0

    def test_the_response_is_the_service(self) -> None:
        assert theory.response_mean(0.0, 2.0, 3) == 0.5
        assert theory.response_quantile(0.0, 2.0, 3, quantile=0.5) == pytest.approx(math.log(2.0) / 2.0)


BAD_CALLS: list[tuple[Callable[[], object], str]] = [
    (lambda: theory.erlang_b(0, 1.0), "servers must be a whole number >= 1, got 0"),
    (lambda: theory.erlang_b(2.5, 1.0), "servers must be a whole number >= 1, got 2.5"),  # type: ignore[arg-type]
    (lambda: theory.erlang_c(2, -1.0), "load must be >= 0 and finite, got -1.0"),
    (lambda: theory.erlang_c(2, math.nan), "load must be >= 0 and finite, got nan"),
    (lambda: theory.wait_mean(-1.0, 1.0, 1), "arrival_rate must be >= 0 and finite, got -1.0"),
    (lambda: theory.wait_mean(math.inf, 1.0, 1), "arrival_rate must be >= 0 and finite, got inf"),
    (lambda: theory.wait_mean(1.0, 0.0, 1), "service_rate must be > 0 and finite, got 0.0"),
    (lambda: theory.wait_tail(1.0, 2.0, 1, -1.0), "bound must be >= 0 and finite, got -1.0"),
    (lambda: theory.response_tail(3.0, 2.0, 1, math.nan), "bound must be >= 0 and finite, got nan"),
    (lambda: theory.wait_quantile(1.0, 2.0, 1, 1.0), "quantile must be >= 0 and < 1, got 1.0"),
    (lambda: theory.response_quantile(1.0, 2.0, 1, 95), "quantile must be >= 0 and < 1, got 95"),
    (lambda: theory.loss(1.0, 2.0, 3, 2), "capacity must be a whole number >= 3, got 2"),
    (lambda: theory.servers_for_response(1.0, 2.0, 1.0, 0.9, 0), "servers_max must be a whole number >= 1, got 0"),
    (lambda: theory.servers_by_square_root(10.0, 0.0), "beta must be > 0 and finite, got 0.0"),
    (lambda: theory.wait_probability_halfin_whitt(-1.0), "beta must be >= 0 and finite, got -1.0"),
    (lambda: theory.wait_mean_mg1(0.5, 1.0, -0.1), "service_scv must be >= 0 and finite, got -0.1"),
    (lambda: theory.wait_mean_mdc(0.5, 0.0, 1), "service_mean must be > 0 and finite, got 0.0"),
    (lambda: theory.wait_mean_mgc(0.5, 1.0, 0, 1.0), "servers must be a whole number >= 1, got 0"),
    (lambda: theory.wait_bound_gg1(0.0, 1.0, 1.0, 1.0), "arrival_rate must be > 0 and finite, got 0.0"),
    (lambda: theory.abandonment(1.0, 1.0, 1, 0.0), "patience_rate must be > 0 and finite, got 0.0"),
    (lambda: theory.availability_machine_repair(0, 1, 1.0, 1.0), "machines must be a whole number >= 1, got 0"),
    (lambda: theory.availability_k_of_n(4, 3, 0.9), "needed must be a whole number from 0 to units = 3, got 4"),
    (lambda: theory.availability_k_of_n(2, 3, 1.1), "availability must be from 0 to 1, got 1.1"),
    (lambda: theory.number_mean(1.0, math.nan), "time_mean must be >= 0, got nan"),
]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS, ids=[message for _, message in BAD_CALLS])
def test_what_describes_no_queue_is_refused_by_name_and_value(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match="must be") as raised:
        call()
    assert str(raised.value) == message
