"""Session arguments: what the verbs for many and long recordings take."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable

from ..recipes.ranges import Range
from .usage import any_number


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


SESSION_VERBS: dict[str, tuple[Callable[[ArgumentParser], None], str]] = {
    "merge": (_merge, "join the shards of a track; refuses gaps, overlaps and mixed checkpoints"),
}
