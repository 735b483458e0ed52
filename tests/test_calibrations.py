"""Calibrations: one rig, written as each tool writes it by code of our own, is read back as that
rig; what cannot be meant is refused."""

import json
import math
from dataclasses import replace
from xml.sax.saxutils import quoteattr

import numpy as np
import pytest
import torch
from scipy.io import savemat
from scipy.spatial.transform import Rotation
from torch.testing import assert_close

from bkind3d_lite.calibrations import find_calibration, load_calibration, natural
from bkind3d_lite.cameras import look_at, ring, save_calibration

SIZE, LENS = (96, 64), (-0.28, 0.1, 0.001, -0.002, -0.02)


def reference(lens=LENS, views=3, skew=0.0):
    """Cameras that differ in everything: focal lengths, centres of the image, places."""
    rig = ring(views, wh=SIZE, target=(30.0, -20.0, 40.0), distortion=lens)
    K = rig.K.clone()
    K[:, 0, 0] += torch.arange(views) * 3.0
    K[:, 1, 1] += torch.arange(views) * 2.0 + 1
    K[:, 0, 1] = skew
    K[:, :2, 2] += torch.tensor([1.5, -2.25]) * torch.arange(1, views + 1)[:, None]
    R, t = look_at(
        rig.centres * (1 + 0.1 * torch.arange(views)[:, None]),
        torch.tensor([30.0, -20, 40]),
        torch.tensor([0.0, 0, 1]),
    )
    return replace(rig, K=K, R=R, t=t, names=tuple(f"Camera{v + 1}" for v in range(views)))


def parts(rig):
    """name, OpenCV K, R, t, distortion of each camera in float64."""
    for v, name in enumerate(rig.names):
        K = rig.K[v].double().numpy().copy()
        K[:2, 2] -= 0.5
        yield (
            name,
            K,
            rig.R[v].double().numpy(),
            rig.t[v].double().numpy(),
            rig.distortion[v].double().numpy(),
        )


def world():
    return torch.tensor([30.0, -20, 40]) + 120 * torch.randn(
        9, 3, generator=torch.Generator().manual_seed(0)
    )


def same(found, rig, scale=1.0):
    assert found.names == rig.names and found.wh == rig.wh
    assert_close(
        found.px_from_world(world() / scale), rig.px_from_world(world()), atol=2e-2, rtol=0
    )


# ---- Anipose and its family ----------------------------------------------------------------------
def table(name="a", **change):
    values = (
        dict(
            name=f'"{name}"',
            size="[96, 64]",
            matrix="[[80.0, 0.0, 47.5], [0.0, 82.0, 31.5], [0.0, 0.0, 1.0]]",
            distortions="[-0.1, 0.02, 0.001, -0.001, 0.003]",
            rotation="[0.1, -0.2, 0.3]",
            translation="[1.0, 2.0, 300.0]",
        )
        | change
    )
    return "\n".join(f"{key} = {value}" for key, value in values.items() if value is not None)


def written(tmp_path, *tables, keys=None):
    path = tmp_path / "calibration.toml"
    keys = keys or [f"cam_{i}" for i in range(len(tables))]
    path.write_text("\n\n".join(f"[{key}]\n{text}" for key, text in zip(keys, tables)))
    return path


def test_calibration_survives_saving_and_loading(tmp_path):
    rig = replace(
        ring(11, wh=(96, 64), distortion=LENS, unit="cm"),
        names=tuple(f"view{v}" for v in range(11)),
    )
    save_calibration(rig, tmp_path / "c.toml")
    again = load_calibration(tmp_path / "c.toml")
    assert (again.names, again.wh, again.unit) == (rig.names, rig.wh, "cm")
    for key in ("K", "R", "t", "distortion"):
        assert_close(getattr(again, key), getattr(rig, key), atol=1e-4, rtol=1e-5)
    assert_close(again.px_from_world(world()), rig.px_from_world(world()), atol=1e-2, rtol=0)


def test_opencv_pixels_gain_half_a_pixel(tmp_path):
    rig = load_calibration(written(tmp_path, table("a"), table("b")))
    assert_close(rig.K[0], torch.tensor([[80.0, 0, 48], [0, 82, 32], [0, 0, 1]]))


