"""Presets: recipes that ship, and the paper's baselines as changes of any of them."""

from __future__ import annotations

from typing import Any

from .sections import (
    BottleneckRecipe,
    ComputeRecipe,
    DataRecipe,
    DecoderRecipe,
    EncoderRecipe,
    LessonRecipe,
    LossRecipe,
    OptimRecipe,
    PriorRecipe,
    Recipe,
    V2VRecipe,
    VolumeRecipe,
)

QUICK_RAT = Recipe(
    "quick-rat",
    keypoints=18,
    data=DataRecipe(
        image_wh=(96, 96),
        gaps=(0.1, 0.2, 0.4),
        views_per_step=4,
        by_motion=True,
        background=True,
    ),
    volume=VolumeRecipe(
        mode="animal",
        animal_side=460.0,
        voxels=24,
        turn=True,
        by_heading=True,
        turns=2,
        realign=True,
    ),
    encoder=EncoderRecipe(encoder_width=24, channels=16),
    v2v=V2VRecipe(v2v_width=16),
    decoder=DecoderRecipe(decoder_width=24),
    losses=LossRecipe(
        warmup=50, length=20.0, mask=True, cover=100.0, steady=5.0, steady_in="body", sure=0.1
    ),
    optim=OptimRecipe(steps=900),
    compute=ComputeRecipe(precision="float32"),  # too small to gain by less
    priors=PriorRecipe(sharpness=4.0, hull=9.0, hull_blur=3),
)
QUICK_HUMAN = QUICK_RAT.with_(
    name="quick-human",
    keypoints=24,
    animal_side=2000.0,
    hull=4.0,
    hull_blur=1,
    shape=True,
    realign=False,
    by_shape=True,
    mirror=True,
    uncover=True,
    cover=300.0,
    cover_body=50.0,
    steady=4.0,
    turns=1,
    views_per_step=None,
    steps=400,
)
# For recordings of one's own: the cube's side comes from the animal itself, and three views a step
# keep every view's part small.
QUICK = QUICK_RAT.with_(
    name="quick",
    keypoints=16,
    animal_side=None,
    animal_lengths=1.55,
    views_per_step=3,
    cover=20.0,
    cover_sure=True,
    steps=1200,
)
# The paper at its own size (its section 4; constants that it does not print are the released
# code's). One pair every 10 frames of Human3.6M's training subjects makes about 39 000 steps an
# epoch at batch 1: 5 epochs, both curriculum losses from the third on. length: 2 x 1e-6 per mm^2
# there, in units of the side here; separate: 0.05 for each of the two moments, sigma 0.08 of half a
# side.
PAPER_H36M = Recipe(
    "paper-h36m",
    data=DataRecipe(gaps=(0.4,)),
    volume=VolumeRecipe(side=7500.0),
    encoder=EncoderRecipe(backbone="resnet50", pretrained=True, pyramid=True),
    v2v=V2VRecipe(v2v_levels=5, v2v_front=7, v2v_full=True),
    decoder=DecoderRecipe(decoder_widths=(1024, 512, 256, 128, 64)),
    bottleneck=BottleneckRecipe(activation="relu"),
    losses=LossRecipe(
        perceptual="vgg19", warmup=78_000, separate=0.1, separate_sigma=0.04, length=112.5
    ),
    optim=OptimRecipe(steps=195_000, optimizer="sgd", learning_rate=1e-3, edge_learning_rate=0.512),
    compute=ComputeRecipe(
        memory="auto", channels_last=True, checkpointing=True, decode_per_view=True
    ),
)
PAPER_RAT7M = PAPER_H36M.with_(name="paper-rat7m", gaps=(0.66,), side=1000.0, length=2.0)
# For people without a data centre: the visual hull finds the animal for nothing, and only a small
# fine cube around it is computed, 32^3 with 3^3 kernels, from crops that show it large; a smaller
# trunk, and a decoder to half the size. 1 / 7 of the arithmetic.
LEAN = PAPER_RAT7M.with_(
    name="lean",
    backbone="resnet18",
    mode="animal",
    animal_side=460.0,
    voxels=32,
    v2v_levels=4,
    v2v_front=3,
    decoder_widths=(256, 128, 64, 32),
    activation="softplus",
    optimizer="adam",
    edge_learning_rate=1e-2,
    steps=4000,
    warmup=200,
    separate_sigma=0.05,
    background=True,
    sharpness=4.0,
    hull=9.0,
    hull_blur=3,
    mask=True,
    by_motion=True,
    cover=20.0,
    memory=None,
    checkpointing=False,
    decode_per_view=False,
    turn=True,
    by_heading=True,
)

