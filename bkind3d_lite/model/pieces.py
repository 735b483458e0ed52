"""Pieces: a few things at a time, which stay in a CPU's cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

HALVES = (torch.bfloat16, torch.float16)
PIECE = 1 << 17  # numbers that are worked on at a time, to stay in a core's second cache
_coarse: ContextVar[int] = ContextVar("coarse", default=0)
_foreign: ContextVar[bool] = ContextVar("foreign", default=False)


@contextmanager
def coarse(piece: int, device: str = "cpu") -> Iterator[None]:
    """Within, work comes in larger pieces: for walks by shapes alone, which no cache speeds up.

    Args:
        piece: numbers at a time; not less than usual.
        device: `cuda`: everything is done as a GPU would, whatever device tensors lie on.

    Yields:
        Nothing.
    """
    tokens = _coarse.set(piece), _foreign.set(device != "cpu")
    try:
        yield
    finally:
        _coarse.reset(tokens[0])
        _foreign.reset(tokens[1])


def _piece() -> int:
    """Numbers that are worked on at a time."""
    return max(PIECE, _coarse.get())


def on_cpu(x: Tensor) -> bool:
    """Whether a tensor lies on a CPU, whose own way is the better one.

    Args:
        x: any tensor.

    Returns:
        False on a GPU, and where one is only thought of (`coarse`).
    """
    return x.device.type == "cpu" and not _foreign.get()


def at_a_time(count: int, each: int, device: torch.device, pieces: int = 1) -> int:
    """How many things to work on at a time.

    Args:
        count: how many there are.
        each: numbers that work on one of them takes.
        device: where; a GPU takes them all at once.
        pieces: that may be worked on together.

    Returns:
        At least 1; on a CPU as many as stay in a core's second cache.
    """
    whole = device.type != "cpu" or _foreign.get()
    return count if whole else max(1, pieces * _piece() // each)


def in_pieces(function: Callable, x: Tensor, each: int, dim: int = 0) -> Any:
    """`function(x)`, on a CPU a few slices of `x` at a time, which stay in the cache.

    Args:
        function: treats slices along `dim` independently; gives a tensor or a tuple of tensors.
        x: its argument.
        each: numbers that work on one slice takes.
        dim: axis of the slices, in `x` and in the results.

    Returns:
        What the function gives, put together again.
    """
    parts = x.split(at_a_time(x.shape[dim], each, x.device), dim)
    if len(parts) == 1:
        return function(x)
    done = [function(part) for part in parts]
    if isinstance(done[0], Tensor):
        return torch.cat(done, dim)
    return tuple(torch.cat(same, dim) for same in zip(*done))


def channels_last(x: Tensor) -> bool:
    """Whether maps lie on a CPU, channels last in memory.

    Args:
        x: (n, c, ...).

    Returns:
        The answer.
    """
    return on_cpu(x) and x.movedim(1, -1).is_contiguous()


def rows(*maps: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The same few rows of every map at a time.

    Args:
        *maps: (c, ...) of one shape, channels last in memory.

    Returns:
        Views (p, c) of each; what is written there is written into the map.
    """
    c = len(maps[0])
    few = max(1, _piece() // c)
    return zip(*(m.movedim(0, -1).view(-1, c).split(few) for m in maps))


def wide(x: Tensor) -> Tensor:
    """The same numbers in float32 if they are in half precision, whose sums need a wider format.

    Args:
        x: any tensor.

    Returns:
        `x` itself, or a copy.
    """
    return x.float() if x.dtype in HALVES else x
