#!/usr/bin/env python3
"""Checks what the lock files bring in: known advisories, licences, and versions that stand twice.

    scripts/audit.py [--db FOLDER]

Works offline. FOLDER is a checkout of https://github.com/RustSec/advisory-db (default: $ADVISORY_DB, else
../shared/advisory-db beside this repository, else ~/.cargo/advisory-db, as cargo-audit has it); where
there is none, the advisories are NOT RUN.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
LOCKS = ["Cargo.lock", "fuzz/Cargo.lock"]

# Licences that may be linked into a program under MIT OR Apache-2.0.
LICENCES = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0",
    "CC0-1.0", "CDLA-Permissive-2.0", "ISC", "MIT", "MIT-0", "NCSA", "OpenSSL", "Unicode-3.0", "Unlicense",
    "Zlib",
}

# Packages that stand twice because their users have not moved on, each with the reason.
TWICE = json.loads((ROOT / "scripts/audit-twice.json").read_text(encoding="utf-8"))


def version(text):
    """A version as a tuple that compares; a pre-release comes before its release."""
    core, _, pre = text.split("+")[0].partition("-")
    numbers = [int(part) for part in core.split(".")]
    numbers += [0] * (3 - len(numbers))
    parts = [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in pre.split(".")] if pre else []
    return (*numbers, 0 if pre else 1, parts)


def matches(found, requirement):
    """Whether a version meets a requirement such as ">= 1.5.1, < 1.6.0"."""
    for clause in requirement.split(","):
        sign, text = re.fullmatch(r"\s*([<>=^~]*)\s*(\S+)\s*", clause).groups()
        bound = version(text)
        if sign == "^" or sign == "~":
            parts = text.split("-")[0].split(".")
            keep = next((i for i, p in enumerate(parts) if p != "0"), len(parts) - 1) if sign == "^" else 1
            top = [int(p) for p in parts[: keep + 1]]
            top[-1] += 1
            if not bound <= version(found) < version(".".join(map(str, top))):
                return False
        elif not {
            "": lambda v: v == bound,
            "=": lambda v: v == bound,
            "==": lambda v: v == bound,
            "<": lambda v: v < bound,
            "<=": lambda v: v <= bound,
            ">": lambda v: v > bound,
            ">=": lambda v: v >= bound,
        }[sign](version(found)):
            return False
    return True


def advisories(folder, packages):
    """The advisories that hold for these packages: (id, name, version, title, kind)."""
    for name, found in sorted(packages):
        for path in sorted((folder / "crates" / name).glob("*.md")):
            head, _, body = path.read_text(encoding="utf-8").removeprefix("```toml\n").partition("\n```")
            entry = tomllib.loads(head)
            if "withdrawn" in entry["advisory"]:
                continue
            safe = entry["versions"].get("patched", []) + entry["versions"].get("unaffected", [])
            if not any(matches(found, requirement) for requirement in safe):
                title = next((line[2:] for line in body.splitlines() if line.startswith("# ")), "")
                yield entry["advisory"]["id"], name, found, title, entry["advisory"].get("informational")


def is_allowed(expression):
    """Whether an SPDX expression can be met with allowed licences alone."""
    words = re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR "))

    def one():
        word = words.pop(0)
        if word == "(":
            met = either()
            words.pop(0)
            return met
        if words[:1] == ["WITH"]:
            word = f"{word} WITH {words[1]}"
            del words[:2]
        return word in LICENCES

    def all_of():
        met = one()
        while words[:1] == ["AND"]:
            words.pop(0)
            met = one() and met
        return met

    def either():
        met = all_of()
        while words[:1] == ["OR"]:
            words.pop(0)
            met = all_of() or met
        return met

    return either()


def locked(path):
    lock = tomllib.loads(path.read_text(encoding="utf-8"))
    return {(p["name"], p["version"]) for p in lock["package"] if p.get("source", "").startswith("registry")}


def check_advisories(folder, problems):
    if not (folder / "crates").is_dir():
        print(f"advisories: NOT RUN, no checkout of https://github.com/RustSec/advisory-db at {folder}")
        return
    packages = set().union(*(locked(ROOT / lock) for lock in LOCKS))
    count = 0
    for identity, name, found, title, kind in advisories(folder, packages):
        count += 1
        print(f"advisory {identity}: {name} {found}: {title}" + (f" ({kind})" if kind else ""))
        if kind is None or kind == "unsound":
            problems.append(identity)
    print(f"advisories: {len(packages)} packages, {count} advisories hold")


def check_licences(problems):
    licences = {}
    for lock in LOCKS:
        manifest = str((ROOT / lock).with_name("Cargo.toml"))
        metadata = subprocess.run(
            ["cargo", "metadata", "--format-version", "1", "--locked", "--manifest-path", manifest],
            cwd=ROOT, capture_output=True, text=True,
        )
        if metadata.returncode != 0:
            problems.append("cargo metadata: " + metadata.stderr.strip())
            return
        for package in json.loads(metadata.stdout)["packages"]:
            licences[package["name"], package["version"]] = package["license"]
    for (name, found), licence in sorted(licences.items()):
        if not licence or not is_allowed(licence):
            problems.append(f"licence of {name} {found}: {licence}")
    print(f"licences: {len(licences)} packages looked at")


def check_twice(problems):
    twice, versions = {}, {}
    for lock in LOCKS:
        here = {}
        for name, found in locked(ROOT / lock):
            here.setdefault(name, set()).add(found)
        versions |= here
        twice |= {name: sorted(found) for name, found in here.items() if len(found) > 1}
    for name, found in sorted(twice.items()):
        if name not in TWICE:
            problems.append(f"{name} stands in {', '.join(found)}")
    problems += [f"{name} does not stand twice any more" for name in TWICE if name not in twice]
    print(f"versions: {len(versions)} names, {len(twice)} stand twice")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    beside, own = ROOT.parent / "shared/advisory-db", pathlib.Path.home() / ".cargo/advisory-db"
    default = os.environ.get("ADVISORY_DB", beside if beside.is_dir() else own)
    parser.add_argument("--db", type=pathlib.Path, default=pathlib.Path(default))
    problems = []
    check_advisories(parser.parse_args().db, problems)
    check_licences(problems)
    check_twice(problems)
    for problem in problems:
        print(f"PROBLEM {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
