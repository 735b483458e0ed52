"""Results: what a checkpoint is good for - tracks with their films, and scores beside their baselines."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tqdm.auto import tqdm

from . import __version__
from .checkpoints import differences, load
from .clips import MultiViewClip, Survey, Track, open_clip
from .editing import Editing, load_editing
from .evaluation import baselines, on_body, scores
from .files import read_rows
from .model import Discoverer, build
from .motion import survey
from .ranks import joined
from .recipes import Recipe
from .report import pictures, score_table, write_report
from .sheets import place
from .training import track
from .videos import write_video
from .views import drawn_frames, movie, save_html

FILM = 1800  # pictures of the overlay, two minutes


@dataclass(frozen=True)
class Part:
    """One part of a clip with what the cameras tell about it (None where the recipe does not ask)."""

    clip: MultiViewClip
    survey: Survey | None


def part(folder: str | Path, recipe: Recipe, about: dict | None = None, **how) -> Part:
    """A clip's folder to be tracked, opened as `open_clip(folder, **how)`, and surveyed if the recipe needs it: of a film of any length no
    more than the frames' budget is held. about: the header of a checkpoint that was trained on a smaller image of the same shape, which
    the network knows: then that."""
    clip = open_clip(folder, **how)
    size, whole = (about or {}).get("clip", {}).get("size", clip.rig.size), clip.rig.size
    if size[0] < whole[0] and abs(size[0] * whole[1] / (whole[0] * size[1]) - 1) < 0.02:
        clip = clip.resized(tuple(size))
    return Part(clip, survey(clip, thumbs=False) if recipe.surveyed else None)


def judge(
    model: Discoverer, recipe: Recipe, parts: tuple[Part, Part]
) -> tuple[Track, dict[str, float | None]]:
    """Track both parts, fit the regressor on the first, score on the second: the held-out track and its scores."""
    first, second = parts
    stretch = first.clip.labelled // max(
        1, round(first.clip.fps / 15)
    )  # neighbouring frames are nearly the same pose
    seen = first.clip.labelled[torch.cat([torch.ones(1, dtype=torch.bool), stretch.diff() > 0])]
    asked = second.clip.labelled
    known = track(model, recipe, first.clip, first.survey, seen)
    found = track(model, recipe, second.clip, second.survey)
    score = scores(
        (known.world, first.clip.truth[seen]), (found.world[asked], second.clip.truth[asked])
    )
    near = {"share": None, "median": None}
    if second.clip.body_length:
        near = on_body(
            found.world[asked],
            second.clip.truth[asked],
            second.clip.skeleton,
            second.clip.body_length,
        )
    return found, score | {"on_body": near["share"], "bone_distance": near["median"]}


def write_track(out: Path, found: Track, part: Part, recipe: Recipe, title: str) -> None:
    """`keypoints.csv`, `keypoints.npz`, `skeleton.html` and `overlay.mp4` of a track that has a row for each frame of the clip."""
    clip = part.clip
    found.save(out / "keypoints.csv"), found.save(out / "keypoints.npz")
    centre, side = place(recipe, part.survey)
    every = max(1, len(clip) // 200)
    film = movie(
        found,
        clip.rig,
        clip.truth,
        clip.skeleton,
        centre,
        side,
        every,
        f"{title}: discovered without labels",
        clip=clip,
    )
    film.for_each_trace(
        lambda trace: trace.update(visible="legendonly"), {"name": "cube"}
    )  # a click away: its lines cross the animal
    save_html(film, out / "skeleton.html")
    times = _shown(len(clip), max(1, round(clip.fps / 15)))
    write_video(
        out / "overlay.mp4",
        tqdm(drawn_frames(clip, found, times), "drawing", len(times), unit="frame"),
        15,
    )


def _shown(frames: int, step: int) -> list[int]:
    """Every `step`-th frame; of a film for which that would be more than `FILM` pictures, ten stretches spread over it."""
    if frames <= FILM * step:
        return list(range(0, frames, step))
    length = FILM * step // 10
    return [
        t
        for begin in torch.linspace(0, frames - length, 10).long().tolist()
        for t in range(begin, begin + length, step)
    ]


def score_report(clip: str, recipe: Recipe, results: dict, device: str = "cpu", **facts) -> dict:
    """The dictionary of `report.json`: a column of each score for every row of `results`, None where there is none; then the facts."""
    where = (
        torch.cuda.get_device_name(device)
        if device.startswith("cuda")
        else f"cpu, {torch.get_num_threads()} threads"
    )

    def column(key: str, rows: tuple[str, ...]) -> dict:
        return {
            row: round(value, 4) if (value := results.get(row, {}).get(key)) is not None else None
            for row in rows
        }

    nets = ("trained", "untrained", "checkpoint")
    rows = ("trained", "untrained", "centroid", "mean_pose", "checkpoint")
    return {
        "clip": clip,
        **facts,
        "keypoints": recipe.keypoints,
        "mpjpe_mm": column("mpjpe", rows),
        "pmpjpe_mm": column("pmpjpe", rows),
        "on_body": column("on_body", nets),
        "bone_distance_mm": column("bone_distance", nets),
        "device": f"{where}, {platform.machine()}",
        "versions": {
            "bkind3d_lite": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }


# ---- the verbs ---------------------------------------------------------------------------------------------------
def checkpoint_in(place: str | Path) -> Path:
    """The checkpoint itself: a file, or the one of a run's folder."""
    place = Path(place)
    return place / "checkpoint.safetensors" if place.is_dir() else place


