"""A network of one image pretrained in 2D, on people rendered from other seeds.

    MUJOCO_GL=osmesa python tools/render_samples.py --clip human --part train --seed 77 \\
        --frames 600 --every 10 --out build/people                  # and with other seeds
    python benchmarks/marked_people.py build/people/human/train ... [--size 96] [--steps 1500]

What the tool has rendered is written as MPII would have it (`annot.json`, images), read again, and
taught to a student of one cell of depth; the bundled human, never trained on, asks (125 moments,
four cameras). PCKh@0.5 of its 14 counted joints but the neck, which it lacks; its head is six
tenths of what lies between thorax and head top, as MPII's is six tenths of a marked box's diagonal.
Told of the truth is the box. The run goes to build/bench/flat_SEED; adds to
build/bench/marked_people.json.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from bkind3d_lite.clips import MultiViewClip, open_clip
from bkind3d_lite.clips.clip import SurveyedClip
from bkind3d_lite.clips.lessons import labels_of, roots
from bkind3d_lite.files import bundled, write_atomically
from bkind3d_lite.recipes import STUDENT
from bkind3d_lite.students.mpii import (
    FLAT_SIDE,
    MPII_NAMES,
    mpii_clip,
    pckh,
    read_mpii,
    save_mpii,
)
from bkind3d_lite.students.student import all_pictures, recite
from bkind3d_lite.training.loop import begin
from bkind3d_lite.workflows.train_run import fit

OUT = Path(__file__).parents[1] / "build" / "bench"
MOST = 150  # moments of a film, of each camera
HEAD = 0.6  # of thorax to head top


def marked(clip: MultiViewClip, folder: Path, every: int) -> MultiViewClip:
    """A clip's truth through MPII's files."""
    if not (folder / "annot.json").is_file():
        save_mpii(clip, folder, range(0, len(clip), every))
    return mpii_clip(read_mpii(folder / "annot.json", folder / "images"))


def joined(clips: list[MultiViewClip]) -> MultiViewClip:
    """Marked pictures of several films as one clip."""
    first, *_ = clips
    parts = {
        key: torch.cat([torch.as_tensor(getattr(clip, key)) for clip in clips])
        for key in ("frames", "truth", "trust")
    }
    return MultiViewClip(rig=first.rig, fps=1.0, skeleton=first.skeleton, name="people", **parts)


def pckh_of(said: torch.Tensor, clip: MultiViewClip) -> dict[str, float]:
    """PCKh@0.5 and @0.1 of poses about the root, and of the mean pose."""
    world, _, names = labels_of(clip)
    truth = world - roots(world, names)[:, None]
    thorax, top = (MPII_NAMES.index(name) for name in ("thorax", "head_top"))
    head = HEAD * (truth[:, thorax] - truth[:, top])[:, :2].norm(dim=-1)
    rows = {}
    for name, poses in (("student", said), ("mean pose", truth.nanmean(0).expand_as(truth))):
        for within in (0.5, 0.1):
            rows[f"{name} PCKh@{within}"] = float(pckh(poses, truth, within, head).nanmean())
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("people", nargs="+", type=Path, help="rendered films with truth")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--steps", type=int, default=1500)
    given = parser.parse_args()
    start, parts = time.process_time(), []
    for place in given.people:
        clip = open_clip(place)
        name = "_".join(place.resolve().parts[-3:])
        parts.append(marked(clip, OUT / "marked" / name, max(1, len(clip) // MOST)))
    taught = joined(parts)
    human = open_clip(bundled("data_samples") / "human" / "test")
    asked = marked(human, OUT / "marked" / "bundled", 8)
    recipe = STUDENT.with_(
        depth_cells=1, side=FLAT_SIDE, steps=given.steps, image_wh=(given.size, given.size),
        encoder_width=16,
    )  # fmt: skip
    run = begin(recipe, taught, given.seed)
    fit(run, SurveyedClip(taught, None), OUT / f"flat_{given.seed}", pictures_every=500)
    row = dict(seed=given.seed, size=given.size, steps=given.steps, pictures=len(taught))
    row |= dict(seconds=time.process_time() - start)
    row |= pckh_of(recite(run.model, run.recipe, asked, all_pictures(asked), side=FLAT_SIDE), asked)
    path = OUT / "marked_people.json"
    rows = (json.loads(path.read_text()) if path.is_file() else []) + [row]
    write_atomically(path, lambda file: file.write_text(json.dumps(rows, indent=1)))
    print(json.dumps(row))


if __name__ == "__main__":
    main()
