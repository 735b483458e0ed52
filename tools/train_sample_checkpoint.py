"""Train the checkpoint that ships with a bundled clip, and write its model card.

    python tools/train_sample_checkpoint.py --clip rat --minutes 60

Makers run this; users never need to. Trains the quick preset for longer and writes
`data_samples/checkpoints/<clip>.safetensors` (weights only) with `<clip>.md` beside it.
"""

import argparse
import datetime
import json
import platform
import time
from dataclasses import asdict
from pathlib import Path

import torch

from bkind3d_lite.files import write_atomically
from bkind3d_lite.recipes import altered
from bkind3d_lite.training import batches, begin, resume, save, train
from bkind3d_lite.training.orientation import oriented_part
from bkind3d_lite.workflows.evaluate_run import references, score_parts
from bkind3d_lite.workflows.quickstart import QUICK_RECIPES, SAMPLES, opened, shipped

CARD = """# {clip}: discovered 3D keypoints

BKinD-3D, {keypoints} keypoints, trained without labels on the training part of the bundled
`{clip}` clip.

- Command:
  `python tools/train_sample_checkpoint.py --clip {clip} --steps {steps} --seed {seed}`{extra}
- Data: `data_samples/{clip}/train` ({frames} frames, {views} views). The ground truth is used for
  scoring only.
- Steps: {steps}, {minutes:.0f} minutes on {machine}, {date}.
- Licence: Apache-2.0. Size: {size:.2f} MB, float32 weights (the look: float16), no optimizer state.
- Keypoints do not transfer to another rig or animal: they are what this rig's frames taught.

Scores on the held-out part (`data_samples/{clip}/test`), by the code of
`python -m bkind3d_lite quickstart`:

| | PMPJPE mm | MPJPE mm | on-body | R2 room | R2 body | turning |
|---|---|---|---|---|---|---|
{rows}

Rigid template: the survey's centre, the heading and a mean offset per joint; no network.
Heading of the held-out part, found without labels: {heading}.
The settings were chosen with scores of this held-out part in view.

Recipe:

```json
{recipe}
```
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clip", choices=sorted(QUICK_RECIPES), default="rat")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--work",
        default=None,
        help="folder of the resumable checkpoint (default runs/shipped-<clip>)",
    )
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="KEY=VALUE", help="changes to the quick recipe"
    )
    given = parser.parse_args()
    work = Path(given.work or f"runs/shipped-{given.clip}") / "checkpoint.safetensors"
    base = QUICK_RECIPES[given.clip].with_(name=f"shipped-{given.clip}", steps=given.steps)
    recipe = altered(base, given.set)
    plain = opened(given.clip)
    run = (
        resume(work, plain[0].clip) if work.is_file() else begin(recipe, plain[0].clip, given.seed)
    )
    first = oriented_part(run.model, plain[0], teach=recipe.volume.look_steps)
    parts = (first, oriented_part(run.model, plain[1]))
    start = time.perf_counter()
    while run.step < given.steps:
        for step in train(run, batches(run, parts[0].clip, parts[0].survey)):
            if step.index % 500 == 0 or step.index >= given.steps:
                break
        save(run, work)
        print(
            f"step {run.step}: reconstruct {step.losses['reconstruct']:.3f}, "
            f"{time.perf_counter() - start:.0f} s",
            flush=True,
        )
    finish(given, run, parts, time.perf_counter() - start)


def card_row(name: str, scores: dict) -> str:
    """A line of the card's table."""
    digits = {"pmpjpe": 1, "mpjpe": 1, "on_body": 3, "r2_room": 2, "r2_body": 2, "turning": 2}
    values = [
        "-" if scores.get(key) is None else f"{scores[key]:.{n}f}" for key, n in digits.items()
    ]
    return f"| {name} | {' | '.join(values)} |"


def finish(given, run, parts, seconds: float) -> None:
    """Write the light checkpoint and its card."""
    fresh = begin(run.recipe, parts[0].clip, given.seed).model
    rows = {
        "this checkpoint": score_parts(run.model, run.recipe, parts)[1],
        "untrained, in the turned volume": score_parts(fresh, run.recipe, parts)[1],
    }
    notes = {"scores": rows["this checkpoint"]}  # quickstart shows them beside its own
    path = save(run, shipped(given.clip), whole=False, notes=notes)
    known = references(parts)
    names = {"rigid_template": "rigid template", "centroid": "true centroid alone"}
    names |= {"mean_pose": "mean pose"}
    rows |= {name: known[key] for key, name in names.items() if key in known}
    threads = torch.get_num_threads()
    text = CARD.format(
        clip=given.clip,
        keypoints=run.recipe.keypoints,
        steps=run.step,
        seed=run.seed,
        frames=len(parts[0].clip),
        extra=f" `--set {' '.join(given.set)}`" if given.set else "",
        views=parts[0].clip.rig.views,
        minutes=seconds / 60,
        machine=f"{threads} CPU thread{'s' * (threads > 1)} ({platform.machine()}), torch "
        f"{torch.__version__}",
        date=datetime.date.today().isoformat(),
        size=path.stat().st_size / 1e6,
        recipe=json.dumps(asdict(run.recipe), indent=1),
        heading=parts[1].survey.heading,
        rows="\n".join(card_row(name, row) for name, row in rows.items()),
    )
    write_atomically(
        SAMPLES / "checkpoints" / f"{given.clip}.md",
        lambda temporary: temporary.write_text(text, encoding="utf-8"),
    )
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
