"""Index run: which recordings lie under a folder, one row each, with the doctor's verdict."""

from __future__ import annotations

import csv
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from ..clips.clip import open_clip
from ..clips.recordings import Place, anipose, dannce, human36m, rat7m, read_recording
from ..clips.recordings.entry import SUBFOLDERS
from ..clips.recordings.footage import IMAGE_SUFFIXES, in_folder
from ..clips.rig_checks import FAIL, PASS, Check
from ..clips.sessions import folder_named
from ..clips.survey_files import recording_hash, rig_hash
from ..clips.videos import VIDEO_SUFFIXES
from ..files import read_rows, refuse_unwritable, write_atomically
from .doctor import Diagnosis, examine

log = logging.getLogger(__name__)
COLUMNS_OF_SESSIONS = (
    "name", "folder", "subject", "session", "date", "cameras", "frames", "fps", "hours",
    "fingerprint", "rig", "verdict", "question", "finding", "remedy",
)  # fmt: skip
OWN_FILES = ("keypoints.npz", "session.npz", "checkpoint.safetensors", "report.json")
DATATYPES = ("behav", "ephys", "funcimg", "anat", "motion")  # NeuroBlueprint's, inside a session
TRY_AGAIN = "index again: it is asked about anew; if this stays, look at its files"
Row = dict[str, str]


