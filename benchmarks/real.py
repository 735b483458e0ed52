"""Real recordings, from the folder to the score, by the commands that a user would give.

    python benchmarks/real.py PATH/TO/recordings

PATH holds `mouse5_dev` (five synchronized videos of a mouse, a calibration, `com3d_mm.csv`: the
silhouette's centre) and `mouse2_labels` (images of the same cage at other times by two of its
cameras, `labels3d.json`: joints by hand), small cuts of DANNCE's demo. Runs doctor, train, track
and export on the first; scores the track without labels, and with the labels of the second by
leaving each instant out. Then the same verbs on the second by itself. Writes build/bench/real.json
and the stills of docs/real_recordings.md.
"""

from __future__ import annotations

import argparse
import json
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
from bkind3d_lite.clips.survey import animal_length, on_silhouettes, survey
from bkind3d_lite.evaluation import BarycentricRegressor, mpjpe
from bkind3d_lite.files import write_atomically
from bkind3d_lite.recipes import Recipe
from bkind3d_lite.training import load, track
from bkind3d_lite.viz import closeups

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
from real_recordings import arranged

STILLS = Path(__file__).parents[1] / "docs" / "images"


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


def labelled(
    model, recipe: Recipe, clip: MultiViewClip, least: int = 6
) -> tuple[dict[str, float], Track]:
    """Errors in mm, leaving each labelled instant out, of joints with at least `least` labels:
    trained, and what needs no network."""
    found = track(model, recipe, clip, survey(clip), clip.labelled)
    truth = clip.truth[clip.labelled]
    truth = truth[:, truth.isfinite().all(-1).sum(0) >= least]
    centroid = truth.nanmean(1, keepdim=True)
    offset = torch.stack(
        [
            (truth - centroid)[[s for s in range(len(truth)) if s != t]].nanmean(0)
            for t in range(len(truth))
        ]
    )
    pose = torch.stack(
        [truth[[s for s in range(len(truth)) if s != t]].nanmean(0) for t in range(len(truth))]
    )
    rows = {
        "trained": left_out(found.world, truth),
        "centroid and mean offset": centroid + offset,
        "mean pose": pose,
    }
    errors = {
        name: float(mpjpe(guess, truth, centred=False).nanmean()) for name, guess in rows.items()
    }
    errors |= {
        f"{name}, centred": float(mpjpe(guess, truth).nanmean()) for name, guess in rows.items()
    }
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
    seen = survey(clip)
    centre = torch.tensor(
        np.loadtxt(mouse / "com3d_mm.csv", delimiter=",", comments="#")[:, 1:4]
    ).float()
    results = {"mouse5_dev": unlabelled(clip, seen, found, centre) | {"seconds": seconds}}
    still(clip, found, [50, 1200, 1600, 1900], "real_mouse5")
    shutil.rmtree(out / "labels", ignore_errors=True)
    arranged(given.data / "mouse2_labels", out / "labels")
    model, recipe, _ = load(out / "run" / "checkpoint.safetensors")
    two = open_clip(out / "labels", fps=6.0)  # 20 frames of 120 a second apart
    results["mouse2_labels"], found = labelled(model, recipe, two)
    still(two.at(two.labelled.tolist()), found, [1, 5, 10, 19], "real_mouse2")
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
