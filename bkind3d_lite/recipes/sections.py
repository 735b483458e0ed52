"""Sections: every choice of a run as one frozen value, grouped by the part that takes it.

`recipe.volume.voxels` reads a choice, `recipe.with_(voxels=32, steps=400)` makes another recipe.
Leaf names are unique over all sections, so that `--set voxels=32`, flat TOML files and the headers
of older checkpoints need not name one. Defaults are the paper's method, small; what goes beyond the
paper is off.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import Field, dataclass, field, fields, replace
from difflib import get_close_matches
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from .ranges import refuse_outside, refuse_unfit


def adjustable(default: Any) -> Any:
    """A field that may change when a run resumes: it makes no other model of the checkpoint.

    Args:
        default: its value.

    Returns:
        What a dataclass takes for it.
    """
    return field(default=default, metadata={"resumable": True})


@dataclass(frozen=True)
class Section:
    """A group of choices.

    A choice that is not one of its `Literal`'s words, or a number outside its range, is a
    `ValueError`.
    """

    def __post_init__(self) -> None:
        _check_choices(self)


def _check_choices(section: Section | Recipe) -> None:
    its_type: type = type(section)
    for name, kind in hints(its_type).items():
        value = getattr(section, name)
        words = _words(kind, value)
        if words and value not in words:
            *others, last = (str(word) for word in words)
            known = f"{', '.join(others)} or {last}" if others else f"{last}, or no word"
            raise ValueError(f"{name} = {value!r}; expected {known}")
    refuse_outside({name: getattr(section, name) for name in hints(its_type)})


def _words(kind: Any, value: Any) -> tuple[str, ...]:
    """The words that a choice may be; () if it need not be one of them."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    options = [get_args(o) for o in get_args(kind) if get_origin(o) is Literal]
    return options[0] if options and isinstance(value, str) else ()


@cache
def hints(kind: type) -> dict[str, Any]:
    """Types of a section's fields.

    Args:
        kind: the section's class.

    Returns:
        They, by name.
    """
    return get_type_hints(kind)


@dataclass(frozen=True)
class DataRecipe(Section):
    """What a step looks at."""

    image_wh: tuple[int, int] = (256, 256)  # width, height of the network's images
    gaps: tuple[float, ...] = (0.4,)  # seconds between now and later
    batch: int = adjustable(1)
    # beyond the paper
    views_per_step: int | None = None  # views drawn at each step (None: all)
    by_motion: bool = False  # draw pairs in proportion to how much moves in them,
    by_shape: bool = False  # and to how unusual the animal's shape is, seen from itself
    mirror: bool = False  # every other pair in a mirror: an animal has two like sides
    background: bool = False  # foreground |frame - median frame| as a fourth input channel
    uncover: bool = False  # that median without the animal's ghost, where its hull shows one


@dataclass(frozen=True)
class VolumeRecipe(Section):
    """Where the voxels stand: a cube about the room, or (beyond the paper) one about the animal."""

    mode: Literal["room", "animal"] = "room"
    voxels: int = 64  # per side
    # mode room; in mode animal it is where the survey looks for the animal
    side: float | None = None  # world units; None: where the animal goes, or the views overlap
    centre: tuple[float, float, float] | None = None  # None: likewise
    # mode animal: the cube stands about the visual hull, images are cropped to it
    animal_side: float | None = None  # world units; None: measured by `placed`,
    animal_lengths: float = 1.55  # as a multiple of the animal's own length
    jitter: float = 0.0  # random shift of that cube, up to this share of its side
    turn: bool = False  # turned about the vertical at random, differently for now and later
    # turned with the animal instead, where the recording tells its heading: `swing` radians to
    # either side of it in training
    by_heading: bool = False
    swing: float = 0.35
    look_steps: int = 500  # for which walking teaches the look; 0: hull and walk tell it alone
    # tracking: the keypoints' mean over so many volumes, turned and shifted a little
    turns: int = adjustable(1)
    # tracking: looked at again, turned on to where the keypoints fit their mean figure
    realign: bool = False
    # depths that the depth lift considers, world units; None: the volume's, from each camera
    near: float | None = None
    far: float | None = None

    @property
    def follows(self) -> bool:
        """Whether the volume follows the animal."""
        return self.mode == "animal"

    @property
    def cube(self) -> float | None:
        """Side of the volume itself in world units; None before the recipe is placed."""
        return self.animal_side if self.follows else self.side

    @property
    def crop(self) -> float | None:
        """Side of the cube to which images are cropped; None: whole images."""
        return self.animal_side if self.follows else None


@dataclass(frozen=True)
class EncoderRecipe(Section):
    """The 2D network: appearance features and heatmaps."""

    backbone: Literal[
        "small", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"
    ] = "small"  # fmt: skip
    pretrained: bool = False  # ImageNet weights by torchvision
    encoder_width: int = 32  # of the small trunk
    channels: int = 32  # heatmaps, and channels of the volume
    pyramid: bool = False  # the paper's geometry decoder
    map_norm: bool = False  # batch-normalized maps: a learned temperature of softmaxes (2D B-KinD)


