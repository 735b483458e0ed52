"""Students: labels move with their picture, and what is taught is learned."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from bkind3d_lite.__main__ import main
from bkind3d_lite.clips.clip import open_clip
from bkind3d_lite.clips.pseudo_labels import PseudoLabels
from bkind3d_lite.evaluation import n_mpjpe
from bkind3d_lite.files import bundled
from bkind3d_lite.recipes import EncoderRecipe
from bkind3d_lite.students.mpii import (
    FLAT_SIDE,
    MPII_NAMES,
    mpii_pictures,
    pckh,
    read_mpii,
    save_mpii,
)
from bkind3d_lite.students.occlusion import Occluders, blobs, voc_objects
from bkind3d_lite.students.pictures import (
    NO_CHANGE,
    Augment,
    cut,
    labelled_pictures,
    turned_cameras,
)
from bkind3d_lite.students.refiner import PoseRefiner, RefinementUnit
from bkind3d_lite.students.student import (
    Student,
    StudentRecipe,
    begin_schooling,
    load_student,
    recite,
    save_student,
    teach_student,
)
from bkind3d_lite.workflows.student_run import _score

SMALL = StudentRecipe(
    image_wh=(32, 32), depth=4, encoder=EncoderRecipe(encoder_width=8), batch=8, steps=60
)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def taught(clip):
    """The synthetic figure's truth as labels, its pictures of two cameras."""
    labels = PseudoLabels(
        world=clip.truth,
        weight=torch.ones(clip.truth.shape[:2]),
        frames=torch.arange(len(clip)),
        names=clip.skeleton.names,
        rig=clip.rig,
        source={},
    )
    return labelled_pictures(clip, labels, [0, 2])


# ---- pictures ------------------------------------------------------------------------------------
def test_each_picture_has_its_own_camera(taught, clip):
    assert len(taught) == 2 * len(clip) and taught.rig.K.shape == (len(taught), 1, 3, 3)
    px = taught.rig.px_from_world(taught.world)[len(clip), 0]
    assert_close(px, clip.rig.px_from_world(clip.truth[0])[2], atol=1e-2, rtol=0)
    assert_close(taught.frames[len(clip)], torch.as_tensor(clip.frames[0, 2]))


def test_labels_of_too_few_joints_make_no_pictures(clip):
    world = torch.full_like(clip.truth, torch.nan)
    world[:, 0] = clip.truth[:, 0]
    labels = PseudoLabels(
        world=world,
        weight=torch.ones(world.shape[:2]),
        frames=torch.arange(len(clip)),
        names=clip.skeleton.names,
        rig=clip.rig,
        source={},
    )
    with pytest.raises(ValueError, match="no frame has 70% of its"):
        labelled_pictures(clip, labels)


def test_pictures_that_memory_cannot_hold_are_thinned_evenly(clip, caplog):
    labels = PseudoLabels(
        world=clip.truth,
        weight=torch.ones(clip.truth.shape[:2]),
        frames=torch.arange(len(clip)),
        names=clip.skeleton.names,
        rig=clip.rig,
        source={},
    )
    moment = 2 * np.prod(np.asarray(clip.frames[0, 0]).shape)  # of two views
    few = labelled_pictures(clip, labels, [0, 2], memory=2 * 3 * int(moment))
    assert few.times.tolist() == 2 * [0, round((len(clip) - 1) / 2), len(clip) - 1]
    assert f"3 of {len(clip)} labelled frames are used" in caplog.text
    assert len(labelled_pictures(clip, labels)) == len(clip) * clip.rig.views


def dotted(taught, joint=3):
    """The pictures, black but for a bright spot at one joint."""
    H, W = taught.frames.shape[1:3]
    px = taught.rig.px_from_world(taught.world)[:, 0, joint]
    y, x = torch.meshgrid(torch.arange(H) + 0.5, torch.arange(W) + 0.5, indexing="ij")
    far = (x - px[:, 0, None, None]).square() + (y - px[:, 1, None, None]).square()
    spot = (255 * (-far / 4).exp()).to(torch.uint8)
    return replace(taught, frames=spot[..., None].expand(-1, -1, -1, 3).contiguous())


