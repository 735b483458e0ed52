#!/usr/bin/env python
"""Render the sample clips: animals filmed by calibrated cameras, with exact ground truth.

    MUJOCO_GL=egl python tools/render_samples.py                      # data_samples/, both clips
    MUJOCO_GL=osmesa python tools/render_samples.py --clip rat --workers 2
    MUJOCO_GL=egl python tools/render_samples.py --clip rat --part train --frames 10000 --size 512 \
        --seed 5 --out build/long                                     # a clip for benchmarks
    python tools/render_samples.py --clip rat --part train --dry --seed 5 --frames 9000 \
        --deck rear=1 groom=1 sniff=1 look=1 --out build/acts         # many bouts of some acts

Beside each part's videos lie truth.npz and acts.npz (names (A,), levels (T, A)), what it does.

Needs dm_control, mujoco, av, numpy, scipy and tomli-w.  MUJOCO_GL is egl on a machine with a GPU,
osmesa on one without.
"""

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

# One thread per worker: the workers share the cores among themselves.
for variable in ("LP_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("MUJOCO_GL", "osmesa")

import mujoco
import numpy as np
from render.film import shoot
from render.human import HUMAN
from render.rat import RAT
from render.rig import write_calibration

CLIPS = {clip.name: clip for clip in (RAT, HUMAN)}
PARTS = ("train", "test")


def joint_positions(clip, model, poses):
    """Ground truth (T, J, 3) in mm of poses (T, nq)."""
    data = mujoco.MjData(model)
    bodies = [model.body(joint.body).id for joint in clip.joints]
    points = np.array([joint.point for joint in clip.joints])
    positions = np.empty((len(poses), len(bodies), 3), np.float32)
    for t, pose in enumerate(poses):
        data.qpos = pose
        mujoco.mj_kinematics(model, data)
        turns = data.xmat[bodies].reshape(-1, 3, 3)
        positions[t] = (data.xpos[bodies] + np.einsum("jab,jb->ja", turns, points)) * clip.units
    return positions


def write_truth(path, clip, model, poses, every=1):
    """Write truth.npz next to the videos, atomically."""
    names = np.array([joint.name for joint in clip.joints])
    neutral = joint_positions(clip, model, model.qpos0[None])[0].astype(float)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(".truth.part.npz")
    np.savez_compressed(
        draft,
        positions=joint_positions(clip, model, poses),
        names=names,
        edges=clip.edges().astype(np.int64),
        fps=clip.fps / every,
        body_length=float(clip.length(dict(zip(names, neutral)))),
    )
    os.replace(draft, path)


def write_acts(path, acts):
    """Write acts.npz next to the videos: how strongly each act is done in every frame."""
    draft = path.with_name(".acts.part.npz")
    levels = np.stack(list(acts.values()), 1).astype(np.float16)
    np.savez_compressed(draft, names=np.array(list(acts)), levels=levels)
    os.replace(draft, path)


def animate(clip, part, seed, frames, deck):
    """The clip's model and the poses (T, nq) and acts of one part."""
    model = clip.scene(64).compile()
    rng = np.random.default_rng([seed, PARTS.index(part), len(clip.name)])
    return model, *clip.animate(model, frames, rng, deck)


def main():
    args = arguments()
    start, jobs = time.time(), []
    for clip in (CLIPS[name] for name in args.clip):
        folder = args.out / clip.name
        cameras = clip.cameras(args.size)
        folder.mkdir(parents=True, exist_ok=True)
        write_calibration(folder / "calibration.toml", cameras)
        for part in args.part:
            frames = args.frames or clip.seconds[part] * clip.fps
            model, poses, acts = animate(clip, part, args.seed, frames, args.deck)
            poses = poses[:: args.every]
            acts = {n: x[:: args.every] for n, x in acts.items() if done(n, args.deck)}
            write_truth(folder / part / "truth.npz", clip, model, poses, args.every)
            write_acts(folder / part / "acts.npz", acts)
            shares = ", ".join(f"{name} {np.mean(level > 0.5):.0%}" for name, level in acts.items())
            rate = clip.fps / args.every
            print(f"{clip.name} {part}: {len(poses)} frames at {rate:g} fps; {shares}", flush=True)
            noise = 2 * args.seed + PARTS.index(part)
            films = [folder / part / f"{camera.name}.mp4" for camera in cameras]
            jobs += [
                (clip.name, args.size, index, poses, noise, film, args.every, args.bare, args.look)
                for index, film in enumerate(films)
                if not args.cameras or index + 1 in args.cameras
            ]
    if not args.dry:
        render(jobs, args.workers)
    images = sum(len(job[3]) for job in jobs)
    print(f"{images} images in {time.time() - start:.0f} s")


def done(name, deck):
    """Whether an act is among those to do; all are without a deck, and walking always is."""
    return deck is None or name == "walk" or deck.get(name, 0) > 0


def render(jobs, workers):
    """Film all jobs, one camera and part each, in worker processes."""
    # Every worker makes its own OpenGL context, so it must be a fresh process.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for path in pool.map(job, jobs):
            print(f"{path}: {path.stat().st_size / 1e6:.2f} MB", flush=True)


def job(order):
    """Film one job; the clip is sent by name, as functions cannot be pickled."""
    name, *rest = order
    return shoot(CLIPS[name], *rest)


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--clip", nargs="+", choices=list(CLIPS), default=list(CLIPS))
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--frames", type=int, help="per part (default: the samples' lengths)")
    every = "film every so many frames (default 1)"
    parser.add_argument("--every", type=int, default=1, help=every)
    deck = "cards of the acts to do, instead of all: rear=1 groom=2"
    parser.add_argument("--deck", nargs="+", metavar="ACT=CARDS", help=deck)
    parser.add_argument("--cameras", type=int, nargs="+", help="numbers from 1 (default: all)")
    parser.add_argument("--size", type=int, default=256, help="pixels, width and height")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).resolve().parents[1] / "data_samples"
    )
    bare = "no shadows and reflections: four times faster"
    parser.add_argument("--bare", action="store_true", help=bare)
    look = "other colours of everything, a number for each choice (default: the samples')"
    parser.add_argument("--look", type=int, help=look)
    parser.add_argument("--dry", action="store_true", help="truth, acts and calibration only")
    args = parser.parse_args()
    if args.deck:
        args.deck = {name: int(cards) for name, _, cards in (x.partition("=") for x in args.deck)}
    return args


if __name__ == "__main__":
    main()
