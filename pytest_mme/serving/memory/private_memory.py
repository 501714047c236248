"""A process's private memory, which a memory cgroup would be charged for it."""

from __future__ import annotations

import re
from pathlib import Path


def private_bytes(pid: int) -> int:
    """Memory that a process has written and shares with no other; 0 when it is gone.

    `Private_Dirty` is what a cgroup is charged for a worker, to within 1 % (docs/facts.md). PSS also counts a share of
    the zygote's pages, which shrinks with each further worker, and USS counts TensorFlow's library while no other
    process has it mapped. psutil gives only those two.
    """
    try:
        table = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    found = re.search(r"^Private_Dirty:\s+(\d+) kB$", table, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
