"""The manifests with the shop's own binary, without a cluster.

usage: rehearse.py settings BINARY FILE...   each environment of each file is read by the shop
       rehearse.py update BINARY FILE        the Deployments run as processes, and are updated while orders come in
"""

import asyncio
import http.client
import json
import os
import pathlib
import re
import secrets
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

from cluster import Deployment, Pod, Service
from manifests import environment, load, name, of, replicas

REALM = "/realms/spring-cloud-microservices-realm"


def refused(binary, variables):
    """The shop's message about invalid settings; empty if they are valid."""
    # `healthcheck` reads file and environment, and then finds no process at this port
    asked = subprocess.run([binary, "healthcheck", "--url", "http://127.0.0.1:1"], env=variables, cwd="/", capture_output=True, text=True, timeout=30)
    return asked.stderr if "unknown setting" in asked.stderr or "settings:" in asked.stderr else ""


def settings(binary, files):
    """Every key must be a setting, every value of its type."""
    seen, wrong = set(), 0
    for path in files:
        docs = load(path)
        for workload in of(docs, "Deployment", "StatefulSet", "Job"):
            variables = environment(docs, workload, lambda secret, key: "a:b")
            if frozenset(variables.items()) in seen:
                continue
            seen.add(frozenset(variables.items()))
            said = refused(binary, variables)
            if said:
                wrong += 1
                print(f"{path}: {name(workload)}: {said}")
    for variable, value in (("TRADEPOST__SERVER__PROT", "1"), ("TRADEPOST__SERVER__PORT", "many")):
        if not refused(binary, {variable: value}):
            sys.exit(f"{variable}={value} is not refused")
    print(f"{len(seen)} environments, {wrong} refused")
    return wrong == 0


class Orders(threading.Thread):
    """A client that places and reads orders until it is stopped: with an `Idempotency-Key` or without, on one
    connection or a new one each time."""

    def __init__(self, port, token, keyed, keeps):
        super().__init__(daemon=True)
        self.port, self.token, self.keyed, self.keeps = port, token, keyed, keeps
        self.done, self.lost, self.cut, self.over, self.open = 0, [], [], threading.Event(), None

    def connection(self):
        # a connection closed by the server while idle is not a loss: every client handles it
        if self.open and not self.keeps:
            self.open.close()
            self.open = None
        if self.open and self.open.sock:
            self.open.sock.setblocking(False)
            try:
                gone = self.open.sock.recv(1, 2) == b""
            except BlockingIOError:
                gone = False
            self.open.sock.settimeout(20)
            if gone:
                self.open.close()
                self.open = None
        if not self.open:
            self.open = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        return self.open

    def ask(self, method, body, headers):
        """One request. Repeatable requests are retried once if the connection breaks, as every client and proxy does."""
        repeatable = method == "GET" or "Idempotency-Key" in headers
        for last in (not repeatable, True):
            try:
                there = self.connection()
                there.request(method, "/api/v1/orders", body, {"Authorization": f"Bearer {self.token}", **headers})
                reply = there.getresponse()
                text = reply.read()
                said = None if reply.status in (200, 201) else f"{method}: {reply.status} {text[:200]!r}"
                break
            except (OSError, http.client.HTTPException) as cause:
                said, self.open = f"{method}: {cause!r}", None
                if last:
                    break
        if said:
            (self.lost if repeatable else self.cut).append(said)
        self.done += 1

    def run(self):
        order = json.dumps({"orderLineItems": [{"skuCode": "rehearsal", "quantity": 1}]})
        while not self.over.is_set():
            headers = {"Content-Type": "application/json"}
            if self.keyed:
                headers["Idempotency-Key"] = secrets.token_hex(16)
            self.ask("POST", order, headers)
            self.ask("GET", None, {})
            time.sleep(0.02)


def token(issuer, user):
    form = {"grant_type": "password", "client_id": "tradepost-demo", "username": user, "password": user}
    with urllib.request.urlopen(f"{issuer}/protocol/openid-connect/token", urllib.parse.urlencode(form).encode()) as reply:
        return json.load(reply)["access_token"]


def stock(port, admin):
    """Creates products with large stock."""
    for path, body in (("products", {"skuCode": "rehearsal", "name": "Rehearsal", "price": 1}), ("inventory", {"skuCode": "rehearsal", "quantity": 1000000})):
        headers = {"Authorization": f"Bearer {admin}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{port}/api/v1/{path}", json.dumps(body).encode(), headers)
        # with a registry, discovery needs the first seconds
        for patience in range(60, -1, -1):
            try:
                urllib.request.urlopen(request).close()
                break
            except urllib.error.HTTPError as refused:
                if refused.code != 503 or not patience:
                    raise
                time.sleep(0.5)


def here(variables, data, services, issuer, secret, patient):
    """Replaces what needs a cluster: addresses, servers, the issuer. Everything else is the manifest's, except for the
    peer timeout, and the shutdown delay if `patient` is false."""
    changed = {
        "TRADEPOST__SERVER__HOST": "127.0.0.1",
        "TRADEPOST__DATA__DIR": data,
        "TRADEPOST__BUS__URL": "local://",
        "TRADEPOST__BUS__SECURITY": "plaintext",
        "TRADEPOST__MYSQL__SSL_MODE": "disabled",
        "TRADEPOST__IDENTITY__ISSUER": issuer,
    }
    if not patient:
        changed["TRADEPOST__SERVER__SHUTDOWN_DELAY_SECONDS"] = "0"
    kept = {key: value for key, value in variables.items() if not key.startswith("TRADEPOST__BUS__") and not key.endswith("__SMTP")}
    kept.update({key: value for key, value in changed.items() if key in variables})
    for module, service in services.items():
        kept = {key: re.sub(rf"(//|@){module}:\d+", rf"\g<1>127.0.0.1:{service.port}", value) for key, value in kept.items()}
    if "TRADEPOST__IDENTITY__CLIENT_SECRET" in kept:
        kept["TRADEPOST__IDENTITY__CLIENT_SECRET"] = secret
    # all pods share this machine: a pod that is slow while others start must not count as down
    kept["TRADEPOST__RESILIENCE__CALL_MS"] = kept["TRADEPOST__ORDER__PEER_TIMEOUT_MS"] = "8000"
    return kept


