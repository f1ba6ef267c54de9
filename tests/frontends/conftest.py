"""Cores and the command are found as in tests/e2e; a debugger that is not installed skips its tests, and says so."""
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import support  # noqa: E402
from bundles import one, pytest_generate_tests, require  # noqa: E402, F401


def pytest_configure() -> None:
    require(support.BIN)


@pytest.fixture
def fake(tmp_path: pathlib.Path):
    """fake(body): an executable shell script that stands in for the command."""
    def make(body: str) -> str:
        path = tmp_path / "incident"
        path.write_text("#!/bin/sh\n" + body + "\n")
        path.chmod(0o755)
        return str(path)
    return make
