#!/usr/bin/env python3
"""Sums the recorded long runs of docs/proof/*.json and writes docs/proof.md.

    scripts/proof.py                   write docs/proof.md
    scripts/proof.py check             validate the files and print the table; writes nothing
    scripts/proof.py run NAME ... [--minutes N]
                                       run the commands of these records, each with a new seed, until
                                       what is owed is shown on the present content; may be resumed
    scripts/proof.py total NAME TOTAL  print what has come together on the present content
    scripts/proof.py begin             print the commit that a run is about to be built from
    scripts/proof.py record NAME --commit COMMIT [--seed N] [--seconds N] [--failed] --totals acked=5 ...
                                       append a run of what was built from COMMIT

A record holds what is shown (`title`), by which `command`, on which `paths` the claim rests, what is
`owed`, and its `runs`. A run is stale once something under `paths`, but for tests, differs from what it
ran on. The totals of the runs on the present content are summed and compared with what is owed: at
least that much, and exactly 0 where 0 is owed. Totals named *_max and *_min are the extreme of all
runs. A run that failed adds nothing, and as long as its content is the present one nothing is shown.
Neither a run on a dirty tree is recorded, nor one of a content that HEAD does not hold any more.
"""

import argparse
import datetime
import json
import pathlib
import re
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TEMPLATE = "docs/proof/template.md"
PLACE = "<!-- totals -->\n"
FIELDS = {"name": str, "title": str, "command": str, "paths": list, "owed": dict, "runs": list}
RUN_FIELDS = {"commit": str, "date": str, "seed": int, "seconds": int, "passed": bool, "totals": dict}
TREE_LENGTH = 12


class Problem(Exception):
    """Something that the user must put right."""


