"""The parts of a cluster that an update needs: Services that balance connections, pods that are probed, stopped and replaced.

What it takes from the manifests: environment, readiness probe, minReadySeconds, surge, preStop and grace period.
"""

import asyncio
import os
import random
import re
import time

from manifests import pod

# how long callers keep connecting to a terminating pod: its endpoint is removed in parallel, not before
LAG = 3


class Service:
    """An address that forwards each connection to one endpoint for its lifetime, like kube-proxy."""

    def __init__(self):
        self.endpoints = set()
        self.port = None

    async def open(self):
        server = await asyncio.start_server(self.accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]

    async def accept(self, reader, writer):
        try:
            there = await asyncio.open_connection("127.0.0.1", random.choice(sorted(self.endpoints)))
        except (OSError, IndexError):
            writer.transport.abort()  # like a refused connection: nothing was forwarded
            return
        await asyncio.gather(carry(reader, there[1]), carry(there[0], writer))


async def carry(reader, writer):
    """Copies bytes in one direction until one side closes."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def answer(port, path):
    """The status of a GET, or None."""
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), 3)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            line = await asyncio.wait_for(reader.readline(), 3)
            return int(line.split()[1]) if line else None
        finally:
            writer.close()
    except (OSError, TimeoutError, asyncio.TimeoutError):
        return None


class Pod:
    """A process with a pod's environment."""

    def __init__(self, binary, workload, environment, logs):
        self.spec, self.container = pod(workload), pod(workload)["containers"][0]
        self.name = f"{workload['metadata']['name']}-{random.randrange(16**4):04x}"
        self.port, self.process = None, None
        self.binary, self.log = binary, os.path.join(logs, self.name)
        # any free port; it exits with its parent process
        self.environment = {**environment, "TRADEPOST__SERVER__PORT": "0", "TRADEPOST__SERVER__EXIT_ON_STDIN_EOF": "true"}

    async def start(self):
        with open(self.log, "w") as log:
            self.process = await asyncio.create_subprocess_exec(
                self.binary, env=self.environment, stdin=asyncio.subprocess.PIPE, stdout=log, stderr=log, cwd=os.path.dirname(self.log)
            )

    async def ready(self):
        """Waits as long as the startup probe allows."""
        start, readiness = self.container["startupProbe"], self.container["readinessProbe"]
        deadline = time.monotonic() + start["periodSeconds"] * start["failureThreshold"]
        while time.monotonic() < deadline and self.process.returncode is None:
            with open(self.log) as log:
                told = re.search(r"^ready on http://127\.0\.0\.1:(\d+)$", log.read(), re.MULTILINE)
            self.port = int(told[1]) if told else None
            if told and await answer(self.port, readiness["httpGet"]["path"]) == 200:
                return
            await asyncio.sleep(0.2)
        with open(self.log) as log:
            raise SystemExit(f"{self.name} did not become ready:\n{log.read()[-2000:]}")

    async def end(self, pause):
        """preStop, SIGTERM, grace period. Returns the seconds from the signal to the exit."""
        grace = self.spec["terminationGracePeriodSeconds"] - pause
        await asyncio.sleep(pause)
        told = time.monotonic()
        self.process.terminate()
        try:
            code = await asyncio.wait_for(self.process.wait(), grace)
        except asyncio.TimeoutError:
            self.process.kill()
            raise SystemExit(f"{self.name} did not stop within its grace period") from None
        if code:
            raise SystemExit(f"{self.name} stopped with {code}")
        return time.monotonic() - told


class Deployment:
    """Pods behind a Service."""

    def __init__(self, workload, count, service, make):
        self.workload, self.count, self.service, self.make = workload, count, service, make
        self.pods, self.ended = [], []

    async def add(self):
        new = self.make()
        self.pods.append(new)
        await new.start()
        await new.ready()
        self.service.endpoints.add(new.port)

    async def remove(self, old, pause):
        async def forget():
            await asyncio.sleep(LAG)
            self.service.endpoints.discard(old.port)

        self.pods.remove(old)
        self.ended.append(asyncio.gather(old.end(pause), forget()))

    async def start(self):
        await asyncio.gather(*(self.add() for _ in range(self.count)))

    async def update(self, pause=None):
        """Adds one new pod, then removes an old one, until all are new. `pause` replaces the manifest's."""
        container = pod(self.workload)["containers"][0]
        pause = container["lifecycle"]["preStop"]["sleep"]["seconds"] if pause is None else pause
        for old in list(self.pods):
            await self.add()
            await asyncio.sleep(self.workload["spec"]["minReadySeconds"])
            await self.remove(old, pause)
        times = [took for took, _ in await asyncio.gather(*self.ended)]
        self.ended.clear()
        return max(times)
