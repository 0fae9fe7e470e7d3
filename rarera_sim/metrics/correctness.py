"""What became of the events: which are in the state once, which are not, and what was noticed of it.

All counts are of events, not of frames, unless the name says so. An event is

sent         created at its source
recorded     in the log, or taken by the queue
lost         never in the state as what its source said
repeated     in the state more than once
late         in the state, but more than the objective's bound after its receipt
damaged      in the state with other content than its source gave it
detected     noticed by the system to be in some trouble
compensated  detected, and in the state exactly once, undamaged, in the end
"""

from __future__ import annotations

import polars as pl

from rarera_sim.core.trace import Stage
from rarera_sim.metrics.journeys import column_of

DETECTIONS = (
    Stage.DETECTED_DAMAGE,
    Stage.DETECTED_GAP,
    Stage.DETECTED_REPEAT,
    Stage.DETECTED_OVERDUE,
    Stage.DETECTED_CRASH,
    Stage.REDELIVERED,
)


def correctness(journeys: pl.DataFrame, bound: float) -> dict[str, int]:
    """Counts over a frame of journeys; `bound` in seconds.

    Examples
    --------
    >>> from rarera_sim.core.trace import Step
    >>> from rarera_sim.metrics.journeys import Journeys
    >>> journeys = Journeys()
    >>> for time, stage in ((0, Stage.CREATED), (1, Stage.RECEIVED), (2, Stage.FINISHED), (3, Stage.FINISHED)):
    ...     journeys(Step(time, stage, b"twice", "here"))
    >>> journeys(Step(0, Stage.CREATED, b"never", "here"))
    >>> found = correctness(journeys.frame(), bound=30.0)
    >>> found["sent"], found["lost"], found["repeated"], found["late"]
    (2, 1, 1, 0)
    """
    finished, misread = pl.col(Stage.FINISHED), pl.col(Stage.MISREAD)
    detected = pl.sum_horizontal(column_of(stage) for stage in DETECTIONS) > 0
    right = (finished == 1) & (misread == 0)
    counts = journeys.select(
        sent=pl.len(),
        recorded=(pl.col(Stage.RECORDED) > 0).sum(),
        lost=(finished == 0).sum(),
        repeated=(finished + misread > 1).sum(),
        late=(pl.col("response_s") > bound).sum(),
        damaged=(misread > 0).sum(),
        detected=detected.sum(),
        compensated=(detected & right).sum(),
        frames_lost=pl.col(column_of(Stage.FRAME_LOST)).sum(),
        frames_repeated=pl.col(column_of(Stage.FRAME_REPEATED)).sum(),
        frames_damaged=pl.col(column_of(Stage.FRAME_DAMAGED)).sum(),
    )
    return dict(counts.row(0, named=True))


def on_time(journeys: pl.DataFrame, bound: float) -> float | None:
    """Share of the events sent that were in the state within `bound` seconds of their receipt; lost ones were not.

    Whoever throws events away has quick ones left: counting those only would make a virtue of loss.
    """
    if journeys.is_empty():
        return None
    share: float = journeys.select((pl.col("response_s") <= bound).fill_null(value=False).mean()).item()
    return share