# B-KinD 2D (Sun et al., CVPR 2022) at its own size on CalMS21, for one uncalibrated camera:
# constants of the released code. Its 15 epochs and the 4 before the curriculum are kept as shares
# of `steps`, which depend on how many frames there are. separate: 0.05 in each of its four terms,
# sigma 0.08 of half an image. sigmas: dots exp(-d^2 / 2 v), v = 0.1, 0.1, 0.01, 0.01, 0.001.
BKIND_2D = PAPER_H36M.with_(
    name="bkind-2d",
    lift="flat",
    draw="points",
    keypoints=10,
    gaps=(0.2,),
    batch=5,
    side=None,
    map_norm=True,
    sigmas=(0.447, 0.447, 0.141, 0.141, 0.045),
    structure_only=True,
    separate=0.2,
    separate_sigma=0.04,
    length=0.0,
    rotate=1.0,
    steps=60_000,
    warmup=16_000,
    decode_per_view=False,
)
# The same for minutes of CPU: the animal is found by the foreground and cut out, and what the quick
# recipes know beyond the paper helps here, too.
QUICK_2D = QUICK.with_(
    name="quick-2d",
    lift="flat",
    draw="points",
    keypoints=10,
    batch=3,
    views_per_step=None,
    by_heading=False,
    turn=False,
    turns=1,
    realign=False,
    cover_sure=False,
    length=0.0,
    steady=0.0,
    rotate=10.0,
    steps=900,
)

# A pose from one image, taught by labels (EpipolarPose, Kocabas et al., CVPR 2019), for minutes of
# CPU; and at its own size, 140 epochs over some 35 000 labelled moments of four cameras.
STUDENT = Recipe(
    "student",
    lift="integral",
    data=DataRecipe(image_wh=(96, 96), batch=16),
    encoder=EncoderRecipe(encoder_width=24),
    bottleneck=BottleneckRecipe(draw="points"),
    losses=LossRecipe(explain="labels", perceptual="pixels", separate=0.0, length=0.0, warmup=0),
    lesson=LessonRecipe(),
    optim=OptimRecipe(steps=1500, learning_rate=2e-3, grad_clip=1.0),
    compute=ComputeRecipe(precision="float32"),
    priors=PriorRecipe(sharpness=4.0),
)
EPIPOLARPOSE = STUDENT.with_(
    name="epipolarpose",
    image_wh=(256, 256),
    batch=32,
    backbone="resnet50",
    pretrained=True,
    depth_cells=64,
    steps=600_000,
    learning_rate=1e-3,
    precision="auto",
    sharpness=1.0,
)

# The paper's baselines (Tables 2 and 3) and ablation (Table 4), each as changes of any base;
# `variant` applies them.
VARIANTS: dict[str, dict[str, Any]] = {
    "triang-reproj": dict(lift="triangulated", reproject=1.0),
    "depth-map": dict(lift="depth", agree=1.0),
    "keypoint3d": dict(lift="depth", agree=1.0, draw="points", explain="frame"),
    "flat": dict(lift="flat", draw="points", length=0.0, steady=0.0, cover_body=0.0),
    "flat-rotate": dict(
        lift="flat", draw="points", length=0.0, steady=0.0, cover_body=0.0, rotate=1.0
    ),
    "points": dict(draw="points"),
    "no-length": dict(length=0.0),
    "keypoints-8": dict(keypoints=8),
    "keypoints-30": dict(keypoints=30),
}


def variant(base: Recipe, name: str) -> Recipe:
    """`base` with one of the named changes of `VARIANTS`.

    Args:
        base: any recipe.
        name: a key of `VARIANTS`.

    Returns:
        A recipe called after both.

    Raises:
        ValueError: no such variant.
    """
    if name not in VARIANTS:
        raise ValueError(f"variant = {name!r}; expected one of {', '.join(VARIANTS)}")
    return base.with_(name=f"{base.name}-{name}", **VARIANTS[name])


PRESETS = (QUICK, QUICK_RAT, QUICK_HUMAN, PAPER_H36M, PAPER_RAT7M, LEAN, BKIND_2D, QUICK_2D)
# What each is for, in a line.
PURPOSES = {
    "quick": "recordings of your own: the cube's side comes from the animal; a CPU will do",
    "quick-rat": "the bundled rat clip, on a CPU (what quickstart trains)",
    "quick-human": "the bundled human clip, on a CPU",
    "lean": "a small fine cube about the animal, ResNet-18: one GPU, or a patient CPU",
    "paper-h36m": "the paper's method at its own size for people in a room (Human3.6M); GPUs",
    "paper-rat7m": "the same for a rat in an arena (Rat7M); GPUs",
    "quick-2d": "one uncalibrated camera, small: keypoints in its image",
    "bkind-2d": "one uncalibrated camera, as B-KinD at its own size; a GPU",
}
RECIPES = {
    recipe.name: recipe
    for recipe in (
        *PRESETS,
        STUDENT,
        EPIPOLARPOSE,
        *(variant(PAPER_H36M, name) for name in VARIANTS),
        *(variant(PAPER_RAT7M, name) for name in VARIANTS),
    )
}
