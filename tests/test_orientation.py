"""The volume turns with the animal: in batches, training, tracking, checkpoints."""

import math
from dataclasses import replace

import pytest
import torch
from test_heading import walker
from torch.testing import assert_close

from bkind3d_lite import batches, begin, track, train
from bkind3d_lite.clips.heading import rotated, wrapped
from bkind3d_lite.clips.heading_finder import find_heading
from bkind3d_lite.clips.rig_checks import vertical_is_z
from bkind3d_lite.clips.survey import survey
from bkind3d_lite.model import build
from bkind3d_lite.model.figure import MeanFigure
from bkind3d_lite.model.losses import separation, steadiness
from bkind3d_lite.recipes import PAPER_RAT7M, QUICK, QUICK_RAT, RECIPES, variant
from bkind3d_lite.training.checkpoints import load, resume, save
from bkind3d_lite.training.orientation import oriented
from bkind3d_lite.training.tracking import turned_volumes

SMALL = QUICK.with_(
    image_wh=(32, 32), voxels=8, keypoints=5, encoder_width=8, channels=4, v2v_width=8,
    decoder_width=8, animal_side=300.0, gaps=(0.2,), views_per_step=None, look_steps=0, warmup=0,
    steps=4,
)  # fmt: skip


@pytest.fixture(scope="module")
def walk():
    clip, _ = walker()
    its_survey = survey(clip)
    return clip, replace(its_survey, heading=find_heading(clip, its_survey))


def test_only_the_papers_recipes_leave_the_volume_in_the_room():
    turns = {name for name, recipe in RECIPES.items() if recipe.volume.by_heading}
    assert turns == {"quick", "quick-rat", "quick-human", "lean"}


def test_batches_turn_with_the_animal(walk):
    clip, its_survey = walk
    run = begin(SMALL.with_(batch=6), clip, seed=3)
    batch = next(batches(run, clip, its_survey))
    angle, gap = its_survey.heading.angle, round(0.2 * clip.fps)
    assert_close(batch.heading, angle[batch.index])
    assert_close(batch.heading_later, angle[batch.index + gap])
    swing = batch.turn - batch.heading
    assert swing.abs().max() <= 0.35 and swing.std() > 0.05
    assert not torch.equal(swing, batch.turn_later - batch.heading_later)


def test_a_heading_that_was_not_found_turns_nothing(walk):
    clip, its_survey = walk
    lost = replace(its_survey.heading, travelled=0.0)
    assert not lost.found
    run = begin(SMALL.with_(batch=32), clip)
    batch = next(batches(run, clip, replace(its_survey, heading=lost)))
    assert batch.heading is None and batch.turn.max() > math.pi  # all the way round, as before


def test_where_nothing_walks_it_is_said(walk, caplog):
    clip, its_survey = walk
    rest = clip.at(range(100, 120))  # it turns on the spot
    part = replace(
        its_survey, centre=its_survey.centre[100:], thumbs=its_survey.thumbs[100:], heading=None
    )
    heading = oriented(begin(SMALL, clip).model, rest, part).heading
    assert not heading.found and "does not tell the animal's heading" in caplog.text


def test_a_world_that_lies_on_its_side_has_no_heading(walk, caplog):
    """z on its side is said and nothing turns; z down is vertical all the same."""
    clip, its_survey = walk
    plain, model = replace(its_survey, heading=None), begin(SMALL, clip).model
    for quarters, vertical in ((1, False), (2, True)):
        angle = torch.tensor(quarters * math.pi / 2)
        c, s = float(angle.cos()), float(angle.sin())
        tilt = torch.tensor([[1.0, 0, 0], [0, c, -s], [0, s, c]])
        there = replace(clip, rig=replace(clip.rig, R=clip.rig.R @ tilt.T))
        assert vertical_is_z(there.rig) is vertical
        if not vertical:
            assert oriented(model, there, plain) is plain
            assert "turn the world until z" in caplog.text
    above = replace(clip.rig, R=torch.diag(torch.tensor([1.0, -1.0, -1.0])).expand_as(clip.rig.R))
    assert vertical_is_z(above)  # all look straight down


def test_a_heading_that_is_known_is_not_lost_to_one_that_is_not(walk):
    clip, its_survey = walk
    rest = clip.at(range(100, 120))
    known = replace(its_survey, centre=its_survey.centre[100:], thumbs=its_survey.thumbs[100:])
    model = begin(SMALL, clip).model
    assert known.heading.found and oriented(model, rest, known, teach=3) is known


