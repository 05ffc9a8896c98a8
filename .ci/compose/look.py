"""Checks the observability of the shop in containers: a trace in Zipkin, targets in Prometheus, the sources of settings.

usage: look.py URL   environment: ADMIN, ALICE: their passwords; ORDER: where order is, within the network
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request

from orders import SKU, ask, token


def eventually(what, look, seconds=90):
    """Polls `look` until its result is not a string (a string describes what is missing)."""
    deadline = time.monotonic() + seconds
    while isinstance(found := look(), str):
        if time.monotonic() > deadline:
            sys.exit(f"{what}: {found}")
        time.sleep(1)
    return found


def trace(shop, user):
    body = json.dumps({"orderLineItems": [{"skuCode": SKU, "quantity": 1}]}).encode()
    request = urllib.request.Request(f"{shop}/api/v1/orders", body, {**user, "Content-Type": "application/json"})

    def order():
        try:
            with urllib.request.urlopen(request) as reply:
                return {"trace": reply.headers["X-Trace-Id"]}
        except urllib.error.HTTPError as refused:
            return f"{refused.code} {refused.read()}"

    wanted = eventually("an order", order)["trace"]
    services = {"api-gateway", "order-service", "inventory-service", "product-service", "notification-service"}

    def look():
        status, spans = ask(f"http://127.0.0.1:9411/api/v2/trace/{wanted}")
        found = {span["localEndpoint"]["serviceName"] for span in spans} if status == 200 else set()
        return spans if services <= found else f"{wanted}: {status}, of {sorted(found)}"

    spans = eventually("Zipkin", look)
    print(f"Zipkin: trace {wanted} has {len(spans)} spans of {len({s['localEndpoint']['serviceName'] for s in spans})} containers")


def targets():
    services = {"api-gateway", "order-service", "inventory-service", "product-service", "notification-service", "eureka-server"}

    def look():
        status, reply = ask("http://127.0.0.1:9090/api/v1/targets?state=active")
        if status != 200:
            return f"{status} {reply}"
        active = reply["data"]["activeTargets"]
        up = {t["labels"].get("application") for t in active if t["health"] == "up"}
        return active if services <= up else f"up are {sorted(map(str, up))}"

    active = eventually("Prometheus", look)
    status, reply = ask("http://127.0.0.1:9090/api/v1/alertmanagers")
    found = [a["url"] for a in reply["data"]["activeAlertmanagers"]]
    if found != ["http://alertmanager:9093/api/v2/alerts"]:
        sys.exit(f"Alertmanager: {found}")
    status, reply = ask("http://127.0.0.1:9090/api/v1/rules")
    print(f"Prometheus: {sum(t['health'] == 'up' for t in active)} targets up, {sum(len(g['rules']) for g in reply['data']['groups'])} rules, Alertmanager is known")


def layers(order, admin):
    status, settings = ask(f"{order}/actuator/env", headers=admin)
    if status != 200:
        sys.exit(f"/actuator/env: {status} {settings}")
    text = json.dumps(settings)
    wanted = {
        "registry.url": "the file /run/secrets/registry (TRADEPOST__REGISTRY__URL_FILE)",
        "bus.url": "config server http://config-server:8888",
        "order.store": os.environ.get("STORE_FROM", "vault secret/order-service"),
        "server.modules": "the environment",
    }
    for key, origin in wanted.items():
        if origin not in text:
            sys.exit(f"{key} does not come from {origin}: {text[:4000]}")
        print(f"{key}: from {origin}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    layers(os.environ["ORDER"], token(sys.argv[1], "admin"))
    trace(sys.argv[1], token(sys.argv[1], "alice"))
    targets()
