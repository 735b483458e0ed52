"""Poses in JSON: OpenPose's file a frame, and COCO's list of results a camera."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..files import text_of
from .entry import People2D, stacked
from .orders import order_of


def read_openpose(folders: dict[str, Path], order: str | None) -> People2D:
    """Folders of OpenPose JSON, one for each camera, one file a frame.

    Args:
        folders: {camera: its folder}.
        order: of the joints; the files do not say.

    Returns:
        The people; a joint of confidence 0 was not found.

    Raises:
        ValueError: a file that is none of OpenPose's.
    """
    views: dict[str, dict[int, np.ndarray]] = {}
    joints, where = 0, Path()
    for camera, folder in folders.items():
        views[camera] = {}
        for number, path in _numbered(folder).items():
            people = [_triples(p, "pose_keypoints_2d", path) for p in _people(path)]
            people = [p for p in people if len(p)]
            if any(len(p) != (joints or len(p)) for p in people):
                raise ValueError(f"{path}: {len(people[0])} joints, other files have {joints}")
            if people:
                joints, where = len(people[0]), path
            views[camera][number] = np.stack(people) if people else np.zeros((0, joints, 3))
    return stacked(views, order_of(order, joints, where) if joints else ())


def read_coco(files: dict[str, Path], order: str | None) -> People2D:
    """COCO keypoint results or annotations, one JSON file for each camera.

    Args:
        files: {camera: its file}.
        order: of the joints; None: COCO's 17, or what the file's categories name.

    Returns:
        The people of each image; images are frames in the order of their ids.

    Raises:
        ValueError: a file that is none of COCO's, people of other joints, ids that clash.
    """
    views, names = {}, None
    for camera, path in files.items():
        content = parsed_json(path)
        results = content.get("annotations", []) if isinstance(content, dict) else content
        found: dict[Any, list[np.ndarray]] = defaultdict(list)
        for entry in results:
            if not isinstance(entry, dict) or "image_id" not in entry:
                raise ValueError(f"{path}: an entry without image_id; expected COCO's results")
            found[entry["image_id"]].append(_triples(entry, "keypoints", path))
        counts = sorted({len(person) for people in found.values() for person in people})
        expected = len(names) if names else counts[0] if counts else 0
        if counts and counts != [expected]:
            raise ValueError(
                f"{path}: people of {', '.join(map(str, counts))} joints, expected {expected} "
                "of everybody; write all files with one model"
            )
        numbers = _frame_numbers(list(found), path)
        views[camera] = {numbers[image]: np.stack(people) for image, people in found.items()}
        if counts:
            names = names or _category_names(content, order, counts[0], path)
    return stacked(views, names or ())


def parsed_json(path: Path) -> Any:
    """The contents of a JSON file.

    Args:
        path: the file.

    Returns:
        What it holds.

    Raises:
        ValueError: it is damaged.
    """
    try:
        return json.loads(text_of(path))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: not a JSON file ({error}); write it again") from error


def _people(path: Path) -> Sequence[Any]:
    content = parsed_json(path)
    people = content.get("people") if isinstance(content, dict) else None
    if not isinstance(people, list):
        raise ValueError(f"{path}: no list 'people'; expected a frame of OpenPose's --write_json")
    return people


def _triples(entry: Any, key: str, path: Path) -> np.ndarray:
    """x, y, confidence of each joint, (J, 3)."""
    try:
        return np.array(entry[key], np.float32).reshape(-1, 3)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: a person's {key} should be numbers x, y, confidence of each joint ({error})"
        ) from error


def _numbered(folder: Path) -> dict[int, Path]:
    """The JSON files of a folder by their frame numbers; of several series the longest."""
    named = [
        (match, path)
        for path in sorted(folder.glob("*.json"))
        if (match := re.fullmatch(r"(.*?)(\d+)", path.stem.removesuffix("_keypoints")))
    ]
    if not named:
        raise ValueError(f"{folder}: no file whose name ends in its frame's number")
    (series, _), *_ = Counter(match[1] for match, _ in named).most_common(1)
    return {int(match[2]): path for match, path in named if match[1] == series}


def _frame_numbers(images: Sequence[Any], path: Path) -> dict[Any, int]:
    """Frame numbers of COCO's image ids: themselves, the last number in files' names that tells
    them apart (of `0000_cam1.jpg` the first), or their ranks where they have none."""
    if all(isinstance(image, int) for image in images):
        return {image: image for image in images}
    words = [re.findall(r"\d+", re.sub(r"\.[a-zA-Z]\w*$", "", str(image))) for image in images]
    fewest = min(map(len, words))
    if not fewest:
        return {image: rank for rank, image in enumerate(sorted(images, key=str))}
    for place in range(1, fewest + 1):
        numbers = [int(word[-place]) for word in words]
        if len(set(numbers)) == len(images):
            return dict(zip(images, numbers))
    last = [int(word[-1]) for word in words]
    twice = next(n for n, count in Counter(last).items() if count > 1)
    a, b, *_ = [image for image, n in zip(images, last) if n == twice]
    raise ValueError(
        f"{path}: image ids {a!r} and {b!r} both say frame {twice}; "
        "let every id be a frame's number, or a name with one"
    )


def _category_names(content: Any, order: str | None, joints: int, path: Path) -> tuple[str, ...]:
    """The joints' names: as asked for, as the file's category says, or COCO's own."""
    categories = content.get("categories", []) if isinstance(content, dict) else []
    if order is None and categories and len(categories[0].get("keypoints", [])) == joints:
        return tuple(categories[0]["keypoints"])
    return order_of(order or ("coco" if joints == 17 else None), joints, path)
