#!/usr/bin/env python3
"""Prints what the binary is made of, as CycloneDX 1.5: every crate that is compiled into it, with version, licence, checksum
and what it depends on, and the Debian packages of the image that it lies in.

    scripts/sbom.py --features phalanx/cluster [--dpkg FOLDER] > sbom.json

It asks cargo, which needs the sources of all crates but compiles nothing. What only runs while it is compiled (build scripts,
procedural macros and what they use) is left out: it is not in the binary. The same sources give the same bytes.
"""

import argparse
import json
import pathlib
import subprocess
import tomllib
import uuid

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = "x86_64-unknown-linux-gnu"
BINARY = "phalanx"


def metadata(features: str) -> dict:
    """What cargo resolves for the target."""
    command = ["cargo", "metadata", "--format-version=1", "--locked", f"--filter-platform={TARGET}"]
    command += [f"--features={features}"] if features else []
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)


def linked(nodes: dict[str, dict], packages: dict[str, dict], root: str) -> set[str]:
    """The crates that `root` links, itself included: those that are reached over dependencies for neither builds nor tests."""
    found, waiting = set(), [root]
    while waiting:
        id = waiting.pop()
        if id in found or any("proc-macro" in target["kind"] for target in packages[id]["targets"]):
            continue
        found.add(id)
        deps = nodes[id]["deps"]
        waiting += [dep["pkg"] for dep in deps if any(kind["kind"] is None for kind in dep["dep_kinds"])]
    return found


def crate(package: dict, checksums: dict) -> dict:
    """One crate as a component."""
    name, version = package["name"], package["version"]
    component = {"type": "library", "bom-ref": f"pkg:cargo/{name}@{version}", "name": name, "version": version}
    component["purl"] = component["bom-ref"]
    if package.get("license"):
        # Cargo's old way to write `or`.
        component["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if checksum := checksums.get((name, version)):
        component["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return component


def debian(folder: pathlib.Path) -> list[dict]:
    """The packages whose control files lie in `folder`."""
    components = []
    for file in sorted(folder.iterdir()):
        fields = dict(line.split(": ", 1) for line in file.read_text().splitlines() if ": " in line and line[0] != " ")
        name, version = fields["Package"], fields["Version"]
        purl = f"pkg:deb/debian/{name}@{version}?arch={fields['Architecture']}"
        components.append({"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl})
    return components


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--features", default="", help="those that the binary is built with, as cargo takes them")
    arguments.add_argument("--dpkg", type=pathlib.Path, help="folder with the control files of the image's Debian packages")
    given = arguments.parse_args()

    found = metadata(given.features)
    nodes = {node["id"]: node for node in found["resolve"]["nodes"]}
    packages = {package["id"]: package for package in found["packages"]}
    root = next(id for id in found["workspace_members"] if packages[id]["name"] == BINARY)
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    checksums = {(p["name"], p["version"]): p.get("checksum") for p in lock}

    crates = linked(nodes, packages, root)
    components = {id: crate(packages[id], checksums) for id in sorted(crates)}
    dependencies = [
        {"ref": components[id]["bom-ref"],
         "dependsOn": sorted({components[dep["pkg"]]["bom-ref"] for dep in nodes[id]["deps"] if dep["pkg"] in crates})}
        for id in components
    ]
    itself = components.pop(root) | {"type": "application"}
    listed = sorted(components.values(), key=lambda c: c["bom-ref"]) + (debian(given.dpkg) if given.dpkg else [])
    # The number is of the content, so that a second run does not differ.
    number = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([itself, listed, dependencies]))
    print(json.dumps({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "serialNumber": f"urn:uuid:{number}", "version": 1,
        "metadata": {"component": itself},
        "components": listed, "dependencies": dependencies,
    }, indent=1))


if __name__ == "__main__":
    main()
