"""Figures: at the columns' widths, with text that stays text and can be read."""

import re

import pytest
import torch
from matplotlib.text import Text

from bkind3d_lite.clips import Track
from bkind3d_lite.model import build
from bkind3d_lite.viz import paper_figures


@pytest.fixture(scope="module")
def made(clip, seen, tiny):
    recipe = tiny
    model, objective = build(recipe)
    track = Track(clip.truth + 5, torch.ones(len(clip), 8), clip.skeleton, clip.fps)
    rows = [{"step": str(s), "reconstruct": str(1 / s), "separate": "0.1"} for s in range(1, 60)]
    return {
        "overview": paper_figures.overview(
            model, objective, clip.batch([4], 5, recipe.data.image_wh, seen)
        ),
        "qualitative": paper_figures.qualitative(clip, track),
        "curves": paper_figures.curves(rows),
        "joints": paper_figures.joint_error_figure(
            clip.truth + torch.randn(clip.truth.shape), clip.truth, clip.skeleton.names, 10.0
        ),
    }


@pytest.mark.parametrize(
    ("name", "wide"), [("overview", 183), ("qualitative", 183), ("curves", 89), ("joints", 89)]
)
def test_width_and_type_size(made, name, wide):
    assert made[name].get_figwidth() * 25.4 == pytest.approx(wide)
    made[name].canvas.draw()
    sizes = [
        t.get_fontsize()
        for t in made[name].findobj(Text)
        if t.get_text().strip() and t.get_visible()
    ]
    assert min(sizes) >= 6


@pytest.mark.parametrize("name", ["overview", "qualitative", "curves", "joints"])
def test_nothing_is_cut_off(made, name):
    drawn = made[name].get_tightbbox()
    assert (
        drawn.x0 > -0.02
        and drawn.y0 > -0.02
        and drawn.x1 < made[name].get_figwidth() + 0.02
        and drawn.y1 < made[name].get_figheight() + 0.02
    )


def test_text_stays_text(made, tmp_path):
    svg, pdf = paper_figures.save_figure(made["joints"], tmp_path / "joints")
    assert "left hand" in re.sub("<[^>]*>", "", svg.read_text())
    assert b"/FontType 42" in pdf.read_bytes() or b"/CIDFontType2" in pdf.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["joints.pdf", "joints.svg"]


def test_the_interval_holds_the_mean_and_widens_with_longer_blocks():
    wave = torch.sin(torch.arange(600) / 40)[:, None] + 5
    (low, high), (wide_low, wide_high) = (
        paper_figures.joint_intervals(wave, 1),
        paper_figures.joint_intervals(wave, 60),
    )
    assert wide_low < low < wave.mean() < high < wide_high


def test_the_verb_writes_what_there_is_data_for(clip, monkeypatch, tmp_path, capsys, tiny):
    from bkind3d_lite.__main__ import main
    from bkind3d_lite.training import begin, save

    save(begin(tiny, clip), tmp_path / "tiny.safetensors", whole=False)
    monkeypatch.setattr(paper_figures.writer, "_parts", lambda folder: (clip, clip))
    (tmp_path / "losses.csv").write_text("step,reconstruct\n1,0.5\n2,0.4\n3,0.3\n")
    assert (
        main(
            [
                "figures",
                "--checkpoint",
                str(tmp_path / "tiny.safetensors"),
                "--clip",
                str(tmp_path),
                "--out",
                str(tmp_path / "out"),
            ]
        )
        == 0
    )
    names = {p.stem for p in (tmp_path / "out").iterdir()}
    assert (
        names == {"overview", "qualitative", "curves", "joints"}
        and "overview.svg" in capsys.readouterr().out
    )
    assert main(["figures", "--checkpoint", str(tmp_path / "none"), "--clip", "x"]) == 1
