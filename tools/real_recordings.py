"""Recordings with reference points, arranged as `open_clip` reads them: a copy with `truth.npz`.

    python tools/real_recordings.py SOURCE OUT

SOURCE holds a calibration and either videos beside `reference3d.npz` (xyz (T, J, 3), perhaps names)
or `com3d_mm.csv` (frame, x, y, z), or single labelled moments of a long film: `labels3d.json` with
the JPEGs that it names, some frames before, at and after each label. Of those, the cameras that saw
every moment get a folder each, `CameraE/007035.jpg`, whose number is the frame's; open that with
its rate: `doctor OUT --fps 6`.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np

from bkind3d_lite.calibrations import load_calibration
from bkind3d_lite.cameras import save_calibration


def arranged(source: Path, out: Path) -> Path:
    """Copy a recording and write its truth. Raises `ValueError` where there are no reference points
    that are known."""
    out.mkdir(parents=True, exist_ok=True)
    if (source / "labels3d.json").is_file():
        return moments(source, out)
    for path in (source / "calibration.toml", *source.glob("*.mp4")):
        shutil.copyfile(path, out / path.name)
    if (source / "reference3d.npz").is_file():
        with np.load(source / "reference3d.npz", allow_pickle=False) as data:
            points, names = (
                data["xyz"],
                data["names"]
                if "names" in data
                else [f"joint{j + 1}" for j in range(data["xyz"].shape[1])],
            )
    elif (source / "com3d_mm.csv").is_file():
        points, names = np.loadtxt(source / "com3d_mm.csv", delimiter=",")[:, None, 1:], ["centre"]
    else:
        raise ValueError(f"{source}: no reference3d.npz, com3d_mm.csv or labels3d.json")
    return truth(out, points, names)


def moments(source: Path, out: Path) -> Path:
    """Single labelled moments: the cameras that saw them all."""
    labels = json.loads((source / "labels3d.json").read_text(encoding="utf-8"))
    rig = load_calibration(source / "calibration.toml")
    views = [
        v
        for v, name in enumerate(rig.names)
        if all(name in moment["files"] for moment in labels["frames"])
    ]
    files = {
        name: {
            moment["frame"] + int(step): file
            for moment in labels["frames"]
            for step, file in moment["files"][name].items()
        }
        for name in (rig.names[v] for v in views)
    }
    clock = sorted(set.intersection(*(set(f) for f in files.values())))
    for name, known in files.items():
        (out / name).mkdir(exist_ok=True)
        for number in clock:
            shutil.copyfile(source / known[number], out / name / f"{number:06d}.jpg")
    save_calibration(rig.take(views), out / "calibration.toml")
    points = np.full((len(clock), len(labels["joint_names"]), 3), np.nan)
    for moment in labels["frames"]:
        points[clock.index(moment["frame"])] = [
            [np.nan] * 3 if xyz is None else xyz for xyz in moment["xyz_mm"]
        ]
    return truth(out, points, labels["joint_names"])


def truth(out: Path, points: np.ndarray, names) -> Path:
    """`truth.npz` as `open_clip` reads it."""
    np.savez(
        out / "truth.npz",
        positions=points,
        names=np.array([str(n) for n in names]),
        edges=np.zeros((0, 2), int),
    )
    return out


if __name__ == "__main__":
    print(arranged(Path(sys.argv[1]), Path(sys.argv[2])))
