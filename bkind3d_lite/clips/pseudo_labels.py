"""Pseudo labels: 3D joints that nobody measured, made of 2D poses, for a student to learn from.

Five ways, in EpipolarPose's terms: 2D poses and given cameras (with R, t), 2D poses alone
(without R, t), true 2D, the truth of one stretch, and the truth.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..cameras import TENSORS, CameraRig, triangulate
from ..files import write_atomically
from ..multiview.camera_finder import find_cameras
from ..multiview.robust import robust_triangulate
from ..multiview.two_views import median_of_pairs
from ..poses2d import Poses2D, left_right_pairs, person_bones
from ..poses2d.entry import SURE
from .clip import MultiViewClip
from .tracks import Skeleton

HOW = ("robust", "plain", "median", "marks", "truth")


@dataclass(frozen=True)
class PseudoLabels:
    """Joints in space for some frames of a clip, the cameras that they belong to, and their origin.

    Attributes:
        world: (T, J, 3) in the rig's unit; NaN: not known.
        weight: (T, J) in [0, 1], how far each is to be trusted.
        frames: (T,) of the clip.
        names: of the joints.
        rig: the clip's cameras as the labels were made with; found ones have a world of their own.
        source: how they were made, as plain values.
    """

    world: Tensor
    weight: Tensor
    frames: Tensor
    names: tuple[str, ...]
    rig: CameraRig
    source: Mapping[str, Any]

    def joints(self, names: Sequence[str]) -> PseudoLabels:
        """The labels of some joints.

        Args:
            names: in the new order.

        Returns:
            Labels of these joints.

        Raises:
            ValueError: a name that is not there.
        """
        if unknown := [name for name in names if name not in self.names]:
            raise ValueError(f"no joint {unknown[0]!r}; there are {', '.join(self.names)}")
        at = [self.names.index(name) for name in names]
        world, weight = self.world[:, at], self.weight[:, at]
        return replace(self, world=world, weight=weight, names=tuple(names))

    def save(self, path: str | Path) -> Path:
        """Write the labels to an NPZ file, whole or not at all.

        Args:
            path: the file.

        Returns:
            The path.
        """
        rig = {f"rig_{name}": getattr(self.rig, name).numpy() for name in TENSORS}
        words = dict(cameras=self.rig.names, wh=self.rig.wh, unit=self.rig.unit)
        arrays: dict[str, Any] = dict(
            world=self.world.numpy(),
            weight=self.weight.numpy(),
            frames=self.frames.numpy(),
            names=np.array(self.names),
            source=json.dumps(dict(self.source)),
            words=json.dumps(words),
        )
        return write_atomically(Path(path), lambda file: np.savez_compressed(file, **arrays, **rig))

    def of(self, clip: MultiViewClip) -> MultiViewClip:
        """The clip with these cameras and, as its truth, these labels.

        Args:
            clip: that they were made for, of whatever size.

        Returns:
            A clip whose `truth` is NaN where nothing is labelled, and whose `trust` is the weight.

        Raises:
            ValueError: other cameras, or a frame that the clip does not have.
        """
        strange = set(clip.rig.names) - set(self.rig.names)
        if strange or int(self.frames.max()) >= len(clip):
            raise ValueError(
                f"{clip.name}: cameras {', '.join(clip.rig.names)}, {len(clip)} frames; the labels "
                f"are of {', '.join(self.rig.names)} and reach to frame {int(self.frames.max())}"
            )
        known = self.world.isfinite().all(-1) & (self.weight > 0)
        truth = torch.full((len(clip), *self.world.shape[1:]), torch.nan)
        truth[self.frames] = torch.where(known[..., None], self.world, torch.nan)
        trust = torch.zeros(truth.shape[:2])
        trust[self.frames] = torch.where(known, self.weight, 0.0)
        rig = self.rig.take([self.rig.names.index(name) for name in clip.rig.names])
        return replace(
            clip,
            rig=rig.resized(clip.rig.wh),
            truth=truth,
            trust=trust,
            skeleton=Skeleton(self.names, person_bones(self.names)),
            marks=None,
        )


def load_labels(path: str | Path) -> PseudoLabels:
    """Labels from the file that `PseudoLabels.save` wrote.

    Args:
        path: the file.

    Returns:
        They.

    Raises:
        ValueError: it is no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            words = json.loads(str(file["words"]))
            rig: dict[str, Any] = {name: torch.from_numpy(file[f"rig_{name}"]) for name in TENSORS}
            return PseudoLabels(
                **{k: torch.from_numpy(file[k]) for k in ("world", "weight", "frames")},
                names=tuple(str(name) for name in file["names"]),
                rig=CameraRig(
                    **rig,
                    wh=tuple(words["wh"]),
                    names=tuple(words["cameras"]),
                    unit=words["unit"],
                ),
                source=json.loads(str(file["source"])),
            )
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path}: no labels in it ({error}); `bkind3d pseudo` makes such files"
        ) from error


