"""Open thousands of damaged model files of every format; each must end in a model or in one clear sentence.

``python scripts/fuzz_loaders.py --mutants 5000`` takes about a quarter of an hour on two cores. Prints one line per format and
every broken promise with the seed that repeats it; the exit status is 1 where there is one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import fuzzing


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--format", default="all", choices=["all", *fuzzing.MUTATORS])
    parser.add_argument("--mutants", type=int, default=5000, help="per format")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="per format, at most")
    options = parser.parse_args()
    broken = 0
    with tempfile.TemporaryDirectory() as folder:
        originals = fuzzing.originals(Path(folder) / "originals")
        for kind, original in originals.items():
            if options.format not in ("all", kind):
                continue
            start = time.monotonic()
            found = fuzzing.fuzz(kind, original, options.mutants, options.seed, Path(folder) / kind, options.seconds)
            broken += len(found.broken)
            print(
                f"{kind}: {found.opened + found.refused} mutants in {time.monotonic() - start:.0f} s: {found.opened} opened, "
                f"{found.refused} refused ({found.killed} by ending their reader), slowest {found.slowest_s:.1f} s, "
                f"{len(found.broken)} broken promises",
                flush=True,
            )
            for text in found.broken:
                print(f"  {text}", flush=True)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
