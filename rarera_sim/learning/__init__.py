"""Online models that policies and detectors use: River's verbs, a training phase, then test-then-train.

Every model is fed one sample at a time and asked in between. Nothing here draws, waits or reads a clock, and no single
sample, be it NaN or 1e300, can spoil a model for good.
"""
