"""Tests of proof.py: what is summed, what is stale, and what is refused."""

import contextlib
import importlib.util
import io
import json
import pathlib
import subprocess
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
SPEC = importlib.util.spec_from_file_location("proof", HERE / "proof.py")
proof = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(proof)


class ProofTest(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.root = pathlib.Path(holder.name)
        (self.root / "docs/proof").mkdir(parents=True)
        (self.root / "code").mkdir()
        (self.root / "docs/proof/template.md").write_text("# T\n" + proof.PLACE + "end\n")
        self.write_code("1")
        self.write_record(owed={"acked": 10, "lost": 0})
        self.git("init", "-q")
        self.commit()

    def git(self, *arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=self.root, check=True)

    def commit(self):
        self.git("add", ".")
        self.git("commit", "-q", "--allow-empty", "-m", "x")

    def write_code(self, text):
        (self.root / "code/a").write_text(text)

    def write_record(self, **changes):
        record = {"name": "x", "title": "t", "command": "c", "paths": ["code"], "owed": {}, "runs": []}
        (self.root / "docs/proof/x.json").write_text(json.dumps(record | changes))

    def call(self, *arguments):
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return proof.main(list(arguments), self.root)

    def head(self):
        return subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=self.root, text=True).strip()

    def record(self, *totals, failed=False, commit=None):
        flags = ["--commit", commit or self.head(), *(["--failed"] if failed else [])]
        return self.call("record", "x", "--seed", "3", *flags, "--totals", *totals)

    def summary(self):
        repository = proof.Repository(self.root)
        return proof.Summary(repository, repository.records()[0])

    def test_runs_on_the_same_content_are_summed_whatever_their_commit(self):
        self.assertEqual(self.summary().verdict(), "not run")
        self.assertEqual(self.record("acked=6", "lost=0", "lag_max=3"), 0)
        self.assertEqual(self.summary().verdict(), "less than is owed")
        (self.root / "code/tests.rs").write_text("a test is no part of what runs")
        self.commit()
        self.record("acked=5", "lost=0", "lag_max=2")
        summary = self.summary()
        self.assertEqual(summary.totals, {"acked": 11, "lost": 0, "lag_max": 3})
        self.assertEqual(summary.verdict(), "shown")

    def test_a_change_of_the_paths_makes_runs_stale_until_they_are_run_again(self):
        self.record("acked=20", "lost=0")
        self.write_code("2")
        self.commit()
        self.assertEqual(self.summary().verdict(), "stale")
        self.record("acked=1", "lost=0")
        self.assertEqual(self.summary().verdict(), "less than is owed")
        self.write_code("1")
        self.commit()
        self.assertEqual(self.summary().verdict(), "shown")

    def test_runs_without_a_content_are_known_by_their_commit(self):
        run = {"commit": self.head(), "date": "2026-01-01", "seed": 1, "seconds": 1, "passed": True}
        self.write_record(runs=[run | {"totals": {"acked": 1}}])
        self.assertFalse(self.summary().stale)
        self.write_code("2")
        self.commit()
        self.assertTrue(self.summary().stale)

    def test_where_nothing_is_allowed_one_is_too_many_and_silence_is_not_nothing(self):
        self.record("acked=20")
        self.assertEqual(self.summary().verdict(), "less than is owed")
        self.record("acked=20", "lost=1")
        self.assertEqual(self.summary().missing(), ["lost: 1, owed exactly 0"])

    def test_a_failed_run_is_told_and_adds_nothing(self):
        self.record("acked=20", "lost=0")
        self.record("acked=20", "lost=4", failed=True)
        summary = self.summary()
        self.assertEqual(summary.totals["acked"], 20)
        self.assertEqual(summary.verdict(), "1 of 2 runs failed")

    def test_a_run_on_a_dirty_tree_is_refused_and_a_dirty_record_is_not_a_dirty_tree(self):
        self.write_code("3")
        self.assertEqual(self.record("acked=1"), 1)
        self.commit()
        self.assertEqual(self.record("acked=1"), 0)
        self.assertEqual(self.record("acked=1"), 0)
        self.assertEqual(len(self.summary().record["runs"]), 2)

    def test_a_run_of_a_content_that_is_gone_is_refused(self):
        built = self.head()
        (self.root / "code/tests.rs").write_text("a test is no part of what runs")
        self.commit()
        self.assertEqual(self.record("acked=1", commit=built), 0)
        self.assertEqual(self.summary().runs[0]["commit"], built)
        self.write_code("2")
        self.assertEqual(self.call("begin"), 1)
        self.commit()
        self.assertEqual(self.call("begin"), 0)
        self.assertEqual(self.record("acked=1", commit=built), 1)
        self.assertEqual(self.record("acked=1", commit="no-such-commit"), 1)
        self.assertEqual(len(self.summary().record["runs"]), 1)

    def test_the_page_is_written_from_the_template_and_checking_writes_nothing(self):
        self.record("acked=20", "lost=0")
        self.assertEqual(self.call("check"), 0)
        self.assertFalse((self.root / "docs/proof.md").exists())
        self.assertEqual(self.call(), 0)
        page = (self.root / "docs/proof.md").read_text()
        self.assertIn("# T\n", page)
        self.assertIn("| acked | 20 | 10 |", page)
        self.assertIn("**shown**", page)

    def test_commands_are_run_with_new_seeds_until_what_is_owed_is_shown(self):
        self.write_record(command="sh own.sh --seed N", owed={"acked": 10})
        (self.root / "own.sh").write_text(
            f"PYTHONPATH={HERE} python3 -c 'import sys, proof;"
            " sys.exit(proof.main([\"record\", \"x\", \"--commit\", \"HEAD\", \"--seed\", sys.argv[2],"
            " \"--totals\", \"acked=4\"], \".\"))' \"$@\"\n"
        )
        self.commit()
        self.assertEqual(self.call("run", "x"), 0)
        summary = self.summary()
        self.assertEqual(summary.verdict(), "shown")
        self.assertEqual([run["seed"] for run in summary.runs], [1, 2, 3])
        self.assertEqual(self.call("run", "x"), 0)
        self.assertEqual(len(self.summary().runs), 3)

    def test_a_command_that_records_nothing_is_told(self):
        self.write_record(command="true", owed={"acked": 10})
        self.commit()
        self.assertEqual(self.call("run", "x"), 1)

    def test_malformed_records_are_told(self):
        for changes in [
            {"name": "y"},
            {"paths": ["nowhere"]},
            {"owed": {"acked": -1}},
            {"runs": [{"commit": "a"}]},
            {"title": 3},
        ]:
            self.write_record(**changes)
            self.assertEqual(self.call("check"), 1, changes)


if __name__ == "__main__":
    unittest.main()
