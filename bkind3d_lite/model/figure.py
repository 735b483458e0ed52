"""Figure: the keypoints' mean places in the animal's own frame, which make a heading finer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .. import distributed
from ..clips.heading import rotated


class MeanFigure(nn.Module):
    """Where the keypoints are in the animal's own frame, on average over the training.

    Beyond the paper. A heading that hull, walk and look tell is some degrees off; keypoints that
    turn with the animal can say by how much, if it is known where they usually are.

    Args:
        keypoints: K.
        decay: of the running average, saved with the model.
    """

    mean: Tensor

    def __init__(self, keypoints: int, *, decay: float = 0.995):
        super().__init__()
        self.decay = decay
        self.register_buffer("mean", torch.zeros(keypoints, 3))

    @torch.no_grad()
    def learn(self, world: Tensor, heading: Tensor) -> None:
        """One more batch counts.

        Args:
            world: (B, K, 3) keypoints.
            heading: (B,) radians, as it was found.
        """
        seen = distributed.mean(_in_body(world.detach(), heading).mean(0))
        self.mean.lerp_(seen, 1 - self.decay)  # from 0, which is no matter to a direction

    def off(self, world: Tensor, heading: Tensor, most: float) -> Tensor:
        """How far the animal faces to the left of the heading that was found.

        The turn about the vertical that lays the keypoints onto the mean figure best, in least
        squares.

        Args:
            world: (B, K, 3) keypoints.
            heading: (B,) radians, as it was found.
            most: what more than so many radians is cut to: a figure that is farther off was
                mistaken otherwise.

        Returns:
            (B,) radians; 0 of a figure that nothing taught.
        """
        x, y, _ = _in_body(world, heading).unbind(-1)
        ahead, left, _ = self.mean.unbind(-1)
        turn = torch.atan2((ahead * y - left * x).sum(1), (ahead * x + left * y).sum(1))
        return turn.clamp(-most, most)


def _in_body(world: Tensor, heading: Tensor) -> Tensor:
    """Keypoints (B, K, 3) about their mean, x ahead."""
    return rotated(world - world.mean(1, keepdim=True), -heading)
