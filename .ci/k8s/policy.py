"""Rules for every rendered overlay, beyond those of the schemas and kube-score.

usage: policy.py check FILE...     what is broken, a line each; exit code 1 if anything is
       policy.py prove FILE        breaks a copy of FILE in every way that the rules detect, and expects an error
"""

import copy
import pathlib
import re
import sys

from manifests import WORKLOADS, config_maps, expand, labels, load, matches, name, of, pod, replicas

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAME = "app.kubernetes.io/name"
MODULES = ("product", "inventory", "order", "notification", "gateway")
# allowed calls: src/kernel/module.rs, `needs` and `asks`; and the gateway calls every target of its routes
CALLS = {
    ("gateway", "product"), ("gateway", "inventory"), ("gateway", "order"), ("gateway", "notification"),
    ("inventory", "product"), ("inventory", "order"), ("order", "product"), ("order", "inventory"),
}  # fmt: skip
SECRET = re.compile(r"(STORE|SMTP|PASSWORD|SECRET|SECRET_ID|TOKEN|ENCRYPT_KEY)$")
CREDENTIALS = re.compile(r"://[^/@\s]*:(?!\$\()[^/@\s]+@")


def settings():
    """All settings, as environment variables."""
    section, known = "", set()
    for line in (ROOT / "tradepost.example.toml").read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif " = " in line:
            key = line.removeprefix("# ").split(" = ")[0]
            known.add(f"TRADEPOST__{section}__{key}".replace(".", "__").upper())
    return known | {f"TRADEPOST__PEERS__{module}".upper() for module in MODULES}


def workloads(docs):
    return [(doc, pod(doc), container) for doc in of(docs, *WORKLOADS) for container in pod(doc)["containers"]]


def services(docs):
    return [(doc, pod(doc), container) for doc, _, container in workloads(docs) if doc["kind"] != "Job"]


def nobody_is_root(docs):
    for doc, spec, container in workloads(docs):
        context = spec.get("securityContext", {})
        if context.get("runAsNonRoot") is not True:
            yield f"{name(doc)} may run as root"
        own = container.get("securityContext", {})
        if own.get("allowPrivilegeEscalation") is not False or own.get("capabilities", {}).get("drop") != ["ALL"]:
            yield f"{name(doc)} keeps privileges"


def data_can_be_written(docs):
    for doc, _, container in workloads(docs):
        folder = next((e["value"] for e in container["env"] if e["name"] == "TRADEPOST__DATA__DIR"), "data")
        mounts = [m["mountPath"] + "/" for m in container.get("volumeMounts", []) if not m.get("readOnly")]
        if not any((folder + "/").startswith(mount) for mount in mounts):
            yield f"{name(doc)}: data.dir is {folder}, which is not writable"


def a_release_has_its_own_jobs(docs):
    for doc, _, container in workloads(docs):
        if doc["kind"] == "Job" and not doc["metadata"]["name"].endswith("-" + container["image"].rsplit(":", 1)[-1]):
            yield f"{name(doc)} cannot be changed, but its name does not contain the tag of {container['image']}"


def no_token_of_the_cluster(docs):
    accounts = {doc["metadata"]["name"] for doc in of(docs, "ServiceAccount")}
    for doc, spec, _ in workloads(docs):
        if spec.get("automountServiceAccountToken") is not False:
            yield f"{name(doc)} mounts a token of the cluster's API"
        if spec.get("serviceAccountName") not in accounts:
            yield f"{name(doc)}: there is no service account {spec.get('serviceAccountName')}"


def settings_exist(docs):
    known, maps = settings(), config_maps(docs)
    for doc, _, container in workloads(docs):
        named = [entry["name"] for entry in container.get("env", [])]
        for source in container.get("envFrom", []):
            if source["configMapRef"]["name"] not in maps:
                yield f"{name(doc)}: there is no ConfigMap {source['configMapRef']['name']}"
            named += maps.get(source["configMapRef"]["name"], {})
        for key in named:
            if key.startswith("TRADEPOST_") and key not in known:
                yield f"{name(doc)}: there is no setting {key}"


def variables_are_defined_before(docs):
    for doc, _, container in workloads(docs):
        known = {}
        for entry in container.get("env", []):
            if "$(" in expand(entry.get("value", ""), known):
                yield f"{name(doc)}: {entry['name']} uses a variable that is defined after it"
            known[entry["name"]] = ""


