"""The code blocks of the documentation."""

from __future__ import annotations

import re
from pathlib import Path

FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)


def first_block(page: Path) -> str:
    """The first Python block of a page."""
    return next(found["text"] for found in FENCE.finditer(page.read_text()) if found["language"] == "python")
