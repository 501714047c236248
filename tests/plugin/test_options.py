"""Every option from every source; what the header says of it."""

from __future__ import annotations

from collections.abc import Mapping

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


def test_every_option_is_tried_here() -> None:
    assert set(VALUES) == {option.name for option in OPTIONS}


def test_defaults(probe: pytest.Pytester) -> None:
    seen = shown(probe)
    for option in OPTIONS:
        assert f"{option.name}={option.default} from the default\n" in seen


def test_every_option_from_the_ini_file(probe: pytest.Pytester) -> None:
    write_ini(probe, {name: raw for name, (raw, _) in VALUES.items()})
    seen = shown(probe)
    (header,) = [line for line in seen.splitlines() if line.startswith("mme: runtime")]
    for name, (_, value) in VALUES.items():
        assert f"{name}={value} from the ini file\n" in seen
        assert f"{name}={value} (ini file)" in header


def test_every_option_from_the_environment_which_beats_the_ini_file(
    probe: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_ini(probe, NONSENSE)
    for option in OPTIONS:
        monkeypatch.setenv(option.environment_name, VALUES[option.name][0])
    seen = shown(probe)
    for name, (_, value) in VALUES.items():
        assert f"{name}={value} from the environment\n" in seen


def test_every_option_from_the_command_line_which_beats_the_environment(
    probe: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    for option in OPTIONS:
        monkeypatch.setenv(option.environment_name, NONSENSE[option.name])
    seen = shown(probe, *(_on_command_line(option) for option in OPTIONS))
    for name, (_, value) in VALUES.items():
        assert f"{name}={value} from the command line\n" in seen


def _on_command_line(option: Option) -> str:
    return option.flag_name if option.flag else f"{option.flag_name}={VALUES[option.name][0]}"


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_nonsense_is_refused_with_its_source_and_what_to_give(option: Option) -> None:
    environment = {option.environment_name: NONSENSE[option.name]}
    with pytest.raises(SettingError, match=f"{option.environment_name} from the environment is ") as refused:
        option.resolve(cli=None, environment=environment, ini="")
    assert refused.value.advice


@pytest.mark.parametrize(
    ("given", "advice"),
    [("--mme-runtime=attach", "*say which server: --mme-url=URL"), ("--mme-url=http://a", "*add --mme-runtime=attach")],
)
def test_a_url_and_the_runtime_that_asks_it_go_together(pytester: pytest.Pytester, given: str, advice: str) -> None:
    result = pytester.runpytest_subprocess(given)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([advice])


@pytest.mark.parametrize("raw", ["/no/such/folder", "/:models", ""])
def test_a_shared_folder_that_is_none_is_refused(raw: str) -> None:
    (option,) = [option for option in OPTIONS if option.name == "url_models"]
    with pytest.raises(SettingError):
        option.resolve(cli=raw, environment={}, ini="")


def test_nonsense_ends_the_run_as_a_usage_error(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess("--mme-keep=sometimes")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*--mme-keep from the command line is 'sometimes': choose one of never, failed, always"]
    )


def test_help_teaches(pytester: pytest.Pytester) -> None:
    seen = " ".join(pytester.runpytest_inprocess("--help").stdout.str().split())
    for option in OPTIONS:
        for spelling in (option.flag_name, option.environment_name, option.ini_name, option.help[:20]):
            assert spelling in seen


def test_the_header_says_how_the_run_is_set_up(pytester: pytest.Pytester) -> None:
    pytester.runpytest_inprocess().stdout.fnmatch_lines(["mme: runtime local, tensorflow 2.*, memory limits by *"])


def test_the_header_says_which_image_runs_and_asks_no_engine_for_it(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    seen = pytester.runpytest_inprocess("--mme-runtime=docker").stdout
    seen.fnmatch_lines(
        ["mme: runtime docker, image pytest-mme-server:2.*, on the CPU, memory limits by the container's *"]
    )


def test_the_plugin_can_be_switched_off(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess("-p", "no:mme", "--fixtures")
    assert "mme_" not in result.stdout.str()


def test_fixtures_say_what_a_test_gets(pytester: pytest.Pytester) -> None:
    seen = pytester.runpytest_inprocess("--fixtures").stdout.str()
    for name in ("settings", "models", "server", "endpoint", "aws", "timeline"):
        assert f"mme_{name}" in seen
