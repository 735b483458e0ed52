"""The sweep: a journal that goes on, a judge without labels, a page with the trials."""

import math

import pytest
import torch
from test_orientation import SMALL

from bkind3d_lite.cameras import save_calibration
from bkind3d_lite.clips.clip import SurveyedClip
from bkind3d_lite.clips.survey import survey
from bkind3d_lite.clips.synthetic import figure
from bkind3d_lite.clips.tracks import Track
from bkind3d_lite.clips.videos import write_video
from bkind3d_lite.recipes import read_recipe, write_recipe
from bkind3d_lite.workflows import sweep_run
from bkind3d_lite.workflows.sweep_page import write_sweep_page
from bkind3d_lite.workflows.sweep_run import label_free_score, label_free_terms, sweep


@pytest.fixture(scope="module")
def part():
    clip = figure(24, views=2)
    return SurveyedClip(clip, survey(clip))


def test_a_sweep_goes_on_where_it_was_and_keeps_its_best(part, tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    home, clip = tmp_path / "clip", part.clip
    for v, camera in enumerate(clip.rig.names):
        write_video(home / f"{camera}.mp4", clip.frames[:, v].numpy(), clip.fps, crf=10)
    save_calibration(clip.rig, home / "calibration.toml")
    monkeypatch.setattr(sweep_run, "survey_clip", lambda _: part.survey)
    write_recipe(SMALL.with_(by_heading=False, views_per_step=2), tmp_path / "small.toml")
    monkeypatch.setattr(sweep_run, "JUDGED", 2)
    how = dict(steps=4, device="cpu")
    where = (home, str(tmp_path / "small.toml"), tmp_path / "out")
    assert len(sweep(*where, trials=1, **how)) == 1
    rows = sweep(*where, trials=2, **how)  # another process would do the same
    assert [row["number"] for row in rows] == [0, 1]
    for row in rows:
        assert [step for step, _ in row["curve"]] == [2, 4] and 0 <= row["score"] <= 1
        assert set(row["values"]) == {"keypoints", "gap", "cube", "cover", "hull"}
        assert (tmp_path / "out" / row["picture"]).is_file()
    assert rows[0]["values"] != rows[1]["values"]
    best = max(rows, key=lambda row: row["score"])
    recipe = read_recipe(tmp_path / "out" / "best.toml")
    assert recipe.keypoints == best["values"]["keypoints"]
    assert recipe.volume.animal_lengths == pytest.approx(best["values"]["cube"], abs=0.01)
    page = (tmp_path / "out" / "sweep.html").read_text(encoding="utf-8")
    assert "2 trials complete" in page and page.count("<svg") == 2
    assert len(sweep(*where, trials=2, **how)) == 2  # it is done

    def full(*_):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(sweep_run, "_trial", full)
    assert [row["state"] for row in sweep(*where, trials=3, **how)][2:] == ["fail"]


def test_the_judge_prefers_what_is_on_the_animal_steady_and_wide(part):
    clip, times = part.clip, torch.arange(24)
    sure = torch.ones(clip.truth.shape[:2])

    def judged(world):
        return label_free_terms(Track(world, sure, clip.skeleton, clip.fps), part, times)

    good = judged(clip.truth)
    off = judged(clip.truth + 300.0)
    shaky = judged(clip.truth + 20 * torch.randn(clip.truth.shape))
    huddled = judged(clip.truth.mean(1, keepdim=True) + 0.05 * clip.truth)
    assert good["on_animal"] > 0.85 > 0.5 > off["on_animal"]
    assert shaky["steady"] < 0.7 * good["steady"] and huddled["wide"] < 0.3 * good["wide"]
    scores = [label_free_score(terms) for terms in (off, shaky, huddled)]
    assert label_free_score(good) > max(scores)


def test_of_two_frames_steadiness_is_not_known(part):
    clip = part.clip
    track = Track(clip.truth[:2], torch.ones(clip.truth[:2].shape[:2]), clip.skeleton, clip.fps)
    terms = label_free_terms(track, part, torch.arange(2))
    assert math.isnan(terms["steady"]) and 0 < label_free_score(terms) <= 1


def test_a_term_that_is_not_known_is_left_out():
    assert label_free_score({"a": 0.25, "b": 1.0, "body": math.nan}) == pytest.approx(0.5)
    assert label_free_score({"a": 0.0, "b": 1.0}) == pytest.approx(1e-3)


def test_a_cube_that_stands_still_is_not_swept(tmp_path):
    with pytest.raises(ValueError, match="paper-rat7m: its cube does not follow"):
        sweep("nowhere", "paper-rat7m", tmp_path)


def test_a_page_shows_pruned_and_failed_trials(tmp_path):
    row = dict(number=3, state="pruned", score=0.4, terms={"body": None}, values={"gap": 0.1})
    rows = [
        row | dict(curve=[(75, 0.4)], picture=""),
        row | dict(number=4, state="fail", score=math.nan, curve=[], picture=""),
    ]
    page = write_sweep_page(tmp_path / "s.html", rows).read_text(encoding="utf-8")
    assert "0 trials complete, 1 pruned" in page and page.count("<tr>") == 3
