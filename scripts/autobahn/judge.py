"""Judges the JSON index that wstest writes. It owns the verdict and nothing else: which cases must
be there comes from a committed list, so neither a narrowed spec nor a broken run can pass.

Usage: judge.py INDEX CASES AGENT LABEL
"""

import collections
import json
import sys

# What a case may end with. NON-STRICT, UNIMPLEMENTED and all others fail.
PASSING = ("OK", "INFORMATIONAL")
ASPECTS = ("behavior", "behaviorClose")


def judge(index, expected, agent):
    """Returns the list of faults, empty if all is well, and the totals as {aspect: Counter}."""
    totals = {aspect: collections.Counter() for aspect in ASPECTS}
    faults = []
    if not expected:
        faults.append("the list of expected cases is empty")
    if len(set(expected)) != len(expected):
        faults.append("the list of expected cases names a case twice")
    if sorted(index) != [agent]:
        faults.append(f"the report is about {sorted(index)} and not about {agent!r} alone")
    results = index.get(agent, {})
    for case in expected:
        if case not in results:
            faults.append(f"case {case} is missing")
    for case, result in results.items():
        if case not in expected:
            faults.append(f"case {case} was not expected")
        for aspect in ASPECTS:
            outcome = result.get(aspect, "absent")
            totals[aspect][outcome] += 1
            if outcome not in PASSING:
                faults.append(f"case {case}: {aspect} is {outcome}")
    return faults, totals


def summary(faults, totals, expected, present, label):
    """The run in one line."""
    aspects = "; ".join(
        f"{aspect} " + ", ".join(f"{outcome} {count}" for outcome, count in sorted(counts.items()))
        for aspect, counts in totals.items()
    )
    verdict = "FAILED" if faults else "passed"
    return (
        f"autobahn {label}: {verdict}: {present} of {expected} cases; {aspects}; "
        f"{len(faults)} faults"
    )


def main(arguments):
    """Reads the files, prints the faults and the totals, and returns the exit code."""
    if len(arguments) != 4:
        print(__doc__, file=sys.stderr)
        return 2
    index_path, cases_path, agent, label = arguments
    try:
        with open(index_path, encoding="utf-8") as file:
            index = json.load(file)
    except (OSError, ValueError) as error:
        print(f"autobahn {label}: FAILED: there is no readable report: {error}")
        return 1
    with open(cases_path, encoding="utf-8") as file:
        expected = file.read().split()
    faults, totals = judge(index, expected, agent)
    for fault in faults:
        print(f"autobahn {label}: {fault}")
    present = len(set(expected) & set(index.get(agent, {})))
    print(summary(faults, totals, len(expected), present, label))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
