"""Takes what is of this machine out of a bill of materials, and checks it.

usage: sbom_check.py MADE WANTED CARGO_LOCK < packages, as `cargo tree --prefix none` lists them
"""

import json
import re
import sys
import tomllib
from pathlib import Path


def main() -> int:
    made, wanted, lock = map(Path, sys.argv[1:4])
    root = Path.cwd().resolve().as_posix()
    # References within the bill name the package's folder: by a name of its own in all of them.
    text = made.read_text().replace(f"path+file://{root}", "path+file:///hubdns")
    text = text.replace(f"file://{root}", "file:///hubdns")
    text = re.sub(r"\?download_url=file://[^\"]*", "", text)
    bill = json.loads(text)
    problems = [f"{bill['bomFormat']} {bill['specVersion']}"] if bill["bomFormat"] != "CycloneDX" else []

    components = {(c["name"], c["version"]): c for c in bill["components"]}
    built = set()
    for line in sys.stdin:
        found = re.match(r"(\S+) v(\S+)", line)
        if found and found[1] != "hubdns":
            built.add((found[1], found[2]))
    locked = {
        (p["name"], p["version"]): p.get("checksum")
        for p in tomllib.loads(lock.read_text())["package"]
    }
    if len(built) < 50:
        problems.append(f"cargo lists {len(built)} packages alone")
    for key in sorted(built - components.keys()):
        problems.append(f"{key[0]} {key[1]} is missing")
    for key in sorted(components.keys() - locked.keys()):
        problems.append(f"{key[0]} {key[1]} is not in {lock}")
    for key, component in sorted(components.items()):
        name = " ".join(key)
        if not component.get("licenses"):
            problems.append(f"{name} has no licence")
        if not component.get("purl", "").startswith(f"pkg:cargo/{key[0]}@"):
            problems.append(f"{name} has no package URL")
        digests = [h["content"] for h in component.get("hashes", []) if h["alg"] == "SHA-256"]
        if locked.get(key) not in digests:
            problems.append(f"{name} has another digest than {lock} says")
    whole = bill["metadata"]["component"]
    if (whole["name"], whole.get("type")) != ("hubdns", "application"):
        problems.append(f"the bill is of {whole['name']}, {whole.get('type')}")
    for mark in [root, str(Path.home()) + "/"]:
        if mark in text:
            problems.append(f"it holds a path of this machine: {mark}")
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        return 1
    wanted.write_text(json.dumps(bill, indent=2) + "\n")
    print(f"{wanted}: {len(components)} components, {len(built)} of them in the binary for this target")
    return 0


sys.exit(main())
