"""What the source makes of what Kubernetes says; how it survives faults: test_kubernetes_faults."""

import copy
import logging
from pathlib import Path

import pytest
from pydantic import ValidationError

from collectors.discovery import open_sources
from collectors.discovery.kubernetes import KubernetesSource
from collectors.discovery.settings import KubernetesDiscovery
from tests.collectors.discovery.kubernetes_harness import (
    SERVICE,
    Bench,
    Counts,
    benched,
    ends,
    pod,
    pool,
    slice_of,
)


def test_a_service_is_its_ready_endpoints_with_what_pods_labels_say(tmp_path: Path) -> None:
    async def use(bench: Bench) -> None:
        bench.api.put(SERVICE)
        bench.api.put(pod(1, foretoken_dev__hardware="x"))
        labelled = pod(2, **{"nvidia.com__gpu.product": "H100", "llm_d.ai__role": "decode"})
        labelled["metadata"]["annotations"] = {
            "foretoken.dev/model": "org/base",
            "foretoken.dev/priority-class": "1",
        }
        bench.api.put(labelled)
        bench.api.put(slice_of(*ends(1, 2), *ends(3, ready=False)))
        bench.start(service="vllm")

        await bench.told.comes("10.0.0.1:8000", "10.0.0.2:8000")

    bench = benched(tmp_path, use)

    second = bench.told.sets[0][1]
    assert (second.hardware, second.model, second.role) == ("H100", "org/base", "decode")
    assert second.priority_class == 1
    assert len(bench.told.sets) == 1
    assert bench.counts.failures == []


def test_an_endpoint_that_terminates_leaves_even_while_it_still_serves(tmp_path: Path) -> None:
    async def use(bench: Bench) -> None:
        bench.api.put(SERVICE)
        bench.api.put(slice_of(*ends(1, 2)))
        bench.start(service="vllm")
        await bench.told.comes("10.0.0.1:8000", "10.0.0.2:8000")

        leaving = ends(2, ready=False, serving=True, terminating=True)
        bench.api.put(slice_of(*ends(1), *leaving))
        await bench.told.comes("10.0.0.1:8000")

        bench.api.put(slice_of(*ends(1, 3)))
        await bench.told.comes("10.0.0.1:8000", "10.0.0.3:8000")

    benched(tmp_path, use)


def test_a_pod_that_is_being_deleted_leaves_before_its_slice_says_so(tmp_path: Path) -> None:
    async def use(bench: Bench) -> None:
        bench.api.store.lingering = True
        bench.api.put(SERVICE)
        bench.api.put(pod(1))
        bench.api.put(pod(2))
        bench.api.put(slice_of(*ends(1, 2)))
        bench.start(service="vllm")
        await bench.told.comes("10.0.0.1:8000", "10.0.0.2:8000")
        await bench.api.watched("pods")

        bench.api.delete("Pod", "vllm-2")

        await bench.told.comes("10.0.0.1:8000")

    benched(tmp_path, use)


def test_a_pool_is_every_target_port_of_its_ready_pods(tmp_path: Path) -> None:
    async def use(bench: Bench) -> None:
        bench.api.put(pool(8000, 8001))
        bench.api.put(pod(1))
        bench.api.put(pod(2, ready=False))
        bench.api.put(pod(3, app="other"))
        bench.start(pool="pool")

        await bench.told.comes("10.0.0.1:8000", "10.0.0.1:8001")

    benched(tmp_path, use)


def test_pods_of_a_pool_come_and_go_as_they_are_ready_labelled_and_deleted(tmp_path: Path) -> None:
    async def use(bench: Bench) -> None:
        bench.api.store.lingering = True
        bench.api.put(pool())
        bench.api.put(pod(1))
        bench.start(pool="pool")
        await bench.told.comes("10.0.0.1:8000")
        await bench.api.watched("pods")

        bench.api.put(pod(2, ready=False))
        bench.api.put(pod(2))
        await bench.told.comes("10.0.0.1:8000", "10.0.0.2:8000")

        bench.api.put(pod(2, app="maintenance"))  # labels no longer match
        await bench.told.comes("10.0.0.1:8000")

        bench.api.put(pod(3))
        await bench.told.comes("10.0.0.1:8000", "10.0.0.3:8000")
        bench.api.delete("Pod", "vllm-1")  # marked: it leaves, though it is still there
        await bench.told.comes("10.0.0.3:8000")
        bench.api.finish("Pod", "vllm-1")

    benched(tmp_path, use)


