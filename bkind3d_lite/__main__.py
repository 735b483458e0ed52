"""The command line: the same verbs as the notebooks, no logic of its own."""
from __future__ import annotations

import argparse
import sys


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("bkind3d_lite", description="3D skeletons from calibrated videos, without labels")
    verbs = parser.add_subparsers(dest="verb", required=True)

    quick = verbs.add_parser("quickstart", help="train on a bundled clip, score on its held-out part, write a report")
    quick.add_argument("--clip", choices=("rat", "human"), default="rat")
    quick.add_argument("--steps", type=int, help="training steps (default: the preset's)")
    quick.add_argument("--out", default="runs/quickstart", help="output folder")
    quick.add_argument("--seed", type=int, default=0)
    quick.add_argument("--resume", action="store_true", help="continue from the checkpoint in --out")

    train = verbs.add_parser("train", help="train a recipe on a folder of videos, for as long as it takes; start it with torchrun for several GPUs")
    train.add_argument("--clip", required=True, help="folder with one video per camera and a calibration.toml")
    train.add_argument("--recipe", help="a preset's name, or a TOML file")
    train.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="change the recipe")
    train.add_argument("--out", required=True, help="the run's folder")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--steps", type=int, help="training steps (default: the recipe's)")
    train.add_argument("--resume", action="store_true", help="continue the run in --out, bit for bit")
    train.add_argument("--checkpoint-every", type=int, default=100, metavar="N", help="steps between checkpoints (default 100)")
    train.add_argument("--pictures-every", type=int, default=250, metavar="N", help="steps between contact sheets, 0 for none (default 250)")

    track = verbs.add_parser("track", help="keypoints of a clip with a trained checkpoint: tables, film, 3D page")
    track.add_argument("--checkpoint", required=True, help="a .safetensors file, or a run's folder")
    track.add_argument("--clip", required=True, help="folder with one video per camera and a calibration.toml")
    track.add_argument("--out", required=True, help="output folder")
    track.add_argument("--turns", type=int, default=1, help="average over so many turns of the volume (default 1)")

    score = verbs.add_parser("evaluate", help="score a checkpoint: regression fitted on --train, errors on --test, beside the baselines")
    score.add_argument("--checkpoint", required=True, help="a .safetensors file, or a run's folder")
    score.add_argument("--train", required=True, help="clip folder with truth.npz, to fit the regression")
    score.add_argument("--test", required=True, help="clip folder with truth.npz, to score on")
    score.add_argument("--out", required=True, help="output folder")
    for verb in (train, track, score):
        verb.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:1 (default auto)")
    return parser


def _call(given: argparse.Namespace) -> None:
    # imports after parsing: --help needs no torch
    if given.verb == "quickstart":
        from .quickstart import quickstart
        quickstart(given.clip, given.steps, given.out, given.seed, given.resume)
    elif given.verb == "train":
        from .runs import train_folder
        train_folder(given.clip, given.recipe, given.out, given.set, given.seed, given.steps, given.resume, given.device,
                     given.checkpoint_every, given.pictures_every)
    elif given.verb == "track":
        from .results import track_folder
        track_folder(given.checkpoint, given.clip, given.out, given.device, given.turns)
    else:
        from .results import evaluate
        evaluate(given.checkpoint, given.train, given.test, given.out, given.device)


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    try:
        _call(given)
    except (OSError, ValueError, FloatingPointError) as error:  # bad input: one clear line, no traceback
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        print(stop if str(stop) else f"stopped; the last checkpoint, if there is one, is in {given.out}: continue with --resume", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
