"""How long a slider takes to answer on the bundled clips: the plain function's figure, and putting
it into the live figure.

    python benchmarks/widgets.py --clip rat

Prints the expensive half (once) and the slowest of several answers, in CPU milliseconds of one
thread; writes build/bench/widgets-<clip>.json. The bound is 100 ms an answer; beyond it the exit
status is 1.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch

from bkind3d_lite.files import write_atomically
from bkind3d_lite.model import Objective
from bkind3d_lite.training import begin, load, track
from bkind3d_lite.viz import interactive, widgets
from bkind3d_lite.viz.skeleton_edits import Editing
from bkind3d_lite.volumes import Grid
from bkind3d_lite.workflows.quickstart import QUICK_RECIPES, opened, shipped

BOUND = 100.0


def timed(make, answers: list[dict]) -> dict:
    """Seconds of the expensive half, milliseconds of the slowest answer (drawing and showing),
    kilobytes of the figure."""
    start = time.process_time()
    draw = make()
    once, slowest = time.process_time() - start, 0.0
    screen = widgets.Screen(draw(**answers[0]))
    for values in answers[1:] * 2:
        start = time.process_time()
        figure = draw(**values)
        screen.show(figure)
        slowest = max(slowest, 1000 * (time.process_time() - start))
    return {
        "once_s": round(once, 2),
        "slowest_ms": round(slowest, 1),
        "figure_kb": round(len(figure.to_json()) / 1000),
    }


def questions(name: str) -> dict:
    """Every explorer on real data: maker and arguments of a few answers."""
    first, second = opened(name)
    clip, recipe = second.clip, begin(QUICK_RECIPES[name], first.clip).recipe
    model = (
        load(shipped(name))[0]
        if shipped(name).is_file()
        else begin(QUICK_RECIPES[name], first.clip).model
    )
    recipe = load(shipped(name))[1] if shipped(name).is_file() else recipe
    some = torch.arange(0, len(first.clip), 8)
    known, found = (
        track(model, recipe, first.clip, first.survey, some),
        track(model, recipe, clip, second.survey, torch.arange(0, len(clip), 8)),
    )
    truth, joint = clip.truth[::8], clip.truth[30, :1]
    batch = clip.batch([30], 6, recipe.data.image_wh, second.survey, recipe.volume.crop)
    with torch.no_grad():
        now = model(batch).now
    maps, side = (
        interactive.spots(clip.rig, joint, (64, 64), 0.05)[:, 0],
        recipe.volume.crop or recipe.volume.side,
    )
    names, objective = clip.rig.names, Objective(recipe, len(model.edges.pairs), side)
    return {
        "frame gap": (
            lambda: interactive.gaps(clip),
            [dict(time=t, gap=g) for t, g in ((30, 6), (30, 7), (60, 12), (90, 3))],
        ),
        "volume placer": (
            lambda: interactive.placing(clip.rig, clip.frames[0]),
            [dict(z=50.0, side=side * s) for s in (1, 1.1, 0.7, 2)],
        ),
        "views on/off": (
            lambda: interactive.votes(
                clip.rig, maps, Grid(second.survey.centre[30], side, 24), joint[0]
            ),
            [
                dict(),
                dict(views=names[:2]),
                dict(views=names[:3], how="product", share=0.3),
                dict(views=names[:2], planes=True),
            ],
        ),
        "edges": (
            lambda: interactive.drawing(now.ndc[0], model.edges.pairs, model.edges.weights),
            [
                dict(),
                dict(sigma=0.1, keep=20),
                dict(sigma=0.04, edge=0, weight=0.0),
                dict(sigma=0.2),
            ],
        ),
        "losses on/off": (
            lambda: interactive.pulls(model, objective, batch, found.skeleton),
            [dict(), dict(terms=["reconstruct"]), dict(terms=["cover", "separate"])],
        ),
        "keypoints kept": (
            lambda: interactive.keeping(known, first.clip.truth[some], found, truth, clip.skeleton),
            [dict(), dict(keypoints=5), dict(keypoints=9, time=20)],
        ),
        "skeleton editor": (
            lambda: interactive.edited(found),
            [
                dict(),
                dict(
                    editing=Editing({"k0": "snout"}, {"k0": "#ff0000"}, (("k1", "k2"),), ("k3",)),
                    time=9,
                ),
            ],
        ),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clip", choices=tuple(QUICK_RECIPES), default="rat")
    name = parser.parse_args().clip
    torch.set_num_threads(1)
    rows = {question: timed(*how) for question, how in questions(name).items()}
    print(f"{'':16s} {'once s':>8s} {'answer ms':>10s} {'figure kB':>10s}")
    for question, row in rows.items():
        print(
            f"{question:16s} {row['once_s']:8.2f} {row['slowest_ms']:10.1f} {row['figure_kb']:10d}"
        )
    path = Path("build/bench") / f"widgets-{name}.json"
    write_atomically(
        path, lambda temporary: temporary.write_text(json.dumps(rows, indent=2) + "\n")
    )
    return int(max(row["slowest_ms"] for row in rows.values()) > BOUND)


if __name__ == "__main__":
    sys.exit(main())
