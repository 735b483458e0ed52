"""What each switch beyond the paper is worth: the quick preset, then the same with one switch off, under one budget.

    python benchmarks/switches.py --clip rat --steps 300 --seeds 0

Prints a table (PMPJPE, MPJPE, on-body on the held-out part) and writes build/bench/switches-<clip>.json.
"""
import argparse
import json
import platform
import time
from dataclasses import replace
from pathlib import Path

import torch

from bkind3d_lite.evaluation import baselines
from bkind3d_lite.files import write_atomically
from bkind3d_lite.quickstart import RECIPES, judge, opened
from bkind3d_lite.training import batches, begin, train

OFF = {
    "all on": {}, "background off": {"background": False, "hull": 0.0, "cover": 0.0, "mask": False}, "follow off": {"follow": None},
    "sharpness 1": {"sharpness": 1.0}, "hull off": {"hull": 0.0}, "cover off": {"cover": 0.0}, "mask off": {"mask": False},
    "turn off": {"turn": False}, "steady off": {"steady": 0.0}, "sure off": {"sure": 0.0}, "jitter off": {"jitter": 0.0},
    "by_motion off": {"by_motion": False}, "length off": {"length": 0.0}, "all views at each step": {"views": None},
}


def one(recipe, parts, seed: int) -> dict:
    run, start = begin(recipe, parts[0].clip, seed), time.perf_counter()
    for step in train(run, batches(run, parts[0].clip, parts[0].survey)):
        if step.index >= recipe.steps:
            break
    seconds = time.perf_counter() - start
    return judge(run.model, run.recipe, parts)[1] | {"seconds_per_step": seconds / recipe.steps}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", choices=sorted(RECIPES), default="rat")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", choices=list(OFF), default=list(OFF))
    given = parser.parse_args()
    parts = opened(given.clip)
    results = {"baselines": baselines(parts[0].clip.truth, parts[1].clip.truth), "steps": given.steps,
               "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}", "switches": {}}
    print(f"{'switch':26s} {'PMPJPE mm':>10s} {'MPJPE mm':>10s} {'on-body':>8s} {'s/step':>7s}   ({given.clip}, {given.steps} steps, seeds {given.seeds})")
    for name in given.only:
        recipe = replace(RECIPES[given.clip], steps=given.steps, **OFF[name])
        rows = [one(recipe, parts, seed) for seed in given.seeds]
        mean = {k: sum(row[k] for row in rows) / len(rows) for k in rows[0]}
        results["switches"][name] = {"mean": mean, "seeds": rows}
        print(f"{name:26s} {mean['pmpjpe']:10.1f} {mean['mpjpe']:10.1f} {mean['on_body']:8.2f} {mean['seconds_per_step']:7.2f}", flush=True)
    text = json.dumps(results, indent=1)
    path = write_atomically(Path("build/bench") / f"switches-{given.clip}.json", lambda temporary: temporary.write_text(text))
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