@dataclass(frozen=True)
class V2VRecipe(Section):
    """The 3D hourglass."""

    v2v_width: int = 32
    v2v_levels: int = 2
    v2v_front: int = 3  # kernel of the first 3D convolution
    v2v_full: bool = False  # the paper's whole hourglass: more residual blocks


@dataclass(frozen=True)
class DecoderRecipe(Section):
    """From features and drawings to the reconstruction."""

    decoder_width: int = 32
    decoder_steps: int = 3  # doublings
    # the paper's decoder: channels after each doubling (then the two above do not count)
    decoder_widths: tuple[int, ...] | None = None


@dataclass(frozen=True)
class BottleneckRecipe(Section):
    """What is drawn of the keypoints."""

    draw: Literal["edges", "points"] = "edges"
    sigma: float = 0.06  # width of a line or dot in half image widths
    activation: Literal["relu", "softplus"] = "softplus"  # of the edges' weights
    sigmas: tuple[float, ...] | None = None  # of dots instead, one a scale from coarse to fine


@dataclass(frozen=True)
class LossRecipe(Section):
    """What the drawing must explain, and the weight of each term."""

    # how the frame changed, the later frame, or (lift integral) labels that somebody has
    explain: Literal["change", "frame", "labels"] = "change"
    perceptual: Literal["random", "vgg19", "vgg19-seeded", "pixels"] = "random"
    structure_only: bool = False
    printed: bool = False  # equations 1 and 2 as they are printed: norms, not normalized squares
    warmup: int = 200  # steps before the length and separation losses (the paper's curriculum)
    separate: float = adjustable(0.1)
    separate_sigma: float = 0.05  # in units of the cube's side
    length: float = adjustable(1.0)
    # of the siblings: each view's own keypoints against the triangulated ones (lift triangulated),
    # keypoints that turn with their image by quarter turns (flat; 2D B-KinD), the views' own points
    # in space against each other (depth)
    reproject: float = adjustable(0.0)
    rotate: float = adjustable(0.0)
    agree: float = adjustable(0.0)
    # beyond the paper
    mask: bool = False  # explain change on the foreground only: shadows are not the animal
    cover: float = adjustable(0.0)  # squared distance of the foreground to its nearest keypoint
    cover_sure: bool = False  # of what is surely foreground: not its faint image in a shiny floor
    cover_body: float = 0.0  # the same in space, where places that are seldom full count more
    steady: float = adjustable(0.0)  # change of the keypoints' shape from now to later,
    steady_in: Literal["room", "body"] = "room"  # in this frame; body: where a heading is known
    sure: float = adjustable(0.0)  # 1 - confidence: no keypoint may be the mean of several places


@dataclass(frozen=True)
class LessonRecipe(Section):
    """What labels teach, one image at a time (explain = labels), and how its crop is changed."""

    depth_cells: int = 16  # of a joint's volume along the camera's axis; 1: in the image alone
    joints: tuple[str, ...] | None = None  # their names; None: the labels'
    taught_by: tuple[str, ...] | None = None  # cameras whose pictures teach; None: all
    unit: str | None = None  # of what is learned; None: the labels'
    # of a crop, in larger sides of the joints' box in the image; None: measured on the labels
    margin: float | None = None
    beta: float = adjustable(0.05)  # of the smooth L1, in half sides of the crop: quadratic below
    tilt: float = adjustable(30.0)  # degrees about the optical axis, either way
    zoom: float = adjustable(0.25)  # share by which the crop grows or shrinks
    nudge: float = adjustable(0.05)  # of the crop, in its sides
    tint: float = adjustable(0.2)  # gain of each colour
    after: str | None = None  # a run whose trunk is taken over: pretrained in 2D, for example
    # what is pasted over crops: blobs, or a folder with Pascal VOC 2012
    occlude: str | None = adjustable(None)
    occlude_share: float = adjustable(0.05)  # of the crops, over which anything is pasted


@dataclass(frozen=True)
class OptimRecipe(Section):
    """How the weights are found."""

    steps: int = adjustable(1000)
    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: float = adjustable(1e-3)
    edge_learning_rate: float = adjustable(1e-2)
    weight_decay: float = adjustable(1e-4)
    grad_clip: float = adjustable(10.0)


@dataclass(frozen=True)
class ComputeRecipe(Section):
    """Speed and memory: the same results at another price."""

    channels_last: bool = adjustable(False)  # layout of maps and volumes; pays for large networks
    # fastest setting of the three switches below that fits: into so many GB, or (auto) into what is
    # free when a run begins; none: the switches stand as they are
    memory: float | Literal["auto"] | None = adjustable(None)
    # compute again in the backward pass, instead of keeping: the encoder, or with it the finest
    # volumes
    checkpointing: bool | Literal["encoder"] = adjustable(False)
    decode_per_view: bool = adjustable(False)  # and judge, each view's gradient taken on the spot
    # a CPU's memory, once taken, stays with the process: new pages are dear
    hold: bool = adjustable(False)
    # auto: bfloat16 where the hardware has it, else float16 on a GPU, float32 on a CPU
    precision: Literal["auto", "float32", "bfloat16", "float16"] = adjustable("auto")
    compile: bool = adjustable(False)  # torch.compile the networks

    @property
    def large(self) -> bool:
        """Whether the networks are so large that memory is looked after."""
        return bool(self.checkpointing) or self.hold or self.memory is not None


