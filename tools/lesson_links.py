"""The lessons' table in the README, and links that open each lesson in Colab and in Binder.

    python tools/lesson_links.py

The one line `published` of [tool.course] in pyproject.toml says where the repository lies for
everybody: "OWNER/NAME@TAG" on GitHub, or "". The README's table, the last line of each lesson's
first cell, and what its setup cell installs where nothing else is found are written from it. With
"" there are no links, because none would lead anywhere; whoever puts a copy on GitHub fills in the
line (or says --published) and runs this again.
"""

from __future__ import annotations

import argparse
import re
from functools import partial
from pathlib import Path
from urllib.parse import quote

import nbformat

from bkind3d_lite.files import text_of, write_atomically
from bkind3d_lite.lab.notebook_tools import cleaned, tags_of

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
NAMED = re.compile(r"([\w.-]+/[\w.-]+)@([\w./-]+)|")
TABLE = re.compile(r"(<!-- lessons:[^>]*-->\n).*?(<!-- end -->)", re.S)
OPEN = re.compile(r"\n\n\[Open in Colab\].*\Z")
SOURCE = re.compile(r'(os\.environ\.get\("BKIND3D_LITE", )"[^"]*"\)')  # of the setup cell


def addresses(path: str, published: str) -> dict[str, str]:
    """Where one notebook opens.

    Args:
        path: of the notebook, from the repository's folder.
        published: "OWNER/NAME@TAG", or "".

    Returns:
        Service -> address; empty where nothing is published.

    Raises:
        ValueError: `published` has another form.
    """
    if not (match := NAMED.fullmatch(published)):
        raise ValueError(f'published = "{published}"; expected "OWNER/NAME@TAG", or "" for nowhere')
    if not published:
        return {}
    name, tag = match.groups()
    return {
        "Colab": f"https://colab.research.google.com/github/{name}/blob/{tag}/{path}",
        "Binder": f"https://mybinder.org/v2/gh/{name}/{quote(tag, safe='')}"
        f"?labpath={quote(path, safe='')}",
    }


def row(path: Path, published: str) -> str:
    """A lesson's row in the README: title, question, where it opens."""
    first = nbformat.read(path, 4).cells[0].source
    title = first.partition("\n")[0].removeprefix("# ").replace(" · ", " ")
    question = re.search(r"\*\*(.*?\?)\*\*", first)
    if not question:
        raise ValueError(f"{path}: the first cell has no **question?**")
    place = f"notebooks/{path.name}"
    links = [f"[{what}]({to})" for what, to in addresses(place, published).items()]
    return " | ".join([f"| [{title}]({place})", question[1], *([" ".join(links)] * bool(links))])


def table(root: Path, published: str) -> str:
    """All rows, below their head."""
    paths = sorted((root / "notebooks").glob("*.ipynb"))
    head = ["lesson", "question", *(["open in"] if published else [])]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *(f"{row(path, published)} |" for path in paths)]) + "\n"


def linked(text: str, path: str, published: str) -> str:
    """A lesson with its links, and with the address from which its setup cell installs.

    Args:
        text: its JSON.
        path: from the repository's folder.
        published: "OWNER/NAME@TAG", or "".

    Returns:
        Its JSON, clean; the same text where nothing is published and nothing was.

    Raises:
        ValueError: its setup cell does not ask BKIND3D_LITE.
    """
    nb = nbformat.reads(text, as_version=4)
    links = [f"[Open in {what}]({to})" for what, to in addresses(path, published).items()]
    first = nb.cells[0]
    first.source = OPEN.sub("", first.source) + ("\n\n" + " · ".join(links) if links else "")
    name, _, tag = published.partition("@")
    source = f"git+https://github.com/{name}@{tag}" if published else ""
    for cell in nb.cells:
        if "setup" in tags_of(cell):
            cell.source, count = SOURCE.subn(rf'\1"{source}")', cell.source)
            if not count:
                raise ValueError(f'{path}: its setup cell has no os.environ.get("BKIND3D_LITE", ')
    return cleaned(nbformat.writes(nb))


def write(root: Path, published: str) -> list[Path]:
    """Write README and lessons anew where they differ.

    Args:
        root: the repository.
        published: "OWNER/NAME@TAG", or "".

    Returns:
        What was changed.
    """
    readme = root / "README.md"
    rows = table(root, published)
    made = {readme: TABLE.sub(lambda m: m[1] + rows + m[2], readme.read_text(encoding="utf-8"))}
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        text = path.read_text(encoding="utf-8")
        made[path] = linked(text, f"notebooks/{path.name}", published)
    changed = [path for path, text in made.items() if text != path.read_text(encoding="utf-8")]
    for path in changed:
        write_atomically(path, partial(Path.write_text, data=made[path], encoding="utf-8"))
    return changed


def published(root: Path) -> str:
    """What pyproject.toml says: "OWNER/NAME@TAG", or ""."""
    return tomllib.loads(text_of(root / "pyproject.toml"))["tool"]["course"]["published"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="the lessons' table and their links")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository")
    parser.add_argument("--published", help="OWNER/NAME@TAG instead of pyproject's")
    given = parser.parse_args()
    place = published(given.root) if given.published is None else given.published
    print("\n".join(map(str, write(given.root, place))) or "nothing to change")
