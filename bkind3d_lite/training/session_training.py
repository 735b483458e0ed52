"""Session training: one model for several recordings, each step's batch of one of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..clips.clip import Batch, MultiViewClip, SurveyedClip
from ..clips.heading_finder import teach_look
from ..clips.hull_motion import HullMotion, hull_motion
from ..clips.sessions import Sessions, session_turns
from ..model.discoverer import Discoverer
from ..recipes import Recipe
from .checkpoints import Header, differences
from .loop import Run, batches
from .orientation import oriented_part

APART = 15_485_863  # between the seeds of two sessions
OF_A_WORLD = ("size", "frames", "fps", "offsets")  # may differ between recordings of one rig


def session_batches(run: Run, sessions: Sessions) -> Iterator[Batch]:
    """The run's own seeded pairs, of one session a step: sessions evenly, then as each is drawn.

    Args:
        run: gives recipe, seed and step.
        sessions: that it trains on; headings are found.

    Yields:
        Batches of one rig each; under torchrun, this rank's share of them. With one session they
        are those of `batches`.
    """
    streams: dict[int, Iterator[Batch]] = {}
    first = run.step
    for number, before in session_turns(len(sessions.parts), run.seed, first):
        if number not in streams:
            part, seed = sessions.parts[number], run.seed + APART * number
            streams[number] = batches(run, part.clip, part.survey, seed=seed, start=before)
        yield next(streams[number])


def oriented_sessions(
    model: Discoverer, parts: Sequence[SurveyedClip], teach: int = 0
) -> list[SurveyedClip]:
    """Sessions whose surveys know the animal's heading, if the model's volume turns with it.

    Args:
        model: its look is taught by the walk of all of them, unless it was taught before.
        parts: surveyed sessions.
        teach: steps of the teaching; 0: none.

    Returns:
        The sessions.
    """
    if model.look is None:
        return list(parts)
    motions = [_motion(part) for part in parts]
    found = [oriented_part(model, part, motion=m) for part, m in zip(parts, motions)]
    walks = [(p.clip, s, s.heading) for p in found if (s := p.survey) is not None and s.heading]
    taught = teach_look(walks, steps=teach) if teach and not model.look.taught else None
    if taught is None:
        return found
    model.look.load_state_dict(taught.state_dict())
    return [oriented_part(model, part, motion=m) for part, m in zip(parts, motions)]


def _motion(part: SurveyedClip) -> HullMotion | None:
    known = part.survey is not None and part.clip.rig.calibrated
    return hull_motion(part.clip, part.survey) if known and part.survey is not None else None


# ---- do they fit together? -----------------------------------------------------------------------
def refuse_mixed(clips: Mapping[str, MultiViewClip], recipe: Recipe) -> None:
    """Refuse recordings that no one volume serves.

    Args:
        clips: by name.
        recipe: says whether the volume follows the animal.

    Raises:
        ValueError: other units, or a volume that stands in a room which is not the same for all.
    """
    (name, first), *others = clips.items()
    for other, clip in others:
        if (clip.rig.unit, clip.rig.calibrated) != (first.rig.unit, first.rig.calibrated):
            raise ValueError(
                f"{other} is measured in {_unit(clip)}, {name} in {_unit(first)}; bring their "
                "calibrations to one unit"
            )
        moved = differences(first.fingerprint, clip, skip=OF_A_WORLD)
        if moved and first.rig.calibrated and not recipe.volume.follows:
            raise ValueError(
                f"{other} has another rig than {name} ({'; '.join(moved)}), so that one place in "
                "the room is not the same for both; let the volume follow the animal "
                "(--set mode=animal), or train on recordings of one rig"
            )


def _unit(clip: MultiViewClip) -> str:
    return clip.rig.unit if clip.rig.calibrated else "pixels (no calibration)"


def placed_together(recipe: Recipe, placed: Sequence[Recipe]) -> Recipe:
    """One place for the volume of all sessions.

    Args:
        recipe: as it was asked for.
        placed: the same, placed on each session.

    Returns:
        The recipe: where the volume follows the animal, with the median of the sides; else with
        the cube about all of the cubes.
    """
    first, volume = placed[0], recipe.volume
    sides = torch.tensor([r.volume.cube or 0.0 for r in placed])
    if volume.follows:
        side = volume.animal_side or float(f"{float(sides.median()):.3g}")
        return first.with_(animal_side=side)
    centres = torch.tensor([r.volume.centre or (0.0,) * 3 for r in placed])
    low, high = (centres - sides[:, None] / 2).amin(0), (centres + sides[:, None] / 2).amax(0)
    x, y, z = ((low + high) / 2).tolist()
    side = volume.side or float((high - low).max())
    return first.with_(side=side, centre=volume.centre or (x, y, z))


def refuse_other_sessions(
    path: Path, header: Header, sessions: Mapping[str, MultiViewClip], skip: tuple[str, ...] = ()
) -> None:
    """Refuse sessions that are not those a checkpoint was trained on.

    Args:
        path: of the checkpoint, for the message.
        header: its header.
        sessions: clips by name, to go on with.
        skip: keys of the fingerprints that may differ.

    Raises:
        ValueError: others, or one that has changed.
    """
    known: list[dict[str, Any]] = header.get("clip", {}).get("sessions", [])
    there = {session["name"]: session for session in known}
    if list(there) != list(sessions):
        raise ValueError(
            f"{path}: was trained on {_listed(there)}, this is {_listed(sessions)}; resume with "
            "the sessions and --held-out that it began with, or start a new run"
        )
    for name, clip in sessions.items():
        if phrases := differences(there[name], clip, skip):
            raise ValueError(
                f"{path}: {name} has changed since the run began: {'; '.join(phrases)}. Open it "
                "as it was then (--offset, --frames, --cache), or start a new run"
            )


def _listed(sessions: Mapping[str, Any]) -> str:
    return f"the sessions {', '.join(sessions)}" if sessions else "one clip"
