import pytest

from collectors.discovery import LabelReader, label_table
from collectors.discovery.drafts import Drafts
from collectors.discovery.settings import FileDiscovery
from collectors.errors import EndpointUnusable


def test_a_malformed_value_costs_its_attribute_alone_and_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reader = LabelReader({}, source="file")
    labels = {"foretoken.dev/hardware": "l4", "foretoken.dev/priority_class": "high"}

    found = [reader.read(name, labels) for name in ("a:1", "b:1")]

    assert found == [{"hardware": "l4"}, {"hardware": "l4"}]
    (record,) = [one for one in caplog.records if one.message == "label_unusable"]
    assert vars(record)["attribute"] == "priority_class"


@pytest.mark.parametrize("value", ["-1", "10", "1.5", "", "²", "9" * 40])
def test_counts_out_of_bounds_are_no_counts(value: str) -> None:
    assert LabelReader({}, source="s").read("a:1", {"foretoken.dev/priority_class": value}) == {}


def test_what_is_configured_comes_before_what_is_known() -> None:
    reader = LabelReader({"hardware": ("corp/gpu",)}, source="s")
    labels = {"nvidia.com/gpu.product": "NVIDIA-H100", "corp/gpu": "h100_sxm"}

    assert reader.read("a:1", labels) == {"hardware": "h100_sxm"}
    assert reader.read("a:1", {"nvidia.com/gpu.product": "NVIDIA-H100"}) == {
        "hardware": "NVIDIA-H100"
    }


def test_every_attribute_has_a_name_of_ours() -> None:
    for attribute, names in label_table().items():
        assert f"foretoken.dev/{attribute}" in names


def test_labels_cannot_name_a_secret() -> None:
    drafts = Drafts(FileDiscovery(files=("x",)))

    endpoint = drafts.endpoint("a", 1, {"foretoken.dev/api_key_env": "HOME"})

    assert endpoint.api_key_env is None


def test_what_the_source_says_holds_for_all_and_labels_for_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FLEET_KEY", "secret")
    settings = FileDiscovery(
        files=("x",),
        scheme="https",
        port=9000,
        hardware="l4",
        priority_class=2,
        api_key_env="FLEET_KEY",
        kv_events_port=5557,
        kv_replay_port=5558,
    )
    drafts = Drafts(settings)

    endpoint = drafts.endpoint("2001:DB8::0:1", None, {"foretoken.dev/hardware": "h100"})

    assert endpoint.url == "https://[2001:db8::1]:9000"
    assert endpoint.name == "[2001:db8::1]:9000"
    assert (endpoint.hardware, endpoint.priority_class) == ("h100", 2)
    assert endpoint.api_key == "secret"
    assert endpoint.kv_events is not None
    assert endpoint.kv_events.address == "tcp://[2001:db8::1]:5557"
    assert endpoint.kv_events.replay == "tcp://[2001:db8::1]:5558"


@pytest.mark.parametrize(("host", "port"), [("", 1), ("a b", 1), ("a/b", 1), ("a", 99999)])
def test_what_is_no_address_is_no_endpoint(host: str, port: int) -> None:
    with pytest.raises(EndpointUnusable):
        Drafts(FileDiscovery(files=("x",))).endpoint(host, port)
