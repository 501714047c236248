"""Input that makes no sense, or means harm: one clear answer, soon, and nothing is left of it.

The same at three levels, where they apply: in Python, at the server, and through boto3 at the endpoint.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError, ParamValidationError

from pytest_mme import Aws, Endpoint, Model, Models, Run, Server
from pytest_mme.archives import archive
from pytest_mme.contract import routes
from pytest_mme.errors import ArchiveError, ContractError
from pytest_mme.runtimes.base import Running
from tests import hostile
from tests.unit.libtensorflow.graphs import Tensor, identity, shape_proto

SOON_S = 5.0
"""No time-out was waited for: the shortest is a request's, of 60 s, and what is done here takes a tenth of a second."""
ONE = b'{"instances": [[1.0]]}'

ARCHIVES = {
    **{name: (content, "it is not a whole gzipped tar") for name, content in hostile.NOT_WHOLE.items()},
    **hostile.UNSAFE,
    **hostile.BOUNDS,
}
Fill = Callable[[Path], object]
"""Puts something into a folder."""


@pytest.fixture(scope="module")
def good(mme_models: Models) -> Model:
    """A model that answers before and after."""
    return mme_models.linear("good")


@pytest.fixture(scope="module")
def server(_mme_run: Run, good: Model) -> Iterator[Server]:
    """One server for all tests: none may do it harm."""
    with _mme_run.server(name="bad-input") as server:
        server.load(good)
        yield server


@pytest.fixture(scope="module")
def aws(_mme_run: Run) -> Iterator[Aws]:
    with _mme_run.aws() as aws:
        yield aws


@pytest.fixture(scope="module")
def endpoint(_mme_run: Run, aws: Aws, good: Model) -> Iterator[Endpoint]:
    """One endpoint for all tests."""
    with _mme_run.endpoint([good], aws=aws, name="bad-input-endpoint") as endpoint:
        endpoint.invoke(good, [1.0])
        yield endpoint


def processes(server: Running) -> list[int]:
    """The server's own, its zygote's and its workers'."""
    return sorted(process.pid for process in psutil.Process(server.facts["pid"]).children(recursive=True))


def files(server: Running) -> list[Path]:
    return sorted(server.models.rglob("*"))


@contextmanager
def soon() -> Iterator[None]:
    start = time.monotonic()
    yield
    took_s = time.monotonic() - start
    assert took_s < SOON_S


@contextmanager
def unharmed(server: Server, good: Model) -> Iterator[None]:
    """What is done in the block is over soon, leaves no process, no file and no model, and *good* still answers."""
    before = processes(server.running), files(server.running), server.list()
    with soon():
        yield
    assert (processes(server.running), files(server.running), server.list()) == before
    assert server.invoke(good, [1.0]) == good.answer([1.0])


def refusal(endpoint: Endpoint, target: str, body: bytes = ONE) -> tuple[int, str, str]:
    """HTTP status, code and message of what boto3 raises."""
    with soon(), pytest.raises(ClientError) as refused:
        endpoint.invoke_raw(target, body)
    response: Any = refused.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"], response["Error"]["Message"]


@contextmanager
def in_s3(endpoint: Endpoint, aws: Aws, content: bytes) -> Iterator[str]:
    """The key of an object with that *content* beside the endpoint's archives."""
    target = f"{uuid.uuid4().hex[:8]}.tar.gz"
    key = f"{endpoint.name}/{target}"
    aws.s3.put_object(Bucket=aws.bucket, Key=key, Body=content)
    try:
        yield target
    finally:
        aws.s3.delete_object(Bucket=aws.bucket, Key=key)


@contextmanager
def folder_in(server: Server, fill: Fill) -> Iterator[Path]:
    """A folder where the server's models lie, filled."""
    folder = server.running.models / uuid.uuid4().hex
    folder.mkdir()
    try:
        fill(folder)
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def unharmed_endpoint(endpoint: Endpoint, good: Model) -> Iterator[None]:
    """What is done in the block leaves no process, and *good* still answers."""
    before = processes(endpoint.running)
    yield
    assert processes(endpoint.running) == before
    assert endpoint.invoke(good, [1.0]) == good.answer([1.0])


def packed(fill: Fill, tmp_path: Path) -> bytes:
    """An archive of a folder, filled."""
    folder = tmp_path / "unpacked"
    folder.mkdir()
    fill(folder)
    archive.pack(folder, tmp_path / "packed.tar.gz")
    return (tmp_path / "packed.tar.gz").read_bytes()


