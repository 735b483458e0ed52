"""Students: labels move with their picture, and what is taught is learned, as every run is."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.testing import assert_close

from bkind3d_lite.__main__ import main
from bkind3d_lite.clips.clip import SurveyedClip, open_clip
from bkind3d_lite.clips.lessons import (
    DRAWS,
    UNCHANGED,
    box_side,
    fitted_to_labels,
    labelled_batch,
    lesson_batches,
    one_each,
    taught_times,
    turned_cameras,
)
from bkind3d_lite.clips.occlusion import Occluders, blobs, occluders_of, voc_objects
from bkind3d_lite.clips.pseudo_labels import PseudoLabels, load_labels, pseudo_labels
from bkind3d_lite.clips.single_view import body_boxes, one_view, picture_clip
from bkind3d_lite.clips.survey import survey_views
from bkind3d_lite.evaluation import n_mpjpe
from bkind3d_lite.files import bundled
from bkind3d_lite.model.keypoints import Keypoints
from bkind3d_lite.model.losses import taught_pose
from bkind3d_lite.recipes import STUDENT, LessonRecipe
from bkind3d_lite.students.mpii import (
    FLAT_SIDE,
    MPII_NAMES,
    mpii_clip,
    pckh,
    read_mpii,
    save_mpii,
)
from bkind3d_lite.students.refiner import PoseRefiner, RefinementUnit
from bkind3d_lite.students.student import all_pictures, in_camera, read_poses, recite
from bkind3d_lite.training import batches, begin, load, save, train
from bkind3d_lite.training.checkpoints import resume
from bkind3d_lite.workflows.student_run import examine_student
from bkind3d_lite.workflows.train_run import fit

SMALL = STUDENT.with_(image_wh=(32, 32), depth_cells=4, encoder_width=8, batch=8, steps=60)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def draws(n, seed=0):
    return torch.rand(n, DRAWS, generator=torch.Generator().manual_seed(seed))


def labels_for(clip):
    """Its truth as labels."""
    return PseudoLabels(
        world=clip.truth,
        weight=torch.ones(clip.truth.shape[:2]),
        frames=torch.arange(len(clip)),
        names=clip.skeleton.names,
        rig=clip.rig,
        source={},
    )


@pytest.fixture(scope="module")
def taught(clip):
    """The synthetic figure, its truth as labels."""
    return labels_for(clip).of(clip)


def advance(run, clip, to):
    return [step.losses["pose"] for step in train_to(run, clip, to)]


def train_to(run, clip, to):
    for step in train(run, batches(run, clip, None)):
        yield step
        if step.index >= to:
            return


# ---- pictures ------------------------------------------------------------------------------------
def test_each_picture_has_its_own_camera(taught, clip):
    rig = one_each(taught.rig, torch.tensor([2, 0, 2]))
    assert rig.K.shape == (3, 1, 3, 3)
    px = rig.px_from_world(taught.truth[:3])[:, 0]
    expected = clip.rig.px_from_world(clip.truth[:3].flatten(0, 1)).unflatten(1, (3, -1))
    assert_close(px, torch.stack([expected[2, 0], expected[0, 1], expected[2, 2]]))


def test_labels_of_too_few_joints_teach_nothing(clip):
    labels = labels_for(clip)
    world = torch.full_like(clip.truth, torch.nan)
    world[:, 0] = clip.truth[:, 0]
    with pytest.raises(ValueError, match="no frame has 70% of its"):
        taught_times(replace(labels, world=world).of(clip))
    world[5:9] = clip.truth[5:9]
    assert taught_times(replace(labels, world=world).of(clip)).tolist() == [5, 6, 7, 8]
    with pytest.raises(ValueError, match="no labels to learn from"):
        begin(SMALL, replace(clip, truth=None))


def test_labels_of_some_cameras_are_of_a_clip_with_these(clip):
    few = replace(clip, rig=clip.rig.take([3, 1]), frames=clip.frames[:, [3, 1]])
    assert_close(labels_for(clip).of(few).rig.R, clip.rig.R[[3, 1]])
    strange = replace(few, rig=replace(few.rig, names=("a", "b")))
    with pytest.raises(ValueError, match="cameras a, b"):
        labels_for(clip).of(strange)


def dotted(taught, joint=3):
    """The clip, black but for a bright spot at one joint."""
    H, W = taught.frames.shape[2:4]
    px = taught.rig.px_from_world(taught.truth[:, joint]).movedim(0, 1)  # (T, V, 2)
    y, x = torch.meshgrid(torch.arange(H) + 0.5, torch.arange(W) + 0.5, indexing="ij")
    far = (x - px[..., 0, None, None]).square() + (y - px[..., 1, None, None]).square()
    spot = (255 * (-far / 4).exp()).to(torch.uint8)
    return replace(taught, frames=spot[..., None].expand(*spot.shape, 3).contiguous())


@pytest.mark.parametrize(
    "change",
    [UNCHANGED, replace(UNCHANGED, tilt=60.0), LessonRecipe(tilt=40, zoom=0.3, nudge=0.1, tint=0)],
)
def test_a_label_moves_with_its_picture(taught, change):
    """What is seen at the joint is seen there after every turn, scale and shift, not square."""
    recipe = replace(fitted_to_labels(SMALL.with_(image_wh=(64, 48)), taught), lesson=change)
    picks = all_pictures(taught, [0, 2])
    crops = labelled_batch(dotted(taught), picks, recipe, draws(len(picks[0])))
    mass = crops.now[:, 0].mean(1)
    y, x = torch.meshgrid(torch.arange(48) + 0.5, torch.arange(64) + 0.5, indexing="ij")
    seen = torch.stack([(mass * a).sum((1, 2)) / mass.sum((1, 2)) for a in (x, y)], -1)
    told = (crops.labels[:, 0, 3, :2] + 1) / 2 * torch.tensor([64.0, 48])
    inside = ((told > 6) & (told < torch.tensor([58.0, 42]))).all(-1)
    assert inside.float().mean() > 0.5
    assert (seen - told)[inside].norm(dim=-1).max() < 1


def test_a_turn_about_the_axis_is_a_camera_turned(taught):
    picks = all_pictures(taught, [0, 2])
    rig, world = one_each(taught.rig, picks[1]), taught.truth[picks[0]]
    angle = torch.full((len(world),), 0.5)
    px = [r.px_from_world(world)[:, 0] for r in (rig, turned_cameras(rig, angle))]
    middle = rig.K[:, 0, None, :2, 2]
    before, after = (x - middle for x in px)
    c, s = np.cos(0.5), np.sin(0.5)
    expected = torch.stack([c * before[..., 0] - s * before[..., 1],
                            s * before[..., 0] + c * before[..., 1]], -1)  # fmt: skip
    assert_close(after, expected, atol=0.05, rtol=0)


def oracle(run, monkeypatch):
    """A student that says the labels."""

    def said(batch):
        pose = batch.labels[..., :3]
        return Keypoints(pose[..., :2], None, torch.ones(pose.shape[:3]), depth=pose[..., 2])

    monkeypatch.setattr(run.model, "keypoints", said)
    return run.model


def test_labels_lead_back_to_the_pose(taught, monkeypatch):
    """A student that says the labels is right to the last digit."""
    run, picks = begin(SMALL, taught), all_pictures(taught, [1])
    poses = recite(oracle(run, monkeypatch), run.recipe, taught, picks)
    assert_close(poses, in_camera(taught, picks), atol=0.05, rtol=1e-4)


def test_the_box_holds_the_body(taught):
    recipe = fitted_to_labels(SMALL, taught)
    assert recipe.keypoints == 8 and recipe.lesson.joints == taught.skeleton.names
    assert recipe.volume.side == pytest.approx(box_side(taught), rel=1e-3)
    crops = labelled_batch(taught, all_pictures(taught), recipe)
    assert (crops.labels[..., :3].abs() < 1).float().mean() > 0.99
    wide = crops.labels[..., :2].amax(2) - crops.labels[..., :2].amin(2)  # of the joints, in ndc
    assert_close((2 / wide.amax(-1)).median().item(), recipe.lesson.margin, rtol=0.05, atol=0)


# ---- the student ---------------------------------------------------------------------------------
def test_a_student_learns_and_is_read_back(taught, tmp_path):
    run = begin(SMALL, taught)
    first = advance(run, taught, 60)
    assert sum(first[-10:]) < 0.9 * sum(first[:10])
    model, recipe, _ = load(save(run, tmp_path / "s.safetensors", whole=False), tracking=True)
    picks = all_pictures(taught)
    truth = in_camera(taught, picks)
    said = recite(model, recipe, taught, picks)
    assert_close(said, recite(run.model, run.recipe, taught, picks))
    assert n_mpjpe(said, truth).mean() < n_mpjpe(truth.mean(0).expand_as(truth), truth).mean()


def test_a_killed_student_goes_on_to_the_same_digits(taught, tmp_path, monkeypatch):
    """Killed after its fourth step, two after the last checkpoint; and all that a run keeps."""
    recipe, part = SMALL.with_(steps=6, occlude="blobs"), SurveyedClip(taught, None)
    how = dict(checkpoint_every=2, pictures_every=3)
    fit(begin(recipe, taught, 1), part, tmp_path / "whole", **how)
    with monkeypatch.context() as patch:
        patch.setattr("bkind3d_lite.workflows.train_run.save", killed_at(4))
        with pytest.raises(SystemExit):
            fit(begin(recipe, taught, 1), part, tmp_path / "killed", **how)
    fit(resume(tmp_path / "killed" / "checkpoint.safetensors", taught), part, tmp_path / "killed")
    one, two = (load_file(tmp_path / n / "checkpoint.safetensors") for n in ("whole", "killed"))
    assert one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)
    tables = [(tmp_path / n / "losses.csv").read_text() for n in ("whole", "killed")]
    assert tables[0] == tables[1] and tables[0].startswith("step,pose\n1,")
    sheet = np.asarray(Image.open(tmp_path / "whole" / "pictures" / "step_0000003.jpg"))
    assert sheet.std() > 10


def killed_at(step):
    def saved(run, path):
        if run.step >= step:
            raise SystemExit(137)
        save(run, path)

    return saved


def test_a_student_of_other_labels_is_not_gone_on_with(taught, tmp_path):
    path = save(begin(SMALL, taught), tmp_path / "s.safetensors")
    other = replace(taught, truth=taught.truth + 1)
    with pytest.raises(ValueError, match="labels .* there, .* here"):
        resume(path, other)


def test_ranks_share_the_pictures_of_one_process(taught):
    recipe = fitted_to_labels(SMALL.with_(batch=6, occlude="blobs"), taught)
    whole = lesson_batches(taught, recipe, seed=3, start=7)
    half = recipe.with_(batch=3)
    parts = [lesson_batches(taught, half, seed=3, start=7, share=(r, 2)) for r in (0, 1)]
    for _ in range(2):
        one, (a, b) = next(whole), (next(p) for p in parts)
        for key in ("index", "now", "labels"):
            assert torch.equal(torch.cat([getattr(a, key), getattr(b, key)]), getattr(one, key))
    said = random(6, 1, 8, 3)
    labels = one.labels * torch.tensor([1.0, 1, 1, 0.5])
    labels[0, ..., 3] = 0
    halves = [taught_pose(said[p], labels[p], 0.05) for p in (slice(0, 3), slice(3, 6))]
    assert_close(sum(halves) / 2, taught_pose(said, labels, 0.05))


def test_a_flat_student_does_not_learn_depth(taught):
    recipe = SMALL.with_(depth_cells=1)
    run, deep = begin(recipe, taught), begin(recipe, taught)
    crops = next(batches(run, taught, None))
    assert (run.model(crops).now.depth == 0).all()
    labels = crops.labels + torch.tensor([0.0, 0, 9, 0])
    one, two = (
        next(train(r, iter([replace(crops, labels=x)]))).losses
        for r, x in ((run, crops.labels), (deep, labels))
    )
    assert one == two


def test_every_weight_of_a_student_learns(taught):
    """Ranks wait for ever for a weight that never has a gradient."""
    run = begin(SMALL, taught)
    batch = next(batches(run, taught, None))
    run.objective(batch, run.model(batch), run.model.edges, 0)["pose"].backward()
    without = [n for n, p in run.model.named_parameters() if p.grad is None]
    assert without == [] and any("trunk" in n for n, _ in run.model.named_parameters())


def test_what_learns_from_labels_is_a_student():
    with pytest.raises(ValueError, match="lift = 'flat', explain = 'labels'"):
        SMALL.with_(lift="flat")
    with pytest.raises(ValueError, match="lift = 'integral', explain = 'change'"):
        SMALL.with_(explain="change")


# ---- new pictures --------------------------------------------------------------------------------
def test_new_pictures_are_read_in_their_box(taught, monkeypatch):
    """Told only boxes about the joints, an oracle's poses are seen where they are."""
    run, one = begin(SMALL, taught), one_view(taught, 2)
    px = one.marks[:, 0]
    boxes = torch.cat([px.amin(1), px.amax(1) - px.amin(1)], 1)
    root = taught.truth.nanmean(1, keepdim=True)
    about = (taught.truth - root) @ taught.rig.R[2].mT

    def ruler(clip, picks, window, wh, angle=None):
        line = (window.corner, window.corner + window.extent)
        images = torch.zeros(len(picks[0]), 3, wh[1], wh[0])
        images[:, :2, 0, 0] = line[0][:, 0]
        images[:, 0, 0, -1], images[:, 1, -1, 0] = line[1][:, 0].unbind(-1)
        return images

    def said(batch):  # the joints' places in the crop, by the ruler in it
        x, y = batch.now[:, 0, 0], batch.now[:, 0, 1]
        corner = torch.stack([x[:, 0, 0], y[:, 0, 0]], -1)[:, None]
        far = torch.stack([x[:, 0, -1], y[:, -1, 0]], -1)[:, None]
        ndc = 2 * (px[batch.index] - corner) / (far - corner) - 1
        depth = about[batch.index, :, 2] / (run.recipe.volume.side / 2)
        sure = torch.ones(depth.shape)[:, None]
        return Keypoints(ndc[:, None], None, sure, depth=depth[:, None])

    monkeypatch.setattr("bkind3d_lite.students.student.cut_turned", ruler)
    monkeypatch.setattr(run.model, "keypoints", said)
    flat, pose = read_poses(run.model, run.recipe, one, boxes)
    assert_close(flat.px, px, atol=1e-2, rtol=0)
    expected = about[..., [0, 2, 1]] * torch.tensor([1.0, 1, -1])  # z up in the picture
    assert n_mpjpe(pose.world, expected).mean() < 0.1 * expected.norm(dim=-1).mean()


