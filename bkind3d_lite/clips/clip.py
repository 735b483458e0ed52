"""Clips: synchronized views of one animal, as typed batches of frame pairs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..cameras import CameraRig
from .foreground import cut_views, footprint, foreground, planes, resized_image
from .frame_cache import kept
from .recordings import read_recording
from .sampling import PairSampler
from .tracks import Skeleton
from .videos import Frames


@dataclass(frozen=True)
class Survey:
    """What static cameras give for nothing, without labels; `motion.survey(clip)` makes it."""

    background: Tensor  # (V, H, W, 3) uint8, the median frame
    noise: Tensor  # (V,) standard deviation of |frame - background| where nothing moves, in [0, 1]
    contrast: Tensor  # (V,) |frame - background| on the animal, in [0, 1]
    centre: Tensor  # (T, 3) centre of the visual hull, world units
    thumbs: Tensor  # (T, V, h, w) uint8, small foreground images
    floor: float  # frame-to-frame change of `thumbs` from noise alone: less than this is 'nothing moves'

    def resized(self, wh: tuple[int, int]) -> Survey:
        """The same for frames of another size (W, H)."""
        return replace(
            self,
            background=torch.stack(
                [
                    (255 * resized_image(planes(view), wh)).round().byte()[0].permute(1, 2, 0)
                    for view in self.background
                ]
            ),
        )

    def motion_energy(self, gap: int) -> Tensor:
        """How much moves between t and t + gap, (T - gap,), as a share of the mean foreground."""
        pairs = zip(self.thumbs[:-gap].split(512), self.thumbs[gap:].split(512))
        change = torch.cat(
            [(later.float() - now.float()).abs().mean((1, 2, 3)) for now, later in pairs]
        )
        return change / torch.cat(
            [some.float().mean((1, 2, 3)) for some in self.thumbs.split(512)]
        ).mean().clamp(min=1e-6)


@dataclass(frozen=True)
class Batch:
    """B frame sets at `now` and, in training, at `later`. Channels are RGB in [0, 1], then (surveyed clips) the foreground."""

    now: Tensor  # (B, V, 3 or 4, H, W)
    later: Tensor | None  # as `now`
    rig: CameraRig  # tensors lead with (B, V) or (V)
    index: Tensor  # (B,) time of `now`
    centre: Tensor | None = None  # (B, 3) where the volume goes, if it follows the animal
    turn: Tensor | None = None  # (B,) angle of the volume about the vertical axis, radians
    turn_later: Tensor | None = None  # (B,) the same for `later`; None: as `turn`

    def pinned(self) -> Batch:
        """The images in page-locked memory, for a GPU that fetches them."""
        return replace(
            self,
            now=self.now.pin_memory(),
            later=None if self.later is None else self.later.pin_memory(),
        )

    def to(self, device) -> Batch:
        moved = {
            k: getattr(self, k).to(device)
            for k in ("now", "later", "rig", "index", "centre", "turn", "turn_later")
            if getattr(self, k) is not None
        }
        return replace(self, **moved)


@dataclass(frozen=True)
class MultiViewClip:
    """T synchronized frames of V calibrated static cameras, and the truth where it is known."""

    frames: Frames | Tensor  # (T, V, H, W, 3) uint8, indexable by time
    rig: CameraRig
    fps: float
    truth: Tensor | None = None  # (T, J, 3) world units; never seen by training
    skeleton: Skeleton | None = None
    body_length: float | None = None
    name: str = "clip"
    starts: tuple[int, ...] = (
        0,
    )  # times at which an unbroken stretch begins: no pair reaches across one
    scored: Tensor | None = (
        None  # (T,) bool, the frames that a data set's protocol scores; None: all
    )
    marks: Tensor | None = (
        None  # (T, V, J, 2) where the joints of `truth` were seen, pixels of the rig
    )

    def __len__(self) -> int:
        return len(self.frames)

    def at(self, times: Sequence[int]) -> MultiViewClip:
        """The clip of these times alone, in their order; nothing is decoded yet."""
        times = torch.as_tensor(times)
        inside = torch.bucketize(
            times, torch.tensor(self.starts), right=True
        )  # the number of its stretch
        step = times.diff()
        usual = step.median() if len(step) else 1
        starts = (
            0,
            *(((inside.diff() != 0) | (step > usual) | (step < 1)).nonzero()[:, 0] + 1).tolist(),
        )
        frames = (
            self.frames.at(times.tolist())
            if isinstance(self.frames, Frames)
            else self.frames[times]
        )
        known = {
            key: None if (value := getattr(self, key)) is None else value[times]
            for key in ("truth", "scored", "marks")
        }
        return replace(
            self, frames=frames, fps=self.fps / max(1, int(usual)), starts=starts, **known
        )

    def thinned(self, most: int, pieces: int = 8) -> MultiViewClip:
        """At most `most` frames of a longer clip: `pieces` unbroken stretches, evenly spread over it."""
        T, pieces = len(self), max(1, min(pieces, most // 4))
        length = max(1, most // pieces)
        if T <= most:
            return self
        begins = torch.linspace(0, T - length, pieces).long()
        return self.at((begins[:, None] + torch.arange(length)).flatten())

    def unbroken(self, gap: int) -> Tensor:
        """Which times t have their t + gap in the same stretch, (T - gap,) float, 0 or 1."""
        stretch = torch.bucketize(torch.arange(len(self)), torch.tensor(self.starts), right=True)
        return (stretch[gap:] == stretch[:-gap]).float()

    @property
    def labelled(self) -> Tensor:
        """Times (n,) at which scores are taken: some joint is known, and the protocol asks for the frame."""
        if self.truth is None:
            return torch.zeros(0, dtype=torch.long)
        known = self.truth.isfinite().all(-1).any(1)
        return (known if self.scored is None else known & self.scored).nonzero()[:, 0]

    def resized(self, wh: tuple[int, int]) -> MultiViewClip:
        """The clip with frames decoded to another size (W, H) and its rig to match; nothing is decoded yet. For opened folders."""
        scale = torch.tensor(wh) / torch.tensor(self.rig.wh)
        return replace(
            self,
            frames=self.frames.resized(wh),
            rig=self.rig.resized(wh),
            marks=None if self.marks is None else self.marks * scale,
        )

    def kept(self, folder: str | Path, wh: tuple[int, int]) -> MultiViewClip:
        """The clip with frames of `wh` (W, H), or its own if that is smaller, decoded once into a file in `folder` (`stored.kept`)."""
        wh = tuple(wh) if wh[0] * wh[1] < self.rig.wh[0] * self.rig.wh[1] else self.rig.wh
        small = self.resized(wh)
        return replace(small, frames=kept(small.frames, folder))

    @property
    def fingerprint(self) -> dict:
        """What a checkpoint remembers of the clip it was trained on, as plain values (JSON)."""
        places = [[round(c, 3) for c in centre] for centre in self.rig.centres.tolist()]
        begins = getattr(self.frames, "begins", [0] * self.rig.views)
        offsets = {
            name: n - min(begins) for name, n in zip(self.rig.names, begins) if n > min(begins)
        }
        return {
            "cameras": list(self.rig.names),
            "size": list(self.rig.wh),
            "frames": len(self),
            "fps": self.fps,
            "places": places,
            "offsets": offsets,
        }

    def batch(
        self,
        times: Sequence[int],
        gap: int | None,
        wh: tuple[int, int],
        survey: Survey | None = None,
        follow: float | None = None,
        views: Sequence[int] | None = None,
        turn: Tensor | None = None,
        shift: Tensor | float = 0.0,
    ) -> Batch:
        """The frames at `times` (and `times + gap`), resized to `wh` = (W, H), or cropped around the animal.

        `follow` is the side of a cube about the survey's centre (the middle of now and later) plus `shift` (B, 3): each view is
        cropped to it.
        """
        if follow is not None and survey is None:
            raise ValueError(
                f"{self.name}: to follow the animal the clip must be surveyed first: survey=motion.survey(clip)"
            )
        views = list(range(self.rig.views)) if views is None else list(views)
        times = torch.as_tensor(times)
        rig, corner, window, centre = self.rig.take(views).batched(len(times)), None, None, None
        if follow is not None:
            centre = (
                survey.centre[times]
                if gap is None
                else (survey.centre[times] + survey.centre[times + gap]) / 2
            )
            centre = centre + shift
            corner, window = footprint(rig, centre, follow)
            rig = rig.cropped(corner, window, wh)
        else:
            rig = rig.resized(wh)
        if survey is not None:
            ground = cut_views(
                [survey.background[v].expand(len(times), -1, -1, -1) for v in views],
                self.rig.wh,
                corner,
                window,
                wh,
            )

        def seen(at: Tensor) -> Tensor:
            images = cut_views(
                [self.frames[at.tolist(), v] for v in views], self.rig.wh, corner, window, wh
            )
            if survey is None:
                return images
            return torch.cat(
                [images, foreground(images, ground, survey.noise[views], survey.contrast[views])], 2
            )

        return Batch(
            seen(times), None if gap is None else seen(times + gap), rig, times, centre, turn
        )

    def batches(
        self,
        wh: tuple[int, int],
        gap: int | Sequence[int],
        batch: int = 1,
        seed: int = 0,
        start: int = 0,
        survey: Survey | None = None,
        follow: float | None = None,
        views: int | None = None,
        by_motion: bool = False,
        turn: bool = False,
        jitter: float = 0.0,
        share: tuple[int, int] = (0, 1),
    ) -> Iterator[Batch]:
        """Endless seeded batches of frame pairs; step i depends on (seed, i) alone, so `start=i` resumes exactly.

        gap: frames between now and later, or several to draw from. views: draw so many of the views at each step.
        by_motion: draw pairs in proportion to how much moves in them. turn: random turns of the volume about the vertical, another one for later.
        jitter: random shift of the cube that follows the animal, up to this share of its side along each axis.
        share: (r, R): of R x `batch` pairs, as one process would draw them, those of rank r.
        """
        gaps = [gap] if isinstance(gap, int) else list(gap)
        if min(gaps) < 1 or (by_motion and survey is None):
            raise ValueError(
                f"{self.name}: gaps = {gaps}, by_motion = {by_motion}; a gap is at least 1 frame, and drawing pairs by "
                "motion needs survey=motion.survey(clip)"
            )
        if max(gaps) >= len(self):
            raise ValueError(
                f"{self.name}: a gap of {max(gaps)} frames needs more than the clip's {len(self)}"
            )
        chance = [(survey.motion_energy(g) if by_motion else 1.0) * self.unbroken(g) for g in gaps]
        if any(not c.any() for c in chance):
            raise ValueError(
                f"{self.name}: no pair {max(gaps)} frames apart lies in one of its {len(self.starts)} unbroken stretches; take shorter gaps, "
                "or a recording without missing frames"
            )
        sampler = PairSampler(
            gaps, chance, self.rig.views, batch, views, turn=turn, jitter=jitter, share=share
        )
        for draw in sampler.draws(seed, start):
            made = self.batch(
                draw.times,
                draw.gap,
                wh,
                survey,
                follow,
                draw.views,
                draw.turn,
                draw.shift * (follow or 0.0),
            )
            yield replace(made, turn_later=draw.turn_later)


@dataclass(frozen=True)
class SurveyedClip:
    """A clip, or a part of one, with what the cameras tell about it (None where the recipe does not ask)."""

    clip: MultiViewClip
    survey: Survey | None


# ---- opening -----------------------------------------------------------------------------------------------------
def open_clip(
    folder: str | Path,
    wh: tuple[int, int] | None = None,
    budget: int = 2 << 30,
    subject: str | int | None = None,
    trial: str | None = None,
    fps: float | None = None,
    offsets: Mapping[str, int] | None = None,
    common: bool = False,
) -> MultiViewClip:
    """Open a folder: a video, parts of one, or a folder of images for each camera, and a calibration there or one level up (`find_calibration`).

    Projects of DANNCE, Anipose and Pose2Sim, Human3.6M by h36m-fetch and Rat7M are recognised by themselves (`recordings`).
    wh: (W, H) decodes smaller frames and scales the rig. budget: bytes of decoded frames that are kept. subject: which rig of a Human3.6M
    calibration. trial: a word of the videos' names, where a folder holds several recordings. fps: where the files do not say, or say wrong.
    offsets: {camera: n}, this camera is read n frames later, its frame t + n meets frame t of the others. common: cut unequal videos to the
    stretch that all have. `truth.npz` beside the videos (positions, names, edges, body_length, marks) is read if it is there.
    Nothing is decoded yet. Raises with the file, the value and the remedy.
    """
    found = read_recording(folder, subject, trial, fps, offsets, common)
    wh, known = found.rig.wh if wh is None else tuple(wh), {}
    if found.truth is not None:
        known = dict(
            truth=torch.from_numpy(found.truth.positions),
            skeleton=Skeleton(found.truth.names, found.truth.edges),
            body_length=found.truth.body_length,
        )
        if found.truth.marks is not None:
            known["marks"] = torch.from_numpy(found.truth.marks) * (
                torch.tensor(wh) / torch.tensor(found.rig.wh)
            )
    scored = None if found.scored is None else torch.from_numpy(found.scored)
    return MultiViewClip(
        Frames(found.footage, wh, budget),
        found.rig.resized(wh),
        found.fps,
        name=str(folder),
        starts=found.starts,
        scored=scored,
        **known,
    )
