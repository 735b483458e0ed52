"""Simplified Human3.6M: a generated folder of its layout, and the protocol against ten lines of
numpy."""

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from bkind3d_lite.tasks.simple_h36m import (
    ACTIVITIES,
    JOINTS_16,
    LEFT_32,
    RIGHT_32,
    SIDES_16,
    TESTING,
    TRAINING,
    read_simple_h36m,
    score_simple_h36m,
    sides_of_image,
)


def person(random, back):
    """32 joints x, y; left ones at the image's right, or the other way round."""
    joints = random.uniform(0.3, 0.7, (32, 2))
    at_right, at_left = (RIGHT_32, LEFT_32) if back else (LEFT_32, RIGHT_32)
    joints[list(at_right), 0] = random.uniform(0.55, 0.8, 13)
    joints[list(at_left), 0] = random.uniform(0.2, 0.45, 13)
    return joints


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root, random = tmp_path_factory.mktemp("h36m") / "human_images", np.random.default_rng(0)
    image = Image.fromarray(np.zeros((128, 128, 3), np.uint8))
    for subject in (*TRAINING, *TESTING):
        for a, activity in enumerate((*ACTIVITIES, "Eating")):
            for take in (f"{activity} 1", activity) if a == 0 else (f"{activity} 1",):
                parts = [
                    root / subject / p / take
                    for p in ("WithBackground", "BackgroudMask", "Landmarks")
                ]
                for part in parts:
                    part.mkdir(parents=True)
                for n in (2, 10, 1)[: 2 + (a == 1)]:
                    image.save(parts[0] / f"{n}.jpg")
                    image.save(parts[1] / f"{n}.png")
                    joints = person(random, back=random.random() < 0.4)
                    savemat(parts[2] / f"{n}.mat", {"keypoints_2d": joints[:, ::-1]})
    return root


def test_takes_are_read_in_the_order_of_their_numbers(root):
    takes = read_simple_h36m(root)
    assert {t.subject for t in takes} == set(TRAINING)
    assert {t.activity for t in takes} == set(ACTIVITIES)
    assert len(takes) == 5 * 7  # Waiting twice
    posing = next(t for t in takes if t.activity == "Posing")
    assert [p.stem for p in posing.images] == ["1", "2", "10"]
    from scipy.io import loadmat

    file = root / "S1" / "Landmarks" / "Posing 1" / "10.mat"
    np.testing.assert_allclose(posing.joints[2], loadmat(file)["keypoints_2d"][:, ::-1])


@pytest.mark.parametrize("back", [False, True])
def test_sides_are_the_image_s_in_training(back):
    joints = person(np.random.default_rng(1), back)[None]
    sided = sides_of_image(joints)
    assert (sided[0, list(LEFT_32), 0] > sided[0, list(RIGHT_32), 0]).all()
    assert np.array_equal(sided, joints) == (not back)
    middle = [j for j in range(32) if j not in (*LEFT_32, *RIGHT_32)]
    assert np.array_equal(sided[:, middle], joints[:, middle])


def test_nine_of_thirteen_pairs_are_enough_to_face_the_camera():
    joints = person(np.random.default_rng(2), back=False)[None]
    for swapped, kept in ((4, True), (5, False)):
        mixed = joints.copy()
        for left, right in list(zip(LEFT_32, RIGHT_32))[:swapped]:
            mixed[0, [left, right]] = mixed[0, [right, left]]
        assert np.array_equal(sides_of_image(mixed), mixed) == kept


def test_scores_are_those_of_ten_lines_of_numpy(root):
    train, test, random = (
        read_simple_h36m(root),
        read_simple_h36m(root, TESTING),
        np.random.default_rng(3),
    )
    mix = random.normal(size=(64, 12))
    points = [
        [(t.joints.reshape(-1, 64) @ mix).reshape(-1, 6, 2) / 3 for t in takes]
        for takes in (train, test)
    ]
    found = score_simple_h36m(train, test, (points[0], points[1]))
    # the oracle
    X = np.concatenate(points[0]).reshape(-1, 12)
    Y = np.concatenate([2 * sides_of_image(t.joints)[:, JOINTS_16] - 1 for t in train]).reshape(
        -1, 32
    )
    W = np.linalg.lstsq(X, Y, rcond=None)[0]
    flip = np.arange(16)
    for r, l in SIDES_16:
        flip[[r, l]] = l, r
    of, either = {}, {}
    for t, p in zip(test, points[1]):
        guess = ((p.reshape(-1, 12) @ W).reshape(-1, 16, 2) + 1) / 2
        plain, other = (
            100 * np.linalg.norm(guess - t.joints[:, JOINTS_16][:, o], axis=-1).mean(1)
            for o in (np.arange(16), flip)
        )
        of.setdefault(t.activity, []).extend(plain)
        either.setdefault(t.activity, []).extend(np.minimum(plain, other))
    assert found.error == pytest.approx(np.mean([np.mean(v) for v in of.values()]), abs=1e-6)
    assert found.either_side == pytest.approx(
        np.mean([np.mean(v) for v in either.values()]), abs=1e-6
    )
    assert set(found.of_activity) == set(ACTIVITIES) and 0 < found.sided < 1
    plain_mean = np.mean(np.concatenate([np.array(v) for v in of.values()]))
    assert found.error != pytest.approx(plain_mean, abs=1e-4)  # activities differ in size


def test_what_is_missing_is_named(root, tmp_path):
    with pytest.raises(
        FileNotFoundError, match="S1.BackgroudMask: not there; expected the archive"
    ):
        read_simple_h36m(tmp_path)
    (tmp_path / "S1" / "BackgroudMask" / "Posing 1").mkdir(parents=True)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "S1/BackgroudMask/Posing 1/7.png")
    with pytest.raises(FileNotFoundError, match="7.jpg: not there, though its mask is"):
        read_simple_h36m(tmp_path, ("S1",))
