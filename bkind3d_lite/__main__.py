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
    lab = verbs.add_parser("lab", help="for teachers: grade a folder of student notebooks")
    grade = lab.add_subparsers(dest="task", required=True).add_parser("grade", help="check every notebook's exercises, write a table")
    grade.add_argument("folder", help="one .ipynb per student")
    grade.add_argument("--out", default="grades.csv", help="the table (CSV)")
    grade.add_argument("--limit", type=float, default=60.0, help="seconds for each process (default: 60)")
    given = parser.parse_args(arguments)
    if given.verb == "lab":
        return _grade(given)
    from .quickstart import quickstart  # after parsing: --help needs no torch

    try:
        quickstart(given.clip, given.steps, given.out, given.seed, given.resume)
    except (OSError, ValueError, FloatingPointError) as error:  # bad input: one clear line, no traceback
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"stopped; the last checkpoint is in {given.out}, continue with --resume", file=sys.stderr)
        return 130
    return 0


def _grade(given: argparse.Namespace) -> int:
    from .grading import grade

    try:
        print(f"wrote {grade(given.folder, given.out, given.limit)}")
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
