"""Cohort run: every session's track beside the others: on the animal, body-bound, steady?"""

from __future__ import annotations

import csv
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..clips.clip import MultiViewClip, open_clip
from ..clips.exports import read_track
from ..clips.heading import rotated
from ..clips.image_tracks import Track2D
from ..clips.rig_checks import FAIL
from ..clips.survey import on_silhouettes, survey_views
from ..clips.survey_files import survey_of
from ..clips.tracks import Track
from ..clips.videos import write_video
from ..evaluation.body_bound import body_bound, usual_pace
from ..files import file_hash, refuse_unwritable, write_atomically
from ..training.diagnostics import REMEDIES, dead_and_parked
from ..viz.films import closeups, track_extent
from .cohort_page import write_cohort_page
from .index_run import read_sessions, told_error
from .shard_run import SESSION, session_file

log = logging.getLogger(__name__)
LOOKED = 160  # frames of a session whose silhouettes are looked at, in eight stretches
SHOWN, SHOWN_FPS = 36, 12  # pictures of a thumbnail film
NEAR_SILHOUETTE = 0.1  # of the figure's width: so far from a silhouette a point is still on it
LOOKED_AT_PX = 208  # pixels of the longer side at which they are looked at
OFF, LOST, DRIFTED = 0.75, 0.15, 0.2  # from where shares on the animal, their loss, drift are told
COHORT_REMEDIES = {
    "missing": "track it: bkind3d track --sessions SESSIONS --checkpoint RUN --out TRACKS",
    "off": "look at its film and at the doctor's page; another rig may need a training of its own",
    "lost": "a camera was moved or the light changed on the way: cut the recording there, "
    "calibrate its parts apart",
    "drift": "the figure changes shape over the session: look at its film's end; train on "
    "stretches of the whole session (train --frames)",
    "compass": "train on recordings in which it walks in many directions, with by_heading = true",
}


@dataclass(frozen=True)
class CohortRow:
    """What one session's track is worth, without labels; NaN: not known.

    Attributes:
        name: of the session.
        hours: of its track.
        on_animal: share of the points that lie on the silhouettes of the views that see them.
        at_end: the same in the last quarter of what was looked at.
        room: share of the figure that the room explains.
        body: share of the figure that the animal's own way explains.
        turning: 1: turns with it, 0: not at all.
        drift: change of the mean distances between keypoints, from the first fifth to the last.
        dead: keypoints that do not move.
        keypoints: how many there are.
        confidence: mean.
        failures: (what is wrong, remedy).
        film: file of the thumbnail film; "": none.
    """

    name: str
    hours: float = math.nan
    on_animal: float = math.nan
    at_end: float = math.nan
    room: float = math.nan
    body: float = math.nan
    turning: float = math.nan
    drift: float = math.nan
    dead: int = 0
    keypoints: int = 0
    confidence: float = math.nan
    failures: tuple[tuple[str, str], ...] = field(default_factory=tuple)
    film: str = ""


def cohort(sessions: str | Path, tracks: str | Path, out: str | Path) -> list[CohortRow]:
    """Write `cohort.html`, `cohort.csv` and a thumbnail film of each session.

    Sessions whose track and recording have not changed since the last page are not measured again.

    Args:
        sessions: the table of `index_sessions`.
        tracks: folder with a track's folder for each session, by its name.
        out: folder of the page.

    Returns:
        A row for each session of the table, failed and missing ones too.
    """
    out, rows = Path(refuse_unwritable(out)), []
    for about in read_sessions(sessions):
        try:
            rows.append(_remembered(about, Path(tracks) / about["name"], out))
        except Exception as error:  # one of hundreds; it is a row with its sentence
            log.debug("%s", about["name"], exc_info=True)
            trouble = (told_error(error), "look at its files")
            rows.append(CohortRow(about["name"], failures=(trouble,)))
        log.info(
            "%s: %s", about["name"], "; ".join(what for what, _ in rows[-1].failures) or "fine"
        )
    _write_table(out / "cohort.csv", rows)
    write_cohort_page(out / "cohort.html", [asdict(row) for row in rows])
    return rows


