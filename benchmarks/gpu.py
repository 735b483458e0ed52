"""A GPU that is lent for minutes: does it compute the same, how fast, and what does it learn?

    python3 benchmarks/gpu.py --out FOLDER --minutes 8 [--clip FOLDER] [--set KEY=VALUE ...]

From the root of a clone; it needs no installation and no network, only the library's dependencies.
Each stage is a process with a time limit of its own: a failure or the limit costs the rest nothing,
and what a stage had told by then stands. All ends within --minutes; the last stage, a training of
`lean` that is scored on a held-out part, takes what is left. --clip: a folder with `train` and
`test`, or one recording, whose end is held out; without it, the bundled rat. Writes FOLDER/gpu.json
after every stage, FOLDER/gpu.md (the table), FOLDER/<stage>.log and FOLDER/lean.safetensors.
--tiny: every stage at a size of milliseconds, on a CPU where there is no GPU.
"""

import argparse
import functools
import importlib
import json
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

# Seconds of eight minutes that a stage may take; the last one takes what is left.
LIMITS = {
    "environment": 30,
    "rates": 65,
    "steps_lean": 60,
    "steps_paper": 60,
    "track": 60,
    "parity": 90,
    "ranks": 40,
    "compiled_lean": 90,
    "compiled_paper": 90,
    "training": 480,
}
KEPT = 130  # seconds of eight minutes that no stage may take from the training
PLACES = {"environment": "gpu_environment", "training": "gpu_training"}  # else: gpu_measures


# ---- stages --------------------------------------------------------------------------------------
def told(log: Path) -> dict:
    """What a stage told so far: its lines, merged."""
    result: dict = {}
    for line in log.read_text(errors="replace").splitlines():
        if line.startswith("RESULT "):
            try:
                part = json.loads(line[7:])
            except ValueError:  # the limit fell into the middle of a line
                continue
            for key, value in part.items():
                old = result.get(key)
                merges = isinstance(old, dict) and isinstance(value, dict)
                result[key] = old | value if merges else value
    return result


def staged(stage: str, seconds: float, given: argparse.Namespace) -> dict:
    """One stage in a process group of its own, ended at its limit: what it told, how it went.

    The first is a fresh process, for who knows whether PyTorch can be imported; the others are
    forked off a server that has imported everything once and never touches the GPU.
    """
    log, begun = given.out / f"{stage}.log", time.monotonic()
    log.touch()
    how = argparse.Namespace(**vars(given) | {"stage": stage, "seconds": seconds})
    context = multiprocessing.get_context("spawn" if stage == "environment" else "forkserver")
    child = context.Process(target=inside, args=(how, log))
    child.start()
    child.join(seconds)
    state = f"stopped at its limit of {seconds:.0f} s"
    if child.exitcode is not None:
        state = "done" if child.exitcode == 0 else f"failed ({child.exitcode})"
    stop(child)
    result = {"state": state, "wall_seconds": round(time.monotonic() - begun, 1)} | told(log)
    if state.startswith("failed"):
        result["end_of_log"] = log.read_text(errors="replace")[-1500:]
    return result


def stop(child: multiprocessing.process.BaseProcess) -> None:
    """End what is left of a stage, its own children too."""
    for end in (os.killpg, os.kill):  # the second, if it had no group of its own yet
        try:
            end(child.pid, signal.SIGKILL)
        except ProcessLookupError:  # all have ended by themselves
            continue
    child.join(10)


def inside(given: argparse.Namespace, log: Path) -> None:
    """A stage, in the process that was started for it."""
    os.setsid()
    with log.open("w") as file:
        os.dup2(file.fileno(), 1), os.dup2(file.fileno(), 2)

    def tell(part: dict) -> None:
        print("RESULT " + json.dumps(part), flush=True)

    if given.stage != "environment":
        import bkind3d_lite  # noqa: F401  first: it asks for large pages before PyTorch allocates

        settled(given)
    module = importlib.import_module(PLACES.get(given.stage, "gpu_measures"))
    getattr(module, given.stage)(given, tell)


