"""Time and memory at the paper's size and of every preset, beside the floor that the arithmetic
sets.

    python benchmarks/speed.py [--threads 1] [--only paper_step ...] [--device cuda] [--figure
    docs/images/scaling.png]

Each case runs in a process of its own: one step to warm up, one timed. With one thread, seconds are
CPU seconds, which a busy machine does not stretch; those of them that the system's kernel took,
mostly to hand out memory, are told apart. Floor: the FLOPs of the networks that the result needs,
without recomputation, over the best rate of a handful of the networks' own convolutions, forward
and backward, in the same number format, measured in the same process just after. Writes
build/bench/speed.json.
"""

import argparse
import ctypes
import gc
import json
import multiprocessing
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from pathlib import Path

WIDE = (
    (2, 256, 256, 3, 64),
    (2, 64, 64, 3, 256),
    (2, 512, 512, 3, 32),
    (3, 32, 32, 3, 64),
    (3, 64, 64, 3, 32),
    (3, 128, 128, 3, 16),
    (3, 32, 16, 7, 64),
)
OUTSIDE = ("loading", "unproject", "edges", "target", "optimizer", "other")


# ---- clocks --------------------------------------------------------------------------------------
def clock() -> float:
    """CPU seconds with one thread, else seconds on the wall."""
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return (
        time.process_time()
        if torch.get_num_threads() == 1 and not torch.cuda.is_initialized()
        else time.perf_counter()
    )


def in_kernel() -> float:
    """CPU seconds of this process in the system's kernel."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_stime


def peak() -> float:
    """Largest resident memory of this process since `forget_peak`, GB (on CUDA: largest allocated
    there)."""
    import torch

    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 1e9
    status = Path("/proc/self/status")
    if status.is_file():
        return (
            next(
                int(line.split()[1])
                for line in status.read_text().splitlines()
                if line.startswith("VmHWM")
            )
            * 1024
            / 1e9
        )
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e9


def forget_peak() -> None:
    """What came before (films that the survey read, weights being drawn) is not what a step needs:
    Linux starts its record anew."""
    gc.collect()
    if Path("/proc/self/clear_refs").is_file():
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")


class Stages:
    """Where a step's time goes: every wrapped function is a stage, in its forward and in its
    backward pass."""

    def __init__(self):
        self.spent, self.now, self.since = defaultdict(float), "other", clock()

    def enter(self, name: str) -> str:
        at, before = clock(), self.now
        self.spent[before] += at - self.since
        self.now, self.since = name, at
        return before

    def wrap(self, owner, attribute: str, name: str) -> None:
        import torch

        function = getattr(owner, attribute)

        def run(*inputs, **named):
            before = self.enter(name)
            out = function(
                *(self._mark(x, "other") if isinstance(x, torch.Tensor) else x for x in inputs),
                **named,
            )
            self.enter(before)
            return self._marked(out, name)

        setattr(owner, attribute, run)

    def _marked(self, x, name: str):
        import torch

        if isinstance(x, torch.Tensor):
            return self._mark(x, name)
        return (
            type(x)(self._marked(part, name) for part in x) if isinstance(x, (tuple, list)) else x
        )

    def _mark(self, x, name: str):
        """The tensor itself; when its gradient passes, `name` begins."""
        if not (x.requires_grad and x.grad_fn is not None):
            return x
        x = x.view_as(x)
        x.register_hook(lambda gradient: self.enter(name) and None)
        return x


# ---- arithmetic ----------------------------------------------------------------------------------
def flops(recipe, views: int) -> dict[str, float]:
    """What a step and an inference of one frame set need, in FLOP, stage by stage, counted on the
    meta device."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from bkind3d_lite.model import build

    def count(function) -> float:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            function()
        return float(counter.get_total_flops())

    with torch.device("meta"), torch.no_grad():
        model, objective = build(
            recipe.with_(
                centre=(0.0, 0.0, 0.0),
                side=recipe.volume.side or 1.0,
                checkpointing=False,
                pretrained=False,
            )
        )
        images = torch.empty(
            1, 3 + recipe.data.background, recipe.data.image_wh[1], recipe.data.image_wh[0]
        )
        features, maps = model.encoder(images)
        drawings = [
            torch.empty(1, 2, *size) for size in model.decoder.drawing_hw(features.shape[-2:])
        ]
        recon = model.decoder(features, drawings)
        volume = torch.empty(1, recipe.encoder.channels, *[recipe.volume.voxels] * 3)
        one = {
            "encoder": count(lambda: model.encoder(images)),
            "v2v": count(lambda: model.lift.v2v(volume)),
            "decoder": count(lambda: model.decoder(features, drawings)),
            "perceptual": count(lambda: objective.perceptual.features(recon)),
        }
    drawn = min(recipe.data.views_per_step or views, views)
    return {
        "step": 3
        * (
            2 * drawn * one["encoder"]
            + 2 * one["v2v"]
            + drawn * (one["decoder"] + one["perceptual"])
        ),
        "inference": views * one["encoder"] + one["v2v"],
        "one": one,
    }


