"""Consultation: the doctor's page is whole, and its rays are where the cameras say."""

import torch

from bkind3d_lite.cameras import ring
from bkind3d_lite.clips.rig_checks import FAIL, Check
from bkind3d_lite.workflows.doctor import Diagnosis, diagnose
from bkind3d_lite.workflows.doctor_page import ray_px, rays_sheet, write_page


def test_the_page_has_every_check_and_needs_no_network(clip, tmp_path):
    found = diagnose(clip)
    text = write_page(found, tmp_path / "doctor.html").read_text(encoding="utf-8")
    assert (
        all(c.name in text for c in found.checks)
        and "Do the rays meet?" in text
        and "data:image/jpeg;base64" in text
    )
    assert (
        "cdn.plot.ly/plotly" not in text.split("<main>")[1].split("<script")[0]
        and "Plotly.newPlot" in text
    )


def test_a_folder_that_did_not_open_still_has_a_page(tmp_path):
    found = Diagnosis(
        "some <folder>", [Check("files", FAIL, "no video for camera <b>", "rename it")]
    )
    text = write_page(found, tmp_path / "doctor.html").read_text(encoding="utf-8")
    assert (
        "no video for camera &lt;b&gt;" in text and "mend this first" in text and "<b>>" not in text
    )


def test_a_ray_passes_through_the_image_of_each_of_its_points():
    rig = ring(3, wh=(96, 64), distortion=(-0.2, 0.05, 0.001, 0.0, 0.0))
    point = torch.tensor([[20.0, -30.0, 15.0]])
    px = rig.px_from_world(point)
    curve = ray_px(rig, px[0, 0], points=4000)
    for v in (1, 2):
        assert (curve[v] - px[v]).norm(dim=-1).min() < 0.2
    assert (curve[0] - px[0]).norm(dim=-1).max() < 0.05, "in its own view a ray is a point"


def test_the_sheet_holds_all_views(clip, seen):
    sheet = rays_sheet(clip, seen, columns=2)
    rows = -(-clip.rig.views // 2)
    assert (
        sheet.shape == (rows * clip.rig.wh[1] * 2, 2 * clip.rig.wh[0] * 2, 3)
        and sheet.dtype.name == "uint8"
    )