def secrets_are_elsewhere(docs):
    for doc in of(docs, "Secret"):
        yield f"{name(doc)} is in the manifests"
    pairs = [(doc, key, value) for doc in of(docs, "ConfigMap") for key, value in doc.get("data", {}).items()]
    pairs += [(doc, e["name"], e["value"]) for doc, _, c in workloads(docs) for e in c.get("env", []) if "value" in e]
    for doc, key, value in pairs:
        if SECRET.search(key) or CREDENTIALS.search(value):
            yield f"{name(doc)}: {key} is a secret"


def secrets_are_told_of(docs):
    told = (ROOT / "k8s/README.md").read_text()
    for doc, _, container in workloads(docs):
        for entry in container.get("env", []):
            wanted = entry.get("valueFrom", {}).get("secretKeyRef")
            if wanted and f"| `{wanted['name']}` | `{wanted['key']}` |" not in told:
                yield f"{name(doc)}: k8s/README.md does not list the Secret {wanted['name']} with {wanted['key']}"


def secrets_are_made(docs):
    made = {(doc["spec"]["target"]["name"], item["secretKey"]) for doc in of(docs, "ExternalSecret") for item in doc["spec"]["data"]}
    for doc, _, container in workloads(docs):
        for entry in container.get("env", []) if made else []:
            wanted = entry.get("valueFrom", {}).get("secretKeyRef")
            if wanted and (wanted["name"], wanted["key"]) not in made:
                yield f"{name(doc)}: no object creates the Secret {wanted['name']} with {wanted['key']}"


def probes_are_there(docs):
    for doc, _, container in services(docs):
        ports = {port["name"] for port in container.get("ports", [])}
        for probe, path in (("startup", "liveness"), ("liveness", "liveness"), ("readiness", "readiness")):
            asked = container.get(f"{probe}Probe", {}).get("httpGet", {})
            if asked.get("path") != f"/actuator/health/{path}" or asked.get("port") not in ports:
                yield f"{name(doc)} has no {probe} probe"


def a_stop_has_time(docs):
    for doc, spec, container in services(docs):
        env = {entry["name"]: entry.get("value") for entry in container["env"]}
        pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        drain = int(env.get("TRADEPOST__SERVER__SHUTDOWN_SECONDS", 20))
        delay = int(env.get("TRADEPOST__SERVER__SHUTDOWN_DELAY_SECONDS", 0))
        if pause < 5:
            yield f"{name(doc)} stops before its callers know"
        # src/net/http.rs: IDLE
        if delay <= 10:
            yield f"{name(doc)} closes connections that callers still use"
        # src/app/serve/mod.rs: the limit for requests, then again for workers; and 2 s for the registry
        if spec.get("terminationGracePeriodSeconds", 30) < pause + delay + 2 * drain + 5:
            yield f"{name(doc)} is killed before it has stopped"


def updates_lose_nobody(docs):
    for doc, spec, _ in services(docs):
        strategy = doc["spec"].get("strategy", {})
        if any("persistentVolumeClaim" in volume for volume in spec.get("volumes", [])):
            if strategy.get("type") != "Recreate" or replicas(docs, doc) != 1:
                yield f"{name(doc)}: two pods on one volume"
        elif strategy.get("rollingUpdate", {}).get("maxUnavailable") != 0:
            yield f"{name(doc)}: an update removes pods before new ones are ready"


def several_pods_are_kept(docs):
    for doc, spec, _ in services(docs):
        if replicas(docs, doc) < 2:
            continue
        budgets = [b for b in of(docs, "PodDisruptionBudget") if matches(b["spec"]["selector"], labels(doc))]
        if len(budgets) != 1 or budgets[0]["spec"].get("maxUnavailable") != 1:
            yield f"{name(doc)} has no disruption budget of its own that allows evicting one pod"
        spread = spec.get("topologySpreadConstraints", [])
        if not spread or not all(matches(rule["labelSelector"], labels(doc)) for rule in spread):
            yield f"{name(doc)} may have all its pods on one node"


def services_lead_to_one_module(docs):
    for service in of(docs, "Service"):
        found = [(doc, container) for doc, _, container in workloads(docs) if matches({"matchLabels": service["spec"]["selector"]}, labels(doc))]
        if len(found) != 1 or found[0][0]["kind"] == "Job":
            yield f"{name(service)} leads to {', '.join(name(doc) for doc, _ in found) or 'no pod'}"
        elif service["spec"]["ports"][0]["targetPort"] not in {port["name"] for port in found[0][1]["ports"]}:
            yield f"{name(service)} targets a port that does not exist"