def assert_model_error(endpoint: Endpoint, target: str, status: int, words: str) -> None:
    """boto3 raises `ModelError`, the container's *status* and *words* in it."""
    with soon(), pytest.raises(ClientError) as refused:
        endpoint.invoke_raw(target, ONE)
    response: Any = refused.value.response
    assert (response["Error"]["Code"], response["OriginalStatusCode"]) == ("ModelError", status)
    assert words in json.loads(response["OriginalMessage"])["error"]


def raw(server: Server, method: str, path: str, body: bytes) -> tuple[int, str]:
    """Status and text of the answer; the path goes out as it is, which urllib3 would put in order."""
    connection = http.client.HTTPConnection("127.0.0.1", server.running.facts["port"], timeout=20)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


# Archives that must not be unpacked


@pytest.fixture
def bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Archives may hold 100 members and 8 MB."""
    monkeypatch.setattr(archive, "MAX_MEMBERS", 100)
    monkeypatch.setattr(archive, "MAX_BYTES", 8_000_000)


@pytest.mark.usefixtures("bounds")
@pytest.mark.parametrize("kind", ARCHIVES)
def test_an_archive_that_cannot_be_unpacked_never_reaches_the_server(
    server: Server, good: Model, mme_models: Models, tmp_path: Path, kind: str
) -> None:
    content, words = ARCHIVES[kind]
    (tmp_path / "bad.tar.gz").write_bytes(content)
    bad = mme_models.archive(tmp_path / "bad.tar.gz")
    with unharmed(server, good), pytest.raises(ArchiveError) as refused:
        server.load(bad)
    assert words in refused.value.seen
    assert refused.value.advice in str(refused.value)


@pytest.mark.usefixtures("bounds")
@pytest.mark.parametrize("kind", ARCHIVES)
def test_an_archive_that_cannot_be_unpacked_is_a_validation_error(
    endpoint: Endpoint, aws: Aws, good: Model, kind: str
) -> None:
    content, words = ARCHIVES[kind]
    before = processes(endpoint.running), files(endpoint.running)
    with in_s3(endpoint, aws, content) as target:
        status, code, message = refusal(endpoint, target)
    assert (status, code) == (400, "ValidationError")
    named = f"(bucket: pytest-mme, key: {endpoint.name}/{target})"
    assert message.startswith(f"Failed to extract model data archive {named}: it ")
    assert words in message
    assert len(message) < 1000
    assert (processes(endpoint.running), files(endpoint.running)) == before
    assert endpoint.invoke(good, [1.0]) == good.answer([1.0])


# Archives without a version


def _writing(*names: str | bytes) -> Fill:
    def fill(folder: Path) -> None:
        for name in names:
            path = folder / os.fsdecode(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")

    return fill


NO_VERSION = {
    "nothing": (_writing(), "nothing at all"),
    "no version": (_writing("saved_model.pb", "variables/variables.index"), "saved_model.pb, variables/, variables/v"),
    "a name": (_writing("v1/saved_model.pb"), "v1/, v1/saved_model.pb"),
    "nested": (_writing("name/1/saved_model.pb"), "name/, name/1/, name/1/saved_model.pb"),
    "no saved_model.pb": (_writing("1/variables/variables.index"), "1/, 1/variables/, 1/variables/variables.index"),
    "Keras": (_writing("1/model.keras"), "1/, 1/model.keras"),
    "a folder saved_model.pb": (_writing("1/saved_model.pb/x"), "1/, 1/saved_model.pb/, 1/saved_model.pb/x"),
    "a file": (_writing("1"), "seen: 1\n"),
    "negative": (_writing("-1/saved_model.pb"), "-1/, -1/saved_model.pb"),
    "a fraction": (_writing("1.5/saved_model.pb"), "1.5/, 1.5/saved_model.pb"),
    "an exponent": (_writing("1e3/saved_model.pb"), "1e3/, 1e3/saved_model.pb"),
    "other digits": (_writing("\u0661/saved_model.pb"), "\u0661/, \u0661/saved_model.pb"),
    "more than int64": (_writing("9223372036854775808/saved_model.pb"), "9223372036854775808/, 92233"),
    "255 digits": (_writing("9" * 255 + "/saved_model.pb"), "9" * 255 + "/, "),
    "line breaks": (_writing("a\nb\r/saved_model.pb"), r"'a\nb\r'/, 'a\nb\r/saved_model.pb'"),
    "an escape": (_writing("\x1b[31m1"), r"'\x1b[31m1'"),
    "not UTF-8": (_writing(b"\xff\xfe/saved_model.pb"), r"'\udcff\udcfe'/, '\udcff\udcfe/saved_model.pb'"),
    "many": (_writing(*(f"{number:04}.txt" for number in range(20))), "0007.txt and 12 more"),
}


@pytest.mark.parametrize("kind", sorted(NO_VERSION.keys() - {"no version"}))
def test_a_folder_without_a_version_is_an_archive_error(mme_models: Models, tmp_path: Path, kind: str) -> None:
    fill, words = NO_VERSION[kind]
    folder = tmp_path / "bad"
    folder.mkdir()
    fill(folder)
    with soon(), pytest.raises(ArchiveError, match="bad holds no version of a model") as refused:
        mme_models.archive(folder)
    assert words in str(refused.value)
    assert "1/saved_model.pb" in refused.value.advice


@pytest.mark.parametrize("kind", NO_VERSION)
def test_a_folder_without_a_version_is_404(server: Server, good: Model, kind: str) -> None:
    fill, words = NO_VERSION[kind]
    with folder_in(server, fill) as folder, unharmed(server, good):
        reply = server.client.load("bad", str(folder))
        assert (reply.status, server.client.unload("bad").status) == (404, 404)
    assert words in reply.json()["error"]
    assert "put the SavedModel into a numbered folder at the top of the archive" in reply.json()["error"]


@pytest.mark.parametrize("kind", NO_VERSION)
def test_an_archive_without_a_version_is_a_model_error(
    endpoint: Endpoint, aws: Aws, good: Model, tmp_path: Path, kind: str
) -> None:
    fill, words = NO_VERSION[kind]
    with unharmed_endpoint(endpoint, good), in_s3(endpoint, aws, packed(fill, tmp_path)) as target:
        assert_model_error(endpoint, target, 404, words)


# SavedModels that TensorFlow refuses


def _cut(name: str, size: int) -> Fill:
    return lambda version: os.truncate(version / name, size)


def _garbage(version: Path) -> None:
    (version / "saved_model.pb").write_bytes(b"garbage" * 100)


def _removed(name: str) -> Fill:
    def fill(version: Path) -> None:
        path = version / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return fill


_DATA, _INDEX = "variables/variables.data-00000-of-00001", "variables/variables.index"
REFUSED = {
    "garbage": (_garbage, "DATA_LOSS: Can't parse"),
    "pb empty": (
        _cut("saved_model.pb", 0),
        "NOT_FOUND: Could not find meta graph def matching supplied tags: { serve }",
    ),
    "pb cut": (_cut("saved_model.pb", 1000), "OUT_OF_RANGE: "),
    "data missing": (_removed(_DATA), "NOT_FOUND: "),
    "data cut": (_cut(_DATA, 5), "OUT_OF_RANGE: Read less bytes than requested"),
    "data empty": (_cut(_DATA, 0), "OUT_OF_RANGE: Read less bytes than requested"),
    "index cut": (_cut(_INDEX, 10), "DATA_LOSS: "),
    "index empty": (_cut(_INDEX, 0), "DATA_LOSS: "),
}
LOADED = {"index missing": _removed(_INDEX), "variables missing": _removed("variables")}
"""TensorFlow loads these, and finds out at the first request: so do real containers (docs/facts.md)."""


@pytest.fixture(scope="module")
def whole(mme_models: Models, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unpacked model with a checkpoint, which tests copy."""
    folder = tmp_path_factory.mktemp("whole") / "model"
    archive.extract(mme_models.keras("bad-input").archive, folder)
    return folder


