"""Time and memory at the paper's size and of every preset, beside the floor that the arithmetic sets.

    python benchmarks/speed.py [--threads 1] [--only paper_step ...] [--device cuda]

Each case runs in a process of its own: one step to warm up, one timed. With one thread, seconds are CPU seconds, which a busy
machine does not stretch. Floor: the FLOPs of the networks that the result needs, without recomputation, over the best rate of a
handful of the networks' own convolutions, forward and backward, measured in the same process just after. Writes build/bench/speed.json.
"""
import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
import warnings
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

WIDE = ((2, 256, 256, 3, 64), (2, 64, 64, 3, 256), (2, 512, 512, 3, 32), (3, 32, 32, 3, 64), (3, 64, 64, 3, 32), (3, 128, 128, 3, 16), (3, 32, 16, 7, 64))
OUTSIDE = ("loading", "unproject", "edges", "target", "optimizer", "other")


# ---- clocks ---------------------------------------------------------------------------------------------------------
def clock() -> float:
    """CPU seconds with one thread, else seconds on the wall."""
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.process_time() if torch.get_num_threads() == 1 and not torch.cuda.is_initialized() else time.perf_counter()


def peak() -> float:
    """Largest resident memory of this process so far, GB (on CUDA: largest allocated there)."""
    import torch

    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 1e9
    status = Path("/proc/self/status")
    if status.is_file():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) * 1024 / 1e9
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e9


class Stages:
    """Where a step's time goes: every wrapped function is a stage, in its forward and in its backward pass."""

    def __init__(self):
        self.spent, self.now, self.since = defaultdict(float), "other", clock()

    def enter(self, name: str) -> str:
        at, before = clock(), self.now
        self.spent[before] += at - self.since
        self.now, self.since = name, at
        if os.environ.get("BENCH_MEMORY"):
            print(f"{before:12s} -> {name:12s} {peak():.2f} GB", file=sys.stderr, flush=True)
            Path("/proc/self/clear_refs").write_text("5")
        return before

    def wrap(self, owner, attribute: str, name: str) -> None:
        import torch

        function = getattr(owner, attribute)

        def run(*inputs, **named):
            before = self.enter(name)
            out = function(*(self._mark(x, "other") if isinstance(x, torch.Tensor) else x for x in inputs), **named)
            self.enter(before)
            return self._marked(out, name)

        setattr(owner, attribute, run)

    def _marked(self, x, name: str):
        import torch

        if isinstance(x, torch.Tensor):
            return self._mark(x, name)
        return type(x)(self._marked(part, name) for part in x) if isinstance(x, (tuple, list)) else x

    def _mark(self, x, name: str):
        """The tensor itself; when its gradient passes, `name` begins."""
        if not (x.requires_grad and x.grad_fn is not None):
            return x
        x = x.view_as(x)
        x.register_hook(lambda gradient: self.enter(name) and None)
        return x


