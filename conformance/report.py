"""What the runners here have in common: where things lie, and how results are told."""

import json
import os
import re
import shutil
import sys
import tomllib
from pathlib import Path
from xml.etree import ElementTree

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "conformance-output"
CACHE = Path(os.environ.get("RR_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rr-runtime")
# The runc of sid, for which the newer of two suites of runc's tests was written.
NEWER_RUNC = str(CACHE / "conformance/newer/bin/runc")
# So many times at most is a test asked until it passes; who does not pass at once is flaky.
TRIES = 3


def programs(runner, names, place=None):
    """Looks for what a runner needs. Elsewhere than on the usual machine it may be any user's."""
    for name in names:
        if not shutil.which(name):
            sys.exit(f"{runner}: {name} is missing; run: scripts/setup conformance")
    if os.geteuid() and not place:
        sys.exit(f"{runner}: containers need root here")
    OUT.mkdir(exist_ok=True)


def runtimes(runner, words, peer):
    """Names and paths of the runtimes that were given as NAME=BINARY; one alone is held against this runc."""
    given = dict(word.split("=", 1) for word in words) or {"rr-runtime": "/usr/local/bin/rr-runtime"}
    if len(given) == 1:
        given["runc"] = peer
    found = {name: shutil.which(binary) for name, binary in given.items()}
    for name, binary in found.items():
        if not binary:
            sys.exit(f"{runner}: {name}: {given[name]} is no program")
    return found


def version(runner, folder):
    """The version of the tests that scripts/setup-conformance has put into a folder."""
    if not (folder / "version").exists():
        sys.exit(f"{runner}: {folder.name}: the tests are not there; run: scripts/setup-conformance")
    return (folder / "version").read_text().strip()


def settle(verdicts, ask_again):
    """Asks for the tests that failed again, by a function that takes their names and gives verdicts: who passes then is flaky."""
    for _ in range(TRIES - 1):
        failed = [test for test, verdict in verdicts.items() if verdict == "failed"]
        if not failed:
            break
        again = ask_again(failed)
        verdicts.update({test: "flaky" for test in failed if again.get(test) == "passed"})


def traces():
    """Where the suites leave something: folders of controllers that this machine has not mounted, which others would take for such, and configurations of criu, by
    which every later one would write its log elsewhere. Another user's are another run's."""
    configurations = Path("/etc/criu")
    places = [*Path("/sys/fs/cgroup").iterdir(), *configurations.glob("*.conf"), configurations]
    return {path for path in places if is_own(path)}


def is_own(path):
    """Whether it is there, and this user's."""
    try:
        return path.lstat().st_uid == os.getuid()
    except FileNotFoundError:
        return False


def tidy(before):
    """Takes that away."""
    for path in sorted(traces() - before, reverse=True):
        if path.is_file():
            path.unlink(missing_ok=True)
        elif path.is_dir() and not path.is_mount():
            shutil.rmtree(path, ignore_errors=True)


class Report:
    """All results, in all forms."""

    def __init__(self, runner, place=""):
        """place stands before each name of a run elsewhere than on the usual machine."""
        self.place, self.runner, self.rows, self.lines, self.unexpected = place, place + runner, [], [], []
        self.suites = ElementTree.Element("testsuites", name=runner)
        with open(HERE / "expected.toml", "rb") as file:
            self.expected = tomllib.load(file)

    def add(self, suite, key, measured):
        """The results of one suite, by runtime; key is what expected.toml calls it."""
        names = list(measured)
        tests = sorted(set().union(*measured.values()))
        verdicts = {test: {name: measured[name].get(test, ("missing",))[0] for name in names} for test in tests}
        self.rows += [{"suite": f"{self.runner}: {suite}", "test": test, **verdicts[test]} for test in tests]
        junit = ElementTree.SubElement(self.suites, "testsuite", name=suite, tests=str(len(tests)))
        for test in tests:
            case = ElementTree.SubElement(junit, "testcase", classname=test.split(": ")[0], name=test.split(": ", 1)[1])
            verdict, said = measured[names[0]].get(test, ("missing", ""))
            if verdict == "skipped":
                ElementTree.SubElement(case, "skipped")
            elif verdict != "passed":
                ElementTree.SubElement(case, "failure", message=verdict).text = re.sub(r"[^\x09\x0a\x20-\ud7ff]", "?", said)
        lines = [f"| {suite}'s tests | {' | '.join(names)} |", "| --- |" + " --- |" * len(names)]
        for verdict in ["passed", "failed", "flaky", "skipped"]:
            counts = [sum(result[0] == verdict for result in measured[name].values()) for name in names]
            lines.append(f"| {verdict} | {' | '.join(map(str, counts))} |")
        lines += ["", f"| not passed by all | {' | '.join(names)} |", "| --- |" + " --- |" * len(names)]
        for test in tests:
            # What another one was not asked for is nothing to tell.
            if ({verdicts[test][names[0]]} | set(verdicts[test].values()) - {"missing"}) - {"passed", "skipped"}:
                lines.append(f"| {test} | {' | '.join(verdicts[test][name] for name in names)} |")
        print("\n".join(lines) + "\n")
        self.lines += [*lines, ""]
        ours, others = names[0], names[1:]
        expected = self.expected.get(self.place + key, {})
        # What could not even begin has failed in everything that others have passed.
        nothing = {test.split(": ")[0] for test in tests if test.endswith(": all") and verdicts[test][ours] == "failed"}
        fails = lambda test: verdicts[test][ours] == "failed" or (verdicts[test][ours] == "missing" and test.split(": ")[0] in nothing)
        lost = {test for test in tests if fails(test) and any(verdicts[test][other] == "passed" for other in others)}
        self.unexpected += [f"{suite}: {test}: fails, and is not in expected.toml" for test in sorted(lost - set(expected))]
        passes = [test for test in sorted(expected) if verdicts.get(test, {}).get(ours) == "passed"]
        self.unexpected += [f"{suite}: {test}: is in expected.toml, and passes" for test in passes]

    def end(self):
        """Writes all three forms, tells what was not expected, and exits by that."""
        results = OUT / "results.json"
        others = json.loads(results.read_text()) if results.exists() else []
        rows = [row for row in others if not row["suite"].startswith(f"{self.runner}: ")] + self.rows
        results.write_text(json.dumps(rows, indent=2) + "\n")
        ElementTree.ElementTree(self.suites).write(OUT / f"{self.runner}.xml", encoding="utf-8", xml_declaration=True)
        (OUT / f"{self.runner}.md").write_text("\n".join(self.lines))
        for line in self.unexpected:
            print(f"{self.runner}: {line}", file=sys.stderr)
        sys.exit(1 if self.unexpected else 0)
