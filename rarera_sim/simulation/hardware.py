"""What a replica runs on: how fast, how soon, at what price, how often it fails."""

from __future__ import annotations

from rarera_sim.simulation.quantities import Money, Name, Positive, PositiveSeconds, Seconds, Settings


class Hardware(Settings, frozen=True, kw_only=True):
    """One kind of machine.

    Parameters
    ----------
    name
        As in data/hardware.toml, where the price's source and date stand.
    price_per_hour
        US dollars per replica-hour, billed per second from the request to the release: starting, repairing and
        draining are paid for.
    start_up
        Seconds from the request until a replica is ready.
    speed
        Work per second relative to the hardware that service times are stated for.
    """

    name: Name = "generic"
    price_per_hour: Money = 0.0416
    start_up: Seconds = 60.0
    speed: Positive = 1.0


class Crashes(Settings, frozen=True, kw_only=True):
    """How processors fail.

    A processor that crashes loses what it was working on. A health check notices after `detection_delay`; only then
    is the work known to be lost, and the processor started again, which takes the hardware's `start_up`.

    Parameters
    ----------
    mtbf
        Mean running time between the crashes of one processor, seconds, exponential. None: none crashes by chance.
    at
        Moments, in seconds since the run began, at which the processor in slot 1 crashes whatever chance does.
    detection_delay
        Seconds until a crash is noticed.
    """

    mtbf: PositiveSeconds | None = None
    at: tuple[Seconds, ...] = ()
    detection_delay: Seconds = 10.0
