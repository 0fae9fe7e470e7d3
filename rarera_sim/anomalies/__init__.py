"""Detectors of abnormal behaviour with River's verbs, the alert policy after them, and remedies."""

from rarera_sim.anomalies.alerts import AlertPolicy
from rarera_sim.anomalies.base import Behaviour, Detector, Finding, Watch, report, timeline_frame
from rarera_sim.anomalies.checks import check_detector
from rarera_sim.anomalies.defaults import default_watch
from rarera_sim.anomalies.level import Drift, Level
from rarera_sim.anomalies.remedies import AddCapacity, Compensation, Compensator, FallBack, QuarantineSource, Remedy
from rarera_sim.anomalies.repetition import CausationLoop, Looping, Stuck
from rarera_sim.anomalies.rhythm import Rate, Silence
from rarera_sim.anomalies.surprise import Surprise, default_alerts

__all__ = [
    "AddCapacity",
    "AlertPolicy",
    "Behaviour",
    "CausationLoop",
    "Compensation",
    "Compensator",
    "Detector",
    "Drift",
    "FallBack",
    "Finding",
    "Level",
    "Looping",
    "QuarantineSource",
    "Rate",
    "Remedy",
    "Silence",
    "Stuck",
    "Surprise",
    "Watch",
    "check_detector",
    "default_alerts",
    "default_watch",
    "report",
    "timeline_frame",
]
