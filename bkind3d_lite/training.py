"""Training: a generator of steps that the caller owns, and checkpoints that resume to the same weights."""
from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .clips import Batch, MultiViewClip, Survey, Track
from .edges import strongest_edges
from .files import write_atomically
from .losses import lengths
from .model import Discoverer, Discovery, Objective, Recipe, build, placed
from .motion import survey as look


@dataclass(frozen=True)
class Step:
    """One finished optimization step: `index` counts from 1, `losses` are the named, weighted terms."""

    index: int
    losses: dict[str, float]
    output: Discovery
    batch: Batch


@dataclass
class Run:
    """A training under way: all that a checkpoint holds."""

    recipe: Recipe
    model: Discoverer
    objective: Objective
    optimizer: torch.optim.Optimizer
    seed: int = 0
    step: int = 0


def begin(recipe: Recipe, clip: MultiViewClip, seed: int = 0, device: str = "cpu") -> Run:
    """A fresh run of `recipe` on this clip's rig; weights, pairs and turns all follow from `seed`."""
    recipe = placed(recipe, clip.rig)
    model, objective = (module.to(device) for module in build(recipe, seed))
    edges = [p for n, p in model.named_parameters() if n.startswith("edges.")]
    rest = [p for n, p in model.named_parameters() if not n.startswith("edges.")]
    groups = [{"params": rest, "lr": recipe.rate, "weight_decay": recipe.decay}, {"params": edges, "lr": recipe.edge_rate, "weight_decay": 0.0}]
    if recipe.optimizer not in ("adam", "sgd"):
        raise ValueError(f"optimizer = {recipe.optimizer!r}; expected adam or sgd")
    optimizer = torch.optim.AdamW(groups, fused=True) if recipe.optimizer == "adam" else torch.optim.SGD(groups, momentum=0.9)
    return Run(recipe, model, objective, optimizer, seed)


def batches(run: Run, clip: MultiViewClip, survey: Survey | None) -> Iterator[Batch]:
    """The run's own seeded pairs, from the step where it stands."""
    r = run.recipe
    gaps = [max(1, round(gap * clip.fps)) for gap in r.gaps]
    return clip.batches(r.size, gaps, r.batch, run.seed, run.step, survey, r.follow, r.views, r.by_motion, r.turn, r.jitter)


def train(run: Run, pairs: Iterator[Batch]) -> Iterator[Step]:
    """Train for ever on `pairs`; stop by leaving the loop. The learning rate falls to a twentieth over `recipe.steps` (cosine).

    Raises `FloatingPointError` at a loss that is not finite, before the weights are touched.
    """
    torch.set_flush_denormal(True)  # edge maps and softmaxes are full of denormals: 3 x slower on a CPU without this
    device = next(run.model.parameters()).device
    base = [run.recipe.rate, run.recipe.edge_rate]
    run.model.train(), run.objective.train()
    for batch in pairs:
        batch = batch.to(device)
        out = run.model(batch)
        losses = run.objective(batch, out, run.model.edges, run.step)
        total = sum(losses.values())
        if not torch.isfinite(total):
            values = ", ".join(f"{k} = {float(v.detach()):.3g}" for k, v in losses.items())
            raise FloatingPointError(f"the loss is not finite at step {run.step + 1} ({values}); the weights of step {run.step} are "
                                     "untouched. Lower the learning rate (rate) and resume from the last checkpoint")
        for group, rate in zip(run.optimizer.param_groups, base):
            done = min(1.0, run.step / max(1, run.recipe.steps))
            group["lr"] = rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done))) * min(1.0, (run.step + 1) / 20)
        run.optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(run.model.parameters(), run.recipe.clip)
        run.optimizer.step()
        run.step += 1
        yield Step(run.step, {k: float(v.detach()) for k, v in losses.items()}, out, batch)


