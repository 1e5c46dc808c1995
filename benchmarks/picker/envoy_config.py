"""The example configuration of Envoy with other ports and body modes put in."""

from collections.abc import Sequence
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "deploy" / "envoy" / "envoy.yaml"
_DUPLEX = "FULL_DUPLEX_STREAMED"
_LISTED = (8001, 8002)  # the endpoints of the example


def envoy_config(
    *,
    port: int,
    picker_port: int,
    admin_port: int,
    endpoint_ports: Sequence[int],
    modes: tuple[str, str] = (_DUPLEX, _DUPLEX),
) -> str:
    """Give the configuration.

    Args:
        port: Where Envoy listens.
        picker_port: Where the picker does.
        admin_port: Where Envoy's own pages are.
        endpoint_ports: At most two, on loopback.
        modes: Of the request's and of the response's body.
    """
    text = EXAMPLE.read_text()
    ports = {8080: port, 9002: picker_port, 9901: admin_port}
    ports |= dict(zip(_LISTED, endpoint_ports, strict=False))
    for listed, wanted in ports.items():
        text = text.replace(f"port_value: {listed}}}", f"port_value: {wanted}}}")
    for part, mode in zip(("request", "response"), modes, strict=True):
        text = text.replace(f"{part}_body_mode: {_DUPLEX}", f"{part}_body_mode: {mode}")
        if mode != _DUPLEX:
            text = text.replace(f"{part}_trailer_mode: SEND", f"{part}_trailer_mode: SKIP")
    return text
