"""Editing: what a person decides about discovered keypoints - names, colours, which are one and which are none - kept in a file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import tomli_w
import torch
from torch import Tensor

from ..clips.tracks import Skeleton, Track
from ..files import write_atomically
from .overlays import keypoint_colours

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib


@dataclass(frozen=True)
class Editing:
    """Choices about a track's keypoints, all by the names that the track came with (k0, k1, ...)."""

    names: Mapping[str, str] = field(default_factory=dict)  # old name -> new name
    colours: Mapping[str, str] = field(default_factory=dict)  # old name -> #rrggbb
    merge: tuple[
        tuple[str, ...], ...
    ] = ()  # each group becomes its first member, the mean weighted by confidence
    mute: tuple[str, ...] = ()  # left out, with their edges

    def save(self, path: str | Path) -> Path:
        """Write `.json` or `.toml`."""
        values = asdict(self)
        if Path(path).suffix == ".json":
            text = json.dumps(values, indent=2) + "\n"
        elif Path(path).suffix == ".toml":
            text = tomli_w.dumps(values)
        else:
            raise ValueError(f"{path}: an editing is kept as .json or .toml")
        return write_atomically(
            path, lambda temporary: temporary.write_text(text, encoding="utf-8")
        )

    def applied(self, track: Track) -> Track:
        """The track as edited; everything that draws or saves a `Track` takes it.

        Raises `ValueError` for a keypoint that the track has not, one in two groups, a group without two members, a colour that is not
        #rrggbb, two keypoints of one name, and an editing that leaves nothing.
        """
        old = list(track.skeleton.names)
        self._check(old)
        place = {name: k for k, name in enumerate(old)}
        groups = {group[0]: [place[n] for n in group] for group in self.merge}
        gone = set(self.mute) | {n for group in self.merge for n in group[1:]}
        kept = [name for name in old if name not in gone]
        parts = [_merged(track, groups.get(name, [place[name]])) for name in kept]
        row = {k: new for new, name in enumerate(kept) for k in groups.get(name, [place[name]])}
        edges = {
            tuple(sorted((row[i], row[j])))
            for i, j in track.skeleton.edges
            if i in row and j in row and row[i] != row[j]
        }
        names = tuple(self.names.get(name, name) for name in kept)
        if len(set(names)) < len(names):
            raise ValueError(
                f"two keypoints of one name after editing: {sorted(n for n in set(names) if names.count(n) > 1)}"
            )
        world, confidence = (torch.stack(x, 1) for x in zip(*parts))
        return replace(
            track,
            world=world,
            confidence=confidence,
            skeleton=Skeleton(names, tuple(sorted(edges)), self._colours(track.skeleton, kept)),
        )

    def _check(self, old: list[str]) -> None:
        members = [n for group in self.merge for n in group]
        if unknown := sorted({*self.names, *self.colours, *members, *self.mute} - set(old)):
            raise ValueError(
                f"the editing names keypoints {unknown} that the track has not; it has {', '.join(old)}"
            )
        if len(set(members)) < len(members) or any(len(group) < 2 for group in self.merge):
            raise ValueError(
                f"merge = {self.merge}: a group has two members or more, and no keypoint is in two groups"
            )
        if len(set(self.mute) | {n for group in self.merge for n in group[1:]}) == len(old):
            raise ValueError("the editing leaves no keypoint; mute fewer")
        for name, colour in self.colours.items():
            if not re.fullmatch("#[0-9a-fA-F]{6}", colour):
                raise ValueError(f"colour {colour!r} of {name}: expected #rrggbb")

    def _colours(self, skeleton: Skeleton, kept: list[str]) -> tuple[str, ...]:
        """The chosen colours and for the others those they would have had; none, if nobody chose any."""
        if not self.colours and not skeleton.colours:
            return ()
        usual = dict(zip(skeleton.names, keypoint_colours(skeleton.names, skeleton.colours)))
        return tuple(self.colours.get(name, usual[name]).lower() for name in kept)


def _merged(track: Track, members: list[int]) -> tuple[Tensor, Tensor]:
    """World (T, 3) and confidence (T,) of one group: means weighted by confidence, unknown points left out; the plain mean where all weights are 0."""
    world, confidence = track.world[:, members], track.confidence[:, members]
    known = world.isfinite().all(-1)
    share = torch.where(known, confidence, 0.0)
    share = torch.where(share.sum(1, keepdim=True) > 0, share, known.to(share))
    share = share / share.sum(
        1, keepdim=True
    )  # all unknown: 0 / 0, and the merged point is unknown, too
    return (share[..., None] * world.nan_to_num()).sum(1), (share * confidence).sum(1).nan_to_num()


def load_editing(path: str | Path) -> Editing:
    """Read what `Editing.save` wrote (.json or .toml); an unknown key is a `ValueError`."""
    text = Path(path).read_text(encoding="utf-8")
    try:
        values = tomllib.loads(text) if Path(path).suffix == ".toml" else json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path}: not an editing ({error})") from error
    known = {"names", "colours", "merge", "mute"}
    if not isinstance(values, dict) or (unknown := sorted(set(values) - known)):
        raise ValueError(
            f"{path}: not an editing; it has {sorted(known)}, and these are unknown: {unknown if isinstance(values, dict) else values!r}"
        )
    lists = dict(
        merge=tuple(tuple(group) for group in values.get("merge", ())),
        mute=tuple(values.get("mute", ())),
    )
    return Editing(**{k: values[k] for k in ("names", "colours") if k in values}, **lists)
