"""2D poses from the tools people have: OpenPose, COCO, DeepLabCut, SLEAP, NPZ."""

from __future__ import annotations

import re
from pathlib import Path

from .entry import People2D, Poses2D, left_right_pairs, moving_person
from .json_files import parsed_json, read_coco, read_openpose
from .orders import ORDERS, person_bones
from .tables import opened_h5, read_deeplabcut, read_pose_npz, read_sleap

__all__ = [
    "ORDERS",
    "People2D",
    "Poses2D",
    "person_bones",
    "left_right_pairs",
    "moving_person",
    "read_people",
]

SUFFIXES = (".json", ".csv", ".h5", ".hdf5")


def read_people(path: str | Path, order: str | None = None) -> People2D:
    """The 2D poses of a recording, whichever tool wrote them.

    Args:
        path: an NPZ file; or a folder with for each camera a folder of OpenPose JSON (`cam1_json`),
            or a file: COCO results (`.json`), DeepLabCut (`.csv`, `.h5`), SLEAP analysis (`.h5`).
            What cameras are called is what the names have before a tool's own ending.
        order: of joints without names: a key of `ORDERS`, or names joined by commas.

    Returns:
        All people; pixels are corner-origin.

    Raises:
        ValueError: nothing that a reader knows, or damaged files.
        FileNotFoundError: nothing is there.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder of 2D poses")
    if path.is_file():
        if path.suffix.lower() != ".npz":
            raise ValueError(f"{path}: one file for all cameras must be .npz; give the folder")
        return read_pose_npz(path, order)
    inner = [p for p in sorted(path.iterdir()) if p.is_dir() and any(p.glob("*.json"))]
    if inner:
        return read_openpose(_by_camera(inner), order)
    files = [p for p in sorted(path.iterdir()) if p.suffix.lower() in SUFFIXES]
    kinds = sorted({p.suffix.lower() for p in files})
    if len(kinds) != 1:
        what = f"files of several kinds ({', '.join(kinds)})" if kinds else "no files"
        raise ValueError(
            f"{path}: {what} with poses; expected one file for each camera "
            f"({', '.join(SUFFIXES)}), or a folder of OpenPose JSON for each"
        )
    return _read_files(_by_camera(files), kinds[0], order)


def _read_files(files: dict[str, Path], suffix: str, order: str | None) -> People2D:
    """One file for each camera, by its suffix and what it holds."""
    first = next(iter(files.values()))
    if suffix == ".csv":
        return read_deeplabcut(files)
    if suffix == ".json":
        if isinstance(content := parsed_json(first), dict) and "people" in content:
            raise ValueError(f"{first}: a frame of OpenPose; give the folder above, one a camera")
        return read_coco(files, order)
    with opened_h5(first) as file:
        sleap = "tracks" in file
    return read_sleap(files) if sleap else read_deeplabcut(files)


def _by_camera(paths: list[Path]) -> dict[str, Path]:
    """{camera: path}: names without a tool's ending."""
    ending = r"(_json|_keypoints|_results|\.analysis|\.predictions|DLC_.*|_dlc.*)+$"
    cameras = {re.sub(ending, "", path.stem, flags=re.I) or path.stem: path for path in paths}
    if len(cameras) < len(paths):
        raise ValueError(
            f"{paths[0].parent}: {len(paths)} files for cameras {', '.join(cameras)}; "
            "expected one for each camera"
        )
    return cameras
