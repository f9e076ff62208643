"""``python -m backofflock``: the same as the command ``backofflock``."""

from __future__ import annotations

import sys

from backofflock.cli import main

if __name__ == "__main__":
    sys.exit(main())
