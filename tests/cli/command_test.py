#!/usr/bin/env python3
"""The command from outside: streams, files, exit codes. Usage: command_test.py INCIDENT CORPORA

What a core means is tested elsewhere; here it matters where the output goes and what the shell sees.
"""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

INCIDENT = pathlib.Path(sys.argv[1]).resolve()
CORPORA = pathlib.Path(sys.argv[2]).resolve()


def run(*arguments, env=None, stdin=None, **more):
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": "/nonexistent"} | (env or {})
    return subprocess.run([INCIDENT, *map(str, arguments)], env=environment, stdin=stdin or subprocess.DEVNULL, timeout=120,
                          **({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more))


class WithoutACore(unittest.TestCase):
    def test_help_and_version(self):
        for arguments in (["--help"], ["--version"], ["analyze", "--help"], ["explain", "--help"]):
            done = run(*arguments)
            self.assertEqual((done.returncode, done.stderr), (0, b""), arguments)
            self.assertTrue(done.stdout)

    def test_usage_errors_go_to_stderr(self):
        for arguments in ([], ["analyze"], ["nonsense"], ["analyze", "/no/such/core"], ["analyze", "x", "--format", "dot"]):
            done = run(*arguments)
            self.assertEqual((done.returncode, done.stdout), (2, b""), arguments)
            self.assertTrue(done.stderr.startswith(b"incident: "), done.stderr)

    def test_hostile_names_are_escaped(self):
        done = run("analyze", "/no/\x1b[31msuch")
        self.assertNotIn(b"\x1b", done.stderr)

    def test_explain(self):
        done = run("explain", "go.mutex.orphaned")
        self.assertEqual(done.returncode, 0)
        self.assertIn(b"innocent", done.stdout)
        self.assertEqual(run("explain", "no.such.kind").returncode, 2)

    def test_what_is_no_core(self):
        with tempfile.TemporaryDirectory() as folder:
            text = pathlib.Path(folder, "notes.txt")
            text.write_text("not a core")
            empty = pathlib.Path(folder, "empty")
            empty.touch()
            for path in (text, empty, folder, INCIDENT):
                done = run("analyze", path)
                self.assertEqual((done.returncode, done.stdout), (2, b""), path)
                self.assertEqual(done.stderr.count(b"\n"), 1, done.stderr)


class WithACore(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = CORPORA / "go1.25"
        cls.core, cls.exe = folder / "dwarf.nilderef" / "core", folder / "exe.dwarf"
        if not cls.core.exists():
            raise unittest.SkipTest(f"{cls.core} is not unpacked")

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def file(self, name):
        return pathlib.Path(self.folder.name, name)

    def test_findings_are_exit_one(self):
        done = run("crash", self.core, self.exe)
        self.assertEqual((done.returncode, done.stderr), (1, b""))
        self.assertIn(b"WHAT ", done.stdout)

    def test_either_order(self):
        self.assertEqual(run("crash", self.core, self.exe).stdout, run("crash", self.exe, self.core).stdout)

    def test_stdin(self):
        with open(self.core, "rb") as stdin:
            done = run("crash", "-", self.exe, stdin=stdin)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual(done.stdout.count(b"standard input"), 1, "in the header; a command line says CORE")

    def test_json_beside_the_report(self):
        path = self.file("report.json")
        done = run("crash", self.core, self.exe, "--json", path)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"WHAT ", done.stdout)
        direct = json.loads(run("crash", self.core, self.exe, "--format", "json").stdout)
        self.assertEqual(json.loads(path.read_text()), direct)
        self.assertEqual(direct["schema"], "incident-report/1")
        self.assertEqual(direct["command"], "crash")

    def test_output_file(self):
        path = self.file("report.md")
        done = run("crash", self.core, self.exe, "--format", "markdown", "-o", path)
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertTrue(path.read_text().startswith("# "))

    def test_inputs_are_not_overwritten(self):
        before = self.exe.stat().st_size
        for target in (self.core, self.exe):
            for words in (("crash", "-o"), ("crash", "--json"), ("heap", "--pprof")):
                done = run(words[0], self.core, self.exe, words[1], target)
                self.assertEqual((done.returncode, done.stdout), (2, b""), words)
        self.assertEqual(self.exe.stat().st_size, before)
        store = self.file("s.ndjson")
        store.write_text("{}\n")
        for words in (("merge", store, "-o", store), ("merge", store, "--store", store), ("triage", self.core, "--baseline", store, "--json", store),
                      ("triage", self.core, "-o", self.core)):
            done = run(*words)
            self.assertEqual((done.returncode, done.stdout), (2, b""), words)
            self.assertIn(b"will not be overwritten", done.stderr)
        self.assertEqual(store.read_text(), "{}\n")

    def test_a_full_disk_is_an_error(self):
        done = run("crash", self.core, self.exe, "-o", "/dev/full")
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"No space left", done.stderr)

    def test_a_reader_that_leaves_is_none(self):
        read, write = os.pipe()
        os.close(read)
        done = run("goroutines", self.core, self.exe, stdout=write)
        os.close(write)
        self.assertEqual(done.stderr, b"")
        self.assertIn(done.returncode, (0, 1))

    def test_colour(self):
        always = run("crash", self.core, self.exe, "--color", "always")
        self.assertIn(b"\x1b[", always.stdout)
        self.assertNotIn(b"\x1b[", run("crash", self.core, self.exe).stdout)
        self.assertIn(b"\x1b[", run("crash", self.core, self.exe, "--color=always", env={"NO_COLOR": "1"}).stdout)
        self.assertEqual(re.sub(rb"\x1b\[[0-9;]*m", b"", always.stdout).replace(b" \n", b"\n").split(),
                         run("crash", self.core, self.exe).stdout.split())

    def test_width_and_locale(self):
        for columns in (60, 140):
            done = run("crash", self.core, self.exe, env={"COLUMNS": str(columns)})
            label = ""
            for line in done.stdout.decode().splitlines():
                label = line.split(" ")[0] or label
                if label != "check":
                    self.assertLessEqual(len(line), columns, line)
        ascii_only = run("crash", self.core, self.exe, env={"LC_ALL": "C"})
        self.assertTrue(ascii_only.stdout.isascii())

    def test_only_and_skip(self):
        self.assertEqual(run("analyze", self.core, self.exe, "--skip", "crash").returncode, 0)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
