"""Students of one image on the bundled human: taught by truth, by true 2D, and by a detector.

    python benchmarks/students.py SETTING ... [--seed 0] [--size usual] [--steps 800]
        [--share 0.05] [--refine]

Settings: truth, stretch (the truth of the first tenth), marks (true 2D, triangulated), robust and
plain (MediaPipe's 2D, given cameras), found (the same, cameras found from it), unseen (truth of
cameras 1 to 3, tested on 4), occluded (truth, with occlusion in training). 100 moments of the train
part, all four cameras, are taught; 125 moments of the test part are asked. Test-time truth: the box
and the root's depth. `--refine`: a refinement unit on poses of students that were taught before,
by truth of other moments or by labels alone. Adds to build/bench/students.json, prints all of it.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from bkind3d_lite.clips import MultiViewClip, open_clip
from bkind3d_lite.clips.lessons import box_side
from bkind3d_lite.clips.occlusion import occluders_of
from bkind3d_lite.clips.pseudo_labels import PseudoLabels, pseudo_labels
from bkind3d_lite.evaluation import aligned_mpjpe, n_mpjpe
from bkind3d_lite.evaluation.pose_scores import PoseStructure, pck
from bkind3d_lite.files import bundled, write_atomically
from bkind3d_lite.poses2d import Poses2D, read_people
from bkind3d_lite.recipes import STUDENT
from bkind3d_lite.students.refiner import PoseRefiner
from bkind3d_lite.students.student import all_pictures, in_camera, recite
from bkind3d_lite.training import checkpoints
from bkind3d_lite.training.loop import batches, begin, train

OUT = Path(__file__).parents[1] / "build" / "bench"
HUMAN = bundled("data_samples") / "human"
SETTINGS = ("truth", "stretch", "marks", "robust", "plain", "found", "unseen", "occluded")
UNSEEN = {"unseen": (("cam1", "cam2", "cam3"), [3])}  # cameras that teach, views that are asked
EVERY = slice(0, 3000, 30)  # the moments of poses2d.npz
ASKED = slice(0, 1000, 8)  # of the test part
SIZES: dict[str, dict] = {
    "usual": dict(encoder_width=16),
    "lesson": dict(  # of lesson 10: a few CPU seconds
        image_wh=(48, 48), depth_cells=8, encoder_width=12, batch=8, learning_rate=3e-3
    ),
}
OTHERS = slice(15, 3000, 30)  # moments between them, for the refinement unit


def detected(part: str) -> Poses2D:
    """MediaPipe's poses of a part."""
    people = read_people(HUMAN / part / "poses2d.npz")
    return people.chosen(torch.zeros(people.px.shape[:2], dtype=torch.long))


def labels_of(clip: MultiViewClip, setting: str, seed: int) -> PseudoLabels:
    """What a setting is taught by, the detector's 13 joints."""
    poses = detected("train")
    if setting in ("robust", "plain", "found"):
        how = "plain" if setting == "plain" else "robust"
        cameras = "found" if setting == "found" else "given"
        return pseudo_labels(clip, poses, how, cameras=cameras, seed=seed)
    times = slice(0, 300, 30) if setting == "stretch" else EVERY
    how = "marks" if setting == "marks" else "truth"
    return pseudo_labels(clip, None, how, times=times).joints(poses.names)


def kept(clip: MultiViewClip, times: slice) -> MultiViewClip:
    """These moments of a labelled clip, decoded once for all runs."""
    some = clip.at(range(len(clip))[times])
    return some.cached(OUT / "frames", clip.rig.wh)


def asked(part: str, times: slice) -> MultiViewClip:
    """Moments of a part with the truth of the detector's joints."""
    clip = open_clip(HUMAN / part)
    truth = pseudo_labels(clip, None, "truth", times=times)
    return kept(truth.joints(detected("test").names).of(clip), times)


def scores(said: torch.Tensor, truth: torch.Tensor, pss: dict[int, PoseStructure]) -> dict:
    """All scores of poses about the root, which counts as a joint nowhere: it is always right."""
    root = torch.zeros(len(truth), 1, 3)  # amid the hips; PSS takes poses about a joint
    with_root = [torch.cat([root, x], 1) for x in (said, truth)]
    row = dict(
        mpjpe=float((said - truth).norm(dim=-1).mean()),
        n=float(n_mpjpe(said, truth).mean()),
        p=float(aligned_mpjpe(said, truth, scale=True).mean()),
        pck=float(pck(said, truth, root=None).mean()),
    )
    return row | {f"pss{k}": p.score(*with_root) for k, p in pss.items()}