def settled(given: argparse.Namespace) -> None:
    """Few threads and a compiler without code generation where all is tiny."""
    import torch

    # a lent machine's cores may be shared, and every kernel waits for the slowest thread
    torch.set_num_threads(1 if given.tiny else min(8, os.cpu_count() or 1))
    if given.tiny:
        torch.compile = functools.partial(torch.compile, backend="eager")
    given.views, given.warm = 4, 0 if given.tiny else 3


# ---- report --------------------------------------------------------------------------------------
def write(results: dict, given: argparse.Namespace) -> None:
    """JSON and table, whole or not at all."""
    from bkind3d_lite.files import write_atomically

    for name, text in (("gpu.json", json.dumps(results, indent=1)), ("gpu.md", table(results))):
        write_atomically(given.out / name, lambda path, text=text: path.write_text(text))


def table(results: dict) -> str:
    """All that was measured, as Markdown."""
    facts = results.get("environment", {})
    card = facts.get("card") if facts.get("device") == "cuda" else "CPU"
    head = f"{card}, torch {facts.get('torch')}, CUDA {facts.get('cuda')}, driver "
    lines = [head + f"{facts.get('driver')}; {results['date']}, `benchmarks/gpu.py`", ""]
    lines += ["| stage | what came of it | seconds |", "|---|---|---|"]
    for stage in (s for s in LIMITS if s in results):
        lines.append(f"| {stage} | {results[stage]['state']} | {results[stage]['wall_seconds']} |")
    parts = (_parity, _rates, _steps, _track, _training)
    return "\n".join(lines + [line for part in parts for line in part(results)]) + "\n"


def _rows(results: dict, stage: str, needs: str) -> dict:
    """The rows of a stage that were measured."""
    found = results.get(stage, {}).items()
    return {k: v for k, v in found if isinstance(v, dict) and needs in v}


def _parity(results: dict) -> list[str]:
    rows = _rows(results, "parity", "cosine").items()
    return ["", "| beside the CPU in float32 | loss | gradient | cosine | within bounds |",
            "|---|---|---|---|---|"] + [
        f"| {name} | {r['loss']:.1e} | {r['gradient']:.1e} | {r['cosine']:.5f} | "
        f"{'yes' if r['within'] else 'NO'} |"
        for name, r in rows
    ] if rows else []  # fmt: skip


def _rates(results: dict) -> list[str]:
    rows = _rows(results, "rates", "matrix_tflops").items()
    if not rows:
        return []
    lines = ["", "| rate | convolution TFLOP/s | matrices TFLOP/s |", "|---|---|---|"]
    lines += [
        f"| {name} | {r['convolution_tflops']:.1f} | {r['matrix_tflops']:.1f} |" for name, r in rows
    ]
    return [*lines, "", f"Copy: {results['rates']['bandwidth_gb_s']:.0f} GB/s."]


def floor(results: dict, row: str, gflop: float) -> float | None:
    """Seconds that the arithmetic takes at the best rate measured in the row's number format."""
    rate = _rows(results, "rates", "convolution_tflops").get(row.split(",")[0])
    return gflop / 1e3 / rate["convolution_tflops"] if rate else None


def _steps(results: dict) -> list[str]:
    lines = ["", "| training step | ms | floor ms | share of the card's rate | peak GB |",
             "|---|---|---|---|---|"]  # fmt: skip
    for name in ("steps_paper", "compiled_paper", "steps_lean", "compiled_lean"):
        gflop = results.get(name, {}).get("facts", {}).get("gflop", 0.0)
        for row, r in _rows(results, name, "peak_gb").items():
            least = floor(results, row, gflop)
            share = f"{1e3 * least:.1f} | {least / r['seconds']:.0%}" if least else "- | -"
            preset = name.split("_")[1]
            lines.append(
                f"| {preset}, {row} | {1e3 * r['seconds']:.1f} | {share} | {r['peak_gb']:.2f} |"
            )
    return lines if len(lines) > 3 else []