def test_a_world_turned_about_the_vertical_turns_the_track(walk):
    """What is tracked does not depend on which way the room's axes point."""
    clip, its_survey = walk
    angle = torch.tensor(0.9)
    c, s = float(angle.cos()), float(angle.sin())
    turn = torch.tensor([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    other = replace(clip, rig=replace(clip.rig, R=clip.rig.R @ turn.T))
    heading = its_survey.heading
    moved = replace(
        its_survey,
        centre=its_survey.centre @ turn.T,
        heading=replace(heading, angle=heading.angle + angle),
    )
    run = begin(SMALL, clip)
    here = track(run.model, run.recipe, clip, its_survey, range(0, 120, 30))
    there = track(run.model, run.recipe, other, moved, range(0, 120, 30))
    assert_close(there.world, here.world @ turn.T, atol=0.05, rtol=0)
    still = track(run.model, run.recipe, other, replace(moved, heading=lost_of(heading)), [0, 30])
    assert not torch.allclose(still.world, here.world[:2] @ turn.T, atol=0.05)


def lost_of(heading):
    return replace(heading, travelled=0.0)


def test_a_track_is_the_mean_over_turns_of_the_volume(walk):
    """About the heading, within the swing; where none was found, about where it stands; all the way
    round where the volume never turned with the animal: a figure that turns with its volume would
    have its own middle for a mean."""
    clip, its_survey = walk
    assert QUICK_RAT.volume.turns == 2
    run = begin(SMALL.with_(turns=2), clip)
    frames = clip.batch([3, 40], None, (32, 32), its_survey, 300.0, turn=torch.tensor([0.5, 2.0]))
    one, other = turned_volumes(frames, run.recipe.volume)
    assert_close((one.turn + other.turn) / 2, frames.turn)
    assert 0.1 < float((other.turn - one.turn).min()) / 2 < run.recipe.volume.swing
    for moved in (one, other):
        shift = rotated((moved.centre - frames.centre)[:, None], -moved.turn)[:, 0]
        assert_close(shift.abs(), torch.full((2, 3), 300.0 / 8 / 4))
    assert ((one.centre - frames.centre) * (other.centre - frames.centre)).sum(1).max() < 0
    lost = torch.stack(
        [x.turn for x in turned_volumes(replace(frames, turn=None), run.recipe.volume)]
    )
    assert_close(lost.mean(0), torch.zeros(2))
    assert 0.1 < float(lost.abs().min()) and float(lost.abs().max()) < run.recipe.volume.swing
    blind = turned_volumes(
        replace(frames, turn=None), run.recipe.with_(turns=4, by_heading=False).volume
    )
    assert_close(torch.stack([x.turn for x in blind])[:, 0], torch.arange(4) * math.pi / 2)
    still = turned_volumes(replace(frames, turn=None), run.recipe.with_(turn=False).volume)
    assert all(x.turn is None for x in still)

    known = track(run.model, run.recipe, clip, its_survey, [3, 40])
    headed = replace(frames, turn=its_survey.heading.angle[[3, 40]])
    each = [run.model.keypoints(x).world for x in turned_volumes(headed, run.recipe.volume)]
    assert_close(known.world, torch.stack(each).mean(0).detach(), atol=1e-2, rtol=0)
    plain = track(run.model, run.recipe, clip, its_survey, [3, 40], turns=1)
    alone = run.model.keypoints(headed).world.detach()
    assert_close(plain.world, alone, atol=1e-2, rtol=0)
    assert (plain.world - known.world).abs().max() > 0.1
    paper = begin(PAPER_RAT7M.with_(image_wh=(32, 32), voxels=16, v2v_levels=1), clip)
    assert paper.recipe.volume.turns == 1 and turned_volumes(frames, paper.recipe.volume) == [
        frames
    ]


def test_a_mean_figure_says_how_far_a_heading_is_off():
    """Learned from poses about headings that are off by a little, as they are found; asked for
    other poses, it tells by how much; what nothing taught changes no heading."""
    g = torch.Generator().manual_seed(0)
    shape, T = 100 * torch.randn(6, 3, generator=g), 400
    true = 2 * math.pi * torch.rand(T, generator=g)
    wobble = 0.2 * torch.randn(T, generator=g)
    poses = shape + 5 * torch.randn(T, 6, 3, generator=g)
    world = rotated(poses, true) + 1000 * torch.randn(T, 1, 3, generator=g)
    figure = MeanFigure(6, decay=0.98)
    assert torch.equal(figure.off(world, true, most=0.3), torch.zeros(T))
    for some in torch.arange(300).split(2):
        figure.learn(world[some], (true + wobble)[some])
    off = figure.off(world[300:], (true + wobble)[300:], most=1.0)
    assert (off + wobble[300:]).std() < 0.05 < 0.15 < wobble[300:].std()
    assert figure.off(world[300:], true[300:] + 2.0, most=0.3).unique().tolist() == [
        -torch.tensor(0.3)
    ]


def test_keypoints_make_the_heading_of_a_track_finer(walk):
    """The volume is turned on and looked at again; the track says by how much; other recipes have
    no such figure."""
    clip, its_survey = walk
    run = begin(SMALL.with_(realign=True, steps=6), clip)
    for _ in zip(range(6), train(run, batches(run, clip, its_survey))):
        pass
    assert run.model.figure.mean.any()
    times = torch.tensor([3, 40, 90])
    found = its_survey.heading.angle[times]
    told = track(run.model, run.recipe, clip, its_survey, times, turns=1)
    off = wrapped(told.heading - found)
    assert 0 < off.abs().max() <= run.recipe.volume.swing + 1e-5
    frames = clip.batch(times, None, (32, 32), its_survey, 300.0, turn=told.heading)
    assert_close(told.world, run.model.keypoints(frames).world.detach(), atol=1e-2, rtol=0)
    first = run.model.keypoints(replace(frames, turn=found)).world.detach()
    assert_close(
        off, run.model.figure.off(first, found, most=run.recipe.volume.swing), atol=1e-4, rtol=0
    )
    plain = run.recipe.with_(realign=False, turns=1)
    once = track(run.model, plain, clip, its_survey, times)
    assert_close(once.world, first, atol=1e-2, rtol=0)
    assert_close(once.heading, found)
    lost = replace(its_survey, heading=lost_of(its_survey.heading))
    assert track(run.model, run.recipe, clip, lost, times).heading is None
    assert begin(SMALL.with_(realign=False), clip).model.figure is None


def test_a_mean_figure_lies_in_the_checkpoint(walk, tmp_path):
    clip, its_survey = walk
    run = begin(SMALL.with_(realign=True), clip)
    run.model.figure.learn(torch.randn(2, 5, 3), torch.zeros(2))
    for tracking in (False, True):
        model, _, _ = load(save(run, tmp_path / "a.safetensors", whole=False), tracking=tracking)
        assert torch.equal(model.figure.mean, run.model.figure.mean)


def test_steadiness_in_the_body_forgives_turning(walk):
    clip, its_survey = walk
    run = begin(SMALL.with_(batch=3, steady=1.0, steady_in="body"), clip)
    batch = next(batches(run, clip, its_survey))
    world = torch.randn(3, 5, 3)
    turned = rotated(world, batch.heading_later - batch.heading)
    now, later = run.objective._compared([world, turned], batch)
    assert steadiness(now, later, 1.0) < 1e-8 < steadiness(world, turned, 1.0)
    in_room = begin(SMALL.with_(steady_in="room"), clip).objective._compared([world, turned], batch)
    assert in_room[0] is world and in_room[1] is turned


def test_the_look_lies_in_the_checkpoint(walk, tmp_path):
    clip, its_survey = walk
    recipe = SMALL.with_(look_steps=3)
    run = begin(recipe, clip)
    assert not run.model.look.taught
    pairs = batches(run, clip, replace(its_survey, heading=None))
    next(train(run, pairs))
    weights = run.model.look.networks[0][0].weight
    assert not weights.requires_grad and weights.abs().sum() > 0
    assert run.model.look.pace > 0  # it was taught, for three steps
    save(run, tmp_path / "a.safetensors")
    for model in (
        load(tmp_path / "a.safetensors")[0],
        load(tmp_path / "a.safetensors", tracking=True)[0],
        resume(tmp_path / "a.safetensors", clip).model,
    ):
        for name, value in run.model.look.state_dict().items():
            assert torch.equal(model.look.state_dict()[name], value), name
    learned = [p for group in run.optimizer.param_groups for p in group["params"]]
    assert not {id(p) for p in run.model.look.parameters()} & {id(p) for p in learned}


def test_a_track_knows_its_heading(walk):
    clip, its_survey = walk
    run = begin(SMALL, clip)
    path = track(run.model, run.recipe, clip, its_survey, [5, 6, 50])
    assert torch.equal(path.heading, its_survey.heading.angle[[5, 6, 50]])


def test_the_paper_has_no_look(walk):
    clip, its_survey = walk
    plain = SMALL.with_(by_heading=False)
    run = begin(plain, clip)
    assert run.model.look is None
    assert oriented(run.model, clip, its_survey) is its_survey
    unheard = replace(its_survey, heading=None)
    paths = [track(run.model, run.recipe, clip, s, [5, 50]) for s in (its_survey, unheard)]
    assert torch.equal(paths[0].world, paths[1].world)  # the volume stands, whoever knows
    assert paths[0].heading is not None and paths[1].heading is None


def test_a_light_checkpoint_holds_the_look_in_half_precision(walk, tmp_path):
    clip, its_survey = walk
    run = begin(SMALL, clip)
    look = run.model.look
    look.scale.fill_(0.3001)
    light = load(save(run, tmp_path / "light.safetensors", whole=False))[0].look
    assert torch.equal(light.scale, look.scale)
    for name, value in look.state_dict().items():
        assert_close(light.state_dict()[name], value, rtol=1e-3, atol=1e-6)


PAPER = dict(
    backbone="small", encoder_width=8, channels=4, image_wh=(32, 32), side=900.0, centre=(0, 0, 0),
    voxels=8, v2v_levels=1, v2v_front=3, v2v_full=False, pyramid=False, v2v_width=4, keypoints=4,
    decoder_widths=(8, 8, 4), perceptual="random", warmup=1, gaps=(0.2,), precision="float32",
)  # fmt: skip


def plain_step(model, objective, batch, step):
    """Equation 4 on a volume that stands in the room, term by term."""
    terms, out = objective.recipe.losses, model(batch, objective.judge(batch))
    loss = objective.explain(batch, out.recon) if out.explained is None else out.explained
    worlds = [out.now.world, out.later.world]
    stretch = objective.length(torch.cat(worlds), model.edges.pairs, model.edges.weights)
    if step < terms.warmup:
        return loss
    apart = separation(torch.cat(worlds), terms.separate_sigma * objective.side)
    return loss + terms.separate * apart + terms.length * stretch


@pytest.mark.parametrize("changes", [{}, dict(decode_per_view=False, checkpointing=False)])
def test_the_papers_training_is_what_plain_code_does_to_the_last_bit(walk, changes):
    """Whoever knows a heading: pairs by their seed, one cube in the room, equation 4, SGD."""
    clip, its_survey = walk
    recipe = PAPER_RAT7M.with_(**PAPER, **changes)
    run = begin(recipe, clip, seed=2)
    steps = zip(range(3), train(run, batches(run, clip, its_survey)))
    found = [sum(step.losses.values()) for _, step in steps]
    model, objective = build(run.recipe, seed=2)
    model.train(), objective.train()
    rates = ((model.parameter_groups()[0], 1e-3, 1e-4), (model.parameter_groups()[1], 0.512, 0.0))
    groups = [dict(params=p, lr=rate, weight_decay=decay) for p, rate, decay in rates]
    optimizer, gap = torch.optim.SGD(groups, momentum=0.9), round(0.2 * clip.fps)
    for step, loss in enumerate(found):
        random = torch.Generator().manual_seed(2 * 1_000_003 + step)
        torch.randint(1, (), generator=random)  # which gap
        t = torch.multinomial(torch.ones(len(clip) - gap), 1, True, generator=random)
        ours = plain_step(model, objective, clip.batch(t, gap, (32, 32)), step)
        assert ours.item() == pytest.approx(loss, rel=1e-6)
        optimizer.zero_grad()
        ours.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        for group, (_, rate, _) in zip(optimizer.param_groups, rates):
            fall = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / 195_000))
            group["lr"] = rate * fall * ((step + 1) / 20)
        optimizer.step()
    ours, theirs = model.state_dict(), run.model.state_dict()
    assert [k for k in theirs if not torch.equal(ours[k], theirs[k])] == []


def test_no_recipe_of_the_paper_asks_for_a_survey_or_a_turn():
    papers = [recipe for name, recipe in RECIPES.items() if name.startswith("paper-")]
    assert len(papers) == 20 and variant(PAPER_RAT7M, "points") in papers
    assert not any(recipe.surveyed or recipe.volume.turn for recipe in papers)
