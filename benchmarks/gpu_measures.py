"""What is measured on a GPU, stage by stage; `gpu.py` runs each in a process of its own.

Every stage takes `how` (device, tiny, seconds, out, ...) and `tell`, which hands a part of its
result on at once, so that a time limit costs only what is not yet measured.
"""

import itertools
import os
import statistics
import tempfile
import time
from pathlib import Path

import floors
import speed_cases
import torch
import torch.distributed as dist

from bkind3d_lite import distributed
from bkind3d_lite.clips import SurveyedClip, open_clip
from bkind3d_lite.clips.survey import survey
from bkind3d_lite.clips.synthetic import figure
from bkind3d_lite.model.builder import build, placed
from bkind3d_lite.recipes import RECIPES, Recipe
from bkind3d_lite.training import batches, begin, load, save, tracking, train
from bkind3d_lite.training.loop import ModelWithObjective
from bkind3d_lite.training.orientation import oriented_part
from bkind3d_lite.training.precision import equip

# The presets' methods at a size of milliseconds; the volume needs no heading to be searched for.
SMALL = dict(
    keypoints=6,
    voxels=16,
    v2v_width=8,
    v2v_levels=2,
    v2v_front=3,
    channels=8,
    image_wh=(64, 64),
    decoder_widths=(16, 16, 8, 8),
    backbone="resnet18",
    pretrained=False,
    perceptual="random",
    by_heading=False,
    warmup=0,
)
TINY = SMALL | dict(
    backbone="small", encoder_width=8, keypoints=4, voxels=8, v2v_levels=1, image_wh=(32, 32)
)
SAME = {"loss": 1e-3, "gradient": 1e-2}  # relative: sums in another order, and ties of edges
FORMATS = {"bfloat16": torch.bfloat16, "tf32": torch.float32, "float32": torch.float32}
STEPS = {
    "bfloat16": dict(precision="bfloat16"),
    "tf32": dict(precision="float32"),
    "float32": dict(precision="float32"),
}
COMPILED = {"bfloat16, compiled": dict(precision="bfloat16", compile=True)}
ROOMY = dict(checkpointing=False, decode_per_view=False)  # memory buys time
PLAIN = dict(channels_last=False)


# ---- clocks --------------------------------------------------------------------------------------
def timed(function, device: str, times: int, warm: int = 3) -> list[float]:
    """Seconds of each of `times` calls; on a GPU between two events on its own stream."""
    for _ in range(warm):
        function()
    if device == "cpu":
        seconds = []
        for _ in range(times):
            start = time.perf_counter()
            function()
            seconds.append(time.perf_counter() - start)
        return seconds
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(times + 1)]
    torch.cuda.synchronize()
    marks[0].record()
    for mark in marks[1:]:
        function()
        mark.record()
    torch.cuda.synchronize()
    return [a.elapsed_time(b) / 1e3 for a, b in zip(marks, marks[1:])]


def tf32(on: bool, products: bool = False) -> None:
    """Whether float32 convolutions, and products of matrices, may round factors to 10 bits.

    PyTorch's own default is convolutions alone, and the geometry here relies on it.
    """
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = on, products


def fresh_peak(device: str) -> None:
    """Peak memory counts from here."""
    floors.forget_peak()
    if device != "cpu":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def guarded(rows: dict, measure, tell) -> None:
    """Each row by itself: one that fails says why, and the next is measured."""
    for name, changes in rows.items():
        try:
            tell({name: measure(name, changes)})
        except Exception as error:  # a benchmark of a strange machine: whatever it is, go on
            tell({name: {"error": f"{type(error).__name__}: {error}"[:800]}})


def little():
    """The synthetic figure, in memory: what is compared needs no more."""
    return figure(24, views=3, wh=(64, 48))


def preset(name: str, how) -> Recipe:
    """A preset, or its method at a tiny size."""
    return RECIPES[name].with_(**TINY) if how.tiny else RECIPES[name]


def pairs_of(recipe: Recipe, how):
    """A clip, its survey, and a function that loads one batch of it: the bundled rat, or, where all
    is tiny, the synthetic figure."""
    if not how.tiny:
        return speed_cases.recorded(recipe, how.views)
    clip = little()
    seen = survey(clip) if recipe.surveyed else None
    run = begin(recipe, clip)
    return clip, seen, lambda step, pair=True: next(batches(run, clip, seen))


# ---- the same on both ----------------------------------------------------------------------------
def losses_and_gradients(recipe: Recipe, batch, device: str) -> tuple[dict, dict]:
    """All terms, and the gradient of every parameter, of the first step of a seeded model."""
    model, objective = build(recipe, 0)
    equip(model, objective, recipe, device)
    both = ModelWithObjective(model.train(), objective.train())
    _, losses = both(batch.to(device), recipe.losses.warmup)
    sum(losses.values()).backward()
    grads = {k: p.grad.float().cpu() for k, p in model.named_parameters() if p.grad is not None}
    return {k: float(v) for k, v in losses.items()}, grads


