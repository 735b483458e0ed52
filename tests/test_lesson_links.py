"""README for a stranger, and the links that open a lesson elsewhere (tools/lesson_links.py)."""

import re
import shutil
import sys
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import lesson_links  # noqa: E402

MARKDOWN = re.compile(r"\]\(([^)\s]+)\)")
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture
def copy(tmp_path):
    """The README and the lessons, to be written anew."""
    shutil.copy(ROOT / "README.md", tmp_path)
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    return tmp_path


def test_the_readme_is_short_and_leads_nowhere_in_vain():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = text.split("\n")
    assert len(lines) <= 120
    assert not [x for x in lines if len(x) > 120 and not x.startswith("|")]
    targets = [t.partition("#")[0] for t in MARKDOWN.findall(text) if not t.startswith("http")]
    assert not [t for t in targets if t and not (ROOT / t).exists()]
    assert {f"notebooks/{path.name}" for path in LESSONS} <= set(targets)
    film = next(t for t in targets if t.endswith(".webp"))
    assert (ROOT / film).stat().st_size <= 2e6
    assert text.index("_film.webp") < text.index("make quickstart") < text.index("make test")


def test_an_anchor_in_the_readme_is_a_heading_of_its_page():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in (t for t in MARKDOWN.findall(text) if "#" in t and not t.startswith("http")):
        page, _, anchor = target.partition("#")
        heads = re.findall(r"^#+ (.*)", (ROOT / page).read_text(encoding="utf-8"), re.M)
        slugs = [re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in heads]
        assert anchor in slugs, target


def test_every_link_opens_a_notebook_that_is_there():
    for path in LESSONS:
        to = lesson_links.addresses(f"notebooks/{path.name}", "a-b/kit.x@release/v1")
        colab = urlsplit(to["Colab"]).path.partition("/blob/release/v1/")[2]
        binder = urlsplit(to["Binder"])
        assert (ROOT / unquote(colab)).is_file()
        assert (ROOT / parse_qs(binder.query)["labpath"][0]).is_file()
        assert binder.path == "/v2/gh/a-b/kit.x/release%2Fv1"


def test_each_written_link_opens_a_file_that_is_there(copy):
    """With an address: what README and lessons then say leads to notebooks of this repository."""
    lesson_links.write(copy, "someone/kit@v1")
    opened = {"colab.research.google.com": [], "mybinder.org": []}
    pages = [copy / "README.md", *(copy / "notebooks").glob("*.ipynb")]
    for address in re.findall(r"\]\((https://[^)\s]+)\)", "\n".join(map(_text, pages))):
        to = urlsplit(address)
        if to.netloc in opened:
            _, sep, path = to.path.partition("/someone/kit/blob/v1/")
            opened[to.netloc].append(path if sep else parse_qs(to.query)["labpath"][0])
    wanted = sorted(f"notebooks/{path.name}" for path in LESSONS for _ in range(2))
    assert all(sorted(map(unquote, paths)) == wanted for paths in opened.values())
    assert (ROOT / "environment.yml").is_file()  # what Binder installs


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_links_come_and_go_without_a_trace(copy):
    first = {p: p.read_bytes() for p in copy.rglob("*") if p.is_file()}
    changed = lesson_links.write(copy, "someone/kit@v1")
    assert len(changed) == 1 + len(LESSONS)
    opening = (copy / "notebooks" / LESSONS[0].name).read_text(encoding="utf-8")
    assert f"someone/kit/blob/v1/notebooks/{LESSONS[0].name}" in opening
    assert r"\"git+https://github.com/someone/kit@v1\"" in opening
    assert not lesson_links.write(copy, "someone/kit@v1")
    lesson_links.write(copy, "")
    assert first == {p: p.read_bytes() for p in copy.rglob("*") if p.is_file()}


def test_what_is_written_is_what_the_tool_writes(copy):
    place = lesson_links.published(ROOT)
    assert not lesson_links.write(copy, place), "run: python tools/lesson_links.py"


@pytest.mark.parametrize("place", ["kit", "https://github.com/a/b@v1", "a/b", "a/b@", "a b/c@v1"])
def test_another_form_is_refused(place):
    with pytest.raises(ValueError, match="expected .OWNER/NAME@TAG"):
        lesson_links.addresses("notebooks/x.ipynb", place)
