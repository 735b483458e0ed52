"""What a wheel holds beside modules: samples and lessons. Called by hatchling (pyproject.toml)."""

from __future__ import annotations

from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDERS = {"data_samples": "*", "notebooks": "*.ipynb"}  # what `files.bundled` finds, and its files


class Bundle(BuildHookInterface):
    """Put the folders into a wheel's `bkind3d_lite/bundled`; an editable install has them there."""

    def initialize(self, version: str, build_data: dict) -> None:
        """Name the files, each where it lies and where it goes, before the wheel is written."""
        if version == "editable":
            return
        for name, pattern in FOLDERS.items():
            folder = Path(self.root) / name
            files = sorted(path for path in folder.rglob(pattern) if path.is_file())
            if not files:
                raise FileNotFoundError(f"{folder}: empty or missing; build from a whole clone")
            for path in files:
                inside = path.relative_to(self.root)
                if not any(part.startswith(".") for part in inside.parts):  # checkpoints, .DS_Store
                    place = f"bkind3d_lite/bundled/{inside.as_posix()}"
                    build_data["force_include"][str(path)] = place
