"""Tables and figures as text: terminal, Markdown and CSV, LaTeX, HTML."""

__all__ = [
    "html",
    "latex",
    "terminal",
    "text",
]
