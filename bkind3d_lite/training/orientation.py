"""Orientation: the heading that a run's volume turns with, and the look that it is taught."""

from __future__ import annotations

import logging
from dataclasses import replace

from ..clips.clip import MultiViewClip, Survey, SurveyedClip
from ..clips.heading import Heading
from ..clips.heading_finder import find_heading, teach_look
from ..clips.hull_motion import HullMotion, hull_motion
from ..clips.rig_checks import upward, vertical_is_z
from ..model.discoverer import Discoverer

log = logging.getLogger(__name__)


def oriented(
    model: Discoverer,
    clip: MultiViewClip,
    survey: Survey | None,
    *,
    teach: int = 0,
    motion: HullMotion | None = None,
) -> Survey | None:
    """The survey with the heading of every frame, if the model's volume turns with the animal.

    Args:
        model: its look speaks for animals that stand, if it was taught. None: nothing is done.
        clip: the recording.
        survey: of the clip; one that knows its heading stays as it is, unless the look learns.
        teach: steps for which this recording's walk teaches the look, if it was not taught yet.
        motion: of the clip's hull, if it is known already.

    Returns:
        The survey. Where nothing walks and the look does not tell, its heading is not found, which
        is logged: the volume then stands as it would without a heading. So it does where the
        world's z axis is not the vertical.
    """
    look, clip_name = model.look, clip.name
    if look is None or survey is None or not clip.rig.calibrated:
        return survey
    learns = teach > 0 and not look.taught
    if survey.heading is not None and not learns:
        return survey
    if not vertical_is_z(clip.rig):
        log.warning(
            "note: a heading is an angle about the world's z axis, which is not vertical in %s (up "
            "is about %s); the volume does not turn with the animal: turn the world until z points "
            "up",
            clip_name,
            upward(clip.rig),
        )
        return survey
    log.info("which way it faces in %s: by the hull's shape and way ...", clip_name)
    motion = hull_motion(clip, survey) if motion is None else motion
    heading = find_heading(clip, survey, look if look.taught else None, motion)
    if survey.heading is not None and survey.heading.found and not heading.found:
        return survey  # somebody knew better, by another recording's look
    if learns and heading.found:
        log.info("%s; teaching the look by the walk, %d steps ...", heading, teach)
        taught = teach_look([(clip, survey, heading)], steps=teach)
        if taught is not None:
            look.load_state_dict(taught.state_dict())
            heading = find_heading(clip, survey, look, motion)
    _say(clip.name, heading)
    return replace(survey, heading=heading)


def _say(clip_name: str, heading: Heading) -> None:
    """Log whether the heading was found, and what follows where it was not."""
    if heading.found:
        log.info("heading of %s: %s", clip_name, heading)
    else:
        log.warning(
            "note: %s does not tell the animal's heading (%s); the volume is turned at random in "
            "training and stands still in tracking, and keypoints may keep to the sides of the "
            "room",
            clip_name,
            heading,
        )


def oriented_part(
    model: Discoverer, part: SurveyedClip, *, teach: int = 0, motion: HullMotion | None = None
) -> SurveyedClip:
    """A clip whose survey is `oriented`.

    Args:
        model: as for `oriented`.
        part: the clip with its survey.
        teach: as for `oriented`.
        motion: as for `oriented`.

    Returns:
        The clip with its survey.
    """
    return SurveyedClip(
        part.clip, oriented(model, part.clip, part.survey, teach=teach, motion=motion)
    )
