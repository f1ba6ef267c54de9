"""Cores and the command are found as in tests/e2e; the module is the one in the build tree."""
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import support  # noqa: E402

PACKAGE = support.BIN.parent / "python"
sys.path.insert(0, str(PACKAGE))


def pytest_configure(config: pytest.Config) -> None:
    if not support.cases():
        pytest.exit(f"no unpacked cores below {support.CORPORA}: run corpora/tools/unpack.sh", returncode=2)
    if not list((PACKAGE / "incident").glob("_core.*.so")):
        pytest.exit(f"the Python module is not built in {PACKAGE}", returncode=2)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    mark = metafunc.definition.get_closest_marker("cores")
    if mark:
        cases = support.cases(**mark.kwargs)
        assert cases, f"no core for {mark.kwargs}"
        metafunc.parametrize("case", cases, ids=str)


@pytest.fixture(scope="session")
def one() -> support.Case:
    """The newest core of parked goroutines, with DWARF."""
    return support.cases(mode="waits", build="dwarf")[-1]


@pytest.fixture(scope="session")
def crashed() -> support.Case:
    return support.cases(mode="nilderef", build="dwarf")[-1]
