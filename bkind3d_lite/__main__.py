"""The command line: the same verbs as the notebooks, no logic of its own.

`workflows.arguments` says what each verb takes. The call of a verb imports what it needs, so that
--help needs no torch; it prints the verb's result. What workflows log on the way comes out as
plain lines, too.
"""

from __future__ import annotations

import logging
import os
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from .workflows.arguments import command_parser, opening

if TYPE_CHECKING:
    from .lab.notebook_tools import Executed


# ---- verbs ---------------------------------------------------------------------------------------
def _quickstart(given: Namespace) -> None:
    from .workflows.quickstart import quickstart

    report = quickstart(given.clip, given.steps, given.out, given.seed, given.resume)
    _print_scores(report, given.out)


def _train(given: Namespace) -> None:
    from .workflows.train_run import train_folder

    train_folder(
        given.clip or given.sessions,
        given.recipe,
        given.out,
        held_out=given.held_out,
        sets=given.set,
        seed=given.seed,
        steps=given.steps,
        resume=given.resume,
        device=given.device,
        checkpoint_every=given.checkpoint_every,
        pictures_every=given.pictures_every,
        force=given.force,
        most_frames=given.frames,
        cache=given.cache,
        **opening(given),
    )


def _track(given: Namespace) -> None:
    from .workflows.shard_run import track_shards
    from .workflows.track_run import track_folder

    how = dict(device=given.device, turns=given.turns, edits=given.edits, **opening(given))
    sharded = dict(frames=given.frames, chunk=given.chunk, look=given.look)
    verb: Any = track_folder
    if any(sharded.values()):
        verb, how = track_shards, {**sharded, **how}
    elif given.box:
        how["box"] = given.box
    if given.sessions:
        return _track_many(given, {**sharded, **how})
    if given.submit:
        raise ValueError("--submit: is for many recordings, --sessions sessions.csv")
    _print_track(verb(given.checkpoint, given.clip, given.out, **how), given.out)


def _track_many(given: Namespace, options: dict[str, Any]) -> None:
    from .workflows.cluster_run import track_sessions

    if given.frames:
        raise ValueError("--frames: is of one recording, --clip; with --sessions all are tracked")
    options["chunk"] = given.chunk or 10.0
    many = dict(submit=given.submit, at_once=given.jobs, job=given.job)
    for done in track_sessions(given.checkpoint, given.sessions, given.out, **many, **options):
        print(f"submitted job {done}" if given.submit == "slurm" else f"tracked {done}")


def _print_track(track: object, out: str) -> None:
    if track is not None:
        page = "skeleton.html" if hasattr(track, "world") else "keypoints.html"
        print(f"wrote keypoints.csv, keypoints.npz, {page} and overlay.mp4 to {out}")


def _merge(given: Namespace) -> None:
    from .workflows.shard_run import merge_shards

    track = merge_shards(given.folder, film=not given.tables, edits=given.edits)
    if given.tables:
        print(f"wrote keypoints.csv and keypoints.npz to {given.folder}")
    else:
        _print_track(track, given.folder)


def _cohort(given: Namespace) -> None:
    from .workflows.cohort_run import cohort

    rows = cohort(given.sessions, given.tracks, given.out)
    wrong = sum(bool(row.failures) for row in rows)
    print(f"{len(rows)} sessions, {wrong} with something to mend")
    print(f"open {Path(given.out) / 'cohort.html'}")


def _sweep(given: Namespace) -> None:
    from .workflows.sweep_run import sweep

    how = dict(trials=given.trials, steps=given.steps, seed=given.seed, device=given.device)
    rows = sweep(given.clip, given.recipe, given.out, **how, **opening(given))
    print(f"{len(rows)} trials; open {Path(given.out) / 'sweep.html'}")


def _index(given: Namespace) -> None:
    from .workflows.index_run import index_sessions

    rows = index_sessions(given.root, given.out, ask=not given.no_doctor, **opening(given))
    bad = sum(row["verdict"] == "fail" for row in rows)
    print(f"wrote {given.out}: {len(rows)} recordings, {bad} not fit to train on")


def _evaluate(given: Namespace) -> None:
    from .workflows.evaluate_run import evaluate

    report = evaluate(
        given.checkpoint, given.train, given.test, given.out, given.device, **opening(given)
    )
    _print_scores(report, given.out)


def _print_scores(report: Mapping[str, Any], out: str) -> None:
    from .viz.report_page import score_table

    print(f"\n{score_table(report)}\n\nopen {Path(out) / 'report.html'}")


def _doctor(given: Namespace) -> None:
    from .clips.rig_checks import FAIL
    from .workflows.doctor import examine
    from .workflows.doctor_page import page_place, write_page

    page = page_place(given.folder, given.out)
    diagnosis = examine(given.folder, **opening(given))
    print(diagnosis.text())
    print(f"open {write_page(diagnosis, page)}")
    if diagnosis.state == FAIL:
        raise ValueError(f"{given.folder}: not fit to train on as it is; see the checks marked ✗")


