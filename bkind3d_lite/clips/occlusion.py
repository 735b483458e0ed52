"""Synthetic occlusion: things pasted over crops, so that a student learns to guess what is hidden.

Sarandi et al. 2018. Occluders are own coloured blobs, or objects cut from Pascal VOC 2012.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

FEWEST_PX = 500  # of an object of VOC
RIM = 0.75  # opacity of an occluder's rim
REFERENCE = 256  # pixels of the image that occluders are sized for


@dataclass(frozen=True)
class Occluders:
    """A bank of cut-outs, called with images (N, 3, h, w) and a number in [0, 1] for each of them.

    Attributes:
        patches: (4, h, w) each: RGB and opacity in [0, 1], as large as in an image of 256.
        most: occluders an image has at most; at least one.
    """

    patches: Sequence[Tensor]
    most: int = 7

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        images = images.clone()
        for image, draw in zip(images, draws.tolist()):
            random = torch.Generator().manual_seed(int(draw * 2**24))
            for _ in range(int(torch.randint(1, self.most + 1, (), generator=random))):
                self._paste(image, random)
        return images

    def _paste(self, image: Tensor, random: torch.Generator) -> None:
        """One occluder of random size somewhere over an image (3, H, W), in place."""
        H, W = image.shape[-2:]
        patch = self.patches[int(torch.randint(len(self.patches), (), generator=random))]
        share, across, down = torch.rand(3, generator=random).tolist()
        factor = (0.2 + 0.8 * share) * min(H, W) / REFERENCE
        h, w = (max(1, round(n * factor)) for n in patch.shape[-2:])
        small = F.interpolate(patch[None], (h, w), mode="bilinear", antialias=True)[0]
        x, y = round(across * W - w / 2), round(down * H - h / 2)
        x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + w, W), min(y + h, H)
        if x1 > x0 and y1 > y0:
            piece = small[:, y0 - y : y1 - y, x0 - x : x1 - x]
            part = image[:, y0:y1, x0:x1]
            part.copy_(part + piece[3:] * (piece[:3] - part))


def occluders_of(bank: str | None) -> Occluders | None:
    """Occluders by a recipe's word.

    Args:
        bank: `blobs`, or the folder of Pascal VOC 2012; None: none.

    Returns:
        The bank.
    """
    if bank is None:
        return None
    return Occluders(blobs() if bank == "blobs" else voc_objects(bank))


def blobs(count: int = 40, px: int = 128, seed: int = 0) -> list[Tensor]:
    """Own occluders: patches of random outline, colour and pattern.

    Args:
        count: how many.
        px: width and height of each.
        seed: of all that is random.

    Returns:
        (4, px, px) each: RGB and opacity.
    """
    random, patches = torch.Generator().manual_seed(seed), []
    for _ in range(count):
        coarse = torch.rand(1, 5, 4, 4, generator=random)
        field = F.interpolate(coarse, (px, px), mode="bicubic", align_corners=False)[0]
        line = torch.linspace(-1, 1, px)
        inside = 1 - (line[:, None].square() + line.square()) + 1.2 * (field[4] - 0.5)
        colour, grain = (
            torch.rand(3, 1, 1, generator=random),
            torch.rand(3, px, px, generator=random),
        )
        rgb = (colour + 0.5 * (field[:3] - 0.5) + 0.1 * (grain - 0.5)).clamp(0, 1)
        patches.append(torch.cat([rgb, (8 * inside).clamp(0, 1)[None]]))
    return patches


def voc_objects(folder: str | Path, most: int = 500) -> list[Tensor]:
    """Objects cut out of Pascal VOC 2012: no people, none that are cut off or marked difficult.

    Args:
        folder: `VOC2012`, with Annotations, JPEGImages and SegmentationObject.
        most: how many are read, in the order of the files.

    Returns:
        (4, h, w) each, halved in size: RGB and opacity.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: nothing in it can be used.
    """
    folder = Path(folder)
    if not (folder / "SegmentationObject").is_dir():
        raise FileNotFoundError(f"{folder}: no SegmentationObject; expected the folder VOC2012")
    patches: list[Tensor] = []
    for path in sorted((folder / "Annotations").glob("*.xml")):
        if len(patches) >= most:
            break
        try:
            root = ElementTree.parse(path).getroot()
        except ElementTree.ParseError as error:
            raise ValueError(f"{path}: not XML ({error}); unpack VOC again") from error
        if root.findtext("segmented", "0") != "0":
            patches += _objects(folder, root)
    if not patches:
        raise ValueError(f"{folder}: no segmented objects of {FEWEST_PX} pixels")
    return patches[:most]


def _objects(folder: Path, root: ElementTree.Element) -> list[Tensor]:
    """The usable objects of one image."""
    name = root.findtext("filename", "")
    image = np.asarray(Image.open(folder / "JPEGImages" / Path(name).name).convert("RGB"))
    mask = np.asarray(Image.open(folder / "SegmentationObject" / f"{Path(name).stem}.png"))
    patches = []
    for number, thing in enumerate(root.iter("object"), start=1):
        flags = [thing.findtext(flag, "0") for flag in ("difficult", "truncated")]
        box = thing.find("bndbox")
        if thing.findtext("name") == "person" or flags != ["0", "0"] or box is None:
            continue
        x0, y0, x1, y1 = (
            int(float(box.findtext(k, "0"))) for k in ("xmin", "ymin", "xmax", "ymax")
        )
        own = torch.from_numpy((mask[y0 - 1 : y1, x0 - 1 : x1] == number).astype(np.float32))
        if own.sum() >= FEWEST_PX:
            rgb = torch.from_numpy(image[y0 - 1 : y1, x0 - 1 : x1].copy()).permute(2, 0, 1) / 255
            patches.append(_halved(rgb, own))
    return patches


def _halved(rgb: Tensor, own: Tensor) -> Tensor:
    """A cut-out at half size, its rim half transparent."""
    core = -F.max_pool2d(-F.pad(own, (4, 4, 4, 4))[None], 9, 1)[0]
    opacity = torch.where(core > 0, own, RIM * own)
    size = [max(1, n // 2) for n in own.shape]
    whole = torch.cat([rgb, opacity[None]])
    return F.interpolate(whole[None], size, mode="bilinear", antialias=True)[0]
