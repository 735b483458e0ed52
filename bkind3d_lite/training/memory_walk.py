"""Memory walk: a step walked through with tensors without contents, for what it would hold."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..cameras import CameraRig
from ..clips.clip import Batch
from ..model.builder import build, build_model
from ..model.pieces import coarse
from ..recipes import Recipe
from .precision import DTYPES, MAPPED_FROM, in_format, narrow, precision

SPARE = 1.05  # an allocator's rounding, and what convolutions rearrange for themselves
# Bytes from which glibc maps a tensor by itself, gone when it is freed, where `settle` does not
# say otherwise.
MAPPED = 32 << 20
HELD = 1 << 62  # where all tensors share the heap
# What a heap of smaller tensors keeps in holes between them, as a share of the tensors (of half of
# them in half precision), by the size from which tensors are mapped; measured on reduced recipes.
HOLES = {MAPPED: 0.4, MAPPED_FROM: 1.0, HELD: 0.7}


class _Ledger(TorchDispatchMode):
    """Adds up the storages that are alive, tensor by tensor as they are made and freed.

    `most` is the most bytes there ever were; `most_on_heap` of those in storages smaller than
    `mapped` bytes, which share a heap.
    """

    def __init__(self, mapped: int):
        super().__init__()
        self.mapped = mapped
        self.alive, self.most = 0, 0
        self.on_heap, self.most_on_heap = 0, 0
        self.storages: set[int] = set()

    def enter(self, tensor: Tensor) -> None:
        """Count a tensor's storage unless it is counted already."""
        storage = tensor.untyped_storage()
        key, nbytes = storage._cdata, storage.nbytes()
        if key in self.storages:
            return
        self.storages.add(key)
        self.alive += nbytes
        self.most = max(self.most, self.alive)
        self.on_heap += nbytes * (nbytes < self.mapped)
        self.most_on_heap = max(self.most_on_heap, self.on_heap)
        weakref.finalize(storage, self._free, key, nbytes)

    def _free(self, key: int, nbytes: int) -> None:
        self.storages.discard(key)
        self.alive -= nbytes
        self.on_heap -= nbytes * (nbytes < self.mapped)

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        out = function(*arguments, **(named or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self.enter(leaf)
        return out


@dataclass(frozen=True)
class Need:
    """Bytes of tensors at the fullest moment of a training step and of an inference.

    The inference is that of a model which was loaded for tracking.
    """

    step: int
    inference: int


def memory(recipe: Recipe, views: int = 4, device: str = "cpu") -> Need:
    """What a training step and an inference hold at their fullest.

    Every operation of a true step (weights, gradients, optimizer and activations) is walked
    through, forward and backward, with tensors that have a shape and no contents, so that this
    takes seconds and no memory. On a CPU a training also has what its heap keeps, after a few
    steps: small tensors leave holes between one another (`precision.settle` maps large ones by
    themselves where a recipe is large). Libraries themselves (0.3 to 0.9 GB of a process, by the
    build) are not in it.

    Args:
        recipe: to be trained.
        views: cameras of the rig.
        device: where it will run.

    Returns:
        Bytes of a step, and of an inference.
    """
    return Need(
        step=step_bytes(recipe, views, device),
        inference=_walked(recipe, views, training=False, device=device),
    )


def step_bytes(recipe: Recipe, views: int, device: str = "cpu") -> int:
    """`memory` of a step alone.

    Args:
        recipe: to be trained.
        views: cameras of the rig.
        device: where it will run.

    Returns:
        Bytes.
    """
    return _walked(recipe, views, training=True, device=device)


def _walked(recipe: Recipe, views: int, training: bool, device: str = "cpu") -> int:
    """Bytes that a step or an inference holds at its fullest, by walking through it."""
    mapped = MAPPED_FROM if recipe.compute.large else MAPPED  # as `settle` is asked for
    mapped = HELD if recipe.compute.hold else mapped
    recipe = _walkable(recipe, training, device)
    fakes = FakeTensorMode(allow_non_fake_inputs=True)
    with coarse(_pieces(recipe), torch.device(device).type), fakes, _Ledger(mapped) as ledger:
        if training:
            _walk_step(recipe, views)
        else:
            _walk_inference(recipe, views, ledger)
    needed = SPARE * ledger.most
    if training and torch.device(device).type == "cpu":
        share = HOLES[mapped] * DTYPES[recipe.compute.precision].itemsize / 4
        needed += share * ledger.most_on_heap
    return int(needed)


def _pieces(recipe: Recipe) -> int:
    """Numbers that the walk takes at a time: a fraction of the largest map, and few of them."""
    W, H = recipe.data.image_wh
    return max(recipe.encoder.channels * recipe.volume.voxels**3, 16 * W * H) // 4


def _walkable(recipe: Recipe, training: bool, device: str) -> Recipe:
    """The recipe, placed anywhere, in the number format of the device, and without downloads."""
    perceptual = recipe.losses.perceptual
    if not training:
        perceptual = "pixels"
    elif perceptual == "vgg19":  # shapes alone matter
        perceptual = "vgg19-seeded"
    elsewhere = torch.device(device).type == "cuda" and not torch.cuda.is_available()
    if elsewhere and recipe.compute.precision == "auto":  # a GPU of another machine
        dtype = "bfloat16"
    else:
        dtype = str(precision(recipe, device)).removeprefix("torch.")
    return recipe.with_(
        side=recipe.volume.side or 1.0,
        centre=recipe.volume.centre or (0.0, 0.0, 0.0),
        pretrained=False,
        perceptual=perceptual,
        precision=dtype,
        compile=False,
    )


def _walk_step(recipe: Recipe, views: int) -> None:
    """One training step on the views that are drawn for it."""
    model, objective = build(recipe)
    in_format(model, objective, recipe, "cpu")
    batch = _fake_batch(recipe, min(views, recipe.data.views_per_step or views), recipe.data.batch)
    moments = 2 if recipe.optim.optimizer == "adam" else 1
    state = [torch.empty_like(p) for p in model.parameters() for _ in range(moments)]
    out = model(batch, objective.judge(batch))
    losses = objective(batch, out, model.edges, recipe.losses.warmup)
    sum(losses.values()).backward()
    del state


def _walk_inference(recipe: Recipe, views: int, ledger: _Ledger) -> None:
    """Keypoints of one frame set, by a model without its decoder; the ledger begins with that."""
    model, batch = build_model(recipe).eval(), _fake_batch(recipe, views, 1)
    in_format(model, None, recipe, "cpu")
    narrow(model, recipe, "cpu")
    del model.decoder
    ledger.most = ledger.alive
    with torch.no_grad():
        model.keypoints(replace(batch, later=None))


def _fake_batch(recipe: Recipe, views: int, count: int) -> Batch:
    """A batch of shapes: `count` frame pairs."""
    B, V, (W, H) = count, views, recipe.data.image_wh
    rig = CameraRig(
        K=torch.zeros(B, V, 3, 3),
        R=torch.zeros(B, V, 3, 3),
        t=torch.zeros(B, V, 3),
        distortion=torch.zeros(B, V, 5),
        wh=(W, H),
        names=tuple(f"c{v}" for v in range(V)),
    )
    now, later = (torch.empty(B, V, 3 + recipe.surveyed, H, W) for _ in range(2))
    turn = torch.zeros(B) if recipe.volume.turn else None
    taught = recipe.losses.explain == "labels"
    return Batch(
        now=now,
        later=None if taught else later,
        labels=torch.zeros(B, V, recipe.keypoints, 4) if taught else None,
        rig=rig,
        index=torch.zeros(B, dtype=torch.long),
        centre=torch.zeros(B, 3),
        turn=turn,
        turn_later=turn,
    )
