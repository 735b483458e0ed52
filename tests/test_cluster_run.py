"""Many recordings: by turns, by submitit's jobs, by Snakemake; a job that stops goes on."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bkind3d_lite.__main__ import main
from bkind3d_lite.cameras import save_calibration
from bkind3d_lite.clips.exports import read_track
from bkind3d_lite.clips.synthetic import figure
from bkind3d_lite.clips.videos import write_video
from bkind3d_lite.recipes import Recipe
from bkind3d_lite.training import begin, save
from bkind3d_lite.workflows import cluster_run, shard_run
from bkind3d_lite.workflows.cluster_run import SessionJob, track_sessions
from bkind3d_lite.workflows.index_run import index_sessions
from bkind3d_lite.workflows.shards import shards_in

ROOT = Path(__file__).parents[1]
MINUTES = 8 / 30 / 60  # eight frames of a recording of 20
ROOM = Recipe("room").with_(
    keypoints=4, image_wh=(32, 32), voxels=8, encoder_width=8, channels=4, v2v_width=4,
    decoder_width=8, side=500.0, centre=(0.0, 0.0, 60.0), pretrained=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Two recordings of two cameras, one that is broken, their table, and a model of no survey."""
    root, clip = tmp_path_factory.mktemp("lab"), figure(20, views=2)
    for name in ("monday", "tuesday"):
        home = root / "raw" / name
        for v, camera in enumerate(clip.rig.names):
            write_video(home / f"{camera}.mp4", clip.frames[:, v].numpy(), clip.fps, crf=10)
        save_calibration(clip.rig, home / "calibration.toml")
    shutil.copytree(root / "raw" / "monday", root / "raw" / "broken")
    (root / "raw" / "broken" / "calibration.toml").unlink()
    save(begin(ROOM, clip), root / "run" / "checkpoint.safetensors", whole=False)
    index_sessions(root / "raw", root / "sessions.csv", ask=False)
    return root


@pytest.fixture(autouse=True)
def no_films(monkeypatch):
    """Films and pages are drawn elsewhere."""
    monkeypatch.setattr(shard_run, "write_track", lambda out, track, *_: track.save(out / "k.npz"))


def words(lab, out, *more):
    run = ["track", "--checkpoint", lab / "run", "--sessions", lab / "sessions.csv", "--out", out]
    return [str(word) for word in (*run, "--chunk", MINUTES, "--device", "cpu", *more)]


def test_all_that_can_be_tracked_is_and_the_broken_one_is_passed_over(lab, tmp_path, capsys):
    assert main(words(lab, tmp_path)) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["monday", "tuesday"]
    for name in ("monday", "tuesday"):
        pieces = [(a, b) for a, b, _ in shards_in(tmp_path / name)]
        assert pieces == [(0, 8), (8, 16), (16, 20)]
        assert len(read_track(tmp_path / name / "k.npz").world) == 20
    assert f"tracked {tmp_path / 'tuesday'}" in capsys.readouterr().out


def test_one_that_fails_is_named_after_the_others_were_tracked(lab, tmp_path):
    table = tmp_path / "sessions.csv"
    text = (lab / "sessions.csv").read_text().replace(str(lab / "raw" / "monday"), "/nowhere")
    table.write_text(text)
    with pytest.raises(ValueError, match="1 of 2 recordings were not tracked.*monday: /nowhere"):
        track_sessions(lab / "run", table, tmp_path / "out", device="cpu")
    assert shards_in(tmp_path / "out" / "tuesday")


def test_a_preempted_job_is_submitted_again_and_makes_what_is_missing(lab, tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    job = SessionJob(
        str(lab / "run"), str(lab / "raw" / "monday"), str(tmp_path), options={"chunk": MINUTES}
    )
    made, track = [], shard_run.track

    def stopped(*inputs, **how):
        if made:
            raise KeyboardInterrupt
        made.append(inputs[-1])
        return track(*inputs, **how)

    monkeypatch.setattr(shard_run, "track", stopped)
    with pytest.raises(KeyboardInterrupt):
        job()
    assert [(a, b) for a, b, _ in shards_in(tmp_path)] == [(0, 8)]
    again = job.checkpoint()
    made.clear()
    monkeypatch.setattr(shard_run, "track", lambda *i, **h: made.append(i[-1]) or track(*i, **h))
    assert again.function is job and again.function() == str(tmp_path)
    assert [len(times) for times in made] == [8, 4]
    assert len(read_track(tmp_path / "k.npz").world) == 20


def test_jobs_of_this_machine_track_every_recording(lab, tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *sys.path]))
    table = tmp_path / "sessions.csv"
    rows = (lab / "sessions.csv").read_text().splitlines(keepends=True)
    table.write_text("".join(row for row in rows if "tuesday" not in row))
    many = dict(submit="local", job=["timeout_min=5"], chunk=MINUTES, device="cpu")
    assert track_sessions(lab / "run", table, tmp_path / "out", **many) == [
        str(tmp_path / "out" / "monday")
    ]
    assert len(read_track(tmp_path / "out" / "monday" / "keypoints.npz").world) == 20
    assert list((tmp_path / "out" / "jobs").glob("*_log.out"))


def test_slurm_runs_as_many_jobs_at_a_time_as_are_said(tmp_path, monkeypatch):
    submitit, told = pytest.importorskip("submitit"), {}

    class Recorder:
        def __init__(self, **how):
            self.how = how

        def update_parameters(self, **parameters):
            told.update(parameters)

    monkeypatch.setattr(submitit, "AutoExecutor", lambda folder, **how: Recorder(**how))
    cluster_run._executor("slurm", tmp_path, ["mem_gb=32"], 1)
    assert told["slurm_array_parallelism"] == 1 and told["mem_gb"] == 32


