"""Pictures of the shipped checkpoints, by the same functions that draw the report.

    python tools/make_stills.py

Writes docs/images/rat_film.webp, the README's: views and skeleton, moving, of held-out frames; and
human_arms.jpg: held-out moments with an arm raised, a row each.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from PIL import Image

from bkind3d_lite.clips import MultiViewClip, Track
from bkind3d_lite.files import write_atomically
from bkind3d_lite.training import load, track
from bkind3d_lite.viz import closeups
from bkind3d_lite.viz.colours import GREY, skeleton_colours
from bkind3d_lite.viz.films import track_extent
from bkind3d_lite.viz.plots import boxed, pose
from bkind3d_lite.workflows.quickstart import opened, shipped

IMAGES = Path(__file__).parents[1] / "docs" / "images"
FILMED = {"rat": range(20, 260, 3)}  # frames of the held-out part
RAISED = (94, 654, 286)  # held-out frames of the human
VIEW = 210  # pixels of a view; two by two of them, and the skeleton as high as both


def posed(clip: MultiViewClip, found: Track, t: int, turn: float) -> np.ndarray:
    """The skeleton found, in colour, about the true one in grey: an RGB image.

    Args:
        clip: with truth.
        found: its track.
        t: the frame.
        turn: from where it is looked at, degrees.

    Returns:
        (2 VIEW, 2 VIEW, 3) uint8.
    """
    figure = plt.figure(figsize=(4.2, 4.2), dpi=2 * VIEW / 4.2)
    ax = figure.add_axes((-0.04, -0.02, 1.06, 1.06), projection="3d")
    bones, joints = clip.skeleton.edges if clip.skeleton else (), clip.truth[t]
    pose(ax, joints, bones, [GREY] * len(joints), 1.2, 6)
    pose(ax, found.world[t], found.skeleton.edges, skeleton_colours(found.skeleton), 2.5, 30)
    boxed(ax, (joints.amax(0) + joints.amin(0)) / 2, 0.55 * track_extent(found), found.unit)
    ax.view_init(22, turn)
    ax.set(xlabel="", ylabel="", zlabel="", xticklabels=[], yticklabels=[], zticklabels=[])
    figure.canvas.draw()
    picture = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
    plt.close(figure)
    return picture


def film(clip: MultiViewClip, found: Track, times: Sequence[int]) -> Iterator[Image.Image]:
    """Four views, cut about the keypoints that are drawn in, and the skeleton beside them."""
    for n, t in enumerate(times):
        pairs = [closeups(clip, found, [t], views=two, pixels=VIEW) for two in ([0, 1], [2, 3])]
        beside = posed(clip, found, t, -60 + 50 * np.sin(2 * np.pi * n / len(times)))
        yield Image.fromarray(np.concatenate([np.concatenate(pairs), beside], 1))


def draw_film(name: str) -> None:
    """Write the film of a clip."""
    clip, found = tracked(name)
    first, *rest = film(clip, found, FILMED[name])
    style = dict(format="WEBP", save_all=True, duration=80, loop=0, quality=60, method=6)
    path = write_atomically(
        IMAGES / f"{name}_film.webp", lambda p: first.save(p, append_images=rest, **style)
    )
    print(f"{path}: {len(rest) + 1} frames, {path.stat().st_size / 1e6:.2f} MB")


def draw_arms() -> None:
    """Write the moments in which the human raises an arm."""
    clip, found = tracked("human", RAISED)
    picture = Image.fromarray(closeups(clip, found, RAISED, pixels=VIEW + 10))
    print(write_atomically(IMAGES / "human_arms.jpg", lambda p: picture.save(p, quality=85)))


def tracked(name: str, times: Sequence[int] | None = None) -> tuple[MultiViewClip, Track]:
    """The held-out part, and what the shipped checkpoint says of it."""
    model, recipe, _ = load(shipped(name))
    part = opened(name)[1]
    found = track(model, recipe, part.clip, part.survey, times)
    print(f"{name}: mean confidence {float(found.confidence.mean()):.2f}")
    return part.clip, found


def main() -> None:
    for name in FILMED:
        draw_film(name)
    draw_arms()


if __name__ == "__main__":
    main()