class Repository:
    """The project around a folder `docs/proof`."""

    def __init__(self, root):
        self.root = pathlib.Path(root)

    def git(self, *arguments, stdin=""):
        done = subprocess.run(
            ["git", *arguments], cwd=self.root, input=stdin, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise Problem(f"git {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def content(self, commit, paths):
        """A name for the content of these paths at a commit, but for their tests; None if the commit is not
        known here."""
        try:
            listed = self.git("ls-tree", "-r", commit, "--", *paths)
        except Problem:
            return None
        product = "".join(line + "\n" for line in listed.splitlines() if not is_test(line.partition("\t")[2]))
        return self.git("hash-object", "--stdin", stdin=product).strip()[:TREE_LENGTH]

    def refuse_dirty(self):
        dirty = self.git(
            "status", "--porcelain", "--", ".", ":(exclude)docs/proof", ":(exclude)docs/proof.md"
        )
        if dirty:
            raise Problem("the tree is dirty, so that the run can't be recorded; commit first:\n" + dirty)

    def records(self):
        return [self.record(path) for path in sorted((self.root / "docs/proof").glob("*.json"))]

    def record(self, path):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise Problem(str(error)) from error
        except ValueError as error:
            raise Problem(f"{path.name}: {error}") from error
        check_fields(path.name, record, FIELDS)
        if record["name"] != path.stem:
            raise Problem(f"{path.name}: its name is {record['name']}")
        for path_owed in record["paths"]:
            if not (self.root / path_owed).exists():
                raise Problem(f"{path.name}: there is no {path_owed}")
        for number, run in enumerate(record["runs"]):
            check_fields(f"{path.name}, run {number + 1}", run, RUN_FIELDS)
        for totals in [record["owed"], *(run["totals"] for run in record["runs"])]:
            if not all(type(value) is int and value >= 0 for value in totals.values()):
                raise Problem(f"{path.name}: totals are whole numbers: {totals}")
        return record

    def write(self, record):
        path = self.root / "docs/proof" / f"{record['name']}.json"
        path.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def is_test(path):
    return any(part in ("tests", "tests.rs") for part in path.split("/"))


def check_fields(where, value, fields):
    for name, kind in fields.items():
        if type(value.get(name)) is not kind:
            raise Problem(f"{where}: {name} must be {kind.__name__}")


class Summary:
    """What the runs of a record come to."""

    def __init__(self, repository, record):
        self.record = record
        present = repository.content("HEAD", record["paths"])
        contents = [
            run.get("tree") or repository.content(run["commit"], record["paths"])
            for run in record["runs"]
        ]
        self.stale = bool(contents) and present not in contents
        shown = contents[-1] if self.stale else present
        self.runs = [run for run, content in zip(record["runs"], contents) if content == shown]
        self.failed = sum(not run["passed"] for run in self.runs)
        self.totals = {}
        for run in self.runs:
            if run["passed"]:
                add(self.totals, run["totals"])

    def missing(self):
        """What is owed and not there, in words."""
        words = []
        for name, owed in self.record["owed"].items():
            value = self.totals.get(name)
            if value is None or (value > 0 if owed == 0 else value < owed):
                bound = "exactly" if owed == 0 else "at least"
                words.append(f"{name}: {0 if value is None else value:,}, owed {bound} {owed:,}")
        return words

    def verdict(self):
        if not self.runs:
            return "not run"
        words = ["stale"] if self.stale else []
        if self.failed:
            words.append(f"{self.failed} of {len(self.runs)} runs failed")
        if self.missing():
            words.append("less than is owed")
        return ", ".join(words) or "shown"

    def commits(self):
        return ", ".join(dict.fromkeys(f"`{run['commit']}`" for run in self.runs))


def add(totals, more):
    for name, value in more.items():
        if name.endswith("_max"):
            totals[name] = max(totals.get(name, value), value)
        elif name.endswith("_min"):
            totals[name] = min(totals.get(name, value), value)
        else:
            totals[name] = totals.get(name, 0) + value


def table(summaries):
    lines = ["| what | verdict | runs | commit | last run |", "|---|---|---|---|---|"]
    for summary in summaries:
        record, runs = summary.record, summary.runs
        last = max((run["date"] for run in runs), default="")
        name = f"[{record['name']}](#{record['name']})"
        lines.append(
            f"| {name} | {summary.verdict()} | {len(runs)} | {summary.commits()} | {last} |"
        )
    return "\n".join(lines) + "\n"


def section(summary):
    record = summary.record
    lines = [f"### {record['name']}", "", record["title"], "", f"```sh\n{record['command']}\n```", ""]
    names = list(dict.fromkeys([*record["owed"], *sorted(summary.totals)]))
    if names:
        lines += ["| total | value | owed |", "|---|---:|---:|"]
    for name in names:
        value = summary.totals.get(name)
        owed = record["owed"].get(name)
        lines.append(
            f"| {name.replace('_', ' ')} | {'' if value is None else f'{value:,}'} "
            f"| {'' if owed is None else f'{owed:,}'} |"
        )
    seconds = sum(run["seconds"] for run in summary.runs)
    lines += ["", f"Verdict: **{summary.verdict()}**."]
    if summary.runs:
        seeds = sorted({run["seed"] for run in summary.runs})
        told = ", ".join(map(str, seeds[:8])) + (f" and {len(seeds) - 8} more" if len(seeds) > 8 else "")
        lines.append(
            f"{len(summary.runs)} runs, {seconds:,} seconds in all, on commit {summary.commits()}, seeds {told}."
        )
    if summary.stale:
        lines.append("Stale: what it rests on has changed since.")
    rests = ", ".join(f"`{path}`" for path in record["paths"])
    lines += [f"It rests on {rests}.", ""]
    return "\n".join(lines)


def document(repository, summaries):
    template = (repository.root / TEMPLATE).read_text(encoding="utf-8")
    if template.count(PLACE) != 1:
        raise Problem(f"{TEMPLATE} must hold one line {PLACE.strip()}")
    body = table(summaries) + "\n" + "\n".join(section(summary) for summary in summaries)
    return "<!-- Written by scripts/proof.py from docs/proof; change those. -->\n" + template.replace(PLACE, body)


def record_run(repository, arguments):
    repository.refuse_dirty()
    record = repository.record(repository.root / "docs/proof" / f"{arguments.name}.json")
    built = repository.content(arguments.commit, record["paths"])
    if built != repository.content("HEAD", record["paths"]):
        raise Problem(f"what was run, of commit {arguments.commit}, is not what HEAD holds any more")
    totals = {}
    for word in arguments.totals:
        name, _, value = word.partition("=")
        if not name or not value.isdecimal():
            raise Problem(f"a total is NAME=WHOLE_NUMBER, not {word}")
        totals[name] = int(value)
    record["runs"].append(
        {
            "commit": arguments.commit,
            "tree": built,
            "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
            "seed": arguments.seed,
            "seconds": arguments.seconds,
            "passed": not arguments.failed,
            "totals": totals,
        }
    )
    repository.write(record)


def run_until_shown(repository, names, minutes):
    """Runs what is missing; False if a run failed or the time is up."""
    until = time.monotonic() + 60 * minutes
    for name in names:
        path = repository.root / "docs/proof" / f"{name}.json"
        while True:
            record = repository.record(path)
            summary = Summary(repository, record)
            if summary.verdict() == "shown":
                break
            if summary.failed and not summary.stale:
                print(f"{name}: {summary.verdict()}")
                return False
            if time.monotonic() > until:
                print(f"{name}: not shown when the time was up: {summary.verdict()}")
                return False
            seed = max((run["seed"] for run in record["runs"]), default=0) + 1
            command = re.sub(r"--seed N\b", f"--seed {seed}", record["command"])
            print(f"{name}: {command}", flush=True)
            ended = subprocess.run(["bash", "-c", command], cwd=repository.root)
            if len(repository.record(path)["runs"]) == len(record["runs"]):
                raise Problem(f"{name}: the run was not recorded (exit code {ended.returncode})")
        print(f"{name}: shown")
    return True


def main(arguments, root=ROOT):
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("check")
    commands.add_parser("begin")
    running = commands.add_parser("run")
    running.add_argument("names", nargs="+")
    running.add_argument("--minutes", type=int, default=600)
    total = commands.add_parser("total")
    total.add_argument("name")
    total.add_argument("total")
    recording = commands.add_parser("record")
    recording.add_argument("name")
    recording.add_argument("--commit", required=True)
    recording.add_argument("--seed", type=int, default=0)
    recording.add_argument("--seconds", type=int, default=0)
    recording.add_argument("--failed", action="store_true")
    recording.add_argument("--totals", nargs="+", required=True, metavar="NAME=N")
    parsed = parser.parse_args(arguments)
    repository = Repository(root)
    try:
        if parsed.command == "begin":
            repository.refuse_dirty()
            print(repository.git("rev-parse", "--short", "HEAD").strip())
            return 0
        if parsed.command == "record":
            record_run(repository, parsed)
            return 0
        if parsed.command == "run":
            return 0 if run_until_shown(repository, parsed.names, parsed.minutes) else 1
        if parsed.command == "total":
            path = repository.root / "docs/proof" / f"{parsed.name}.json"
            summary = Summary(repository, repository.record(path))
            # What was run on other content does not count here.
            print(0 if summary.stale else summary.totals.get(parsed.total, 0))
            return 0
        summaries = [Summary(repository, record) for record in repository.records()]
        text = document(repository, summaries)
    except Problem as problem:
        print(f"proof: {problem}", file=sys.stderr)
        return 1
    for summary in summaries:
        print(f"{summary.record['name']:<24} {summary.verdict()}")
        for words in summary.missing() if summary.runs else []:
            print(f"{'':<24}   {words}")
    if parsed.command is None:
        (repository.root / "docs/proof.md").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    # Who reads only the beginning, as `head` does, ends it.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(main(sys.argv[1:]))
