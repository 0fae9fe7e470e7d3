"""When to try again, as values: an attempt goes in, a deadline or a dead letter comes out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DeadLetter:
    """No further attempt: whoever owns the letter parks it, with the reason, where a person can replay it."""

    attempts: int


@dataclass(frozen=True)
class Backoff:
    """Exponential back-off with a cap; jitter is handed in, as nothing here draws.

        delay(k) = min(delay_max, delay * factor^(k - 1)) * (1 - jitter * u),   u in [0, 1)

    Parameters
    ----------
    delay, delay_max
        Seconds before the second attempt, and the longest wait.
    factor
        Growth from one attempt to the next, 1 to 1000.
    jitter
        Share of the delay that chance may take away, 0 to 1.
    attempts_max
        Attempts before the letter is dead; None tries for ever.

    Examples
    --------
    >>> backoff = Backoff(delay=0.5, factor=2.0, delay_max=8.0, attempts_max=4)
    >>> [backoff.after(attempt, now=10.0) for attempt in (1, 2, 3)]
    [10.5, 11.0, 12.0]
    >>> backoff.after(4, now=10.0)
    DeadLetter(attempts=4)

    References
    ----------
    Brooker (2015), Exponential Backoff And Jitter, AWS Architecture Blog.
    """

    delay: float = 0.5
    factor: float = 2.0
    delay_max: float = 30.0
    jitter: float = 0.0
    attempts_max: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.delay <= self.delay_max:
            raise ValueError(f"delay must be > 0 s and <= delay_max, got {self.delay!r}, {self.delay_max!r}")
        if not 1 <= self.factor <= 1000:
            raise ValueError(f"factor must be 1 to 1000, got {self.factor!r}")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter must be 0 to 1, got {self.jitter!r}")
        if self.attempts_max is not None and self.attempts_max < 1:
            raise ValueError(f"attempts_max must be >= 1 or None, got {self.attempts_max!r}")

    def after(self, attempt: int, now: float, u: float = 0.0) -> float | DeadLetter:
        """The deadline of the next attempt, in seconds on the clock of `now`, once `attempt` (from 1) has failed."""
        if self.attempts_max is not None and attempt >= self.attempts_max:
            return DeadLetter(attempt)
        # The exponent is bounded so that a letter tried for ever does not overflow a float.
        grown = self.delay * self.factor ** min(attempt - 1, 64)
        return now + min(self.delay_max, grown) * (1.0 - self.jitter * u)