def _remembered(about: Mapping[str, str], folder: Path, out: Path) -> CohortRow:
    """The row of a session, from the last time if track, recording and columns are the same."""
    path, memory = folder / "keypoints.npz", out / "rows" / f"{about['name']}.json"
    if about["verdict"] == FAIL or not path.is_file():
        return CohortRow(about["name"], failures=(_untracked(about),))
    own = {
        "track": file_hash(path),
        "recording": about.get("fingerprint", ""),
        "fields": [f.name for f in fields(CohortRow)],  # another version may measure more
    }
    told = json.loads(memory.read_text(encoding="utf-8")) if memory.is_file() else {}
    if told.get("of") != own or not (out / told["row"]["film"]).is_file():
        row = measured(about, folder, out)
        text = json.dumps({"of": own, "row": asdict(row)})
        write_atomically(memory, lambda file: file.write_text(text, encoding="utf-8"))
        return row
    failures = tuple(tuple(pair) for pair in told["row"]["failures"])
    return CohortRow(**told["row"] | {"failures": failures})


def _untracked(about: Mapping[str, str]) -> tuple[str, str]:
    """Why there is no track."""
    if about["verdict"] == FAIL:
        return f"{about.get('question', '')}: {about.get('finding', '')}", about.get("remedy", "")
    return "not tracked yet", COHORT_REMEDIES["missing"]


# ---- one session ---------------------------------------------------------------------------------
def measured(about: Mapping[str, str], folder: Path, out: Path) -> CohortRow:
    """Measure a session's track and draw its film.

    Args:
        about: its row of the table.
        folder: of its track.
        out: folder of the page.

    Returns:
        The row.

    Raises:
        ValueError: the track is not of this recording.
    """
    found = read_track(folder / "keypoints.npz")
    flat = isinstance(found, Track2D)
    track = found.on_plane() if isinstance(found, Track2D) else found
    clip, background = _opened(about, folder)
    if len(clip) != len(track.world):
        raise ValueError(
            f"{folder}: a track of {len(track.world)} frames for a recording of {len(clip)}; "
            "track it again"
        )
    times = looked_at(len(clip))
    share, at_end = _on_animal(clip, track, times, background)
    bound = body_bound(track.world, clip.fps, usual_pace(track.world, clip.fps, clip.starts),
                       starts=clip.starts)  # fmt: skip
    dead, parked = dead_and_parked(_local(track), track.confidence, track_extent(track))
    film = write_video(out / "films" / f"{about['name']}.mp4", _shown(clip, track), SHOWN_FPS)
    nan = math.nan
    row = CohortRow(
        name=about["name"],
        hours=len(clip) / clip.fps / 3600,
        on_animal=share,
        at_end=at_end,
        room=nan if flat else bound.room,
        body=nan if flat else bound.body,
        turning=nan if flat else bound.turning,
        drift=drift_of(track.world),
        dead=int((dead | parked).sum()),
        keypoints=track.world.shape[1],
        confidence=float(track.confidence.nanmean()),
        film=str(film.relative_to(out)),
    )
    values = {f.name: getattr(row, f.name) for f in fields(row)}
    return CohortRow(**values | {"failures": tuple(failures_of(row))})


def _opened(about: Mapping[str, str], folder: Path) -> tuple[MultiViewClip, Tensor | None]:
    """The recording, opened as for its track, and its background (V, H, W, 3) where it is known."""
    if not (folder / SESSION).is_file():
        return open_clip(about["folder"]), None
    arrays, told = session_file(folder)
    clip = open_clip(about["folder"], **told["how"])
    seen = {k: v for k, v in arrays.items() if k not in ("pairs", "weights")}
    return clip, survey_of(seen).resized(_small(clip)).background if seen else None


def _small(clip: MultiViewClip) -> tuple[int, int]:
    scale = min(1.0, LOOKED_AT_PX / max(clip.rig.wh))
    w, h = (max(32, round(s * scale)) for s in clip.rig.wh)
    return w, h


def looked_at(frames: int, pieces: int = 8) -> Tensor:
    """Some frames in stretches that are spread evenly.

    Args:
        frames: of the recording.
        pieces: stretches.

    Returns:
        (n,) at most `LOOKED` times, or all.
    """
    if frames <= LOOKED:
        return torch.arange(frames)
    length = LOOKED // pieces
    begins = torch.linspace(0, frames - length, pieces).long()
    return (begins[:, None] + torch.arange(length)).flatten().unique()


