"""Units: spelled as people spell them; a size that is merely unusual stops nobody."""

from dataclasses import replace

import pytest

from bkind3d_lite.calibrations import load_calibration
from bkind3d_lite.cameras import ring, save_calibration
from bkind3d_lite.clips.rig_checks import FAIL, PASS, WARN, check_unit
from bkind3d_lite.units import METRES, unit_named


@pytest.mark.parametrize(
    "word, unit",
    [
        ("millimeters", "mm"),
        ("Millimetre", "mm"),
        ("MM", "mm"),
        ("metres", "m"),
        ("meter", "m"),
        ("inch", "in"),
        ("inches", "in"),
        ("feet", "ft"),
        ("microns", "um"),
        ("µm", "um"),
        ("", "unknown"),
        ("furlong", "furlong"),
    ],
)
def test_words_of_units(word, unit):
    assert unit_named(word) == unit


@pytest.mark.parametrize(
    "radius, unit, state",
    [
        (640.0, "millimeters", PASS),
        (0.64, "meters", PASS),
        (25.0, "inches", PASS),
        (60.0, "mm", WARN),  # a fly
        (46_000.0, "mm", WARN),  # a hall
        (0.64, "mm", FAIL),
        (640.0, "m", FAIL),
        (640.0, "furlongs", WARN),
    ],
)
def test_a_right_rig_of_any_size_is_no_failure(tmp_path, radius, unit, state):
    """What a file says is read as the unit that it means; metres called millimetres still fail."""
    rig = ring(3, radius=radius, height=radius / 2, unit=unit)
    save_calibration(rig, tmp_path / "calibration.toml")
    found = load_calibration(tmp_path / "calibration.toml")
    check = check_unit(found)
    assert check.state == state, check
    if state == PASS:
        assert 0.1 < radius * METRES[found.unit] < 30


def test_a_stereo_head_is_measured_by_what_it_looks_at():
    """Its cameras stand 120 mm apart, the animal half a metre away."""
    head = ring(2, radius=500.0, height=0.0, unit="mm")
    near = head.t.clone()
    near[1] = head.t[0] + near.new_tensor([120.0, 0, 0])
    assert check_unit(replace(head, R=head.R[[0, 0]], t=near)).state != FAIL
