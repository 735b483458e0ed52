"""The calibration inside a binary file (MATLAB v5, v7.3, HDF5) as plain lists and dictionaries.

These formats are parsed by native libraries, which a damaged file can crash outright. So the parsing runs in a process of its own, this file
as a script, which imports nothing of the package and prints JSON: a crash there is an error message here.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

WANTED = ("params", "camnames", "cameras")
PARSER_SECONDS = 60
PARSER_MEMORY = 8 << 30  # bytes that the process may reserve


def contents(path: Path) -> dict:
    """What `WANTED` or the groups of an HDF5 file hold. Raises `ValueError` naming the file for anything that cannot be read."""
    return json.loads(_parsed(path))


def arrays(path: Path, wanted: tuple[str, ...]) -> dict:
    """The variables or groups `wanted` of a file with long tables, as {"labelData/0/data_3d": array}; texts are arrays of one text."""
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        _parsed(path, f"{folder}/arrays.npz", *wanted)
        with np.load(f"{folder}/arrays.npz", allow_pickle=False) as found:
            return {key: found[key] for key in found}


def _parsed(path: Path, *more: str) -> str:
    try:
        done = subprocess.run(
            [sys.executable, "-I", __file__, str(path.resolve()), *more],
            capture_output=True,
            text=True,
            timeout=PARSER_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise ValueError(
            f"{path}: reading it took more than {PARSER_SECONDS} s; it is damaged, or no calibration"
        ) from error
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or ["the reader crashed"]
        raise ValueError(
            f"{path}: not a whole MATLAB or HDF5 file ({said[0]}); write it again with your calibration tool"
        )
    return done.stdout


def _plain(value, depth: int = 0):
    import numpy as np

    if depth > 8:
        raise ValueError("nested deeper than any calibration")
    if isinstance(value, dict):
        return {str(k): _plain(v, depth + 1) for k, v in value.items()}
    if isinstance(value, list) or isinstance(value, np.ndarray) and value.dtype == object:
        return [_plain(v, depth + 1) for v in (value if isinstance(value, list) else value.ravel())]
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value


def _flat(value, name: str = "", depth: int = 0):
    """(name, array) of every array or text in nested dictionaries and lists."""
    import numpy as np

    if isinstance(value, np.ndarray) and value.dtype == object:
        value = list(value.ravel())
    inside = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else None
    )
    if inside is None:
        yield name.strip("/"), np.asarray(value)
    for key, item in inside or () if depth < 8 else ():
        yield from _flat(item, f"{name}/{key}", depth + 1)


def _classic(path: str, wanted: tuple[str, ...]) -> dict:
    from scipy.io import loadmat

    return {
        k: v
        for k, v in loadmat(path, simplify_cells=True, variable_names=wanted).items()
        if k in wanted
    }


def _hdf5(path: str, wanted: tuple[str, ...]) -> dict:
    """Arrays of MATLAB v7.3 are stored transposed, cells as references, text as uint16; other HDF5 is given transposed too."""
    import h5py
    import numpy as np

    def plain(item, depth: int = 0):
        if depth > 8:
            raise ValueError("nested deeper than any calibration")
        if isinstance(item, h5py.Group):
            return {k: plain(v, depth + 1) for k, v in item.items()}
        if item.dtype == h5py.ref_dtype:
            return [plain(file[ref], depth + 1) for ref in np.asarray(item).ravel() if ref]
        if item.attrs.get("MATLAB_class") == b"char":
            return "".join(chr(c) for c in np.asarray(item).ravel())
        return np.asarray(item).T

    with h5py.File(path, "r") as file:
        return {
            k: plain(v)
            for k, v in file.items()
            if k in wanted or k.startswith("subject") and wanted == WANTED
        }


def _main(path: str, out: str = "", *wanted: str) -> int:
    with suppress(
        ImportError, ValueError, OSError
    ):  # Windows has none, or a stricter limit is set already
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (PARSER_MEMORY, PARSER_MEMORY))
    try:
        with open(path, "rb") as file:
            begins = file.read(10)
        read = _hdf5 if begins == b"MATLAB 7.3" or begins[1:4] == b"HDF" else _classic
        found = read(path, wanted or WANTED)
        if out:
            import numpy as np

            np.savez(out, **dict(_flat(found)))
        else:
            json.dump(_plain(found), sys.stdout)
    except ModuleNotFoundError as error:
        print(f'{error}; install it with pip install "bkind3d_lite[io]"', file=sys.stderr)
        return 1
    except Exception as error:  # the child's only words: its parent makes the message
        print(f"{type(error).__name__}: {error}".replace("\n", " ")[:300], file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
