"""CalMS21: its annotations read, and BKinD's features put in the keypoints' place.

The data set's JSON is `{"annotator-id_0": {sequence id: {"keypoints": (T, 2 mice, 2 (x, y), 7),
"scores": (T, 2, 7), "annotations": (T,), "metadata": {"vocab": {name: number}, ...}}}}`; task 2 has
five annotators, task 3 a group for each behaviour. Train files are hundreds of MB: sequences are
read one by one, and at most one is held. Baselines take the same nesting as a pickled `.npy`
(`write_npy`); such files are read by a reader that can make nothing but arrays (`read_npy`).
"""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..files import write_atomically
from .labelled import Acts

FPS, WH = 30.0, (1024, 570)  # of every video
CHUNK_CHARS = 1 << 20  # of the file that are read at a time


@dataclass(frozen=True)
class CalmsSequence:
    """One video's annotations.

    Attributes:
        group: `annotator-id_0`, or of task 3 the behaviour's name.
        name: the sequence's id, `task1/train/mouse001_task1_annotator1`.
        keypoints: (T, 2 mice, 2 (x, y), 7) pixels of the video; of converted files (T, K, 6).
        scores: (T, 2, 7) of the keypoints' detector.
        acts: labels with the names that the file's own vocabulary gives them.
        metadata: as in the file.
    """

    group: str
    name: str
    keypoints: np.ndarray
    scores: np.ndarray
    acts: Acts
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def video(self) -> str:
        """The stem of its video, and of its feature file."""
        return self.name.rpartition("/")[2]

    def mice(self) -> np.ndarray:
        """The keypoints as rows (T, 28), x and y as shares of the image."""
        rows = self.keypoints / np.array(WH, float)[:, None]
        return rows.reshape(len(rows), -1).astype(np.float32)


# ---- reading -------------------------------------------------------------------------------------
def read_sequences(path: str | Path, group: str | None = None) -> Iterator[CalmsSequence]:
    """The sequences of a CalMS21 JSON or npy, one at a time.

    Args:
        path: `calms21_task1_train.json`, or an `.npy` of that nesting.
        group: only this annotator's or behaviour's; None: all.

    Yields:
        One video after the other.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no CalMS21 file, has no such group, or a sequence does not fit; names it.
    """
    path, found = Path(path), set()
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a CalMS21 JSON or npy")
    entries = _npy_entries(path) if path.suffix == ".npy" else json_entries(path)
    for its_group, name, entry in entries:
        found.add(its_group)
        if group in (None, its_group):
            yield _sequence(path, its_group, name, entry)
    if not found:
        raise ValueError(f"{path}: holds no sequence; is it a CalMS21 file?")
    if group is not None and group not in found:
        raise ValueError(f"{path}: no group {group!r}; it has {', '.join(sorted(found))}")


