"""Tracks with a heading: egocentric coordinates, and files that carry them there and back."""

import csv
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from bkind3d_lite.clips import Skeleton, Track, allocentric
from bkind3d_lite.clips.exports import export, read_track
from bkind3d_lite.clips.tracks import EGOCENTRIC
from bkind3d_lite.training import tracking
from bkind3d_lite.viz.skeleton_edits import Editing

QUARTER = math.pi / 2


@pytest.fixture
def plain():
    random = torch.Generator().manual_seed(0)
    world = 100 * torch.randn(7, 3, 3, generator=random) + torch.tensor([400.0, -300.0, 50.0])
    skeleton = Skeleton(("nose", "tail base", "left.paw"), ((0, 1), (1, 2)))
    return Track(world, torch.rand(7, 3, generator=random), skeleton, 25.0)


@pytest.fixture
def track(plain):
    sure = torch.linspace(0.5, 1, 7)
    return replace(plain, heading=torch.linspace(-3, 3, 7), heading_confidence=sure)


def test_ahead_is_x_left_is_y_and_height_stays():
    """An animal at (10, 20) that faces the world's y axis, its left paw on the side of -x."""
    world = torch.tensor([[[10.0, 25, 3], [10, 15, 5], [7, 20, 0], [13, 20, 0]]])
    skeleton = Skeleton(("nose", "tail", "left", "right"), ())
    track = Track(world, torch.ones(1, 4), skeleton, 30.0, heading=torch.tensor([QUARTER]))
    own = torch.tensor([[[5.0, 0, 3], [-5, 0, 5], [0, 3, 0], [0, -3, 0]]])
    assert_close(track.egocentric(), own, atol=1e-5, rtol=0)
    assert_close(track.origin, torch.tensor([[10.0, 20, 0]]))


def test_there_and_back_with_an_unknown_point(track):
    track.world[2, 1] = torch.nan
    own = track.egocentric()
    assert own[2, 1].isnan().all() and own[2, [0, 2]].isfinite().all()
    assert_close(own[..., :2].nanmean(1), torch.zeros(7, 2), atol=1e-4, rtol=0)
    back = allocentric(own, track.origin, track.heading)
    assert_close(back, track.world, atol=1e-3, rtol=0, equal_nan=True)


def test_some_times_of_a_track_take_their_heading_along(track, plain):
    some = track.at([1, 3, 5])
    assert_close(some.egocentric(), track.egocentric()[1::2][:3])
    assert_close(some.heading_confidence, track.heading_confidence[[1, 3, 5]])
    assert some.fps == 12.5 and some.skeleton == track.skeleton
    assert plain.at(torch.tensor([4])).heading is None and plain.at([4]).fps == 25


def test_a_heading_has_a_value_a_frame(plain):
    with pytest.raises(ValueError, match="heading: expected"):
        replace(plain, heading=torch.zeros(6))
    with pytest.raises(ValueError, match="no heading"):
        plain.egocentric()


def test_an_editing_keeps_it(track):
    made = Editing(mute=("nose",)).applied(track)
    assert made.heading is track.heading and made.heading_confidence is track.heading_confidence


@pytest.mark.parametrize("found", [True, False])
def test_tracking_hands_on_a_heading_that_was_found(found, clip, seen, tiny, monkeypatch):
    angle, sure = torch.linspace(-2, 2, len(clip)), torch.linspace(0, 1, len(clip))
    heading = SimpleNamespace(found=found, angle=angle, confidence=sure)

    class Still(torch.nn.Module):
        """A model whose keypoints are the truth and whose volume remembers its turn."""

        look = figure = None

        def __init__(self):
            super().__init__()
            self.turns, self.weight = [], torch.nn.Parameter(torch.zeros(1))

        def encoded(self, images):
            return None, images

        def lift(self, maps, images, batch):
            self.turns.append(batch.turn)
            sure = torch.ones(len(batch.index), clip.rig.views, 8)
            return SimpleNamespace(world=clip.truth[batch.index], confidence=sure, covariance=None)

    monkeypatch.setattr(tracking, "drawn_skeleton", lambda *_: clip.skeleton)
    times = [3, 0, 30]
    model = Still()
    turns = tiny.with_(by_heading=True)
    track = tracking.track(model, turns, clip, replace(seen, heading=heading), times)
    if found:
        assert_close(track.heading, angle[times])
        assert_close(track.heading_confidence, sure[times])
        assert_close(torch.cat(model.turns), angle[times])
    else:
        assert track.heading is track.heading_confidence is None


