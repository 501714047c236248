"""Every option from every source: good values, bad values, precedence; and what the header shows of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from pytest_mme.errors import SettingError
from pytest_mme.settings import OPTIONS, Option

VALUES = {
    "runtime": ("attach", "attach"),
    "url": ("http://127.0.0.1:1/", "http://127.0.0.1:1"),
    "url_models": ("/:/models", "/:/models"),
    "tf": ("2.15.1 installed", "2.15.1 installed"),
    "image": ("some/image:1", "some/image:1"),
    "pull": ("never", "never"),
    "enforcement": ("sampled", "sampled"),
    "device": ("auto", "auto"),
    "keep": ("failed", "failed"),
    "evidence": ("full", "full"),
    "report": ("/dev/null", "/dev/null"),
    "seed": ("42", "42"),
    "cache": ("/some/where", "/some/where"),
    "cache_mib": ("77", "77"),
    "tf_cache_mib": ("78", "78"),
    "doctor": ("yes", "True"),
    "no_signal": ("yes", "True"),
}
NONSENSE = {
    "runtime": "moon",
    "url": "over there",
    "url_models": "/no/such/folder",
    "tf": "2.4.4",
    "image": "--help",
    "pull": "hard",
    "enforcement": "hope",
    "device": "tpu",
    "keep": "sometimes",
    "evidence": "some",
    "report": "/",
    "seed": "-1",
    "cache": "",
    "cache_mib": "much",
    "tf_cache_mib": "more",
    "doctor": "maybe",
    "no_signal": "perhaps",
}


@pytest.fixture
def probe(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A test that prints the settings and their sources."""
    for option in OPTIONS:
        monkeypatch.delenv(option.environment_name, raising=False)
    pytester.makepyfile(
        """
        def test_probe(mme_settings):
            for name in mme_settings.__dataclass_fields__:
                setting = getattr(mme_settings, name)
                print(f"{name}={setting.value} from the {setting.source}")
        """
    )
    return pytester


def shown(probe: pytest.Pytester, *arguments: str) -> str:
    result = probe.runpytest_inprocess("-s", *arguments)
    result.assert_outcomes(passed=1)
    return result.stdout.str()


def write_ini(probe: pytest.Pytester, values: Mapping[str, str]) -> None:
    probe.makeini("\n".join(["[pytest]", *(f"mme_{name} = {value}" for name, value in values.items())]))


def test_the_tables_of_this_file_name_every_option() -> None:
    assert set(VALUES) == {option.name for option in OPTIONS}


def test_without_any_source_every_option_has_its_default(probe: pytest.Pytester) -> None:
    seen = shown(probe)
    for option in OPTIONS:
        assert f"{option.name}={option.default} from the default\n" in seen


def test_the_ini_file_sets_every_option_and_the_header_shows_it(probe: pytest.Pytester) -> None:
    write_ini(probe, {name: raw for name, (raw, _) in VALUES.items()})
    seen = shown(probe)
    (header,) = [line for line in seen.splitlines() if line.startswith("mme: runtime")]
    for name, (_, value) in VALUES.items():
        assert f"{name}={value} from the ini file\n" in seen
        assert f"{name}={value} (ini file)" in header


