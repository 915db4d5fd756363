"""YAML as people mean it: scalars stay text, no key stands twice, every mistake has its line.

What a text means is told by the type of the setting, not by how it looks: `sensor: 007` stays
`007`, and `start_date: 2026-02-30` is a day that doesn't exist, not a crash of the parser.
"""

import codecs
from pathlib import Path
from typing import Any

import yaml

_KEPT = ("tag:yaml.org,2002:null", "tag:yaml.org,2002:merge")
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class _Loader(yaml.SafeLoader):
    """Of plain scalars only null is told from text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - a class attribute of the library
        first: [(tag, pattern) for tag, pattern in known if tag in _KEPT]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping, refused where a key stands twice."""
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                told = f"{key.value} stands here and in line {seen[key.value]}: put both together"
                raise yaml.constructor.ConstructorError(None, None, told, key.start_mark)
            if isinstance(key, yaml.ScalarNode):
                seen[key.value] = key.start_mark.line + 1
        return super().construct_mapping(node, deep)


def parse(text: str) -> Any:
    """What a YAML text says: mappings, lists, text and None.

    Raises:
        ValueError: it is no YAML, or says something twice; the message is one line.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark else ""
        raise ValueError(f"{where}{_problem(error)}") from None
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _problem(error: yaml.MarkedYAMLError) -> str:
    said = " ".join(f"{error.context or ''} {error.problem or ''}".split())
    if "\\t" in said:
        return "a tab stands where YAML wants spaces: indent with spaces"
    if "<stream end>" in said or "end of stream" in said:
        opened = f" of line {error.context_mark.line + 1}" if error.context_mark else ""
        return f"a bracket or quote{opened} isn't closed"
    return said


def read(path: Path) -> Any:
    """What a YAML file says; UTF-8, with or without a byte order mark, or UTF-16 with one.

    Raises:
        ValueError: it can't be read, is in another encoding or no YAML; the message is one line.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError((error.strerror or str(error)).lower()) from None
    try:
        text = data.decode("utf-16" if data.startswith(_UTF_16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(f"line {line}: it isn't UTF-8; save the file as UTF-8") from None
    return parse(text)
