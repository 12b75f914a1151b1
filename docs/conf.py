"""Sphinx settings: MyST Markdown, the command reference from the code."""

from nasbench_snas import __version__

project = "nasbench_snas"
author = "The nasbench_snas authors"
copyright = "2026, the nasbench_snas authors"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "figures/**/*.md"]
myst_enable_extensions = ["dollarmath", "fieldlist"]
myst_heading_anchors = 3
html_theme = "alabaster"
html_theme_options = {"description": "Estimator comparison for differentiable NAS"}
autodoc_typehints = "none"
suppress_warnings = ["myst.xref_missing", "ref.python"]
