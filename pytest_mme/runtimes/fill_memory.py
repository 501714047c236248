"""Uses the memory that a limit leaves, until the kernel has killed one process for it; run where that process lives.

`python3 fill_memory.py PID MOST_MIB [PROCS]`. It imports the standard library only: a container has nothing else.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from pathlib import Path

_STEP_BYTES = 2**20
_FIRST, _SECOND, _THIRD = 1000, 900, 500
"""Values of `oom_score_adj`, in thousandths of the limit: which process the kernel kills first, second and third.

A killed process frees its memory only some time later: until then the process that uses it up is the next to be
killed. Models' processes that already have a high value must come third. Source: Linux, proc_pid_oom_score_adj(5).
"""
_SIGKILL = 1 << 8
"""SIGKILL's bit in the sets of pending signals. Source: Linux, proc_pid_status(5)."""
_ENDING = 0x4 | 0x400
"""`PF_EXITING` and `PF_SIGNALED`, among the flags in `stat`. Source: Linux, include/linux/sched.h."""


def main(pid: str, most_mib: str, procs: str = "") -> None:
    """Prefer *pid*, enter the cgroup whose `cgroup.procs` is *procs*, and take memory while *pid* lives."""
    victim = Path("/proc", pid)
    # The processes that share the limit; in a container all that are visible.
    pids = Path(procs).read_text().split() if procs else [one.name for one in Path("/proc").glob("[0-9]*")]
    others = [process for process in (Path("/proc", other) for other in pids) if process != victim]
    if procs:
        Path(procs).write_text(str(os.getpid()))
    chosen = {process: score for process in others if (score := _score(process)) > _THIRD}
    _choose({victim: _FIRST, **dict.fromkeys(chosen, _THIRD)})
    if child := os.fork():  # which may be killed, too
        _, status = os.waitpid(child, 0)
        _choose(chosen)
        sys.exit(os.WIFEXITED(status) and os.WEXITSTATUS(status))
    _choose({Path("/proc/self"): _SECOND})
    # This memory is charged to the cgroup, but not to this process when the kernel chooses one to kill.
    held = os.memfd_create("exhaust")
    for _ in range(int(most_mib)):
        if not lives(victim):
            return
        os.write(held, bytes(_STEP_BYTES))
    sys.exit(f"{most_mib} MiB more were used, and nothing was killed")


def _score(process: Path) -> int:
    try:
        return int((process / "oom_score_adj").read_text())
    except OSError:  # it has ended
        return 0


def _choose(scores: dict[Path, int]) -> None:
    for process, score in scores.items():
        with contextlib.suppress(OSError):  # it has ended
            (process / "oom_score_adj").write_text(str(score))


def lives(process: Path) -> bool:
    """Whether a process is neither gone nor about to end: a killed one keeps its memory until it is scheduled again."""
    try:
        status, stat = ((process / name).read_text() for name in ("status", "stat"))
    except OSError:
        return False
    pending = (int(signals, 16) for signals in re.findall(r"^S\w+Pnd:\s*(\w+)", status, re.MULTILINE))
    flags = int(stat.rpartition(")")[2].split()[6])
    return "VmRSS:" in status and not flags & _ENDING and not any(signals & _SIGKILL for signals in pending)


if __name__ == "__main__":
    main(*sys.argv[1:])
