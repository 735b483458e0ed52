"""What a second thread that decodes ahead costs and saves, wall seconds of a training step.

    python benchmarks/threads.py [--clip human] [--steps 40] [--threads 2] [--rounds 2]

The quick preset of a bundled clip, whose frames are decoded once and kept, as quickstart does:
pairs made between the steps; by the thread of `training.prefetch`, which computes alone; and by the
same thread with helpers of its own, as it would have if nobody forbade it. On a quiet machine only:
these are wall seconds, beside the CPU's.
"""

import argparse
import itertools
import time
from collections.abc import Iterator

import torch

from bkind3d_lite import survey
from bkind3d_lite.clips import open_clip
from bkind3d_lite.clips.sampling import Batch
from bkind3d_lite.training import batches, begin, train
from bkind3d_lite.training.prefetch import prefetch
from bkind3d_lite.workflows.quickstart import FRAME_BUDGET, QUICK_RECIPES, SAMPLES

WARM = 3  # steps before the clock starts


def helped(pairs: Iterator[Batch], threads: int) -> Iterator[Batch]:
    """The same batches, made by a thread that has helpers."""
    torch.set_num_threads(threads)
    yield from pairs


def seconds(run, pairs: Iterator[Batch], count: int) -> tuple[float, float]:
    """Wall and CPU seconds of a step."""
    steps = train(run, pairs)
    for _ in range(WARM):
        next(steps)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(count):
        next(steps)
    spent = time.perf_counter() - wall, time.process_time() - cpu
    steps.close()
    return spent[0] / count, spent[1] / count


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clip", choices=sorted(QUICK_RECIPES), default="human")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    clip = open_clip(SAMPLES / given.clip / "train", budget=FRAME_BUDGET)
    recipe = QUICK_RECIPES[given.clip].with_(look_steps=0)  # which way it faces costs no step more
    run = begin(recipe, clip)
    drawn = batches(run, clip, survey(clip))
    ways = {
        "between the steps": lambda pairs: pairs,
        "ahead, by a thread alone (as it ships)": prefetch,
        "ahead, by a thread with helpers": lambda pairs: prefetch(helped(pairs, given.threads)),
    }
    print(
        f"{given.clip}, {given.threads} threads, {given.steps} steps: wall and CPU seconds a step"
    )
    for name, made in itertools.chain(*[ways.items()] * given.rounds):
        torch.set_num_threads(given.threads)
        some = itertools.islice(drawn, given.steps + WARM + 4)
        wall, cpu = seconds(run, made(some), given.steps)
        print(f"{name:40s} {wall:.3f} {cpu:.3f}", flush=True)


if __name__ == "__main__":
    main()
