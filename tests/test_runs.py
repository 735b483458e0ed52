"""Runs: the train command, its folder, and how it stops, goes on and refuses."""
import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from bkind3d_lite.__main__ import main
from bkind3d_lite.checkpoints import header
from bkind3d_lite.recipes import read_recipe, write_recipe
from bkind3d_lite.synthetic import figure
from bkind3d_lite.videos import write_video
from test_training import TINY


@pytest.fixture(scope="session")
def walk(tmp_path_factory):
    """A folder of three 40-frame videos of the figure with its truth, and a tiny recipe beside it."""
    from bkind3d_lite.cameras import save_calibration

    root, known = tmp_path_factory.mktemp("walk"), figure(40, views=3)
    for v, name in enumerate(known.rig.names):
        write_video(root / "clip" / f"{name}.mp4", known.frames[:, v].numpy(), known.fps, crf=8)
    save_calibration(known.rig, root / "clip" / "calibration.toml")
    np.savez(root / "clip" / "truth.npz", positions=known.truth.numpy(), names=np.array(known.skeleton.names),
             edges=np.array(known.skeleton.edges), body_length=known.body_length)
    write_recipe(TINY, root / "tiny.toml")
    return root


def command(walk, out, *more):
    return ["train", "--clip", str(walk / "clip"), "--recipe", str(walk / "tiny.toml"), "--out", str(out), *map(str, more)]


def start(walk, out, *more, **environment):
    """The command as a process of its own, which can be killed."""
    line = [sys.executable, "-m", "bkind3d_lite", *command(walk, out, *more)]
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"} | environment)


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
    for name in ("recipe.toml", "checkpoint.safetensors", "volume.html", "volume.png", "pictures/step_0000020.jpg", "pictures/step_0000040.jpg"):
        assert (whole / name).stat().st_size > 300, name
    assert not list(whole.rglob(".*tmp*"))
    losses = rows(whole / "losses.csv")
    assert [int(r["step"]) for r in losses] == list(range(1, 41)) and losses[0]["length"] == "" and float(losses[-1]["length"]) > 0
    signals = rows(whole / "health.csv")
    assert [int(r["step"]) for r in signals] == [10, 20, 30, 40] and 0 < float(signals[0]["confidence"]) <= 1
    recipe = read_recipe(whole / "recipe.toml")
    assert recipe.side > 0 and recipe.keypoints == TINY.keypoints and header(whole / "checkpoint.safetensors")["step"] == 40


def test_a_run_is_not_overwritten_by_accident(walk, whole, capsys):
    assert main(command(walk, whole)) == 1
    assert "--resume" in capsys.readouterr().err


def test_kill_and_resume_ends_in_the_same_weights(walk, whole, tmp_path):
    """kill -9 at an arbitrary moment; the resumed run has the same weights, running averages, optimizer state and losses."""
    child = start(walk, tmp_path / "run", "--checkpoint-every", 10, "--pictures-every", 20)
    until(lambda: steps_in(tmp_path / "run" / "losses.csv") > 13, child)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert 10 <= header(tmp_path / "run" / "checkpoint.safetensors")["step"] < 40
    assert main(command(walk, tmp_path / "run", "--checkpoint-every", 10, "--pictures-every", 20, "--resume")) == 0
    assert same(tmp_path / "run", whole)
    assert (tmp_path / "run" / "losses.csv").read_text() == (whole / "losses.csv").read_text()
    assert [r["step"] for r in rows(tmp_path / "run" / "health.csv")] == ["10", "20", "30", "40"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_a_polite_stop_writes_a_checkpoint_and_says_how_to_go_on(walk, tmp_path, number):
    child = start(walk, tmp_path / "run", "--set", "steps=100000", "--checkpoint-every", 50_000)
    until(lambda: steps_in(tmp_path / "run" / "losses.csv") > 5, child)
    child.send_signal(number)
    said = child.communicate(timeout=60)[1]
    assert child.returncode == 130 and "stopped after step" in said and "--resume" in said and "Traceback" not in said
    assert header(tmp_path / "run" / "checkpoint.safetensors")["step"] == steps_in(tmp_path / "run" / "losses.csv")
