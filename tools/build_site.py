"""The course and the API as a site that needs no network: `make site`, then build/site/index.html.

    python tools/build_site.py

The guides (README, docs), the lessons as `make notebooks` executed them, and the docstrings are
laid out in build/site_source as they lie in the repository, so that relative links hold; Sphinx
makes pages of them with the settings in docs/site.
"""

from __future__ import annotations

import argparse
import ast
import pkgutil
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import nbformat
from plotly.offline import get_plotlyjs

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # this copy, whichever is installed

from bkind3d_lite.lab.notebook_pages import accessible_html

SETTINGS = ROOT / "docs" / "site"
PACKAGE = "bkind3d_lite"
# The API's pages in the order of imports; modules and packages that are not named here come last.
ORDER = """shapes files distributed recipes lenses cameras calibrations volumes epipolar poses2d
multiview clips evaluation model training students viz workflows lab""".split()
SOURCES = ["../_static/plotly.min.js"]
NOTE = '<p class="kernel-note">The sliders and buttons of this figure live in the notebook.</p>'
DOCSTRINGS = f"""```{{{{eval-rst}}}}
.. automodule:: {PACKAGE}.{{}}
   :members:
   :ignore-module-all:
```"""  # without __all__, a name is told where it is written, not where it is passed on
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#\s]+)(#[^)\s]*)?\)")
CODE = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.S | re.M)  # where brackets are no links


# ---- guides and lessons --------------------------------------------------------------------------
def linked(text: str, page: Path, pages: set[Path]) -> str:
    """Reduce a page's links to files that the site does not hold to their words.

    Args:
        text: Markdown of the page, or of one cell.
        page: the page's path in the repository.
        pages: the paths of all pages of the site.

    Returns:
        The Markdown; web addresses and links inside the site are as they were.
    """

    def kept(match: re.Match) -> str:
        words, target, _ = match.groups()
        inside = (page.parent / target).resolve() in pages
        return match[0] if inside or re.match(r"[a-z]+:", target) else words

    parts = CODE.split(text)
    return "".join(part if i % 2 else LINK.sub(kept, part) for i, part in enumerate(parts))


def shown(nb: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A lesson, changed in place into what a page without a kernel can show.

    Figures become html with a text alternative, Plotly's live ones, and a note stands where a
    kernel would draw sliders.
    """
    nb.metadata.language_info = {"name": "python", "pygments_lexer": "ipython3"}
    accessible_html(nb, SOURCES, NOTE)
    return nb


def written(root: Path) -> dict[Path, str]:
    """All pages that somebody wrote, by path: guides and lessons, executed where a copy is."""
    docs = [p for p in sorted((root / "docs").rglob("*.md")) if SETTINGS not in p.parents]
    top = [root / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    guides = [*top, *docs, *sorted((root / "data_samples").rglob("*.md"))]
    pages = {path: path.read_text(encoding="utf-8") for path in guides if path.is_file()}
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        copy = root / "build" / "notebooks" / path.name
        if not copy.is_file():
            print(f"{path.name}: not executed, shown without outputs (make notebooks)")
            copy = path
        pages[path] = copy.read_text(encoding="utf-8")
    return pages


# ---- API -----------------------------------------------------------------------------------------
def modules(folder: Path, name: str = "") -> list[str]:
    """Dotted names of the modules below a package's folder; those of the package come in ORDER."""
    found = [m.name for m in pkgutil.iter_modules([str(folder)]) if m.name != "__main__"]
    found.sort(key=lambda n: (ORDER.index(n) if n in ORDER and not name else len(ORDER), n))
    below = [[f"{name}{n}", *modules(folder / n, f"{name}{n}.")] for n in found]
    return [dotted for names in below for dotted in names]


def summary(path: Path) -> str:
    """The first line of the docstring of a module or package."""
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


def api(folder: Path, only: Sequence[str] = ()) -> dict[str, str]:
    """The API's pages by file name: one a module or package, and their index.

    Args:
        folder: the package's folder.
        only: names of the modules and packages wanted, all of them if empty.

    Returns:
        Markdown in which Sphinx fills in the docstrings.
    """
    pages, rows = {}, ""
    for dotted in modules(folder):
        name, _, inner = dotted.partition(".")
        if only and name not in only:
            continue
        if not inner:
            pages[f"{name}.md"] = f"# {name}\n"
            rows += f"| [{name}]({name}.md) | {summary(folder / name)} |\n"
        title = f"\n## {dotted}\n" if inner else ""
        pages[f"{name}.md"] += f"{title}\n{DOCSTRINGS.format(dotted)}\n"
    tree = "\n".join(["```{toctree}", ":hidden:", "", *pages, "```"])
    pages["index.md"] = f"# API\n\n| module | what it holds |\n|---|---|\n{rows}\n{tree}\n"
    return pages


# ---- the site ------------------------------------------------------------------------------------
def prepare(root: Path, source: Path, only: Sequence[str] = ()) -> None:
    """Lay out all pages in `source`, which is made anew, as they lie in the repository `root`."""
    shutil.rmtree(source, ignore_errors=True)
    (source / "_static").mkdir(parents=True)
    for name, place in {"conf.py": "", "index.md": "", "site.css": "_static"}.items():
        shutil.copy(SETTINGS / name, source / place)
    (source / "_static" / "plotly.min.js").write_text(get_plotlyjs(), encoding="utf-8")
    if (images := root / "docs" / "images").is_dir():
        shutil.copytree(images, source / "docs" / "images")
    pages = written(root)
    pages |= {root / "api" / name: text for name, text in api(ROOT / PACKAGE, only).items()}
    for page, text in pages.items():
        if page.suffix == ".ipynb":
            nb = shown(nbformat.reads(text, as_version=4))
            for cell in (c for c in nb.cells if c.cell_type == "markdown"):
                cell.source = linked(cell.source, page, set(pages))
            text = nbformat.writes(nb)
        else:
            text = linked(text, page, set(pages))
        copy = source / page.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(text, encoding="utf-8")


def build(root: Path, out: Path, only: Sequence[str] = ()) -> int:
    """Write the site of the repository at `root` into `out`.

    Args:
        root: the repository, with its executed lessons in build/notebooks.
        out: the site's folder, made anew; its pages are prepared beside it in `out`_source.
        only: names of the modules and packages wanted in the API, all of them if empty.

    Returns:
        Sphinx's exit status, 0 if all went well.
    """
    from sphinx.cmd.build import build_main

    root, out = root.resolve(), out.resolve()
    source = out.with_name(f"{out.name}_source")
    prepare(root, source, only)
    shutil.rmtree(out, ignore_errors=True)
    return build_main(["-q", "-d", f"{source}/.doctrees", str(source), str(out)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="the course and the API as a site")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "site", help="the site")
    parser.add_argument("--only", nargs="*", default=(), help="the API of these modules, not all")
    given = parser.parse_args()
    failed = build(given.root, given.out, given.only)
    print("the site failed" if failed else f"open {given.out / 'index.html'}")
    sys.exit(failed)
