"""The lab: right answers pass, stubs wait, and a usual mistake gets exactly its hint."""

import ast
import importlib
import inspect
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from bkind3d_lite.lab import check, failing_input, list_exercises, reveal, revealing
from bkind3d_lite.lab.checks import FAILED, PASSED, WAITING, judge
from bkind3d_lite.lab.exercises import EXERCISES
from bkind3d_lite.lab.exercises.entry import Dice

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
MISTAKES = [
    (name, *mistake) for name, exercise in EXERCISES.items() for mistake in exercise.mistakes
]


@pytest.fixture(scope="module")
def answers():
    """The key's solutions by name."""
    space = {"torch": torch, "F": F, "math": math}
    for exercise in EXERCISES.values():
        assert 0 < exercise.solution.count("\n") < 15 or exercise.is_value, exercise.name
        exec(exercise.solution, space)
    return space


def test_the_table_covers_the_lessons():
    lessons = [exercise.lesson for exercise in EXERCISES.values()]
    assert len(EXERCISES) >= 24 and lessons == sorted(lessons)
    assert set(lessons) == {path.stem for path in NOTEBOOKS} and len(NOTEBOOKS) == 15
    assert all(lessons.count(lesson) >= 3 for lesson in lessons)


@pytest.mark.parametrize("name", EXERCISES)
def test_the_expected_answer_passes(name, answers):
    for seed in (0, 1):
        result = judge(EXERCISES[name], answers[name], seed)
        assert result.state == PASSED and result, result.message


@pytest.mark.parametrize("name", EXERCISES)
def test_an_entry_is_complete(name):
    exercise = EXERCISES[name]
    assert len(exercise.mistakes) >= 2 and exercise.task.startswith(name)
    if not exercise.is_value:
        given = exercise.make(Dice(0))
        assert len(inspect.signature(exercise.reference).parameters) == len(given)


@pytest.mark.parametrize("name", EXERCISES)
def test_inputs_are_not_square_and_differ(name):
    """Square input would hide a swap of rows and columns.

    The two matrices of cameras are square by nature.
    """
    exercise = EXERCISES[name]
    if exercise.is_value:
        return
    given = [x for x in exercise.make(Dice(0)) if isinstance(x, torch.Tensor)]
    natural = {"K", "R", "P", "F", "x", "y", "g"}  # 3 x 3 matrices, and the SSIM window
    parameters = list(inspect.signature(exercise.reference).parameters)
    for parameter, x in zip(parameters, exercise.make(Dice(0))):
        if not isinstance(x, torch.Tensor) or x.ndim < 2 or parameter in natural:
            continue
        assert x.shape == (2, 2) or x.shape[-1] != x.shape[-2], parameter  # or 2 views of (x, y)
    again = [x for x in exercise.make(Dice(1)) if isinstance(x, torch.Tensor)]
    differ = [a.shape != b.shape or not torch.equal(a, b) for a, b in zip(given, again)]
    assert not given or any(differ)


@pytest.mark.parametrize("name", EXERCISES)
def test_a_stub_is_a_state_not_an_error(name):
    exercise = EXERCISES[name]

    def dots(*args): ...

    def not_yet(*args):
        raise NotImplementedError

    for stub in (..., None) if exercise.is_value else (dots, not_yet, lambda *args: ..., ...):
        result = judge(exercise, stub)
        assert (result.state, result.message) == (WAITING, "○ not attempted yet") and not result


@pytest.mark.parametrize(
    "name, hint, wrong", MISTAKES, ids=[f"{name}-{i}" for i, (name, *_) in enumerate(MISTAKES)]
)
def test_a_usual_mistake_gets_exactly_its_hint(name, hint, wrong):
    exercise = EXERCISES[name]
    for seed in (0, 1):
        result = judge(exercise, wrong() if exercise.is_value else wrong, seed)
        assert result.state == FAILED and result.message.startswith("✗ "), result.message
        assert result.message.endswith(f". Hint: {hint}"), result.message


