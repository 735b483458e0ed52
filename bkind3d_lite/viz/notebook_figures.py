"""Figures in notebooks and pages: with their words, alive without a kernel, on light and dark.

`accessible()` sets a notebook up. From then on each figure travels as what its frontend draws best
and as HTML that any export keeps: pictures with their text alternative, Plotly's figures with a
loader of Plotly's script (beside the page, else from Plotly's server) and keys to operate them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import matplotlib
import plotly.graph_objects as go
import plotly.io as pio
from matplotlib.figure import Figure
from plotly.io.base_renderers import PlotlyRenderer
from plotly.offline import get_plotlyjs, get_plotlyjs_version

from .colours import SAFE
from .descriptions import in_words

_MIME = "application/vnd.plotly.v1+json"
# Plotly's, without its button that would send a figure to its server
CONFIG = dict(responsive=True, displaylogo=False, showSendToCloud=False, scrollZoom=False)
INK = "#767676"  # 4.5 : 1 on white, 4.6 : 1 on black: the one grey that passes on both
CYCLE = [colour for colour in SAFE if colour != SAFE[3]]  # yellow is lost on white
_SCALES = "text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"
STYLE: Any = {
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.facecolor": "none",
    "legend.framealpha": 0.0,
    "axes.prop_cycle": f"cycler(color={CYCLE})",
    **{f"axes3d.{a}axis.panecolor": (0.5, 0.5, 0.5, 0.08) for a in "xyz"},
    **dict.fromkeys(_SCALES, INK),
    "grid.color": INK,
    **{f"boxplot.{part}props.color": INK for part in ("box", "whisker", "cap")},
}
SPACE = {"scatter3d", "mesh3d", "surface", "isosurface", "volume", "cone"}
KEYS = " Keys: left and right {}."
TURN_KEYS = "turn it"
FILM_KEYS = (
    "step through the film, home and end go to its ends, space plays or pauses; "
    "with shift left and right turn it"
)
# Where the keyboard is; Plotly draws its buttons and the slider's grip as SVG, with colours inside.
KEYBOARD_STYLE = """<style>
.described:focus-visible { outline: 3px solid #0072B2; outline-offset: -3px }
.described :focus { outline: none } .described [role=button]:focus-visible rect,
.described [role=slider]:focus-visible { stroke: #0072B2 !important; stroke-width: 4px !important }
</style>"""
# Plotly's script is taken from the first of the `sources` that answers, once a page.
SCRIPT = """(script => {
  const box = script.previousElementSibling, figure = %(figure)s;
  const load = source => new Promise((done, failed) => document.head.append(Object.assign(
    document.createElement("script"), {src: source, onload: done, onerror: failed})));
  window.plotlyIsThere ??= window.Plotly ? Promise.resolve() : %(sources)s.reduce(
    (before, source) => before.catch(() => load(source)), Promise.reject());
  const names = (figure.frames || []).map(f => f.name), still = {duration: 0, redraw: true};
  const go = (to, frame) => Plotly.animate(box, to, {mode: "immediate", fromcurrent: true,
    transition: {duration: 0}, frame: frame});
  const turn = by => { for (const key of Object.keys(box.layout))
    if (/^scene\\d*$/.test(key)) {
      const {x, y, z} = box._fullLayout[key].camera.eye, c = Math.cos(by), s = Math.sin(by);
      Plotly.relayout(box, {[key + ".camera.eye"]: {x: c * x - s * y, y: s * x + c * y, z: z}});
    } };
  let plays = false;
  const press = event => {
    const key = event.key, way = {ArrowLeft: -1, ArrowRight: 1}[key];
    const button = event.target.closest?.(".updatemenu-button"), last = names.length - 1;
    if (button && (key === " " || key === "Enter")) button.dispatchEvent(new MouseEvent("click"));
    else if (button || !(way || key === " " || (names.length && /^(Home|End)$/.test(key)))) return;
    else if (way && (event.shiftKey || !names.length)) turn(0.15 * way);
    else if (way) go([names[Math.min(last, Math.max(0, way + at()))]], still);
    else if (key !== " ") go([names[key === "End" ? last : 0]], still);
    else if (names.length) go((plays = !plays) ? null : [null], {...still, duration: 60});
    event.preventDefault();
  };
  const at = () => box.layout.sliders?.[0]?.active || 0;
  const reach = (part, said) => { part.setAttribute("tabindex", 0);
    for (const name in said) part.setAttribute(name, said[name]); };
  const dress = () => { for (const part of box.querySelectorAll(".updatemenu-button"))
      reach(part, {role: "button", "aria-label": part.textContent.trim()});
    for (const part of box.querySelectorAll(".slider-grip-rect"))
      reach(part, {role: "slider", "aria-label": "moment", "aria-valuemin": 0,
        "aria-valuemax": names.length - 1, "aria-valuenow": at(),
        "aria-valuetext": box.layout.sliders[0].steps[at()]?.label}); };
  // Plotly draws anew between a slider's press and its release on a slow machine, and then believes
  // for ever that it is being dragged: the slider stands while the film plays.
  let held = false;
  const release = () => { if (!held) for (const s of box._fullLayout.sliders || [])
    s._dragging = false; };
  window.plotlyIsThere.then(() => { box.textContent = "";
    return Plotly.newPlot(box, figure.data, figure.layout, %(config)s); }).then(() => {
    box.addEventListener("keydown", press); dress();
    box.on("plotly_afterplot", dress); box.on("plotly_sliderchange", dress);
    box.on("plotly_sliderstart", () => { held = true; });
    box.on("plotly_sliderend", () => { held = false; }); box.on("plotly_afterplot", release);
    return names.length ? Plotly.addFrames(box, figure.frames) : null; });
})(document.currentScript)"""


# ---- HTML ----------------------------------------------------------------------------------------
def figure_html(
    figure: go.Figure | dict,
    name: str = "",
    height: str = "450px",
    sources: Sequence[str] = (),
    **config: Any,
) -> str:
    """A Plotly figure as a part of any page; while its script is not there, its words stand there.

    Args:
        figure: of Plotly, also as the dictionary that it becomes.
        name: of the element.
        height: of the figure where it has none itself.
        sources: addresses of Plotly's script (default: beside the page, then Plotly's server).
        **config: of Plotly, where it is not `CONFIG`.

    Returns:
        HTML.
    """
    made = figure if isinstance(figure, dict) else json.loads(pio.to_json(figure))
    made = {key: made[key] for key in ("data", "layout", "frames") if made.get(key) is not None}
    words, layout = in_words(made), made.get("layout", {})
    scene = any(trace.get("type") in SPACE for trace in made.get("data", ()))
    keys = KEYS.format(FILM_KEYS) if made.get("frames") else KEYS.format(TURN_KEYS) if scene else ""
    server = f"https://cdn.plot.ly/plotly-{get_plotlyjs_version()}.min.js"
    places = list(sources or ["plotly.min.js", server])
    parts = dict(figure=made, sources=places, config=CONFIG | config)
    texts = {
        key: json.dumps(part, separators=(",", ":")).replace("<", "\\u003c")
        for key, part in parts.items()
    }
    tall = f"{layout['height']}px" if layout.get("height") else height
    label, place = escape(words + keys), f' id="{escape(name)}"' if name else ""
    role = "application" if keys else "img"
    head = f'<div class="described" role="{role}" tabindex="0"{place} aria-label="{label}"'
    box = f'{head} style="width:100%;height:{tall}">{escape(words)}</div>'
    return f"<div>{KEYBOARD_STYLE}{box}<script>{SCRIPT % texts}</script></div>"


def alone_html(figure: go.Figure, height: str = "450px", **config: Any) -> str:
    """A Plotly figure together with Plotly's script, for a page that has nothing beside it.

    Args:
        figure: of Plotly.
        height: of the figure where it has none itself.
        **config: of Plotly, where it is not `CONFIG`.

    Returns:
        HTML.
    """
    part = figure_html(figure, height=height, sources=["plotly.min.js"], **config)
    return f"<script>{get_plotlyjs()}</script>{part}"


def image_html(png: str, words: str) -> str:
    """A picture as a part of any page.

    Args:
        png: in base64.
        words: its text alternative.

    Returns:
        HTML.
    """
    return (
        f'<img class="described" alt="{escape(words)}" src="data:image/png;base64,{png.strip()}">'
    )


# ---- notebooks -----------------------------------------------------------------------------------
class DescribedRenderer(PlotlyRenderer):
    """How Plotly's figures are shown: for its own extension, as HTML, and in words."""

    def to_mimebundle(self, fig_dict: dict) -> dict[str, Any]:
        """All three.

        Args:
            fig_dict: the figure.

        Returns:
            What a notebook stores.
        """
        bundle = super().to_mimebundle(fig_dict)
        made = bundle[_MIME]
        return bundle | {"text/html": figure_html(made), "text/plain": in_words(made) or "Figure"}


def _bundle(draw: Callable) -> Callable:
    """How a matplotlib figure is shown, from what draws it as a PNG."""

    def bundle(figure: Figure, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        drawn, words = draw(figure), in_words(figure)
        png, size = drawn if isinstance(drawn, tuple) else (drawn, {})
        text = png if isinstance(png, str) else base64.b64encode(png).decode()
        data = {
            "image/png": text,
            "text/html": image_html(text, words),
            "text/plain": words or repr(figure),
        }
        return data, {"image/png": {**size, "alt": words}}

    return bundle


def accessible() -> bool:
    """Show this notebook's figures with their words, and in colours for light and dark pages.

    Outside of a notebook nothing happens.

    Returns:
        Whether this is a notebook.
    """
    from IPython import get_ipython

    shell = get_ipython()
    if not hasattr(shell, "kernel"):
        return False
    pio.renderers["described"] = DescribedRenderer(dict(showSendToCloud=False))
    pio.renderers.default = "described"
    shell.run_line_magic("matplotlib", "inline")
    formatter = shell.display_formatter
    if draw := formatter.formatters["image/png"].pop(Figure, None):
        formatter.mimebundle_formatter.for_type(Figure, _bundle(draw))
    matplotlib.rcParams.update(STYLE)
    return True
