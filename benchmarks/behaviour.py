"""Behaviour: what the true joints of rendered clips tell of what the animal does, beside baselines,
and what keypoints do that nobody labelled.

    for seed in 5 8; do MUJOCO_GL=osmesa python tools/render_samples.py --clip rat --part train \
        --deck rear=1 groom=1 sniff=1 look=1 --every 3 --frames 9000 --seed $seed --out acts/$seed \
        --dry; done
    python benchmarks/behaviour.py --train acts/5/rat/train --test acts/8/rat/train

Folders hold truth.npz and acts.npz, of other seeds than the bundled clips, whose few bouts prove
nothing. With `--bouts` it only counts how often each act begins. Joints are read as they are,
and with noise of the size of a tracker's. With films (without `--dry`; `--bare` is faster) and
`--checkpoint` the folders are tracked, and the keypoints read in the joints' place. Every row is
kept in `--out`, so that seeds and `--rows` may come in several calls.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from bkind3d_lite.clips import Skeleton, Track
from bkind3d_lite.clips.exports import read_track
from bkind3d_lite.tasks import (
    Acts,
    BehaviourClassifier,
    BehaviourScores,
    PoseFeatures,
    read_acts,
    score_behaviour,
)
from bkind3d_lite.training import tracking
from bkind3d_lite.training.checkpoints import load
from bkind3d_lite.training.orientation import oriented_part
from bkind3d_lite.workflows.classify_rows import ClassifyRow, LabelledPart, classified, table_of
from bkind3d_lite.workflows.classify_run import alike
from bkind3d_lite.workflows.track_run import open_surveyed

Parts = tuple[list[LabelledPart], list[LabelledPart]]
SHUFFLED = "shuffled labels"


def true_part(folder: Path, noise: float, only: str) -> LabelledPart:
    """The true joints of a rendered folder as a labelled track; noise in the unit of the truth."""
    with np.load(folder / "truth.npz") as truth:
        names = tuple(str(n) for n in truth["names"])
        edges = tuple((int(a), int(b)) for a, b in truth["edges"])
        world, fps = torch.from_numpy(truth["positions"]), float(truth["fps"])
    world = world + noise * torch.randn(world.shape, generator=torch.Generator().manual_seed(0))
    return cut(folder, Track(world, torch.ones(world.shape[:2]), Skeleton(names, edges), fps), only)


def found_part(
    folder: Path, checkpoint: Path, cameras: list[str] | None, only: str
) -> LabelledPart:
    """What a checkpoint finds in a rendered folder's films; tracked once."""
    kept = folder / "keypoints.npz"
    if not kept.is_file():
        model, recipe, header = load(checkpoint, tracking=True)
        part = oriented_part(model, open_surveyed(folder, recipe, header, cameras=cameras))
        print(f"{folder}: {part.survey.heading}", flush=True)
        tracking.track(model, recipe, part.clip, part.survey).save(kept)
    return cut(folder, read_track(kept), only)


def cut(folder: Path, track: Track, only: str) -> LabelledPart:
    """A stretch of a labelled track; `only`: FROM:TO, shares of its length."""
    begin, end = (round(float(x) * len(track.world)) for x in only.split(":"))
    acts, rows = read_acts(folder / "acts.npz"), slice(begin, end)
    fields = dict(world=track.world[rows], confidence=track.confidence[rows])
    if track.covariance is not None:
        fields["covariance"] = track.covariance[rows]
    track = Track(**fields, skeleton=track.skeleton, fps=track.fps)
    acts = Acts(acts.names, acts.labels[rows])
    return LabelledPart(folder.parents[1].name, acts, track.fps, track=track)


def both_parts(args: argparse.Namespace, read: Callable[[Path, str], LabelledPart]) -> Parts:
    """What is learned from and what is scored, numbered alike."""
    train = [read(folder, args.train_share) for folder in args.train]
    test = [read(folder, args.test_share) for folder in args.test]
    return alike(train, test)[:2]


def asked(args: argparse.Namespace) -> dict[str, tuple[PoseFeatures, Parts]]:
    """Every row's features and parts by its name."""
    true = both_parts(args, lambda folder, only: true_part(folder, 0.0, only))
    noisy = both_parts(args, lambda folder, only: true_part(folder, args.noise, only))
    body, alone = PoseFeatures(frame="body"), PoseFeatures(frame="centroid")
    removed = PoseFeatures(frame="body", height=False)
    rows = {
        "true joints": (body, true),
        "true joints, centroid removed": (removed, true),
        f"true joints + {args.noise:g} mm": (body, noisy),
        "true centroid alone": (alone, true),
    }
    if args.checkpoint:
        found = both_parts(args, lambda *a: found_part(a[0], args.checkpoint, args.cameras, a[1]))
        parts = ("keypoints", "confidence", "covariance")
        for n in (1, 2, 3):
            rows[f"discovered {' + '.join(parts[:n])}"] = PoseFeatures(parts[:n], "body"), found
        rows["discovered keypoints, centroid removed"] = removed, found
        rows["discovered centroid alone"] = alone, found
    return rows | {SHUFFLED: (body, true)}


def scored(
    name: str, features: PoseFeatures, parts: Parts, made: BehaviourClassifier
) -> BehaviourScores:
    """A row's scores with one seed; without a part to be scored on each film is held out in turn,
    and all are scored together."""
    train, test = parts
    how = dict(shuffled=name == SHUFFLED)
    if test:
        return classified(name, features, parts, [made], **how).scores[0]
    shares = []
    for i, one in enumerate(train):
        others = [*train[:i], *train[i + 1 :]]
        shares += classified(name, features, (others, [one]), [made], **how).shares
    labels, block = [part.acts.labels for part in train], round(10 * train[0].fps)
    return score_behaviour(labels, shares, train[0].acts.names, block=block)


def measured(args: argparse.Namespace) -> list[ClassifyRow]:
    """All rows of the table; those in `--out` already are not learned again."""
    known = json.loads(args.out.read_text()) if args.out.is_file() else {}
    rows = asked(args)
    for seed in args.seeds:
        for name, (features, parts) in rows.items():
            kept = known.setdefault(name, {})
            if str(seed) in kept or (args.rows and name not in args.rows):
                continue
            made = BehaviourClassifier.in_seconds(
                args.seconds, parts[0][0].fps, seed=seed, epochs=args.epochs, batch=64
            )
            found = scored(name, features, parts, made)
            kept[str(seed)] = vars(found)
            print(f"{name}, seed {seed}: {found.mean:.3f}", flush=True)
            args.out.parent.mkdir(parents=True, exist_ok=True)
            args.out.write_text(json.dumps(known, indent=1))
    return [
        ClassifyRow(name, tuple(BehaviourScores(**kept[s]) for s in sorted(kept)), ())
        for name, kept in known.items()
        if kept
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=Path, nargs="+", required=True)
    held = "other folders (default: each of --train is held out in turn)"
    parser.add_argument("--test", type=Path, nargs="+", default=[], help=held)
    parser.add_argument("--train-share", default="0:1", help="which part of them, FROM:TO")
    parser.add_argument("--test-share", default="0:1")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--noise", type=float, default=20.0, help="mm")
    parser.add_argument("--checkpoint", type=Path, help="also track the films with this")
    parser.add_argument("--cameras", nargs="+", help="names of those that were filmed")
    parser.add_argument("--rows", nargs="+", help="names of rows to learn (default: all)")
    parser.add_argument("--out", type=Path, default=Path("build/behaviour.json"))
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