def test_a_changed_label_changes_the_endpoint(tmp_path: Path) -> None:
    async def use(bench: Bench) -> None:
        bench.api.put(pool())
        bench.api.put(pod(1, foretoken_dev__hardware="l4"))
        bench.start(pool="pool")
        await bench.told.comes("10.0.0.1:8000")
        await bench.api.watched("pods")

        bench.api.put(pod(1, foretoken_dev__hardware="h100"))

        await bench.told.until(lambda: bench.told.sets[-1][0].hardware == "h100")

    benched(tmp_path, use)


def test_hardware_is_known_from_the_node_selector_where_no_label_says_it(tmp_path: Path) -> None:
    async def use(bench: Bench) -> None:
        placed = pod(1)
        placed["spec"]["nodeSelector"] = {"cloud.google.com/gke-accelerator": "nvidia-l4"}
        bench.api.put(pool())
        bench.api.put(placed)
        bench.start(pool="pool")
        await bench.told.comes("10.0.0.1:8000")

    assert benched(tmp_path, use).told.sets[0][0].hardware == "nvidia-l4"


def test_another_selector_of_the_pool_selects_other_pods_without_a_gap(tmp_path: Path) -> None:
    async def use(bench: Bench) -> None:
        bench.api.put(pool())
        bench.api.put(pod(1))
        bench.api.put(pod(2, app="next"))
        bench.start(pool="pool")
        await bench.told.comes("10.0.0.1:8000")
        await bench.api.watched("inferencepools")

        bench.api.put(pool(app="next"))
        await bench.told.comes("10.0.0.2:8000")

    assert benched(tmp_path, use).told.names == [["10.0.0.1:8000"], ["10.0.0.2:8000"]]


def test_a_pool_that_is_deleted_has_no_endpoints(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def use(bench: Bench) -> None:
        bench.api.put(pool())
        bench.api.put(pod(1))
        bench.start(pool="pool")
        await bench.told.comes("10.0.0.1:8000")
        await bench.api.watched("inferencepools")

        bench.api.delete("InferencePool", "pool")
        await bench.told.comes()

    with caplog.at_level(logging.WARNING):
        benched(tmp_path, use)

    (record,) = [one for one in caplog.records if one.msg == "discovery_missing"]
    assert record.__dict__["problem"] == "there is no 'pool' among inferencepools"


def test_pools_of_the_older_api_are_understood(tmp_path: Path) -> None:
    async def use(bench: Bench) -> None:
        older = {
            "apiVersion": "inference.networking.x-k8s.io/v1alpha2",
            "kind": "InferencePool",
            "metadata": {"name": "pool"},
            "spec": {"selector": {"app": "vllm"}, "targetPortNumber": 8080},
        }
        bench.api.put(older)
        bench.api.put(pod(1))
        bench.start(pool="pool", pool_api="v1alpha2")
        await bench.told.comes("10.0.0.1:8080")

    benched(tmp_path, use)


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        ([], ["10.0.0.1:8000"]),
        (["metrics"], ["10.0.0.1:9000"]),
        ([8001, "http"], ["10.0.0.1:8001", "10.0.0.1:8000"]),
    ],
    ids=["the one named http", "by name", "several"],
)
def test_ports_of_a_service_are_chosen(
    tmp_path: Path, ports: list[int | str], expected: list[str]
) -> None:
    async def use(bench: Bench) -> None:
        both = [{"name": "metrics", "port": 9000}, {"name": "http", "port": 8000}]
        bench.api.put(SERVICE)
        bench.api.put(slice_of(*ends(1), ports=both))
        bench.start(service="vllm", ports=ports)
        await bench.told.comes(*expected)

    benched(tmp_path, use)


def test_ports_of_a_pool_may_be_named_by_its_containers(tmp_path: Path) -> None:
    async def use(bench: Bench) -> None:
        bench.api.put(pool(9999))
        bench.api.put(pod(1))
        bench.start(pool="pool", ports=["rank1"])
        await bench.told.comes("10.0.0.1:8001")

    benched(tmp_path, use)


def test_a_port_that_is_not_there_is_said_once_and_has_no_endpoint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def use(bench: Bench) -> None:
        bench.api.put(SERVICE)
        two = [{"name": "a", "port": 1}, {"name": "b", "port": 2}]
        bench.api.put(slice_of(*ends(1, 2), ports=two))
        bench.start(service="vllm")
        await bench.told.comes()

    with caplog.at_level(logging.WARNING):
        benched(tmp_path, use)

    (record,) = [one for one in caplog.records if one.msg == "port_unclear"]
    assert "wanted is the only one, there are a, b" in record.__dict__["problem"]


