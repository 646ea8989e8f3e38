"""The templates of pages and charts; what comes into HTML and SVG is escaped."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, select_autoescape

from training.wording import escape_markdown

ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=select_autoescape(("html", "svg")),
    trim_blocks=True,
    lstrip_blocks=True,
)
ENVIRONMENT.filters["text"] = escape_markdown  # for Markdown
