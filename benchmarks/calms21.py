"""CalMS21's JSON at its true size: how much memory and time its reader takes.

    python benchmarks/calms21.py [--gigabytes 1]

Writes a file of the data set's structure (70 sequences, two mice, seven parts, scores, labels, a
vocabulary), reads it in a process of its own as `bkind3d classify` does, keeping every sequence's
arrays, and prints the most memory that this process ever held, its libraries counted.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

READ = """
import resource, sys
from bkind3d_lite.workflows.classify_run import labelled_parts
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
parts = labelled_parts([sys.argv[1]])
rows = sum(len(part.acts.labels) for part in parts)
print(len(parts), rows, before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
SEQUENCES = 70
VOCABULARY = {"mount": 2, "other": 0, "attack": 3, "investigation": 1}


def write(path: Path, size: float) -> int:
    """A file of about so many bytes; how many it has."""
    random = np.random.default_rng(0)
    frames = round(200 * size / SEQUENCES / len(json.dumps(_entry(random, 200))))
    entry = json.dumps(_entry(random, frames))
    with open(path, "w") as file:
        file.write('{"annotator-id_0": {')
        for n in range(SEQUENCES):
            name = f"task1/train/mouse{n + 1:03d}_task1_annotator1"
            file.write(f"{', ' if n else ''}{json.dumps(name)}: {entry}")
        file.write("}}")
    return path.stat().st_size


def _entry(random: np.random.Generator, frames: int) -> dict:
    return dict(
        keypoints=(random.random((frames, 2, 2, 7)) * 500).tolist(),
        scores=random.random((frames, 2, 7)).tolist(),
        annotations=random.integers(0, 4, frames).tolist(),
        metadata={"vocab": VOCABULARY},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=1.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "calms21_task1_train.json"
        size = write(path, given.gigabytes * 1e9)
        start = time.perf_counter()
        told = subprocess.run(
            [sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=True
        )
    parts, rows, before, peak = (int(word) for word in told.stdout.split())
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"{size / 1e9:.2f} GB, {parts} sequences, {rows} frames: read in "
        f"{time.perf_counter() - start:.0f} s ({used.ru_utime:.0f} CPU s); at most "
        f"{1024 * peak / 1e9:.2f} GB held, of which libraries {1024 * before / 1e9:.2f}: "
        f"{1024 * peak / size:.2f} x the file's size"
    )


if __name__ == "__main__":
    main()