@pytest.mark.parametrize("change", [NO_CHANGE, Augment(60, 0, 0, 0), Augment(40, 0.3, 0.1, 0)])
def test_a_label_moves_with_its_picture(taught, change):
    """What is seen at the joint is seen there after every turn, scale and shift, not square."""
    crops = cut(dotted(taught), taught.side, (64, 48), change, drawn())
    mass = crops.images.mean(1)
    y, x = torch.meshgrid(torch.arange(48) + 0.5, torch.arange(64) + 0.5, indexing="ij")
    seen = torch.stack([(mass * a).sum((1, 2)) / mass.sum((1, 2)) for a in (x, y)], -1)
    told = (crops.target[:, 3, :2] + 1) / 2 * torch.tensor([64.0, 48])
    inside = ((told > 6) & (told < torch.tensor([58.0, 42]))).all(-1)
    assert inside.float().mean() > 0.5
    assert (seen - told)[inside].norm(dim=-1).max() < 1


def test_a_turn_about_the_axis_is_a_camera_turned(taught):
    angle = torch.full((len(taught),), 0.5)
    px = [
        rig.px_from_world(taught.world)[:, 0]
        for rig in (taught.rig, turned_cameras(taught.rig, angle))
    ]
    middle = taught.rig.K[:, 0, None, :2, 2]
    before, after = (x - middle for x in px)
    c, s = np.cos(0.5), np.sin(0.5)
    expected = torch.stack([c * before[..., 0] - s * before[..., 1],
                            s * before[..., 0] + c * before[..., 1]], -1)  # fmt: skip
    assert_close(after, expected, atol=0.05, rtol=0)


def test_targets_lead_back_to_the_pose(taught):
    """A student that says the targets is right to the last digit."""

    class Oracle(Student):
        def forward(self, images):
            crops = cut(self.asked.take(self.part), self.side, (32, 32), NO_CHANGE, drawn())
            return crops.target, None

    oracle = Oracle(SMALL, taught.names)
    oracle.asked, oracle.side, oracle.part = taught, taught.side, torch.arange(10)
    some = taught.take(torch.arange(10))
    assert_close(recite(oracle, some, taught.side), some.in_camera(), atol=0.05, rtol=1e-4)


# ---- the student ---------------------------------------------------------------------------------
def test_a_student_learns_resumes_its_draws_and_is_read_back(taught, tmp_path):
    lesson = begin_schooling(SMALL, taught)
    again = begin_schooling(SMALL, taught)
    first = list(teach_student(lesson, taught))
    assert first[:3] == [loss for loss, _ in zip(teach_student(again, taught), range(3))]
    assert sum(first[-10:]) < 0.9 * sum(first[:10])
    student, side = load_student(save_student(lesson, tmp_path / "s.safetensors"))
    truth, mean = taught.in_camera(), taught.in_camera().mean(0)
    said = recite(student, taught, side)
    assert_close(said, recite(lesson.student, taught, side))
    assert n_mpjpe(said, truth).mean() < n_mpjpe(mean.expand_as(truth), truth).mean()
    with pytest.raises(FileNotFoundError, match="no student here"):
        load_student(tmp_path / "none")
    with pytest.raises(ValueError, match="no student's checkpoint"):
        load_student(bundled("data_samples") / "checkpoints" / "rat.safetensors")


def test_a_flat_student_does_not_learn_depth(taught):
    lesson = begin_schooling(replace(SMALL, depth=1, steps=2), taught)
    crops = cut(taught.take(torch.arange(4)), taught.side, (32, 32), NO_CHANGE, drawn())
    said, _ = lesson.student(crops.images)
    assert (said[..., 2] == 0).all()
    before = next(teach_student(lesson, taught))
    deep = replace(taught, world=taught.world.clone())
    assert before == next(
        teach_student(begin_schooling(replace(SMALL, depth=1, steps=2), taught), deep)
    )


# ---- people marked in single images --------------------------------------------------------------
@pytest.fixture(scope="module")
def marked(tmp_path_factory):
    """Twelve images of the bundled human in MPII's format, and their truth in pixels."""
    human = open_clip(bundled("data_samples") / "human" / "test").at([0, 40, 80])
    folder = tmp_path_factory.mktemp("mpii")
    path = save_mpii(human, folder, range(3))
    path.write_text(path.read_text(), encoding="utf-8-sig")  # as some editors leave it
    people = read_mpii(path, folder / "images")
    return people, human


