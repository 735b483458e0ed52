"""An animal that nothing here was made for: a dog on a shiny floor, under a light that follows it.

    pip install dm_control==1.0.50 mujoco==3.17     (on a machine without a screen: libosmesa6)
    MUJOCO_GL=osmesa python benchmarks/dog.py [--steps 1200] [--seeds 0] [--device cuda]

The dog of DeepMind's dm_control (Apache-2.0) is put along a way through the room with legs that
swing, joint by joint, and rendered by six cameras on a ring, 320 frames to learn from and 100 held
out, into build/bench/dog. `quick` as it ships measures how long the dog is, finds its heading,
learns, and is scored beside what needs no network. Writes build/bench/dog.json.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from bkind3d_lite import batches, begin, open_clip, placed, survey, train
from bkind3d_lite.cameras import CameraRig, save_calibration
from bkind3d_lite.clips import SurveyedClip
from bkind3d_lite.clips.extent import animal_length
from bkind3d_lite.clips.videos import write_video
from bkind3d_lite.files import write_atomically
from bkind3d_lite.recipes import QUICK, altered
from bkind3d_lite.training.orientation import oriented_part
from bkind3d_lite.workflows.evaluate_run import references, score_parts

OUT = Path(__file__).parents[1] / "build" / "bench"
WH, FPS, VIEWS, FOV = (192, 144), 25.0, 6, 45.0
PARTS = {"train": (0, 320), "test": (320, 420)}
SPINE = ("skull", "C_5", "torso", "L_4", "pelvis", "Ca_10", "Ca_21")
LEGS = (
    ("pelvis", "upper_leg", "lower_leg", "foot", "toe"),
    ("torso", "upper_arm", "lower_arm", "hand", "finger"),
)
# joint, phase in radians after the side's own, amplitude in radians
GAIT = (
    ("hip_{}_extend", 0.0, 0.45), ("knee_{}", 0.9, 0.35), ("ankle_{}", 1.6, 0.3),
    ("shoulder_{}_extend", 1.9, 0.45), ("elbow_{}", 2.8, 0.35), ("wrist_{}", 2.8, 0.3),
)  # fmt: skip


# ---- the film ------------------------------------------------------------------------------------
def way(frames: int, rng: np.random.Generator) -> np.ndarray:
    """x, y (m), heading (rad) and speed (m/s) of a dog that walks, turns and stands, (T, 4)."""
    place, heading, speed, turning, rows = np.zeros(2), rng.uniform(-3, 3), 0.0, 0.0, []
    goal, rate = 0.0, 0.0
    for t in range(frames):
        if t % 38 == 0:
            goal, rate = rng.choice([0, 0.5, 0.9, 1.2]), rng.normal(0, 0.9)
            if np.linalg.norm(place) > 0.8:  # back to the middle
                home = np.arctan2(-place[1], -place[0])
                rate, goal = np.angle(np.exp(1j * (home - heading))) / 1.5, max(goal, 0.7)
        speed += 0.1 * (goal - speed)
        turning += 0.1 * (rate * (speed > 0.15) - turning)
        heading += turning / FPS
        place = place + speed / FPS * np.array([np.cos(heading), np.sin(heading)])
        rows.append((*place, heading, speed))
    return np.array(rows)


def cameras() -> tuple[CameraRig, np.ndarray]:
    """Six cameras about the room, in mm, and their places in m."""
    angle = 2 * np.pi * np.arange(VIEWS) / VIEWS + 0.2
    height = 1.3 + 0.4 * (np.arange(VIEWS) % 2)
    places = np.stack([3.2 * np.cos(angle), 3.2 * np.sin(angle), height], -1)
    ahead = np.array([0, 0, 0.35]) - places
    ahead /= np.linalg.norm(ahead, axis=-1, keepdims=True)
    right = np.cross(ahead, [0, 0, 1.0])
    right /= np.linalg.norm(right, axis=-1, keepdims=True)
    R = torch.tensor(np.stack([right, np.cross(ahead, right), ahead], 1)).float()
    focal = WH[1] / 2 / np.tan(np.deg2rad(FOV) / 2)
    K = torch.tensor([[focal, 0, WH[0] / 2], [0, focal, WH[1] / 2], [0, 0, 1]]).float()
    t = -(R @ torch.tensor(1000 * places).float()[..., None])[..., 0]
    names = tuple(f"cam{i + 1}" for i in range(VIEWS))
    rig = CameraRig(K.repeat(VIEWS, 1, 1), R, t, torch.zeros(VIEWS, 5), wh=WH, names=names)
    return rig, places


class Dog:
    """dm_control's dog, put into poses without any physics."""

    def __init__(self, seed: int, frames: int):
        from dm_control.mujoco import MovableCamera
        from dm_control.suite import dog

        self.physics = dog.walk().physics
        model = self.physics.model
        self.rest = self.physics.data.qpos.copy()
        joints = [model.id2name(i, "joint") for i in range(model.njnt)]
        self.at = {n: int(model.jnt_qposadr[i]) for i, n in enumerate(joints)}
        self.range = {n: model.jnt_range[i] for i, n in enumerate(joints)}
        rng = np.random.default_rng(seed)
        self.way = way(frames, rng)
        self.phase = np.cumsum(self.way[:, 3]) / FPS / 0.55 * 2 * np.pi
        kernel = np.hanning(41) / np.linalg.norm(np.hanning(41))
        sway = rng.normal(size=(frames + 40, 6))
        self.sway = np.stack([np.convolve(x, kernel, "valid")[:frames] for x in sway.T], 1)
        sides = [f"{part}_{side}" for side in "LR" for leg in LEGS for part in leg[1:]]
        self.names = [*SPINE, *sides]
        self.bodies = [model.name2id(name, "body") for name in self.names]
        model.vis.global_.fovy = FOV
        self.camera = MovableCamera(self.physics, height=WH[1], width=WH[0])

    def pose(self, t: int) -> np.ndarray:
        """Stand as at frame t; where the joints are, (J, 3) mm."""
        pose, (x, y, heading, speed) = self.rest.copy(), self.way[t]
        share = min(1.0, speed / 0.5)
        pose[:2], pose[2] = (x, y), pose[2] + 0.02 * np.sin(2 * self.phase[t]) * share
        pose[3:7] = np.cos(heading / 2), 0, 0, np.sin(heading / 2)
        for side, half in (("L", 0.0), ("R", np.pi)):
            for joint, later, much in GAIT:
                swing = much * share * np.sin(self.phase[t] + half + later)
                self._bend(pose, joint.format(side), swing)
        for i, part in enumerate(("L_", "C_", "Ca_")):
            for joint in (j for j in self.at if j.startswith(part)):
                much = {"bend": 0.1, "extend": 0.06}.get(joint.rsplit("_", 1)[1], 0.0)
                self._bend(pose, joint, much * self.sway[t, i + 3 * joint.endswith("extend")])
        with self.physics.reset_context():
            self.physics.data.qpos[:] = pose
        return 1000 * self.physics.data.xpos[self.bodies]

    def _bend(self, pose: np.ndarray, joint: str, angle: float) -> None:
        i = self.at[joint]
        pose[i] = np.clip(self.rest[i] + angle, *self.range[joint])

    def seen(self, place: np.ndarray, ahead: np.ndarray) -> np.ndarray:
        """An image (H, W, 3) from a place (3) m in the direction ahead (3)."""
        azimuth, elevation = np.arctan2(ahead[1], ahead[0]), np.arcsin(ahead[2])
        degrees = np.rad2deg(azimuth), np.rad2deg(elevation)
        self.camera.set_pose(place + ahead, 1.0, azimuth=degrees[0], elevation=degrees[1])
        return self.camera.render().copy()  # of a buffer that the next one is drawn into


