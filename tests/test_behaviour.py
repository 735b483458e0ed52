"""Behaviour: the published network to the number, windows, estimator, features and scores."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from bkind3d_lite.clips import Skeleton, Track
from bkind3d_lite.clips.image_tracks import Track2D
from bkind3d_lite.tasks import Acts, BehaviourClassifier, PoseFeatures, read_acts, score_behaviour
from bkind3d_lite.tasks.behaviour import padded, window_offsets
from bkind3d_lite.tasks.behaviour_networks import NETWORKS_1D, ConvNet
from bkind3d_lite.tasks.labelled import read_labelled

NAMES = ("still", "wave", "other")


def sequences(count, frames=240, seed=0):
    """Two numbers a frame; in bouts of wave the first one swings, its mean unmoved."""
    random = np.random.default_rng(seed)
    features, labels = [], []
    for _ in range(count):
        truth = np.repeat(random.integers(0, 3, frames // 40), 40)
        swing = np.sin(np.arange(frames) * 1.3) * (truth == 1)
        ramp = np.linspace(-1, 1, frames) * (truth == 2)
        noise = 0.2 * random.normal(size=(frames, 2))
        features.append((np.stack([swing, ramp], 1) + noise).astype(np.float32))
        labels.append(truth)
    return features, labels


@pytest.fixture(scope="module")
def learned():
    return BehaviourClassifier(reach=18, step=1, epochs=5, batch=64, seed=0).fit(*sequences(6))


# ---- the network ---------------------------------------------------------------------------------
def test_the_published_network_has_its_numbers():
    net = ConvNet(60, 201, 4)
    running = [b for name, b in net.named_buffers() if "running" in name]  # Keras counts them, too
    assert sum(x.numel() for x in [*net.parameters(), *running]) == 93_652
    lengths, x = [], torch.zeros(2, 60, 201)
    for layer in net.body:
        x = layer(x)
        if isinstance(layer, torch.nn.MaxPool1d):
            lengths.append(x.shape[-1])
    assert lengths == [98, 47, 21] and net.head.in_features == 672
    classifier = BehaviourClassifier()
    assert len(window_offsets(classifier.reach, classifier.step)) == 201


@pytest.mark.parametrize("name", NETWORKS_1D)
def test_every_network_takes_windows_and_learns_from_them(name):
    torch.manual_seed(0)
    net = NETWORKS_1D[name](5, 41, 3)
    windows = torch.randn(4, 41, 5)
    logits = net(windows)
    assert logits.shape == (4, 3)
    logits.sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_short_windows_are_refused():
    ConvNet(3, 36, 2)
    with pytest.raises(ValueError, match="windows of 35 samples.*longer reach"):
        ConvNet(3, 35, 2)


# ---- windows -------------------------------------------------------------------------------------
def test_windows_end_in_zeros_and_never_reach_the_next_sequence():
    first, second = np.ones((3, 1), np.float32), 2 * np.ones((2, 1), np.float32)
    rows, places = padded([first, second], 4)
    offsets = window_offsets(2, 2)
    windows = rows[places[:, None] + offsets][..., 0]
    assert windows.tolist() == [
        [0, 0, 1, 1, 0],
        [0, 0, 1, 0, 0],
        [0, 1, 1, 0, 0],
        [0, 0, 2, 0, 0],
        [0, 0, 2, 0, 0],
    ]
    assert window_offsets(2, 3, causal=True).tolist() == [-6, -3, 0]


@pytest.mark.parametrize(
    ("seconds", "fps", "span"), [(6.67, 30.0, 200), (0.5, 30.0, 20), (2.0, 50.0, 100)]
)
def test_windows_in_seconds(seconds, fps, span):
    made = BehaviourClassifier.in_seconds(seconds, fps)
    assert made.reach * made.step == pytest.approx(span, abs=5) and 20 <= made.reach <= 100


# ---- the estimator -------------------------------------------------------------------------------
def test_motion_that_no_single_frame_shows_is_learned(learned):
    features, labels = sequences(3, seed=9)
    scores = score_behaviour(labels, learned.predict_proba(features), NAMES, block=40)
    assert scores.mean > 0.9 and scores.interval[0] <= scores.mean <= scores.interval[1]
    assert all(p.sum(1) == pytest.approx(1, abs=1e-5) for p in learned.predict_proba(features))


def test_shuffled_labels_are_chance():
    features, labels = sequences(4)
    mixed = np.random.default_rng(0).permutation(np.concatenate(labels))  # over all sequences
    labels = np.split(mixed, 4)
    made = BehaviourClassifier(reach=18, step=1, epochs=2, batch=64).fit(features, labels)
    features, labels = sequences(3, seed=9)
    scores = score_behaviour(labels, made.predict_proba(features), NAMES)
    chance = np.mean([np.mean(np.concatenate(labels) == c) for c in (0, 1)])
    assert scores.mean < chance + 0.2


def test_the_same_seed_gives_the_same_bits_and_the_global_generator_stands(learned):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    again = BehaviourClassifier(reach=18, step=1, epochs=5, batch=64, seed=0).fit(*sequences(6))
    assert torch.equal(before, torch.get_rng_state())
    x = sequences(1, seed=3)[0]
    assert np.array_equal(again.predict_proba(x)[0], learned.predict_proba(x)[0])
    assert learned.losses_[-1] < learned.losses_[0]


def test_a_causal_classifier_does_not_look_ahead():
    features, labels = sequences(2)
    made = BehaviourClassifier(reach=40, step=1, causal=True, epochs=1).fit(features, labels)
    changed = features[0].copy()
    changed[101:] = 7
    before, after = (made.predict_proba([x])[0] for x in (features[0], changed))
    assert np.array_equal(before[:101], after[:101]) and not np.array_equal(before, after)


def test_an_estimator_is_cloned_and_bad_input_is_named():
    from sklearn.base import clone

    made = clone(BehaviourClassifier(reach=19, epochs=1))
    assert made.get_params()["reach"] == 19
    features, labels = sequences(2)
    with pytest.raises(ValueError, match="2 sequences of features, 1 of labels"):
        made.fit(features, labels[:1])
    with pytest.raises(ValueError, match=r"sequence 1: features \(240, 2\), labels \(7,\)"):
        made.fit(features, [labels[0], labels[1][:7]])
    with pytest.raises(ValueError, match="no frame is labelled"):
        made.fit(features, [np.full(240, -1)] * 2)
    with pytest.raises(ValueError, match="network = 'tree'; expected one of conv"):
        BehaviourClassifier("tree").fit(features, labels)
    with pytest.raises(ValueError, match="stride = 500 leaves 1 of 240 labelled.*smaller stride"):
        BehaviourClassifier(stride=500).fit(features[:1], labels[:1])
    with pytest.raises(ValueError, match=r"sequence 1: features \(240, 1\); expected 2 numbers"):
        made.fit([features[0], features[1][:, :1]], labels)


def test_features_other_than_those_learned_from_are_named(learned):
    assert learned.n_features_in_ == 2
    with pytest.raises(ValueError, match=r"sequence 0: features \(9, 3\); expected 2 numbers"):
        learned.predict([np.zeros((9, 3))])


def test_a_window_of_few_frames_says_how_many_are_used(caplog):
    assert BehaviourClassifier.in_seconds(0.1, 30.0).reach == 20
    assert "0.1 s to either side is 3 frames at 30 a second; 20 are used" in caplog.text


def test_a_class_of_which_all_frames_are_has_no_precision():
    labels, shares = [np.zeros(60, int)], [np.tile([0.7, 0.3], (60, 1))]
    scores = score_behaviour(labels, shares, ("still", "wave"), resamples=5)
    assert scores.average_precision == (None, None) and np.isnan(scores.mean)


# ---- features ------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def track():
    random = torch.Generator().manual_seed(0)
    shape = torch.tensor([[-50.0, 0, 10], [60, 0, 20], [0, 15, 30]])
    angle = torch.linspace(0, 6, 20)
    c, s, o = angle.cos(), angle.sin(), torch.zeros(20)
    turn = torch.stack([c, -s, o, s, c, o, o, o, o + 1], -1).view(20, 3, 3)
    world = shape @ turn.mT + torch.randn(20, 1, 3, generator=random) * torch.tensor(
        [900.0, 900, 0]
    )
    spread = torch.eye(3).expand(20, 3, 3, 3) * 4
    return Track(world, torch.rand(20, 3), Skeleton(("a", "b", "c"), ()), 30.0, covariance=spread)


def test_the_body_s_frame_knows_neither_place_nor_turn(track):
    rows = PoseFeatures(frame="body").fitted([track]).rows(track)
    assert rows.shape == (20, 9)
    assert np.abs(rows - rows[:1]).max() < 1e-2
    flat = PoseFeatures(frame="body", height=False).fitted([track]).rows(track)
    assert_close(torch.from_numpy(flat)[:, 2::3].mean(1), torch.zeros(20), atol=1e-3, rtol=0)


def test_a_tail_that_swings_does_not_turn_the_body():
    """All points tell the turn, each by how steady it is; an image keeps its shape."""
    random = torch.Generator().manual_seed(1)
    shape = torch.tensor([[-20.0, -8], [-20, 8], [0, -9], [0, 9], [25, 0], [-60, 0]])
    points = shape.repeat(80, 1, 1)
    points[:, 5, 1] += 40 * torch.sin(torch.arange(80) * 0.9)
    turn = torch.arange(80) * 0.3
    matrix = torch.stack([turn.cos(), -turn.sin(), turn.sin(), turn.cos()], -1).view(80, 2, 2)
    px = points @ matrix.mT + 150 + 20 * torch.rand(80, 1, 2, generator=random)
    names = tuple("abcdef")
    image = Track2D(px, torch.ones(80, 6), Skeleton(names, ()), fps=30.0, wh=(400, 200))
    rows = 400 * PoseFeatures(frame="body").fitted([image]).rows(image).reshape(80, 6, 2)
    steady = rows[:, :5] - rows[:, :5].mean(1, keepdims=True)
    apart = np.linalg.norm(steady - steady.mean(0), axis=-1)
    assert apart.max() < 1.5 and np.ptp(rows[:, 5, 1]) > 60


def test_the_centroid_alone_knows_no_pose(track):
    other = Track(track.world.flip(1), track.confidence, track.skeleton, 30.0)
    rows = [PoseFeatures(frame="centroid").rows(t) for t in (track, other)]
    assert rows[0].shape == (20, 3) and np.allclose(rows[0], rows[1], atol=1e-3)


def test_more_is_told_by_confidence_and_covariance(track):
    parts = ("keypoints", "confidence", "covariance")
    assert PoseFeatures(parts).rows(track).shape == (20, 9 + 3 + 18)
    image = Track2D(
        px=torch.rand(5, 2, 2) * 90,
        confidence=torch.rand(5, 2),
        skeleton=Skeleton(("a", "b"), ()),
        fps=30.0,
        wh=(90, 60),
        covariance=torch.eye(2).expand(5, 2, 2, 2) * torch.tensor([8100.0, 3600.0]),
    )
    rows = PoseFeatures(parts).rows(image)
    assert rows.shape == (5, 4 + 2 + 6)
    assert np.allclose(rows[:, 6:9], [1, 0, 1])
    assert np.allclose(rows[:, 0], image.px[:, 0, 0] / 90)


def test_features_that_are_not_there_are_named(track):
    bare = Track(track.world, track.confidence, track.skeleton, 30.0)
    with pytest.raises(ValueError, match="holds no covariance"):
        PoseFeatures(("keypoints", "covariance")).rows(bare)
    with pytest.raises(ValueError, match="'colour'; expected some of keypoints"):
        PoseFeatures(("colour",))
    with pytest.raises(ValueError, match="fitted first"):
        PoseFeatures(frame="body").rows(track)


# ---- labels --------------------------------------------------------------------------------------
def test_labels_come_back_and_levels_become_labels(tmp_path):
    acts = Acts(NAMES, np.array([0, 0, 1, -1, 2]))
    back = read_acts(acts.save(tmp_path / "acts.npz"))
    assert back.names == NAMES and back.labels.tolist() == acts.labels.tolist()
    levels = np.array([[1, 0.2], [1, 1], [0.3, 0.4], [0.2, 0.9]])
    np.savez(tmp_path / "levels.npz", names=["walk", "wave"], levels=levels)
    told = read_acts(tmp_path / "levels.npz")
    assert told.names == ("walk", "wave", "other") and told.labels.tolist() == [0, 1, 2, 1]
    assert told.bouts() == {"walk": 1, "wave": 2, "other": 1}


def test_labels_are_renumbered_by_name():
    acts = Acts(("a", "b"), np.array([0, 1, -1]))
    assert acts.under(("b", "c", "a")).labels.tolist() == [2, 0, -1]
    with pytest.raises(ValueError, match="class 'a' is not among b, c"):
        acts.under(("b", "c"))


def test_labels_that_do_not_fit_are_named(tmp_path, track):
    with pytest.raises(FileNotFoundError, match="acts.npz: no labels here"):
        read_acts(tmp_path / "acts.npz")
    np.savez(tmp_path / "acts.npz", names=["a"], labels=[0, 3])
    with pytest.raises(ValueError, match="labels .* from 0 to 3 for 1 names"):
        read_acts(tmp_path / "acts.npz")
    track.save(tmp_path / "keypoints.npz")
    Acts(("a",), np.zeros(7, int)).save(tmp_path / "acts.npz")
    with pytest.raises(ValueError, match="7 labels for the 20 frames"):
        read_labelled(tmp_path)


# ---- scores --------------------------------------------------------------------------------------
def test_other_is_in_no_mean_and_a_missing_class_has_no_score():
    labels = [np.array([0, 0, 2, 2, -1])]
    shares = [np.array([[0.9, 0, 0.1], [0.2, 0, 0.8], [0.6, 0, 0.4], [0, 0, 1], [1, 0, 0]])]
    scores = score_behaviour(labels, shares, NAMES)
    assert scores.average_precision[1] is None
    assert scores.mean == pytest.approx(scores.average_precision[0])
    assert scores.average_precision[0] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert scores.frames == (2, 0, 2) and scores.voted is None
    assert scores.macro_f1 == pytest.approx(scores.f1[0]) and scores.top5 == 1


def test_votes_of_whole_sequences():
    labels = [np.array([0, 0, 1]), np.array([1, 1, 1])]
    shares = [np.array([[0.9, 0.1, 0]] * 3), np.array([[0.6, 0.4, 0]] * 3)]
    assert score_behaviour(labels, shares, NAMES).voted == 0.5


def test_predictions_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"sequence 0: predictions \(2, 2\) for 2 frames and 3"):
        score_behaviour([np.zeros(2, int)], [np.zeros((2, 2))], NAMES)
    with pytest.raises(ValueError, match="no frame of the test part"):
        score_behaviour([np.array([-1])], [np.zeros((1, 3))], NAMES)


# ---- rendered acts -------------------------------------------------------------------------------
def test_a_deck_chooses_which_acts_are_done(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "tools"))
    from render.plan import Habits, bouts

    acts = {"rear": (4, 0.5, 1.0), "groom": (2, 0.5, 1.0), "sniff": (2, 0.5, 1.0)}
    habits = Habits(1.0, (0.1, 0.2), (0.5, 1.0), acts, nimble=1.0, ramp=0.2)
    dealt = habits.dealt({"groom": 1, "sniff": 1})
    assert habits.dealt(None) is habits
    _, levels, _ = bouts(dealt, 1200, 30, np.random.default_rng(0))
    assert not levels["rear"].any()
    begun = [np.sum(np.diff((levels[n] > 0.5).astype(int)) == 1) for n in ("groom", "sniff")]
    assert min(begun) > 5 and abs(begun[0] - begun[1]) <= 1
    with pytest.raises(ValueError, match="no act is named dance; known: rear, groom, sniff"):
        habits.dealt({"dance": 1})