def lesson_of(setting: str, seed: int) -> MultiViewClip:
    """What a setting is taught, with its pictures."""
    clip = open_clip(HUMAN / "train")
    return kept(labels_of(clip, setting, seed).of(clip), EVERY)


def examined(setting: str, seed: int, size: str, steps: int, share: float) -> list[dict]:
    """Teach one student and ask it."""
    start = time.process_time()
    teachers, views = UNSEEN.get(setting, (None, None))
    occlude = "blobs" if setting == "occluded" else None
    hiding = dict(occlude=occlude, occlude_share=share)
    recipe = STUDENT.with_(steps=steps, taught_by=teachers, **hiding, **SIZES[size])
    taught = lesson_of(setting, seed)
    run = begin(recipe, taught, seed)
    for step in train(run, batches(run, taught, None)):
        if step.index >= steps:
            break
    row = dict(setting=setting, size=size, seed=seed, steps=steps)
    row |= dict(seconds=time.process_time() - start) | (dict(share=share) if occlude else {})
    checkpoints.save(run, file_of(setting, size, seed), whole=False)
    quiz = asked("test", ASKED)
    picks, pss = all_pictures(quiz, views), structures()
    truth = in_camera(quiz, picks)
    said = recite(run.model, run.recipe, quiz, picks)
    rows = [row | scores(said, truth, pss)]
    if setting in ("truth", "occluded"):
        hidden = recite(run.model, run.recipe, quiz, picks, occlude=occluders_of("blobs"))
        rows.append(row | dict(asked="occluded") | scores(hidden, truth, pss))
    if setting == "truth":
        mean = known_poses().mean(0).expand_as(truth)
        rows.append(row | dict(setting="mean pose") | scores(mean, truth, pss))
    return rows


def file_of(setting: str, size: str, seed: int) -> Path:
    """The checkpoint of a student."""
    return OUT / f"student_{size}_{setting}_{seed}.safetensors"


def known_poses() -> torch.Tensor:
    """True poses of the moments that teach, in every camera; no picture is looked at."""
    clip = open_clip(HUMAN / "train")
    truth = pseudo_labels(clip, None, "truth", times=EVERY).joints(detected("test").names).of(clip)
    return in_camera(truth, all_pictures(truth))


def structures() -> dict[int, PoseStructure]:
    """PSS of 50 and 100 kinds of those."""
    poses = known_poses()
    padded = torch.cat([torch.zeros(len(poses), 1, 3), poses], 1)
    return {k: PoseStructure(k).fit(padded) for k in (50, 100)}


def refined(setting: str, seed: int, size: str, steps: int) -> list[dict]:
    """A trained student's poses after a refinement unit taught by truth, or by labels alone."""
    model, recipe, _ = checkpoints.load(file_of(setting, size, seed), tracking=True)
    between, quiz, taught = asked("train", OTHERS), asked("test", ASKED), lesson_of(setting, seed)
    picks, asks, pss = all_pictures(between), all_pictures(quiz), structures()
    said, truth = recite(model, recipe, quiz, asks), in_camera(quiz, asks)
    before, after = recite(model, recipe, between, picks), in_camera(between, picks)
    unit = PoseRefiner(256, epochs=100, seed=seed).fit(before, after)
    labels = in_camera(taught, all_pictures(taught))
    factor = box_side(between) / box_side(taught)  # from the labels' unit
    blind = PoseRefiner(256, epochs=60, seed=seed).denoise(labels * factor)
    row = dict(setting=setting, size=size, seed=seed, steps=steps)
    return [
        row | dict(refined=by) | scores(x, truth, pss)
        for by, x in (
            ("not", said),
            ("by truth of other moments", unit.predict(said)),
            ("by labels alone", blind.predict(said)),
        )
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("settings", nargs="*", choices=[*SETTINGS, []])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", choices=SIZES, default="usual")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument(
        "--share",
        type=float,
        default=STUDENT.lesson.occlude_share,
        help="of the crops that are occluded",
    )
    parser.add_argument("--refine", action="store_true", help="of students that were taught before")
    given = parser.parse_args()
    path = OUT / "students.json"
    if not given.settings and not path.is_file():
        parser.error(f"nothing is measured yet; name what is to be: {' '.join(SETTINGS)}")
    for setting in given.settings:
        how = setting, given.seed, given.size, given.steps
        rows = refined(*how) if given.refine else examined(*how, given.share)
        rows = (json.loads(path.read_text()) if path.is_file() else []) + rows
        write_atomically(path, lambda file: file.write_text(json.dumps(rows, indent=1)))
    for row in json.loads(path.read_text()):
        print(
            "  ".join(
                f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()
            )
        )


if __name__ == "__main__":
    main()
