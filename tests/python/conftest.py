"""Cores and the command are found as in tests/e2e; the module is the one in the build tree."""
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import support  # noqa: E402
from bundles import one, pytest_generate_tests, require  # noqa: E402, F401

PACKAGE = support.BIN.parent / "python"
sys.path.insert(0, str(PACKAGE))


def pytest_configure() -> None:
    require(next((PACKAGE / "incident").glob("_core.*.so"), PACKAGE / "incident" / "_core.so"))


@pytest.fixture(scope="session")
def crashed() -> support.Case:
    return support.cases(mode="nilderef", build="dwarf")[-1]
