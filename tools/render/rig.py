"""Calibrated cameras with real lens distortion, in millimetres and OpenCV's conventions."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse
import tomli_w
from scipy.spatial.transform import Rotation


@dataclass(frozen=True)
class Camera:
    """x_cam = rotation @ x_world + translation (mm); the first pixel's centre is (0, 0)."""

    name: str
    size: tuple  # (width, height) in pixels
    matrix: np.ndarray  # (3, 3)
    distortions: np.ndarray  # (5,) k1, k2, p1, p2, k3
    rotation: np.ndarray  # (3, 3) world -> camera
    translation: np.ndarray  # (3,) mm

    @property
    def centre(self):
        """Where the camera stands in the world, (3,) mm."""
        return -self.rotation.T @ self.translation

    def project(self, points):
        """World points (..., 3) in mm -> pixels (..., 2)."""
        local = points @ self.rotation.T + self.translation
        bent = distort(local[..., :2] / local[..., 2:], self.distortions)
        return bent @ self.matrix[:2, :2].T + self.matrix[:2, 2]


def look_at(name, eye, target, focal, size, distortions, roll=0.0, shift=(0.0, 0.0)):
    """A camera at `eye` (mm) facing `target`; `focal` and `shift` are fractions of the image."""
    eye = np.asarray(eye, float)
    forward = np.asarray(target, float) - eye
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    rotation = Rotation.from_euler("z", roll, degrees=True).as_matrix() @ rotation
    centre = (size - 1) / 2 + np.asarray(shift) * size
    matrix = np.array([[focal * size, 0, centre[0]], [0, focal * size, centre[1]], [0, 0, 1]])
    return Camera(
        name, (size, size), matrix, np.asarray(distortions, float), rotation, -rotation @ eye
    )


def distort(points, coefficients):
    """Ideal normalised image points (..., 2) -> where the lens puts them (..., 2)."""
    k1, k2, p1, p2, k3 = coefficients
    x, y = points[..., 0], points[..., 1]
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    return np.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        ],
        -1,
    )


def undistort(points, coefficients, rounds=60):
    """The inverse of `distort`, by fixed-point iteration; (..., 2) -> (..., 2)."""
    ideal = points.copy()
    for _ in range(rounds):
        ideal += points - distort(ideal, coefficients)
    if np.abs(distort(ideal, coefficients) - points).max() > 1e-9:
        raise ValueError("the lens cannot be inverted over the whole image")
    return ideal


@dataclass(frozen=True)
class Lens:
    """How one pinhole image, wider and finer than the camera's own, becomes the camera's image."""

    fovy: float  # of the pinhole image, degrees
    side: int  # of the pinhole image, pixels
    warp: scipy.sparse.csr_matrix  # (width * height, side * side), each row a weighted mean


def grind(camera, fineness=2):
    """The `Lens` of a camera: every pixel averages fineness^2 bilinear samples."""
    width, height = camera.size
    steps = (np.arange(fineness) + 0.5) / fineness - 0.5
    u = (np.arange(width)[:, None] + steps).ravel()
    v = (np.arange(height)[:, None] + steps).ravel()
    pixels = np.stack(np.meshgrid(u, v), -1)
    focal, centre = np.diag(camera.matrix)[:2], camera.matrix[:2, 2]
    ideal = undistort((pixels - centre) / focal, camera.distortions)
    reach = np.abs(ideal).max() * 1.01
    side = int(np.ceil(2 * reach * focal[0] * fineness))
    source = ideal * side / (2 * reach) + (side - 1) / 2
    rows = (v.round().astype(int)[:, None] * width + u.round().astype(int)).ravel()
    warp = bilinear(source.reshape(-1, 2), side, rows, width * height) / fineness**2
    return Lens(2 * np.degrees(np.arctan(reach)), side, warp.astype(np.float32))


def bilinear(source, side, rows, count):
    """The sparse (count, side * side) matrix that adds the samples at `source` (N, 2) to `rows`."""
    low = np.floor(source).astype(int)
    part = source - low
    columns, weights = [], []
    for dx in (0, 1):
        for dy in (0, 1):
            columns.append((low[:, 1] + dy) * side + low[:, 0] + dx)
            weights.append(np.abs(1 - dx - part[:, 0]) * np.abs(1 - dy - part[:, 1]))
    entries = np.concatenate(weights), (np.tile(rows, 4), np.concatenate(columns))
    return scipy.sparse.csr_matrix(entries, shape=(count, side * side))


def write_calibration(path, cameras):
    """Write Anipose's calibration.toml."""
    tables = {}
    for index, camera in enumerate(cameras):
        tables[f"cam_{index}"] = {
            "name": camera.name,
            "size": list(camera.size),
            "matrix": camera.matrix.tolist(),
            "distortions": camera.distortions.tolist(),
            "rotation": Rotation.from_matrix(camera.rotation).as_rotvec().tolist(),
            "translation": camera.translation.tolist(),
        }
    tables["metadata"] = {"unit": "mm", "adjusted": False, "error": 0.0}
    Path(path).write_text(tomli_w.dumps(tables))
