"""The report of a run: the page, as a browser shows it, and the summary in the terminal."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from pytest_mme.report.summary import Summary
from tests.lacking import lacking

pytestmark = pytest.mark.slow

RUN = """
    import contextlib

    import pytest
    from botocore.exceptions import ClientError

    def test_eviction(mme_endpoint, mme_models, mme_faults):
        models = mme_models.fleet(3, weights_mib=30)
        endpoint = mme_endpoint(models, name="ranking", fits=2)
        for model in (*models, *models):
            endpoint.invoke(model, [1.0])
        mme_faults(endpoint).kill(models[2])
        with contextlib.suppress(ClientError):
            endpoint.invoke(models[2], [1.0])
        endpoint.check_capacity(3)

    @pytest.mark.xfail
    def test_known(mme_server):
        mme_server().ping()
        raise OSError("</script><b>is text</b>")

    def test_passing(mme_server, mme_models):
        server, model = mme_server(), mme_models.linear("other")
        server.load(model)
        server.invoke(model, [1.0])

    @pytest.mark.xfail
    def test_no_start(mme_server):
        mme_server(memory_mib=-1)

    def test_without_a_server():
        pass
"""


@pytest.fixture
def browser() -> Iterator[webdriver.Chrome]:
    """Chromium, without a window and without a network."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        lacking("there is no chromium with its driver: tools/browser.sh installs them")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--window-size=1300,1400", "--proxy-server=127.0.0.1:9"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory(dir="/tmp") as short:  # Chromium puts a socket there, whose path must be
        service = webdriver.ChromeService(driver, env={**os.environ, "TMPDIR": short})
        opened = webdriver.Chrome(options=options, service=service)
        try:
            yield opened
        finally:
            opened.quit()


def drawn(browser: webdriver.Chrome) -> None:
    WebDriverWait(browser, 60).until(lambda one: one.execute_script("return document.documentElement.dataset.drawnMs"))


def lanes(browser: webdriver.Chrome) -> set[str]:
    return {label.text for label in browser.find_elements(By.CSS_SELECTOR, "#lanes .ytick text")}


def text(browser: webdriver.Chrome, identifier: str) -> str:
    return browser.find_element(By.ID, identifier).text


def test_the_page_shows_every_test_with_a_server(inner: pytest.Pytester, browser: webdriver.Chrome) -> None:
    inner.makepyfile(RUN)
    result = inner.runpytest_subprocess("-n", "2", "--mme-report=report.html", "--mme-seed=7")
    result.assert_outcomes(passed=2, failed=1, xfailed=2)
    result.stdout.fnmatch_lines(["mme: the report is *report.html"])
    page = inner.path / "report.html"
    assert not re.search(r"(src|href)=[\"']?http", re.sub(r"<script>.*?</script>", "", page.read_text(), flags=re.S))
    browser.get(page.as_uri())
    drawn(browser)
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]
    _shows_the_failure_first(browser)
    _filters_by_model(browser)
    _zooms_into_both_charts(browser)
    _goes_to_another_test_by_keyboard(browser)
    _tells_why_a_server_did_not_start(browser)
    _changes_its_colours(browser)


def _shows_the_failure_first(browser: webdriver.Chrome) -> None:
    head = browser.find_element(By.TAG_NAME, "header").text
    for words in ("1 failed", "pytest-mme 0.", "runtime local, tensorflow 2.", "seed=7 (command line)"):
        assert words in head
    assert "test_eviction: failed" in text(browser, "one-title")
    assert lanes(browser) == {"model-0", "model-1", "model-2"}
    assert {"resident", "load", "invoke", "evict", "crash"} <= {
        label.text for label in browser.find_elements(By.CSS_SELECTOR, "#lanes .legendtext")
    }
    assert "limit of ranking" in text(browser, "memory")
    assert "model-1" in text(browser, "few")
    assert "2 models were in memory at once, not 3" in text(browser, "reason")
    assert "2 models were in memory at once, not 3" in text(browser, "failure")
    assert "mme timeline" in text(browser, "evidence")
    assert "0 is the first request" in text(browser, "zero")
    rows = browser.find_elements(By.CSS_SELECTOR, "#tests tbody tr")
    outcomes = [row.find_elements(By.TAG_NAME, "td")[1].text for row in rows]
    assert "2 models were in memory" in rows[0].find_elements(By.TAG_NAME, "td")[2].text
    assert (outcomes[0], sorted(outcomes)) == ("failed", ["failed", "passed", "xfailed", "xfailed"])
    assert "evict" in text(browser, "events")