def pseudo_labels(
    clip: MultiViewClip,
    poses: Poses2D | None = None,
    how: str = "robust",
    *,
    cameras: str = "given",
    times: slice = slice(None),
    least: float = SURE,
    seed: int = 0,
) -> PseudoLabels:
    """Labels for a clip.

    Args:
        clip: its cameras; its truth for `marks` and `truth`.
        poses: 2D poses of the clip's cameras, for `robust`, `plain` and `median`.
        how: `robust` (reweighted, swapped images put right), `plain` (weighted DLT), `median`
            (EpipolarPose: vector median of optimal pairs), `marks` (the truth's 2D, to whole
            pixels), `truth`.
        cameras: `given`, or `found` from the poses (without R and t; the intrinsics are given).
        times: which rows; the truth of one stretch alone is `slice(0, 500)`.
        least: confidence of the detector below which a reading is left out.
        seed: of the search for cameras.

    Returns:
        The labels with their provenance.

    Raises:
        ValueError: an unknown way, what it needs is missing, or nothing gets a label.
    """
    if how not in HOW or cameras not in ("given", "found"):
        raise ValueError(
            f"how = {how!r}, cameras = {cameras!r}; known: {', '.join(HOW)}; given, found"
        )
    source: dict[str, Any] = dict(how=how, cameras=cameras, clip=Path(clip.name).name)
    if how == "truth":
        return _labelled(_of_truth(clip, _rows(len(clip), times, "clip"), source), clip)
    poses = _marked(clip) if how == "marks" else poses
    if poses is None:
        raise ValueError(f"labels by {how!r} are made of 2D poses: give them (--poses)")
    poses = poses.ordered(clip.rig.names).sure(least)
    poses = poses.at(_rows(len(poses), times, "poses"))
    return _labelled(_of_poses(clip, poses, source, seed), clip)


def _rows(count: int, times: slice, what: str) -> Tensor:
    """The rows of a slice, one at least."""
    rows = torch.arange(count)[times]
    if not len(rows):
        asked = f"{times.start or 0}:{'' if times.stop is None else times.stop}"
        raise ValueError(
            f"times {asked}: none of the {count} rows of the {what}; take some of 0:{count}"
        )
    return rows


def _labelled(labels: PseudoLabels, clip: MultiViewClip) -> PseudoLabels:
    """Labels, refused where there are none."""
    if not (labels.weight > 0).any():
        raise ValueError(
            f"{clip.name}: not one joint of {len(labels.frames)} frames gets a label; "
            "two cameras at least must see a joint (are the poses of these frames and cameras?)"
        )
    return labels


def _of_poses(
    clip: MultiViewClip, poses: Poses2D, source: dict[str, Any], seed: int
) -> PseudoLabels:
    """Labels triangulated the way that `source` says."""
    how, rig, pairs = source["how"], clip.rig, left_right_pairs(poses.names)
    if source["cameras"] == "found":
        rig = find_cameras(rig, poses.px, pairs, seed=seed).rig
    found = robust_triangulate(rig, poses.px, None, () if how == "marks" else pairs)
    world = {
        "plain": lambda: triangulate(rig, poses.px.nan_to_num(0), poses.weight),
        "median": lambda: median_of_pairs(rig, poses.px),
    }.get(how, lambda: found.world)()
    source = source | dict(
        frames=len(poses),
        median_residual_px=round(float(found.residual.nanmedian()), 3),
        swapped=round(float(found.swapped.float().mean()), 4) if how == "robust" else 0.0,
    )
    known, trust = world.isfinite().all(-1), found.confidence
    weight = torch.where(known, trust if how == "robust" else torch.ones_like(trust), 0.0)
    return PseudoLabels(
        world=world,
        weight=weight,
        frames=poses.frames,
        names=poses.names,
        rig=rig,
        source=source,
    )


def _of_truth(clip: MultiViewClip, frames: Tensor, source: Mapping[str, Any]) -> PseudoLabels:
    """The truth itself, or that of a stretch."""
    truth, names = _truth(clip)
    known = truth[frames].isfinite().all(-1).float()
    return PseudoLabels(
        world=truth[frames],
        weight=known,
        frames=frames,
        names=names,
        rig=clip.rig,
        source={**source, "frames": len(frames)},
    )


def _truth(clip: MultiViewClip) -> tuple[Tensor, tuple[str, ...]]:
    if clip.truth is None or clip.skeleton is None:
        raise ValueError(f"{clip.name}: no truth beside it (truth.npz) to make labels of")
    return clip.truth, clip.skeleton.names


def _marked(clip: MultiViewClip) -> Poses2D:
    """Where the truth is seen, as somebody would click it: to whole pixels."""
    truth, names = _truth(clip)
    px = clip.rig.px_from_world(truth) if clip.marks is None else clip.marks
    px = (px - 0.5).round() + 0.5
    inside = (px > 0).all(-1) & (px < px.new_tensor(clip.rig.wh)).all(-1)
    return Poses2D(
        px=torch.where(inside[..., None], px, torch.nan),
        weight=inside.float(),
        names=tuple(names),
        cameras=clip.rig.names,
        frames=torch.arange(len(clip)),
    )
