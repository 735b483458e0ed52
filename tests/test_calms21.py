"""CalMS21: a file of the data set's true structure read, converted and written; its ways to be
wrong named. The annotations are made here: nothing of the data set is in the repository."""

import json
import pickle
import tracemalloc

import numpy as np
import pytest

from bkind3d_lite.tasks.calms21 import (
    feature_rows,
    json_entries,
    read_npy,
    read_sequences,
    with_features,
    write_npy,
)

VOCABULARY = {"mount": 2, "other": 0, "attack": 3, "investigation": 1}  # an order of its own


def entry(frames, seed=0, vocabulary=VOCABULARY):
    random = np.random.default_rng(seed)
    return dict(
        keypoints=(random.random((frames, 2, 2, 7)) * 500).round(3).tolist(),
        scores=random.random((frames, 2, 7)).round(3).tolist(),
        annotations=random.integers(0, 4, frames).tolist(),
        metadata={"vocab": vocabulary, "sequence_id": seed},
    )


@pytest.fixture(scope="module")
def ids():
    """70 + 19 sequences, as the data set has them."""
    numbers = [*range(1, 71), *range(71, 90)]
    return [f"task1/{'train' if n < 71 else 'test'}/mouse{n:03d}_task1_annotator1" for n in numbers]


@pytest.fixture(scope="module")
def path(tmp_path_factory, ids):
    path = tmp_path_factory.mktemp("calms21") / "calms21_task1_train.json"
    whole = {"annotator-id_0": {name: entry(5 + n % 7, n) for n, name in enumerate(ids)}}
    path.write_text(json.dumps(whole), encoding="utf-8-sig")
    return path


# ---- reading -------------------------------------------------------------------------------------
def test_every_sequence_is_as_json_reads_it(path, ids):
    oracle = json.loads(path.read_text(encoding="utf-8-sig"))["annotator-id_0"]
    found = list(read_sequences(path))
    assert [s.name for s in found] == ids and {s.group for s in found} == {"annotator-id_0"}
    for one in found:
        np.testing.assert_allclose(one.keypoints, oracle[one.name]["keypoints"], rtol=1e-6)
        names = [one.acts.names[label] for label in one.acts.labels]
        number = {v: k for k, v in VOCABULARY.items()}
        assert names == [number[a] for a in oracle[one.name]["annotations"]]
    assert found[2].video == "mouse003_task1_annotator1"
    assert found[2].mice().shape == (7, 28)
    x, y = oracle[ids[2]]["keypoints"][4][1][0][3], oracle[ids[2]]["keypoints"][4][1][1][3]
    assert found[2].mice()[4, 14 + 3] == pytest.approx(x / 1024)
    assert found[2].mice()[4, 14 + 7 + 3] == pytest.approx(y / 570)


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
def test_the_stream_cuts_anywhere(tmp_path, monkeypatch, chunk):
    from bkind3d_lite.tasks import calms21

    monkeypatch.setattr(calms21, "CHUNK_CHARS", chunk)
    nested = {
        "a": {"x": {"v": [1, -2.5e3, 'é}\\"', None]}},
        "b": {},
        "c": {"y": {}, "z": {"w": {}}},
    }
    (tmp_path / "f.json").write_text(json.dumps(nested, indent=1), encoding="utf-8")
    found = list(json_entries(tmp_path / "f.json"))
    assert found == [(o, i, v) for o, inner in nested.items() for i, v in inner.items()]


