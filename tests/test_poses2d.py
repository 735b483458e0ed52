"""2D poses: what each tool writes is read as it was, and what a file does not say is asked for."""

import json

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from bkind3d_lite.poses2d import ORDERS, left_right_pairs, moving_person, read_people
from bkind3d_lite.poses2d.entry import plain_name

NAMES = ("nose", "left_ear", "right_ear")
T, V, J = 5, 2, 3


@pytest.fixture
def table():
    """x, y in OpenCV's pixels and confidence, (T, V, J, 3); one joint was not found."""
    values = np.random.default_rng(0).uniform(1, 90, (T, V, J, 3)).astype(np.float32)
    values[..., 2] /= 100
    values[2, 1, 0, 2] = 0
    return values


def same(people, table):
    found = table[..., 2] > 0
    assert people.px.shape == (T, V, 1, J, 2) and people.cameras == ("cam1", "cam2")
    px, weight = people.px[:, :, 0].numpy(), people.weight[:, :, 0].numpy()
    np.testing.assert_allclose(px[found], table[found][:, :2] + 0.5, atol=1e-3)
    np.testing.assert_allclose(weight, table[..., 2], atol=1e-3)
    assert np.isnan(px[~found]).all()


def openpose(folder, table, joints=J):
    for v in range(V):
        place = folder / f"cam{v + 1}_json"
        place.mkdir()
        for t in range(T):
            people = [{"pose_keypoints_2d": table[t, v].ravel().tolist()}]
            text = json.dumps({"version": 1.3, "people": people})
            file = place / f"clip_{t:012}_keypoints.json"
            file.write_text(text, encoding="utf-8-sig" if t == 1 else "utf-8")


def test_openpose(tmp_path, table):
    openpose(tmp_path, table)
    people = read_people(tmp_path, ",".join(NAMES))
    same(people, table)
    assert people.names == NAMES and people.frames.tolist() == list(range(T))


def test_frames_that_one_camera_lacks_are_empty_and_strange_files_are_left_out(tmp_path, table):
    openpose(tmp_path, table)
    (tmp_path / "cam1_json" / "clip_000000000003_keypoints.json").unlink()
    (tmp_path / "cam1_json" / "del_000000000004.json").write_text("{}")
    people = read_people(tmp_path, ",".join(NAMES))
    assert (people.weight[3] > 0).any((-1, -2)).tolist() == [False, True]


def test_a_first_frame_without_people_is_empty(tmp_path, table):
    openpose(tmp_path, table)
    (tmp_path / "cam1_json" / "clip_000000000000_keypoints.json").write_text('{"people": []}')
    people = read_people(tmp_path, ",".join(NAMES))
    assert (people.weight[0] > 0).any((-1, -2)).tolist() == [False, True]


def test_an_order_that_nothing_says_is_asked_for(tmp_path):
    openpose(tmp_path, np.ones((T, V, 25, 3)))
    with pytest.raises(ValueError, match="known orders of 25 joints: body_25, body_25b"):
        read_people(tmp_path)
    with pytest.raises(ValueError, match="25 joints, but order 'coco' names 17"):
        read_people(tmp_path, "coco")
    assert read_people(tmp_path, "body_25b").names[17:19] == ("neck", "head_top")


@pytest.mark.parametrize("whole", [False, True])
def test_coco(tmp_path, table, whole):
    for v in range(V):
        results = [
            {"image_id": t, "category_id": 1, "keypoints": table[t, v].ravel().tolist()}
            for t in range(T)
        ]
        categories = [{"id": 1, "keypoints": NAMES}]
        content = {"annotations": results, "categories": categories} if whole else results
        (tmp_path / f"cam{v + 1}.json").write_text(json.dumps(content))
    people = read_people(tmp_path, None if whole else ",".join(NAMES))
    same(people, table)
    assert people.names == NAMES


