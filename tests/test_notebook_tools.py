"""The lessons: clean, small, whole; and the tool that keeps them so."""

import inspect
import json
import re
import shutil
from pathlib import Path

import nbformat
import pytest

from bkind3d_lite.__main__ import main
from bkind3d_lite.files import bundled
from bkind3d_lite.lab import notebook_pages, notebook_tools
from bkind3d_lite.lab.exercises import EXERCISES
from bkind3d_lite.lab.notebook_tools import cleaned, problems, run, tags_of
from bkind3d_lite.lab.submissions import submission_of

LESSONS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
OPENING = "# 99 Nothing\n\nWhat is one and one?\n\n- you can add\n\n30 minutes"


def lesson(*code, opening=OPENING, tags=("exercise", "exercise", "widget", None)):
    """A small notebook that keeps every rule, unless told otherwise."""
    code = code or (
        "def a():\n    ...\ncheck = print\ncheck('○ not attempted yet')",
        "x = ...\ncheck('○ not attempted yet')",
        "1 + 1",
        "assert 1 + 1 == 2",
    )
    cells = [nbformat.v4.new_markdown_cell(opening, id="title")]
    cells += [
        nbformat.v4.new_code_cell(source, id=f"c{i}", metadata={"tags": [tag]} if tag else {})
        for i, (source, tag) in enumerate(zip(code, tags))
    ]
    return cleaned(nbformat.writes(nbformat.v4.new_notebook(cells=cells)))


def written(folder, text, name="99_nothing.ipynb"):
    path = folder / name
    path.write_text(text, encoding="utf-8", newline="\n")
    return path


# ---- the lessons themselves ----------------------------------------------------------------------
@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_a_lesson_keeps_the_rules(path):
    assert problems(path) == []


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_a_lessons_exercises_are_in_the_table(path):
    """Each exercise cell asks for one of this lesson; its stub takes what the table says."""
    asked = submission_of(path)
    tagged = {i for i, cell in enumerate(code_cells(path)) if "exercise" in tags_of(cell)}
    assert {s.cell for s in asked.statements if s.checks} == tagged == asked.tagged
    for name, held in asked.variables.items():
        exercise = EXERCISES[name]
        assert exercise.lesson == path.stem, name
        if exercise.is_value:
            continue
        taken = list(inspect.signature(exercise.reference).parameters)
        (stub,) = [s.node for s in asked.statements if s.cell in tagged and held in s.binds]
        assert [x.arg for x in stub.args.args] == taken, name
        assert all(re.search(rf"\b{x}\b", exercise.task) for x in taken), name


def code_cells(path):
    return [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]


# ---- the tool ------------------------------------------------------------------------------------
def test_cleaning_keeps_what_was_written_and_nothing_else():
    nb = nbformat.reads(lesson(), 4)
    nb.metadata["widgets"] = {"state": {}}
    nb.cells[1].metadata |= {"collapsed": True, "tags": ["exercise"]}
    nb.cells[1].outputs, nb.cells[1].execution_count = (
        [nbformat.v4.new_output("stream", text="hello")],
        7,
    )
    assert cleaned(nbformat.writes(nb)) == lesson()
    assert cleaned(lesson()) == lesson()
    assert [c["id"] for c in json.loads(lesson())["cells"]] == ["title", "c0", "c1", "c2", "c3"]


def test_old_notebooks_without_ids_get_them_once():
    data = json.loads(lesson())
    for cell in data["cells"]:
        del cell["id"]
    data["nbformat_minor"] = 4
    text = cleaned(json.dumps(data))
    assert json.loads(text)["nbformat_minor"] == 5 and cleaned(text) == text == cleaned(
        json.dumps(data)
    )


def test_a_good_lesson_has_no_problems(tmp_path):
    assert problems(written(tmp_path, lesson())) == []


