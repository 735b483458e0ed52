"""Cameras, points and labels from 2D poses, against truth and given calibrations.

    python benchmarks/poses.py [--full FILE.npz] [--person FOLDER]

The bundled human: its true joints with noise and outliers, and MediaPipe's 2D poses of it
(`poses2d.npz`). `--full` takes a file with MediaPipe's 33 landmarks of more moments (train, test,
train_frames, test_frames). `--person` is a folder with OpenPose JSON of a walking person
(`pose`, `calibration.toml`; Pose2Sim's demo, cameras 1, 2 and 4 of it). Seeds 0 to 2. Writes
build/bench/poses.json.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import torch

from bkind3d_lite.calibrations import load_calibration
from bkind3d_lite.cameras import CameraRig, triangulate
from bkind3d_lite.clips import open_clip
from bkind3d_lite.evaluation import aligned_mpjpe, mpjpe
from bkind3d_lite.evaluation.pose_scores import PoseStructure, clip_n_mpjpe
from bkind3d_lite.files import bundled, write_atomically
from bkind3d_lite.multiview.camera_finder import camera_errors, find_cameras, onto
from bkind3d_lite.multiview.robust import mirrored, robust_triangulate
from bkind3d_lite.multiview.two_views import median_of_pairs
from bkind3d_lite.poses2d import ORDERS, Poses2D, left_right_pairs, moving_person, read_people
from bkind3d_lite.workflows.pose_cameras import blind

ROOT = Path(__file__).parents[1]
HUMAN = bundled("data_samples") / "human"
SEEDS = (0, 1, 2)
LEAST = 0.1  # confidence of a reading that is used; 0: all
LEGS = [
    (f"{s}_{a}", f"{s}_{b}")
    for s in ("left", "right")
    for a, b in (("hip", "knee"), ("knee", "ankle"))
]
Row = dict[str, object]


def human(part: str, full: Path | None) -> tuple[CameraRig, Poses2D, torch.Tensor]:
    """The rig, MediaPipe's poses, and where the same joints truly were."""
    clip = open_clip(HUMAN / part)
    if full is None:
        people = read_people(HUMAN / part / "poses2d.npz")
        poses = people.chosen(torch.zeros(people.px.shape[:2], dtype=torch.long)).sure(LEAST)
    else:
        names = [
            n for n in ORDERS["mediapipe"] if n in read_people(HUMAN / part / "poses2d.npz").names
        ]
        marks = torch.from_numpy(np.load(full)[part].astype(np.float32))
        marks = marks[:, :, [ORDERS["mediapipe"].index(n) for n in names]]
        frames = torch.from_numpy(np.load(full)[f"{part}_frames"])
        seen = torch.where(marks[..., 2] > 0, marks[..., 2], 0.0)
        px = torch.where(seen[..., None] > 0, marks[..., :2] + 0.5, torch.nan)
        poses = Poses2D(px, seen, tuple(names), clip.rig.names, frames).sure(LEAST)
    joints = [clip.skeleton.names.index(name) for name in poses.names]
    return clip.rig, poses, clip.truth[poses.frames][:, joints]


# ---- cameras -------------------------------------------------------------------------------------
def noisy_cameras(rig: CameraRig, truth: torch.Tensor) -> list[Row]:
    """True 2D with 1 px of noise, and with shares of it anywhere in the image."""
    rows = []
    for share in (0.0, 0.3, 0.5):
        for seed in SEEDS:
            random = torch.Generator().manual_seed(seed)
            px = rig.px_from_world(truth)
            px = px + torch.randn(px.shape, generator=random)
            wild = torch.rand(px.shape[:-1], generator=random) < share
            anywhere = torch.rand(px.shape, generator=random) * px.new_tensor(rig.wh)
            px, begin = torch.where(wild[..., None], anywhere, px), time.perf_counter()
            found = find_cameras(blind(rig), px, seed=seed)
            rows.append(
                cameras_row(f"true 2D + 1 px, {share:.0%} wild", found.rig, rig, begin, seed)
            )
    return rows


def cameras_row(name: str, found: CameraRig, given: CameraRig, begin: float, seed: int) -> Row:
    """The worst pair of a rig, and the seconds it took."""
    turn, aside = camera_errors(found, given).amax(0).tolist()
    seconds = time.perf_counter() - begin
    return dict(data=name, seed=seed, rotation=turn, direction=aside, seconds=seconds)


def detected_cameras(part: str, full: Path | None) -> list[Row]:
    """MediaPipe's poses, the calibration hidden."""
    rig, poses, truth = human(part, full)
    pairs, rows = left_right_pairs(poses.names), []
    for seed in SEEDS:
        begin = time.perf_counter()
        found = find_cameras(blind(rig), poses.px, pairs, seed=seed)
        row = cameras_row(f"MediaPipe, {part}, {len(poses)} moments", found.rig, rig, begin, seed)
        beside = onto(found.rig, rig)
        points = [robust_triangulate(r, poses.px, None, pairs).world for r in (rig, beside)]
        given, own = (float(clip_n_mpjpe(p, truth).nanmean()) for p in points)
        left, knee = poses.names.index("left_hip"), poses.names.index("left_knee")
        length = (truth[:, left] - truth[:, knee]).norm(dim=-1).median()
        scaled = find_cameras(blind(rig), poses.px, pairs, (left, knee, float(length)), seed=seed)
        sizes = [(r.centres - r.centres.mean(0)).norm() for r in (scaled.rig, rig)]
        row |= dict(n_given=given, n_found=own, ratio=own / given, size=float(sizes[0] / sizes[1]))
        rows.append(row)
    return rows