def test_a_large_file_is_read_in_the_memory_of_one_sequence(tmp_path, monkeypatch):
    from bkind3d_lite.tasks import calms21

    monkeypatch.setattr(calms21, "CHUNK_CHARS", 1 << 14)
    one = json.dumps(entry(120))
    path = tmp_path / "large.json"
    with open(path, "w") as file:
        file.write('{"annotator-id_0": {')
        for n in range(60):
            file.write(f'{", " if n else ""}"task1/train/mouse{n:03d}": {one}')
        file.write("}}")
    assert path.stat().st_size > 2_500_000
    tracemalloc.start()
    count = sum(1 for _ in read_sequences(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 60 and peak < path.stat().st_size / 2


def test_annotators_and_behaviours_are_groups(tmp_path):
    whole = {f"annotator-id_{n}": {"task2/train/mouse001": entry(4, n)} for n in (1, 2)}
    (tmp_path / "task2.json").write_text(json.dumps(whole))
    (one,) = read_sequences(tmp_path / "task2.json", "annotator-id_2")
    assert one.metadata["sequence_id"] == 2
    with pytest.raises(ValueError, match="no group 'annotator-id_7'; it has annotator-id_1"):
        list(read_sequences(tmp_path / "task2.json", "annotator-id_7"))


def spoiled(change):
    one = entry(4)
    change(one)
    return json.dumps({"annotator-id_0": {"task1/train/mouse001": one}})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (spoiled(lambda e: e["metadata"].update(vocab={"a": 1, "b": 2})), "mouse001.*vocabulary"),
        (spoiled(lambda e: e.update(annotations=[9] * 4)), r"mouse001.*annotations \[9\]"),
        (spoiled(lambda e: e.update(annotations=[0])), "mouse001.*1 annotations"),
        (spoiled(lambda e: e.pop("scores")), "mouse001.*KeyError.*scores"),
        (spoiled(lambda e: None)[:-40], "ends too early|not a CalMS21 JSON"),
        ("[1, 2]", "not a CalMS21 JSON"),
        ("{}", "holds no sequence"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, words):
    (tmp_path / "f.json").write_text(text)
    with pytest.raises(ValueError, match=f"f.json.*({words})"):
        list(read_sequences(tmp_path / "f.json"))


# ---- features ------------------------------------------------------------------------------------
@pytest.fixture
def features(tmp_path, path):
    for one in read_sequences(path):
        T, number = len(one.acts.labels), int(one.video[5:8])
        np.savez(
            tmp_path / f"{one.video}{'.seq' * (number % 2)}.npz",
            keypoints=np.arange(T * 20).reshape(T, 10, 2) + number,
            confidence=np.full((T, 10), 0.25, np.float32),
            covs=np.ones((T, 10, 3), np.float32) * [1, 2, 3],
        )
    return tmp_path


def test_features_take_the_keypoints_place(path, features):
    converted = [with_features(one, features) for one in read_sequences(path)]
    one = converted[4]
    assert one.keypoints.shape == (9, 10, 6)
    assert one.keypoints[2, 1].tolist() == [42 + 5, 43 + 5, 0.25, 1, 2, 3]  # y, x first
    rows = feature_rows(one, ("keypoints", "confidence", "covariance"))
    assert rows.shape == (9, 60)
    assert rows[2, 6:8] == pytest.approx([47 / 570, 48 / 1024])
    assert feature_rows(one).shape == (9, 20)


def test_missing_and_short_features_are_named(path, features):
    first = next(read_sequences(path))
    np.savez(
        features / f"{first.video}.seq.npz",
        keypoints=np.zeros((2, 10, 2)),
        confidence=np.zeros((2, 10)),
        covs=np.zeros((2, 10, 3)),
    )
    with pytest.raises(ValueError, match="mouse001.*2 frames of features for 5 annotations"):
        with_features(first, features)
    (features / f"{first.video}.seq.npz").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"mouse001_task1_annotator1.npz: no features.*bkind"
    ):
        with_features(first, features)


# ---- npy -----------------------------------------------------------------------------------------
def test_an_npy_is_what_the_baselines_load(path, features, tmp_path):
    converted = (with_features(one, features) for one in read_sequences(path))
    file = write_npy(tmp_path / "task1_train.npy", converted)
    loaded = np.load(file, allow_pickle=True).item()  # the baselines' own line
    entries = loaded["annotator-id_0"]
    assert len(entries) == 89
    one = entries["task1/train/mouse005_task1_annotator1"]
    assert set(one) == {"keypoints", "scores", "annotations", "metadata"}
    assert one["keypoints"].shape == (9, 10, 6) and one["metadata"]["vocab"] == VOCABULARY
    back = list(read_sequences(file))
    assert [b.name for b in back] == list(entries)
    np.testing.assert_array_equal(back[4].keypoints, one["keypoints"])


class Harmful:
    def __reduce__(self):
        return (print, ("this must not run",))


def test_a_pickle_that_would_run_something_is_refused(tmp_path, capsys):
    np.save(tmp_path / "bad.npy", np.array({"a": Harmful()}, dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="bad.npy.*builtins.print, which could run code"):
        read_npy(tmp_path / "bad.npy")
    assert capsys.readouterr().out == ""
    (tmp_path / "raw.npy").write_bytes(pickle.dumps({}))
    np.save(tmp_path / "plain.npy", np.zeros(3))
    for name in ("raw.npy", "plain.npy"):
        with pytest.raises(ValueError, match=f"{name}: not a CalMS21 npy"):
            read_npy(tmp_path / name)


def test_features_of_another_kind_are_named_with_their_key(path, features):
    first = next(read_sequences(path))
    file = features / f"{first.video}.seq.npz"
    np.savez(file, positions=np.zeros((5, 3, 3)), confidence=np.zeros((5, 3)))
    with pytest.raises(ValueError, match="mouse001.*no 'keypoints' among positions.*--to bkind"):
        with_features(first, features)
    np.savez(file, keypoints=np.zeros((5, 3, 2)), confidence=np.zeros((5, 3)))
    with pytest.raises(ValueError, match="mouse001.*no 'covs' among keypoints.*--to bkind"):
        with_features(first, features)


@pytest.mark.parametrize("held", [[1, 2], {"group": 3}], ids=["list", "no groups"])
def test_an_npy_without_a_dictionary_is_named(tmp_path, held):
    whole = np.empty((), object)
    whole[()] = held
    np.save(tmp_path / "odd.npy", whole, allow_pickle=True)
    with pytest.raises(ValueError, match="odd.npy: not a CalMS21 npy.*no dictionary of groups"):
        read_npy(tmp_path / "odd.npy")
