"""TOML: Anipose and its family, Pose2Sim, Caliscope.

The family: aniposelib, sleap-anipose, FreeMoCap, lightning-pose.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..files import text_of
from .entry import Tables, natural
from .plain import cameras_in, tables_of, unit_in
from .spellings import check_words

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ANIPOSE = {"matrix", "rotation", "translation", "distortions"}


def read_toml(path: Path) -> tuple[Tables, str]:
    """Every camera (`plain.cameras_in`), in natural order of the keys (cam_2 before cam_10).

    The unit is the file's own `[metadata] unit`; else metres for Pose2Sim (four coefficients and a
    table named as its camera) and for Caliscope (rotations as matrices beside `cam_id`), which
    write metres; millimetres where the tables have Anipose's own keys, as its boards are measured;
    else "unknown".

    Args:
        path: the file.

    Returns:
        The cameras, and the unit.

    Raises:
        ValueError: it is no TOML, or was calibrated on turned videos.
    """
    try:
        root = tomllib.loads(text_of(path))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}: not a TOML file ({error}); write it again with your calibration tool"
        ) from error
    check_words({k: v for k, v in root.items() if not isinstance(v, dict)}, str(path))
    cameras = {
        key: table
        for key, table in sorted(cameras_in(root, path).items(), key=lambda item: natural(item[0]))
        if isinstance(table, dict) and not table.get("ignore")
    }
    for key, table in cameras.items():
        if turns := table.get("rotation_count"):
            raise ValueError(
                f"{path} [{key}]: rotation_count = {turns}: this camera was calibrated on a video "
                f"turned by {90 * turns} degrees; turn the video file itself, "
                "set rotation_count = 0"
            )
        table.setdefault("name", f"cam_{table['cam_id']}" if "cam_id" in table else key)
    unit = unit_in(root)
    return tables_of(cameras, path), _unit(cameras) if unit == "unknown" else unit


def _unit(cameras: dict[str, dict[str, Any]]) -> str:
    def pose2sim(key: str, table: dict[str, Any]) -> bool:
        if str(table.get("name")) != key or "fisheye" not in table:
            return False
        return len(table.get("distortions", [])) == 4

    def caliscope(table: dict[str, Any]) -> bool:
        return "cam_id" in table or "rotation_count" in table

    metres = all(pose2sim(key, table) or caliscope(table) for key, table in cameras.items())
    if cameras and metres:
        return "m"
    return "mm" if all(table.keys() >= ANIPOSE for table in cameras.values()) else "unknown"
