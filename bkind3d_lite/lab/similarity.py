"""Answers that are much alike: a table for a person to read, never a verdict.

Names, comments and layout do not count. What most students write alike says nothing either (a
one-line softmax has one form): a pair is compared by the pieces that few have.
"""

from __future__ import annotations

import ast
import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

from ..files import write_atomically
from .gradebook import Marked, harmless
from .sandbox import WAITING

RUN_LENGTH = 5  # syntax nodes that follow one another
RARE_STUDENTS = 3  # students, or a tenth of them: who shares a piece with more is not told by it
RARE_PIECES = 8  # rare pieces that a pair must share
ALIKE_SHARE = 0.5  # of the rare pieces of either


def write_similarity(path: Path, students: Sequence[Marked]) -> Path:
    """Write the pairs whose answers share most.

    Args:
        path: a table (CSV): two students, share, pieces shared, the exercises they are in.
        students: graded.

    Returns:
        `path`.
    """

    def write(temporary: Path) -> None:
        with open(temporary, "w", newline="", encoding="utf-8") as handle:
            rows = csv.writer(handle)
            rows.writerow(["student", "other", "alike", "pieces", "exercises"])
            for a, b, share, shared in copied_pairs(students):
                asked = " ".join(sorted({name for name, _ in shared}))
                names = harmless(a.student), harmless(b.student)
                rows.writerow([*names, f"{share:.2f}", len(shared), asked])

    return write_atomically(path, write)


def copied_pairs(students: Sequence[Marked]) -> list[tuple[Marked, Marked, float, set]]:
    """Pairs of students whose answers share many pieces that few others have.

    Args:
        students: graded.

    Returns:
        Two students, the share (of the rare pieces of the one who has fewer), and the shared
        pieces, each with its exercise; the most alike first.
    """
    pieces = [_pieces_of(student) for student in students]
    count = Counter(piece for those in pieces for piece in those)
    few = max(RARE_STUDENTS, len(students) // 10)
    rare = [{piece for piece in those if count[piece] <= few} for those in pieces]
    pairs = []
    for i, j in combinations(range(len(students)), 2):
        shared = rare[i] & rare[j]
        share = len(shared) / max(1, min(len(rare[i]), len(rare[j])))
        if len(shared) >= RARE_PIECES and share >= ALIKE_SHARE:
            pairs.append((students[i], students[j], share, shared))
    return sorted(pairs, key=lambda pair: (-len(pair[3]), -pair[2]))


def _pieces_of(student: Marked) -> set[tuple[str, tuple]]:
    """Runs of syntax in a student's answers, each with its exercise."""
    found = set()
    for graded in student.exercises:
        if graded.result.state != WAITING:
            nodes = list(_shape(graded.source))
            runs = (tuple(nodes[i : i + RUN_LENGTH]) for i in range(len(nodes) - RUN_LENGTH + 1))
            found |= {(graded.result.name, run) for run in runs}
    return found


def _shape(source: str) -> Iterator[str]:
    """An answer's syntax in order, variables without their names, texts left out."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield f".{node.attr}"
        elif isinstance(node, ast.Constant):
            # repr may refuse it
            long = isinstance(node.value, int) and node.value.bit_length() > 64
            yield "text" if isinstance(node.value, str) else "number" if long else repr(node.value)
        elif not isinstance(node, (ast.expr_context, ast.Expr)):
            yield type(node).__name__
