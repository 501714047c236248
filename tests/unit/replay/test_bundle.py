"""Bundles as files, and their checks made again."""

from __future__ import annotations

import dataclasses
import os
import shutil
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pytest_mme.archives.store import Store
from pytest_mme.checks import soft_checks
from pytest_mme.checks.methods import Checked
from pytest_mme.errors import ArchiveError
from pytest_mme.models.builder import Models
from pytest_mme.replay import bundle as bundles
from pytest_mme.replay.bundle import Bundle, Ingredient, made
from pytest_mme.replay.judge_again import compare, judge
from pytest_mme.timeline.events import Event, Timeline


class Endpoint(Checked):
    """Has a timeline, and nothing else."""

    def __init__(self) -> None:
        self.name, self.recording = "ranking", Timeline()

    @property
    def timeline(self) -> tuple[Event, ...]:
        return self.recording.of(self.name)


@pytest.fixture
def models(tmp_path: Path) -> Models:
    return Models(Store(tmp_path / "models"))


def bundle(timeline: Timeline | None = None, **fields: Any) -> Bundle:
    given: dict[str, Any] = {
        "test": "test_it.py::test_it[a/b]",
        "failure": "no",
        "settings": {},
        "made": [],
        "models": {},
    }
    return Bundle(timeline=timeline or Timeline(), **given | fields)


def judged_endpoint() -> Endpoint:
    endpoint = Endpoint()
    endpoint.recording.record("load", source="hosting", server="ranking", model="a")
    endpoint.check_resident("a")
    with pytest.raises(AssertionError, match="b is not resident"):
        endpoint.check_resident("a", "b")
    endpoint.recording.record("unload", source="hosting", server="ranking", model="a")
    return endpoint


def test_each_check_is_judged_by_the_events_before_it_was_made() -> None:
    first, second = judge(bundle(judged_endpoint().recording))
    assert (first.check, first.then, first.now) == ("check_resident('a')", None, None)
    assert (second.check, second.server) == ("check_resident('a', 'b')", "ranking")
    assert second.then == second.now == "b is not resident (b: never loaded); resident: a"


def test_each_check_is_compared_with_the_same_one_of_the_new_run() -> None:
    then, again = judged_endpoint(), Endpoint()
    again.recording.record("load", source="hosting", server="ranking", model="b")
    with pytest.raises(AssertionError):
        again.check_resident("a")
    first, second = compare(bundle(then.recording), again.recording)
    assert (first.then, first.now) == (None, "a is not resident (a: never loaded); resident: b")
    assert (second.check, second.now) == ("check_resident('a', 'b')", "it was not made again")


def test_a_check_that_no_longer_takes_its_arguments_is_a_verdict() -> None:
    timeline = Timeline()
    detail = {"call": {"method": "check_resident", "arguments": ["a"], "options": {"nonsense": 1}}}
    timeline.record("mark", source="test", server="ranking", outcome="check_resident", detail=detail)
    (verdict,) = judge(bundle(timeline))
    assert str(verdict.now).startswith("it cannot be made: ")


def test_a_check_is_judged_again_with_its_options() -> None:
    endpoint = judged_endpoint()
    endpoint.recording.record("invoke", source="test", server="ranking", model="a")
    endpoint.check_evictions(at_most=1)
    verdict = list(judge(bundle(endpoint.recording)))[-1]
    assert (verdict.check, verdict.now) == ("check_evictions(at_most=1)", None)


def test_a_soft_check_that_failed_is_a_failure_then_and_now() -> None:
    endpoint = judged_endpoint()
    with soft_checks() as found:
        endpoint.check_evictions(at_least=1, soft=True)
    verdict = list(judge(bundle(endpoint.recording)))[-1]
    assert verdict.then == verdict.now == str(found[0])


def test_a_bundle_survives_json() -> None:
    one = bundle(judged_endpoint().recording, settings={"seed": "7"})
    again = Bundle.from_json(one.to_json())
    assert again.to_json() == one.to_json()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"test": 1}', "null", "\x00"])
def test_a_text_that_is_not_a_bundle_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  JSON's own words, or ours
        Bundle.from_json(text)


def test_the_latest_twenty_failures_are_kept(tmp_path: Path) -> None:
    files = [bundles.keep(bundle(), tmp_path) for _ in range(25)]
    for age, file in enumerate(reversed(files)):
        if file.exists():
            os.utime(file, (1e9 - age, 1e9 - age))
    last = bundles.keep(bundle(), tmp_path)
    kept = bundles.kept(tmp_path)
    assert len(kept) == 20
    assert kept[0] == last
    assert last.stem.startswith("test_it-a-b-")


def test_fields_that_json_cannot_hold_are_named(tmp_path: Path) -> None:
    one = made(
        "endpoint", "e", {"eviction": min, "code": tmp_path, "fits": 2, "tf": None, "op_libraries": (tmp_path,)}, []
    )
    assert one.left_out == ["eviction"]
    assert one.fields == {"code": str(tmp_path), "fits": 2, "op_libraries": [str(tmp_path)]}


def test_a_packed_bundle_has_all_models_in_one_file(tmp_path: Path, models: Models) -> None:
    ours = models.linear("ours", weights_mib=1)
    theirs = models.archive(models.linear("other").archive, name="theirs")
    one = bundle(models={model.name: Ingredient.of(model) for model in (ours, theirs)})
    bundles.pack(one, tmp_path / "bundle.zip", models)
    assert (tmp_path / "bundle.zip").stat().st_size < 100_000
    (tmp_path / "elsewhere").mkdir()
    read = bundles.read(tmp_path / "bundle.zip", tmp_path / "elsewhere")
    empty = Models(Store(tmp_path / "another" / "models"))
    again = {name: ingredient.model(name, empty) for name, ingredient in read.models.items()}
    assert again["ours"].spec == ours.spec
    assert again["ours"].archive.read_bytes() == ours.archive.read_bytes()
    assert again["theirs"].archive.read_bytes() == theirs.archive.read_bytes()
    assert again["ours"].answer([1.0]) == ours.answer([1.0])