def test_cam_10_comes_after_cam_2(tmp_path):
    keys = ["cam_10", "cam_2", "cam_1"]
    rig = load_calibration(written(tmp_path, *(table(k) for k in keys), keys=keys))
    assert rig.names == ("cam_1", "cam_2", "cam_10")
    assert sorted(["b1", "10", "a2", "a10", "9"], key=natural) == ["9", "10", "a2", "a10", "b1"]


def test_four_coefficients_are_padded_and_none_is_zero(tmp_path):
    rig = load_calibration(
        written(
            tmp_path,
            table("a", distortions="[-0.1, 0.02, 0.001, -0.001]"),
            table("b", distortions=None),
        )
    )
    assert_close(rig.distortion, torch.tensor([[-0.1, 0.02, 0.001, -0.001, 0], [0, 0, 0, 0, 0]]))


def test_a_matrix_and_its_rodrigues_vector_are_one_rotation(tmp_path):
    c, s = math.cos(0.3), math.sin(0.3)
    rig = load_calibration(
        written(
            tmp_path,
            table("a", rotation="[0.0, 0.0, 0.3]"),
            table("b", rotation=f"[[{c}, {-s}, 0.0], [{s}, {c}, 0.0], [0.0, 0.0, 1.0]]"),
        )
    )
    assert_close(rig.R[0], rig.R[1], atol=1e-6, rtol=0)
    assert_close(rig.R[0, 0], torch.tensor([c, -s, 0.0]))


def test_cameras_of_other_sizes_are_rescaled_to_the_first(tmp_path):
    twice = "[[160.0, 0.0, 95.5], [0.0, 164.0, 63.5], [0.0, 0.0, 1.0]]"
    rig = load_calibration(
        written(tmp_path, table("a"), table("b", size="[192, 128]", matrix=twice))
    )
    assert rig.wh == (96, 64)
    assert_close(rig.K[0], rig.K[1])


@pytest.mark.parametrize(
    "change, says",
    [
        (
            dict(rotation="[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, -1.0]]"),
            "rotation.*-1.0.*not a rotation",
        ),
        (
            dict(rotation="[[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]"),
            "rotation.*2.0.*not a rotation",
        ),
        (dict(rotation="[0.1, 0.2]"), "rotation.*0.2"),
        (dict(translation="[nan, 0.0, 1.0]"), "translation.*nan.*not finite"),
        (dict(translation="[0.0, 7.25]"), "translation.*7.25"),
        (
            dict(matrix="[[80.0, 0.0, inf], [0.0, 80.0, 32.0], [0.0, 0.0, 1.0]]"),
            "matrix.*inf.*not finite",
        ),
        (dict(matrix="[[80.0, 0.0, 48.0], [0.0, 80.0, 32.0], [0.0, 0.5, 1.0]]"), "matrix.*0.5"),
        (dict(matrix="[[-80.0, 0.0, 48.0], [0.0, 80.0, 32.0], [0.0, 0.0, 1.0]]"), "matrix.*-80"),
        (dict(matrix="[[80.0, 0.0, 48.0], [0.0, 80.0], [0.0, 0.0, 1.0]]"), "matrix.*80"),
        (dict(matrix='[["x", 0.0, 48.0], [0.0, 80.0, 32.0], [0.0, 0.0, 1.0]]'), "matrix.*x"),
        (dict(distortions="[0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]"), "8 distortion"),
        (dict(fisheye="true"), "fisheye"),
        (dict(size="[96]"), "size.*96"),
        (dict(size="[96, 0]"), "size.*0"),
        (dict(matrix=None), "1 camera|matrix"),
        (dict(rotation=None), "no rotation"),
    ],
    ids=lambda x: str(x)[:48] if isinstance(x, dict) else "",
)
def test_a_bad_camera_is_one_clear_error(tmp_path, change, says):
    path = written(tmp_path, table("a"), table("b", **change))
    with pytest.raises(ValueError, match=rf"calibration\.toml(.|\n)*({says})"):
        load_calibration(path)


def test_one_camera_only(tmp_path):
    with pytest.raises(ValueError, match=r"calibration\.toml: 1 camera.*at least 2"):
        load_calibration(written(tmp_path, table("a")))


