"""What a figure shows, in words: for those who do not see it, and for pages without pictures."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

LISTED = 6  # names of one kind that are read out
# Plotly's types of traces, as one says them
KINDS = {
    "scatter": "curve",
    "scatter3d": "set of points or lines in space",
    "image": "picture",
    "heatmap": "map",
    "bar": "row of bars",
    "mesh3d": "surface",
    "surface": "surface",
    "isosurface": "surface",
    "volume": "volume",
}


def described(figure: Any, words: str) -> Any:
    """Say what a figure shows, where its own titles and labels do not.

    Args:
        figure: of matplotlib, or of Plotly.
        words: one sentence or two.

    Returns:
        The figure.
    """
    if isinstance(figure, go.Figure):
        meta = figure.layout.meta if isinstance(figure.layout.meta, dict) else {}
        return figure.update_layout(meta=meta | {"description": words})
    figure.set_label(words)
    return figure


def in_words(figure: Any) -> str:
    """What a figure shows: what `described` was told, else its titles, labels, names and ranges.

    Args:
        figure: of matplotlib, or of Plotly (also as the dictionary that it becomes).

    Returns:
        A sentence or more; "" where nothing in the figure has a name.
    """
    if isinstance(figure, Figure):
        return str(figure.get_label()) or _of_matplotlib(figure)
    made = figure if isinstance(figure, dict) else figure.to_plotly_json()
    meta = made.get("layout", {}).get("meta")
    told = meta.get("description") if isinstance(meta, dict) else None
    return told or _of_plotly(made)


# ---- matplotlib ----------------------------------------------------------------------------------
def _of_matplotlib(figure: Figure) -> str:
    """All panels, one after another."""
    panels = [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]
    said = [_of_axes(ax) for ax in panels]
    if not any(said):
        return figure.get_suptitle()
    head = f"{figure.get_suptitle()}. " if figure.get_suptitle() else ""
    if len(said) == 1:
        return f"{head}{said[0]}."
    parts = "; ".join(f"{n}: {text or 'as before'}" for n, text in enumerate(said, 1))
    return f"{head}{len(said)} panels. {parts}."


def _of_axes(ax: Axes) -> str:
    """Title, pictures, curves with where they begin and end, axes; "" where nothing is named."""
    parts = [ax.get_title() or ax.get_title("left")]
    curves = [line for line in ax.lines if not str(line.get_label()).startswith("_")]
    parts += [f"{line.get_label()} {_way(line.get_ydata())}" for line in curves[:LISTED]]
    others: list[Any] = [*ax.collections, *ax.containers]
    parts += _names(str(o.get_label()) for o in others if str(o.get_label())[:1] not in "_")
    parts += _names(text for text in map(_read, ax.texts) if re.search("[a-z]{2}", text))
    for letter, axis in zip("xyz", (ax.xaxis, ax.yaxis, getattr(ax, "zaxis", None))):
        if axis is not None and (label := axis.get_label_text()):
            low, high = sorted(axis.get_view_interval())
            words = [t.get_text() for t in axis.get_majorticklabels()] if len(curves) == 0 else []
            named = [w for w in words if w and not re.fullmatch(r"[-−\d.,e]+|\$.*\$", w)]
            span = ", ".join(named[:LISTED]) or f"{low:.3g} to {high:.3g}"
            parts.append(f"{letter}: {label}, {span}")
    said = [_plain(part) for part in parts if part]
    return ("a picture: " if ax.images and said else "") + ", ".join(said)


def _read(text: Text) -> str:
    """What is written somewhere in a figure."""
    return text.get_text()


def _way(values: Any) -> str:
    """From where to where a curve goes."""
    values = np.asarray(values, np.float64).ravel()
    values = values[np.isfinite(values)]
    return f"from {values[0]:.3g} to {values[-1]:.3g}" if len(values) else "(empty)"


def _names(names: Iterable[str]) -> list[str]:
    """The first names, and how many more there are."""
    names = list(dict.fromkeys(filter(None, names)))
    more = [f"and {len(names) - LISTED} more"] if len(names) > LISTED else []
    return [*names[:LISTED], *more]


def _plain(text: str) -> str:
    """Text without markup, in one line."""
    return " ".join(re.sub(r"<[^>]*>|\$|\\", " ", text).split())


# ---- Plotly --------------------------------------------------------------------------------------
def _text(part: Any) -> str:
    """A title, which Plotly keeps as text or as a table with one."""
    return _plain(str((part.get("text") if isinstance(part, dict) else part) or ""))


def _of_plotly(made: dict) -> str:
    """Title, what there is of each kind with its names, axes, and whether it plays."""
    layout, traces = made.get("layout", {}), made.get("data", ())
    names: dict[str, list[str]] = {}
    for trace in traces:
        kind = KINDS.get(trace.get("type", "scatter"), trace.get("type", "scatter"))
        names.setdefault(kind, []).append(_plain(str(trace.get("name") or "")))
    counts = Counter({kind: len(of_kind) for kind, of_kind in names.items()})
    parts = []
    for kind, of_kind in names.items():
        listed = _names(of_kind)
        count = f"{counts[kind]} x {kind}" if counts[kind] > 1 else f"a {kind}"
        parts.append(f"{count}: {', '.join(listed)}" if listed else count)
    scenes = [value for key, value in layout.items() if key.startswith("scene")]
    axes = [(key[:1], value) for key, value in layout.items() if key[1:5] == "axis"]
    axes += [(key[:1], scene[key]) for scene in scenes for key in ("xaxis", "yaxis", "zaxis")
             if isinstance(scene, dict) and key in scene]  # fmt: skip
    labels = [f"{letter}: {_text(axis.get('title'))}" for letter, axis in axes]
    labels = _names(label for label in labels if not label.endswith(": "))
    title, named = _text(layout.get("title")), any(any(of_kind) for of_kind in names.values())
    if not (title or named or labels):
        return ""
    film = len(made.get("frames") or ())
    plays = [f"a film of {film} moments, by slider and button"] if film else []
    return ". ".join(filter(None, [title, "; ".join([*parts, *labels, *plays])])) + "."
