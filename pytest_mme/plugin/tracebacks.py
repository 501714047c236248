"""The traceback of a failing test, cut so that its reason comes first: the frames of the test, and none of libraries."""

from __future__ import annotations

import dataclasses
import itertools
import re
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_mme.plugin.options import SETTINGS

_KIT = Path(__file__).parent.parent
_LIBRARIES = ("aiohttp", "boto3", "botocore", "docker", "moto", "requests", "s3transfer", "urllib3")
"""Those that the kit calls, or that tests call to reach it; an error says what they have seen."""
_STANDARD = Path(sysconfig.get_paths()["stdlib"])
_INSTALLED = ("site-packages", "dist-packages")
_FRAMES, _SOURCE, _STATEMENT, _CAUSE = 4, 6, 3, 2
_HEAD, _TAIL = 5, 7
"""How many lines are shown of a long message: of its beginning, and of its end."""
_VERY_VERBOSE = 2
_OTHER_STYLES = ("line", "native", "no")
_LONGEST = 300
_BODY = re.compile(r"\n  body: \{\"error\": ?\"(.*)\"\}$", re.MULTILINE)
_CALL = re.compile(r"An error occurred \(\w+\) when calling the \w+ operation(?: \(reached max retries: \d+\))?: ")
"""How boto3 introduces the message of a service."""
_MODULE = re.compile(r"^(?:[a-z_]\w*\.)+(?=[A-Z]\w*(?::|$))")
_POINTER = re.compile(r"\s*See https://\S+ in account \d+ for more information\.")
"""The address of a log that AWS's runtime would have, and the kit's has not."""


def uses_the_kit(item: pytest.Item) -> bool:
    """Whether a test uses a fixture of the kit."""
    return any(name.startswith("mme_") for name in getattr(item, "fixturenames", ()))


def cut(item: pytest.Item, report: pytest.TestReport, told: Callable[[str], str]) -> None:
    """Let the report of a failed test begin with the reason, followed by the test's own frames.

    *told*: makes a line of a message readable. Nothing is cut where somebody asks for everything, with ``--full-trace`` or ``--mme-evidence=full``, or where pytest
    shows something else than frames.
    """
    chain = getattr(report.longrepr, "chain", None)
    everything = item.config.getoption("fulltrace") or item.config.stash[SETTINGS].evidence.value == "full"
    if not chain or everything or item.config.getoption("tbstyle") in _OTHER_STYLES:
        return
    last = chain[-1][0]
    if not (last.reprentries and all(hasattr(entry, "reprfileloc") for entry in last.reprentries)):
        return
    shorten = item.config.get_verbosity() < _VERY_VERBOSE
    last_entry = last.reprentries[-1]
    frames = _own(last.reprentries)
    reason = [told(_POINTER.sub("", line)) for line in _message(last_entry)]
    if not reason:  # a message without a traceback, as of `pytest.fail(…, pytrace=False)`
        return
    entries = [_entry(last_entry, _shortened(reason) if shorten else reason), *_shown(frames)]
    for traceback, _, _ in reversed(chain[:-1]):
        if own := _own(traceback.reprentries):
            cause = _message(traceback.reprentries[-1])[:_CAUSE]
            entries += [_entry(own[-1], ["E   because of:", *cause]), *_shown(own, least=True)]
    last.reprentries = entries
    crash = _crash(chain[-1][1], frames)
    report.longrepr.chain, report.longrepr.reprcrash = [(last, crash, None)], crash  # type: ignore[union-attr]


def in_one_line(message: str) -> str:
    """Return what a failure is, without the module of its error, the advice, and the address of a log that is not there."""
    found = _POINTER.sub("", _MODULE.sub("", message.strip())).partition("\n  next:")[0]
    found = _CALL.sub("", _BODY.sub(r": \1", found))
    found = " ".join(found.split())
    return found if len(found) <= _LONGEST else f"{found[:_LONGEST]}…"


