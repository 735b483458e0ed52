"""Checkpoints: safetensors with a JSON header, never unpickled; resumed to the same weights."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..clips.clip import MultiViewClip
from ..files import write_atomically
from ..model.builder import build_model
from ..model.discoverer import Discoverer
from ..recipes import Recipe, altered, find_recipe, load_recipe, resumable
from .loop import Run, begin
from .precision import equip, narrow, settle

log = logging.getLogger(__name__)

Header = dict[str, Any]  # recipe, seed, step, whole, clip (a fingerprint), notes, scaler
# beginnings of tensors' names
FOR_TRACKING = ("model.encoder.", "model.lift.", "model.edges.", "model.look.", "model.figure.")


# ---- writing -------------------------------------------------------------------------------------
def save(
    run: Run,
    path: str | Path,
    whole: bool = True,
    notes: Mapping[str, Any] | None = None,
    half: bool = False,
) -> Path:
    """Write a checkpoint, whole or not at all.

    Args:
        run: as it stands.
        path: the file.
        whole: False leaves out what only resuming needs.
        notes: what else the header is to say, as plain values (JSON).
        half: convolutions and matrices in half precision, for a file that is handed out. Of what is
            kept to go on with (`whole`) nothing is halved.

    Returns:
        The path.
    """
    header = {
        "recipe": asdict(run.recipe),
        "seed": run.seed,
        "step": run.step,
        "whole": whole,
        "clip": run.clip,
        "notes": notes or {},
        "scaler": run.scaler.state_dict(),
    }
    metadata = {"format": "bkind3d_lite 1", "header": json.dumps(header)}

    def write(temporary: Path) -> None:
        try:
            save_file(_tensors(run, whole, half), str(temporary), metadata)
        except SafetensorError as error:  # a full disk arrives as this; make it the OSError it is
            raise OSError(28, str(error)) from error

    return write_atomically(path, write)


def _tensors(run: Run, whole: bool, half: bool = False) -> dict[str, Tensor]:
    """All tensors of a run by their names in the file."""
    tensors = {f"model.{k}": v for k, v in run.model.state_dict().items()}
    if not whole:  # half precision is enough for the look's weights, not for its single numbers
        look = {k: v for k, v in tensors.items() if k.startswith("model.look.") and v.numel() > 1}
        weights = {k: v for k, v in tensors.items() if half and v.ndim > 1}
        tensors |= {k: v.half() for k, v in (look | weights).items()}
    else:
        tensors |= {f"objective.{k}": v for k, v in run.objective.state_dict().items()}
        for i, state in run.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{k}": v for k, v in state.items() if isinstance(v, Tensor)}
    return {k: v.detach().cpu().contiguous() for k, v in tensors.items()}


# ---- reading -------------------------------------------------------------------------------------
@contextmanager
def _opened(path: Path) -> Iterator[safe_open]:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no checkpoint here; expected a .safetensors file, or the folder of a run"
        )
    try:
        with safe_open(str(path), "pt") as file:
            if "header" not in (file.metadata() or {}):
                raise ValueError(f"{path}: not a bkind3d_lite checkpoint (no header)")
            yield file
    except SafetensorError as error:
        raise ValueError(
            f"{path}: not a whole safetensors file ({error}); use an earlier checkpoint"
        ) from error


def read_header(path: str | Path) -> Header:
    """What a checkpoint says of itself, without its tensors.

    Args:
        path: the file.

    Returns:
        recipe, seed, step, whole, clip (a fingerprint), notes and scaler.
    """
    with _opened(Path(path)) as file:
        return json.loads(file.metadata()["header"])


def _read(path: Path, beginnings: tuple[str, ...]) -> tuple[Header, dict[str, Tensor]]:
    """Header and tensors, those alone whose names begin so."""
    with _opened(path) as file:
        names = [name for name in file.keys() if name.startswith(beginnings)]
        return json.loads(file.metadata()["header"]), {k: file.get_tensor(k) for k in names}


def _fill(
    module: nn.Module,
    tensors: dict[str, Tensor],
    prefix: str,
    path: Path,
    skip: str | None = None,
) -> None:
    """Copy the tensors named `prefix`... into the module; every one must be there, and no other.

    What begins with `skip` stays.
    """
    there = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    here = {k: v for k, v in module.state_dict().items() if skip is None or not k.startswith(skip)}
    for name in sorted(here.keys() | there.keys()):
        a, b = (tuple(d[name].shape) if name in d else "absent" for d in (there, here))
        if a != b:
            raise ValueError(
                f"{path}: {prefix}{name} is {a} there, {b} in this recipe; "
                "load it with the recipe it was trained with"
            )
    for name, place in here.items():
        place.copy_(there[name])


def load(
    path: str | Path, recipe: Recipe | None = None, device: str = "cpu", tracking: bool = False
) -> tuple[Discoverer, Recipe, Header]:
    """A trained model, ready to track. Nothing is downloaded: all weights are in the file.

    Args:
        path: the file.
        recipe: other than the file's own; refused if shapes differ.
        device: for the model.
        tracking: without the decoder, and the weights of convolutions in the number format in
            which they are used: half of the memory or less.

    Returns:
        Model, recipe and header.
    """
    path = Path(path)
    header, tensors = _read(path, FOR_TRACKING if tracking else ("model.",))
    recipe = load_recipe(header["recipe"]) if recipe is None else recipe
    if tracking:  # before the weights come, which would stretch the heap
        settle(large=recipe.compute.large, hold=True)
    with torch.random.fork_rng(devices=[]):
        model = build_model(recipe.with_(pretrained=False), header["seed"], decoder=not tracking)
    _fill(model, tensors, "model.", path, skip="decoder." if tracking else None)
    equip(model, None, recipe, device)
    if tracking:
        narrow(model, recipe, device)
    else:
        model.to(device)
    return model.eval(), recipe, header


def adopt_trunk(model: Discoverer, place: str | Path) -> None:
    """Begin with the trunk that another run has learned.

    Args:
        model: gets it.
        place: a checkpoint, or a run's folder.

    Raises:
        ValueError: its trunk has other shapes.
    """
    path = Path(place)
    path = path / "checkpoint.safetensors" if path.is_dir() else path
    start = "model.encoder.trunk."
    _fill(model.encoder.trunk, _read(path, (start,))[1], start, path)


# ---- the clip ------------------------------------------------------------------------------------
def differences(
    fingerprint: Mapping[str, Any], clip: MultiViewClip, skip: tuple[str, ...] = ()
) -> list[str]:
    """What the clip a checkpoint was trained on and this one do not share, in words.

    Args:
        fingerprint: of the other clip, a header's `clip`.
        clip: this one.
        skip: keys that may differ.

    Returns:
        A phrase for each difference; [] if there is none.
    """
    here = clip.fingerprint
    keys = [k for k in here if k in fingerprint and k not in skip]
    phrases = []
    for key in keys:
        was, now = fingerprint[key], here[key]
        if key == "places" and len(was) == len(now):
            was, now = _places(torch.tensor(was), torch.tensor(now))
        if was != now:
            phrases.append(f"{key} {_spelled(was)} there, {_spelled(now)} here")
    return phrases


def _places(was: Tensor, now: Tensor) -> tuple[str, str]:
    """Camera centres (V, 3) in words, the same words where they moved by 0.1 % at most."""
    moved = float((was - now).norm(dim=-1).max())
    still = moved <= 1e-3 * float((was - was.mean(0)).norm(dim=-1).max())
    there = "where they were"
    return there, there if still else f"moved by up to {moved:.4g}"


def _spelled(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k}={v}" for k, v in value.items()) or "none"
    return str(value)


def refuse_others(
    path: Path, header: Header, clip: MultiViewClip, skip: tuple[str, ...] = ()
) -> None:
    """Refuse a clip that is not the one a checkpoint was trained on.

    Args:
        path: the checkpoint, for the message.
        header: its header.
        clip: to go on with.
        skip: keys of the fingerprint that may differ.

    Raises:
        ValueError: another clip, with what differs.
    """
    if phrases := differences(header.get("clip", {}), clip, skip):
        raise ValueError(
            f"{path}: was trained on another clip or rig than {clip.name}: {'; '.join(phrases)}. "
            "Resume with the clip it began with, opened as it was then (--offset, --frames, "
            "--cache), or start a new run"
        )


def asked_changes(path: str | Path, recipe: str | None, words: Sequence[str]) -> dict[str, Any]:
    """What a command asks for besides the checkpoint's recipe.

    Args:
        path: of the checkpoint.
        recipe: a preset's name or a TOML file; None: the checkpoint's.
        words: `key=value` that change it.

    Returns:
        New values by leaf; each is logged.

    Raises:
        ValueError: one would make another model of it.
    """
    header = read_header(path)
    recorded = load_recipe(header["recipe"])
    asked = altered(recorded if recipe is None else find_recipe(recipe), words).flat()
    was, may = recorded.flat(), resumable()
    placed_then = ("side", "centre", "animal_side", "joints", "unit", "margin")  # when it began
    new = {
        key: value
        for key, value in asked.items()
        if value != was[key] and not (value is None and key in placed_then)
    }
    if refused := [f"{k} from {was[k]} to {new[k]}" for k in new if k not in may]:
        raise ValueError(
            f"{path}: resuming cannot change {', '.join(refused)}; begin a new run "
            f"with another --out. What may change: {', '.join(may)}"
        )
    for key, value in new.items():
        log.info("%s: %s -> %s from here on", key, was[key], value)
    return new


# ---- resuming ------------------------------------------------------------------------------------
def resume(path: str | Path, clip: MultiViewClip, device: str = "cpu", **changes: Any) -> Run:
    """The run as it stood when it was saved: weights, averages, optimizer, place in the data.

    Args:
        path: a whole checkpoint.
        clip: that it was trained on; another one is refused: step i would draw other pairs.
        device: on which to go on.
        **changes: of the recipe, such as `learning_rate=1e-4`; they hold from here on.

    Returns:
        The run.

    Raises:
        ValueError: the file holds weights only, or another clip's run.
    """
    path = Path(path)
    header, tensors = _read(path, ("",))
    if not header["whole"]:
        raise ValueError(
            f"{path}: holds weights only, without the optimizer; it can track but not resume"
        )
    refuse_others(path, header, clip)
    recipe = load_recipe(header["recipe"]).with_(**changes)
    run = begin(recipe, clip, header["seed"], device)
    _fill(run.model, tensors, "model.", path)
    _fill(run.objective, tensors, "objective.", path)
    groups = run.optimizer.state_dict()["param_groups"]
    run.optimizer.load_state_dict({"state": _optimizer_state(tensors), "param_groups": groups})
    _lay_out(run.optimizer)
    run.scaler.load_state_dict(header.get("scaler") or run.scaler.state_dict())
    run.step = header["step"]
    return run


def _lay_out(optimizer: torch.optim.Optimizer) -> None:
    """Lay moments out in memory as their parameters are: fused optimizers read both as they lie."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter).copy_(value)


def _optimizer_state(tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """The optimizer's moments by the number of their parameter."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, i, name = key.split(".", 2)
            state.setdefault(int(i), {})[name] = value
    return state
