"""Nobody labelled and nobody calibrated: a student of one image on the rat, from its films alone.

    python benchmarks/label_free.py [--seeds 0 1 2] [--steps 800] [--model FILE]

The rat's calibration is hidden but for the intrinsics. A 2D model that discovered its keypoints in
one camera's film (`rat-cam1`, shipped) looks at all six; cameras are found from its keypoints,
those that mean another thing in every view are left out, the rest is triangulated, and a student
of one image learns from that, all views, 108 moments. Asked are the held-out part's pictures with
the foreground's boxes, and nothing else is told. Poses about their mean, in the axes of each
picture's camera, regressed linearly onto the true joints as everywhere, fitted on the train part.
Beside it the same 2D keypoints triangulated by all cameras, found or given. Adds to
build/bench/label_free.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from bkind3d_lite.cameras import CameraRig
from bkind3d_lite.clips import MultiViewClip, open_clip
from bkind3d_lite.clips.background import estimate_background
from bkind3d_lite.clips.foreground import footprint
from bkind3d_lite.clips.lessons import box_side, labels_of, roots, taught_times
from bkind3d_lite.clips.pseudo_labels import pseudo_labels
from bkind3d_lite.clips.single_view import body_boxes, one_view
from bkind3d_lite.clips.survey import survey
from bkind3d_lite.evaluation.protocol import mean_errors, scores
from bkind3d_lite.files import bundled, write_atomically
from bkind3d_lite.model.discoverer import Discoverer
from bkind3d_lite.multiview.camera_finder import camera_errors, find_cameras
from bkind3d_lite.multiview.robust import robust_triangulate
from bkind3d_lite.poses2d import Poses2D
from bkind3d_lite.recipes import STUDENT, Recipe
from bkind3d_lite.students.student import read_poses
from bkind3d_lite.training import checkpoints
from bkind3d_lite.training.image_tracking import track_images
from bkind3d_lite.training.loop import batches, begin, train
from bkind3d_lite.workflows.pose_cameras import blind

OUT = Path(__file__).parents[1] / "build" / "bench"
SAMPLES = bundled("data_samples")
EVERY = {"train": 10, "test": 5}  # frames between moments
STRANGE = 1.5  # times the median residual, beyond which a keypoint is another one in every view


def moments(part: str) -> MultiViewClip:
    """Some moments of a part, decoded once for all runs."""
    clip = open_clip(SAMPLES / "rat" / part)
    return clip.at(torch.arange(0, len(clip), EVERY[part])).cached(OUT / "frames", clip.rig.wh)


def seen(model: Path, part: str) -> tuple[Poses2D, Tensor]:
    """A 2D model's keypoints in these moments, and boxes (T, V, 4) about the foreground; kept.

    Each camera is looked at by itself; it stands still, so that the background is the train part's.
    """
    path = OUT / "label_free" / f"{model.stem}_{part}.pt"
    first, clip = (open_clip(SAMPLES / "rat" / name) for name in ("train", part))
    times = torch.arange(0, len(clip), EVERY[part])
    if not path.is_file():
        network, recipe, _ = checkpoints.load(model, tracking=True)
        tracks, boxes = [], []
        for view in range(clip.rig.views):
            some = torch.linspace(0, len(first) - 1, 60).long().tolist()
            empty = estimate_background(torch.as_tensor(first.frames[some, view]))
            film = one_view(clip, view)
            look = survey(film, background=empty[None])
            tracks += track_images(network, recipe, film, look, times)
            boxes.append(body_boxes(film, look)[times, 0])
        kept = [[track.px for track in tracks], [track.confidence for track in tracks], boxes]
        told = [torch.stack(values, 1) for values in kept]
        write_atomically(path, lambda file: torch.save(told, file))
    px, weight, boxed = torch.load(path, weights_only=True)
    names = tuple(f"k{k}" for k in range(px.shape[2]))
    return Poses2D(px, weight, names, clip.rig.names, torch.arange(len(times))), boxed


def same_everywhere(rig: CameraRig, poses: Poses2D) -> Poses2D:
    """Keypoints that are one place of the body in all views, as far as found cameras tell."""
    residual = find_cameras(rig, poses.px).points.residual.nanmedian(1).values.nanmedian(0).values
    return poses.joints(
        [n for n, r in zip(poses.names, residual) if r <= STRANGE * residual.median()]
    )


def around(rig: CameraRig) -> list[int]:
    """The pairs of cameras that stand side by side in a ring, as rows of `camera_errors`."""
    away = rig.centres - rig.centres.mean(0)
    order = torch.atan2(away[:, 1], away[:, 0]).argsort().tolist()
    pairs = {tuple(sorted(pair)) for pair in zip(order, order[1:] + order[:1])}
    every = torch.combinations(torch.arange(rig.views)).tolist()
    return [row for row, pair in enumerate(every) if tuple(pair) in pairs]


def cameras_row(found: CameraRig, given: CameraRig, kept: Poses2D) -> dict:
    """How far found cameras are off, degrees: neighbours, and the worst of all pairs."""
    errors = camera_errors(found, given)
    turn, aside = errors[around(given)].amax(0).tolist()
    worst = float(errors[:, 0].amax())
    return dict(rotation=turn, direction=aside, any_rotation=worst, kept=" ".join(kept.names))


# ---- students ------------------------------------------------------------------------------------
def margin_of(lesson: MultiViewClip, boxes: Tensor) -> float:
    """How much larger than the foreground's boxes (T, V, 4) the crops are that a student learns."""
    world, _, names = labels_of(lesson)
    cameras, times = lesson.rig.batched(len(world)), taught_times(lesson)
    wide = footprint(cameras, roots(world, names), box_side(lesson)).extent[..., 0]
    return float((wide / boxes[..., 2:].amax(-1))[times].median())