# Mistakes as students write them, apart from the table's own variants.
WRONG = {
    "ndc_from_px": (
        "def ndc_from_px(px, wh):\n    W, H = wh\n"
        "    return torch.stack([2 * px[:, 0] / H - 1, 2 * px[:, 1] / W - 1], 1)",
        "swapped x and y",
    ),
    "px_from_cam": (
        "def px_from_cam(points, K):\n    return torch.stack([K @ p for p in points])[:, :2]",
        "division by depth",
    ),
    "unproject": (
        "def unproject(maps, ndc):\n"
        "    return F.grid_sample(maps, ndc[:, :, None], align_corners=True)[..., 0]",
        "align_corners must be False",
    ),
    "fuse": (
        "def fuse(volume):\n    w = torch.exp(volume)\n    w = w / w.sum(1, keepdim=True)\n"
        "    return (w * volume).sum(0)",
        "wrong axis of the softmax",
    ),
    "voxel_centres": (
        "def voxel_centres(voxels, side, centre):\n    step = side / (voxels - 1)\n"
        "    return torch.tensor([centre - side / 2 + i * step for i in range(voxels)])",
        "missing half voxel",
    ),
    "bottleneck": (
        "def bottleneck(maps, weights):\n    return torch.einsum('ehw,e->hw', maps, weights)",
        "summed",
    ),
    "pose_error": (
        "def pose_error(found, truth):\n    return ((found - truth) ** 2).sum(1).sqrt().mean()",
        "mean shift",
    ),
    "fundamental": (
        "def fundamental(K, R, t):\n    R, t = R[1] @ R[0].T, t[1] - R[1] @ R[0].T @ t[0]\n"
        "    return torch.linalg.cross(t.expand(3, 3), R.T).T",
        "essential matrix",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_in_students_own_words(name):
    source, hint = WRONG[name]
    space = {"torch": torch, "F": F}
    exec(source, space)
    result = judge(EXERCISES[name], space[name])
    assert result.state == FAILED and hint in result.message, result.message


# ---- the line that is printed --------------------------------------------------------------------
def test_check_prints_one_line_and_returns_it(capsys):
    def fuse(volume):
        return (volume.softmax(0) * volume).sum(0)

    result = check(fuse)
    assert capsys.readouterr().out == "✓ 20 random cases agree\n" == result.message + "\n"
    assert result and result.name == "fuse" and result._ipython_display_() is None
    assert check(lambda volume: volume[0], "fuse").state == FAILED
    assert check(105, "pairs_of_fifteen").message == "✓ right"
    assert check(104, "pairs_of_fifteen").message == "✗ got 104, expected another number"


def test_shapes_come_first(capsys):
    message = check(lambda px, wh: px[:, :1], "ndc_from_px").message
    assert message == "✗ shape (5, 1), expected (5, 2)"


@pytest.mark.parametrize(
    "answer, said",
    [
        (lambda volume: 1 / 0, "your function stops with ZeroDivisionError: division by zero"),
        (lambda: 1, "your function stops with TypeError"),
        (lambda volume: "one", "the answer is a str, expected a tensor of shape (4, 5)"),
        (lambda volume: [1, [2]], "the answer is a list"),
        (lambda volume: type("Odd", (), {"__array__": lambda *a: 1 / 0})(), "the answer is a Odd"),
        (lambda volume: exit(), "SystemExit"),
        (lambda volume: volume.sum(0) * math.nan, "NaN"),
        (7, "hand over the function itself"),
        (lambda volume: -(volume.softmax(0) * volume).sum(0), "the sign is the other way round"),
        (lambda volume: (volume.softmax(0) * volume).sum(0) + 1, "every number is +1 off"),
        (
            lambda volume: 2 * (volume.softmax(0) * volume).sum(0),
            "every number is 2 x the expected one",
        ),
        (lambda volume: (volume.softmax(0) * volume).sum(0).T, "rows and columns are swapped"),
    ],
)
def test_errors_are_said_kindly(answer, said, capsys):
    result = check(answer, "fuse")
    assert result.state == FAILED and result.message.startswith("✗")
    assert said in result.message and "\n" not in result.message


def test_a_forgotten_return_is_told_from_a_stub():
    def fuse(volume):
        volume.sum(0)

    message = judge(EXERCISES["fuse"], fuse).message
    assert message == (
        "○ not attempted yet (your function returns nothing: is a `return` missing?)"
    )


def test_arrays_lists_and_numbers_are_answers_too():
    assert check(lambda volume: (volume.softmax(0) * volume).sum(0).numpy(), "fuse")
    assert check(lambda volume: (volume.softmax(0) * volume).sum(0).tolist(), "fuse")
    assert check(lambda z, f: np.float64(z / f), "mm_per_pixel")


def test_an_answer_that_writes_into_its_input_is_judged_by_its_answer():
    assert check(lambda x: x.mul_(x.softmax(0)).sum(0), "fuse")


def test_unknown_names_are_met_with_the_nearest(capsys):
    def soft_argmx(logits, points): ...

    assert "did you mean 'soft_argmax'?" in check(soft_argmx).message
    assert check(3).state == FAILED
    reveal("unprojct")
    assert "did you mean 'unproject'?" in capsys.readouterr().out


# ---- the answer key ------------------------------------------------------------------------------
@pytest.mark.parametrize("name", EXERCISES)
def test_reveal_prints_the_librarys_source(name, capsys):
    assert reveal(name, library=True) is None
    out = capsys.readouterr().out
    assert out.startswith("# bkind3d_lite.") and re.search(r"^(def|class|@property)", out, re.M)


def test_reveal_prints_a_solution_after_a_try(capsys, monkeypatch):
    monkeypatch.setattr(revealing, "LAST_TRIES", {})
    monkeypatch.setattr("bkind3d_lite.lab.checks.LAST_TRIES", revealing.LAST_TRIES)
    reveal("fuse")
    check(lambda volume: ..., "fuse")  # a stub is no try
    reveal("fuse")
    assert "softmax" not in capsys.readouterr().out
    check(lambda volume: volume.mean(0), "fuse")
    reveal("fuse")
    assert EXERCISES["fuse"].solution in capsys.readouterr().out


def test_check_shows_the_failing_input(capsys):
    assert not check(lambda thumbs, gap: thumbs.float().mean((1, 2, 3))[gap:], "motion_energy")
    out, given = capsys.readouterr().out, failing_input("motion_energy")
    assert out.count("\n") == 2 and f"gap = {given['gap']}; " not in out.splitlines()[0]
    assert f"thumbs = {tuple(given['thumbs'].shape)} from" in out and "gap = " in out
    check(lambda volume: (volume.softmax(0) * volume).sum(0), "fuse")
    assert failing_input("fuse") == {}


@pytest.mark.parametrize(
    "name, source, said",
    [
        ("ndc_from_px", "lambda px, wh: 2 * px / wh - 1", "torch.tensor(wh)"),
        ("receptive_field", "lambda kernels, strides: sum(kernels)", "kernels overlap"),
        ("background", "lambda frames: frames.mode(0).values", "take the median"),
        ("background", "lambda frames: frames.mean(0)", ".float() first"),
        ("cam_from_world", "lambda points, R, t: R @ points + t", "points are rows"),
        (
            "cam_from_world",
            "lambda points, R, t: (R @ points[..., None])[..., 0] - t",
            "t is added",
        ),
        ("best_scale", "lambda f, t: t.norm() / f.norm()", "ratio of norms"),
        ("pose_error", "lambda f, t: (f - t - (f - t).mean()).norm(dim=-1).mean()", "a vector"),
        (
            "bootstrap",
            "lambda e, p: e.mean() + torch.tensor([-1.96, 1.96]) * e.std() / len(e) ** 0.5",
            "normal interval",
        ),
        (
            "voxel_centres",
            "lambda voxels, side, centre: centre + side / 2 * torch.linspace(-1, 1, voxels)",
            "half voxel",
        ),
    ],
)
def test_typical_errors_have_hints(name, source, said):
    result = judge(EXERCISES[name], eval(source, {"torch": torch}))
    assert result.state == FAILED and said in result.message, result.message


def test_another_method_is_right_too():
    """DLT by the null vector solves another least squares than the key."""

    def triangulate_two(P, px):
        rows = [px[v, i] * P[v, 2] - P[v, i] for v in range(2) for i in range(2)]
        x = torch.linalg.svd(torch.stack(rows))[2][-1]
        return x[:3] / x[3]

    assert judge(EXERCISES["triangulate_two"], triangulate_two, 3).state == PASSED


def test_what_calls_the_library_is_told_so():
    """As it will be in grading, where the library is not."""
    from bkind3d_lite import volumes

    def helper(volume):
        return volumes.fuse(volume[None])[0]

    for answer in (EXERCISES["fuse"].reference, helper, lambda volume: helper(volume)):
        result = judge(EXERCISES["fuse"], answer)
        assert result.state == FAILED and "write it yourself" in result.message


def test_reveal_finds_anything_public(capsys):
    reveal("CameraRig.px_from_cam")
    reveal("segment_distance2")
    out = capsys.readouterr().out
    assert "def px_from_cam" in out and "def segment_distance2" in out and "\n    " in out


def test_reveal_finds_what_notebooks_import():
    """Every function and class of the package that a lesson imports."""
    missing = []
    for path in NOTEBOOKS:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        for node in ast.walk(ast.parse("\n".join(code))):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("bkind3d_lite"):
                module = importlib.import_module(node.module)
                things = {a.name: getattr(module, a.name, None) for a in node.names}
                code_names = [n for n, x in things.items() if hasattr(x, "__qualname__")]
                missing += [n for n in code_names if revealing._source_of(n) is not things[n]]
    # the lab itself has no source to reveal
    assert set(missing) <= {"check", "reveal"}


def test_reveal_prints_a_propertys_function(capsys):
    reveal("CameraRig.centres")
    assert "def centres" in capsys.readouterr().out


def test_list_exercises_lists_a_lesson(capsys):
    list_exercises("03_volumes")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and all(line.startswith("03_volumes") for line in lines)


# ---- references that the package has no function for ---------------------------------------------
def test_the_rate_is_the_one_training_uses(clip):
    from bkind3d_lite.recipes import QUICK_RAT
    from bkind3d_lite.training import batches, begin, train

    small = QUICK_RAT.with_(
        keypoints=3,
        voxels=8,
        encoder_width=8,
        channels=4,
        v2v_width=4,
        decoder_width=8,
        image_wh=(48, 32),
        steps=40,
        background=False,
        mode="room",
        hull=0.0,
        cover=0.0,
        mask=False,
        by_motion=False,
        steady=0.0,
    )
    run = begin(small, clip)
    run.step = 30  # past the warm-up of 20 steps
    next(train(run, batches(run, clip, None)))
    assert run.optimizer.param_groups[0]["lr"] == pytest.approx(
        EXERCISES["cosine_rate"].reference(30, 40, small.optim.learning_rate)
    )


def test_the_running_average_is_the_one_the_length_loss_keeps():
    from bkind3d_lite.model.losses import EdgeLength

    values, module = torch.tensor([2.0, 3.0, 5.0, 4.0]), EdgeLength(1, 1.0, decay=0.9)
    for value in values:
        module(
            torch.stack([torch.zeros(3), torch.tensor([value, 0, 0])])[None],
            torch.tensor([[0, 1]]),
            torch.ones(1),
        )
    assert torch.allclose(module.average, EXERCISES["running_average"].reference(values, 0.9)[-1])


def test_modules_of_reveal_exist():
    for name in revealing.MODULES:
        importlib.import_module(f"bkind3d_lite.{name}")
