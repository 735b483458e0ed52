"""Recordings: folders in the layouts of tools and data sets open with the right frames.

Written here as they write them; and with the right rig and truth.
"""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torch.testing import assert_close

from bkind3d_lite.cameras import ring, save_calibration
from bkind3d_lite.clips import open_clip
from bkind3d_lite.clips.label_checks import check_marks
from bkind3d_lite.clips.recordings import published_split
from bkind3d_lite.clips.rig_checks import PASS
from bkind3d_lite.clips.videos import write_video

SIZE = (48, 32)


@pytest.fixture(scope="module")
def images(barcodes):
    """`images(v, frames)`: what camera v shows at these frames, 60 v + frame as a bar code.

    `images.read(clip, t)`: the frames at t.
    """
    every = barcodes(256, SIZE)

    def make(view, frames):
        return [every[60 * view + f] for f in frames]

    def read(clip, t):
        numbers = [barcodes.read(image) for image in clip.frames[t]]
        assert [n // 60 for n in numbers] == list(range(len(numbers))), "each view its own camera"
        return [n % 60 for n in numbers]

    make.read = read
    return make


def rig_named(*names, unit="mm"):
    lens = (-0.2, 0.05, 0.001, -0.001, 0.0)
    rig = ring(len(names), wh=SIZE, target=(30.0, -20.0, 40.0), distortion=lens)
    return replace(rig, names=names, unit=unit)


def same_rig(found, rig, scale=1.0):
    random = torch.Generator().manual_seed(0)
    world = torch.tensor([30.0, -20, 40]) + 100 * torch.randn(9, 3, generator=random)
    assert found.names == rig.names
    assert_close(found.ndc_from_world(world / scale), rig.ndc_from_world(world), atol=1e-3, rtol=0)


def stills(folder, images, form="img_{}.jpg"):
    folder.mkdir(parents=True)
    for number, image in images:
        Image.fromarray(image).save(folder / form.format(number), quality=95)


# ---- plain folders -------------------------------------------------------------------------------
def test_a_folder_of_images_per_camera_in_natural_order(tmp_path, images):
    for part, frames in (("train", range(12)), ("val", range(20, 24))):
        for v in range(3):
            stills(
                tmp_path / part / f"cam{v}",
                [(i, x) for i, x in enumerate(images(v, frames))],
                "img_{}.png" if v else "{}.jpg",
            )
    save_calibration(rig_named("cam0", "cam1", "cam2"), tmp_path / "calibration.toml")
    clip = open_clip(tmp_path / "train", fps=25)
    assert (
        len(clip) == 12
        and clip.fps == 25
        and images.read(clip, 11) == [11] * 3
        and images.read(clip, 2) == [2] * 3
    )
    assert images.read(open_clip(tmp_path / "val", fps=25), 0) == [20] * 3
    assert open_clip(tmp_path / "val", (24, 16), fps=25).frames[1].shape == (3, 16, 24, 3)
    with pytest.raises(ValueError, match="holds the parts train, val; open one of them"):
        open_clip(tmp_path)
    with pytest.raises(ValueError, match="no frame rate.*--fps 30"):
        open_clip(tmp_path / "train")


def test_images_belong_together_by_their_numbers_and_time_jumps(tmp_path, images):
    """Labelled moments of a long film, a frame before and after each: one camera lacks some."""
    numbers = [[0, 10, 20, 40, 50, 52, 60], [10, 20, 40, 48, 50, 60]]
    for v in range(2):
        stills(
            tmp_path / f"cam{v}",
            [(f"{n:04d}", x) for n, x in zip(numbers[v], images(v, [n // 2 for n in numbers[v]]))],
        )
    save_calibration(rig_named("cam0", "cam1"), tmp_path / "calibration.toml")
    clip = open_clip(tmp_path, fps=3)
    assert len(clip) == 5 and clip.starts == (0, 2) and clip.fps == 3, "10, 20 | 40, 50, 60"
    assert [images.read(clip, t) for t in range(5)] == [[n // 2] * 2 for n in (10, 20, 40, 50, 60)]
    assert clip.unbroken(1).tolist() == [1, 0, 1, 1]


def test_marks_come_along(trio, images):
    """In OpenCV's pixels in the file, in ours in the clip, of the size that it is read at."""
    write_video(trio / "cam2.mp4", images(2, range(3, 23)), 30)
    pixels = np.arange(20.0 * 3 * 2).reshape(20, 3, 1, 2)
    known = dict(positions=np.zeros((20, 1, 3)), names=["nose"], edges=np.zeros((0, 2), int))
    np.savez(trio / "truth.npz", **known, marks=pixels)
    clip = open_clip(trio, (24, 16), offsets={"cam1": -4})
    assert_close(clip.marks, torch.from_numpy((pixels[4:] + 0.5) / 2).float())
    assert_close(clip.resized(SIZE).at([3]).marks[0], torch.from_numpy(pixels[7] + 0.5).float())
    np.savez(trio / "truth.npz", **known, marks=pixels[:, :2])
    with pytest.raises(ValueError, match="marks in 2 views for 3 cameras"):
        open_clip(trio)
    np.savez(trio / "truth.npz", **known | dict(names=["nose", "tail"]))
    with pytest.raises(ValueError, match="truth.npz: not a truth file.*2 names"):
        open_clip(trio)


def test_a_broken_image_is_named(tmp_path, images):
    for v in range(2):
        stills(tmp_path / f"cam{v}", enumerate(images(v, range(3))))
    save_calibration(rig_named("cam0", "cam1"), tmp_path / "calibration.toml")
    (tmp_path / "cam1" / "img_1.jpg").write_bytes(b"nothing")
    clip = open_clip(tmp_path, fps=30)
    with pytest.raises(ValueError, match=r"img_1\.jpg: not a readable image"):
        clip.frames[1]
    Image.new("RGB", (20, 32)).save(tmp_path / "cam1" / "img_1.jpg")
    with pytest.raises(ValueError, match=r"img_1\.jpg: 20 x 32 pixels.*48 x 32"):
        open_clip(tmp_path, fps=30).frames[1]


@pytest.mark.parametrize("where", ["videos", "Videos", "videos-raw", "."])
def test_videos_in_a_sub_folder_and_in_parts(tmp_path, images, where):
    for v in range(2):
        for start, stop in ((0, 14), (14, 20), (20, 30)):
            write_video(
                tmp_path / where / f"cam{v}" / f"{start}.mp4", images(v, range(start, stop)), 50
            )
    save_calibration(rig_named("cam0", "cam1"), tmp_path / "calibration.toml")
    clip = open_clip(tmp_path)
    assert len(clip) == 30 and clip.fps == 50 and clip.starts == (0,)
    assert [images.read(clip, t)[1] for t in (0, 13, 14, 19, 20, 29)] == [0, 13, 14, 19, 20, 29]
    (tmp_path / where / "cam1" / "14.mp4").unlink()
    with pytest.raises(ValueError, match=r"frame 14 is in none of 0\.mp4, 20\.mp4"):
        open_clip(tmp_path)


def test_one_trial_of_several(tmp_path, images):
    for trial in range(2):
        for v in range(2):
            write_video(
                tmp_path / f"trial{trial}_cam{v}.mp4",
                images(v, range(20 * trial, 20 * trial + 9)),
                30,
            )
    save_calibration(rig_named("cam0", "cam1"), tmp_path / "calibration.toml")
    with pytest.raises(ValueError, match="could each be camera cam0.*--trial"):
        open_clip(tmp_path)
    assert images.read(open_clip(tmp_path, trial="trial1"), 3) == [23, 23]


def test_nothing_outside_the_folder_is_read(tmp_path, images):
    inner = tmp_path / "clip"
    for v in range(2):
        write_video(tmp_path / "elsewhere" / f"cam{v}.mp4", images(v, range(5)), 30)
    inner.mkdir()
    save_calibration(rig_named("cam0", "cam1"), inner / "calibration.toml")
    for v in range(2):
        os.symlink(tmp_path / "elsewhere" / f"cam{v}.mp4", inner / f"cam{v}.mp4")
    with pytest.raises(ValueError, match=r"cam0\.mp4: leads to .*elsewhere.*copy it there"):
        open_clip(inner)
    for v in range(2):
        (inner / f"cam{v}.mp4").unlink()
        playlist = f"ffconcat version 1.0\nfile ../elsewhere/cam{v}.mp4\n"
        (inner / f"cam{v}.mp4").write_text(playlist)  # in disguise
    with pytest.raises(ValueError, match=r"cam0\.mp4: not a readable video"):
        open_clip(inner)


# ---- time ----------------------------------------------------------------------------------------
@pytest.fixture
def trio(tmp_path, images):
    """Three cameras; cam1's film begins 3 frames before the others', cam2's ends 2 earlier."""
    for v, frames in enumerate((range(3, 23), range(20), range(3, 21))):
        write_video(tmp_path / f"cam{v}.mp4", images(v, frames), 30)
    save_calibration(rig_named("cam0", "cam1", "cam2"), tmp_path / "calibration.toml")
    return tmp_path


def test_an_offset_reads_a_camera_later(trio, images):
    with pytest.raises(ValueError, match=r"'cam0\.mp4': 20.*'cam2\.mp4': 18.*--common"):
        open_clip(trio)
    assert len(open_clip(trio, common=True)) == 18
    clip = open_clip(trio, offsets={"cam1": 3}, common=True)
    assert len(clip) == 17 and all(images.read(clip, t) == [t + 3] * 3 for t in (0, 9, 16))
    back = open_clip(trio, offsets={"cam0": -3, "cam2": -3}, common=True)
    assert len(back) == 17 and all(images.read(back, t) == [t + 3] * 3 for t in (0, 16))
    with pytest.raises(
        ValueError, match="no camera cam7 to offset; the cameras are cam0, cam1, cam2"
    ):
        open_clip(trio, offsets={"cam7": 1})
    with pytest.raises(ValueError, match="no moment that all cameras saw"):
        open_clip(trio, offsets={"cam1": 300}, common=True)


def test_truth_moves_with_the_offset(trio, images):
    write_video(trio / "cam2.mp4", images(2, range(3, 23)), 30)
    np.savez(
        trio / "truth.npz",
        positions=np.arange(60.0).reshape(20, 1, 3),
        names=["nose"],
        edges=np.zeros((0, 2), int),
    )
    # Frame t of cam1 meets frame t + 4: the first four have no partner.
    clip = open_clip(trio, offsets={"cam1": -4})
    assert len(clip) == 16 and clip.truth[0, 0, 0] == 12 and images.read(clip, 0) == [7, 0, 7]


def test_stretches_are_unbroken_and_no_pair_crosses(clip):
    thin = clip.thinned(20, 4)
    assert len(thin) == 20 and thin.starts == (0, 5, 10, 15) and clip.thinned(40) is clip
    assert torch.equal(thin.frames[5], clip.frames[11]) and torch.equal(
        thin.truth[19], clip.truth[39]
    )
    drawn = {int(b.index[0]) for b, _ in zip(thin.batches((12, 8), 3, seed=0), range(60))}
    assert drawn == {t for t in range(17) if t % 5 < 2}
    with pytest.raises(ValueError, match="no pair 6 frames apart.*4 unbroken stretches"):
        next(thin.batches((12, 8), 6))


# ---- projects and data sets ----------------------------------------------------------------------
def matlab(rig):
    """Each camera as DANNCE has it: row vectors, pixels from 1."""
    for v in range(rig.views):
        K = rig.K[v].double().numpy().copy()
        K[:2, 2] += 0.5  # corner-origin -> from 1
        k1, k2, p1, p2, _ = rig.distortion[v].tolist()
        yield (
            K.T,
            rig.R[v].double().numpy().T,
            rig.t[v].double().numpy()[None],
            [[k1, k2]],
            [[p1, p2]],
        )


def cell(items):
    out = np.empty((len(items), 1), object)
    out[:, 0] = items
    return out


def label3d(path, rig, joints, px):
    """Samples 2 to 39 in frames of Camera1, 5 and 30 labelled; Camera2 lags by two frames."""
    params = [dict(K=K, r=r, t=t, RDistort=k, TDistort=p) for K, r, t, k, p in matlab(rig)]
    samples, labelled = np.arange(2, 40), [5, 30]
    marks = [np.resize(px[:, v].numpy() + 0.5, (38, 8)) for v in range(2)]  # pixels from 1
    sync, labels = (
        [
            dict(
                data_frame=(at - 2 * v)[None],
                data_sampleID=(at * 10 + 1)[None],
                data_2d=marks[v][: len(at)],
                data_3d=points,
            )
            for v in range(2)
        ]
        for at, points in (
            (samples, np.zeros((len(samples), 12))),
            (np.array(labelled), joints.reshape(2, 12)),
        )
    )
    skeleton = dict(
        joint_names=np.array(["nose", "ear", "back", "tail"], object),
        joints_idx=np.array([[1, 2], [3, 4]]),
    )
    savemat(
        path,
        dict(
            params=cell(params),
            sync=cell(sync),
            labelData=cell(labels),
            skeleton=skeleton,
            camnames=np.array(["Camera1", "Camera2"], object)[None],
        ),
    )


def test_a_dannce_project(tmp_path, images):
    rig = rig_named("Camera1", "Camera2")
    joints = np.random.default_rng(0).normal(size=(2, 4, 3)) * 50
    px = rig.px_from_world(torch.from_numpy(joints).float())  # (2, V, 4, 2)
    for v, frames in enumerate((range(40), range(2, 42))):
        write_video(tmp_path / "videos" / f"Camera{v + 1}" / "0.mp4", images(v, frames)[:25], 100)
        write_video(tmp_path / "videos" / f"Camera{v + 1}" / "25.mp4", images(v, frames)[25:], 100)
    label3d(tmp_path / "label3d_dannce.mat", rig, joints, px)
    clip = open_clip(tmp_path)
    same_rig(clip.rig, rig)
    assert (
        len(clip) == 38
        and clip.fps == 100
        and images.read(clip, 0) == [2, 2]
        and images.read(clip, 27) == [29, 29]
    )
    assert clip.skeleton.names == ("nose", "ear", "back", "tail")
    assert clip.skeleton.edges == ((0, 1), (2, 3))
    assert clip.labelled.tolist() == [3, 28]
    assert_close(clip.truth[[3, 28]], torch.from_numpy(joints).float())
    assert_close(clip.marks[[3, 28]], px, atol=1e-3, rtol=0)
    assert (
        check_marks(clip).state == PASS
        and "subtract 1 from cx" in check_marks(replace(clip, rig=shifted(clip.rig))).remedy
    )


def shifted(rig):
    K = rig.K.clone()
    K[:, :2, 2] += 1
    return replace(rig, K=K)


def test_a_dannce_project_of_matlab_7_3_without_sync(tmp_path, images):
    h5py = pytest.importorskip("h5py")
    rig = rig_named("Camera1", "Camera2")
    joints = np.random.default_rng(0).normal(size=(2, 3, 3)) * 50
    for v in range(2):
        write_video(tmp_path / "videos" / f"Camera{v + 1}" / "0.mp4", images(v, range(9)), 30)
    with h5py.File(tmp_path / "dannce.mat", "w", userblock_size=512) as file:

        def listed(name, structs):
            refs = []
            for i, fields in enumerate(structs):
                group = file.create_group(f"#refs#/{name}{i}")
                for key, value in fields.items():
                    group[key] = np.asarray(value, float).T
                refs.append(group.ref)
            file[name] = np.array(refs, h5py.ref_dtype)[None]

        listed(
            "params", [dict(K=K, r=r, t=t, RDistort=k, TDistort=p) for K, r, t, k, p in matlab(rig)]
        )
        listed(
            "labelData",
            [dict(data_frame=[[1, 7]], data_sampleID=[[1001, 1007]], data_3d=joints.reshape(2, 9))]
            * 2,
        )
    path = tmp_path / "dannce.mat"
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(512) + path.read_bytes()[512:])
    clip = open_clip(tmp_path)
    same_rig(clip.rig, rig)
    assert clip.labelled.tolist() == [1, 7]
    assert clip.skeleton.names == ("joint1", "joint2", "joint3")
    assert_close(clip.truth[[1, 7]], torch.from_numpy(joints).float())
    write_video(tmp_path / "videos" / "Camera2" / "0.mp4", images(1, range(7)), 30)
    with pytest.raises(ValueError, match="differ in frames"):
        open_clip(tmp_path)


def test_an_anipose_session(tmp_path, images):
    # Calibrated on the whole sensor; the videos are crops of it.
    whole = replace(rig_named("A", "B"), wh=(60, 40))
    (tmp_path / "config.toml").write_text(
        "nesting = 1\n[triangulation]\ncam_regex = '-cam([A-Z])'\n"
        "[cameras.A]\noffset = [4, 6]\n[cameras.B]\noffset = [12, 0]\n"
    )
    session = tmp_path / "mouse1"
    save_calibration(whole, session / "calibration" / "calibration.toml")
    for trial in (1, 2):
        for v, name in enumerate("AB"):
            write_video(
                session / "videos-raw" / f"walk{trial}-cam{name}.mp4",
                images(v, range(10 * trial, 10 * trial + 6)),
                30,
            )
    with pytest.raises(ValueError, match="trials walk1, walk2; choose one"):
        open_clip(session)
    clip = open_clip(session, trial="walk2")
    assert images.read(clip, 4) == [24, 24] and clip.rig.names == ("A", "B") and clip.rig.wh == SIZE
    point = torch.tensor([[40.0, 10, 30]])
    assert_close(
        clip.rig.px_from_world(point)[:, 0],
        whole.px_from_world(point)[:, 0] - torch.tensor([[4.0, 6], [12, 0]]),
        atol=1e-3,
        rtol=0,
    )
    (tmp_path / "config.toml").write_text(
        "[triangulation]\ncam_regex = '-cam([A-Z])'\n[cameras.A]\noffset = [40, 6]\n"
    )
    with pytest.raises(
        ValueError,
        match=r"\[cameras\.A\]: a video of 48 x 32 pixels at offset \[40, 6\] does not fit",
    ):
        open_clip(session, trial="walk2")


@pytest.mark.parametrize("names", [("cam_01", "cam_02"), ("intel_7", "intel_9")])
def test_a_pose2sim_project(tmp_path, images, names):
    """Metres, four distortions, videos beside `calibration`; unnamed ones in the file's order."""
    rig = rig_named(*names)
    rig = replace(rig, distortion=rig.distortion * torch.tensor([1.0, 1, 1, 1, 0]))
    save_calibration(
        replace(rig, t=rig.t / 1000, unit="m"), tmp_path / "calibration" / "Calib_scene.toml"
    )
    (tmp_path / "Config.toml").write_text("[project]\nframe_rate = 60\n")
    for v in range(2):
        write_video(tmp_path / "videos" / f"cam_0{v + 1}.mp4", images(v, range(6)), 60)
    clip = open_clip(tmp_path)
    assert images.read(clip, 5) == [5, 5] and clip.rig.unit == "m" and clip.fps == 60
    same_rig(clip.rig, rig, 1000)


def rat7m(folder, images, session, present=(0, 10, 20)):
    """Cameras in another order than their names, Camera2 a frame late; parts of 10 frames.

    Motion capture is twice as fast as the cameras.
    """
    rig, T = rig_named("Camera1", "Camera2"), 48
    frame = np.arange(T) // 2
    markers = {
        name: 1.0 * np.arange(3 * T).reshape(T, 3) + i for i, name in enumerate(("HeadF", "SpineM"))
    }
    fields = [
        dict(
            IntrinsicMatrix=K,
            rotationMatrix=r,
            translationVector=t,
            RadialDistortion=k,
            TangentialDistortion=p,
            frame=frame[None] + v,
        )
        for v, (K, r, t, k, p) in enumerate(matlab(rig))
    ]
    folder.mkdir(exist_ok=True)
    savemat(
        folder / f"mocap-{session}.mat",
        dict(cameras=dict(Camera2=fields[1], Camera1=fields[0]), mocap=markers),
    )
    for v in range(2):
        for start in present:
            write_video(
                folder / f"{session}-camera{v + 1}-{start}.mp4",
                images(v, range(start, start + 10)),
                120,
            )
    return rig


def test_rat7m(tmp_path, images):
    rig = rat7m(tmp_path, images, "s5-d1", present=(10, 20))  # the first part was not copied
    clip = open_clip(tmp_path)
    same_rig(clip.rig, rig)
    assert (
        len(clip) == 14 and images.read(clip, 0) == [10, 11] and images.read(clip, 13) == [23, 24]
    )
    assert clip.skeleton.names == ("HeadF", "SpineM")
    assert clip.truth[0, 1].tolist() == [61, 62, 63], "frame 10's first sample is number 20"
    assert not clip.scored.any() and len(clip.labelled) == 0, (
        "every 240th frame, and these are 10 to 23"
    )
    rat7m(tmp_path, images, "s1-d1", present=(0,))
    with pytest.raises(ValueError, match="sessions s1-d1, s5-d1; choose one"):
        open_clip(tmp_path)
    split = published_split(tmp_path)
    trials = {part: [entry["trial"] for entry in entries] for part, entries in split.items()}
    assert trials == {"train": ["s1-d1"], "test": ["s5-d1"]}
    first = open_clip(**split["train"][0])
    assert first.scored is None and len(first) == 9 and images.read(first, 8) == [8, 9]


H36M = ("54138969", "60457274")  # the two of 1000 x 1002 pixels


def human36m(root, images, subject, action, numbers):
    """As h36m-fetch leaves it, 50 x 50 pixels; the truth at (frame, joint, 100) in the world."""
    h5py = pytest.importorskip("h5py")
    rig = replace(ring(2, wh=(1000, 1002), target=(30.0, -20.0, 40.0)), names=H36M)
    folder = root / subject / action
    world = np.stack([np.stack([np.array([n, j, 100.0]) for j in range(32)]) for n in numbers])
    for v, name in enumerate(H36M):
        stills(
            folder / "imageSequence" / name,
            [
                (f"{n:06d}", np.asarray(Image.fromarray(x).resize((50, 50))))
                for n, x in zip(numbers, images(v, numbers))
            ],
        )
    with h5py.File(folder / "annot.h5", "w") as file:
        file["pose/3d"] = np.concatenate(
            [world @ rig.R[v].double().numpy().T + rig.t[v].double().numpy() for v in range(2)]
        )
        file["frame"] = np.tile(numbers, 2)
        file["camera"] = np.repeat([int(n) for n in H36M], len(numbers))
    K = rig.K.double().numpy().copy()
    K[:, :2, 2] -= 0.5
    inside = {
        n: dict(calibration_matrix=K[v].tolist(), distortion=[0.0] * 5) for v, n in enumerate(H36M)
    }
    outside = {
        n: dict(R=rig.R[v].tolist(), t=rig.t[v][:, None].tolist()) for v, n in enumerate(H36M)
    }
    (root.parent / "camera-parameters.json").write_text(
        json.dumps(
            dict(intrinsics=inside, extrinsics={"S1": outside, "S9": outside, "S11": outside})
        )
    )
    return rig


def test_human36m(tmp_path, images):
    root = tmp_path / "processed"
    rig = human36m(root, images, "S1", "Directions-1", [1, 6, 11, 31, 36])
    human36m(root, images, "S9", "Walking-1", list(range(1, 50, 4)))
    human36m(root, images, "S9", "Greeting-2", [1, 2])
    human36m(root, images, "S11", "Directions-2", [1, 2])
    clip = open_clip(root / "S1" / "Directions-1")
    same_rig(clip.rig, rig)
    assert (
        len(clip) == 5
        and clip.fps == 10
        and clip.starts == (0, 3)
        and images.read(clip, 3) == [31, 31]
    )
    assert len(clip.skeleton.names) == 17 and clip.scored is None
    assert_close(
        clip.truth[3, [0, 1, 16]],
        torch.tensor([[31.0, 0, 100], [31, 1, 100], [31, 27, 100]]),
        atol=1e-2,
        rtol=0,
    )
    test = open_clip(root / "S9" / "Walking-1")
    assert test.labelled.tolist() == [0, 4, 8, 12], "frames 1, 17, 33, 49: every 16th"
    assert {k: [e["folder"].name for e in v] for k, v in published_split(root).items()} == {
        "train": ["Directions-1"],
        "test": ["Walking-1"],
    }
    with pytest.raises(ValueError, match="known to be bad.*54138969"):
        open_clip(root / "S11" / "Directions-2")


def test_no_data_set(tmp_path):
    with pytest.raises(FileNotFoundError, match="neither Human3.6M.*nor Rat7M"):
        published_split(tmp_path)


def test_the_verbs_say_how_to_open():
    from argparse import ArgumentParser

    from bkind3d_lite.workflows.arguments import VERBS, opening

    for verb in ("train", "track", "evaluate", "doctor"):
        parser = ArgumentParser()
        VERBS[verb][0](parser)
        one_of = [
            group._group_actions[0] for group in parser._mutually_exclusive_groups if group.required
        ]
        needed = [
            word
            for action in [*parser._actions, *one_of]
            if action.required or action in one_of
            for word in [*action.option_strings[:1], "x"]
        ]
        given = parser.parse_args(
            [*needed, "--offset", "cam1=3", "a=b=-2", "--common", "--fps", "30", "--trial", "walk"]
            + ["--cameras", "cam1", "a=b"]
        )
        assert opening(given) == dict(
            offsets={"cam1": 3, "a=b": -2},
            common=True,
            one_camera=False,
            resample=False,
            cameras=["cam1", "a=b"],
            trial="walk",
            fps=30.0,
            subject=None,
            budget=2_000_000_000,
        ), verb
    with pytest.raises(ValueError, match="--offset cam1: expected camera=frames"):
        opening(parser.parse_args(["x", "--offset", "cam1"]))


def test_pictures_of_a_clip_that_is_labelled_here_and_there(clip):
    from bkind3d_lite.clips import Skeleton, Track
    from bkind3d_lite.viz.report_page import pictures, stills

    truth = torch.full_like(clip.truth, torch.nan)
    truth[[4, 9, 30]] = clip.truth[[4, 9, 30]]
    some = replace(clip, truth=truth, skeleton=Skeleton(clip.skeleton.names, ()))
    track = Track(clip.truth[:, :3], torch.ones(40, 3), Skeleton(("a", "b", "c"), ((0, 1),)), 30.0)
    made = pictures(some, track)
    skeleton = made[next(name for name in made if name.startswith("The skeleton"))]
    assert [ax.get_title() for ax in skeleton.axes] == ["0.13 s", "0.30 s", "1.00 s"]
    stills(track, [0, 1], truth)