def test_repeated_names(tmp_path):
    with pytest.raises(ValueError, match=r"calibration\.toml.*twin.*repeat"):
        load_calibration(written(tmp_path, table("twin"), table("twin")))


@pytest.mark.parametrize(
    "content", [b"cam_0 = [", b"\xff\xfe\x00\x81 no text"], ids=["half", "binary"]
)
def test_not_toml(tmp_path, content):
    path = tmp_path / "calibration.toml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"calibration\.toml.*not a TOML file"):
        load_calibration(path)


def test_no_calibration(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"calibration\.toml.*no calibration"):
        load_calibration(tmp_path / "calibration.toml")


def test_the_files_unit_is_read_in_both_spellings(tmp_path):
    for word in ("unit", "units"):
        path = written(tmp_path, table("a"), table("b"))
        path.write_text(path.read_text() + f'\n\n[metadata]\n{word} = "m"\n')
        assert load_calibration(path).unit == "m", word


def test_pose2sim_is_in_metres(tmp_path):
    rig, lines = reference((*LENS[:4], 0.0)), []
    for name, K, R, t, d in parts(rig):
        lines += [
            f"[{name}]",
            f'name = "{name}"',
            "size = [ 96.0, 64.0]",
            f"matrix = {K.tolist()}",
            f"distortions = {d[:4].tolist()}",
            f"rotation = {Rotation.from_matrix(R).as_rotvec().tolist()}",
            f"translation = {(t / 1000).tolist()}",
            "fisheye = false",
            "",
        ]
    path = tmp_path / "Calib_scene.toml"
    path.write_text("\n".join(lines + ["[metadata]", "adjusted = false", "error = 0.0"]))
    found = load_calibration(path)
    assert found.unit == "m"
    same(found, rig, 1000)


@pytest.mark.parametrize("nested", [False, True])
def test_caliscope_writes_matrices_and_metres(tmp_path, nested):
    rig, lines = reference(), []
    for i, (name, K, R, t, d) in enumerate(parts(rig)):
        lines += [
            f"[cameras.{i}]" if nested else f"[cam_{i}]",
            f"cam_id = {i}",
            "size = [96, 64]",
            f"matrix = {K.tolist()}",
            f"distortions = {d.tolist()}",
            f"rotation = {R.tolist()}",
            f"translation = {(t / 1000).tolist()}",
            "rotation_count = 0",
            "error = 0.2",
            "ignore = false",
            "",
        ]
    path = tmp_path / "camera_array.toml"
    path.write_text("\n".join(lines))
    found = load_calibration(path)
    assert found.unit == "m" and found.names == ("cam_0", "cam_1", "cam_2")
    same(replace(found, names=rig.names), rig, 1000)
    path.write_text("\n".join(lines).replace("rotation_count = 0", "rotation_count = 1"))
    with pytest.raises(
        ValueError, match="rotation_count = 1.*turned by 90 degrees; turn the video"
    ):
        load_calibration(path)


# ---- MATLAB --------------------------------------------------------------------------------------
def dannce(rig):
    cells = np.empty((rig.views, 1), object)
    for v, (_, K, R, t, d) in enumerate(parts(rig)):
        K = K.copy()
        K[:2, 2] += 1  # pixels from 1
        cells[v, 0] = dict(
            K=K.T, RDistort=d[[0, 1, 4]][None], TDistort=d[[2, 3]][None], r=R.T, t=t[None]
        )
    names = np.empty((1, rig.views), object)
    names[0] = rig.names
    return cells, names


@pytest.mark.parametrize("skew", [0.0, -5.9])
def test_dannce(tmp_path, skew):
    rig = reference(skew=skew)
    cells, names = dannce(rig)
    savemat(tmp_path / "label3d_dannce.mat", dict(params=cells, camnames=names))
    found = load_calibration(tmp_path / "label3d_dannce.mat", wh=SIZE)
    assert found.unit == "mm"
    same(found, rig)
    with pytest.raises(
        ValueError,
        match=r"label3d_dannce.mat \[Camera1\]: this format holds no image size.*wh=\(W, H\)",
    ):
        load_calibration(tmp_path / "label3d_dannce.mat")


