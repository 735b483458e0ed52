"""The rows of the paper's Tables 2 to 4 for the bundled clips: every row one change of a base
recipe, all under one budget of steps.

    python benchmarks/accuracy.py --clip rat --steps 400 --seeds 0 1
    python benchmarks/accuracy.py --clip rat --base quick --steps 150 --rows full no-hull
    python benchmarks/accuracy.py --clip rat --base quick --rows shipped

The first trains the siblings and the ablation, the second one switch beyond the paper off; the
third trains nothing and judges the checkpoint that ships.

Bases: `reduced`, the paper's method without any switch beyond it, at a size that a CPU trains in
minutes; `lean`, the preset for people without a data centre at the same size; `quick`, the clip's
preset with all switches. Prints PMPJPE, MPJPE (mm), PMPJPE by a
regression in the body's frame, on-body, the shares that room and body explain
(R2), turning on the held-out part, and CPU seconds of training, mean +- half the range over the
seeds, beside what needs no training: the untrained network in the same volume, the rigid template
(centre, heading, a mean offset for each joint), the true centroid, the mean pose. Writes every run
as it ends to build/bench/accuracy-<clip>.json.
--resume keeps the runs that are there and does the rest.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path

import torch

from bkind3d_lite.clips import SurveyedClip
from bkind3d_lite.clips.heading_finder import headed
from bkind3d_lite.files import write_atomically
from bkind3d_lite.recipes import LEAN, VARIANTS, Recipe
from bkind3d_lite.training import batches, begin, load, train
from bkind3d_lite.training.loop import Run
from bkind3d_lite.training.orientation import oriented_part
from bkind3d_lite.workflows.evaluate_run import references, score_parts
from bkind3d_lite.workflows.quickstart import QUICK_RECIPES as QUICK
from bkind3d_lite.workflows.quickstart import opened
from bkind3d_lite.workflows.quickstart import shipped as checkpoint_of

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
    "no-heading": dict(by_heading=False, steady_in="room"),
    "no-sure": dict(sure=0.0),
    "no-by-motion": dict(by_motion=False),
    "no-mirror": dict(mirror=False),
    "no-realign": dict(realign=False),
    "no-by-shape": dict(by_shape=False),
    "no-cover-body": dict(cover_body=0.0),
    "all-views": dict(views_per_step=None),
}
ON = {
    "bfloat16": dict(precision="bfloat16"),
    "with-shape": dict(shape=True),
    "with-twins": dict(twins=0.67),
}
ROWS = {"full": {}} | ON | VARIANTS | OFF
SHIPPED = "shipped"  # a row that is not trained: the clip's checkpoint
USUAL = {"reduced": ["full", *VARIANTS], "lean": ["full"], "quick": ["full", *OFF]}
DIGITS = {
    "pmpjpe": 1,
    "mpjpe": 1,
    "pmpjpe_in_body": 1,
    "on_body": 2,
    "r2_room": 2,
    "r2_body": 2,
    "turning": 2,
    "seconds": 0,
}
NO_TRAINING = ("untrained", "rigid_template", "centroid", "mean_pose")
Parts = tuple[SurveyedClip, SurveyedClip]


class Orienter:
    """Both parts with the headings that a model's look tells; the first part's walk teaches it,
    once for all runs. A model whose volume does not turn with the animal gets parts without."""

    def __init__(self, parts: Parts):
        self.plain, self.turned, self.look, self.known = parts, None, None, None

    def __call__(self, run: Run) -> Parts:
        if run.model.look is None:
            return self.plain
        if self.turned is None:
            steps = run.recipe.volume.look_steps
            first = oriented_part(run.model, self.plain[0], teach=steps)
            self.turned = first, oriented_part(run.model, self.plain[1])
            self.look = run.model.look.state_dict()
        run.model.look.load_state_dict(self.look)
        return self.turned

    def references(self) -> dict[str, dict[str, float]]:
        """What needs no network; where no model asked for headings, with those of hull and walk."""
        if self.known is None:
            self.known = references(self.turned or tuple(_headed(part) for part in self.plain))
        return self.known


def _headed(part: SurveyedClip) -> SurveyedClip:
    return SurveyedClip(part.clip, headed(part.clip, part.survey))


def one(recipe: Recipe, orient: Orienter, seed: int, steps: int) -> dict[str, float | None]:
    """Train for so many steps, 0: not at all, and judge on the held-out part; seconds are CPU
    seconds of training, once the look is taught."""
    run = begin(recipe, orient.plain[0].clip, seed)
    parts, start = orient(run), time.process_time()
    for step in train(run, batches(run, parts[0].clip, parts[0].survey)) if steps else ():
        if step.index >= steps:
            break
    seconds = time.process_time() - start
    return score_parts(run.model, run.recipe, parts)[1] | {"seconds": seconds}


def shipped(clip: str, orient: Orienter) -> dict[str, float | None]:
    """The checkpoint of the clip, judged on the held-out part; its own look tells the headings."""
    model, recipe, _ = load(checkpoint_of(clip))
    first, second = (oriented_part(model, part) for part in orient.plain)
    return score_parts(model, recipe, (first, second))[1] | {"seconds": 0.0}


def machine() -> str:
    day, threads = time.strftime("%Y-%m-%d"), torch.get_num_threads()
    return f"{platform.machine()}, {threads} thread(s), torch {torch.__version__}, {day}"


def measure(given: argparse.Namespace, path: Path) -> list[dict]:
    """Every row with every seed, the first seed of all rows first; each is written at once."""
    known = json.loads(path.read_text()) if given.resume and path.is_file() else {"runs": []}
    runs, orient = known["runs"], None
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
            orient = orient or Orienter(opened(given.clip))
            changes = {"steps": given.steps} | ROWS.get(row, {})
            recipe = BASES[given.base][given.clip].with_(**changes)
            if row == SHIPPED:
                scores = shipped(given.clip, orient)
            else:
                scores = one(recipe, orient, seed, what["steps"])
            runs.append(what | scores)
            print(
                row,
                f"seed {seed}",
                *(f"{k} {cell([runs[-1].get(k)], digits)}" for k, digits in DIGITS.items()),
                flush=True,
            )
            known |= {
                "clip": given.clip,
                "machine": machine(),
                "baselines": orient.references(),
            }
            write_atomically(
                path, lambda temporary: temporary.write_text(json.dumps(known, indent=1))
            )
    return runs + [
        {"base": given.base, "row": k, "steps": 0, "seed": given.seeds[0]} | v
        for k, v in known["baselines"].items()
    ]


def usual(base: Recipe, rows: list[str]) -> list[str]:
    """The rows that change this base: the rat has no `by_shape` to go without."""
    return [row for row in rows if not ROWS[row] or base.with_(**ROWS[row]) != base]


def cell(values: list[float | None], digits: int) -> str:
    """Mean, and half the range where there are several; None: not told."""
    values = [v for v in values if v is not None]
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
    lines = [f"| {name} | {' | '.join(row(name))} |" for name in [*ranked, *NO_TRAINING]]
    heads = "PMPJPE mm | MPJPE mm | in body | on-body | R2 room | R2 body | turning | CPU s"
    return "\n".join([f"| row | {heads} |", f"|---{'|---' * len(DIGITS)}|", *lines])


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
        choices=[*ROWS, SHIPPED],
        help="default: the siblings and ablation (reduced), the switches (quick)",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="keep the runs of the same base, row, steps and seed that were written before",
    )
    given = parser.parse_args()
    given.rows = given.rows or usual(BASES[given.base][given.clip], USUAL[given.base])
    path = Path("build/bench") / f"accuracy-{given.clip}.json"
    runs = measure(given, path)
    print(
        f"\n{given.clip}, base {given.base}, {given.steps} steps, seeds {given.seeds}; {machine()}"
    )
    print(f"\n{table(given, runs)}\n\nwrote {path}")


if __name__ == "__main__":
    main()
