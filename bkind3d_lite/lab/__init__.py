"""The course lab: exercises that check themselves against the package, and their grading.

Its names are found at first use: a student's process in `sandbox` must not wait for the whole
package.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .checks import Result, check, failing_input
    from .revealing import list_exercises, reveal

__all__ = ["Result", "check", "failing_input", "list_exercises", "reveal"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import checks, revealing

    return getattr(revealing if name in ("list_exercises", "reveal") else checks, name)