@pytest.mark.parametrize(
    "text, said",
    [
        ("{", "not a notebook"),
        (lesson() + "\n", "not clean"),
        (lesson(opening="One\n\n- a\n\n? 30 minutes"), "no title"),
        (lesson(opening=OPENING.replace("?", ".")), "no question"),
        (lesson(opening=OPENING.replace("- ", "")), "no objectives"),
        (lesson(opening=OPENING.replace("minutes", "h")), "how many minutes"),
        (lesson(tags=("exercise", None, "widget", None)), "tagged exercise"),
        (lesson(tags=("exercise", "exercise", None, None)), "tagged widget"),
        (lesson("a = ...\ncheck(a)", "b = ...\ncheck(b)", "1", "print(2)"), "no assert"),
        (
            lesson("a = ...\ncheck(a)", "b = ...", "1", "assert 1"),
            "cell c1: tagged exercise without a stub",
        ),
        (
            lesson("a = ...\ncheck(a)", "b = ...\ncheck(b)", "!pip install torch", "assert 1"),
            "outside the cell tagged setup",
        ),
        (
            lesson("a = ...\ncheck(a)", "b = ...\ncheck(b)", "'../data_samples/rat'", "assert 1"),
            "names ../data_samples",
        ),
        (
            lesson("a = ...\ncheck(a)", "b = ...\ncheck(b)", "from math import *", "assert 1"),
            "imports *",
        ),
        (
            lesson(
                "a = ...\ncheck(a)",
                "b = ...\ncheck(b)",
                "import warnings; warnings.filterwarnings('ignore')",
                "assert 1",
            ),
            "silences warnings",
        ),
        (
            lesson("a = ...\ncheck(a)", "b = ...\ncheck(b)", "\n".join("1" * 19), "assert 1"),
            "19 lines, at most 18",
        ),
        (
            lesson("a = ...\ncheck(a)", "b = ...\ncheck(b)", f"'{94 * 'x'}'", "assert 1"),
            "96 columns, at most 95",
        ),
        (
            lesson("a = ...\ncheck(a)", "b = ...\ncheck(b)", "1 +", "assert 1"),
            "does not parse (line 1)",
        ),
        (lesson(opening=OPENING + "x" * 70_000), "at most 60"),
        (lesson(*["1"] * 31, tags=[None] * 31), "32 cells, at most 30"),
    ],
)
def test_what_breaks_a_rule_is_said(tmp_path, text, said):
    assert any(said in what for what in problems(written(tmp_path, text)))


FIGURE = "import plotly.graph_objects as go\ngo.Figure(go.Scatter(y=[3, 4], name='a & b')).show()"


def test_run_executes_writes_copies_and_pages(tmp_path, capsys):
    path = written(
        tmp_path,
        lesson(
            "a = ...\nprint('○ not attempted yet')",
            "b = ...\ncheck = print\ncheck(b)",
            FIGURE,
            "assert 1 + 1 == 2",
        ),
    )
    assert main(["notebooks", "run", str(path), "--out", str(tmp_path / "out"), "--html"]) == 0
    assert "1 of 1 notebooks ran through" in capsys.readouterr().out
    executed = (tmp_path / "out" / path.name).read_text(encoding="utf-8")
    assert (
        cleaned(executed) == path.read_text(encoding="utf-8") and "○ not attempted yet" in executed
    )
    page = (tmp_path / "out" / "99_nothing.html").read_text(encoding="utf-8")
    assert '["plotly.min.js"].reduce(' in page and "cdn.plot.ly" not in page
    assert (tmp_path / "out" / "plotly.min.js").stat().st_size > 1e6
    assert 'aria-label="a curve: a &amp; b."' in page
    assert "Plotly.newPlot" in page and len(executed) < 50_000


def test_an_answer_stays_folded_on_a_page(tmp_path):
    nb = nbformat.reads(lesson(), 4)
    answer = "<details><summary>Answer</summary>\n\nIt is *two*.\n</details>"
    nb.cells.insert(1, nbformat.v4.new_markdown_cell(answer, id="answer"))
    notebook_pages.page(nb, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    inside = text.partition("<summary>Answer</summary>")[2].partition("</details>")[0]
    assert "It is <em>two</em>." in inside


def test_a_widget_becomes_its_picture():
    """A figure two boxes deep, its array apart, as ipywidgets stores them; the script goes."""
    state = {
        "box": {"state": {"children": ["IPY_MODEL_row", "IPY_MODEL_fig"]}},
        "row": {"state": {"children": ["IPY_MODEL_area"]}},
        "area": {
            "state": {"outputs": [{"output_type": "display_data", "data": {"image/png": "abc"}}]}
        },
        "fig": {
            "state": {
                "_anywidget_id": "x.FigureWidget",
                "_esm": "s" * 9999,
                "_widget_layout": {"height": 300},
                "_widget_data": [{"type": "scatter", "y": {"dtype": "float64", "shape": [2]}}],
            },
            "buffers": [
                {"path": ["_widget_data", 0, "y", "buffer"], "data": "AAAAAAAA8D8AAAAAAAAAQA=="}
            ],
        },
    }
    nb = nbformat.reads(lesson(), 4)
    nb.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": state}}
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "box"}, "text/plain": "VBox()"}
    nb.cells[1].outputs = [nbformat.v4.new_output("display_data", data=view)]
    notebook_pages.freeze_widgets(nb)
    shown = nb.cells[1].outputs[0].data
    assert set(shown) == {
        "text/plain",
        "image/png",
        notebook_pages.PLOTLY,
    } and "sss" not in nbformat.writes(nb)
    import plotly.graph_objects as go

    figure = go.Figure(shown[notebook_pages.PLOTLY])
    assert (
        figure.layout.height == 300
        and figure.data[0].type == "scatter"
        and figure.data[0].y["bdata"] == "AAAAAAAA8D8AAAAAAAAAQA=="
    )