# ---- where they lie ------------------------------------------------------------------------------
def find_sessions(root: str | Path) -> list[Path]:
    """Folders below a root that `open_clip` would take for a recording, whether it can or not.

    Own results and hidden folders are passed over, and NeuroBlueprint's `derivatives` beside its
    `rawdata`.

    Args:
        root: a folder; it may be a recording itself.

    Returns:
        The folders, sorted.

    Raises:
        FileNotFoundError: there is no such folder, or no recording in it.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder; expected one that holds recordings")
    found = list(_below(root, set()))
    if not found:
        raise FileNotFoundError(f"{root}: no videos or folders of images in it, at any depth")
    return found


def _below(folder: Path, seen: set[Path]) -> Iterator[Path]:
    """The recordings in a folder; a link that leads back is not followed."""
    home = folder.resolve()
    if home in seen or any((folder / name).is_file() for name in OWN_FILES):
        return
    seen.add(home)
    if any(reader.recognises(Place(folder)) for reader in (human36m, rat7m, dannce, anipose)):
        yield folder
        return
    inner = [p for p in sorted(folder.iterdir()) if p.is_dir() and not p.name.startswith(".")]
    if any(p.name == "rawdata" for p in inner):
        inner = [p for p in inner if p.name != "derivatives"]
    cameras = [p for p in inner if p.name not in SUBFOLDERS and _media(p)]
    if _media(folder) or any(_holds_cameras(p) for p in inner if p.name in SUBFOLDERS):
        yield folder
    elif cameras and _opens(folder):
        yield folder
        return
    for path in inner:
        if path.name not in SUBFOLDERS:
            yield from _below(path, seen)


def _media(folder: Path) -> bool:
    return bool(in_folder(folder, VIDEO_SUFFIXES) or in_folder(folder, IMAGE_SUFFIXES)[1:])


def _holds_cameras(folder: Path) -> bool:
    """Whether videos lie there, or folders of one camera each."""
    return _media(folder) or any(p.is_dir() and _media(p) for p in folder.iterdir())


def _opens(folder: Path) -> bool:
    """Whether the folders in it are its cameras, rather than recordings of their own."""
    try:
        return read_recording(folder).rig.calibrated
    except (OSError, ValueError):
        return False


def blueprint_of(folder: Path, root: Path) -> Row:
    """What NeuroBlueprint's names say, `sub-001_id-b7/ses-002_date-20240131/behav`.

    Args:
        folder: of a recording.
        root: below which it lies.

    Returns:
        subject, session and date; "" where the names say nothing.
    """
    said = {"sub": "", "ses": "", "date": ""}
    for part in folder.relative_to(root).parts:
        if part.startswith(("sub-", "ses-")):
            words = (word.partition("-") for word in part.split("_"))
            said |= {key: value for key, dash, value in words if key in said and dash}
    return {"subject": said["sub"], "session": said["ses"], "date": said["date"]}


def names_of(
    folders: Sequence[Path], root: Path, known: Mapping[str, str] | None = None
) -> list[str]:
    """A word for each recording, for folders of results: its path below the root.

    Args:
        folders: of the recordings.
        root: below which they lie.
        known: names by absolute folder, which stay.

    Returns:
        Different words; without NeuroBlueprint's rawdata and datatype where that is enough.
    """
    kept: dict[str, Path] = {}  # of two folders with one name, the first keeps it
    for p in folders:
        if name := (known or {}).get(str(p.absolute())):
            kept.setdefault(name, p)
    names = {p: name for name, p in kept.items()}
    new = {p: p.relative_to(root).parts or (root.resolve().name,) for p in folders}
    new = {p: parts for p, parts in new.items() if p not in names}
    short = {
        p: _word(w for w in parts if w not in ("rawdata", *DATATYPES)) for p, parts in new.items()
    }
    crowd = Counter([*kept, *short.values()])
    words = {p: w if w and crowd[w] == 1 else _word(new[p]) for p, w in short.items()}
    crowd = Counter([*kept, *words.values()])
    for p, word in words.items():
        numbered = (f"{word}_{n}" for n in count())
        names[p] = word if crowd[word] == 1 else next(w for w in numbered if w not in crowd)
        crowd[names[p]] += names[p] != word
    return [names[p] for p in folders]


def _word(parts: Iterable[str]) -> str:
    return re.sub(r"[^\w.-]+", "_", "_".join(parts))


# ---- the table -----------------------------------------------------------------------------------
def index_sessions(
    root: str | Path, out: str | Path = "sessions.csv", *, ask: bool = True, **how: Any
) -> list[Row]:
    """Write a row for each recording under a folder; a broken one is a row with its sentence.

    The file is written anew after each recording; one that is there and has not changed keeps its
    row, so that the work of hours goes on where it was stopped. Rows of recordings that are no
    longer there go at the end.

    Args:
        root: a folder of recordings.
        out: the CSV file.
        ask: the doctor, too; without, recordings are only opened.
        **how: as for `open_clip`, the same for all.

    Returns:
        The rows, by `COLUMNS_OF_SESSIONS`.
    """
    root, out = Path(root), Path(refuse_unwritable(out, folder=False))
    folders = find_sessions(root)
    before = {
        row["folder"]: {key: row.get(key) or "" for key in COLUMNS_OF_SESSIONS}
        for row in read_rows(out)
    }
    names = names_of(folders, root, {place: row["name"] for place, row in before.items()})
    rows: dict[str, Row] = {}
    for folder, name in zip(folders, names):
        about = {"name": name, "folder": str(folder.absolute()), **blueprint_of(folder, root)}
        row, known = about | opened_row(folder, **how), before.get(about["folder"])
        same = known and row["fingerprint"] and known["fingerprint"] == row["fingerprint"]
        if known and same and (_settled(known) or not ask):
            row = known | {"name": name}
        elif ask and row["fingerprint"]:
            row |= _verdict(folder, **how)
        rows[row["folder"]] = row
        _write(out, [*rows.values(), *(before[place] for place in before if place not in rows)])
        log.info("%s: %s", name, told_row(row))
    _write(out, list(rows.values()))
    return list(rows.values())


def _settled(row: Row) -> bool:
    """Whether the doctor has spoken, rather than an error that may have passed."""
    stumbled = row["question"] == "files" and row["remedy"] in ("", TRY_AGAIN)
    return bool(row["verdict"]) and not stumbled


def opened_row(folder: Path, **how: Any) -> Row:
    """What opening a recording tells.

    Args:
        folder: of the recording.
        **how: as for `open_clip`.

    Returns:
        Fingerprint, cameras, frames, rate, hours and rig; of a broken one verdict and sentence.
    """
    empty = dict.fromkeys(COLUMNS_OF_SESSIONS[5:], "")
    try:
        clip = open_clip(folder, **how)
        told = {"fingerprint": recording_hash(clip)}
    except Exception as error:  # whatever is wrong with one of hundreds, the others have their rows
        log.debug("%s", folder, exc_info=True)
        return empty | {"verdict": FAIL, "question": "files", "finding": told_error(error)}
    rig = rig_hash(clip.rig) if clip.rig.calibrated else ""
    hours = f"{len(clip) / clip.fps / 3600:.4f}"
    counts = {"cameras": str(clip.rig.views), "frames": str(len(clip)), "fps": f"{clip.fps:g}"}
    return empty | told | counts | {"hours": hours, "rig": rig}


def _verdict(folder: Path, **how: Any) -> Row:
    """What the doctor says; frames that cannot be read are a verdict, too."""
    try:
        return verdict_of(examine(folder, plan=False, **how))
    except Exception as error:  # as above
        log.debug("%s", folder, exc_info=True)
        finding = f"{type(error).__name__}: {error}"
        return verdict_of(Diagnosis(str(folder), [Check("files", FAIL, finding, remedy=TRY_AGAIN)]))


def told_error(error: Exception) -> str:
    """An error's sentence; with its type where it was not made to be read.

    Args:
        error: anything that was raised.

    Returns:
        Words: `KeyError: 'fps'`, or what a refusal says.
    """
    readable = isinstance(error, (OSError, ValueError)) and str(error).strip()
    return str(error).strip() if readable else f"{type(error).__name__}: {error}"


def verdict_of(diagnosis: Diagnosis) -> Row:
    """The worst state, and the first question whose answer it is.

    Args:
        diagnosis: of a recording.

    Returns:
        verdict, question, finding and remedy; the last three "" where nothing is wrong.
    """
    state = diagnosis.state
    if state == PASS:
        return {"verdict": state, "question": "", "finding": "", "remedy": ""}
    first = next(check for check in diagnosis.checks if check.state == state)
    words = {"question": first.name, "finding": first.finding, "remedy": first.remedy}
    return {"verdict": state, **words}


def told_row(row: Mapping[str, str]) -> str:
    """A row in a line.

    Args:
        row: of the table.

    Returns:
        Words.
    """
    size = f"{row['cameras']} cameras, {row['hours']} h, " if row["frames"] else ""
    trouble = f": {row['question']}: {row['finding']}" if row["question"] else ""
    return f"{size}{row['verdict'] or 'opens'}{trouble}"


def _write(out: Path, rows: Sequence[Row]) -> None:
    def write(temporary: Path) -> None:
        with open(temporary, "w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, COLUMNS_OF_SESSIONS)
            table.writeheader()
            table.writerows(rows)

    write_atomically(out, write)


def read_sessions(path: str | Path) -> list[Row]:
    """The rows that `index_sessions` wrote; a person may have taken some out.

    Args:
        path: the CSV file.

    Returns:
        The rows; a relative folder is sought from here, then beside the table.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it has no rows, or lacks a column.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file; make it with: bkind3d index FOLDER")
    rows = read_rows(path)
    if not rows or (missing := [k for k in ("name", "folder", "verdict") if k not in rows[0]]):
        what = f"no column {missing[0]}" if rows else "no rows"
        raise ValueError(f"{path}: {what}; expected the table that `bkind3d index` writes")
    return [row | {"folder": str(folder_named(path, row["folder"]))} for row in rows]
