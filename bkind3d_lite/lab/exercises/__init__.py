"""Exercises: the table behind the course lab, one file per lesson, in the lessons' order."""

from . import (
    cameras,
    clips,
    edges,
    epipolar,
    evaluation,
    lifts,
    losses,
    networks,
    tour,
    training,
    volumes,
    your_clip,
)
from .entry import Dice, Exercise, Mistake

LESSON_MODULES = (
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
)
EXERCISES: dict[str, Exercise] = {
    exercise.name: exercise for lesson in LESSON_MODULES for exercise in lesson.EXERCISES
}

__all__ = ["EXERCISES", "LESSON_MODULES", "Dice", "Exercise", "Mistake"]