def best_rate(
    device: str = "cpu", dtype=None, batch: int = 1, repeats: int = 1, kinds=WIDE
) -> tuple[float, dict[str, float]]:
    """FLOP/s of the fastest of the networks' typical convolutions, forward and both gradients
    together, in one number format. A GPU is filled by a batch, and its clock by repeats."""
    import torch

    rates, dtype = {}, dtype or torch.float32
    for dims, a, b, k, n in kinds:
        layout = torch.channels_last if dims == 2 else torch.channels_last_3d
        conv = (torch.nn.Conv2d if dims == 2 else torch.nn.Conv3d)(
            a, b, k, 1, k // 2, bias=False
        ).to(device, dtype, memory_format=layout)
        x = (
            torch.randn(batch, a, *[n] * dims, device=device, dtype=dtype)
            .contiguous(memory_format=layout)
            .requires_grad_()
        )

        def run():
            start = clock()
            for _ in range(repeats):
                y = conv(x)
                torch.autograd.grad(y, (x, conv.weight), y.detach())
            return (clock() - start) / repeats

        run()
        rates[f"{dims}D {a}->{b} k{k} at {n}"] = (
            6 * batch * a * b * (k * n) ** dims / min(run() for _ in range(3))
        )
    return max(rates.values()), rates


# ---- cases ---------------------------------------------------------------------------------------
def recorded(recipe, views: int):
    """Frame pairs of the bundled rat clip at the recipe's size, decoded from its videos: (clip,
    survey, function of the step)."""
    from bkind3d_lite.clips import open_clip
    from bkind3d_lite.clips.survey import survey

    folder = Path(__file__).parents[1] / "data_samples/rat/train"
    seen = survey(open_clip(folder)) if recipe.surveyed else None
    clip = open_clip(folder)  # anew: without the frames that the survey has decoded
    cameras = list(range(min(views, recipe.data.views_per_step or views)))
    gap = max(1, round(recipe.data.gaps[-1] * clip.fps))
    return (
        clip,
        seen,
        lambda step, pair=True: clip.batch(
            [7 * step],
            gap if pair else None,
            recipe.data.image_wh,
            seen,
            recipe.volume.crop,
            views=cameras,
        ),
    )


def offline() -> None:
    """Weights do not matter for time: nothing is downloaded."""
    import torch

    def refused(*_, **__):
        raise OSError("the benchmark downloads nothing")

    torch.hub.load_state_dict_from_url = refused
    warnings.filterwarnings("ignore", message=".*could not be loaded.*")


def prepared(name: str, device: str, cameras: int = 4, **changes):
    from bkind3d_lite.recipes import RECIPES
    from bkind3d_lite.training import begin

    offline()
    recipe = RECIPES[name].with_(**changes)
    clip, seen, load = recorded(recipe, cameras)
    return begin(recipe, clip, device=device), load


