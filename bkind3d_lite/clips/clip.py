"""Clips: synchronized views of one animal, as typed batches of frame pairs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..cameras import CameraRig
from ..shapes import digest
from .foreground import Survey, Window, cut_views, footprint
from .frame_cache import cached_frames
from .recordings import Recording, read_recording
from .sampling import Batch, PairDraw, PairSampler, pair_chances
from .tracks import Skeleton, told_time
from .videos import Frames

__all__ = ["Batch", "MultiViewClip", "Survey", "SurveyedClip", "open_clip"]


@dataclass(frozen=True)
class MultiViewClip:
    """T synchronized frames of V calibrated static cameras, and the truth where there is one."""

    frames: Frames | Tensor  # (T, V, H, W, 3) uint8, indexable by time
    rig: CameraRig
    fps: float
    truth: Tensor | None = None  # (T, J, 3) world units; training does not look at it
    skeleton: Skeleton | None = None
    body_length: float | None = None
    name: str = "clip"
    # Times at which an unbroken stretch begins: no pair reaches across one.
    starts: tuple[int, ...] = (0,)
    # (T,) bool, the frames that a data set's protocol scores; None: all.
    scored: Tensor | None = None
    # (T, V, J, 2) where the joints of `truth` were marked, pixels of the rig.
    marks: Tensor | None = None
    # (T, J) in [0, 1] how far labels that teach are trusted (`PseudoLabels.of`); 0: not at all.
    trust: Tensor | None = None
    # (T, 4) x, y, width, height of the animal in the one uncalibrated view, pixels of the rig.
    boxes: Tensor | None = None
    numbers: Tensor | None = None  # (T,) of the frames in their recording; None: 0 to T - 1
    seconds: Tensor | None = None  # (T,) float64, when they were; None: by number and fps

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def clock(self) -> dict[str, Any]:
        """`numbers` and `seconds` (T,) of the frames, as clips and tracks have them."""
        return told_time(len(self), self.fps, self.numbers, self.seconds)

    def at(self, times: Sequence[int] | Tensor) -> MultiViewClip:
        """The clip of these times alone, in their order; nothing is decoded yet.

        Args:
            times: (n,) frames.

        Returns:
            A clip of n frames; a new stretch begins where time jumps.
        """
        times = torch.as_tensor(times)
        stretch = torch.bucketize(times, torch.tensor(self.starts), right=True)
        step = times.diff()
        usual = step.median() if len(step) else 1
        jumps = (stretch.diff() != 0) | (step > usual) | (step < 1)
        labels: dict[str, Any] = {
            key: None if (value := getattr(self, key)) is None else value[times]
            for key in ("truth", "scored", "marks", "trust", "boxes")
        }
        frames = self.frames
        return replace(
            self,
            frames=frames.at(times.tolist()) if isinstance(frames, Frames) else frames[times],
            fps=self.fps / max(1, int(usual)),
            starts=(0, *(jumps.nonzero()[:, 0] + 1).tolist()),
            **labels,
            **{key: value[times] for key, value in self.clock.items()},
        )

    def thinned(self, most: int, pieces: int = 8) -> MultiViewClip:
        """Some stretches of a longer clip, evenly spread over it.

        Args:
            most: frames that are taken at most.
            pieces: unbroken stretches that they come in.

        Returns:
            A clip of at most `most` frames.
        """
        T, pieces = len(self), max(1, min(pieces, most // 4))
        length = max(1, most // pieces)
        if T <= most:
            return self
        begins = torch.linspace(0, T - length, pieces).long()
        return self.at((begins[:, None] + torch.arange(length)).flatten())

    def unbroken(self, gap: int) -> Tensor:
        """Which times t have their t + gap in the same stretch.

        Args:
            gap: frames.

        Returns:
            (T - gap,) float, 0 or 1.
        """
        stretch = torch.bucketize(torch.arange(len(self)), torch.tensor(self.starts), right=True)
        return (stretch[gap:] == stretch[:-gap]).float()

    @property
    def labelled(self) -> Tensor:
        """Times (n,) at which scores are taken: with a joint in the truth, and of the protocol."""
        if self.truth is None:
            return torch.zeros(0, dtype=torch.long)
        labelled = self.truth.isfinite().all(-1).any(1)
        return (labelled if self.scored is None else labelled & self.scored).nonzero()[:, 0]

    def resized(self, wh: tuple[int, int]) -> MultiViewClip:
        """The clip decoded to another size, its rig to match; nothing is decoded yet.

        Args:
            wh: (W, H) in pixels.

        Returns:
            A clip of an opened folder.
        """
        scale = torch.tensor(wh) / torch.tensor(self.rig.wh)
        return replace(
            self,
            frames=self._films().resized(wh),
            rig=self.rig.resized(wh),
            marks=None if self.marks is None else self.marks * scale,
            boxes=None if self.boxes is None else self.boxes * scale.repeat(2),
        )

    def _films(self) -> Frames:
        """The frames, if they are decoded when asked for."""
        if not isinstance(self.frames, Frames):
            raise TypeError(f"{self.name}: its frames lie in memory, not in videos")
        return self.frames

    def cached(self, folder: str | Path, wh: tuple[int, int]) -> MultiViewClip:
        """The clip with frames decoded once into a file (`frame_cache.cached_frames`).

        Args:
            folder: where the file lies.
            wh: (W, H) in pixels of the frames; if its own are smaller, these.

        Returns:
            A clip of that size, or its own.
        """
        small = self.resized(min(self.rig.wh, (wh[0], wh[1]), key=math.prod))
        return replace(small, frames=cached_frames(small._films(), folder))

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What a checkpoint remembers of the clip it was trained on, as plain values (JSON)."""
        places = [[round(c, 3) for c in centre] for centre in self.rig.centres.tolist()]
        begins = getattr(self.frames, "begins", [0] * self.rig.views)
        first = min(begins)
        return {
            "cameras": list(self.rig.names),
            "size": list(self.rig.wh),
            "frames": len(self),
            "fps": self.fps,
            "places": places,
            "offsets": {name: n - first for name, n in zip(self.rig.names, begins) if n > first},
            **({} if self.trust is None else {"labels": digest(self.truth, self.trust)}),
        }

    def batch(
        self,
        times: Sequence[int] | Tensor,
        gap: int | None,
        wh: tuple[int, int],
        survey: Survey | None = None,
        crop: float | None = None,
        *,
        views: Sequence[int] | None = None,
        turn: Tensor | None = None,
        shift: Tensor | float = 0.0,
    ) -> Batch:
        """The frames at some times, resized or cropped around the animal.

        Args:
            times: (B,) frames `now`.
            gap: frames between now and later; None: no later.
            wh: (W, H) in pixels of the images.
            survey: adds the foreground to the images' channels.
            crop: side of the cube to which each view is cropped, world units; None: whole images.
            views: numbers of the views, in this order; None: all.
            turn: (B,) radians, handed on.
            shift: (B, 3) of the cube from the survey's centre (the middle of now and later).

        Returns:
            A batch whose cameras fit its images.
        """
        views = list(range(self.rig.views)) if views is None else list(views)
        times = torch.as_tensor(times)
        rig, centre, window = self.rig.take(views).batched(len(times)), None, None
        if crop is not None:
            centre = self._centre(times, gap, survey) + shift
            window = footprint(rig, centre, crop)
        pair = [times] if gap is None else [times, times + gap]
        images = [self._images(at, views, window, wh) for at in pair]
        if survey is not None:
            images = survey.with_foreground(images, views, window)
        return Batch(
            now=images[0],
            later=None if gap is None else images[1],
            rig=rig.resized(wh) if window is None else rig.cropped(*window, wh),
            index=times,
            centre=centre,
            turn=turn,
        )

    def _centre(self, times: Tensor, gap: int | None, survey: Survey | None) -> Tensor:
        """The animal at `times`, or in the middle of now and later, (B, 3)."""
        if survey is None:
            raise ValueError(
                f"{self.name}: to follow the animal the clip must be surveyed first: "
                "survey=bkind3d_lite.survey(clip)"
            )
        now = survey.centre[times]
        return now if gap is None else (now + survey.centre[times + gap]) / 2

    def _images(
        self, times: Tensor, views: list[int], window: Window | None, wh: tuple[int, int]
    ) -> Tensor:
        """Colours of these times and views, (B, V, 3, h, w) in [0, 1]."""
        return cut_views([self.frames[times.tolist(), v] for v in views], window, wh)

    def batches(
        self,
        wh: tuple[int, int],
        gap: int | Sequence[int],
        *,
        batch: int = 1,
        seed: int = 0,
        start: int = 0,
        survey: Survey | None = None,
        crop: float | None = None,
        views: int | None = None,
        by_motion: bool = False,
        turn: bool = False,
        swing: float | None = None,
        jitter: float = 0.0,
        mirror: bool = False,
        share: tuple[int, int] = (0, 1),
    ) -> Iterator[Batch]:
        """Endless seeded batches of frame pairs; step i depends on (seed, i) alone.

        Args:
            wh: (W, H) in pixels of the images.
            gap: frames between now and later, or several to draw from.
            batch: pairs a step.
            seed: of the run.
            start: the first step; `start=i` resumes exactly.
            survey: adds the foreground to the images' channels.
            crop: side of the cube to which each view is cropped, world units; None: whole images.
            views: how many of the views to draw at each step; None: all.
            by_motion: draw pairs in proportion to how much moves in them.
            turn: random turns of the volume about the vertical, another one for later,
            swing: or so far to either side of the survey's heading, radians.
            jitter: random shift of the cube, up to this share of its side along each axis.
            mirror: show every other batch, at random, in a mirror.
            share: (r, R): of R x `batch` pairs, as one process would draw them, those of rank r.

        Yields:
            One batch a step.
        """
        gaps = [gap] if isinstance(gap, int) else list(gap)
        chances = pair_chances(self, gaps, survey, by_motion)
        how: dict[str, Any] = dict(turn=turn, jitter=jitter, mirror=mirror, share=share)
        how |= dict(batch=batch, views_per_step=views)
        sampler = PairSampler(gaps, chances, self.rig.views, **how)
        for draw in sampler.draws(seed, start):
            yield self._drawn(draw, wh, survey, crop, swing=swing)

    def _drawn(
        self,
        draw: PairDraw,
        wh: tuple[int, int],
        survey: Survey | None,
        crop: float | None,
        *,
        swing: float | None,
    ) -> Batch:
        """The batch that a draw asks for."""
        if swing is not None and survey is not None and survey.heading is not None:
            draw = draw.about(survey.heading, swing)
        batch = self.batch(
            draw.times,
            draw.gap,
            wh,
            survey,
            crop,
            views=draw.views,
            turn=draw.turn,
            shift=draw.shift * (crop or 0.0),
        )
        return draw.told(batch)


