"""SimPy moves time; the core decides what it means.

The real event-sourcing core runs inside: the model hands it frames, time and chance, and watches what it does.
Simulation imports neither adapters nor metrics: it is handed `Ports` and a `Tracer`.
"""
