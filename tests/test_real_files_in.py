"""Real files, the reading half: what people's files hold is read, or refused in the file's words.

One test a kind of fault, each with several files of the kind, all written here: nothing is
dropped, nothing is guessed, nothing is silent.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from scipy.spatial.transform import Rotation
from test_calibrations import LENS, SIZE, dannce, opencv, parts, reference, same, table, written
from torch.testing import assert_close

from bkind3d_lite.calibrations import load_calibration
from bkind3d_lite.cameras import ring
from bkind3d_lite.clips import open_clip
from bkind3d_lite.clips.calibration_faults import longest_lag
from bkind3d_lite.clips.recording_checks import check_agreement, check_offsets
from bkind3d_lite.clips.rig_checks import FAIL, PASS, check_lenses
from bkind3d_lite.clips.videos import write_video
from bkind3d_lite.workflows.doctor import examine


def as_json(tmp_path, root, name="calibration.json", **how):
    (tmp_path / name).write_text(json.dumps(root))
    return load_calibration(tmp_path / name, **how)


def listed(rig):
    """name, K, R, t, distortion of each camera as plain lists."""
    return [(n, *(x.tolist() for x in rest)) for n, *rest in parts(rig)]


# ---- names of fields -----------------------------------------------------------------------------
SPELLED = {
    "panoptic": lambda n, K, R, t, d: dict(
        name=n, type="hd", resolution=[96, 64], panel=0, node=3, K=K, distCoef=d, R=R,
        t=[[x] for x in t],
    ),
    "opencv": lambda n, K, R, t, d: dict(
        camera_matrix=K, dist_coeffs=[d], rvec=Rotation.from_matrix(R).as_rotvec().tolist(),
        tvec=t, image_width=96, image_height=64, rms=0.3,
    ),
    "w and h": lambda n, K, R, t, d: dict(mtx=K, dist=d, R=R, T=t, w=96, h=64),
    "matlab": lambda n, K, R, t, d: dict(
        cameraMatrix=K, radialDistortion=[d[0], d[1], d[4]], tangentialDistortion=d[2:4],
        rotationMatrix=R, translationVector=t, imageWidth=96, imageHeight=64,
    ),
    "one by one": lambda n, K, R, t, d: dict(
        fx=K[0][0], fy=K[1][1], cx=K[0][2], cy=K[1][2], k1=d[0], k2=d[1], p1=d[2], p2=d[3],
        k3=d[4], R=R, t=t, size="96x64",
    ),
    "in tables": lambda n, K, R, t, d: dict(
        intrinsics=dict(camera_matrix=K, distortion=dict(model="plumb_bob", coefficients=d),
                        resolution=dict(width=96, height=64)),
        extrinsics=dict(rotation=dict(matrix=R), translation=t), board=dict(width=5, height=7),
    ),
    "ros": lambda n, K, R, t, d: dict(
        image_width=96, image_height=64, distortion_model="plumb_bob", R=R, T=t,
        camera_matrix=dict(rows=3, cols=3, data=np.ravel(K).tolist()),
        distortion_coefficients=dict(rows=1, cols=5, data=d),
    ),
    "4 x 4": lambda n, K, R, t, d: dict(
        K=np.ravel(K).tolist(), D=d, image_shape=[64, 96],
        extrinsic=[*([*row, x] for row, x in zip(R, t)), [0, 0, 0, 1]],
    ),
}  # fmt: skip


@pytest.mark.parametrize("spelling", SPELLED)
def test_a_camera_is_read_whatever_its_fields_are_called(tmp_path, spelling):
    """With its lens: the projection of points is that of the reference, distortion included."""
    rig = reference()
    cameras = {n: SPELLED[spelling](n, *rest) for n, *rest in listed(rig)}
    same(as_json(tmp_path, cameras), rig)
    same(as_json(tmp_path, {"unit": "mm", "cameras": cameras}), rig)
    found = as_json(tmp_path, {"cameras": [{"name": n} | c for n, c in cameras.items()]})
    same(found, rig)
    assert not found.notes, found.notes


def test_the_same_names_in_toml_npz_yaml_and_matlab(tmp_path):
    rig = reference()
    lines = []
    for n, K, R, t, d in listed(rig):
        lines += [f"[{n}]", f"camera_matrix = {K}", f"dist_coeffs = {d}", "width = 96"]
        lines += ["height = 64", f"rvec = {Rotation.from_matrix(R).as_rotvec().tolist()}"]
        lines += [f"tvec = {t}"]
    (tmp_path / "a.toml").write_text("\n".join(lines))
    same(load_calibration(tmp_path / "a.toml"), rig)
    _, K, R, t, d = (np.stack(x) if i else x for i, x in enumerate(zip(*parts(rig))))
    fields = dict(mtx=K, dist_coefs=d, rotation=R, tvecs=t, names=np.array(rig.names))
    np.savez(tmp_path / "a.npz", **fields, image_size=np.array(SIZE))
    same(load_calibration(tmp_path / "a.npz"), rig)
    cells, names = dannce(rig)
    renamed = {
        "K": "IntrinsicMatrix",
        "RDistort": "radialDistortion",
        "TDistort": "tangential_distortion",
    }
    for v in range(rig.views):
        cells[v, 0] = {renamed.get(k, k): x for k, x in cells[v, 0].items()} | {
            "ImageSize": [64, 96]
        }
    savemat(tmp_path / "a_dannce.mat", dict(params=cells, camnames=names))
    same(load_calibration(tmp_path / "a_dannce.mat"), rig)
    folder = tmp_path / "each"
    folder.mkdir()
    for n, K, R, t, d in parts(rig):
        text = "%YAML:1.0\n---\nimage_width: 96\nimage_height: 64\n" + opencv("camera_matrix", K)
        text += opencv("distortion_coefficients", d) + opencv("R", R) + opencv("T", t[:, None])
        (folder / f"{n}.yml").write_text(text)
    same(load_calibration(folder / "Camera2.yml"), rig)


@pytest.mark.parametrize("lens", ["dist", "D", "distortion", "distCoeffs"])
def test_easymocaps_lens_under_each_of_its_names(tmp_path, lens):
    rig = reference()
    inner = "".join(opencv(f"K_{n}", K) + opencv(f"{lens}_{n}", d) for n, K, _, _, d in parts(rig))
    outer = "".join(
        opencv(f"Rot_{n}", R) + opencv(f"T_{n}", t[:, None] / 1000) for n, _, R, t, _ in parts(rig)
    )
    (tmp_path / "intri.yml").write_text(inner)
    (tmp_path / "extri.yml").write_text(outer)
    same(load_calibration(tmp_path / "intri.yml", wh=SIZE), rig, 1000)


@pytest.mark.parametrize(
    "extra, says",
    [
        (dict(lens_warp=[-0.2, 0.1, 0.0, 0.0, 0.0]), "lens_warp = .*looks like a lens"),
        (dict(koeffizienten=[-0.2, 0.1, 0.001, 0.002]), "koeffizienten = .*looks like a lens"),
        (dict(lens_k=[-0.2, 0.1]), "lens_k = .*looks like a lens"),
    ],
)
def test_what_looks_like_a_lens_is_never_dropped(tmp_path, extra, says):
    rig = reference()
    cameras = {n: dict(K=K, R=R, t=t, size=SIZE) | extra for n, K, R, t, _ in listed(rig)}
    with pytest.raises(ValueError, match=rf"calibration.json \[Camera1\]: {says}"):
        as_json(tmp_path, cameras)
    told = {n: c | {"distortion": [0.0] * 5} for n, c in cameras.items()}
    found = as_json(tmp_path, told)
    by_name = next(iter(extra)).startswith("lens")
    assert len(found.notes) == (3 if by_name else 0), "a shape tells only where nothing else does"


def test_two_names_that_differ_and_a_size_or_pose_that_nobody_knows(tmp_path):
    rig = reference()
    for extra, says in (
        (dict(distortion=[0.1] * 5, dist=[0.2] * 5), "distortion and dist differ"),
        (dict(picture_size=[96, 64]), "picture_size = .* looks like a size"),
        (dict(skew=2.0, size=SIZE), "skew = 2.0, but the matrix has"),
    ):
        with pytest.raises(ValueError, match=says):
            as_json(tmp_path, {n: dict(K=K, R=R, t=t) | extra for n, K, R, t, _ in listed(rig)})
    with pytest.raises(ValueError, match="quaternion = .*looks like a pose"):
        as_json(
            tmp_path, {n: dict(K=K, t=t, quaternion=[1, 0, 0, 0]) for n, K, _, t, _ in listed(rig)}
        )


# ---- lens models ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "word",
    [
        dict(camera_model="fisheye"),
        dict(distortion_model="equidistant"),
        dict(model="omnidirectional"),
        dict(type="KANNALA_BRANDT"),
        dict(lensType="OPENCV_FISHEYE"),
        dict(projection="equisolid"),
        dict(fisheye="True"),
        dict(is_fisheye=1),
        dict(xi=1.2),
        dict(distortion_model="double_sphere"),
        dict(intrinsics=dict(distortion_type="kb4")),
    ],
    ids=str,
)
def test_another_lens_model_is_refused_by_the_files_own_words(tmp_path, word):
    cameras = {n: dict(K=K, R=R, t=t, dist=d[:4]) for n, K, R, t, d in listed(reference())}
    value = [v for _, v in (_leaves(word))][0]
    for root in ({n: c | word for n, c in cameras.items()}, word | {"cameras": cameras}):
        if "intrinsics" in root:
            continue
        with pytest.raises(ValueError, match=rf"= {str(value)} is not supported"):
            as_json(tmp_path, root, wh=SIZE)


def _leaves(word):
    for key, value in word.items():
        yield from _leaves(value) if isinstance(value, dict) else [(key, value)]


def test_opencvs_own_lens_is_read_under_its_names(tmp_path):
    rig = reference()
    for word in (
        dict(camera_model="pinhole"),
        dict(distortion_model="plumb_bob"),
        dict(camera_model="OPENCV"),
        dict(distortion_model="radtan", fisheye=False),
        dict(fisheye="False"),
        dict(camera_model="acA1300-200um"),
        dict(model="Brown-Conrady", lens="Fujinon HF12.5"),
    ):
        cameras = {
            n: dict(K=K, R=R, t=t, dist=d, size=SIZE) | word for n, K, R, t, d in listed(rig)
        }
        same(as_json(tmp_path, cameras), rig)
    text = table("a") + '\nfisheye = "False"'
    assert load_calibration(written(tmp_path, text, table("b") + "\nfisheye = 0")).views == 2
    with pytest.raises(ValueError, match="distortion_model = bent is an unknown lens model"):
        load_calibration(written(tmp_path, table("a") + '\ndistortion_model = "bent"', table("b")))


def test_three_coefficients_are_asked_about(tmp_path):
    said = table("a", distortions="[-0.1, 0.02, 0.001]")
    with pytest.raises(ValueError, match=r"3 distortion coefficients.*is the third one p1 or k3"):
        load_calibration(written(tmp_path, said, table("b")))
    clear = table("a", distortions="[-0.1, 0.02, 0.0]")
    rig = load_calibration(written(tmp_path, clear, table("b")))
    assert_close(rig.distortion[0], torch.tensor([-0.1, 0.02, 0, 0, 0]))


# ---- invisible bytes -----------------------------------------------------------------------------
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_fault(tmp_path, encoding):
    from bkind3d_lite.files import read_rows
    from bkind3d_lite.recipes import Recipe
    from bkind3d_lite.recipes.words import read_recipe, write_recipe

    def marked(path):
        path.write_bytes(path.read_text(encoding="utf-8").encode(encoding))
        return path

    rig = reference()
    toml = marked(written(tmp_path, table("a"), table("b")))
    assert load_calibration(toml).names == ("a", "b")
    cameras = {n: dict(K=K, R=R, t=t, dist=d, size=SIZE) for n, K, R, t, d in listed(rig)}
    (tmp_path / "c.json").write_text(json.dumps(cameras))
    same(load_calibration(marked(tmp_path / "c.json")), rig)
    (tmp_path / "c.yaml").write_text("unit: mm\ncameras: " + json.dumps(cameras))
    same(load_calibration(marked(tmp_path / "c.yaml")), rig)
    write_recipe(Recipe("mine"), tmp_path / "r.toml")
    assert read_recipe(marked(tmp_path / "r.toml")).name == "mine"
    (tmp_path / "t.csv").write_text("step,loss\n1,0.5\n")
    assert read_rows(marked(tmp_path / "t.csv")) == [{"step": "1", "loss": "0.5"}]


# ---- structure and names -------------------------------------------------------------------------
def test_a_dialect_is_known_by_its_structure(tmp_path):
    rig = reference()
    cameras = listed(rig)
    split = {
        "intrinsics": {n: dict(K=K, dist=d, size=SIZE) for n, K, _, _, d in cameras},
        "extrinsics": {n: dict(R=R, t=t) for n, _, R, t, _ in cameras},
    }
    same(as_json(tmp_path, split), rig)
    lists = {
        "intrinsics": [dict(name=n, K=K, dist=d) for n, K, _, _, d in cameras],
        "extrinsics": [dict(name=n, rvec=R, tvec=t) for n, _, R, t, _ in cameras],
        "image_size": SIZE,
    }
    same(as_json(tmp_path, lists), rig)
    by_field = {
        "K": {n: K for n, K, *_ in cameras},
        "dist": {n: d for n, *_, d in cameras},
        "R": {n: R for n, _, R, _, _ in cameras},
        "T": {n: t for n, _, _, t, _ in cameras},
        "resolution": SIZE,
    }
    same(as_json(tmp_path, by_field), rig)
    arrays = dict(names=rig.names, K=[c[1] for c in cameras], R=[c[2] for c in cameras])
    arrays |= dict(t=[c[3] for c in cameras], dist=[c[4] for c in cameras], size=SIZE)
    same(as_json(tmp_path, arrays), rig)
    nested = {
        "calibration": {
            "cameras": {n: c | split["extrinsics"][n] for n, c in split["intrinsics"].items()}
        }
    }
    same(as_json(tmp_path, nested), rig)
    del split["extrinsics"]["Camera2"]
    with pytest.raises(ValueError, match=r"\[Camera2\]: no rotation, translation"):
        as_json(tmp_path, split)
    with pytest.raises(ValueError, match="no cameras in it; expected.*it has version, date"):
        as_json(tmp_path, dict(version=1, date="today"))


def test_a_camera_with_a_field_misspelt_is_not_left_out(tmp_path):
    cameras = {n: dict(K=K, R=R, t=t, size=SIZE) for n, K, R, t, _ in listed(reference())}
    cameras["Camera2"]["KK"] = cameras["Camera2"].pop("K")
    with pytest.raises(ValueError, match=r"\[Camera2\]: no matrix"):
        as_json(tmp_path, cameras)


@pytest.mark.parametrize("names", [("01", "02", "03"), ("1", "2", "10"), ("on", "off", "1e3")])
def test_yaml_keeps_names_as_they_are_written(tmp_path, names):
    rig = reference()
    inner, outer = "names:\n" + "".join(f"  - {n}\n" for n in names), ""
    for n, (_, K, R, t, d) in zip(names, parts(rig)):
        inner += opencv(f"K_{n}", K) + opencv(f"dist_{n}", d)
        outer += opencv(f"Rot_{n}", R) + opencv(f"T_{n}", t[:, None] / 1000)
    (tmp_path / "intri.yml").write_text("%YAML:1.0\n---\n" + inner)
    (tmp_path / "extri.yml").write_text("%YAML:1.0\n---\n" + outer)
    assert load_calibration(tmp_path / "intri.yml", wh=SIZE).names == names
    plain = "".join(
        f"{n}:\n  K: {K}\n  R: {R}\n  t: {t}\n  dist: {d}\n  size: [96, 64]\n"
        for n, (_, K, R, t, d) in zip(names, listed(rig))
    )
    (tmp_path / "rig.yaml").write_text(plain)
    assert load_calibration(tmp_path / "rig.yaml").names == names
    (tmp_path / "intri.yml").write_text(inner.replace(f"  - {names[0]}\n", "  - 'other'\n"))
    with pytest.raises(ValueError, match="its names are other, .*but its matrices K_ are of"):
        load_calibration(tmp_path / "intri.yml", wh=SIZE)


# ---- pictures that are to be turned --------------------------------------------------------------
def barcode_rig(*sizes, names=None):
    """Cameras of these sizes, told apart by their names."""
    rig = ring(len(sizes), wh=sizes[0], distortion=LENS)
    K = rig.K.clone()
    for v, (w, h) in enumerate(sizes):
        K[v] = torch.tensor([[w * 1.1, 0, w / 2], [0, w * 1.1, h / 2], [0, 0, 1]])
    return rig, K, names or tuple(f"cam{v}" for v in range(len(sizes)))


def calibrated(path, *sizes, names=None):
    """A calibration of cameras of different sizes, as a TOML file has it."""
    rig, K, names = barcode_rig(*sizes, names=names)
    text = ""
    for v, (name, (w, h)) in enumerate(zip(names, sizes)):
        k = K[v].clone()
        k[:2, 2] -= 0.5
        turn = Rotation.from_matrix(rig.R[v].numpy()).as_rotvec().tolist()
        text += (
            f'[cam_{v}]\nname = "{name}"\nsize = [{w}, {h}]\nmatrix = {k.tolist()}\n'
            f"distortions = {list(LENS)}\nrotation = {turn}\ntranslation = {rig.t[v].tolist()}\n"
        )
    (path / "calibration.toml").write_text(text)
    return rig, K


def turned_film(path, images, degrees):
    """A film whose pixels lie on their side, and whose file says by how much to turn them."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "5"})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.set_display_rotation(-degrees)  # FFmpeg counts against the clock
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image))))
        container.mux(stream.encode())


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_phones_film_is_turned_as_it_says(tmp_path, barcodes, quarters, suffix):
    upright = barcodes(6, (48, 32))
    stored = [np.rot90(x, quarters) for x in upright]
    for v in range(2):
        turned_film(tmp_path / f"cam{v}{suffix}", stored, 90 * quarters)
    calibrated(tmp_path, (48, 32), (48, 32))
    clip = open_clip(tmp_path)
    assert clip.frames[0].shape[1:3] == (32, 48)
    assert [barcodes.read(clip.frames[t][0]) for t in range(6)] == list(range(6))
    whole = examine(tmp_path, plan=False).checks[0]
    assert f"cam0 is turned by {90 * quarters} degrees, as its file says" in whole.finding