def test_dannce_in_matlab_7_3(tmp_path):
    h5py = pytest.importorskip(
        "h5py", reason="h5py is not installed: MATLAB v7.3 files are not read"
    )
    rig, path = reference(), tmp_path / "v73_dannce.mat"
    cells, _ = dannce(rig)
    with h5py.File(path, "w", userblock_size=512) as file:
        refs, names = [], []
        for v in range(rig.views):
            group = file.create_group(f"#refs#/c{v}")
            for key, value in cells[v, 0].items():
                group[key] = np.ascontiguousarray(np.asarray(value).T)
            text = file.create_dataset(
                f"#refs#/n{v}", data=np.array([[ord(c)] for c in rig.names[v]], np.uint16)
            )
            text.attrs["MATLAB_class"] = np.bytes_("char")
            refs.append(group.ref), names.append(text.ref)
        file.create_dataset("params", data=np.array([refs], h5py.ref_dtype), dtype=h5py.ref_dtype)
        file.create_dataset(
            "camnames", data=np.array([[n] for n in names], h5py.ref_dtype), dtype=h5py.ref_dtype
        )
    with open(path, "r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, made by a test".ljust(116) + bytes(8) + b"\x00\x02IM")
    same(load_calibration(path, wh=SIZE), rig)


def test_rat7m_reads_cameras_by_name_whatever_their_order(tmp_path):
    rig, cameras = reference(), {}
    for name, K, R, t, d in parts(rig):
        K = K.copy()
        K[:2, 2] += 1
        cameras[name] = dict(
            frame=np.arange(5),
            IntrinsicMatrix=K.T,
            rotationMatrix=R.T,
            translationVector=t,
            RadialDistortion=d[:2],
            TangentialDistortion=d[2:4],
        )
    savemat(
        tmp_path / "mocap-s1-d1.mat",
        dict(
            cameras={n: cameras[n] for n in ("Camera2", "Camera3", "Camera1")},
            mocap=dict(HeadF=np.zeros((5, 3))),
        ),
    )
    same(
        load_calibration(tmp_path / "mocap-s1-d1.mat", wh=SIZE),
        replace(rig, distortion=rig.distortion * torch.tensor([1, 1, 1, 1, 0.0])),
    )


# ---- OpenCV YAML ---------------------------------------------------------------------------------
def opencv(key, value):
    value = np.atleast_2d(value)
    numbers = ", ".join(repr(float(x)) for x in value.ravel())
    rows, cols = value.shape
    head = f"{key}: !!opencv-matrix\n   rows: {rows}\n   cols: {cols}\n   dt: d\n"
    return f"{head}   data: [ {numbers} ]\n"


@pytest.mark.parametrize("header", ["%YAML:1.0\n---\n", "%YAML 1.2\n---\n"])
def test_easymocap(tmp_path, header):
    rig = reference()
    names = "names:\n" + "".join(f'   - "{n}"\n' for n in rig.names)
    (tmp_path / "intri.yml").write_text(
        header
        + names
        + "".join(opencv(f"K_{n}", K) + opencv(f"dist_{n}", d) for n, K, _, _, d in parts(rig))
    )
    (tmp_path / "extri.yml").write_text(
        header
        + names
        + "".join(
            opencv(f"R_{n}", Rotation.from_matrix(R).as_rotvec()[:, None])
            + opencv(f"Rot_{n}", R)
            + opencv(f"T_{n}", t[:, None] / 1000)
            for n, _, R, t, _ in parts(rig)
        )
    )
    for name in ("intri.yml", "extri.yml"):
        found = load_calibration(tmp_path / name, wh=SIZE)
        assert found.unit == "m"
        same(found, rig, 1000)
    (tmp_path / "extri.yml").unlink()
    with pytest.raises(ValueError, match="extri.yml: missing; EasyMocap has"):
        load_calibration(tmp_path / "intri.yml", wh=SIZE)


def test_jarvis(tmp_path):
    rig = reference()
    for n, K, R, t, d in parts(rig):
        (tmp_path / f"{n}.yaml").write_text(
            "%YAML:1.0\n---\n"
            + opencv("intrinsicMatrix", K.T)
            + opencv("distortionCoefficients", d)
            + opencv("R", R.T)
            + opencv("T", t[:, None])
        )
    same(load_calibration(tmp_path / "Camera2.yaml", wh=SIZE), rig)


