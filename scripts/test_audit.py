"""Tests of scripts/audit.py: what it must complain about, and what it must let pass."""

import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import audit

ADVISORY = """```toml
[advisory]
id = "RUSTSEC-2021-0072"
package = "tokio"
date = "2021-07-07"

[versions]
patched = [">= 1.5.1, < 1.6.0", ">= 1.8.1"]
unaffected = ["< 0.3.0"]
```

# Task dropped in wrong thread
"""


class Advisories(unittest.TestCase):
    def holding(self, version, text=ADVISORY):
        with tempfile.TemporaryDirectory() as folder:
            place = pathlib.Path(folder) / "crates/tokio"
            place.mkdir(parents=True)
            (place / "RUSTSEC-2021-0072.md").write_text(text, encoding="utf-8")
            return [found[0] for found in audit.advisories(pathlib.Path(folder), {("tokio", version)})]

    def test_an_affected_version_is_told(self):
        for version in ["0.3.0", "1.5.0", "1.6.0", "1.8.0", "1.8.1-rc.1"]:
            self.assertEqual(self.holding(version), ["RUSTSEC-2021-0072"], version)

    def test_a_safe_version_is_not(self):
        for version in ["0.2.9", "1.5.1", "1.5.9", "1.8.1", "1.10.0", "2.0.0"]:
            self.assertEqual(self.holding(version), [], version)

    def test_a_withdrawn_advisory_is_not(self):
        withdrawn = ADVISORY.replace('date = "2021-07-07"', 'date = "2021-07-07"\nwithdrawn = "2021-08-01"')
        self.assertEqual(self.holding("1.8.0", withdrawn), [])

    def test_carets_and_tildes(self):
        self.assertTrue(audit.matches("1.4.2", "^1.2"))
        self.assertFalse(audit.matches("2.0.0", "^1.2"))
        self.assertTrue(audit.matches("0.3.9", "^0.3.1"))
        self.assertFalse(audit.matches("0.4.0", "^0.3.1"))
        self.assertFalse(audit.matches("1.3.0", "~1.2.3"))


class Licences(unittest.TestCase):
    def test_one_allowed_way_is_enough(self):
        self.assertTrue(audit.is_allowed("MIT OR GPL-3.0"))
        self.assertTrue(audit.is_allowed("(MIT OR Apache-2.0) AND Unicode-3.0"))
        self.assertTrue(audit.is_allowed("Apache-2.0/MIT"))
        self.assertFalse(audit.is_allowed("GPL-3.0"))
        self.assertFalse(audit.is_allowed("MIT AND GPL-3.0"))
        self.assertFalse(audit.is_allowed("(MIT OR ISC) AND GPL-3.0"))
        self.assertTrue(audit.is_allowed("Apache-2.0 WITH LLVM-exception OR GPL-3.0"))


if __name__ == "__main__":
    unittest.main()
