"""What every test shares: one Hypothesis profile, one flag."""

import pytest
from hypothesis import settings

from foretoken.kind import kind

# Machines differ in speed, facts do not.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--regenerate", action="store_true", help="Write golden files anew; review the diff."
    )
    parser.addoption(
        "--compiled", action="store_true", help="Refuse to test anything but a compiled build."
    )


def pytest_report_header(config: pytest.Config) -> str:
    if config.getoption("--compiled") and kind() != "compiled":
        raise pytest.UsageError("--compiled: what would be imported is not compiled")
    return f"foretoken: {kind()}"
