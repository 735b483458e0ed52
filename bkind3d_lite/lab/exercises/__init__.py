"""Exercises: the table behind the course lab, one file per lesson, in the lessons' order."""

from . import (
    basics,
    behaviour,
    cameras,
    clips,
    edges,
    epipolar,
    evaluation,
    lifts,
    losses,
    networks,
    single_camera,
    tour,
    training,
    volumes,
    your_clip,
)
from .entry import Dice, Exercise, Mistake

LESSON_MODULES = (
    basics,
    tour,
    cameras,
    clips,
    volumes,
    networks,
    lifts,
    edges,
    losses,
    training,
    evaluation,
    epipolar,
    your_clip,
    single_camera,
    behaviour,
)
EXERCISES: dict[str, Exercise] = {
    exercise.name: exercise for lesson in LESSON_MODULES for exercise in lesson.EXERCISES
}

__all__ = ["EXERCISES", "LESSON_MODULES", "Dice", "Exercise", "Mistake"]