def test_a_film_that_was_calibrated_as_it_lies_is_left_lying(tmp_path, barcodes):
    """The size decides: this calibration is of the sensor's 48 x 32, the film shows 32 x 48."""
    for v in range(2):
        turned_film(tmp_path / f"cam{v}.mp4", barcodes(6, (48, 32)), 90)
    calibrated(tmp_path, (48, 32), (48, 32))
    clip = open_clip(tmp_path)
    assert [barcodes.read(clip.frames[t][1]) for t in (0, 5, 2)] == [0, 5, 2]
    calibrated(tmp_path, (48, 48), (48, 48))
    says = (
        "32 x 48 pixels, turned by 90 degrees as the file says, but camera cam0 of .* was made for"
    )
    with pytest.raises(ValueError, match=says):
        open_clip(tmp_path)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_stills_are_shown_by_their_exif(tmp_path, barcodes, orientation):
    """All eight values, as PIL's own transposition undoes them."""
    back = [None, None, Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180]
    back += [Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.TRANSPOSE]
    back += [Image.Transpose.ROTATE_90, Image.Transpose.TRANSVERSE, Image.Transpose.ROTATE_270]
    exif = Image.Exif()
    exif[274] = orientation
    for v in range(2):
        (tmp_path / f"cam{v}").mkdir()
        for i, x in enumerate(barcodes(4, (48, 32))):
            image = Image.fromarray(x)
            image = image if orientation == 1 else image.transpose(back[orientation])
            suffix = "tif" if v else "png"
            image.save(tmp_path / f"cam{v}" / f"{i:03d}.{suffix}", exif=exif)
    calibrated(tmp_path, (48, 32), (48, 32))
    clip = open_clip(tmp_path, fps=30)
    assert [[barcodes.read(x) for x in clip.frames[t]] for t in (0, 3)] == [[0, 0], [3, 3]]
    if orientation > 4:  # calibrated as the pixels lie: shown as they lie
        calibrated(tmp_path, (32, 48), (32, 48))
        lying = open_clip(tmp_path, fps=30).frames[3].numpy()
        for image in lying:
            stored = Image.fromarray(image).transpose(back[EXIF_BACK.get(orientation, orientation)])
            assert barcodes.read(np.asarray(stored)) == 3