@dataclass(frozen=True)
class PriorRecipe(Section):
    """What is known before anything is learned; beyond the paper."""

    sharpness: float = 1.0  # factor on the logits before the softmax
    hull: float = 0.0  # weight of the visual hull as a prior on the volume
    hull_blur: int = 1  # pixels; more draws the prior to the middle of the body
    # share of the keypoints that are pairs, left and right in the volume: the second of each is
    # what the 3D network says of the mirrored volume
    twins: float = 0.0
    shape: bool = False  # show the 3D network the hull and where in the cube each voxel is


@dataclass(frozen=True)
class Recipe:
    """Every choice of a run; `recipe.with_(keypoints=8)` makes another, a typo is a `TypeError`."""

    name: str
    keypoints: int = 15
    # from maps to keypoints: volumetric (the paper's method), triangulated, depth, flat
    # (2D B-KinD), or integral (a pose from one image, EpipolarPose)
    lift: Literal["volumetric", "triangulated", "depth", "flat", "integral"] = "volumetric"
    data: DataRecipe = DataRecipe()
    volume: VolumeRecipe = VolumeRecipe()
    encoder: EncoderRecipe = EncoderRecipe()
    v2v: V2VRecipe = V2VRecipe()
    decoder: DecoderRecipe = DecoderRecipe()
    bottleneck: BottleneckRecipe = BottleneckRecipe()
    losses: LossRecipe = LossRecipe()
    lesson: LessonRecipe = LessonRecipe()
    optim: OptimRecipe = OptimRecipe()
    compute: ComputeRecipe = ComputeRecipe()
    priors: PriorRecipe = PriorRecipe()

    def __post_init__(self) -> None:
        _check_choices(self)
        refuse_unfit(
            lift=self.lift,
            explain=self.losses.explain,
            voxels=self.volume.voxels,
            v2v_levels=self.v2v.v2v_levels,
            near=self.volume.near,
            far=self.volume.far,
        )

    def with_(self, **changes: Any) -> Recipe:
        """This recipe with some leaves changed, whatever section they are in.

        Args:
            **changes: leaf names and their new values: `voxels=32, steps=400`.

        Returns:
            Another recipe.

        Raises:
            TypeError: a name that no section has, with the one that was meant.
        """
        inner: dict[str, dict[str, Any]] = {}
        for key, value in changes.items():
            section, _ = leaf_of(key)
            inner.setdefault(section, {})[key] = value
        own = inner.pop("", {})
        return replace(self, **own, **{s: replace(getattr(self, s), **c) for s, c in inner.items()})

    def flat(self) -> dict[str, Any]:
        """All leaves by name, without sections."""
        return {
            key: getattr(getattr(self, section) if section else self, key)
            for key, (section, _) in leaves().items()
        }

    @property
    def surveyed(self) -> bool:
        """Whether it asks for a survey of the clip: where the animal is, and what is foreground."""
        drawn = self.data.by_motion or self.data.by_shape or self.data.background
        covered = self.losses.mask or self.losses.cover > 0 or self.losses.cover_body > 0
        weighed = covered or self.priors.hull > 0
        return self.volume.follows or drawn or weighed


def _sections() -> Iterator[tuple[str, type]]:
    for name, kind in hints(Recipe).items():
        if isinstance(kind, type) and issubclass(kind, Section):
            yield name, kind


@cache
def leaves() -> dict[str, tuple[str, Field]]:
    """Every choice: leaf name -> (section, or "" for the recipe itself; its dataclass field)."""
    sections = dict(_sections())
    choices = {f.name: ("", f) for f in fields(Recipe) if f.name not in sections}
    for section, kind in sections.items():
        for leaf in fields(kind):
            assert leaf.name not in choices, f"two choices are called {leaf.name}"
            choices[leaf.name] = (section, leaf)
    return choices


def leaf_of(key: str) -> tuple[str, Field]:
    """Section and field of a leaf.

    Args:
        key: its name.

    Returns:
        The section ("" for the recipe itself), and the dataclass field.

    Raises:
        TypeError: nothing is called so; says what was probably meant.
    """
    if key not in leaves():
        near = get_close_matches(key, leaves(), 1, 0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(leaves())}"
        raise TypeError(f"unknown recipe key {key!r}; {hint}")
    return leaves()[key]


def resumable() -> tuple[str, ...]:
    """Leaves that may change when a run resumes."""
    return tuple(key for key, (_, leaf) in leaves().items() if leaf.metadata.get("resumable"))
