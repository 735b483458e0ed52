"""Compute: the one way in which the networks are called."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .cpu_kernels import fast


@dataclass(frozen=True)
class Compute:
    """How networks compute: number format, compiled or not, and on a CPU by its own kernels.

    Networks take float32 and are plain PyTorch. `Discoverer`, `Volumetric` and `Perceptual` hold
    one of these and call theirs through it: `self.compute(self.encoder, images)`.

    Attributes:
        kind: of device.
        dtype: number format of the networks, by autocast.
        compiled: by `torch.compile`.
    """

    kind: str = "cpu"
    dtype: torch.dtype = torch.float32
    compiled: bool = False
    _compiled: dict[Callable, Callable] = field(default_factory=dict, repr=False, compare=False)

    def __call__(self, network: Callable, *inputs: Any) -> Any:
        """`network(*inputs)`, in float32 whatever it computes in.

        Args:
            network: a module, or a method of one.
            *inputs: its arguments.

        Returns:
            What it gives: a tensor, or tensors in a tuple or list.
        """
        out = self.as_it_comes(network, *inputs)
        return out if self.dtype == torch.float32 else _floats(out)

    def as_it_comes(self, network: Callable, *inputs: Any) -> Any:
        """`network(*inputs)`, in the number format in which it computes.

        Args:
            network: a module, or a method of one.
            *inputs: its arguments.

        Returns:
            What it gives.
        """
        if self.compiled:
            if network not in self._compiled:
                self._compiled[network] = torch.compile(network)
            network = self._compiled[network]
        half = self.dtype != torch.float32
        door = fast() if self.kind == "cpu" else nullcontext()
        with torch.autocast(self.kind, self.dtype) if half else nullcontext(), door:
            return network(*inputs)


def _floats(x: Any) -> Any:
    return x.float() if isinstance(x, Tensor) else type(x)(_floats(part) for part in x)
