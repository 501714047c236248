"""The environment of AWS clients: dummy credentials, the runtime's address, and the guard against real credentials."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator

from pytest_mme.aws import wire

_ENDPOINT_URL = "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"
_DUMMIES = {
    "AWS_ACCESS_KEY_ID": "pytest-mme",
    "AWS_SECRET_ACCESS_KEY": "pytest-mme",
    "AWS_SESSION_TOKEN": "pytest-mme",
    "AWS_DEFAULT_REGION": wire.REGION,
    "AWS_CONFIG_FILE": os.devnull,  # a profile there may name real credentials or other endpoints
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}
_UNSET = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "AWS_REGION")
_NO_PROXY = ("NO_PROXY", "no_proxy")
_CREDENTIAL = re.compile(r"Credential=([^/]+)/")
_REAL_ACCESS_KEY = re.compile(r"(AKIA|ASIA)(?!.*EXAMPLE$)[A-Z0-9]{16}")


@contextlib.contextmanager
def for_clients(runtime_url: str) -> Iterator[None]:
    """Set this process's environment so that AWS clients use dummy credentials and reach SageMaker Runtime at a URL.

    Clients go there directly, whatever proxy is set. The environment of before is restored at the end.
    """
    past_proxies = {name: ",".join(filter(None, (os.environ.get(name), "127.0.0.1"))) for name in _NO_PROXY}
    values = {**_DUMMIES, **past_proxies, _ENDPOINT_URL: runtime_url}
    unset = (*_UNSET, *(name for name in os.environ if name.startswith("AWS_ENDPOINT_URL")))
    before = {name: os.environ.get(name) for name in (*values, *unset)}
    for name in unset:
        os.environ.pop(name, None)
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def refuse_real_credentials(authorization: str) -> None:
    """Raise `WireError` when a request's Authorization header holds an access key that looks like a real one.

    Real credentials must not end up in tests: the next client might reach the real service with them.
    """
    found = _CREDENTIAL.search(authorization)
    if found and _REAL_ACCESS_KEY.fullmatch(found[1]):
        raise wire.WireError(
            403,
            "AccessDeniedException",
            f"pytest-mme refuses the access key {found[1][:4]}…: it looks like a real one. Make the client inside the "
            "test, after the fixture mme_aws or mme_endpoint has set its dummy credentials, and give it no keys.",
        )
