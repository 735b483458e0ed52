"""The refinement unit: 3D poses in, better 3D poses out (Kocabas et al. 2019).

An MLP of two stages after Martinez et al. 2017. As published it is taught by true 3D poses, of
other people than it is scored on: `fit(said, truth)`. Without any truth it learns to take noise
off pseudo labels: `denoise(labels)`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..shapes import shaped


class _Block(nn.Module):
    """Two times linear, normalization, leaky ReLU, dropout, beside the identity."""

    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.layers = nn.Sequential(*(_layer(width, width, dropout) for _ in range(2)))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def _layer(before: int, after: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(before, after), nn.BatchNorm1d(after), nn.LeakyReLU(), nn.Dropout(dropout)
    )


class RefinementUnit(nn.Module):
    """Two stages of residual blocks; each says a pose, the second having seen the first's.

    Args:
        numbers: 3 J.
        width: of the layers; 1024 as published.
        dropout: share of the units.
    """

    def __init__(self, numbers: int, width: int = 1024, dropout: float = 0.5):
        super().__init__()
        self.begin = _layer(numbers, width, dropout)
        self.first = nn.Sequential(_Block(width, dropout), _Block(width, dropout))
        self.said = nn.Linear(width, numbers)
        self.again = _layer(numbers, width, dropout)
        self.second = nn.Sequential(_Block(width, dropout), _Block(width, dropout))
        self.final = nn.Linear(width, numbers)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight)
        for head in (self.said, self.final):
            nn.init.normal_(head.weight, std=1e-3)
            nn.init.zeros_(head.bias)

    def forward(self, poses: Tensor) -> tuple[Tensor, Tensor]:
        """Both stages' poses.

        Args:
            poses: (N, 3 J) standardised.

        Returns:
            (N, 3 J) of the first stage and of the second.
        """
        inner = self.begin(poses)
        middle = self.first(inner)
        said = self.said(middle)
        joined = inner + middle + self.again(said)
        return said, self.final(self.second(joined) + joined)


class PoseRefiner:
    """Learns what is systematically wrong with a student's poses; scikit-learn's manners.

    Args:
        width: of the layers.
        epochs: over the poses.
        dropout: share of the units.
        learning_rate: of Adam; falls to 4 % over the epochs.
        batch: poses a step.
        correct: learn what to add to a pose, which a handful of poses can teach; False, as
            published: say the pose anew.
        seed: of weights and draws.

    Attributes:
        unit_: the network, after `fit`.
    """

    def __init__(
        self,
        width: int = 1024,
        epochs: int = 200,
        dropout: float = 0.5,
        *,
        learning_rate: float = 1e-3,
        batch: int = 64,
        correct: bool = True,
        seed: int = 0,
    ) -> None:
        self.width, self.epochs, self.dropout = width, epochs, dropout
        self.learning_rate, self.batch, self.seed = learning_rate, batch, seed
        self.correct = correct

    def fit(self, said: Tensor, truth: Tensor) -> PoseRefiner:
        """Learn from pairs of poses.

        Args:
            said: (N, J, 3) about the root, of a student.
            truth: (N, J, 3) about the root; poses with a NaN are left out.

        Returns:
            Itself.

        Raises:
            ValueError: fewer than two whole poses.
        """
        shaped(said, "N J 3", "said")
        whole = (said.isfinite() & truth.isfinite()).all(-1).all(-1)
        if whole.sum() < 2:
            raise ValueError(
                f"{int(whole.sum())} of {len(said)} pairs of poses are whole; the refinement unit "
                "needs two at least, leave out joints that are often NaN"
            )
        x, y = said[whole].flatten(1), truth[whole].flatten(1)
        y = y - x if self.correct else y
        least = 1e-3 * float(x.std())
        self.scales_ = [(a.mean(0), a.std(0).clamp(min=least)) for a in (x, y)]
        x, y = ((a - m) / s for a, (m, s) in zip((x, y), self.scales_))
        random = torch.Generator().manual_seed(self.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.unit_ = RefinementUnit(x.shape[1], self.width, self.dropout)
            self._train(x, y, random)
        return self

    def _train(self, x: Tensor, y: Tensor, random: torch.Generator) -> None:
        optimizer = torch.optim.Adam(self.unit_.parameters(), lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, max(1, self.epochs // 20), 0.85)
        self.unit_.train()
        for _ in range(self.epochs):
            for part in torch.randperm(len(x), generator=random).split(self.batch):
                if len(part) > 1:
                    first, second = self.unit_(x[part])
                    loss = F.mse_loss(first, y[part]) + F.mse_loss(second, y[part])
                    optimizer.zero_grad()
                    loss.backward()
                    nn.utils.clip_grad_norm_(self.unit_.parameters(), 1.0)
                    optimizer.step()
            schedule.step()

    def denoise(self, labels: Tensor, noise: float = 0.05, copies: int = 4) -> PoseRefiner:
        """Learn without truth to take noise off: labels with noise to labels.

        Args:
            labels: (N, J, 3) pseudo labels about the root.
            noise: standard deviation, in RMS sizes of the poses.
            copies: of each pose, every one with its own noise.

        Returns:
            Itself.
        """
        random = torch.Generator().manual_seed(self.seed)
        labels = labels[labels.isfinite().all(-1).all(-1)].repeat(copies, 1, 1)
        size = labels.square().sum(-1).mean().sqrt()
        shaken = labels + noise * size * torch.randn(labels.shape, generator=random)
        return self.fit(shaken, labels)

    @torch.no_grad()
    def predict(self, said: Tensor) -> Tensor:
        """Refined poses.

        Args:
            said: (N, J, 3) about the root.

        Returns:
            (N, J, 3).
        """
        (mx, sx), (my, sy) = self.scales_
        out = self.unit_.eval()((said.flatten(1) - mx) / sx)[1]
        found = (out * sy + my).view_as(said)
        return said + found if self.correct else found
