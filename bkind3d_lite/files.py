"""Files: whole or not at all."""
import os
from collections.abc import Callable
from pathlib import Path


def write_atomically(path: str | Path, write: Callable[[Path], object]) -> Path:
    """Call `write(temporary)` beside `path`, then rename: readers see the old file or the new one, never half of one.

    Creates the folder. If `write` fails (a full disk, say) the temporary is removed, the old file stays, and an
    `OSError` says which file could not be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        write(temporary)
        with open(temporary, "rb+") as handle:  # the rename must not overtake the data
            os.fsync(handle.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OSError(error.errno, f"could not write {path} ({error.strerror}); free some space or choose another folder. "
                                   "Nothing was overwritten") from error
    finally:
        temporary.unlink(missing_ok=True)
    return path
