"""Memory planner: what a recipe will need, before it is run, and what to turn if too much."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..cameras import CameraRig
from ..clips.clip import Batch
from ..model.builder import build, build_model
from ..recipes import LEAN, QUICK_RAT, Recipe
from .loop import Run, Step
from .precision import DTYPES, MAPPED_FROM, in_format, narrow, precision

# From fast to frugal, with the same results.
LADDER: tuple[dict[str, bool], ...] = (
    {},
    {"decode_per_view": True},
    {"checkpointing": True, "decode_per_view": True},
)
SPARE = 1.05  # an allocator's rounding, and what convolutions rearrange for themselves
# Bytes from which glibc maps a tensor by itself, gone when it is freed, where `settle` does not
# say otherwise.
MAPPED = 32 << 20
# What a heap of smaller tensors keeps in holes between them, as a share of the tensors (of half of
# them in half precision), by the size from which tensors are mapped; measured on reduced recipes.
HOLES = {MAPPED: 0.4, MAPPED_FROM: 1.0}


# ---- foretelling ---------------------------------------------------------------------------------
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
        step=_walked(recipe, views, training=True, device=device),
        inference=_walked(recipe, views, training=False, device=device),
    )


def _walked(recipe: Recipe, views: int, training: bool, device: str = "cpu") -> int:
    """Bytes that a step or an inference holds at its fullest, by walking through it."""
    mapped = MAPPED_FROM if recipe.compute.checkpointing else MAPPED  # as `settle` is asked for
    recipe = _walkable(recipe, training, device)
    with FakeTensorMode(allow_non_fake_inputs=True), _Ledger(mapped) as ledger:
        if training:
            _walk_step(recipe, views)
        else:
            _walk_inference(recipe, views, ledger)
    needed = SPARE * ledger.most
    if training and torch.device(device).type == "cpu":
        share = HOLES[mapped] * DTYPES[recipe.compute.precision].itemsize / 4
        needed += share * ledger.most_on_heap
    return int(needed)


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


# ---- choosing ------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Plan:
    """What to run: a recipe with its memory, what was considered, and the knobs that are left."""

    recipe: Recipe
    need: Need
    budget: int  # bytes
    device: str
    fits: bool
    considered: tuple[tuple[str, Need], ...]
    knobs: tuple[tuple[str, int], ...]  # change, bytes that it saves of a step

    def __str__(self) -> str:
        budget = f"(budget {self.budget / 1e9:.1f} GB on {self.device})"
        lines = [f"{'recipe':44s} {'step GB':>8s} {'inference GB':>13s}   {budget}"]
        for name, need in self.considered:
            lines.append(f"{name:44s} {need.step / 1e9:8.2f} {need.inference / 1e9:13.2f}")
        verdict = "fits" if self.fits else "does not fit; nothing smaller is planned"
        lines.append(f"-> {self.recipe.name}, batch {self.recipe.data.batch}: {verdict}")
        lines += [f"   {change:38s} saves {saved / 1e9:.2f} GB" for change, saved in self.knobs]
        return "\n".join(lines)


def usable_memory(device: str | torch.device = "cpu") -> int:
    """Bytes that a run may fill: nine tenths of the GPU's, or of what the system has left.

    Args:
        device: where it will run.

    Returns:
        Bytes.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return int(0.9 * torch.cuda.get_device_properties(device).total_memory)
    return int(0.9 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES"))


def plan(recipe: Recipe, rig: CameraRig, device: str = "cpu", budget: int | None = None) -> Plan:
    """The fastest way to run a recipe that fits into the memory.

    In order: nothing recomputed, one view at a time, also recomputing; then half the batch, and so
    on to 1; then the smaller presets. Results of the first three are the same.

    Args:
        recipe: to be trained.
        rig: (V,) cameras that it will see.
        device: where it will run.
        budget: bytes; None: `usable_memory(device)`.

    Returns:
        The first that fits, or the last with `fits` False.
    """
    budget, views = budget or usable_memory(device), rig.views
    considered = []
    for name, option in _options(recipe):
        need = memory(option, views, str(device))
        considered.append((name, need))
        if fits := need.step <= budget:
            break
    return Plan(
        recipe=option,
        need=need,
        budget=budget,
        device=str(device),
        fits=fits,
        considered=tuple(considered),
        knobs=tuple(knobs(option, views, need, str(device))),
    )


def _options(recipe: Recipe) -> Iterator[tuple[str, Recipe]]:
    batch = recipe.data.batch
    plain = {"checkpointing": False, "decode_per_view": False}
    while batch >= 1:
        for switches in LADDER:
            words = ", ".join(switches) or "everything kept"
            option = recipe.with_(**(plain | switches), batch=batch)
            yield f"{recipe.name}, batch {batch}, {words}", option
        batch //= 2
    for smaller in (LEAN, QUICK_RAT):
        if smaller.name != recipe.name:
            option = smaller.with_(
                keypoints=recipe.keypoints,
                gaps=recipe.data.gaps,
                mode="animal",
                animal_side=recipe.volume.crop or smaller.volume.crop,
            )
            yield f"{smaller.name}, batch 1", option


def knobs(
    recipe: Recipe, views: int, need: Need | None = None, device: str = "cpu"
) -> list[tuple[str, int]]:
    """The three changes that save most memory of a training step.

    Args:
        recipe: to be changed.
        views: cameras of the rig.
        need: of the recipe, if it is known.
        device: where it will run.

    Returns:
        Up to three pairs of a change in words and the bytes that it saves, the best first.
    """
    now = (need or memory(recipe, views, device)).step
    W, H = recipe.data.image_wh
    changes: list[dict[str, Any]] = [
        {"decode_per_view": True},
        {"checkpointing": True},
        {"batch": max(1, recipe.data.batch // 2)},
        {"voxels": recipe.volume.voxels // 2},
        {"image_wh": (W // 2, H // 2)},
        {"views_per_step": max(2, views // 2)},
    ]
    saved = []
    for change in changes:
        smaller = recipe.with_(**change)
        if _is_a_change(smaller, recipe, views):
            ((key, value),) = change.items()
            words = f"{key} = {str(value).lower() if value is True else value}"
            saved.append((words, now - _walked(smaller, views, training=True, device=device)))
    return sorted((s for s in saved if s[1] > 0), key=lambda s: -s[1])[:3]


def _is_a_change(smaller: Recipe, recipe: Recipe, views: int) -> bool:
    """Whether a smaller recipe can be trained, and is another one."""
    if smaller.data.batch < 1 or smaller.volume.voxels % 2**smaller.v2v.v2v_levels:
        return False
    if smaller.data.views_per_step != recipe.data.views_per_step:
        return (smaller.data.views_per_step or views) < views
    return smaller != recipe


def advised(steps: Iterator[Step], run: Run, views: int) -> Iterator[Step]:
    """The same steps, with advice where memory runs out.

    Args:
        steps: of `train`.
        run: that they train.
        views: cameras of the rig.

    Yields:
        Each step.

    Raises:
        MemoryError: memory ran out; names three knobs to turn and what each would save.
    """
    try:
        yield from steps
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        short = isinstance(error, (torch.OutOfMemoryError, MemoryError))
        if not short and "allocate memory" not in str(error):
            raise
        device = next(run.model.parameters()).device.type
        need = memory(run.recipe, views, device)
        choices = "; ".join(
            f"{change} saves {saved / 1e9:.2f} GB"
            for change, saved in knobs(run.recipe, views, need, device)
        )
        raise MemoryError(
            f"out of memory at step {run.step + 1} of {run.recipe.name}, which needs "
            f"{need.step / 1e9:.1f} GB beside the libraries. "
            f"Turn one of: {choices or 'a smaller preset (lean, quick-rat)'}"
        ) from error
