# Prints the ids of all cases that wstest itself would run for a spec file, one per line. It runs
# under the Python 2.7 of the venv that holds wstest, and must not judge anything.
from __future__ import print_function

import json
import sys

from autobahntestsuite.case import (
    CaseBasename, CaseCategories, Cases, CaseSetname, CaseSubCategories)
from autobahntestsuite.caseset import CaseSet


def main():
    with open(sys.argv[1]) as spec:
        patterns = json.load(spec)
    case_set = CaseSet(CaseSetname, CaseBasename, Cases, CaseCategories, CaseSubCategories)
    for case in case_set.parseSpecCases(patterns):
        print(case)


main()
