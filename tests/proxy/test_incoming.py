"""What is kept of a request when it is read."""

import json

from proxy.http_request import RequestHead
from proxy.incoming import read_request


def test_of_a_model_name_no_more_is_kept_than_a_name_can_be_long() -> None:
    head = RequestHead(
        method=b"POST", target=b"/v1/completions", path="/v1/completions", lines=[], named={}
    )
    body = json.dumps({"model": "y" * 100_000, "prompt": ""}).encode()

    incoming = read_request(head, body, request_id="r", arrived_s=0.0, include_usage=True)

    assert incoming.features.model == "y" * 512
    assert incoming.outgoing.body == body