def damaging(whole: Path, damage: Fill) -> Fill:
    """Fills a folder with the model *whole*, its version 1 damaged."""

    def fill(folder: Path) -> None:
        shutil.copytree(whole, folder, dirs_exist_ok=True)
        damage(folder / "1")

    return fill


@pytest.mark.parametrize("kind", REFUSED)
def test_a_model_that_tensorflow_refuses_is_500_with_its_words(
    server: Server, good: Model, whole: Path, kind: str
) -> None:
    damage, words = REFUSED[kind]
    with folder_in(server, damaging(whole, damage)) as folder, unharmed(server, good):
        reply = server.client.load("bad", str(folder))
        assert (reply.status, server.client.unload("bad").status) == (500, 404)
    assert reply.json()["error"].startswith("bad cannot be loaded: ")
    assert words in reply.json()["error"]


@pytest.mark.parametrize("kind", REFUSED)
def test_an_archive_that_tensorflow_refuses_is_a_model_error(
    endpoint: Endpoint, aws: Aws, good: Model, whole: Path, tmp_path: Path, kind: str
) -> None:
    damage, words = REFUSED[kind]
    with unharmed_endpoint(endpoint, good), in_s3(endpoint, aws, packed(damaging(whole, damage), tmp_path)) as target:
        assert_model_error(endpoint, target, 500, words)