@dataclass(frozen=True)
class SurveyedClip:
    """A clip, or a part of one, with its survey (None where the recipe does not ask)."""

    clip: MultiViewClip
    survey: Survey | None


# ---- opening -------------------------------------------------------------------------------------
def open_clip(
    folder: str | Path,
    wh: tuple[int, int] | None = None,
    *,
    budget: int = 2 << 30,
    subject: str | int | None = None,
    trial: str | None = None,
    fps: float | None = None,
    offsets: Mapping[str, int] | None = None,
    common: bool = False,
    one_camera: bool = False,
    resample: bool = False,
    cameras: Sequence[str] | None = None,
) -> MultiViewClip:
    """Open a folder: for each camera a video, parts of one, or a folder of images; a calibration.

    The calibration lies there or one level up (`find_calibration`). Projects of DANNCE, Anipose
    and Pose2Sim, Human3.6M by h36m-fetch and Rat7M are recognised by themselves (`recordings`).
    `truth.npz` beside the videos (positions, names, edges, body_length, marks) is read if it is
    there. A video's own path, or a folder of one without a calibration, is one uncalibrated
    camera. Nothing is decoded yet. What is wrong is said with file, value and remedy.

    Args:
        folder: the recording.
        wh: (W, H) in pixels: decodes smaller frames and scales the rig; None: as recorded.
        budget: bytes of decoded frames that are cached.
        subject: which rig of a Human3.6M calibration.
        trial: a word of the videos' names, where a folder holds several recordings.
        fps: frames per second, where the files do not say, or say wrong.
        offsets: {camera: n}: this camera is read n frames later, its frame t + n meets frame t of
            the others.
        common: cut unequal videos to the stretch that all have.
        one_camera: all videos, or folders of images, are films of one uncalibrated camera.
        resample: bring cameras of different rates to the slowest one's, by their times.
        cameras: names of the calibrated cameras that are used; None: all.

    Returns:
        The clip.
    """
    how: dict[str, Any] = dict(subject=subject, trial=trial, fps=fps, one_camera=one_camera)
    cut: dict[str, Any] = dict(offsets=offsets, common=common, resample=resample)
    how["cameras"] = cameras
    recording = read_recording(folder, **cut, **how)
    return _clip_of(recording, str(folder), recording.rig.wh if wh is None else wh, budget)


