"""What every test shares: one Hypothesis profile, one flag."""

import pytest
from hypothesis import settings

# Machines differ in speed, facts do not.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--regenerate", action="store_true", help="Write golden files anew; review the diff."
    )
