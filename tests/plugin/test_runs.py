"""Runs beside each other, systems that the kit cannot run on, and the environment of a run."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow


def test_xdist_workers_do_not_collide(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("number", range(4))
        def test_same_names(mme_endpoint, mme_models, number):
            model, other = mme_models.fleet(2, weights_mib=3)
            endpoint = mme_endpoint([model, other], name="ranking", fits=1)
            assert endpoint.invoke(model, [1.0]) == model.answer([1.0])
            assert endpoint.invoke(other, [1.0]) == other.answer([1.0])
            endpoint.check_evicted(model)
        """
    )
    inner.runpytest_subprocess("-n", "2").assert_outcomes(passed=4)


@pytest.mark.parametrize(
    ("missing", "without"), [("fork", "import os; del os.fork"), ("fcntl", "import sys; sys.modules['fcntl'] = None")]
)
def test_on_a_system_without_fork_or_fcntl_only_tests_with_servers_are_skipped(
    inner: pytest.Pytester, missing: str, without: str
) -> None:
    inner.makeconftest(without)
    inner.makepyfile(
        """
        def test_server(mme_server):
            mme_server()

        def test_other():
            pass
        """
    )
    result = inner.runpytest_subprocess("-rs", "-p", "no:xdist")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines([f"SKIPPED*servers need {missing}, which linux does not have; it is tested on Linux"])


def test_the_environment_and_the_default_session_are_restored(
    inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mine")
    monkeypatch.setenv("AWS_PROFILE", "mine")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    inner.makepyfile(
        """
        import os
        import boto3

        before = dict(os.environ)
        del os.environ["AWS_PROFILE"]
        boto3.setup_default_session(region_name="eu-west-1")
        session = boto3.DEFAULT_SESSION
        os.environ["AWS_PROFILE"] = "mine"

        def test_inside(mme_aws):
            assert boto3.client("s3").meta.region_name == "us-east-1"
            assert os.environ["AWS_ACCESS_KEY_ID"] == "pytest-mme"
            assert "AWS_PROFILE" not in os.environ
            assert os.environ["AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"] == mme_aws.url

        def test_a_call(mme_endpoint, mme_models):
            model = mme_models.linear()
            assert mme_endpoint([model]).invoke(model, [1.0]) == model.answer([1.0])

        def test_afterwards():
            ignored = {"PYTEST_CURRENT_TEST"}
            assert {k: v for k, v in os.environ.items() if k not in ignored} == {
                k: v for k, v in before.items() if k not in ignored
            }
            assert boto3.DEFAULT_SESSION is session
        """
    )
    inner.runpytest_subprocess().assert_outcomes(passed=3)


def test_real_credentials_are_refused(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        import boto3
        import pytest
        from botocore.exceptions import ClientError

        def test_real(mme_endpoint, mme_models):
            endpoint = mme_endpoint(mme_models.fleet(1), name="ranking")
            client = boto3.client("sagemaker-runtime", aws_access_key_id="AKIA" + "A1B2C3D4E5F6G7H8",
                                  aws_secret_access_key="secret")
            with pytest.raises(ClientError, match="refuses the access key AKIA…: it looks like a real one"):
                client.invoke_endpoint(EndpointName="ranking", TargetModel="model-0.tar.gz", Body=b"{}")
        """
    )
    inner.runpytest_subprocess().assert_outcomes(passed=1)
