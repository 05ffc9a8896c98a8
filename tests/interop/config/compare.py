"""Sends the same requests to Spring's config server and to ours, and compares the responses field by field.

usage: compare.py SPRING OURS folder|git|vault
"""
import base64
import json
import re
import sys
import urllib.error
import urllib.request

spring, ours, kind = sys.argv[1:]
V2 = "application/vnd.spring-cloud.config-server.v2+json"
BASIC = "Basic " + base64.b64encode(b"tradepost:not-a-secret").decode()

COMMON = """
/order-service/default /order-service/prod /order-service/prod,dev /order-service/dev,prod /order-service/test
/order-service,basket/prod /basket/default /basket/prod,dev /basket,odd/dev /application/prod /nobody/default
/nobody/nothing /odd/default /props/default /blank/default /listed/default /vault/default
/order-service-prod.properties /order-service-default.properties /props-default.json /vault-default.properties
/order-service-prod.json /order-service-default.json /order-service-prod.yml /order-service-default.yaml
/listed-default.yml /listed-default.json /circle-default.json /circle-default.properties /nobody-default.json
/order-service-prod.json?resolvePlaceholders=false /basket-dev.properties?resolvePlaceholders=false
/basket/default/motd.txt /basket /nothing.txt /basket.yml
/x/default/main/templates/motd.txt /x/prod/main/templates/motd.txt /x/default/main/templates/none.txt
/x/default/main/basket.yml /x/default/main/templates/motd.txt?resolvePlaceholders=false
/x/default/templates/motd.txt?useDefaultLabel /x/default/listed.yml?useDefaultLabel
/..%2fsecret/default /basket/default/a..b /basket/default/main/..%2f..%2fetc%2fpasswd
/encrypt/status
""".split()
LABELLED = {
    "folder": "/basket/default/team /basket/dev/team /team/basket-default.yml /basket/prod,dev/team /basket/default/none /basket/default/a(_)b",
    "git": "/basket/default/main /basket/default/v1 /basket/default/team(_)x /v1/basket-default.yml /team(_)x/basket-default.json"
    " /basket/default/none /none/basket-default.yml /basket/default/v1/templates/motd.txt /basket/default/none/templates/motd.txt",
}

VAULT = """
/basket/default /basket/prod /basket/prod,dev /basket/dev,prod /basket,order/prod /order,basket/prod /application/prod /application/default
/nobody/default /nobody/nothing /blank/default /basket/default/main /basket/prod/v2 /team(_)basket/default
/basket-prod.yml /basket-prod.properties /basket-prod.json /basket-default.yaml /application-prod.json
/basket-prod.json?resolvePlaceholders=false /v2/basket-prod.json /basket/default/main/motd.txt /basket/default/a..b
""".split()

# request: reason of the difference
EXPECTED = {
    "/spellings/default": "YAML 1.2's reading of plain words: yes, 010, 1_000 and 1:30 stay texts; true and false, 8 and 1000 say the same to both",
    "/broken/default": "a file that cannot be read is 503 with its name and line, where Spring says 500 for a folder and 404 for git",
    "/odd-default.properties": "numbers as the file spells them, where Java writes 1.0E10; binary as its text, where Java prints an object",
    "/odd-default.json": "a list beside a value of the same name is no 500",
}


# with another token than Vault's root token: reason
TOKENS = {
    None: "no token: Spring's server has none of its own and says 400, ours reads with its own",
    "unknown": "a token that Vault refuses: 403, where Spring says 500",
}


def get(base, path, accept=None, token="root"):
    request = urllib.request.Request(base + path, headers={"Authorization": BASIC})
    if kind == "vault" and token:
        request.add_header("X-Config-Token", token)
    if accept:
        request.add_header("Accept", accept)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers.get_content_type(), answer.read().decode()
    except urllib.error.HTTPError as refusal:
        return refusal.code, None, None


def plain(source):
    """The name of a source: Spring's git backend garbles that of a document; ours uses the file name."""
    return re.sub(r"Config resource 'file \[.*/([^/']+)' via location ''", r"\1", source)


def comparable(answer):
    status, media, body = answer
    if body is None:
        return status, None, None
    if media and media.endswith("json"):
        body = json.loads(body)
        for source in body.get("propertySources") or []:
            if kind == "git":
                source["name"] = plain(source["name"])
            # only Spring's v2 responses have origins (line and column)
            for key, value in source["source"].items():
                if isinstance(value, dict) and set(value) == {"value", "origin"}:
                    source["source"][key] = value["value"]
        return status, media, body
    # in YAML 1.2 a date without quotes is also text
    return status, media, re.sub(r"'(\d{4}-\d\d-\d\d)'", r"\1", body.strip())


failed = 0
paths = VAULT if kind == "vault" else COMMON + LABELLED[kind].split()
for path, accept in [(path, None) for path in paths] + [(path, V2) for path in paths[:12]]:
    theirs, own = comparable(get(spring, path, accept)), comparable(get(ours, path, accept))
    same = theirs == own
    print(("same   " if same else "DIFFERS"), theirs[0], path, accept or "")
    if not same:
        failed += 1
        print("  spring:", json.dumps(theirs, ensure_ascii=False))
        print("  ours:  ", json.dumps(own, ensure_ascii=False))
expected = [(path, "root", reason) for path, reason in EXPECTED.items()]
if kind == "vault":
    expected = [("/basket/default", token, reason) for token, reason in TOKENS.items()]
for path, token, reason in expected:
    theirs, own = (comparable(get(base, path, token=token)) for base in (spring, ours))
    print("expected difference", path, theirs[0], own[0], "-", reason)
    if theirs == own:
        failed += 1
        print("  is no difference any more")
print(f"{len(paths) + 12} requests, {failed} unexpected")
sys.exit(1 if failed else 0)
