"""The inner loop of `simulation.recursion`: arrivals, services and starts between two decisions.

Written for numba, and plain Python where numba is absent: the same results, some hundred times slower. What both sides
know lies in arrays of NumPy records: those are read by name on both, and cross the border in half a microsecond.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple, TypeVar, cast, get_type_hints

import numpy as np
from numpy.typing import NDArray

F = TypeVar("F", bound=Callable[..., Any])

COMPILED = find_spec("numba") is not None


def _fast(function: F) -> F:
    if not COMPILED:
        return function
    import numba

    made: Any = numba.njit(cache=True, nogil=True)(function)
    return cast(F, made)


def _inlined(function: F) -> F:
    """Written into whoever calls it: to hand an array over costs more than what these do with it."""
    if not COMPILED:
        return function
    import numba

    made: Any = numba.njit(inline="always")(function)
    return cast(F, made)


# What a replica is doing. HURT has crashed, and nobody has noticed; DOWN is being repaired or started again.
FREE, ASLEEP, STARTING, DOWN, HURT, IDLE, BUSY, DRAINING = range(8)

# Why the loop came back: `CHANGE` is a change of replicas, and stays on the compiled side.
STOPPED, MORE_ARRIVALS, MORE_ROOM, CHANGE = range(4)

SLOTS_MAX = 1 << 16

# Idle slots are bits of words, so that the lowest is found in a few instructions.
WORD = 32
_BIT_OF = np.zeros(WORD, dtype=np.int64)
for _bit in range(WORD):
    _BIT_OF[((1 << _bit) * 0x077CB531 & 0xFFFFFFFF) >> 27] = _bit


class Slot(NamedTuple):
    """A replica, or the place for one. Those of one pool lie together, in the order in which they are given work."""

    state: int
    pool: int
    speed: float
    key: int  # grows with the time at which what is next for this slot was set up
    event: int  # number of the event in service, or held by a replica that has crashed; -1 for none
    since: float  # when its service began
    arrived: float
    work: float  # its service time at speed 1
    done: float  # when its service will be over
    change: float  # when something else will happen: up, crashed, noticed, taken back
    crash: float
    interruption: float
    taken: float  # when a spot replica is gone
    back: float  # not up again before
    drained: int  # was on its way out when it crashed
    to_sleep: int  # sleeps as soon as it is up
    born: int  # grows with the time at which it was asked for
    crash_next: int  # place of its next crash, and interruption, among all of the slot
    interruption_next: int


class Pool(NamedTuple):
    """Replicas of one kind, and their number by what they do."""

    first: int  # slot
    slots: int
    speed: float
    start_up: float
    wake_up: float  # negative: cannot sleep
    most: int  # replicas, asleep ones included
    zone: int
    zone_until: float  # its zone is gone until then
    starting: int = 0
    ready: int = 0
    draining: int = 0
    down: int = 0
    asleep: int = 0
    settling: int = 0  # start only to sleep
    paid_time: float = 0.0
    asleep_time: float = 0.0


class Waiting(NamedTuple):
    """An event whose replica has failed."""

    event: int
    arrived: float
    work: float


class State(NamedTuple):
    """What the two sides know of a run."""

    # Facts.
    period: float
    bound: float
    quantile: float
    detection_delay: float
    notice: float
    # The clock, the next decision, and the next moment at which the compiled side has to stop, if that is earlier.
    now: float = 0.0
    until: float = 0.0
    until_key: int = 0
    stop: float = 0.0
    made: int = 0  # keys given so far
    # The arrivals at hand: those before `head` are begun, those before `next` have arrived. From `fresh` on none has
    # been passed over for having waited longer than `late_after`; before it `passed` are that still wait, the first
    # of them at `head`, and others that are `taken`.
    first: int = 0  # number of the first of them
    head: int = 0
    next: int = 0
    fresh: int = 0
    passed: int = 0
    late_after: float = 0.0  # 0: in order of arrival
    returned: int = 0  # events that wait again; the last one is the first to go
    # Replicas by what they do, and the time that was worked.
    ready: int = 0
    busy: int = 0
    draining: int = 0
    launches: int = 0
    failed: int = 0
    interrupted: int = 0
    counted: float = 0.0  # when the replicas were last counted
    running_time: float = 0.0
    broken_time: float = 0.0  # what services had taken that a crash ended
    finished: int = 0
    finished_time: float = 0.0
    # The period under way.
    received: int = 0
    begun_with: int = 0  # events present when it began
    presence: float = 0.0  # what arrivals and departures since then add to the integral of events present
    responses: int = 0
    work: float = 0.0  # service times at speed 1 of what was finished
    work_squares: float = 0.0
    late: int = 0
    response_quantile: float = 0.0
    busy_time: float = 0.0  # until now, what is under way included


class World(NamedTuple):
    """All that a run consists of.

    Parameters
    ----------
    state, slots, pools
        Records: one `State`, the `Slot` s, the `Pool` s.
    idle
        Idle slots as bits.
    moments, winners
        When something happens next in which slot, see `set_moment`.
    arrivals, services
        When events arrive, ascending, and what they take at speed 1, seconds.
    taken
        1 where an arrival was begun before others that have waited longer.
    returned
        Room for the `Waiting`.
    crashes, interruptions
        When the replica in a slot crashes, or is taken back by its owner, whatever it does then, shape (slots, times),
        ascending, infinite at the end.
    """

    state: Any
    slots: Any
    pools: Any
    idle: Any
    moments: Any
    winners: Any
    arrivals: Any
    services: Any
    taken: Any
    returned: Any
    crashes: Any
    interruptions: Any


def records(kind: type[Slot] | type[Pool] | type[Waiting] | type[State], count: int) -> NDArray[Any]:
    """So many of a kind, all zero, in memory that both sides can write to."""
    fields = [(name, "f8" if hint is float else "i8") for name, hint in get_type_hints(kind).items()]
    # Numba wants plain records, and gives them attributes; plain Python needs records that have them.
    return np.zeros(count, dtype=np.dtype(fields) if COMPILED else np.dtype((np.record, fields)))


# Responses are counted in bins of 2^(1/32): the upper bits of a positive double are a logarithm.
BINS_PER_OCTAVE = 32
_BIN_SHIFT = 52 - 5
_BIN_FIRST = np.float64(2.0**-20).view(np.int64) >> _BIN_SHIFT
BINS = 40 * BINS_PER_OCTAVE


def bin_edges() -> NDArray[np.float64]:
    """Lower edges of the bins of responses, seconds."""
    bits = (np.arange(BINS, dtype=np.int64) + _BIN_FIRST) << _BIN_SHIFT
    return bits.view(np.float64)


# What is next: a tournament between the slots. `moments` and `winners` have two places per slot: those of slot i are at
# size + i, those of a match at half of its players' places, and the final at 1. A change costs one match per round,
# without a branch that a processor could guess wrong: a third of the cost of a heap.


@_inlined
def set_moment(slots: Any, moments: Any, winners: Any, slot: int, moment: float) -> None:
    """Say when the next thing happens in a slot; never is infinite."""
    place = (len(moments) >> 1) + slot
    winner = slot
    moments[place] = moment
    winners[place] = slot
    while place > 1:
        other, rival = moments[place ^ 1], winners[place ^ 1]
        earlier = other < moment
        if other == moment and other < np.inf:
            # What was set up first comes first, as in SimPy.
            earlier = slots[rival].key < slots[winner].key
        moment = other if earlier else moment
        winner = rival if earlier else winner
        place >>= 1
        moments[place] = moment
        winners[place] = winner


@_inlined
def set_sooner(moments: Any, winners: Any, slot: int, moment: float) -> None:
    """`set_moment`, where it is not later than what was set: what wins few matches changes few."""
    place = (len(moments) >> 1) + slot
    moments[place] = moment
    place >>= 1
    while place > 0 and moment < moments[place]:
        moments[place] = moment
        winners[place] = slot
        place >>= 1


@_fast
def new_key(s: Any) -> int:
    """Keys given earlier come first where moments are equal."""
    s.made += 1
    return int(s.made)


# Idle replicas: the lowest slot first


@_inlined
def _lowest(idle: Any) -> int:
    for word in range(len(idle)):
        bits = idle[word]
        if bits != 0:
            return word * WORD + int(_BIT_OF[((bits & -bits) * 0x077CB531 & 0xFFFFFFFF) >> 27])
    return -1


@_inlined
def _set_idle(idle: Any, slot: int) -> None:
    idle[slot >> 5] |= 1 << (slot & 31)


@_inlined
def _unset_idle(idle: Any, slot: int) -> None:
    idle[slot >> 5] &= ~(1 << (slot & 31))


@_fast
def restore(w: Any) -> None:
    """Fill `idle`, `moments` and `winners`, which are new and empty, from the slots."""
    for slot in range(len(w.slots)):
        it = w.slots[slot]
        moment = np.inf
        if it.state == IDLE:
            _set_idle(w.idle, slot)
        if it.state != FREE:
            moment = min(it.done, it.change) if it.state >= BUSY else it.change
        set_moment(w.slots, w.moments, w.winners, slot, moment)


# The life of a replica: rare, so told plainly. `simulation.cluster` says why things are as they are.


@_fast
def _count(s: Any, pools: Any) -> None:
    """Add up what has been paid for; called whenever a number of replicas is about to change."""
    passed = s.now - s.counted
    for number in range(len(pools)):
        pool = pools[number]
        pool.paid_time += (pool.starting + pool.ready + pool.draining + pool.down) * passed
        pool.asleep_time += pool.asleep * passed
    s.running_time += (s.ready + s.draining) * passed
    s.counted = s.now


@_fast
def _leave(w: Any, slot: int) -> None:
    """Count a replica out of what it does."""
    s, it = w.state[0], w.slots[slot]
    pool = w.pools[it.pool]
    _count(s, w.pools)
    if it.state == STARTING:
        pool.starting -= 1
    elif it.state == DOWN or it.state == HURT:
        pool.down -= 1
    elif it.state == ASLEEP:
        pool.asleep -= 1
    elif it.state == DRAINING:
        pool.draining -= 1
        s.draining -= 1
    elif it.state == IDLE or it.state == BUSY:
        pool.ready -= 1
        s.ready -= 1
        if it.state == BUSY:
            s.busy -= 1
        else:
            _unset_idle(w.idle, slot)


@_fast
def _become(w: Any, slot: int, doing: int, change: float) -> None:
    """Have a replica do something else, until `change` at most."""
    _leave(w, slot)
    s, it = w.state[0], w.slots[slot]
    pool = w.pools[it.pool]
    if doing == STARTING:
        pool.starting += 1
    elif doing in (DOWN, HURT):
        pool.down += 1
    elif doing == ASLEEP:
        pool.asleep += 1
    elif doing == DRAINING:
        pool.draining += 1
        s.draining += 1
    elif doing == IDLE:
        pool.ready += 1
        s.ready += 1
        _set_idle(w.idle, slot)
    it.state = doing
    it.key = new_key(s)
    it.change = change
    set_moment(w.slots, w.moments, w.winners, slot, min(it.done, change) if doing == DRAINING else change)


@_fast
def _remove(w: Any, slot: int) -> None:
    it = w.slots[slot]
    pool = w.pools[it.pool]
    broken = it.state == HURT
    pool.settling -= it.to_sleep
    it.to_sleep = 0
    _become(w, slot, FREE, np.inf)
    if broken:
        _give_back(w, slot)


@_fast
def _give_back(w: Any, slot: int) -> None:
    """What a replica held goes to the head of the line."""
    s, it = w.state[0], w.slots[slot]
    if it.event >= 0:
        waiting = w.returned[s.returned]
        waiting.event, waiting.arrived, waiting.work = it.event, it.arrived, it.work
        s.returned += 1
        it.event = -1
        _dispatch(w)


@_fast
def _start(w: Any, number: int, at_once: bool, to_sleep: int) -> None:
    s, pool = w.state[0], w.pools[number]
    slot = pool.first
    while w.slots[slot].state != FREE:
        slot += 1
    it = w.slots[slot]
    it.event, it.drained, it.to_sleep = -1, 0, to_sleep
    it.taken = np.inf
    pool.settling += to_sleep
    s.launches += 1
    gone = max(0.0, pool.zone_until - s.now)
    _become(w, slot, STARTING, s.now + (gone + pool.start_up))
    it.born = it.key
    if at_once or (pool.start_up == 0.0 and gone == 0.0):
        _up(w, slot)


@_fast
def _up(w: Any, slot: int) -> None:
    s, it = w.state[0], w.slots[slot]
    pool = w.pools[it.pool]
    if it.to_sleep:
        pool.settling -= 1
        it.to_sleep = 0
        _become(w, slot, ASLEEP, np.inf)
        return
    crashes, interruptions = w.crashes[slot], w.interruptions[slot]
    while crashes[it.crash_next] <= s.now:
        it.crash_next += 1
    while interruptions[it.interruption_next] <= s.now:
        it.interruption_next += 1
    it.crash = crashes[it.crash_next]
    it.interruption = interruptions[it.interruption_next]
    it.taken = np.inf
    _become(w, slot, IDLE, min(it.crash, it.interruption))
    _dispatch(w)


@_fast
def _drain(w: Any, slot: int) -> None:
    """Let a replica that works finish, and go."""
    it = w.slots[slot]
    key = it.key
    _become(w, slot, DRAINING, it.change)
    it.key = key  # its service was set up earlier


@_fast
def _stop(w: Any, slot: int) -> None:
    if w.slots[slot].state == BUSY:
        _drain(w, slot)
    else:
        _remove(w, slot)


@_fast
def _break(w: Any, slot: int) -> None:
    """End a service that is not finished; its event stays with the replica."""
    s, it = w.state[0], w.slots[slot]
    s.broken_time += s.now - it.since


@_fast
def _crash(w: Any, slot: int, back: float) -> None:
    s, it = w.state[0], w.slots[slot]
    if it.state < IDLE:
        return
    s.failed += 1
    it.drained = int(it.state == DRAINING)
    if it.state == IDLE:
        it.event = -1
    else:
        _break(w, slot)
    it.back = back
    _become(w, slot, HURT, s.now + s.detection_delay)


@_fast
def _interrupt(w: Any, slot: int) -> None:
    """The owner of a spot replica wants it back."""
    s, it = w.state[0], w.slots[slot]
    s.interrupted += 1
    it.interruption = np.inf
    if it.state == IDLE:
        _remove(w, slot)
        return
    it.taken = s.now + s.notice
    it.change = min(it.crash, it.taken)
    if it.state == BUSY:
        _drain(w, slot)
    else:
        set_moment(w.slots, w.moments, w.winners, slot, min(it.done, it.change))


@_fast
def _change(w: Any, slot: int) -> None:
    """What is due in a slot, other than the end of a service."""
    s, it = w.state[0], w.slots[slot]
    if it.state == STARTING or it.state == DOWN:
        _up(w, slot)
    elif it.state == HURT:
        if it.drained:
            _remove(w, slot)
        else:
            start_up = w.pools[it.pool].start_up
            _become(w, slot, DOWN, s.now + (max(0.0, it.back - s.now) + start_up))
            _give_back(w, slot)
    elif it.change == it.crash:
        _crash(w, slot, 0.0)
    elif it.change == it.interruption:
        _interrupt(w, slot)
    else:
        _break(w, slot)
        _become(w, slot, HURT, np.inf)
        _remove(w, slot)


@_fast
def _pass_over(s: Any, w: Any) -> None:
    """Let those who have waited too long stand aside for those who have not."""
    if s.late_after > 0.0:
        while s.fresh < s.next and s.now - w.arrivals[s.fresh] > s.late_after:
            w.taken[s.fresh] = 0
            s.passed += 1
            s.fresh += 1


@_fast
def _serve(s: Any, w: Any, it: Any) -> None:
    """Give the next of those who wait to a replica."""
    _pass_over(s, w)
    fresh = s.fresh < s.next
    if s.returned > 0:
        waiting = w.returned[s.returned - 1]
        soon = s.late_after == 0.0 or s.now - waiting.arrived <= s.late_after
        if soon or not (fresh or s.passed > 0):
            it.event, it.arrived, it.work = waiting.event, waiting.arrived, waiting.work
            s.returned -= 1
            return
    if s.passed > 0 and (not fresh or s.late_after == 0.0):
        place = s.head
        s.passed -= 1
        s.head += 1
        while s.head < s.fresh and w.taken[s.head] == 1:
            s.head += 1
    else:
        place = s.fresh
        w.taken[place] = 1
        s.fresh += 1
        if s.passed == 0:
            s.head = s.fresh
    it.event, it.arrived, it.work = s.first + place, w.arrivals[place], w.services[place]


@_fast
def _dispatch(w: Any) -> None:
    """Give what waits to whoever is idle."""
    s = w.state[0]
    while s.returned > 0 or s.passed > 0 or s.fresh < s.next:
        slot = _lowest(w.idle)
        if slot < 0:
            return
        _unset_idle(w.idle, slot)
        it = w.slots[slot]
        _serve(s, w, it)
        it.state = BUSY
        it.key = new_key(s)
        it.since = s.now
        it.done = s.now + it.work / it.speed
        set_moment(w.slots, w.moments, w.winners, slot, min(it.done, it.change))
        s.busy += 1


@_fast
def _awake(pool: Any) -> int:
    return int(pool.starting + pool.down + pool.ready - pool.settling)


@_fast
def _total(pool: Any) -> int:
    return int(pool.starting + pool.down + pool.ready + pool.draining + pool.asleep)


@_fast
def scale(w: Any, number: int, wanted: int, asleep: int, at_once: bool) -> None:
    """Start, wake, stop and put to sleep until a pool has so many awake and asleep, as `Cluster.scale`.

    `asleep` < 0: nobody has said how many shall be asleep. `dispatch` has to follow.
    """
    pool = w.pools[number]
    first, last = pool.first, pool.first + pool.slots - 1
    slot = first
    while slot <= last and pool.asleep > 0 and _awake(pool) < wanted:
        if w.slots[slot].state == ASLEEP:
            _become(w, slot, STARTING, w.state[0].now + pool.wake_up)
        slot += 1
    while _awake(pool) < wanted and _total(pool) < pool.most:
        _start(w, number, at_once, 0)
    surplus = _awake(pool) - wanted
    if surplus > 0:
        _release(w, number, surplus, max(0, asleep - pool.asleep) if pool.wake_up >= 0.0 else 0)
    if asleep >= 0 and pool.wake_up >= 0.0:
        slot = last
        while slot >= first and pool.asleep > asleep:
            if w.slots[slot].state == ASLEEP:
                _remove(w, slot)
            slot -= 1
        for _ in range(min(asleep - pool.asleep - pool.settling, pool.most - _total(pool))):
            _start(w, number, at_once, 1)


@_fast
def _release(w: Any, number: int, surplus: int, can_sleep: int) -> None:
    """The cheapest to lose first: those that do not run yet, then idle ones, then the newest."""
    pool = w.pools[number]
    first, last = pool.first, pool.first + pool.slots - 1
    # As they are now: to stop one that has crashed gives its work to one that is idle.
    ranks = np.full(pool.slots, -1)
    for slot in range(first, last + 1):
        doing = w.slots[slot].state
        if doing == STARTING and not w.slots[slot].to_sleep:
            ranks[slot - first] = 0
        elif doing in (DOWN, HURT):
            ranks[slot - first] = 1
        elif doing == IDLE:
            ranks[slot - first] = 2
        elif doing == BUSY:
            ranks[slot - first] = 3
    for rank in range(4):
        slot = last
        while slot >= first and surplus > 0:
            if ranks[slot - first] == rank:
                surplus -= 1
                if can_sleep > 0 and w.slots[slot].state == IDLE:
                    _become(w, slot, ASLEEP, np.inf)
                    can_sleep -= 1
                else:
                    _stop(w, slot)
            slot -= 1


@_fast
def zone_down(w: Any, zone: int, until: float) -> None:
    """A zone is gone: all its replicas crash, in the order in which they were asked for, and none starts."""
    s = w.state[0]
    s.now = s.stop
    for number in range(len(w.pools)):
        pool = w.pools[number]
        if pool.zone == zone:
            pool.zone_until = max(until, pool.zone_until)
    seen = 0
    while True:
        slot, born = -1, 1 << 62
        for other in range(len(w.slots)):
            it = w.slots[other]
            if it.state != FREE and w.pools[it.pool].zone == zone and seen < it.born < born:
                slot, born = other, it.born
        if slot < 0:
            return
        seen = born
        it = w.slots[slot]
        if it.state == ASLEEP:
            _remove(w, slot)
        elif it.state == STARTING:
            _become(w, slot, DOWN, s.now + (until - s.now + w.pools[it.pool].start_up))
        else:
            _crash(w, slot, until)


@_fast
def _flow(w: Any, last: bool, responses: Any, late_by_period: Any, departures: Any) -> int:
    """Arrivals and departures only; back at whatever else is due."""
    s, slots, idle, moments, winners = w.state[0], w.slots, w.idle, w.moments, w.winners
    arrivals, services = w.arrivals, w.services
    # Local, so that they stay in registers.
    size, head, following, made = len(arrivals), s.head, s.next, s.made
    until, until_key, stop, ready, busy = s.until, s.until_key, s.stop, s.ready, s.busy
    bound, period, first, received = s.bound, s.period, s.first, s.next
    in_order = s.late_after == 0.0 and s.passed == 0 and s.returned == 0
    noted, wanted, room = s.responses, len(departures), len(responses)
    finished_time, work, work_squares, presence = s.finished_time, s.work, s.work_squares, s.presence
    why = STOPPED
    while True:
        if following < size:
            arrival = arrivals[following]
        elif last:
            arrival = np.inf
        else:
            why = MORE_ARRIVALS
            break
        now = moments[1]
        if now <= arrival and now < np.inf:
            slot = winners[1]
            it = slots[slot]
            if now > stop or (now == until and it.key > until_key):
                break
            if it.state < BUSY or it.change < it.done:
                why = CHANGE
                break
            if noted == room:
                why = MORE_ROOM
                break
            duration = now - it.since
            finished_time += duration
            work += it.work
            work_squares += it.work * it.work
            presence -= until - now
            response = now - it.arrived
            responses[noted] = response
            noted += 1
            if response > bound:
                late_by_period[int(it.arrived / period)] += 1
            if it.event < wanted:
                departures[it.event] = now
            if it.state == DRAINING:
                s.now, s.made = now, made
                _remove(w, slot)
                made = s.made
            elif in_order and head < following:
                it.event, it.arrived, it.work = first + head, arrivals[head], services[head]
                head += 1
                made += 1
                it.key = made
                it.since = now
                it.done = now + it.work / it.speed
                set_moment(slots, moments, winners, slot, min(it.done, it.change))
            elif not in_order and (head < following or s.returned > 0):
                s.now, s.next = now, following
                _serve(s, w, it)
                head = s.head
                made += 1
                it.key = made
                it.since = now
                it.done = now + it.work / it.speed
                set_moment(slots, moments, winners, slot, min(it.done, it.change))
            else:
                it.state = IDLE
                busy -= 1
                _set_idle(idle, slot)
                set_moment(slots, moments, winners, slot, it.change)
        else:
            if arrival >= stop:
                break
            presence += until - arrival
            if ready > busy:
                slot = _lowest(idle)
                _unset_idle(idle, slot)
                it = slots[slot]
                made += 1
                it.state = BUSY
                it.key = made
                it.event = first + head
                it.since = arrival
                it.arrived = arrival
                it.work = services[head]
                it.done = arrival + it.work / it.speed
                head += 1
                if not in_order:
                    s.head = s.fresh = head  # who was idle had left nobody waiting
                busy += 1
                set_sooner(moments, winners, slot, min(it.done, it.change))
            following += 1
    s.finished += noted - s.responses
    s.received += following - received
    s.head, s.next, s.busy, s.responses = head, following, busy, noted
    if in_order:
        s.fresh = head
    s.made = made
    s.finished_time, s.work, s.work_squares, s.presence = finished_time, work, work_squares, presence
    if why == STOPPED:
        s.now = stop
        _count(s, w.pools)
    return why


@_fast
def begin_period(w: Any) -> None:
    """Set the next decision down, after what the last one set going, and count from 0."""
    s = w.state[0]
    s.until_key = new_key(s)
    s.until = s.now + s.period
    s.received = 0
    s.responses = 0
    s.work = 0.0
    s.work_squares = 0.0
    s.presence = 0.0
    s.begun_with = s.first + s.next - s.finished


@_fast
def end_period(w: Any, responses: Any, histogram: Any) -> None:
    """Sum a period up: busy time until now, the period's late share and response quantile, the histogram."""
    s, slots = w.state[0], w.slots
    under_way = 0.0
    left = s.busy + s.draining
    for slot in range(len(slots)):
        if left == 0:
            break
        if slots[slot].state >= BUSY:
            under_way += s.now - slots[slot].since
            left -= 1
    s.busy_time = s.finished_time + s.broken_time + under_way
    seen = responses[: s.responses]
    late = 0
    for response in seen:
        if response > s.bound:
            late += 1
    s.late = late
    for place in seen.view(np.int64) >> _BIN_SHIFT:
        histogram[min(max(place - _BIN_FIRST, 0), BINS - 1)] += 1
    s.response_quantile = _quantile(seen, s.quantile) if len(seen) > 0 else np.nan


