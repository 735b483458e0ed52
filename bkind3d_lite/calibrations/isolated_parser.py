"""The calibration inside a binary file (MATLAB v5, v7.3, HDF5) as plain lists and dictionaries.

These formats are parsed by native libraries, which a damaged file can crash outright. So the
parsing runs in a process of its own, this file as a script, which imports nothing of the package
and prints JSON: a crash there is an error message here.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

WANTED = ("params", "camnames", "cameras")
DEEPEST = 8  # levels of nesting
PARSER_SECONDS = 60
PARSER_MEMORY = 8 << 30  # bytes that the process may reserve


def contents(path: Path) -> dict[str, Any]:
    """What a calibration's file holds: the variables `WANTED`, or the groups of an HDF5 file.

    Args:
        path: the file.

    Returns:
        Plain lists and dictionaries.

    Raises:
        ValueError: it cannot be read; names the file.
    """
    return json.loads(_parsed(path))


def arrays(path: Path, wanted: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Variables or groups of a file with long tables.

    Args:
        path: the file.
        wanted: their names.

    Returns:
        {"labelData/0/data_3d": array}; texts are arrays of one text.

    Raises:
        ValueError: it cannot be read; names the file.
    """
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        _parsed(path, f"{folder}/arrays.npz", *wanted)
        with np.load(f"{folder}/arrays.npz", allow_pickle=False) as archive:
            return {key: archive[key] for key in archive}


def _parsed(path: Path, *more: str) -> str:
    """What this file prints as a script; anything that cannot be read is a `ValueError`."""
    try:
        done = subprocess.run(
            [sys.executable, "-I", __file__, str(path.resolve()), *more],
            capture_output=True,
            text=True,
            timeout=PARSER_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise ValueError(
            f"{path}: reading it took more than {PARSER_SECONDS} s; "
            "it is damaged, or no calibration"
        ) from error
    if done.returncode:
        last_line = (done.stderr.strip().splitlines() or ["the reader crashed"])[-1]
        raise ValueError(
            f"{path}: not a whole MATLAB or HDF5 file ({last_line}); "
            "write it again with your calibration tool"
        )
    return done.stdout


# ---- in the process of its own -------------------------------------------------------------------
def _plain(value: Any, depth: int = 0) -> Any:
    """Arrays as lists, all the way down."""
    import numpy as np

    if depth > DEEPEST:
        raise ValueError("nested deeper than any calibration")
    if isinstance(value, dict):
        return {str(k): _plain(v, depth + 1) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        if value.dtype != object:
            return value.tolist()
        value = list(value.ravel())
    if isinstance(value, list):
        return [_plain(v, depth + 1) for v in value]
    return value.item() if isinstance(value, np.generic) else value


def _flat(value: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, np.ndarray]]:
    """(name, array) of every array or text in nested dictionaries and lists."""
    import numpy as np

    if isinstance(value, np.ndarray) and value.dtype == object:
        value = list(value.ravel())
    if isinstance(value, list):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        yield name.strip("/"), np.asarray(value)
    elif depth < DEEPEST:
        for key, item in value.items():
            yield from _flat(item, f"{name}/{key}", depth + 1)


def _classic(path: str, wanted: tuple[str, ...]) -> dict[str, Any]:
    """MATLAB v5."""
    from scipy.io import loadmat

    variables = loadmat(path, simplify_cells=True, variable_names=wanted)
    return {k: v for k, v in variables.items() if k in wanted}


def _hdf5(path: str, wanted: tuple[str, ...]) -> dict[str, Any]:
    """MATLAB v7.3 and other HDF5.

    Arrays of MATLAB v7.3 are stored transposed, cells as references, text as uint16; other HDF5 is
    given transposed, too.
    """
    import h5py
    import numpy as np

    def plain(item: Any, depth: int = 0) -> Any:
        if depth > DEEPEST:
            raise ValueError("nested deeper than any calibration")
        if isinstance(item, h5py.Group):
            return {k: plain(v, depth + 1) for k, v in item.items()}
        if item.dtype == h5py.ref_dtype:
            return [plain(file[ref], depth + 1) for ref in np.asarray(item).ravel() if ref]
        if item.attrs.get("MATLAB_class") == b"char":
            return "".join(chr(c) for c in np.asarray(item).ravel())
        return np.asarray(item).T

    with h5py.File(path, "r") as file:
        subjects = [k for k in file if k.startswith("subject") and wanted == WANTED]
        return {k: plain(v) for k, v in file.items() if k in wanted or k in subjects}


def _limit_memory() -> None:
    # Windows has no limits, or a stricter one is set already.
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (PARSER_MEMORY, PARSER_MEMORY))


def _main(path: str, out: str = "", *wanted: str) -> int:
    _limit_memory()
    try:
        with open(path, "rb") as file:
            begins = file.read(10)
        read = _hdf5 if begins == b"MATLAB 7.3" or begins[1:4] == b"HDF" else _classic
        variables = read(path, wanted or WANTED)
        if out:
            import numpy as np

            np.savez(out, **dict(_flat(variables)))  # type: ignore[arg-type]  # names are free
        else:
            json.dump(_plain(variables), sys.stdout)
    except ModuleNotFoundError as error:
        print(f"{error}; pip install {error.name}", file=sys.stderr)
        return 1
    except Exception as error:  # the child's only words: its parent makes the message
        print(f"{type(error).__name__}: {error}".replace("\n", " ")[:300], file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