def test_what_cannot_be_submitted_is_one_sentence(lab, tmp_path, capsys):
    pytest.importorskip("submitit")
    assert main(words(lab, tmp_path, "--submit", "local", "--job", "memory=3")) == 1
    assert "--submit local: Parameter 'memory'" in capsys.readouterr().err
    assert main(words(lab, tmp_path, "--submit", "local", "--job", "mem_gb")) == 1
    assert "expected KEY=VALUE" in capsys.readouterr().err
    assert main(words(lab, tmp_path, "--frames", "0:4")) == 1
    assert "--frames: is of one recording" in capsys.readouterr().err


# ---- the workflow --------------------------------------------------------------------------------
def snakemake(raw, lab, out, *more, chunk=MINUTES):
    """Snakemake on a folder of recordings, with this package; its output."""
    if (program := shutil.which("snakemake")) is None:
        pytest.skip("snakemake is not installed: pip install submitit snakemake")
    settings = dict(
        root=raw, out=out, checkpoint=lab / "run", chunk=chunk, index="--no-doctor",
        command=f"{sys.executable} -m bkind3d_lite",
    )  # fmt: skip
    config = [f"{key}={value}" for key, value in settings.items()]
    files = ["-s", ROOT / "workflow" / "Snakefile", "--directory", out.parent]
    run = [program, *files, *more, "--config", *config]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HOME": str(out.parent)}
    done = subprocess.run(
        list(map(str, run)), capture_output=True, text=True, env=environment, timeout=800
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def test_the_workflow_cuts_as_the_verb_does():
    text = (ROOT / "workflow" / "Snakefile").read_text()
    assert int(re.search(r"^WHOLE = (\d+)", text, re.M)[1]) == shard_run.WHOLE
    step = re.search(r"^    step = (.*)$", text, re.M)[1]
    for minutes, fps in ((10, 30.0), (0.001, 25.0), (7.3, 119.88)):
        names = dict(config={"chunk": minutes}, row={"fps": str(fps)}, WHOLE=shard_run.WHOLE)
        assert eval(step, names) == shard_run.frames_of(minutes, fps)


def test_rules_of_jobs_elsewhere_wait_for_the_table_they_ask():
    """A Slurm job's Snakemake refuses a rule whose params ask the table unless it is an input."""
    text = (ROOT / "workflow" / "Snakefile").read_text()
    rules = dict(re.findall(r"^rule (\w+):\n((?:    .*\n)+)", text, re.M))
    asking = {
        n: r for n, r in rules.items() if re.search(r"params:.*?(folder_of|sessions)", r, re.S)
    }
    assert asking.keys() == {"train", "look", "shard"}
    for rule in asking.values():
        assert re.search(r"input:.*(TABLE|sessions\.csv)", rule)


def test_folders_of_a_table_are_found_beside_it(lab, tmp_path):
    shutil.copytree(lab / "raw" / "monday", tmp_path / "monday")
    (tmp_path / "sessions.csv").write_text("name,folder,verdict\nmonday,monday,pass\n")
    track_sessions(lab / "run", tmp_path / "sessions.csv", tmp_path / "out", device="cpu")
    assert shards_in(tmp_path / "out" / "monday")


def test_the_workflow_knows_every_shard_before_it_runs(lab, tmp_path):
    out = tmp_path / "results"
    index_sessions(lab / "raw", out / "sessions.csv", ask=False)
    said = snakemake(
        lab / "raw", lab, out, "--dry-run", "--cores", "1", "--rerun-triggers", "mtime"
    )
    for rule, count in {"look": 2, "shard": 6, "merge": 2, "export": 2, "cohort": 1}.items():
        assert f"{rule} {count}" in " ".join(said.split()), rule
    assert "broken" not in said.replace(str(lab), "")


@pytest.mark.timeout(900)  # eight processes, each of which imports the package
def test_the_workflow_runs_from_a_recording_to_the_page(lab, tmp_path):
    out = tmp_path / "results"
    snakemake(lab / "raw" / "monday", lab, out, "--cores", "1", chunk=1)
    assert len(read_track(out / "tracks" / "monday" / "keypoints.npz").world) == 20
    assert len(shards_in(out / "tracks" / "monday")) == 1
    assert (out / "exports" / "monday" / "keypoints_anipose.csv").is_file()
    assert "monday" in (out / "cohort" / "cohort.html").read_text(encoding="utf-8")
    said = snakemake(lab / "raw" / "monday", lab, out, "--cores", "1", chunk=1)
    assert "Nothing to be done" in said


def test_the_profiles_keep_cpu_and_gpu_rules_apart():
    local, slurm = (
        yaml.safe_load((ROOT / "workflow" / "profiles" / name / "config.yaml").read_text())
        for name in ("local", "slurm")
    )
    assert local["resources"] == ["gpu=1"] and slurm["executor"] == "slurm"
    gpu = {r for r, how in slurm["set-resources"].items() if how["slurm_partition"] == "gpu"}
    rules = (ROOT / "workflow" / "Snakefile").read_text().split("\nrule ")[1:]
    assert gpu == {rule.split(":")[0] for rule in rules if "gpu=1" in rule} == {"train", "shard"}
    assert slurm["default-resources"]["slurm_partition"] == "cpu" and slurm["retries"] > 1