def coco_file(folder, table, ids, v=0):
    results = [{"image_id": i, "keypoints": x.ravel().tolist()} for i, x in zip(ids, table[:, v])]
    (folder / f"cam{v + 1}.json").write_text(json.dumps(results))


def test_coco_of_files_named_after_frame_and_camera(tmp_path, table):
    for v in range(V):
        coco_file(tmp_path, table, [f"{t:04}_cam{v + 1}.jpg" for t in range(T)], v)
    same(read_people(tmp_path, ",".join(NAMES)), table)


def test_coco_that_does_not_fit_together_is_named(tmp_path, table):
    coco_file(tmp_path, table, ["a_1.jpg", "b_1.jpg", "c_2.jpg"])
    with pytest.raises(ValueError, match="cam1.json: image ids 'a_1.jpg' and 'b_1.jpg' both say"):
        read_people(tmp_path, ",".join(NAMES))
    coco_file(tmp_path, table, range(T))
    coco_file(tmp_path, table[:, :, :2], range(T), 1)
    with pytest.raises(ValueError, match="cam2.json: people of 2 joints, expected 3"):
        read_people(tmp_path, ",".join(NAMES))
    several = json.loads((tmp_path / "cam1.json").read_text())
    several.append({"image_id": 0, "keypoints": [1.0, 2, 1]})
    (tmp_path / "cam1.json").write_text(json.dumps(several))
    with pytest.raises(ValueError, match="cam1.json: people of 1, 3 joints"):
        read_people(tmp_path, ",".join(NAMES))


def frame_of(table):
    """A camera's results as DeepLabCut's table."""
    pandas = pytest.importorskip("pandas")
    columns = pandas.MultiIndex.from_product(
        [["scorer"], NAMES, ["x", "y", "likelihood"]], names=["scorer", "bodyparts", "coords"]
    )
    return pandas.DataFrame(table.reshape(T, -1), columns=columns)


@pytest.mark.parametrize("suffix", ["csv", "CSV", "h5"])
def test_deeplabcut_as_pandas_writes_it(tmp_path, table, suffix):
    for v in range(V):
        path, frame = tmp_path / f"cam{v + 1}DLC_net_shuffle1.{suffix}", frame_of(table[:, v])
        if suffix.lower() == "csv":
            frame.to_csv(path, encoding="utf-8-sig")  # as spreadsheets leave it
        else:
            pytest.importorskip("tables")
            frame.to_hdf(path, key="df_with_missing", format="table", mode="w")
    people = read_people(tmp_path)
    same(people, table)
    assert people.names == NAMES


def test_a_pickle_that_would_run_code_is_refused(tmp_path, table):
    pytest.importorskip("tables")
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "cam1.h5"
    frame_of(table[:, 0]).to_hdf(path, key="df_with_missing", format="table", mode="w")
    with h5py.File(path, "r+") as file:
        file["df_with_missing/table"].attrs["values_block_0_kind"] = np.bytes_(
            b"cos\nsystem\n(S'true'\ntR."
        )
    with pytest.raises(ValueError, match="os.system has no place among column names"):
        read_people(tmp_path)


def test_sleap(tmp_path, table):
    h5py = pytest.importorskip("h5py")
    for v in range(V):
        with h5py.File(tmp_path / f"cam{v + 1}.analysis.h5", "w") as file:
            file["tracks"] = np.where(table[:, v, :, 2:] > 0, table[:, v, :, :2], np.nan).transpose(
                2, 1, 0
            )[None]
            file["node_names"] = np.array(NAMES, "S")
            file["point_scores"] = table[:, v, :, 2].T[None]
    same(read_people(tmp_path), table)


def test_npz_and_back(tmp_path, table):
    np.savez(tmp_path / "a.npz", px=table, names=NAMES)
    people = read_people(tmp_path / "a.npz")
    same(people, table)
    one = people.chosen(torch.zeros(T, V, dtype=torch.long))
    again = read_people(one.save(tmp_path / "b.npz"))
    same(again, table)
    assert_close(again.px[:, :, 0], one.px, equal_nan=True)