def _on_animal(
    clip: MultiViewClip, track: Track, times: Tensor, background: Tensor | None
) -> tuple[float, float]:
    """Share of the points on the silhouettes, of all looked at and of their last quarter."""
    some = clip.resized(_small(clip)).at(times)
    thumbs = survey_views(some, background=background).thumbs
    grow = NEAR_SILHOUETTE * track_extent(track) / 1.2
    hit, seen = on_silhouettes(track.world[times], some.rig, thumbs, grow)
    known = seen & track.world[times].isfinite().all(-1)[:, None]

    def share(part: slice) -> float:
        return float((hit & known)[part].sum() / known[part].sum().clamp(min=1))

    return share(slice(None)), share(slice(3 * len(times) // 4, None))


def _local(track: Track) -> Tensor:
    """Keypoints about their middle, turned with the animal where its heading is known."""
    away = track.world - track.world.nanmean(1, keepdim=True)
    return (away if track.heading is None else rotated(away, -track.heading)).nan_to_num()


def drift_of(world: Tensor) -> float:
    """How much the mean distances between keypoints change over a session, whichever way it faces.

    Args:
        world: (T, K, 3).

    Returns:
        Mean change from the first fifth to the last, a share of the mean distance, of the pairs
        that are seen in both.
    """
    n = max(1, len(world) // 5)
    ends = [part[:: max(1, n // 500)] for part in (world[:n], world[-n:])]
    first, last = (torch.cdist(part, part).nanmean(0) for part in ends)
    seen = first.isfinite() & last.isfinite()  # a keypoint may be missing all through an end
    return float((last - first)[seen].abs().sum() / first[seen].sum().clamp(min=1e-9))


def failures_of(row: CohortRow) -> list[tuple[str, str]]:
    """What is wrong with a track, each with its remedy.

    Args:
        row: measured.

    Returns:
        The failures; [] where there is none.
    """
    found = []
    if row.on_animal < OFF:
        found.append(
            (f"{1 - row.on_animal:.0%} of the points are off the animal", COHORT_REMEDIES["off"])
        )
    if row.on_animal - row.at_end > LOST:
        what = f"on the animal at first, {row.at_end:.0%} at the end"
        found.append((what, COHORT_REMEDIES["lost"]))
    if row.room > max(0.3, row.body):
        what = f"keeps to the room ({row.room:.2f}), not to the body ({row.body:.2f})"
        found.append((what, COHORT_REMEDIES["compass"]))
    if row.drift > DRIFTED:
        found.append((f"drifts by {row.drift:.0%}", COHORT_REMEDIES["drift"]))
    if row.dead:
        what, _, remedy = REMEDIES["dead"].format(row.dead, row.keypoints).partition(". ")
        found.append((what, remedy))
    return found


def _shown(clip: MultiViewClip, track: Track) -> Any:
    """Pictures of the liveliest moments, cut close, in the two first views."""
    step = max(1, round(clip.fps / SHOWN_FPS))
    speed = (track.world[1:] - track.world[:-1]).norm(dim=-1).nanmean(1).nan_to_num()
    length = min(len(clip), SHOWN * step)
    moved = np.convolve(speed.numpy(), np.ones(max(1, length - 1)), "valid")
    begin = int(moved.argmax()) if len(clip) > length else 0
    side, views = track_extent(track), range(min(2, clip.rig.views))
    for t in range(begin, begin + length, step):
        if track.world[t].isfinite().all():
            yield closeups(clip, track, [t], side=side, views=list(views), pixels=128)


def _write_table(path: Path, rows: list[CohortRow]) -> None:
    def write(temporary: Path) -> None:
        with open(temporary, "w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            names = [f.name for f in fields(CohortRow)]
            table.writerow(names)
            for row in rows:
                wrong = "; ".join(f"{what} ({remedy})" for what, remedy in row.failures)
                values = {**asdict(row), "failures": wrong}
                table.writerow([_cell(values[name]) for name in names])

    write_atomically(path, write)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else ""
    return str(value)
