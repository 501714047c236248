"""An OpenAPI description turned into requests, and into a judge of the answers."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.stress.wire import Answer, request

Strategy = st.SearchStrategy[Any]
Known = Mapping[str, Iterable[Any]]
"""Values that mean something to the server, by the names of parameters and of bodies' members."""

JSON = "application/json"
_ODD = st.sampled_from(["", " ", ".", "..", "/", "%", "\0", "\r\n", "{x}", "*", ":", "a:b", "a/b", "?", "#", "\udcff"])
_TYPES = st.sampled_from([JSON, "text/plain", "text/csv", "*/*", "application/json; charset=utf-16", ";", ",", ""])
_HEADER_BYTES = st.binary(max_size=40).map(lambda value: bytes(byte for byte in value if byte >= 32 and byte != 127))


@dataclasses.dataclass(frozen=True)
class Operation:
    """One call that is described."""

    method: str
    path: str
    about: Mapping[str, Any]
    document: Mapping[str, Any] = dataclasses.field(repr=False)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def parameters(self) -> Iterator[Mapping[str, Any]]:
        """Those of the path and those of the call."""
        for parameter in (*self.document["paths"][self.path].get("parameters", ()), *self.about.get("parameters", ())):
            yield resolved(self.document, parameter)

    def requests(self, known: Known) -> Strategy:
        """Whole requests: some as described, some almost so, some of anything."""
        return st.builds(
            self._request,
            self._parameters("path", known),
            self._queries(known),
            self._headers(known),
            self._bodies(known),
        )

    def _request(
        self, path: Mapping[str, str], query: Mapping[str, str], headers: Mapping[str, bytes], body: bytes
    ) -> bytes:
        quoted = {name: quote(value, safe="", errors="surrogateescape") for name, value in path.items()}
        address = self.path.format(**quoted)
        asked = f"?{urlencode(query, errors='surrogateescape')}" if query else ""
        lines = [name.encode() + b": " + value for name, value in headers.items()]
        return request(self.method, address + asked, *lines, b"Connection: close", body=body)

    def _parameters(self, where: str, known: Known) -> Strategy:
        asked = [parameter for parameter in self.parameters if parameter["in"] == where]
        return st.fixed_dictionaries(
            {one["name"]: self._parameter(one, known) for one in asked if one["required"]},
            optional={one["name"]: self._parameter(one, known) for one in asked if not one["required"]},
        )

    def _parameter(self, parameter: Mapping[str, Any], known: Known) -> Strategy:
        described = values(self.document, parameter["schema"], known)
        meant = st.sampled_from([*known.get(parameter["name"], ()), *filter(None, [parameter.get("example")])] or [""])
        return st.one_of(meant, described, st.one_of(_ODD, st.text(max_size=20)).map(str))

    def _queries(self, known: Known) -> Strategy:
        return st.one_of(self._parameters("query", known), st.dictionaries(st.text(max_size=5), _ODD, max_size=2))

    def _headers(self, known: Known) -> Strategy:
        described = self._parameters("header", known).map(
            lambda headers: {name: _one_line(value) for name, value in headers.items()}
        )
        types = st.fixed_dictionaries(
            {}, optional={"Content-Type": _TYPES.map(str.encode), "Accept": _TYPES.map(str.encode)}
        )
        odd = st.dictionaries(
            st.sampled_from(["Content-Type", "Accept", "Cookie", "If-None-Match", "Range", *self._header_names]),
            _HEADER_BYTES,
        )
        return st.tuples(described, types, st.one_of(st.just({}), odd)).map(
            lambda found: {**found[0], **found[1], **found[2]}
        )

    @property
    def _header_names(self) -> list[str]:
        return [parameter["name"] for parameter in self.parameters if parameter["in"] == "header"]

    def _bodies(self, known: Known) -> Strategy:
        content = self.about.get("requestBody", {}).get("content", {})
        described = [
            values(self.document, media["schema"], known).map(_dumped)
            for media in content.values()
            if "schema" in media
        ]
        meant = [st.sampled_from([*known["body"]])] if content else []
        fitting = st.one_of(*meant, *described, st.just(b""))
        return st.one_of(
            fitting,
            st.builds(_cut, fitting, st.binary(max_size=5), st.integers(0, 40)),
            st.binary(max_size=60),
            ANYTHING.map(_dumped),
        )

    def check(self, answer: Answer) -> None:
        """Fail unless the *answer* is one that is described: status, content type and body."""
        responses = self.about["responses"]
        described = responses.get(str(answer.status)) or responses.get(f"{answer.status // 100}XX")
        assert described is not None, f"{self} does not say that it may answer {answer}"
        content = resolved(self.document, described).get("content")
        if content is None:
            assert answer.body == b"", f"{self} does not say that it has a body: {answer}"
            return
        kind = answer.headers["Content-Type"].partition(";")[0].strip().lower()
        media = content.get(kind, content.get("*/*"))
        assert media is not None, f"{self} does not say that it answers {kind}: {answer}"
        if schema := media.get("schema"):
            Draft202012Validator({**schema, "components": self.document["components"]}).validate(answer.json())


def operations(document: Mapping[str, Any]) -> list[Operation]:
    """All that *document* describes."""
    return [
        Operation(method.upper(), path, about, document)
        for path, item in document["paths"].items()
        for method, about in item.items()
        if method != "parameters"
    ]


def resolved(document: Mapping[str, Any], described: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a reference stands for."""
    if "$ref" in described:
        found: Any = document
        for part in described["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return resolved(document, found)
    return described


ANYTHING: Strategy = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def values(document: Mapping[str, Any], schema: Mapping[str, Any], known: Known) -> Strategy:
    """What fits *schema*, or almost; only what our description uses of JSON Schema."""
    schema = resolved(document, schema)
    if several := schema.get("anyOf"):
        return st.one_of(*(values(document, one, known) for one in several))
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema.get("type"):
        case "object":
            return _objects(document, schema, known)
        case "array":
            return st.lists(values(document, schema["items"], known), min_size=schema.get("minItems", 0), max_size=4)
        case "string" if "pattern" in schema:
            return st.from_regex(schema["pattern"], fullmatch=True)
        case "string":
            return st.text(max_size=30)
        case _:
            return ANYTHING


def _objects(document: Mapping[str, Any], schema: Mapping[str, Any], known: Known) -> Strategy:
    def member(name: str, of: Mapping[str, Any]) -> Strategy:
        meant = [st.sampled_from([*known[name]])] if name in known else []
        return st.one_of(*meant, values(document, of, known), ANYTHING)

    described = schema.get("properties", {})
    required = schema.get("required", ())
    fixed = st.fixed_dictionaries(
        {name: member(name, of) for name, of in described.items() if name in required},
        optional={name: member(name, of) for name, of in described.items() if name not in required},
    )
    more = values(document, schema.get("additionalProperties") or {}, known)
    return st.builds(lambda one, two: {**two, **one}, fixed, st.dictionaries(st.text(max_size=5), more, max_size=1))


def _dumped(value: Any) -> bytes:
    return json.dumps(value).encode()


def _cut(body: bytes, inserted: bytes, place: int) -> bytes:
    """A body with a few bytes of it lost and others in their place."""
    return body[:place] + inserted + body[place + 3 :]


def _one_line(value: str) -> bytes:
    return bytes(byte for byte in value.encode(errors="replace") if byte >= 32 and byte != 127)
