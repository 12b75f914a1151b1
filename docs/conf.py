"""Sphinx settings: MyST Markdown, the command reference from the code, notebooks that are run."""

from pathlib import Path

from nasbench_snas import __version__

project = "nasbench_snas"
author = "The nasbench_snas authors"
copyright = "2026, the nasbench_snas authors"
version = release = __version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
nb_execution_mode = "force"
nb_execution_timeout = 300
nb_execution_raise_on_error = True
exclude_patterns = ["_build", "figures/**/*.md"]
myst_enable_extensions = ["dollarmath", "fieldlist"]
myst_heading_anchors = 3
html_theme = "alabaster"
html_theme_options = {"description": "Estimator comparison for differentiable NAS"}
autodoc_typehints = "none"
add_module_names = False
suppress_warnings = ["myst.xref_missing", "ref.python"]

# The notebooks lie in examples/; Sphinx reads what lies below this folder only.
_docs = Path(__file__).parent
(_docs / "notebooks").mkdir(exist_ok=True)
for _file in sorted((_docs.parent / "examples").glob("*.ipynb")):
    (_docs / "notebooks" / _file.name).write_bytes(_file.read_bytes())
