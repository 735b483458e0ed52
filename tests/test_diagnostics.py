"""Diagnostics: each complaint on a made-up case, and silence on a run that learns."""

import re
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import torch
from test_training import TINY

from bkind3d_lite.clips import Batch, Survey
from bkind3d_lite.clips.heading import rotated
from bkind3d_lite.clips.survey import survey
from bkind3d_lite.clips.synthetic import figure
from bkind3d_lite.model import Discovery
from bkind3d_lite.model.lifts import Keypoints
from bkind3d_lite.recipes import Recipe
from bkind3d_lite.training import Step, batches, begin, train
from bkind3d_lite.training.diagnostics import (
    SAMPLE_EVERY,
    WINDOW,
    Diagnostics,
    dead_and_parked,
    facing,
    signals,
)

SIDE, K = 100.0, 6
PATH = 20 * torch.randn(400, 1, 3, generator=torch.Generator().manual_seed(0)) + torch.tensor(
    [10.0, 20.0, 0.0]
)
BODY = 30 * torch.randn(1, K, 3, generator=torch.Generator().manual_seed(1))


@dataclass
class Case:
    """A made-up run: keypoints (T, K, 3) on a body that walks, and all that is judged of them."""

    world: torch.Tensor = field(default_factory=lambda: PATH + BODY)
    target: float = 0.8
    confidence: float = 0.7
    entropy: float = 0.4
    edges: torch.Tensor = field(default_factory=lambda: torch.ones(15))
    loss: float = 1.0
    fall: float = 0.995
    gap: int = 0  # frames from now to later
    heading: torch.Tensor | None = None
    by_heading: bool = False

    def complaints(self, steps=400):
        edges = SimpleNamespace(pairs=torch.zeros(15, 2), weights=self.edges)
        model = SimpleNamespace(edges=edges, decoder=object())
        target = torch.zeros(1, 2, 1, 20, 20)
        target[..., 5:9, 5:9] = self.target
        objective = SimpleNamespace(side=SIDE, target=lambda batch, size: target)
        recipe = Recipe("r").with_(steps=steps, centre=(0.0, 0.0, 0.0), by_heading=self.by_heading)
        run = SimpleNamespace(recipe=recipe, model=model, objective=objective)
        diagnostics, complaints = Diagnostics(run), []
        for i in range(1, steps + 1):
            n = 1 + i % 3  # batches of mixed sizes
            times = (i + 7 * torch.arange(n)) % len(self.world)
            now, later = (
                Keypoints(
                    torch.zeros(n, 2, K, 2),
                    self.world[(times + gap) % len(self.world)],
                    torch.full((n, 2, K), self.confidence),
                    entropy=torch.full((n, K), self.entropy),
                )
                for gap in (0, self.gap)
            )
            heading = None if self.heading is None else self.heading[times]
            batch = Batch(torch.zeros(n, 2, 3, 20, 20), None, None, times, heading=heading)
            out = Discovery(now, later, ([], []), target)
            step = Step(i, {"reconstruct": self.loss * self.fall**i}, out, batch)
            complaints += diagnostics.examine(step)[1]
        return complaints


def test_a_healthy_case_is_left_in_peace():
    assert Case().complaints() == []


@pytest.mark.parametrize(
    "case, said",
    [
        (dict(target=0.01), "target is nearly empty.*gaps"),
        (
            dict(world=0.01 * PATH.expand(-1, K, -1), confidence=0.05),
            "6 of 6 keypoints are parked at the volume's centre.*sharpness",
        ),
        (dict(confidence=0.05), "confidence is 0.05.*flat.*[Rr]aise sharpness"),
        (
            dict(entropy=0.97),
            "entropy of their heatmaps 97% of an even map's.*flat.*[Rr]aise sharpness",
        ),
        (
            dict(world=torch.cat([PATH + BODY[:, :4], (0 * PATH + BODY[:, 4:])], 1)),
            "2 of 6 keypoints do not move although the animal does.*cover",
        ),
        (dict(world=PATH + 0.01 * BODY), "huddle.*separate"),
        (
            dict(edges=torch.zeros(15).index_fill(0, torch.tensor([3]), 1.0)),
            "1 of 15 edges.*softplus",
        ),
        (dict(fall=1.0), "stalls at 100%.*pictures"),
    ],
    ids=["empty", "parked", "flat", "even", "dead", "huddled", "unlinked", "stalled"],
)
def test_each_complaint_is_made_once(case, said):
    complaints = Case(**case).complaints()
    assert len(complaints) == 1, complaints
    assert re.search(said, complaints[0])


