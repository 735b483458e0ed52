"""One camera: what B-KinD 2D is worth on each bundled camera by itself, its calibration forgotten.

    python benchmarks/one_camera.py --cameras 1 2 --seeds 0 --out build/one_camera.csv
    python benchmarks/one_camera.py --table build/one_camera.csv
    python benchmarks/one_camera.py --recording PATH/TO/mouse5_dev --cameras 1 2 3 4 5

Rows are appended, so that cameras and seeds may come in several calls. Errors are mean distances
of regressed joints on the held-out part in % of the image's longer side; on_silhouette: share of
keypoints on the foreground grown by a tenth of the animal's length; turned: distance of the
keypoints of a turned image to the turned keypoints, as a share of its side. room and body: shares
of the points' places about their mean that are fixed in the picture, and about the way the animal
walks in it; of a recording without true joints that and on_silhouette are all, on the film itself.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import torch

from bkind3d_lite import batches, begin, open_clip, placed, save, survey, train
from bkind3d_lite.clips.clip import SurveyedClip
from bkind3d_lite.clips.single_view import one_view
from bkind3d_lite.clips.survey import animal_length, on_silhouettes
from bkind3d_lite.evaluation import image_baselines, image_score
from bkind3d_lite.evaluation.body_bound import body_bound, usual_pace
from bkind3d_lite.model import build_model
from bkind3d_lite.model.discoverer import Discoverer
from bkind3d_lite.recipes import Recipe, altered, find_recipe
from bkind3d_lite.training.checkpoints import load, read_header
from bkind3d_lite.training.image_tracking import track_images

SAMPLES = Path(__file__).parents[1] / "data_samples"
SCORES = ("error", "on_silhouette", "turned", "room", "body")
COLUMNS = ["clip", "camera", "seed", "row", "steps", *SCORES]


def parts_of(name: str, view: int) -> tuple[SurveyedClip, SurveyedClip]:
    """One camera of a bundled clip's two parts.

    The camera stands still, so the longer part's background serves both: in its twelve seconds the
    rat rests where it leaves a ghost.
    """
    first, second = (one_view(open_clip(SAMPLES / name / p), view) for p in ("train", "test"))
    seen = survey(first)
    return SurveyedClip(first, seen), SurveyedClip(
        second, survey(second, background=seen.background)
    )


def recorded(folder: Path, view: int) -> tuple[SurveyedClip, SurveyedClip]:
    """One camera of a recording, small; there is no other part."""
    whole = open_clip(folder)
    w, h = whole.rig.wh
    scale = min(1.0, 320 / max(w, h))
    clip = one_view(whole.resized((round(w * scale), round(h * scale))), view)
    part = SurveyedClip(clip, survey(clip))
    return part, part


@torch.no_grad()
def turned(model: Discoverer, recipe: Recipe, part: SurveyedClip) -> float:
    """Do keypoints turn with their image? Mean distance over the quarter turns, share of a side."""
    times, away = torch.linspace(0, len(part.clip) - 1, 40).long(), []
    batch = part.clip.batch(times, None, recipe.data.image_wh, part.survey, recipe.volume.crop)
    model.eval()
    wanted = model.keypoints(batch).ndc
    for i in (1, 2, 3):
        found = model.keypoints(replace(batch, now=batch.now.rot90(i, (-2, -1)))).ndc
        wanted = torch.stack([wanted[..., 1], -wanted[..., 0]], -1)
        away.append((found - wanted).norm(dim=-1).mean() / 2)
    return float(torch.stack(away).mean())


def scored(model: Discoverer, recipe: Recipe, parts: tuple[SurveyedClip, SurveyedClip]) -> dict:
    """All scores of a model; the error only where true joints are known."""
    first, second = parts
    track = track_images(model, recipe, second.clip, second.survey)[0]
    grow = 0.1 * animal_length(second.survey, second.clip.rig)
    plane = track.on_plane().world
    hit, _ = on_silhouettes(plane, second.clip.rig, second.survey.thumbs, grow)
    starts = second.clip.starts
    bound = body_bound(plane, track.fps, usual_pace(plane, track.fps, starts), starts=starts)
    about = dict(on_silhouette=float(hit.float().mean()), turned=turned(model, recipe, second))
    about |= dict(room=bound.room, body=bound.body)
    if second.clip.marks is None:
        return about
    times = torch.arange(0, len(first.clip), 3)
    fitted = track_images(model, recipe, first.clip, first.survey, times)[0]
    fit_on = fitted.px, first.clip.marks[times, 0]
    error = image_score(fit_on, (track.px, second.clip.marks[:, 0]), track.wh)
    return dict(error=100 * error, **about)


def trained(args: argparse.Namespace, first: SurveyedClip, seed: int) -> tuple[Discoverer, Recipe]:
    """A model trained on one camera's film with one seed, or the one that is loaded."""
    if args.load:
        return load(args.load)[:2]
    recipe = altered(find_recipe(args.recipe), [*args.set, f"steps={args.steps}"])
    recipe = recipe if args.rotate else recipe.with_(rotate=0.0)
    recipe = placed(recipe, first.clip.rig, first.survey)
    run, start = begin(recipe, first.clip, seed, args.device), time.perf_counter()
    for step in train(run, batches(run, first.clip, first.survey)):
        if step.index == args.steps:
            break
    if args.save:
        minutes = (time.perf_counter() - start) / 60
        save(run, args.save, whole=False, notes={"minutes": minutes}, half=True)
    return run.model.to("cpu"), recipe


