"""TODO."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Table:
    """A table; every cell is text."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Picture:
    """A picture beside the card."""

    caption: str
    file: str


@dataclass(frozen=True)
class Section:
    """A heading with what stands under it; left out where it holds nothing."""

    title: str
    notes: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: list[Picture] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.notes or self.tables or self.pictures)
