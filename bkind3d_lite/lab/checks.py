"""The course lab: an exercise is checked by property against the package; the package is the answer key.

`check(your_function)` prints one line: `○ not attempted yet`, `✗ ...` with a hint, or `✓ 20 random cases agree`. It never raises
for a student's error, so a notebook always runs to its end. `reveal("unproject")` prints the library's source.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .exercises import EXERCISES
from .exercises.entry import Dice, Exercise
from .sandbox import FAILED, PASSED, WAITING, ask, fresh

PACKAGE = __package__.partition(".")[0]
MODULES = (
    "shapes",
    "cameras",
    "clips.clip",
    "clips.tracks",
    "clips.foreground",
    "model.edges",
    "volumes",
    "clips.survey",
    "model.networks",
    "model.lifts",
    "model.losses",
    "model.discoverer",
    "model.objective",
    "model.builder",
    "epipolar",
    "training.loop",
    "training.tracking",
    "evaluation",
    "clips.synthetic",
    "viz.scenes",
)


@dataclass(frozen=True)
class Result:
    """What a check says: `state` is `not attempted`, `failed` or `passed`; `message` is the line that was printed."""

    name: str
    state: str
    message: str

    def __bool__(self) -> bool:
        return self.state == PASSED

    def _ipython_display_(self) -> None:
        """Nothing: the line is printed already, and a notebook should not show it twice."""


def check(answer: object, name: str | None = None, seed: int = 0) -> Result:
    """Check a function (or, for a question with one answer, a value) against the package and print one line.

    The exercise is found by the function's name unless `name` says it; `seed` draws the random cases.
    """
    name = name or getattr(answer, "__name__", None)
    exercise = EXERCISES.get(name)
    if exercise is None:
        near = difflib.get_close_matches(str(name), EXERCISES, 1, 0.4)
        result = Result(
            str(name),
            FAILED,
            f"✗ no exercise is called {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
        )
    else:
        result = judge(exercise, answer, seed)
    print(result.message)
    return result


def judge(exercise: Exercise, answer: object, seed: int = 0) -> Result:
    """As `check`, without a print."""
    if answer is None or answer is ...:
        return Result(exercise.name, WAITING, "○ not attempted yet")
    if callable(answer) == exercise.is_value:
        said = (
            "a value is asked for here, not a function"
            if exercise.is_value
            else f"hand over the function itself: check({exercise.name}), without brackets behind it"
        )
        return Result(exercise.name, FAILED, f"✗ {said}")
    if exercise.is_value:
        return verdict(exercise, [()], [answer])
    cases = random_cases(exercise, seed)
    answers, stopped = ask(answer, cases)
    return Result(exercise.name, *stopped) if stopped else verdict(exercise, cases, answers)


def random_cases(exercise: Exercise, seed: int) -> list[tuple]:
    """The random inputs of one check."""
    return (
        [()]
        if exercise.is_value
        else [exercise.make(Dice(1000 * seed + i)) for i in range(exercise.cases)]
    )


def verdict(exercise: Exercise, cases: list[tuple], answers: list) -> Result:
    """Compare all answers; at the first that differs, the hint of the known mistake that gives the same numbers."""
    wanted = [exercise.reference(*fresh(case)) for case in cases]
    for i, (got, want) in enumerate(zip(answers, wanted)):
        if fault := _fault(got, want, exercise):
            where = "" if exercise.is_value else f"case {i + 1}: "
            known = next(
                (
                    hint
                    for hint, wrong in exercise.mistakes.items()
                    if _same_mistake(wrong, cases, answers, exercise)
                ),
                None,
            )
            hint = known or _general_hint(got, want, exercise)
            shape = fault.startswith("shape")
            return Result(
                exercise.name,
                FAILED,
                f"✗ {'' if shape else where}{fault}" + (f". Hint: {hint}" if hint else ""),
            )
    return Result(
        exercise.name,
        PASSED,
        "✓ right" if exercise.is_value else f"✓ {len(cases)} random cases agree",
    )


def _same_mistake(wrong: Callable, cases: list[tuple], answers: list, exercise: Exercise) -> bool:
    return all(not _fault(got, wrong(*fresh(case)), exercise) for case, got in zip(cases, answers))


def _numbers(x: object) -> Tensor | None:
    """Tensor, array, list or number as float64; None if it is none of these."""
    try:
        return torch.as_tensor(x).detach().cpu().double()
    except Exception:  # an answer may be any object, and say no in any way
        return None


def _fault(got: object, want: object, exercise: Exercise) -> str | None:
    """What is wrong with `got`, in a few words; None if it agrees."""
    want = _numbers(want)
    found = _numbers(got)
    if found is None:
        return f"the answer is a {type(got).__name__}, expected {'a tensor of shape ' + str(tuple(want.shape)) if want.ndim else 'a number'}"
    if found.shape != want.shape:
        return f"shape {tuple(found.shape)}, expected {tuple(want.shape)}"
    if found.isnan().any() and not want.isnan().any():
        return "the answer is not a number (NaN) somewhere"
    if exercise.scaled:
        found, want = _unit(found), _unit(want)
    scale = want.abs().max() if want.numel() else 0
    error = (found - want).abs().nan_to_num(torch.inf)
    if not want.numel() or error.max() <= exercise.tolerance * (scale + 1e-3):
        return None
    if exercise.is_value:
        return f"got {float(found):.4g}, expected another number"  # the right one would spoil the question
    at = [int(i) for i in torch.unravel_index(error.argmax(), error.shape)] if error.ndim else []
    return f"got {float(found[tuple(at)]):.4g}, expected {float(want[tuple(at)]):.4g}" + (
        f" at {at}" if at else ""
    )


def _unit(x: Tensor) -> Tensor:
    """The same numbers up to a factor: norm 1, the largest positive."""
    largest = x.flatten()[x.abs().argmax()]
    return x / (x.norm() * largest.sign() + (largest == 0))


def _general_hint(got: object, want: object, exercise: Exercise) -> str | None:
    """A hint that fits any exercise: transposed, opposite sign, a constant factor, a constant shift."""
    got, want = _numbers(got), _numbers(want)
    if got is None or exercise.scaled:
        return None
    if (
        want.ndim > 1
        and got.shape == want.mT.shape
        and torch.allclose(got, want.mT, rtol=1e-3, atol=1e-6)
    ):
        return "rows and columns are swapped"
    if got.shape != want.shape or want.numel() < 2:
        return None
    big = want.abs() > 1e-3 * want.abs().max()
    ratio, shift = (got / want)[big], got - want
    if len(ratio) > 1 and float(ratio.max() - ratio.min()) < 1e-3 * float(ratio.abs().max()):
        return (
            "the sign is the other way round"
            if abs(float(ratio[0]) + 1) < 1e-3
            else f"every number is {float(ratio[0]):.3g} x the expected one"
        )
    if float(shift.max() - shift.min()) < 1e-3 * float(shift.abs().max()):
        return f"every number is {float(shift.mean()):+.3g} off"
    return None


# ---- the answer key ----------------------------------------------------------------------------------------------
def reveal(name: str) -> None:
    """Print the library's source behind an exercise, or of anything public in the package: `reveal("CameraRig.px_from_cam")`."""
    shown = _source_of(name)
    if shown is None:
        near = difflib.get_close_matches(name, EXERCISES, 1, 0.4)
        print(f"nothing is called {name!r} here" + (f"; did you mean {near[0]!r}?" if near else ""))
        return
    print(f"# {shown.__module__}.{shown.__qualname__}\n{textwrap.dedent(inspect.getsource(shown))}")


def _source_of(name: str) -> object | None:
    if name in EXERCISES:
        return EXERCISES[name].shows or EXERCISES[name].reference
    head, *rest = name.split(".")
    for module in MODULES:
        thing = getattr(importlib.import_module(f"{PACKAGE}.{module}"), head, None)
        for part in rest:
            thing = getattr(thing, part, None)
        if thing is not None and hasattr(thing, "__qualname__"):
            return thing
    return None


def list_exercises(lesson: str | None = None) -> None:
    """List the exercises, or those of one lesson (`01_cameras`)."""
    for exercise in EXERCISES.values():
        if lesson in (None, exercise.lesson):
            print(f"{exercise.lesson:14} {exercise.task}")
