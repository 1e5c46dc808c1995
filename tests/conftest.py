"""What every test shares: one Hypothesis profile, one flag, one certificate."""

import subprocess
from pathlib import Path

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


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Make a certificate for loopback, which is its own authority, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    files = ["-nodes", "-days", "2", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([*command, *files, *names], check=True, capture_output=True)
    return cert, key