def person_cameras(folder: Path) -> list[Row]:
    """OpenPose of a real person, in every order of three cameras."""
    rig = _as_filmed(load_calibration(folder / "calibration.toml"))
    people = read_people(folder / "pose", "body_25b")
    walker = moving_person(people).ordered(rig.names).sure(LEAST)
    ends = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle", "nose", "neck", "top")
    names = [name for name in walker.names if name.split("_")[-1] in ends]
    walker, pairs, rows, turns = walker.joints(names), left_right_pairs(names), [], []
    for order in permutations((0, 1, 3)):
        given, px = rig.take(order), walker.take(order).px
        begin = time.perf_counter()
        found = find_cameras(blind(given), px, pairs)
        row = cameras_row(f"OpenPose, cameras {[v + 1 for v in order]}", found.rig, given, begin, 0)
        turns.append(
            camera_errors(found.rig.take([order.index(v) for v in (0, 1, 3)]), rig.take((0, 1, 3)))[
                :, 0
            ]
        )
        beside = robust_triangulate(given, px, None, pairs).world
        whole = (beside.isfinite() & found.points.world.isfinite()).all(-1).all(-1)
        apart = aligned_mpjpe(found.points.world[whole], beside[whole], scale=True).mean()
        legs = [_wobble(w, names) for w in (found.points.world, beside)]
        rows.append(row | dict(p_mm=1000 * float(apart), legs=legs[0], legs_given=legs[1]))
    spread = (torch.stack(turns) - turns[0]).abs().max()
    return [row | dict(between_orders=float(spread)) for row in rows]


def _as_filmed(rig: CameraRig) -> CameraRig:
    """Two of the cameras were filmed 1080 wide, while the file says 1088."""
    K = rig.K.clone()
    for v in (0, 1):
        K[v, 0] *= 1080 / 1088
        K[v, 1, 1] *= 1080 / 1088
        K[v, 1, 2] = 960.5 + (K[v, 1, 2] - 960.5) * 1080 / 1088
    return replace(rig, K=K)


def _wobble(world: torch.Tensor, names: list[str]) -> float:
    """Mean over thighs and shanks of sd / mean of their length."""
    shares = []
    for a, b in LEGS:
        length = (world[:, names.index(a)] - world[:, names.index(b)]).norm(dim=-1)
        length = length[length.isfinite()]
        shares.append(float(length.std() / length.mean()))
    return sum(shares) / len(shares)


# ---- points, structure ---------------------------------------------------------------------------
def points(part: str, full: Path | None) -> list[Row]:
    """Ways to triangulate MediaPipe's poses with the given cameras; swapped images found."""
    rig, poses, truth = human(part, full)
    pairs, px = left_right_pairs(poses.names), poses.px
    repaired = robust_triangulate(rig, px, None, pairs)
    ways = {
        "weighted DLT": triangulate(rig, px.nan_to_num(0), poses.weight),
        "vector median of pairs": median_of_pairs(rig, px),
        "robust": robust_triangulate(rig, px).world,
        "robust + repair": repaired.world,
    }
    name = f"{part}, {len(poses)} moments"
    rows: list[Row] = [
        dict(data=name, points=way, mpjpe=float(mpjpe(world, truth).nanmean()))
        for way, world in ways.items()
    ]
    true_px = rig.px_from_world(truth)
    other = mirrored(px, torch.ones(px.shape[:2], dtype=torch.bool), pairs)
    far = [(x - true_px).norm(dim=-1).nansum(-1) for x in (px, other)]
    swapped = far[1] < far[0]
    hits = float((repaired.swapped & swapped).sum())
    rates = dict(recall=hits / float(swapped.sum()), precision=hits / float(repaired.swapped.sum()))
    return rows[:-1] + [rows[-1] | rates]


def structure() -> list[Row]:
    """PSS of the human's truth, every joint so far off in a random direction."""
    train, test = (open_clip(HUMAN / part).truth for part in ("train", "test"))
    rows = []
    for kinds in (50, 100):
        for seed in SEEDS:
            pss = PoseStructure(kinds, seed=seed).fit(train)
            random = torch.Generator().manual_seed(seed)
            row: Row = dict(pss=kinds, seed=seed)
            for mm in (10, 30, 60, 120):
                way = torch.randn(test.shape, generator=random)
                row[f"{mm} mm"] = pss.score(test + mm * way / way.norm(dim=-1, keepdim=True), test)
            rows.append(row | {"mean pose": pss.score(train.mean(0).expand_as(test), test)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", type=Path, help="MediaPipe's landmarks of more moments (.npz)")
    parser.add_argument("--person", type=Path, help="folder with OpenPose JSON of a person")
    given = parser.parse_args()
    rig, _, truth = human("train", None)
    rows = noisy_cameras(rig, truth)
    for part in ("train", "test"):
        rows += detected_cameras(part, None) + points(part, None)
        rows += detected_cameras(part, given.full) + points(part, given.full) if given.full else []
    rows += person_cameras(given.person) if given.person else []
    rows += structure()
    for row in rows:
        print(
            "  ".join(
                f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()
            )
        )
    out = ROOT / "build" / "bench" / "poses.json"
    write_atomically(out, lambda path: path.write_text(json.dumps(rows, indent=1)))


if __name__ == "__main__":
    main()