# ---- files ---------------------------------------------------------------------------------------
def test_csv(track, tmp_path):
    with open(track.save(tmp_path / "k.csv"), newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:6] == [
        *("frame", "time_s", "heading_rad", "heading_confidence", "origin_x", "origin_y")
    ]

    def read(*names: str) -> torch.Tensor:
        return torch.tensor([[float(row[name]) for name in names] for row in rows])

    assert_close(read("heading_rad")[:, 0], track.heading, atol=1e-5, rtol=0)
    assert_close(read("heading_confidence")[:, 0], track.heading_confidence, atol=1e-4, rtol=0)
    own = read("nose_ahead", "nose_left", "nose_z")[:, None]
    origin = torch.cat([read("origin_x", "origin_y"), torch.zeros(7, 1)], 1)
    back = allocentric(own, origin, read("heading_rad")[:, 0])
    assert_close(back[:, 0], track.world[:, 0], atol=0.01, rtol=0)


def test_npz(track, tmp_path):
    path = track.save(tmp_path / "k.npz")
    again = read_track(path)
    assert torch.equal(again.heading, track.heading)
    assert torch.equal(again.heading_confidence, track.heading_confidence)
    with np.load(path) as data:
        parts = (torch.from_numpy(data[n]) for n in ("egocentric", "origin", "heading"))
        assert_close(allocentric(*parts), track.world, atol=1e-3, rtol=0)
        assert str(data["egocentric_means"]) == EGOCENTRIC
        arrays = dict(data) | dict(heading=np.zeros(3))
    np.savez(tmp_path / "short.npz", **arrays)
    with pytest.raises(ValueError, match="short.npz: not a track"):
        read_track(tmp_path / "short.npz")


def test_movement(track, tmp_path):
    xarray = pytest.importorskip("xarray", reason="xarray is not installed")
    data = xarray.load_dataset(export(track, tmp_path, ("movement",))[0], engine="h5netcdf")
    x, y, z = (data.egocentric.sel(space=a) for a in "xyz")
    h = data.heading
    back = [  # by the words that travel with it
        data.origin.sel(space="x") + x * np.cos(h) - y * np.sin(h),
        data.origin.sel(space="y") + x * np.sin(h) + y * np.cos(h),
        z,
    ]
    for axis, values in zip("xyz", back):
        known = data.position.sel(space=axis)
        np.testing.assert_allclose(values.transpose(*known.dims), known, atol=1e-3)
    assert data.egocentric.attrs["description"] == EGOCENTRIC and h.attrs["units"] == "radians"
    np.testing.assert_allclose(data.heading_confidence[:, 0], track.heading_confidence)
    assert data.heading.dims == ("time", "individuals")


def test_nwb(track, tmp_path):
    pynwb = pytest.importorskip("pynwb", reason="pynwb is not installed")
    pytest.importorskip("ndx_pose", reason="ndx-pose is not installed")
    path = str(export(track, tmp_path, ("nwb",))[0])
    with pynwb.NWBHDF5IO(path, "r", load_namespaces=True) as io:
        module = io.read().processing["behavior"]
        heading = module["CompassDirection"]["heading"]
        own, origin = module["EgocentricPoseEstimation"], module["Position"]["origin"]
        names = ("nose", "tail_base", "left_paw")
        points = torch.stack([torch.tensor(own[n].data[:]) for n in names], 1)
        back = allocentric(points, torch.tensor(origin.data[:]), torch.tensor(heading.data[:]))
        assert_close(back.float(), track.world, atol=1e-3, rtol=0)
        sure = module["heading_confidence"]
        assert_close(torch.tensor(sure.data[:]).float(), track.heading_confidence)
        assert heading.unit == "radians" and heading.rate == sure.rate == 25
        assert own["nose"].reference_frame == EGOCENTRIC


def test_without_a_heading_files_are_what_they_were(plain, tmp_path):
    few = Track(
        torch.tensor([[[1.0, 2, 3]], [[4, 5, 6.25]]]), torch.ones(2, 1), Skeleton(("k0",), ()), 10
    )
    text = few.save(tmp_path / "k.csv").read_text()
    assert text == (
        "frame,time_s,k0_x,k0_y,k0_z,k0_confidence\n"
        "0,0.0000,1,2,3,1.0000\n1,0.1000,4,5,6.25,1.0000\n"
    )
    with np.load(plain.save(tmp_path / "k.npz")) as data:
        assert set(data) == {"positions", "confidence", "names", "edges", "fps", "unit"} | {
            "frame",
            "time",
        }
    assert read_track(tmp_path / "k.npz").heading is None
    xarray = pytest.importorskip("xarray", reason="xarray is not installed")
    path = export(plain, tmp_path, ("movement",))[0]
    data = xarray.load_dataset(path, engine="h5netcdf")
    assert set(data.data_vars) == {"position", "confidence"}
