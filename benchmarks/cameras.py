"""Does anything grow faster than the number of cameras? Seconds of each stage for 4, 8, 16.

    python benchmarks/cameras.py [--views 4 8 16] [--frames 48] [--figure docs/images/cameras.png]

Drawn recordings of one animal in ever more cameras around it, written as films. Stages:
`open_clip`; `survey`; `doctor`, the questions in which every camera is held against the others
(each left out once); `plan`; `train`, a step of `quick` that sees all cameras; `track`, the frames.
CPU seconds of one thread, the quicker of two runs. Growth is the exponent between the two largest
rigs: 1 is linear. Writes build/bench/cameras.json.
"""

import argparse
import json
import math
import tempfile
import time
from pathlib import Path

WH = (128, 96)
STAGES = ("open", "survey", "doctor", "plan", "train", "track")


def write_recording(folder: Path, views: int, frames: int) -> None:
    """Films and their calibration."""
    from bkind3d_lite.cameras import save_calibration
    from bkind3d_lite.clips.synthetic import figure
    from bkind3d_lite.clips.videos import write_video

    clip = figure(frames, views, WH)
    for v, name in enumerate(clip.rig.names):
        write_video(folder / f"{name}.mp4", clip.frames[:, v].numpy(), clip.fps, crf=10)
    save_calibration(clip.rig, folder / "calibration.toml")


def least(work) -> tuple[float, object]:
    """CPU seconds of the quicker of two runs, and what it gave."""
    seconds, out = [], None
    for _ in range(2):
        start = time.process_time()
        out = work()
        seconds.append(time.process_time() - start)
    return min(seconds), out


def stages(folder: Path) -> dict[str, float]:
    """CPU seconds of every stage for one recording."""
    from bkind3d_lite.clips import open_clip
    from bkind3d_lite.clips.recording_checks import check_agreement, check_offsets
    from bkind3d_lite.clips.survey import survey
    from bkind3d_lite.model.builder import placed
    from bkind3d_lite.recipes import RECIPES
    from bkind3d_lite.training import batches, begin, track, train
    from bkind3d_lite.training.memory_planner import plan

    told = {}
    told["open"], clip = least(lambda: open_clip(folder))
    told["survey"], seen = least(lambda: survey(open_clip(folder)))
    told["doctor"], _ = least(lambda: (check_agreement(clip, seen), check_offsets(clip, seen)))
    recipe = RECIPES["quick"].with_(views_per_step=None, by_heading=False, turn=False)
    recipe = placed(recipe, clip.rig, seen)
    told["plan"], _ = least(lambda: plan(recipe, clip.rig))
    run = begin(recipe, clip)
    steps = train(run, batches(run, clip, seen))
    next(steps)
    told["train"], _ = least(lambda: next(steps))
    told["track"], _ = least(lambda: track(run.model, recipe, clip, seen))
    return told


def growth(rows: dict[int, dict[str, float]], stage: str) -> float:
    """Exponent between the two largest rigs."""
    (a, b), (x, y) = sorted(rows)[-2:], (rows[v][stage] for v in sorted(rows)[-2:])
    return math.log(y / x) / math.log(b / a)


def draw(rows: dict[int, dict[str, float]], path: Path) -> None:
    """Seconds of every stage against cameras, each beside the straight line through its first."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    views = sorted(rows)
    figure, axes = plt.subplots(1, len(STAGES), figsize=(12, 2.4), layout="constrained")
    for ax, stage in zip(axes, STAGES):
        seconds = [rows[v][stage] for v in views]
        line = [seconds[0] * v / views[0] for v in views]
        ax.plot(views, line, ":", color="grey", label="in proportion")
        ax.plot(views, seconds, "o-", color="tab:blue", label="measured")
        ax.set(title=stage, xticks=views, xlim=(0, views[-1] + 1), xlabel="cameras")
        ax.set_ylim(0, 1.15 * max(*seconds, *line))
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("CPU seconds")
    axes[0].legend(fontsize=8, loc="upper left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--views", type=int, nargs="+", default=(4, 8, 16))
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--figure", type=Path, default=Path("build/bench/cameras.png"))
    given = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    rows: dict[int, dict[str, float]] = {}
    print("cameras" + "".join(f"{stage:>9s}" for stage in STAGES))
    for views in (2, *given.views):  # the first warms up
        with tempfile.TemporaryDirectory() as folder:
            write_recording(Path(folder), views, given.frames)
            told = stages(Path(folder))
        if views in given.views:
            rows[views] = told
            print(f"{views:7d}" + "".join(f"{told[s]:9.2f}" for s in STAGES), flush=True)
    if len(rows) > 1:
        print(" growth" + "".join(f"{growth(rows, s):9.2f}" for s in STAGES))
    path = Path("build/bench/cameras.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"seconds": rows, "date": time.strftime("%F")}, indent=1))
    draw(rows, given.figure)
    print(f"wrote {path}, {given.figure}")


if __name__ == "__main__":
    main()
