"""Sixty honest answers in odd forms: the grader says what the notebook said."""

import contextlib
import io

import pytest
from test_grading import notebook

from bkind3d_lite.lab import checks
from bkind3d_lite.lab.exercises import EXERCISES
from bkind3d_lite.lab.fence import USER, fences
from bkind3d_lite.lab.grading import Terms, grade_notebook
from bkind3d_lite.lab.sandbox import python_of

BODY = "(volume.softmax(0) * volume).sum(0)"
DEF = f"def fuse(volume):\n    return {BODY}"
LAMBDA = f"lambda volume: {BODY}"
SKEW = "def skew(v):\n    x, y, z = v\n    return torch.stack([torch.stack(r) for r in ROWS])"
ROWS = "[[0 * x, -z, y], [z, 0 * x, -x], [-y, x, 0 * x]]"
CLIPPED = "def clipped(gradient, most):\n    n = gradient.norm()\n    "
FORMS = {
    "plain": [f"{DEF}\ncheck(fuse)"],
    "check in another cell": [DEF, "check(fuse)"],
    "check before and after": ["def fuse(volume): ...\ncheck(fuse)", DEF, "check(fuse)"],
    "lambda": [f"fuse = {LAMBDA}\ncheck(fuse, 'fuse')"],
    "nameless": [f"fuse = {LAMBDA}\ncheck(fuse)"],
    "inline": [f"check({LAMBDA}, 'fuse')"],
    "name by keyword": [f"{DEF}\ncheck(answer=fuse, name='fuse')"],
    "another name": [f"mine = {LAMBDA}\ncheck(mine, name='fuse')"],
    "alias": [f"{DEF}\nmine = fuse\ncheck(mine)"],
    "check by another name": ["from bkind3d_lite.lab import check as judge", DEF, "judge(fuse)"],
    "check of the module": ["from bkind3d_lite import lab", DEF, "lab.check(fuse)"],
    "check of the package": ["import bkind3d_lite as b", DEF, "b.check(fuse)"],
    "in a loop": [DEF, "for answer in (fuse,):\n    check(answer)"],
    "in a comprehension": [DEF, "done = [check(f) for f in [fuse]]"],
    "mapped": [DEF, "list(map(check, [fuse]))"],
    "asserted": [f"{DEF}\nassert check(fuse)"],
    "kept": [f"{DEF}\nresult = check(fuse)\nprint(result)"],
    "in a condition": [DEF, "if check(fuse):\n    print('done')"],
    "in a helper": [DEF, "def ask(f):\n    return check(f)", "ask(fuse)"],
    "helper": ["def weights(v):\n    return v.softmax(0)", DEF.replace("volume.softmax(0)",
               "weights(volume)") + "\ncheck(fuse)"],
    "helper defined later": [DEF.replace("volume.softmax(0)", "weights(volume)"),
                             "weights = lambda v: v.softmax(0)", "check(fuse)"],
    "constant": ["AXIS = 0", DEF.replace("softmax(0)", "softmax(AXIS)") + "\ncheck(fuse)"],
    "computed constant": ["AXIS = max(0, 2 - 2)", DEF.replace("softmax(0)", "softmax(AXIS)"),
                          "check(fuse)"],
    "constant in a dictionary": ["axes = {}\naxes['views'] = 0",
                                 DEF.replace("softmax(0)", "softmax(axes['views'])"),
                                 "check(fuse)"],
    "constant in a list": ["axes = []\naxes.append(0)",
                           DEF.replace("softmax(0)", "softmax(axes[0])"), "check(fuse)"],
    "constant with a type": ["AXIS: int = 0", DEF.replace("(0)", "(AXIS)"), "check(fuse)"],
    "unpacked constants": ["AXIS, other = 0, 1", DEF.replace("(0)", "(AXIS)"), "check(fuse)"],
    "changed constant": ["AXIS = 1", "AXIS -= 1", DEF.replace("(0)", "(AXIS)"), "check(fuse)"],
    "constant changed afterwards": ["AXIS = 0", DEF.replace("(0)", "(AXIS)") + "\ncheck(fuse)",
                                    "AXIS = 1"],
    "constant of a loop": ["for AXIS in range(1):\n    pass", DEF.replace("(0)", "(AXIS)"),
                           "check(fuse)"],
    "constant of a condition": ["if torch.cuda.is_available():\n    AXIS = 0\nelse:\n    AXIS = 0",
                                DEF.replace("(0)", "(AXIS)"), "check(fuse)"],
    "constant of with": ["with torch.no_grad():\n    AXIS = int(torch.zeros(1))",
                         DEF.replace("(0)", "(AXIS)"), "check(fuse)"],
    "constant of try": ["try:\n    import nothing_like_it\nexcept ImportError:\n    AXIS = 0",
                        DEF.replace("(0)", "(AXIS)"), "check(fuse)"],
    "walrus": ["print(AXIS := 0)", DEF.replace("(0)", "(AXIS)"), "check(fuse)"],
    "import in the answer": ["def fuse(volume):\n    import torch.nn.functional as F\n"
                             "    return (F.softmax(volume, 0) * volume).sum(0)\ncheck(fuse)"],
    "import in a cell of its own": ["import torch.nn.functional as F", DEF.replace(
        "volume.softmax(0)", "F.softmax(volume, 0)"), "check(fuse)"],
    "numpy": ["import numpy as np\ndef fuse(volume):\n    v = np.asarray(volume)\n"
              "    w = np.exp(v - v.max(0))\n    return (w / w.sum(0) * v).sum(0)\ncheck(fuse)"],
    "scipy": ["from scipy.special import softmax\ndef fuse(volume):\n    v = volume.numpy()\n"
              "    return (softmax(v, axis=0) * v).sum(0)\ncheck(fuse)"],
    "lists": [f"def fuse(volume):\n    return {BODY}.tolist()\ncheck(fuse)"],
    "float64": [f"def fuse(volume):\n    volume = volume.double()\n    return {BODY}\ncheck(fuse)"],
    "with a gradient": [f"def fuse(volume):\n    volume.requires_grad_()\n    return {BODY}\n"
                        "check(fuse)"],
    "einsum": [DEF.replace(BODY, "torch.einsum('vcp,vcp->cp', volume.softmax(0), volume)"),
               "check(fuse)"],
    "loops": ["def fuse(volume):\n    w = volume.exp()\n    out = torch.zeros(volume.shape[1:])\n"
              "    for v in range(len(volume)):\n        out += w[v] / w.sum(0) * volume[v]\n"
              "    return out\ncheck(fuse)"],
    "type hints": ["from __future__ import annotations\n" + DEF.replace(
        "(volume)", "(volume: Tensor) -> Tensor", 1), "check(fuse)"],
    "default arguments": [DEF.replace("(volume)", "(volume, axis=0)", 1).replace("softmax(0)",
                          "softmax(axis)"), "check(fuse)"],
    "any arguments": [DEF.replace("(volume)", "(*args)", 1).replace("return", "volume, = args\n"
                      "    return"), "check(fuse)"],
    "a class": [f"class Fuse:\n    def __call__(self, volume):\n        return {BODY}\n"
                "check(Fuse(), 'fuse')"],
    "a method": [f"class Mine:\n    def fuse(self, volume):\n        return {BODY}\n"
                 "check(Mine().fuse)"],
    "a module of torch": ["class Mine(torch.nn.Module):\n    def forward(self, volume):\n"
                          f"        return {BODY}\ncheck(Mine(), 'fuse')"],
    "a dataclass": ["from dataclasses import dataclass\n@dataclass\nclass P:\n    axis: int = 0",
                    DEF.replace("softmax(0)", "softmax(P().axis)"), "check(fuse)"],
    "partial": ["from functools import partial\ndef general(axis, volume):\n    return " +
                BODY.replace("softmax(0)", "softmax(axis)"), "check(partial(general, 0), 'fuse')"],
    "decorated": ["import functools\ndef quiet(f):\n    @functools.wraps(f)\n    def inner(*a):\n"
                  "        return f(*a)\n    return inner", f"@quiet\n{DEF}\ncheck(fuse)"],
    "compiled by torch": [f"@torch.jit.script\n{DEF}\ncheck(fuse, 'fuse')"],
    "an optimizer": [CLIPPED + "torch.optim.Adam([torch.zeros(2, requires_grad=True)])\n"
                     "    return gradient * min(1.0, most / float(n))\ncheck(clipped)"],
    "own source": [f"{DEF}\nimport inspect\nlines = inspect.getsource(fuse)\ncheck(fuse)"],
    "magic": [f"%matplotlib inline\n!echo hello\n{DEF}\ncheck(fuse)"],
    "timed cell": [f"%%time\n{DEF}\ncheck(fuse)"],
    "a line that begins with a percent": ["def mm_per_pixel(depth, focal):\n    one = (7\n    % 2)\n"  # noqa: E501
                                          "    return one * depth / focal\ncheck(mm_per_pixel)"],
    "a name that is shadowed": ["volume = None\nx = 3", f"{SKEW.replace('ROWS', ROWS)}", "check(skew)"],  # noqa: E501
    "a value": ["n = 15\npairs_of_fifteen = sum(range(n))", "check(pairs_of_fifteen, 'pairs_of_fifteen')"],  # noqa: E501
    "a value by itself": ["check(15 * 14 // 2, 'pairs_of_fifteen')"],
    "wrong": [DEF.replace("softmax(0)", "softmax(1)") + "\ncheck(fuse)"],
    "wrong, then right": [DEF.replace("softmax(0)", "softmax(1)") + "\ncheck(fuse)",
                          f"{DEF}\ncheck(fuse)"],
    "right, then wrong": [f"{DEF}\ncheck(fuse)", "def fuse(volume):\n    return volume[0]\ncheck(fuse)"],  # noqa: E501
    "a stub": ["def fuse(volume):\n    ...\ncheck(fuse)"],
}  # fmt: skip