def test_the_environment_beats_the_ini_file_for_every_option(
    probe: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_ini(probe, NONSENSE)
    for option in OPTIONS:
        monkeypatch.setenv(option.environment_name, VALUES[option.name][0])
    seen = shown(probe)
    for name, (_, value) in VALUES.items():
        assert f"{name}={value} from the environment\n" in seen


def test_the_command_line_beats_the_environment_for_every_option(
    probe: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    for option in OPTIONS:
        monkeypatch.setenv(option.environment_name, NONSENSE[option.name])
    seen = shown(probe, *(_on_command_line(option) for option in OPTIONS))
    for name, (_, value) in VALUES.items():
        assert f"{name}={value} from the command line\n" in seen


def _on_command_line(option: Option) -> str:
    return option.flag_name if option.flag else f"{option.flag_name}={VALUES[option.name][0]}"


Give = Callable[[pytest.Pytester, pytest.MonkeyPatch, Option, str], list[str]]


def on_the_command_line(_: pytest.Pytester, __: pytest.MonkeyPatch, option: Option, value: str) -> list[str]:
    return [f"{option.flag_name}={value}"]


def in_the_environment(_: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, option: Option, value: str) -> list[str]:
    monkeypatch.setenv(option.environment_name, value)
    return []


def in_the_ini_file(probe: pytest.Pytester, _: pytest.MonkeyPatch, option: Option, value: str) -> list[str]:
    write_ini(probe, {option.name: value})
    return []


SOURCES: Mapping[str, Give] = {
    "command line": on_the_command_line,
    "environment": in_the_environment,
    "ini file": in_the_ini_file,
}


BAD = [
    pytest.param(option, source, id=f"{option.name} from the {source}")
    for option in OPTIONS
    for source in SOURCES
    if NONSENSE[option.name] or source != "ini file"  # an empty value of the ini file counts as unset
]


@pytest.mark.parametrize(("option", "source"), BAD)
def test_a_bad_value_from_any_source_ends_the_run_and_names_its_source(
    probe: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, option: Option, source: str
) -> None:
    result = probe.runpytest_inprocess(*SOURCES[source](probe, monkeypatch, option, NONSENSE[option.name]))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    if source == "command line" and option.flag:  # argparse refuses a flag's value itself
        expected = f"*argument {option.flag_name}: ignored explicit argument '{NONSENSE[option.name]}'"
    else:
        spelling = {
            "command line": option.flag_name,
            "environment": option.environment_name,
            "ini file": option.ini_name,
        }[source]
        expected = f"ERROR: {spelling} from the {source} is '{NONSENSE[option.name]}': ?*"
    result.stderr.fnmatch_lines([expected])


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_an_empty_value_of_the_ini_file_counts_as_unset(option: Option) -> None:
    assert option.resolve(cli=None, environment={}, ini="").source == "default"


@pytest.mark.parametrize("raw", ["0", "no", "off", "false", "No"])
def test_a_flag_can_be_switched_off_where_an_outer_source_switches_it_on(raw: str) -> None:
    (option,) = [option for option in OPTIONS if option.name == "no_signal"]
    setting = option.resolve(cli=None, environment={option.environment_name: raw}, ini="yes")
    assert (setting.value, setting.source) == (False, "environment")


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ("--mme-runtime=attach", "*give the address of the server: --mme-url=URL"),
        ("--mme-url=http://a", "*add --mme-runtime=attach"),
    ],
)
def test_a_url_without_its_runtime_and_a_runtime_without_its_url_end_the_run(
    pytester: pytest.Pytester, given: str, advice: str
) -> None:
    result = pytester.runpytest_subprocess(given)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([advice])


@pytest.mark.parametrize("raw", ["/no/such/folder", "/:models", ""])
def test_a_bad_shared_folder_is_refused(raw: str) -> None:
    (option,) = [option for option in OPTIONS if option.name == "url_models"]
    with pytest.raises(SettingError):
        option.resolve(cli=raw, environment={}, ini="")


def test_help_shows_each_option_in_its_spellings(pytester: pytest.Pytester) -> None:
    seen = " ".join(pytester.runpytest_inprocess("--help").stdout.str().split())
    for option in OPTIONS:
        for spelling in (option.flag_name, option.environment_name, option.ini_name, option.help[:20]):
            assert spelling in seen


def test_the_header_shows_how_the_run_is_set_up(pytester: pytest.Pytester) -> None:
    pytester.runpytest_inprocess().stdout.fnmatch_lines(["mme: runtime local, tensorflow 2.*, memory limits by *"])


def test_the_header_shows_the_image_without_asking_the_engine(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    seen = pytester.runpytest_inprocess("--mme-runtime=docker").stdout
    seen.fnmatch_lines(
        ["mme: runtime docker, image pytest-mme-server:2.*, on the CPU, memory limits by the container's *"]
    )


def test_no_mme_switches_the_plugin_off(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess("-p", "no:mme", "--fixtures")
    assert [line for line in result.outlines if line.startswith("mme_")] == []


def test_fixtures_lists_the_fixtures(pytester: pytest.Pytester) -> None:
    seen = pytester.runpytest_inprocess("--fixtures").stdout.str()
    for name in ("settings", "models", "server", "endpoint", "aws", "timeline"):
        assert f"mme_{name}" in seen
