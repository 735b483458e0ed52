"""Stills of three lessons for the README, from the executed copies that `make notebooks` leaves in
build/notebooks.

python tools/lesson_stills.py
"""

import base64
import io
from pathlib import Path

import nbformat
from PIL import Image

STILLS = {
    "06_edges": "see-drawing",
    "08_training": "train-first",
    "10_epipolar": "see-ray",
}  # lesson: cell
WIDTH = 800


def main() -> None:
    for lesson, cell in STILLS.items():
        nb = nbformat.read(Path("build/notebooks") / f"{lesson}.ipynb", 4)
        outputs = next(c for c in nb.cells if c.id == cell).outputs
        data = [o.data["image/png"] for o in outputs if "image/png" in o.get("data", {})][-1]
        image = Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")
        path = Path("docs/images") / f"lesson_{lesson}.jpg"
        image.resize(
            (WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS
        ).save(path, quality=85, optimize=True)
        print(path, f"{path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
