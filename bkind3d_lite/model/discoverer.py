"""Discoverer: encoder, lift, edges and decoder in one breath."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn

from ..clips.clip import Batch
from .edges import EdgeBottleneck, PointBottleneck
from .lifts import Keypoints, Lift
from .memory_efficient import on_the_spot
from .networks import Decoder, Encoder, over_views


@dataclass(frozen=True)
class Discovery:
    """What the model says of a batch."""

    now: Keypoints
    later: Keypoints
    edges: tuple[
        list[Tensor], list[Tensor]
    ]  # drawings of now and later, (B, V, 1, h, w) per scale; of points (B, V, K, h, w)
    recon: Tensor  # (B, V, 1, h, w) the change, or (B, V, 3, h, w) the later frame
    turned: list[Keypoints] | None = (
        None  # keypoints of the later images after 1, 2, 3 quarter turns, where a loss asks for them
    )
    explained: Tensor | None = (
        None  # the reconstruction loss, where it was taken one view at a time (then recon has no graph)
    )


class Discoverer(nn.Module):
    """images -> maps -> keypoints -> drawing -> reconstruction; the lift decides how maps become keypoints, `edges` what is drawn."""

    def __init__(
        self,
        encoder: Encoder,
        lift: Lift,
        edges: EdgeBottleneck | PointBottleneck,
        decoder: Decoder,
        rotate: bool = False,
    ):
        super().__init__()
        self.rotate = rotate  # look at the later images in quarter turns, too
        self.encoder, self.lift, self.edges, self.decoder = encoder, lift, edges, decoder

    def parameter_groups(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """What learns at the common rate, and the edges' weights, which learn faster."""
        edges = list(self.edges.parameters())
        mine = {id(p) for p in edges}
        return [p for p in self.parameters() if id(p) not in mine], edges

    def encoded(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features and maps of (B, V, C, H, W); the foreground channel is shown only to an encoder that was built for it."""
        return over_views(self.encoder, images[:, :, : self.encoder.channels])

    def keypoints(self, batch: Batch) -> Keypoints:
        """Keypoints of `batch.now` alone: all that inference needs."""
        return self.lift(self.encoded(batch.now)[1], batch.now, batch)

    def forward(
        self, batch: Batch, explain: Callable[[Tensor, int], Tensor] | None = None
    ) -> Discovery:
        """explain: loss of the i-th of the B V reconstructions (1, 1, h, w); then the decoder's fine half runs one view at a time."""
        B = len(batch.index)
        images = torch.cat([batch.now, batch.later])
        features, maps = self.encoded(images)
        both = self.lift(maps, images, _doubled(batch))
        drawings = [self.edges(both.ndc, hw) for hw in self.decoder.drawing_hw(features.shape[-2:])]
        now, later = ([d[s] for d in drawings] for s in (slice(0, B), slice(B, None)))
        pairs = [torch.cat([a, b], 2).flatten(0, 1) for a, b in zip(now, later)]
        seen, explained = features[:B].flatten(0, 1), None
        if explain is None:
            recon = self.decoder(seen, pairs)
        else:
            coarse = self.decoder.begin(seen, pairs)
            explained, recon = on_the_spot(
                lambda i, x, *drawn: _with_loss(explain, i, self.decoder.finish(x, drawn)),
                [coarse, *pairs],
                self.decoder.second_half(),
            )
        recon = recon.unflatten(0, features[:B].shape[:2])
        turned = (
            [self.keypoints(replace(batch, now=batch.later.rot90(i, (-2, -1)))) for i in (1, 2, 3)]
            if self.rotate
            else None
        )
        return Discovery(
            _part(both, slice(0, B)),
            _part(both, slice(B, None)),
            (now, later),
            recon,
            turned,
            explained,
        )


def _with_loss(explain: Callable, i: int, recon: Tensor) -> tuple[Tensor, Tensor]:
    return explain(recon, i), recon


def _doubled(batch: Batch) -> Batch:
    """The same cameras and volume for now and later, stacked along the batch; each with its own turn."""
    twice = {
        k: torch.cat([x, x])
        for k in ("index", "centre", "turn")
        if (x := getattr(batch, k)) is not None
    }
    if batch.turn_later is not None:
        twice["turn"] = torch.cat([batch.turn, batch.turn_later])
    rig = replace(
        batch.rig,
        **{
            k: torch.cat([x, x])
            for k in ("K", "R", "t", "distortion")
            if (x := getattr(batch.rig, k)) is not None
        },
    )
    return replace(batch, rig=rig, **twice)


def _part(keypoints: Keypoints, part: slice) -> Keypoints:
    return Keypoints(
        **{
            f.name: None if (x := getattr(keypoints, f.name)) is None else x[part]
            for f in fields(Keypoints)
        }
    )
