"""One reading of a TSV, timed and weighed in a process of its own, which loads what it needs.

``python -m tests.benchmarks.manifest FILE pandas`` or ``... ours`` prints seconds and gigabytes.
"""

import resource
import sys
import time
from pathlib import Path

import pandas as pd


def main() -> None:
    path, what = Path(sys.argv[1]), sys.argv[2]
    if what == "ours":
        from training.sources.aihub import read_tsv  # noqa: PLC0415  # pandas alone needs less
        from training.splits import split_parts  # noqa: PLC0415

    started = time.perf_counter()
    if what == "ours":
        table, _ = read_tsv(path)
        split_parts(table, {"train": 80, "validation": 10, "test": 10}, seed=0)
    else:
        pd.read_csv(path, sep="\t")
    seconds = time.perf_counter() - started
    # Its largest size.
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)


if __name__ == "__main__":
    main()
