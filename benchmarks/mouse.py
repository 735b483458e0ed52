"""The real mouse: do the points turn with it, and what are they worth against labels by hand?

    python benchmarks/mouse.py PATH/TO/recordings [--films five long both] [--seeds 0 1]

PATH holds `mouse5_dev` (five cameras, 17 s), `mouse2_long` (two of them at another time, 227 s) and
`mouse2_labels` (22 moments of that film with joints by hand). For every choice of films the look is
taught by their walk, `quick` is trained on them in turn, and the track is judged: shares of room
and body, turning, silhouettes; and by the labels, leaving each moment out, beside what needs no
network or no training: the centre and a mean offset, the same turned by the heading (rigid
template), and the untrained network in the turned volume. Labels teach nothing and choose nothing.
Writes build/bench/mouse.json, checkpoints beside it, and with --stills the pictures of
docs/real_recordings.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bkind3d_lite import batches, begin, open_clip, placed, track, train
from bkind3d_lite.clips import SurveyedClip
from bkind3d_lite.clips.heading import Heading, wrapped
from bkind3d_lite.clips.heading_finder import find_heading, teach_look
from bkind3d_lite.clips.hull_motion import hull_motion
from bkind3d_lite.clips.look import Look
from bkind3d_lite.clips.sampling import Batch
from bkind3d_lite.clips.survey import survey
from bkind3d_lite.evaluation.body_bound import RigidTemplate, body_bound
from bkind3d_lite.files import write_atomically
from bkind3d_lite.recipes import QUICK, altered
from bkind3d_lite.training.checkpoints import save
from bkind3d_lite.training.loop import Run
from bkind3d_lite.viz import closeups

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
from heading import by_hand, folds, same_moments
from heading import judged as judged_heading
from real import STILLS, left_out, still, unlabelled
from real_recordings import arranged

OUT = Path(__file__).parents[1] / "build" / "bench"
FILMS = {
    "five": ("mouse5_dev",),
    "long": ("mouse2_long",),
    "both": ("mouse5_dev", "mouse2_long"),
}
FAST = 80.0  # mm per second from which the centre tells the way
TAIL = ("Tail(mid)", "Tail(end)")
SHOWN, VIEW, FILM_FPS = (1, 3, 0, 4), 210, 12  # views of a film, their pixels, frames a second


# ---- recordings ----------------------------------------------------------------------------------
def recordings(data: Path, folder: Path) -> dict[str, SurveyedClip]:
    """The two films and the labelled images, surveyed."""
    clips = {name: open_clip(data / name) for name in FILMS["both"]}
    clips["mouse2_labels"] = open_clip(arranged(data / "mouse2_labels", folder), fps=6.0)
    return {name: SurveyedClip(clip, survey(clip)) for name, clip in clips.items()}


def oriented(parts: dict[str, SurveyedClip], films: Sequence[str]) -> tuple[dict, Look, dict]:
    """Every recording with its heading, by a look that the films' walk taught; and how sure that
    look is of walking it was not taught."""
    motion = {name: hull_motion(part.clip, part.survey) for name, part in parts.items()}
    by_motion = {
        name: find_heading(part.clip, part.survey, motion=motion[name])
        for name, part in parts.items()
    }
    look = teach_look([(parts[n].clip, parts[n].survey, by_motion[n]) for n in films])
    turned = {}
    for name, part in parts.items():
        heading = find_heading(part.clip, part.survey, look, motion[name])
        print(f"  {name}: {heading}", flush=True)
        turned[name] = SurveyedClip(part.clip, replace(part.survey, heading=heading))
    walks = [(parts[n].clip, parts[n].survey, motion[n]) for n in films]
    return turned, look, folds(look, walks)


def in_turn(pairs: Sequence[Iterator[Batch]]) -> Iterator[Batch]:
    """Batches of several recordings, one after the other."""
    while True:
        for one in pairs:
            yield next(one)


def trained(run: Run, parts: dict[str, SurveyedClip], films: Sequence[str]) -> float:
    """Train on the films in turn; CPU seconds."""
    start = time.process_time()
    pairs = in_turn([batches(run, parts[n].clip, parts[n].survey) for n in films])
    for step in train(run, pairs):
        if step.index >= run.recipe.optim.steps:
            break
    return time.process_time() - start


# ---- scores --------------------------------------------------------------------------------------
def turning(run: Run, part: SurveyedClip, centre: Tensor) -> dict[str, float]:
    """Of the film of five cameras, every second frame: body-bound, and on the silhouettes."""
    times = torch.arange(0, len(part.clip), 2)
    path = track(run.model, run.recipe, part.clip, part.survey, times)
    bound = body_bound(path.world, path.fps / 2, FAST)
    some = replace(part.survey, centre=part.survey.centre[times], thumbs=part.survey.thumbs[times])
    scores = unlabelled(part.clip, some, path, centre[times])
    scores = {k: scores[k] for k in ("on_body", "worst_keypoint", "centre", "step")}
    return {"room": bound.room, "body": bound.body, "turning": bound.turning} | scores


class Labels:
    """Joints by hand, and the frames in which they lie: of their own images, and of the film."""

    def __init__(self, parts: dict[str, SurveyedClip], least: int = 6):
        images, film = parts["mouse2_labels"], parts["mouse2_long"]
        self.times = {"images": (images, images.clip.labelled)}
        moments = same_moments(film.survey, images.survey, images.clip.labelled)
        self.times["moments of the film"] = film, moments
        truth = images.clip.truth[images.clip.labelled]
        often = truth.isfinite().all(-1).sum(0) >= least
        self.truth = truth[:, often]
        names = [name for name, keep in zip(images.clip.skeleton.names, often) if keep]
        self.body = torch.tensor([name not in TAIL for name in names])

    def error(self, guess: Tensor) -> tuple[float, float]:
        """Mean distance in mm of all joints, and without the tail's middle and end."""
        away = (guess - self.truth).norm(dim=-1)
        return float(away.nanmean(1).nanmean()), float(away[:, self.body].nanmean(1).nanmean())

    def network(self, run: Run) -> dict[str, tuple[float, float]]:
        """Errors of a regression on the keypoints, leaving each moment out."""
        return {
            place: self.error(
                left_out(
                    track(run.model, run.recipe, part.clip, part.survey, times).world, self.truth
                )
            )
            for place, (part, times) in self.times.items()
        }

    def template(self, turned: bool) -> dict[str, tuple[float, float]]:
        """Errors of the survey's centre with a mean offset, turned by the heading or not."""
        rows = {}
        for place, (part, times) in self.times.items():
            heading = part.survey.heading.angle[times] if turned else None
            centre, guess = part.survey.centre[times], torch.full_like(self.truth, torch.nan)
            for t in range(len(times)):
                rest = torch.arange(len(times)) != t
                template = RigidTemplate.fit(
                    centre[rest], self.truth[rest], None if heading is None else heading[rest]
                )
                guess[t] = template.predict(centre[[t]], None if heading is None else heading[[t]])[
                    0
                ]
            rows[place] = self.error(guess)
        return rows


