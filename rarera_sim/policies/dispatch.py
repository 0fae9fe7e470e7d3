"""How events find a replica: the names that a `Decision` may give, and what each means. The cluster does it."""

from __future__ import annotations

DISPATCHES: dict[str, str] = {
    "fifo": "one queue for all: whoever is free takes the event that has waited longest",
    "round-robin": "each in turn gets one, whatever it has",
    "random": "any, with equal chance",
    "jsq": "join the shortest queue",
    "power-of-two": "the shorter of two queues chosen by chance",
    "least-work": "the queue that will be done first, by learned service times",
    "sjf": "one queue for all, the shortest expected service first, by learned service times",
    "edf": "one queue for all, the earliest deadline first",
    "by-key": "always the same replica for the same stream",
    "hedged": "a copy to a second replica where the first takes long; the faster counts",
}
"""The names of `Decision.dispatch`.

At 16 servers, a utilisation of .9, a service time of mean 1 and squared coefficient of variation .5, the 99 % response
is 4.1 with one queue for all, 5.1 with the shortest queue, 7.5 with the shorter of two, 14.7 in turn, 39.9 at random.
"""
