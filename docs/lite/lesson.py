"""What the two lessons in the browser share: a recording, figures with words, checked exercises.

numpy and matplotlib only. `tools/build_lite.py` writes the two files of numbers that lie beside it.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from io import BytesIO
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML, display
from matplotlib.figure import Figure

HERE = Path(__file__).parent
INK = "#767676"  # 4.5 : 1 on white, 4.6 : 1 on black: axes for light and dark pages
BLUE, ORANGE, GREEN, YELLOW = "#0072b2", "#d55e00", "#009e73", "#ffd400"
COLOURED = "text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"
matplotlib.use("agg")  # figures are shown by `show`, and by nothing else
matplotlib.rcParams.update(dict.fromkeys(COLOURED, INK) | {"legend.frameon": False})
matplotlib.rcParams.update({"figure.facecolor": "none", "axes.facecolor": "none"})
matplotlib.rcParams["axes.prop_cycle"] = matplotlib.cycler(
    color=[BLUE, ORANGE, GREEN, "#cc79a7", "#56b4e9"]
)


# ---- the recording -------------------------------------------------------------------------------
@dataclass(frozen=True)
class Recording:
    """One moment of V cameras, and where the J joints were at T moments.

    `K`, `R` (V, 3, 3), `t` (V, 3) millimetres and `distortion` (V, 5) are the calibration;
    `pictures` (V, H, W, 3) and `joints` (J, 3) are of the moment, `poses` (T, J, 3) of all.
    """

    K: np.ndarray
    R: np.ndarray
    t: np.ndarray
    distortion: np.ndarray
    pictures: np.ndarray
    joints: np.ndarray
    poses: np.ndarray
    names: tuple[str, ...]
    cameras: tuple[str, ...]
    edges: np.ndarray

    def px_from_world(self, points: np.ndarray) -> np.ndarray:
        """Where points (P, 3) land, lenses included: (V, P, 2)."""
        ahead = points @ self.R.transpose(0, 2, 1) + self.t[:, None]
        return self.px_from_flat(bend(ahead[..., :2] / ahead[..., 2:], self.distortion))

    def px_from_flat(self, flat: np.ndarray) -> np.ndarray:
        """From the plane z = 1 to pixels, (V, P, 2) both: K alone."""
        return flat @ self.K[:, :2, :2].transpose(0, 2, 1) + self.K[:, None, :2, 2]

    def flat_from_px(self, px: np.ndarray) -> np.ndarray:
        """The way back, (V, P, 2): K and the lens taken out, the lens by trying and mending."""
        start = (px - self.K[:, None, :2, 2]) / self.K[:, None, [0, 1], [0, 1]]
        flat = start
        for _ in range(30):
            flat = flat + start - bend(flat, self.distortion)
        return flat


def bend(flat: np.ndarray, distortion: np.ndarray) -> np.ndarray:
    """OpenCV's lens model: points (V, P, 2) on the plane z = 1, `distortion` (V, 5)."""
    k1, k2, p1, p2, k3 = distortion.T[:, :, None]
    x, y = flat[..., 0], flat[..., 1]
    r2 = x**2 + y**2
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    aside = 2 * p1 * x * y + p2 * (r2 + 2 * x**2), p1 * (r2 + 2 * y**2) + 2 * p2 * x * y
    return np.stack([x * radial + aside[0], y * radial + aside[1]], -1)


def load() -> Recording:
    """The recording beside this file: one moment of the bundled rat."""
    with np.load(HERE / "rat.npz") as held:
        parts = {name: held[name] for name in held.files}
    texts = {name: tuple(map(str, parts[name])) for name in ("names", "cameras")}
    return Recording(**(parts | texts))


