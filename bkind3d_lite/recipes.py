"""Recipes: every choice of a run as one flat, frozen value."""
from __future__ import annotations

from dataclasses import dataclass, fields, replace


@dataclass(frozen=True)
class Recipe:
    """Every choice of a run. Frozen; `replace(QUICK, keypoints=8)` makes another; a typo is a `TypeError`."""

    name: str
    keypoints: int = 15
    size: tuple[int, int] = (256, 256)  # W, H of the network's images
    gaps: tuple[float, ...] = (0.4,)  # seconds between now and later
    # volume
    side: float | None = None  # world units; None: where the views overlap
    centre: tuple[float, float, float] | None = None  # None: where the views overlap
    voxels: int = 64
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
    decoder_widths: tuple[int, ...] | None = None  # the paper's decoder: channels after each doubling (then the two above do not count)
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
    precision: str = "auto"  # float32, bfloat16 or float16; auto: bfloat16 where the GPU has it, float16 on older ones, float32 on a CPU
    compile: bool = False  # torch.compile the networks
    # beyond the paper, each a switch (off: the paper)
    background: bool = False  # foreground |frame - median frame| as a fourth input channel
    follow: float | None = None  # side of a cube that follows the visual hull, images cropped to it (None: one cube for the room)
    sharpness: float = 1.0  # factor on the volume logits before the softmax
    hull: float = 0.0  # weight of the visual hull as a prior on the volume
    hull_blur: int = 1  # pixels; more draws the prior to the middle of the body
    cover: float = 0.0  # weight of the squared distance of the foreground to its nearest keypoint (k-means on the silhouettes)
    steady: float = 0.0  # weight of the change of the keypoints' shape from now to later: who is who must not depend on the turn
    sure: float = 0.0  # weight of 1 - confidence: no keypoint may be the mean of several places
    mask: bool = False  # explain change on the foreground only: shadows on the floor are not the animal
    by_motion: bool = False  # draw pairs in proportion to how much moves in them
    turn: bool = False  # turn the volume about the vertical at random, differently for now and later
    jitter: float = 0.0  # random shift of the following cube, up to this share of its side
    views: int | None = None  # views drawn at each step (None: all)

    @property
    def surveyed(self) -> bool:
        return self.background or self.follow is not None or self.by_motion or self.hull > 0 or self.mask or self.cover > 0


QUICK_RAT = Recipe("quick-rat", keypoints=18, size=(96, 96), gaps=(0.1, 0.2, 0.4), voxels=24, width=24, channels=16, v2v_width=16,
                   decoder_width=24, warmup=50, length=20.0, steps=900, background=True, follow=460.0, sharpness=4.0, hull=9.0, hull_blur=3,
                   cover=20.0, steady=5.0, sure=0.1, mask=True, by_motion=True, turn=True, views=4)
QUICK_HUMAN = replace(QUICK_RAT, name="quick-human", keypoints=20, follow=2000.0, hull=4.0, hull_blur=1, cover=100.0, steady=4.0, views=None,
                      steps=1300)
# The paper at its own size (its section 4; constants that it does not print are the released code's). One pair every 10 frames
# of Human3.6M's training subjects makes about 39 000 steps an epoch at batch 1: 5 epochs, both curriculum losses from the third on.
# length: 2 x 1e-6 per mm^2 there, in units of the side here; separate: 0.05 for each of the two moments, sigma 0.08 of half a side.
PAPER_H36M = Recipe("paper-h36m", gaps=(0.4,), side=7500.0, backbone="resnet50", pretrained=True, v2v_levels=5, v2v_front=7, v2v_full=True,
                    pyramid=True, decoder_widths=(1024, 512, 256, 128, 64), active="relu", perceptual="vgg19", separate=0.1,
                    separate_sigma=0.04, length=112.5, steps=195_000, warmup=78_000, optimizer="sgd", rate=1e-3, edge_rate=0.512,
                    channels_last=True, checkpointing=True, one_by_one=True)
PAPER_RAT7M = replace(PAPER_H36M, name="paper-rat7m", gaps=(0.66,), side=1000.0, length=2.0)
RECIPES = {recipe.name: recipe for recipe in (QUICK_RAT, QUICK_HUMAN, PAPER_H36M, PAPER_RAT7M)}


def load_recipe(values: dict) -> Recipe:
    """A `Recipe` from plain values (JSON, TOML); an unknown key is a `TypeError`."""
    known = {f.name for f in fields(Recipe)}
    if unknown := sorted(set(values) - known):
        raise TypeError(f"unknown recipe keys {unknown}; known: {sorted(known)}")
    return Recipe(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
