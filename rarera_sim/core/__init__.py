"""The event-sourcing core: pure values and rules; no clock, no randomness, no I/O, no SimPy, no asyncio.

Time, chance and bytes come in as arguments, so the same objects run inside the model, under pytest and in production.
"""