def test_mpii_counts_pixels_from_one_and_is_read_back(marked):
    people, human = marked
    px = human.rig.px_from_world(human.truth[0])[0]
    knee = human.skeleton.names.index("left_knee")
    assert_close(people[0].px[MPII_NAMES.index("left_knee")], px[knee], atol=1e-3, rtol=0)
    assert people[0].px[MPII_NAMES.index("neck")].isnan().all()  # the clip has no such joint
    low, high = (f(people[0].px.nan_to_num(x), 0) for f, x in ((torch.amin, 1e9), (torch.amax, -1)))
    assert (people[0].centre - people[0].side / 2 < low).all()
    assert (people[0].centre + people[0].side / 2 > high).all()


def test_marked_people_are_pictures_whose_marks_move_with_them(marked):
    people, _ = marked
    crops = cut(
        dotted(mpii_pictures(people, 96), MPII_NAMES.index("left_knee")), FLAT_SIDE, (64, 64),
        Augment(20, 0.1, 0, 0), drawn(),
    )  # fmt: skip
    spot = crops.images.mean(1).flatten(1).argmax(1)
    seen = torch.stack([spot % 64, spot // 64], -1) + 0.5
    told = (crops.target[:, MPII_NAMES.index("left_knee"), :2] + 1) * 32
    assert (seen - told).norm(dim=-1).max() < 1.5
    assert (crops.target[..., 2] == 0).all()


def test_a_trunk_learned_in_2d_is_taken_over(marked, taught):
    pictured = mpii_pictures(marked[0], 64)
    flat = begin_schooling(replace(SMALL, depth=1, steps=3), pictured, side=FLAT_SIDE)
    losses = list(teach_student(flat, pictured))
    assert len(losses) == 3 and np.isfinite(losses).all()
    deep = begin_schooling(SMALL, taught, after=flat.student)
    for a, b in zip(
        deep.student.encoder.trunk.parameters(), flat.student.encoder.trunk.parameters()
    ):
        assert_close(a, b)


def test_pckh_by_hand():
    truth = torch.zeros(1, 16, 2)
    truth[0, MPII_NAMES.index("head_top"), 1] = -10
    said = truth.clone()
    said[0, MPII_NAMES.index("left_knee"), 0] = 5.1
    said[0, MPII_NAMES.index("pelvis"), 0] = 99
    assert_close(pckh(said, truth), torch.tensor([13 / 14]))
    assert_close(pckh(said, truth, 0.6), torch.tensor([1.0]))


def test_a_file_that_is_not_mpii_is_named(tmp_path):
    (tmp_path / "a.json").write_text('[{"image": "a.jpg"}]')
    with pytest.raises(ValueError, match="a.json: not MPII's annotations"):
        read_mpii(tmp_path / "a.json", tmp_path)
    person = dict(image="a.jpg", joints=[[1, 2]] * 17, joints_vis=[1] * 17, center=[1, 2], scale=1)
    (tmp_path / "a.json").write_text(json.dumps([person]))
    with pytest.raises(ValueError, match="a.json: not MPII's annotations"):
        read_mpii(tmp_path / "a.json", tmp_path)


# ---- occlusion -----------------------------------------------------------------------------------
def test_occluders_cover_a_part_and_the_same_draws_the_same_part():
    images = torch.full((3, 3, 48, 64), 0.5)
    bank = Occluders(blobs(6, 64))
    once, twice = bank(images, drawn(1)), bank(images, drawn(1))
    assert_close(once, twice)
    share = ((once - images).abs() > 0.02).any(1).float().mean((1, 2))
    assert (share > 0).all() and (share < 0.9).all() and (images == 0.5).all()
    assert once.min() > -1e-6 and once.max() < 1 + 1e-6


def voc(folder, truncated="0"):
    """A tree as VOC has it, with one square object."""
    for name in ("Annotations", "JPEGImages", "SegmentationObject"):
        (folder / name).mkdir()
    image, mask = np.zeros((60, 80, 3), np.uint8), np.zeros((60, 80), np.uint8)
    image[10:50, 20:60], mask[10:50, 20:60] = (255, 0, 0), 2
    Image.fromarray(image).save(folder / "JPEGImages" / "a.jpg", quality=100)
    Image.fromarray(mask).save(folder / "SegmentationObject" / "a.png")
    box = "<bndbox><xmin>21</xmin><ymin>11</ymin><xmax>60</xmax><ymax>50</ymax></bndbox>"
    thing = "<object><name>{}</name><truncated>{}</truncated><difficult>0</difficult>{}</object>"
    things = thing.format("person", 0, box) + thing.format("dog", truncated, box)
    text = f"<annotation><filename>a.jpg</filename><segmented>1</segmented>{things}</annotation>"
    (folder / "Annotations" / "a.xml").write_text(text)


def test_objects_are_cut_out_of_voc(tmp_path):
    voc(tmp_path)
    (patch,) = voc_objects(tmp_path)
    assert patch.shape == (4, 20, 20)
    assert patch[0].min() > 0.8 and patch[1:3].max() < 0.2
    assert patch[3, 10, 10] == 1 and 0.7 < patch[3, 0, 10] < 0.8


def test_a_voc_folder_without_whole_objects_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected the folder VOC2012"):
        voc_objects(tmp_path)
    voc(tmp_path, truncated="1")
    with pytest.raises(ValueError, match="no segmented objects"):
        voc_objects(tmp_path)


# ---- refinement ----------------------------------------------------------------------------------
def test_the_unit_has_the_published_size():
    assert sum(p.numel() for p in RefinementUnit(45).parameters()) == pytest.approx(8.6e6, rel=0.01)


def test_a_systematic_error_is_learned_and_the_identity_kept():
    truth = 100 * random(300, 5, 3)
    wrong = truth * torch.tensor([1.0, 1.0, 0.6]) + torch.tensor([0.0, 20, 0])
    unit = PoseRefiner(64, epochs=40, dropout=0.0).fit(wrong[:200], truth[:200])
    after, before = (
        n_mpjpe(x, truth[200:]).mean() for x in (unit.predict(wrong[200:]), wrong[200:])
    )
    assert after < 0.7 * before
    same = PoseRefiner(64, epochs=40, dropout=0.0).fit(truth[:200], truth[:200])
    assert n_mpjpe(same.predict(truth[200:]), truth[200:]).mean() < 25


def test_a_unit_is_not_taught_by_one_pose():
    poses = random(3, 5, 3)
    poses[1:, 2] = torch.nan
    with pytest.raises(ValueError, match="1 of 3 pairs of poses are whole"):
        PoseRefiner(8, epochs=1).fit(poses, poses)


def test_noise_is_taken_off_without_truth():
    """Poses of three numbers: what lies off their plane is noise."""
    basis = random(3, 15, seed=1)
    poses = (100 * random(400, 3) @ basis).view(400, 5, 3)
    unit = PoseRefiner(64, epochs=15, dropout=0.0).denoise(poses[:300], 0.2, copies=2)
    noisy = poses[300:] + 0.2 * poses.square().sum(-1).mean().sqrt() * random(100, 5, 3, seed=2)
    before = (noisy - poses[300:]).norm(dim=-1).mean()
    assert (unit.predict(noisy) - poses[300:]).norm(dim=-1).mean() < 0.8 * before


def test_the_mean_pose_is_of_the_taught_where_units_agree(taught, caplog):
    caplog.set_level("INFO", "bkind3d_lite")
    some, rest = taught.take(torch.arange(5)), taught.take(torch.arange(5, len(taught)))
    student, where = begin_schooling(SMALL, some).student, rest.in_camera()
    for unit, source in ((some.rig.unit, some), ("ells", rest)):
        _score(student, some, rest, unit)
        expected = n_mpjpe(source.in_camera().mean(0).expand_as(where), where).mean()
        assert f"mean pose  N-MPJPE {expected:7.2f}" in caplog.text


# ---- the verb ------------------------------------------------------------------------------------
def test_the_verb_teaches_and_asks(tmp_path, capsys):
    human = bundled("data_samples") / "human" / "test"
    labels = tmp_path / "labels.npz"
    given = ["pseudo", str(human), "--how", "truth", "--times", "0:4", "--out", str(labels)]
    assert main(given) == 0
    given = ["student", str(human), "--labels", str(labels), "--out", str(tmp_path / "run")]
    given += ["--steps", "2", "--size", "32", "--views", "cam1", "--occlude", "blobs"]
    assert main(given) == 0
    assert "4 pictures of 17 joints" in capsys.readouterr().out
    assert (tmp_path / "run" / "student.safetensors").is_file()
    assert (tmp_path / "run" / "losses.csv").read_text().startswith("step,pose\n2,")
    rat = bundled("data_samples") / "rat" / "test"
    assert main([*given, "--test", str(rat), "--out", str(tmp_path / "never")]) == 1
    assert f"--test {rat}: no joint" in capsys.readouterr().err
    assert not (tmp_path / "never" / "student.safetensors").exists()
    assert main([*given, "--views", "cam9"]) == 1
    assert "the labels' cameras are cam1" in capsys.readouterr().err
