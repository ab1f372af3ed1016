"""Shows that the judge can fail: each planted fault must be found, and a good report must pass."""

import contextlib
import copy
import io
import json
import os
import pathlib
import tempfile
import unittest

import judge



def cases(form):
    return pathlib.Path(__file__).with_name(f"{form}.txt").read_text(encoding="utf-8").split()


CASES = cases("full")


def good_report():
    report = {case: {"behavior": "OK", "behaviorClose": "OK"} for case in CASES}
    report["7.1.6"] = {"behavior": "INFORMATIONAL", "behaviorClose": "INFORMATIONAL"}
    return {"bowline": report}


class JudgeTest(unittest.TestCase):
    def faults_after(self, change, expected=CASES):
        report = copy.deepcopy(good_report())
        change(report)
        return judge.judge(report, expected, "bowline")[0]

    def test_the_list_is_that_of_the_sections_asked_for(self):
        self.assertEqual(len(CASES), 517)
        sample = cases("sample")
        self.assertLess(set(sample), set(CASES))
        uncompressed = [case for case in CASES if case.split(".")[0] not in ("12", "13")]
        self.assertEqual(len(uncompressed), 301)
        self.assertLess(set(uncompressed), set(sample))
        sections = {case.split(".")[0] for case in sample}
        self.assertEqual(sections, {case.split(".")[0] for case in CASES})

    def test_a_good_report_passes(self):
        self.assertEqual(self.faults_after(lambda report: None), [])

    def test_a_missing_case_fails(self):
        faults = self.faults_after(lambda report: report["bowline"].pop("6.4.1"))
        self.assertEqual(faults, ["case 6.4.1 is missing"])

    def test_every_other_outcome_fails_in_either_aspect(self):
        outcomes = ["FAILED", "NON-STRICT", "WRONG CODE", "UNCLEAN", "FAILED BY CLIENT"]
        outcomes += ["UNIMPLEMENTED", "NO_CLOSE", ""]
        for aspect in judge.ASPECTS:
            for outcome in outcomes:
                with self.subTest(aspect=aspect, outcome=outcome):
                    faults = self.faults_after(
                        lambda report: report["bowline"]["2.1"].update({aspect: outcome})
                    )
                    self.assertEqual(faults, [f"case 2.1: {aspect} is {outcome}"])

    def test_an_absent_aspect_fails(self):
        faults = self.faults_after(lambda report: report["bowline"]["2.1"].pop("behaviorClose"))
        self.assertEqual(faults, ["case 2.1: behaviorClose is absent"])

    def test_an_unexpected_case_fails(self):
        result = {"behavior": "OK", "behaviorClose": "OK"}
        faults = self.faults_after(lambda report: report["bowline"].update({"14.1.1": result}))
        self.assertEqual(faults, ["case 14.1.1 was not expected"])

    def test_another_or_a_second_agent_fails(self):
        self.assertTrue(self.faults_after(lambda report: report.update(other={})))
        self.assertTrue(self.faults_after(lambda report: report.pop("bowline")))

    def test_an_empty_or_doubled_list_fails(self):
        self.assertTrue(self.faults_after(lambda report: None, expected=[]))
        self.assertTrue(self.faults_after(lambda report: None, expected=CASES + ["1.1.1"]))

    def test_the_exit_code_and_the_one_line_of_totals(self):
        bad = good_report()
        bad["bowline"]["9.3.1"]["behavior"] = "FAILED"
        del bad["bowline"]["10.1.1"]
        with tempfile.TemporaryDirectory() as folder:
            for name, text, code, line in [
                ("good", json.dumps(good_report()), 0, "passed: 517 of 517 cases"),
                ("bad", json.dumps(bad), 1, "FAILED: 516 of 517 cases"),
                ("cut", "{", 1, "FAILED: there is no readable report"),
                ("none", None, 1, "FAILED: there is no readable report"),
            ]:
                with self.subTest(name):
                    index = os.path.join(folder, name)
                    if text is not None:
                        pathlib.Path(index).write_text(text, encoding="utf-8")
                    cases = str(pathlib.Path(judge.__file__).with_name("full.txt"))
                    output = io.StringIO()
                    with contextlib.redirect_stdout(output):
                        got = judge.main([index, cases, "bowline", "server"])
                    self.assertEqual(got, code)
                    last_line = output.getvalue().splitlines()[-1]
                    self.assertIn(f"autobahn server: {line}", last_line)


if __name__ == "__main__":
    unittest.main()