EXIF_BACK = {6: 8, 8: 6}  # what undoes a quarter turn is the other one


def qualisys(path, turns, sizes=((96, 64), (96, 64))):
    rig, K, names = barcode_rig(*sizes)
    text = ""
    for v, (n, (w, h)) in enumerate(zip(names, sizes)):
        R, k = rig.R[v].double().numpy(), K[v].double().numpy().copy()
        k[:2, 2] -= 0.5
        M, C = np.diag([1.0, -1, -1]) @ R, rig.centres[v].double().numpy()
        cells = " ".join(f'r{i + 1}{j + 1}="{M[i, j]!r}"' for i in range(3) for j in range(3))
        cells = cells.replace("np.float64(", "").replace(")", "")
        lens = zip(("radialDistortion1", "radialDistortion2", "tangentalDistortion1",
                    "tangentalDistortion2", "radialDistortion3"), LENS)  # fmt: skip
        text += (
            f'<camera serial="{n}" viewrotation="{90 * turns}">'
            f'<fov_video left="0" top="0" right="{w - 1}" bottom="{h - 1}"/>'
            f'<transform x="{C[0]}" y="{C[1]}" z="{C[2]}" {cells}/><intrinsic '
            f'focalLengthU="{64 * k[0, 0]}" focalLengthV="{64 * k[1, 1]}" '
            f'centerPointU="{64 * k[0, 2]}" centerPointV="{64 * k[1, 2]}" '
            + " ".join(f'{key}="{value}"' for key, value in lens)
            + "/></camera>"
        )
    (path / "rig.qca.txt").write_text(f"<calibration><cameras>{text}</cameras></calibration>")
    return replace(rig, K=K, names=names)


