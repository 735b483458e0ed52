"""One camera without a calibration: how it is opened, surveyed, trained on and tracked, and what
refuses it."""

import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from bkind3d_lite import begin, open_clip, placed, survey, track, train
from bkind3d_lite.clips.single_view import one_view
from bkind3d_lite.clips.survey import animal_length, on_silhouettes
from bkind3d_lite.clips.videos import write_video
from bkind3d_lite.files import bundled
from bkind3d_lite.image_plane import image_plane, plane_boxes, plane_points
from bkind3d_lite.model import build_model
from bkind3d_lite.recipes import BKIND_2D, Recipe, find_recipe
from bkind3d_lite.training.checkpoints import load
from bkind3d_lite.training.image_tracking import track_images
from bkind3d_lite.training.loop import batches
from bkind3d_lite.workflows.doctor import examine

TINY = Recipe("tiny-2d", lift="flat").with_(
    keypoints=4,
    draw="points",
    image_wh=(48, 48),
    mode="animal",
    animal_lengths=1.5,
    encoder_width=8,
    channels=4,
    decoder_width=8,
    background=True,
    mask=True,
    length=0.0,
    rotate=1.0,
    warmup=0,
    batch=2,
    gaps=(0.1,),
)


@pytest.fixture(scope="module")
def alone(clip):
    """One view of the figure, with its survey."""
    one = one_view(clip, 1)
    return one, survey(one)


def stills(folder, images, name="img_{:03d}.png"):
    folder.mkdir(parents=True)
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / name.format(i))


# ---- opening -------------------------------------------------------------------------------------
def test_a_video_by_itself_is_one_camera_and_its_neighbours_are_not_read(folder):
    path, known = folder
    clip = open_clip(path / "cam1.mp4")
    assert not clip.rig.calibrated and clip.rig.names == ("cam1",) and clip.truth is None
    assert clip.frames.shape == (12, 1, 64, 96, 3) and clip.starts == (0,)
    assert (clip.frames[3][0].float() - known.frames[3, 1].float()).abs().mean() < 4


def test_films_of_one_camera_are_joined_and_no_pair_crosses_a_border(tmp_path, barcodes):
    for n, name in enumerate(("a", "b", "c")):
        stills(tmp_path / "train" / name, barcodes(40)[10 * n : 10 * n + 6 + n])
    clip = open_clip(tmp_path / "train", fps=20.0, one_camera=True)
    assert len(clip) == 21 and clip.starts == (0, 6, 13) and clip.fps == 20
    order = [barcodes.read(clip.frames[t][0]) for t in range(21)]
    assert order == [*range(6), *range(10, 17), *range(20, 28)]
    drawn = [b.index.item() for b, _ in zip(clip.batches((48, 32), 4), range(60))]
    assert set(drawn) <= {0, 1, 6, 7, 8, 13, 14, 15, 16} and len(set(drawn)) > 5


def test_several_videos_without_a_calibration_are_asked_about(tmp_path, barcodes):
    for name in ("a", "b"):
        write_video(tmp_path / f"{name}.mp4", barcodes(4), 20.0)
    with pytest.raises(FileNotFoundError, match="films of one camera.*--one-camera"):
        open_clip(tmp_path)
    (tmp_path / "b.mp4").unlink()
    assert open_clip(tmp_path).rig.names == ("a",)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f, im: stills(f / "c", im(3, (40, 32))), "c: 40 x 32 pixels.*48 x 32.*scale them"),
        (
            lambda f, im: stills(f / "c", im(3), "img_{:03d}a.png"),
            "img_000a.png.*ends in no number",
        ),
        (lambda f, im: stills(f / "c", im(1)), "c: 1 frame.*leave it out"),
    ],
    ids=["sizes", "names", "one frame"],
)
def test_films_that_do_not_fit_are_named(tmp_path, barcodes, spoil, words):
    stills(tmp_path / "a", barcodes(4))
    spoil(tmp_path, barcodes)
    with pytest.raises(ValueError, match=words):
        open_clip(tmp_path, fps=20, one_camera=True)


