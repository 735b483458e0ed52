"""What every reader of 2D poses makes: points in pixels, by frame, camera and joint name.

Pixels are those of the package, corner-origin; files of other tools put the first pixel's centre
at (0, 0) and get + 0.5 on entry. A point that was not found is NaN with weight 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..files import write_atomically

CORNER = 0.5  # from pixel centres at whole numbers to the image's corner at (0, 0)
SURE = 0.1  # confidence below which a detector's reading is not used
LINKED = 60.0  # pixels that a person's middle moves between two frames at most, of 1000 px


@dataclass(frozen=True)
class Poses2D:
    """Where one person's or animal's J joints were seen by V cameras.

    Attributes:
        px: (T, V, J, 2) pixels, corner-origin; NaN where nothing was found.
        weight: (T, V, J) the detector's confidence, >= 0; 0 where nothing was found.
        names: of the joints.
        cameras: of the views.
        frames: (T,) numbers of the clip's frames.
    """

    px: Tensor
    weight: Tensor
    names: tuple[str, ...]
    cameras: tuple[str, ...]
    frames: Tensor

    def __len__(self) -> int:
        return len(self.px)

    def take(self, views: Sequence[int]) -> Poses2D:
        """The poses of some views.

        Args:
            views: their numbers, in the new order.

        Returns:
            Poses of so many views.
        """
        views = list(views)
        cameras = tuple(self.cameras[v] for v in views)
        return replace(self, px=self.px[:, views], weight=self.weight[:, views], cameras=cameras)

    def sure(self, least: float = SURE) -> Poses2D:
        """The poses without what the detector itself doubts.

        Args:
            least: confidence of a reading that stays; 0: all that were found.

        Returns:
            Poses whose other readings are NaN with weight 0.
        """
        doubtful = self.weight < least
        px = torch.where(doubtful[..., None], torch.nan, self.px)
        return replace(self, px=px, weight=torch.where(doubtful, 0.0, self.weight))

    def at(self, times: Sequence[int] | Tensor) -> Poses2D:
        """The poses of some rows.

        Args:
            times: (n,) rows.

        Returns:
            Poses of n rows.
        """
        times = torch.as_tensor(times)
        rows = {key: getattr(self, key)[times] for key in ("px", "weight", "frames")}
        return replace(self, **rows)

    def joints(self, names: Sequence[str]) -> Poses2D:
        """The poses of some joints.

        Args:
            names: in the new order.

        Returns:
            Poses of these joints.

        Raises:
            ValueError: a name that is not there.
        """
        if unknown := [name for name in names if name not in self.names]:
            raise ValueError(f"no joint {unknown[0]!r}; there are {', '.join(self.names)}")
        picks = [self.names.index(name) for name in names]
        px, weight = self.px[:, :, picks], self.weight[:, :, picks]
        return replace(self, px=px, weight=weight, names=tuple(names))

    def ordered(self, cameras: Sequence[str]) -> Poses2D:
        """The views in the order of a rig's cameras; `cam_01` and `cam01` are the same name.

        Args:
            cameras: names of the rig.

        Returns:
            Poses of all those cameras; one without is a ValueError.
        """
        views = _views_of(self.cameras, cameras)
        return replace(self.take(views), cameras=tuple(cameras))

    def save(self, path: str | Path) -> Path:
        """Write the poses to an NPZ file that `read_people` reads, whole or not at all.

        Args:
            path: the file, `.npz`.

        Returns:
            The path.
        """
        arrays: dict[str, Any] = dict(
            px=self.px.numpy().astype(np.float32),
            weight=self.weight.numpy().astype(np.float16),
            names=np.array(self.names),
            cameras=np.array(self.cameras),
            frames=self.frames.numpy(),
            convention="corner",
        )
        return write_atomically(Path(path), lambda file: np.savez_compressed(file, **arrays))


@dataclass(frozen=True)
class People2D:
    """What a detector found where there may be several people: px (T, V, N, J, 2), weight likewise.

    The n-th person of one frame or camera need not be the n-th of another.
    """

    px: Tensor
    weight: Tensor
    names: tuple[str, ...]
    cameras: tuple[str, ...]
    frames: Tensor

    def ordered(self, cameras: Sequence[str]) -> People2D:
        """The views in the order of a rig's cameras, as of `Poses2D`.

        Args:
            cameras: names of the rig.

        Returns:
            The people of all those cameras.
        """
        views = _views_of(self.cameras, cameras)
        px, weight = self.px[:, views], self.weight[:, views]
        return replace(self, px=px, weight=weight, cameras=tuple(cameras))

    @property
    def most(self) -> int:
        """How many people a frame has at most."""
        return int((self.weight > 0).any(-1).sum(-1).max())

    def chosen(self, choice: Tensor) -> Poses2D:
        """One person by its number in each frame and view.

        Args:
            choice: (T, V) numbers; -1: none.

        Returns:
            Poses of that person.
        """
        at = choice.clamp(min=0)[..., None, None]
        weight = self.weight.gather(2, at.expand(-1, -1, 1, self.weight.shape[-1]))[:, :, 0]
        px = self.px.gather(2, at[..., None].expand(-1, -1, 1, *self.px.shape[-2:]))[:, :, 0]
        none = (choice < 0)[..., None]
        return Poses2D(
            px=torch.where(none[..., None], torch.nan, px),
            weight=torch.where(none, 0.0, weight),
            names=self.names,
            cameras=self.cameras,
            frames=self.frames,
        )


def stacked(
    views: Mapping[str, Mapping[int, np.ndarray]], names: Sequence[str], offset: float = CORNER
) -> People2D:
    """The people of several cameras' files as one table.

    Args:
        views: {camera: {frame: (N, J, 3) x, y, confidence}}; confidence 0: not found.
        names: of the J joints.
        offset: added to x and y.

    Returns:
        The people at every frame from the first to the last that any camera has.

    Raises:
        ValueError: nobody was found, or the frame numbers cannot be.
    """
    numbers = [n for frames in views.values() for n in frames]
    people = max((len(p) for frames in views.values() for p in frames.values()), default=0)
    if not people:
        raise ValueError(f"nobody was found in the poses of {', '.join(views) or 'no camera'}")
    first, T = min(numbers), max(numbers) - min(numbers) + 1
    if T > 100 * max(len(frames) for frames in views.values()):
        raise ValueError(
            f"frame numbers reach from {first} to {first + T - 1} with "
            f"{len(numbers)} frames between them; number the frames of all cameras alike"
        )
    table = np.full((T, len(views), people, len(names), 3), np.nan, np.float32)
    for v, frames in enumerate(views.values()):
        for n, found in frames.items():
            if len(found):  # nobody: perhaps a file from which not even the joints are known
                table[n - first, v, : len(found)] = found
    cells = torch.from_numpy(table)
    weight = torch.where(cells[..., :2].isfinite().all(-1), cells[..., 2].nan_to_num(0), 0.0)
    return People2D(
        px=torch.where(weight[..., None] > 0, cells[..., :2] + offset, torch.nan),
        weight=weight.clamp(min=0),
        names=tuple(names),
        cameras=tuple(views),
        frames=torch.arange(first, first + T),
    )


def moving_person(people: People2D) -> Poses2D:
    """In each view the person whose middle goes the longest way, followed from frame to frame.

    Args:
        people: as read; two who walk alike cannot be told apart this way.

    Returns:
        Poses of one person; whether it is the same one in all views is for the rays to say.
    """
    middle = people.px.nanmean(3)  # (T, V, N, 2)
    reach = LINKED / 1000 * float(people.px[people.px.isfinite()].max())
    choice = torch.full(middle.shape[:2], -1)
    for v in range(middle.shape[1]):
        choice[:, v] = _longest_way(middle[:, v], reach)
    return people.chosen(choice)


def _longest_way(middle: Tensor, reach: float) -> Tensor:
    """Numbers (T,) of the person with the longest way among those linked by nearness, -1: none."""
    links: list[tuple[dict[int, int], Tensor, Tensor]] = []  # numbers, first place, last place
    for t, places in enumerate(middle):
        free = [n for n in range(len(places)) if places[n].isfinite().all()]
        for numbers, _, last in links:
            if not free:
                break
            far = (places[free] - last).norm(dim=-1)
            if t - max(numbers) <= 10 and far.min() < reach * (t - max(numbers)):
                numbers[t] = free.pop(int(far.argmin()))
                last.copy_(places[numbers[t]])
        links += [({t: n}, places[n].clone(), places[n].clone()) for n in free]
    ways = [
        (middle[list(numbers), list(numbers.values())].std(0, correction=0).norm() * len(numbers))
        for numbers, _, _ in links
    ]
    choice = torch.full((len(middle),), -1)
    for t, n in links[int(torch.stack(ways).argmax())][0].items() if links else ():
        choice[t] = n
    return choice


def _views_of(own: Sequence[str], cameras: Sequence[str]) -> list[int]:
    """Numbers of a rig's cameras among the views of poses."""
    names = [plain_name(camera) for camera in own]
    for camera in cameras:
        if plain_name(camera) not in names:
            raise ValueError(
                f"camera {camera} has no poses; they are of {', '.join(own)}: "
                "rename the files, or leave the camera out of the calibration"
            )
    return [names.index(plain_name(camera)) for camera in cameras]