def test_intrinsics_alone_are_refused_by_name(tmp_path):
    (tmp_path / "left.yml").write_text(
        "image_width: 96\nimage_height: 64\ncamera_matrix:\n  rows: 3\n  cols: 3\n  data: "
        "[80,0,48,0,80,32,0,0,1]\n"
    )
    with pytest.raises(ValueError, match="left.yml: the intrinsics of one camera only"):
        load_calibration(tmp_path / "left.yml")


def test_yaml_constructs_nothing(tmp_path):
    (tmp_path / "evil.yml").write_text(f"!!python/object/apply:os.mkdir ['{tmp_path / 'made'}']\n")
    with pytest.raises(ValueError, match="evil.yml"):
        load_calibration(tmp_path / "evil.yml")
    assert not (tmp_path / "made").exists()


# ---- motion capture ------------------------------------------------------------------------------
def attributes(**values):
    return " ".join(f"{k}={quoteattr(str(v))}" for k, v in values.items())


def test_qualisys(tmp_path):
    rig, text = reference(), ""
    for n, K, R, t, d in parts(rig):
        M, C = np.diag([1.0, -1, -1]) @ R, -R.T @ t
        turn = {f"r{i + 1}{j + 1}": repr(float(M[i, j])) for i in range(3) for j in range(3)}
        K = K * 64
        text += (
            f"<camera {attributes(active=1, serial=n, model='Miqus Video')}><fov_video "
            f"{attributes(left=0, top=0, right=95, bottom=63)}/>"
            f"<transform {attributes(x=C[0], y=C[1], z=C[2], **turn)}/><intrinsic "
            + attributes(
                focalLengthU=K[0, 0],
                focalLengthV=K[1, 1],
                centerPointU=K[0, 2],
                centerPointV=K[1, 2],
                skew=0,
                radialDistortion1=d[0],
                radialDistortion2=d[1],
                radialDistortion3=d[4],
                tangentalDistortion1=d[2],
                tangentalDistortion2=d[3],
            )
            + "/></camera>"
        )
    path = tmp_path / "session.qca.txt"
    path.write_text(
        f'<?xml version="1.0"?><calibration source="x"><cameras>{text}<camera '
        'serial="marker-only"/></cameras></calibration>'
    )
    found = load_calibration(path)
    assert found.unit == "mm"
    same(found, rig)
    path.write_text(path.read_text().replace('skew="0"', 'skew="0.7"', 1))
    with pytest.raises(ValueError, match=r"session.qca.txt \[Camera1\]: skew = 0.7"):
        load_calibration(path)
    path.write_text(path.read_text().replace('skew="0.7"', 'skew="0"', 1))


def test_vicon(tmp_path):
    rig = reference((-0.2, 0.05, 0.0, 0.0, 0.01))
    text = ""
    for n, K, R, t, d in parts(rig):
        q, C = Rotation.from_matrix(R.T).as_quat(), -R.T @ t
        key = attributes(
            FOCAL_LENGTH=K[0, 0],
            PRINCIPAL_POINT=f"{K[0, 2]} {K[1, 2]}",
            ORIENTATION=" ".join(map(repr, q.tolist())),
            WORLD_ERROR=0.1,
            POSITION=" ".join(map(repr, C.tolist())),
            VICON_RADIAL2=f"ViconRadial2 {K[0, 2]} {K[1, 2]} {d[0]} {d[1]} {d[4]}",
        )
        aspect = K[0, 0] / K[1, 1]
        camera = attributes(DEVICEID=n, SENSOR_SIZE="96 64", PIXEL_ASPECT_RATIO=aspect)
        text += f"<Camera {camera}><KeyFrames><KeyFrame {key}/></KeyFrames></Camera>"
    (tmp_path / "room.xcp").write_text(f"<Cameras>{text}</Cameras>")
    same(load_calibration(tmp_path / "room.xcp"), rig)


def test_a_document_type_is_refused(tmp_path):
    (tmp_path / "bomb.xcp").write_text('<!DOCTYPE a [<!ENTITY x "y">]><Cameras>&x;</Cameras>')
    with pytest.raises(ValueError, match="bomb.xcp: holds a document type"):
        load_calibration(tmp_path / "bomb.xcp")


