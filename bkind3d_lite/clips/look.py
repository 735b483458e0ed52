"""Look: which way an animal faces, seen in one view's picture of it; taught by its own walking."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..cameras import CameraRig
from ..progress import progress
from ..shapes import shaped
from .clip import MultiViewClip, Survey
from .videos import Frames

CROP = 48  # pixels of the square crops
FOLDS = 3  # networks of a look, each taught without one third of the walk
LONGEST = 8.0  # concentration that one view's picture cannot exceed
WRONG = 0.05  # share of the walk in which the animal looks elsewhere: backwards, or at its flank
ADDED_UP = 0.8  # seconds over which evidence adds up before turning makes it stale


@dataclass(frozen=True)
class Lesson:
    """What one recording teaches: walking frames, as small pictures of every view."""

    crops: Tensor  # (n, V, 2, CROP, CROP) float16: grey within the foreground, foreground
    right: Tensor  # (n, V) direction of each view's right, radians about the vertical in the world
    angle: Tensor  # (n,) heading in the world, radians
    time: Tensor  # (n,) seconds; stretches lie far apart

    @property
    def relative(self) -> Tensor:
        """Heading as each view sees it, from its right, (n, V) radians."""
        return self.angle[:, None] - self.right

    @property
    def fold(self) -> Tensor:
        """Which network is not taught with a moment, (n,): blocks of neighbours take turns."""
        n = len(self.time)
        return torch.arange(n) // max(1, min(n // (2 * FOLDS), 60)) % FOLDS


def _network() -> nn.Sequential:
    """Four strided convolutions on a crop, then two numbers: a von Mises vector."""
    layers: list[nn.Module] = []
    for narrow, wide in ((2, 16), (16, 32), (32, 48), (48, 64)):
        layers += [nn.Conv2d(narrow, wide, 3, 2, 1), nn.GroupNorm(4, wide), nn.ReLU()]
    side = CROP // 16
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Dropout(0.2), nn.Linear(64 * side * side, 64), nn.ReLU(),
        nn.Linear(64, 2),
    )  # fmt: skip


class Look(nn.Module):
    """Small networks that predict the heading in one view, relative to its right.

    A heading h is a von Mises vector kappa (cos h, sin h). Networks that were taught different
    thirds of the walk and disagree make it short. `side` (world units) is the cube whose picture
    the crops are, `scale` the factor on kappa that makes held-out walking likeliest; `pace` (world
    units per second) is what counts as walking, `axis` the weight of the body's axis, as the taught
    recordings have them: another may be too short to tell. All of it is in `state_dict()`, for the
    checkpoint.
    """

    side: Tensor
    scale: Tensor
    pace: Tensor
    axis: Tensor

    def __init__(self, side: float = 1.0):
        super().__init__()
        self.networks = nn.ModuleList(_network() for _ in range(FOLDS))
        self.register_buffer("side", torch.tensor(float(side)))
        self.register_buffer("scale", torch.tensor(0.0))
        self.register_buffer("pace", torch.tensor(0.0))
        self.register_buffer("axis", torch.tensor(0.0))
        self.requires_grad_(False)

    def votes(self, crops: Tensor) -> Tensor:
        """What each network says.

        Args:
            crops: (n, 2, CROP, CROP) grey and foreground.

        Returns:
            Vectors (FOLDS, n, 2), not scaled.
        """
        return torch.stack([limited(network(crops)) for network in self.networks])

    def forward(self, crops: Tensor) -> Tensor:
        """What all networks say together.

        Args:
            crops: (n, 2, CROP, CROP) grey and foreground.

        Returns:
            Calibrated vectors (n, 2); short where the networks disagree.
        """
        shaped(crops, f"n 2 {CROP} {CROP}", "crops")
        votes = self.votes(crops)
        mean = votes.mean(0)
        agree = mean.norm(dim=-1) / votes.norm(dim=-1).mean(0).clamp(min=1e-6)
        return self.scale * agree[:, None] * mean

    @property
    def taught(self) -> bool:
        """Whether somebody's walk has taught it, be it useful or not."""
        return bool(self.pace > 0)


def limited(vector: Tensor) -> Tensor:
    """Vectors no longer than `LONGEST`; short ones stay nearly as they are.

    Args:
        vector: (..., 2).

    Returns:
        (..., 2).
    """
    return vector / (1 + vector.square().sum(-1, keepdim=True) / LONGEST**2).sqrt()


