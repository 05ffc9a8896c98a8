"""Checks custom resources against types and schemas generated from their definitions.

usage: custom.py FOLDER FILE...   FOLDER has the packages of package.json
Each resource becomes a literal of its type: the compiler refuses what the type has not, the schema what is not allowed.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

from manifests import load, name

PACKAGES = {
    "gateway.networking.k8s.io": "gateway-api",
    "external-secrets.io": "external-secrets",
    "monitoring.coreos.com": "prometheus-operator",
}


def program(resources):
    """Imports each kind once, and checks each resource."""
    lines, imported = [], set()
    for number, doc in enumerate(resources):
        group, version = doc["apiVersion"].split("/")
        if doc["kind"] not in imported:
            imported.add(doc["kind"])
            lines.insert(0, f'import {{ {doc["kind"]}, I{doc["kind"]} }} from "@kubernetes-models/{PACKAGES[group]}/{group}/{version}/{doc["kind"]}";')
        lines.append(f"const r{number}: I{doc['kind']} = {json.dumps(doc)};")
        lines.append(f"new {doc['kind']}(r{number}).validate();")
    return "\n".join(lines)


def run(folder, resources):
    """Errors of the compiler and the validator; empty if there are none."""
    with tempfile.TemporaryDirectory(dir=folder) as work:
        source = pathlib.Path(work, "check.ts")
        source.write_text(program(resources))
        options = ["--strict", "--skipLibCheck", "--module", "nodenext", "--target", "es2022"]
        compiled = subprocess.run(["node", f"{folder}/node_modules/typescript/bin/tsc", *options, source], capture_output=True, text=True)
        if compiled.returncode:
            return compiled.stdout
        checked = subprocess.run(["node", source.with_suffix(".js")], capture_output=True, text=True)
        return checked.stderr if checked.returncode else ""


def main(folder, files):
    found = {json.dumps(doc): (path, doc) for path in files for doc in load(path) if doc["apiVersion"].split("/")[0] in PACKAGES}
    resources = [doc for _, doc in found.values()]
    if not resources:
        sys.exit("there are no custom resources")
    said = run(folder, resources)
    if said:
        sys.exit(said)
    # without this, passing would prove nothing
    for doc in {doc["kind"]: doc for doc in resources}.values():
        for wrong in ({**doc, "spec": {**doc["spec"], "nonsense": 1}}, {**doc, "spec": [1]}):
            if not run(folder, [wrong]):
                sys.exit(f"a broken {name(doc)} passes")
    kinds = sorted({doc["kind"] for doc in resources})
    print(f"{len(resources)} resources ({', '.join(kinds)}) are valid, and broken copies are rejected")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
