"""Places orders, each with an Idempotency-Key, until a file exists; retries requests without a response.

usage: orders.py URL FILE   environment: ADMIN, ALICE: their passwords

None may be lost: each is answered in the end, and what was answered with 201 is there, once for each key.
"""

import json
import os
import pathlib
import secrets
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

REALM = "/realms/spring-cloud-microservices-realm"
SKU = "compose"


def ask(url, body=None, headers=None, form=None):
    """Status and body of the response; status 0 if the response is missing or incomplete."""
    data = urllib.parse.urlencode(form).encode() if form else json.dumps(body).encode() if body is not None else None
    kind = {} if form else {"Content-Type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, {**kind, **(headers or {})}), timeout=20) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read()
    except (OSError, ValueError) as cause:
        return 0, repr(cause)


def token(shop, user):
    """Gets a token through the gateway, which routes to Keycloak's realm."""
    form = {"grant_type": "password", "client_id": "tradepost-demo", "username": user, "password": os.environ[user.upper()]}
    status, reply = ask(f"{shop}{REALM}/protocol/openid-connect/token", form=form)
    if status != 200:
        sys.exit(f"no token for {user}: {status} {reply}")
    return {"Authorization": f"Bearer {reply['access_token']}"}


def goods(shop, admin):
    """Creates products with large stock."""
    for path, body in (("products", {"skuCode": SKU, "name": "Compose", "price": 1}), ("inventory", {"skuCode": SKU, "quantity": 1000000})):
        status, reply = ask(f"{shop}/api/v1/{path}", body, admin)
        if status not in (200, 201, 409):
            sys.exit(f"{path}: {status} {reply}")


class Client(threading.Thread):
    def __init__(self, shop, user, over):
        super().__init__(daemon=True)
        self.shop, self.user, self.over = shop, user, over
        self.placed, self.repeated, self.lost = {}, 0, []

    def run(self):
        while not self.over.exists():
            key = secrets.token_hex(16)
            number = self.order(key)
            if number:
                self.placed[key] = number
            time.sleep(0.02)

    def order(self, key):
        deadline = time.monotonic() + 180
        while True:
            body = {"orderLineItems": [{"skuCode": SKU, "quantity": 1}]}
            status, reply = ask(f"{self.shop}/api/v1/orders", body, {**self.user, "Idempotency-Key": key})
            if status == 201:
                return reply["orderNumber"]
            if status not in (0, 429, 502, 503, 504) or time.monotonic() > deadline:
                self.lost.append(f"{key}: {status} {reply}")
                return None
            self.repeated += 1
            time.sleep(0.2)


def main(shop, over):
    goods(shop, token(shop, "admin"))
    user = token(shop, "alice")
    clients = [Client(shop, user, pathlib.Path(over)) for _ in range(4)]
    for client in clients:
        client.start()
    while not all(client.placed for client in clients):
        if any(client.lost for client in clients):
            break
        time.sleep(0.1)
    print("under way", flush=True)
    for client in clients:
        client.join()
    placed = {key: number for client in clients for key, number in client.placed.items()}
    lost = [line for client in clients for line in client.lost]
    for key, number in placed.items():
        status, order = ask(f"{shop}/api/v1/orders/number/{number}", headers=user)
        if status != 200 or order["status"] != "PLACED":
            lost.append(f"{number} was acknowledged: {status} {order}")
    again = list(placed.items())[::10]
    for key, number in again:
        status, order = ask(f"{shop}/api/v1/orders", {"orderLineItems": [{"skuCode": SKU, "quantity": 1}]}, {**user, "Idempotency-Key": key})
        if order.get("orderNumber") != number:
            lost.append(f"{key} was {number}, and is {status} {order}")
    print(f"{len(placed)} orders placed, {sum(c.repeated for c in clients)} requests without a response were retried, {len(lost)} lost")
    print(f"all acknowledged orders exist; {len(again)} repeated keys placed no further order" if not lost else "\n".join(lost[:20]))
    return not lost and len(set(placed.values())) == len(placed)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(0 if main(*sys.argv[1:]) else 1)
