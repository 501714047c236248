"""What a page of the documentation consists of: code blocks, commands, prose and tables."""

from __future__ import annotations

import dataclasses
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from tools.make_docs import REGION, ROOT, pages
from tools.pages import FENCE

PAGES = pages()
MEASURED = re.compile(r"<!-- measured: (?P<test>\S+) -->\n.*?<!-- end -->", re.DOTALL)
"""A table that a test compares with what it measures itself."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    """Where its text begins."""
    language: str
    text: str
    before: str
    """The line of prose before it."""

    @property
    def is_test(self) -> bool:
        """Whether pytest collects something in it."""
        return "def test_" in self.text

    @property
    def file_name(self) -> str:
        """Names the file that the block is copied to."""
        return f"test_line_{self.line}.py" if self.is_test else f"line_{self.line}.py"


def name_of(page: Path) -> str:
    """The page's path in the repository."""
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[Block]:
    """The fenced blocks in one language."""
    text = page.read_text()
    return [
        Block(
            page=page,
            line=text.count("\n", 0, found.start("text")) + 1,
            language=language,
            text=found["text"],
            before=text[: found.start()].rstrip().rpartition("\n")[2],
        )
        for found in FENCE.finditer(text)
        if found["language"] == language
    ]


def commands(page: Path) -> Iterator[str]:
    """Each command of the console blocks, continued lines joined and comments removed."""
    for block in blocks(page, "console"):
        for command in re.findall(r"^\$ ((?:.*\\\n)*.*)$", block.text, re.MULTILINE):
            yield re.sub(r"\s+#\s.*$", "", command.replace("\\\n", " ")).strip()


def count_tests(text: str) -> int:
    """How many tests a file defines."""
    return len(re.findall(r"^def test_", textwrap.dedent(text), re.MULTILINE))


def without_tables(text: str) -> str:
    """A page without its generated, recorded and measured tables, which have tests of their own."""
    return MEASURED.sub("", REGION.sub("", text))