def render(folder: Path, seed: int) -> None:
    """Both parts of the film, with their truth, as folders that `open_clip` reads."""
    rig, places = cameras()
    for part, (begin_at, end) in PARTS.items():
        dog = Dog(seed, PARTS["test"][1])
        truth, images = [], []
        for t in range(begin_at, end):
            truth.append(dog.pose(t))
            images.append([dog.seen(p, R[2].double().numpy()) for p, R in zip(places, rig.R)])
            print(f"\r{part} {t + 1}/{end}", end="", flush=True)
        here = folder / part
        here.mkdir(parents=True, exist_ok=True)
        for v, name in enumerate(rig.names):
            write_video(here / f"{name}.mp4", [frame[v] for frame in images], FPS)
        save_calibration(rig, here / "calibration.toml")
        np.savez(here / "truth.npz", **reference(np.array(truth, np.float32), dog.names))
    print()


def reference(truth: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
    """What `truth.npz` holds; the body's length is from skull to pelvis."""
    at = names.index
    chains = [SPINE, *((leg[0], *(f"{p}_{s}" for p in leg[1:])) for s in "LR" for leg in LEGS)]
    edges = [(at(a), at(b)) for chain in chains for a, b in zip(chain, chain[1:])]
    body = np.linalg.norm(truth[:, at("skull")] - truth[:, at("pelvis")], axis=-1)
    return {
        "positions": truth, "names": np.array(names), "edges": np.array(edges),
        "body_length": np.array(np.median(body)), "fps": np.array(FPS),
    }  # fmt: skip


# ---- scores --------------------------------------------------------------------------------------
def learned(recipe, parts, seed: int, device: str) -> tuple[dict, float]:
    """Scores of one training, and its CPU seconds."""
    run = begin(recipe, parts[0].clip, seed, device)
    first = oriented_part(run.model, parts[0], teach=recipe.volume.look_steps)
    both = first, oriented_part(run.model, parts[1])
    start = time.process_time()
    for step in train(run, batches(run, first.clip, first.survey)):
        if step.index >= recipe.optim.steps:
            break
    seconds = time.process_time() - start
    return {"quick": score_parts(run.model, run.recipe, both)[1], **references(both)}, seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=QUICK.optim.steps)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--film", type=Path, default=OUT / "dog")
    given = parser.parse_args()
    if not (given.film / "test" / "truth.npz").is_file():
        render(given.film, seed=1)
    clips = [open_clip(given.film / part) for part in PARTS]
    surveys = [survey(clip) for clip in clips]
    parts = [SurveyedClip(clip, seen) for clip, seen in zip(clips, surveys)]
    longest = torch.cdist(clips[0].truth, clips[0].truth).amax((1, 2)).quantile(0.75)
    length = animal_length(surveys[0], clips[0].rig)
    print(f"length by the hull {length:.0f} mm, farthest joints {longest:.0f} mm")
    recipe = altered(placed(QUICK, clips[0].rig, surveys[0]), given.set).with_(steps=given.steps)
    results: dict = {"length": length, "farthest_joints": float(longest)}
    for seed in given.seeds:
        rows, seconds = learned(recipe, parts, seed, given.device)
        results[f"seed {seed}"] = {"cpu_seconds": seconds, **rows}
        for name, row in rows.items():
            words = ", ".join(f"{k} {v:.3g}" for k, v in row.items() if v is not None)
            print(f"seed {seed}, {name}: {words}", flush=True)
        write_atomically(OUT / "dog.json", lambda p: p.write_text(json.dumps(results, indent=1)))


if __name__ == "__main__":
    main()
