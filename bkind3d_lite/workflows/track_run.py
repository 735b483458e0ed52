"""Track run: the keypoints of a folder with a checkpoint, as tables, film and 3D page."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..clips.clip import MultiViewClip, SurveyedClip, open_clip
from ..clips.image_tracks import Track2D
from ..clips.recordings.footage import IMAGE_SUFFIXES
from ..clips.single_view import body_boxes, one_view, picture_clip
from ..clips.survey import survey as survey_clip
from ..clips.tracks import Track
from ..clips.videos import write_video
from ..distributed import joined
from ..files import refuse_unwritable
from ..model.discoverer import Discoverer
from ..progress import progress
from ..recipes import Recipe
from ..recipes.ranges import refuse_outside
from ..students.student import read_poses
from ..training import tracking
from ..training.checkpoints import differences, load
from ..training.image_tracking import track_images
from ..training.orientation import oriented_part
from ..viz import drawn_frames, movie, movie_in_image, save_html
from ..viz.run_images import save_sheet, volume_grid
from ..viz.skeleton_edits import Editing, load_editing

log = logging.getLogger(__name__)
FILM = 1800  # pictures of the overlay, two minutes
FILM_FPS = 15
MOVED = (
    "note: the checkpoint was trained with another rig (%s): keypoints of other cameras may be poor"
)


def checkpoint_in(place: str | Path) -> Path:
    """The checkpoint itself.

    Args:
        place: a file, or a run's folder.

    Returns:
        The file.
    """
    place = Path(place)
    return place / "checkpoint.safetensors" if place.is_dir() else place


def open_surveyed(
    folder: str | Path, recipe: Recipe, header: Mapping[str, Any] | None = None, **how: Any
) -> SurveyedClip:
    """Open a clip's folder to be tracked, and survey it if the recipe needs that.

    Of a film of any length no more than the frames' budget is held.

    Args:
        folder: the recording.
        recipe: it is tracked with.
        header: of the checkpoint. If that was trained on a smaller image of the same shape, which
            the network knows, frames are decoded to that size.
        **how: as for `open_clip`.

    Returns:
        The clip, with its survey where the recipe asks.
    """
    clip = sized_for(open_clip(folder, **how), header)
    if not recipe.surveyed:
        return SurveyedClip(clip, None)
    return SurveyedClip(clip, survey_clip(clip, thumbs=False, uncover=recipe.data.uncover))


def sized_for(clip: MultiViewClip, header: Mapping[str, Any] | None) -> MultiViewClip:
    """The clip decoded no larger than the network has seen, if the shape of its image is the same.

    Args:
        clip: as it was opened.
        header: of the checkpoint.

    Returns:
        The same, or a smaller one.
    """
    whole = clip.rig.wh
    w, h = (header or {}).get("clip", {}).get("size", whole)
    alike = w < whole[0] and abs(w * whole[1] / (whole[0] * h) - 1) < 0.02
    return clip.resized((w, h)) if alike else clip


def say_moved(clip: MultiViewClip, header: Mapping[str, Any]) -> None:
    """Log what the clip's rig and the one that a checkpoint was trained with do not share.

    Args:
        clip: that is tracked.
        header: of the checkpoint.
    """
    moved = differences(header.get("clip", {}), clip, skip=("frames", "fps", "offsets"))
    if moved:
        log.warning(MOVED, "; ".join(moved))


def track_folder(
    checkpoint: str | Path,
    clip: str | Path,
    out: str | Path,
    device: str = "auto",
    turns: int | None = None,
    edits: str | Path | None = None,
    *,
    box: Sequence[float] | None = None,
    **how: Any,
) -> Track | Track2D:
    """Track a clip with a checkpoint and write what `write_track` does.

    Of one uncalibrated camera it is in its image (`write_image_track`), of a student a pose of each
    picture by itself (`write_poses`).

    Args:
        checkpoint: a file, or a run's folder.
        clip: the recording's folder.
        out: folder for the files.
        device: `auto`, `cpu`, `cuda` or `cuda:1`.
        turns: average over so many volumes, turned and shifted a little; None: the recipe's.
        edits: an `Editing`'s file: names, colours, merged and muted keypoints for all files.
        box: x, y, width, height of the body in a single picture; None: all of it.
        **how: as for `open_clip`.

    Returns:
        The track, edited.
    """
    out = refuse_unwritable(out)  # what cannot be is named before the long part
    _refuse_odd(Path(clip), turns, box)
    editing = load_editing(edits) if edits else Editing()
    with joined(device) as device:
        model, recipe, header = load(checkpoint_in(checkpoint), device=device, tracking=True)
        log.info("looking at %s ...", clip)
        if recipe.lift == "integral":
            return _read_folder(model, recipe, Path(clip), out, box=box, **how)
        part = open_surveyed(clip, recipe, header, **how)
        say_moved(part.clip, header)
        if not part.clip.rig.calibrated:
            flat = editing.applied(track_images(model, recipe, part.clip, part.survey)[0])
            write_image_track(Path(out), flat, part.clip, Path(clip).name)
            return flat
        part = oriented_part(model, part)
        track = editing.applied(tracking.track(model, recipe, part.clip, part.survey, turns=turns))
    write_track(Path(out), track, part, recipe, Path(clip).name)
    return track


def _refuse_odd(clip: Path, turns: int | None, box: Sequence[float] | None) -> None:
    """Refuse numbers that make no sense, and a box for what is no single picture."""
    refuse_outside({"turns": turns})
    if box is not None and clip.suffix.lower() not in IMAGE_SUFFIXES:
        raise ValueError(f"{clip}: --box is of a single picture; boxes of a film: boxes.csv")


def _read_folder(
    model: Discoverer,
    recipe: Recipe,
    clip: Path,
    out: Path,
    *,
    box: Sequence[float] | None,
    **how: Any,
) -> Track2D:
    """A student's poses in a picture, or in the pictures of each camera; the last one's."""
    single = clip.suffix.lower() in IMAGE_SUFFIXES
    opened = picture_clip(clip, box) if single else open_clip(clip, **how)
    boxes = body_boxes(opened)
    for view, name in enumerate(opened.rig.names):
        one = one_view(opened, view) if opened.rig.calibrated else opened
        home = out / name if opened.rig.views > 1 else out
        flat, pose = read_poses(model, recipe, one, boxes[:, view])
        write_poses(home, flat, pose, one, f"{clip.name}, {name}")
    return flat


def write_poses(out: Path, flat: Track2D, pose: Track, clip: MultiViewClip, title: str) -> None:
    """Write a student's poses.

    In the image `keypoints.csv` and `.npz`, `overlay.jpg` and, of a film, `overlay.mp4`; in space
    about the root `pose3d.csv` and `.npz`, and `skeleton.html`.

    Args:
        out: folder for them.
        flat: in the image.
        pose: in space.
        clip: of the one camera.
        title: of the page.
    """
    for name, track in (("keypoints", flat), ("pose3d", pose)):
        for suffix in ("csv", "npz"):
            track.save(out / f"{name}.{suffix}")
    film = movie(pose, every=max(1, len(clip) // 200), title=f"{title}: poses from one image")
    save_html(film, out / "skeleton.html")
    middle = [len(clip) // 2]
    save_sheet(next(drawn_frames(clip, flat.on_plane(), middle)), out / "overlay.jpg")
    if len(clip) > 1:
        _write_film(out, clip, flat.on_plane())


def write_image_track(out: Path, track: Track2D, clip: MultiViewClip, title: str) -> None:
    """Write `keypoints.csv`, `keypoints.npz`, `keypoints.html` and `overlay.mp4`.

    Args:
        out: folder for them.
        track: a row for each frame of the clip.
        clip: of the camera.
        title: of the page.
    """
    track.save(out / "keypoints.csv")
    track.save(out / "keypoints.npz")
    words = f"{title}: discovered without labels"
    film = movie_in_image(track, clip, every=max(1, len(clip) // 200), title=words)
    save_html(film, out / "keypoints.html")
    _write_film(out, clip, track.on_plane())


def _write_film(out: Path, clip: MultiViewClip, track: Track) -> None:
    times = _film_times(len(clip), max(1, round(clip.fps / FILM_FPS)))
    drawn = drawn_frames(clip, track, times)
    pictures = progress(drawn, desc="drawing", total=len(times), unit="frame")
    write_video(out / "overlay.mp4", pictures, FILM_FPS)


def write_track(out: Path, track: Track, part: SurveyedClip, recipe: Recipe, title: str) -> None:
    """Write `keypoints.csv`, `keypoints.npz`, `skeleton.html` and `overlay.mp4`.

    Args:
        out: folder for them.
        track: a row for each frame of the clip.
        part: that was tracked.
        recipe: it was tracked with, placed.
        title: of the film in space.
    """
    clip = part.clip
    track.save(out / "keypoints.csv")
    track.save(out / "keypoints.npz")
    film = movie(
        track,
        clip.rig,
        clip.truth,
        clip.skeleton,
        volume_grid(recipe, part.survey),
        every=max(1, len(clip) // 200),
        title=f"{title}: discovered without labels",
        clip=clip,
    )
    # the cube's lines cross the animal: a click away
    film.for_each_trace(lambda trace: trace.update(visible="legendonly"), {"name": "cube"})
    save_html(film, out / "skeleton.html")
    _write_film(out, clip, track)


def _film_times(frames: int, step: int) -> list[int]:
    """Every `step`-th frame; where these are more than `FILM`, ten stretches spread over all."""
    if frames <= FILM * step:
        return list(range(0, frames, step))
    length = FILM * step // 10
    begins = torch.linspace(0, frames - length, 10).long().tolist()
    return [t for begin in begins for t in range(begin, begin + length, step)]
