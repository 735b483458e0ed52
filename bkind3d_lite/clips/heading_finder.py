"""Heading finder: which way the animal faces, from its hull, its walk and its look; no labels."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from .clip import MultiViewClip, Survey
from .extent import animal_length
from .heading import Heading, twelfth, wrapped
from .hull_motion import MOMENT, HullMotion, hull_motion
from .look import (
    Lesson,
    Look,
    calibrated,
    log_likelihood,
    look_at_clip,
    look_crops,
    right_of_views,
    teach,
    turned,
)

ANGLES = 72  # headings that are told apart
TURN = 0.35  # radians that an animal usually turns in that time
WALK = 3.0  # concentration of the heading about the way, at the speed of walking
BESIDE = 1.0  # the same beside a look, whose evidence is calibrated: velocity is smooth, not new
FASTER = 1.5  # times the speed of walking beyond which speed says no more
USEFUL = 0.25  # scale of a look that knows something of walking it was not taught
SLOWEST = 0.15  # animal lengths per second; slower is no walk, whatever else the animal does
DOUBT = 0.05  # chance that in `MOMENT` the animal turns unseen: no sign is known for ever
CALM = 0.2  # exponent on evidence in what is said of confidence, since its pieces follow each other
STILL = 0.25  # share of the usual turn of which an animal is capable that does not move at all
LESSON = 1500  # moments of a recording that teach the look


# ---- what counts as walking ----------------------------------------------------------------------
def walking_speed(motion: HullMotion) -> float:
    """The speed from which on this animal goes somewhere, in lengths per second.

    Half of the usual speed of its fast moments, sum v^3 / sum v^2, so that long rests do not count.

    Args:
        motion: of the hull.

    Returns:
        At least `SLOWEST`.
    """
    v = motion.speed
    return max(SLOWEST, float(v.pow(3).sum() / v.square().sum().clamp(min=1e-9)) / 2)


def axis_agreement(motion: HullMotion, walking: Tensor) -> float:
    """How well the body's long axis agrees with walking, weighted by its elongation, in [-1, 1].

    Args:
        motion: of the hull.
        walking: (T,) bool.

    Returns:
        1: always along, 0: no relation, below 0: across (a human's shoulders); 0 without walking.
    """
    axis, way = motion.axis[walking], 2 * motion.way[walking]
    along = axis[:, 0] * way.cos() + axis[:, 1] * way.sin()
    return float(along.sum() / axis.norm(dim=-1).sum().clamp(min=1e-9)) if len(way) else 0.0


def axis_weight(motion: HullMotion, walking: Tensor, fps: float) -> float:
    """The weight w of the body's axis that makes this recording's walk likeliest.

    The doubled way is a von Mises variable about the doubled axis, of concentration w e.

    Args:
        motion: of the hull.
        walking: (T,) bool.
        fps: frames a second.

    Returns:
        w; 0 where the axis means nothing.
    """
    off = turned(motion.axis, -2 * motion.way)[walking]
    time = walking.nonzero()[:, 0] / fps
    return calibrated(off, time, torch.logspace(-1.5, 1.2, 60)) if len(time) else 0.0


# ---- the path ------------------------------------------------------------------------------------
def evidence_of_motion(motion: HullMotion, speed: float, axis: float, walk: float = WALK) -> Tensor:
    """Evidence per `MOMENT` for each of `ANGLES` headings, (T, ANGLES).

    Args:
        motion: of the hull.
        speed: that counts as walking, lengths per second.
        axis: weight of the body's axis.
        walk: weight of walking.

    Returns:
        axis e cos 2 (h - a) + walk min(v / v0, 1.5)^2 cos(h - way).
    """
    walks = walk * (motion.speed / speed).clamp(max=FASTER) ** 2
    vector = walks[:, None] * F.normalize(motion.velocity, dim=-1)
    return along_angles(vector) + along_angles(axis * motion.axis, 2)


def along_angles(vector: Tensor, times: int = 1) -> Tensor:
    """Projection of vectors on each of `ANGLES` headings.

    Args:
        vector: (..., 2).
        times: 2: on the doubled headings, for an axis.

    Returns:
        (..., ANGLES).
    """
    h = times * angles()
    return vector[..., :1] * h.cos() + vector[..., 1:] * h.sin()


def angles() -> Tensor:
    """The headings that are told apart, (ANGLES,) radians."""
    return torch.arange(ANGLES) * 2 * math.pi / ANGLES


def moments_of(clip: MultiViewClip) -> list[Tensor]:
    """Each unbroken stretch in pieces of `MOMENT`.

    Args:
        clip: the recording.

    Returns:
        For each stretch (n,), which of its pieces each of its frames lies in.
    """
    ends = [*clip.starts[1:], len(clip)]
    size = max(1.0, MOMENT * clip.fps)
    return [(torch.arange(e - s) / size).long() for s, e in zip(clip.starts, ends)]


def best_path(evidence: Tensor, turn: Tensor | float = TURN) -> tuple[Tensor, Tensor]:
    """The likeliest headings under evidence and the cost of turning, and how likely each is.

    Args:
        evidence: (S, ANGLES) log likelihood of each moment.
        turn: usual turn into each moment, radians, (S,) or one; d costs d^2 / (2 turn^2).

    Returns:
        Angles (S,) by Viterbi, and probability (S,) that the heading is within 90 degrees of it.
    """
    off = wrapped(angles()[:, None] - angles())
    cost = -(off**2) / 2
    rate = torch.as_tensor(turn).expand(len(evidence)) ** -2
    score, back = evidence[0], []
    for now, r in zip(evidence[1:], rate[1:]):
        best, where = (score[:, None] + r * cost).max(0)
        back.append(where)
        score = best + now
    path = [int(score.argmax())]
    for where in reversed(back):
        path.append(int(where[path[-1]]))
    states = torch.tensor(path[::-1])
    mine = _marginals(evidence, cost, rate)
    near = (off[states].abs() < math.pi / 2).float()
    return angles()[states], (mine * near).sum(-1)


def _marginals(evidence: Tensor, cost: Tensor, rate: Tensor) -> Tensor:
    """Probability of every heading given all evidence, (S, ANGLES), forwards and backwards."""
    like = (CALM * (evidence - evidence.amax(-1, keepdim=True))).exp()

    def passed(rows: Tensor, rates: Tensor) -> Tensor:
        state, out = torch.ones(ANGLES) / ANGLES, []
        for row, r in zip(rows, [*rates, 0.0]):
            out.append(state)
            spread = (r * cost).exp()
            state = (state * row) @ (spread / spread.sum(0))
            state = (1 - DOUBT) * state / state.sum() + DOUBT / ANGLES
        return torch.stack(out)

    both = passed(like, rate[1:]) * like * passed(like.flip(0), rate[1:].flip(0)).flip(0)
    return both / both.sum(-1, keepdim=True)


def headed(clip: MultiViewClip, survey: Survey, look: Look | None = None) -> Survey:
    """The survey with the heading of every frame.

    Args:
        clip: the recording.
        survey: of the clip.
        look: taught before; None: the hull and its walk must do.

    Returns:
        The same survey, or one whose `heading` says whether it was found.
    """
    return replace(survey, heading=find_heading(clip, survey, look))


def find_heading(
    clip: MultiViewClip,
    survey: Survey,
    look: Look | None = None,
    motion: HullMotion | None = None,
) -> Heading:
    """Heading of every frame, from the hull's shape and way and, where there is one, from the look.

    Args:
        clip: the recording.
        survey: of the clip.
        look: taught by this or other recordings of the same kind of animal.
        motion: of the hull, where it is there already.

    Returns:
        The heading; `found` says whether anything walks (or a look tells).
    """
    motion = motion or hull_motion(clip, survey)
    speed = walking_speed(motion) if look is None else float(look.pace) / motion.length
    walking = motion.speed > speed
    weight = axis_weight(motion, walking, clip.fps) if look is None else float(look.axis)
    evidence = evidence_of_motion(motion, speed, weight, WALK if look is None else BESIDE)
    spoke = None if look is None else look_vectors(look, clip, survey)
    agile = motion.change / motion.change[walking].median() if walking.any() else motion.change
    angle, confidence = _paths(clip, evidence, spoke, TURN * agile.clamp(STILL, 1.0))
    return Heading(
        angle,
        confidence,
        walking,
        speed=speed,
        axis_agreement=axis_agreement(motion, walking),
        axis_weight=weight,
        length=motion.length,
        travelled=float(motion.speed[walking].sum() / clip.fps),
        looked=look is not None,
        agrees=look is None or weight > 0 or float(look.scale) > USEFUL,
        fps=clip.fps,
        starts=clip.starts,
    )


def _paths(
    clip: MultiViewClip, evidence: Tensor, spoke: Tensor | None, turn: Tensor
) -> tuple[Tensor, Tensor]:
    """Angle and confidence of every frame, (T,) each: a path through every unbroken stretch.

    Of evidence (T, ANGLES) and the look's vectors (T, 2), the mean over each moment counts.
    """
    angle, confidence = [], []
    wide = max(1.0, 1 / (MOMENT * clip.fps)) ** 0.5  # of frames that are further apart
    for first, pieces in zip(clip.starts, moments_of(clip)):
        part = slice(first, first + len(pieces))
        score = _per_piece(evidence[part], pieces)
        if spoke is not None:
            score = score + spoken(_per_piece(spoke[part], pieces, known=True))
        path, sure = best_path(score, wide * _per_piece(turn[part, None], pieces)[:, 0])
        angle.append(_between(path, pieces))
        confidence.append(sure[pieces])
    return torch.cat(angle), torch.cat(confidence)


def spoken(vector: Tensor) -> Tensor:
    """Log likelihood of each of `ANGLES` headings under a look's vectors.

    Args:
        vector: (S, 2) von Mises vectors.

    Returns:
        (S, ANGLES).
    """
    return log_likelihood(vector[:, None], angles().expand(len(vector), -1))


def look_vectors(look: Look, clip: MultiViewClip, survey: Survey) -> Tensor:
    """Sum over views of what a look says, (T, 2); NaN at frames it was not asked about.

    Two frames of every `MOMENT` are asked.

    Args:
        look: taught before.
        clip: the recording.
        survey: of the clip.

    Returns:
        von Mises vectors kappa (cos h, sin h) in the world.
    """
    steps = [
        torch.arange(s, e, max(1, int(MOMENT * clip.fps / 2)))
        for s, e in zip(clip.starts, [*clip.starts[1:], len(clip)])
    ]
    times = torch.cat(steps)
    out = torch.full((len(clip), 2), torch.nan)
    out[times] = look_at_clip(look, clip, survey, times).sum(1)
    return out


def _per_piece(rows: Tensor, pieces: Tensor, known: bool = False) -> Tensor:
    """Mean of rows (n, D) over each piece; known: rows that are NaN do not count."""
    count = torch.zeros(int(pieces[-1]) + 1)
    there = rows.isfinite().all(-1).float() if known else torch.ones(len(rows))
    count.index_add_(0, pieces, there)
    total = rows.new_zeros(len(count), rows.shape[1]).index_add_(0, pieces, rows.nan_to_num(0.0))
    return total / count.clamp(min=1)[:, None]


def _between(path: Tensor, pieces: Tensor) -> Tensor:
    """The path's angles (S,) at its pieces' frames, (n,), straight between the middles."""
    if len(path) == len(pieces):
        return path
    count = torch.bincount(pieces).float()
    middle = count.cumsum(0) - (count + 1) / 2
    frame = torch.arange(len(pieces)).float()
    right = torch.bucketize(frame, middle).clamp(1, max(1, len(path) - 1))
    if len(path) == 1:
        return path.expand(len(pieces))
    left = right - 1
    share = ((frame - middle[left]) / (middle[right] - middle[left])).clamp(0, 1)
    return wrapped(path[left] + share * wrapped(path[right] - path[left]))


# ---- the walk teaches the look -------------------------------------------------------------------
def lesson(
    clip: MultiViewClip, survey: Survey, heading: Heading, side: float, most: int = LESSON
) -> Lesson:
    """Walking frames of a recording as pictures with their heading, evenly over directions.

    Args:
        clip: the recording.
        survey: of the clip.
        heading: of its frames.
        side: of the cube that a crop shows, world units.
        most: moments at most.

    Returns:
        What `teach` takes.
    """
    sure = heading.walking & (heading.confidence > 0.8)
    times = sure.nonzero()[:, 0]
    if len(times) > most:
        bins = twelfth(heading.angle[times])
        rank = torch.zeros(len(times))
        for b in bins.unique():  # in each direction, frames spread over time; the rare ones first
            mine = (bins == b).nonzero()[:, 0]
            order = torch.randperm(len(mine), generator=torch.Generator().manual_seed(0))
            rank[mine] = order.float()
        times = times[rank.argsort()[:most].sort().values]
    crops = torch.cat(list(look_crops(clip, survey, times, side)))
    stretch = torch.bucketize(times, torch.tensor(clip.starts), right=True)
    return Lesson(
        crops, right_of_views(clip.rig, survey.centre[times]), heading.angle[times],
        time=times / clip.fps + 1e4 * stretch,
    )  # fmt: skip


def teach_look(
    recordings: list[tuple[MultiViewClip, Survey, Heading]],
    seed: int = 0,
    side: float | None = None,
    steps: int = 500,
) -> Look | None:
    """A look taught by the walk of one or several recordings of the same kind of animal.

    Args:
        recordings: clip, survey and heading (from motion alone) of each.
        seed: of weights and draws.
        side: of the cube that a crop shows, world units; None: 1.4 lengths of the animal.
        steps: of each of its networks.

    Returns:
        The look; None if too little is walked to teach it.
    """
    walks = [x for x in recordings if x[2].found]
    if not walks:
        return None
    lengths = [animal_length(survey, clip.rig) for clip, survey, _ in walks]
    side = side or 1.4 * float(torch.tensor(lengths).median())
    look = teach([lesson(*x, side) for x in walks], side, seed, steps)
    time = torch.tensor([float(h.walking.sum()) / h.fps for _, _, h in walks])
    paces = torch.tensor([h.speed * h.length for _, _, h in walks])
    axes = torch.tensor([h.axis_weight for _, _, h in walks])
    look.pace.fill_((time * paces).sum() / time.sum())
    look.axis.fill_((time * axes).sum() / time.sum())
    return look
