"""The command line: the same verbs as the notebooks, no logic of its own.

Each verb is two functions, its arguments and its call; the call imports what it needs, so that --help needs no torch.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def _quickstart(given: argparse.Namespace) -> None:
    from .workflows.quickstart import quickstart

    quickstart(given.clip, given.steps, given.out, given.seed, given.resume)


def _quickstart_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--clip", choices=("rat", "human"), default="rat")
    verb.add_argument("--steps", type=int, help="training steps (default: the preset's)")
    verb.add_argument("--out", default="runs/quickstart", help="output folder")
    verb.add_argument("--seed", type=int, default=0)
    verb.add_argument("--resume", action="store_true", help="continue from the checkpoint in --out")


def _train(given: argparse.Namespace) -> None:
    from .workflows.train_run import train_folder

    train_folder(
        given.clip,
        given.recipe,
        given.out,
        given.set,
        given.seed,
        given.steps,
        given.resume,
        given.device,
        given.checkpoint_every,
        given.pictures_every,
        given.force,
        given.frames,
        given.cache,
        **_how(given),
    )


def _train_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--clip", required=True, help="folder with one video per camera and a calibration"
    )
    verb.add_argument("--recipe", help="a preset's name, or a TOML file")
    verb.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="change the recipe",
    )
    verb.add_argument("--out", required=True, help="the run's folder")
    verb.add_argument("--seed", type=int, default=0)
    verb.add_argument("--steps", type=int, help="training steps (default: the recipe's)")
    verb.add_argument(
        "--resume", action="store_true", help="continue the run in --out, bit for bit"
    )
    verb.add_argument(
        "--force", action="store_true", help="train although the doctor finds the recording unfit"
    )
    verb.add_argument(
        "--checkpoint-every",
        type=int,
        default=100,
        metavar="N",
        help="steps between checkpoints (default 100)",
    )
    verb.add_argument(
        "--pictures-every",
        type=int,
        default=250,
        metavar="N",
        help="steps between contact sheets, 0 for none (default 250)",
    )
    verb.add_argument(
        "--frames",
        type=int,
        default=12_000,
        metavar="N",
        help="of a longer recording train on so many frames, in stretches (default 12000)",
    )
    verb.add_argument(
        "--cache",
        metavar="FOLDER",
        help="keep the frames decoded in a file there, as large as the network needs: long trainings need not wait",
    )
    _reading(verb)
    _device(verb)


def _track(given: argparse.Namespace) -> None:
    from .workflows.track_run import track_folder

    track_folder(
        given.checkpoint,
        given.clip,
        given.out,
        given.device,
        given.turns,
        given.edits,
        **_how(given),
    )


def _track_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--checkpoint", required=True, help="a .safetensors file, or a run's folder")
    verb.add_argument(
        "--clip", required=True, help="folder with one video per camera and a calibration"
    )
    verb.add_argument("--out", required=True, help="output folder")
    _reading(verb)
    verb.add_argument(
        "--turns", type=int, default=1, help="average over so many turns of the volume (default 1)"
    )
    _edits(verb)
    _device(verb)


def _evaluate(given: argparse.Namespace) -> None:
    from .workflows.evaluate_run import evaluate

    evaluate(given.checkpoint, given.train, given.test, given.out, given.device, **_how(given))


def _evaluate_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--checkpoint", required=True, help="a .safetensors file, or a run's folder")
    verb.add_argument(
        "--train", required=True, help="clip folder with truth.npz, to fit the regression"
    )
    verb.add_argument("--test", required=True, help="clip folder with truth.npz, to score on")
    verb.add_argument("--out", required=True, help="output folder")
    _reading(verb)
    _device(verb)


def _doctor(given: argparse.Namespace) -> None:
    from .clips.recording_checks import FAIL
    from .workflows.doctor import examine
    from .workflows.doctor_page import write_page

    found = examine(given.folder, **_how(given))
    print(found.text())
    print(f"open {write_page(found, given.out)}")
    if found.state == FAIL:
        raise ValueError(f"{given.folder}: not fit to train on as it is; see the checks marked ✗")


def _doctor_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("folder", help="folder with one video per camera and a calibration")
    verb.add_argument("--out", default="doctor.html", help="the page (default: doctor.html)")
    _reading(verb)


def _export(given: argparse.Namespace) -> None:
    from .calibrations import load_calibration
    from .clips.exports import EXPORTS, export, read_track
    from .viz.skeleton_edits import load_editing

    rig = load_calibration(given.calibration) if given.calibration else None
    track = read_track(given.track)
    for path in export(
        load_editing(given.edits).applied(track) if given.edits else track,
        given.out,
        tuple(given.to or EXPORTS),
        rig,
    ):
        print(path)


def _export_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("track", help="keypoints.npz of a run")
    verb.add_argument(
        "--to",
        nargs="+",
        metavar="FORMAT",
        help="anipose, deeplabcut, deeplabcut-h5, trc, dannce, sleap-anipose, movement, nwb (default: all)",
    )
    verb.add_argument("--out", default=".", help="output folder")
    verb.add_argument(
        "--calibration",
        help="calibration file, to travel along where the format has a place for it",
    )
    _edits(verb)


def _figures(given: argparse.Namespace) -> None:
    from .viz.paper_figures import make_figures

    for path in make_figures(given.checkpoint, given.clip, given.out, given.losses, given.edits):
        print(path)


def _figures_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--checkpoint", required=True)
    verb.add_argument(
        "--clip", required=True, help="a clip's folder, or one that holds train and test"
    )
    verb.add_argument("--out", default="figures", help="output folder")
    verb.add_argument(
        "--losses", help="losses.csv for the curves (default: the one beside the checkpoint)"
    )
    _edits(verb)


def _lab(given: argparse.Namespace) -> None:
    from .lab.grading import grade

    print(f"wrote {grade(given.folder, given.out, given.limit)}")


def _lab_arguments(verb: argparse.ArgumentParser) -> None:
    grade = verb.add_subparsers(dest="task", required=True).add_parser(
        "grade", help="check every notebook's exercises, write a table"
    )
    grade.add_argument("folder", help="one .ipynb per student")
    grade.add_argument("--out", default="grades.csv", help="the table (CSV)")
    grade.add_argument(
        "--limit", type=float, default=60.0, help="seconds for each process (default: 60)"
    )


def _notebooks(given: argparse.Namespace) -> None:
    from .lab import notebook_tools as tools

    if given.task == "copy":
        print(f"the lessons are in {tools.copy_lessons(given.folder)}; open them with: jupyter lab")
        return
    paths = tools.lessons(given.files)
    if given.task == "clean":
        print("\n".join(f"cleaned {path}" for path in tools.clean(paths)) or "all were clean")
    elif given.task == "check":
        tools.check_rules(paths)
        print(f"{len(paths)} notebooks are clean and small")
    else:
        _run_notebooks(tools.run_all(paths, given.out, given.timeout, given.html, given.jobs))


def _run_notebooks(done) -> None:
    faults, count = [], 0
    for count, one in enumerate(done, 1):  # noqa: B007  (the last one is the count)
        faults += [one.name] if one.faults else []
        mark, size = "✗" if one.faults else "✓", f"{one.seconds:6.1f} s {one.megabytes:5.2f} MB"
        print(f"{mark} {one.name:16} {size}  {'; '.join(one.faults)}", flush=True)
    print(f"{count - len(faults)} of {count} notebooks ran through")
    if faults:
        raise ValueError(f"{', '.join(faults)}: did not run through")


def _notebooks_arguments(verb: argparse.ArgumentParser) -> None:
    tasks = verb.add_subparsers(dest="task", required=True)
    said = "the lessons and the samples they read, into FOLDER/notebooks and FOLDER/data_samples"
    copy = tasks.add_parser("copy", help=said, description=f"Copies {said}.")
    copy.add_argument("folder", help="made if it is missing; nothing in it is written over")
    for task, said in (
        ("clean", "rewrite notebooks without outputs"),
        ("check", "say what breaks the rules of a lesson"),
        ("run", "execute into a folder; fails on an error, a ✗, or lost time"),
    ):
        parser = tasks.add_parser(task, help=said)
        parser.add_argument("files", nargs="*", type=Path, help="(default: notebooks/*.ipynb)")
    parser.add_argument("--out", default="build/notebooks", help="folder of executed copies")
    parser.add_argument("--html", action="store_true", help="also write HTML pages")
    parser.add_argument("--jobs", type=int, default=1, help="notebooks at a time (default: 1)")
    parser.add_argument(
        "--timeout", type=float, help="CPU seconds each (default: 90; 300 for 08_training)"
    )


def _reading(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--offset",
        nargs="+",
        action="extend",
        default=[],
        metavar="CAMERA=FRAMES",
        help="read a camera so many frames later (or earlier, < 0)",
    )
    verb.add_argument(
        "--common",
        action="store_true",
        help="cut videos of unequal length to the stretch that all have",
    )
    verb.add_argument(
        "--trial", help="a word of the videos' names, where a folder holds several recordings"
    )
    verb.add_argument(
        "--fps",
        type=float,
        help="frames per second, where the files do not say (images) or say wrong",
    )
    verb.add_argument("--subject", help="which rig of a Human3.6M calibration, S1 to S11")
    verb.add_argument(
        "--memory",
        type=float,
        default=4.0,
        metavar="GB",
        help="what a recording may take of the memory: half for decoded frames (default 4)",
    )


def _how(given: argparse.Namespace) -> dict:
    """What `open_clip` wants to know besides the folder."""
    offsets = {}
    for word in given.offset:
        name, _, frames = word.rpartition("=")
        if not name or not frames.removeprefix("-").isdigit():
            raise ValueError(f"--offset {word}: expected camera=frames, for example cam1=3")
        offsets[name] = int(frames)
    return dict(
        offsets=offsets,
        common=given.common,
        trial=given.trial,
        fps=given.fps,
        subject=given.subject,
        budget=int(given.memory * 1e9 / 2),
    )


def _edits(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--edits",
        help="names, colours, merged and muted keypoints, as the skeleton editor saves them (.toml or .json)",
    )


def _device(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:1 (default auto)")


VERBS = {
    "quickstart": (
        _quickstart_arguments,
        _quickstart,
        "train on a bundled clip, score on its held-out part, write a report",
    ),
    "train": (
        _train_arguments,
        _train,
        "train a recipe on a folder of videos, for as long as it takes; start it with torchrun for several GPUs",
    ),
    "track": (
        _track_arguments,
        _track,
        "keypoints of a clip with a trained checkpoint: tables, film, 3D page",
    ),
    "evaluate": (
        _evaluate_arguments,
        _evaluate,
        "score a checkpoint: regression fitted on --train, errors on --test, beside the baselines",
    ),
    "doctor": (
        _doctor_arguments,
        _doctor,
        "check a folder of videos and its calibration before training; names the usual mistakes",
    ),
    "export": (_export_arguments, _export, "write a track as the files of other tools"),
    "figures": (
        _figures_arguments,
        _figures,
        "figures for a paper (SVG and PDF): method overview, qualitative rows, curves, errors per joint",
    ),
    "notebooks": (
        _notebooks_arguments,
        _notebooks,
        "copy the lessons into a folder of your own; for authors: clean, check or execute them",
    ),
    "lab": (_lab_arguments, _lab, "for teachers: grade a folder of student notebooks"),
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "bkind3d", description="3D skeletons from calibrated videos, without labels"
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name, (add_arguments, _, said) in VERBS.items():
        add_arguments(verbs.add_parser(name, help=said))
    given = parser.parse_args(arguments)
    try:
        VERBS[given.verb][1](given)
    except (
        OSError,
        ValueError,
        FloatingPointError,
    ) as error:  # bad input: one clear line, no traceback
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        print(
            stop
            if str(stop)
            else f"stopped; the last checkpoint, if there is one, is in {given.out}: continue with --resume",
            file=sys.stderr,
        )
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