def compared(one: tuple[dict, dict], other: tuple[dict, dict], bounds: dict) -> dict:
    """Largest relative difference of a loss (of small terms, beside a hundredth of their sum),
    relative difference and cosine of the gradient."""
    (ours, slopes), (wanted, right) = one, other
    a, b = (torch.cat([g[k].flatten() for k in right]).double() for g in (slopes, right))
    least = 0.01 * abs(sum(wanted.values()))
    loss = max(abs(ours[k] - v) / max(abs(v), least) for k, v in wanted.items())
    gradient = float((a - b).norm() / b.norm())
    return {
        "loss": loss,
        "gradient": gradient,
        "cosine": float(a @ b / (a.norm() * b.norm())),
        "worst_parameter": max(right, key=lambda k: float((slopes[k] - right[k]).norm())),
        "bounds": bounds,
        "within": loss <= bounds["loss"] and gradient <= bounds["gradient"],
    }


def parity(how, tell) -> None:
    """Losses and gradients of small recipes beside those of this machine's CPU in float32.

    What bfloat16 may cost is twice what it costs on the CPU itself.
    """
    tf32(False)
    clip = little()
    seen, size = survey(clip), TINY if how.tiny else SMALL
    cases, known = {}, {}
    for name in ("lean", "paper-rat7m"):
        small = placed(RECIPES[name].with_(**size, precision="float32"), clip.rig)
        cases[name] = small, next(batches(begin(small, clip), clip, seen))
        known[name] = losses_and_gradients(*cases[name], "cpu")

    def measure(name, changes):
        recipe, batch = cases[name.split(", ")[0]]
        wanted, bounds = known[name.split(", ")[0]], SAME
        changed = recipe.with_(**changes)
        if "precision" in changes:
            half = compared(losses_and_gradients(changed, batch, "cpu"), wanted, SAME)
            bounds = {k: 2 * half[k] for k in SAME}
        return compared(losses_and_gradients(changed, batch, how.device), wanted, bounds)

    ways = {"float32": {}, "bfloat16": {"precision": "bfloat16"}, "compiled": {"compile": True}}
    rows = {f"{name}, {way}": changes for way, changes in ways.items() for name in cases}
    if how.tiny:  # has a stage for it
        del rows["lean, compiled"]
    guarded(rows, measure, tell)


# ---- what the card can do ------------------------------------------------------------------------
def rates(how, tell) -> None:
    """Best convolution of the networks' kinds, product of matrices, copy: what a card gives."""
    torch.backends.cudnn.benchmark = how.device != "cpu"
    size, batch, repeats = (256, 1, 1) if how.tiny else (8192, 8, 5)
    kinds = ((2, 16, 16, 3, 32), (3, 8, 8, 3, 8)) if how.tiny else floors.WIDE

    def measure(name, dtype):
        tf32(name == "tf32", products=name == "tf32")
        if name == "float32":  # its slow algorithms take the search a minute
            torch.backends.cudnn.benchmark = False
        a, b = (torch.randn(size, size, device=how.device, dtype=dtype) for _ in range(2))
        product = 2 * size**3 / min(timed(lambda: a @ b, how.device, 5))
        best, each = floors.best_rate(how.device, dtype, batch, repeats, kinds)
        return {
            "matrix_tflops": product / 1e12,
            "convolution_tflops": best / 1e12,
            "convolutions_tflops": {k: v / 1e12 for k, v in each.items()},
        }

    tell({"bandwidth_gb_s": bandwidth(how)})
    guarded(FORMATS, measure, tell)


def bandwidth(how) -> float:
    """Gigabytes read and written a second, of a long copy."""
    x = torch.zeros(1 << (20 if how.tiny else 28), device=how.device)
    y = torch.zeros_like(x)
    return 2 * 4 * x.numel() / min(timed(lambda: y.copy_(x), how.device, 5)) / 1e9


# ---- steps ---------------------------------------------------------------------------------------
def steps(name: str, rows: dict, how, tell) -> None:
    """Median seconds and peak memory of a training step, on one batch that lies on the device."""
    speed_cases.offline()
    recipe = preset(name, how)
    start = time.perf_counter()
    clip, _, loaded = pairs_of(recipe, how)
    batch = loaded(0)
    views = batch.now.shape[1]
    tell({"facts": {"views": views, "opening_seconds": time.perf_counter() - start}})
    start = time.perf_counter()
    loaded(1)
    need = floors.flops(recipe, views)["step"]
    tell({"facts": {"loading_seconds": time.perf_counter() - start, "gflop": need / 1e9}})
    there = batch.to(how.device)

    def measure(row, changes):
        tf32(row == "tf32")
        fresh_peak(how.device)
        run = begin(recipe.with_(**changes), clip, device=how.device)
        taken = train(run, itertools.repeat(there))
        start = time.perf_counter()
        next(taken)
        first = time.perf_counter() - start
        torch.backends.cudnn.benchmark = "no search" not in row
        fresh_peak(how.device)
        seconds = timed(lambda: next(taken), how.device, 1 if how.tiny else 12, how.warm)
        return {
            "seconds": statistics.median(seconds),
            "slowest": max(seconds),
            "first_step_seconds": first,
            "peak_gb": floors.peak(),
        }

    guarded(rows, measure, tell)


