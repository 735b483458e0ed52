"""The command line: the same verbs as the notebooks, no logic of its own."""
from __future__ import annotations

import argparse
import sys


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("bkind3d_lite", description="3D skeletons from calibrated videos, without labels")
    verbs = parser.add_subparsers(dest="verb", required=True)
    quick = verbs.add_parser("quickstart", help="train on a bundled clip, score on its held-out part, write a report")
    quick.add_argument("--clip", choices=("rat", "human"), default="rat")
    quick.add_argument("--steps", type=int, help="training steps (default: the preset's)")
    quick.add_argument("--out", default="runs/quickstart", help="output folder")
    quick.add_argument("--seed", type=int, default=0)
    quick.add_argument("--resume", action="store_true", help="continue from the checkpoint in --out")
    paper = verbs.add_parser("figures", help="figures for a paper (SVG and PDF): method overview, qualitative rows, curves, errors per joint")
    paper.add_argument("--checkpoint", required=True)
    paper.add_argument("--clip", required=True, help="a clip's folder, or one that holds train and test")
    paper.add_argument("--out", default="figures", help="output folder")
    paper.add_argument("--losses", help="losses.csv for the curves (default: the one beside the checkpoint)")
    paper.add_argument("--edits", help="names, colours, merged and muted keypoints, as the skeleton editor saves them (.toml or .json)")
    given = parser.parse_args(arguments)
    try:
        _run(given)
    except (OSError, ValueError, FloatingPointError) as error:  # bad input: one clear line, no traceback
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped" + (f"; the last checkpoint is in {given.out}, continue with --resume" if given.verb == "quickstart" else ""), file=sys.stderr)
        return 130
    return 0


def _run(given: argparse.Namespace) -> None:
    if given.verb == "figures":
        from .figures import make_figures  # after parsing: --help needs no torch

        for path in make_figures(given.checkpoint, given.clip, given.out, given.losses, given.edits):
            print(path)
    else:
        from .quickstart import quickstart

        quickstart(given.clip, given.steps, given.out, given.seed, given.resume)


if __name__ == "__main__":
    sys.exit(main())
