"""Checkpoints: safetensors with a JSON header, never unpickled; a resumed run goes on to the same weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..clips.clip import MultiViewClip
from ..files import write_atomically
from ..model.builder import build_model
from ..model.discoverer import Discoverer
from ..recipes import Recipe, load_recipe
from .loop import Run, begin
from .precision import equip, narrow, settle


def _tensors(run: Run, whole: bool) -> dict[str, Tensor]:
    out = {f"model.{k}": v for k, v in run.model.state_dict().items()}
    if whole:
        out |= {f"objective.{k}": v for k, v in run.objective.state_dict().items()}
        for i, state in run.optimizer.state_dict()["state"].items():
            out |= {f"optimizer.{i}.{k}": v for k, v in state.items() if isinstance(v, Tensor)}
    return {k: v.detach().cpu().contiguous() for k, v in out.items()}


def save(run: Run, path: str | Path, whole: bool = True, notes: dict | None = None) -> Path:
    """Write a checkpoint atomically; `whole=False` leaves out what only resuming needs."""
    about = {
        "recipe": asdict(run.recipe),
        "seed": run.seed,
        "step": run.step,
        "whole": whole,
        "clip": run.clip,
        "notes": notes or {},
        "scaler": run.scaler.state_dict(),
    }
    metadata = {"format": "bkind3d_lite 1", "header": json.dumps(about)}

    def write(temporary: Path) -> None:
        try:
            save_file(_tensors(run, whole), str(temporary), metadata)
        except SafetensorError as error:  # a full disk arrives as this; make it the OSError it is
            raise OSError(28, str(error)) from error

    return write_atomically(path, write)


@contextmanager
def _opened(path: Path) -> Iterator:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no checkpoint here")
    try:
        with safe_open(str(path), "pt") as file:
            if "header" not in (file.metadata() or {}):
                raise ValueError(f"{path}: not a bkind3d_lite checkpoint (no header)")
            yield file
    except SafetensorError as error:
        raise ValueError(
            f"{path}: not a whole safetensors file ({error}); use an earlier checkpoint"
        ) from error


def header(path: str | Path) -> dict:
    """What a checkpoint says of itself, without its tensors: recipe, seed, step, whole, clip (a fingerprint), notes."""
    with _opened(Path(path)) as file:
        return json.loads(file.metadata()["header"])


def _read(path: Path, only: str | tuple[str, ...] = "") -> tuple[dict, dict[str, Tensor]]:
    """Header and tensors, those alone whose names begin with one of `only`."""
    with _opened(path) as file:
        return json.loads(file.metadata()["header"]), {
            k: file.get_tensor(k) for k in file.keys() if k.startswith(only)
        }


def _fit(
    module: torch.nn.Module,
    tensors: dict[str, Tensor],
    prefix: str,
    path: Path,
    skip: str | None = None,
) -> None:
    """Copy the tensors named `prefix`... into the module; every one must be there, and no other; what begins with `skip` stays."""
    have = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    want = {k: v for k, v in module.state_dict().items() if skip is None or not k.startswith(skip)}
    for name in sorted(want.keys() | have.keys()):
        a, b = (tuple(d[name].shape) if name in d else "absent" for d in (have, want))
        if a != b:
            raise ValueError(
                f"{path}: {prefix}{name} is {a} there, {b} in this recipe; load it with the recipe it was trained with"
            )
    for name, place in want.items():
        place.copy_(have[name])


def load(
    path: str | Path, recipe: Recipe | None = None, device: str = "cpu", tracking: bool = False
) -> tuple[Discoverer, Recipe, dict]:
    """Model, recipe and header of a checkpoint, ready to track. `recipe` other than the file's own is refused if shapes differ.

    tracking: without the decoder, and the weights of convolutions in the number format in which they are used: half of the memory
    or less. Nothing is downloaded: all weights are in the file.
    """
    path = Path(path)
    about, tensors = _read(
        path, ("model.encoder.", "model.lift.", "model.edges.") if tracking else "model."
    )
    recipe = load_recipe(about["recipe"]) if recipe is None else recipe
    if tracking:
        settle(
            large=recipe.compute.checkpointing, tracking=True
        )  # before the weights come, which would stretch the heap
    with torch.random.fork_rng(devices=[]):
        model = build_model(recipe.with_(pretrained=False), about["seed"], decoder=not tracking)
    _fit(model, tensors, "model.", path, skip="decoder." if tracking else None)
    equip(model, None, recipe, device)
    if not tracking:
        return model.to(device).eval(), recipe, about
    narrow(model, recipe, device)
    return model.eval(), recipe, about


def differences(was: dict, clip: MultiViewClip, skip: tuple[str, ...] = ()) -> list[str]:
    """What the clip a checkpoint was trained on (its header's `clip`) and this one do not share, in words; [] if nothing."""
    now = clip.fingerprint
    said = []
    for key in (k for k in now if k in was and k not in skip):
        same = now[key] == was[key]
        if key == "places" and len(was[key]) == len(now[key]):
            a, b = torch.tensor(was[key]), torch.tensor(now[key])
            far = float((a - b).norm(dim=-1).max())
            same, now[key], was = (
                far <= 1e-3 * float((a - a.mean(0)).norm(dim=-1).max()),
                f"moved by up to {far:.4g}",
                was | {key: "where they were"},
            )
        if not same:
            said.append(f"{key} {_told(was[key])} there, {_told(now[key])} here")
    return said


def _told(value) -> str:
    return (
        (", ".join(f"{k}={v}" for k, v in value.items()) or "none")
        if isinstance(value, dict)
        else str(value)
    )


def refuse_others(path: Path, about: dict, clip: MultiViewClip, skip: tuple[str, ...] = ()) -> None:
    """Raise a `ValueError` if this is not the clip that the checkpoint with the header `about` was trained on."""
    if differ := differences(about.get("clip", {}), clip, skip):
        raise ValueError(
            f"{path}: was trained on another clip or rig than {clip.name}: {'; '.join(differ)}. Resume with the clip it began "
            "with, opened as it was then (--offset, --frames, --cache), or start a new run"
        )


def resume(path: str | Path, clip: MultiViewClip, device: str = "cpu", **changes) -> Run:
    """The run as it stood when `save(run, path)` was called: weights, running averages, optimizer, place in the data.

    Another clip is refused: step i would draw other pairs. `changes` of the recipe, such as `rate=1e-4`, hold from here on.
    """
    path = Path(path)
    about, tensors = _read(path)
    if not about["whole"]:
        raise ValueError(
            f"{path}: holds weights only, without the optimizer; it can track but not resume"
        )
    refuse_others(path, about, clip)
    run = begin(load_recipe(about["recipe"]).with_(**changes), clip, about["seed"], device)
    _fit(run.model, tensors, "model.", path)
    _fit(run.objective, tensors, "objective.", path)
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, i, name = key.split(".", 2)
            state.setdefault(int(i), {})[name] = value
    run.optimizer.load_state_dict(
        {"state": state, "param_groups": run.optimizer.state_dict()["param_groups"]}
    )
    run.scaler.load_state_dict(about.get("scaler") or run.scaler.state_dict())
    run.step = about["step"]
    return run
