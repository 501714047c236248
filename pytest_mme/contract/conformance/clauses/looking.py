"""Ping, list and get: calls that change nothing."""

from __future__ import annotations

import concurrent.futures

from pytest_mme.contract import routes
from pytest_mme.contract.conformance.clauses.clause import clause, expect, expect_status
from pytest_mme.contract.conformance.exchange import object_of, page_of
from pytest_mme.contract.conformance.subject import opaque
from pytest_mme.contract.conformance.trial import Trial
from pytest_mme.errors import shown

_PAGE = 100  # the size of multi-model-server's pages, and the embedded server's; AWS documents none
_LOADERS = 4


@clause("ping.in-time", source="D")
def ping_in_time(trial: Trial) -> None:
    """The reply to a ping comes within 2 s."""
    trial.ping()


@clause("ping.200", source="D", needs=("ping.in-time",))
def ping_200(trial: Trial) -> None:
    """The reply to a ping is 200."""
    expect_status(trial.ping(), 200)


@clause("ping.empty", source="D", needs=("ping.in-time",))
def ping_empty(trial: Trial) -> None:
    """The reply to a ping has no body."""
    body = trial.ping().body
    expect(not body, f"the body has {len(body)} bytes")


@clause("list.200", source="O")
def list_200(trial: Trial) -> None:
    """The reply to a list is 200, also with nothing loaded: the platform calls it from the start, and a 404 fails the
    endpoint.
    """
    expect_status(trial.page(), 200)


@clause("list.empty", source="D", needs=("list.200",))
def list_empty(trial: Trial) -> None:
    """The list is {"models": […]}, and `models` is empty while nothing is loaded."""
    entries = page_of(trial.page()).entries
    trial.remark = f"{len(entries)} other models are listed" if entries else ""


@clause("list.fields", source="D", needs=("list.empty", "load.200"))
def list_fields(trial: Trial) -> None:
    """The list describes each loaded model by two strings, `modelName` and `modelUrl`."""
    trial.loaded()
    entries = trial.listed()
    expect(bool(entries), "a model is loaded, but the list is empty")
    for entry in entries:
        fields = entry if isinstance(entry, dict) else {}
        strings = all(isinstance(fields.get(name), str) for name in ("modelName", "modelUrl"))
        expect(strings, f"an entry of the list is {shown(entry)}")


@clause("list.models", source="D", needs=("list.fields",))
def list_models(trial: Trial) -> None:
    """The list names each loaded model once: its id as `modelName`, its folder as `modelUrl`."""
    for placed in (trial.loaded(), trial.loaded(trial.specimens.second)):
        entries = [entry for entry in trial.listed() if isinstance(entry, dict)]
        described = [entry for entry in entries if entry.get("modelName") == placed.identifier]
        expect(len(described) == 1, f"{placed.identifier} is loaded, but listed {len(described)} times")
        url = described[0].get("modelUrl")
        expect(url == placed.url, f"`modelUrl` is {shown(url)}, not {placed.url!r}, which it was loaded from")


@clause("list.last-page", source="D", needs=("list.empty", "load.200"))
def list_last_page(trial: Trial) -> None:
    """The last page of the list has no `nextPageToken`: it means that more models follow."""
    trial.loaded()
    _expect_full_pages(trial)


@clause("list.pages", source="D", needs=("list.models", "list.last-page"), optional="pages")
def list_pages(trial: Trial) -> None:
    """A list of more models than fit a page comes page by page: each model once, and no page is empty."""
    missing = -len(trial.listed()) % _PAGE
    with concurrent.futures.ThreadPoolExecutor(_LOADERS) as pool:
        ours = list(pool.map(lambda _: trial.loaded(), range(missing or _PAGE)))
    _expect_full_pages(trial)
    ours.append(trial.loaded())
    pages, names = _expect_full_pages(trial), trial.identifiers()
    odd = [placed.identifier for placed in ours if names.count(placed.identifier) != 1]
    expect(not odd, f"{len(odd)} of {len(ours)} loaded models are not listed exactly once")
    trial.remark = f"{len(names)} models on {pages} page{'s' if pages > 1 else ''}"


def _expect_full_pages(trial: Trial) -> int:
    """Return how many pages there are; raise `DeviationError` when one that a token led to is empty."""
    number = 0
    for number, page in enumerate(trial.pages(), start=1):
        expect(number == 1 or bool(page.entries), f"page {number} of the list is empty")
    return number


@clause("get.fields", source="D", needs=("load.200",))
def get_fields(trial: Trial) -> None:
    """A loaded model is described with its id as `modelName` and its folder as `modelUrl`."""
    placed = trial.loaded()
    described = object_of(expect_status(trial.get(placed.identifier), 200))
    for name, known in (("modelName", placed.identifier), ("modelUrl", placed.url)):
        expect(described.get(name) == known, f"`{name}` is {shown(described.get(name))}, not {known!r}")


@clause("get.404", source="D")
def get_404(trial: Trial) -> None:
    """Get of a model that is not loaded is 404."""
    expect_status(trial.get(opaque()), routes.NOT_LOADED)