def test_there_are_sixty():
    assert len(FORMS) >= 60


@pytest.mark.skipif(USER not in fences(), reason="a process for each: only where they are forked")
@pytest.mark.parametrize("form", FORMS)
def test_the_grader_says_what_the_notebook_said(form, tmp_path):
    cells = FORMS[form]
    said = _in_a_notebook(cells)
    path = notebook(tmp_path / "a.ipynb", *cells)
    graded = {g.result.name: g.result for g in grade_notebook(path, Terms(20.0, fence=USER))}
    for name, result in said.items():
        assert graded[name].state == result.state, (result, graded[name])
    passed = {name for name, result in graded.items() if result}
    assert passed <= set(said)


def _in_a_notebook(cells):
    """Run the cells here, as a notebook does; the last verdict on each exercise."""
    said = {}
    judge, space = checks.judge, {"__name__": "__main__"}

    def heard(exercise, answer, seed=0):
        said[exercise.name] = judge(exercise, answer, seed)
        return said[exercise.name]

    setup = "import torch\nfrom torch import Tensor\nfrom bkind3d_lite.lab import check"
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.setattr(checks, "judge", heard)
        for i, cell in enumerate((setup, *cells)):
            _run(python_of(cell), f"<cell {i}>", space)
    assert said and set(said) <= set(EXERCISES), "this form checks nothing"
    return said


def _run(source, name, space):
    import linecache

    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    exec(compile(source, name, "exec"), space)
