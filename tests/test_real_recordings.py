"""Real recordings beside the repository: the doctor lets through what is fit.

It says why the rest is not, and names what is broken in a copy.
"""

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bkind3d_lite.clips import open_clip
from bkind3d_lite.clips.calibration_faults import swapped
from bkind3d_lite.clips.recording_checks import check_agreement, check_offsets
from bkind3d_lite.clips.rig_checks import FAIL, PASS, WARN
from bkind3d_lite.clips.survey import survey_views
from bkind3d_lite.workflows import doctor
from bkind3d_lite.workflows.doctor import examine

OPENED = {"mouse5_dev": {}, "mouse2_labels": dict(fps=6), "fly7_deepfly3d": {}}


@pytest.fixture(scope="module")
def arranged(shared, tmp_path_factory):
    """`arranged(name)`: a copy of a recording with its reference points as truth.npz."""
    spec = importlib.util.spec_from_file_location(
        "real_recordings", Path(__file__).parents[1] / "tools" / "real_recordings.py"
    )
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)

    def make(name):
        if not (shared / "realdata" / name).is_dir():
            pytest.skip(f"no recording {name} in the shared folder")
        return tool.arranged(shared / "realdata" / name, tmp_path_factory.mktemp(name))

    return make


@pytest.mark.parametrize("name", OPENED)
def test_what_is_fit_passes_and_its_reference_points_project_onto_the_animal(
    arranged, name, monkeypatch
):
    monkeypatch.setattr(doctor, "DOCTOR_FRAMES", 240)
    found = examine(arranged(name), plan=False, **OPENED[name])
    states = {check.name: check.state for check in found.checks}
    assert found.state != FAIL, found.text()
    assert states["truth"] == states["agreement"] == states["motion"] == PASS, found.text()


def test_a_mouse_that_sits_still_is_told_plainly_and_its_points_are_in_the_images(arranged):
    found = examine(arranged("mouse4_sleapanipose_io"))
    assert found.state == FAIL and [c.name for c in found.checks if c.state == FAIL] == ["motion"]
    assert "nothing moves here" in found.checks[-1].finding and found.prescribed is None
    ndc = found.clip.rig.ndc_from_world(found.clip.truth)
    assert (ndc.abs() < 1).all(-1)[ndc.isfinite().all(-1)].float().mean() > 0.9


@pytest.fixture(scope="module")
def mouse(arranged):
    clip = open_clip(arranged("mouse5_dev"), (208, 160)).at(range(0, 2000, 5))
    return clip, survey_views(clip)


BROKEN = {
    "the rotations are transposed": lambda r: replace(r, R=r.R.mT),
    "the translations are camera centres": lambda r: replace(r, t=r.centres),
    "the poses are camera to world": lambda r: replace(r, R=r.R.mT, t=r.centres),
    "cameras CameraS and CameraL are swapped": lambda r: swapped(r, 1, 3),
    "OpenGL": lambda r: replace(
        r, R=torch.diag(torch.tensor([1.0, -1, -1])) @ r.R, t=r.t * torch.tensor([1.0, -1, -1])
    ),
}


@pytest.mark.parametrize("cause", BROKEN)
def test_a_mistake_in_the_calibration_of_a_real_mouse_is_named(mouse, cause):
    clip, seen = mouse
    check = check_agreement(replace(clip, rig=BROKEN[cause](clip.rig)), seen)
    assert check.state == FAIL and cause in check.remedy, check


def test_a_late_camera_of_a_real_mouse_is_named(mouse):
    """12 of these frames are half a second, in which it moves by less than its own length."""
    clip, seen = mouse
    assert check_offsets(clip, seen).state == PASS
    thumbs = seen.thumbs.clone()
    thumbs[12:, 2] = seen.thumbs[:-12, 2]
    check = check_offsets(clip, replace(seen, thumbs=thumbs))
    assert check.state == WARN and "--offset CameraR=12" in check.remedy, check
