"""Figures for papers: method overview, qualitative rows, training curves and errors per joint.

At journal column widths, in Matplotlib, as SVG and PDF whose text stays text.
`python -m bkind3d_lite figures --checkpoint ... --clip ... --out DIR`.
"""

from .method import overview
from .numbers import curves, joint_error_figure, joint_intervals
from .qualitative_rows import qualitative
from .style import DOUBLE, PAPER_STYLE, SINGLE, save_figure
from .writer import make_figures

__all__ = [
    "DOUBLE",
    "PAPER_STYLE",
    "SINGLE",
    "curves",
    "joint_error_figure",
    "joint_intervals",
    "make_figures",
    "overview",
    "qualitative",
    "save_figure",
]