def test_a_model_that_the_server_refuses_leaves_no_files(
    server: Server, good: Model, mme_models: Models, whole: Path, tmp_path: Path
) -> None:
    damaging(whole, _garbage)(tmp_path)
    bad = mme_models.archive(tmp_path, name="bad")
    with unharmed(server, good), pytest.raises(ContractError, match="Can't parse"):
        server.load(bad)


@pytest.mark.parametrize("kind", LOADED)
def test_a_model_without_its_variables_is_400_at_its_first_request(
    server: Server, good: Model, whole: Path, kind: str
) -> None:
    with folder_in(server, damaging(whole, LOADED[kind])) as folder, unharmed(server, good):
        assert server.client.load("bad", str(folder)).status == 200
        replies = [server.client.invoke("bad", ONE) for _ in range(2)]
        assert server.client.unload("bad").status == 200
    assert [reply.status for reply in replies] == [400, 400]
    assert all("Could not find variable" in reply.json()["error"] for reply in replies)


@pytest.mark.parametrize("kind", LOADED)
def test_an_archive_without_its_variables_is_a_model_error(
    endpoint: Endpoint, aws: Aws, good: Model, whole: Path, tmp_path: Path, kind: str
) -> None:
    with in_s3(endpoint, aws, packed(damaging(whole, LOADED[kind]), tmp_path)) as target:
        assert_model_error(endpoint, target, 400, "Could not find variable")
    assert endpoint.invoke(good, [1.0]) == good.answer([1.0])


@pytest.mark.parametrize(
    "name",
    ["line\nbreak", "tab\t", "\x1b[31mred", "ü", os.fsdecode(b"\xff\xfe"), "n" * 255, "-rf *", "con", "a:b"],
    ids=lambda name: ascii(name[:20]),
)
def test_a_file_of_an_odd_name_does_no_harm(
    endpoint: Endpoint,
    server: Server,
    aws: Aws,
    mme_models: Models,
    whole: Path,
    tmp_path: Path,
    name: str,
) -> None:
    """TensorFlow and the platform do not look at it, and nor does the kit."""
    odd = packed(damaging(whole, lambda version: (version / name).write_bytes(b"odd")), tmp_path)
    with in_s3(endpoint, aws, odd) as target, soon():
        assert endpoint.invoke_raw(target, ONE).ok
    (tmp_path / "odd.tar.gz").write_bytes(odd)
    server.load(mme_models.archive(tmp_path / "odd.tar.gz"))
    server.unload(Model(name="odd", archive=tmp_path / "odd.tar.gz"))


# Folders


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("{}/missing", "no such folder"),
        ("{}/file", "not a folder"),
        ("{}/file/model", "not a folder|Not a directory"),
        ("/dev/null", "not a folder"),
        ("{}/loop", "Too many levels of symbolic links"),
        ("{}/" + "n" * 300, "File name too long"),
        ("/n" * 5000, "File name too long"),
        ("{}\0", "embedded null byte"),
    ],
    ids=lambda value: ascii(value[:30]),
)
def test_a_url_that_is_not_a_folder_is_404(server: Server, good: Model, tmp_path: Path, url: str, words: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "loop").symlink_to("loop")
    with unharmed(server, good):
        reply = server.client.load("bad", url.format(tmp_path))
    assert reply.status == 404
    assert re.search(words, reply.json()["error"])


@pytest.mark.parametrize("url", ["", ".", "model", "../model", "s3://bucket/model"])
def test_a_url_that_is_not_an_absolute_path_is_400(server: Server, good: Model, url: str) -> None:
    with unharmed(server, good):
        reply = server.client.load("bad", url)
    assert reply.status == 400
    assert "give the folder's whole path" in reply.json()["error"]


