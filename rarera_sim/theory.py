"""Queueing and reliability theory: what the model must agree with, and what policies compute.

One set of names throughout, beside the symbol that the formulas use:

    arrival_rate  lambda  1/s     customers arriving, >= 0
    service_rate  mu      1/s     customers one busy server finishes, > 0
    service_mean  1/mu    s       mean time of one service, > 0
    servers       c       -       identical servers with one common queue, >= 1
    load          a       erlang  lambda / mu: the mean number of busy servers where nobody is lost, >= 0
    utilisation   rho     -       a / c
    service_scv   cs2     -       squared coefficient of variation of the service time: variance / mean^2
    bound         t       s       a time not to be exceeded, >= 0

*Wait* is the time in the queue, *response* is wait plus service. Service is in order of arrival.

**One rule for overload.** A queue with rho >= 1 grows without end, and the functions say so: its mean wait and its
quantiles are `inf`, its probabilities of waiting or of exceeding a bound are 1. `ValueError` is for numbers that
describe no queue at all: a negative rate, NaN, half a server.

Example: 9 customers/s, servers that finish 1/s, and 95 % of the responses wanted within 5 s.

>>> servers_for_response(9.0, 1.0, bound=5.0, quantile=0.95, servers_max=100)
10
>>> round(response_quantile(9.0, 1.0, 10, quantile=0.95), 3)
4.361
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Iterable
from itertools import accumulate
from statistics import NormalDist

_NEGLIGIBLE = 1e-17  # below half a unit in the last place of 1.0: adding it to a sum changes nothing
_NORMAL = NormalDist()


# Erlang: how likely is it to be refused, to wait?


def erlang_b(servers: int, load: float) -> float:
    """Probability that all servers are busy where nobody may wait (M/M/c/c, M/G/c/c), so a customer is lost.

        1 / B = sum over k = 0..c of c! / ((c - k)! a^k)

    This is the textbook recursion 1/B(c) = 1 + (c/a) / B(c-1) unrolled from its far end: every term is positive,
    so nothing cancels, and near a = c only about sqrt(70 c) of the terms count: less than 0.1 ms at c = 10,000.

    Examples
    --------
    >>> round(erlang_b(10, 9.0), 9)
    0.167963226

    References
    ----------
    Jagerman (1974), Some properties of the Erlang loss function, Bell System Technical Journal 53(3), 525-551.
    """
    _check_count("servers", servers)
    _check_at_least_zero("load", load)
    if load == 0.0:
        return 0.0
    left, load = int(servers), float(load)  # numpy's scalars would be slow here, and warn instead of overflowing
    total = term = 1.0
    while left > 0 and _NEGLIGIBLE * total < term < math.inf:
        term *= left / load
        total += term
        left -= 1
    return 1.0 / total  # 0.0 where the sum overflowed: a loss of less than 1e-308


def erlang_c(servers: int, load: float) -> float:
    """Probability that a customer has to wait (M/M/c).

        C = B / (1 - rho (1 - B))

    Examples
    --------
    >>> round(erlang_c(10, 9.0), 9)
    0.668731524
    >>> erlang_c(10, 10.0)
    1.0

    References
    ----------
    Cooper (1981), Introduction to Queueing Theory, 2nd ed., section 3.5.
    """
    loss = erlang_b(servers, load)
    return 1.0 if load >= servers else _wait_probability(loss, load / servers)


# M/M/c: Poisson arrivals, exponential service


def utilisation(arrival_rate: float, service_rate: float, servers: int) -> float:
    """Work arriving over work that can be done, rho: the busy share of the servers while below 1.

    Examples
    --------
    >>> utilisation(9.0, 1.0, 10)
    0.9
    """
    _check_at_least_zero("arrival_rate", arrival_rate)
    _check_above_zero("service_rate", service_rate)
    _check_count("servers", servers)
    return arrival_rate / service_rate / servers


def wait_mean(arrival_rate: float, service_rate: float, servers: int) -> float:
    """Mean wait in seconds (M/M/c).

        Wq = C / (c mu - lambda)

    Examples
    --------
    >>> round(wait_mean(0.8, 1.0, 1), 9)
    4.0
    >>> wait_mean(1.0, 1.0, 1)
    inf

    References
    ----------
    Gross, Shortle, Thompson, Harris (2008), Fundamentals of Queueing Theory, 4th ed., section 2.3.
    """
    waiting, spare = _erlang_state(arrival_rate, service_rate, servers)
    return waiting / spare if spare > 0.0 else math.inf


def wait_tail(arrival_rate: float, service_rate: float, servers: int, bound: float) -> float:
    """Probability that the wait exceeds `bound` seconds (M/M/c).

        P(wait > t) = C exp(-(c mu - lambda) t)

    Examples
    --------
    >>> round(wait_tail(9.0, 1.0, 10, bound=2.0), 6)
    0.090503

    References
    ----------
    Gross, Shortle, Thompson, Harris (2008), section 2.3.
    """
    waiting, spare = _erlang_state(arrival_rate, service_rate, servers)
    _check_at_least_zero("bound", bound)
    return waiting * math.exp(-spare * bound) if spare > 0.0 else 1.0


def wait_quantile(arrival_rate: float, service_rate: float, servers: int, quantile: float) -> float:
    """Wait in seconds that the share `quantile`, in [0, 1), of the customers do not exceed (M/M/c).

        t = ln(C / (1 - q)) / (c mu - lambda),   0 where q <= 1 - C

    Examples
    --------
    >>> round(wait_quantile(9.0, 1.0, 10, quantile=0.95), 6)
    2.59336
    >>> wait_quantile(9.0, 1.0, 10, quantile=0.3)
    0.0
    """
    waiting, spare = _erlang_state(arrival_rate, service_rate, servers)
    _check_quantile(quantile)
    if spare <= 0.0:
        return math.inf
    return math.log(waiting / (1.0 - quantile)) / spare if waiting > 1.0 - quantile else 0.0


def wait_tail_transient(
    arrival_rate: float, service_rate: float, servers: int, bound: float, time: float, variability: float = 2.0
) -> float:
    """Probability that whoever arrives `time` seconds after an empty start waits longer than `bound` seconds.

        P(W(t) > x) = 1 - Phi((x - m t) / (s sqrt t)) + exp(2 m x / s^2) Phi((-x - m t) / (s sqrt t))
        m = rho - 1,   s^2 = max(1, rho) variability / (c mu)

    The wait as Brownian motion with drift, reflected at 0. Unlike the formulas of the steady state it also tells how
    long an overload (rho >= 1) takes to be felt. After a long time below it, the M/M/c tail without its factor C is
    left: idle servers are not known to it.

    Parameters
    ----------
    time
        Seconds; `math.inf` for the steady state.
    variability
        Squared coefficients of variation of the gaps and of the service times, added: 2 for M/M/c.

    Examples
    --------
    Twice the load that ten servers can bear is felt by few after two seconds, and by most after four.

    >>> [round(wait_tail_transient(20.0, 1.0, 10, bound=3.0, time=time), 3) for time in (2.0, 3.0, 4.0)]
    [0.169, 0.571, 0.837]

    References
    ----------
    Harrison (1985), Brownian Motion and Stochastic Flow Systems, section 1.8.
    """
    rho = utilisation(arrival_rate, service_rate, servers)
    _check_at_least_zero("bound", bound)
    _check_above_zero("variability", variability)
    if not time > 0.0:
        raise ValueError(f"time must be > 0 s, got {time!r}")
    drift = rho - 1.0
    variance = max(1.0, rho) * variability / (servers * service_rate)
    power = 2.0 * drift * bound / variance
    if time == math.inf:
        return math.exp(min(0.0, power))
    deviation = math.sqrt(variance * time)
    place = (bound + drift * time) / deviation
    if place > 8.0:
        # exp(power) may overflow where the tail vanishes, so the product is formed in logarithms there.
        reflected = math.exp(min(0.0, power - place**2 / 2.0)) / (place * math.sqrt(2.0 * math.pi))
    else:
        reflected = math.exp(power) * _normal_tail(place)
    return min(1.0, _normal_tail((bound - drift * time) / deviation) + reflected)


def response_mean(arrival_rate: float, service_rate: float, servers: int) -> float:
    """Mean response in seconds (M/M/c): mean wait plus 1 / mu.

    Examples
    --------
    >>> round(response_mean(0.8, 1.0, 1), 9)
    5.0
    """
    return wait_mean(arrival_rate, service_rate, servers) + 1.0 / service_rate


def response_tail(arrival_rate: float, service_rate: float, servers: int, bound: float) -> float:
    """Probability that the response exceeds `bound` seconds (M/M/c).

        P(response > t) = exp(-mu t) + C mu (exp(-mu t) - exp(-s t)) / (s - mu),   s = c mu - lambda

    Examples
    --------
    >>> round(response_tail(9.0, 1.0, 10, bound=5.0), 6)
    0.029267

    References
    ----------
    Gross, Shortle, Thompson, Harris (2008), section 2.3, the sojourn time of M/M/c.
    """
    waiting, spare = _erlang_state(arrival_rate, service_rate, servers)
    _check_at_least_zero("bound", bound)
    return _response_tail(waiting, spare, service_rate, bound) if spare > 0.0 else 1.0


def response_quantile(arrival_rate: float, service_rate: float, servers: int, quantile: float) -> float:
    """Response in seconds that the share `quantile`, in [0, 1), of the customers do not exceed (M/M/c).

    The inverse of `response_tail`, by bisection to the last bit.

    Examples
    --------
    >>> round(response_quantile(0.8, 1.0, 1, quantile=0.95), 6)
    14.978661
    """
    waiting, spare = _erlang_state(arrival_rate, service_rate, servers)
    _check_quantile(quantile)
    if spare <= 0.0:
        return math.inf
    low, high = 0.0, 1.0 / service_rate
    while _response_tail(waiting, spare, service_rate, high) > 1.0 - quantile:
        low, high = high, 2.0 * high
    while low < (middle := (low + high) / 2.0) < high:
        if _response_tail(waiting, spare, service_rate, middle) > 1.0 - quantile:
            low = middle
        else:
            high = middle
    return high if quantile > 0.0 else 0.0


def loss(arrival_rate: float, service_rate: float, servers: int, capacity: int) -> float:
    """Probability that a customer finds the system full and is lost (M/M/c/K).

        L(c) = B,   L(k) = rho L(k-1) / (1 + rho L(k-1))   for k = c+1..K

    Parameters
    ----------
    capacity
        K, places in service and in the queue together, >= servers. K = c gives Erlang B.

    Examples
    --------
    >>> round(loss(9.0, 1.0, 10, capacity=20), 10)
    0.0295100616

    References
    ----------
    Gross, Shortle, Thompson, Harris (2008), section 2.5; the recursion follows from p(k) = rho p(k-1).
    """
    rho = utilisation(arrival_rate, service_rate, servers)
    _check_count("capacity", capacity, least=servers)
    lost = erlang_b(servers, arrival_rate / service_rate)
    for _ in range(capacity - servers):
        lost = rho * lost / (1.0 + rho * lost)
    return lost


# How many servers?


def servers_for_response(
    arrival_rate: float, service_rate: float, bound: float, quantile: float, servers_max: int
) -> int | None:
    """Smallest number of servers that keep up and hold P(response > bound) <= 1 - quantile (M/M/c, Erlang C).

    `None` where no number up to `servers_max` will do: too few, or the service alone takes too long. As the answer is
    never 0, `servers_for_response(...) or servers_max` means "everything there is". About 3 us at a load of 10 erlang,
    0.2 ms at 10,000: fit to be asked at every control step.

    Parameters
    ----------
    bound
        Response not to be exceeded, s.
    quantile
        Share of the responses that must be within the bound, in [0, 1).

    Examples
    --------
    >>> servers_for_response(100.0, 10.0, bound=0.5, quantile=0.99, servers_max=64)
    12
    >>> servers_for_response(100.0, 10.0, bound=0.1, quantile=0.99, servers_max=64) is None
    True
    """
    load = float(utilisation(arrival_rate, service_rate, 1))
    _check_at_least_zero("bound", bound)
    _check_quantile(quantile)
    _check_count("servers_max", servers_max)
    unmet_max = 1.0 - quantile
    if load >= servers_max or math.exp(-service_rate * bound) > unmet_max:
        return None
    servers = math.floor(load) + 1  # the fewest that keep up
    refused = erlang_b(servers, load)
    # The tail falls with every server and is there within some sqrt(load) steps of Erlang B's recursion.
    while servers <= servers_max:
        waiting = _wait_probability(refused, load / servers)
        if _response_tail(waiting, servers * service_rate - arrival_rate, service_rate, bound) <= unmet_max:
            return servers
        servers += 1
        refused = load * refused / (servers + load * refused)
    return None


def servers_by_square_root(load: float, beta: float) -> int:
    """Square-root staffing: the load plus a margin that grows with its square root only.

        c = ceil(a + beta sqrt(a)),   at least 1

    Parameters
    ----------
    beta
        Quality of service, dimensionless, > 0: `wait_probability_halfin_whitt(beta)` of the customers wait.

    Examples
    --------
    >>> servers_by_square_root(10.0, beta=1.0)
    14

    References
    ----------
    Halfin, Whitt (1981), Heavy-traffic limits for queues with many exponential servers, Operations Research 29(3).
    """
    _check_at_least_zero("load", load)
    _check_above_zero("beta", beta)
    return max(1, math.ceil(load + beta * math.sqrt(load)))


def wait_probability_halfin_whitt(beta: float) -> float:
    """Probability of waiting under square-root staffing, the limit of Erlang C for large systems.

        P(wait) = 1 / (1 + beta Phi(beta) / phi(beta))

    Examples
    --------
    >>> round(wait_probability_halfin_whitt(1.0), 4)
    0.2234
    >>> round(erlang_c(10_100, 10_000.0), 4)
    0.2248

    References
    ----------
    Halfin, Whitt (1981), Operations Research 29(3), 567-588, proposition 1.
    """
    _check_at_least_zero("beta", beta)
    density = _NORMAL.pdf(beta)
    return density / (density + beta * _NORMAL.cdf(beta))


# General service times: mean waits in seconds


def wait_mean_mg1(arrival_rate: float, service_mean: float, service_scv: float) -> float:
    """Mean wait in seconds at one server with any service time (M/G/1), exact: Pollaczek-Khinchine.

        Wq = rho / (1 - rho) * (1 + cs2) / 2 * service_mean

    Examples
    --------
    >>> round(wait_mean_mg1(0.8, 1.0, service_scv=0.0), 12), round(wait_mean_mg1(0.8, 1.0, service_scv=4.0), 12)
    (2.0, 10.0)

    References
    ----------
    Kleinrock (1975), Queueing Systems, volume 1, section 5.7.
    """
    rho = _load(arrival_rate, service_mean)
    _check_at_least_zero("service_scv", service_scv)
    return rho / (1.0 - rho) * (1.0 + service_scv) / 2.0 * service_mean if rho < 1.0 else math.inf


def wait_mean_mdc(arrival_rate: float, service_mean: float, servers: int) -> float:
    """Mean wait in seconds where every service takes the same time (M/D/c), exact.

    Seen once per service time D, the queue is Q' = max(0, Q + A - c) with A ~ Poisson(a), whence (Spitzer)

        lambda Wq = sum over n >= 1 of E[max(0, A_n - n c)] / n,   A_n ~ Poisson(n a)

    or, with z_k the c - 1 roots of z^c = exp(a (z - 1)) inside the unit circle,

        lambda Wq = a / (2 (c - a)) - (c - 1 + a) / 2 + sum over k = 1..c-1 of 1 / (1 - z_k)

    The sum keeps full accuracy for waits that are next to nothing, the roots are fast near saturation: each is used
    where it is good.

    Examples
    --------
    >>> round(wait_mean_mdc(9.0, 1.0, 10), 10)
    0.3445820504

    References
    ----------
    Crommelin (1932), Post Office Electrical Engineers Journal 25, 41-50, for the queue seen every D seconds.
    Janssen, van Leeuwaarden (2005), Analytic computation schemes for the discrete-time bulk service queue,
    Queueing Systems 50, 141-163, for sum and roots.
    """
    load = _load(arrival_rate, service_mean)
    _check_count("servers", servers)
    if load >= servers:
        return math.inf
    rho = load / servers
    if rho == 0.0:
        return 0.0
    decay = servers * (rho - 1.0 - math.log(rho))  # the n-th term of the sum falls like exp(-decay n)
    queue = _queue_mdc_by_sum(load, servers) if decay > 0.5 else _queue_mdc_by_roots(load, servers)
    return queue / arrival_rate


def wait_mean_mgc(arrival_rate: float, service_mean: float, servers: int, service_scv: float) -> float:
    """Mean wait in seconds at many servers with any service time (M/G/c), an **approximation** by Kimura.

        Wq = (1 + cs2) / (2 cs2 / Wq(M/M/c) + (1 - cs2) / Wq(M/D/c))

    Exact for cs2 = 0, for cs2 = 1 and for one server; 0.1 % off for Erlang-2 and 0.9 % for a hyperexponential
    service with cs2 = 4, both at 10 servers and rho = 0.9. No two-moment formula can be exact.

    Examples
    --------
    >>> round(wait_mean_mgc(9.0, 1.0, 10, service_scv=0.5), 4)  # 0.5085 for Erlang-2
    0.5091

    References
    ----------
    Kimura (1994), Approximations for multi-server queues: system interpolations, Queueing Systems 17, 347-382.
    """
    load = _load(arrival_rate, service_mean)
    _check_count("servers", servers)
    _check_at_least_zero("service_scv", service_scv)
    if load >= servers:
        return math.inf
    exponential = wait_mean(arrival_rate, 1.0 / service_mean, servers)
    constant = wait_mean_mdc(arrival_rate, service_mean, servers)
    if constant == 0.0:  # nobody arrives, or so few that a float cannot tell
        return 0.0
    # The formula times Wq(M/D/c) above and below: the reciprocal of a very short wait would overflow.
    return constant * (1.0 + service_scv) / (2.0 * service_scv * (constant / exponential) + 1.0 - service_scv)


def wait_bound_gg1(arrival_rate: float, service_mean: float, arrival_scv: float, service_scv: float) -> float:
    """Upper bound of the mean wait in seconds for any arrivals and services (G/G/1): Kingman.

        Wq <= (ca2 / lambda + lambda service_mean^2 cs2) / (2 (1 - rho))

    Parameters
    ----------
    arrival_scv
        ca2, squared coefficient of variation of the times between arrivals, >= 0; 1 for Poisson arrivals.

    Examples
    --------
    >>> round(wait_bound_gg1(0.8, 1.0, arrival_scv=1.0, service_scv=1.0), 6)  # M/M/1: 4
    5.125

    References
    ----------
    Kingman (1962), Some inequalities for the queue GI/G/1, Biometrika 49(3/4), 315-324.
    """
    rho = _load(arrival_rate, service_mean)
    _check_above_zero("arrival_rate", arrival_rate)
    _check_at_least_zero("arrival_scv", arrival_scv)
    _check_at_least_zero("service_scv", service_scv)
    variances = arrival_scv / arrival_rate + rho * service_mean * service_scv
    return variances / (2.0 * (1.0 - rho)) if rho < 1.0 else math.inf


# Patience, failure, repair


def abandonment(arrival_rate: float, service_rate: float, servers: int, patience_rate: float) -> float:
    """Probability that a customer gives up waiting (Erlang A, M/M/c+M). Never unstable: the impatient leave.

        P(abandon) = theta E[queue] / lambda;   by Little, the mean wait is P(abandon) / theta seconds

    with p(c+j) = p(c) times the product over i = 1..j of lambda / (c mu + i theta), and p(0) + ... + p(c) = p(c) / B.
    In overload the sum takes some lambda / theta steps.

    Parameters
    ----------
    patience_rate
        theta, 1/s: a waiting customer gives up after an exponential time of mean 1 / theta.

    Examples
    --------
    >>> round(abandonment(9.5, 1.0, 10, patience_rate=0.5), 10)
    0.084452009

    References
    ----------
    Palm (1957), Research on telephone traffic carried by full availability groups, Tele 1.
    Garnett, Mandelbaum, Reiman (2002), Designing a call center with impatient customers, MSOM 4(3), 208-227.
    """
    load = utilisation(arrival_rate, service_rate, 1)
    _check_above_zero("patience_rate", patience_rate)
    refused = erlang_b(servers, load)
    if refused == 0.0:
        return 0.0
    weight, total, queue = 1.0, 1.0 / refused, 0.0
    ratio, waiting = math.inf, 0
    while ratio >= 1.0 or waiting * weight > _NEGLIGIBLE * queue * (1.0 - ratio):
        waiting += 1
        ratio = arrival_rate / (servers * service_rate + waiting * patience_rate)
        weight *= ratio
        total += weight
        queue += waiting * weight
        if queue > 1e250:  # only their proportions matter
            weight, total, queue = weight * 1e-250, total * 1e-250, queue * 1e-250
    return patience_rate * queue / total / arrival_rate


def availability_machine_repair(machines: int, repairers: int, failure_rate: float, repair_rate: float) -> float:
    """Mean share of the machines that are up where few repairers serve many machines (a finite-source queue).

        p(n+1) / p(n) = (N - n) lambda / (min(n+1, R) mu),   n machines being down
        availability  = 1 - E[n] / N

    Parameters
    ----------
    machines, repairers
        N and R, >= 1. With R >= N nobody waits for repair, and availability is mu / (lambda + mu).
    failure_rate, repair_rate
        lambda of one machine that is up, mu of one repairer at work, 1/s.

    Examples
    --------
    >>> round(availability_machine_repair(4, 1, 0.1, 1.0), 10)
    0.8833419555

    References
    ----------
    Gross, Shortle, Thompson, Harris (2008), section 2.7, finite-source queues.
    """
    _check_count("machines", machines)
    _check_count("repairers", repairers)
    _check_at_least_zero("failure_rate", failure_rate)
    _check_above_zero("repair_rate", repair_rate)
    if failure_rate == 0.0:
        return 1.0
    log_ratio = math.log(failure_rate) - math.log(repair_rate)
    shares = _shares(math.log((machines - down) / min(down + 1, repairers)) + log_ratio for down in range(machines))
    return math.fsum((machines - down) * share for down, share in enumerate(shares)) / machines


def availability_k_of_n(needed: int, units: int, availability: float) -> float:
    """Probability that at least `needed` of `units` independent units are up, each with probability `availability`.

        sum over j = k..n of (n choose j) A^j (1 - A)^(n - j)

    Examples
    --------
    >>> round(availability_k_of_n(2, 3, 0.99), 6)
    0.999702

    References
    ----------
    Barlow, Proschan (1975), Statistical Theory of Reliability and Life Testing, section 2.2.
    """
    _check_count("units", units)
    if not (hasattr(needed, "__index__") and 0 <= needed <= units):
        raise ValueError(f"needed must be a whole number from 0 to units = {units!r}, got {needed!r}")
    if not 0.0 <= availability <= 1.0:
        raise ValueError(f"availability must be from 0 to 1, got {availability!r}")
    if needed == 0 or availability == 1.0:
        return 1.0
    if availability == 0.0:
        return 0.0
    log_odds = math.log(availability) - math.log1p(-availability)
    shares = _shares(math.log((units - up) / (up + 1)) + log_odds for up in range(units))
    return min(1.0, math.fsum(shares[needed:]))


def number_mean(arrival_rate: float, time_mean: float) -> float:
    """Mean number present from the mean time spent, in any stable system: Little's law, L = lambda W.

    Parameters
    ----------
    time_mean
        Mean time in whatever part of the system is meant, s: the response counts the customers in it, the wait those
        in its queue.

    Examples
    --------
    >>> round(number_mean(9.0, response_mean(9.0, 1.0, 10)), 6)
    15.018584

    References
    ----------
    Little (1961), A proof for the queuing formula L = lambda W, Operations Research 9(3), 383-387.
    """
    _check_at_least_zero("arrival_rate", arrival_rate)
    if not time_mean >= 0.0:
        raise ValueError(f"time_mean must be >= 0, got {time_mean!r}")
    return arrival_rate * time_mean if arrival_rate > 0.0 else 0.0


# What the formulas above share


def _load(arrival_rate: float, service_mean: float) -> float:
    _check_at_least_zero("arrival_rate", arrival_rate)
    _check_above_zero("service_mean", service_mean)
    return arrival_rate * service_mean


def _erlang_state(arrival_rate: float, service_rate: float, servers: int) -> tuple[float, float]:
    """P(wait) and the rate c mu - lambda at which a queue empties, which is <= 0 in overload."""
    rho = utilisation(arrival_rate, service_rate, servers)
    waiting = erlang_c(servers, arrival_rate / service_rate)
    return waiting, servers * service_rate - arrival_rate if rho < 1.0 else 0.0


def _wait_probability(refused: float, rho: float) -> float:
    return refused / (1.0 - rho * (1.0 - refused))


def _response_tail(waiting: float, spare: float, service_rate: float, bound: float) -> float:
    """`response_tail` in a form that neither cancels where spare and service_rate are near nor overflows."""
    distance = abs(spare - service_rate)
    spread = -math.expm1(-distance * bound) / distance if distance > 0.0 else bound
    return (
        math.exp(-service_rate * bound) + waiting * service_rate * math.exp(-min(spare, service_rate) * bound) * spread
    )


def _queue_mdc_by_sum(load: float, servers: int) -> float:
    queue, n, term = 0.0, 0, math.inf
    while term > _NEGLIGIBLE * queue:
        n += 1
        mean, most = n * load, n * servers
        excess, count = 1.0, most + 1  # E[max(0, A_n - most)] in units of P(A_n = most + 1)
        weight = 1.0
        while (weight := weight * mean / (count + 1)) * (count + 1 - most) > _NEGLIGIBLE * excess:
            count += 1
            excess += weight * (count - most)
        term = excess * math.exp((most + 1) * math.log(mean) - mean - math.lgamma(most + 2)) / n
        queue += term
    return queue


def _queue_mdc_by_roots(load: float, servers: int) -> float:
    rho = load / servers
    inverses = []
    for k in range(1, servers // 2 + 1):  # the roots come in conjugate pairs, the one with k = c / 2 alone
        turn = cmath.exp(2j * math.pi * k / servers)
        root, error = 0j, math.inf
        while True:  # Newton on z = turn exp(rho (z - 1)), until rounding stops it
            image = turn * cmath.exp(rho * (root - 1.0))
            if abs(root - image) >= error:
                break
            error = abs(root - image)
            root -= (root - image) / (1.0 - rho * image)
        inverses.append((1.0 if 2 * k == servers else 2.0) * (1.0 / (1.0 - root)).real)
    return math.fsum([load / (2.0 * (servers - load)), -(servers - 1 + load) / 2.0, *inverses])


def _shares(log_ratios: Iterable[float]) -> list[float]:
    """Stationary probabilities of the states 0, 1, ... of a birth-death chain from log(p(n+1) / p(n)).

    Logarithms, because the products of ratios overflow from about a hundred machines on.
    """
    logs = list(accumulate(log_ratios, initial=0.0))
    most = max(logs)
    weights = [math.exp(log - most) for log in logs]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def _normal_tail(z: float) -> float:
    """P(Z > z) of the standard normal distribution."""
    return math.erfc(z / math.sqrt(2.0)) / 2.0


def _check_above_zero(name: str, value: float) -> None:
    if not 0.0 < value < math.inf:
        raise ValueError(f"{name} must be > 0 and finite, got {value!r}")


def _check_at_least_zero(name: str, value: float) -> None:
    if not 0.0 <= value < math.inf:
        raise ValueError(f"{name} must be >= 0 and finite, got {value!r}")


def _check_count(name: str, value: int, least: int = 1) -> None:
    if not (hasattr(value, "__index__") and value >= least):
        raise ValueError(f"{name} must be a whole number >= {least}, got {value!r}")


def _check_quantile(quantile: float) -> None:
    if not 0.0 <= quantile < 1.0:
        raise ValueError(f"quantile must be >= 0 and < 1, got {quantile!r}")
