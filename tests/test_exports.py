"""Exports: what is written is read back by the tool it is for, or by its documented layout where
that is not installed."""

import csv
import json
from dataclasses import replace

import pytest
import torch
from scipy.io import loadmat
from torch.testing import assert_close

from bkind3d_lite.cameras import ring
from bkind3d_lite.clips import Skeleton, Track
from bkind3d_lite.clips.exports import EXPORTS, export, read_track


@pytest.fixture(scope="module")
def track():
    random = torch.Generator().manual_seed(0)
    world = 100 * torch.randn(7, 3, 3, generator=random)
    return Track(
        world,
        torch.rand(7, 3, generator=random),
        Skeleton(("nose", "tail base", "left.paw"), ((0, 1), (1, 2))),
        25.0,
        "mm",
    )


@pytest.fixture(scope="module")
def rig():
    return ring(4, wh=(96, 64))


def written(track, rig, tmp_path, name):
    return export(track, tmp_path, (name,), rig)[0]


def rows(path, delimiter=","):
    with open(path, newline="") as file:
        return list(csv.reader(file, delimiter=delimiter))


def test_npz_comes_back(track, tmp_path):
    again = read_track(track.save(tmp_path / "keypoints.npz"))
    assert_close(again.world, track.world), assert_close(again.confidence, track.confidence)
    assert (again.skeleton, again.fps, again.unit) == (track.skeleton, track.fps, track.unit)
    (tmp_path / "broken.npz").write_bytes(b"PK not a zip")
    with pytest.raises(ValueError, match="broken.npz: not a track"):
        read_track(tmp_path / "broken.npz")
    with pytest.raises(FileNotFoundError, match="nowhere.npz"):
        read_track(tmp_path / "nowhere.npz")


def test_anipose_csv_has_every_column_its_readers_ask_for(track, rig, tmp_path):
    heads, *data = rows(written(track, rig, tmp_path, "anipose"))
    assert (
        heads[:6] == ["nose_x", "nose_y", "nose_z", "nose_error", "nose_ncams", "nose_score"]
        and heads[6] == "tail_base_x"
        and heads[12] == "left_paw_x"
    )
    assert heads[-13:] == [f"M_{i}{j}" for i in range(3) for j in range(3)] + [
        "center_0",
        "center_1",
        "center_2",
        "fnum",
    ]
    assert len(data) == 7 and [row[-1] for row in data] == list("0123456")
    assert_close(
        torch.tensor([[float(x) for x in row[6:9]] for row in data]),
        track.world[:, 1],
        atol=1e-3,
        rtol=1e-5,
    )
    assert (
        data[0][3] == ""
        and data[0][4] == "4"
        and data[0][-13:-1] == ["1", "0", "0", "0", "1", "0", "0", "0", "1", "0", "0", "0"]
    )


def test_deeplabcut_csv(track, rig, tmp_path):
    scorer, parts, coords, *data = rows(written(track, rig, tmp_path, "deeplabcut"))
    assert (
        scorer[1:] == ["bkind3d_lite"] * 9
        and parts == ["bodyparts"] + ["nose"] * 3 + ["tail_base"] * 3 + ["left_paw"] * 3
    )
    assert coords == ["coords"] + list("xyz") * 3 and [row[0] for row in data] == list("0123456")
    assert_close(
        torch.tensor([[float(x) for x in row[1:4]] for row in data]),
        track.world[:, 0],
        atol=1e-3,
        rtol=1e-5,
    )


def test_trc_is_y_up(track, rig, tmp_path):
    first, heads, values, names, axes, *data = rows(written(track, rig, tmp_path, "trc"), "\t")
    assert first == ["PathFileType", "4", "(X/Y/Z)", "keypoints.trc"]
    about = dict(zip(heads, values))
    assert (
        about["Units"] == "mm"
        and about["NumFrames"] == "7"
        and about["NumMarkers"] == "3"
        and about["DataRate"] == "25"
    )
    assert (
        names[2::3] == ["nose", "tail_base", "left_paw"]
        and axes[2:5] == ["X1", "Y1", "Z1"]
        and data[3][:2] == ["3", "0.120000"]
    )
    x, y, z = track.world[3, 0].tolist()
    assert [float(v) for v in data[3][2:5]] == pytest.approx([y, z, x], abs=1e-5), (
        "their Y is our Z"
    )