@pytest.mark.parametrize("turns", range(4))
def test_qualisys_cameras_are_turned_with_their_pictures(tmp_path, turns):
    """A point that the sensor sees at (x, y) lies at (H - y, x) of a picture turned clockwise."""
    sensor = qualisys(tmp_path, turns)
    points = 60 * torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    px = sensor.px_from_world(points)
    w, h = 96, 64
    for _ in range(turns):
        px, (w, h) = torch.stack([h - px[..., 1], px[..., 0]], -1), (h, w)
    shown = load_calibration(tmp_path / "rig.qca.txt")
    assert shown.wh == (w, h)
    assert_close(shown.px_from_world(points), px, atol=2e-2, rtol=0)
    if turns % 2:
        lying = load_calibration(tmp_path / "rig.qca.txt", wh=SIZE)
        assert_close(lying.px_from_world(points), sensor.px_from_world(points), atol=2e-2, rtol=0)


# ---- every camera by itself ----------------------------------------------------------------------
def test_cameras_of_different_size_and_aspect(tmp_path, barcodes):
    sizes = ((64, 48), (80, 40), (48, 64))
    rig, K = calibrated(tmp_path, *sizes)
    for v, wh in enumerate(sizes):
        write_video(tmp_path / f"cam{v}.mp4", barcodes(6, wh), 30, crf=5)
    clip = open_clip(tmp_path)
    assert clip.rig.sizes == sizes and [barcodes.read(x) for x in clip.frames[4]] == [4] * 3
    points = 60 * torch.randn(9, 3, generator=torch.Generator().manual_seed(0))
    for v, wh in enumerate(sizes):  # each sees a point at its own place of its own picture
        own = replace(rig.take([v]), K=K[v : v + 1], wh=wh)
        one = clip.rig.ndc_from_world(points)[v]
        assert_close(one, own.ndc_from_world(points)[0], atol=1e-3, rtol=0)
    assert check_lenses(clip.rig).state == PASS, "one focal length a camera, in its own pixels"
    write_video(tmp_path / "cam1.mp4", barcodes(6, (64, 48)), 30)
    with pytest.raises(ValueError, match=r"cam1.mp4: 64 x 48 .* camera cam1 .* made for 80 x 40"):
        open_clip(tmp_path)
    write_video(tmp_path / "cam1.mp4", barcodes(6, (40, 80)), 30)
    with pytest.raises(ValueError, match="cam1.mp4.*its width and height are swapped, or"):
        open_clip(tmp_path)


