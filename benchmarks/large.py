"""An hour of six cameras at 1328 x 1048: how soon it opens, and what checking, training and
tracking take of memory and time.

    python benchmarks/large.py [--minutes 60] [--memory 2] [--frames 2000] [--steps 20] [--track
    300] [--folder build/large]

Writes the recording first (an animal that walks to and fro, encoded once and repeated packet by
packet: an hour takes a minute and
0.8 GB), then runs every stage in a process of its own. `before`: resident memory of the process
after one step and one survey on a small clip, so that libraries and networks are in it; `peak`: its
largest; what the recording cost, the difference, should be within `--memory`. `mapped`: pages of
the file of decoded frames in it, which the system may drop at any time. `waiting`: share of the
training's time that steps waited for frames. Writes build/bench/large.json.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

SIZE, VIEWS, FPS = (1328, 1048), 6, 30
LOOP = 90  # frames there, and as many back


# ---- the recording -------------------------------------------------------------------------------
def write_recording(folder: Path, minutes: float) -> None:
    """A video a camera and their calibration, unless they are there."""
    from bkind3d_lite.cameras import save_calibration
    from bkind3d_lite.clips.synthetic import draw, figure, poses

    if (folder / "calibration.toml").is_file():
        return
    start = time.perf_counter()
    rig = figure(1, VIEWS, SIZE).rig
    frames = draw(rig.resized((SIZE[0] // 4, SIZE[1] // 4)), poses(LOOP))
    folder.mkdir(parents=True, exist_ok=True)
    for v, name in enumerate(rig.names):
        repeated(
            folder / f"{name}.mp4", frames[:, v].numpy(), round(60 * FPS * minutes / (2 * LOOP))
        )
    save_calibration(rig, folder / "calibration.toml")
    size = sum(path.stat().st_size for path in folder.glob("*.mp4"))
    print(
        f"wrote {minutes:g} minutes of {VIEWS} cameras in {time.perf_counter() - start:.0f} s, "
        f"{size / 1e9:.2f} GB"
    )


def repeated(path: Path, frames, times: int, wh=SIZE) -> None:
    """Encode the frames, enlarged to `wh`, there and back; write the packets `times` times,
    without encoding again."""
    import av
    from PIL import Image

    from bkind3d_lite.clips.videos import write_video

    large = [Image.fromarray(image).resize(wh, Image.Resampling.BILINEAR) for image in frames]
    loop = write_video(
        path.with_suffix(".loop.mp4"), map(np.asarray, [*large, *large[::-1]]), FPS, crf=30
    )
    with av.open(str(loop)) as source, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        packets = [(bytes(p), p.pts, p.dts, p.is_keyframe) for p in source.demux(video=0) if p.size]
        length = (
            2 * len(frames) * source.streams.video[0].duration // source.streams.video[0].frames
        )
        for n in range(times):
            for data, pts, dts, key in packets:
                packet = av.Packet(data)
                packet.pts, packet.dts, packet.is_keyframe, packet.time_base = (
                    pts + n * length,
                    dts + n * length,
                    key,
                    source.streams.video[0].time_base,
                )
                packet.stream = stream
                container.mux(packet)
    loop.unlink()


# ---- stages, each in a process of its own --------------------------------------------------------
def resident(key: str = "VmRSS") -> float:
    """GB of this process: VmRSS now, VmHWM at most, RssFile mapped from files."""
    return (
        next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(key))
        * 1024
        / 1e9
    )


def warm(recipe) -> None:
    """A survey and two steps on a small clip: libraries and networks take their memory."""
    from bkind3d_lite.clips.survey import survey
    from bkind3d_lite.clips.synthetic import figure
    from bkind3d_lite.model import placed
    from bkind3d_lite.training import batches, begin, train

    clip = figure(40, VIEWS)
    seen = survey(clip)
    run = begin(placed(recipe, clip.rig, seen), clip)
    for step in train(run, batches(run, clip, seen)):
        if step.index == 2:
            return


def open_stage(given) -> dict:
    from bkind3d_lite.clips import open_clip

    clip = open_clip(given.folder)
    return {"frames": len(clip)}


def doctor_stage(given) -> dict:
    from bkind3d_lite.workflows.doctor import examine

    found = examine(given.folder, budget=given.budget)
    return {"says": found.state}


def train_stage(given, cache: Path | None = None) -> dict:
    import bkind3d_lite.workflows.train_run as runs

    waited, begun, ahead = [], [], runs.prefetch

    def timed(*inputs):
        batches = ahead(*inputs)
        while True:
            start = time.perf_counter()
            batch = next(batches)
            begun.append(start) if not begun else waited.append(time.perf_counter() - start)
            yield batch

    runs.prefetch = timed
    start = time.perf_counter()
    run = runs.train_folder(
        given.folder,
        given.recipe,
        given.folder.parent / "run",
        steps=given.steps,
        checkpoint_every=10**6,
        pictures_every=0,
        most_frames=given.frames,
        budget=given.budget,
        cache=cache,
    )
    seconds = time.perf_counter() - begun[0]
    return {
        "steps": run.step,
        "survey_seconds": begun[0] - start,
        "seconds_a_step": seconds / run.step,
        "waiting": sum(waited) / seconds,
    }


def track_stage(given) -> dict:
    from bkind3d_lite.clips import open_clip
    from bkind3d_lite.clips.survey import survey
    from bkind3d_lite.training import load, track
    from bkind3d_lite.workflows.track_run import checkpoint_in

    model, recipe, header = load(checkpoint_in(given.folder.parent / "run"))
    clip = open_clip(given.folder, budget=given.budget).resized(tuple(header["clip"]["size"]))
    stretch = clip.at(range(len(clip) // 2, len(clip) // 2 + given.track))
    seen = survey(stretch, thumbs=False)
    found = track(model, recipe, stretch, seen)
    return {"frames": len(found.world)}


def stage(name: str, given) -> dict:
    """One stage in this process."""
    import torch

    from bkind3d_lite.recipes import RECIPES

    torch.set_num_threads(1)
    warm(RECIPES[given.recipe])
    before, mapped, start, cpu = (
        resident(),
        resident("RssFile"),
        time.perf_counter(),
        time.process_time(),
    )
    cache = given.folder.parent / "cache"
    out = {
        "open": open_stage,
        "doctor": doctor_stage,
        "train": train_stage,
        "cache": lambda g: train_stage(g, cache),
        "again": lambda g: train_stage(g, cache),
        "track": track_stage,
    }[name](given)
    return out | {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu,
        "before_gb": before,
        "peak_gb": resident("VmHWM"),
        "mapped_gb": resident("RssFile") - mapped,
    }


STAGES = {
    "open": "open the folder",
    "doctor": "doctor",
    "train": "train from the videos",
    "cache": "train, decoding into a cache",
    "again": "train from that cache",
    "track": "survey and track a stretch",
}


def child(name: str, given) -> dict:
    """The stage in a process of its own; of the runs only the last one's folder stays."""
    if name in ("train", "cache", "again"):
        shutil.rmtree(given.folder.parent / "run", ignore_errors=True)
    if name == "cache":
        shutil.rmtree(given.folder.parent / "cache", ignore_errors=True)
    done = subprocess.run(
        [sys.executable, __file__, *sys.argv[1:], "--stage", name],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        raise RuntimeError(f"{name}: failed\n{done.stderr[-3000:]}")
    return json.loads(lines[-1][7:])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--memory", type=float, default=2.0, help="GB, as for the train verb")
    parser.add_argument(
        "--frames", type=int, default=2000, help="trained on, as for the train verb"
    )
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument(
        "--track", type=int, default=300, help="frames of the stretch that is tracked"
    )
    parser.add_argument("--recipe", default="quick")
    parser.add_argument("--folder", type=Path, default=Path("build/large/recording"))
    parser.add_argument("--only", nargs="+", choices=tuple(STAGES), default=tuple(STAGES))
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.budget = int(given.memory * 1e9 / 2)
    if given.stage:
        print("RESULT " + json.dumps(stage(given.stage, given)))
        return
    write_recording(given.folder, given.minutes)
    results = {}
    print(
        f"{'stage':32s} {'s':>7s} {'CPU s':>7s} {'before':>7s} {'peak':>7s} {'grown':>7s} GB of "
        f"{given.memory:g}"
    )
    for name in given.only:
        r = results[name] = child(name, given)
        grown = r["peak_gb"] - r["before_gb"] - r["mapped_gb"]
        more = {
            k: round(v, 3) if isinstance(v, float) else v
            for k, v in r.items()
            if k not in ("seconds", "cpu_seconds", "before_gb", "peak_gb")
        }
        print(
            f"{STAGES[name]:32s} {r['seconds']:7.1f} {r['cpu_seconds']:7.1f} {r['before_gb']:7.2f} "
            f"{r['peak_gb']:7.2f} {grown:7.2f}   {more}",
            flush=True,
        )
    path = Path("build/bench/large.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps(
            results
            | {"date": time.strftime("%Y-%m-%d"), "cores": os.cpu_count(), "memory": given.memory},
            indent=1,
        )
    )
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
