"""Editing: what a person decides about discovered keypoints, kept in a file.

Names, colours, which of them are one and which are none.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import tomli_w
import torch
from torch import Tensor, nn

from ..clips.image_tracks import Track2D
from ..clips.tracks import Skeleton, Track
from ..files import text_of, write_atomically
from .colours import skeleton_colours

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib


AnyTrack = TypeVar("AnyTrack", bound=Track | Track2D)


@dataclass(frozen=True)
class Editing:
    """Choices about a track's keypoints, all by the names that the track came with (k0, k1, ...).

    Args:
        names: old name -> new name.
        colours: old name -> #rrggbb.
        merge: each group becomes its first member, the mean weighted by confidence.
        mute: left out, with their edges.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    colours: Mapping[str, str] = field(default_factory=dict)
    merge: tuple[tuple[str, ...], ...] = ()
    mute: tuple[str, ...] = ()

    def save(self, path: str | Path) -> Path:
        """Write the choices, for `load_editing`.

        Args:
            path: `.json` or `.toml`.

        Returns:
            The path.

        Raises:
            ValueError: another suffix.
        """
        values = asdict(self)
        if Path(path).suffix == ".json":
            text = json.dumps(values, indent=2) + "\n"
        elif Path(path).suffix == ".toml":
            text = tomli_w.dumps(values)
        else:
            raise ValueError(f"{path}: an editing is kept as .json or .toml")
        return write_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))

    def applied(self, track: AnyTrack) -> AnyTrack:
        """The track as edited; everything that draws or saves a track takes it.

        Args:
            track: as it came, in space or in an image.

        Returns:
            A track of the keypoints that are left, in their old order.

        Raises:
            ValueError: a keypoint that the track has not, one in two groups, a group without two
                members, a colour that is not #rrggbb, two keypoints of one name, or an editing
                that leaves nothing.
        """
        old = list(track.skeleton.names)
        self._check(old)
        rest = [name for name in old if name not in self.gone]
        names = tuple(self.names.get(name, name) for name in rest)
        if twice := sorted(n for n in set(names) if names.count(n) > 1):
            raise ValueError(f"two keypoints of one name after editing: {twice}")
        place, groups = {n: k for k, n in enumerate(old)}, {group[0]: group for group in self.merge}
        members = [[place[n] for n in groups.get(name, (name,))] for name in rest]
        place_of = "px" if isinstance(track, Track2D) else "world"
        points, more = getattr(track, place_of), {"covariance": track.covariance}
        more |= {"peak": track.peak} if isinstance(track, Track2D) else {}
        new: dict[str, Any] = {
            name: _merged(values, points, track.confidence, members)
            for name, values in (more | {place_of: points, "confidence": track.confidence}).items()
            if values is not None
        }
        edges, colours = _joined(track.skeleton.edges, members), self._colours(track.skeleton, rest)
        return replace(track, skeleton=Skeleton(names, edges, colours), **new)

    @property
    def gone(self) -> set[str]:
        """Keypoints that the edited track has no more: muted, or merged into another."""
        return set(self.mute) | {n for group in self.merge for n in group[1:]}

    def _check(self, old: list[str]) -> None:
        members = [n for group in self.merge for n in group]
        if unknown := sorted({*self.names, *self.colours, *members, *self.mute} - set(old)):
            raise ValueError(
                f"the editing names keypoints {unknown} that the track has not; "
                f"it has {', '.join(old)}"
            )
        if len(set(members)) < len(members) or any(len(group) < 2 for group in self.merge):
            raise ValueError(
                f"merge = {self.merge}: a group has two members or more, "
                "and no keypoint is in two groups"
            )
        if len(self.gone) == len(old):
            raise ValueError("the editing leaves no keypoint; mute fewer")
        for name, colour in self.colours.items():
            if not re.fullmatch("#[0-9a-fA-F]{6}", colour):
                raise ValueError(f"colour {colour!r} of {name}: expected #rrggbb")

    def _colours(self, skeleton: Skeleton, rest: list[str]) -> tuple[str, ...]:
        """The chosen colours, for others those they would have had; none, if nobody chose any."""
        if not self.colours and not skeleton.colours:
            return ()
        usual = dict(zip(skeleton.names, skeleton_colours(skeleton)))
        return tuple(self.colours.get(name, usual[name]).lower() for name in rest)


def _joined(
    edges: Sequence[tuple[int, int]], members: Sequence[Sequence[int]]
) -> tuple[tuple[int, int], ...]:
    """Edges between the groups of old keypoints, each once; those within a group fall away."""
    new = {k: n for n, group in enumerate(members) for k in group}
    ends = [(new[i], new[j]) for i, j in edges if i in new and j in new]
    return tuple(sorted({(min(i, j), max(i, j)) for i, j in ends if i != j}))


def _merged(values: Tensor, points: Tensor, confidence: Tensor, members: list[list[int]]) -> Tensor:
    """(T, K, ...) of every keypoint -> (T, groups, ...): means weighted by confidence.

    Unknown points are left out; where all weights are 0 it is the plain mean. Without any known
    point a place stays unknown (0 / 0), and its confidence is 0.
    """
    return torch.stack([_mean(values, points, confidence, group) for group in members], 1)


def _mean(values: Tensor, points: Tensor, confidence: Tensor, group: list[int]) -> Tensor:
    finite = points[:, group].isfinite().all(-1)
    share = torch.where(finite, confidence[:, group], 0.0)
    share = torch.where(share.sum(1, keepdim=True) > 0, share, finite.to(share))
    share = share / share.sum(1, keepdim=True)
    share = share.view(*share.shape, *[1] * (values.ndim - 2))
    mean = (share * values[:, group].nan_to_num()).sum(1)
    return mean.nan_to_num() if values.ndim == 2 else mean


def editing_path(folder: str | Path, model: nn.Module) -> Path:
    """Where choices about the keypoints of a trained model are kept.

    Another training has other keypoints, even where they are called the same: it gets another
    file, and the choices about the old ones are neither applied to it nor lost.

    Args:
        folder: of the results.
        model: that found the keypoints.

    Returns:
        `folder/editing-XXXXXXXX.toml`, after the model's weights.
    """
    weights = hashlib.sha256()
    for name, values in sorted(model.state_dict().items()):
        weights.update(name.encode() + values.detach().cpu().numpy().tobytes())
    return Path(folder) / f"editing-{weights.hexdigest()[:8]}.toml"


def load_editing(path: str | Path) -> Editing:
    """Read what `Editing.save` wrote.

    Args:
        path: `.toml`; any other suffix is read as JSON.

    Returns:
        The choices.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not an editing, or one with an unknown key.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"{path}: no such file; expected what the skeleton editor saves (.toml or .json)"
        )
    text = text_of(path)
    try:
        values = tomllib.loads(text) if Path(path).suffix == ".toml" else json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path}: not an editing ({error})") from error
    keys = {"names", "colours", "merge", "mute"}
    unknown = sorted(set(values) - keys) if isinstance(values, dict) else values
    if unknown or not isinstance(values, dict):
        raise ValueError(
            f"{path}: not an editing; it has {sorted(keys)}, and these are unknown: {unknown!r}"
        )
    return Editing(
        names=values.get("names", {}),
        colours=values.get("colours", {}),
        merge=tuple(tuple(group) for group in values.get("merge", ())),
        mute=tuple(values.get("mute", ())),
    )
