"""The course lab: exercises checked by property against the package, which is the answer key.

`check(your_function)` prints one line: `○ not attempted yet`, `✗ ...` with a hint, or
`✓ 20 random cases agree`. It never raises for a student's error, so a notebook always runs to its
end. `reveal("unproject")` prints the library's source.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .exercises import EXERCISES
from .exercises.entry import Dice, Exercise, Mistake
from .sandbox import FAILED, PASSED, WAITING, ask, fresh

if "ipykernel" in sys.modules:  # a lesson: its figures say in words what they show
    from ..viz.notebook_figures import accessible

    accessible()

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


@dataclass(frozen=True)
class Result:
    """What a check says.

    `state` is `not attempted`, `failed` or `passed`; `message` is the line that was printed.
    """

    name: str
    state: str
    message: str

    def __bool__(self) -> bool:
        return self.state == PASSED

    def _ipython_display_(self) -> None:
        """Nothing: the line is printed already, and a notebook should not show it twice."""


# ---- checking ------------------------------------------------------------------------------------
def check(answer: object, name: str | None = None, seed: int = 0) -> Result:
    """Check an answer against the package and print one line.

    Args:
        answer: a function or, for a question with one answer, a value.
        name: the exercise; None: it is called as the function is.
        seed: draws the random cases.

    Returns:
        What was printed, true if the exercise is passed.
    """
    name = name or getattr(answer, "__name__", None)
    exercise = EXERCISES.get(name or "")
    if exercise is None:
        message = f"✗ no exercise is called {name!r}{_meant(str(name))}"
        result = Result(str(name), FAILED, message)
    else:
        result = judge(exercise, answer, seed)
    print(result.message)
    return result


def _meant(name: str) -> str:
    near = difflib.get_close_matches(name, EXERCISES, 1, 0.4)
    return f"; did you mean {near[0]!r}?" if near else ""


def judge(exercise: Exercise, answer: object, seed: int = 0) -> Result:
    """Check an answer to an exercise, without a print.

    Args:
        exercise: what was asked.
        answer: a function or a value.
        seed: draws the random cases.

    Returns:
        The state of the answer, with a hint if there is one.
    """
    if answer is None or answer is ...:
        return Result(exercise.name, WAITING, "○ not attempted yet")
    if exercise.is_value:
        if callable(answer):
            return _failed(exercise, "a value is asked for here, not a function")
        return verdict(exercise, [()], [answer])
    if not callable(answer):
        call = f"check({exercise.name})"
        return _failed(
            exercise, f"hand over the function itself: {call}, without brackets behind it"
        )
    cases = random_cases(exercise, seed)
    answers, stopped = ask(answer, cases)
    return Result(exercise.name, *stopped) if stopped else verdict(exercise, cases, answers)


def _failed(exercise: Exercise, why: str) -> Result:
    return Result(exercise.name, FAILED, f"✗ {why}")


def random_cases(exercise: Exercise, seed: int) -> list[tuple]:
    """Draw the inputs of one check.

    Args:
        exercise: what is asked.
        seed: the same seed draws the same inputs.

    Returns:
        Arguments of each call; one empty tuple for a value.
    """
    if exercise.is_value:
        return [()]
    return [exercise.make(Dice(1000 * seed + i)) for i in range(exercise.cases)]


def verdict(exercise: Exercise, cases: list[tuple], answers: list) -> Result:
    """Compare all answers with the package's own.

    Args:
        exercise: what was asked.
        cases: the inputs, as `random_cases` draws them.
        answers: what the student's function made of each.

    Returns:
        Passed; or failed at the first answer that differs, with the hint of the known mistake
        that gives the same numbers.
    """
    expected = [exercise.reference(*fresh(case)) for case in cases]
    for i, (got, want) in enumerate(zip(answers, expected)):
        if fault := _fault(got, want, exercise):
            where = "" if exercise.is_value or fault.startswith("shape") else f"case {i + 1}: "
            usual = _usual_mistake(exercise, cases, answers)
            hint = usual.hint if usual else _general_hint(got, want, exercise)
            return _failed(exercise, where + fault + (f". Hint: {hint}" if hint else ""))
    right = "✓ right" if exercise.is_value else f"✓ {len(cases)} random cases agree"
    return Result(exercise.name, PASSED, right)


def _usual_mistake(exercise: Exercise, cases: list[tuple], answers: list) -> Mistake | None:
    """The first of the usual mistakes that gives the same numbers in all cases."""
    for mistake in exercise.mistakes:
        wrong = (mistake.wrong(*fresh(case)) for case in cases)
        if not any(_fault(got, want, exercise) for got, want in zip(answers, wrong)):
            return mistake
    return None


# ---- comparing -----------------------------------------------------------------------------------
def _exact(numbers: object) -> Tensor:
    return torch.as_tensor(numbers).detach().cpu().double()


def _numbers(x: object) -> Tensor | None:
    """Tensor, array, list or number as float64; None if it is none of these."""
    try:
        return _exact(x)
    except Exception:  # an answer may be any object, and say no in any way
        return None


def _fault(got: object, want: object, exercise: Exercise) -> str | None:
    """What is wrong with `got`, in a few words; None if it agrees."""
    answer, right = _numbers(got), _exact(want)
    if answer is None:
        expected = f"a tensor of shape {tuple(right.shape)}" if right.ndim else "a number"
        return f"the answer is a {type(got).__name__}, expected {expected}"
    if answer.shape != right.shape:
        return f"shape {tuple(answer.shape)}, expected {tuple(right.shape)}"
    if answer.isnan().any() and not right.isnan().any():
        return "the answer is not a number (NaN) somewhere"
    if exercise.scaled:
        answer, right = _unit(answer), _unit(right)
    scale = right.abs().max() if right.numel() else 0
    error = (answer - right).abs().nan_to_num(torch.inf)
    if not right.numel() or error.max() <= exercise.tolerance * (scale + 1e-3):
        return None
    if exercise.is_value:  # the right one would spoil the question
        return f"got {float(answer):.4g}, expected another number"
    at = tuple(int(i) for i in torch.unravel_index(error.argmax(), error.shape))
    where = f" at {list(at)}" if at else ""
    return f"got {float(answer[at]):.4g}, expected {float(right[at]):.4g}{where}"


def _unit(x: Tensor) -> Tensor:
    """The same numbers up to a factor: norm 1, the largest positive."""
    largest = x.flatten()[x.abs().argmax()]
    return x / (x.norm() * largest.sign() + (largest == 0))


def _general_hint(got: object, want: object, exercise: Exercise) -> str | None:
    """A hint that fits any exercise: transposed, opposite sign, a factor, a shift."""
    answer, right = _numbers(got), _exact(want)
    if answer is None or exercise.scaled:
        return None
    if right.ndim > 1 and answer.shape == right.mT.shape:
        if torch.allclose(answer, right.mT, rtol=1e-3, atol=1e-6):
            return "rows and columns are swapped"
    if answer.shape != right.shape or right.numel() < 2:
        return None
    big = right.abs() > 1e-3 * right.abs().max()
    ratio, shift = (answer / right)[big], answer - right
    if len(ratio) > 1 and float(ratio.max() - ratio.min()) < 1e-3 * float(ratio.abs().max()):
        if abs(float(ratio[0]) + 1) < 1e-3:
            return "the sign is the other way round"
        return f"every number is {float(ratio[0]):.3g} x the expected one"
    if float(shift.max() - shift.min()) < 1e-3 * float(shift.abs().max()):
        return f"every number is {float(shift.mean()):+.3g} off"
    return None


# ---- the answer key ------------------------------------------------------------------------------
def reveal(name: str) -> None:
    """Print the library's source behind an exercise, or of anything public in the package.

    Args:
        name: an exercise, a function or class, or a method: `reveal("CameraRig.px_from_cam")`.
    """
    shown = _source_of(name)
    if shown is None:
        print(f"nothing is called {name!r} here{_meant(name)}")
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