def test_films_of_two_rates_are_named(tmp_path, barcodes):
    write_video(tmp_path / "a.mp4", barcodes(6), 20.0)
    write_video(tmp_path / "b.mp4", barcodes(6), 30.0)
    with pytest.raises(ValueError, match="a.mp4: 20 frames a second.*30"):
        open_clip(tmp_path, one_camera=True)


def test_numbers_and_times_are_each_film_s_own(tmp_path, barcodes):
    for name, numbers in (
        ("a", (1000, 1001, 1005)),
        ("b", (0, 1, 100, 101, 200)),
        ("c", (201, 202)),
    ):
        (tmp_path / name).mkdir()
        for n, x in zip(numbers, barcodes(5)):
            Image.fromarray(x).save(tmp_path / name / f"{n}.png")
    alone = open_clip(tmp_path / "a", fps=10)
    assert alone.numbers.tolist() == [1000, 1001, 1005]
    assert_close(alone.seconds, torch.tensor([0, 0.1, 0.5]).double())
    clip = open_clip(tmp_path, fps=10, one_camera=True)
    assert clip.numbers.tolist() == [1000, 1001, 1005, 0, 1, 100, 101, 200, 201, 202]
    times = [0, 0.1, 0.5, 0, 0.1, 10, 10.1, 20, 0, 0.1]
    assert_close(clip.seconds, torch.tensor(times).double())
    assert clip.starts == (0, 2, 3, 5, 7, 8), (
        "where one film ends another begins, whatever its numbers"
    )


# ---- where the animal is -------------------------------------------------------------------------
def test_pixels_and_plane_undo_each_other():
    rig = image_plane("cam", (320, 200))
    px = torch.rand(1, 7, 2) * 200
    points = plane_points(rig, px)
    assert_close(rig.px_from_world(points), px)
    assert_close(rig.resized((80, 100)).px_from_world(points), px * torch.tensor([0.25, 0.5]))


def test_the_survey_finds_the_animal_in_the_picture(alone, clip):
    one, seen = alone
    found = one.rig.px_from_world(seen.centre)[0]
    truth = one.marks[:, 0].mean(1)
    assert (found - truth).norm(dim=-1).median() < 6  # of 96 pixels
    extent = (one.marks[:, 0].amax(1) - one.marks[:, 0].amin(1)).amax(-1).median() / 96
    assert 0.5 * extent < animal_length(seen, one.rig) < 2 * extent


def test_boxes_cut_their_own_window(tmp_path, barcodes):
    stills(tmp_path / "film", barcodes(10))
    lines = ["video,frame,x,y,w,h", "film,0,4,6,20,10", "film,9,22,6,10,20"]
    (tmp_path / "boxes.csv").write_text("\n".join(lines), encoding="utf-8-sig")
    clip = open_clip(tmp_path, fps=20)
    assert_close(clip.boxes[3], torch.tensor([10.0, 6, 20 - 10 / 3, 10 + 10 / 3]))
    centre = plane_boxes(clip.boxes, clip.rig, 0.5)
    batch = clip.batch([0], None, (32, 32), None)
    assert batch.now.shape == (1, 1, 3, 32, 32)
    from bkind3d_lite.clips.foreground import footprint

    window = footprint(clip.rig.batched(10), centre, 0.5)
    sides = clip.boxes[:, 2:].amax(1)
    assert_close(window.extent[:, 0], sides[:, None].expand(-1, 2))
    assert_close(
        window.corner[:, 0] + window.extent[:, 0] / 2, clip.boxes[:, :2] + clip.boxes[:, 2:] / 2
    )
    small = clip.resized((24, 16))
    assert_close(small.boxes, clip.boxes / 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("video,frame,x,y,w\nfilm,0,1,1,1", "no column 'h'"),
        ("video,frame,x,y,w,h\nfilm,0,1,1,x,1", "expected numbers"),
        ("video,frame,x,y,w,h\nother,0,1,1,5,5", "no box for film"),
        ("video,frame,x,y,w,h\nfilm,0,1,1,0,5", "without width"),
        ("video,frame,x,y,w,h\nfilm,0,1,1,5,5\nfilm,1,1,nan,5,5", "row 3 holds.*nan.*leave out"),
    ],
)
def test_bad_boxes_are_named(tmp_path, barcodes, text, words):
    stills(tmp_path / "film", barcodes(3))
    (tmp_path / "boxes.csv").write_text(text)
    with pytest.raises(ValueError, match=f"boxes.csv.*{words}"):
        open_clip(tmp_path, fps=20)


