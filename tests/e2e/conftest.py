import signal

import support
from bundles import one, pytest_generate_tests, require  # noqa: F401


def pytest_configure() -> None:
    require(support.BIN)
    # What a shell starts in the background ignores SIGQUIT, and so would the programs that die of it here.
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
