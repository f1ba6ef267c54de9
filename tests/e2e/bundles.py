"""Which bundled cores a test runs on; for the conftest.py of each test folder.

@pytest.mark.cores(mode=…, build=…, versions=…) runs a test once for each bundled core that fits; a mark that fits none is an error.
"""
import pytest
import support


def require(*built: object) -> None:
    """Ends the run when the things under test are not built, or the cores not unpacked."""
    for path in built:
        if not path.exists():
            pytest.exit(f"{path} is not built", returncode=2)
    if not support.cases():
        pytest.exit(f"no unpacked cores below {support.CORPORA}: run corpora/tools/unpack.sh", returncode=2)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    mark = metafunc.definition.get_closest_marker("cores")
    if mark:
        wanted = dict(mark.kwargs)
        versions = wanted.pop("versions", None)
        cases = [case for case in support.cases(**wanted) if versions is None or case.version in versions]
        assert cases, f"no core for {mark.kwargs}"
        metafunc.parametrize("case", cases, ids=str)


@pytest.fixture(scope="session")
def one() -> support.Case:
    """The newest core of parked goroutines, with DWARF."""
    return support.cases(mode="waits", build="dwarf")[-1]
