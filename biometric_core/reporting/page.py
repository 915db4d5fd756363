"""A card as one HTML file: pictures inside, for bright and dark screens."""

import base64
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, select_autoescape
from markdown_it import MarkdownIt
from markdown_it.token import Token


@cache
def templates() -> Environment:
    """The templates beside this file; HTML is escaped, Markdown isn't."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=select_autoescape(["html.jinja"]),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = _cell
    return environment


def _cell(text: str) -> str:
    """Text that stays within its cell of a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")


def page(markdown: str, title: str, folder: Path) -> str:
    """Render a card.

    Args:
        markdown: HTML in it is shown as text, never interpreted.
        title: of the page.
        folder: where the pictures lie that it names; they are put into the page.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(markdown)
    _embed(tokens, folder)
    body = parser.renderer.render(tokens, parser.options, {})
    return templates().get_template("page.html.jinja").render(title=title, body=body)


def _embed(tokens: Sequence[Token], folder: Path) -> None:
    for token in tokens:
        if token.type == "image":
            data = base64.b64encode((folder / str(token.attrs["src"])).read_bytes()).decode()
            token.attrs["src"] = f"data:image/png;base64,{data}"
        _embed(token.children or (), folder)
