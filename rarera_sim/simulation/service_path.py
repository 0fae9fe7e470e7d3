"""What a service needs beside its work: the data that it is about, and an answer, if somebody waits for one."""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

from rarera_sim.simulation.quantities import CountOrNone, Seconds, Settings


class ServicePath(Settings, frozen=True, kw_only=True):
    """Layered storage, and events against commands.

    Parameters
    ----------
    hot_max
        Streams whose state a processor keeps in memory; the one used longest ago makes room. 0: nothing is fetched.
    hot_time, cold_time
        Seconds to get the state of a stream from memory, and from disk.
    coupling
        `event`: whoever sent it does not wait. `command`: request and response; the processor also writes the answer
        and holds its thread until it has been received.
    serialisation, round_trip
        Seconds to write an answer, and for it to get there and be acknowledged.

    Examples
    --------
    >>> path, hot = ServicePath(hot_max=1, hot_time=0.0, cold_time=0.5), OrderedDict()
    >>> [path.fetch(hot, stream) for stream in ("a", "a", "b", "a")]
    [0.5, 0.0, 0.5, 0.5]
    """

    hot_max: CountOrNone = 0
    hot_time: Seconds = 0.0
    cold_time: Seconds = 0.01
    coupling: Literal["event", "command"] = "event"
    serialisation: Seconds = 0.001
    round_trip: Seconds = 0.01

    @property
    def command_time(self) -> float:
        """Seconds that an answer adds to a service."""
        return self.serialisation + self.round_trip if self.coupling == "command" else 0.0

    @property
    def plain(self) -> bool:
        """Nothing is added to a service."""
        return not self.hot_max and self.coupling == "event"

    def fetch(self, hot: OrderedDict[str, None], stream: str) -> float:
        """Seconds to get a stream's state, which is hot from now on."""
        if stream in hot:
            hot.move_to_end(stream)
            return self.hot_time
        hot[stream] = None
        if len(hot) > self.hot_max:
            hot.popitem(last=False)
        return self.cold_time
