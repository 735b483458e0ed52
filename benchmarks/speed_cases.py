"""One case of the speed benchmark, in this process: a training step, or the keypoints of one frame
set, beside its floor."""

import multiprocessing
import tempfile
import warnings
from collections import defaultdict
from pathlib import Path

from floors import best_rate, clock, flops, forget_peak, in_kernel, peak


# ---- stages --------------------------------------------------------------------------------------
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
    """A run and its pairs; where `memory` is given, by the fastest setting that it affords."""
    from bkind3d_lite.recipes import RECIPES
    from bkind3d_lite.training import begin
    from bkind3d_lite.training.memory_planner import afforded

    offline()
    recipe = RECIPES[name].with_(**changes)
    clip, seen, load = recorded(recipe, cameras)
    if "memory" in changes:
        recipe = afforded(recipe, clip, device)
    return begin(recipe, clip, device=device), load


def step_case(name: str, device: str, views: int, timed: int = 1, **changes) -> dict:
    """Seconds and peak memory of a training step, and where they go."""
    # first: it asks for large pages before PyTorch allocates
    import bkind3d_lite.model.lifts as lifts
    from bkind3d_lite.training import train

    run, load = prepared(name, device, views, **changes)
    stages, warm = None, 3 if run.recipe.compute.hold else 1  # until a heap has settled

    def pairs():
        for i in range(warm + timed):
            yield stages_load(i)

    def stages_load(i: int):
        before = stages.enter("loading") if stages else None
        batch = load(i)
        if stages:
            stages.enter(before)
        return batch

    forget_peak()
    steps = train(run, pairs())
    for _ in range(warm):
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
    compute = run.recipe.compute
    return {
        "seconds": seconds,
        "kernel_seconds": kernel,
        "peak_gb": peak(),
        "setting": {k: getattr(compute, k) for k in ("checkpointing", "decode_per_view", "hold")},
        "stages": {k: v / timed for k, v in stages.spent.items()},
    }


def written(path: Path, name: str, views: int, changes: dict) -> None:
    """A checkpoint of the recipe's first weights."""
    from bkind3d_lite.training import save

    save(
        prepared(
            name, "cpu", views, **(changes | {"perceptual": "pixels", "views_per_step": None})
        )[0],
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
    """One case in this process, with its floor: `PRESET[-FORMAT][@GB]_step` or `_inference`."""
    from bkind3d_lite.recipes import RECIPES
    from bkind3d_lite.training.precision import precision

    named, kind = case.rsplit("_", 1)
    named, _, memory = named.partition("@")
    changes = {"memory": float(memory)} if memory else {}
    for form in ("float32", "bfloat16"):  # else the format in which this machine would train it
        if named.endswith(f"-{form}"):
            named, changes["precision"] = named.removesuffix(f"-{form}"), form
    name = {"paper": "paper-rat7m"}.get(named, named)
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
