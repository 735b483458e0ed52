"""The README's pictures, from the shipped checkpoints and the same functions that draw the report.

    python tools/make_stills.py

Writes docs/images/<clip>_overlay.jpg and docs/images/<clip>_skeleton.png (held-out frames).
"""

from pathlib import Path

import torch
from PIL import Image

from bkind3d_lite.files import write_atomically
from bkind3d_lite.training import load, track
from bkind3d_lite.viz import closeups
from bkind3d_lite.viz.report_page import stills
from bkind3d_lite.workflows.quickstart import QUICK_RECIPES, opened, shipped

MOMENTS = {"rat": (60, 130, 250), "human": (100, 260, 420)}


def main() -> None:
    for clip in QUICK_RECIPES:
        if not shipped(clip).is_file():
            print(f"no {shipped(clip)}: train it with tools/train_sample_checkpoint.py")
            continue
        model, recipe, _ = load(shipped(clip))
        part = opened(clip)[1]
        found = track(model, recipe, part.clip, part.survey)
        times = MOMENTS[clip]
        folder = Path(__file__).parents[1] / "docs" / "images"
        image = Image.fromarray(closeups(part.clip, found, times[:2], views=[0, 1, 2, 3]))
        image.thumbnail((1000, 700))
        write_atomically(folder / f"{clip}_overlay.jpg", lambda p: image.save(p, quality=85))
        figure = stills(found, times, part.clip.truth, part.clip.skeleton)
        write_atomically(
            folder / f"{clip}_skeleton.png",
            lambda p: figure.savefig(p, dpi=90, bbox_inches="tight"),
        )
        print(
            f"wrote {folder}/{clip}_*.png; mean confidence "
            f"{float(torch.mean(found.confidence)):.2f}"
        )


if __name__ == "__main__":
    main()
