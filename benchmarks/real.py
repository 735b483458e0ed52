"""Real recordings, from the folder to the score, by the commands that a user would give.

    python benchmarks/real.py PATH/TO/recordings

PATH holds `mouse5_dev` (five synchronized videos of a mouse, a calibration, `com3d_mm.csv`: the
silhouette's centre) and `mouse2_labels` (images of the same cage at other times by two of its
cameras, `labels3d.json`: joints by hand), small cuts of DANNCE's demo. Runs doctor, train, track
and export on the first; scores the track without labels (on the silhouettes; does it turn with the
animal?), and with the labels of the second by leaving each instant out, beside the untrained
network in the same volume, the rigid template, the centroid and the mean pose. Then the same verbs
on the second by itself. Writes build/bench/real.json; `benchmarks/mouse.py` judges more.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bkind3d_lite.clips import MultiViewClip, Survey, Track, open_clip
from bkind3d_lite.clips.exports import read_track
from bkind3d_lite.clips.extent import animal_length
from bkind3d_lite.clips.heading_finder import headed
from bkind3d_lite.clips.survey import on_silhouettes, survey
from bkind3d_lite.evaluation import BarycentricRegressor, RigidTemplate, mpjpe
from bkind3d_lite.evaluation.body_bound import body_bound
from bkind3d_lite.files import write_atomically
from bkind3d_lite.model import Discoverer, build
from bkind3d_lite.recipes import Recipe
from bkind3d_lite.training import load, track
from bkind3d_lite.training.orientation import oriented
from bkind3d_lite.viz import closeups

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
from real_recordings import arranged

STILLS = Path(__file__).parents[1] / "docs" / "images"
TAIL = ("Tail(mid)", "Tail(end)")  # they dominate a mean over all joints


def command(*words: object) -> tuple[float, str]:
    """Run a verb of the package as a user would; seconds and what it said. Its errors are shown and
    end the run."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "bkind3d_lite", *map(str, words)], capture_output=True, text=True
    )
    print(f"$ python -m bkind3d_lite {' '.join(map(str, words))}\n{done.stdout}", flush=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return time.perf_counter() - start, done.stdout


# ---- without labels ------------------------------------------------------------------------------
def unlabelled(
    clip: MultiViewClip, seen: Survey, found: Track, centre: torch.Tensor
) -> dict[str, float]:
    """What can be asked of a track where nobody labelled; lengths in the rig's unit.

    on_body: keypoints within the silhouette, grown by a tenth of the animal's length, in all views
    but one or in all. centre: mean distance of the mean keypoint to the silhouettes' `centre` (T,
    3) after removing a constant offset; survey_centre: of the survey's. step: median distance that
    keypoints move from frame to frame; bones: standard deviation over mean of the drawn edges'
    lengths, their median.
    """
    length, views = animal_length(seen, clip.rig), clip.rig.views
    hit, _ = on_silhouettes(found.world, clip.rig, seen.thumbs, 0.1 * length)
    off = found.world.mean(1) - centre
    i, j = torch.tensor(found.skeleton.edges).T
    bones = (found.world[:, i] - found.world[:, j]).norm(dim=-1)
    corr = [
        float(torch.corrcoef(torch.stack([found.world.mean(1)[:, a], centre[:, a]]))[0, 1])
        for a in range(3)
    ]
    return {
        "length": length,
        "on_body": float((hit.sum(1) >= views - 1).float().mean()),
        "on_body_all_views": float(hit.all(1).float().mean()),
        "worst_keypoint": float((hit.sum(1) >= views - 1).float().mean(0).amin()),
        "centre": float((off - off.mean(0)).norm(dim=-1).mean()),
        "survey_centre": float(((away := seen.centre - centre) - away.mean(0)).norm(dim=-1).mean()),
        "correlation": corr,
        "step": float(found.world.diff(dim=0).norm(dim=-1).median()),
        "bones": float((bones.std(0) / bones.mean(0)).median()),
    }


def seen_by(model: Discoverer, clip: MultiViewClip) -> Survey:
    """The survey with the heading that the model's look tells; or, if it has none, that the hull
    and its walk tell, which says what counts as walking."""
    found = oriented(model, clip, survey(clip))
    return found if found.heading is not None else headed(clip, found)


def turns(clip: MultiViewClip, seen: Survey, found: Track) -> dict[str, float | None]:
    """Do the points turn with the animal, by the way that they go themselves? Shares of room and
    body, turning, and the keypoint that is least bound to the body."""
    pace = seen.heading.speed * seen.heading.length
    bound = body_bound(found.world, clip.fps, pace, starts=clip.starts)
    shares = {
        "r2_room": bound.room,
        "r2_body": bound.body,
        "turning": bound.turning,
        "least_bound": float(bound.body_of.min()),
    }
    told = {key: None if math.isnan(value) else value for key, value in shares.items()}
    return {"faster_than": pace, "frames": bound.frames} | told


# ---- with labels by hand -------------------------------------------------------------------------
def left_out(inputs: torch.Tensor, joints: torch.Tensor) -> torch.Tensor:
    """Predictions (T, J, 3) for each instant by a regressor fitted on all the others; NaN for
    joints that only it has labelled."""
    out = torch.full_like(joints, torch.nan)
    for t in range(len(joints)):
        rest = [s for s in range(len(joints)) if s != t]
        known = joints[rest].isfinite().all(-1).any(0)
        out[t, known] = (
            BarycentricRegressor()
            .fit(inputs[rest], joints[rest][:, known])
            .predict(inputs[t, None])[0]
        )
    return out


def templates(clip: MultiViewClip, seen: Survey, truth: torch.Tensor) -> torch.Tensor:
    """Predictions (T, J, 3) by the survey's centre, its heading and a mean offset for each joint,
    each instant by all the others."""
    times, centre = torch.arange(len(truth)), seen.centre[clip.labelled]
    angle = seen.heading.angle[clip.labelled]
    fits = [RigidTemplate.fit(*(x[times != t] for x in (centre, truth, angle))) for t in times]
    one = [fit.predict(centre[t : t + 1], angle[t : t + 1]) for t, fit in enumerate(fits)]
    return torch.cat(one)


def labelled(
    model: Discoverer, recipe: Recipe, clip: MultiViewClip, least: int = 6
) -> tuple[dict[str, float], Track]:
    """Errors in mm, leaving each labelled instant out, of joints with at least `least` labels:
    trained, untrained in the same volume (turned, if a heading is found), and what needs no
    network: rigid template, centroid, mean pose."""
    seen = oriented(model, clip, survey(clip))
    found = track(model, recipe, clip, seen, clip.labelled)
    fresh = track(build(recipe, 0)[0], recipe, clip, seen, clip.labelled)
    truth = clip.truth[clip.labelled]
    often = truth.isfinite().all(-1).sum(0) >= least
    truth = truth[:, often]
    centroid, instants = truth.nanmean(1, keepdim=True), torch.arange(len(truth))
    offset = torch.stack([(truth - centroid)[instants != t].nanmean(0) for t in instants])
    pose = torch.stack([truth[instants != t].nanmean(0) for t in instants])
    rows = {
        "trained": left_out(found.world, truth),
        "untrained": left_out(fresh.world, truth),
        "centroid and mean offset": centroid + offset,
        "mean pose": pose,
    }
    if seen.heading is not None and seen.heading.found:
        rows["rigid template"] = templates(clip, seen, truth)
    names = [name for name, keep in zip(clip.skeleton.names, often) if keep]
    body = torch.tensor([name not in TAIL for name in names])
    errors = {}
    for name, guess in rows.items():
        for words, joints in (("", slice(None)), (", without the tail", body)):
            away = guess[:, joints], truth[:, joints]
            errors[f"{name}{words}"] = float(mpjpe(*away, centred=False).nanmean())
            errors[f"{name}{words}, centred"] = float(mpjpe(*away).nanmean())
    return errors | {"instants": len(truth), "joints": truth.shape[1]}, found


def still(clip: MultiViewClip, found: Track, times: list[int], name: str, **how) -> None:
    image = Image.fromarray(closeups(clip, found, times, **how))
    image.thumbnail((1100, 900))
    write_atomically(STILLS / f"{name}.jpg", lambda path: image.save(path, quality=85))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("build/bench/real"))
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--steps", type=int, default=None, help="instead of the preset's")
    parser.add_argument("--keep", action="store_true", help="score the run that is there")
    given = parser.parse_args()
    mouse, out = given.data / "mouse5_dev", given.out
    seconds = {}
    if not given.keep:
        shutil.rmtree(out, ignore_errors=True)
        seconds["doctor"], _ = command("doctor", mouse, "--out", out / "doctor.html")
        words = [
            *(["--set", *given.set] if given.set else []),
            *(["--steps", given.steps] if given.steps else []),
        ]
        seconds["train"], _ = command(
            "train", "--clip", mouse, "--recipe", "quick", "--out", out / "run", *words
        )
        seconds["track"], _ = command(
            "track", "--checkpoint", out / "run", "--clip", mouse, "--out", out / "track"
        )
        seconds["export"], _ = command(
            "export",
            out / "track" / "keypoints.npz",
            "--to",
            "anipose",
            "trc",
            "--out",
            out / "track",
        )
    clip, found = open_clip(mouse), read_track(out / "track" / "keypoints.npz")
    model, recipe, _ = load(out / "run" / "checkpoint.safetensors")
    seen = seen_by(model, clip)
    centre = torch.tensor(
        np.loadtxt(mouse / "com3d_mm.csv", delimiter=",", comments="#")[:, 1:4]
    ).float()
    scores = unlabelled(clip, seen, found, centre) | turns(clip, seen, found)
    results = {"mouse5_dev": scores | {"heading": str(seen.heading), "seconds": seconds}}
    shutil.rmtree(out / "labels", ignore_errors=True)
    arranged(given.data / "mouse2_labels", out / "labels")
    two = open_clip(out / "labels", fps=6.0)  # 20 frames of 120 a second apart
    results["mouse2_labels"], _ = labelled(model, recipe, two)
    if (
        not given.keep
    ):  # the few images by themselves: enough to see every step work, not to learn from
        here = ("--clip", out / "labels", "--fps", 6)
        command("doctor", out / "labels", "--fps", 6, "--out", out / "doctor2.html")
        words = ("--steps", 300, "--set", "gaps=[0.167]")
        seconds["train, 2 views"], _ = command(
            "train", *here, "--recipe", "quick", "--out", out / "run2", *words
        )
        command("track", "--checkpoint", out / "run2", *here, "--out", out / "track2")
        command(
            "export", out / "track2" / "keypoints.npz", "--to", "anipose", "--out", out / "track2"
        )
        own, own_recipe, _ = load(out / "run2" / "checkpoint.safetensors")
        results["mouse2_labels"]["trained on the images themselves"] = labelled(
            own, own_recipe, two
        )[0]["trained"]
    print(json.dumps(results, indent=1))
    write_atomically(
        out.parent / "real.json", lambda path: path.write_text(json.dumps(results, indent=1))
    )


if __name__ == "__main__":
    main()
