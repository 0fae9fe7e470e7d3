"""How events wait: in which order they are taken, and for which processor they wait.

With `dispatch = "central"` and `discipline = "fifo"` they stay where they are, in the log or the queue, until a
processor is free. Everything else needs to know what waits, and so does whoever loses patience: events are then taken
at once and wait here.
"""

from __future__ import annotations

import math
from collections import deque
from heapq import heapify, heappop, heappush
from itertools import takewhile
from typing import TYPE_CHECKING, Literal, Protocol, get_args

import msgspec

from rarera_sim.simulation.distributions import Distribution
from rarera_sim.simulation.quantities import Count, Name, PositiveSeconds, Seconds, Settings, Share
from rarera_sim.simulation.transport import Work

if TYPE_CHECKING:
    from rarera_sim.simulation.processor import Processor

Discipline = Literal["fifo", "lifo", "priority", "edf", "sjf", "srpt", "late-last"]
Dispatch = Literal["central", "random", "round-robin", "jsq", "power-of-two", "least-work", "by-key", "hedged"]

# What a policy may ask for by one word, see `policies.base.Decision.dispatch`.
_CENTRAL: dict[str, Discipline] = {
    "central": "fifo",
    "fifo": "fifo",
    "lifo": "lifo",
    "edf": "edf",
    "sjf": "sjf",
    "srpt": "srpt",
    "priority": "priority",
    "late-last": "late-last",
}


def late_after(bound: float, service_mean: float) -> float:
    """The wait, s, > 0, after which `late-last` takes an event for late: two mean services before the bound.

    One for its own service, one for the spread of it: of lognormal services with a squared coefficient of variation of
    .5, 94 % are shorter than two means.

    >>> late_after(bound=2.0, service_mean=0.2)
    1.6
    """
    return max(bound - 2.0 * service_mean, 1e-9)


class EventClass(Settings, frozen=True, kw_only=True):
    """Events that are told from others by how urgent they are.

    Parameters
    ----------
    types
        Event types that belong to it.
    share
        Of the events whose type no class names, drawn by chance; the last class takes what is left.
    deadline
        Seconds after its receipt at which an event of this class should be done, for `edf`.
    """

    types: tuple[Name, ...] = ()
    share: Share = 0.0
    deadline: PositiveSeconds = 30.0


