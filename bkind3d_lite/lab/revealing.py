"""`reveal` prints a solution after a try, or the library's source; `list_exercises`."""

from __future__ import annotations

import importlib
import inspect
import textwrap
from collections.abc import Callable

from .checks import LAST_TRIES, nearest_exercise
from .exercises import EXERCISES

PACKAGE = __package__.partition(".")[0]
MODULES = (  # where `reveal` looks for a name, in this order
    "shapes",
    "cameras",
    "lenses",
    "clips.clip",
    "clips.tracks",
    "clips.foreground",
    "model.edges",
    "volumes",
    "clips.survey",
    "clips.extent",
    "clips.heading",
    "clips.heading_finder",
    "clips.calibration_faults",
    "clips.recording_checks",
    "model.blocks",
    "model.networks",
    "model.lifts",
    "model.perceptual",
    "model.losses",
    "model.discoverer",
    "model.objective",
    "model.builder",
    "epipolar",
    "training.loop",
    "training.tracking",
    "training.checkpoints",
    "training.diagnostics",
    "training.memory_planner",
    "evaluation",
    "evaluation.body_bound",
    "recipes",
    "calibrations",
    "clips.videos",
    "clips.exports",
    "clips.synthetic",
    "clips.lessons",
    "clips.pseudo_labels",
    "files",
    "poses2d",
    "multiview.camera_finder",
    "multiview.relative_poses",
    "students.student",
    "tasks",
    "training.image_tracking",
    "viz.behaviour_plots",
    "viz",
    "viz.interactive",
    "viz.widgets",
    "viz.dashboard",
    "viz.run_images",
    "viz.skeleton_edits",
    "workflows.doctor",
)


def reveal(name: str, library: bool = False) -> None:
    """Print a solution of an exercise after a try, or the source of anything public here.

    Args:
        name: an exercise, a function or class, or a method: `reveal("CameraRig.px_from_cam")`.
        library: of an exercise too the library's source, which is longer and faster.
    """
    if name in EXERCISES and not library and EXERCISES[name].solution:
        if name not in LAST_TRIES:
            print(f"try {name} first: write it, check it; then reveal({name!r}) prints a solution")
            return
        print(f"{EXERCISES[name].solution}\n\n# the library's: reveal({name!r}, library=True)")
        return
    shown = _source_of(name)
    if shown is None:
        print(f"nothing is called {name!r} here{nearest_exercise(name)}")
        return
    print(f"# {shown.__module__}.{shown.__qualname__}\n{textwrap.dedent(inspect.getsource(shown))}")


def _source_of(name: str) -> Callable | None:
    """The function or class that `reveal` prints; None if nothing is called so."""
    if name in EXERCISES:
        return _code(EXERCISES[name].shows or EXERCISES[name].reference)
    head, *rest = name.split(".")
    for module in MODULES:
        thing = getattr(importlib.import_module(f"{PACKAGE}.{module}"), head, None)
        for part in rest:
            thing = getattr(thing, part, None)
        if (shown := _code(thing)) is not None:
            return shown
    return None


def _code(thing: object) -> Callable | None:
    """What has source: a function or class, or a property's function."""
    thing = thing.fget if isinstance(thing, property) else thing
    return thing if callable(thing) and hasattr(thing, "__qualname__") else None


def list_exercises(lesson: str | None = None) -> None:
    """Print the exercises with their signatures, each as one line.

    Args:
        lesson: those of one lesson (`01_cameras`); None: all.
    """
    for exercise in EXERCISES.values():
        if lesson in (None, exercise.lesson):
            print(f"{exercise.lesson:14} {exercise.task}")