def _filters_by_model(browser: webdriver.Chrome) -> None:
    field = browser.find_element(By.ID, "model")
    field.send_keys("EL-1")
    assert lanes(browser) == {"model-1"}
    models = [
        row.find_elements(By.TAG_NAME, "td")[3].text
        for row in browser.find_elements(By.CSS_SELECTOR, "#events tbody tr")
    ]
    assert set(models) <= {"model-1", ""}
    assert "model-1" in models
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys("nothing")
    assert text(browser, "lanes") == "nothing was recorded"
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys(Keys.DELETE)
    assert len(lanes(browser)) == 3


def _zooms_into_both_charts(browser: webdriver.Chrome) -> None:
    def seen(chart: str) -> list[float]:
        return [round(one, 3) for one in browser.execute_script(f"return {chart}.layout.xaxis.range")]

    everything = seen("lanes")
    for zoomed, other in (("lanes", "memory"), ("memory", "lanes")):
        browser.execute_script(f"Plotly.relayout({zoomed}, {{'xaxis.range[0]': 0.5, 'xaxis.range[1]': 1}})")
        WebDriverWait(browser, 10).until(lambda _: seen("lanes") == seen("memory") == [0.5, 1])
        browser.execute_script(f"Plotly.relayout({other}, {{'xaxis.autorange': true}})")
        WebDriverWait(browser, 10).until(lambda _: seen("lanes") == seen("memory") == everything)


def _goes_to_another_test_by_keyboard(browser: webdriver.Chrome) -> None:
    link = _focused_after_tabs(browser, "test_passing")
    link.send_keys(Keys.ENTER)
    WebDriverWait(browser, 10).until(lambda one: "test_passing: passed" in text(one, "one-title"))
    assert lanes(browser) == {"other"}
    assert browser.switch_to.active_element.get_attribute("id") == "one-title"


def _tells_why_a_server_did_not_start(browser: webdriver.Chrome) -> None:
    _focused_after_tabs(browser, "test_no_start").send_keys(Keys.ENTER)
    WebDriverWait(browser, 10).until(lambda one: "test_no_start: xfailed" in text(one, "one-title"))
    assert "memory_mib" in text(browser, "failure")
    assert text(browser, "lanes") == "nothing was recorded"


def _focused_after_tabs(browser: webdriver.Chrome, wanted: str) -> WebElement:
    browser.find_element(By.ID, "test").send_keys(Keys.TAB)
    for _ in range(20):
        focused = browser.switch_to.active_element
        if wanted in focused.text:
            return focused
        focused.send_keys(Keys.TAB)
    raise AssertionError(f"no tab leads to {wanted}")


def _changes_its_colours(browser: webdriver.Chrome) -> None:
    def colour() -> str:
        return str(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))

    light = colour()
    browser.find_element(By.ID, "theme").send_keys(Keys.ENTER)
    assert colour() != light


def test_the_terminal_and_junit_summarise_what_servers_did(inner: pytest.Pytester) -> None:
    inner.makepyfile(RUN)
    result = inner.runpytest_subprocess("-n", "2", "--junitxml=report.xml")
    result.stdout.fnmatch_lines(
        [
            "*mme: what the servers and endpoints did*",
            "test, server * requests * failed * hits * evicted * OOMs * crashes * p50 ms * p99 ms",
            "test_eviction, ranking*",
            "* 7 * 1 *",
        ]
    )
    (shown,) = re.findall(r"slowest loads: (.*)", result.stdout.str())
    loads = re.findall(r"(\S+) (\d+) ms", shown)
    assert len(loads) == 5
    assert {name for name, _ in loads} <= {"model-0", "model-1", "model-2", "other"}
    assert loads == sorted(loads, key=lambda one: -int(one[1]))
    properties = [one.get("value") or "" for one in ET.parse(inner.path / "report.xml").iter("property")]
    found = {one.server: one for one in map(Summary.from_json, filter(_is_summary, properties))}
    assert (found["ranking"].requests, found["ranking"].crashes) == (7, 1)
    assert found["ranking"].evictions >= 4