def rows_of(args: argparse.Namespace, view: int, seed: int) -> list[dict]:
    """Train on one camera with one seed; its row and those of the baselines."""
    parts = recorded(args.recording, view) if args.recording else parts_of(args.clip, view)
    clip = parts[0].clip
    model, recipe = trained(args, parts[0], seed)
    if not args.scores:
        return []
    of = args.recording.name if args.recording else args.clip
    about = dict(clip=of, camera=clip.rig.names[0], seed=seed)
    name = "trained" if recipe.losses.rotate else "no_rotate"
    rows = [dict(about, row=name, steps=recipe.optim.steps, **scored(model, recipe, parts))]
    if recipe.losses.rotate:
        fresh = scored(build_model(recipe, seed), recipe, parts)
        rows.append(dict(about, row="untrained", steps=0, **fresh))
    if recipe.losses.rotate and clip.marks is not None:
        joints = [part.clip.marks[:, 0] for part in parts]
        known = image_baselines(*joints, clip.rig.wh)
        rows += [dict(about, row=k, steps=0, error=100 * v) for k, v in known.items()]
    return rows


CARD = """# {stem}: keypoints in the image of one camera

B-KinD 2D (`{recipe}`), trained without labels and without a calibration on camera {camera} of the
bundled `{clip}` clip's training part.

- Command: `python benchmarks/one_camera.py --cameras {number} --recipe {recipe} --steps {steps}
  --seeds {seed}{switches} --save FILE`; scores again: `--load FILE`.
- Steps: {steps}, {minutes:.1f} minutes on one CPU thread beside other work, torch {torch}, {date}.
- Licence: Apache-2.0. Weights only, in half precision.
  Keypoints do not transfer to another camera or animal.

Held-out part, with the training film's background, by that command: regressed joints, mean distance
in % of the image's side; share of keypoints on the silhouette grown by a tenth of the animal's
length; how far keypoints of a turned image are from the turned keypoints, share of the side.

| | error % | on silhouette | turned |
|---|---|---|---|
{rows}

The settings were chosen with scores of this held-out part in view.
"""


def write_card(path: Path, args: argparse.Namespace, rows: list[dict]) -> None:
    """The model card beside a checkpoint that is kept."""
    names = {"trained": "this checkpoint", "centroid": "true centroid alone"}
    lines = []
    for row in rows:
        name = names.get(row["row"], row["row"].replace("_", " "))
        values = [f"{row[k]:.3g}" if k in row else "" for k in ("error", "on_silhouette", "turned")]
        lines.append(f"| {name} | {' | '.join(values)} |")
    header = read_header(path)
    text = CARD.format(
        stem=path.stem,
        recipe=header["recipe"]["name"],
        camera=rows[0]["camera"],
        number=args.cameras[0],
        clip=args.clip,
        seed=header["seed"],
        switches=f" --set {' '.join(args.set)}" if args.set else "",
        steps=header["step"],
        minutes=header["notes"]["minutes"],
        torch=torch.__version__,
        date=datetime.date.today().isoformat(),
        rows="\n".join(lines),
    )
    path.with_suffix(".md").write_text(text, encoding="utf-8")


def table(path: Path) -> str:
    """Mean over cameras of each row, and its spread over seeds, as a Markdown table."""
    values: dict = defaultdict(lambda: defaultdict(dict))
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            for key in SCORES:
                if row.get(key):
                    kept = values[row["row"]][key].setdefault(row["seed"], {})
                    kept[row["camera"]] = float(row[key])
    lines = [
        "| row | error, % | on silhouette | turned | room | body | cameras, seeds |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, columns in values.items():
        cells = []
        for key in SCORES:
            means = (
                [sum(c.values()) / len(c) for c in columns[key].values()] if key in columns else []
            )
            spread = f" ± {torch.tensor(means).std():.2g}" if len(means) > 1 else ""
            cells.append(f"{sum(means) / len(means):.3g}{spread}" if means else "")
        counts = [len(c) for c in next(iter(columns.values())).values()]
        lines.append(f"| {name} | {' | '.join(cells)} | {max(counts)}, {len(counts)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clip", default="rat", choices=("rat", "human"))
    parser.add_argument("--recording", type=Path, help="a folder of one's own instead")
    parser.add_argument("--cameras", type=int, nargs="+", default=[1], help="numbers from 1")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--recipe", default="quick-2d")
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--no-rotate", dest="rotate", action="store_false")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("build/one_camera.csv"))
    parser.add_argument("--save", type=Path, help="also keep the model, for tracking")
    parser.add_argument("--load", type=Path, help="score this one instead; writes its card")
    parser.add_argument("--no-scores", dest="scores", action="store_false", help="train alone")
    parser.add_argument("--table", type=Path, help="only print the table of such a file")
    args = parser.parse_args()
    if (args.save or args.load) and len(args.cameras) * len(args.seeds) > 1:
        parser.error("--save and --load are of one model: name one camera and one seed")
    for camera in () if args.table else args.cameras:
        for seed in args.seeds:
            rows = rows_of(args, camera - 1, seed)
            if rows and (args.save or args.load):
                write_card(args.save or args.load, args, rows)
            args.out.parent.mkdir(parents=True, exist_ok=True)
            new = not args.out.exists()
            with open(args.out, "a", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS)
                writer.writerows([dict(zip(COLUMNS, COLUMNS))] * new + rows)
    if args.scores:
        print(table(args.table or args.out))


if __name__ == "__main__":
    main()
