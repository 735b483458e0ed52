"""Time and memory at the paper's size and of every preset, beside the floor that the arithmetic
sets.

    python benchmarks/speed.py [--threads 1] [--only paper_step ...] [--device cuda] [--figure
    docs/images/scaling.png]

Each case runs in a process of its own: one step to warm up (three where memory is held: a heap
grows until then), one timed. With one thread, seconds are CPU seconds, which a busy machine does
not stretch; those of them that the system's kernel took, mostly to hand out memory, are told apart.
Floor: the FLOPs of the networks that the result needs, without recomputation, over the best rate of
a handful of the networks' own convolutions, forward and backward, in the same number format,
measured in the same process just after. Writes build/bench/speed.json.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

from speed_cases import measured, step_case

OUTSIDE = ("loading", "unproject", "edges", "target", "optimizer", "other")
CASES = (
    "paper_step",
    "paper_inference",
    "paper-float32_step",
    "paper-float32_inference",
    "lean_step",
    "lean_inference",
    "quick-rat_step",
    "quick-rat_inference",
)
# A training step by the fastest setting that so many GB afford, in both formats; not among the
# cases that run unasked, since some take more memory than a laptop has.
LADDER = tuple(f"paper-{form}@{gb}_step" for gb in (12, 6, 3) for form in ("float32", "bfloat16"))
AXES = {
    "views": (2, 3, 4, 6),
    "voxels": (16, 24, 32, 48),
    "keypoints": (8, 15, 30, 60),
    "image side": (64, 128, 192, 256),
}
REDUCED = dict(
    backbone="resnet18",
    voxels=32,
    v2v_levels=3,
    v2v_front=3,
    image_wh=(128, 128),
    decoder_widths=(128, 64, 32),
    perceptual="random",
)


def scaling(device: str) -> dict[str, list]:
    """Seconds of a training step of the paper's recipe at reduced size, along each axis alone:
    [[value, seconds], ...]."""
    curves = {}
    for axis, values in AXES.items():
        curves[axis] = []
        for value in values:
            change = {"views": {}, "image side": {"image_wh": (value, value)}}.get(
                axis, {axis: value}
            )
            out = step_case(
                "paper-rat7m", device, value if axis == "views" else 4, **(REDUCED | change)
            )
            curves[axis].append([value, out["seconds"]])
    return curves


def draw(curves: dict[str, list], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(
        1, len(curves), figsize=(10, 2.4), sharey=True, layout="constrained"
    )
    for ax, (name, points) in zip(axes, curves.items()):
        ax.plot(*zip(*points), "o-", color="tab:blue")
        ax.set(xlabel=name)
        ax.grid(alpha=0.3)
    axes[0].set(
        ylabel="CPU seconds per step",
        ylim=(0, 1.08 * max(seconds for points in curves.values() for _, seconds in points)),
    )  # shared by all
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)


def child(case: str, given: argparse.Namespace) -> dict | None:
    """The case in a process of its own, so that its peak memory is its own."""
    command = [
        sys.executable,
        __file__,
        "--case",
        case,
        "--threads",
        str(given.threads),
        "--device",
        given.device,
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": str(given.threads)},
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        print(f"{case}: failed\n{done.stderr[-2000:]}", file=sys.stderr)
        return None
    return json.loads(lines[-1][7:])


def row(case: str, r: dict) -> str:
    sets = f"{1 / r['seconds']:9.2f}" if case.endswith("inference") else " " * 9
    return (
        f"{case:24s} {r['precision']:9s} {r['gflop']:6.0f} {r['seconds']:8.2f} "
        f"{r['kernel_seconds']:7.2f} {r['floor_seconds']:8.2f} "
        f"{r['over_floor']:6.2f} {sets} {r['peak_gb']:8.2f}"
    )


def report(results: dict, given: argparse.Namespace) -> None:
    import torch

    step = results.get("paper_step")
    if step:
        results["share_outside_networks"] = (
            sum(step["stages"].get(k, 0.0) for k in OUTSIDE) / step["seconds"]
        )
        results["share_loading"] = step["stages"].get("loading", 0.0) / step["seconds"]
        print(
            "\nstages of the paper's step: "
            + ", ".join(
                f"{k} {v / step['seconds']:.1%}"
                for k, v in sorted(step["stages"].items(), key=lambda s: -s[1])
            )
        )
        print(f"outside the networks: {results['share_outside_networks']:.1%}")
    results |= {
        "machine": f"{platform.machine()}, {os.cpu_count()} CPU cores, torch {torch.__version__}",
        "threads": given.threads,
        "device": given.device,
        "date": time.strftime("%Y-%m-%d"),
        "cuda": results.get("cuda", "not measured"),
    }
    path = Path("build/bench/speed.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1))
    print(f"wrote {path}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--only", nargs="+", choices=(*CASES, *LADDER, "scaling"), default=(*CASES, "scaling")
    )
    parser.add_argument("--figure", type=Path, default=Path("build/bench/scaling.png"))
    parser.add_argument("--case", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.case:
        import torch

        import bkind3d_lite  # noqa: F401  first: it asks for large pages before PyTorch allocates

        torch.set_num_threads(given.threads)
        print(
            "RESULT "
            + json.dumps(
                scaling(given.device)
                if given.case == "scaling"
                else measured(given.case, given.device)
            )
        )
        return
    results = {}
    print(
        f"{'case':24s} {'format':9s} {'GFLOP':>6s} {'seconds':>8s} {'kernel':>7s} {'floor s':>8s} "
        f"{'ratio':>6s} {'sets/s':>9s} {'peak GB':>8s}   "
        f"({given.device}, {given.threads} thread(s))"
    )
    for case in given.only:
        if (out := child(case, given)) is None:
            continue
        results[case] = out
        if case == "scaling":
            draw(out, given.figure)
            print(f"wrote {given.figure}")
        else:
            print(row(case, out), flush=True)
        report_path = Path("build/bench/speed.json")
        report_path.parent.mkdir(parents=True, exist_ok=True)
        report_path.write_text(json.dumps(results, indent=1))
    report(results, given)


if __name__ == "__main__":
    main()