def test_an_endpoint_of_two_families_and_of_two_slices_is_one(tmp_path: Path) -> None:
    async def use(bench: Bench) -> None:
        bench.api.put(SERVICE)
        first = ends(1)
        six = [{**first[0], "addresses": ["fd00::1"]}]
        only_six = [{**ends(2)[0], "addresses": ["FD00::2"]}]
        bench.api.put(slice_of(*six, *only_six, name="a", addressType="IPv6"))
        bench.api.put(slice_of(*first, name="b"))
        bench.api.put(slice_of(*first, name="c"))
        bench.api.put(slice_of(name="d", endpoints=None, ports=[]))
        bench.start(service="vllm")
        await bench.told.comes("10.0.0.1:8000", "[fd00::2]:8000")

    benched(tmp_path, use)


def test_a_service_without_selector_needs_no_pods(tmp_path: Path) -> None:
    async def use(bench: Bench) -> None:
        bench.api.put({**SERVICE, "spec": {}})
        bench.api.put(slice_of({"addresses": ["10.9.9.9"]}, ports=[]))
        bench.start(service="vllm", port=8080)
        await bench.told.comes("10.9.9.9:8080")

    bench = benched(tmp_path, use)

    assert not [
        one for one in bench.api.seen if one.target.startswith("/api/v1/namespaces/default/pods")
    ]


def test_where_pods_may_not_be_read_endpoints_come_without_their_labels(tmp_path: Path) -> None:
    async def use(bench: Bench) -> None:
        bench.api.forbidden.add("pods")
        bench.api.put(SERVICE)
        bench.api.put(pod(1, foretoken_dev__hardware="h100"))
        labelled = slice_of(*ends(1))
        labelled["metadata"]["labels"]["foretoken.dev/hardware"] = "of the service"
        bench.api.put(labelled)
        bench.start(service="vllm")
        await bench.told.comes("10.0.0.1:8000")

    bench = benched(tmp_path, use)

    assert bench.told.sets[0][0].hardware == "of the service"
    assert "denied" in bench.counts.failures


def test_a_pool_that_may_not_be_read_tells_nothing(tmp_path: Path) -> None:
    async def use(bench: Bench) -> None:
        bench.api.forbidden.add("inferencepools")
        bench.pauses.held = True
        bench.start(pool="pool")
        await bench.pauses.number(1)

    assert benched(tmp_path, use).told.sets == []


def test_what_can_be_no_endpoint_is_left_out_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def use(bench: Bench) -> None:
        bench.api.put(SERVICE)
        odd = {"addresses": ["not an address/"]}
        bench.api.put(slice_of(odd, *ends(1)))
        bench.start(service="vllm")
        await bench.told.comes("10.0.0.1:8000")
        await bench.api.watched("endpointslices")
        bench.api.put(slice_of(odd, *ends(1, 2)))
        await bench.told.comes("10.0.0.1:8000", "10.0.0.2:8000")

    with caplog.at_level(logging.WARNING):
        benched(tmp_path, use)

    assert [one.msg for one in caplog.records].count("endpoint_unusable") == 1


def test_lists_longer_than_a_page_are_read_whole(tmp_path: Path) -> None:
    async def use(bench: Bench) -> None:
        bench.api.put(pool())
        for number in range(1, 600):
            one = copy.deepcopy(pod(1))
            one["metadata"]["name"] = f"vllm-{number:03d}"
            one["status"]["podIP"] = f"10.0.{number // 200}.{number % 200}"
            bench.api.put(one)
        bench.start(pool="pool")
        await bench.told.until(lambda: bool(bench.told.sets))

    bench = benched(tmp_path, use)

    pages = [one for one in bench.api.seen if "/pods?" in one.target and "watch" not in one.target]
    assert len(bench.told.sets[0]) == 599
    assert len(pages) == 3


@pytest.mark.parametrize("given", [{}, {"service": "a", "pool": "b"}, {"service": "a/../b"}])
def test_settings_that_name_no_one_thing_are_refused(given: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        KubernetesDiscovery.model_validate(given)


def test_a_table_of_the_configuration_opens_a_source() -> None:
    settings = KubernetesDiscovery(service="a", source="prod")

    assert isinstance(open_sources([settings], Counts())["prod"], KubernetesSource)
