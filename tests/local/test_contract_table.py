"""The table of docs/embedded-server.md: the embedded server's reply to each call of the contract, measured."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from pytest_mme import Models, Server
from pytest_mme.archives.archive import extract
from pytest_mme.contract import routes
from pytest_mme.contract.client import Reply

PAGE = Path(__file__).parents[2] / "docs" / "embedded-server.md"
IDENTIFIER = "0123456789abcdef0123456789abcdef"
ASK = b'{"instances": [[1.0]]}'
HEAD = "| call | when | reply |\n| --- | --- | --- |\n"


def test_the_documented_table_has_the_servers_replies(
    mme_server: Callable[..., Server], mme_models: Models, tmp_path: Path
) -> None:
    server = mme_server(memory_mib=200)
    extract(mme_models.linear().archive, tmp_path / "linear")
    extract(mme_models.linear("heavy", weights_mib=500).archive, tmp_path / "heavy")
    (tmp_path / "garbage" / "1").mkdir(parents=True)
    (tmp_path / "garbage" / "1" / "saved_model.pb").write_bytes(b"garbage" * 100)
    rows = [f"| `{call}` | {when} | {shown(reply)} |\n" for call, when, reply in calls(server, tmp_path)]
    table = HEAD + "".join(rows)
    assert table in PAGE.read_text(), f"put this into {PAGE.name}:\n\n{table}"


def calls(server: Server, folder: Path) -> Iterator[tuple[str, str, Reply]]:
    client = server.client
    ping, load, all_, one = "GET /ping", "POST /models", "GET /models", "GET /models/ID"
    unload, invoke = "DELETE /models/ID", "POST /models/ID/invoke"
    yield ping, "always", client.ping()
    yield all_, "nothing is loaded", client.list()
    yield load, "it can be loaded", client.load(IDENTIFIER, str(folder / "linear"))
    yield load, "it is loaded", client.load(IDENTIFIER, str(folder / "linear"))
    yield load, "it would not fit", client.load("f" * 32, str(folder / "heavy"))
    yield load, "TensorFlow refuses it", client.load("f" * 32, str(folder / "garbage"))
    yield load, "there is no such folder", client.load("f" * 32, "/nowhere")
    yield load, "the id is invalid", client.load("../etc", str(folder / "linear"))
    yield all_, "one model is loaded", client.list()
    yield all_, "the token is not that of a page", client.list("nonsense")
    yield one, "it is loaded", client.get(IDENTIFIER)
    yield one, "it is not loaded", client.get("f" * 32)
    yield invoke, "it is loaded", client.invoke(IDENTIFIER, ASK)
    yield invoke, "it is not loaded", client.invoke("f" * 32, ASK)
    yield invoke, "the body is not JSON", client.invoke(IDENTIFIER, b"no")
    yield invoke, "the model refuses it", client.invoke(IDENTIFIER, b'{"instances": [["text"]]}')
    yield (
        invoke,
        "there is no such version",
        client.invoke(IDENTIFIER, ASK, {routes.CUSTOM_ATTRIBUTES: "tfs-model-version=7"}),
    )
    yield invoke, "the body has 6 291 457 bytes", client.invoke(IDENTIFIER, b" " * (routes.MAX_BODY_BYTES + 1))
    yield unload, "it is loaded", client.unload(IDENTIFIER)
    yield unload, "it is not loaded", client.unload(IDENTIFIER)


def shown(reply: Reply) -> str:
    """Status and body, without what depends on the machine."""
    text = reply.text.replace(IDENTIFIER, "ID").replace("f" * 32, "ID")
    for seen, stands_for in (
        (r"/[^\s\"]*/(linear|heavy|garbage)", "FOLDER"),
        (r"\b\d+ MiB", "N MiB"),
        (r"#[0-9a-f]{8}", "#DIGEST"),
        (r'"y":\[[-\d.]+\]', '"y":[Y]'),
    ):
        text = re.sub(seen, stands_for, text)
    return f"{reply.status} `{text}`" if text else f"{reply.status}, empty"
