"""Board: every step is noted, few are drawn."""

import itertools
from types import SimpleNamespace

import pytest
from matplotlib import pyplot as plt

from bkind3d_lite.training import batches, begin, train
from bkind3d_lite.viz import dashboard
from bkind3d_lite.viz.dashboard import Board


def test_it_notes_all_and_draws_seldom(clip, seen, tiny):
    run = begin(tiny, clip)
    board, opened = Board(run, steps=4, seconds=1e6, views=3), plt.get_fignums()
    drawn = [
        board.draw(step, {"awake": 5, "note": "well"})
        for step in itertools.islice(train(run, batches(run, clip, seen)), 4)
    ]
    assert [f is not None for f in drawn] == [True, False, False, True]  # the first and the last
    assert [row["step"] for row in board.rows] == [1, 2, 3, 4] and "reconstruct" in board.rows[0]
    assert len(drawn[-1].axes) == 6 and plt.get_fignums() == opened
    text = drawn[-1].get_suptitle()
    assert "step 4 of 4" in text and "awake: 5" in text and "0 s left" in text
    titles = {ax.get_title() for ax in drawn[-1].axes}
    assert {"losses by term", "what is to be explained (target)", "keypoints in space"} <= titles


def test_each_cell_has_a_figure_of_its_own(clip, seen, tiny, monkeypatch):
    """Going on in another cell leaves the first cell's last figure as it is."""
    run, shown = begin(tiny, clip), []

    class Handle:
        def update(self, figure):
            shown.append("anew")

    monkeypatch.setattr(dashboard, "display", lambda *a, **k: (shown.append("new"), Handle())[1])
    board, (step,) = Board(run), itertools.islice(train(run, batches(run, clip, seen)), 1)
    for cell in (1, 1, 2):
        shell = SimpleNamespace(execution_count=cell)
        monkeypatch.setattr(dashboard, "get_ipython", lambda shell=shell: shell)
        board.draw(step, force=True)
    assert shown == ["new", "anew", "new"]


def test_a_step_asked_for_is_drawn(clip, seen, tiny):
    run = begin(tiny, clip)
    board = Board(run, seconds=1e6)
    steps = list(itertools.islice(train(run, batches(run, clip, seen)), 2))
    assert (
        board.draw(steps[0]) is not None
        and board.draw(steps[1]) is None
        and board.draw(steps[1], force=True) is not None
    )
    assert (
        board.left(steps[1]) == pytest.approx(board.left(steps[1]), rel=0.5)
        and board.left(steps[0]) is None
    )
