"""What the server answers, as an OpenAPI description: it serves this itself, at `routes.OPENAPI`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_mme.contract import routes
from pytest_mme.serving.http.invocation_headers import METHODS
from pytest_mme.serving.http.schemas import IDENTIFIER, PAGE_TOKEN, SCHEMAS, VERSION, Schema, matching, reference
from pytest_mme.serving.rest.statuses import STATUS

JSON, ANY = "application/json", "*/*"

_INTRODUCTION = f"""\
The container contract of SageMaker's multi-model endpoints, as pytest-mme's embedded server speaks it.

What SageMaker's platform does with it: it asks `/ping` and `/models` every few seconds; for a request to a model that
is not loaded it fetches the archive and posts to `/models`; where that answers 507 it deletes models that are idle and
tries again; then it passes the request on to `/models/ID/invoke`.

Every refusal has a body `{{"error": "…"}}`, also 404 for a path and 405 for a method that is not described here, and 413
for a body of more than {routes.MAX_BODY_BYTES} bytes. Only what is no HTTP is answered with 400 as plain text, and an
expectation that cannot be met with 417."""

_NO_MODEL = "No such model is loaded; says how it ended if it died."
_NO_SUCH = "No such model, or no such version of it."
_TOO_LARGE = f"The body has more than {routes.MAX_BODY_BYTES} bytes."
_ENDING = "The server is ending and takes no new work."
_BROKEN = "The body does not arrive as its headers say."

_ATTRIBUTES = f"""What the client said in `CustomAttributes`: `name=value`, separated by commas. The server reads
`tfs-model-version` and `tfs-method` ({", ".join(METHODS)}); handlers get all of it."""


def description() -> Mapping[str, Any]:
    """The OpenAPI 3.1 document."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "pytest-mme's embedded multi-model server", "version": "1", "description": _INTRODUCTION},
        "tags": [
            {"name": "contract", "description": "What SageMaker's platform calls."},
            {
                "name": "TensorFlow Serving",
                "description": "What an inference.py calls: the model past the user's code.",
            },
            {"name": "pytest-mme", "description": "The kit's own calls, which no other container has."},
        ],
        "paths": {**_contract(), **_rest(), **_own()},
        "components": {"schemas": SCHEMAS, "parameters": _PARAMETERS},
    }


def _parameter(name: str, where: str, schema: Schema, text: str, **more: Any) -> Schema:
    return {"name": name, "in": where, "required": where == "path", "schema": schema, "description": text, **more}


_TEXT = {"type": "string"}
_PARAMETERS: Schema = {
    "identifier": _parameter("identifier", "path", matching(IDENTIFIER), "The id that the model was loaded under."),
    "version": _parameter("version", "path", matching(VERSION), "The number of a version's folder."),
    "method": _parameter("method", "path", {"enum": [*METHODS]}, "What kind of body it is: predict takes tensors."),
    "page": _parameter(
        "next_page_token", "query", matching(PAGE_TOKEN), "The token of the page before; without it, the first page."
    ),
    "attributes": _parameter(
        routes.CUSTOM_ATTRIBUTES, "header", _TEXT, _ATTRIBUTES, example="tfs-model-version=2,tfs-method=predict"
    ),
    "target": _parameter(
        routes.TARGET_MODEL,
        "header",
        _TEXT,
        "The archive's key below the endpoint's prefix, for logs and handlers: the id decides.",
        example="team/model.tar.gz",
    ),
    "request": _parameter(
        routes.REQUEST_ID,
        "header",
        _TEXT,
        "Joins the client's and the server's view of a request; not in AWS's contract.",
    ),
}


def _contract() -> Schema:
    identifier = "{identifier}"
    return {
        routes.PING: {
            "get": _call(
                "ping",
                "Say that the server lives",
                "Any other answer, or none within 2 s, and the platform replaces the instance with all its models.",
                {200: _empty("It lives.")},
            )
        },
        routes.MODELS: {"post": _LOAD, "get": _LIST},
        routes.model(identifier): {"parameters": _parameters("identifier"), "get": _GET, "delete": _UNLOAD},
        routes.invoke(identifier): {"parameters": _parameters("identifier"), "post": _INVOKE},
    }


def _rest() -> Schema:
    paths = {}
    for suffix, version in (("", None), ("_of_version", "{version}")):
        path = routes.rest("{identifier}", version)
        parameters = _parameters("identifier", *(["version"] if version else []))
        paths[f"{path}:{{method}}"] = {"parameters": [*parameters, *_parameters("method")], "post": _ask(suffix)}
        paths[path] = {"parameters": parameters, "get": _tell("status", suffix, "Status", "Say which versions serve")}
        metadata = _tell("metadata", suffix, "Metadata", "Say what signatures the model has")
        paths[f"{path}/metadata"] = {"parameters": parameters, "get": metadata}
    return paths


def _own() -> Schema:
    return {
        routes.MEMORY: {
            "get": _call(
                "memory",
                "Say what the models use",
                "As the limit counts it: all processes of all models together.",
                {200: _json("The sizes.", "Memory")},
                tag="pytest-mme",
            )
        },
        routes.MARK: {
            "post": _call(
                "mark",
                "Write a mark among the events",
                "Who reads the server's events and comes to the mark has read all that happened before.",
                {200: _empty("It is written."), 400: f"{_BROKEN} Or it is no text.", 413: _TOO_LARGE},
                tag="pytest-mme",
                requestBody={"content": {"text/plain": {"schema": {"type": "string"}}}},
            )
        },
        routes.OPENAPI: {
            "get": _call(
                "openapi",
                "Describe all calls",
                "This document.",
                {200: {"description": "OpenAPI 3.1.", "content": {JSON: {"schema": {"type": "object"}}}}},
                tag="pytest-mme",
            )
        },
    }


