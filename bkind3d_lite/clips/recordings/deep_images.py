"""Deep images: stills of 10 to 16 bits a sample, as scientific cameras write them, in 8 bits.

PIL cuts them off, grey ones at the top and coloured ones at the bottom; FFmpeg reads them whole.
A file says how many bits a sample has room for, not how many the camera fills: that is asked of
some images of a sequence, so that all of it is scaled alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from PIL import Image, TiffImagePlugin

PNG, PNG_DEPTH_AT = b"\x89PNG\r\n\x1a\n", 24
BIG_TIFF = (b"II+\0", b"MM\0+")  # TIFF with 64-bit offsets, which FFmpeg does not read
TIFF_DEPTH = 258  # the tag BitsPerSample
USUAL_BITS = (8, 10, 12, 14, 16)  # that cameras fill
LOOKED_AT = 8  # images of a sequence, that tell how many


def sample_bits(path: Path) -> int:
    """How many bits a sample of an image has room for.

    Args:
        path: of a PNG, TIFF or JPEG.

    Returns:
        Its bits; 8 where the file does not say.
    """
    with path.open("rb") as file:
        head = file.read(PNG_DEPTH_AT + 1)
    if head.startswith(PNG) and len(head) > PNG_DEPTH_AT:
        return head[PNG_DEPTH_AT]
    if head[:4] in (b"II*\0", b"MM\0*", *BIG_TIFF):
        with Image.open(path, formats=("TIFF",)) as image:
            if isinstance(image, TiffImagePlugin.TiffImageFile):
                depth = image.tag_v2.get(TIFF_DEPTH, 8)
                return max(depth) if isinstance(depth, tuple) else int(depth)
    return 8


def deep_samples(path: Path) -> np.ndarray:
    """All bits of an image.

    Args:
        path: of a PNG or TIFF of up to 16 bits a sample.

    Returns:
        (H, W, 3) uint16; grey ones have three equal channels.

    Raises:
        ValueError: it cannot be decoded, is a BigTIFF, or its samples are not whole numbers of
            at most 16 bits.
    """
    if (bits := sample_bits(path)) > 16:
        raise ValueError(
            f"{path}: {bits} bits a sample, at most 16 are read; write it again as 16-bit PNG"
        )
    data = path.read_bytes()
    if data.startswith(BIG_TIFF):
        raise ValueError(
            f"{path}: a BigTIFF of {bits} bits a sample, which is not read; write it again as TIFF "
            "or as 16-bit PNG"
        )
    decoder = av.CodecContext.create("png" if data.startswith(PNG) else "tiff", "r")
    try:
        frames = [*decoder.decode(av.Packet(data)), *decoder.decode(None)]
        return frames[0].reformat(format="rgb48le").to_ndarray()
    except (av.FFmpegError, IndexError, AttributeError) as error:
        raise ValueError(f"{path}: broken ({error}); copy the file again") from error


def filled_bits(paths: Sequence[Path]) -> int:
    """How many bits the camera of a sequence fills, by some of its images.

    Args:
        paths: of the sequence's images, all deep.

    Returns:
        The least of `USUAL_BITS` that hold their brightest sample.
    """
    some = np.linspace(0, len(paths) - 1, min(len(paths), LOOKED_AT)).round().astype(int)
    brightest = max(int(deep_samples(paths[i]).max()) for i in some)
    return next(bits for bits in USUAL_BITS if brightest < 1 << bits)


def in_eight_bits(samples: np.ndarray, bits: int) -> np.ndarray:
    """Samples scaled so that the brightest that `bits` hold is white.

    Args:
        samples: (H, W, 3) uint16.
        bits: that the camera fills; brighter samples are white.

    Returns:
        (H, W, 3) uint8.
    """
    most = (1 << bits) - 1
    return (np.minimum(samples, most).astype(np.uint32) * 255 // most).astype(np.uint8)