def _crash(crash: Any, frames: Sequence[Any]) -> Any:
    """The one line of a failure: at the test's own line, and its message without the module of the error."""
    if crash is None:
        return None
    at = frames[-1].reprfileloc if frames else crash
    return dataclasses.replace(crash, path=at.path, lineno=at.lineno, message=in_one_line(crash.message))


def _own(entries: Sequence[Any]) -> list[Any]:
    """The frames that are neither the kit's nor those of a library under it; the last ones, where there are many."""
    return list(_not_hidden(entries))[-_FRAMES:]


def _not_hidden(entries: Sequence[Any]) -> Iterator[Any]:
    located = [entry for entry in entries if getattr(entry, "reprfileloc", None)]
    files = [Path(*_normal(Path(entry.reprfileloc.path).absolute().parts)) for entry in located]
    hidden = list(map(_is_hidden, files))
    for order in (range(len(files)), reversed(range(len(files)))):  # Python's own modules go with what they call
        before = False
        for number in order:
            hidden[number] = before = hidden[number] or (before and _is_standard(files[number]))
    return itertools.compress(located, (not one for one in hidden))


def _is_hidden(file: Path) -> bool:
    return file.is_relative_to(_KIT) or _package_of(file) in _LIBRARIES


def _is_standard(file: Path) -> bool:
    """Whether it is one of Python's own modules, or code that such a module has made."""
    return file.name.startswith("<") or (file.is_relative_to(_STANDARD) and _package_of(file) is None)


def _package_of(file: Path) -> str | None:
    """The package that an installed module belongs to; None for a module that is not installed."""
    return next((after for part, after in zip(file.parts, file.parts[1:], strict=False) if part in _INSTALLED), None)


def _normal(parts: Sequence[str]) -> list[str]:
    """A path's parts without ``..``: pytest shows paths relative to the current folder."""
    found = list[str]()
    for part in parts:
        if part == "..":
            found.pop()
        else:
            found.append(part)
    return found


def _message(entry: Any) -> list[str]:
    lines = [line[1:] for line in entry.lines if line.startswith("E")]
    margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return [f"E   {line[margin:]}".rstrip() for line in lines]


def _shortened(lines: Sequence[str]) -> list[str]:
    left_out = len(lines) - _HEAD - _TAIL
    if left_out <= 1:
        return list(lines)
    return [*lines[:_HEAD], f"E   … {left_out} lines, shown with -vv", *lines[-_TAIL:]]


def _entry(like: Any, lines: Sequence[str], **fields: Any) -> Any:
    """An entry of lines alone, without a location."""
    plain = {"reprfuncargs": None, "reprlocals": None, "reprfileloc": None, "style": "short"}
    return dataclasses.replace(like, lines=list(lines), **{**plain, **fields})


def _shown(frames: Sequence[Any], *, least: bool = False) -> list[Any]:
    """One frame with the lines before it, several or the *least* of it with their statements alone."""
    if len(frames) == 1 and not least and frames[0].style == "long":
        (frame,) = frames
        source = [line for line in frame.lines if not line.startswith("E")]
        before = [number for number, line in enumerate(source) if line.startswith(">")]
        end = (before[0] if before else len(source) - 1) + _STATEMENT
        source = source[max(0, end - _STATEMENT - _SOURCE + 1) : end]
        return [dataclasses.replace(frame, lines=source, reprfuncargs=None)]
    return [
        _entry(frame, _statement(frame), reprfileloc=frame.reprfileloc, reprlocals=frame.reprlocals) for frame in frames
    ]


def _statement(frame: Any) -> list[str]:
    """The statement at which a frame was left."""
    source = [line for line in frame.lines if not line.startswith("E")]
    marked = next((number for number, line in enumerate(source) if line.startswith(">")), 0)
    lines = [line[1:] if line.startswith(">") else line for line in source[marked:]]
    lines = [line for line in lines if set(line.strip()) - {"^"}][:_STATEMENT]
    margin = min((len(line) - len(line.lstrip()) for line in lines), default=0)
    return [f"    {line[margin:]}" for line in lines]
