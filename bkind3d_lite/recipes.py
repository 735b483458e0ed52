"""Recipes: every choice of a run as one flat, frozen value."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import get_args, get_origin, get_type_hints

from .files import write_atomically

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib


@dataclass(frozen=True)
class Recipe:
    """Every choice of a run. Frozen; `replace(QUICK, keypoints=8)` makes another; a typo is a `TypeError`."""

    name: str
    keypoints: int = 15
    lift: str = "volumetric"  # from maps to keypoints: volumetric (the paper's method), triangulated, depth, or flat (2D B-KinD)
    bottleneck: str = "edges"  # what is drawn: edges (the paper's method) or points
    explain: str = "change"  # what the drawing must explain: change (the paper's method) or the whole later frame
    size: tuple[int, int] = (256, 256)  # W, H of the network's images
    gaps: tuple[float, ...] = (0.4,)  # seconds between now and later
    # volume
    side: float | None = None  # world units; None: where the views overlap
    centre: tuple[float, float, float] | None = None  # None: where the views overlap
    voxels: int = 64
    near: float | None = (
        None  # depths that the depth lift considers, world units; None: the volume's, from each camera
    )
    far: float | None = None
    # networks
    backbone: str = "small"
    pretrained: bool = False
    width: int = 32  # of the encoder
    channels: int = 32  # heatmaps, and channels of the volume
    v2v_width: int = 32
    v2v_levels: int = 2
    v2v_front: int = 3  # kernel of the first 3D convolution
    v2v_full: bool = False  # the paper's whole hourglass: more residual blocks in front, at the bottom and on the way up
    pyramid: bool = False  # the paper's geometry decoder
    decoder_width: int = 32
    decoder_steps: int = 3
    decoder_widths: tuple[int, ...] | None = (
        None  # the paper's decoder: channels after each doubling (then the two above do not count)
    )
    # bottleneck
    sigma: float = 0.06  # width of an edge in half image widths
    active: str = "softplus"
    # losses
    perceptual: str = "random"
    structure_only: bool = False
    separate: float = 0.1
    separate_sigma: float = 0.05  # in units of the cube's side
    length: float = 1.0
    printed: bool = False  # equations 1 and 2 as they are printed: norms, not normalized squares
    reproject: float = 0.0  # weight of the distance of each view's own keypoints to the triangulated ones (lift triangulated)
    rotate: float = 0.0  # weight of the keypoints' turning with their image, by quarter turns (lift flat; 2D B-KinD)
    agree: float = 0.0  # weight of the distance between the views' own points in space (lift depth)
    warmup: int = 200  # steps before the length and separation losses (the paper's curriculum)
    # optimization
    steps: int = 1000
    batch: int = 1
    optimizer: str = "adam"
    rate: float = 1e-3
    edge_rate: float = 1e-2
    decay: float = 1e-4
    clip: float = 10.0
    # speed and memory: the same results at another price
    channels_last: bool = False  # layout of maps and volumes; pays for large networks
    checkpointing: bool = False  # compute the encoder and the finest volumes again in the backward pass instead of keeping them
    one_by_one: bool = False  # decode and judge one view at a time, its gradient taken on the spot
    precision: str = "auto"  # float32, bfloat16 or float16; auto: bfloat16 where the hardware has it, else float16 on a GPU, float32 on a CPU
    compile: bool = False  # torch.compile the networks
    # beyond the paper, each a switch (off: the paper)
    background: bool = False  # foreground |frame - median frame| as a fourth input channel
    follow: float | None = (
        None  # side of a cube that follows the visual hull, images cropped to it (None: one cube for the room)
    )
    reach: float | None = (
        None  # the same as a multiple of the animal's own extent, for recordings of unknown size: `placed` measures it
    )
    sharpness: float = 1.0  # factor on the volume logits before the softmax
    hull: float = 0.0  # weight of the visual hull as a prior on the volume
    hull_blur: int = 1  # pixels; more draws the prior to the middle of the body
    cover: float = 0.0  # weight of the squared distance of the foreground to its nearest keypoint (k-means on the silhouettes)
    steady: float = 0.0  # weight of the change of the keypoints' shape from now to later: who is who must not depend on the turn
    sure: float = 0.0  # weight of 1 - confidence: no keypoint may be the mean of several places
    mask: bool = (
        False  # explain change on the foreground only: shadows on the floor are not the animal
    )
    by_motion: bool = False  # draw pairs in proportion to how much moves in them
    turn: bool = (
        False  # turn the volume about the vertical at random, differently for now and later
    )
    jitter: float = 0.0  # random shift of the following cube, up to this share of its side
    views: int | None = None  # views drawn at each step (None: all)

    @property
    def surveyed(self) -> bool:
        """Whether it asks for a survey of the clip: where the animal is, and what is foreground."""
        where = self.follow is not None or self.reach is not None or self.by_motion
        return where or self.background or self.mask or self.hull > 0 or self.cover > 0


QUICK_RAT = Recipe(
    "quick-rat",
    keypoints=18,
    size=(96, 96),
    gaps=(0.1, 0.2, 0.4),
    voxels=24,
    width=24,
    channels=16,
    v2v_width=16,
    decoder_width=24,
    warmup=50,
    length=20.0,
    steps=900,
    background=True,
    follow=460.0,
    sharpness=4.0,
    hull=9.0,
    hull_blur=3,
    cover=20.0,
    steady=5.0,
    sure=0.1,
    mask=True,
    by_motion=True,
    turn=True,
    views=4,
    precision="float32",
)  # too small to gain by less
QUICK_HUMAN = replace(
    QUICK_RAT,
    name="quick-human",
    keypoints=24,
    follow=2000.0,
    hull=4.0,
    hull_blur=1,
    cover=300.0,
    steady=4.0,
    views=None,
    steps=2400,
)
# For recordings of one's own: the cube's side comes from the animal itself, and three views a step keep every view's part small.
QUICK = replace(QUICK_RAT, name="quick", keypoints=16, follow=None, reach=1.4, views=3, steps=1200)
# The paper at its own size (its section 4; constants that it does not print are the released code's). One pair every 10 frames
# of Human3.6M's training subjects makes about 39 000 steps an epoch at batch 1: 5 epochs, both curriculum losses from the third on.
# length: 2 x 1e-6 per mm^2 there, in units of the side here; separate: 0.05 for each of the two moments, sigma 0.08 of half a side.
PAPER_H36M = Recipe(
    "paper-h36m",
    gaps=(0.4,),
    side=7500.0,
    backbone="resnet50",
    pretrained=True,
    v2v_levels=5,
    v2v_front=7,
    v2v_full=True,
    pyramid=True,
    decoder_widths=(1024, 512, 256, 128, 64),
    active="relu",
    perceptual="vgg19",
    separate=0.1,
    separate_sigma=0.04,
    length=112.5,
    steps=195_000,
    warmup=78_000,
    optimizer="sgd",
    rate=1e-3,
    edge_rate=0.512,
    channels_last=True,
    checkpointing=True,
    one_by_one=True,
)
PAPER_RAT7M = replace(PAPER_H36M, name="paper-rat7m", gaps=(0.66,), side=1000.0, length=2.0)
# For people without a data centre: the visual hull finds the animal for nothing, and only a small fine cube around it is
# computed, 32^3 with 3^3 kernels, from crops that show it large; a smaller trunk, and a decoder to half the size. 1 / 7 of the arithmetic.
LEAN = replace(
    PAPER_RAT7M,
    name="lean",
    backbone="resnet18",
    voxels=32,
    v2v_levels=4,
    v2v_front=3,
    decoder_widths=(256, 128, 64, 32),
    active="softplus",
    optimizer="adam",
    edge_rate=1e-2,
    steps=4000,
    warmup=200,
    separate_sigma=0.05,
    background=True,
    follow=460.0,
    sharpness=4.0,
    hull=9.0,
    hull_blur=3,
    mask=True,
    by_motion=True,
    cover=20.0,
    checkpointing=False,
    one_by_one=False,
)

# The paper's baselines (Tables 2 and 3) and ablation (Table 4), each as changes of any base; `variant` applies them.
VARIANTS: dict[str, dict] = {
    "triang-reproj": dict(lift="triangulated", reproject=1.0),
    "depth-map": dict(lift="depth", agree=1.0),
    "keypoint3d": dict(lift="depth", agree=1.0, bottleneck="points", explain="frame"),
    "flat": dict(lift="flat", bottleneck="points", length=0.0, steady=0.0),
    "flat-rotate": dict(lift="flat", bottleneck="points", length=0.0, steady=0.0, rotate=1.0),
    "points": dict(bottleneck="points"),
    "no-length": dict(length=0.0),
    "keypoints-8": dict(keypoints=8),
    "keypoints-30": dict(keypoints=30),
}


def variant(base: Recipe, name: str) -> Recipe:
    """`base` with one of the named changes of `VARIANTS`."""
    if name not in VARIANTS:
        raise ValueError(f"variant = {name!r}; expected one of {', '.join(VARIANTS)}")
    return replace(base, name=f"{base.name}-{name}", **VARIANTS[name])


SIBLINGS = tuple(variant(PAPER_H36M, name) for name in VARIANTS)
(
    TRIANG_REPROJ,
    DEPTH_MAP,
    KEYPOINT3D,
    FLAT,
    FLAT_ROTATE,
    POINTS,
    NO_LENGTH,
    KEYPOINTS_8,
    KEYPOINTS_30,
) = SIBLINGS
RECIPES = {
    recipe.name: recipe
    for recipe in (
        QUICK,
        QUICK_RAT,
        QUICK_HUMAN,
        PAPER_H36M,
        PAPER_RAT7M,
        LEAN,
        *SIBLINGS,
        *(variant(PAPER_RAT7M, name) for name in VARIANTS),
    )
}


# ---- recipes as plain values, files and words ------------------------------------------------------------------------
def load_recipe(values: dict) -> Recipe:
    """A `Recipe` from plain values (JSON, TOML). An unknown key or a value of the wrong type is a `TypeError`; "none" is None."""
    kinds = get_type_hints(Recipe)
    for key in values:
        if key not in kinds:
            near = get_close_matches(key, kinds, 1, 0.5)
            raise TypeError(
                f"unknown recipe key {key!r}; "
                + (f"did you mean {near[0]!r}?" if near else f"known: {', '.join(kinds)}")
            )
    return Recipe(**{key: _typed(key, value, kinds[key]) for key, value in values.items()})


def _typed(key: str, value, kind):
    """The value as its field's type: lists become tuples, whole numbers floats where a float is meant."""
    for option in get_args(kind) if isinstance(kind, UnionType) else (kind,):
        if option is NoneType and value in (None, "none"):
            return None
        if get_origin(option) is tuple and isinstance(value, (list, tuple)):
            parts = get_args(option)
            parts = [parts[0]] * len(value) if parts[-1] is ... else parts
            if len(parts) == len(value) > 0:
                return tuple(_typed(key, v, p) for v, p in zip(value, parts))
        if option is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if (
            isinstance(option, type)
            and isinstance(value, option)
            and (option is bool or not isinstance(value, bool))
            and get_origin(option) is None
        ):
            return value
    wanted = kind.__name__ if isinstance(kind, type) and get_origin(kind) is None else str(kind)
    raise TypeError(f"recipe key {key!r} is {value!r}; expected {wanted}")


