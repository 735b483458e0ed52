"""Train begin: the run that was asked for, and the recordings that it begins or goes on with."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import distributed
from ..clips.clip import MultiViewClip, SurveyedClip, open_clip
from ..clips.lessons import fitted_to_labels
from ..clips.pseudo_labels import load_labels
from ..clips.sampling import pair_chances
from ..clips.sessions import Sessions, held_apart, session_places
from ..clips.survey import survey as survey_clip
from ..clips.survey import thumb_size
from ..model.builder import placed
from ..recipes import Recipe, altered, find_recipe, load_recipe
from ..training import checkpoints
from ..training.checkpoints import read_header, refuse_others
from ..training.loop import Run, begin, gap_frames, working_wh
from ..training.memory_planner import afforded, afforded_changes
from ..training.orientation import oriented_part
from ..training.session_training import (
    oriented_sessions,
    placed_together,
    refuse_mixed,
    refuse_other_sessions,
)

log = logging.getLogger(__name__)
CHECKPOINT = "checkpoint.safetensors"
STRETCHES = 20  # pieces of a longer recording that are trained on


# ---- the recordings ------------------------------------------------------------------------------
def opened_recordings(
    clip: str | Path | Sequence[str | Path],
    held_out: Sequence[str],
    most: int,
    budget: int = 2 << 30,
    **how: Any,
) -> dict[str, MultiViewClip]:
    """The recordings to train on, by name; of more than `most` frames, stretches spread over them.

    Each of their frames is surveyed, and its foreground kept, about 7 kB a view: fewer frames
    where that would be more than half of the budget.

    Args:
        clip: a recording's folder; or several, or a table of them, as for `session_places`.
        held_out: names of those of several that are not opened.
        most: frames of all of them together.
        budget: bytes for all of them.
        **how: as for `open_clip`, and labels, which say themselves which frames are wanted.

    Returns:
        Clips by name; of one folder alone, "".

    Raises:
        ValueError: a session is held out that is not there, or of one folder alone.
    """
    if isinstance(clip, (str, Path)):
        if held_out:
            raise ValueError("--held-out names whole sessions: give several by --sessions")
        return {"": _opened(clip, most, budget, **how)}
    kept = held_apart(session_places(clip), held_out)
    share, each = max(most // len(kept), 2), budget // len(kept)
    return {name: _opened(folder, share, each, **how) for name, folder in kept.items()}


def _opened(
    folder: str | Path,
    most: int,
    budget: int,
    labels: str | Path | None = None,
    **how: Any,
) -> MultiViewClip:
    """The clip, its stretches alone if it is longer than `most`; with labels it is whole."""
    clip = open_clip(folder, budget=budget, **how)
    if labels is not None:
        return load_labels(labels).of(clip)
    most = min(most, budget // 2 // (clip.rig.views * math.prod(thumb_size(clip.rig))))
    if len(clip) <= most:
        return clip
    log.info(
        "%s: %d frames; training on %d of them, in %d stretches spread over the recording "
        "(--frames, --memory)",
        folder,
        len(clip),
        most,
        STRETCHES,
    )
    return clip.thinned(most, STRETCHES)


def _prepared(
    clip: MultiViewClip, recipe: Recipe, cache: str | Path | None
) -> tuple[SurveyedClip, Recipe]:
    """The clip with its survey, and the recipe with its volume placed where the animal goes.

    cache: the folder in which decoded frames are kept.
    """
    volume, survey = recipe.volume, None
    if recipe.losses.explain == "labels":
        return SurveyedClip(clip, None), fitted_to_labels(recipe, clip)
    unplaced = volume.crop is None and (volume.side is None or volume.centre is None)
    unplaced = unplaced and clip.rig.calibrated  # one picture is seen whole
    if recipe.surveyed or unplaced:
        log.info("looking at %s ...", clip.name)
        survey = survey_clip(clip, uncover=recipe.data.uncover)
    recipe = placed(recipe, clip.rig, survey)
    clip = _cached(clip, recipe, cache)
    if cache is not None and survey is not None:
        survey = survey.resized(clip.rig.wh)
    return SurveyedClip(clip, survey), recipe


def _cached(clip: MultiViewClip, recipe: Recipe, cache: str | Path | None) -> MultiViewClip:
    return clip if cache is None else clip.cached(cache, working_wh(recipe, clip.rig))


# ---- beginning and going on ----------------------------------------------------------------------
def _goes_on(out: Path, resume: bool) -> bool:
    """Whether there is a run to resume; one that would be written over is refused."""
    path = out / CHECKPOINT
    if not resume and path.is_file():
        raise ValueError(
            f"{path}: a run is here already; continue it with --resume, or choose another --out"
        )
    if resume and distributed.rank() == 0:
        for leftover in out.glob(".*.tmp.*"):  # of a process that was killed while it wrote
            leftover.unlink(missing_ok=True)
    return path.is_file()


def asked_of(
    out: Path, recipe: str | None, words: Sequence[str], resume: bool
) -> Recipe | dict[str, Any]:
    """The recipe of a run that begins, or what is to change in one that goes on.

    Args:
        out: the run's folder.
        recipe: a preset's name or a TOML file; None: the checkpoint's, to resume.
        words: `key=value` that change it.
        resume: go on from the checkpoint, if there is one.

    Returns:
        A recipe, or new values by leaf.

    Raises:
        ValueError: nothing to begin or to resume, or a run that would be written over.
    """
    path = out / CHECKPOINT
    if _goes_on(out, resume):
        return checkpoints.asked_changes(path, recipe, words)
    if recipe is not None:
        return altered(find_recipe(recipe), words)
    if resume:
        raise ValueError(f"{path}: no run to resume here; give --recipe to begin one")
    raise ValueError("give --recipe to begin a run")


def made(
    clips: Mapping[str, MultiViewClip],
    held_out: Sequence[str],
    asked: Recipe | dict[str, Any],
    out: Path,
    *,
    cache: str | Path | None,
    seed: int,
    device: str,
) -> tuple[Run, SurveyedClip | Sessions]:
    """The run that was asked for, and the recordings it begins or goes on with.

    Args:
        clips: as they were opened, by name.
        held_out: names of those that training does not see.
        asked: by `asked_of`.
        out: the run's folder.
        cache: folder in which decoded frames are kept.
        seed: of weights and pairs.
        device: on which the model lies.

    Returns:
        Both.
    """
    path = out / CHECKPOINT
    if (clip := clips.get("")) is not None:
        if isinstance(asked, Recipe):
            return _begun(clip, asked, cache, seed, device)
        return _resumed(path, clip, asked, cache, device)
    if isinstance(asked, Recipe):
        run, parts = _begun_together(clips, asked, cache, seed, device)
    else:
        run, parts = _resumed_together(path, clips, asked, cache, device)
    sessions = Sessions(tuple(parts), tuple(clips), tuple(held_out))
    run.clip = sessions.fingerprint
    return run, sessions


def _begun(
    clip: MultiViewClip, recipe: Recipe, cache: str | Path | None, seed: int, device: str
) -> tuple[Run, SurveyedClip]:
    """A run before its first step, and the clip it begins with."""
    if recipe.losses.explain != "labels":
        pair_chances(clip, gap_frames(recipe, clip.fps), None, False)  # there are pairs to draw
    if (wanted := recipe.data.views_per_step or 0) > clip.rig.views:
        log.info("views_per_step = %d: all %d cameras at each step", wanted, clip.rig.views)
    part, recipe = _prepared(clip, recipe, cache)
    recipe = afforded(recipe, part.clip, device)
    run = begin(recipe, part.clip, seed, device)
    if recipe.lesson.after is not None:
        checkpoints.adopt_trunk(run.model, recipe.lesson.after)
    return run, oriented_part(run.model, part, teach=recipe.volume.look_steps)


def _resumed(
    path: Path,
    clip: MultiViewClip,
    changes: Mapping[str, Any],
    cache: str | Path | None,
    device: str,
) -> tuple[Run, SurveyedClip]:
    """A run as it stood, with what may change from here on, and the clip it goes on with.

    The clip of a run that is complete is not looked at.
    """
    header = read_header(path)
    if "sessions" in header.get("clip", {}):
        refuse_other_sessions(path, header, {})
    refuse_others(path, header, clip, ("size",) if cache else ())
    recipe = load_recipe(header["recipe"]).with_(**changes)
    if header["step"] >= recipe.optim.steps:
        part = SurveyedClip(_cached(clip, recipe, cache), None)
        return checkpoints.resume(path, part.clip, device, **changes), part
    part, _ = _prepared(clip, recipe, cache)
    changes = afforded_changes(recipe, changes, part.clip, device)
    run = checkpoints.resume(path, part.clip, device, **changes)
    log.info("resuming %s after step %d", path.parent, run.step)
    return run, oriented_part(run.model, part)


# ---- several recordings --------------------------------------------------------------------------
def _begun_together(
    clips: Mapping[str, MultiViewClip],
    recipe: Recipe,
    cache: str | Path | None,
    seed: int,
    device: str,
) -> tuple[Run, list[SurveyedClip]]:
    """A run before its first step, and the surveyed sessions it begins with."""
    refuse_mixed(clips, recipe)
    for clip in clips.values():
        pair_chances(clip, gap_frames(recipe, clip.fps), None, False)  # there are pairs to draw
    parts, places = zip(*(_prepared(clip, recipe, cache) for clip in clips.values()))
    recipe = afforded(placed_together(recipe, places), _widest(parts), device)
    run = begin(recipe, parts[0].clip, seed, device)
    return run, oriented_sessions(run.model, parts, recipe.volume.look_steps)


def _resumed_together(
    path: Path,
    clips: Mapping[str, MultiViewClip],
    changes: Mapping[str, Any],
    cache: str | Path | None,
    device: str,
) -> tuple[Run, list[SurveyedClip]]:
    """A run as it stood, and its sessions; those of a run that is complete are not looked at."""
    header = read_header(path)
    refuse_other_sessions(path, header, clips, ("size",) if cache else ())
    recipe = load_recipe(header["recipe"]).with_(**changes)
    if header["step"] >= recipe.optim.steps:
        whole = [SurveyedClip(_cached(clip, recipe, cache), None) for clip in clips.values()]
        return checkpoints.resume(path, whole[0].clip, device, **changes), whole
    parts = [_prepared(clip, recipe, cache)[0] for clip in clips.values()]
    changes = afforded_changes(recipe, changes, _widest(parts), device)
    run = checkpoints.resume(path, parts[0].clip, device, **changes)
    log.info("resuming %s after step %d", path.parent, run.step)
    return run, oriented_sessions(run.model, parts)


def _widest(parts: Sequence[SurveyedClip]) -> MultiViewClip:
    """The session of the most cameras: what its step needs is the most."""
    return max((part.clip for part in parts), key=lambda clip: clip.rig.views)