class LineSettings(Settings, frozen=True, kw_only=True):
    """How events find a processor.

    Parameters
    ----------
    discipline
        Which waiting event is next: the first or last that came, the most urgent class, the earliest deadline, the
        shortest service, the shortest rest of a service, which interrupts longer ones, or the first that came of those
        that can still keep the objective's bound, and only then of those that cannot (`late-last`).
    preemptive
        With `priority`: a more urgent event interrupts a less urgent one, which goes on later from where it was.
    sizes
        What `sjf`, `srpt` and `least-work` know of a service time: the `true` one, or the mean of those of its type
        that have finished (`learned`).
    dispatch
        One line for all processors (`central`), or one for each, chosen when the event comes: by chance, in turn, the
        shortest line, the shortest of `choices` drawn ones, the least work, by the hash of its stream, or the
        shortest, and after `hedge_after` a second one as well (`hedged`): who is done first wins.
    choices
        Of `power-of-two`.
    hedge_after
        Seconds until an event that has not finished is given to a second processor.
    batch
        Events that a processor takes at once, if there are so many; they finish together.
    overhead
        Seconds that a processor needs for a batch, whatever is in it: what batching saves.
    classes
        Most urgent first. Empty: all are of one.
    patience
        Seconds that an event waits for a processor until nobody wants it any more; drawn for each. Work that has begun
        is finished. None: for ever.

    References
    ----------
    Mitzenmacher (2001), The Power of Two Choices in Randomized Load Balancing, IEEE TPDS 12(10); Dean, Barroso
    (2013), The Tail at Scale, CACM 56(2), for hedging; Schrage (1968), Operations Research 16(3), for srpt.
    """

    discipline: Discipline = "fifo"
    preemptive: bool = False
    sizes: Literal["true", "learned"] = "true"
    dispatch: Dispatch = "central"
    choices: Count = 2
    hedge_after: Seconds = 1.0
    batch: Count = 1
    overhead: Seconds = 0.0
    classes: tuple[EventClass, ...] = ()
    patience: Distribution | None = None

    def problem(self) -> str | None:
        """What does not go together, beginning with the field; None if all does."""
        share = sum(each.share for each in self.classes)
        if share > 1.0 + 1e-9:
            return f"classes must have shares of 1 in all at most, got {share:g}"
        types = [kind for each in self.classes for kind in each.types]
        for kind in types:
            if types.count(kind) > 1:
                return f"classes name the type {kind!r} twice"
        if self.patience is None:
            return None
        if self.dispatch == "hedged":
            return "patience and dispatch = 'hedged' do not go together"
        problem = self.patience.problem()
        if problem is None and self.patience.distribution == "empirical" and self.patience.values is None:
            problem = "values must be given for empirical, got none"
        return f"patience.{problem}" if problem else None

    @property
    def holds(self) -> bool:
        """Whether events wait here instead of in the transport."""
        return self.dispatch != "central" or self.discipline != "fifo" or self.patience is not None

    @property
    def interrupts(self) -> bool:
        """Whether an event may end another's service."""
        return self.discipline == "srpt" or (self.discipline == "priority" and self.preemptive)

    def asked(self, dispatch: str) -> LineSettings:
        """The same with what a policy calls by one word.

        >>> LineSettings().asked("sjf").discipline, LineSettings().asked("jsq").dispatch
        ('sjf', 'jsq')
        """
        if dispatch in _CENTRAL:
            return msgspec.structs.replace(self, dispatch="central", discipline=_CENTRAL[dispatch])
        name = "power-of-two" if dispatch == "power-of-d" else dispatch
        if name not in get_args(Dispatch):
            raise ValueError(f"dispatch must be one of {', '.join((*_CENTRAL, *get_args(Dispatch)[1:]))}, got {name!r}")
        return msgspec.structs.replace(self, dispatch=name, discipline="fifo")

    def of(self, batch: int) -> LineSettings:
        """The same with so many events taken at once."""
        return msgspec.structs.replace(self, batch=max(1, batch))


class Entry:
    """An event that waits or is worked on.

    Parameters
    ----------
    key
        Smaller ones are next, where the discipline sorts.
    since
        When it began to wait here, s; negative before.
    left, size
        Seconds of its service that are still to be done at speed 1, and what is known of it where that counts.
    twin, at
        The same event given to a second processor, and the processor that this one waits for or is with.
    """

    __slots__ = ("at", "done", "key", "left", "number", "order", "since", "size", "started", "twin", "work")

    def __init__(self, work: Work, number: int, left: float) -> None:
        self.work = work
        self.number = number
        self.left = left
        self.key = 0.0
        self.since = -1.0
        self.order = 0
        self.size = 0.0
        self.done = False
        self.started = False
        self.twin: Entry | None = None
        self.at: Processor | None = None


class Queue(Protocol):
    """Entries that wait. Those `done` meanwhile, by a faster twin, are passed over."""

    def put(self, entry: Entry) -> None: ...

    def put_back(self, entry: Entry) -> None:
        """Put what was taken before back to where it would be next."""
        ...

    def take(self) -> Entry | None: ...

    def __len__(self) -> int: ...


