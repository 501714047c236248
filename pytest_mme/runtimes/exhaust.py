"""Uses up what a memory limit leaves, until the kernel has killed one process for it; run where that process lives.

`python3 exhaust.py PID MOST_MIB [PROCS]`. It imports nothing but the standard library: a container has no more of ours.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_STEP_BYTES = 2**20
_FIRST = "1000"
"""Of `oom_score_adj`: the kernel takes this process before all others. Source: Linux, proc_pid_oom_score_adj(5)."""


def main(pid: str, most_mib: str, procs: str = "") -> None:
    """Prefer *pid*, enter the cgroup whose `cgroup.procs` is *procs*, and take memory while *pid* lives."""
    if procs:
        Path(procs).write_text(str(os.getpid()))
    process = Path("/proc", pid)
    (process / "oom_score_adj").write_text(_FIRST)
    held: list[bytes] = []
    while _lives(process):
        if len(held) >= int(most_mib):
            sys.exit(f"{most_mib} MiB more were used, and nothing was killed")
        held.append(b"\1" * _STEP_BYTES)


def _lives(process: Path) -> bool:
    try:
        state = (process / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


if __name__ == "__main__":
    main(*sys.argv[1:])
