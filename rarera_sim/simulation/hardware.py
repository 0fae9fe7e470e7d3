"""What a replica runs on: how fast, how soon, at what price, how often and for how long it fails."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from rarera_sim.simulation.quantities import (
    Count,
    Money,
    Name,
    NonNegative,
    Positive,
    PositiveSeconds,
    Seconds,
    Settings,
    Share,
)


class Hardware(Settings, frozen=True, kw_only=True):
    """One kind of machine.

    Parameters
    ----------
    name
        As in data/hardware.toml, where the price's source and date stand.
    price_per_hour
        US dollars per replica-hour from the request to the release: starting, repairing and draining are paid for.
    start_up
        Seconds from the request until a replica is ready.
    speed
        Work per second relative to the hardware that service times are stated for.
    threads
        Events that a replica works on at once.
    contention
        What threads cost each other: a service that starts beside n others takes (1 + n * contention) times as long.
    warm_up, warm_up_speed
        A replica that has just started has this share of its speed, and all of it after so many seconds, linearly:
        caches fill, code is compiled.
    wake_up
        Seconds from sleep until ready. None: replicas of this kind cannot sleep.
    price_asleep_per_hour
        US dollars per replica-hour asleep: its disk and its memory's image.
    spot
        Cheap because its owner may take it back, see `Spot`.
    billing_period, billing_min
        A lease is billed in whole periods of so many seconds, and for so many seconds at least. 0: as it was.
    idle_w, busy_w, asleep_w
        Watts of our share of the machine; starting counts as idle.
    """

    name: Name = "generic"
    price_per_hour: Money = 0.0416
    start_up: Seconds = 60.0
    speed: Positive = 1.0
    threads: Count = 1
    contention: NonNegative = 0.0
    warm_up: Seconds = 0.0
    warm_up_speed: Share = 1.0
    wake_up: Seconds | None = None
    price_asleep_per_hour: Money = 0.0
    spot: bool = False
    billing_period: Seconds = 0.0
    billing_min: Seconds = 0.0
    idle_w: NonNegative = 0.0
    busy_w: NonNegative = 0.0
    asleep_w: NonNegative = 0.0


class PoolSettings(Settings, frozen=True, kw_only=True):
    """Replicas of one kind in one zone: the unit in which policies ask for hardware.

    Parameters
    ----------
    name
        What a decision calls it.
    hardware
        What its replicas run on.
    zone
        Fails as one, see `Outages`.
    replicas_max
        Most replicas that it has, asleep ones included.
    asleep
        Replicas asleep when the run begins.
    """

    name: Name
    hardware: Hardware
    zone: Name = "a"
    replicas_max: Count = 1000
    asleep: int = 0


class Component(Settings, frozen=True, kw_only=True):
    """A part whose failure takes its replica down: processor, disk, network.

    Parameters
    ----------
    name
        What incidents call it.
    mtbf
        Mean running time between its failures, seconds, exponential.
    mttr
        Mean time of its repair from the moment it is noticed, seconds, exponential; the start-up follows.
    """

    name: Name
    mtbf: PositiveSeconds
    mttr: Seconds = 0.0


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
    check_period, check_failures
        Instead of `detection_delay`, if the period is not 0: health checks every so many seconds since the run began,
        of which so many have to fail in a row.
    components
        Parts that fail each on its own, with repairs that take their time.
    attempts_max
        An event whose processors have failed so often is not tried again: it becomes a dead letter. None: always.
    """

    mtbf: PositiveSeconds | None = None
    at: tuple[Seconds, ...] = ()
    detection_delay: Seconds = 10.0
    check_period: Seconds = 0.0
    check_failures: Count = 1
    components: tuple[Component, ...] = ()
    attempts_max: Count | None = None


class Slowness(Settings, frozen=True, kw_only=True):
    """Replicas that go on, but slowly: the failure that no health check sees.

    Parameters
    ----------
    mtbf
        Mean time between the slow spells of one slot, seconds, exponential. None: there are none.
    duration
        Mean length of a spell, seconds, exponential.
    factor
        Services that start in a spell take so many times as long.
    """

    mtbf: PositiveSeconds | None = None
    duration: PositiveSeconds = 60.0
    factor: Positive = 5.0


class Outage(Settings, frozen=True, kw_only=True):
    """A zone is gone from `at` for `duration` seconds: all its replicas crash, none starts."""

    zone: Name
    at: Seconds
    duration: PositiveSeconds


class Outages(Settings, frozen=True, kw_only=True):
    """Failures of whole zones, which replicas within one cannot cover for.

    Parameters
    ----------
    mtbf
        Mean time between the outages of one zone, seconds, exponential. None: none by chance.
    duration
        Mean length of an outage by chance, seconds, exponential.
    at
        Outages that happen whatever chance does.
    """

    mtbf: PositiveSeconds | None = None
    duration: PositiveSeconds = 600.0
    at: tuple[Outage, ...] = ()


class Spot(Settings, frozen=True, kw_only=True):
    """How owners take spot replicas back.

    Parameters
    ----------
    mtbi
        Mean time between the interruptions of one slot, seconds, exponential. None: they never do.
    notice
        Seconds of warning. The replica takes no new work, finishes what it can, and is gone at the end.
    """

    mtbi: PositiveSeconds | None = None
    notice: Seconds = 120.0


class Prices(Settings, frozen=True, kw_only=True):
    """What else costs; sources and dates in data/hardware.toml.

    Parameters
    ----------
    energy_per_kwh, energy_included
        US dollars per kilowatt-hour, and whether the price of the hardware includes it: then it is counted and not
        billed.
    overhead
        Energy that the building takes for one that the machine takes (PUE).
    carbon_per_kwh
        Grams of carbon dioxide per kilowatt-hour.
    storage_per_gb_month
        US dollars for a gigabyte of the log kept for a month (730 hours).
    network_per_gb
        US dollars for a gigabyte that sources send.
    """

    energy_per_kwh: Money = 0.128
    energy_included: bool = True
    overhead: Annotated[float, Meta(ge=1)] = 1.15
    carbon_per_kwh: NonNegative = 369.0
    storage_per_gb_month: Money = 0.08
    network_per_gb: Money = 0.01
