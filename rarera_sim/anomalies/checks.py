"""What every detector must stand, whoever wrote it: `check_detector(MyDetector)` in a test is enough.

As :mod:`rarera_sim.policies.checks`: each check is a function, and says in a phrase what did not hold.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

from rarera_sim.anomalies.base import Detector
from rarera_sim.learning.checks import no_clock_and_no_chance

Factory = Callable[[], Detector]
Sample = dict[str, Any]


def check_detector(factory: Factory, samples: Sequence[Sample] | None = None) -> None:
    """Run every check on fresh detectors; AssertionError with a phrase where one does not hold.

    Parameters
    ----------
    factory
        Makes a new detector, the same each time: the class, or a lambda around it.
    samples
        An ordinary stream for it, at least 200 long; without it, samples have the keys `value`, `time`, `id`,
        `causation` and `kind`.

    Examples
    --------
    >>> from rarera_sim.anomalies.level import Level
    >>> check_detector(Level)
    >>> class Impatient(Level):
    ...     def score_one(self, x):
    ...         self.learn_one(x)
    ...         return super().score_one(x)
    >>> check_detector(Impatient)
    Traceback (most recent call last):
    ...
    AssertionError: Level('value', fast=10, ...) scores the same sample differently when asked twice
    """
    stream = list(ORDINARY if samples is None else samples)
    assert len(stream) >= 200, f"{len(stream)} samples are too few to check a detector"
    _check_scores(factory, stream, "in an ordinary stream")
    _check_before_learning(factory, stream)
    _check_asking_twice(factory, stream)
    _check_repeatable(factory, stream)
    _check_no_look_ahead(factory, stream)
    _check_clock_and_chance(factory, stream)
    _check_samples_are_left_alone(factory, stream)
    for phrase, bad in _bad_values(stream).items():
        _check_scores(factory, bad, phrase)
    _check_forgives_nan(factory, stream)


def _scores(detector: Detector, stream: Sequence[Sample]) -> list[float]:
    scores = []
    for x in stream:
        scores.append(detector.score_one(x))
        detector.learn_one(x)
    return scores


def _check_scores(factory: Factory, stream: Sequence[Sample], phrase: str) -> None:
    detector = factory()
    for score in _scores(detector, stream):
        number = isinstance(score, (int, float)) and not isinstance(score, bool)
        assert number, f"{detector!r} scored {score!r}, no number, {phrase}"
        assert math.isfinite(score), f"{detector!r} scored {score!r}, {phrase}"
        assert score >= 0.0, f"{detector!r} scored {score!r}, less than 0, {phrase}"


def _check_before_learning(factory: Factory, stream: Sequence[Sample]) -> None:
    detector = factory()
    score = detector.score_one(stream[0])
    assert math.isfinite(score), f"{detector!r} scored {score!r} before it had learned anything"


def _check_asking_twice(factory: Factory, stream: Sequence[Sample]) -> None:
    once, twice = factory(), factory()
    for number, x in enumerate(stream):
        score = once.score_one(x)
        first, second = twice.score_one(x), twice.score_one(x)
        assert first == second, f"{twice!r} scores the same sample differently when asked twice"
        twice.score_one(stream[-1 - number])
        assert first == score, f"{twice!r} scores differently because it had been asked twice"
        once.learn_one(x)
        twice.learn_one(x)


def _check_repeatable(factory: Factory, stream: Sequence[Sample]) -> None:
    first, second = (_scores(factory(), stream) for _ in range(2))
    assert first == second, f"{factory()!r} scores the same stream differently the second time"


def _check_no_look_ahead(factory: Factory, stream: Sequence[Sample]) -> None:
    half = len(stream) // 2
    whole, part = _scores(factory(), stream)[:half], _scores(factory(), stream[:half])
    assert whole == part, f"{factory()!r} scores a sample differently when others follow: it looks ahead"


def _check_clock_and_chance(factory: Factory, stream: Sequence[Sample]) -> None:
    with no_clock_and_no_chance("a detector"):
        _scores(factory(), stream)


def _check_samples_are_left_alone(factory: Factory, stream: Sequence[Sample]) -> None:
    kept = copy.deepcopy(list(stream))
    _scores(factory(), stream)
    assert kept == list(stream), f"{factory()!r} changes the samples it is given"


def _check_forgives_nan(factory: Factory, stream: Sequence[Sample]) -> None:
    """One sensor that once said NaN must not decide what is seen an hour later."""
    without, hurt = factory(), factory()
    for number, x in enumerate(stream):
        without.learn_one(x)
        hurt.learn_one(x)
        if number == len(stream) // 4:
            hurt.learn_one({**x, **{key: math.nan for key, value in x.items() if isinstance(value, float)}})
    expected, score = without.score_one(stream[-1]), hurt.score_one(stream[-1])
    assert abs(expected - score) <= 0.1 * max(1.0, expected), (
        f"{hurt!r} scores {score:.3g} instead of {expected:.3g} long after one NaN"
    )


def _bad_values(stream: Sequence[Sample]) -> dict[str, list[Sample]]:
    """The stream with something bad in its middle, in every value that is a float."""
    third = len(stream) // 3
    bad = {
        "when a sensor says NaN": math.nan,
        "when a sensor says infinity": math.inf,
        "when a sensor says minus infinity": -math.inf,
        "when a value is beyond any sense": 1e300,
        "when a value is below any sense": -1e300,
        "when a value is almost nothing": 5e-324,
        "when everything is 0": 0.0,
    }
    found = {}
    for phrase, value in bad.items():
        changed = [{k: value if isinstance(v, float) else v for k, v in x.items()} for x in stream[third : 2 * third]]
        found[phrase] = [*stream[:third], *changed, *stream[2 * third :]]
    found["when nothing ever changes"] = [dict(stream[0]) for _ in stream]
    found["when time runs backwards"] = list(reversed(stream))
    return found


def _ordinary() -> list[Sample]:
    """A wave with something like noise on it, at gaps that vary, each fifth event caused by the one before."""
    samples = []
    moment = 0.0
    for number in range(600):
        moment += 1.0 + 0.5 * math.sin(number * 2.399)
        value = 20.0 + 5.0 * math.sin(number / 30.0) + math.sin(number * 1.618) + 0.5 * math.cos(number * 12.9898)
        cause = number - 1 if number % 5 == 4 else None
        samples.append({"value": value, "time": moment, "id": number, "causation": cause, "kind": f"kind-{number % 3}"})
    return samples


ORDINARY: Sequence[Sample] = _ordinary()
