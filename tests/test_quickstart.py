"""Quickstart: the whole street in a minute's form, its files whole, and bad input in one line."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch

import bkind3d_lite.workflows.quickstart as quick
from bkind3d_lite.__main__ import main
from bkind3d_lite.clips import open_clip
from bkind3d_lite.clips.survey import survey
from bkind3d_lite.clips.videos import Video
from bkind3d_lite.evaluation import bone_distance


@pytest.mark.parametrize("clip, views, fps, joints", [("rat", 6, 30, 19), ("human", 4, 50, 17)])
def test_bundled_clips_load_and_agree(clip, views, fps, joints):
    for part, least in (("train", 30), ("test", 10)):
        c = open_clip(quick.SAMPLES / clip / part)
        assert c.frames.shape[1:] == (views, 256, 256, 3) and c.fps == fps and len(c) >= least * fps
        assert c.truth.shape == (len(c), joints, 3) and len(c.skeleton.edges) == joints - 1
        assert (c.rig.distortion.abs().amax(1) > 0.01).all(), "plausible lenses distort"
        ndc = c.rig.ndc_from_world(c.truth)
        assert ((ndc.abs() < 1).all(-1).all(-1).sum(-1) >= 3).all(), (
            "the whole animal in at least 3 views"
        )
        assert c.truth[..., 2].min() > -15, "nothing below the floor"


@pytest.mark.parametrize("clip", ["rat", "human"])
def test_ground_truth_lands_on_the_animal(clip):
    """Every eighth of some test frames: projected joints lie where the background does not show."""
    c = open_clip(quick.SAMPLES / clip / "test")
    times = list(range(0, 128, 8))
    frames = c.frames[times].float()
    ground = c.frames[list(range(0, len(c), 24))].float().median(0).values
    moving = ((frames - ground).abs().amax(-1) > 14).float()
    moving = torch.nn.functional.max_pool2d(moving, 3, 1, 1)
    px = c.rig.px_from_world(c.truth[times]).long().clamp(0, 255)
    hit = [
        moving[t, v, px[t, v, :, 1], px[t, v, :, 0]].mean()
        for t in range(len(times))
        for v in range(c.rig.views)
    ]
    assert sum(hit) / len(hit) > 0.97


def test_bundled_clips_are_small():
    for clip in ("rat", "human"):
        assert sum(p.stat().st_size for p in (quick.SAMPLES / clip).rglob("*") if p.is_file()) < 8e6


@pytest.mark.parametrize("clip", ["rat", "human"])
def test_the_shipped_scores_in_the_report_are_those_of_the_card(clip):
    scores = quick._checkpoint(clip)["checkpoint"]
    card = (quick.SAMPLES / "checkpoints" / f"{clip}.md").read_text(encoding="utf-8")
    line = next(x for x in card.splitlines() if x.startswith("| this checkpoint |"))
    digits = {"pmpjpe": 1, "mpjpe": 1, "on_body": 3, "r2_room": 2, "r2_body": 2, "turning": 2}
    told = [cell.strip() for cell in line.split("|")[2:-1]]
    assert told == [f"{scores[key]:.{n}f}" for key, n in digits.items()]
    assert quick._checkpoint("neither") == {}


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """The rat clip cut to a few seconds of three views, so that the whole street runs in a test."""
    from bkind3d_lite.calibrations import load_calibration
    from bkind3d_lite.cameras import save_calibration
    from bkind3d_lite.clips.videos import write_video

    root = tmp_path_factory.mktemp("samples")
    rig = load_calibration(quick.SAMPLES / "rat" / "calibration.toml").take([0, 2, 4])
    save_calibration(rig, root / "rat" / "calibration.toml")
    for part, frames in (("train", 96), ("test", 32)):
        for name in rig.names:
            images = Video(quick.SAMPLES / "rat" / part / f"{name}.mp4").read(
                0, frames * 3, (256, 256)
            )[::3]
            write_video(root / "rat" / part / f"{name}.mp4", images, 10)
        with np.load(quick.SAMPLES / "rat" / part / "truth.npz") as truth:
            cut = dict(truth) | {"positions": truth["positions"][: frames * 3 : 3]}
        np.savez(root / "rat" / part / "truth.npz", **cut)
    return root


def test_quickstart_writes_everything(short, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(quick, "SAMPLES", short)
    assert (
        main(
            [
                "quickstart",
                "--clip",
                "rat",
                "--steps",
                "4",
                "--out",
                str(tmp_path / "run"),
                "--seed",
                "1",
            ]
        )
        == 0
    )
    out = tmp_path / "run"
    report = json.loads((out / "report.json").read_text())
    assert {
        "clip",
        "seed",
        "steps",
        "seconds_training",
        "seconds_per_step",
        "keypoints",
        "mpjpe_mm",
        "pmpjpe_mm",
        "on_body",
        "device",
        "versions",
    } <= set(report)
    assert (
        set(report["mpjpe_mm"])
        == set(report["pmpjpe_mm"])
        == {"trained", "untrained", "rigid_template", "centroid", "mean_pose", "checkpoint"}
    )
    assert set(report["on_body"]) == {"trained", "untrained", "checkpoint"} and (
        report["steps"],
        report["seed"],
    ) == (4, 1)
    for name in (
        "report.html",
        "skeleton.html",
        "overlay.mp4",
        "keypoints.csv",
        "keypoints.npz",
        "checkpoint.safetensors",
        "losses.csv",
    ):
        assert (out / name).stat().st_size > 90, name
    assert not list(out.glob(".*tmp*"))
    with open(out / "losses.csv", newline="") as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == [1, 2, 3, 4]
    assert Video(out / "overlay.mp4").wh[0] > 256 and "trained" in capsys.readouterr().out
    with np.load(out / "keypoints.npz") as track:
        world = track["positions"]
    held_out = open_clip(short / "rat" / "test")
    near = (
        (
            bone_distance(torch.from_numpy(world), held_out.truth, held_out.skeleton)
            <= 0.15 * held_out.body_length
        )
        .float()
        .mean()
    )
    assert report["on_body"]["trained"] == pytest.approx(float(near), abs=1e-3), (
        "the score is of the track that was written, every keypoint counted"
    )

    assert main(["quickstart", "--steps", "6", "--out", str(out), "--seed", "1", "--resume"]) == 0
    with open(out / "losses.csv", newline="") as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    "harm, said",
    [
        (lambda r: (r / "rat" / "train" / "cam1.mp4").unlink(), "no video for camera cam1"),
        (lambda r: (r / "rat" / "calibration.toml").unlink(), "no calibration.toml"),
        (lambda r: (r / "rat" / "test" / "cam3.mp4").write_bytes(b"not a video"), "cam3.mp4"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing_behind(
    short, tmp_path, monkeypatch, capsys, harm, said
):
    shutil.copytree(short, tmp_path / "samples")
    harm(tmp_path / "samples")
    monkeypatch.setattr(quick, "SAMPLES", tmp_path / "samples")
    assert main(["quickstart", "--steps", "2", "--out", str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ") and said in error and "\n" not in error
    assert [p.name for p in (tmp_path / "run").glob("*") if p.suffix != ""] == []


def test_the_survey_of_the_rat_finds_the_rat(short):
    c = open_clip(short / "rat" / "train")
    away = (survey(c).centre - c.truth.mean(1)).norm(dim=-1)
    assert away.median() < 0.35 * c.body_length