def test_run_fails_on_errors_wrong_checks_and_lost_time(tmp_path, capsys, monkeypatch):
    slow = "import time\nwhile time.process_time() < 8: pass"
    bad = written(
        tmp_path,
        lesson(
            "a = ...\nprint('✗ shape (1,), expected (2,)')",
            "b = ...\ncheck = print",
            slow,
            "assert 1",
        ),
    )
    with monkeypatch.context() as patient:
        patient.setattr(notebook_tools, "WALL", 30)  # a busy machine has not 8 seconds in 18
        done = run(bad, tmp_path / "out", limit=6)
    assert any("over its 6 seconds" in fault for fault in done.faults)
    assert any("wrong: ✗ shape" in fault for fault in done.faults)
    idle = run(
        written(tmp_path, lesson("a = ...", "b = ...", "import time; time.sleep(60)", "assert 1")),
        tmp_path / "out",
        limit=3,
    )
    assert any("over 9 seconds on the wall" in fault for fault in idle.faults)
    wrong = written(
        tmp_path,
        lesson("a = ...", "b = ...", "1", "assert 1 == 2, 'one is not two'"),
        "98_wrong.ipynb",
    )
    assert main(["notebooks", "run", str(wrong), "--out", str(tmp_path / "out")]) == 1
    assert "AssertionError: one is not two" in capsys.readouterr().out
    assert (tmp_path / "out" / "98_wrong.ipynb").is_file()  # to look into


def test_clean_and_check_as_commands(tmp_path, capsys, monkeypatch):
    path = written(tmp_path, lesson() + "\n")
    assert (
        main(["notebooks", "check", str(path)]) == 1
        and main(["notebooks", "clean", str(path)]) == 0
        and main(["notebooks", "check", str(path)]) == 0
    )
    assert path.read_bytes() == lesson().encode()
    monkeypatch.chdir(tmp_path)
    assert (
        main(["notebooks", "check"]) == 1
        and "run this from the repository's folder" in capsys.readouterr().err
    )


def test_copied_lessons_find_their_samples(tmp_path, capsys):
    """All lessons and samples, byte for byte; ../data_samples is where a lesson looks."""
    folder = tmp_path / "deep" / "course"
    assert main(["notebooks", "copy", str(folder)]) == 0
    assert str(folder / "notebooks") in capsys.readouterr().out
    for name, pattern in (("notebooks", "*.ipynb"), ("data_samples", "*")):
        source = bundled(name)
        here, there = (
            {p.relative_to(root): p.read_bytes() for p in root.rglob(pattern) if p.is_file()}
            for root in (source, folder / name)
        )
        assert there and there == {p: held for p, held in here.items() if p.parts[0][0] != "."}
    assert sorted(p.name for p in folder.iterdir()) == ["data_samples", "notebooks"]
    read = set(re.findall(r"samples\(f?\\\"(\w[\w/.]*)", "".join(map(_text, LESSONS))))
    missing = [name for name in read if not any((folder / "data_samples").glob(f"{name}*"))]
    assert read and not missing


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["notebooks", "data_samples"])
def test_a_copy_writes_over_nothing(tmp_path, capsys, name):
    (tmp_path / name).mkdir()
    work = written(tmp_path / name, "my work", "00_tour.ipynb")
    assert main(["notebooks", "copy", str(tmp_path)]) == 1
    assert "is there already" in (said := capsys.readouterr().err) and "another folder" in said
    assert work.read_text(encoding="utf-8") == "my work" and list(tmp_path.rglob("*")) == [
        tmp_path / name,
        work,
    ]


def test_half_a_copy_is_none(tmp_path, monkeypatch, capsys):
    """A disk that fills up on the way leaves nothing behind; a file is no folder."""
    whole, count = shutil.copyfile, iter(range(99))

    def full(source, target):
        if next(count) == 20:
            raise OSError(28, "No space left on device")
        return whole(source, target)

    monkeypatch.setattr(notebook_tools.shutil, "copyfile", full)
    assert main(["notebooks", "copy", str(tmp_path / "course")]) == 1
    assert "No space left on device" in (said := capsys.readouterr().err) and "free some" in said
    assert list((tmp_path / "course").iterdir()) == []
    assert main(["notebooks", "copy", str(written(tmp_path, "", "file"))]) == 1
    assert "choose another folder" in capsys.readouterr().err


def test_nothing_imports_the_tool():
    package = Path(notebook_tools.__file__).parent
    assert not [
        path
        for path in package.rglob("*.py")
        if re.search(r"from \.+notebooks|import notebooks", path.read_text(encoding="utf-8"))
    ]