def test_a_calibration_without_sizes_takes_each_cameras_own(tmp_path, barcodes):
    sizes = ((48, 32), (96, 64))
    rig, K, names = barcode_rig(*sizes)
    cameras = {}
    for v, name in enumerate(names):
        k = K[v].clone()
        k[:2, 2] -= 0.5
        cameras[name] = dict(K=k.tolist(), R=rig.R[v].tolist(), t=rig.t[v].tolist())
        write_video(tmp_path / f"{name}.mp4", barcodes(6, sizes[v]), 30)
    (tmp_path / "calibration.json").write_text(json.dumps(cameras))
    clip = open_clip(tmp_path)
    points = 60 * torch.randn(9, 3, generator=torch.Generator().manual_seed(0))
    for v, wh in enumerate(sizes):
        own = replace(rig.take([v]), K=K[v : v + 1], wh=wh, distortion=torch.zeros(1, 5))
        one = clip.rig.ndc_from_world(points)[v]
        assert_close(one, own.ndc_from_world(points)[0], atol=1e-3, rtol=0)


def test_some_of_the_calibrated_cameras(tmp_path, barcodes):
    calibrated(tmp_path, *[(48, 32)] * 4)
    for v in (0, 2, 3):
        write_video(tmp_path / f"cam{v}.mp4", barcodes(6, (48, 32)), 30)
    with pytest.raises(ValueError, match="no video for camera cam1 .*--cameras cam0 cam2 cam3"):
        open_clip(tmp_path)
    marks = np.arange(6.0 * 4 * 2).reshape(6, 4, 1, 2)
    known = dict(positions=np.zeros((6, 1, 3)), names=["nose"], edges=np.zeros((0, 2), int))
    np.savez(tmp_path / "truth.npz", **known, marks=marks)
    clip = open_clip(tmp_path, cameras=["cam3", "cam0"])
    assert clip.rig.names == ("cam0", "cam3") and len(clip.rig.sizes) == 2
    assert_close(clip.marks, torch.from_numpy(marks[:, [0, 3]] + 0.5).float())
    for cameras, says in (["cam9", "cam0"], "no camera cam9; it has cam0, "), (["cam2"], "alone"):
        with pytest.raises(ValueError, match=says):
            open_clip(tmp_path, cameras=cameras)


def test_a_second_video_names_the_way_to_choose(tmp_path, barcodes):
    calibrated(tmp_path, (48, 32), (48, 32))
    for name in ("cam0", "cam1", "overview"):
        write_video(tmp_path / f"{name}.mp4", barcodes(6, (48, 32)), 30)
    with pytest.raises(ValueError, match=r"overview.mp4 has no camera .*--trial.*--cameras cam0"):
        open_clip(tmp_path)
    assert open_clip(tmp_path, cameras=["cam0", "cam1"]).rig.views == 2
    (tmp_path / "overview.mp4").rename(tmp_path / "cam0_cam1.mp4")
    (tmp_path / "cam0.mp4").unlink(), (tmp_path / "cam1.mp4").unlink()
    with pytest.raises(ValueError, match="cam0_cam1.mp4: could be camera cam0 or cam1"):
        open_clip(tmp_path)


# ---- there, and read -----------------------------------------------------------------------------
@pytest.mark.parametrize(
    "suffix, form, codec",
    [
        (".mts", "mpegts", "libx264"),
        (".M2TS", "mpegts", "libx264"),
        (".ts", "mpegts", "mpeg2video"),
        (".mpg", "mpeg", "mpeg2video"),
        (".wmv", "asf", "wmv2"),
    ],
)
def test_the_containers_of_camcorders(tmp_path, barcodes, suffix, form, codec):
    """Every frame at its place, read in order and at random."""
    import av

    calibrated(tmp_path, (96, 64), (96, 64))
    for v in range(2):
        with av.open(str(tmp_path / f"cam{v}{suffix}"), "w", format=form) as container:
            stream = container.add_stream(codec, rate=25, bit_rate=4_000_000)
            stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
            stream.gop_size = 12
            for image in barcodes(90, (96, 64)):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
            container.mux(stream.encode())
    clip = open_clip(tmp_path)
    assert len(clip) == 90 and abs(clip.fps - 25) < 0.1
    for t in (70, 0, 89, 31, 32, 11, 12, 13, 5):
        assert [barcodes.read(x) for x in clip.frames[t]] == [t, t], (suffix, t)


