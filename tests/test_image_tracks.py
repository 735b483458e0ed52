"""Image tracks: what is saved comes back, and other tools' files have their documented layout."""

import csv

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from bkind3d_lite.clips import Skeleton
from bkind3d_lite.clips.exports import EXPORTS_2D, export, read_track
from bkind3d_lite.clips.image_tracks import Track2D
from bkind3d_lite.shapes import cells
from bkind3d_lite.viz.skeleton_edits import Editing
from bkind3d_lite.volumes import covariance_and_peak


@pytest.fixture(scope="module")
def track():
    random = torch.Generator().manual_seed(0)
    root = torch.randn(6, 3, 2, 2, generator=random)
    return Track2D(
        px=torch.rand(6, 3, 2, generator=random) * torch.tensor([96.0, 64.0]),
        confidence=torch.rand(6, 3, generator=random),
        skeleton=Skeleton(("nose", "hip", "tail base"), ((0, 1), (1, 2))),
        fps=25.0,
        wh=(96, 64),
        camera="top",
        covariance=root @ root.mT,
        peak=torch.rand(6, 3, generator=random),
    )


# ---- moments -------------------------------------------------------------------------------------
def test_moments_of_a_gaussian_map_are_its_own():
    wanted = torch.tensor([[0.02, 0.006], [0.006, 0.01]])
    points = cells(64, 64).flatten(0, 1)
    away = points - torch.tensor([0.1, -0.2])
    logits = -0.5 * torch.einsum("pi,ij,pj->p", away, wanted.inverse(), away)
    covariance, peak = covariance_and_peak(logits[None, None], points)
    assert_close(covariance[0, 0], wanted, atol=1e-4, rtol=0)
    density = 1 / (2 * torch.pi * wanted.det().sqrt()) * (2 / 64) ** 2
    assert_close(peak[0, 0], density, rtol=0.02, atol=0)


def test_a_flat_map_peaks_at_one_cell_s_share():
    assert_close(
        covariance_and_peak(torch.zeros(1, 2, 4096), cells(64, 64).flatten(0, 1))[1][0, 0],
        torch.tensor(1 / 4096),
    )


def test_far_from_the_origin_a_covariance_is_the_same():
    logits, points = torch.randn(1, 2, 512), cells(8, 8, 8).flatten(0, 2)
    here, there = (covariance_and_peak(logits, points + far)[0] for far in (0.0, 1000.0))
    assert_close(here, there, atol=1e-3, rtol=1e-3)


# ---- files ---------------------------------------------------------------------------------------
def test_what_is_saved_comes_back(track, tmp_path):
    back = read_track(track.save(tmp_path / "keypoints.npz"))
    for name in ("px", "confidence", "covariance", "peak"):
        assert torch.equal(getattr(back, name), getattr(track, name))
    assert (back.skeleton, back.fps, back.wh, back.camera) == (
        track.skeleton,
        25.0,
        (96, 64),
        "top",
    )
    rows = list(csv.DictReader(open(track.save(tmp_path / "keypoints.csv"))))
    assert len(rows) == 6 and float(rows[2]["time_s"]) == 0.08
    assert float(rows[4]["hip_y"]) == pytest.approx(float(track.px[4, 1, 1]), rel=1e-4)
    assert float(rows[4]["hip_cov_xy"]) == pytest.approx(
        float(track.covariance[4, 1, 0, 1]), rel=1e-4
    )


def test_a_plane_s_points_project_to_the_same_pixels(track):
    from bkind3d_lite.image_plane import image_plane

    flat = track.on_plane()
    px = image_plane("top", (96, 64)).px_from_world(flat.world.flatten(0, 1))[0]
    assert_close(px.unflatten(0, (6, 3)), track.px)


def test_deeplabcut_counts_pixels_from_the_first_centre(track, tmp_path):
    rows = list(csv.reader(open(export(track, tmp_path, ("deeplabcut",))[0])))
    assert rows[1][1:4] == ["nose"] * 3 and rows[2][1:4] == ["x", "y", "likelihood"]
    assert rows[1][-1] == "tail_base"
    assert float(rows[3][1]) == pytest.approx(float(track.px[0, 0, 0]) - 0.5, abs=1e-3)
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("tables")
    frame = pandas.read_hdf(export(track, tmp_path, ("deeplabcut-h5",))[0])
    assert frame["bkind3d_lite"]["hip"]["likelihood"].tolist() == pytest.approx(
        track.confidence[:, 1].tolist()
    )


def test_sleap_s_analysis_file_has_its_axes(track, tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(export(track, tmp_path, ("sleap",))[0]) as file:
        assert file["tracks"].shape == (1, 2, 3, 6) and file["track_occupancy"].shape == (6, 1)
        assert file["tracks"][0, 1, 2, 5] == pytest.approx(float(track.px[5, 2, 1]) - 0.5)
        assert file["point_scores"][0, 2, 5] == pytest.approx(float(track.confidence[5, 2]))
        assert [n.decode() for n in file["node_names"]] == list(track.skeleton.names)
        assert file["covariance"][0, 1, 2, 5] == pytest.approx(float(track.covariance[5, 2, 1, 1]))


def test_movement_has_two_space_axes(track, tmp_path):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    with xarray.open_dataset(export(track, tmp_path, ("movement",))[0], engine="h5netcdf") as data:
        assert data.sizes["space"] == 2 and list(data.space.values) == ["x", "y"]
        x = data.position.sel(space="x", keypoints="hip").values[:, 0]
        assert_close(torch.from_numpy(x).float(), track.px[:, 1, 0] - 0.5)
        assert data.covariance.dims == ("time", "space", "space2", "keypoints", "individuals")


def test_bkind_s_own_file_is_row_first_and_its_slip_has_a_name(track, tmp_path):
    plain, slipped = (
        np.load(export(track, tmp_path, (name,))[0]) for name in ("bkind", "bkind-covs-plus-1")
    )
    assert plain["keypoints"].dtype == np.int64
    assert plain["keypoints"][2, 1].tolist() == track.px[2, 1].int().flip(0).tolist()
    assert_close(torch.from_numpy(plain["confidence"]), track.peak)
    var_x = track.covariance[2, 1, 0, 0] / 48**2
    cov = track.covariance[2, 1, 0, 1] / (48 * 32)
    assert plain["covs"][2, 1, 0] == pytest.approx(float(var_x), rel=1e-5)
    assert plain["covs"][2, 1, 2] == pytest.approx(float(cov), rel=1e-5)
    np.testing.assert_allclose(slipped["covs"], plain["covs"] + 1)


def test_every_format_is_written_and_unknown_ones_are_named(track, tmp_path):
    for module in ("pandas", "tables", "h5py", "xarray", "h5netcdf"):
        pytest.importorskip(module)
    assert len(export(track, tmp_path)) == len(EXPORTS_2D)
    with pytest.raises(ValueError, match="'trc' of a track in an image; known: deeplabcut"):
        export(track, tmp_path, ("trc",))


# ---- editing -------------------------------------------------------------------------------------
def test_an_image_track_is_edited_as_one_in_space(track):
    edited = Editing(names={"nose": "snout"}, merge=(("hip", "tail base"),)).applied(track)
    assert edited.skeleton.names == ("snout", "hip") and edited.skeleton.edges == ((0, 1),)
    share = track.confidence[:, 1:] / track.confidence[:, 1:].sum(1, keepdim=True)
    assert_close(edited.px[:, 1], (share[..., None] * track.px[:, 1:]).sum(1))
    assert_close(edited.covariance[:, 0], track.covariance[:, 0])
    assert edited.peak.shape == (6, 2)
