"""The calls that events hold, a method's name and its arguments: `pytest-mme replay` makes them again."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pytest_mme.timeline.events import Event
from pytest_mme.timeline.wording import name_of


def plain_call(method: str, arguments: Sequence[Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """A call as JSON can hold it, for the `call` of an event's detail; models become their names."""
    return {"method": method, "arguments": _plain(arguments), "options": _plain(options)}


def call_text(call: Mapping[str, Any]) -> str:
    """A call as Python writes it: ``check_resident('a', soft=True)``."""
    options = [f"{name}={value!r}" for name, value in call["options"].items()]
    return f"{call['method']}({', '.join([*map(repr, call['arguments']), *options])})"


def details_text(event: Event, *, hidden: Collection[str] = ()) -> str:
    """The details of an event for a line of a report; a check by its call, a fault without it, as its details say it."""
    call = [call_text(event.detail["call"])] if event.kind == "mark" and "call" in event.detail else []
    details = (f"{name}={value}" for name, value in event.detail.items() if name not in ("call", *hidden))
    return " ".join([*call, *details])


def _plain(value: Any) -> Any:
    if hasattr(value, "name") and isinstance(value.name, str):
        return name_of(value)
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return list(map(_plain, value))
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return repr(value)
    return value