@pytest.mark.parametrize("form", ["{c}_img_{i:06d}.jpg", "frame_{i:04d}_{c}.tif", "{c}-{i}.bmp"])
def test_the_images_of_all_cameras_side_by_side(tmp_path, barcodes, form):
    names = ("01", "02", "cam3")
    calibrated(tmp_path, *[(48, 32)] * 3, names=names)
    numbers = [1, 2, 3, 7, 8]
    for v, name in enumerate(names):
        for i in numbers if v else numbers[1:]:
            image = Image.fromarray(barcodes(9, (48, 32))[i])
            image.save(tmp_path / form.format(c=name, i=i), quality=95)
    clip = open_clip(tmp_path, fps=30)
    assert len(clip) == 4 and clip.starts == (0, 2), "number 1 is missing in the first camera"
    for t, number in enumerate(numbers[1:]):
        assert [barcodes.read(x) for x in clip.frames[t]] == [number] * 3


def test_images_in_two_places_are_asked_about_and_no_video_hides_others(tmp_path, barcodes):
    calibrated(tmp_path, (48, 32), (48, 32), names=("cam1", "cam2"))
    pictures = [Image.fromarray(x) for x in barcodes(4, (48, 32))]
    (tmp_path / "images").mkdir()
    for i, picture in enumerate(pictures):
        for name in ("cam1", "cam2"):
            picture.save(tmp_path / "images" / f"{name}_{i}.png")
    assert len(open_clip(tmp_path, fps=30)) == 4
    pictures[0].save(tmp_path / "cam1_7.png")
    words = r"images lie in 2 places, cam1_7\.png and images.cam1_0\.png could each be"
    with pytest.raises(ValueError, match=words):
        open_clip(tmp_path, fps=30)
    (tmp_path / "videos").mkdir()
    for place in ("overview", "videos/cam1", "videos/cam2"):
        write_video(tmp_path / f"{place}.mp4", barcodes(5, (48, 32)), 30)
    with pytest.raises(ValueError, match="video overview.mp4 has no camera in"):
        open_clip(tmp_path)
    assert len(open_clip(tmp_path, cameras=("cam1", "cam2"))) == 5


@pytest.mark.parametrize("layout", ["images", "videos", "imgs"])
def test_easymocaps_folders(tmp_path, barcodes, layout):
    calibrated(tmp_path, (48, 32), (48, 32), names=("01", "02"))
    for name in ("01", "02"):
        if layout == "videos":
            (tmp_path / layout).mkdir(exist_ok=True)
            write_video(tmp_path / layout / f"{name}.mp4", barcodes(5, (48, 32)), 30)
            continue
        (tmp_path / layout / name).mkdir(parents=True)
        for i, x in enumerate(barcodes(5, (48, 32))):
            Image.fromarray(x).save(tmp_path / layout / name / f"{i:06d}.png")
    clip = open_clip(tmp_path, fps=30)
    assert len(clip) == 5 and [barcodes.read(x) for x in clip.frames[3]] == [3, 3]


def test_what_lies_there_and_is_not_read_is_listed(tmp_path):
    calibrated(tmp_path, (48, 32), (48, 32))
    for name in ("cam0.seq", "cam1.seq", "notes.docx"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "raw").mkdir()
    with pytest.raises(ValueError, match=r"there lie .*2 \.seq, .*1 \.docx, raw/.*formats.md"):
        open_clip(tmp_path)
    pages = [Image.fromarray(np.full((32, 48), i, np.uint8)) for i in (9, 99)]
    pages[0].save(tmp_path / "cam0.tif", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "cam1.tif")
    with pytest.raises(ValueError, match="cam0.tif: holds 2 pictures, a stack"):
        open_clip(tmp_path, fps=30)


# ---- what the rays say ---------------------------------------------------------------------------
@pytest.fixture(scope="module")
def still_in_the_middle():
    """The figure turning on the spot, in the middle of square pictures: its centres say nothing."""
    from bkind3d_lite.clips.survey import survey_views
    from bkind3d_lite.clips.synthetic import draw, figure, poses

    clip = figure(24, views=3)
    T = 24
    angle = torch.linspace(0, 5, T)
    c, s, o = angle.cos(), angle.sin(), torch.zeros(T)
    turn = torch.stack([c, -s, o, s, c, o, o, o, o + 1], -1).view(T, 3, 3)
    rig = ring(3, radius=700.0, height=350.0, target=(0.0, 0.0, 40.0), wh=(72, 72), field=45.0)
    joints = poses(T)
    joints = (joints - joints.mean((0, 1))) @ turn.mT + torch.tensor([0.0, 0, 40])
    clip = replace(clip, rig=rig, frames=draw(rig, joints), truth=None)
    return clip, survey_views(clip)


def rolled(rig, view, quarters):
    """A rig whose camera is calibrated as if its pictures were turned clockwise."""
    quarter = torch.tensor([[0.0, -1, rig.wh[1]], [1, 0, 0], [0, 0, 1]])
    K = rig.K.clone()
    for _ in range(quarters):
        K[view] = quarter @ K[view]
    return replace(rig, K=K)


def test_the_whole_silhouettes_agree_in_a_right_rig(still_in_the_middle):
    check = check_agreement(*still_in_the_middle)
    assert (
        check.state == PASS and "of the silhouettes lie where the other views say" in check.finding
    )


