from __future__ import annotations

import pytest

MODULE = """
    import pytest

    @pytest.mark.mme(memory=300)
    def test_misspelt():
        pass

    @pytest.mark.mme(300)
    def test_positional():
        pass

    @pytest.mark.mme(memory_mib=300)
    def test_fine():
        pass
"""


@pytest.mark.parametrize("arguments", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_a_mark_with_an_unknown_keyword_fails_its_own_test_at_set_up(
    inner: pytest.Pytester, arguments: tuple[str, ...]
) -> None:
    inner.makepyfile(MODULE)
    result = inner.runpytest_subprocess(*arguments)
    result.assert_outcomes(passed=1, errors=2)
    result.stdout.fnmatch_lines(
        ["*@pytest.mark.mme does not know memory; it takes admission, code, cpus, *memory_mib*"]
    )
    result.stdout.fnmatch_lines(["*@pytest.mark.mme takes keyword arguments only*"])


def test_marks_are_defaults_for_the_factories(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        import pytest

        pytestmark = pytest.mark.mme(memory_mib=111, eviction="fifo")

        def memory(server):
            return server.client.memory().json()["limit_bytes"] / 2**20

        def test_module(mme_server):
            assert memory(mme_server()) == 111

        @pytest.mark.mme(memory_mib=222)
        def test_nearest_wins(mme_server, mme_endpoint, mme_models):
            assert memory(mme_server()) == 222
            assert memory(mme_server(memory_mib=333)) == 333
            assert memory(mme_endpoint([mme_models.linear()]).running) == 222
        """
    )
    inner.runpytest_subprocess().assert_outcomes(passed=2)