def sign(parts: dict[str, SurveyedClip], run: Run | None = None) -> dict[str, dict]:
    """The heading at the labelled moments, in their own images and in the film; as it was found, or
    as the keypoints of a run make it."""
    images, film = parts["mouse2_labels"], parts["mouse2_long"]
    truth = by_hand(images.clip)
    there = same_moments(film.survey, images.survey, truth[0]), truth[1]
    found = [("images", images, truth), ("moments of the film", film, there)]
    return {
        place: judged_heading(
            part.survey.heading if run is None else finer(run, part, known[0]), known
        )
        for place, part, known in found
    }


def finer(run: Run, part: SurveyedClip, times: Tensor) -> Heading:
    """The heading of a recording, at some times as its track tells it."""
    angle = part.survey.heading.angle.clone()
    angle[times] = track(run.model, run.recipe, part.clip, part.survey, times).heading
    return replace(part.survey.heading, angle=angle)


# ---- pictures ------------------------------------------------------------------------------------
def liveliest(heading: Heading, frames: int) -> int:
    """Where to begin a film of so many frames: there the mouse turns most, and is sure."""
    turn = wrapped(heading.angle.diff()).abs() * (heading.confidence[1:] > 0.9)
    return int(turn.unfold(0, frames, 1).sum(1).argmax())