def track_folder(
    checkpoint: str | Path,
    clip: str | Path,
    out: str | Path,
    device: str = "auto",
    turns: int = 1,
    edits: str | Path | None = None,
    **how,
) -> Track:
    """Track a clip with a checkpoint (or a run's folder): `keypoints.csv`, `keypoints.npz`, `skeleton.html`, `overlay.mp4` in `out`.

    edits: an `Editing`'s file: all four then have its names, colours, merged and muted keypoints. how: as for `open_clip`.
    """
    choices = (
        load_editing(edits) if edits else Editing()
    )  # a bad file is named before the long part
    with joined(device) as device:
        model, recipe, header = load(checkpoint_in(checkpoint), device=device, tracking=True)
        print(f"looking at {clip} ...")
        seen = part(clip, recipe, header, **how)
        if moved := differences(
            header.get("clip", {}), seen.clip, skip=("frames", "fps", "offsets")
        ):
            print(
                f"note: the checkpoint was trained with another rig ({'; '.join(moved)}): keypoints of other cameras may be poor"
            )
        found = choices.applied(track(model, recipe, seen.clip, seen.survey, turns=turns))
    write_track(Path(out), found, seen, recipe, Path(clip).name)
    print(f"wrote keypoints.csv, keypoints.npz, skeleton.html and overlay.mp4 to {out}")
    return found


def evaluate(
    checkpoint: str | Path,
    first: str | Path,
    second: str | Path,
    out: str | Path,
    device: str = "auto",
    **how,
) -> dict:
    """Score a checkpoint on the clip `second`, the regression fitted on `first`, beside its baselines: `report.json`, `report.html`.

    Both need a `truth.npz` (paper section 4.1: a linear map from keypoints to joints is fitted on one part, scored on the other).
    """
    path = checkpoint_in(checkpoint)
    with joined(device) as device:
        model, recipe, header = load(path, device=device)
        how["budget"] = how.get("budget", 2 << 30) // 2  # two clips are open
        parts = tuple(part(folder, recipe, header, **how) for folder in (first, second))
        for folder, p in zip((first, second), parts):
            if not len(p.clip.labelled):
                raise ValueError(
                    f"{folder}: no truth.npz, or no labelled frame; scores need known joints (positions, names, edges, body_length) for both clips"
                )
        print("tracking both parts ...")
        found, trained = judge(model, recipe, parts)
        fresh = build(recipe, header["seed"])[0].to(device)
        results = {"trained": trained, "untrained": judge(fresh, recipe, parts)[1]} | baselines(
            *(p.clip.truth[p.clip.labelled] for p in parts)
        )
    report = score_report(
        str(second),
        recipe,
        results,
        device,
        checkpoint=str(path),
        seed=header["seed"],
        steps=header["step"],
    )
    rows = read_rows(path.parent / "losses.csv")
    write_report(out, report, pictures(parts[1].clip, found, rows), asdict(recipe))
    print("\n" + score_table(report) + f"\n\nopen {Path(out) / 'report.html'}")
    return report
