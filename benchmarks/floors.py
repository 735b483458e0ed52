"""Floors: the clocks of the benchmarks, the arithmetic that a step needs, and the rate at which
this machine convolves.

A floor is the FLOPs of the networks that the result needs, without recomputation, over the best
rate of a handful of the networks' own convolutions, forward and both gradients.
"""

import ctypes
import gc
import resource
import sys
import time
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