def test_bodies_are_boxed_by_the_foreground(taught):
    boxes = body_boxes(taught)
    px = taught.rig.px_from_world(taught.truth.flatten(0, 1)).unflatten(1, taught.truth.shape[:2])
    middle = (px.amin(2) + px.amax(2)).movedim(0, 1) / 2  # (T, V, 2)
    off = (boxes[..., :2] + boxes[..., 2:] / 2 - middle).norm(dim=-1)
    assert off.median() < 4  # of 96 x 64 pixels
    look = survey_views(taught)
    assert torch.equal(body_boxes(taught, look), boxes)
    shown = replace(look, thumbs=look.thumbs * 0)
    shown.thumbs[..., 10:20, 5:15] = 255
    h, w = look.thumbs.shape[-2:]
    W, H = taught.rig.wh
    expected = torch.tensor([5 * W / w, 10 * H / h, 10 * W / w, 10 * H / h])
    assert_close(body_boxes(taught, shown), expected.expand_as(boxes))


def test_a_picture_is_a_clip_with_its_box(tmp_path):
    Image.new("RGB", (40, 30), (9, 9, 9)).save(tmp_path / "a.png")
    one = picture_clip(tmp_path / "a.png")
    assert one.boxes.tolist() == [[0, 0, 40, 30]] and one.rig.wh == (40, 30)
    with pytest.raises(ValueError, match="has no part in a picture of 40 x 30"):
        picture_clip(tmp_path / "a.png", (50, 0, 5, 5))
    (tmp_path / "b.png").write_text("no")
    with pytest.raises(ValueError, match="b.png: not an image"):
        picture_clip(tmp_path / "b.png")


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
    knee, pictured = MPII_NAMES.index("left_knee"), mpii_clip(people, 96)
    recipe = fitted_to_labels(
        SMALL.with_(image_wh=(64, 64), side=FLAT_SIDE, depth_cells=1), pictured
    )
    crops = labelled_batch(
        dotted(pictured, knee), all_pictures(pictured), recipe, draws(len(pictured))
    )
    spot = crops.now[:, 0].mean(1).flatten(1).argmax(1)
    seen = torch.stack([spot % 64, spot // 64], -1) + 0.5
    told = (crops.labels[:, 0, knee, :2] + 1) * 32
    assert (seen - told).norm(dim=-1).max() < 1.5
    assert (crops.labels[..., 2] == 0).all()


def test_a_trunk_learned_in_2d_is_taken_over(marked, tmp_path):
    pictured = mpii_clip(marked[0], 64)
    flat = begin(SMALL.with_(depth_cells=1, side=FLAT_SIDE), pictured)
    assert np.isfinite(advance(flat, pictured, 2)).all()
    save(flat, tmp_path / "flat" / "checkpoint.safetensors")
    human, labels = bundled("data_samples") / "human" / "test", tmp_path / "labels.npz"
    pseudo_labels(open_clip(human), None, "truth", times=slice(0, 3)).save(labels)
    given = ["student", str(human), "--labels", str(labels), "--out", str(tmp_path / "run")]
    given += ["--steps", "1", "--size", "32", "--after", str(tmp_path / "flat")]
    given += ["--set", "encoder_width=8", "learning_rate=1e-9", "weight_decay=0"]
    assert main(given) == 0
    trunk = "model.encoder.trunk."
    one, two = (load_file(tmp_path / n / "checkpoint.safetensors") for n in ("flat", "run"))
    learned = [k for k in one if k.startswith(trunk) and k.endswith("weight")]
    assert learned
    for key in learned:
        assert_close(two[key], one[key], atol=1e-6, rtol=0)


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
    draw = draws(3, 1)[:, 7]
    once, twice = bank(images, draw), bank(images, draw)
    assert_close(once, twice)
    share = ((once - images).abs() > 0.02).any(1).float().mean((1, 2))
    assert (share > 0).all() and (share < 0.9).all() and (images == 0.5).all()
    assert once.min() > -1e-6 and once.max() < 1 + 1e-6


def test_the_share_of_crops_that_are_covered_is_the_recipes(taught):
    recipe = fitted_to_labels(SMALL.with_(occlude_share=0.5), taught)
    picks, draw = (torch.arange(4), torch.zeros(4, dtype=torch.long)), draws(4)
    draw[:, 7] = torch.tensor([0.1, 0.4, 0.6, 0.9])
    plain, pasted = (
        labelled_batch(taught, picks, recipe, draw, bank).now
        for bank in (None, Occluders(blobs(6)))
    )
    assert (plain != pasted).flatten(1).any(1).tolist() == [True, True, False, False]


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
    assert torch.equal(occluders_of(str(tmp_path)).patches[0], patch) and occluders_of(None) is None
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


# ---- the examination -----------------------------------------------------------------------------
def test_the_mean_pose_is_of_the_taught_where_units_agree(taught, clip, tmp_path):
    asked, labels = replace(taught, rig=replace(taught.rig, unit="mm")), labels_for(clip)
    few = replace(labels, world=labels.world[:5], weight=labels.weight[:5], frames=torch.arange(5))
    run, picks = begin(SMALL, asked), all_pictures(asked)
    where = in_camera(asked, picks)
    for unit, mean in (("mm", where.view(4, -1, 8, 3)[:, :5].flatten(0, 1)), ("ells", where)):
        of = replace(few, rig=replace(clip.rig, unit=unit))
        examine_student(run, of, asked, tmp_path / "scores.csv")
        rows = (tmp_path / "scores.csv").read_text().splitlines()
        expected = n_mpjpe(mean.mean(0).expand_as(where), where).mean()
        assert rows[2].startswith(f"mean pose,{expected:.3f}"[:-1])
        assert rows[1].startswith("student,") and rows[1].endswith("the box and the root's depth")


def test_the_verb_teaches_asks_goes_on_and_is_tracked_with(tmp_path, capsys):
    human = bundled("data_samples") / "human" / "test"
    labels, run = tmp_path / "labels.npz", tmp_path / "run"
    given = ["pseudo", str(human), "--how", "truth", "--times", "0:4", "--out", str(labels)]
    assert main(given) == 0
    given = ["student", str(human), "--labels", str(labels), "--out", str(run)]
    more = ["--steps", "2", "--size", "32", "--views", "cam1", "--occlude", "blobs"]
    assert main([*given, *more, "--set", "encoder_width=8"]) == 0
    assert (run / "losses.csv").read_text().count("\n") == 3
    assert main([*given, "--resume", "--steps", "3"]) == 0
    assert (run / "losses.csv").read_text().count("\n") == 4
    rat = bundled("data_samples") / "rat" / "test"
    assert main([*given, "--test", str(rat), "--out", str(tmp_path / "never")]) == 1
    assert f"--test {rat}: no joint" in capsys.readouterr().err
    assert not (tmp_path / "never").exists()
    assert main([*given, "--views", "cam9", "--out", str(tmp_path / "none")]) == 1
    assert "cam9; the labels' cameras are cam1" in capsys.readouterr().err
    frame = np.asarray(open_clip(human).frames[0][1])
    Image.fromarray(frame).save(tmp_path / "photo.png")
    out, given = tmp_path / "poses", ["track", "--checkpoint", str(run)]
    box = ["--box", "60", "40", "90", "150"]
    assert main([*given, "--clip", str(tmp_path / "photo.png"), *box, "--out", str(out)]) == 0
    names = {"keypoints.csv", "keypoints.npz", "pose3d.csv", "pose3d.npz", "skeleton.html"}
    assert {p.name for p in out.iterdir()} == names | {"overlay.jpg"}
    assert "left_wrist_x" in (out / "pose3d.csv").read_text().splitlines()[0]
    assert load_labels(labels).names[0] == "pelvis"
    assert main([*given, "--clip", str(human / "cam1.mp4"), *box, "--out", str(out)]) == 1
    assert "--box is of a single picture" in capsys.readouterr().err
