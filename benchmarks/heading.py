"""Heading against truth: from motion alone, and with a look that walking taught.

    python benchmarks/heading.py [PATH/TO/recordings]

The bundled clips are judged by their exact truth. PATH, if given, holds the real mouse of
`benchmarks/real.py` (`mouse5_dev`, `mouse2_labels`) and `mouse2_long`, a film of which the labelled
images are moments; they tell a heading where ears or snout and the base of the tail are labelled,
25 mm apart at least over the ground. Looks are taught by the walk of `mouse5_dev`, of
`mouse2_long`, or of both; no label teaches anything. Writes build/bench/heading.json.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from bkind3d_lite.clips import MultiViewClip, Survey, open_clip
from bkind3d_lite.clips.heading import Heading, wrapped
from bkind3d_lite.clips.heading_finder import angles, find_heading, lesson, spoken, teach_look
from bkind3d_lite.clips.hull_motion import HullMotion, hull_motion
from bkind3d_lite.clips.look import Look, added_up, held_out
from bkind3d_lite.clips.survey import survey
from bkind3d_lite.files import write_atomically

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
from real_recordings import arranged

ROOT = Path(__file__).parents[1]
TOLD = 25.0  # mm over the ground between head and tail that tell a heading
Watched = tuple[MultiViewClip, Survey, HullMotion]
Truth = tuple[torch.Tensor, torch.Tensor]  # frames (n,) and their heading (n,) in radians


def watched(folder: Path, **how) -> Watched:
    """A clip with its survey and the motion of its hull."""
    clip = open_clip(folder, **how)
    its_survey = survey(clip)
    return clip, its_survey, hull_motion(clip, its_survey)


# ---- truth ---------------------------------------------------------------------------------------
def exact(clip: MultiViewClip) -> Truth:
    """Of a bundled clip: the rat's trunk, or across the human's hips and shoulders."""
    at = {name: clip.truth[:, j, :2] for j, name in enumerate(clip.skeleton.names)}
    if "tail_base" in at:
        ahead = at["thorax"] - at["tail_base"]
    else:
        across = at["left_hip"] - at["right_hip"] + at["left_shoulder"] - at["right_shoulder"]
        ahead = torch.stack([across[:, 1], -across[:, 0]], -1)
    return torch.arange(len(clip)), torch.atan2(ahead[:, 1], ahead[:, 0])


def by_hand(clip: MultiViewClip) -> Truth:
    """Of the labelled images."""
    names = clip.skeleton.names
    head = clip.truth[:, [names.index(n) for n in ("Snout", "EarL", "EarR")], :2].nanmean(1)
    ahead = head - clip.truth[:, names.index("Tail(base)"), :2]
    told = (ahead.norm(dim=-1) > TOLD).nonzero()[:, 0]
    return told, torch.atan2(ahead[told, 1], ahead[told, 0])


def same_moments(film: Survey, images: Survey, times: torch.Tensor) -> torch.Tensor:
    """Frames of a film that look most like images at `times`: where the labels lie in it."""
    rows = film.thumbs.float().flatten(1)
    return torch.stack(
        [(rows - images.thumbs[t].float().flatten()).square().mean(1).argmin() for t in times]
    )


# ---- the table -----------------------------------------------------------------------------------
def judged(found: Heading, truth: Truth) -> dict[str, float | str]:
    """Median error in degrees, how often the sign is right, confidence where it is and is not."""
    times, angle = truth
    off = wrapped(found.angle[times] - angle).abs().rad2deg()
    wrong, rest, sure = off > 90, ~found.walking[times], found.confidence[times]
    return {
        "median": float(off.median()),
        "right": f"{int((~wrong).sum())} of {len(off)}",
        "at rest": f"{int((~wrong & rest).sum())} of {int(rest.sum())}",
        "flips": len(found.flips),
        "sure": float(sure[~wrong].mean()),
        "sure where wrong": float(sure[wrong].mean()) if wrong.any() else float("nan"),
        "axis": found.axis_agreement,
        "speed": found.speed,
    }


def folds(look: Look, films: Sequence[Watched]) -> dict[str, float | int]:
    """How sure the look is where it errs: windows of walking judged by the networks that were not
    taught with them, and by them alone, as if the animal stood."""
    right, sure, half = [], [], math.pi / 2
    for clip, its_survey, motion in films:
        heading = find_heading(clip, its_survey, motion=motion)
        walk = lesson(clip, its_survey, heading, float(look.side))
        said, _ = added_up(look.scale * held_out(look, walk), walk.time)
        chance = spoken(said).softmax(-1)
        best = angles()[chance.argmax(-1)]
        sure.append((chance * (wrapped(angles() - best[:, None]).abs() < half)).sum(-1))
        right.append(wrapped(best).abs() < half)
    good, sure = torch.cat(right), torch.cat(sure)
    ranks = (sure[good][:, None] > sure[~good]).float().mean()
    return {
        "windows": len(good),
        "wrong": int((~good).sum()),
        "sure where right": float(sure[good].mean()),
        "sure where wrong": float(sure[~good].mean()),
        "a right one is surer than a wrong one": float(ranks),
    }


def row(name: str, by: str, values: dict[str, float | str]) -> dict[str, float | str]:
    said = "  ".join(f"{v:8.2f}" if isinstance(v, float) else f"{v!s:>13}" for v in values.values())
    print(f"{name:18s} {by:22s} {said}", flush=True)
    return {"clip": name, "by": by} | values


def taught(*films: Watched) -> Look | None:
    start = time.process_time()
    look = teach_look([(c, s, find_heading(c, s, motion=m)) for c, s, m in films])
    scale = float("nan") if look is None else float(look.scale)
    print(f"look taught in {time.process_time() - start:.0f} CPU s, scale {scale:.2f}")
    if look is not None:
        print("  of walking it was not taught:", json.dumps(folds(look, films)), flush=True)
    return look


def bundled(kind: str) -> list[dict]:
    """Train and test part of a bundled clip; the train part teaches the look."""
    rows, look = [], None
    for part in ("train", "test"):
        clip, its_survey, motion = watched(ROOT / "data_samples" / kind / part)
        truth = exact(clip)
        found = find_heading(clip, its_survey, motion=motion)
        rows.append(row(f"{kind} {part}", "motion", judged(found, truth)))
        look = look or taught((clip, its_survey, motion))
        found = find_heading(clip, its_survey, look, motion)
        rows.append(row(f"{kind} {part}", "look of train", judged(found, truth)))
    return rows


def real(data: Path) -> list[dict]:
    """The mouse: labelled images by themselves, and as moments of the long film."""
    with tempfile.TemporaryDirectory() as folder:
        images = watched(arranged(data / "mouse2_labels", Path(folder)), fps=6.0)
        films = {n: watched(data / n) for n in ("mouse5_dev", "mouse2_long")}
        truth, rows = by_hand(images[0]), []
        long = films["mouse2_long"]
        there = same_moments(long[1], images[1], truth[0]), truth[1]
        looks = {"motion": None} | {f"look of {name}": taught(film) for name, film in films.items()}
        for by, look in (looks | {"look of both": taught(*films.values())}).items():
            for name, film, known in (("images", images, truth), ("moments of film", long, there)):
                found = find_heading(film[0], film[1], look, film[2])
                rows.append(row(name, by, judged(found, known)))
            print(f"mouse5_dev, {by}: {find_heading(*films['mouse5_dev'][:2], look)}")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, nargs="?", help="folder of real recordings")
    parser.add_argument("--only", nargs="*", default=["rat", "human"], metavar="KIND")
    given = parser.parse_args()
    rows = [r for kind in given.only for r in bundled(kind)]
    rows += real(given.data) if given.data else []
    path = ROOT / "build" / "bench" / "heading.json"
    write_atomically(path, lambda there: there.write_text(json.dumps(rows, indent=1)))


if __name__ == "__main__":
    main()
