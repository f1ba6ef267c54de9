import support
from bundles import one, pytest_generate_tests, require  # noqa: F401


def pytest_configure() -> None:
    require(support.BIN)