# ---- arithmetic -----------------------------------------------------------------------------------------------------
def flops(recipe, views: int) -> dict[str, float]:
    """What a step and an inference of one frame set need, in FLOP, stage by stage, counted on the meta device."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from bkind3d_lite.model import build

    def count(function) -> float:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            function()
        return float(counter.get_total_flops())

    with torch.device("meta"), torch.no_grad():
        model, objective = build(replace(recipe, centre=(0.0, 0.0, 0.0), side=recipe.side or 1.0, checkpointing=False, pretrained=False))
        images = torch.empty(1, 3 + recipe.background, recipe.size[1], recipe.size[0])
        features, maps = model.encoder(images)
        drawings = [torch.empty(1, 2, *size) for size in model.decoder.sizes(features.shape[-2:])]
        recon = model.decoder(features, drawings)
        volume = torch.empty(1, recipe.channels, *[recipe.voxels] * 3)
        one = {"encoder": count(lambda: model.encoder(images)), "v2v": count(lambda: model.lift.v2v(volume)),
               "decoder": count(lambda: model.decoder(features, drawings)), "perceptual": count(lambda: objective.perceptual.features(recon))}
    drawn = min(recipe.views or views, views)
    return {"step": 3 * (2 * drawn * one["encoder"] + 2 * one["v2v"] + drawn * (one["decoder"] + one["perceptual"])),
            "inference": views * one["encoder"] + one["v2v"], "one": one}


def best_rate(device: str = "cpu") -> tuple[float, dict[str, float]]:
    """FLOP/s of the fastest of the networks' typical convolutions, forward and both gradients together."""
    import torch

    rates = {}
    for dims, a, b, k, n in WIDE:
        layout = torch.channels_last if dims == 2 else torch.channels_last_3d
        conv = (torch.nn.Conv2d if dims == 2 else torch.nn.Conv3d)(a, b, k, 1, k // 2, bias=False).to(device, memory_format=layout)
        x = torch.randn(1, a, *[n] * dims, device=device).contiguous(memory_format=layout).requires_grad_()

        def run():
            start = clock()
            y = conv(x)
            torch.autograd.grad(y, (x, conv.weight), y.detach())
            return clock() - start

        run()
        rates[f"{dims}D {a}->{b} k{k} at {n}"] = 6 * a * b * (k * n) ** dims / min(run() for _ in range(3))
    return max(rates.values()), rates


# ---- cases ----------------------------------------------------------------------------------------------------------
def recorded(recipe, views: int):
    """Frame pairs of the bundled rat clip at the recipe's size, decoded from its videos: (clip, survey, function of the step)."""
    from bkind3d_lite.clips import open_clip
    from bkind3d_lite.motion import survey

    clip = open_clip(Path(__file__).parents[1] / "data_samples/rat/train")
    seen = survey(clip) if recipe.surveyed else None
    cameras = list(range(min(views, recipe.views or views)))
    gap = max(1, round(recipe.gaps[-1] * clip.fps))
    return clip, seen, lambda step, pair=True: clip.batch([7 * step], gap if pair else None, recipe.size, seen, recipe.follow, cameras)


def offline() -> None:
    """Weights do not matter for time: nothing is downloaded."""
    import torch

    def refused(*_, **__):
        raise OSError("the benchmark downloads nothing")

    torch.hub.load_state_dict_from_url = refused
    warnings.filterwarnings("ignore", message=".*could not be loaded.*")


def prepared(name: str, device: str, views: int = 4, **changes):
    from bkind3d_lite.recipes import RECIPES
    from bkind3d_lite.training import begin

    offline()
    recipe = replace(RECIPES[name], **changes)
    clip, seen, load = recorded(recipe, views)
    return begin(recipe, clip, device=device), load


def step_case(name: str, device: str = "cpu", views: int = 4, timed: int = 1, **changes) -> dict:
    """Seconds and peak memory of a training step, and where they go."""
    import bkind3d_lite.lifts as lifts  # first: it asks for large pages before PyTorch allocates
    from bkind3d_lite.training import train

    run, load = prepared(name, device, views, **changes)
    stages, at, times = None, 0.0, []

    def pairs():
        for i in range(1 + timed):
            yield stages_load(i)

    def stages_load(i: int):
        before = stages.enter("loading") if stages else None
        batch = load(i)
        if stages:
            stages.enter(before)
        return batch

    steps = train(run, pairs())
    next(steps)
    stages = Stages()
    model, objective = run.model, run.objective
    for owner, attribute, stage in [(model.encoder, "forward", "encoder"), (model.lift.v2v, "forward", "v2v"), (model.decoder, "begin", "decoder"),
                                    (model.decoder, "finish", "decoder"), (objective.perceptual, "features", "perceptual"),
                                    (model.edges, "forward", "edges"), (objective, "target", "target"), (model.lift, "place", "unproject"),
                                    (lifts, "fused_volume", "unproject"), (lifts, "unproject", "unproject"), (lifts, "fuse", "unproject"),
                                    (run.optimizer, "step", "optimizer")]:
        stages.wrap(owner, attribute, stage)
    start = clock()
    for _ in range(timed):
        next(steps)
    seconds = (clock() - start) / timed
    stages.enter("other")
    return {"seconds": seconds, "peak_gb": peak(), "stages": {k: v / timed for k, v in stages.spent.items()},
            "loss": None}


def inference_case(name: str, device: str = "cpu", views: int = 4, timed: int = 2, **changes) -> dict:
    """Seconds and peak memory of the keypoints of one frame set."""
    import torch

    from bkind3d_lite.devices import settle

    run, load = prepared(name, device, views, **{**changes, "perceptual": "pixels", "views": None})
    settle(large=run.recipe.checkpointing)
    model = run.model.eval()
    with torch.no_grad():
        batch = load(0, False).to(device)
        model.keypoints(batch)
        start = clock()
        for _ in range(timed):
            model.keypoints(batch)
        seconds = (clock() - start) / timed
    return {"seconds": seconds, "peak_gb": peak()}


def measured(case: str, device: str, views: int = 4, **changes) -> dict:
    """One case in this process, with its floor."""
    name, kind = case.rsplit("_", 1)
    name = {"paper": "paper-rat7m"}.get(name, name)
    function = step_case if kind == "step" else inference_case
    out = function(name, device, views, **changes)
    print(out, file=sys.stderr)
    from bkind3d_lite.recipes import RECIPES

    offline()
    need = flops(replace(RECIPES[name], **changes), views)
    rate, rates = best_rate(device)
    floor = need[kind] / rate
    return out | {"floor_seconds": floor, "over_floor": out["seconds"] / floor, "gflop": need[kind] / 1e9, "best_gflops": rate / 1e9,
                  "rates_gflops": {k: v / 1e9 for k, v in rates.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--changes", type=json.loads, default={}, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.case:
        import torch

        torch.set_num_threads(given.threads)
        print("RESULT " + json.dumps(measured(given.case, given.device, **given.changes)))


if __name__ == "__main__":
    main()
