"""Real files, the reading half: what people's files hold is read, or refused in the file's words.

One test a kind of fault, each with several files of the kind, all written here: nothing is
dropped, nothing is guessed, nothing is silent.
"""

import json

import numpy as np
import pytest
import torch
from scipy.io import savemat
from scipy.spatial.transform import Rotation
from test_calibrations import SIZE, dannce, opencv, parts, reference, same, table, written
from torch.testing import assert_close

from bkind3d_lite.calibrations import load_calibration


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