def test_a_variable_beyond_all_numbers_is_refused_in_tensorflows_words(server: Server, good: Model) -> None:
    def fill(folder: Path) -> None:
        graph = identity("DT_FLOAT", (None,))
        graph.node(
            "VarHandleOp", "v", dtype="DT_FLOAT", shape=shape_proto((1 << 62, 1 << 62, 1 << 62)), shared_name=b"v"
        )
        graph.write(folder / "1")

    with folder_in(server, fill) as folder, unharmed(server, good):
        reply = server.client.load("huge", str(folder))
    assert reply.status == 500
    assert "is too large (more than 2**63 - 1 entries)" in reply.json()["error"]


def test_a_file_name_that_is_not_utf_8_does_no_harm(server: Server, good: Model) -> None:
    def fill(folder: Path) -> None:
        identity("DT_FLOAT", (None,)).write(folder / "1")
        (folder / "1" / "variables").mkdir()
        Path(os.fsdecode(os.fsencode(folder / "1" / "variables") + b"/\xff")).write_bytes(b"")

    with folder_in(server, fill) as folder, unharmed(server, good):
        server.client.load("odd-name", str(folder)).expect("load")
        server.client.unload("odd-name").expect("unload")


def test_a_signature_of_what_the_graph_does_not_have_is_400(server: Server, good: Model) -> None:
    def fill(folder: Path) -> None:
        graph = identity("DT_FLOAT", (None,))
        graph.sign({"x": Tensor("x:0")}, {"y": Tensor("gone:0")})
        graph.write(folder / "1")

    with folder_in(server, fill) as folder, unharmed(server, good):
        server.client.load("gone", str(folder)).expect("load")
        reply = server.client.invoke("gone", ONE)
        server.client.unload("gone").expect("unload")
    assert reply.status == 400
    assert "the graph has no tensor 'gone:0'" in reply.json()["error"]


@pytest.mark.parametrize(
    "order",
    [b"", b"null", b"1", b"[" * 100_000, b'{"model_name": "bad"}', b'{"model_name": "bad", "url": 1}', b'{"model_name": "bad", "url": null}', b'{"url": "/nowhere"}', b'\xff', b'{"model_name": "bad", "url": "\\ud800"}'],
    ids=lambda order: ascii(order[:40]),
)  # fmt: skip
def test_an_order_to_load_that_makes_no_sense_is_400(server: Server, good: Model, order: bytes) -> None:
    with unharmed(server, good):
        status, text = raw(server, "POST", "/models", order)
    assert status == 400
    assert "the body " in json.loads(text)["error"]


# Ids

HOSTILE_IDS = {
    "parent": "..",
    "parent, encoded": "%2e%2e",
    "parent and slash": "..%2f..%2fetc%2fpasswd",
    "slashes": "%2f%2f",
    "a NUL": "bad%00",
    "line breaks": "bad%0d%0aX-Injected:%201",
    "unicode": "%F0%9F%92%A9",
    "not UTF-8": "%ff%fe",
    "no escape": "bad%",
    "a query": "bad%3fx=1",
    "a space": "%20",
    "long": "n" * 4000,
}


@pytest.mark.parametrize(("method", "rest"), [("GET", ""), ("DELETE", ""), ("POST", "/invoke")])
@pytest.mark.parametrize("kind", HOSTILE_IDS)
def test_an_id_that_makes_no_sense_is_404(server: Server, good: Model, kind: str, method: str, rest: str) -> None:
    with unharmed(server, good):
        status, text = raw(server, method, f"/models/{HOSTILE_IDS[kind]}{rest}", ONE if rest else b"")
    assert status == 404
    assert json.loads(text)["error"]


@pytest.mark.parametrize(("method", "rest"), [("GET", ""), ("DELETE", ""), ("POST", "/invoke")])
def test_an_id_of_ten_kilobytes_is_refused(server: Server, good: Model, method: str, rest: str) -> None:
    with unharmed(server, good):
        status, text = raw(server, method, f"/models/{'n' * 10_000}{rest}", ONE if rest else b"")
    assert status in (400, 404, 414)
    assert text


@pytest.mark.parametrize(
    "identifier",
    ["", ".", "..", "a/b", "../a", "a b", "a\0", "a\n", "ü", "💩", "n" * 10_000, "-a", "%2e%2e"],
    ids=lambda name: ascii(name[:20]),
)
def test_an_id_that_makes_no_sense_is_not_loaded(server: Server, good: Model, identifier: str) -> None:
    with unharmed(server, good):
        reply = server.client.load(identifier, "/nowhere")
    assert reply.status == 400
    assert "the ID of letters, digits, dot, dash and underscore" in reply.json()["error"]


# Targets


