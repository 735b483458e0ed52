"""Planning: how much memory a recipe will need, before it is run, and what to turn when that is too much."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, replace

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

LADDER = (
    {},
    {"decode_per_view": True},
    {"checkpointing": True, "decode_per_view": True},
)  # from fast to frugal, same results
SPARE = 1.05  # an allocator's rounding, and what convolutions rearrange for themselves
MAPPED = (
    32 << 20
)  # bytes from which glibc maps a tensor by itself, gone when it is freed, where `settle` does not say otherwise
HOLES = {
    MAPPED: 0.4,
    MAPPED_FROM: 1.0,
}  # what a heap of smaller tensors keeps in holes between them, as a share of the tensors (of half of
# them in half precision); measured on reduced recipes


class _Ledger(TorchDispatchMode):
    """Adds up the storages that are alive, tensor by tensor as they are made and freed; `largest` is the most there ever was, `most` of
    those smaller than `mapped` bytes, which share a heap."""

    def __init__(self, mapped: int):
        super().__init__()
        self.mapped, self.heap, self.most = mapped, 0, 0
        self.alive, self.largest = 0, 0
        self.known: set[int] = set()

    def note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, nbytes = storage._cdata, storage.nbytes()
        if key in self.known:
            return
        self.known.add(key)
        self.alive += nbytes
        self.largest = max(self.largest, self.alive)
        self.heap += nbytes * (nbytes < self.mapped)
        self.most = max(self.most, self.heap)
        weakref.finalize(storage, self._free, key, nbytes)

    def _free(self, key: int, nbytes: int) -> None:
        self.known.discard(key)
        self.alive -= nbytes
        self.heap -= nbytes * (nbytes < self.mapped)

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        out = function(*arguments, **(named or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self.note(leaf)
        return out


@dataclass(frozen=True)
class Need:
    """Bytes of tensors at the fullest moment of a training step and of an inference with a model that was loaded for tracking."""

    step: int
    inference: int


def memory(recipe: Recipe, views: int = 4, device: str = "cpu") -> Need:
    """What a training step (weights, gradients, optimizer and activations) and an inference of `recipe` hold at their fullest.

    Every operation of a true step is walked through, forward and backward, with tensors that have a shape and no contents, so
    that this takes seconds and no memory. On a CPU a training also has what its heap keeps, after a few steps: small tensors leave holes
    between one another (`devices.settle` maps large ones by themselves where a recipe is large). Libraries themselves (0.3 to 0.9 GB of
    a process, by the build) are not in it.
    """
    return Need(_walked(recipe, views, True, device), _walked(recipe, views, False, device))


def _walked(recipe: Recipe, views: int, training: bool, device: str = "cpu") -> int:
    perceptual = (
        "pixels"
        if not training
        else "vgg19-seeded"
        if recipe.losses.perceptual == "vgg19"
        else recipe.losses.perceptual
    )  # shapes alone: no download
    recipe = recipe.with_(
        side=recipe.volume.side or 1.0,
        centre=recipe.volume.centre or (0.0, 0.0, 0.0),
        pretrained=False,
        perceptual=perceptual,
    )
    mapped = MAPPED_FROM if recipe.compute.checkpointing else MAPPED  # as `settle` is asked for
    half = (
        torch.device(device).type == "cuda"
        and not torch.cuda.is_available()
        and recipe.compute.precision == "auto"
    )  # a GPU of another machine
    recipe = recipe.with_(
        precision="bfloat16" if half else str(precision(recipe, device)).removeprefix("torch."),
        compile=False,
    )
    with FakeTensorMode(allow_non_fake_inputs=True), _Ledger(mapped) as ledger:
        if not training:
            model, batch = build_model(recipe).eval(), _fake_batch(recipe, views, training)
            in_format(model, None, recipe, "cpu"), narrow(model, recipe, "cpu")
            del model.decoder
            ledger.largest = ledger.alive
            with torch.no_grad():
                model.keypoints(replace(batch, later=None))
            return int(SPARE * ledger.largest)
        model, objective = build(recipe)
        in_format(model, objective, recipe, "cpu")
        batch = _fake_batch(recipe, min(views, recipe.data.views_per_step or views), training)
        moments = 2 if recipe.optim.optimizer == "adam" else 1
        state = [torch.empty_like(p) for p in model.parameters() for _ in range(moments)]
        out = model(batch, objective.judge(batch))
        losses = objective(batch, out, model.edges, recipe.losses.warmup)
        sum(losses.values()).backward()
        del state
    holes = (
        HOLES[mapped] * DTYPES[recipe.compute.precision].itemsize / 4
        if torch.device(device).type == "cpu"
        else 0
    )
    return int(SPARE * ledger.largest + holes * ledger.most)


def _fake_batch(recipe: Recipe, views: int, training: bool) -> Batch:
    B, (W, H) = recipe.data.batch if training else 1, recipe.data.image_wh
    channels = 3 + recipe.surveyed
    K, R, t = torch.zeros(B, views, 3, 3), torch.zeros(B, views, 3, 3), torch.zeros(B, views, 3)
    rig = CameraRig(K, R, t, torch.zeros(B, views, 5), (W, H), tuple(f"c{v}" for v in range(views)))
    images = [torch.empty(B, views, channels, H, W) for _ in range(2)]
    turn = torch.zeros(B) if recipe.volume.turn else None
    return Batch(*images, rig, torch.zeros(B, dtype=torch.long), torch.zeros(B, 3), turn, turn)


# ---- choosing ------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Plan:
    """What to run: `recipe` with its memory, whether it fits, what was considered, and the knobs that are left."""

    recipe: Recipe
    need: Need
    budget: int
    device: str
    fits: bool
    considered: tuple[tuple[str, Need], ...]
    knobs: tuple[tuple[str, int], ...]  # change, bytes that it saves of a step

    def __str__(self) -> str:
        lines = [
            f"{'recipe':44s} {'step GB':>8s} {'inference GB':>13s}   (budget {self.budget / 1e9:.1f} GB on {self.device})"
        ]
        lines += [
            f"{name:44s} {need.step / 1e9:8.2f} {need.inference / 1e9:13.2f}"
            for name, need in self.considered
        ]
        lines += [
            f"-> {self.recipe.name}, batch {self.recipe.data.batch}: "
            + ("fits" if self.fits else "does not fit; nothing smaller is planned")
        ]
        return "\n".join(
            lines + [f"   {change:38s} saves {saved / 1e9:.2f} GB" for change, saved in self.knobs]
        )


def room(device: str | torch.device = "cpu") -> int:
    """Bytes that a run may fill: nine tenths of the GPU's memory, or of what the system has left."""
    device = torch.device(device)
    if device.type == "cuda":
        return int(0.9 * torch.cuda.get_device_properties(device).total_memory)
    return int(0.9 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES"))


def plan(recipe: Recipe, rig: CameraRig, device: str = "cpu", budget: int | None = None) -> Plan:
    """The fastest way to run `recipe` on this rig that fits into `budget` bytes (default: `room(device)`).

    In order: nothing recomputed, one view at a time, also recomputing; then half the batch, and so on to 1; then the smaller
    presets. Results of the first three are the same.
    """
    budget, views = budget or room(device), rig.views
    considered = []
    for name, option in _options(recipe):
        need = memory(option, views, str(device))
        considered.append((name, need))
        if fits := need.step <= budget:
            break
    return Plan(
        option,
        need,
        budget,
        str(device),
        fits,
        tuple(considered),
        tuple(knobs(option, views, need, str(device))),
    )


def _options(recipe: Recipe) -> Iterator[tuple[str, Recipe]]:
    batch = recipe.data.batch
    while batch >= 1:
        for how in LADDER:
            words = ", ".join(how) or "everything kept"
            yield (
                f"{recipe.name}, batch {batch}, {words}",
                recipe.with_(
                    **{"checkpointing": False, "decode_per_view": False} | how, batch=batch
                ),
            )
        batch //= 2
    for smaller in (LEAN, QUICK_RAT):
        if smaller.name != recipe.name:
            yield (
                f"{smaller.name}, batch 1",
                smaller.with_(
                    keypoints=recipe.keypoints,
                    gaps=recipe.data.gaps,
                    mode="animal",
                    animal_side=recipe.volume.crop or smaller.volume.crop,
                ),
            )


def knobs(
    recipe: Recipe, views: int, need: Need | None = None, device: str = "cpu"
) -> list[tuple[str, int]]:
    """The three changes that save most memory of a training step, and the bytes that each saves."""
    now = (need or memory(recipe, views, device)).step
    W, H = recipe.data.image_wh
    changes = {
        "decode_per_view = true": {"decode_per_view": True},
        "checkpointing = true": {"checkpointing": True},
        f"batch = {recipe.data.batch // 2}": {"batch": recipe.data.batch // 2},
        f"voxels = {recipe.volume.voxels // 2}": {"voxels": recipe.volume.voxels // 2},
        f"image_wh = ({W // 2}, {H // 2})": {"image_wh": (W // 2, H // 2)},
        f"views_per_step = {max(2, views // 2)}": {"views_per_step": max(2, views // 2)},
    }
    saved = []
    for words, change in changes.items():
        other = recipe.with_(**change)
        if (
            other == recipe
            or other.data.batch < 1
            or other.volume.voxels % 2**other.v2v.v2v_levels
            or (other.data.views_per_step or views) >= views
            and "views_per_step" in change
        ):
            continue
        saved.append((words, now - _walked(other, views, True, device)))
    return sorted((s for s in saved if s[1] > 0), key=lambda s: -s[1])[:3]


def advised(steps: Iterator[Step], run: Run, views: int) -> Iterator[Step]:
    """The same steps; where memory runs out, a `MemoryError` that names the three knobs to turn and what each would save."""
    try:
        yield from steps
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not isinstance(
            error, (torch.OutOfMemoryError, MemoryError)
        ) and "allocate memory" not in str(error):
            raise
        device = next(run.model.parameters()).device.type
        needed = memory(run.recipe, views, device)
        choices = "; ".join(
            f"{change} saves {saved / 1e9:.2f} GB"
            for change, saved in knobs(run.recipe, views, needed, device)
        )
        raise MemoryError(
            f"out of memory at step {run.step + 1} of {run.recipe.name}, which needs {needed.step / 1e9:.1f} GB beside the "
            f"libraries. Turn one of: {choices or 'a smaller preset (lean, quick-rat)'}"
        ) from error
