"""People marked in single images, in MPII's JSON: what a 2D network is pretrained on.

A list of {"image", "joints" (16 x 2), "joints_vis", "center", "scale"}; pixels count from 1, and a
person is 200 scale pixels tall. Such pictures have no camera; they get one that sees a plane at
depth 1, so that the crops, turns and scales of `clips.lessons` are theirs, too, and depth is 0.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..clips.clip import MultiViewClip
from ..clips.tracks import Skeleton
from ..files import text_of, write_atomically
from ..image_plane import image_plane
from ..poses2d import ORDERS, person_bones

MPII_NAMES = ORDERS["mpii"]
_BOX = 250.0  # pixels of a person's usual box, of scale 1: 200 and a quarter
DOWN = 15.0  # by which the box lies below the marked centre, of scale 1
AROUND = 1.5  # side of a picture in boxes: room for turns and shifts
FLAT_SIDE = 1 / AROUND  # side of the usual box in widths of such a picture
UNCOUNTED = ("pelvis", "thorax")  # joints that PCKh leaves out
_HEAD = ("neck", "head_top")


@dataclass(frozen=True)
class MarkedPerson:
    """One person of one image.

    Attributes:
        image: the file.
        px: (16, 2) joints in the order of `MPII_NAMES`, corner-origin; NaN: not marked.
        centre: (2) of the usual box, corner-origin.
        side: of that box, pixels.
    """

    image: Path
    px: Tensor
    centre: Tensor
    side: float


def read_mpii(path: str | Path, images: str | Path) -> list[MarkedPerson]:
    """People of an MPII annotation file.

    Args:
        path: the JSON file.
        images: the folder of its images.

    Returns:
        They, those with two marked joints at least.

    Raises:
        ValueError: it is no such file.
    """
    try:
        entries = json.loads(text_of(path))
        people = [_person(entry, Path(images)) for entry in entries]
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ValueError(
            f"{path}: not MPII's annotations, a list of image, joints (16 x 2), joints_vis, "
            f"center, scale ({error})"
        ) from error
    return [person for person in people if person.px.isfinite().all(-1).sum() >= 2]


def _person(entry: dict, images: Path) -> MarkedPerson:
    """One entry; from pixels that count from 1 to the image's corner at (0, 0)."""
    px = torch.tensor(entry["joints"], dtype=torch.float32).view(len(MPII_NAMES), 2) - 0.5
    seen = torch.tensor(entry["joints_vis"]).bool()
    centre = torch.tensor(entry["center"], dtype=torch.float32) - 0.5
    scale = float(entry["scale"])
    return MarkedPerson(
        image=images / Path(entry["image"]).name,
        px=torch.where(seen[:, None], px, torch.nan),
        centre=centre + torch.tensor([0.0, DOWN * scale]),
        side=_BOX * scale,
    )


def save_mpii(clip: MultiViewClip, folder: str | Path, times: Sequence[int]) -> Path:
    """Write what a clip's truth is in its images as MPII would have it.

    Args:
        clip: with truth; joints of other names than MPII's are left out.
        folder: gets `images/*.jpg` and `annot.json`.
        times: frames.

    Returns:
        The JSON file.

    Raises:
        ValueError: the clip has no truth.
    """
    if clip.truth is None or clip.skeleton is None:
        raise ValueError(f"{clip.name}: no truth to mark people by")
    folder, entries = Path(folder), []
    known = [clip.skeleton.names.index(n) if n in clip.skeleton.names else -1 for n in MPII_NAMES]
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for time in times:
        every = clip.rig.px_from_world(clip.truth[time]) + 0.5  # (V, J, 2), counted from 1
        for v, px in enumerate(every):
            name = f"{clip.rig.names[v]}_{time:06d}.jpg"
            Image.fromarray(np.asarray(clip.frames[time][v])).save(folder / "images" / name)
            entries.append({"image": name, **_entry(px[known], torch.tensor(known) >= 0)})
    text = json.dumps(entries)
    return write_atomically(folder / "annot.json", lambda file: file.write_text(text))


def _entry(px: Tensor, seen: Tensor) -> dict:
    """Joints, visibility, centre and scale as MPII writes them."""
    low, high = px[seen].amin(0), px[seen].amax(0)
    scale = float((high - low).max()) / 200
    centre = (low + high) / 2 - torch.tensor([0.0, DOWN * scale])
    return dict(
        joints=torch.where(seen[:, None], px, -1.0).tolist(),
        joints_vis=seen.int().tolist(),
        center=centre.tolist(),
        scale=scale,
    )


# ---- as pictures ---------------------------------------------------------------------------------
def mpii_clip(people: Sequence[MarkedPerson], px: int = 256) -> MultiViewClip:
    """Marked people as labelled pictures of one size, for a student of one cell of depth.

    Args:
        people: as read.
        px: width and height of the pictures, of which the usual box is two thirds.

    Returns:
        A picture each; train with `side = FLAT_SIDE`.
    """
    frames, marks = [], []
    for person in people:
        half = AROUND * person.side / 2
        low = person.centre - half
        box = (*low.tolist(), *(person.centre + half).tolist())
        image = Image.open(person.image).convert("RGB")
        frames.append(
            np.asarray(
                image.transform((px, px), Image.Transform.EXTENT, box, Image.Resampling.BILINEAR)
            )
        )
        marks.append((person.px - low) / (2 * half) - 0.5)  # in widths from the middle
    flat = torch.stack(marks)
    return MultiViewClip(
        frames=torch.from_numpy(np.stack(frames))[:, None],
        rig=image_plane("one", (px, px)),
        fps=1.0,
        truth=torch.cat([flat, torch.ones_like(flat[..., :1])], -1),
        trust=flat.isfinite().all(-1).float(),
        skeleton=Skeleton(MPII_NAMES, person_bones(MPII_NAMES)),
        name="people marked in images",
    )


def pckh(said: Tensor, truth: Tensor, within: float = 0.5, head: Tensor | None = None) -> Tensor:
    """PCKh: share of joints within so many head lengths of the truth.

    MPII's own heads are 0.6 of the diagonal of a marked box.

    Args:
        said: (N, 16, 2 or 3) in any unit; x and y count.
        truth: (N, 16, 2 or 3); NaN joints are left out, and pelvis and thorax.
        within: head lengths.
        head: (N,) length of each head; None: from neck to head top.

    Returns:
        (N,) in [0, 1]; NaN where the head is not known.
    """
    if head is None:
        neck, top = (MPII_NAMES.index(name) for name in _HEAD)
        head = (truth[:, neck, :2] - truth[:, top, :2]).norm(dim=-1)
    counted = [i for i, name in enumerate(MPII_NAMES) if name not in UNCOUNTED]
    far = (said[:, counted, :2] - truth[:, counted, :2]).norm(dim=-1)
    found = torch.where(far.isfinite(), (far <= within * head[:, None]).float(), torch.nan)
    return torch.where(head.isfinite(), found.nanmean(1), torch.nan)