@pytest.mark.parametrize(
    "target",
    ["..", "../x.tar.gz", "../../etc/passwd", "/etc/passwd", "/good.tar.gz", "//good.tar.gz", "good", "good.tar", "good.tar.gz/", "./good.tar.gz", "x/../good.tar.gz", "GOOD.tar.gz", "good.tar.gz?versionId=1", "s3://pytest-mme/x.tar.gz", "%2e%2e/x.tar.gz", "ü.tar.gz", "n" * 1000, "n" * 3000, "a b.tar.gz", "*"],
    ids=lambda target: ascii(target[:40]),
)  # fmt: skip
def test_a_target_that_is_not_there(endpoint: Endpoint, good: Model, target: str) -> None:
    before = files(endpoint.running)
    with unharmed_endpoint(endpoint, good):
        status, code, message = refusal(endpoint, target)
    assert (status, code) == (400, "ValidationError")
    assert message.startswith(f"Failed to download model data (bucket: pytest-mme, key: {endpoint.name}/")
    assert files(endpoint.running) == before


def test_a_target_outside_the_prefix_is_not_there(endpoint: Endpoint, good: Model, aws: Aws) -> None:
    aws.s3.upload_file(str(good.archive), aws.bucket, "secret.tar.gz")
    try:
        status, code, message = refusal(endpoint, "../secret.tar.gz")
    finally:
        aws.s3.delete_object(Bucket=aws.bucket, Key="secret.tar.gz")
    assert (status, code) == (400, "ValidationError")
    assert f"key: {endpoint.name}/../secret.tar.gz" in message


@pytest.mark.parametrize(
    "target", ["a\0.tar.gz", "\x7f", "\x1b[31m", "n" * 10_000], ids=lambda target: ascii(target[:20])
)
def test_a_target_that_cannot_be_a_header_is_400(endpoint: Endpoint, good: Model, target: str) -> None:
    with unharmed_endpoint(endpoint, good):
        status, _, message = refusal(endpoint, target)
    assert status == 400
    assert message


def test_no_target(endpoint: Endpoint) -> None:
    with pytest.raises(ParamValidationError, match="TargetModel"):
        endpoint.invoke_raw("", ONE)
    status, code, message = refusal(endpoint, " ")
    assert (status, code) == (400, "ValidationError")
    assert "TargetModel is missing" in message


# Sizes


def _padded(size: int) -> bytes:
    return ONE.ljust(size)


def test_a_body_at_the_limit_passes_and_one_over_it_is_413(server: Server, good: Model) -> None:
    identifier = server.identifier(good)
    with unharmed(server, good):
        passed = server.client.invoke(identifier, _padded(routes.MAX_BODY_BYTES))
        refused = server.client.invoke(identifier, _padded(routes.MAX_BODY_BYTES + 1))
        order = raw(server, "POST", "/models", b"{}".ljust(routes.MAX_BODY_BYTES + 1))
    assert passed.json() == {"predictions": [good.answer([1.0])]}
    assert (refused.status, order[0]) == (413, 413)
    assert refused.text
    assert order[1]


def test_a_body_over_the_limit_is_a_validation_error(endpoint: Endpoint, good: Model) -> None:
    assert endpoint.invoke_raw(good.key, _padded(routes.MAX_BODY_BYTES)).ok
    with unharmed_endpoint(endpoint, good):
        status, code, message = refusal(endpoint, good.key, _padded(routes.MAX_BODY_BYTES + 1))
    assert (status, code) == (413, "ValidationError")
    assert message == "Request body is larger than 6291456 bytes"


# Memory


@pytest.mark.parametrize("memory_mib", [1, 1.5, 5])
def test_less_memory_than_any_model_needs_is_507(
    mme_server: Callable[..., Server], good: Model, memory_mib: float
) -> None:
    server = mme_server(memory_mib=memory_mib)
    before = processes(server.running)
    for _ in range(2):
        with soon(), pytest.raises(ContractError) as refused:
            server.load(good)
        assert refused.value.status == 507
        assert re.search("not enough memory to load|killed for lack of memory", refused.value.body)
    assert (processes(server.running), files(server.running), server.list()) == (before, [], [])
    assert server.ping().ok


@pytest.mark.parametrize("fields", [{"memory_mib": 2**40}, {"cpus": 1024}], ids=str)
def test_the_largest_values_work(mme_server: Callable[..., Server], good: Model, fields: dict[str, Any]) -> None:
    server = mme_server(**fields)
    server.load(good)
    assert server.invoke(good, [1.0]) == good.answer([1.0])