# ---- Human3.6M -----------------------------------------------------------------------------------
H36M = ("54138969", "55011271", "58860488", "60457274")


def h36m():
    return replace(reference(views=4), names=H36M)


def test_human36m_metadata(tmp_path):
    rig, w0 = h36m(), np.zeros(300)
    outside, inside = w0[:264].reshape(4, 11, 6), w0[264:].reshape(4, 9)
    for v, (_, K, R, t, d) in enumerate(parts(rig)):
        rx, ry, rz = Rotation.from_matrix(R).as_euler("XYZ")
        outside[v, 8] = [rx, ry, rz, *(-R.T @ t)]  # S9
        inside[v] = [K[0, 0], K[1, 1], K[0, 2], K[1, 2], d[0], d[1], d[4], d[2], d[3]]
    (tmp_path / "metadata.xml").write_text(
        f"<metadata><w0>[{' '.join(map(repr, w0.tolist()))}]</w0></metadata>"
    )
    found = load_calibration(tmp_path / "metadata.xml", subject="S9")
    assert found.unit == "mm" and found.names == H36M
    turned = replace(
        rig, wh=found.wh, K=found.K
    )  # two of the cameras are 1002 high: rescaled to the first
    assert_close(found.px_from_world(world()), turned.px_from_world(world()), atol=2e-2, rtol=0)
    assert_close(found.K[0], rig.K[0], atol=1e-3, rtol=0)
    with pytest.raises(
        ValueError, match="metadata.xml: subject = None; this file holds one rig for each of"
    ):
        load_calibration(tmp_path / "metadata.xml")


def test_human36m_json(tmp_path):
    rig = h36m()
    root = {
        "intrinsics": {
            n: {"calibration_matrix": K.tolist(), "distortion": d.tolist()}
            for n, K, _, _, d in parts(rig)
        },
        "extrinsics": {
            "S1": {n: {"R": R.tolist(), "t": t[:, None].tolist()} for n, _, R, t, _ in parts(rig)}
        },
    }
    (tmp_path / "camera-parameters.json").write_text(json.dumps(root))
    found = load_calibration(tmp_path / "camera-parameters.json", subject=1)
    assert_close(
        found.px_from_world(world()),
        replace(rig, K=found.K, wh=found.wh).px_from_world(world()),
        atol=2e-2,
        rtol=0,
    )
    with pytest.raises(ValueError, match="subject = S5; this file holds one rig for each of S1"):
        load_calibration(tmp_path / "camera-parameters.json", subject="S5")


def test_human36m_h5(tmp_path):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed: cameras.h5 is not read")
    rig = h36m()
    with h5py.File(tmp_path / "cameras.h5", "w") as file:
        for v, (n, K, R, t, d) in enumerate(parts(rig)):
            camera = file.create_group(f"subject1/camera{v + 1}")
            camera["R"], camera["T"], camera["f"], camera["c"] = (
                R.T,
                (-R.T @ t)[:, None],
                K[[0, 1], [0, 1]][:, None],
                K[:2, 2][:, None],
            )
            camera["k"], camera["p"], camera["Name"] = (
                d[[0, 1, 4]][:, None],
                d[2:4][:, None],
                np.array([[ord(c)] for c in n], np.uint16),
            )
    found = load_calibration(tmp_path / "cameras.h5", subject="S1")
    assert_close(
        found.px_from_world(world()),
        replace(rig, K=found.K, wh=found.wh).px_from_world(world()),
        atol=2e-2,
        rtol=0,
    )


# ---- plain ---------------------------------------------------------------------------------------
def test_json_by_field_in_several_spellings(tmp_path):
    rig = reference()
    spelled = [
        {
            n: dict(K=K.tolist(), R=R.tolist(), t=t.tolist(), distortion=d.tolist(), size=SIZE)
            for n, K, R, t, d in parts(rig)
        },
        {
            "unit": "cm",
            "cameras": [
                dict(
                    name=n,
                    matrix=K.tolist(),
                    rvec=Rotation.from_matrix(R).as_rotvec().tolist(),
                    tvec=t.tolist(),
                    dist=d.tolist(),
                    image_size=SIZE,
                )
                for n, K, R, t, d in parts(rig)
            ],
        },
    ]
    for root, unit in zip(spelled, ("unknown", "cm")):
        (tmp_path / "calibration.json").write_text(json.dumps(root))
        found = load_calibration(tmp_path / "calibration.json")
        assert found.unit == unit
        same(found, rig)


