"""Recommend: a recipe that can be trained, with figures that are counted and measured."""

import argparse
import shlex
from dataclasses import replace

import pytest

from bkind3d_lite.clips.extent import animal_length, region
from bkind3d_lite.clips.rig_checks import PASS
from bkind3d_lite.recipes import find_recipe
from bkind3d_lite.training.memory_planner import Need, Plan, memory
from bkind3d_lite.workflows import recommend
from bkind3d_lite.workflows.arguments import add_opening, opening
from bkind3d_lite.workflows.doctor import command_words, examine
from bkind3d_lite.workflows.recommend import PRESET, STEPS, prescribe


def test_the_plan_is_that_of_a_whole_survey(clip, seen):
    """All frames of a short clip are looked at, so volume and length are those of a survey."""
    found = prescribe(clip, replace(seen, centre=seen.centre * 0), device="cpu")
    centre, side = region(seen, clip.rig)
    assert (
        found.side == pytest.approx(side)
        and found.centre == pytest.approx(centre.tolist())
        and found.length == pytest.approx(animal_length(seen, clip.rig), rel=0.05)
    )
    assert found.recipe.name == PRESET and found.recipe.volume.animal_side == pytest.approx(
        find_recipe(PRESET).volume.animal_lengths * found.length, rel=0.01
    )
    assert found.fits and found.need == memory(found.recipe, clip.rig.views) and 0 < found.step < 60
    said = found.message("mm")
    assert (
        "preset quick" in said
        and f"fastest of {STEPS}" in said
        and "GB a step" in said
        and f"{found.minutes:.0f} minutes for its {found.recipe.optim.steps} steps" in said
    )


def test_too_little_room_is_planned_around(clip, seen, monkeypatch):
    """Where the preset does not fit, `memory_planner.plan` is asked; its answer is timed."""
    asked = []

    def smaller(recipe, rig, device):
        asked.append(device)
        return Plan(recipe.with_(voxels=8), Need(1 << 20, 1), 1, device, True, (), ())

    monkeypatch.setattr(recommend, "plan", smaller)
    monkeypatch.setattr(recommend, "usable_memory", lambda device: 1 << 20)
    found = prescribe(clip, seen, device="cpu")
    assert (
        asked == ["cpu"]
        and found.recipe.volume.voxels == 8
        and found.fits
        and found.need.step == 1 << 20
    )
    assert "more than there is free" in replace(found, fits=False).message("mm")


def test_the_doctor_ends_with_the_command_that_trains(folder, tmp_path):
    import shutil

    copy = shutil.copytree(folder[0], tmp_path / "my clip")
    check = examine(copy, fps=20.0, common=True, offsets={"cam1": 0}).checks[-1]
    assert check.name == "plan" and check.state == PASS, check
    opened = f"--clip '{copy}' --offset cam1=0 --common --fps 20.0"
    assert check.remedy == f"python -m bkind3d_lite train {opened} --recipe quick --out runs/mine"


def test_gaps_that_do_not_fit_are_a_warning(folder):
    check = examine(folder[0], fps=300.0).checks[-1]
    assert (
        check.state == "warn"
        and "a gap of 120 frames needs more than the clip's 12" in check.finding
    )


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--memory", "6", "--offset", "cam1=3", "cam2=-4", "--common"],
        ["--fps", "29.97", "--subject", "S1"],
    ],
)
def test_the_command_opens_the_folder_as_the_doctor_did(words):
    """What is printed can be typed: the same options, the same meaning."""
    parser = argparse.ArgumentParser()
    add_opening(parser)
    how = opening(parser.parse_args(words))
    typed = shlex.split(" ".join(command_words(**how)))
    assert opening(parser.parse_args(typed)) == how
    assert words or not typed
