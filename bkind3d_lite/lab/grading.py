"""Grading one notebook: the student's code answers, the grader judges.

A fenced process (`fence`) is given the statements that a notebook's exercises need and fresh random
inputs, and hands back numbers. The expected numbers never enter that process, so nothing that it
prints, patches or writes can make a wrong answer right.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from .checks import Result, judge, random_cases, verdict
from .exercises import EXERCISES
from .exercises.entry import Exercise
from .fence import fence_here, run_fenced
from .sandbox import BYTES, FAILED, WAITING, plain, unplain
from .submissions import Statement, Submission, submission_of
from .suspicion import suspicions

MOST_ROUNDS = 12  # processes that one notebook may end


@dataclass(frozen=True)
class Terms:
    """How notebooks are graded.

    `limit` is in seconds, for each process of a notebook; `seed` with the student's name draws the
    cases, so that a grade can be had again; `lessons` are expected of everybody, whatever is left
    of them; `fence` is one of `fence.fences`, or `trust`.
    """

    limit: float = 60.0
    seed: str = field(default_factory=lambda: secrets.token_hex(8))
    lessons: tuple[str, ...] = ()
    fence: str = field(default_factory=fence_here)


@dataclass(frozen=True)
class Graded:
    """One exercise of one student: the verdict, its text, and why to look at it (or nothing)."""

    result: Result
    source: str = ""
    look: tuple[str, ...] = ()


def expected(answered: Iterable[str], lessons: Iterable[str] = ()) -> list[str]:
    """The exercises a student should have: so nobody gains by deleting one.

    Args:
        answered: names of the exercises in the notebook.
        lessons: those expected in any case, by their notebooks' names.

    Returns:
        These, and those that the lessons they come from ask, in the table's order.
    """
    wanted, whole = set(answered), set(lessons) | {EXERCISES[name].lesson for name in answered}
    return [
        name
        for name, exercise in EXERCISES.items()
        if name in wanted or exercise.lesson in whole and not exercise.spare
    ]


def grade_notebook(path: Path, terms: Terms | None = None, student: str = "") -> list[Graded]:
    """Ask the exercises of a student's notebook, and judge.

    An exercise that ends its process is failed, the others are asked again.

    Args:
        path: the notebook.
        terms: how; None: `Terms()`.
        student: whose; draws the cases, with the terms' seed.

    Returns:
        One for each exercise.

    Raises:
        ValueError: the file is no notebook, or no fence is to be had.
    """
    terms = terms or Terms()
    submission = submission_of(path)
    results = _results(submission, terms, student)
    answered = {*submission.variables, *submission.broken, *results}
    for name in expected(answered, terms.lessons):
        results.setdefault(name, Result(name, WAITING, "○ not attempted yet"))
    results |= {
        name: Result(name, FAILED, why)
        for name, why in submission.broken.items()
        if results[name].state == WAITING
    }
    return [
        Graded(results[name], submission.source_of(name), suspicions(submission, name))
        for name in EXERCISES
        if name in results
    ]


def _results(submission: Submission, terms: Terms, student: str) -> dict[str, Result]:
    """What the processes of a notebook make of its exercises."""
    results: dict[str, Result] = {}
    todo, open_names = submission.needed, _mentioned(submission)
    for _ in range(MOST_ROUNDS):  # every one leaves one statement or one exercise fewer
        if not open_names or not todo:
            return results
        cases = {name: _cases(EXERCISES[name], terms.seed, student) for name in open_names}
        program = _program(submission, todo, cases)
        text, how = run_fenced(program, terms.limit, terms.fence)
        claims = _claims(text)
        answered = {name for name in open_names if name in claims}
        results |= {n: _judged(EXERCISES[n], cases[n], claims[n]) for n in answered}
        if claims.get("at") == "end":
            return results
        todo, blamed = _without_the_last(submission, todo, claims.get("at"), open_names)
        results |= {name: Result(name, FAILED, f"✗ {how}") for name in blamed}
        open_names -= answered | blamed
    ended = "✗ the notebook ended too many processes"
    return {name: Result(name, FAILED, ended) for name in submission.variables} | results


def _mentioned(submission: Submission) -> set[str]:
    """Exercises that are answered, and those of which any name speaks (`check(f)` in a loop)."""
    names = {name for s in submission.needed for name in s.binds}
    return {name for name in {*submission.variables, *names} if name in EXERCISES}


def _cases(exercise: Exercise, seed: str, student: str) -> list[tuple]:
    """A student's own random cases."""
    text = f"{seed}\n{student}\n{exercise.name}".encode()
    return random_cases(exercise, int.from_bytes(hashlib.sha256(text).digest()[:4], "big"))


def _program(submission: Submission, todo: list[Statement], cases: dict[str, list[tuple]]) -> dict:
    """What `sandbox` reads."""
    return {
        "cells": submission.cells,
        "steps": [[s.cell, s.place, sorted(_exercises_of(submission, s))] for s in todo],
        "cases": {name: plain(inputs) for name, inputs in cases.items()},
        "last": {name: held for name, held in submission.variables.items() if held},
    }


def _exercises_of(submission: Submission, statement: Statement) -> set[str]:
    """The exercises that a statement answers or checks."""
    held = {name for name, variable in submission.variables.items() if variable in statement.binds}
    return held | {name for name, _ in statement.checks}


def _without_the_last(
    submission: Submission, todo: list[Statement], at: object, open_names: set[str]
) -> tuple[list[Statement], set[str]]:
    """After a process ended early: the steps without the one it ended in, and who is to blame."""
    if isinstance(at, int) and 0 <= at < len(todo):
        blamed = open_names & _exercises_of(submission, todo[at])
        return [step for i, step in enumerate(todo) if i != at], blamed
    return todo, {at} if isinstance(at, str) and at in open_names else set(open_names)


def _judged(exercise: Exercise, cases: list[tuple], claim: dict) -> Result:
    """What a process claims, believed as far as it goes.

    Numbers are compared here; of words only a failure or 'not attempted' counts.
    """
    try:
        if "stop" in claim:
            state, message = claim["stop"]
            if state == WAITING:
                return Result(exercise.name, WAITING, "○ not attempted yet")
            words = " ".join(str(message).split()).lstrip("✗✓○ ")[:300]
            return Result(exercise.name, FAILED, f"✗ {words}")
        answers = [unplain(x) for x in claim["answers"]]
        if len(answers) != len(cases):
            raise ValueError("answers are missing")
        if exercise.is_value:
            return judge(exercise, answers[0])
        return verdict(exercise, cases, answers)
    except (KeyError, TypeError, ValueError, RuntimeError, OverflowError, IndexError) as error:
        why = f"✗ the answer cannot be read ({type(error).__name__})"
        return Result(exercise.name, FAILED, why)


def _claims(text: bytes) -> dict:
    """The lines a process wrote, by exercise; lines that are no answers are left out."""
    claims: dict = {}
    for line in text.split(b"\n") if len(text) <= BYTES else []:
        try:
            key, value = json.loads(line)
        except (ValueError, TypeError, RecursionError):
            continue
        if key == "at" or isinstance(key, str) and key in EXERCISES and isinstance(value, dict):
            claims[key] = value
    return claims