def taught(
    lesson: MultiViewClip, boxes: Tensor, seed: int, steps: int
) -> tuple[Discoverer, Recipe]:
    """A student of labels, and its recipe."""
    recipe = STUDENT.with_(steps=steps, encoder_width=16, margin=margin_of(lesson, boxes))
    run = begin(recipe, lesson, seed)
    for step in train(run, batches(run, lesson, None)):
        if step.index >= steps:
            break
    return run.model, run.recipe


def read(student: tuple[Discoverer, Recipe], clip: MultiViewClip, boxes: Tensor) -> Tensor:
    """What a student says of all pictures (V T, K, 3), about the mean."""
    views = range(clip.rig.views)
    said = [read_poses(*student, one_view(clip, v), boxes[:, v])[1].world for v in views]
    return about_mean(torch.cat(said))


def pictured(clip: MultiViewClip) -> Tensor:
    """True joints (V T, J, 3) about their mean in each picture's axes, as `read_poses` has them."""
    assert clip.truth is not None
    x, y, z = (about_mean(clip.truth) @ clip.rig.R[:, None].mT).flatten(0, 1).unbind(-1)
    return torch.stack([x, z, -y], -1)


def about_mean(points: Tensor) -> Tensor:
    """Poses (T, K, 3) about their mean; what was not seen lies there."""
    return (points - points.nanmean(1, keepdim=True)).nan_to_num(0)


def measured(model: Path, seeds: list[int], steps: int) -> Iterator[dict]:
    """Cameras, the same keypoints by all cameras, and a student a seed."""
    clips = {part: moments(part) for part in EVERY}
    poses, boxes = zip(*(seen(model, part) for part in EVERY))
    given = clips["train"].rig
    kept = same_everywhere(blind(given), poses[0])
    labels = pseudo_labels(clips["train"], kept, cameras="found", least=0.0)
    row = dict(row="cameras", model=model.stem, residual_px=labels.source["median_residual_px"])
    yield row | cameras_row(labels.rig, given, kept)
    truth = [about_mean(clip.truth) for clip in clips.values()]
    for name, rig in (("found", labels.rig), ("given", given)):
        both = [robust_triangulate(rig, p.joints(kept.names).px).world for p in poses]
        points = [about_mean(world) for world in both]
        yield dict(row=f"all cameras, {name}") | scores(
            (points[0], truth[0]), (points[1], truth[1])
        )
    joints = [pictured(clip) for clip in clips.values()]
    yield dict(row="mean pose") | mean_errors(joints[0].mean(0).expand_as(joints[1]), joints[1])
    for seed in seeds:
        start = time.process_time()
        student = taught(labels.of(clips["train"]), boxes[0], seed, steps)
        row = dict(row="student", seed=seed, steps=steps, seconds=time.process_time() - start)
        said = [read(student, clip, b) for clip, b in zip(clips.values(), boxes)]
        yield row | scores((said[0], joints[0]), (said[1], joints[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--model", type=Path, default=SAMPLES / "checkpoints/rat-cam1.safetensors")
    given = parser.parse_args()
    path, rows = OUT / "label_free.json", []
    for row in measured(given.model, given.seeds, given.steps):
        print(
            "  ".join(
                f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()
            ),
            flush=True,
        )
        rows.append(row)
    rows = (json.loads(path.read_text()) if path.is_file() else []) + rows
    write_atomically(path, lambda file: file.write_text(json.dumps(rows, indent=1)))


if __name__ == "__main__":
    main()
