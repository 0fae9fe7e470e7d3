"""The events that benchmarks are made of: flights, as the main job has them, of about 190 bytes each."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from rarera_sim.core.event import Event

START = 1_357_035_000 * 10**9
STREAMS = 1_000
SOURCES = 20
AIRPORTS = ("EWR", "JFK", "LGA")
CARRIERS = ("UA", "B6", "EV", "DL", "AA", "MQ", "US", "WN")


def flights(count: int, *, first: int = 1) -> Iterator[Event]:
    """Events number `first` and on: streams take turns, as where many devices report; one event a millisecond.

    >>> [event.stream for event in flights(2)], [event.sequence for event in flights(2, first=21)]
    (['EWR/UA0000', 'JFK/B60001'], [2, 2])
    """
    random = Random(first)
    for number in range(first - 1, first - 1 + count):
        flight = number % STREAMS
        data = {
            "carrier": CARRIERS[flight % 8],
            "flight": flight,
            "tail": f"N{10000 + flight}",
            "seats": 149 + flight % 3,
            "destination": ("IAH", "MIA", "ORD", "ATL", "LAX")[flight % 5],
            "distance_mi": 200 + flight,
            "air_time_min": random.randrange(40, 400),
            "delay_min": random.randrange(-20, 120),
            "speed": round(random.uniform(300, 500), 3),
        }
        yield Event(
            f"{AIRPORTS[flight % 3]}/{CARRIERS[flight % 8]}{flight:04d}",
            ("departed", "arrived")[number // STREAMS % 2],
            data,
            source=f"gate-{number % SOURCES}",
            sequence=number // SOURCES + 1,
            time=START + number * 1_000_000 + random.randrange(1_000_000),
        )