def addresses_are_services(docs):
    there = {(doc["metadata"]["name"], port["port"]) for doc in of(docs, "Service") for port in doc["spec"]["ports"]}
    wanted = [(doc, value) for doc in of(docs, "ConfigMap") for key, value in doc.get("data", {}).items() if "__PEERS__" in key]
    wanted += [(doc, e["value"]) for doc, _, c in workloads(docs) for e in c["env"] if re.search("PEERS|REGISTRY__URL|CONFIG__SERVER", e["name"])]
    for doc, value in wanted:
        for url in value.split(","):
            host, port = re.match(r"http://(?:[^@]*@)?([^:/]+):(\d+)", url).groups()
            if (host, int(port)) not in there:
                yield f"{name(doc)}: there is no Service at {host}:{port}"
    for doc in of(docs, "HTTPRoute"):
        for backend in (b for rule in doc["spec"]["rules"] for b in rule["backendRefs"]):
            if (backend["name"], backend["port"]) not in there:
                yield f"{name(doc)}: there is no Service at {backend['name']}:{backend['port']}"
    for doc in of(docs, "Ingress"):
        for path in (p for rule in doc["spec"]["rules"] for p in rule["http"]["paths"]):
            if path["backend"]["service"]["name"] not in {service for service, _ in there}:
                yield f"{name(doc)}: there is no Service {path['backend']['service']['name']}"


def doors(docs, side):
    """Pairs of module names that policies allow on this side, by pod selectors of this namespace."""
    pods = {labels(doc)[NAME]: labels(doc) for doc in of(docs, *WORKLOADS) if doc["kind"] != "Job"}
    for policy in of(docs, "NetworkPolicy"):
        for rule in policy["spec"].get(side, []):
            for peer in rule.get("from" if side == "ingress" else "to", []):
                if "podSelector" not in peer or "namespaceSelector" in peer:
                    continue
                here = [m for m, found in pods.items() if matches(policy["spec"]["podSelector"], found)]
                there = [m for m, found in pods.items() if matches(peer["podSelector"], found)]
                for pair in ((h, t) for h in here for t in there if h != t):
                    yield pair[::-1] if side == "ingress" else pair


def modules_reach_their_peers_and_no_others(docs):
    outward, inward = set(doors(docs, "egress")), set(doors(docs, "ingress"))
    present = {labels(doc)[NAME] for doc in of(docs, "Deployment")}
    wanted = {pair for pair in CALLS if set(pair) <= present}
    between = lambda pairs: {pair for pair in pairs if set(pair) <= set(MODULES)}  # noqa: E731
    for caller, callee in sorted((outward ^ inward) | (between(outward) ^ wanted)):
        yield f"{caller} to {callee}: allowed on only one side, or needed but refused, or allowed but not needed"


def namespaces_are_restricted(docs):
    for doc in of(docs, "Namespace"):
        if doc["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce") != "restricted":
            yield f"{name(doc)} selects every pod"
    if not of(docs, "Namespace"):
        yield "there is no Namespace"


def first(docs, kind, part=""):
    return next(doc for doc in of(docs, kind) if part in doc["metadata"]["name"])


def box(docs, kind="Deployment"):
    return pod(first(docs, kind, "order"))["containers"][0]


def put(place, key, value):
    place[key] = value


