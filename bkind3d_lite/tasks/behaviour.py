"""Behaviour: a label for every frame, from a window of features about it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from torch import Tensor, nn

from .behaviour_networks import NETWORKS_1D

log = logging.getLogger(__name__)
LEAST_REACH = 20  # samples to either side that `in_seconds` gives a window at least
UNKNOWN = -1  # the label of a frame that nobody labelled


def window_offsets(reach: int, step: int, causal: bool = False) -> Tensor:
    """Which frames about t a window holds.

    Args:
        reach: samples before t, and after it.
        step: frames between samples.
        causal: no sample after t.

    Returns:
        (rows,) frames, counted from t.
    """
    return step * torch.arange(-reach, 1 if causal else reach + 1)


def padded(sequences: Sequence[np.ndarray], margin: int) -> tuple[Tensor, Tensor]:
    """Sequences in a row, zeros between them.

    Args:
        sequences: of each (T, F).
        margin: zeros before, between and after them.

    Returns:
        (P, F), and for every frame of every sequence its place in that, (sum of T,).
    """
    zeros = np.zeros((margin, sequences[0].shape[1]), np.float32)
    parts, places, begin = [zeros], [], margin
    for rows in sequences:
        parts += [np.asarray(rows, np.float32), zeros]
        places.append(torch.arange(begin, begin + len(rows)))
        begin += len(rows) + margin
    return torch.from_numpy(np.concatenate(parts)), torch.cat(places)


class BehaviourClassifier(ClassifierMixin, BaseEstimator):
    """A label for every frame of a sequence.

    The defaults are CalMS21's: windows of 100 samples to either side, every second frame, the 1D
    network, Adam at 1e-3 for 15 epochs of batches of 128, cross-entropy without class weights.
    Windows do not reach from one sequence into another. A window in seconds is
    `BehaviourClassifier.in_seconds`.

    Args:
        network: `conv`, `lstm`, `attention`, or `frame` (the middle frame alone).
        reach: samples before a frame, and after it.
        step: frames between samples.
        causal: no sample after the frame, for use while the animal is being filmed.
        epochs: passes over the training frames.
        batch: frames a step.
        learning_rate: of Adam.
        seed: of weights, dropout and batches.
        stride: trains on every so many frames; neighbours are nearly the same window.
        device: of the network.
    """

    def __init__(
        self,
        network: str = "conv",
        reach: int = 100,
        step: int = 2,
        *,
        causal: bool = False,
        epochs: int = 15,
        batch: int = 128,
        learning_rate: float = 1e-3,
        seed: int = 0,
        stride: int = 1,
        device: str = "cpu",
    ):
        self.network, self.reach, self.step, self.causal = network, reach, step, causal
        self.epochs, self.batch, self.learning_rate = epochs, batch, learning_rate
        self.seed, self.stride, self.device = seed, stride, device

    @classmethod
    def in_seconds(cls, seconds: float, fps: float, **how: object) -> BehaviourClassifier:
        """A classifier whose windows reach so far to either side.

        Args:
            seconds: of reach; CalMS21's is 6.7.
            fps: of the tracks.
            **how: other arguments of the class.

        Returns:
            One with 20 samples of reach or more, and 100 at most; where so many seconds are fewer
            than 20 frames, the log says that 20 are used.
        """
        frames = max(1, round(seconds * fps))
        step = max(1, min(frames // LEAST_REACH, -(-frames // 100)))
        if frames < LEAST_REACH:
            log.warning(
                "a window of %g s to either side is %d frames at %g a second; %d are used (%.2g s)",
                *(seconds, frames, fps, LEAST_REACH, LEAST_REACH / fps),
            )
        return cls(reach=max(LEAST_REACH, round(frames / step)), step=step, **how)  # type: ignore[arg-type]

    # ---- learning --------------------------------------------------------------------------------
    def fit(
        self, features: Sequence[np.ndarray], labels: Sequence[np.ndarray]
    ) -> BehaviourClassifier:
        """Learn from labelled sequences.

        Args:
            features: of each sequence (T, F).
            labels: of each (T,) whole numbers from 0; `UNKNOWN` (-1): not learned from.

        Returns:
            Itself, with `classes_`, `n_features_in_`, `network_` and `losses_` (one an epoch).

        Raises:
            ValueError: nothing can be learned from them; names the sequence or the argument.
        """
        self._check(features, labels)
        truth = torch.from_numpy(np.concatenate([np.asarray(y) for y in labels])).long()
        self.classes_ = np.arange(int(truth.max()) + 1)
        self.offsets_ = window_offsets(self.reach, self.step, self.causal)
        rows, places = padded(features, int(self.offsets_.abs().max()))
        chosen = torch.cat([torch.arange(len(y)) % self.stride == 0 for y in labels])
        spots = (chosen & (truth >= 0)).nonzero()[:, 0]
        if len(spots) < 2:
            raise ValueError(
                f"stride = {self.stride} leaves {len(spots)} of {int((truth >= 0).sum())} labelled "
                "frames; at least 2 are learned from: take a smaller stride, or label more frames"
            )
        self.n_features_in_ = rows.shape[1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            kind, shape = NETWORKS_1D[self.network], (rows.shape[1], len(self.offsets_))
            self.network_ = kind(*shape, len(self.classes_)).to(self.device)
            optimizer, known = self._adam(), (rows, places[spots], truth[spots])
            self.losses_ = [self._epoch(optimizer, *known) for _ in range(self.epochs)]
        self.network_.eval()
        return self

    def _adam(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.network_.parameters(), lr=self.learning_rate, eps=1e-7)

    def _check(self, features: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> None:
        """Refuse what cannot be learned from."""
        if self.network not in NETWORKS_1D:
            known = ", ".join(NETWORKS_1D)
            raise ValueError(f"network = {self.network!r}; expected one of {known}")
        if len(features) != len(labels) or not len(features):
            raise ValueError(
                f"{len(features)} sequences of features, {len(labels)} of labels; expected labels "
                "for each, and one sequence at least"
            )
        for n, (x, y) in enumerate(zip(features, labels)):
            if len(x) != len(y) or np.asarray(x).ndim != 2:
                raise ValueError(
                    f"sequence {n}: features {np.shape(x)}, labels {np.shape(y)}; expected (T, F) "
                    "and (T,) of the same frames"
                )
        refuse_other_widths(features, np.shape(features[0])[1])
        if all((np.asarray(y) < 0).all() for y in labels):
            raise ValueError("no frame is labelled; there is nothing to learn from")

    def _epoch(
        self, optimizer: torch.optim.Optimizer, rows: Tensor, places: Tensor, truth: Tensor
    ) -> float:
        """One pass over the known frames, at `places` of `rows`; the mean loss."""
        self.network_.train()
        total = 0.0
        for some in torch.randperm(len(places)).split(self.batch):
            if len(some) < 2:  # one window has no batch statistics
                continue
            x = rows[places[some, None] + self.offsets_].to(self.device)
            loss = nn.functional.cross_entropy(self.network_(x), truth[some].to(self.device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += float(loss.detach()) * len(some)
        return total / len(places)

    # ---- using -----------------------------------------------------------------------------------
    @torch.no_grad()
    def predict_proba(self, features: Sequence[np.ndarray]) -> list[np.ndarray]:
        """How likely each class is in every frame.

        Args:
            features: of each sequence (T, F).

        Returns:
            Of each (T, C), rows sum to 1.

        Raises:
            ValueError: a sequence has other features than those learned from; names it.
        """
        refuse_other_widths(features, self.n_features_in_)
        self.network_.eval()
        return [np.concatenate(list(self._shares(np.asarray(x, np.float32)))) for x in features]

    def _shares(self, sequence: np.ndarray) -> Iterator[np.ndarray]:
        rows, places = padded([sequence], int(self.offsets_.abs().max()))
        for some in places.split(1024):
            x = rows[some[:, None] + self.offsets_].to(self.device)
            yield self.network_(x).softmax(-1).cpu().numpy()

    def predict(self, features: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The likeliest class of every frame.

        Args:
            features: of each sequence (T, F).

        Returns:
            Of each (T,) whole numbers.
        """
        return [shares.argmax(1) for shares in self.predict_proba(features)]


def refuse_other_widths(
    features: Sequence[np.ndarray], width: int, names: Sequence[str] | None = None
) -> None:
    """Refuse sequences whose frames have more or fewer numbers than the others.

    Args:
        features: of each sequence (T, F).
        width: F that is wanted.
        names: of the sequences; None: their numbers.

    Raises:
        ValueError: one differs; names it.
    """
    for n, x in enumerate(features):
        if (shape := np.shape(x))[1:] != (width,):
            name = f"sequence {n}" if names is None else names[n]
            raise ValueError(
                f"{name}: features {shape}; expected {width} numbers a frame, as in the first "
                "sequence to learn from: track all recordings with the same checkpoint"
            )