def test_a_loss_that_stands_low_is_no_stall():
    assert Case(loss=0.3, fall=1.0).complaints() == []


# ---- a figure that keeps to the room -------------------------------------------------------------
AHEAD = 2 * torch.pi * torch.arange(400) / 400 * 3 + torch.pi / 2  # three rounds of a circle
CIRCLE = 40 * torch.stack([AHEAD.sin(), -AHEAD.cos(), 0 * AHEAD], -1)[:, None]
TURNING = CIRCLE + rotated(BODY.expand(400, -1, -1), AHEAD)
SLIDING = CIRCLE + BODY


@pytest.mark.parametrize("told", [dict(gap=20), dict(heading=AHEAD)], ids=["way", "heading"])
def test_a_figure_that_keeps_to_the_room_is_told_and_one_that_turns_is_not(told):
    (complaint,) = Case(SLIDING, **told).complaints()
    assert re.search("keeps to the sides of the room.*by_heading = true.*longer rec", complaint)
    assert re.search("12 of 12 directions", complaint)
    assert Case(TURNING, **told).complaints() == []


def test_whose_volume_turns_already_is_not_told_to_turn_it():
    (complaint,) = Case(SLIDING, gap=20, by_heading=True).complaints()
    assert "by_heading" not in complaint and "Train on a longer recording" in complaint


def test_nobody_can_tell_room_from_body_of_an_animal_that_stays_or_goes_one_way():
    assert Case(BODY + 0.05 * PATH, gap=20).complaints() == []
    assert Case(SLIDING, heading=torch.full((400,), 0.7)).complaints() == []
    assert Case(SLIDING, gap=20, heading=torch.full((400,), torch.nan)).complaints() == []


def test_keypoints_in_images_alone_face_nowhere():
    flat = Keypoints(torch.zeros(2, 2, K, 2), None, torch.ones(2, 2, K))
    batch = Batch(torch.zeros(2, 2, 3, 20, 20), None, None, torch.arange(2))
    step = Step(1, {}, Discovery(flat, flat, ([], []), torch.zeros(1)), batch)
    assert facing(step) is None


def test_dead_and_parked_by_hand():
    moves = torch.linspace(-1, 1, 50)[:, None, None] * torch.tensor([10.0, 0.0, 0.0])
    local = torch.cat([moves + 20, moves * 0.05 + 20, moves * 0], 1)
    dead, parked = dead_and_parked(local, torch.tensor([[0.9, 0.9, 0.1]]).expand(50, 3), 100.0)
    assert dead.tolist() == [False, True, True] and parked.tolist() == [False, False, True]
    assert dead_and_parked(local, torch.ones(50, 3), 100.0, animal=500.0)[0].all(), (
        "an animal that goes far leaves all of them behind"
    )


def found_by(thumbs, centre):
    still = torch.zeros(0)
    return Survey(still, still, still, centre, thumbs, 0.02)


def test_before_the_first_step():
    thumbs = torch.full((40, 2, 8, 8), 100, dtype=torch.uint8)
    run = SimpleNamespace(recipe=Recipe("r").with_(side=100.0, centre=(0.0, 0.0, 0.0), gaps=(0.1,)))
    run.recipe = run.recipe.with_(steps=400)
    centre = torch.zeros(40, 3)
    centre[:10, 0] = 60.0
    short, outside = Diagnostics(run, found_by(thumbs, centre)).before(30.0)
    assert "longer gaps" in short and "outside the volume in 25%" in outside
    lively = torch.randint(0, 255, (40, 2, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
    assert Diagnostics(run, found_by(lively, 0 * centre)).before(30.0) == []


def test_a_tiny_run_that_learns_is_healthy():
    """The synthetic figure, long enough for every complaint to have its say."""
    clip = figure(60, views=3)
    seen = survey(clip)
    run = begin(TINY.with_(steps=SAMPLE_EVERY * WINDOW + 50), clip)
    diagnostics, said, row = Diagnostics(run, seen), [], None
    said += diagnostics.before(clip.fps)
    for step in train(run, batches(run, clip, seen)):
        new, complaints = diagnostics.examine(step)
        row, said = new or row, said + complaints
        if step.index >= run.recipe.optim.steps:
            break
    assert said == []
    assert (
        row["dead"] == 0
        and row["confidence"] > 0.3
        and 0 < row["entropy"] < 0.8
        and row["liveliest"] > 0.1
    )
    assert set(signals(step, run)) == {
        "motion",
        "liveliest",
        "confidence",
        "entropy",
        "spread",
        "to_centre",
        "edges",
    }