def _call(
    name: str, summary: str, text: str, answers: Mapping[int | str, str | Schema], *, tag: str = "contract", **more: Any
) -> Schema:
    """An operation; an answer that is a text is a refusal for that reason."""
    responses = {
        str(status): _json(answer, "Error") if isinstance(answer, str) else answer for status, answer in answers.items()
    }
    return {"operationId": name, "tags": [tag], "summary": summary, "description": text, "responses": responses, **more}


def _json(text: str, schema: str, **more: Any) -> Schema:
    return {"description": text, "content": {JSON: {"schema": reference(schema)}}, **more}


def _anything(text: str, schema: str) -> Schema:
    """An answer that the user's code may have given."""
    other = {"description": "Whatever the user's code answers."}
    return {"description": text, "content": {JSON: {"schema": {"anyOf": [reference(schema), other]}}, ANY: {}}}


def _empty(text: str) -> Schema:
    return {"description": text}


def _body(*schemas: str, also_any: bool = False) -> Schema:
    schema = reference(schemas[0]) if len(schemas) == 1 else {"anyOf": [reference(name) for name in schemas]}
    return {"required": not also_any, "content": {JSON: {"schema": schema}, **({ANY: {}} if also_any else {})}}


def _parameters(*names: str) -> list[Schema]:
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]


def _links(*operations: str) -> Schema:
    return {
        name: {"operationId": name, "parameters": {"identifier": "$response.body#/modelName"}} for name in operations
    }


def _models_own(refusals: Mapping[int, str]) -> dict[int | str, str]:
    """The *refusals* and what a model itself may answer, by TensorFlow's names for it."""
    names: dict[int, list[str]] = {status: [] for status in refusals}
    for name, status in STATUS.items():
        names.setdefault(status, []).append(name)
    del names[STATUS["OK"]]
    told = {status: f"The model's own {' or '.join(of_it)}." for status, of_it in names.items() if of_it}
    return {status: " ".join(filter(None, (refusals.get(status), told.get(status)))) for status in sorted(names)}


_LOAD = _call(
    "load",
    "Load a model",
    "The folder holds the unpacked archive: a numbered folder for each version, each with a saved_model.pb. All "
    "versions are loaded; a code/inference.py answers in the model's stead. A load that is refused leaves nothing behind.",
    {
        200: _json("It is loaded and answers.", "Model", links=_links("get", "invoke", "unload", "status", "metadata")),
        400: f"The body is no such order. {_BROKEN}",
        404: "The folder is not there, or holds no model.",
        409: "A model of that id is there already, maybe loading still. It is left as it is.",
        413: _TOO_LARGE,
        500: "TensorFlow, or the user's code, does not take the model, or its process died, or the time is up.",
        503: _ENDING,
        507: "Not enough memory. The platform deletes other models and tries again.",
    },
    requestBody=_body("LoadOrder"),
)

_LIST = _call(
    "list",
    "List the loaded models",
    "By pages of 100. Models that are being loaded or unloaded are not listed.",
    {200: _json("A page.", "Page"), 400: "The token was never given out."},
    parameters=_parameters("page"),
)

_GET = _call(
    "get",
    "Describe a loaded model",
    "Its id and its folder, as they were given.",
    {200: _json("It is loaded.", "Model"), 404: _NO_MODEL},
)

_UNLOAD = _call(
    "unload",
    "Unload a model",
    "Requests in flight may finish; new ones are refused. When this answers, the model's processes have ended and its "
    "memory is free.",
    {200: _json("It is gone.", "Nothing"), 404: _NO_MODEL},
)

_INVOKE = _call(
    "invoke",
    "Ask a model",
    "Where the archive brings a code/inference.py, or the server has one for all, that code answers whatever it likes: "
    "it gets the body, the content type, what the client accepts and the headers below. Else the model answers "
    "TensorFlow Serving's JSON.",
    {
        200: _anything("The model's answer, or that of the user's code.", "Answer"),
        **{
            status: _anything(text, "Error")
            for status, text in _models_own(
                {
                    400: f"The body or the custom attributes make no sense. {_BROKEN}",
                    404: _NO_MODEL,
                    413: _TOO_LARGE,
                    500: "The user's code raised, or a process of the model died of the request.",
                    503: _ENDING,
                    507: "The user's code ran out of memory, or the model did on a GPU.",
                }
            ).items()
        },
        "4XX": _anything("The status that the user's code gave.", "Error"),
        "5XX": _anything("The status that the user's code gave.", "Error"),
    },
    parameters=_parameters("attributes", "target", "request"),
    requestBody=_body("Rows", "Columns", "Examples", also_any=True),
)


def _ask(suffix: str) -> Schema:
    return _call(
        f"ask{suffix}",
        "Ask the model itself, as TensorFlow Serving has it",
        "For an inference.py, whose context names this address. Whoever loads a model may ask here, too.",
        {
            200: _json("The model's answer.", "Answer"),
            **_models_own(
                {
                    400: f"The body or the method makes no sense. {_BROKEN}",
                    404: _NO_SUCH,
                    413: _TOO_LARGE,
                    500: "The model's process died of the request.",
                    507: "The model ran out of memory on a GPU.",
                }
            ),
        },
        tag="TensorFlow Serving",
        requestBody=_body("Rows", "Columns", "Examples"),
    )


def _tell(name: str, suffix: str, schema: str, summary: str) -> Schema:
    return _call(
        f"{name}{suffix}",
        summary,
        "As TensorFlow Serving prints it.",
        {
            200: _json("It is loaded.", schema),
            404: _NO_SUCH,
            405: "Behind a colon in the address stands a method, and those are asked with POST.",
            500: "The model's process died meanwhile.",
        },
        tag="TensorFlow Serving",
    )
