"""Work in a thread of its own, which can be told to stop and be waited for."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread


class Cancelled(Exception):
    """Raised inside of the work when somebody has cancelled it."""


class Job:
    """One piece of work, from its start to its end.

    The work is given the job and calls `check` as often as it can, which raises `Cancelled` once somebody cancels.

    Parameters
    ----------
    work
        What is done. Whatever it raises but `Cancelled` is kept in `error`.
    ended
        Called in the thread when the work is over, however it ended.

    Examples
    --------
    >>> def count(job):
    ...     while True:
    ...         job.check()
    >>> job = Job(count)
    >>> job.cancel(), job.wait(60.0), job.cancelled
    (None, True, True)
    """

    def __init__(self, work: Callable[[Job], None], ended: Callable[[Job], None] = lambda _: None) -> None:
        self._work = work
        self._tell = ended
        self._stop = Event()
        self._ended = Event()
        self.cancelled = False
        self.error: Exception | None = None
        Thread(target=self._run, name="rarera-job", daemon=True).start()

    def _run(self) -> None:
        try:
            self._work(self)
        except Cancelled:
            self.cancelled = True
        except Exception as error:
            self.error = error
        try:
            self._tell(self)
        finally:
            self._ended.set()

    def check(self) -> None:
        """End the work here if it has been cancelled."""
        if self._stop.is_set():
            raise Cancelled

    def cancel(self) -> None:
        """Ask the work to stop; returns at once."""
        self._stop.set()

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    @property
    def running(self) -> bool:
        return not self._ended.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end, `timeout` seconds at most; says whether it came."""
        # Not Thread.join: Python 3.11 may lose a KeyboardInterrupt there.
        return self._ended.wait(timeout)