@pytest.mark.parametrize("scale", [1.0, -0.3])
def test_projection_matrices_of_any_scale_and_sign(tmp_path, scale):
    rig = reference((0.0,) * 5)
    P = np.stack([scale * K @ np.c_[R, t] for _, K, R, t, _ in parts(rig)])
    np.savez(
        tmp_path / "calibration.npz", P=P, names=np.array(rig.names), size=np.array(SIZE), unit="mm"
    )
    same(load_calibration(tmp_path / "calibration.npz"), rig)
    (tmp_path / "p.json").write_text(json.dumps({n: p.tolist() for n, p in zip(rig.names, P)}))
    same(load_calibration(tmp_path / "p.json", wh=SIZE), rig)


def test_npz_by_field(tmp_path):
    rig = reference()
    _, K, R, t, d = (np.stack(x) if i else x for i, x in enumerate(zip(*parts(rig))))
    np.savez(
        tmp_path / "c.npz",
        K=K,
        R=R,
        t=t,
        distortion=d,
        size=np.array([SIZE] * 3),
        names=np.array(rig.names),
    )
    same(load_calibration(tmp_path / "c.npz"), rig)


def test_a_few_lines_that_mean_gigabytes(tmp_path):
    """Aliases of YAML, entities of XML in two bytes a letter, an archive of zeros, links beside a
    file: refused before they unfold."""
    laughs = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
    )
    (tmp_path / "bomb.yaml").write_text(
        laughs + "intrinsicMatrix: !!opencv-matrix\n   rows: 3\n   cols: 3\n   data: *a11\n"
    )
    with pytest.raises(ValueError, match="bomb.yaml.*alias"):
        load_calibration(tmp_path / "bomb.yaml")
    (tmp_path / "bomb.xcp").write_bytes(
        '<!DOCTYPE a [<!ENTITY x "y">]><Cameras>&x;</Cameras>'.encode("utf-16")
    )
    with pytest.raises(ValueError, match="bomb.xcp: holds a document type"):
        load_calibration(tmp_path / "bomb.xcp")
    np.savez_compressed(tmp_path / "bomb.npz", P=np.zeros((1 << 20, 3, 4)))
    assert (tmp_path / "bomb.npz").stat().st_size < 200_000
    with pytest.raises(ValueError, match="bomb.npz: 96 MB unpacked"):
        load_calibration(tmp_path / "bomb.npz")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.yaml").symlink_to(tmp_path / "bomb.yaml")
    (tmp_path / "in" / "b.yaml").write_text("intrinsicMatrix: 1\n")
    with pytest.raises(ValueError, match=r"a\.yaml: leads to"):
        load_calibration(tmp_path / "in" / "b.yaml")


def test_pickles_are_refused_with_the_way_out(tmp_path):
    for name in ("stereo_params.pickle", "cameras.npy", "rig.pt"):
        (tmp_path / name).write_bytes(b"\x80\x04N.")
        with pytest.raises(ValueError, match=rf"{name}: a pickle can run code.*numpy.savez"):
            load_calibration(tmp_path / name)
    np.savez(tmp_path / "object.npz", P=np.array([{"a": 1}, None], object))
    with pytest.raises(ValueError, match="object.npz"):
        load_calibration(tmp_path / "object.npz")


def test_an_unknown_dialect(tmp_path):
    (tmp_path / "calibration.docx").write_text("x")
    with pytest.raises(
        ValueError, match=r"calibration.docx: no calibration dialect ends in .docx; known: .*\.toml"
    ):
        load_calibration(tmp_path / "calibration.docx")