# ---- what needs a world --------------------------------------------------------------------------
def test_what_needs_a_world_says_so(alone):
    one, seen = alone
    for lift in ("volumetric", "triangulated", "depth"):
        with pytest.raises(ValueError, match="needs calibrated cameras.*bkind-2d"):
            placed(TINY.with_(lift=lift, rotate=0.0), one.rig, seen)
    recipe = placed(TINY, one.rig, seen)
    with pytest.raises(ValueError, match="track in space.*calibrated"):
        track(build_model(recipe), recipe, one, seen)


# ---- training and tracking -----------------------------------------------------------------------
def test_a_recipe_of_one_camera_learns_and_tracks_in_pixels(alone):
    one, seen = alone
    recipe = placed(TINY, one.rig, seen)
    run = begin(recipe, one)
    for step in train(run, batches(run, one, seen)):
        if step.index == 3:
            break
    assert {"reconstruct", "rotate", "separate"} <= step.losses.keys()
    (found,) = track_images(run.model, recipe, one, seen)
    assert found.px.shape == (40, 4, 2) and found.camera == one.rig.names[0]
    assert (found.px - one.marks[:, 0].mean(1, keepdim=True)).norm(dim=-1).max() < 60


def test_a_track_does_not_depend_on_its_company(alone):
    one, seen = alone
    recipe = placed(TINY, one.rig, seen)
    model = build_model(recipe, 3)
    (whole,) = track_images(model, recipe, one, seen)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    (mixed,) = track_images(model, recipe, one, seen, order)
    for name in ("px", "confidence", "covariance", "peak"):
        assert torch.equal(getattr(whole, name)[order], getattr(mixed, name)), name


def test_pixels_and_covariance_of_a_cut_are_those_of_the_whole_image(alone):
    """The heatmap's own cells, put into the whole image one by one, have this mean and spread."""
    one, seen = alone
    recipe = placed(TINY, one.rig, seen)
    model = build_model(recipe, 5).eval()
    with torch.no_grad():
        (found,) = track_images(model, recipe, one, seen, [7])
        batch = one.batch([7], None, (48, 48), seen, recipe.volume.crop)
        share = model.encoded(batch.now)[1][0, 0].flatten(1).softmax(-1)  # (K, 144)
    corner = batch.rig.px_from_ndc(torch.tensor([[[-1.0, -1], [1, 1]]]))
    low, high = one.rig.px_from_flat(batch.rig.flat_from_px(corner))[0, 0]
    step = (torch.arange(12) + 0.5) / 12
    y, x = torch.meshgrid(step, step, indexing="ij")
    cells = low + torch.stack([x, y], -1).flatten(0, 1) * (high - low)
    mean = share @ cells
    away = cells - mean[:, None]
    spread = torch.einsum("kp,kpi,kpj->kij", share, away, away)
    assert_close(found.px[0], mean, atol=1e-3, rtol=1e-4)
    assert_close(found.covariance[0], spread, atol=1e-2, rtol=1e-3)
    assert_close(found.peak[0], share.amax(-1))


def test_views_of_a_rig_have_image_tracks_too(clip, seen):
    recipe = placed(TINY.with_(animal_side=300.0), clip.rig, seen)
    tracks = track_images(build_model(recipe), recipe, clip, seen, [0, 5])
    assert [t.camera for t in tracks] == list(clip.rig.names)
    assert all(t.px.shape == (2, 4, 2) for t in tracks)