def steps_paper(how, tell) -> None:
    """Training steps of the paper's recipe, and what memory and layout buy."""
    rows = STEPS | {"bfloat16, kept": STEPS["bfloat16"] | ROOMY}
    steps("paper-rat7m", rows | {"bfloat16, kept, plain layout": rows["bfloat16, kept"] | PLAIN},
          how, tell)  # fmt: skip


def steps_lean(how, tell) -> None:
    """Training steps of `lean`, and what layout and larger batches buy."""
    half = STEPS["bfloat16"]
    rows = {"bfloat16, plain layout": half | PLAIN, "bfloat16, no search": half}
    steps("lean", STEPS | rows, how, tell)


def compiled_lean(how, tell) -> None:
    """The same, compiled."""
    steps("lean", COMPILED, how, tell)


def compiled_paper(how, tell) -> None:
    """The paper's recipe compiled: nothing is recomputed, which compilation arranges itself."""
    rows = {"bfloat16, kept, compiled": COMPILED["bfloat16, compiled"] | ROOMY}
    steps("paper-rat7m", rows, how, tell)


# ---- tracking ------------------------------------------------------------------------------------
def track(how, tell) -> None:
    """Frame sets a second: the verb's function with all that it decodes, and the networks alone."""
    speed_cases.offline()
    samples = Path(__file__).parents[1] / "data_samples"
    clip = little() if how.tiny else open_clip(samples / "rat" / "test")
    with tempfile.TemporaryDirectory() as place:
        fresh = begin(preset("lean", how), clip)
        lean = save(fresh, Path(place) / "lean.safetensors", whole=False)
        files = {"shipped": samples / "checkpoints" / "rat.safetensors", "lean": lean}

        def measure(_, path):
            model, recipe, _ = load(path, device=how.device, tracking=True)
            start = time.perf_counter()
            part = oriented_part(model, SurveyedClip(clip, survey(clip, thumbs=False)))
            return {"opening_seconds": time.perf_counter() - start} | tracked(
                model, recipe, part, how
            )

        if how.tiny:  # whose clip is another animal's
            del files["shipped"]

        guarded(files, measure, tell)


def tracked(model, recipe: Recipe, part, how) -> dict:
    """Frame sets a second of one model on one clip."""
    count = min(len(part.clip), 16 if how.tiny else 256)
    tracking.track(model, recipe, part.clip, part.survey, range(min(8, count)))  # to warm up
    fresh_peak(how.device)
    start = time.perf_counter()
    tracking.track(model, recipe, part.clip, part.survey, range(count))  # ends on the CPU
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    batch = part.clip.batch(
        range(8), None, recipe.data.image_wh, part.survey, recipe.volume.crop
    ).to(how.device)
    loading = time.perf_counter() - start
    with torch.no_grad():
        alone = statistics.median(timed(lambda: model.keypoints(batch), how.device, 5))
    return {
        "frames": count,
        "views": part.clip.rig.views,
        "sets_per_second": count / seconds,
        "networks_sets_per_second": 8 / alone,
        "loading_sets_per_second": 8 / loading,
        "peak_gb": floors.peak(),
    }


# ---- ranks ---------------------------------------------------------------------------------------
def ranks(how, tell) -> None:
    """Two steps through DistributedDataParallel over NCCL (a CPU's: gloo), one rank."""
    for name in ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"):
        os.environ.setdefault(name, "lo")  # one rank needs no network
    backend = "gloo" if how.device == "cpu" else "nccl"
    if how.device != "cpu":
        torch.cuda.set_device(0)
    clip = little()
    recipe = RECIPES["paper-rat7m"].with_(**(TINY if how.tiny else SMALL))
    run = begin(recipe, clip, device=how.device)
    batch = next(batches(run, clip, None)).to(how.device)
    with tempfile.TemporaryDirectory() as place:
        dist.init_process_group(backend, init_method=f"file://{place}/ranks", rank=0, world_size=1)
        model = distributed.over_ranks(ModelWithObjective(run.model, run.objective))
        values = []
        for step in range(2):
            _, losses = model(batch, step)
            total = sum(losses.values())
            total.backward()
            run.optimizer.step()
            run.optimizer.zero_grad(set_to_none=True)
            values.append(float(total.detach()))
        dist.barrier()
        tell({"backend": dist.get_backend(), "losses": values, "wrapped": type(model).__name__})
        dist.destroy_process_group()
