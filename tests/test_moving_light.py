"""Light that goes with the animal is not the animal, and the animal is as long as its hull."""

from dataclasses import replace

import pytest
import torch

from bkind3d_lite.clips.extent import _radius, animal_length
from bkind3d_lite.clips.foreground import foreground
from bkind3d_lite.clips.moving_light import lit, parting
from bkind3d_lite.clips.survey import survey
from bkind3d_lite.clips.synthetic import figure

H, W = 72, 96


@pytest.fixture(scope="module")
def room():
    """A tiled floor in colours, (3, H, W)."""
    y, x = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    tiles = 0.25 + 0.1 * ((x // 12 + y // 9) % 2)
    return torch.stack([0.6 * tiles, 0.8 * tiles, tiles])


def spot(y0=40.0, x0=48.0, width=14.0, gain=0.9):
    """A patch of light, (H, W): what it multiplies the floor by."""
    y, x = torch.meshgrid(torch.arange(H).float(), torch.arange(W).float(), indexing="ij")
    return 1 + gain * torch.exp(-((y - y0) ** 2 + (x - x0) ** 2) / (2 * width**2))


def drawn(shade, value):
    """A body of 9 x 16 pixels with a tail two pixels wide drawn into a map; and where it is."""
    shade, body = shade.clone(), torch.zeros(H, W, dtype=torch.bool)
    body[36:45, 40:56] = True
    body[40:42, 56:74] = True
    shade[body] = value
    return shade, body


def test_a_spot_of_light_is_light_and_an_animal_is_none():
    """Both at once: the floor is lit, the animal in it and its tail are not taken for light."""
    light = spot()
    shade, body = drawn(light, 2.6)
    found = lit(shade[None])[0]
    around = (light > 1.3) & ~torch.nn.functional.max_pool2d(body[None].float(), 9, 1, 4)[0].bool()
    assert found[around].mean() > 0.8
    assert found[body].mean() < 0.15
    assert lit(torch.ones(1, H, W)).abs().max() == 0


@pytest.mark.parametrize("value", [1.4, 2.0, 3.0])
def test_a_bright_animal_on_a_floor_whose_light_stands_is_never_light(value):
    """Edges of any height, and no patch around them."""
    shade, _ = drawn(torch.ones(H, W), value)
    assert lit(shade[None]).max() < 0.05


def test_the_foreground_leaves_the_light_out(room):
    """The animal alone is left, whatever its colour; without the rule the floor would be."""
    light = spot()
    _, body = drawn(light, 1.0)
    image = (room * light).clamp(0, 1)
    image[:, body] = torch.tensor([0.9, 0.5, 0.3])[:, None]
    noise, contrast = torch.tensor([0.01]), torch.tensor([0.15])
    found = foreground(image[None, None], room[None, None], noise, contrast)[0, 0, 0]
    assert found[body].mean() > 0.95
    assert found[~body].mean() < 0.06
    assert ((image - room).abs().amax(0) > 0.075)[~body].float().mean() > 0.15


def test_two_groups_are_parted_between_them():
    """Many weak values, few strong ones, whatever their numbers."""
    torch.manual_seed(0)
    weak, strong = 0.12 + 0.02 * torch.randn(900), 0.6 + 0.05 * torch.randn(100)
    assert 0.18 < parting(torch.cat([weak, strong])) < 0.5


def test_what_one_view_alone_sees_makes_no_animal_longer():
    """Sparse noise and a long shadow in each view: silhouettes grow by half, the hull does not."""
    clip = figure(40, views=4, wh=(96, 72))
    seen = survey(clip)
    longest = float(torch.cdist(clip.truth, clip.truth).amax((1, 2)).quantile(0.75))
    clean = animal_length(seen, clip.rig)
    assert clean == pytest.approx(longest, rel=0.25)
    torch.manual_seed(1)
    thumbs = seen.thumbs.clone()
    thumbs[torch.rand(thumbs.shape) < 0.01] = 255
    thumbs[:, ::2, -14:-8, 10:80] = 255
    noisy = replace(seen, thumbs=thumbs)
    outline = [_radius(x.thumbs, x.centre, clip.rig).nanmedian() for x in (seen, noisy)]
    assert outline[1] > 1.3 * outline[0]
    assert animal_length(noisy, clip.rig) == pytest.approx(longest, rel=0.25)
