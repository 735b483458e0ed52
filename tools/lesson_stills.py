"""Stills of three lessons for the README, from the executed copies that `make notebooks` leaves in
build/notebooks; on white, because a README does not say on which ground it is read.

python tools/lesson_stills.py
"""

import argparse
import base64
import io
from pathlib import Path

import nbformat
from PIL import Image

STILLS = {"02_clips": "see-ssim", "09_evaluation": "see-joints", "11_your_clip": "judge"}
WIDTH = 800  # pixels
IMAGES = Path(__file__).parents[1] / "docs" / "images"


def still(notebook: Path, cell: str) -> Image.Image:
    """The last picture that a cell left, RGB, `WIDTH` wide."""
    nb = nbformat.read(notebook, 4)
    outputs = next(c for c in nb.cells if c.id == cell).outputs
    data = [o.data["image/png"] for o in outputs if "image/png" in o.get("data", {})][-1]
    image = Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    size = WIDTH, round(image.height * WIDTH / image.width)
    whole = Image.alpha_composite(white, image).convert("RGB")
    return whole.resize(size, Image.Resampling.LANCZOS)


def main() -> None:
    """Write docs/images/lesson_*.jpg."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--executed", type=Path, default=Path("build/notebooks"))
    given = parser.parse_args()
    for lesson, cell in STILLS.items():
        path = IMAGES / f"lesson_{lesson}.jpg"
        still(given.executed / f"{lesson}.ipynb", cell).save(path, quality=85, optimize=True)
        print(path, f"{path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
