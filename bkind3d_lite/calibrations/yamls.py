"""YAML: EasyMocap (`intri.yml`, `extri.yml`), a folder with one file a camera, any plain structure.

One file a camera is what JARVIS writes (row vectors, `intrinsicMatrix`), and many scripts around
OpenCV (`camera_matrix`, column vectors).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ..files import text_of
from .entry import Tables, natural
from .fields import camera_of
from .plain import cameras_in, is_single, tables_of, unit_in
from .spellings import CALLED, MEANT, array_of, bare_name

NAMED = ("names", "cameranames", "cameras", "cams", "camnames", *map(bare_name, CALLED))


class _Loader(yaml.SafeLoader):
    """Plain data and OpenCV's matrices; no other object is ever constructed, no alias repeated."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError(
                "an alias (*name), with which a few lines can mean gigabytes; "
                "no calibration tool writes one"
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict:
        """Keys and names as they are written: 01 is not the number 1, `on` is not true."""
        if not isinstance(node, yaml.MappingNode):
            raise yaml.YAMLError("expected keys and values")
        made = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.YAMLError("a key that is no word")
            if key.value in made:
                raise yaml.YAMLError(f"the key {key.value} stands there twice; remove one")
            as_written = bare_name(key.value) in NAMED
            made[key.value] = self._value(value, as_written)
        return made

    def _value(self, node: yaml.Node, as_written: bool) -> Any:
        if as_written and isinstance(node, yaml.ScalarNode):
            return node.value
        if as_written and isinstance(node, yaml.SequenceNode):
            return [self._value(item, True) for item in node.value]
        return self.construct_object(node, deep=True)


def _matrix(loader: _Loader, node: yaml.MappingNode) -> np.ndarray:
    return array_of(loader.construct_mapping(node, deep=True))


_Loader.add_constructor("tag:yaml.org,2002:opencv-matrix", _matrix)


def load_yaml(path: Path) -> dict[str, Any]:
    """An OpenCV YAML file; plain `rows`, `cols`, `data` (ROS) become matrices, too.

    Args:
        path: the file.

    Returns:
        Its values by key.

    Raises:
        ValueError: it has no keys.
    """
    lines = text_of(path).splitlines()
    if lines and lines[0].startswith("%YAML"):
        lines[0] = ""  # OpenCV writes %YAML:1.0, which is not YAML
    root = yaml.load("\n".join(lines), _Loader)
    if not isinstance(root, dict):
        raise ValueError(f"{path}: no keys in it; expected an OpenCV YAML file")
    return {str(key): array_of(value) for key, value in root.items()}


def read_yaml(path: Path) -> tuple[Tables, str]:
    """EasyMocap from either of its files; a folder from any of its cameras; or one whole file.

    Args:
        path: the file.

    Returns:
        The cameras, and the unit: metres for EasyMocap, millimetres for JARVIS, else the file's.

    Raises:
        ValueError: it is none of them, or says nothing of where the cameras stand.
    """
    if path.stem in ("intri", "extri"):
        return read_easymocap(path.parent)
    root = load_yaml(path)
    if "intrinsicMatrix" in root:
        return read_each(path.parent), "mm"
    if is_single(root):
        if camera_of(root, path.stem, str(path))["rotation"] is None:
            raise ValueError(
                f"{path}: the intrinsics of one camera only; "
                "where the cameras stand (rotation and translation) is missing"
            )
        return read_each(path.parent), unit_in(root)
    return tables_of(cameras_in(root, path), path), unit_in(root)


def _beside(path: Path) -> Path:
    """A file that was not named but lies beside the one that was: no link that leads elsewhere."""
    if not path.resolve().is_relative_to(path.parent.resolve()):
        raise ValueError(f"{path}: leads to {path.resolve()}, out of its folder; copy it there")
    return path


def read_easymocap(folder: Path) -> tuple[Tables, str]:
    """Cameras of EasyMocap's two files, whose keys end in the camera's name.

    `K_<cam>`, `dist_<cam>` (`D_`, `distortion_`), `H_`, `W_` in intri.yml; `Rot_<cam>` (or
    Rodrigues `R_<cam>`), `T_<cam>` in extri.yml.

    Args:
        folder: where both lie.

    Returns:
        The cameras, and the unit, m.

    Raises:
        ValueError: one of them is missing, or the names are not those of the matrices.
    """
    for name in ("intri.yml", "extri.yml"):
        if not (folder / name).is_file():
            raise ValueError(
                f"{folder / name}: missing; EasyMocap has intri.yml and extri.yml side by side"
            )
    inner, outer = (load_yaml(_beside(folder / f"{name}.yml")) for name in ("intri", "extri"))
    heads = [key.partition("_") for key in inner]
    there = sorted((cam for head, _, cam in heads if head == "K"), key=natural)
    names = [str(n) for n in inner.get("names", there)]
    if sorted(names) != sorted(there):
        raise ValueError(
            f"{folder / 'intri.yml'}: its names are {', '.join(names)}, but its matrices K_ are of "
            f"{', '.join(there) or 'nobody'}; write the names as the keys have them"
        )
    return {
        name: camera_of(
            _of(name, inner, there) | _of(name, outer, there), name, f"{folder} [{name}]"
        )
        for name in names
    }, "m"


def _of(name: str, root: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """{K: ...} of {K_cam1: ...}; a key that ends in two names is of the longer one."""
    longer = tuple(f"_{n}" for n in names if n != name and n.endswith(f"_{name}"))
    return {
        key.removesuffix(f"_{name}"): value
        for key, value in root.items()
        if key.endswith(f"_{name}") and not (longer and key.endswith(longer))
    }


def read_each(folder: Path) -> Tables:
    """Cameras of a folder with one file each; the file's stem is the camera's name.

    `intrinsicMatrix` and the `R` beside it are JARVIS's: row vectors, as in MATLAB.

    Args:
        folder: where they lie.

    Returns:
        The cameras.

    Raises:
        ValueError: a file there is another one.
    """
    paths = (p for p in folder.iterdir() if p.suffix in (".yaml", ".yml"))
    tables = {}
    for path in sorted(paths, key=lambda p: natural(p.stem)):
        root = load_yaml(_beside(path))
        if not any(MEANT.get(bare_name(key)) == "matrix" for key in root):
            raise ValueError(
                f"{path}: no intrinsicMatrix; "
                "a folder of cameras holds one calibration file a camera and nothing else"
            )
        table = camera_of(root, path.stem, f"{folder} [{path.name}]")
        if "intrinsicMatrix" in root:
            for key in ("matrix", "rotation"):
                table[key] = None if table[key] is None else np.array(table[key]).T.tolist()
        tables[path.name] = table
    return tables
