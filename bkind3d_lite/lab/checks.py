"""The course lab: exercises checked by property against the package, which is the answer key.

`check(your_function)` prints one line: `○ not attempted yet`, `✗ ...` with a hint, or
`✓ 20 random cases agree`. It never raises for a student's error, so a notebook always runs to its
end. `failing_input("unproject")` hands out the case that failed, `reveal` (in
`revealing`) a solution after a try.
"""

from __future__ import annotations

import difflib
import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from .borrowed import borrowed
from .exercises import EXERCISES
from .exercises.entry import Dice, Exercise, Mistake
from .sandbox import FAILED, PASSED, WAITING, ask, fresh

if "ipykernel" in sys.modules:  # a lesson: its figures say in words what they show
    from ..viz.notebook_figures import accessible

    accessible()


@dataclass(frozen=True)
class Result:
    """What a check says.

    `state` is `not attempted`, `failed` or `passed`; `message` is the line that was printed;
    `given` are the arguments of the case that failed.
    """

    name: str
    state: str
    message: str
    given: tuple = field(default=(), compare=False, repr=False)

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
    name = name or _called(answer)
    exercise = EXERCISES.get(name or "")
    if exercise is None:
        message = f"✗ no exercise is called {name!r}{nearest_exercise(str(name))}"
        result = Result(str(name), FAILED, message)
    else:
        result = judge(exercise, answer, seed)
    print(result.message)
    if exercise is not None and result.state != WAITING:
        LAST_TRIES[exercise.name] = _named(exercise, result.given)
        if result.given:
            print(_told(LAST_TRIES[exercise.name], exercise.name))
    return result


def _called(answer: object) -> str | None:
    """The exercise that an answer's own name says, or (a lambda) the variable that holds it."""
    own = getattr(answer, "__name__", None)
    held = (n for n, x in getattr(answer, "__globals__", {}).items() if x is answer)
    return own if own in EXERCISES else next((n for n in held if n in EXERCISES), own)


def failing_input(name: str) -> dict[str, object]:
    """The input at which the last `check` of an exercise failed, to try it by hand.

    Args:
        name: an exercise.

    Returns:
        Arguments by name; {} if the last check did not fail.
    """
    return LAST_TRIES.get(name, {})


LAST_TRIES: dict[str, dict[str, object]] = {}  # of every exercise that was tried


def _named(exercise: Exercise, given: tuple) -> dict[str, object]:
    return dict(zip(inspect.signature(exercise.reference).parameters, given))


def _told(given: dict[str, object], name: str) -> str:
    """One line on a case's arguments."""
    parts = [f"{key} = {_brief(value)}" for key, value in given.items()]
    return f"  input: {'; '.join(parts)}   (failing_input({name!r}) has it)"


def _brief(value: object) -> str:
    """Small tensors whole, of large ones shape and range."""
    if not isinstance(value, Tensor):
        return f"{value:.4g}" if isinstance(value, float) else str(value)
    if value.numel() <= 6:
        return str([[round(x, 3) for x in row] if isinstance(row, list) else round(row, 3)
                    for row in value.tolist()])  # fmt: skip
    low, high = float(value.min()), float(value.max())
    return f"{tuple(value.shape)} from {low:.3g} to {high:.3g}"


def nearest_exercise(name: str) -> str:
    """What a wrong name may have meant.

    Args:
        name: of no exercise.

    Returns:
        `; did you mean 'fuse'?`, or "".
    """
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
    if stopped:
        state, message = stopped
        given = cases[len(answers)] if state == FAILED else ()
        return Result(exercise.name, state, message + error_hint(message), given=given)
    result = verdict(exercise, cases, answers)
    if result and (taken := borrowed(answer)):
        return _failed(exercise, f"this calls the library's {taken}: write it yourself")
    return result


# What errors say, and what is usually meant by them.
ERROR_HINTS = (
    (r"'Tensor' and 'tuple'", "wh and hw are tuples: torch.tensor(wh) can be divided by"),
    (r"Integral.*'(Byte|Long|Int)|not.*dtype.*(Byte|Long)", "bytes have no mean: .float() first"),
    (r"dtype.*Byte|got: Byte|'Byte'", "bytes have no mean: .float() first"),
    (r"(Long|Int).*(mean|floating)|mean\(\).*(Long|Int)", "whole numbers: .float() first"),
    (
        r"size of tensor a .* must match",
        "shapes do not fit: print .shape, add an axis with [:, None]",
    ),
    (r"mat1 and mat2|cannot be multiplied|size mismatch", "points are rows: x @ R.T, not R @ x"),
)


def error_hint(message: str) -> str:
    """A hint for an error that stops an answer.

    Args:
        message: the line that says so.

    Returns:
        What is usually meant, to stand behind the line; "" if nothing is known.
    """
    hints = (hint for pattern, hint in ERROR_HINTS if re.search(pattern, message))
    hint = next(hints, None)
    return f". Hint: {hint}" if hint else ""


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
    if any(_agree(other, exercise, cases, answers) for other in exercise.also):
        expected = answers
    for i, (got, want) in enumerate(zip(answers, expected)):
        if fault := _fault(got, want, exercise):
            where = "" if exercise.is_value or fault.startswith("shape") else f"case {i + 1}: "
            usual = _usual_mistake(exercise, cases, answers)
            hint = usual.hint if usual else _general_hint(got, want, exercise)
            why = where + fault + (f". Hint: {hint}" if hint else "")
            return replace(_failed(exercise, why), given=cases[i])
    right = "✓ right" if exercise.is_value else f"✓ {len(cases)} random cases agree"
    return Result(exercise.name, PASSED, right)


def _usual_mistake(exercise: Exercise, cases: list[tuple], answers: list) -> Mistake | None:
    """The first of the usual mistakes that gives the same numbers in all cases."""
    for mistake in exercise.mistakes:
        if _agree(mistake.wrong, exercise, cases, answers):
            return mistake
    return None


def _agree(function: Callable, exercise: Exercise, cases: list[tuple], answers: list) -> bool:
    """Whether a function gives these answers in all cases."""
    made = (function(*fresh(case)) for case in cases)
    return not any(_fault(got, want, exercise) for got, want in zip(answers, made))


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
