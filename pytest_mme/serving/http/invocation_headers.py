"""The headers of an invocation, by AWS's names."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_mme.contract import routes
from pytest_mme.serving.table.loaded_model import Invocation, RefusalError

PREDICT = "predict"
METHODS = (PREDICT, "classify", "regress")

_MAX_VERSION = (1 << 63) - 1  # TensorFlow Serving keeps versions as int64
_JSON = "application/json"
_PASSED_ON = ("Content-Type", "Accept", routes.CUSTOM_ATTRIBUTES, routes.TARGET_MODEL, routes.REQUEST_ID)
"""The headers that the user's code gets, or the events contain."""


def invocation(headers: Mapping[str, str], body: bytes, rest_url: str) -> Invocation:
    """The request that came with *headers*; raises `RefusalError` 400 for invalid headers.

    *rest_url*: the address of the model in TensorFlow Serving's REST API; no attribute can change the model.
    """
    _check_encoding(headers)
    attributes = headers.get(routes.CUSTOM_ATTRIBUTES)
    pairs = (part.strip().partition("=") for part in (attributes or "").split(","))
    named = {name: value for name, equals, value in pairs if equals}  # a client's own attributes, too
    method, version = named.get("tfs-method"), named.get("tfs-model-version")
    if method is not None and method not in METHODS:
        raise RefusalError(400, f"tfs-method is {method!r} in the custom attributes; choose {', '.join(METHODS)}")
    number, part = None, ""
    if version is not None:
        if not (version.isascii() and version.isdecimal() and int(version[:20]) <= _MAX_VERSION and len(version) < 20):
            raise RefusalError(
                400, f"tfs-model-version is {version[:100]!r} in the custom attributes; give a version's number"
            )
        number = int(version)
        part = f"/versions/{number}"
    return Invocation(
        body=body,
        method=method,
        version=number,
        content_type=headers.get("Content-Type") or _JSON,
        accept=headers.get("Accept") or _JSON,
        attributes=attributes,
        target=headers.get(routes.TARGET_MODEL),
        request_id=headers.get(routes.REQUEST_ID),
        rest_uri=f"{rest_url}{part}:{method or PREDICT}",
    )


def _check_encoding(headers: Mapping[str, str]) -> None:
    """Refuse bytes that are not UTF-8: they come as surrogates, which cannot be encoded again."""
    for name in _PASSED_ON:
        value = headers.get(name, "")
        if not value.isascii() and value != value.encode(errors="replace").decode():
            raise RefusalError(400, f"the header {name} is not UTF-8: {value.encode(errors='surrogateescape')!r:.200}")