def test_dannce_mat(track, rig, tmp_path):
    data = loadmat(written(track, rig, tmp_path, "dannce"))
    assert (
        data["pred"].shape == data["data"].shape == (7, 3, 3)
        and data["p_max"].shape == (7, 3)
        and data["sampleID"].shape == (1, 7)
    )
    assert_close(torch.tensor(data["pred"]).float().mT, track.world)
    assert [str(n[0]) for n in data["joint_names"].ravel()] == list(track.skeleton.names) and data[
        "joints_idx"
    ].tolist() == [[1, 2], [2, 3]]
    about = data["about"][0, 0]
    assert about["unit"].item() == "mm" and list(json.loads(about["calibration"].item())) == list(
        rig.names
    )


def test_sleap_anipose_h5(track, rig, tmp_path):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    with h5py.File(written(track, rig, tmp_path, "sleap-anipose")) as file:
        assert (
            file["tracks"].shape == (7, 1, 3, 3)
            and "cam0, cam1, cam2, cam3" in file["tracks"].attrs["Description"]
        )
        assert_close(torch.tensor(file["tracks"][:, 0]).float(), track.world)
        assert_close(torch.tensor(file["point_scores"][:, 0]).float(), track.confidence)
        assert (
            file.attrs["unit"] == "mm"
            and file.attrs["fps"] == 25
            and list(json.loads(file.attrs["calibration"])) == list(rig.names)
        )


def test_movement_netcdf_with_xarray_alone(track, rig, tmp_path):
    xarray = pytest.importorskip("xarray", reason="xarray is not installed")
    data = xarray.load_dataset(written(track, rig, tmp_path, "movement"), engine="h5netcdf")
    assert data.position.dims == ("time", "space", "keypoints", "individuals") and list(
        data.keypoints.values
    ) == list(track.skeleton.names)
    assert_close(torch.tensor(data.position.values[..., 0]).mT.float(), track.world)
    assert (
        data.attrs["ds_type"] == "poses"
        and data.attrs["fps"] == 25
        and float(data.time[1]) == pytest.approx(0.04)
    )
    assert json.loads(data.attrs["skeleton_edges"]) == [[0, 1], [1, 2]] and json.loads(
        data.attrs["calibration"]
    )["cam0"]["size"] == [96, 64]


def test_movement_accepts_the_data_set(track, rig, tmp_path):
    validators = pytest.importorskip(
        "movement.validators.datasets", reason="movement is not installed"
    )
    import xarray

    data = xarray.load_dataset(written(track, rig, tmp_path, "movement"), engine="h5netcdf")
    validators.ValidPosesInputs.validate(data)  # raises what movement's own functions would
    velocity = pytest.importorskip("movement.kinematics").compute_velocity(data.position)
    assert velocity.shape == data.position.shape


def test_movement_reads_anipose(track, rig, tmp_path):
    load_poses = pytest.importorskip("movement.io.load_poses", reason="movement is not installed")
    data = load_poses.from_anipose_file(written(track, rig, tmp_path, "anipose"), fps=25)
    assert list(data.keypoints.values) == ["left_paw", "nose", "tail_base"], "movement sorts them"
    found = data.position.sel(keypoints="nose").values.squeeze()
    assert_close(torch.tensor(found).float(), track.world[:, 0], atol=1e-3, rtol=1e-4)


def test_deeplabcut_h5(track, rig, tmp_path):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    pytest.importorskip("tables", reason="tables is not installed")
    frame = pandas.read_hdf(written(track, rig, tmp_path, "deeplabcut-h5"), "df_with_missing")
    assert frame.columns.names == ["scorer", "bodyparts", "coords"]
    assert_close(torch.tensor(frame["bkind3d_lite"]["tail_base"].values).float(), track.world[:, 1])


def test_nwb_by_its_own_reader(track, rig, tmp_path):
    pynwb = pytest.importorskip("pynwb", reason="pynwb is not installed")
    pytest.importorskip("ndx_pose", reason="ndx-pose is not installed")
    with pynwb.NWBHDF5IO(
        str(written(track, rig, tmp_path, "nwb")), "r", load_namespaces=True
    ) as io:
        file = io.read()
        pose, camera = file.processing["behavior"]["PoseEstimation"], file.devices["cam2"]
        assert len(file.devices) == 4 and camera.intrinsic_matrix[0, 2] == pytest.approx(
            float(rig.K[2, 0, 2]) - 0.5
        )
        (
            assert_close(torch.tensor(camera.rotation_matrix[:]).float(), rig.R[2]),
            assert_close(torch.tensor(camera.translation_vector[:]).float(), rig.t[2]),
        )
        assert_close(torch.tensor(pose["nose"].data[:]).float(), track.world[:, 0])
        assert_close(torch.tensor(pose["nose"].confidence[:]).float(), track.confidence[:, 0])
        assert (
            list(pose.skeleton.nodes[:]) == list(track.skeleton.names)
            and pose["nose"].unit == "mm"
            and pose["nose"].rate == 25
        )


