"""Checkpoints: safetensors with a JSON header, never unpickled; a resumed run goes on to the same weights."""
from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .clips import MultiViewClip
from .files import write_atomically
from .model import Discoverer, build
from .recipes import Recipe, load_recipe
from .training import Run, begin


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
