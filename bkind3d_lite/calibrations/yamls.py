"""OpenCV's YAML: EasyMocap (`intri.yml` and `extri.yml`) and JARVIS (one file a camera in a folder)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml

from .entry import natural


class _Loader(yaml.SafeLoader):
    """Plain data and OpenCV's matrices; nothing else is ever constructed, and nothing said once and repeated by an alias."""

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError(
                "an alias (*name), with which a few lines can mean gigabytes; no calibration tool writes one"
            )
        return super().compose_node(parent, index)


def _matrix(loader: _Loader, node: yaml.Node) -> np.ndarray:
    value = loader.construct_mapping(node, deep=True)
    return np.array(value["data"], np.float64).reshape(int(value["rows"]), int(value["cols"]))


_Loader.add_constructor("tag:yaml.org,2002:opencv-matrix", _matrix)


def load_yaml(path: Path) -> dict:
    """An OpenCV YAML file as a dictionary; plain `rows`, `cols`, `data` (ROS) become matrices too."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if lines and lines[0].startswith("%YAML"):
        lines[0] = ""  # OpenCV writes %YAML:1.0, which is not YAML
    root = yaml.load("\n".join(lines), _Loader)
    if not isinstance(root, dict):
        raise ValueError(f"{path}: no keys in it; expected an OpenCV YAML file")

    def plain(value):
        if isinstance(value, dict) and {"rows", "cols", "data"} <= value.keys():
            return np.array(value["data"], np.float64).reshape(
                int(value["rows"]), int(value["cols"])
            )
        return value

    return {str(key): plain(value) for key, value in root.items()}


def read_yaml(path: Path) -> tuple[dict, str]:
    """EasyMocap from either of its two files; JARVIS from any of its cameras' files. Metres for EasyMocap, millimetres for JARVIS."""
    if path.stem in ("intri", "extri"):
        return read_easymocap(path.parent)
    root = load_yaml(path)
    if "intrinsicMatrix" in root:
        return read_jarvis(path.parent)
    if "camera_matrix" in root:
        raise ValueError(
            f"{path}: the intrinsics of one camera only; where the cameras stand (rotation and translation) is missing"
        )
    raise ValueError(
        f"{path}: neither EasyMocap (intri.yml, extri.yml) nor JARVIS (intrinsicMatrix), but {', '.join(list(root)[:5]) or 'nothing'}"
    )


def _beside(path: Path) -> Path:
    """A file that was not named but lies beside the one that was: no link that leads elsewhere."""
    if not path.resolve().is_relative_to(path.parent.resolve()):
        raise ValueError(f"{path}: leads to {path.resolve()}, out of its folder; copy it there")
    return path


def read_easymocap(folder: Path) -> tuple[dict, str]:
    """`K_<cam>`, `dist_<cam>` (or `D_<cam>`), `H_`, `W_` in intri.yml; `Rot_<cam>` (or Rodrigues `R_<cam>`), `T_<cam>` in extri.yml."""
    for name in ("intri.yml", "extri.yml"):
        if not (folder / name).is_file():
            raise ValueError(
                f"{folder / name}: missing; EasyMocap has intri.yml and extri.yml side by side"
            )
    inside, outside = (
        load_yaml(_beside(folder / "intri.yml")),
        load_yaml(_beside(folder / "extri.yml")),
    )
    names = [str(n) for n in inside.get("names", [])] or sorted(
        (k[2:] for k in inside if k.startswith("K_")), key=natural
    )
    tables = {}
    for n in names:
        size = (
            (inside[f"W_{n}"], inside[f"H_{n}"]) if {f"W_{n}", f"H_{n}"} <= inside.keys() else None
        )
        tables[n] = dict(
            name=n,
            size=size,
            matrix=inside.get(f"K_{n}"),
            distortions=inside.get(f"dist_{n}", inside.get(f"D_{n}")),
            rotation=outside.get(f"Rot_{n}", outside.get(f"R_{n}")),
            translation=outside.get(f"T_{n}"),
        )
    return tables, "m"


def read_jarvis(folder: Path) -> tuple[dict, str]:
    """Row vectors, as in MATLAB: `intrinsicMatrix` and `R` are transposed; the file's stem is the camera's name."""
    tables = {}
    for path in sorted(
        (p for p in folder.iterdir() if p.suffix in (".yaml", ".yml")),
        key=lambda p: natural(p.stem),
    ):
        root = load_yaml(_beside(path))
        if "intrinsicMatrix" not in root:
            raise ValueError(
                f"{path}: no intrinsicMatrix; a JARVIS folder holds one calibration file a camera and nothing else"
            )
        K, R = (
            np.array(root[key], np.float64).T if key in root else None
            for key in ("intrinsicMatrix", "R")
        )
        tables[path.name] = dict(
            name=path.stem,
            matrix=K,
            rotation=R,
            translation=root.get("T"),
            distortions=root.get("distortionCoefficients"),
        )
    return tables, "mm"
