"""Draws the packages of `biometric_core` from its imports into `docs/architecture.md`.

`python -m docs.packages` (make architecture); a test holds the page to it.
"""

import ast
import re
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "docs" / "architecture.md"
BEGIN, END = "<!-- packages: drawn by `make architecture` -->\n", "<!-- end of packages -->\n"
_CORE = "biometric_core"


def layers() -> list[list[str]]:
    """The layers of the import contract, the lowest first."""
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    whole = next(one for one in contracts if one.get("containers") == [_CORE])
    return [[name.strip() for name in layer.split("|")] for layer in reversed(whole["layers"])]


def imports() -> dict[str, set[str]]:
    """Which packages (or single modules) each one imports."""
    found: dict[str, set[str]] = {name: set() for layer in layers() for name in layer}
    for path in (REPOSITORY / _CORE).rglob("*.py"):
        own = path.relative_to(REPOSITORY / _CORE).parts[0].removesuffix(".py")
        if own in found:
            found[own] |= (_imported(path) & found.keys()) - {own}
    return found


def _imported(path: Path) -> set[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == _CORE:
            names += [f"{_CORE}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return {name.split(".")[1] for name in names if name.startswith(f"{_CORE}.")}


def reduced(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """The graph without arrows that longer ways say as well; it has no circles."""

    def reached(name: str) -> set[str]:
        return {end for one in graph[name] for end in (one, *reached(one))}

    return {
        name: {one for one in ends if not any(one in reached(way) for way in ends - {one})}
        for name, ends in graph.items()
    }


def _said(name: str) -> str:
    """What a package or module says of itself, up to the first stop."""
    folder = REPOSITORY / _CORE / name
    path = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return re.split(r"[.:;,]\s|[.:]$", text, maxsplit=1)[0].replace("\n", " ")


def drawn() -> str:
    """The picture as Mermaid, the command line on top."""
    lines = ["```mermaid", "flowchart TB"]
    for number, layer in reversed(list(enumerate(layers()))):
        lines += [f"  subgraph L{number}[ ]", "    direction LR"]
        lines += [f'    {name}["<b>{name}</b><br/>{_said(name)}"]' for name in layer]
        lines += ["  end"]
    for name, ends in sorted(reduced(imports()).items()):
        lines += [f"  {name} --> {end}" for end in sorted(ends)]
    return "\n".join([*lines, "```", ""])


def with_picture(page: str) -> str:
    """The page with the picture of now between its marks."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + drawn() + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(with_picture(PAGE.read_text("utf-8")), "utf-8")