def _track(results: dict) -> list[str]:
    rows = _rows(results, "track", "sets_per_second").items()
    return ["", "| tracking, frame sets/s | `track` | networks alone | loading alone | peak GB |",
            "|---|---|---|---|---|"] + [
        f"| {name} | {r['sets_per_second']:.1f} | {r['networks_sets_per_second']:.1f} | "
        f"{r['loading_sets_per_second']:.1f} | {r['peak_gb']:.2f} |"
        for name, r in rows
    ] if rows else []  # fmt: skip


def _training(results: dict) -> list[str]:
    rows = _rows(results, "training", "pmpjpe").items()
    facts = results.get("training", {}).get("facts", {})
    if not rows:
        return []
    words = ("clip", "steps", "training_seconds", "steps_per_second", "frames", "views")
    lines = ["", "`lean`: " + ", ".join(f"{w} {facts[w]}" for w in words if w in facts), ""]
    keys = ("pmpjpe", "mpjpe", "on_body", "r2_room", "r2_body", "turning")
    lines += [f"| | {' | '.join(keys)} |", "|---" * (len(keys) + 1) + "|"]
    for name, r in rows:
        cells = ("-" if r.get(k) is None else f"{r[k]:.2f}" for k in keys)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


# ---- all of it -----------------------------------------------------------------------------------
def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("build/gpu"))
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--clip", type=Path, default=None)
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE")
    parser.add_argument("--only", nargs="+", choices=LIMITS, default=list(LIMITS))
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--tiny", action="store_true")
    return parser.parse_args()


def serve() -> None:
    """What the processes of the stages find, and what their server imports before it forks."""
    paths = [str(ROOT / "benchmarks"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # asks without starting CUDA
    multiprocessing.set_forkserver_preload(["bkind3d_lite", "gpu_training"])


def imported() -> float:
    """Seconds until the server has imported everything and forks at once."""
    begun = time.monotonic()
    child = multiprocessing.get_context("forkserver").Process(target=time.sleep, args=(0,))
    child.start()
    child.join()
    return round(time.monotonic() - begun, 1)


def main() -> int:
    given = arguments()
    serve()
    end = time.monotonic() + 60 * given.minutes
    given.out.mkdir(parents=True, exist_ok=True)
    results: dict = {"date": time.strftime("%Y-%m-%d"), "minutes": given.minutes}
    scale, last = given.minutes / 8, "training" in given.only
    for stage in (s for s in LIMITS if s == "environment" or s in given.only):
        left = end - time.monotonic() - 3
        if stage != "training" and last:
            left -= KEPT * scale
        if left < 5:
            results[stage] = {"state": "no time was left", "wall_seconds": 0.0}
            continue
        results[stage] = staged(stage, min(left, max(20, LIMITS[stage] * scale)), given)
        write(results, given)
        print(f"{stage}: {results[stage]['state']}, {results[stage]['wall_seconds']} s", flush=True)
        if stage == "environment":
            if not ready(results[stage], given):
                return 1
            results["importing_seconds"] = imported()
    write(results, given)
    print(f"\n{table(results)}\nwrote {given.out / 'gpu.json'}")
    return 0


def ready(facts: dict, given: argparse.Namespace) -> bool:
    """Whether there is something to measure; settles the device."""
    if facts.get("remedy") and (facts.get("driver") or not given.tiny):
        print(f"to mend: {facts['remedy']}", flush=True)
    if given.device == "auto":
        given.device = facts.get("device", "cpu")
        if given.device == "cpu" and not given.tiny:
            print("no GPU computes here; --device cpu or --tiny measure all the same")
            return False
    return given.device == "cpu" or facts.get("device") == "cuda"


if __name__ == "__main__":
    sys.exit(main())
