"""Words: recipes as plain values, TOML files and `key=value`, of this version and earlier ones."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import tomli_w

from ..files import text_of, write_atomically
from .presets import RECIPES
from .sections import Recipe, hints, leaf_of

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

log = logging.getLogger(__name__)
OLD_KEYS = {  # of recipes written before sections, and their names of today
    "size": "image_wh",
    "views": "views_per_step",
    "width": "encoder_width",
    "bottleneck": "draw",
    "active": "activation",
    "rate": "learning_rate",
    "edge_rate": "edge_learning_rate",
    "decay": "weight_decay",
    "clip": "grad_clip",
    "one_by_one": "decode_per_view",
}


def load_recipe(values: Mapping[str, Any], note: bool = False) -> Recipe:
    """A recipe from plain values (JSON, TOML) of this version or an earlier one.

    Args:
        values: leaves by name, or tables of them by section; "none" is None, lists are tuples.
        note: log the new name of each old key.

    Returns:
        A recipe; leaves that are not named have their defaults.

    Raises:
        TypeError: an unknown key, with the one that was meant, or a value of the wrong type.
        ValueError: a word that is not among a choice's own.
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= value if isinstance(value, Mapping) else {key: value}
    changes = _renamed(flat, note)
    typed = {key: _typed(key, value, _kind(key)) for key, value in changes.items()}
    if "name" not in typed:
        raise TypeError("a recipe needs a name")
    return Recipe(typed.pop("name")).with_(**typed)


def _kind(key: str) -> Any:
    section, leaf = leaf_of(key)
    owner = hints(Recipe)[section] if section else Recipe
    return hints(owner)[leaf.name]


def _renamed(flat: dict[str, Any], note: bool) -> dict[str, Any]:
    """The same leaves under today's names; `follow` and `reach` of old become the volume's mode."""
    changes = {}
    for key, value in flat.items():
        if key in OLD_KEYS:
            _note(note, key, OLD_KEYS[key])
        changes[OLD_KEYS.get(key, key)] = value
    given = {key: changes.pop(key) for key in ("follow", "reach") if key in changes}
    if not given:
        return changes
    _note(note, " and ".join(given), "mode = 'room' or 'animal', animal_side and animal_lengths")
    side, lengths = (None if (v := given.get(k)) == "none" else v for k in ("follow", "reach"))
    changes["mode"] = "room" if side is None and lengths is None else "animal"
    if side is not None:
        changes["animal_side"] = side
    elif lengths is not None:
        changes["animal_lengths"] = lengths
    return changes


def _note(note: bool, old: str, new: str) -> None:
    if note:
        log.warning("note: the recipe's %s is now called %s", old, new)


def _typed(key: str, value: Any, kind: Any) -> Any:
    """The value as its field's type: lists become tuples, whole numbers floats where need be."""
    options = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    if NoneType in options and (value is None or value == "none"):  # a word, too, may be none
        return None
    for option in options:
        if get_origin(option) is Literal and isinstance(value, str):
            return value  # which word it is, the section checks
        if get_origin(option) is tuple and isinstance(value, (list, tuple)):
            parts = list(get_args(option))
            parts = parts[:1] * len(value) if parts[-1] is ... else parts
            if len(parts) == len(value) > 0:
                return tuple(_typed(key, v, p) for v, p in zip(value, parts))
        if option is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if isinstance(option, type) and get_origin(option) is None and isinstance(value, option):
            if option is bool or not isinstance(value, bool):
                return value
    raise TypeError(f"recipe key {key!r} is {value!r}; expected {_spelled(kind)}")


def _spelled(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(get_args(kind))
    if get_origin(kind) is tuple:
        return "a list, for example [0.1, 0.2]"
    return kind.__name__ if isinstance(kind, type) and get_origin(kind) is None else str(kind)


# ---- files ---------------------------------------------------------------------------------------
def read_recipe(path: str | Path) -> Recipe:
    """A recipe from a TOML file, in sections or flat.

    Args:
        path: the file; its stem is the recipe's name unless it gives one.

    Returns:
        A recipe; leaves that are not named have their defaults.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not TOML, an unknown key, or a value that cannot be; names the file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such recipe file")
    try:
        values = {"name": path.stem} | tomllib.loads(text_of(path))
        return load_recipe(values, note=True)
    except (TypeError, ValueError) as error:  # unknown key, wrong type, or not TOML
        raise ValueError(f"{path}: {error}") from error


def write_recipe(recipe: Recipe, path: str | Path) -> Path:
    """Write every choice to a TOML file, a table for each section.

    TOML knows no None, so that is "none".

    Args:
        recipe: what to write.
        path: the file, written whole or not at all.

    Returns:
        The file.
    """
    text = tomli_w.dumps(_without_none(asdict(recipe)))
    return write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(inner) for key, inner in value.items()}
    if isinstance(value, tuple):
        return list(value)
    return "none" if value is None else value


# ---- names and words -----------------------------------------------------------------------------
def find_recipe(name: str) -> Recipe:
    """A preset by its name, or the recipe of a TOML file.

    Args:
        name: `quick`, `paper-rat7m`, ..., or a path that ends in .toml.

    Returns:
        A recipe.

    Raises:
        ValueError: neither; with the preset that was meant.
    """
    if name in RECIPES:
        return RECIPES[name]
    if name.endswith(".toml"):
        return read_recipe(name)
    near = get_close_matches(name, RECIPES, 1, 0.5)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(
        f"recipe {name!r}: neither a preset ({', '.join(RECIPES)}) nor a .toml file{meant}"
    )


def altered(recipe: Recipe, words: Sequence[str]) -> Recipe:
    """The recipe with `key=value` words applied.

    Args:
        recipe: what to start from.
        words: as `--set` takes them: values as in TOML, text without quotes, `none` for None.

    Returns:
        Another recipe.

    Raises:
        ValueError: a word without `=`, an unknown key, or a value that cannot be.
    """
    changes = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise ValueError(f"--set {word}: expected key=value")
        try:
            changes[key.strip()] = tomllib.loads(f"value = {text.strip()}")["value"]
        except tomllib.TOMLDecodeError:
            changes[key.strip()] = text.strip()
    try:
        renamed = _renamed(changes, note=True)
        return load_recipe(recipe.flat() | renamed)
    except (TypeError, ValueError) as error:
        raise ValueError(f"--set: {error}") from error