def _sequence(path: Path, group: str, name: str, entry: Mapping[str, Any]) -> CalmsSequence:
    try:
        points = np.asarray(entry["keypoints"], np.float32)
        scores = np.asarray(entry["scores"], np.float32)
        about = dict(entry["metadata"])
        vocabulary = dict(about["vocab"])
        labels = np.asarray(entry["annotations"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: {name}: no CalMS21 sequence ({type(error).__name__}: {error}); expected "
            "keypoints, scores, annotations and metadata with a vocab"
        ) from error
    if points.ndim not in (3, 4) or len(points) != len(labels):
        raise ValueError(
            f"{path}: {name}: keypoints {points.shape} and {len(labels)} annotations; expected one "
            "label for every frame"
        )
    numbers = sorted(vocabulary.values())
    if numbers != list(range(len(numbers))) or not set(np.unique(labels)) <= set(numbers):
        raise ValueError(
            f"{path}: {name}: annotations {sorted(set(labels.tolist()))} for the vocabulary "
            f"{vocabulary}; expected its numbers, from 0 on"
        )
    names = tuple(sorted(vocabulary, key=vocabulary.__getitem__))
    acts = Acts(names, labels.astype(np.int64))
    return CalmsSequence(group, name, points, scores=scores, acts=acts, metadata=about)


def json_entries(path: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The inner objects of a JSON of objects of objects, one after the other.

    Args:
        path: the file.

    Yields:
        Outer key, inner key and the object; nothing else of the file is held.

    Raises:
        ValueError: it is not such a JSON.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            stream = _Stream(file)
            for outer in stream.keys():
                for inner in stream.keys():
                    yield outer, inner, stream.value()
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(
            f"{path}: not a CalMS21 JSON ({error}); copy the file again, or is it another one?"
        ) from error


class _Stream:
    """A JSON that is read piece by piece: `keys` walks an object, `value` takes one whole."""

    def __init__(self, file: io.TextIOBase | io.TextIOWrapper):
        self.file, self.text, self.at = file, "", 0
        self.decoder = json.JSONDecoder()

    def _more(self) -> bool:
        """Read on; what was taken is let go."""
        read = self.file.read(max(CHUNK_CHARS, len(self.text) - self.at))  # doubles: linear in all
        self.text, self.at = self.text[self.at :] + read, 0
        return bool(read)

    def _next(self) -> str:
        """The next character that is no blank, not yet taken."""
        while True:
            while self.at < len(self.text) and self.text[self.at].isspace():
                self.at += 1
            if self.at < len(self.text):
                return self.text[self.at]
            if not self._more():
                raise json.JSONDecodeError("the file ends too early", "", 0)

    def _take(self, wanted: str) -> str:
        found = self._next()
        if found not in wanted:
            raise json.JSONDecodeError(f"{found!r} where one of {wanted!r} was expected", "", 0)
        self.at += 1
        return found

    def keys(self) -> Iterator[str]:
        """The keys of the object that begins here; the caller takes each one's value."""
        self._take("{")
        if self._next() == "}":
            self.at += 1
            return
        while True:
            key = self.value()
            self._take(":")
            yield str(key)
            if self._take(",}") == "}":
                return

    def value(self) -> Any:
        """The text, list or object that begins here."""
        self._next()
        while True:
            try:
                value, self.at = self.decoder.raw_decode(self.text, self.at)
                return value
            except json.JSONDecodeError:  # not yet whole, or broken
                if not self._more():
                    raise


# ---- features ------------------------------------------------------------------------------------
def with_features(sequence: CalmsSequence, folder: str | Path) -> CalmsSequence:
    """The sequence with BKinD's features in the keypoints' place.

    Args:
        sequence: of the data set.
        folder: of files as BKinD's extraction (`--to bkind`) leaves them, `<video>.npz` or
            `<video>.seq.npz`.

    Returns:
        The sequence with keypoints (T, K, 6): y, x, confidence, var x, var y, cov xy, as the files
        have them.

    Raises:
        FileNotFoundError: the video has no file.
        ValueError: the file holds other frames, or is of another kind; says how many, or which key.
    """
    names = (f"{sequence.video}.npz", f"{sequence.video}.seq.npz")
    path = next((p for p in (Path(folder) / n for n in names) if p.is_file()), None)
    if path is None:
        raise FileNotFoundError(
            f"{Path(folder) / names[0]}: no features of {sequence.name}; track its video and "
            "export it with --to bkind"
        )
    rows = _bkind_rows(path)
    frames = len(sequence.acts.labels)
    if len(rows) != frames:
        raise ValueError(
            f"{path}: {len(rows)} frames of features for {frames} annotations of {sequence.name}; "
            "track the whole video"
        )
    return replace(sequence, keypoints=rows)


def _bkind_rows(path: Path) -> np.ndarray:
    """(T, K, 6) of a file that BKinD's extraction left."""
    remedy = "expected BKinD's file: export the track of the video with --to bkind"
    try:
        with np.load(path, allow_pickle=False) as data:
            if missing := [k for k in ("keypoints", "confidence", "covs") if k not in data]:
                raise ValueError(f"no {missing[0]!r} among {', '.join(data)}")
            parts = [data["keypoints"], data["confidence"][..., None], data["covs"]]
        return np.concatenate([np.asarray(part, np.float32) for part in parts], -1)
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: {error}; {remedy}") from error


def feature_rows(sequence: CalmsSequence, parts: tuple[str, ...] = ("keypoints",)) -> np.ndarray:
    """Converted features as rows for a classifier, coordinates as shares of the image.

    Args:
        sequence: of `with_features`.
        parts: some of keypoints, confidence, covariance.

    Returns:
        (T, F) float32, all numbers of a keypoint together.
    """
    W, H = WH
    columns = {"keypoints": [0, 1], "confidence": [2], "covariance": [3, 4, 5]}
    chosen = [c for part in columns if part in parts or part == "keypoints" for c in columns[part]]
    scaled = sequence.keypoints / np.array([H, W, 1, 1, 1, 1], np.float32)
    return scaled[..., chosen].reshape(len(scaled), -1).astype(np.float32)


# ---- npy -----------------------------------------------------------------------------------------
def write_npy(path: str | Path, sequences: Iterator[CalmsSequence]) -> Path:
    """Write sequences as the baselines' loader takes them: a pickled dictionary in an `.npy`.

    Args:
        path: the file.
        sequences: original ones, or those of `with_features`.

    Returns:
        The path.
    """
    groups: dict[str, dict[str, dict[str, Any]]] = {}
    for one in sequences:
        groups.setdefault(one.group, {})[one.name] = dict(
            keypoints=one.keypoints,
            scores=one.scores,
            annotations=one.acts.labels,
            metadata=dict(one.metadata),
        )
    whole = np.array(groups, dtype=object)

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            np.save(file, whole, allow_pickle=True)

    return write_atomically(path, write)


HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class _ArraysOnly(pickle.Unpickler):
    """Unpickles arrays, numbers, texts, lists and dictionaries, and nothing that could run."""

    ALLOWED = {
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy.core.multiarray", "scalar"),
        ("numpy._core.multiarray", "scalar"),
    }

    def find_class(self, module: str, name: str) -> Any:
        """Refuse every name but those of arrays."""
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which could run code")
        return super().find_class(module, name)


def _npy_entries(path: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for group, sequences in read_npy(path).items():
        for name, entry in sequences.items():
            yield group, name, entry


def read_npy(path: str | Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Read what `write_npy` or the baselines' converter wrote; nothing in it is run.

    Args:
        path: the file.

    Returns:
        {group: {sequence id: keypoints, scores, annotations, metadata}}.

    Raises:
        ValueError: it is not such a file, or asks for more than arrays.
    """
    with open(path, "rb") as file:
        try:
            header = HEADERS[np.lib.format.read_magic(file)](file)
            if header[0] != () or header[2] != np.dtype(object):
                raise ValueError(f"an array {header[0]} of {header[2]}")
            whole = _ArraysOnly(file).load()
            whole = whole.item() if isinstance(whole, np.ndarray) and whole.size == 1 else whole
            if not (isinstance(whole, dict) and all(isinstance(x, dict) for x in whole.values())):
                raise ValueError(f"it holds a {type(whole).__name__}, no dictionary of groups")
        except (ValueError, LookupError, EOFError, pickle.UnpicklingError) as error:
            raise ValueError(
                f"{path}: not a CalMS21 npy ({error}); convert the data set's JSON again"
            ) from error
    return whole