@pytest.mark.parametrize("view, quarters", [(0, 1), (1, 2), (2, 3)])
def test_a_turned_camera_with_a_centred_animal_does_not_pass(still_in_the_middle, view, quarters):
    clip, seen = still_in_the_middle
    wrong = replace(clip, rig=rolled(clip.rig, view, quarters))
    check = check_agreement(wrong, seen)
    what = [
        "turned by 90 degrees counterclockwise",
        "upside down",
        "turned by 90 degrees clockwise",
    ]
    assert check.state == FAIL, check
    assert f"the video of cam{view} is {what[quarters - 1]}" in check.remedy, check


def test_mirrored_and_all_turned_pictures_do_not_pass(still_in_the_middle):
    clip, seen = still_in_the_middle
    K = clip.rig.K.clone()
    K[0] = torch.tensor([[-1.0, 0, 72], [0, 1, 0], [0, 0, 1]]) @ K[0]
    check = check_agreement(replace(clip, rig=replace(clip.rig, K=K)), seen)
    assert check.state == FAIL and "cam0 is mirrored" in check.remedy, check
    everyone = rolled(rolled(rolled(clip.rig, 0, 2), 1, 2), 2, 2)
    check = check_agreement(replace(clip, rig=everyone), seen)
    assert check.state != PASS and "upside down" in check.remedy, check


def test_an_offset_is_advised_on_clips_that_are_long_enough_alone(still_in_the_middle):
    clip, seen = still_in_the_middle
    check = check_offsets(clip, seen)
    assert check.state == PASS and "24 frames are too few to tell" in check.finding
    assert [longest_lag(n) for n in (24, 47, 48, 600)] == [0, 0, 9, 120]


# ---- said twice, said as text, said elsewhere ----------------------------------------------------
def fields(rig, **more):
    """{camera: K, R, t, size and these}."""
    return {n: dict(K=K, R=R, t=t, size=list(SIZE)) | more for n, K, R, t, _ in listed(rig)}


@pytest.mark.parametrize("value", ["-0.25", "-25e-2", -0.25])
def test_a_number_written_as_text_is_that_number(tmp_path, value):
    """YAML takes 5e-2 for text; a value that is no number is named."""
    root = fields(reference(), k1=value, k2=0)
    assert as_json(tmp_path, root).distortion[0, 0] == -0.25
    text = "".join(
        f"{n}:\n" + "".join(f"  {k}: {v}\n" for k, v in c.items()) for n, c in root.items()
    )
    (tmp_path / "a.yaml").write_text(text)
    assert load_calibration(tmp_path / "a.yaml").distortion[0, 0] == -0.25
    for key, wrong in (("k1", "weak"), ("dist", "yes"), ("dist", True), ("p", "no")):
        with pytest.raises(ValueError, match=rf"\[Camera1\]: {key} = {wrong} is not an array of"):
            as_json(tmp_path, fields(reference(), **{key: wrong}))


@pytest.mark.parametrize("name", ["cam_to_world", "c2w", "camera_to_world", "world_from_cam"])
def test_a_pose_from_camera_to_world_in_a_table_is_refused(tmp_path, name):
    cameras = listed(reference())
    for more in ({}, dict(R=cameras[0][2], t=cameras[0][3])):
        root = {
            n: dict(K=K, size=SIZE) | {name: dict(R=R, t=t)} | more for n, K, R, t, _ in cameras
        }
        with pytest.raises(
            ValueError, match=rf"{name} = .*from camera to world; write its inverse"
        ):
            as_json(tmp_path, root)


def test_two_forms_of_one_thing_agree_or_are_refused(tmp_path):
    rig = reference()
    wrong = {
        "K and fx differ": dict(fx=50.0),
        "K and cy differ": dict(cy=1.0),
        "R and w2c differ": dict(w2c=np.eye(4).tolist()),
        "width and height and size differ": dict(width=64, height=96),
        "size and image_shape differ": dict(image_shape=[96, 64]),
    }
    for says, more in wrong.items():
        with pytest.raises(ValueError, match=says):
            as_json(tmp_path, fields(rig, **more))
    root = fields(rig, width=96, height=64, image_shape=[64, 96])
    for c in root.values():
        c |= dict(fx=c["K"][0][0] + 1e-4, w2c=[[*row, x] for row, x in zip(c["R"], c["t"])])
    assert as_json(tmp_path, root).views == rig.views
    for c in root.values():
        c["w2c"][0][3] += 100
    with pytest.raises(ValueError, match="t and w2c differ"):
        as_json(tmp_path, root)


@pytest.mark.parametrize("table", ["metadata", "info"])
def test_a_lens_model_named_under_metadata_is_heard(tmp_path, table):
    cameras = fields(reference())
    said = {table: dict(camera_model="fisheye")}
    for root in (
        said | cameras,
        {"cameras": cameras} | said,
        {n: c | said for n, c in cameras.items()},
    ):
        with pytest.raises(ValueError, match="camera_model = fisheye is not supported"):
            as_json(tmp_path, root)
        (tmp_path / "a.yaml").write_text(json.dumps(root))
        with pytest.raises(ValueError, match="camera_model = fisheye is not supported"):
            load_calibration(tmp_path / "a.yaml")
    toml = written(tmp_path, f'[{table}]\ncamera_model = "fisheye"')
    toml.write_text(
        toml.read_text()
        + "".join(
            f"\n[{n}]\n" + "".join(f"{k} = {list(v)}\n" for k, v in c.items())
            for n, c in cameras.items()
        )
    )
    with pytest.raises(ValueError, match="camera_model = fisheye is not supported"):
        load_calibration(toml)
    assert as_json(tmp_path, fields(reference(), lens="Meike 25mm")).views == 3
    with pytest.raises(ValueError, match="lens = Mei is not supported"):
        as_json(tmp_path, fields(reference(), lens="Mei"))