# ---- figures -------------------------------------------------------------------------------------
def views(recording: Recording, which: list[int], size: float = 3.2) -> tuple[Figure, list]:
    """The pictures of some cameras side by side, three in a row, to draw on in pixels."""
    rows, columns = -(-len(which) // 3), min(3, len(which))
    shape = dict(figsize=(size * columns, (size + 0.4) * rows), layout="constrained")
    figure, axes = plt.subplots(rows, columns, squeeze=False, **shape)
    for ax, v in zip(axes.flat, which):
        height, width = recording.pictures[v].shape[:2]
        ax.imshow(recording.pictures[v], extent=(0, width, height, 0))
        ax.set(xticks=[], yticks=[], xlim=(0, width), ylim=(height, 0), title=recording.cameras[v])
    return figure, list(axes.flat)


def bones(ax: plt.Axes, recording: Recording, px: np.ndarray, colour: str = YELLOW) -> None:
    """A skeleton's edges between pixels (J, 2)."""
    for a, b in recording.edges:
        ax.plot(*px[[a, b]].T, "-", c=colour, lw=1.5)


def show(figure: Figure, words: str) -> None:
    """A figure with what it shows in words, for eyes and for screen readers."""
    held = BytesIO()
    figure.savefig(held, format="png", dpi=80)
    plt.close(figure)
    data, said = base64.b64encode(held.getvalue()).decode(), escape(words)
    source = f"data:image/png;base64,{data}"
    display(HTML(f'<img alt="{said}" src="{source}" style="max-width:100%"><p>{said}</p>'))


# ---- exercises -----------------------------------------------------------------------------------
def check(answer: Callable) -> str:
    """Compare an answer with the package's on random cases, and print one line.

    The cases, the right numbers and those of the usual mistakes were written when the pages were
    built, by the package whose exercises these are.

    Args:
        answer: the function of an exercise.

    Returns:
        The line's first sign: ✓, ✗ or ○.
    """
    line = judged(answer)
    print(line)
    return line[0]


def judged(answer: Callable) -> str:
    """The line that `check` prints."""
    name = answer.__name__
    with np.load(HERE / "checks.npz") as held:
        parts = {k.removeprefix(name)[1:]: held[k] for k in held.files if k.startswith(f"{name}/")}
    if not parts:
        return f"✗ no exercise of this page is called {name}"
    given = [parts[k] for k in sorted(k for k in parts if k.startswith("given"))]
    count, scaled, tolerance = len(given[0]), bool(parts["scaled"]), float(parts["tolerance"])
    got = []
    for case in range(count):
        try:
            got.append(answer(*(_argument(each[case]) for each in given)))
        except Exception as error:  # whatever a student's code raises becomes its line
            return f"✗ case {case + 1}: {type(error).__name__}: {error}"
    if all(value is None or value is ... for value in got):
        return "○ not attempted yet"

    def agree(key: str) -> list[bool]:
        return [_same(a, b, tolerance, scaled) for a, b in zip(got, parts[key])]

    if any(all(agree(key)) for key in parts if key.startswith("right")):
        return f"✓ {count} random cases agree"
    case = agree("right0").index(False)
    for n, hint in enumerate(parts["hints"]):
        if all(agree(f"wrong{n}")):
            return f"✗ case {case + 1} differs. Hint: {hint}"
    return f"✗ case {case + 1}: got {_brief(got[case])}, expected {_brief(parts['right0'][case])}"


def _argument(value: np.ndarray) -> np.ndarray | tuple:
    """One argument of a case; whole numbers are sizes, (W, H)."""
    return tuple(map(int, value)) if value.dtype.kind == "i" else value.astype(float)


def _same(got: object, expected: np.ndarray, tolerance: float, scaled: bool) -> bool:
    try:
        got = np.asarray(got, dtype=float)
    except (TypeError, ValueError):
        return False
    if got.shape != expected.shape or not np.isfinite(got).all():
        return False
    if scaled:  # right up to a factor
        norm = np.linalg.norm(got) * np.sign((got * expected).sum())
        got, expected = got / (norm or 1.0), expected / np.linalg.norm(expected)
    return bool(np.abs(got - expected).max() <= tolerance * max(1e-9, np.abs(expected).max()))


def _brief(value: object) -> str:
    text = np.array2string(np.asarray(value), precision=3, threshold=9, separator=", ")
    return " ".join(text.split())
