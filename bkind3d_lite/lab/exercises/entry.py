"""An exercise as a value: what is asked, the package's answer, random inputs, usual mistakes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

KEY = Path(__file__).parents[1] / "key.md"  # students' releases are without it


class Dice:
    """Seeded random inputs; tensors are float32."""

    def __init__(self, seed: int):
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=self.generator)

    def number(self, low: float, high: float) -> float:
        return float(self.uniform(low, high))

    def integer(self, low: int, high: int) -> int:
        """One of low, ..., high."""
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def rotation(self) -> Tensor:
        """A random rotation (3, 3), det +1."""
        Q, _ = torch.linalg.qr(self.normal(3, 3))
        # of odd size: a change of sign turns a reflection into a rotation
        return Q * torch.linalg.det(Q)


class Mistake(NamedTuple):
    """A usual mistake: the hint it gets, and a function that makes it."""

    hint: str
    wrong: Callable


@dataclass(frozen=True)
class Exercise:
    """One exercise; `lab.check` runs it.

    Inputs must be non-square, or a swap of x and y goes unseen.
    """

    name: str  # the student's function is called so
    lesson: str  # the notebook's file name without .ipynb
    task: str  # one line: signature, shapes, what is asked
    reference: Callable  # the package's own answer
    make: Callable[[Dice], tuple]  # one random case; () for an exercise whose answer is a value
    mistakes: tuple[Mistake, ...] = ()
    shows: object = None  # what `lab.reveal` prints; None: the reference
    tolerance: float = 1e-4  # of the largest expected number
    cases: int = 20
    scaled: bool = False  # the answer is defined up to a common factor
    also: tuple[Callable, ...] = ()  # other right answers, where methods differ in small digits
    spare: bool = False  # in no lesson: for homework or an exam

    @property
    def is_value(self) -> bool:
        return self.make(Dice(0)) == ()

    @property
    def solution(self) -> str:
        """A short answer, as Python; "" where the key is not there."""
        return _solutions().get(self.name, "")


@cache
def _solutions() -> dict[str, str]:
    """The key, by exercise."""
    text = KEY.read_text(encoding="utf-8") if KEY.is_file() else ""
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    parts = [part.strip() for block in blocks for part in block.split("\n\n")]
    return {re.split(r"\W", part.removeprefix("def "), maxsplit=1)[0]: part for part in parts}