class Fifo:
    """First come, first served."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()

    def put(self, entry: Entry) -> None:
        self._entries.append(entry)

    def put_back(self, entry: Entry) -> None:
        self._entries.appendleft(entry)

    def take(self) -> Entry | None:
        while self._entries:
            entry = self._entries.popleft()
            if not entry.done:
                return entry
        return None

    def __len__(self) -> int:
        return len(self._entries)


class Lifo(Fifo):
    """Last come, first served."""

    def put(self, entry: Entry) -> None:
        self._entries.appendleft(entry)


class Sorted:
    """The smallest key first; of equal ones, the one that came first."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Entry]] = []
        self._count = 0

    def put(self, entry: Entry) -> None:
        if not entry.order:
            self._count += 1
            entry.order = self._count
        heappush(self._heap, (entry.key, entry.order, entry))

    put_back = put

    def take(self) -> Entry | None:
        while self._heap:
            entry = heappop(self._heap)[2]
            if not entry.done:
                return entry
        return None

    def __len__(self) -> int:
        return len(self._heap)


class Clock(Protocol):
    """Who knows the time: SimPy's environment."""

    @property
    def now(self) -> float: ...


class LateLast:
    """First come, first served; but who has waited longer than `after` seconds stands aside for those who have not.

    In a queue that is too long all are late, each by a little. Here those are who cannot be helped any more, and only
    those: with one capacity the fewest responses are beyond the bound. An entry's key is when it came. Who is put back,
    as its processor is lost, is next if it can still be helped, and else after everybody else.
    """

    def __init__(self, env: Clock) -> None:
        self.after = math.inf
        self._env = env
        self._fresh: deque[Entry] = deque()
        self._late: deque[Entry] = deque()
        self._back: list[Entry] = []

    def put(self, entry: Entry) -> None:
        self._fresh.append(entry)

    def put_back(self, entry: Entry) -> None:
        self._back.append(entry)

    def take(self) -> Entry | None:
        self._pass_over()
        while len(self):
            others = self._fresh or self._late
            if self._back and (not others or self._env.now - self._back[-1].key <= self.after):
                entry = self._back.pop()
            else:
                entry = others.popleft()
            if not entry.done:
                return entry
        return None

    @property
    def late(self) -> int:
        """Entries that stand aside, or would if somebody were free now."""
        now = self._env.now
        return len(self._late) + sum(1 for _ in takewhile(lambda entry: now - entry.key > self.after, self._fresh))

    def _pass_over(self) -> None:
        now, fresh = self._env.now, self._fresh
        while fresh and now - fresh[0].key > self.after:
            self._late.append(fresh.popleft())

    def __len__(self) -> int:
        return len(self._fresh) + len(self._late) + len(self._back)


def make_queue(discipline: Discipline, env: Clock) -> Queue:
    """An empty queue of this discipline."""
    match discipline:
        case "fifo":
            return Fifo()
        case "lifo":
            return Lifo()
        case "late-last":
            return LateLast(env)
    return Sorted()


class LeastFirst:
    """Who has least, by a heap whose entries are renewed when they change: O(log n) for a change, none is scanned.

    Examples
    --------
    >>> least = LeastFirst()
    >>> for rank, load in ((1, 3.0), (2, 1.0), (1, 0.0)):
    ...     least.set(rank, load)
    >>> least.first()
    1
    >>> least.remove(1)
    >>> least.first()
    2
    """

    def __init__(self) -> None:
        self._now: dict[int, float] = {}
        self._heap: list[tuple[float, int]] = []

    def set(self, rank: int, load: float) -> None:
        self._now[rank] = load
        heappush(self._heap, (load, rank))
        if len(self._heap) > 64 + 4 * len(self._now):
            self._heap = [(load, rank) for rank, load in self._now.items()]
            heapify(self._heap)

    def remove(self, rank: int) -> None:
        self._now.pop(rank, None)

    def first(self, *, but: int | None = None) -> int | None:
        """The lowest rank of those with the least; another one than `but`. None where there is none."""
        kept: list[tuple[float, int]] = []
        found = None
        while self._heap:
            load, rank = self._heap[0]
            if self._now.get(rank) != load:
                heappop(self._heap)
            elif rank == but:
                kept.append(heappop(self._heap))
            else:
                found = rank
                break
        for each in kept:
            heappush(self._heap, each)
        return found
