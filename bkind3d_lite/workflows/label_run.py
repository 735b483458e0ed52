"""The verb `pseudo`: 3D labels for a student from 2D poses, with their provenance."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ..clips.clip import MultiViewClip, open_clip
from ..clips.pseudo_labels import PseudoLabels, pseudo_labels
from ..files import refuse_unwritable
from ..multiview.people import one_person
from ..multiview.robust import robust_triangulate
from ..poses2d import Poses2D, left_right_pairs, read_people
from ..poses2d.entry import SURE
from ..training.checkpoints import load
from ..training.image_tracking import discovered_poses

log = logging.getLogger(__name__)


def label_folder(
    clip: str | Path,
    out: str | Path,
    poses: str | Path | None = None,
    *,
    order: str | None = None,
    person: str | None = None,
    how: str = "robust",
    whose: str = "given",
    times: str | None = None,
    least: float = SURE,
    seed: int = 0,
    **opening: Any,
) -> PseudoLabels:
    """Make labels for a recording and write them; what they are like is logged.

    Args:
        clip: the recording's folder.
        out: the NPZ file.
        poses: 2D poses, as `read_people` reads them; or a checkpoint, whose own keypoints they are.
        order: of the joints, where the files do not name them.
        person: `moving`, where there are several.
        how: as of `pseudo_labels`.
        whose: cameras, the `given` ones or those that are `found` from the poses.
        times: `FROM:TO`, rows to label.
        least: confidence of a detector below which a reading is left out; of a checkpoint's own
            keypoints none is.
        seed: of the search for cameras.
        **opening: of `open_clip`.

    Returns:
        The labels.
    """
    out = refuse_unwritable(out, folder=False)
    recording = open_clip(clip, **opening)
    seen = None if poses is None else _poses(recording, poses, order, person, whose)
    least = 0.0 if poses is not None and _is_checkpoint(poses) else least
    part = _stretch(times)
    labels = pseudo_labels(recording, seen, how, cameras=whose, times=part, least=least, seed=seed)
    labels.save(out)
    if seen is not None:
        ordered = seen.ordered(recording.rig.names).sure(least)
        points = robust_triangulate(labels.rig, ordered.px, None, left_right_pairs(ordered.names))
        log.info("%s", points.report(ordered.names, recording.rig.names))
    share = 100 * float((labels.weight > 0).float().mean())
    log.info(
        "%s frames, %.1f %% of their joints labelled; wrote %s", len(labels.frames), share, out
    )
    return labels


def _poses(
    clip: MultiViewClip, path: str | Path, order: str | None, person: str | None, cameras: str
) -> Poses2D:
    """The poses of one person, by the rays where cameras are given; or a checkpoint's keypoints."""
    if _is_checkpoint(path):
        model, recipe, _ = load(path)
        return discovered_poses(model, recipe, clip)
    people = read_people(path, order)
    if people.most > 1 and cameras == "given" and person is None:
        return one_person(people.ordered(clip.rig.names), clip.rig)
    return one_person(people, None, person)


def _is_checkpoint(path: str | Path) -> bool:
    return Path(path).suffix == ".safetensors"


def _stretch(times: str | None) -> slice:
    """FROM:TO as a slice."""
    if times is None:
        return slice(None)
    begin, colon, end = times.partition(":")
    if not colon or not all(x == "" or x.isdigit() for x in (begin, end)):
        raise ValueError(f"--times {times}: expected FROM:TO, for example 0:500")
    return slice(int(begin or 0), int(end) if end else None)