# ---- pictures ------------------------------------------------------------------------------------
def right_of_views(rig: CameraRig, centre: Tensor) -> Tensor:
    """Direction about the vertical of each view's right where it looks straight at the animal.

    A camera that turned by the shortest way to look at `centre` would see the crop in its middle:
    its right axis is the crop's.

    Args:
        rig: the cameras.
        centre: (T, 3) of the animal.

    Returns:
        (T, V) radians.
    """
    ray = F.normalize(rig.cam_from_world(centre).transpose(0, 1), dim=-1)  # (T, V, 3), z ahead
    x, y, z = ray.unbind(-1)
    ahead = (1 + z).clamp(min=0.1)
    right = torch.stack([1 - x * x / ahead, -x * y / ahead, -x], -1)  # of the turned camera
    world = torch.einsum("vij,tvi->tvj", rig.R, right)
    return torch.atan2(world[..., 1], world[..., 0])


def look_crops(clip: MultiViewClip, survey: Survey, times: Tensor, side: float) -> Iterator[Tensor]:
    """Crops of the animal, some moments at a time.

    Grey is centred and scaled within the foreground, so that dark and light films look alike.

    Args:
        clip: the recording.
        survey: of the clip.
        times: (n,) frames.
        side: of the cube that a crop shows, world units.

    Yields:
        (m, V, 2, CROP, CROP) float16.
    """
    frames = clip.frames.passing() if isinstance(clip.frames, Frames) else clip.frames
    clip = replace(clip, frames=frames)
    for some in times.split(16):
        images = clip.batch(some, None, (CROP, CROP), survey, side).now
        grey, mask = images[:, :, :3].mean(2), images[:, :, 3]
        area = mask.sum((-1, -2), keepdim=True).clamp(min=1)
        level = (grey * mask).sum((-1, -2), keepdim=True) / area
        spread = ((grey - level).square() * mask).sum((-1, -2), keepdim=True) / area
        grey = ((grey - level) / (spread.sqrt() + 0.02)).clamp(-3, 3) * mask
        yield torch.stack([grey, mask], 2).half()


@torch.no_grad()
def look_at_clip(look: Look, clip: MultiViewClip, survey: Survey, times: Tensor) -> Tensor:
    """What the look says of moments of a clip, view by view, in the world.

    Args:
        look: taught before.
        clip: the recording.
        survey: of the clip.
        times: (n,) frames.

    Returns:
        (n, V, 2) von Mises vectors kappa (cos h, sin h); a view that sees no animal says nothing.
    """
    look.eval()
    found, right = [], right_of_views(clip.rig, survey.centre[times])
    for crops in look_crops(clip, survey, times, float(look.side)):
        n, V = crops.shape[:2]
        vector = look(crops.flatten(0, 1).float().to(look.side.device)).cpu().unflatten(0, (n, V))
        found.append(vector * (crops[:, :, 1].float().mean((-1, -2)) > 0.01)[..., None])
    return turned(torch.cat(found), right)


def turned(vector: Tensor, angle: Tensor) -> Tensor:
    """Vectors turned anticlockwise.

    Args:
        vector: (..., 2).
        angle: (...) radians.

    Returns:
        (..., 2).
    """
    c, s = angle.cos(), angle.sin()
    x, y = vector.unbind(-1)
    return torch.stack([c * x - s * y, s * x + c * y], -1)


# ---- teaching ------------------------------------------------------------------------------------
def teach(lessons: list[Lesson], side: float, seed: int = 0, steps: int = 500) -> Look:
    """A look taught by walking frames, evenly over the headings that the views see.

    Args:
        lessons: of one or several recordings of the same kind of animal.
        side: of the crops' cube, world units.
        seed: of weights and draws.
        steps: of each network.

    Returns:
        A look whose `scale` was found on walking that its networks were not taught.
    """
    with torch.random.fork_rng(devices=[]), one_thread():
        torch.manual_seed(seed)
        look = Look(side)
        crops = torch.cat([x.crops.flatten(0, 1) for x in lessons])
        angle = torch.cat([x.relative.flatten() for x in lessons])
        fold = torch.cat([x.fold.repeat_interleave(x.crops.shape[1]) for x in lessons])
        for k, network in enumerate(look.networks.requires_grad_()):
            mine = (fold != k).nonzero()[:, 0] if len(fold.unique()) == FOLDS else fold.argsort()
            _learn(network, crops[mine], angle[mine], steps)
        look.eval().requires_grad_(False)
        look.scale.fill_(_calibrated(look, lessons))
    return look


