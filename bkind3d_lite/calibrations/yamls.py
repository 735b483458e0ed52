"""OpenCV's YAML: EasyMocap (`intri.yml`, `extri.yml`) and JARVIS (a folder, one file a camera)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from .entry import Tables, natural


class _Loader(yaml.SafeLoader):
    """Plain data and OpenCV's matrices; no other object is ever constructed, no alias repeated."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError(
                "an alias (*name), with which a few lines can mean gigabytes; "
                "no calibration tool writes one"
            )
        return super().compose_node(parent, index)


def _array(value: dict[str, Any]) -> np.ndarray:
    return np.array(value["data"], np.float64).reshape(int(value["rows"]), int(value["cols"]))


def _matrix(loader: _Loader, node: yaml.MappingNode) -> np.ndarray:
    return _array(loader.construct_mapping(node, deep=True))


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
    lines = path.read_text(encoding="utf-8").splitlines()
    if lines and lines[0].startswith("%YAML"):
        lines[0] = ""  # OpenCV writes %YAML:1.0, which is not YAML
    root = yaml.load("\n".join(lines), _Loader)
    if not isinstance(root, dict):
        raise ValueError(f"{path}: no keys in it; expected an OpenCV YAML file")

    def plain(value: Any) -> Any:
        is_matrix = isinstance(value, dict) and {"rows", "cols", "data"} <= value.keys()
        return _array(value) if is_matrix else value

    return {str(key): plain(value) for key, value in root.items()}


def read_yaml(path: Path) -> tuple[Tables, str]:
    """EasyMocap from either of its two files; JARVIS from any of its cameras' files.

    Args:
        path: the file.

    Returns:
        The cameras, and the unit: metres for EasyMocap, millimetres for JARVIS.

    Raises:
        ValueError: it is neither, or says nothing of where the cameras stand.
    """
    if path.stem in ("intri", "extri"):
        return read_easymocap(path.parent)
    root = load_yaml(path)
    if "intrinsicMatrix" in root:
        return read_jarvis(path.parent)
    if "camera_matrix" in root:
        raise ValueError(
            f"{path}: the intrinsics of one camera only; "
            "where the cameras stand (rotation and translation) is missing"
        )
    raise ValueError(
        f"{path}: neither EasyMocap (intri.yml, extri.yml) nor JARVIS (intrinsicMatrix), "
        f"but {', '.join(list(root)[:5]) or 'nothing'}"
    )


def _beside(path: Path) -> Path:
    """A file that was not named but lies beside the one that was: no link that leads elsewhere."""
    if not path.resolve().is_relative_to(path.parent.resolve()):
        raise ValueError(f"{path}: leads to {path.resolve()}, out of its folder; copy it there")
    return path


def read_easymocap(folder: Path) -> tuple[Tables, str]:
    """Cameras of EasyMocap's two files.

    `K_<cam>`, `dist_<cam>` (or `D_<cam>`), `H_`, `W_` in intri.yml; `Rot_<cam>` (or Rodrigues
    `R_<cam>`), `T_<cam>` in extri.yml.

    Args:
        folder: where both lie.

    Returns:
        The cameras, and the unit, m.

    Raises:
        ValueError: one of them is missing.
    """
    for name in ("intri.yml", "extri.yml"):
        if not (folder / name).is_file():
            raise ValueError(
                f"{folder / name}: missing; EasyMocap has intri.yml and extri.yml side by side"
            )
    inner, outer = (load_yaml(_beside(folder / f"{name}.yml")) for name in ("intri", "extri"))
    names = [str(n) for n in inner.get("names", [])]
    names = names or sorted((k[2:] for k in inner if k.startswith("K_")), key=natural)
    tables = {}
    for n in names:
        wh = inner.get(f"W_{n}"), inner.get(f"H_{n}")
        tables[n] = dict(
            name=n,
            size=wh if {f"W_{n}", f"H_{n}"} <= inner.keys() else None,
            matrix=inner.get(f"K_{n}"),
            distortions=inner.get(f"dist_{n}", inner.get(f"D_{n}")),
            rotation=outer.get(f"Rot_{n}", outer.get(f"R_{n}")),
            translation=outer.get(f"T_{n}"),
        )
    return tables, "m"


def read_jarvis(folder: Path) -> tuple[Tables, str]:
    """Cameras of a JARVIS folder; row vectors, as in MATLAB.

    `intrinsicMatrix` and `R` are transposed; the file's stem is the camera's name.

    Args:
        folder: where one file a camera lies.

    Returns:
        The cameras, and the unit, mm.

    Raises:
        ValueError: a file there is another one.
    """
    paths = (p for p in folder.iterdir() if p.suffix in (".yaml", ".yml"))
    tables = {}
    for path in sorted(paths, key=lambda p: natural(p.stem)):
        root = load_yaml(_beside(path))
        if "intrinsicMatrix" not in root:
            raise ValueError(
                f"{path}: no intrinsicMatrix; "
                "a JARVIS folder holds one calibration file a camera and nothing else"
            )
        tables[path.name] = dict(
            name=path.stem,
            matrix=np.array(root["intrinsicMatrix"], np.float64).T,
            rotation=np.array(root["R"], np.float64).T if "R" in root else None,
            translation=root.get("T"),
            distortions=root.get("distortionCoefficients"),
        )
    return tables, "mm"