# ---- recipes and doctor --------------------------------------------------------------------------
def test_the_paper_s_dots_get_finer_from_scale_to_scale():
    assert find_recipe("bkind-2d") == BKIND_2D and BKIND_2D.lift == "flat"
    from bkind3d_lite.model.edges import PointBottleneck, drawn

    dots = PointBottleneck(3, sigmas=BKIND_2D.bottleneck.sigmas)
    maps = drawn(dots, torch.zeros(1, 1, 3, 2), [(64, 64)] * 5)
    variances = torch.tensor([0.1, 0.1, 0.01, 0.01, 0.001])
    areas = torch.stack([m[0, 0, 0].sum() * (2 / 64) ** 2 for m in maps])
    widest = torch.erf(1 / (2 * variances[:2]).sqrt()).square()  # what leaves the image is cut
    expected = 2 * torch.pi * variances
    expected[:2] *= widest
    assert_close(areas, expected, atol=1e-3, rtol=0.05)


def test_the_doctor_asks_what_one_picture_can_answer(tmp_path, clip):
    write_video(tmp_path / "film.mp4", clip.frames[:, 0].numpy(), clip.fps, crf=8)
    diagnosis = examine(tmp_path / "film.mp4", plan=False)
    assert [c.name for c in diagnosis.checks] == ["files", "time", "background", "motion"]
    assert "1 camera without a calibration" in diagnosis.checks[0].finding
    assert "gap of about" in diagnosis.checks[-1].remedy and diagnosis.state != "fail"


def test_the_doctor_s_page_shows_where_the_animal_is(tmp_path, clip):
    from bkind3d_lite.workflows.doctor_page import write_page

    write_video(tmp_path / "film.mp4", clip.frames[:, 0].numpy(), clip.fps, crf=8)
    page = write_page(examine(tmp_path / "film.mp4", plan=False), tmp_path / "doctor.html")
    text = page.read_text(encoding="utf-8")
    assert "Where is the animal?" in text and text.count("data:image") == 1
    assert "rays" not in text and "The cameras" not in text


def test_a_folder_is_tracked_into_tables_page_and_film(tmp_path, alone):
    from bkind3d_lite import save
    from bkind3d_lite.clips.exports import read_track
    from bkind3d_lite.viz.skeleton_edits import Editing
    from bkind3d_lite.workflows.track_run import track_folder

    one, seen = alone
    run = begin(placed(TINY, one.rig, seen), one)
    save(run, tmp_path / "checkpoint.safetensors", whole=False)
    write_video(tmp_path / "cam1.mp4", one.frames[:12, 0].numpy(), one.fps, crf=8)
    edits = Editing(names={"k0": "nose"}, mute=("k3",)).save(tmp_path / "edits.toml")
    found = track_folder(tmp_path, tmp_path / "cam1.mp4", tmp_path / "out", "cpu", edits=edits)
    assert found.px.shape == (12, 3, 2) and found.skeleton.names[0] == "nose"
    back = read_track(tmp_path / "out" / "keypoints.npz")
    assert torch.equal(back.px, found.px) and back.camera == "cam1"
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"keypoints.csv", "keypoints.npz", "keypoints.html", "overlay.mp4"}
    page = (tmp_path / "out" / "keypoints.html").read_text(encoding="utf-8")
    assert page.count('"name":"') >= 12  # a frame a row


def test_the_shipped_checkpoint_sits_on_its_animal():
    path = bundled("data_samples") / "checkpoints" / "rat-cam1.safetensors"
    model, recipe, header = load(path, tracking=True)
    clip = open_clip(bundled("data_samples") / "rat" / "train" / "cam1.mp4").at(range(0, 1080, 36))
    assert header["clip"]["cameras"] == list(clip.rig.names) and path.stat().st_size < 5e6
    seen = survey(clip)
    (found,) = track_images(model, recipe, clip, seen)
    hit, _ = on_silhouettes(found.on_plane().world, clip.rig, seen.thumbs, grow=0.04)
    apart = torch.cdist(found.px, found.px).amax((1, 2)).median() / 256
    assert hit.float().mean() > 0.8 and apart > 0.1
