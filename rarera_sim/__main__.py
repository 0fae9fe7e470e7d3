"""`python -m rarera_sim` is `rarera`."""

from __future__ import annotations

import sys

from rarera_sim.cli import main

if __name__ == "__main__":
    sys.exit(main())