# ---- names ---------------------------------------------------------------------------------------
def plain_name(name: str) -> str:
    """A camera's name without what tools write differently: `cam_01` and `Cam01` are the same.

    Args:
        name: any.

    Returns:
        Its letters and numbers in lower case, the numbers without leading zeros.
    """
    return re.sub(r"0+(?=\d)", "", re.sub(r"[^a-z0-9]", "", name.lower()))


def left_right_pairs(names: Sequence[str]) -> list[tuple[int, int]]:
    """Which joints are each other's mirror image, by their names.

    Args:
        names: `left_knee` and `right_knee`, `LKnee` and `RKnee`, `knee_l` and `knee_r`, ...

    Returns:
        Pairs of numbers, the left one first.
    """
    ends = [("left", "right"), ("Left", "Right"), ("LEFT", "RIGHT")]
    rules = [(re.compile(left), right) for left, right in ends]
    rules += [(re.compile(rf"(^|[_\-. ]){a}(?=$|[_\-. ])"), rf"\g<1>{b}") for a, b in ("lr", "LR")]
    rules += [(re.compile(r"^L(?=[A-Z])"), "R"), (re.compile(r"(?<=[a-z])L$"), "R")]
    pairs = []
    for i, name in enumerate(names):
        mirrored = [rule.sub(other, name, count=1) for rule, other in rules if rule.search(name)]
        pairs += [(i, list(names).index(other)) for other in mirrored[:1] if other in names]
    return pairs
