"""Which frames of a failing test are shown, and how its message comes first."""

from __future__ import annotations

import pytest

TESTS = """
    import boto3
    import pytest

    def ask(endpoint, key):
        client = boto3.client("sagemaker-runtime", region_name="us-east-1")
        return client.invoke_endpoint(EndpointName=endpoint, TargetModel=key, Body=b"{}")

    def test_through_boto3(mme_aws):
        before = 1
        ask("nowhere", "a.tar.gz")

    def test_caused(mme_aws):
        try:
            ask("nowhere", "a.tar.gz")
        except Exception as error:
            raise RuntimeError("our client gave up") from error

    def test_of_a_bad_field(mme_models):
        mme_models.linear("no/name")

    def test_long(mme_models):
        a = 1
        b = 2
        c = 3
        d = 4
        e = 5
        f = 6
        assert a == [
            b,
            c,
        ]

    def test_many_lines(mme_models):
        raise ValueError("\\n".join(f"line {number}" for number in range(40)))

    def test_without_a_traceback(mme_models):
        pytest.fail("the whole message", pytrace=False)

    def test_alone():
        ask("nowhere", "a.tar.gz")
"""


def part(shown: str, name: str) -> list[str]:
    """The lines of one test."""
    after = shown.partition(f" {name} ___")[2].split("\n")[1:]
    end = next(number for number, line in enumerate(after) if line.startswith(("____", "====")))
    return after[:end]


def test_a_failure_begins_with_its_reason(inner: pytest.Pytester) -> None:
    inner.makepyfile(TESTS)
    shown = inner.runpytest_subprocess("-k", "not alone").stdout.str()
    _the_reason_comes_first_and_no_librarys_frame(shown)
    _a_message_without_a_traceback_stands_alone(shown)
    _a_cause_is_told_after_the_reason(shown)
    _generated_code_is_left_out(shown)
    _a_long_test_shows_the_lines_before_the_failing_one(shown)
    _a_long_message_is_shown_by_its_beginning_and_its_end(shown)


def _the_reason_comes_first_and_no_librarys_frame(shown: str) -> None:
    lines = part(shown, "test_through_boto3")
    assert lines[0].startswith("E   botocore.errorfactory.ValidationError: An error occurred")
    file = f"{test_a_failure_begins_with_its_reason.__name__}.py"
    assert [line.strip() for line in lines[1:]] == [
        f"{file}:10:",
        'ask("nowhere", "a.tar.gz")',
        f"{file}:6: in ask",
        'return client.invoke_endpoint(EndpointName=endpoint, TargetModel=key, Body=b"{}")',
    ]


def _a_cause_is_told_after_the_reason(shown: str) -> None:
    lines = part(shown, "test_caused")
    assert lines[0] == "E   RuntimeError: our client gave up"
    cause = lines.index("E   because of:")
    assert lines[cause + 1].startswith("E   botocore.errorfactory.ValidationError: ")
    assert not any("site-packages" in line for line in lines)


def _generated_code_is_left_out(shown: str) -> None:
    assert not any("<string>" in line for line in part(shown, "test_of_a_bad_field"))


def _a_long_test_shows_the_lines_before_the_failing_one(shown: str) -> None:
    lines = part(shown, "test_long")
    assert not any("a = 1" in line for line in lines)
    assert any(line.startswith(">       assert a == [") for line in lines)
    assert any(line.strip() == "f = 6" for line in lines)


def _a_long_message_is_shown_by_its_beginning_and_its_end(shown: str) -> None:
    lines = part(shown, "test_many_lines")
    assert lines[0] == "E   ValueError: line 0"
    assert lines[5].endswith("lines, shown with -vv")
    assert lines[12].split() == ["E", "line", "39"]


@pytest.mark.parametrize("everything", ["--mme-evidence=full", "--full-trace"])
def test_who_asks_for_everything_sees_all_frames(inner: pytest.Pytester, everything: str) -> None:
    inner.makepyfile(TESTS)
    shown = inner.runpytest_subprocess(everything, "-k", "test_through_boto3").stdout.str()
    assert "botocore/client.py" in shown


def _a_message_without_a_traceback_stands_alone(shown: str) -> None:
    assert part(shown, "test_without_a_traceback") == ["the whole message"]


def test_a_test_without_the_kits_fixtures_is_left_alone(
    inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    inner.makepyfile(TESTS)
    assert "botocore/" in inner.runpytest_subprocess("-k", "test_alone").stdout.str()


@pytest.mark.parametrize("style", ["line", "native", "no"])
def test_other_styles_of_tracebacks_still_work(inner: pytest.Pytester, style: str) -> None:
    inner.makepyfile(TESTS)
    result = inner.runpytest_subprocess(f"--tb={style}", "-k", "test_through_boto3")
    result.assert_outcomes(failed=1)