# ---- tracking ----------------------------------------------------------------------------------------------------
@torch.no_grad()
def track(model: Discoverer, recipe: Recipe, clip: MultiViewClip, survey: Survey | None = None, times=None, batch: int = 8,
          turns: int = 1) -> Track:
    """Keypoints of every frame (or of `times`): world (T, K, 3), confidence (T, K), the strongest learned edges as skeleton.

    turns: average the keypoints over so many turns of the volume about the vertical (a switch beyond the paper; 1: paper).
    """
    survey = look(clip, recipe.side) if survey is None and recipe.surveyed else survey
    device = next(model.parameters()).device
    torch.set_flush_denormal(True)
    model.eval()
    times = torch.arange(len(clip)) if times is None else torch.as_tensor(times)
    world, weight = [], []
    for some in times.split(batch):
        seen = clip.batch(some, None, recipe.size, survey, recipe.follow).to(device)
        angles = [torch.full((len(some),), 2 * math.pi * i / turns, device=device) for i in range(turns)]
        found = [model.keypoints(replace(seen, turn=a) if turns > 1 else seen) for a in angles]
        world.append(torch.stack([f.world for f in found]).mean(0).cpu())
        weight.append(torch.stack([f.weight.mean(1) for f in found]).mean(0).cpu())
    world = torch.cat(world)
    pairs, typical = model.edges.pairs.cpu(), world[:: max(1, len(world) // 100)]
    skeleton = strongest_edges(pairs, model.edges.weights.detach().cpu(), recipe.keypoints, length=lengths(typical, pairs).mean(0))
    return Track(world, torch.cat(weight), skeleton, clip.fps, clip.rig.unit)


# ---- checkpoints: safetensors with a JSON header, never unpickled --------------------------------------------------
def _tensors(run: Run, whole: bool) -> dict[str, Tensor]:
    out = {f"model.{k}": v for k, v in run.model.state_dict().items()}
    if whole:
        out |= {f"objective.{k}": v for k, v in run.objective.state_dict().items()}
        for i, state in run.optimizer.state_dict()["state"].items():
            out |= {f"optimizer.{i}.{k}": v for k, v in state.items() if isinstance(v, Tensor)}
    return {k: v.detach().cpu().contiguous() for k, v in out.items()}


def save(run: Run, path: str | Path, whole: bool = True, notes: dict | None = None) -> Path:
    """Write a checkpoint atomically; `whole=False` leaves out what only resuming needs."""
    header = {"recipe": asdict(run.recipe), "seed": run.seed, "step": run.step, "whole": whole, "notes": notes or {}}
    metadata = {"format": "bkind3d_lite 1", "header": json.dumps(header)}

    def write(temporary: Path) -> None:
        try:
            save_file(_tensors(run, whole), str(temporary), metadata)
        except SafetensorError as error:  # a full disk arrives as this; make it the OSError it is
            raise OSError(28, str(error)) from error

    return write_atomically(path, write)


def _read(path: Path) -> tuple[dict, dict[str, Tensor]]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no checkpoint here")
    try:
        with safe_open(str(path), "pt") as file:
            metadata = file.metadata() or {}
            tensors = {k: file.get_tensor(k) for k in file.keys()}
    except SafetensorError as error:
        raise ValueError(f"{path}: not a whole safetensors file ({error}); use an earlier checkpoint") from error
    if "header" not in metadata:
        raise ValueError(f"{path}: not a bkind3d_lite checkpoint (no header)")
    return json.loads(metadata["header"]), tensors


def _fit(module: torch.nn.Module, tensors: dict[str, Tensor], prefix: str, path: Path) -> None:
    have = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    want = module.state_dict()
    for name in sorted(want.keys() | have.keys()):
        a, b = (tuple(d[name].shape) if name in d else "absent" for d in (have, want))
        if a != b:
            raise ValueError(f"{path}: {prefix}{name} is {a} there, {b} in this recipe; load it with the recipe it was trained with")
    module.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in have.items()})


def load_recipe(values: dict) -> Recipe:
    """A `Recipe` from plain values (JSON, TOML); an unknown key is a `TypeError`."""
    known = {f.name for f in fields(Recipe)}
    if unknown := sorted(set(values) - known):
        raise TypeError(f"unknown recipe keys {unknown}; known: {sorted(known)}")
    return Recipe(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def load(path: str | Path, recipe: Recipe | None = None, device: str = "cpu") -> tuple[Discoverer, Recipe, dict]:
    """Model, recipe and header of a checkpoint, ready to track. `recipe` other than the file's own is refused if shapes differ."""
    header, tensors = _read(Path(path))
    recipe = load_recipe(header["recipe"]) if recipe is None else recipe
    model, _ = build(recipe, header["seed"])
    _fit(model, tensors, "model.", Path(path))
    return model.to(device).eval(), recipe, header


def resume(path: str | Path, clip: MultiViewClip, device: str = "cpu") -> Run:
    """The run as it stood when `save(run, path)` was called: weights, running averages, optimizer, place in the data."""
    path = Path(path)
    header, tensors = _read(path)
    if not header["whole"]:
        raise ValueError(f"{path}: holds weights only, without the optimizer; it can track but not resume")
    run = begin(load_recipe(header["recipe"]), clip, header["seed"], device)
    _fit(run.model, tensors, "model.", path)
    _fit(run.objective, tensors, "objective.", path)
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, i, name = key.split(".", 2)
            state.setdefault(int(i), {})[name] = value
    run.optimizer.load_state_dict({"state": state, "param_groups": run.optimizer.state_dict()["param_groups"]})
    run.step = header["step"]
    return run
