"""Students of one image on the bundled human: taught by truth, by true 2D, and by a detector.

    python benchmarks/students.py SETTING ... [--seed 0] [--steps 800]

Settings: truth, stretch (the truth of the first tenth), marks (true 2D, triangulated), robust and
plain (MediaPipe's 2D, given cameras), found (the same, cameras found from it), unseen (truth of
cameras 1 to 3, tested on 4), occluded (truth, with occlusion in training). 100 moments of the train
part, all four cameras, are taught; 125 moments of the test part are asked. Test-time truth: the box
and the root's depth. Also a refinement unit on the students' poses, taught by truth of other
moments or by labels alone. Adds to build/bench/students.json, and prints all of it.
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
from bkind3d_lite.training.loop import Run, batches, begin, train
from bkind3d_lite.training.prefetch import prefetch

OUT = Path(__file__).parents[1] / "build" / "bench"
HUMAN = bundled("data_samples") / "human"
SETTINGS = ("truth", "stretch", "marks", "robust", "plain", "found", "unseen", "occluded")
UNSEEN = {"unseen": (("cam1", "cam2", "cam3"), [3])}  # cameras that teach, views that are asked
EVERY = slice(0, 3000, 30)  # the moments of poses2d.npz
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


def asked(clip: MultiViewClip, times: slice) -> MultiViewClip:
    """The clip with the truth of the detector's joints at some times."""
    truth = pseudo_labels(clip, None, "truth", times=times)
    return truth.joints(detected("test").names).of(clip)


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


def student_of(setting: str, seed: int, steps: int) -> tuple[Run, MultiViewClip]:
    """The student of a setting, and what it was taught."""
    clip = open_clip(HUMAN / "train")
    taught = labels_of(clip, setting, seed).of(clip)
    teachers = UNSEEN[setting][0] if setting in UNSEEN else None
    occlude = "blobs" if setting == "occluded" else None
    recipe = STUDENT.with_(steps=steps, encoder_width=16, occlude=occlude, taught_by=teachers)
    run = begin(recipe, taught, seed)
    for step in train(run, prefetch(batches(run, taught, None))):
        if step.index >= steps:
            break
    checkpoints.save(run, OUT / f"student_{setting}_{seed}.safetensors", whole=False)
    return run, taught


def examined(setting: str, seed: int, steps: int) -> list[dict]:
    """Teach one student, ask it, refine what it says."""
    start = time.process_time()
    run, taught = student_of(setting, seed, steps)
    row = dict(setting=setting, seed=seed, steps=steps, seconds=time.process_time() - start)
    train_part, test = open_clip(HUMAN / "train"), open_clip(HUMAN / "test")
    quiz = asked(test, slice(0, 1000, 8))
    picks = all_pictures(quiz, UNSEEN[setting][1] if setting in UNSEEN else None)
    truth = in_camera(quiz, picks)
    every = asked(train_part, EVERY)
    known = in_camera(every, all_pictures(every))
    padded = torch.cat([torch.zeros(len(known), 1, 3), known], 1)
    pss = {k: PoseStructure(k).fit(padded) for k in (50, 100)}
    said = recite(run.model, run.recipe, quiz, picks)
    hidden = recite(run.model, run.recipe, quiz, picks, occlude=occluders_of("blobs"))
    rows = [
        row | scores(said, truth, pss),
        row | dict(setting=f"{setting}, asked occluded") | scores(hidden, truth, pss),
        row | dict(setting="mean pose") | scores(known.mean(0).expand_as(truth), truth, pss),
    ]
    if setting in ("truth", "robust", "found"):
        rows += [row | r | scores(x, truth, pss) for r, x in refined(run, train_part, taught, said)]
    return rows


def refined(run: Run, part: MultiViewClip, taught: MultiViewClip, said: torch.Tensor) -> list:
    """The student's poses after a refinement unit taught by truth, and by labels alone."""
    between = asked(part, OTHERS)
    picks = all_pictures(between)
    before, after = recite(run.model, run.recipe, between, picks), in_camera(between, picks)
    unit = PoseRefiner(256, epochs=100, seed=run.seed).fit(before, after)
    labels = in_camera(taught, all_pictures(taught))
    factor = box_side(between) / box_side(taught)  # from the labels' unit
    blind = PoseRefiner(256, epochs=60, seed=run.seed).denoise(labels * factor)
    return [
        (dict(refined="by truth of other moments"), unit.predict(said)),
        (dict(refined="by labels alone"), blind.predict(said)),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("settings", nargs="*", choices=[*SETTINGS, []])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=800)
    given = parser.parse_args()
    path = OUT / "students.json"
    for setting in given.settings:
        rows = examined(setting, given.seed, given.steps)
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