# ---- real files ----------------------------------------------------------------------------------
def test_a_real_rig_is_the_same_from_json_and_toml(shared):
    folder = shared / "realdata" / "mouse5_dev"
    if not folder.is_dir():
        pytest.skip("no recording mouse5_dev in the shared folder")
    a, b = (
        load_calibration(folder / "calibration.toml"),
        load_calibration(folder / "calibration.json"),
    )
    assert set(a.names) == set(b.names) and a.wh == b.wh == (416, 320)
    order = [b.names.index(n) for n in a.names]
    points = torch.tensor([[20.0, 20, 0], [60, 0, 40]])
    assert_close(b.take(order).px_from_world(points), a.px_from_world(points), atol=1e-2, rtol=0)


# ---- finding -------------------------------------------------------------------------------------
def test_a_calibration_is_found_there_or_one_level_up_and_two_are_refused(tmp_path):
    clip = tmp_path / "session" / "trial"
    clip.mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="trial: no calibration.toml here or one level up"):
        find_calibration(clip)
    save_calibration(reference(), tmp_path / "session" / "Calib_a.toml")
    assert find_calibration(clip).name == "Calib_a.toml"
    save_calibration(reference(), clip / "calibration.toml")
    assert find_calibration(clip) == clip / "calibration.toml"
    (clip / "calibration.toml").unlink()
    save_calibration(reference(), tmp_path / "session" / "Calib_b.toml")
    with pytest.raises(
        ValueError, match="Calib_a.toml, Calib_b.toml could each be the calibration"
    ):
        find_calibration(clip)


# ---- fuzz ----------------------------------------------------------------------------------------
def originals(folder):
    rig = reference((-0.2, 0.05, 0.0, 0.0, 0.01))
    save_calibration(rig, folder / "calibration.toml")
    cells, names = dannce(rig)
    savemat(folder / "a_dannce.mat", dict(params=cells, camnames=names))
    np.savez(
        folder / "c.npz",
        P=np.stack([K @ np.c_[R, t] for _, K, R, t, _ in parts(rig)]),
        names=np.array(rig.names),
    )
    (folder / "c.json").write_text(
        json.dumps(
            {n: dict(K=K.tolist(), R=R.tolist(), t=t.tolist()) for n, K, R, t, _ in parts(rig)}
        )
    )
    for n, K, R, t, d in parts(rig):
        (folder / f"{n}.yaml").write_text(
            "%YAML:1.0\n---\n"
            + opencv("intrinsicMatrix", K.T)
            + opencv("distortionCoefficients", d)
            + opencv("R", R.T)
            + opencv("T", t[:, None])
        )
    test_qualisys(folder), test_vicon(folder)
    return [
        "calibration.toml",
        "a_dannce.mat",
        "c.npz",
        "c.json",
        "Camera2.yaml",
        "session.qca.txt",
        "room.xcp",
    ]


def mutated(data, random):
    data = bytearray(data)
    for _ in range(int(random.integers(1, 6))):
        i = int(random.integers(len(data)))
        kind = int(random.integers(5))
        if kind == 0:
            data[i] = int(random.integers(256))
        elif kind == 1:
            del data[i : i + int(random.integers(1, 40))]
        elif kind == 2:
            data[i:i] = data[i : i + int(random.integers(1, 40))]
        elif kind == 3:
            data[i:i] = [
                b"nan",
                b"1e999",
                b"-",
                b"[[",
                b"{",
                b"!!python/name:os.system ",
                b"\x00" * 9,
                "é".encode(),
            ][int(random.integers(8))]
        else:
            del data[i:]
        data = data or bytearray(b"x")
    return bytes(data)


@pytest.mark.parametrize("index", range(7))
def test_a_mutated_calibration_is_a_rig_or_one_clear_error(tmp_path, index):
    """2,100 mutations of seven dialects: never another kind of error or a crash, and what is read
    is finite."""
    name = originals(tmp_path)[index]
    good, random = (tmp_path / name).read_bytes(), np.random.default_rng(index)
    refused, count = (
        0,
        12 if name.endswith(".mat") else 350,
    )  # MATLAB files are parsed in a process each
    for _ in range(count):
        (tmp_path / name).write_bytes(mutated(good, random))
        try:
            rig = load_calibration(tmp_path / name, wh=SIZE)
        except (ValueError, FileNotFoundError) as error:
            refused += 1
            assert str(tmp_path) in str(error)
        else:
            assert rig.K.isfinite().all() and rig.R.isfinite().all() and rig.views >= 2
    assert refused > count / 10, "the mutations do break files"
