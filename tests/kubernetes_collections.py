"""Which collections the fake Kubernetes API has, as clients ask before they ask anything."""

from tests.kubernetes_store import RESOURCES, Object, Resource

VERSION = {"major": "1", "minor": "34", "gitVersion": "v1.34.0-fake", "platform": "linux/amd64"}
VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]


def collections_of(parts: tuple[str, ...]) -> Object | None:
    """Answer what clients ask to learn which collections there are."""
    match parts:
        case ("version",):
            return VERSION
        case ("api",):
            return {"kind": "APIVersions", "versions": ["v1"]}
        case ("apis",):
            groups = [one for one in RESOURCES if one.group]
            listed = {one.group: _group(one) for one in groups}
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": list(listed.values())}
        case ("api", version):
            return _collections("", version)
        case ("apis", group, version):
            return _collections(group, version)
    return None


def _group(resource: Resource) -> Object:
    version = {"groupVersion": resource.api_version, "version": resource.version}
    return {"name": resource.group, "versions": [version], "preferredVersion": version}


def _collections(group: str, version: str) -> Object:
    listed: list[Object] = []
    for one in RESOURCES:
        if (one.group, one.version) == (group, version):
            entry = {"name": one.plural, "singularName": one.kind.lower(), "kind": one.kind}
            more = {"namespaced": one.namespaced, "verbs": VERBS, "shortNames": [one.short]}
            listed.append({**entry, **more})
            if one.plural == "statefulsets":
                scale = {"name": "statefulsets/scale", "group": "autoscaling", "version": "v1"}
                verbs = {"verbs": ["get", "patch", "update"], "namespaced": True}
                listed.append({**scale, **verbs, "kind": "Scale", "singularName": ""})
    name = f"{group}/{version}" if group else version
    return {
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": listed
    }  # fmt: skip
