"""Usage: how the command line says what it takes, and refuses what it cannot, in one sentence."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Callable
from typing import Any, NoReturn

from ..recipes.presets import PURPOSES, VARIANTS
from ..recipes.ranges import Range

# Two of each verb.
EXAMPLES = {
    "quickstart": ("quickstart", "quickstart --clip human --steps 300 --out runs/human"),
    "train": (
        "train --clip recordings/monday --recipe quick --out runs/mine",
        "train --clip recordings/monday --recipe lean --set keypoints=12 gaps=[0.2] --out runs/b",
    ),
    "track": (
        "track --checkpoint runs/mine --clip recordings/tuesday --out tracks/tuesday",
        "track --checkpoint runs/mine --clip recordings/tuesday --chunk 10 --out tracks/tuesday",
    ),
    "index": ("index recordings", "index rawdata --no-doctor --out tables/sessions.csv"),
    "cohort": (
        "cohort sessions.csv --tracks tracks",
        "cohort sessions.csv --tracks tracks --out pages/cohort",
    ),
    "sweep": (
        "sweep --clip recordings/monday --out sweeps/monday",
        "sweep --clip recordings/monday --recipe quick --trials 40 --steps 600 --out sweeps/b",
    ),
    "merge": ("merge tracks/tuesday", "merge tracks/tuesday --tables --edits names.toml"),
    "evaluate": (
        "evaluate --checkpoint runs/mine --train recordings/a --test recordings/b --out scores",
        "evaluate --checkpoint model.safetensors --train a --test b --memory 8 --out scores",
    ),
    "doctor": (
        "doctor recordings/monday",
        "doctor recordings/monday --offset cam2=3 --common --out pages/monday.html",
    ),
    "cameras": (
        "cameras poses --field 60 --size 1920 1080 --length left_hip left_knee 420",
        "cameras poses --lenses calibration.toml --person moving --out found.toml",
    ),
    "pseudo": (
        "pseudo recordings/monday --poses poses --out labels.npz",
        "pseudo recordings/monday --poses poses --order coco --how median --rig found",
    ),
    "student": (
        "student recordings/monday --labels labels.npz --out runs/student",
        "student recordings/monday --labels labels.npz --occlude blobs --test labelled --out b",
    ),
    "classify": (
        "classify --train tracks/a tracks/b --test tracks/c",
        "classify --train tracks/a --test tracks/b --frame body --seconds 1 --network lstm",
    ),
    "export": (
        "export tracks/tuesday/keypoints.npz --out tables",
        "export tracks/tuesday/keypoints.npz --to trc nwb --unit mm --out tables",
    ),
    "figures": (
        "figures --checkpoint runs/mine --clip recordings/monday",
        "figures --checkpoint runs/mine --clip recordings --edits names.toml --out figures",
    ),
    "zoo": ("zoo", "zoo --folder my/checkpoints"),
    "notebooks": ("notebooks copy course", "notebooks run --html notebooks/03_volumes.ipynb"),
    "lab": ("lab grade handed_in --jobs 2", "lab release course"),
}


class Usage(ArgumentParser):
    """A parser whose errors are one sentence; its help keeps its lines."""

    def __init__(self, *args: Any, **how: Any):
        super().__init__(*args, **how)
        self.formatter_class = RawDescriptionHelpFormatter

    def error(self, message: str) -> NoReturn:
        """End with status 2.

        Args:
            message: what is wrong.
        """
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def examples(verb: str) -> str:
    """The end of a verb's help.

    Args:
        verb: its name.

    Returns:
        Its presets, where it takes one, and two examples.
    """
    lines = [*preset_lines(), ""] if verb == "train" else []
    return "\n".join([*lines, "examples:", *(f"  bkind3d {line}" for line in EXAMPLES[verb])])


def preset_lines() -> list[str]:
    """The recipes that ship, a line each."""
    width = max(map(len, PURPOSES))
    lines = [f"  {name:{width}}  {purpose}" for name, purpose in PURPOSES.items()]
    siblings = f"  paper-h36m-*, paper-rat7m-* with * one of {', '.join(VARIANTS)}"
    return ["presets:", *lines, siblings, "  or a TOML file, as recipe.toml of a run"]


def whole_number(allowed: Range) -> Callable[[str], int]:
    """The type of an option that is a whole number.

    Args:
        allowed: its range.

    Returns:
        What argparse calls with the word.
    """

    def parsed(word: str) -> int:
        return int(_checked(int, "a whole number", word, allowed))

    return parsed


def any_number(allowed: Range) -> Callable[[str], float]:
    """The type of an option that is any number.

    Args:
        allowed: its range.

    Returns:
        What argparse calls with the word.
    """

    def parsed(word: str) -> float:
        return _checked(float, "a number", word, allowed)

    return parsed


def _checked(kind: Callable[[str], float], name: str, word: str, allowed: Range) -> float:
    try:
        value = kind(word)
    except ValueError:
        raise ArgumentTypeError(f"{word} is not {name}") from None
    if value not in allowed:
        raise ArgumentTypeError(f"{word}: expected {name} {allowed}")
    return value


COUNT, SEED, ABOVE_0, PERCENT = (
    whole_number(Range(1)),
    whole_number(Range(0)),
    any_number(Range(0, above=True)),
    any_number(Range(0, 100)),
)