def _cameras(given: Namespace) -> None:
    from .workflows.pose_cameras import cameras_from_poses

    bone = (*given.length[:2], _number(given.length[2])) if given.length else None
    cameras_from_poses(
        given.poses,
        given.out,
        order=given.order,
        person=given.person,
        lenses=given.lenses,
        focal=given.focal,
        field=given.field,
        wh=tuple(given.size) if given.size else None,
        views=given.views,
        bone=bone,
        unit=given.unit,
        solver=given.solver,
        seed=given.seed,
    )


def _pseudo(given: Namespace) -> None:
    from .workflows.label_run import label_folder

    label_folder(
        given.clip,
        given.out,
        given.poses,
        order=given.order,
        person=given.person,
        how=given.how,
        whose=given.rig,
        times=given.times,
        seed=given.seed,
        **opening(given),
    )


def _student(given: Namespace) -> None:
    from .workflows.student_run import teach_folder

    words = [f"image_wh=[{given.size}, {given.size}]"] if given.size else []
    words += [f"taught_by={given.views}"] if given.views else []
    words += [f"{key}={value}" for key in ("occlude", "after") if (value := getattr(given, key))]
    teach_folder(
        given.clip,
        given.labels,
        given.out,
        recipe=given.recipe,
        sets=[*given.set, *words],
        test=given.test,
        steps=given.steps,
        resume=given.resume,
        seed=given.seed,
        device=given.device,
        **opening(given),
    )


def _number(word: str) -> float:
    """A length of the command line."""
    try:
        return float(word)
    except ValueError:
        raise ValueError(f"--length {word}: expected two joints and a number") from None


def _export(given: Namespace) -> None:
    from .calibrations import load_calibration
    from .clips.exports import export, read_track
    from .viz.skeleton_edits import load_editing

    rig = load_calibration(given.calibration) if given.calibration else None
    track = read_track(given.track)
    if given.edits:
        track = load_editing(given.edits).applied(track)
    for path in export(track, given.out, given.to, rig, given.unit):
        print(path)


def _classify(given: Namespace) -> None:
    from .workflows.classify_rows import table_of
    from .workflows.classify_run import classify

    rows = classify(
        given.train,
        given.test,
        given.out,
        sets=given.features,
        frame=given.frame,
        seeds=given.seeds,
        seconds=given.seconds,
        features=given.bkind,
        group=given.group,
        network=given.network,
        causal=given.causal,
        epochs=given.epochs,
        stride=given.stride,
    )
    print(f"\n{table_of(rows)}\n\nopen {Path(given.out) / 'behaviour.html'}")


def _zoo(given: Namespace) -> None:
    from .workflows.zoo import zoo

    for entry in zoo(given.folder):
        print(entry.line())


def _figures(given: Namespace) -> None:
    from .viz.paper_figures import make_figures

    for path in make_figures(given.checkpoint, given.clip, given.out, given.losses, given.edits):
        print(path)


def _lab(given: Namespace) -> None:
    if find_spec("bkind3d_lite.lab.desk") is None:
        raise ValueError(
            f"lab {given.task}: a release for students has no grader and no key; use the clone "
            "or wheel that the release was written from"
        )
    from .lab import desk

    for path in desk.TASKS[given.task](given):
        print(f"wrote {path}")


def _notebooks(given: Namespace) -> None:
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


def _run_notebooks(outcomes: Iterable[Executed]) -> None:
    faulty, count = [], 0
    for one in outcomes:
        count += 1
        faulty += [one.name] if one.faults else []
        mark, size = "✗" if one.faults else "✓", f"{one.seconds:6.1f} s {one.megabytes:5.2f} MB"
        print(f"{mark} {one.name:16} {size}  {'; '.join(one.faults)}", flush=True)
    print(f"{count - len(faulty)} of {count} notebooks ran through")
    if faulty:
        raise ValueError(f"{', '.join(faulty)}: did not run through")


CALLS = {
    "quickstart": _quickstart,
    "train": _train,
    "track": _track,
    "index": _index,
    "cohort": _cohort,
    "sweep": _sweep,
    "merge": _merge,
    "evaluate": _evaluate,
    "doctor": _doctor,
    "cameras": _cameras,
    "pseudo": _pseudo,
    "student": _student,
    "export": _export,
    "classify": _classify,
    "figures": _figures,
    "zoo": _zoo,
    "notebooks": _notebooks,
    "lab": _lab,
}


# ---- the command ---------------------------------------------------------------------------------
class _PlainLines(logging.Handler):
    """Messages as they are, above the progress bar; under torchrun those of the first rank."""

    def emit(self, record: logging.LogRecord) -> None:
        if int(os.environ.get("RANK", 0)) == 0:
            tqdm.write(self.format(record))


@contextmanager
def _messages() -> Iterator[None]:
    """What the package logs comes out on stdout while a verb runs."""
    logger, handler = logging.getLogger(__package__), _PlainLines()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _stopped(given: Namespace) -> str:
    """What a Ctrl-C that nobody has taken care of says."""
    if given.verb not in ("quickstart", "train", "student"):
        return "stopped"
    return (
        f"stopped; the last checkpoint, if there is one, is in {given.out}: continue with --resume"
    )


def main(arguments: list[str] | None = None) -> int:
    """Run one command line; the exit status."""
    given = command_parser().parse_args(arguments)
    try:
        with _messages():
            CALLS[given.verb](given)
    # bad input: one clear line, no traceback
    except (OSError, ValueError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        print(str(stop) or _stopped(given), file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
