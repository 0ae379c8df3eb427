#!/usr/bin/env python3
"""Holds the dependency tree to [bans] and [licenses] of deny.toml, where cargo-deny is not installed.

For:     .ci/run. Needs: Python 3.11 and cargo. Leaves: nothing; exits with 1 and one line for each finding.
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def packages(targets: list[str]) -> list[dict]:
    """Every package that is built on any of the targets, as `cargo metadata` describes it."""
    found = {}
    for target in targets:
        command = ["cargo", "metadata", "--locked", "--all-features", "--format-version=1", f"--filter-platform={target}"]
        answer = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
        found.update({package["id"]: package for package in answer["packages"]})
    return list(found.values())


def is_allowed(expression: str, allowed: set[str]) -> bool:
    """Whether an SPDX expression can be met with the allowed licences alone; "MIT/Apache-2.0" is an old way to say OR."""
    words = re.findall(r"[()]|[^\s()/]+|/", re.sub(r"\s+WITH\s+", "+WITH+", expression))
    logic = {"(": "(", ")": ")", "AND": "and", "OR": "or", "/": "or"}
    return eval(" ".join(logic.get(word, str(word in allowed)) for word in words))


def findings(rules: dict) -> list[str]:
    """One line for each package that deny.toml does not want."""
    allowed = set(rules["licenses"]["allow"])
    banned = {ban["crate"]: ban["reason"] for ban in rules["bans"]["deny"]}
    lines = []
    for package in packages(rules["graph"]["targets"]):
        name, licence = package["name"], package["license"] or "none declared"
        if name in banned:
            lines.append(f"{name}: banned: {banned[name]}")
        if package["license"] is None or not is_allowed(licence, allowed):
            lines.append(f"{name}: licence not allowed: {licence}")
    return lines


def main() -> int:
    lines = findings(tomllib.loads((ROOT / "deny.toml").read_text()))
    print("\n".join(lines) or "every dependency is within deny.toml")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