def filmed(run: Run, part: SurveyedClip, path: Path, seconds: float = 7.0) -> None:
    """Four views cut about the keypoints that are drawn in, in real time, as moving WebP."""
    step, wide = round(part.clip.fps / FILM_FPS), 1.9 * part.survey.heading.length
    frames = round(seconds * part.clip.fps)
    first = liveliest(part.survey.heading, frames)
    times = list(range(first, first + frames, step))
    track_of = track(run.model, run.recipe, part.clip, part.survey, times)
    rows = closeups(part.clip, track_of, times, side=wide, views=SHOWN, pixels=VIEW)
    rows = rows.reshape(len(times), VIEW, -1, 3)
    begin_with, *rest = (Image.fromarray(row) for row in rows)
    style = dict(format="WEBP", save_all=True, duration=1000 // FILM_FPS, loop=0, quality=50)
    write_atomically(path, lambda there: begin_with.save(there, append_images=rest, **style))
    print(f"{path}: {len(rows)} frames from {first}, {path.stat().st_size / 1e6:.2f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--films", nargs="*", default=list(FILMS), choices=list(FILMS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1])
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--stills", action="store_true")
    given = parser.parse_args()
    centre = np.loadtxt(given.data / "mouse5_dev" / "com3d_mm.csv", delimiter=",", comments="#")
    centre, results = torch.tensor(centre[:, 1:4]).float(), {}
    with tempfile.TemporaryDirectory() as folder:
        plain = recordings(given.data, Path(folder))
        for films in given.films:
            print(films, flush=True)
            parts, look, unseen = oriented(plain, FILMS[films])
            labels, first = Labels(parts), parts[FILMS[films][0]]
            recipe = placed(altered(QUICK, given.set), first.clip.rig, first.survey)
            rows = {"heading": sign(parts), "walking not taught": unseen}
            rows |= {"centre and offset": labels.template(False)}
            rows["rigid template"] = labels.template(True)
            for seed in given.seeds:
                run = begin(recipe, first.clip, seed)
                run.model.look.load_state_dict(look.state_dict())
                if seed == given.seeds[0]:
                    rows["untrained, turned volume"] = labels.network(run)
                seconds = trained(run, parts, FILMS[films])
                scores = turning(run, parts["mouse5_dev"], centre)
                scores |= {"heading by keypoints": sign(parts, run), "cpu_seconds": seconds}
                rows[f"seed {seed}"] = scores | labels.network(run)
                save(run, OUT / f"mouse_{films}_{seed}.safetensors", whole=False)
                print(json.dumps(rows[f"seed {seed}"]), flush=True)
            results[films] = rows
            path = OUT / f"mouse_{films}.json"
            write_atomically(path, lambda there: there.write_text(json.dumps(rows, indent=1)))
            print(json.dumps(rows, indent=1), flush=True)
        if given.stills:
            for name, times in (("mouse5_dev", [50, 1200, 1600, 1900]), ("mouse2_long", None)):
                part = parts[name]
                times = times or labels.times["moments of the film"][1][[1, 5, 10, 19]].tolist()
                path = track(run.model, run.recipe, part.clip, part.survey, times)
                wide = 1.7 * part.survey.heading.length
                still(part.clip, path, times, name.replace("mouse", "real_mouse"), side=wide)
            filmed(run, parts["mouse5_dev"], STILLS / "real_mouse.webp")


if __name__ == "__main__":
    main()
