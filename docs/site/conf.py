"""Sphinx's settings of `make site`; `tools/build_site.py` prepares the pages and calls it.

Nothing in the site may need a network: formulas become MathML here, Plotly's script is a file
of the site, and the theme brings its own styles. Notebooks are shown as they were executed.
"""

import re

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util import logging

project = "bkind3d_lite"
html_title = "bkind3d_lite"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
default_role = "py:obj"  # `name` in a docstring: a link where Sphinx knows it, else code

html_theme = "furo"
html_static_path = ["_static"]  # site.css and plotly.min.js
html_css_files = ["site.css"]
html_copy_source = html_show_sourcelink = html_show_sphinx = html_show_copyright = False
pygments_style, pygments_dark_style = "friendly", "github-dark"

html_math_renderer = "mathml"
myst_enable_extensions = ["dollarmath", "html_image"]
myst_dmath_double_inline = True
myst_heading_anchors = 4
nb_execution_mode = "off"
nb_output_stderr = "remove"
nb_ipywidgets_js = {}  # widgets were frozen into pictures; their scripts would come from afar

napoleon_numpy_docstring = False
suppress_warnings = ["ref.python"]  # a word in backticks may name several things
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
maximum_signature_line_length = 88


def mathml(self, node: nodes.Element) -> None:
    """Write a formula as MathML, which browsers draw by themselves."""
    block = isinstance(node, nodes.math_block)
    text = node.astext().strip()
    try:
        html = convert(text, display="block" if block else "inline")
    except Exception as error:  # the converter raises many kinds
        logging.getLogger(__name__).warning("no MathML of %s: %r", text, error, location=node)
        html = f"<code>{self.encode(text)}</code>"
    self.body.append(f'<div class="math">{html}</div>' if block else html)
    raise nodes.SkipNode


def plain(app, what: str, name: str, obj: object, options, lines: list[str]) -> None:
    """Read a docstring as it is meant: indented blocks are code, and bars are bars."""
    read, before, code = [], "", False
    for line in lines:
        indented = line.startswith("    ")
        if indented and not code and before and not read[-1] and not before.startswith(" "):
            code = True
            read += [] if before.endswith("::") else ["::", ""]
        code = code and (indented or not line)
        if not code:
            line = re.sub(r"(`[^`]+`)|\|", lambda m: m[1] or r"\|", line)
            line = re.sub(r"(`[^`]+`)(?=\w)", r"\1\\ ", line)  # `ValueError`s
            line = re.sub(r"^(\s*(?:\w+: )?)\((\w)\)", r"\1\\(\2)", line)  # a shape, no list
        before = line or before
        read.append(line)
    lines[:] = read


def foreign(app, what: str, name: str, obj: object, skip: bool, options) -> bool | None:
    """Leave out what a class has from another library."""
    return True if not (getattr(obj, "__module__", None) or project).startswith(project) else None


def setup(app: Sphinx) -> None:
    """Make `mathml` the way in which formulas are written, and read docstrings as above."""
    app.add_html_math_renderer("mathml", (mathml, None), (mathml, None))
    app.connect("autodoc-process-docstring", plain, priority=400)  # before napoleon
    app.connect("autodoc-skip-member", foreign)
