"""Session arguments: what the verbs for many and long recordings take."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable

from ..recipes.ranges import Range
from .usage import COUNT, SEED, any_number


def add_opening(verb: ArgumentParser) -> None:
    """How a recording is opened; `opening` reads it.

    Args:
        verb: the parser that gets these arguments.
    """
    add = verb.add_argument
    later = "read a camera so many frames later (or earlier, < 0)"
    add_words(verb, "--offset", "CAMERA=FRAMES", later)
    common = "cut videos of unequal length to the stretch that all have"
    add("--common", action="store_true", help=common)
    one = "all videos there are films of one uncalibrated camera"
    add("--one-camera", action="store_true", help=one)
    rates = "bring cameras of different frame rates to the slowest one's, by their times"
    add("--resample", action="store_true", help=rates)
    some = "use these of the calibrated cameras alone"
    add("--cameras", nargs="+", metavar="CAMERA", help=some)
    add("--trial", help="a word of the videos' names, where a folder holds several recordings")
    fps = "frames per second, where the files do not say (images) or say wrong"
    add("--fps", type=any_number(Range(0, 1e6, above=True)), help=fps)
    add("--subject", help="which rig of a Human3.6M calibration, S1 to S11")
    memory = "what a recording may take of the memory: half for decoded frames (default 4)"
    add("--memory", type=any_number(Range(0.1, 1e6)), default=4.0, metavar="GB", help=memory)


def add_words(verb: ArgumentParser, name: str, metavar: str, purpose: str) -> None:
    """An option with several words, which may be given again for more.

    Args:
        verb: the parser that gets it.
        name: of the option.
        metavar: what stands for a word in the help.
        purpose: of the option.
    """
    verb.add_argument(name, nargs="+", action="extend", default=[], metavar=metavar, help=purpose)


def add_sharding(verb: ArgumentParser) -> None:
    """Which frames are tracked, in which pieces.

    Args:
        verb: the parser that gets these arguments.
    """
    add = verb.add_argument
    some = "track these alone, into one shard or several; `merge` joins the shards"
    add("--frames", metavar="FROM:TO", help=some)
    chunk = "in shards of so many minutes, each written whole; what is done is skipped"
    add("--chunk", type=any_number(Range(0, above=True)), metavar="MINUTES", help=chunk)
    look = "only look at the session (background, scale, heading), for shards to come"
    add("--look", action="store_true", help=look)


def add_submitting(verb: ArgumentParser) -> None:
    """Whether many recordings are tracked, and by whom.

    Args:
        verb: the parser that gets these arguments.
    """
    add = verb.add_argument
    who = "by jobs of a cluster or processes of this machine (submitit); default: here, in turn"
    add("--submit", choices=("slurm", "local"), help=who)
    add("--jobs", type=COUNT, default=1, metavar="N", help="of --submit: at a time (default 1)")
    asks = "what a job asks for, in submitit's words: mem_gb=32 slurm_partition=gpu gpus_per_node=1"
    add_words(verb, "--job", "KEY=VALUE", asks)


def add_edits(verb: ArgumentParser) -> None:
    """What a person has changed of the skeleton.

    Args:
        verb: the parser that gets this argument.
    """
    verb.add_argument(
        "--edits",
        help="names, colours, merged and muted keypoints, as the skeleton editor saves them "
        "(.toml or .json)",
    )


def _merge(verb: ArgumentParser) -> None:
    verb.add_argument("folder", help="of a track in shards: --out of `track --frames`")
    tables = "write keypoints.csv and keypoints.npz alone; the recording is not opened"
    verb.add_argument("--tables", action="store_true", help=tables)
    add_edits(verb)


def _index(verb: ArgumentParser) -> None:
    verb.add_argument("root", help="a folder of recordings, at any depth")
    verb.add_argument("--out", default="sessions.csv", help="the table (default: sessions.csv)")
    only = "only open the recordings; the doctor, who decodes frames, is not asked"
    verb.add_argument("--no-doctor", action="store_true", help=only)
    add_opening(verb)


def _cohort(verb: ArgumentParser) -> None:
    verb.add_argument("sessions", help="the table that `index` wrote")
    verb.add_argument("--tracks", required=True, help="folder with a track's folder a session")
    verb.add_argument("--out", default="cohort", help="folder of the page (default: cohort)")


def _sweep(verb: ArgumentParser) -> None:
    add = verb.add_argument
    add("--clip", required=True, help="the recording's folder")
    add("--recipe", default="quick", help="a preset's name, or a TOML file (default: quick)")
    add("--out", required=True, help="the sweep's folder; several processes may share it")
    add("--trials", type=COUNT, default=20, help="in all, earlier ones included (default 20)")
    add("--steps", type=COUNT, default=300, help="training steps of a trial (default 300)")
    add("--seed", type=SEED, default=0)
    add("--device", default="auto", help="auto, cpu, cuda or cuda:1 (default auto)")
    add_opening(verb)


SESSION_VERBS: dict[str, tuple[Callable[[ArgumentParser], None], str]] = {
    "index": (_index, "list the recordings under a folder, with the doctor's verdict on each"),
    "cohort": (_cohort, "a page with every session's track beside the others, without labels"),
    "sweep": (_sweep, "try keypoints, gap, cube, cover and hull on a recording, without labels"),
    "merge": (_merge, "join the shards of a track; refuses gaps, overlaps and mixed checkpoints"),
}