@contextmanager
def one_thread() -> Iterator[None]:
    """Networks as small as these gain nothing by threads, which wait for each other on a busy CPU.

    Nor does what they learn depend on how many there are.

    Yields:
        Nothing; PyTorch's number of threads is afterwards what it was.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _learn(network: nn.Module, crops: Tensor, angle: Tensor, steps: int) -> None:
    bins = ((angle % (2 * math.pi)) / (2 * math.pi) * 12).long().clamp(max=11)
    chance = 1 / torch.bincount(bins, minlength=12).clamp(min=len(bins) / 60)[bins]
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=1e-2)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    network.train()
    for _ in progress(range(steps), desc="teaching the look", unit="step"):
        picks = torch.multinomial(chance, 64, replacement=True)
        pixels, wanted = _varied(crops[picks].float(), angle[picks])
        loss = -log_likelihood(limited(network(pixels)), wanted).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rates.step()


def _varied(crops: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    """Mirrored (h becomes pi - h), shifted, scaled and slightly turned pictures."""
    n = len(crops)
    mirror = torch.where(torch.rand(n) < 0.5, -1.0, 1.0)
    size = 1 + 0.2 * (torch.rand(n) - 0.5)
    tilt = 0.3 * (torch.rand(n) - 0.5)
    shift = 0.3 * (torch.rand(n, 2) - 0.5)
    c, s = tilt.cos() * size, tilt.sin() * size
    theta = torch.stack([c * mirror, -s, shift[:, 0], s * mirror, c, shift[:, 1]], -1).view(n, 2, 3)
    grid = F.affine_grid(theta, list(crops.shape), align_corners=False)
    angle = torch.where(mirror < 0, math.pi - angle, angle)
    return F.grid_sample(crops, grid, align_corners=False), angle


def log_likelihood(vector: Tensor, angle: Tensor, wrong: float = WRONG) -> Tensor:
    """Of headings under von Mises vectors, but anything may happen in a share `wrong` of the time.

    Args:
        vector: (..., 2), kappa (cos h, sin h).
        angle: (...) radians.
        wrong: share of an even distribution.

    Returns:
        (...) log density.
    """
    kappa = vector.square().sum(-1).add(1e-12).sqrt()
    along = vector[..., 0] * angle.cos() + vector[..., 1] * angle.sin()
    log = along - kappa - torch.special.i0e(kappa).log()
    return (((1 - wrong) * log.exp() + wrong) / (2 * math.pi)).log()


@torch.no_grad()
def held_out(look: Look, lesson: Lesson) -> Tensor:
    """What the network says of each moment that was not taught with it: a judgement of the look.

    Args:
        look: taught by this lesson, among others.
        lesson: walking frames.

    Returns:
        (n, 2) vectors, not scaled, summed over the views; the truth is at angle 0.
    """
    n, V = lesson.crops.shape[:2]
    crops = lesson.crops.flatten(0, 1).split(256)
    votes = torch.cat([look.votes(some.float()) for some in crops], 1)
    own = votes.unflatten(1, (n, V))[lesson.fold, torch.arange(n)]  # (n, V, 2)
    return turned(own, -lesson.relative).sum(1)


def _calibrated(look: Look, lessons: list[Lesson]) -> float:
    """The factor on kappa that makes walking likeliest which a network was not taught."""
    off = [held_out(look, lesson) for lesson in lessons]
    time = [lesson.time + 1e8 * i for i, lesson in enumerate(lessons)]
    return calibrated(torch.cat(off), torch.cat(time), torch.logspace(-2, 0.3, 60))


def added_up(vector: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
    """Evidence of windows of `ADDED_UP` s, as a path adds it up: moments follow each other.

    Args:
        vector: (n, 2) von Mises vectors.
        time: (n,) seconds.

    Returns:
        Sums (W, 2) of one vector every 0.1 s, and how many were given for each window (W,).
    """
    _, window = torch.unique((time.double() / ADDED_UP).long(), return_inverse=True)
    size = torch.bincount(window).float()
    total = torch.zeros(len(size), 2).index_add_(0, window, vector) / size[:, None]
    return total * ADDED_UP / 0.1, size


def calibrated(vector: Tensor, time: Tensor, scales: Tensor) -> float:
    """The factor on von Mises vectors that makes the truth likeliest, which is at angle 0.

    Their sum over `ADDED_UP` s is judged: their evidence is not independent.

    Args:
        vector: (n, 2).
        time: (n,) seconds.
        scales: factors to choose from; less than the first is 0.

    Returns:
        One of `scales`, or 0.
    """
    total, size = added_up(vector, time)
    straight = torch.zeros(len(size))
    likely = torch.stack([(size * log_likelihood(s * total, straight)).sum() for s in scales])
    best = int(likely.argmax())
    return float(scales[best]) if best else 0.0
