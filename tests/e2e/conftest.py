import pytest
import support


def pytest_configure(config: pytest.Config) -> None:
    if not support.BIN.exists():
        pytest.exit(f"{support.BIN} is not built", returncode=2)
    if not support.cases():
        pytest.exit(f"no unpacked cores below {support.CORPORA}: run corpora/tools/unpack.sh", returncode=2)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """@pytest.mark.cores(mode=…, build=…) runs a test once for each bundled core that fits."""
    mark = metafunc.definition.get_closest_marker("cores")
    if mark:
        cases = support.cases(**mark.kwargs)
        assert cases, f"no core for {mark.kwargs}"
        metafunc.parametrize("case", cases, ids=str)
