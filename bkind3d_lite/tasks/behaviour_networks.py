"""Behaviour networks: windows of features to logits, in PyTorch.

`conv` is the 1D network that B-KinD and CalMS21's baselines classify with (93,652 numbers for
windows of 201 x 60 and four classes, running means counted); the others are its usual rivals.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

WIDTHS = (128, 64, 32)  # channels of the three convolutions
TAPS = 5
SHORTEST = 36  # rows of a window that three convolutions and poolings leave something of


class ConvNet(nn.Module):
    """Three times convolution, normalization, ReLU, pooling by two, dropout; then one layer.

    Args:
        features: F.
        rows: of a window.
        classes: C.

    Raises:
        ValueError: the window is too short for three poolings.
    """

    def __init__(self, features: int, rows: int, classes: int):
        super().__init__()
        if rows < SHORTEST:
            raise ValueError(
                f"windows of {rows} samples are shorter than the {SHORTEST} that three "
                "convolutions need; take a longer reach or a smaller step"
            )
        layers: list[nn.Module] = [nn.BatchNorm1d(features)]
        for before, width in zip((features, *WIDTHS), WIDTHS):
            layers += [nn.Conv1d(before, width, TAPS), nn.BatchNorm1d(width), nn.ReLU()]
            layers += [nn.MaxPool1d(2), nn.Dropout(0.5)]
            rows = (rows - TAPS + 1) // 2
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(WIDTHS[-1] * rows, classes)

    def forward(self, windows: Tensor) -> Tensor:
        """(n, rows, F) -> logits (n, C)."""
        return self.head(self.body(windows.mT).flatten(1))


class RecurrentNet(nn.Module):
    """An LSTM over the window, then two layers on its last state.

    Args:
        features: F.
        rows: of a window; any number.
        classes: C.
    """

    def __init__(self, features: int, rows: int, classes: int):
        super().__init__()
        self.enter = nn.BatchNorm1d(features)
        self.lstm = nn.LSTM(features, 256, batch_first=True)
        layers = [nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU()]
        self.head = nn.Sequential(*layers, nn.Linear(128, classes))

    def forward(self, windows: Tensor) -> Tensor:
        """(n, rows, F) -> logits (n, C)."""
        return self.head(self.lstm(self.enter(windows.mT).mT)[1][0][-1])


class AttentionNet(nn.Module):
    """The window's rows, weighted by how much each has to say.

    Args:
        features: F.
        rows: of a window; any number.
        classes: C.
    """

    def __init__(self, features: int, rows: int, classes: int):
        super().__init__()
        self.enter = nn.BatchNorm1d(features)
        self.row = nn.Sequential(nn.Linear(features, 128), nn.ReLU())
        self.place = nn.Parameter(torch.zeros(rows))
        self.say, self.head = nn.Linear(128, 1), nn.Linear(128, classes)

    def forward(self, windows: Tensor) -> Tensor:
        """(n, rows, F) -> logits (n, C)."""
        rows = self.row(self.enter(windows.mT).mT)
        share = (self.say(rows)[..., 0] + self.place).softmax(-1)
        return self.head((share[..., None] * rows).sum(1))


class FrameNet(nn.Module):
    """The window's middle row alone: what a single pose tells.

    Args:
        features: F.
        rows: of a window; its middle is read.
        classes: C.
    """

    def __init__(self, features: int, rows: int, classes: int):
        super().__init__()
        self.enter = nn.BatchNorm1d(features)
        layers: list[nn.Module] = []
        for before, width in zip((features, 512, 256, 128), (512, 256, 128, 64)):
            layers += [nn.Linear(before, width), nn.ReLU(), nn.Dropout(0.2)]
        self.head = nn.Sequential(*layers, nn.Linear(64, classes))

    def forward(self, windows: Tensor) -> Tensor:
        """(n, rows, F) -> logits (n, C)."""
        return self.head(self.enter(windows[:, windows.shape[1] // 2]))


NETWORKS_1D = {
    "conv": ConvNet,
    "lstm": RecurrentNet,
    "attention": AttentionNet,
    "frame": FrameNet,
}
