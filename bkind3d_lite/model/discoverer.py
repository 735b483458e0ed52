"""Discoverer: encoder, lift, edges and decoder in one breath."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..cameras import CameraRig
from ..clips.look import Look
from ..clips.sampling import Batch
from .compute import Compute
from .edges import EdgeBottleneck, PointBottleneck, drawn
from .figure import MeanFigure
from .keypoints import Keypoints
from .lifts import Lift
from .memory_efficient import on_the_spot
from .networks import Decoder, Encoder, over_views


@dataclass(frozen=True)
class Discovery:
    """What the model says of a batch.

    Attributes:
        now: keypoints.
        later: keypoints.
        edges: drawings of now and later, (B, V, 1, h, w) per scale; of points (B, V, K, h, w).
        recon: (B, V, 1, h, w) the change, or (B, V, 3, h, w) the later frame; of a model without a
            decoder (B, V, 0, H, W), and then there is no drawing, and `later` is now.
        turned: keypoints of the later images after 1, 2, 3 quarter turns, where a loss asks for
            them.
        explained: the reconstruction loss, where it was taken one view at a time (then recon has no
            graph).
    """

    now: Keypoints
    later: Keypoints
    edges: tuple[list[Tensor], list[Tensor]]
    recon: Tensor
    turned: list[Keypoints] | None = None
    explained: Tensor | None = None


def both_moments(batch: Batch) -> tuple[Tensor, Tensor]:
    """Images of now and later.

    Args:
        batch: of pairs.

    Returns:
        (B, V, 3 or 4, H, W) each.

    Raises:
        ValueError: a batch of single moments, which is for tracking.
    """
    if batch.later is None:
        raise ValueError("a batch of single moments; draw pairs, with a gap, to learn from them")
    return batch.now, batch.later


class Discoverer(nn.Module):
    """images -> maps -> keypoints -> drawing -> reconstruction.

    Attributes:
        compute: how the networks are called.

    Args:
        encoder: images to features and maps.
        lift: decides how maps become keypoints.
        edges: what is drawn of them.
        decoder: features and drawings to a reconstruction; None: labels teach, nothing is drawn.
        rotate: look at the later images in quarter turns, too.
        look: tells the heading of an animal that stands, where the volume turns with it.
        figure: makes that heading finer by the keypoints.
    """

    compute = Compute()

    def __init__(
        self,
        encoder: Encoder,
        lift: Lift,
        edges: EdgeBottleneck | PointBottleneck,
        decoder: Decoder | None,
        *,
        rotate: bool = False,
        look: Look | None = None,
        figure: MeanFigure | None = None,
    ):
        super().__init__()
        self.rotate = rotate
        self.encoder, self.lift, self.edges, self.decoder = encoder, lift, edges, decoder
        self.look, self.figure = look, figure

    def compute_by(self, compute: Compute) -> None:
        """Call the networks this way from now on.

        Args:
            compute: number format and compilation.
        """
        self.compute = self.lift.compute = compute

    def parameter_groups(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """What learns at the common rate, and the edges' weights, which learn faster.

        The look is not among them: it has learned when the training begins.
        """
        edges = list(self.edges.parameters())
        others = [self.edges, *([] if self.look is None else [self.look])]
        apart = {id(p) for module in others for p in module.parameters()}
        return [p for p in self.parameters() if id(p) not in apart], edges

    def encoded(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features and heatmaps of every view.

        Args:
            images: (B, V, 3 or 4, H, W); the foreground channel is shown only to an encoder that
                was built for it.

        Returns:
            (B, V, F, H/s, W/s) and (B, V, C, H/4, W/4).
        """
        shown = images[:, :, : self.encoder.channels]
        return over_views(lambda x: self.compute(self.encoder, x), shown)

    def keypoints(self, batch: Batch) -> Keypoints:
        """Keypoints of `batch.now` alone: all that inference needs.

        Args:
            batch: images of now, cameras, and the volume's place.

        Returns:
            The keypoints.
        """
        return self.lift(self.encoded(batch.now)[1], batch.now, batch)

    def forward(
        self, batch: Batch, explain: Callable[[Tensor, int], Tensor] | None = None
    ) -> Discovery:
        """Keypoints, drawings and reconstruction of a pair of moments.

        Args:
            batch: images of now and later, cameras, and the volume's place.
            explain: loss of the i-th of the B V reconstructions (1, 1, h, w); then the decoder's
                fine half runs one view at a time.

        Returns:
            The discovery.
        """
        if self.decoder is None:
            said = self.keypoints(batch)
            return Discovery(said, said, edges=([], []), recon=batch.now[:, :, :0])
        B = len(batch.index)
        images = torch.cat(both_moments(batch))
        features, maps = self.encoded(images)
        both = self.lift(maps, images, _doubled(batch))
        self._remember(batch, both.world)
        h, w = features.shape[-2:]
        drawings = drawn(self.edges, both.ndc, self.decoder.drawing_hw((h, w)))
        now, later = ([d[s] for d in drawings] for s in (slice(0, B), slice(B, None)))
        pairs = [torch.cat([a, b], 2).flatten(0, 1) for a, b in zip(now, later)]
        recon, explained = self._decoded(features[:B].flatten(0, 1), pairs, explain)
        return Discovery(
            now=_part(both, slice(0, B)),
            later=_part(both, slice(B, None)),
            edges=(now, later),
            recon=recon.unflatten(0, features[:B].shape[:2]),
            turned=self._turned(batch) if self.rotate else None,
            explained=explained,
        )

    def _remember(self, batch: Batch, world: Tensor | None) -> None:
        """Let the mean figure learn from keypoints (2 B, K, 3), where the headings are known."""
        now, later = batch.heading, batch.heading_later
        if self.figure is None or not self.training or world is None:
            return
        if now is not None and later is not None:
            self.figure.learn(world, torch.cat([now, later]))

    def _decoded(
        self,
        features: Tensor,
        pairs: list[Tensor],
        explain: Callable[[Tensor, int], Tensor] | None,
    ) -> tuple[Tensor, Tensor | None]:
        """Reconstructions of all B V views, and their loss if it is taken view by view."""
        decoder = cast(Decoder, self.decoder)
        coarse = self.compute(decoder.begin, features, pairs)
        if explain is None:
            return self.compute(decoder.finish, coarse, pairs), None

        def one(i: int, x: Tensor, *drawings: Tensor) -> tuple[Tensor, Tensor]:
            recon = self.compute(decoder.finish, x, drawings)
            return explain(recon, i), recon

        explained, recon = on_the_spot(one, [coarse, *pairs], decoder.second_half())
        return recon, explained

    def _turned(self, batch: Batch) -> list[Keypoints]:
        _, later = both_moments(batch)
        quarters = [later.rot90(i, (-2, -1)) for i in (1, 2, 3)]
        return [self.keypoints(replace(batch, now=images)) for images in quarters]


def _doubled(batch: Batch) -> Batch:
    """The same cameras and volume for now and later, stacked along the batch; own turns."""
    twice = _stacked(batch, "index", "centre", "turn")
    if batch.turn is not None and batch.turn_later is not None:
        twice["turn"] = torch.cat([batch.turn, batch.turn_later])
    rig = replace(batch.rig, **_stacked(batch.rig, "K", "R", "t", "distortion"))
    return replace(batch, rig=rig, **twice)


def _stacked(value: Batch | CameraRig, *names: str) -> dict[str, Any]:
    tensors = {name: getattr(value, name) for name in names}
    return {name: torch.cat([x, x]) for name, x in tensors.items() if x is not None}


def _part(keypoints: Keypoints, part: slice) -> Keypoints:
    parts: dict[str, Any] = {}
    for name in (f.name for f in fields(Keypoints)):
        value = getattr(keypoints, name)
        parts[name] = None if value is None else value[part]
    return Keypoints(**parts)
