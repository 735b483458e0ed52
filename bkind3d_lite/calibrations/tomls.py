"""TOML: Anipose and its family (aniposelib, sleap-anipose, FreeMoCap, lightning-pose), Pose2Sim, Caliscope."""

from __future__ import annotations

from pathlib import Path

from .entry import natural

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib


def read_toml(path: Path) -> tuple[dict, str]:
    """Every table with a `matrix`, in natural order of the keys (cam_2 before cam_10), and the unit.

    The unit is the file's own `[metadata] unit`; else metres for Pose2Sim (four coefficients and a table named as its camera) and for
    Caliscope (rotations as matrices beside `cam_id`), which write metres; else millimetres, as Anipose's boards are measured.
    """
    try:
        root = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}: not a TOML file ({error}); write it again with your calibration tool"
        ) from error
    nested = root.get("cameras")
    tables = (
        {f"cameras.{key}": t for key, t in nested.items()}
        if isinstance(nested, dict)
        else dict(root)
    )
    found = {
        key: dict(tables[key])
        for key in sorted(tables, key=natural)
        if isinstance(tables[key], dict) and "matrix" in tables[key]
    }
    found = {key: table for key, table in found.items() if not table.get("ignore")}
    for key, table in found.items():
        if table.get("rotation_count"):
            raise ValueError(
                f"{path} [{key}]: rotation_count = {table['rotation_count']}: this camera was calibrated on a video turned by "
                f"{90 * table['rotation_count']} degrees; turn the video file itself, set rotation_count = 0"
            )
        table.setdefault("name", f"cam_{table['cam_id']}" if "cam_id" in table else _word(key))
    notes = root.get("metadata", {})
    notes = notes if isinstance(notes, dict) else {}
    return found, str(notes.get("unit", notes.get("units", _unit(found))))


def _word(key: str) -> str:
    return key.removeprefix("cameras.")


def _unit(tables: dict) -> str:
    def pose2sim(key: str, table: dict) -> bool:
        return (
            str(table.get("name")) == key
            and "fisheye" in table
            and len(table.get("distortions", [])) == 4
        )

    def caliscope(table: dict) -> bool:
        return "cam_id" in table or "rotation_count" in table

    metres = tables and all(
        pose2sim(key, table) or caliscope(table) for key, table in tables.items()
    )
    return "m" if metres else "mm"