def read_recipe(path: str | Path) -> Recipe:
    """A recipe from a TOML file; keys that it does not name have their defaults. Errors are `ValueError`s that name the file."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such recipe file")
    try:
        return load_recipe({"name": path.stem} | tomllib.loads(path.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:  # unknown key, wrong type, or not TOML
        raise ValueError(f"{path}: {error}") from error


def write_recipe(recipe: Recipe, path: str | Path) -> Path:
    """Write every key to a TOML file, one a line; TOML knows no None, so that is "none"."""
    values = {key: "none" if value is None else value for key, value in asdict(recipe).items()}
    text = "".join(
        f"{key} = {json.dumps(value)}\n" for key, value in values.items()
    )  # numbers, text and lists: JSON is TOML
    return write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def find_recipe(name: str) -> Recipe:
    """A preset by its name, or the recipe of a TOML file."""
    if name in RECIPES:
        return RECIPES[name]
    if name.endswith(".toml"):
        return read_recipe(name)
    near = get_close_matches(name, RECIPES, 1, 0.5)
    raise ValueError(
        f"recipe {name!r}: neither a preset ({', '.join(RECIPES)}) nor a .toml file"
        + (f"; did you mean {near[0]!r}?" if near else "")
    )


def altered(recipe: Recipe, words: Sequence[str]) -> Recipe:
    """The recipe with `key=value` words applied; values as in TOML, text without quotes, `none` for None."""
    changes = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise ValueError(f"--set {word}: expected key=value")
        try:
            changes[key.strip()] = tomllib.loads(f"value = {text.strip()}")["value"]
        except tomllib.TOMLDecodeError:
            changes[key.strip()] = text.strip()
    try:
        return load_recipe(asdict(recipe) | changes)
    except TypeError as error:
        raise ValueError(f"--set: {error}") from error