async def shop(binary, docs, work, patient):
    """Issuer, migrations and Deployments, as in the manifests."""
    secret, data = secrets.token_hex(16), os.path.join(work, "data")
    with open(os.path.join(work, "issuer"), "w") as log:
        own = {"TRADEPOST__IDENTITY__CLIENT_SECRET": secret, "TRADEPOST__DATA__DIR": os.path.join(work, "issuer-data"), "TRADEPOST__SERVER__PORT": "0", "TRADEPOST__SERVER__EXIT_ON_STDIN_EOF": "true"}
        process = await asyncio.create_subprocess_exec(binary, "serve", "--modules", "identity", env=own, cwd=work, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log)
    url = (await process.stdout.readline()).decode().removeprefix("ready on ").strip()
    stores = lambda found, key: f"sqlite://{data}/{found.split('-')[0]}.db" if "-store" in found else "x"  # noqa: E731
    services = {doc["metadata"]["name"]: Service() for doc in of(docs, "Deployment")}
    for service in services.values():
        await service.open()
    make = lambda doc: here(environment(docs, doc, stores), data, services, url + REALM, secret, patient)  # noqa: E731
    for job in of(docs, "Job"):
        run = await asyncio.create_subprocess_exec(binary, *job["spec"]["template"]["spec"]["containers"][0]["args"], env=make(job), cwd=work)
        if await run.wait():
            sys.exit(f"{name(job)} failed")
    deployments = []
    for doc in of(docs, "Deployment"):
        service = services[doc["metadata"]["name"]]
        pods = lambda doc=doc: Pod(binary, doc, make(doc), work)  # noqa: E731
        deployments.append(Deployment(doc, replicas(docs, doc), service, pods))
    return process, url, services["gateway"].port, deployments


def settled(port, user):
    """Waits until every gateway has discovered order; with a registry this takes a few seconds."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/v1/orders", headers={"Authorization": f"Bearer {user}"})
    deadline, in_a_row = time.monotonic() + 180, 0
    while in_a_row < 30:
        try:
            urllib.request.urlopen(request).close()
            in_a_row += 1
        except urllib.error.HTTPError as refused:
            if refused.code != 503 or time.monotonic() > deadline:
                raise
            in_a_row = 0
            time.sleep(0.2)


async def under_load(port, user, patient, deployments):
    """Updates all Deployments at once. Returns the lost requests, and the interrupted orders without a key."""
    clients = [Orders(port, user, keyed, keeps) for keyed in (True, False) for keeps in (True, True, False)]
    for client in clients:
        client.start()
    slowest = await asyncio.gather(*(deployment.update(None if patient else 0) for deployment in deployments))
    for client in clients:
        client.over.set()
    for client in clients:
        await asyncio.to_thread(client.join)
    lost = [line for client in clients for line in client.lost]
    cut = [line for client in clients for line in client.cut]
    told = "as in the manifests" if patient else "without a pause"
    print(f"stop {told}: {sum(client.done for client in clients)} requests, {len(lost)} lost, {len(cut)} orders without a key interrupted; the slowest stop took {max(slowest):.1f} s")
    return lost, cut


async def update(binary, docs, work, patient):
    """Starts all pods, updates all under load, and audits the data. Returns lost and interrupted requests."""
    os.mkdir(work)
    issuer, url, port, deployments = await shop(binary, docs, work, patient)
    try:
        await asyncio.gather(*(deployment.start() for deployment in deployments))
        await asyncio.to_thread(stock, port, token(url + REALM, "admin"))
        alice = token(url + REALM, "alice")
        await asyncio.to_thread(settled, port, alice)
        lost = await under_load(port, alice, patient, deployments)
    finally:
        for process in [issuer, *(p.process for d in deployments for p in d.pods)]:
            if process and process.returncode is None:
                process.terminate()
        for process in [issuer, *(p.process for d in deployments for p in d.pods)]:
            if process:
                await process.wait()
    audit = subprocess.run([binary, "audit", "--data", os.path.join(work, "data")], cwd=work, capture_output=True, text=True)
    print(audit.stdout.strip().splitlines()[-1] if audit.stdout else audit.stderr)
    if audit.returncode:
        sys.exit("the audit failed")
    return lost


async def rehearse(binary, docs, work):
    lost, cut = await update(binary, docs, os.path.join(work, "patient"), True)
    for line in [*lost, *cut][:20]:
        print(line)
    # the counter-check: without pause and shutdown delay, the same update loses requests
    control, _ = await update(binary, docs, os.path.join(work, "hasty"), False)
    if not control:
        print("without a pause no request was lost either: the test proves nothing")
    return not lost and not cut and bool(control)


def main(command, binary, files):
    binary = str(pathlib.Path(binary).resolve())
    if command == "settings":
        return settings(binary, files)
    with tempfile.TemporaryDirectory() as work:
        return asyncio.run(rehearse(binary, load(files[0]), work))


if __name__ == "__main__":
    if len(sys.argv) < 4 or sys.argv[1] not in ("settings", "update"):
        sys.exit(__doc__)
    sys.exit(0 if main(sys.argv[1], sys.argv[2], sys.argv[3:]) else 1)
