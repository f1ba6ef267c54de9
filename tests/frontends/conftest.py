"""Cores and the command are found as in tests/e2e; a debugger that is not installed skips its tests, and says so."""
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import support  # noqa: E402


def pytest_configure(config: pytest.Config) -> None:
    if not support.BIN.exists():
        pytest.exit(f"{support.BIN} is not built", returncode=2)
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


@pytest.fixture
def fake(tmp_path: pathlib.Path):
    """fake(body): an executable shell script that stands in for the command."""
    def make(body: str) -> str:
        path = tmp_path / "incident"
        path.write_text("#!/bin/sh\n" + body + "\n")
        path.chmod(0o755)
        return str(path)
    return make
