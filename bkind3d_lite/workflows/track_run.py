"""Track run: the keypoints of a folder with a checkpoint, as tables, film and 3D page."""

from __future__ import annotations

from pathlib import Path

import torch
from tqdm.auto import tqdm

from ..clips.clip import SurveyedClip, open_clip
from ..clips.survey import survey
from ..clips.tracks import Track
from ..clips.videos import write_video
from ..distributed import joined
from ..recipes import Recipe
from ..training.checkpoints import differences, load
from ..training.tracking import track
from ..viz.overlays import drawn_frames
from ..viz.run_images import volume_place
from ..viz.scenes import movie, save_html
from ..viz.skeleton_edits import Editing, load_editing

FILM = 1800  # pictures of the overlay, two minutes


def part(folder: str | Path, recipe: Recipe, about: dict | None = None, **how) -> SurveyedClip:
    """A clip's folder to be tracked, opened as `open_clip(folder, **how)`, and surveyed if the recipe needs it: of a film of any length no
    more than the frames' budget is held. about: the header of a checkpoint that was trained on a smaller image of the same shape, which
    the network knows: then that."""
    clip = open_clip(folder, **how)
    wh, whole = (about or {}).get("clip", {}).get("size", clip.rig.wh), clip.rig.wh
    if wh[0] < whole[0] and abs(wh[0] * whole[1] / (whole[0] * wh[1]) - 1) < 0.02:
        clip = clip.resized(tuple(wh))
    return SurveyedClip(clip, survey(clip, thumbs=False) if recipe.surveyed else None)


def write_track(out: Path, found: Track, part: SurveyedClip, recipe: Recipe, title: str) -> None:
    """`keypoints.csv`, `keypoints.npz`, `skeleton.html` and `overlay.mp4` of a track that has a row for each frame of the clip."""
    clip = part.clip
    found.save(out / "keypoints.csv"), found.save(out / "keypoints.npz")
    centre, side = volume_place(recipe, part.survey)
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
