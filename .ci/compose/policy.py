"""What docker-compose.yml must keep, beyond being valid.

usage: policy.py check FILE   what is broken, a line each; exit code 1 if anything is. FILE is what `config` prints
       policy.py prove FILE   breaks a copy in every way that is looked for, and expects to be told
"""

import copy
import re
import sys

import yaml

SECRET = re.compile(r"(STORE|SMTP|PASSWORD|SECRET|SECRET_ID|TOKEN|ENCRYPT_KEY)$")
CREDENTIALS = re.compile(r"://[^/@\s]*:[^/@\s]+@")


def ours(file):
    return {name: service for name, service in file["services"].items() if service["image"].startswith("tradepost/")}


def nobody_is_root(file):
    for name, service in ours(file).items():
        if service.get("user") != "65532:65532":
            yield f"{name} runs as {service.get('user')}"
        if service.get("read_only") is not True:
            yield f"{name} may write to its image"
        if service.get("cap_drop") != ["ALL"] or service.get("cap_add"):
            yield f"{name} keeps capabilities"


def nobody_gains_rights(file):
    for name, service in file["services"].items():
        if "no-new-privileges:true" not in service.get("security_opt", []) or service.get("privileged"):
            yield f"{name} may gain privileges"


def resources_are_bounded(file):
    for name, service in file["services"].items():
        if not service.get("mem_limit") or not service.get("pids_limit"):
            yield f"{name} has no limit of memory or processes"


def images_are_fixed(file):
    for name, service in file["services"].items():
        if not re.search(r":v?\d+\.\d+\.\d+$|:bookworm-\d{8}-slim$", service["image"]):
            yield f"{name}: {service['image']} is not a fixed image"


def health_is_asked_for(file):
    for name, service in ours(file).items():
        step = service.get("command") == ["migrate"]
        if not step and service.get("healthcheck", {}).get("test") != ["CMD", "/tradepost", "healthcheck"]:
            yield f"{name} is not asked whether it is well"
        if service.get("restart") != ("on-failure" if step else "unless-stopped"):
            yield f"{name} is not started again"
        # server.linger_seconds, server.shutdown_seconds for requests, as long again for workers
        if not step and int(service.get("stop_grace_period", "10s").rstrip("s")) < 12 + 2 * 20 + 5:
            yield f"{name} is killed before it has stopped"


def nothing_but_loopback_is_published(file):
    for name, service in file["services"].items():
        for port in service.get("ports", []):
            if not str(port).startswith("127.0.0.1:"):
                yield f"{name} is published at {port}"
    published = {name for name, service in ours(file).items() if service.get("ports")}
    if not published <= {"gateway", "shop"}:
        yield f"published are {sorted(published)}"


def the_back_is_closed(file):
    if file["networks"]["back"].get("internal") is not True:
        yield "the network back leads outside"
    for name, service in ours(file).items():
        if "front" in service.get("networks", {}) and name not in ("gateway", "shop"):
            yield f"{name} reaches outside"


def secrets_are_in_files(file):
    for name, service in file["services"].items():
        for key, value in (service.get("environment") or {}).items():
            if SECRET.search(key) or CREDENTIALS.search(str(value)):
                yield f"{name}: {key} is a secret"
        for volume in service.get("volumes", []):
            if "/secrets/" in str(volume) and not str(volume).endswith(":ro"):
                yield f"{name} may write to {volume}"



def put(service, key, value):
    return lambda file: file["services"][service].__setitem__(key, value)


def drop(service, key):
    return lambda file: file["services"][service].pop(key)


# each check, and ways to break what it keeps
CHECKS = {
    nobody_is_root: [put("order", "user", "0:0"), drop("gateway", "read_only"), drop("shop", "cap_drop"), put("registry", "cap_add", ["NET_ADMIN"])],
    nobody_gains_rights: [drop("mysql", "security_opt"), put("order", "privileged", True)],
    resources_are_bounded: [drop("order", "mem_limit"), drop("kafka", "pids_limit")],
    images_are_fixed: [put("order", "image", "tradepost/order"), put("mysql", "image", "mysql:8.4"), put("secrets", "image", "debian:bookworm-slim")],
    health_is_asked_for: [drop("order", "healthcheck"), drop("product-migrate", "restart"), put("gateway", "stop_grace_period", "10s")],
    nothing_but_loopback_is_published: [put("gateway", "ports", ["5294:5294"]), put("order", "ports", ["127.0.0.1:1:5294"])],
    the_back_is_closed: [lambda f: f["networks"]["back"].pop("internal"), put("order", "networks", {"front": None})],
    secrets_are_in_files: [
        lambda f: f["services"]["order"]["environment"].update({"TRADEPOST__BUS__PASSWORD": "x"}),
        lambda f: f["services"]["order"]["environment"].update({"TRADEPOST__REGISTRY__URL": "http://a:b@registry:8761"}),
        put("order", "volumes", ["/x/secrets/order:/run/secrets:rw"]),
    ],
}


def check(file):
    found = [message for rule in CHECKS for message in rule(file)]
    print("\n".join(found) if found else f"{len(file['services'])} services keep {len(CHECKS)} rules")
    return not found


def prove(file):
    silent, ways = 0, 0
    for rule, breaks in CHECKS.items():
        for number, damage in enumerate(breaks):
            broken = copy.deepcopy(file)
            damage(broken)
            ways += 1
            if not list(rule(broken)):
                silent += 1
                print(f"{rule.__name__} does not see damage {number}")
    print(f"{len(CHECKS)} rules see {ways - silent} of {ways} kinds of damage")
    return silent == 0


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("check", "prove"):
        sys.exit(__doc__)
    with open(sys.argv[2]) as text:
        whole = yaml.safe_load(text)
    sys.exit(0 if {"check": check, "prove": prove}[sys.argv[1]](whole) else 1)
