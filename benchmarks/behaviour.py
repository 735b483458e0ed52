"""Behaviour: what the true joints of rendered clips tell of what the animal does, beside baselines.

    MUJOCO_GL=osmesa python tools/render_samples.py --clip rat --part train --dry --every 3 \
        --frames 6000 --seed 5 --out acts/5        # and another seed to test on
    python benchmarks/behaviour.py --train acts/5/rat/train --test acts/8/rat/train

Folders hold truth.npz and acts.npz, of other seeds than the bundled clips, whose few bouts prove
nothing. With `--bouts` it only counts how often each act begins. Joints are read as they are,
and with noise of the size of a tracker's.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from bkind3d_lite.clips import Skeleton, Track
from bkind3d_lite.tasks import BehaviourClassifier, PoseFeatures, read_acts
from bkind3d_lite.workflows.classify_rows import ClassifyRow, LabelledPart, classified, table_of
from bkind3d_lite.workflows.classify_run import alike


def true_part(folder: Path, noise: float, only: str) -> LabelledPart:
    """The true joints of a rendered folder as a labelled track; noise in the unit of the truth."""
    begin, end = (float(x) for x in only.split(":"))
    with np.load(folder / "truth.npz") as truth:
        names = tuple(str(n) for n in truth["names"])
        edges = tuple((int(a), int(b)) for a, b in truth["edges"])
        world, fps = torch.from_numpy(truth["positions"]), float(truth["fps"])
    acts = read_acts(folder / "acts.npz")
    rows = slice(int(begin * len(world)), int(end * len(world)))
    world = world + noise * torch.randn(world.shape, generator=torch.Generator().manual_seed(0))
    track = Track(world[rows], torch.ones(world[rows].shape[:2]), Skeleton(names, edges), fps)
    acts = type(acts)(acts.names, acts.labels[rows])
    return LabelledPart(f"{folder.parents[1].name}", acts, fps, track=track)


def measured(args: argparse.Namespace) -> list[ClassifyRow]:
    """All rows of the table."""
    rows = []
    for noise in (0.0, args.noise):
        parts = [
            [true_part(folder, noise, only) for folder in folders]
            for folders, only in ((args.train, args.train_share), (args.test, args.test_share))
        ]
        train, test, _ = alike(*parts)
        how = dict(epochs=args.epochs, batch=64)
        made = [
            BehaviourClassifier.in_seconds(args.seconds, train[0].fps, seed=seed, **how)
            for seed in args.seeds
        ]
        words = f"true joints{f' + {noise:g} mm' if noise else ''}"
        both = (train, test)
        rows.append(classified(f"{words}, body", PoseFeatures(frame="body"), both, made))
        if not noise:
            flat = PoseFeatures(frame="body", height=False)
            rows.append(classified(f"{words}, body, no height", flat, both, made))
            rows.append(classified("centroid alone", PoseFeatures(frame="centroid"), both, made))
            body = PoseFeatures(frame="body")
            rows.append(classified("shuffled labels", body, both, made[:1], shuffled=True))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=Path, nargs="+", required=True)
    parser.add_argument("--test", type=Path, nargs="+", required=True)
    parser.add_argument("--train-share", default="0:1", help="which part of them, FROM:TO")
    parser.add_argument("--test-share", default="0:1")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--noise", type=float, default=20.0, help="mm")
    parser.add_argument("--bouts", action="store_true")
    args = parser.parse_args()
    for name, folders in (("train", args.train), ("test", args.test)):
        only = args.train_share if name == "train" else args.test_share
        for folder in folders:
            part = true_part(folder, 0.0, only)
            seconds = len(part.acts.labels) / part.fps
            print(f"{name} {folder}: {seconds:.0f} s, bouts {part.acts.bouts()}")
    if not args.bouts:
        print(table_of(measured(args)))


if __name__ == "__main__":
    main()
