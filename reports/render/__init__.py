"""Tables and figures as text: terminal, Markdown and CSV, LaTeX, HTML."""