def test_what_the_detector_doubts_is_left_out(tmp_path, table):
    table[1, 0, 2, 2] = 0.05
    np.savez(tmp_path / "a.npz", px=table, names=NAMES)
    one = read_people(tmp_path / "a.npz").chosen(torch.zeros(T, V, dtype=torch.long))
    assert one.px[1, 0, 2].isfinite().all()
    assert one.sure().px[1, 0, 2].isnan().all() and one.sure().weight[1, 0, 2] == 0
    assert_close(one.sure(0).px, one.px, equal_nan=True)


def test_a_truncated_npz_is_named(tmp_path, table):
    np.savez(tmp_path / "a.npz", px=table, names=NAMES)
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:200])
    with pytest.raises(ValueError, match="a.npz: not a NumPy file"):
        read_people(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "name, content, sentence",
    [
        ("cam1.json", "{", "not a JSON file"),
        ("cam1.json", '{"people": []}', "a frame of OpenPose"),
        ("cam1.json", '[{"image_id": 1, "keypoints": [1, 2]}]', "x, y, confidence"),
        ("cam1.json", '[{"keypoints": [1, 2, 3]}]', "without image_id"),
        ("cam1.csv", "a,b\n1,2\n", "no rows 'bodyparts' and 'coords'"),
        ("cam1.h5", "no", "not an HDF5 file"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, sentence):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=sentence) as error:
        read_people(tmp_path)
    assert "\n" not in str(error.value) and name in str(error.value)


def test_a_folder_without_poses(tmp_path):
    with pytest.raises(ValueError, match="no files with poses"):
        read_people(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_people(tmp_path / "none")


@pytest.mark.parametrize(
    "names",
    [("left_knee", "right_knee"), ("LKnee", "RKnee"), ("knee_l", "knee_r"), ("KneeL", "KneeR"),
     ("L-ear", "R-ear")],
)  # fmt: skip
def test_left_and_right_are_told_by_their_names(names):
    assert left_right_pairs(["nose", *names, "tail"]) == [(1, 2)]


@pytest.mark.parametrize("order", ORDERS)
def test_known_orders_name_every_joint_once_and_come_in_pairs(order):
    names = ORDERS[order]
    assert len(set(names)) == len(names)
    assert len(left_right_pairs(names)) == sum("left" in name for name in names)


def test_cameras_are_found_by_names_written_otherwise(table, tmp_path):
    assert plain_name("Cam_01") == plain_name("cam1")
    np.savez(tmp_path / "a.npz", px=table, names=NAMES, cameras=["cam01", "cam02"])
    one = read_people(tmp_path / "a.npz").chosen(torch.zeros(T, V, dtype=torch.long))
    assert_close(one.ordered(["cam_2", "cam_1"]).px, one.px.flip(1), equal_nan=True)
    with pytest.raises(ValueError, match="camera cam3 has no poses"):
        one.ordered(["cam3"])


def test_the_one_who_walks_is_followed_although_the_files_change_the_order(tmp_path):
    t = np.arange(20.0)
    walker = np.stack([10 + 3 * t, 40 + 0 * t, 1 + 0 * t], -1)[:, None, None]
    sitter = np.stack([90 + 0 * t, 50 + np.sin(t), 1 + 0 * t], -1)[:, None, None]
    both = np.stack([walker, sitter], 2)  # (T, 1, N, 1, 3)
    both[::3] = both[::3, :, ::-1]
    np.savez(tmp_path / "a.npz", px=both, names=["nose"])
    one = moving_person(read_people(tmp_path / "a.npz"))
    np.testing.assert_allclose(one.px[:, 0, 0].numpy(), walker[:, 0, 0, :2] + 0.5, atol=1e-3)
