"""The student: one image to a 3D pose by a soft-argmax over a volume of each joint.

Sun et al. 2018 (integral regression), Kocabas et al. 2019 (taught by triangulated 2D poses).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from ..files import write_atomically
from ..model.networks import Encoder
from ..recipes import EncoderRecipe
from ..shapes import cells
from ..volumes import soft_argmax
from .pictures import NO_CHANGE, Augment, Pictures, cut

USUAL = Augment()
BETA = 0.05  # of the smooth L1, in half sides of the box: quadratic below


@dataclass(frozen=True)
class StudentRecipe:
    """Every choice of a student."""

    image_wh: tuple[int, int] = (96, 96)
    depth: int = 16  # cells of each joint's volume along the camera's axis; 1: 2D alone
    encoder: EncoderRecipe = EncoderRecipe(encoder_width=24)
    batch: int = 16
    steps: int = 1500
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4


class Student(nn.Module):
    """Images to joints.

    Args:
        recipe: sizes.
        names: of the J joints.
    """

    def __init__(self, recipe: StudentRecipe, names: tuple[str, ...]):
        super().__init__()
        self.recipe, self.names = recipe, names
        self.encoder = Encoder(recipe.encoder, 3, len(names) * recipe.depth)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Joints of crops.

        Args:
            images: (N, 3, h, w) in [0, 1].

        Returns:
            (N, J, 3): ndc x, y in the crop, depth from the root in half sides of the box; and
            confidence (N, J).
        """
        maps = self.encoder(images - 0.5)[1]
        J, D = len(self.names), self.recipe.depth
        h, w = maps.shape[-2:]
        places = cells(D, h, w, like=maps).flatten(0, 2)
        return soft_argmax(maps.view(-1, J, D * h * w), places)


@dataclass
class Schooling:
    """A student under way."""

    student: Student
    optimizer: torch.optim.Optimizer
    side: float
    seed: int = 0
    step: int = 0
    losses: list[float] = field(default_factory=list)


def begin_schooling(
    recipe: StudentRecipe,
    taught: Pictures,
    seed: int = 0,
    *,
    side: float | None = None,
    after: Student | None = None,
) -> Schooling:
    """A fresh student.

    Args:
        recipe: its sizes.
        taught: what it will learn from; they say its joints and the size of its box.
        seed: of weights and draws.
        side: of the box in the unit of `taught`; None: what holds its labels.
        after: a student that was pretrained, in 2D for example; its trunk is taken over.

    Returns:
        The lesson before its first step.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student = Student(recipe, taught.names)
    if after is not None:
        student.encoder.trunk.load_state_dict(after.encoder.trunk.state_dict())
    optimizer = torch.optim.AdamW(
        student.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    return Schooling(student, optimizer, side=side or taught.side, seed=seed)


def teach_student(lesson: Schooling, taught: Pictures, change: Augment = USUAL) -> Iterator[float]:
    """Train for the recipe's steps; step i depends on (seed, i) alone.

    Args:
        lesson: what is trained, in place.
        taught: its pictures.
        change: augmentation.

    Yields:
        The loss of each step.
    """
    student, recipe = lesson.student.train(), lesson.student.recipe
    while lesson.step < recipe.steps:
        random = torch.Generator().manual_seed(lesson.seed * 1_000_003 + lesson.step)
        some = taught.take(torch.randint(len(taught), (recipe.batch,), generator=random))
        crops = cut(some, lesson.side, recipe.image_wh, change, random)
        said, _ = student(crops.images)
        off = F.smooth_l1_loss(said, crops.target, reduction="none", beta=BETA)
        axes = off.new_tensor([1.0, 1.0, float(recipe.depth > 1)])
        weight = crops.weight[..., None] * axes
        loss = (off * weight).sum() / weight.sum().clamp(min=1)
        share = lesson.step / recipe.steps
        rate = recipe.learning_rate * min(1.0, (lesson.step + 1) / 50) * (1 - share) ** 0.9
        for group in lesson.optimizer.param_groups:
            group["lr"] = rate
        lesson.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        lesson.optimizer.step()
        lesson.step += 1
        lesson.losses.append(float(loss.detach()))
        yield lesson.losses[-1]


@torch.no_grad()
def recite(
    student: Student, asked: Pictures, side: float, batch: int = 32, change: Augment = NO_CHANGE
) -> Tensor:
    """What a student says of pictures, in their cameras.

    Of the truth it is told, as in the paper's protocol, the box and the root's depth: the root of
    `asked` says both. Scores after the best scale or alignment hardly depend on the latter.

    Args:
        student: trained.
        asked: pictures with their root.
        side: of the box in the unit of `asked`.
        batch: pictures at a time.
        change: of the pictures, for example an occlusion.

    Returns:
        (N, J, 3) in the camera, about the root, in the unit of `asked`.
    """
    student.eval()
    poses = []
    for part in torch.arange(len(asked)).split(batch):
        some, random = asked.take(part), torch.Generator().manual_seed(int(part[0]))
        crops = cut(
            some, side, student.recipe.image_wh, replace(change, turn=0, scale=0, shift=0), random
        )
        said, _ = student(crops.images)
        root = some.rig.cam_from_world(some.root[:, None])[:, 0]  # (n, 1, 3)
        z = root[..., 2:] + said[..., 2:] * side / 2
        focal = some.rig.K[:, 0, :2, :2].diagonal(dim1=-2, dim2=-1)[:, None]
        middle = some.rig.px_from_world(some.root[:, None])[:, 0]  # (n, 1, 2), the crop's middle
        half = side / root[..., 2:].clamp(min=1e-3) * focal / 2
        px = middle + said[..., :2] * half
        flat = some.rig.flat_from_px(px[:, None])[:, 0]
        poses.append(torch.cat([flat * z, z], -1) - root)
    return torch.cat(poses)


# ---- files ---------------------------------------------------------------------------------------
def save_student(lesson: Schooling, path: str | Path) -> Path:
    """Write a student's weights, recipe and joints, whole or not at all.

    Args:
        lesson: as it stands.
        path: the file, `.safetensors`.

    Returns:
        The path.
    """
    header = dict(
        recipe=asdict(lesson.student.recipe),
        names=lesson.student.names,
        side=lesson.side,
        seed=lesson.seed,
        step=lesson.step,
    )
    tensors = {k: v.contiguous() for k, v in lesson.student.state_dict().items()}
    metadata = {"format": "bkind3d_lite student 1", "header": json.dumps(header)}
    return write_atomically(path, lambda file: save_file(tensors, str(file), metadata))


def load_student(path: str | Path) -> tuple[Student, float]:
    """A student from the file that `save_student` wrote.

    Args:
        path: the file.

    Returns:
        The student, and the side of its box in the unit of its labels.

    Raises:
        ValueError: it is no such file.
        FileNotFoundError: nothing is there.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no student here")
    with safe_open(str(path), "pt") as file:
        metadata = file.metadata() or {}
        if not metadata.get("format", "").startswith("bkind3d_lite student"):
            raise ValueError(f"{path}: no student's checkpoint; `bkind3d student` makes them")
        header = json.loads(metadata["header"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    plain = header["recipe"]
    recipe = StudentRecipe(
        **{
            **plain,
            "image_wh": tuple(plain["image_wh"]),
            "encoder": EncoderRecipe(**plain["encoder"]),
        }
    )
    student = Student(recipe, tuple(header["names"]))
    student.load_state_dict(tensors)
    return student, header["side"]