def test_a_list_at_the_top_of_a_file_and_the_unit_of_a_strange_toml(tmp_path):
    rig = reference()
    root = fields(rig)
    found = as_json(tmp_path, [dict(name=n) | c for n, c in root.items()])
    assert found.names == rig.names and found.unit == "unknown"
    lines = [
        f"[{n}]\n" + "".join(f"{k} = {list(v)}\n" for k, v in c.items()) for n, c in root.items()
    ]
    (tmp_path / "a.toml").write_text("".join(lines))
    assert load_calibration(tmp_path / "a.toml").unit == "unknown", "its keys are not Anipose's"
    assert load_calibration(written(tmp_path, table("a"), table("b"))).unit == "mm"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_a_vicon_file_in_utf_16(tmp_path, encoding):
    camera = (
        '<Camera DEVICEID="{0}" SENSOR_SIZE="96 64"><KeyFrames><KeyFrame FOCAL_LENGTH="90" '
        'PRINCIPAL_POINT="48 32" ORIENTATION="0 0 0 1" POSITION="{0} 0 9"/></KeyFrames></Camera>'
    )
    text = f'<?xml version="1.0" encoding="UTF-16"?>\n<Cameras>{camera.format(1)}{camera.format(2)}'
    path = tmp_path / "a.xcp"
    mark = b"\xfe\xff" if encoding.endswith("be") else b""
    path.write_bytes(mark + (text + "</Cameras>").encode(encoding))
    assert load_calibration(path).names == ("1", "2")
    path.write_bytes(mark + text.replace("<Cameras", "<!DOCTYPE a><Cameras").encode(encoding))
    with pytest.raises(ValueError, match="holds a document type"):
        load_calibration(path)
    path.write_bytes((text + "</Cameras>").encode("utf-16-le"))
    with pytest.raises(ValueError, match="holds a document type"):
        load_calibration(path)


def test_a_lens_beside_or_across_the_cameras_is_theirs(tmp_path):
    """For all, by names, in their order; under an unknown name it is an error."""
    rig = reference()
    cameras, bare = listed(rig), fields(rig)
    lens = list(cameras[0][4])
    tables = {
        "K": {c[0]: c[1] for c in cameras}, "R": {c[0]: c[2] for c in cameras},
        "t": {c[0]: c[3] for c in cameras}, "size": list(SIZE),
    }  # fmt: skip
    for root in (
        {"distCoef": lens, "cameras": bare},
        {"cameras": bare, "dist": {n: d for n, *_, d in cameras}},
        {
            "cameras": bare,
            "distortion": {f"{k}": x for k, x in zip(("k1", "k2", "p1", "p2", "k3"), lens)},
        },
        tables | {"lens_distortion": {n: d for n, *_, d in cameras}},
        tables | {"k1": lens[0], "k2": lens[1], "p1": lens[2], "p2": lens[3], "k3": lens[4]},
    ):
        assert_close(as_json(tmp_path, root).distortion, rig.distortion)
    strange = {n: d for n, *_, d in cameras}
    for root in (
        {"lens_distortion_coeffs": lens, "cameras": bare},
        {"lens_coeffs": strange, "cameras": bare},
        bare | {"lens_coeffs": strange},
        tables | {"lens_distortion_coeffs": strange},
        tables | {"lens": {n: {"kappa": d} for n, d in strange.items()}},
        tables | {"camera_to_world": {n: {"R": r, "t": t} for n, _, r, t, _ in cameras}},
    ):
        with pytest.raises(ValueError, match=r"\[Camera1\]: \w+ = .* looks like a (lens|pose)"):
            as_json(tmp_path, root)
    _, K, R, t, d = (np.stack(x) if i else x for i, x in enumerate(zip(*parts(rig))))
    np.savez(tmp_path / "a.npz", K=K, R=R, t=t, size=SIZE, lens_distortion_coeffs=d)
    with pytest.raises(ValueError, match=r"\[cam0\]: lens_distortion_coeffs = .*looks like a lens"):
        load_calibration(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", K=K, R=R, t=t, size=SIZE, camera_model="fisheye")
    with pytest.raises(ValueError, match="camera_model = fisheye is not supported"):
        load_calibration(tmp_path / "a.npz")


def test_no_camera_vanishes(tmp_path):
    """Names and keys that repeat, and an entry among cameras with nothing that is known in it."""
    rig = reference()
    root = fields(rig)
    twice = [dict(name="left") | c for c in root.values()]
    for cameras in (twice, {"cameras": twice}, {"intrinsics": twice, "extrinsics": twice}):
        with pytest.raises(ValueError, match="camera names left repeat; each camera needs"):
            as_json(tmp_path, cameras)
    _, K, R, t, d = (np.stack(x) if i else x for i, x in enumerate(zip(*parts(rig))))
    np.savez(tmp_path / "a.npz", K=K, R=R, t=t, dist=d, size=SIZE, names=["a", "b", "a"])
    with pytest.raises(ValueError, match="camera names a repeat"):
        load_calibration(tmp_path / "a.npz")
    text = json.dumps(root).replace("Camera2", "Camera1")
    for name in ("a.json", "a.yaml"):
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=rf"{name}.*the key Camera1 stands there twice"):
            load_calibration(tmp_path / name)
    for entry in ({}, None, {"foo": 1}):
        with pytest.raises(ValueError, match=r"\[c\]: no matrix, rotation, translation"):
            as_json(tmp_path, {"cameras": root | {"c": entry}})
    beside = {
        "unit": "mm",
        "image_size": SIZE,
        "metadata": {"by": "me"},
        "errors": {"Camera1": 0.1},
    }
    assert as_json(tmp_path, {"cameras": root | beside}).views == rig.views
