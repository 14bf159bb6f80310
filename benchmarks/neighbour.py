"""Another program on the machine, for ``verdicts.py``: bursts of arithmetic and of copying memory, with pauses between.

Ends when its standard input is closed.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time

import numpy as np

LONGEST_S = 0.6


def main() -> None:
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    source = np.ones(8_000_000)  # 64 MB: more than the caches hold
    target, square = np.empty_like(source), np.ones((256, 256), np.float32)
    while True:
        until = time.perf_counter() + random.uniform(0, LONGEST_S)  # noqa: S311 - noise, not a secret
        work = random.choice(("copy", "multiply"))  # noqa: S311
        while time.perf_counter() < until:
            if work == "copy":
                np.copyto(target, source)
            else:
                square @ square
        time.sleep(random.uniform(0, LONGEST_S))  # noqa: S311


if __name__ == "__main__":
    main()
