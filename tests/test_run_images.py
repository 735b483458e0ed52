"""Run images: the volume stands where it stands in the world, and what is flat looks flat."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from test_training import TINY

from bkind3d_lite.clips.survey import survey
from bkind3d_lite.clips.synthetic import figure
from bkind3d_lite.model import build, placed
from bkind3d_lite.recipes import Recipe, variant
from bkind3d_lite.viz.colours import rgb
from bkind3d_lite.viz.run_images import (
    VOLUME,
    contact_sheet,
    placement,
    placement_sheet,
    save_sheet,
    volume_grid,
    volume_place,
)

ROOM = Recipe("room").with_(
    keypoints=5,
    image_wh=(48, 32),
    voxels=8,
    encoder_width=8,
    channels=4,
    v2v_width=4,
    decoder_width=8,
    decoder_steps=2,
)


@pytest.fixture(scope="module")
def clip():
    return figure(20, views=3)


@pytest.fixture(scope="module")
def seen(clip):
    return survey(clip)


def test_the_volume_goes_where_the_animal_is(clip, seen):
    moved = replace(
        clip, rig=replace(clip.rig, t=clip.rig.t - clip.rig.R @ torch.tensor([4000.0, 0.0, 0.0]))
    )
    recipe = placed(ROOM, moved.rig, survey(moved))
    assert (
        torch.tensor(recipe.volume.centre) - clip.truth.mean((0, 1)) - torch.tensor([4000.0, 0, 0])
    ).norm() < 0.3 * recipe.volume.side
    given = placed(ROOM.with_(side=800.0), clip.rig, seen)
    assert (
        given.volume.side == 800.0
        and (torch.tensor(given.volume.centre) - clip.truth.mean((0, 1))).norm() < 120
    )
    assert (
        volume_place(placed(TINY, clip.rig), seen)[1] == TINY.volume.crop
        and volume_place(given)[1] == 800.0
    )


def test_the_volume_is_drawn_where_it_projects(clip, seen):
    recipe = ROOM.with_(side=200.0, centre=tuple(clip.truth.mean((0, 1)).tolist()))
    sheet = placement_sheet(clip, recipe)
    H, W = clip.frames.shape[2:4]
    assert sheet.shape == (H, 3 * W, 3)
    middle = clip.rig.px_from_world(torch.tensor([recipe.volume.centre]))[:, 0]
    corner = clip.rig.px_from_world(torch.tensor([recipe.volume.centre]) + 100.0)[:, 0]
    for v in range(3):
        for x, y in (middle[v].tolist(), corner[v].tolist()):
            colour = sheet[int(y), v * W + int(x)].astype(int)
            assert np.abs(colour - np.array(rgb(VOLUME))).max() < 90, (v, colour)
    names = {t.name for t in placement(clip, recipe, seen).data}
    assert {"cameras", "cube", "where the animal goes"} <= names


def turned_edges(figure) -> torch.Tensor:
    """Directions, modulo a right angle, of the cube's edges that lie flat."""
    drawn = next(t for t in figure.data if t.name == "cube")
    x, y = (torch.tensor([[a, b] for a, b in zip(v[::3], v[1::3])]) for v in (drawn.x, drawn.y))
    flat = torch.stack([x[:, 1] - x[:, 0], y[:, 1] - y[:, 0]], 1)
    flat = flat[flat.norm(dim=-1) > 1]
    return torch.atan2(flat[:, 1], flat[:, 0]).remainder(torch.pi / 2)


@pytest.mark.parametrize(("by_heading", "found"), [(True, True), (True, False), (False, True)])
def test_the_volume_turns_with_the_animal(clip, seen, by_heading, found):
    recipe = placed(TINY, clip.rig).with_(by_heading=by_heading)
    angle = torch.full((len(clip),), 0.4)
    angle[3] = 0.9
    known = replace(seen, heading=SimpleNamespace(found=found, angle=angle))
    turns = by_heading and found
    figure = placement(clip, recipe, known)
    usual = volume_grid(recipe, known)
    assert ("turns with it" in figure.layout.title.text) == turns
    expected = float(usual.turn) if turns else 0.0
    # cube lines are rounded: an angle near 0 may come out near a right angle
    off = (turned_edges(figure) - expected + 0.1).remainder(torch.pi / 2) - 0.1
    assert off.abs().max() < 1e-3
    then = volume_grid(recipe, known, 3)
    assert torch.equal(then.centre, seen.centre[3])
    assert (then.turn is None) == (not turns) and (not turns or float(then.turn) == angle[3])
    sheet, plain = (placement_sheet(clip, recipe, s, 3) for s in (known, seen))
    assert np.array_equal(sheet, plain) == (not turns)


@pytest.mark.parametrize(
    "recipe", [TINY, ROOM, variant(ROOM, "keypoint3d"), variant(ROOM, "flat")], ids=lambda r: r.name
)
def test_contact_sheet_of_every_method(tmp_path, clip, seen, recipe):
    model, objective = build(placed(recipe, clip.rig))
    batch = clip.batch(
        [2, 5], 4, recipe.data.image_wh, seen if recipe.surveyed else None, recipe.volume.crop
    )
    out = model(batch)
    target = objective.target(batch, out.recon.shape[-2:])
    flat = replace(out, recon=torch.zeros_like(out.recon))
    sheet = contact_sheet(batch, flat, model, target, width=96)
    assert sheet.shape == (3 * 64, 4 * 96, 3) and sheet.dtype == np.uint8
    assert (
        sheet[:, 2 * 96 : 3 * 96].max() == 0
        and sheet[:, 96 : 2 * 96].max() > 200
        and sheet[:, 3 * 96 :].max() > 200
    )
    save_sheet(sheet, tmp_path / "s.jpg")
    assert Image.open(tmp_path / "s.jpg").size == (4 * 96, 3 * 64)