@_fast
def advance(
    w: Any, outage: float, last: bool, responses: Any, late_by_period: Any, departures: Any, histogram: Any
) -> int:
    """Let the world go on until the period is over, and sum it up; or until a zone fails, or something is missing.

    Parameters
    ----------
    outage
        When the next zone fails.
    last
        No more arrivals will come.
    responses
        Room for the period's response times.
    late_by_period
        Late events, by the period of their arrival.
    departures
        Where to note when each event was done, by its number; of length 0 where nobody wants to know.
    histogram
        Of all response times.
    """
    s = w.state[0]
    s.stop = min(s.until, outage)
    while True:
        why = _flow(w, last, responses, late_by_period, departures)
        if why == STOPPED and outage > s.stop:
            end_period(w, responses, histogram)
        if why != CHANGE:
            return int(why)
        s.now = w.moments[1]
        _change(w, w.winners[1])


@_fast
def begin(
    w: Any, outage: float, last: bool, responses: Any, late_by_period: Any, departures: Any, histogram: Any
) -> int:
    """Give what waits to whoever is idle, begin the period, and `advance`: one call, as one from Python costs 15 us."""
    _dispatch(w)
    begin_period(w)
    return int(advance(w, outage, last, responses, late_by_period, departures, histogram))


@_fast
def _quantile(values: Any, quantile: float) -> float:
    """As `numpy.quantile`, to the last bit; reorders the values."""
    place = quantile * (len(values) - 1)
    lower = int(np.floor(place))
    share = place - lower
    low = _select(values, lower)
    if share == 0.0 or lower + 1 >= len(values):
        return low
    high = values[lower + 1 :].min()
    difference = high - low
    return float(high - difference * (1.0 - share) if share >= 0.5 else low + difference * share)


@_fast
def _select(values: Any, rank: int) -> float:
    """The value of this rank, with no larger one before it and no smaller one behind it (Hoare's quickselect)."""
    low, high = 0, len(values) - 1
    while low < high:
        middle = (low + high) >> 1
        # The median of three, so that sorted values are no trap.
        if values[middle] < values[low]:
            values[middle], values[low] = values[low], values[middle]
        if values[high] < values[low]:
            values[high], values[low] = values[low], values[high]
        if values[high] < values[middle]:
            values[high], values[middle] = values[middle], values[high]
        pivot = values[middle]
        left, right = low, high
        while left <= right:
            while values[left] < pivot:
                left += 1
            while values[right] > pivot:
                right -= 1
            if left <= right:
                values[left], values[right] = values[right], values[left]
                left += 1
                right -= 1
        if rank <= right:
            high = right
        elif rank >= left:
            low = left
        else:
            break
    return float(values[rank])