def _is_summary(value: str) -> bool:
    return '"evictions"' in value


def test_a_run_without_servers_has_no_summary(inner: pytest.Pytester) -> None:
    inner.makepyfile("def test_it(): pass")
    assert "what the servers" not in inner.runpytest_subprocess().stdout.str()


def test_the_page_of_a_run_without_servers_says_so(inner: pytest.Pytester) -> None:
    inner.makepyfile("def test_it(): pass")
    inner.runpytest_subprocess("--mme-report=report.html").assert_outcomes(passed=1)
    assert "no test used a server" in (inner.path / "report.html").read_text()


def test_a_page_that_cannot_be_written_ends_the_run_before_it_begins(inner: pytest.Pytester, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = inner.runpytest_subprocess(f"--mme-report={tmp_path}/file/report.html")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*report.html cannot be written: *"])


def test_the_failure_of_a_test_is_shown_whatever_happens_to_its_evidence(inner: pytest.Pytester) -> None:
    """Try names that look like markup, an exception whose str() fails, and a report whose path becomes a folder."""
    inner.makepyfile("""
        import pathlib

        import pytest

        class Mute(Exception):
            def __str__(self):
                raise RuntimeError("mute")

        @pytest.mark.parametrize("name", ["/a", "b"])
        def test_names(mme_server, name):
            mme_server().ping()

        def test_mute(mme_server):
            mme_server().ping()
            raise Mute

        def test_own():
            pathlib.Path("report.html").unlink()
            pathlib.Path("report.html").mkdir()
            raise OSError("my own failure")
    """)
    result = inner.runpytest_subprocess("--mme-report=report.html", "--tb=short")
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(
        [
            "*test_mute*",
            "*mme timeline*",
            "*OSError: my own failure*",
            "*mme: --mme-report=*report.html cannot be written: Is a directory*",
        ]
    )
    assert "the report is" not in result.stdout.str()


def test_the_page_shows_failures_of_the_test_and_of_its_tear_down(
    inner: pytest.Pytester, browser: webdriver.Chrome
) -> None:
    """The page also shows text that a browser could take for the beginning of a script."""
    inner.makepyfile("""
        import pytest

        @pytest.fixture
        def leaving(mme_server):
            mme_server().ping()
            yield
            raise OSError("then the tear-down")

        def test_it(leaving):
            raise OSError("first <!-- <script> the test")
    """)
    inner.runpytest_subprocess("--mme-report=report.html").assert_outcomes(failed=1, errors=1)
    browser.get((inner.path / "report.html").as_uri())
    drawn(browser)
    assert "test_it: failed" in text(browser, "one-title")
    for shown in ("first <!-- <script> the test", "then the tear-down"):
        assert shown in text(browser, "failure")
    assert "mme timeline" in text(browser, "evidence")


def test_a_repeated_test_begins_with_empty_evidence(inner: pytest.Pytester) -> None:
    inner.makeconftest("""
        from _pytest.runner import runtestprotocol

        def pytest_runtest_protocol(item, nextitem):
            for _ in range(2):
                for report in runtestprotocol(item, nextitem=nextitem, log=False):
                    item.ihook.pytest_runtest_logreport(report=report)
            return True
    """)
    inner.makepyfile("""
        tries = []

        def test_it(mme_server):
            mme_server().ping()
            tries.append(1)
            assert len(tries) == 2
    """)
    inner.runpytest_subprocess("--mme-report=report.html").assert_outcomes(failed=1, passed=1)
    page = (inner.path / "report.html").read_text()
    assert page.count('"outcome":"passed"') == page.count('"outcome":"failed"') == 1