def test_movement_reads_nwb(track, rig, tmp_path):
    load_poses = pytest.importorskip("movement.io.load_poses", reason="movement is not installed")
    data = load_poses.from_nwb_file(written(track, rig, tmp_path, "nwb"))
    assert_close(
        torch.tensor(data.position.sel(keypoints="nose").values.squeeze()).float().reshape(7, 3),
        track.world[:, 0],
    )


def test_sleap_reads_the_calibration(rig, tmp_path):
    """sleap-io reads no 3D tracks (`points3d.h5` is read by the test above, by its layout), but the
    calibration that goes with them."""
    slp = pytest.importorskip("sleap_io.io.slp", reason="sleap-io is not installed")
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib")
    from bkind3d_lite.cameras import save_calibration

    save_calibration(rig, tmp_path / "calibration.toml")
    found = slp.make_camera_group(tomllib.loads((tmp_path / "calibration.toml").read_text()))
    assert [camera.name for camera in found.cameras] == list(rig.names)
    for v, camera in enumerate(found.cameras):
        assert_close(
            torch.tensor(camera.extrinsic_matrix[:3]).float(),
            torch.cat([rig.R[v], rig.t[v, :, None]], 1),
            atol=1e-3,
            rtol=1e-5,
        )
        assert tuple(camera.size) == rig.wh and camera.matrix[0, 2] == pytest.approx(
            float(rig.K[v, 0, 2]) - 0.5
        )


def test_unknown_formats_and_clashing_names_are_refused(track, tmp_path):
    with pytest.raises(ValueError, match="unknown export 'c3d'; known: anipose, deeplabcut"):
        export(track, tmp_path, ("c3d",))
    clash = Track(track.world, track.confidence, Skeleton(("paw l", "paw.l", "x"), ()), 25.0)
    with pytest.raises(ValueError, match="paw l, paw.l become the same column 'paw_l'"):
        export(clash, tmp_path, ("anipose",))


def test_a_missing_library_is_named(track, tmp_path, monkeypatch):
    import bkind3d_lite.clips.exports.binary as binary

    def absent(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(binary.importlib, "import_module", absent)
    with pytest.raises(
        ValueError,
        match=r"keypoints.nwb: writing it needs pynwb; pip install pynwb ndx-pose",
    ):
        export(track, tmp_path, ("nwb",))
    assert list(tmp_path.iterdir()) == [] and set(EXPORTS) >= {"anipose", "nwb"}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ImportError("no HDF5")])
def test_the_other_formats_are_written_where_one_cannot_be(track, tmp_path, monkeypatch, error):
    def broken(track, path, rig):
        raise error

    monkeypatch.setitem(EXPORTS, "dannce", ("save_data_AVG.mat", broken))
    words = "save_data_AVG.mat: not written .(No space left|no HDF5)"
    with pytest.raises(ValueError, match=words):
        export(track, tmp_path, ("dannce", "anipose", "trc"))
    assert len(list(tmp_path.iterdir())) == 2


def test_covariance_travels_in_three_formats(track, tmp_path):
    h5py, xarray = pytest.importorskip("h5py"), pytest.importorskip("xarray")
    half = torch.randn(7, 3, 3, 3, generator=torch.Generator().manual_seed(1))
    spread = half @ half.mT
    told = replace(track, covariance=spread)
    mat, h5, nc = export(told, tmp_path, ("dannce", "sleap-anipose", "movement"))
    assert_close(torch.tensor(loadmat(mat)["covariance"]).permute(0, 3, 1, 2).float(), spread)
    with h5py.File(h5) as file:
        assert_close(torch.tensor(file["covariance"][:, 0]).float(), spread)
    data = xarray.load_dataset(nc, engine="h5netcdf").covariance
    assert data.dims == ("time", "space", "space2", "keypoints", "individuals")
    assert_close(torch.tensor(data.values[..., 0]).permute(0, 3, 1, 2).float(), spread)
    again = read_track(told.save(tmp_path / "keypoints.npz"))
    assert_close(again.covariance, spread)