# each check, and ways to break its rule
CHECKS = {
    nobody_is_root: [
        lambda d: pod(first(d, "Deployment"))["securityContext"].pop("runAsNonRoot"),
        lambda d: box(d, "Job")["securityContext"].pop("capabilities"),
    ],
    data_can_be_written: [lambda d: box(d).pop("volumeMounts")],
    a_release_has_its_own_jobs: [lambda d: put(box(d, "Job"), "image", "tradepost/order:0.2.0")],
    no_token_of_the_cluster: [
        lambda d: pod(first(d, "Deployment")).pop("automountServiceAccountToken"),
        lambda d: put(pod(first(d, "Deployment")), "serviceAccountName", "module"),
    ],
    settings_exist: [
        lambda d: box(d)["env"].append({"name": "TRADEPOST__ORDER__STROE", "value": "x"}),
        lambda d: put(first(d, "ConfigMap", "settings")["data"], "TRADEPOST__SERVER__PROT", "1"),
        lambda d: d.remove(first(d, "ConfigMap", "settings")),
    ],
    variables_are_defined_before: [lambda d: box(d)["env"].insert(0, {"name": "A", "value": "$(B)"})],
    secrets_are_elsewhere: [
        lambda d: d.append({"kind": "Secret", "metadata": {"name": "x"}}),
        lambda d: box(d)["env"].append({"name": "TRADEPOST__BUS__PASSWORD", "value": "x"}),
        lambda d: put(first(d, "ConfigMap")["data"], "TRADEPOST__REGISTRY__URL", "http://a:b@registry:8761"),
    ],
    secrets_are_told_of: [lambda d: box(d)["env"].append({"name": "A", "valueFrom": {"secretKeyRef": {"name": "other", "key": "x"}}})],
    secrets_are_made: [lambda d: first(d, "ExternalSecret", "order-store")["spec"]["data"].clear()],
    probes_are_there: [lambda d: box(d).pop("startupProbe"), lambda d: put(box(d)["readinessProbe"]["httpGet"], "port", "https")],
    a_stop_has_time: [
        lambda d: box(d).pop("lifecycle"),
        lambda d: [entry.update(value="0") for entry in box(d)["env"] if entry["name"].endswith("SHUTDOWN_DELAY_SECONDS")],
        lambda d: put(pod(first(d, "Deployment")), "terminationGracePeriodSeconds", 30),
    ],
    updates_lose_nobody: [lambda d: put(first(d, "Deployment")["spec"]["strategy"]["rollingUpdate"], "maxUnavailable", 1)],
    several_pods_are_kept: [
        lambda d: d.remove(first(d, "PodDisruptionBudget")),
        lambda d: put(first(d, "PodDisruptionBudget")["spec"], "maxUnavailable", 0),
        lambda d: pod(first(d, "Deployment")).pop("topologySpreadConstraints"),
    ],
    services_lead_to_one_module: [
        lambda d: first(d, "Service", "order")["spec"]["selector"].pop("app.kubernetes.io/component"),
        lambda d: put(first(d, "Service")["spec"]["selector"], NAME, "basket"),
        lambda d: put(first(d, "Service")["spec"]["ports"][0], "targetPort", "https"),
    ],
    addresses_are_services: [
        lambda d: put(first(d, "ConfigMap", "discovery")["data"], "TRADEPOST__PEERS__ORDER", "http://order:80"),
        lambda d: put(first(d, "HTTPRoute")["spec"]["rules"][0]["backendRefs"][0], "name", "edge"),
    ],
    modules_reach_their_peers_and_no_others: [
        lambda d: d.remove(first(d, "NetworkPolicy", "from-order")),
        lambda d: d.remove(first(d, "NetworkPolicy", "to-inventory")),
        lambda d: put(first(d, "NetworkPolicy", "to-notification")["spec"]["ingress"][0]["from"][0], "podSelector", {}),
    ],
    namespaces_are_restricted: [lambda d: first(d, "Namespace")["metadata"].pop("labels"), lambda d: d.remove(first(d, "Namespace"))],
}


def check(files):
    broken = 0
    for path in files:
        docs = load(path)
        found = [message for rule in CHECKS for message in rule(docs)]
        broken += len(found)
        for message in found:
            print(f"{path}: {message}")
        print(f"{path}: {len(docs)} objects, {len(of(docs, *WORKLOADS))} with pods: {'violations' if found else 'no violations'}")
    return broken == 0


def prove(path):
    whole, silent, ways = load(path), 0, 0
    for rule, breaks in CHECKS.items():
        if list(rule(whole)):
            sys.exit(f"{path} breaks {rule.__name__} as it is")
        for number, damage in enumerate(breaks):
            docs = copy.deepcopy(whole)
            damage(docs)
            ways += 1
            if not list(rule(docs)):
                silent += 1
                print(f"{rule.__name__} does not detect damage {number}")
    print(f"{len(CHECKS)} checks detect {ways - silent} of {ways} kinds of damage")
    return silent == 0


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in ("check", "prove"):
        sys.exit(__doc__)
    sys.exit(0 if (check(sys.argv[2:]) if sys.argv[1] == "check" else prove(sys.argv[2])) else 1)
