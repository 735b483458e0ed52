"""Runs: the train command, its folder, and how it stops, goes on and refuses."""

import csv
import json
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_training import TINY

import bkind3d_lite
from bkind3d_lite.__main__ import CALLS, main
from bkind3d_lite.calibrations import load_calibration
from bkind3d_lite.cameras import save_calibration
from bkind3d_lite.clips.synthetic import figure
from bkind3d_lite.clips.videos import write_video
from bkind3d_lite.recipes import read_recipe, write_recipe
from bkind3d_lite.training.checkpoints import read_header
from bkind3d_lite.workflows.track_run import FILM, _film_times


@pytest.fixture(scope="session")
def walk(tmp_path_factory):
    """A folder of three 40-frame videos of the figure, its truth, and a tiny recipe beside it."""
    root, known = tmp_path_factory.mktemp("walk"), figure(40, views=3)
    for v, name in enumerate(known.rig.names):
        write_video(root / "clip" / f"{name}.mp4", known.frames[:, v].numpy(), known.fps, crf=8)
    save_calibration(known.rig, root / "clip" / "calibration.toml")
    np.savez(
        root / "clip" / "truth.npz",
        positions=known.truth.numpy(),
        names=np.array(known.skeleton.names),
        edges=np.array(known.skeleton.edges),
        body_length=known.body_length,
    )
    write_recipe(TINY, root / "tiny.toml")
    return root


def command(walk, out, *more):
    return [
        "train",
        "--clip",
        str(walk / "clip"),
        "--recipe",
        str(walk / "tiny.toml"),
        "--out",
        str(out),
        *map(str, more),
    ]


class Command:
    """The command as a process of its own, which can be killed.

    It is a child of a server that has imported everything once.
    """

    def __init__(self, words, environment, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self.texts = [folder / name for name in ("stdout", "stderr")]
        with pytest.MonkeyPatch.context() as patch:  # the server begins with the first child
            patch.setenv(
                "PYTHONPATH",
                os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]),
            )
            patch.setenv("OMP_NUM_THREADS", "1")
            self.process = SERVER.Process(
                target=child, args=(words, environment, [str(t) for t in self.texts])
            )
            self.process.start()

    @property
    def returncode(self):
        return self.process.exitcode

    def poll(self):
        return self.process.exitcode

    def send_signal(self, number):
        os.kill(self.process.pid, number)

    def communicate(self, timeout=240):
        self.process.join(timeout)
        assert self.process.exitcode is not None, "it still runs"
        return [path.read_text() if path.is_file() else "" for path in self.texts]


SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["bkind3d_lite.workflows.train_run"])


def child(words, environment, texts):
    """In the process of its own: `main(words)`, as `python -m bkind3d_lite` calls it."""
    os.environ.update(environment)
    for number, path in zip((1, 2), texts):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    torch.set_num_threads(1)
    assert Path(bkind3d_lite.__file__).parents[1] == Path(__file__).parents[1], (
        "the package beside these tests"
    )
    sys.exit(main(words))


def start(walk, out, *more, **environment):
    return Command(
        command(walk, out, *more),
        environment,
        out.parent / f"said-{out.name}-{environment.get('RANK', 0)}",
    )


def until(condition, child, seconds=120.0):
    end = time.monotonic() + seconds
    while not condition():
        assert child.poll() is None and time.monotonic() < end, child.communicate()
        time.sleep(0.01)


