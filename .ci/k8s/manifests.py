"""Rendered manifests, and the environment that a kubelet would create from them."""

import re
import sys

import yaml

WORKLOADS = ("Deployment", "StatefulSet", "Job")


def load(path):
    """The objects of a rendered file."""
    with open(path) as file:
        return [document for document in yaml.safe_load_all(file) if document]


def of(docs, *kinds):
    """The objects of these kinds."""
    return [doc for doc in docs if doc["kind"] in kinds]


def name(doc):
    """Kind and name, for a message."""
    return f"{doc['kind']} {doc['metadata']['name']}"


def pod(doc):
    """The pod spec of a workload."""
    return doc["spec"]["template"]["spec"]


def labels(doc):
    """The labels of a workload's pods."""
    return doc["spec"]["template"]["metadata"]["labels"]


def matches(selector, found):
    """Whether a label selector matches these labels; an empty one matches all."""
    for key, value in (selector or {}).get("matchLabels", {}).items():
        if found.get(key) != value:
            return False
    for rule in (selector or {}).get("matchExpressions", []):
        if rule["operator"] != "In":
            sys.exit(f"the operator {rule['operator']} is not known here")
        if found.get(rule["key"]) not in rule["values"]:
            return False
    return True


def replicas(docs, deployment):
    """The minimum number of pods."""
    for scaler in of(docs, "HorizontalPodAutoscaler"):
        if scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]:
            return scaler["spec"]["minReplicas"]
    return deployment["spec"].get("replicas", 1)


def config_maps(docs):
    """Data of each ConfigMap by its name."""
    return {doc["metadata"]["name"]: doc.get("data", {}) for doc in of(docs, "ConfigMap")}


def expand(value, known):
    """Expands $(NAME) like a kubelet: only variables defined before; other text is unchanged."""
    return re.sub(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)", lambda found: known.get(found[1], found[0]), value)


def environment(docs, workload, secret):
    """The environment of its container. `secret` returns the value for the name and key of a Secret, or None."""
    container = pod(workload)["containers"][0]
    maps, known = config_maps(docs), {}
    for source in container.get("envFrom", []):
        known.update(maps[source["configMapRef"]["name"]])
    for entry in container.get("env", []):
        origin = entry.get("valueFrom", {})
        if "secretKeyRef" in origin:
            value = secret(origin["secretKeyRef"]["name"], origin["secretKeyRef"]["key"])
        elif "fieldRef" in origin:
            path = origin["fieldRef"]["fieldPath"]
            label = re.fullmatch(r"metadata\.labels\['(.+)'\]", path)
            value = labels(workload)[label[1]] if label else "127.0.0.1"
        else:
            value = expand(entry["value"], known)
        if value is not None:
            known[entry["name"]] = value
    return known
