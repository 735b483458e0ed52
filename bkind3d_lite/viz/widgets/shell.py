"""The shell: sliders above a figure, and a screen on which it changes in place."""

from __future__ import annotations

import sys
import time as clock
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import ipywidgets as ipw
import plotly.graph_objects as go
from IPython.display import clear_output, display

from ..descriptions import in_words

# there for screen readers only
UNSEEN = "position:absolute;width:1px;height:1px;margin:0;overflow:hidden;clip-path:inset(50%)"
WIDE: dict[str, Any] = dict(layout=ipw.Layout(width="30em"), style=dict(description_width="8em"))


class Screen:
    """Where figures are shown: one FigureWidget updated in place, or an Output drawn anew.

    `widget` goes into a box; `figure` is the live one, or None.

    Args:
        figure: the first one.
    """

    def __init__(self, figure: go.Figure):
        self.figure = self._live(figure)
        self.widget = ipw.Output() if self.figure is None else self.figure
        if self.figure is None:
            self.show(figure)

    @staticmethod
    def _live(figure: go.Figure) -> go.FigureWidget | None:
        # Colab needs a switch that a notebook should not depend on
        if "google.colab" in sys.modules:
            return None
        try:
            return go.FigureWidget(figure)
        except ImportError:  # anywidget is missing
            return None

    def show(self, figure: go.Figure) -> None:
        """Put another figure in place of what is shown.

        Traces that have not changed are not sent again; a turned view stays turned.

        Args:
            figure: the next one.
        """
        if self.figure is None:
            with self.widget:
                clear_output(wait=True)
                display(figure)
            return
        live, layout = self.figure, figure.layout
        with live.batch_update():
            if [t.type for t in live.data] != [t.type for t in figure.data]:
                live.data = []
                live.add_traces(figure.data)
            else:
                for old, new in zip(live.data, figure.data):
                    if old != new:
                        old.update(new.to_plotly_json(), overwrite=True)
            live.layout.update(
                title=layout.title, shapes=layout.shapes, annotations=layout.annotations
            )


def controls(draw: Callable[..., go.Figure], **widgets: ipw.Widget) -> ipw.VBox:
    """Widgets above the figure that they change.

    Args:
        draw: the cheap half of a question (`interactive`).
        **widgets: named as its arguments.

    Returns:
        A box; `.values()` tells what is chosen, `.seconds` how long the last answer took, `.screen`
        is its `Screen`.
    """

    def values() -> dict[str, Any]:
        return {name: widget.value for name, widget in widgets.items()}

    first = draw(**values())
    screen, words = Screen(first), ipw.HTML(_spoken(first))
    box = ipw.VBox([in_rows(list(widgets.values())), screen.widget, words])
    box.values, box.screen, box.seconds = values, screen, 0.0

    def answer(_change: object) -> None:
        start = clock.perf_counter()
        figure = draw(**values())
        screen.show(figure)
        words.value = _spoken(figure)
        box.seconds = clock.perf_counter() - start

    for widget in widgets.values():
        widget.observe(answer, "value")
    return box


def _spoken(figure: go.Figure) -> str:
    """What a figure shows, for a screen reader, which says it again when it changes."""
    return f'<p aria-live="polite" style="{UNSEEN}">{escape(in_words(figure))}</p>'


def in_rows(widgets: Sequence[ipw.Widget]) -> ipw.HBox:
    """Widgets side by side, in as many rows as they need.

    Args:
        widgets: in order.

    Returns:
        A box.
    """
    return ipw.HBox(list(widgets), layout=ipw.Layout(flex_flow="row wrap"))


def integer(text: str, value: int, low: int, high: int) -> ipw.IntSlider:
    """A slider over whole numbers.

    Args:
        text: beside it.
        value: at first.
        low: the least.
        high: the greatest.

    Returns:
        The slider.
    """
    return ipw.IntSlider(value, low, max(low, high), 1, description=text, **WIDE)


def real(
    text: str, value: float, low: float, high: float, step: float | None = None
) -> ipw.FloatSlider:
    """A slider over real numbers.

    Args:
        text: beside it.
        value: at first.
        low: the least.
        high: the greatest.
        step: from one to the next (default: a hundredth of the whole).

    Returns:
        The slider.
    """
    return ipw.FloatSlider(
        value,
        min=low,
        max=high,
        step=step or (high - low) / 100,
        description=text,
        readout_format=".3g",
        **WIDE,
    )


def several(text: str, options: Sequence[str]) -> ipw.SelectMultiple:
    """A list of which any number may be on; all are, at first (ctrl-click turns one off).

    Args:
        text: beside it.
        options: the list.

    Returns:
        The list as a widget.
    """
    every, rows = list(options), min(6, len(options))
    return ipw.SelectMultiple(options=every, value=every, rows=rows, description=text, **WIDE)


def one_of(text: str, options: Sequence) -> ipw.Dropdown:
    """A list of which one is chosen, the first to begin with.

    Args:
        text: beside it.
        options: words, or pairs of a word and the value that it stands for.

    Returns:
        The list as a widget.
    """
    return ipw.Dropdown(options=list(options), description=text, **WIDE)
