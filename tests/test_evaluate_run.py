"""Evaluate run: the measure of turning, and what a heading is worth without a network."""

import json
import math
from dataclasses import replace

import pytest
import torch
from test_heading import walker

from bkind3d_lite.clips import SurveyedClip, Track
from bkind3d_lite.clips.heading_finder import headed
from bkind3d_lite.clips.survey import survey
from bkind3d_lite.evaluation.body_bound import usual_pace
from bkind3d_lite.model import build, placed
from bkind3d_lite.recipes import Recipe
from bkind3d_lite.viz.report_page import score_table, write_report
from bkind3d_lite.workflows.evaluate_run import (
    bound_of,
    references,
    score_parts,
    score_report,
    turning_facts,
    walking_pace,
)

TINY = Recipe("tiny").with_(
    keypoints=4, image_wh=(48, 32), voxels=8, encoder_width=8, channels=4, v2v_width=4,
    decoder_width=8, background=True, mode="animal", animal_side=400.0, by_heading=True, turn=True,
)  # fmt: skip


@pytest.fixture(scope="module")
def parts():
    """The first 3.4 s of a walk on a circle, and the 3.4 s after them, with their headings."""
    clip, _ = walker(136, rests=False)
    first, second = clip.at(range(0, 68, 2)), clip.at(range(68, 136, 2))
    seen = survey(first)
    ahead = survey(second, background=seen.background)
    return (
        SurveyedClip(first, headed(first, seen)),
        SurveyedClip(second, headed(second, ahead)),
    )


def without_heading(part):
    return SurveyedClip(part.clip, replace(part.survey, heading=None))


def tracked(part, world):
    """These points as a track of the part."""
    confidence = torch.ones(world.shape[:2])
    return Track(world, confidence, part.clip.skeleton, part.clip.fps)


def in_the_room(part):
    """The first pose, carried along without a turn."""
    centre = part.clip.truth.mean(1, keepdim=True)
    return centre + (part.clip.truth - centre)[:1]


# ---- turning -------------------------------------------------------------------------------------
def test_points_of_the_animal_are_told_from_points_of_the_room(parts):
    body = bound_of(tracked(parts[0], parts[0].clip.truth), parts[0])
    room = bound_of(tracked(parts[0], in_the_room(parts[0])), parts[0])
    assert body.body > 0.8 and body.turning > 0.8 and not body.compass
    assert room.room > 0.95 and abs(room.turning) < 0.1 and room.compass


def test_the_heading_of_the_volume_is_not_its_own_judge(parts):
    """A heading that lies by half a turn changes nothing: the way that the points go tells."""
    part = parts[0]
    heading = part.survey.heading
    lie = replace(part.survey, heading=replace(heading, angle=0 * heading.angle))
    track = tracked(part, part.clip.truth)
    assert bound_of(track, SurveyedClip(part.clip, lie)).body == bound_of(track, part).body


def test_what_counts_as_walking_is_the_recordings_own(parts):
    part, alone = parts[0], without_heading(parts[0])
    track = tracked(part, part.clip.truth)
    heading = replace(part.survey.heading, speed=0.5, length=300.0)
    told = SurveyedClip(part.clip, replace(part.survey, heading=heading))
    assert walking_pace(track, told) == pytest.approx(150)
    assert 60 < walking_pace(track, part) < 160, "it walks 200 mm a second"
    assert 60 < walking_pace(track, alone) < 160


def test_a_pace_is_of_the_fast_moments_and_never_of_jitter():
    time = torch.arange(600) / 30
    figure = torch.tensor([[50.0, 0, 0], [-50, 0, 0]])
    ahead = torch.stack([300 * time, 0 * time, 0 * time], -1)[:, None]
    walk = torch.cat([ahead + figure, ahead[-1:] + figure + torch.zeros(3000, 1, 1)])
    assert usual_pace(walk, 30.0) == pytest.approx(150, rel=0.05), "long rests do not count"
    jitter = figure + 0.5 * torch.randn(600, 1, 3, generator=torch.Generator().manual_seed(0))
    assert usual_pace(jitter, 30.0) == pytest.approx(15, rel=0.05), "0.15 widths a second"
    jumps = torch.cat([figure + torch.zeros(60, 1, 1), figure + torch.full((60, 1, 1), 900.0)])
    assert usual_pace(jumps, 30.0, (0, 60)) == pytest.approx(15, rel=0.05)


# ---- what a heading is worth ---------------------------------------------------------------------
def test_the_rigid_template_beats_what_knows_no_heading(parts):
    known = references(parts)
    assert known["rigid_template"]["mpjpe"] < min(10, 0.1 * known["mean_pose"]["mpjpe"])
    assert set(known["rigid_template"]) == {"mpjpe", "pmpjpe"}


def test_there_is_no_template_without_a_heading_in_both_parts(parts):
    for pair in ((without_heading(parts[0]), parts[1]), (parts[0], without_heading(parts[1]))):
        assert set(references(pair)) == {"centroid", "mean_pose"}
    heading = parts[1].survey.heading
    rests = replace(heading, walking=torch.zeros_like(heading.walking))
    lost = SurveyedClip(parts[1].clip, replace(parts[1].survey, heading=rests))
    assert set(references((parts[0], lost))) == {"centroid", "mean_pose"}


# ---- the report ----------------------------------------------------------------------------------
def test_an_untrained_network_is_scored_in_the_turned_volume(parts, tmp_path):
    """Parts without headings are asked for them; the measure is in table, page and data."""
    recipe = placed(TINY, parts[0].clip.rig, parts[0].survey)
    model, _ = build(recipe, 0)
    track, scored = score_parts(model, recipe, parts)
    assert track.world.shape == (34, 4, 3)
    assert {"r2_room", "r2_body", "turning", "mpjpe", "on_body"} <= set(scored)
    assert score_parts(model, recipe, tuple(map(without_heading, parts)))[1] == scored
    results = {"trained": scored, "untrained": scored} | references(parts)
    report = score_report("walker", recipe, results, **turning_facts(track, parts[1]))
    assert report["r2_body"]["trained"] == round(scored["r2_body"], 4)
    assert report["mpjpe_mm"]["rigid_template"] < report["mpjpe_mm"]["mean_pose"]
    assert "walks" in report["heading"] and report["body_bound"]["frames"] > 10
    page = write_report(tmp_path, report).read_text(encoding="utf-8")
    assert "rigid template" in page and "R2 body" in page and "keypoint 3" in page
    assert "on body proves nothing" in page and "12 directions" in page


def test_what_cannot_be_told_is_no_number(parts, tmp_path):
    """An animal that stays in its place: null as data, in words in the table."""
    part = parts[1]
    stays = tracked(part, part.clip.truth[:1].expand(34, -1, -1))
    assert math.isnan(bound_of(stays, part).body)
    facts = turning_facts(stays, part)
    assert facts["body_bound"]["keypoints"]["r2_room"] == [None] * 8
    untold = {"mpjpe": 1.0, "pmpjpe": 1.0, "r2_room": None, "r2_body": None, "turning": None}
    report = score_report("c", TINY, {"trained": untold, "centroid": {"mpjpe": 2.0}}, **facts)
    trained = next(x for x in score_table(report).splitlines() if x.startswith("trained"))
    assert trained.count("not told") == 3
    assert score_table(report).count("not told") == 3, "other rows have no such score"
    write_report(tmp_path, report)
    kept = json.loads((tmp_path / "report.json").read_text())
    assert kept["turning"] == {"trained": None, "untrained": None, "checkpoint": None}
