"""Survey files: what was seen of a recording, as arrays; which recording and rig it was, as words.

A cluster's jobs share one look at a session: its background, its scale and its heading must not
differ from shard to shard.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..cameras import CameraRig
from .clip import MultiViewClip, Survey
from .heading import Heading
from .videos import Frames

TOLD = 16  # letters of a hash that are shown and compared
ENDS = 1 << 16  # bytes at either end of a file that stand for all of it
MOST_FILES = 64  # of a camera's files that are looked into; of the others sizes count
HEADING = "heading_"


# ---- a survey as arrays --------------------------------------------------------------------------
def survey_arrays(survey: Survey) -> dict[str, np.ndarray]:
    """All of a survey but its thumbnails.

    Args:
        survey: of a recording.

    Returns:
        Arrays by name, as `np.savez` takes them.
    """
    kept = ("background", "noise", "contrast", "centre", "floor", "length")
    told = {name: value for name in kept if (value := getattr(survey, name)) is not None}
    heading = {} if survey.heading is None else vars(survey.heading)
    told |= {HEADING + name: value for name, value in heading.items()}
    return {name: np.asarray(value) for name, value in told.items()}


def survey_of(arrays: Mapping[str, np.ndarray]) -> Survey:
    """The survey that `survey_arrays` took apart.

    Args:
        arrays: by name.

    Returns:
        A survey without thumbnails.
    """
    values = {name: _plain(name, value) for name, value in arrays.items()}
    own = {f.name: values[f.name] for f in fields(Survey) if f.name in values}
    told = {f.name: values[HEADING + f.name] for f in fields(Heading) if HEADING + f.name in values}
    own["heading"] = Heading(**told) if told else None
    return Survey(thumbs=torch.zeros(0), **own)


def _plain(name: str, value: np.ndarray) -> Any:
    """A tensor; a number or a word where the array has no axis; of stretches a tuple."""
    if value.ndim == 0:
        return value.item()
    return tuple(value.tolist()) if name == f"{HEADING}starts" else torch.from_numpy(value)


# ---- hashes --------------------------------------------------------------------------------------
def arrays_hash(arrays: Mapping[str, np.ndarray]) -> str:
    """A fingerprint of arrays: their names, kinds, shapes and bytes.

    Args:
        arrays: by name.

    Returns:
        `TOLD` hexadecimal digits.
    """
    told = hashlib.sha256()
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name])
        told.update(f"{name} {value.dtype} {value.shape}".encode() + value.tobytes())
    return told.hexdigest()[:TOLD]


def rig_hash(rig: CameraRig) -> str:
    """A fingerprint of a calibration: the same for recordings of one rig.

    Args:
        rig: V cameras.

    Returns:
        `TOLD` hexadecimal digits, of six digits of every number.
    """
    numbers = [[f"{x:.6g}" for x in getattr(rig, k).flatten().tolist()] for k in _NUMBERS]
    told = json.dumps([list(rig.names), list(rig.wh), numbers]).replace('"-0"', '"0"')
    return hashlib.sha256(told.encode()).hexdigest()[:TOLD]


_NUMBERS = ("K", "R", "t", "distortion")


def recording_hash(clip: MultiViewClip) -> str:
    """A fingerprint of a recording: its cameras, its films, which of their frames belong together.

    Of each film its size and its ends, so that hours are told apart in milliseconds, wherever they
    lie and whenever they were copied.

    Args:
        clip: as it was opened.

    Returns:
        `TOLD` hexadecimal digits.
    """
    about = {k: v for k, v in clip.fingerprint.items() if k != "places"}
    told = hashlib.sha256((rig_hash(clip.rig) + json.dumps(about, sort_keys=True)).encode())
    if not isinstance(clip.frames, Frames):
        told.update(clip.frames.numpy().tobytes())
        return told.hexdigest()[:TOLD]
    told.update(clip.clock["numbers"].numpy().tobytes())
    for footage in clip.frames.videos:
        paths = list(dict.fromkeys(source_files(footage)))
        told.update(json.dumps([path.stat().st_size for path in paths]).encode())
        told.update(np.asarray(getattr(footage, "index", ()), np.int64).tobytes())
        for path in paths[:: -(-len(paths) // MOST_FILES)]:
            told.update(_ends(path))
    return told.hexdigest()[:TOLD]


def source_files(footage: Any) -> Iterable[Path]:
    """The files that a footage is read from, whatever it is wrapped in.

    Args:
        footage: of one camera.

    Yields:
        Their paths, in their order.
    """
    inner = getattr(footage, "footage", None)
    parts = getattr(footage, "videos", None) or getattr(footage, "films", None)
    if inner is not None or parts:
        for part in parts or [inner]:
            yield from source_files(part)
        return
    yield from getattr(footage, "paths", None) or [footage.path]


def _ends(path: Path) -> bytes:
    """The first and the last bytes of a file."""
    with open(path, "rb") as file:
        first = file.read(ENDS)
        file.seek(max(ENDS, path.stat().st_size - ENDS))
        return first + file.read(ENDS)
