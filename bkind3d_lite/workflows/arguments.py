"""Arguments: what each verb of the command line takes. --help waits for no import of ours."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..recipes.ranges import RANGES, Range
from .lab_arguments import add_lab
from .session_arguments import (
    SESSION_VERBS,
    add_edits,
    add_opening,
    add_sharding,
    add_submitting,
    add_words,
)
from .usage import ABOVE_0, COUNT, SEED, Usage, any_number, examples, whole_number

_CLIP = "folder with one video per camera and a calibration, or one camera's video"
_CHECKPOINT = "a .safetensors file, or a run's folder"


def command_parser() -> ArgumentParser:
    """The parser of the whole command line; `verb` of what it parses is a key of `VERBS`."""
    first = f"{examples('quickstart')}\n  bkind3d train --help    # presets, and two examples each"
    parser = Usage(
        "bkind3d",
        description="3D skeletons from calibrated videos, without labels",
        epilog=first,
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name, (add_arguments, purpose) in VERBS.items():
        about = f"{purpose[0].upper()}{purpose[1:]}."
        add_arguments(
            verbs.add_parser(name, help=purpose, description=about, epilog=examples(name))
        )
    return parser


# ---- a verb's own --------------------------------------------------------------------------------
def _quickstart(verb: ArgumentParser) -> None:
    verb.add_argument("--clip", choices=("rat", "human"), default="rat")
    verb.add_argument("--steps", type=COUNT, help="training steps (default: the preset's)")
    verb.add_argument("--out", default="runs/quickstart", help="output folder")
    verb.add_argument("--seed", type=SEED, default=0)
    verb.add_argument("--resume", action="store_true", help="continue from the checkpoint in --out")


def _train(verb: ArgumentParser) -> None:
    add = verb.add_argument
    one_or_several = verb.add_mutually_exclusive_group(required=True)
    one_or_several.add_argument("--clip", help=_CLIP)
    several = "one model for several recordings: their folders, or a table of them (`index`)"
    one_or_several.add_argument("--sessions", nargs="+", metavar="PLACE", help=several)
    add_words(verb, "--held-out", "NAME", "sessions that training does not see")
    add("--recipe", help="a preset's name, or a TOML file")
    add_words(verb, "--set", "KEY=VALUE", "change the recipe")
    add("--out", required=True, help="the run's folder")
    add("--seed", type=SEED, default=0)
    add("--steps", type=COUNT, help="training steps (default: the recipe's)")
    add("--resume", action="store_true", help="continue the run in --out, bit for bit")
    forced = "train although the doctor finds the recording unfit"
    add("--force", action="store_true", help=forced)
    between = "steps between checkpoints (default 100)"
    add("--checkpoint-every", type=COUNT, default=100, metavar="N", help=between)
    between = "steps between contact sheets, 0 for none (default 250)"
    add("--pictures-every", type=whole_number(Range(0)), default=250, metavar="N", help=between)
    most = "of a longer recording train on so many frames, in stretches (default 12000)"
    add("--frames", type=whole_number(Range(2)), default=12_000, metavar="N", help=most)
    add(
        "--cache",
        metavar="FOLDER",
        help="keep the frames decoded in a file there, as large as the network needs: "
        "long trainings need not wait",
    )
    add_opening(verb)
    _device(verb)


def _track(verb: ArgumentParser) -> None:
    verb.add_argument("--checkpoint", required=True, help=_CHECKPOINT)
    which = verb.add_mutually_exclusive_group(required=True)
    which.add_argument("--clip", help=_CLIP)
    table = "all recordings of a table that `index` wrote, each into its folder of --out"
    which.add_argument("--sessions", metavar="CSV", help=table)
    verb.add_argument("--out", required=True, help="output folder")
    add_sharding(verb)
    add_submitting(verb)
    add_opening(verb)
    turns = "average over so many volumes, turned and shifted a little (default: the recipe's)"
    verb.add_argument("--turns", type=whole_number(RANGES["turns"]), help=turns)
    box = "of the body in a single picture, for a student (default: all of the picture)"
    verb.add_argument("--box", type=float, nargs=4, metavar=("X", "Y", "W", "H"), help=box)
    add_edits(verb)
    _device(verb)


def _evaluate(verb: ArgumentParser) -> None:
    verb.add_argument("--checkpoint", required=True, help=_CHECKPOINT)
    train = "clip folder with truth.npz, to fit the regression"
    verb.add_argument("--train", required=True, help=train)
    verb.add_argument("--test", required=True, help="clip folder with truth.npz, to score on")
    verb.add_argument("--out", required=True, help="output folder")
    add_opening(verb)
    _device(verb)


def _doctor(verb: ArgumentParser) -> None:
    verb.add_argument("folder", help=_CLIP)
    page = "the page, or a folder for it such as a run's (default: doctor_NAME.html here)"
    verb.add_argument("--out", help=page)
    add_opening(verb)


def _cameras(verb: ArgumentParser) -> None:
    add = verb.add_argument
    add_poses(verb, "poses")
    add("--out", default="calibration.toml", help="the file (default: calibration.toml)")
    lenses = "calibration file whose intrinsics hold; its rotations and places are not used"
    add("--lenses", metavar="FILE", help=lenses)
    add("--focal", type=ABOVE_0, metavar="PX", help="or the focal length of all cameras")
    add(
        "--field",
        type=any_number(Range(0, 179, above=True)),
        metavar="DEGREES",
        help="or their horizontal field of view",
    )
    add("--size", type=COUNT, nargs=2, metavar=("W", "H"), help="of the images, in pixels")
    add("--views", nargs="+", default=[], metavar="CAMERA", help="cameras to use (default: all)")
    length = "what is so long, for the scale: left_hip left_knee 420"
    add("--length", nargs=3, metavar=("JOINT", "JOINT", "LENGTH"), help=length)
    add("--unit", default="mm", help="of that length (default: mm)")
    solver = "points a relative pose is made of (default: five, by PoseLib)"
    add("--solver", choices=("five", "eight"), default="five", help=solver)
    add("--seed", type=SEED, default=0)


def _pseudo(verb: ArgumentParser) -> None:
    add = verb.add_argument
    add("clip", help=_CLIP)
    add_poses(verb, "--poses")
    add("--out", default="labels.npz", help="the file (default: labels.npz)")
    how = (
        "made how: robust (default), plain DLT, EpipolarPose's median, true 2D marks, or the truth"
    )
    add(
        "--how", choices=("robust", "plain", "median", "marks", "truth"), default="robust", help=how
    )
    cameras = "the recording's own, or found from the poses (default: given)"
    add("--rig", choices=("given", "found"), default="given", help=cameras)
    add("--times", metavar="FROM:TO", help="rows to label (default: all)")
    add("--seed", type=SEED, default=0)
    add_opening(verb)


def _student(verb: ArgumentParser) -> None:
    add = verb.add_argument
    add("clip", help=_CLIP)
    add("--labels", required=True, help="what `pseudo` wrote for it")
    add("--out", required=True, help="the student's folder")
    add("--test", metavar="CLIP", help="a recording with truth.npz, to be asked afterwards")
    some = "cameras that teach (default: all)"
    add("--views", nargs="+", default=[], metavar="CAMERA", help=some)
    which = "student (default), epipolarpose (its own size: a GPU), or a TOML file"
    add("--recipe", default="student", help=which)
    add_words(verb, "--set", "KEY=VALUE", "change the recipe")
    add("--steps", type=COUNT, help="training steps (default: the recipe's)")
    add("--resume", action="store_true", help="continue the run in --out, bit for bit")
    add("--size", type=COUNT, help="pixels of the crops (default: the recipe's)")
    over = "paste things over one crop in twenty: 'blobs', or the folder of Pascal VOC 2012"
    add("--occlude", metavar="BANK", help=over)
    add("--after", metavar="RUN", help="take over the trunk of this run, pretrained in 2D")
    add("--seed", type=SEED, default=0)
    add_opening(verb)
    _device(verb)


def _export(verb: ArgumentParser) -> None:
    verb.add_argument("track", help="keypoints.npz of a run")
    verb.add_argument(
        "--to",
        nargs="+",
        metavar="FORMAT",
        help="anipose, deeplabcut, deeplabcut-h5, trc, dannce, sleap-anipose, movement, nwb; of "
        "a track in an image deeplabcut, deeplabcut-h5, sleap, movement, bkind, bkind-covs-plus-1 "
        "(default: all whose libraries are installed)",
    )
    verb.add_argument("--out", default=".", help="output folder")
    calibration = "calibration file, to travel along where the format has a place for it"
    verb.add_argument("--calibration", help=calibration)
    verb.add_argument(
        "--unit", help="of the track, where its calibration named none: mm, cm, m, in"
    )
    add_edits(verb)


def _classify(verb: ArgumentParser) -> None:
    what = "folders with keypoints.npz and acts.npz, or CalMS21 files (.json, .npy)"
    verb.add_argument("--train", nargs="+", required=True, metavar="PLACE", help=f"{what}")
    verb.add_argument("--test", nargs="+", required=True, metavar="PLACE", help="held out")
    verb.add_argument("--out", default="runs/behaviour", help="output folder")
    sets = "feature sets, each some of keypoints,confidence,covariance (default: keypoints)"
    verb.add_argument("--features", nargs="+", default=["keypoints"], metavar="SET", help=sets)
    frame = "room: as tracked; body: place and heading removed; centroid: nothing else"
    verb.add_argument("--frame", default="room", choices=("room", "body", "centroid"), help=frame)
    verb.add_argument("--seeds", type=SEED, nargs="+", default=[0])
    seconds = "that a window reaches to either side, 20 frames at least (default 2; CalMS21's: 6.7)"
    verb.add_argument("--seconds", type=ABOVE_0, default=2.0, help=seconds)
    network = "conv, lstm, attention or frame (default conv)"
    verb.add_argument("--network", default="conv", help=network)
    verb.add_argument("--causal", action="store_true", help="windows end at their frame")
    verb.add_argument("--epochs", type=COUNT, default=15)
    stride = "learn from every so many frames (default 1)"
    verb.add_argument("--stride", type=COUNT, default=1, help=stride)
    folder = "BKinD's feature files of CalMS21's videos (default: its own keypoints)"
    verb.add_argument("--bkind", metavar="FOLDER", help=folder)
    verb.add_argument("--group", help="of a CalMS21 file: which annotator or behaviour")


def _zoo(verb: ArgumentParser) -> None:
    verb.add_argument("--folder", help="of checkpoints (default: those that ship)")


def _figures(verb: ArgumentParser) -> None:
    verb.add_argument("--checkpoint", required=True)
    clip = "a clip's folder, or one that holds train and test"
    verb.add_argument("--clip", required=True, help=clip)
    verb.add_argument("--out", default="figures", help="output folder")
    losses = "losses.csv for the curves (default: the one beside the checkpoint)"
    verb.add_argument("--losses", help=losses)
    add_edits(verb)


def _notebooks(verb: ArgumentParser) -> None:
    tasks = verb.add_subparsers(dest="task", required=True)
    what = "the lessons and the samples they read, into FOLDER/notebooks and FOLDER/data_samples"
    copy = tasks.add_parser("copy", help=what, description=f"Copies {what}.")
    copy.add_argument("folder", help="made if it is missing; nothing in it is written over")
    for task, purpose in (
        ("clean", "rewrite notebooks without outputs"),
        ("check", "say what breaks the rules of a lesson"),
        ("run", "execute into a folder; fails on an error, a ✗, or lost time"),
    ):
        parser = tasks.add_parser(task, help=purpose)
        parser.add_argument("files", nargs="*", type=Path, help="(default: notebooks/*.ipynb)")
    parser.add_argument("--out", default="build/notebooks", help="folder of executed copies")
    parser.add_argument("--html", action="store_true", help="also write HTML pages")
    parser.add_argument("--jobs", type=COUNT, default=1, help="notebooks at a time (default: 1)")
    seconds = "CPU seconds each (default: 90; 300 for 08_training)"
    parser.add_argument("--timeout", type=ABOVE_0, help=seconds)


# ---- what several share --------------------------------------------------------------------------
def add_poses(verb: ArgumentParser, name: str) -> None:
    """Where 2D poses lie and what their files do not say.

    Args:
        verb: the parser that gets these arguments.
        name: of the argument with the path.
    """
    what = "2D poses: a .npz, or a folder with files of OpenPose, COCO, DeepLabCut or SLEAP"
    verb.add_argument(name, help=what)
    order = (
        "of joints without names: body_25, body_25b, coco, mediapipe, mpii, or names with commas"
    )
    verb.add_argument("--order", help=order)
    who = "of several people the one who walks most in each view"
    verb.add_argument("--person", choices=("moving",), help=who)


def opening(given: Namespace) -> dict[str, Any]:
    """What `open_clip` wants to know besides the folder.

    Args:
        given: parsed arguments of `add_opening`.

    Returns:
        Its keyword arguments.

    Raises:
        ValueError: an offset that is not CAMERA=FRAMES.
    """
    offsets = {}
    for word in given.offset:
        name, _, frames = word.rpartition("=")
        if not name or not frames.removeprefix("-").isdigit():
            raise ValueError(f"--offset {word}: expected camera=frames, for example cam1=3")
        offsets[name] = int(frames)
    return dict(
        offsets=offsets,
        common=given.common,
        one_camera=given.one_camera,
        resample=given.resample,
        cameras=given.cameras,
        trial=given.trial,
        fps=given.fps,
        subject=given.subject,
        budget=int(given.memory * 1e9 / 2),
    )


def _device(verb: ArgumentParser) -> None:
    verb.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:1 (default auto)")


# Each verb's arguments and what it is for; what it does is in `__main__`.
VERBS: dict[str, tuple[Callable[[ArgumentParser], None], str]] = {
    "quickstart": (
        _quickstart,
        "train on a bundled clip, score on its held-out part, write a report",
    ),
    "train": (
        _train,
        "train a recipe on a folder of videos, for as long as it takes; "
        "start it with torchrun for several GPUs",
    ),
    "track": (
        _track,
        "keypoints of a clip with a trained checkpoint: tables, film, 3D page",
    ),
    **SESSION_VERBS,
    "evaluate": (
        _evaluate,
        "score a checkpoint: regression fitted on --train, errors on --test, beside the baselines",
    ),
    "doctor": (
        _doctor,
        "check a folder of videos and its calibration before training; names the usual mistakes",
    ),
    "cameras": (
        _cameras,
        "find the cameras' places from 2D poses of somebody who moves; no calibration pattern",
    ),
    "pseudo": (
        _pseudo,
        "3D labels from 2D poses, with the recording's cameras or with cameras found from them",
    ),
    "student": (
        _student,
        "teach a network that reads 3D poses from one image the labels of several cameras",
    ),
    "export": (_export, "write a track as the files of other tools"),
    "classify": (
        _classify,
        "learn what the animal does from labelled tracks, score it on others, beside baselines",
    ),
    "zoo": (_zoo, "list the checkpoints that ship, with their scores"),
    "figures": (
        _figures,
        "figures for a paper (SVG and PDF): method overview, qualitative rows, curves, "
        "errors per joint",
    ),
    "notebooks": (
        _notebooks,
        "copy the lessons into a folder of your own; for authors: clean, check or execute them",
    ),
    "lab": (
        add_lab,
        "for teachers: grade notebooks, write the key, a release for students, an otter export",
    ),
}
