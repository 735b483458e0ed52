"""Shapes: the promise in a signature, checked at the door, and the centres of a grid.

The alphabet of axes, used in every docstring and message of this package:
B batch, V views, K keypoints, E edges, C channels, T time, J joints, P points, h w maps,
H W images, N voxels per side.
"""

import zlib

import torch
from torch import Tensor


def shaped(x: Tensor, axes: str, name: str = "input") -> Tensor:
    """Check a tensor's shape against its promise: `shaped(ndc, "B V K 2")`.

    Args:
        x: any tensor.
        axes: blank-separated: a number must match exactly, a letter any size (the same letter
            twice: the same size), a leading `...` any number of axes.
        name: what the message calls the tensor.

    Returns:
        `x` itself.

    Raises:
        ValueError: the shape does not fit; says both.
    """
    promised, sizes = axes.split(), tuple(x.shape)
    tail = promised[1:] if promised[0] == "..." else promised
    spare = len(sizes) - len(tail)
    fits = spare >= 0 if len(tail) < len(promised) else spare == 0
    bound: dict[str, int] = {}
    for letter, size in zip(tail, sizes[spare:]) if fits else ():
        fits &= size == (int(letter) if letter.isdigit() else bound.setdefault(letter, size))
    if not fits:
        raise ValueError(f"{name}: expected shape ({axes}), got {sizes}")
    return x


def cells(*size: int, like: Tensor | None = None) -> Tensor:
    """Centres of a regular grid on [-1, 1]^n, the last axis ordered (x, y[, z]).

    Corner-origin: the outermost centres lie half a cell inside the border, so
    `grid_sample(..., align_corners=False)` reads cell i exactly at `cells`.

    Args:
        *size: cells along each axis, slowest first: (H, W) or (D, H, W).
        like: gives device and dtype; None: float32 on the CPU.

    Returns:
        (H, W, 2) or (D, H, W, 3).
    """
    like = torch.zeros(()) if like is None else like
    axes = [(2 * torch.arange(n, device=like.device, dtype=like.dtype) + 1) / n - 1 for n in size]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], -1)


def segment_distance2(points: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Squared distance of points to segments, exact and in closed form; shapes broadcast.

    Args:
        points: (..., 2).
        a: (..., 2) where each segment begins.
        b: (..., 2) where it ends; may be `a`.

    Returns:
        (...) squared distances, in the points' unit squared.
    """
    along = b - a
    s = ((points - a) * along).sum(-1) / along.square().sum(-1).clamp(min=1e-12)
    return (points - a - s.clamp(0, 1)[..., None] * along).square().sum(-1)


def digest(*tensors: Tensor | None) -> str:
    """A short word that changes with the numbers.

    Args:
        *tensors: of any shape, on the CPU; None counts as nothing.

    Returns:
        Eight hexadecimal digits.
    """
    known = [x.contiguous().numpy().tobytes() for x in tensors if x is not None]
    return f"{zlib.crc32(b''.join(known)):08x}"