def step_case(name: str, device: str, views: int, timed: int = 1, **changes) -> dict:
    """Seconds and peak memory of a training step, and where they go."""
    # first: it asks for large pages before PyTorch allocates
    import bkind3d_lite.model.lifts as lifts
    from bkind3d_lite.training import train

    run, load = prepared(name, device, views, **changes)
    stages = None

    def pairs():
        for i in range(1 + timed):
            yield stages_load(i)

    def stages_load(i: int):
        before = stages.enter("loading") if stages else None
        batch = load(i)
        if stages:
            stages.enter(before)
        return batch

    forget_peak()
    steps = train(run, pairs())
    next(steps)
    stages = Stages()
    model, objective = run.model, run.objective
    for owner, attribute, stage in [
        (model.encoder, "forward", "encoder"),
        (model.lift.v2v, "forward", "v2v"),
        (model.decoder, "begin", "decoder"),
        (model.decoder, "finish", "decoder"),
        (objective.perceptual, "features", "perceptual"),
        (model.edges, "forward", "edges"),
        (objective, "target", "target"),
        (model.lift, "place", "unproject"),
        (lifts, "fused_volume", "unproject"),
        (lifts, "unproject", "unproject"),
        (lifts, "fuse", "unproject"),
        (run.optimizer, "step", "optimizer"),
    ]:
        stages.wrap(owner, attribute, stage)
    start, kernel = clock(), in_kernel()
    for _ in range(timed):
        next(steps)
    seconds, kernel = (clock() - start) / timed, (in_kernel() - kernel) / timed
    stages.enter("other")
    return {
        "seconds": seconds,
        "kernel_seconds": kernel,
        "peak_gb": peak(),
        "stages": {k: v / timed for k, v in stages.spent.items()},
    }


def written(path: Path, name: str, views: int, changes: dict) -> None:
    """A checkpoint of the recipe's first weights."""
    from bkind3d_lite.training import save

    save(
        prepared(name, "cpu", views, **(changes | {"perceptual": "pixels", "views": None}))[0],
        path,
        whole=False,
    )


def inference_case(name: str, device: str, views: int, timed: int = 2, **changes) -> dict:
    """Seconds and peak memory of the keypoints of one frame set, as `track` finds them with a
    checkpoint."""
    import torch

    from bkind3d_lite.training import load

    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.safetensors"
        writer = multiprocessing.get_context("spawn").Process(
            target=written, args=(path, name, views, changes)
        )
        writer.start(), writer.join()
        model, recipe, _ = load(path, device=device, tracking=True)
        batch = recorded(recipe, views)[2](0, False).to(device)
        forget_peak()
        model.keypoints(batch)
        start, kernel = clock(), in_kernel()
        for _ in range(timed):
            model.keypoints(batch)
        seconds, kernel = (clock() - start) / timed, (in_kernel() - kernel) / timed
    return {"seconds": seconds, "kernel_seconds": kernel, "peak_gb": peak()}


def measured(case: str, device: str, views: int = 4) -> dict:
    """One case in this process, with its floor."""
    from bkind3d_lite.recipes import RECIPES
    from bkind3d_lite.training.precision import precision

    name, kind = case.rsplit("_", 1)
    changes = {"precision": "float32"} if name.endswith(PLAIN) else {}
    name = {"paper": "paper-rat7m"}.get(name.removesuffix(PLAIN), name.removesuffix(PLAIN))
    function = step_case if kind == "step" else inference_case
    out = function(name, device, views, **changes)
    offline()
    need, dtype = flops(RECIPES[name], views), precision(RECIPES[name].with_(**changes), device)
    rate, rates = best_rate(device, dtype)
    floor = need[kind] / rate
    return out | {
        "precision": str(dtype).removeprefix("torch."),
        "floor_seconds": floor,
        "over_floor": out["seconds"] / floor,
        "gflop": need[kind] / 1e9,
        "best_gflops": rate / 1e9,
        "rates_gflops": {k: v / 1e9 for k, v in rates.items()},
    }


PLAIN = "-float32"  # the same recipe in float32, where it would be trained in half precision
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
            change = {"views": {}, "image side": {"size": (value, value)}}.get(axis, {axis: value})
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
        "--only", nargs="+", choices=(*CASES, "scaling"), default=(*CASES, "scaling")
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