def _clip_of(recording: Recording, name: str, wh: tuple[int, int], budget: int) -> MultiViewClip:
    """A recording as a clip of images of size `wh`."""
    return MultiViewClip(
        frames=Frames(recording.footage, (wh[0], wh[1]), budget),
        rig=recording.rig.resized((wh[0], wh[1])),
        fps=recording.fps,
        name=name,
        starts=recording.starts,
        **_labels(recording, wh),
    )


def _labels(recording: Recording, wh: tuple[int, int]) -> dict[str, Any]:
    """Truth, boxes and times of a recording as fields of a clip of size `wh`; none: {}."""
    told = dict(scored=recording.scored, numbers=recording.clock, seconds=recording.seconds)
    labels: dict[str, Any] = {k: torch.from_numpy(x) for k, x in told.items() if x is not None}
    scale = torch.tensor(wh) / torch.tensor(recording.rig.wh)
    if recording.boxes is not None:
        labels["boxes"] = torch.from_numpy(recording.boxes) * scale.repeat(2)
    if (truth := recording.truth) is None:
        return labels
    labels |= dict(skeleton=Skeleton(truth.names, truth.edges), body_length=truth.body_length)
    if recording.rig.calibrated:
        labels["truth"] = torch.from_numpy(truth.positions)
    if truth.marks is not None:
        labels["marks"] = torch.from_numpy(truth.marks) * scale
    return labels