def steps_in(path):
    return path.read_text().count("\n") - 1 if path.is_file() else 0


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def same(a, b):
    a, b = load_file(a / "checkpoint.safetensors"), load_file(b / "checkpoint.safetensors")
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope="module")
def whole(walk, tmp_path_factory):
    """An undisturbed run of 40 steps: what every disturbed one must end as."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert main(command(walk, out, "--checkpoint-every", 10, "--pictures-every", 20)) == 0
    return out


def test_the_folder_of_a_run(walk, whole):
    for name in (
        "recipe.toml",
        "checkpoint.safetensors",
        "volume.html",
        "volume.png",
        "pictures/step_0000020.jpg",
        "pictures/step_0000040.jpg",
    ):
        assert (whole / name).stat().st_size > 300, name
    assert not list(whole.rglob(".*tmp*"))
    losses = rows(whole / "losses.csv")
    assert (
        [int(r["step"]) for r in losses] == list(range(1, 41))
        and losses[0]["length"] == ""
        and float(losses[-1]["length"]) > 0
    )
    signals = rows(whole / "health.csv")
    assert [int(r["step"]) for r in signals] == [10, 20, 30, 40] and 0 < float(
        signals[0]["confidence"]
    ) <= 1
    recipe = read_recipe(whole / "recipe.toml")
    assert (
        recipe.volume.side > 0
        and recipe.keypoints == TINY.keypoints
        and read_header(whole / "checkpoint.safetensors")["step"] == 40
    )


def test_tensorboard_reads_the_same_losses(walk, tmp_path):
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="the extra 'logs' is not installed",
    )
    assert main(command(walk, tmp_path / "run", "--steps", 10, "--pictures-every", 5)) == 0
    events = reader.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert {"losses/reconstruct", "health/confidence"} <= set(
        events.Tags()["scalars"]
    ) and events.Tags()["images"] == ["pictures"]
    seen = [round(e.value, 4) for e in events.Scalars("losses/reconstruct")]
    assert seen == pytest.approx(
        [float(r["reconstruct"]) for r in rows(tmp_path / "run" / "losses.csv")], abs=1e-3
    )


@pytest.mark.parametrize("rank, said", [("0", "hello\n"), ("1", "")])
def test_messages_come_out_once_and_from_the_first_rank(monkeypatch, capsys, rank, said):
    logger = logging.getLogger("bkind3d_lite")
    before = logger.level, list(logger.handlers)
    monkeypatch.setitem(CALLS, "quickstart", lambda given: log.info("hello"))
    monkeypatch.setenv("RANK", rank)
    log = logging.getLogger("bkind3d_lite.workflows.quickstart")
    for _ in range(2):
        assert main(["quickstart"]) == 0
        assert capsys.readouterr().out == said
    assert (logger.level, logger.handlers) == before, "who calls main keeps his own logging"


def test_a_run_is_not_overwritten_by_accident(walk, whole, capsys):
    assert main(command(walk, whole)) == 1
    assert "--resume" in capsys.readouterr().err


def test_a_recording_that_cannot_be_right_is_refused_unless_forced(walk, tmp_path, capsys):
    clip = Path(shutil.copytree(walk / "clip", tmp_path / "clip"))
    rig = load_calibration(clip / "calibration.toml")
    save_calibration(
        replace(rig, t=rig.t / 1000), clip / "calibration.toml"
    )  # metres that say millimetres
    line = [
        "train",
        "--clip",
        str(clip),
        "--recipe",
        str(walk / "tiny.toml"),
        "--steps",
        "1",
        "--set",
        "follow=0.5",
        "--pictures-every",
        "0",
    ]
    assert main([*line, "--out", str(tmp_path / "run")]) == 1
    assert (
        "that fits m, not mm" in (said := capsys.readouterr().err)
        and "--force" in said
        and not (tmp_path / "run").exists()
    )
    assert main([*line, "--out", str(tmp_path / "forced"), "--force"]) == 0
    assert (tmp_path / "forced" / "checkpoint.safetensors").is_file()


def test_kill_and_resume_ends_in_the_same_weights(walk, whole, tmp_path):
    """kill -9 at an arbitrary moment; the resumed run has the same weights, state and losses."""
    child = start(walk, tmp_path / "run", "--checkpoint-every", 10, "--pictures-every", 20)
    until(lambda: steps_in(tmp_path / "run" / "losses.csv") > 13, child)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert 10 <= read_header(tmp_path / "run" / "checkpoint.safetensors")["step"] < 40
    assert (
        main(
            command(
                walk, tmp_path / "run", "--checkpoint-every", 10, "--pictures-every", 20, "--resume"
            )
        )
        == 0
    )
    assert same(tmp_path / "run", whole)
    assert (tmp_path / "run" / "losses.csv").read_text() == (whole / "losses.csv").read_text()
    assert [r["step"] for r in rows(tmp_path / "run" / "health.csv")] == ["10", "20", "30", "40"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_a_polite_stop_writes_a_checkpoint_and_says_how_to_go_on(walk, tmp_path, number):
    child = start(walk, tmp_path / "run", "--set", "steps=100000", "--checkpoint-every", 50_000)
    until(lambda: steps_in(tmp_path / "run" / "losses.csv") > 5, child)
    child.send_signal(number)
    said = child.communicate(timeout=60)[1]
    assert (
        child.returncode == 130
        and "stopped after step" in said
        and "--resume" in said
        and "Traceback" not in said
    )
    assert read_header(tmp_path / "run" / "checkpoint.safetensors")["step"] == steps_in(
        tmp_path / "run" / "losses.csv"
    )


def test_resuming_with_another_clip_or_another_model_is_refused(walk, whole, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(walk / "clip", other)
    rig = load_calibration(other / "calibration.toml")
    save_calibration(replace(rig, t=rig.t + 40.0), other / "calibration.toml")
    assert (
        main(
            [
                "train",
                "--clip",
                str(other),
                "--recipe",
                str(walk / "tiny.toml"),
                "--out",
                str(whole),
                "--resume",
            ]
        )
        == 1
    )
    error = capsys.readouterr().err
    assert "another clip or rig" in error and "places" in error and str(other) in error
    assert main(command(walk, whole, "--set", "keypoints=6", "--resume")) == 1
    assert "cannot change keypoints from 5 to 6" in capsys.readouterr().err
    assert (
        main(["train", "--clip", str(walk / "clip"), "--out", str(tmp_path / "none"), "--resume"])
        == 1
    )
    assert "give --recipe" in capsys.readouterr().err


def test_resuming_with_other_offsets_is_refused(walk, tmp_path, capsys):
    line = [
        "train",
        "--clip",
        str(walk / "clip"),
        "--out",
        str(tmp_path / "run"),
        "--common",
        "--pictures-every",
        "0",
    ]
    assert (
        main([*line, "--recipe", str(walk / "tiny.toml"), "--steps", "1", "--offset", "cam1=2"])
        == 0
    )
    for other, said in (
        (["--offset", "cam1=-2"], "offsets cam1=2 there, cam0=2, cam2=2 here"),
        (["--offset", "cam2=2"], "offsets cam1=2 there, cam2=2 here"),
    ):
        capsys.readouterr()
        assert main([*line, "--resume", *other]) == 1
        assert (
            said in (error := capsys.readouterr().err)
            and "--offset" in error
            and "\n" not in error.strip()
        )
    assert main([*line, "--resume", "--steps", "2", "--offset", "cam1=2"]) == 0


def test_a_cache_of_decoded_frames(walk, tmp_path, capsys):
    """Decoded once, for crops no larger than they need to be.

    The run resumes with it, and is tracked as it was trained.
    """
    line = [
        "train",
        "--clip",
        str(walk / "clip"),
        "--out",
        str(tmp_path / "run"),
        "--pictures-every",
        "0",
        "--cache",
        str(tmp_path / "cache"),
    ]
    assert (
        main(
            [
                *line,
                "--recipe",
                str(walk / "tiny.toml"),
                "--steps",
                "1",
                "--set",
                "follow=1500",
                "size=[32, 24]",
            ]
        )
        == 0
    )
    (kept,) = (tmp_path / "cache").iterdir()
    size = read_header(tmp_path / "run" / "checkpoint.safetensors")["clip"]["size"]
    assert size[0] < 96 and f"{size[0]}x{size[1]}" in kept.name
    assert main([*line, "--resume", "--steps", "2"]) == 0 and list(
        (tmp_path / "cache").iterdir()
    ) == [kept]
    assert main([*line[:-2], "--resume", "--steps", "3"]) == 1
    assert "size" in (said := capsys.readouterr().err) and "--cache" in said
    assert (
        main(
            [
                "track",
                "--checkpoint",
                str(tmp_path / "run"),
                "--clip",
                str(walk / "clip"),
                "--out",
                str(tmp_path / "track"),
            ]
        )
        == 0
    )
    assert "another rig" not in capsys.readouterr().out


def test_a_long_overlay_shows_stretches():
    assert _film_times(100, 2) == list(range(0, 100, 2))
    times = _film_times(108_000, 2)
    assert (
        len(times) == FILM
        and times[0] == 0
        and times[-1] == 107_998
        and times == sorted(set(times))
    )
    assert sum(b - a != 2 for a, b in zip(times, times[1:])) == 9


def test_rates_may_change_when_a_run_resumes(walk, whole, tmp_path, capsys):
    shutil.copytree(whole, tmp_path / "run")
    assert (
        main(
            [
                "train",
                "--clip",
                str(walk / "clip"),
                "--out",
                str(tmp_path / "run"),
                "--set",
                "rate=1e-4",
                "--steps",
                "43",
                "--resume",
            ]
        )
        == 0
    )
    header = read_header(tmp_path / "run" / "checkpoint.safetensors")
    optim = header["recipe"]["optim"]
    assert (header["step"], optim["learning_rate"], optim["steps"]) == (43, 1e-4, 43)
    said = capsys.readouterr().out
    assert "learning_rate: 0.001 -> 0.0001 from here on" in said
    assert "note: the recipe's rate is now called learning_rate" in said, "--set rate=1e-4"
    assert [r["step"] for r in rows(tmp_path / "run" / "losses.csv")] == [
        str(i) for i in range(1, 44)
    ]


def test_nothing_is_drawn_from_the_global_random_state(walk, whole, tmp_path):
    """Every random choice follows from (seed, step), so a checkpoint needs no random state.

    Disturbing torch's own changes nothing.
    """
    torch.manual_seed(123)
    before = torch.get_rng_state()
    assert main(command(walk, tmp_path / "run", "--pictures-every", 0)) == 0
    assert torch.equal(torch.get_rng_state(), before) and same(tmp_path / "run", whole)


# ---- faults --------------------------------------------------------------------------------------
def test_nan_stops_the_run_with_the_last_checkpoint_good(walk, tmp_path, capsys, monkeypatch):
    from bkind3d_lite.model.perceptual import Perceptual

    forward, calls = Perceptual.forward, []

    def poisoned(self, recon, target):
        calls.append(1)
        return forward(self, recon, target) * (float("nan") if len(calls) == 15 else 1.0)

    monkeypatch.setattr(Perceptual, "forward", poisoned)
    assert main(command(walk, tmp_path / "run", "--checkpoint-every", 10)) == 1
    error = capsys.readouterr().err
    assert (
        "not finite at step 15" in error
        and "Lower the learning rate" in error
        and "resume" in error
    )
    assert read_header(tmp_path / "run" / "checkpoint.safetensors")["step"] == 10
    assert main(command(walk, tmp_path / "run", "--resume", "--set", "rate=5e-4")) == 0


def test_a_full_disk_ends_the_run_with_the_last_checkpoint_good(
    walk, tmp_path, capsys, monkeypatch
):
    import bkind3d_lite.training.checkpoints as checkpoints

    save_file, calls = checkpoints.save_file, []

    def full(tensors, name, metadata):
        calls.append(1)
        if len(calls) == 3:
            Path(name).write_bytes(b"half a file")
            raise OSError(28, "No space left on device")
        save_file(tensors, name, metadata)

    monkeypatch.setattr(checkpoints, "save_file", full)
    assert (
        main(command(walk, tmp_path / "run", "--checkpoint-every", 10, "--pictures-every", 0)) == 1
    )
    assert (
        "checkpoint.safetensors" in (error := capsys.readouterr().err)
        and "free some space" in error
    )
    assert read_header(tmp_path / "run" / "checkpoint.safetensors")["step"] == 20 and not list(
        (tmp_path / "run").glob(".*")
    )


def test_a_video_that_ends_early_is_named(walk, tmp_path, capsys):
    """A copy that broke off: cut at half its bytes, the index in front so that it still opens."""
    shutil.copytree(walk / "clip", tmp_path / "clip")
    broken = tmp_path / "clip" / "cam1.mp4"
    broken.write_bytes(broken.read_bytes()[: broken.stat().st_size // 2])
    assert (
        main(
            [
                "train",
                "--clip",
                str(tmp_path / "clip"),
                "--recipe",
                "quick-rat",
                "--out",
                str(tmp_path / "run"),
            ]
        )
        == 1
    )
    error = capsys.readouterr().err
    assert "cam1.mp4" in error and "\n" not in error.strip() and not (tmp_path / "run").exists()


# ---- track and evaluate --------------------------------------------------------------------------
def test_track_and_evaluate(walk, whole, tmp_path, capsys):
    assert (
        main(
            [
                "track",
                "--checkpoint",
                str(whole),
                "--clip",
                str(walk / "clip"),
                "--out",
                str(tmp_path / "track"),
                "--device",
                "cpu",
            ]
        )
        == 0
    )
    for name in ("keypoints.csv", "keypoints.npz", "skeleton.html", "overlay.mp4"):
        assert (tmp_path / "track" / name).stat().st_size > 500, name
    assert (
        len(rows(tmp_path / "track" / "keypoints.csv")) == 40
        and "another rig" not in capsys.readouterr().out
    )
    both = [
        "--train",
        str(walk / "clip"),
        "--test",
        str(walk / "clip"),
        "--out",
        str(tmp_path / "scores"),
    ]
    assert main(["evaluate", "--checkpoint", str(whole / "checkpoint.safetensors"), *both]) == 0
    report = json.loads((tmp_path / "scores" / "report.json").read_text())
    assert report["steps"] == 40 and all(
        report["pmpjpe_mm"][row] > 0 for row in ("trained", "untrained", "centroid", "mean_pose")
    )
    assert (
        "untrained" in capsys.readouterr().out
        and (tmp_path / "scores" / "report.html").stat().st_size > 10_000
    )


def test_evaluate_without_truth_says_so(walk, whole, tmp_path, capsys):
    shutil.copytree(walk / "clip", tmp_path / "clip")
    (tmp_path / "clip" / "truth.npz").unlink()
    both = [
        "--train",
        str(walk / "clip"),
        "--test",
        str(tmp_path / "clip"),
        "--out",
        str(tmp_path / "scores"),
    ]
    assert main(["evaluate", "--checkpoint", str(whole), *both]) == 1
    assert "no truth.npz" in capsys.readouterr().err
