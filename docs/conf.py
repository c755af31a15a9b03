"""Sphinx: ``sphinx-build -W -b html docs docs/_build/html`` in an environment with the extra ``docs``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

# What is documented from the code asks Django for settings when it is imported.
settings.configure()

import pindb  # noqa: E402

project = "pindb"
author = "The pindb contributors"
project_copyright = "the pindb contributors"
version = release = pindb.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "pindb"
pygments_dark_style = "github-dark"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["custom.css"]

# Copies what is typed, without prompts and without what is printed.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# Links to headings, such as settings.md#the-cookie.
myst_heading_anchors = 3

# In docstrings, single backticks are names.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_mock_imports = ["celery"]
napoleon_numpy_docstring = False
napoleon_use_ivar = True


def name_return_type(
    app: Sphinx, what: str, name: str, documented: Any, options: Any, lines: list[str]
) -> None:
    """Put the annotation before what a function returns: napoleon takes what stands before a colon for it."""
    if "Returns:" in lines:
        after = lines.index("Returns:") + 1
        returned = getattr(documented, "__annotations__", {}).get("return")
        if returned is not None:
            text = lines[after].lstrip()
            lines[after] = lines[after].removesuffix(text) + f"{returned}: {text}"


def setup(app: Sphinx) -> None:
    # Before napoleon, which has the usual priority of 500.
    app.connect("autodoc-process-docstring", name_return_type, priority=400)
