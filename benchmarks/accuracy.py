"""The rows of the paper's Tables 2 to 4 for the bundled clips: every row one change of a base
recipe, all under one budget of steps.

    python benchmarks/accuracy.py --clip rat --steps 400 --seeds 0 1
    python benchmarks/accuracy.py --clip rat --base quick --steps 150 --rows full no-hull

The first trains the siblings and the ablation, the second one switch beyond the paper off.

Bases: `reduced`, the paper's method without any switch beyond it, at a size that a CPU trains in
minutes; `lean`, the preset for people without a data centre at the same size; `quick`, the clip's
preset with all switches. Prints PMPJPE, MPJPE (mm) and on-body on the held-out part and CPU seconds
of training, mean +- half the range over the seeds, beside what needs no training; writes every run
as it ends to build/bench/accuracy-<clip>.json.
--resume keeps the runs that are there and does the rest.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from dataclasses import replace
from pathlib import Path

import torch

from bkind3d_lite.clips import SurveyedClip
from bkind3d_lite.evaluation import baselines
from bkind3d_lite.files import write_atomically
from bkind3d_lite.recipes import LEAN, VARIANTS, Recipe
from bkind3d_lite.training import batches, begin, train
from bkind3d_lite.workflows.evaluate_run import score_parts
from bkind3d_lite.workflows.quickstart import QUICK_RECIPES as QUICK
from bkind3d_lite.workflows.quickstart import opened

# a quarter of the paper's lengths: 64 of 256 px, 16 of 64 heatmap cells and voxels
SMALL = Recipe("reduced").with_(
    image_wh=(64, 64),
    voxels=16,
    encoder_width=24,
    channels=16,
    v2v_width=16,
    decoder_width=24,
    warmup=100,
    precision="float32",
)
REDUCED = {"rat": SMALL.with_(gaps=(0.66,)), "human": SMALL.with_(gaps=(0.4,))}
# what LEAN is to the paper's recipe, at the same quarter of the lengths: its switches, half the
# voxels a side, smaller networks; 1 / 7 of the arithmetic
SWITCHES = {
    key: LEAN.flat()[key]
    for key in (
        "background",
        "sharpness",
        "hull",
        "hull_blur",
        "mask",
        "by_motion",
        "cover",
        "separate_sigma",
    )
}
LEANER = {
    clip: recipe.with_(
        name="leaner",
        voxels=8,
        encoder_width=16,
        channels=12,
        v2v_width=12,
        decoder_width=16,
        decoder_steps=2,
        mode="animal",
        animal_side=QUICK[clip].volume.animal_side,
        **SWITCHES,
    )
    for clip, recipe in REDUCED.items()
}
BASES = {"reduced": REDUCED, "lean": LEANER, "quick": QUICK}
OFF = {  # the switches beyond the paper, one at a time
    "no-background": dict(background=False, hull=0.0, cover=0.0, mask=False),
    "no-follow": dict(mode="room"),
    "no-sharpness": dict(sharpness=1.0),
    "no-hull": dict(hull=0.0),
    "no-cover": dict(cover=0.0),
    "no-mask": dict(mask=False),
    "no-turn": dict(turn=False),
    "no-steady": dict(steady=0.0),
    "no-sure": dict(sure=0.0),
    "no-by-motion": dict(by_motion=False),
    "all-views": dict(views_per_step=None),
}
ROWS = {"full": {}, "bfloat16": dict(precision="bfloat16")} | VARIANTS | OFF
USUAL = {"reduced": ["full", *VARIANTS], "lean": ["full"], "quick": ["full", *OFF]}
DIGITS = {"pmpjpe": 1, "mpjpe": 1, "on_body": 2, "seconds": 0}


def one(recipe: Recipe, parts: tuple[SurveyedClip, SurveyedClip], seed: int) -> dict[str, float]:
    """Train for `recipe.optim.steps` and judge on the held-out part; seconds are CPU seconds of
    training."""
    run, start = begin(recipe, parts[0].clip, seed), time.process_time()
    for step in (
        train(run, batches(run, parts[0].clip, parts[0].survey)) if recipe.optim.steps else ()
    ):
        if step.index >= recipe.optim.steps:
            break
    seconds = time.process_time() - start
    return score_parts(run.model, run.recipe, parts)[1] | {"seconds": seconds}


def machine() -> str:
    day, threads = time.strftime("%Y-%m-%d"), torch.get_num_threads()
    return f"{platform.machine()}, {threads} thread(s), torch {torch.__version__}, {day}"


def measure(given: argparse.Namespace, path: Path) -> list[dict]:
    """Every row with every seed, the first seed of all rows first; each is written at once."""
    known = json.loads(path.read_text()) if given.resume and path.is_file() else {"runs": []}
    runs, parts = known["runs"], None
    for seed in given.seeds:
        for row in ["untrained", *given.rows]:
            what = {
                "base": given.base,
                "row": row,
                "steps": given.steps if row in ROWS else 0,
                "seed": seed,
            }
            if any(what.items() <= done.items() for done in runs):
                continue
            parts = parts or opened(given.clip)
            recipe = replace(
                BASES[given.base][given.clip], **{"steps": what["steps"]} | ROWS.get(row, {})
            )
            runs.append(what | one(recipe, parts, seed))
            print(
                row,
                f"seed {seed}",
                *(f"{k} {runs[-1][k]:.{digits}f}" for k, digits in DIGITS.items()),
                flush=True,
            )
            known |= {
                "clip": given.clip,
                "machine": machine(),
                "baselines": baselines(parts[0].clip.truth, parts[1].clip.truth),
            }
            write_atomically(
                path, lambda temporary: temporary.write_text(json.dumps(known, indent=1))
            )
    return runs + [
        {"base": given.base, "row": k, "steps": 0, "seed": given.seeds[0]} | v
        for k, v in known["baselines"].items()
    ]


def cell(values: list[float], digits: int) -> str:
    """Mean, and half the range where there are several."""
    spread = f" ± {(max(values) - min(values)) / 2:.{digits}f}" if len(values) > 1 else ""
    return f"{sum(values) / len(values):.{digits}f}{spread}" if values else "-"


def table(given: argparse.Namespace, runs: list[dict]) -> str:
    """Markdown, best PMPJPE first, below it what needs no training."""

    def row(name: str) -> list[str]:
        of = [
            r
            for r in runs
            if r["base"] == given.base
            and r["row"] == name
            and r["seed"] in given.seeds
            and r["steps"] in (0, given.steps)
        ]
        return [cell([r[key] for r in of if key in r], digits) for key, digits in DIGITS.items()]

    ranked = sorted(given.rows, key=lambda name: float(row(name)[0].split()[0]))
    lines = [
        f"| {name} | {' | '.join(row(name))} |"
        for name in [*ranked, "untrained", "centroid", "mean_pose"]
    ]
    return "\n".join(
        ["| row | PMPJPE mm | MPJPE mm | on-body | CPU s |", "|---|---|---|---|---|", *lines]
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clip", choices=sorted(QUICK), default="rat")
    parser.add_argument("--base", choices=sorted(BASES), default="reduced")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument(
        "--rows",
        nargs="+",
        choices=list(ROWS),
        help="default: the siblings and ablation (reduced), the switches (quick)",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="keep the runs of the same base, row, steps and seed that were written before",
    )
    given = parser.parse_args()
    given.rows = given.rows or USUAL[given.base]
    path = Path("build/bench") / f"accuracy-{given.clip}.json"
    runs = measure(given, path)
    print(
        f"\n{given.clip}, base {given.base}, {given.steps} steps, seeds {given.seeds}; {machine()}"
    )
    print(f"\n{table(given, runs)}\n\nwrote {path}")


if __name__ == "__main__":
    main()