def test_the_archive_of_a_forged_model_is_packed(tmp_path: Path, models: Models) -> None:
    forged = models.forge(models.linear("forged"), "unknown-op")
    bundles.pack(bundle(models={"forged": Ingredient.of(forged)}), tmp_path / "bundle.zip", models)
    read = bundles.read(tmp_path / "bundle.zip", tmp_path)
    assert read.models["forged"].model("forged", models).archive.read_bytes() == forged.archive.read_bytes()


def test_a_model_whose_archive_is_gone_is_an_archive_error(tmp_path: Path, models: Models) -> None:
    archive = tmp_path / "theirs.tar.gz"
    archive.write_bytes(models.linear().archive.read_bytes())
    ingredient = Ingredient.of(models.archive(archive, name="theirs"))
    archive.unlink()
    with pytest.raises(ArchiveError, match="it is not there any more"):
        ingredient.model("theirs", models)


def test_files_and_folders_that_fields_name_are_packed(tmp_path: Path, models: Models) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    (here / "code" / "__pycache__").mkdir(parents=True)
    there.mkdir()
    files = {"code/inference.py": "1", "code/__pycache__/inference.pyc": "2", "a.so": "3", "handler.py": "4"}
    for name, text in files.items():
        (here / name).write_text(text)
    given = {"code": here / "code", "op_libraries": [here / "a.so", str(here / "a.so")], "memory_mib": 90}
    os.utime(here / "a.so", (0, 0))  # zip begins in 1980
    module = ModuleType("handler")
    module.__file__ = str(here / "handler.py")
    both = [made("server", "s", given, []), made("handler", "h", {"module": module}, [])]
    bundles.pack(bundle(made=both), tmp_path / "bundle.zip", models)
    shutil.rmtree(here)

    server, handler = bundles.read(tmp_path / "bundle.zip", there).made
    assert server.fields["memory_mib"] == 90
    assert [path.name for path in Path(server.fields["code"]).rglob("*")] == ["inference.py"]
    assert [Path(one).read_text() for one in server.fields["op_libraries"]] == ["3", "3"]
    assert Path(handler.fields["module"]).read_text() == "4"
    assert all(there in path.parents for path in map(Path, (server.fields["code"], handler.fields["module"])))
    with pytest.raises(ArchiveError, match=r"here/code\n  seen: it is not there any more"):
        bundles.pack(bundle(made=both), tmp_path / "late.zip", models)
    assert not list(tmp_path.glob("*late*"))


def test_a_relative_path_given_as_text_is_recorded_as_an_absolute_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert made("server", "s", {"code": "code"}, []).fields == {"code": str(tmp_path / "code")}


def test_a_bundle_cannot_write_files_outside_of_its_directory(tmp_path: Path) -> None:
    (tmp_path / "in" / "side").mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "bundle.zip", "w") as packed:
        packed.writestr("../../stolen/x.py", "")
        one = made("server", "s", {}, [])
        evil = dataclasses.replace(one, fields={"code": "../../stolen"})
        packed.writestr("bundle.json", bundle(made=[evil]).to_json())
    bundles.read(tmp_path / "bundle.zip", tmp_path / "in" / "side")
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("x.py")] == [Path("in/side/stolen/x.py")]


@pytest.mark.parametrize("fields", [["code"], {"code": 1}], ids=str)
def test_a_bundle_with_fields_of_another_shape_is_a_value_error(tmp_path: Path, fields: Any) -> None:
    one = dataclasses.replace(made("server", "s", {}, []), fields=fields)
    with zipfile.ZipFile(tmp_path / "bundle.zip", "w") as packed:
        packed.writestr("bundle.json", bundle(made=[one]).to_json())
    with pytest.raises(ValueError, match=r"not a whole bundle: "):
        bundles.read(tmp_path / "bundle.zip", tmp_path)


def test_a_zip_file_that_is_not_a_bundle_is_a_value_error(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as packed:
        packed.writestr("a.txt", "")
    with pytest.raises(ValueError, match=r"not a bundle: \['a.txt'\]"):
        bundles.read(tmp_path / "other.zip", tmp_path)


def test_a_bundle_that_lacks_an_archive_is_a_value_error(tmp_path: Path, models: Models) -> None:
    theirs = models.archive(models.linear().archive, name="theirs")
    ingredient = dataclasses.replace(Ingredient.of(theirs), archive="archives/theirs.tar.gz")
    with zipfile.ZipFile(tmp_path / "bundle.zip", "w") as packed:
        packed.writestr("bundle.json", bundle(models={"theirs": ingredient}).to_json())
    with pytest.raises(ValueError, match=r"not a whole bundle: .*archives/theirs.tar.gz"):
        bundles.read(tmp_path / "bundle.zip", tmp_path)


def test_a_damaged_bundle_is_a_value_error(tmp_path: Path, models: Models) -> None:
    bundles.pack(bundle(test="x" * 1000), tmp_path / "bundle.zip", models)
    damaged = bytearray((tmp_path / "bundle.zip").read_bytes())
    damaged[60:70] = bytes(10)
    (tmp_path / "bundle.zip").write_bytes(damaged)
    with pytest.raises(ValueError, match=r"not a whole bundle: "):
        bundles.read(tmp_path / "bundle.zip", tmp_path)
