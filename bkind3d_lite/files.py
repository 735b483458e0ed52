"""Files: whole or not at all."""

import codecs
import csv
import hashlib
import io
import os
import secrets
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

LONGEST_NAME = 255  # bytes, of a file or folder, on usual file systems


def bundled(name: str) -> Path:
    """A folder that travels with the package: inside it once installed, beside it in a clone.

    Args:
        name: `data_samples` or `notebooks`.

    Returns:
        Its path.
    """
    package = Path(__file__).resolve().parent
    inside = package / "bundled" / name
    return inside if inside.is_dir() else package.parent / name


def samples(name: str = "") -> Path:
    """A bundled sample: beside the lesson that asks, else where the package has it.

    Args:
        name: within `data_samples`: `rat/train`, `checkpoints/rat.safetensors`; none: all of it.

    Returns:
        Its path.

    Raises:
        FileNotFoundError: there is no such sample; names those that are.
    """
    folders = (Path("data_samples"), Path("../data_samples"), bundled("data_samples"))
    for folder in folders:
        if (folder / name).exists():
            return folder / name
    there = sorted(p.name for folder in folders if folder.is_dir() for p in folder.iterdir())
    known = ", ".join(dict.fromkeys(there)) or "none: install the package from its wheel or clone"
    raise FileNotFoundError(f"{name}: no such sample; there are {known}")


def write_atomically(path: str | Path, write: Callable[[Path], object]) -> Path:
    """Write a file beside its place, then rename it: readers see the old one or the new one.

    Creates the folder. If `write` fails (a full disk, say), its half of a file is removed and the
    old file stays.

    Args:
        path: where the file shall be.
        write: called with a temporary path in the same folder, of the same suffix.

    Returns:
        `path`.

    Raises:
        OSError: `write` raised one; says which file could not be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    own = f"{os.getpid()}-{secrets.token_hex(4)}"  # machines that share a folder share numbers, too
    temporary = path.with_name(f".{path.stem}.{own}.tmp{path.suffix}")
    try:
        write(temporary)
        with open(temporary, "rb+") as handle:  # the rename must not overtake the data
            os.fsync(handle.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OSError(
            error.errno,
            f"could not write {path} ({error.strerror}); free some space or choose another folder. "
            "Nothing was overwritten",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def file_hash(path: str | Path, digits: int = 16) -> str:
    """A fingerprint of a file's bytes, all of them.

    Args:
        path: the file.
        digits: how many hexadecimal ones.

    Returns:
        The first digits of its SHA-256.
    """
    told = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            told.update(block)
    return told.hexdigest()[:digits]


def text_of(path: str | Path) -> str:
    """The text of a file, whatever invisible bytes an editor has put before it.

    Args:
        path: UTF-8, or UTF-16 that begins with its mark.

    Returns:
        The text without the mark.
    """
    data = Path(path).read_bytes()
    marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if marked else "utf-8-sig").replace("\r\n", "\n")


def refuse_unwritable(out: str | Path, folder: bool = True) -> Path:
    """Find out before any work whether its results can be written; nothing is left there.

    Args:
        out: a folder that is there or will be made, or a file.
        folder: which of them it is.

    Returns:
        `out`.

    Raises:
        ValueError: it is of the other kind, or nothing can be written there.
    """
    out = Path(out)
    try:
        reason = _obstacle(out if folder else out.parent)
        if not folder and out.is_dir():
            reason = "it is a folder, expected a file"
    except OSError as error:
        reason = str(error.strerror)
    if reason:
        raise ValueError(f"{out}: cannot be written ({reason}); choose another place with --out")
    return out


def _obstacle(folder: Path) -> str:
    """Why nothing can be written into a folder that may not be there yet; "": it can."""
    while not os.path.lexists(folder) and folder != folder.parent:
        if len(os.fsencode(folder.name)) > LONGEST_NAME:
            return f"the name {folder.name[:20]}... is too long"
        folder = folder.parent
    if not folder.is_dir():
        return f"{folder} is not a folder"
    with tempfile.TemporaryFile(dir=folder):
        return ""


def read_rows(path: str | Path) -> list[dict[str, str]]:
    """Rows of a CSV file as text.

    Args:
        path: a last line without its end (a crash in the middle of it) is left out.

    Returns:
        A row each line, by column; [] if there is no file.
    """
    if not Path(path).is_file():
        return []
    text = text_of(path)
    return list(csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1], newline="")))


class Table:
    """A CSV file that grows by whole lines, for runs that may be killed at any moment and go on.

    A row may bring new columns; then the file is written anew, with empty cells above.

    Args:
        path: the file.
        step: where the run goes on; earlier rows stay, later ones go.
    """

    def __init__(self, path: str | Path, step: int = 0):
        self.path = Path(path)
        rows = [row for row in read_rows(self.path) if int(row["step"]) <= step]
        self.columns = list(dict.fromkeys(key for row in rows for key in row))
        self._rewrite(rows)

    def add(self, row: Mapping[str, object]) -> None:
        """Append one row, whole or not at all.

        Args:
            row: a value each column; floats are written to 7 digits.

        Raises:
            OSError: the disk is full; the file is as it was.
        """
        cells = {key: _cell(value) for key, value in row.items()}
        if new := [key for key in cells if key not in self.columns]:
            self.columns += new
            self._rewrite([*read_rows(self.path), cells])
            return
        line = self._text([cells]).encode()
        with open(self.path, "ab", buffering=0) as file:
            before = os.fstat(file.fileno()).st_size
            try:
                if file.write(line) != len(line):
                    raise OSError(28, "No space left on device")
            except OSError as error:
                file.truncate(before)
                raise OSError(
                    error.errno,
                    f"could not write {self.path} ({error.strerror}); free some space and resume",
                ) from error

    def _text(self, rows: Iterable[Mapping[str, str]]) -> str:
        text = io.StringIO(newline="")
        csv.DictWriter(text, self.columns, restval="", lineterminator="\n").writerows(rows)
        return text.getvalue()

    def _rewrite(self, rows: Iterable[Mapping[str, str]]) -> None:
        text = ",".join(self.columns) + "\n" + self._text(rows) if self.columns else ""
        write_atomically(self.path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _cell(value: object) -> str:
    return f"{value:.7g}" if isinstance(value, float) else str(value)
