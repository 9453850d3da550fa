"""What every live test needs: root, the program, clean-up after dead runs, and the gateways' logs beside a failure."""
import os
import signal

import pytest

import lab as lab_module
from lab import BINARY, Lab


def pytest_sessionstart(session):
    if session.config.option.collectonly:
        return
    if os.geteuid() != 0 and os.environ.get("CI") == "true":
        pytest.exit("the live tests need root, and in CI they are not optional", returncode=1)
    signal.signal(signal.SIGTERM, signal.default_int_handler)       # a time limit's SIGTERM cleans up as ctrl-C does
    if os.geteuid() == 0:
        if not os.access(BINARY, os.X_OK):
            pytest.exit(f"no program at {BINARY}: swift build -c release --product causeway, or set CAUSEWAY_BIN", returncode=1)
        lab_module.remove_leftovers()


def pytest_collection_modifyitems(items):
    if os.geteuid() != 0:
        for item in items:
            item.add_marker(pytest.mark.skip(reason="needs root, for network namespaces"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for live in Lab.live:
            for gateway in live.gateways.values():
                text = "\n".join(gateway.log().splitlines()[-40:])
                report.sections.append((f"log of gateway {gateway.name} ({gateway.kind})", text or "(empty)"))
                answer = gateway.show("drops")      # None once it has ended
                report.sections.append((f"drops of gateway {gateway.name}", str(answer and answer["drops"])))


def labs():
    """Makes labs that end with what asked for them."""
    made = []

    def make(**options):
        made.append(Lab(**options))
        return made[-1]

    yield make
    for lab in made:
        lab.close()


make_lab = pytest.fixture(labs, name="make_lab")
# For tests that leave a mesh as they found it.
make_module_lab = pytest.fixture(labs, scope="module", name="make_module_lab")
