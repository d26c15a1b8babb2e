"""scikit-learn's and hmmlearn's own tests, as they are installed, against emlearn.

    python benchmarks/peer_suites/run.py                     # all three
    python benchmarks/peer_suites/run.py hmmlearn            # one
    python benchmarks/peer_suites/run.py hmmlearn -k poisson # a part, as pytest selects

Suites: sklearn-mixture, sklearn-impute, hmmlearn. Their classes are replaced by stand-ins before the tests are
imported (plugin.py), and nothing of theirs is here. Of each test it is said whether it

passes;
does not apply: it calls none of the classes that are replaced, its peer expects it to fail or skips it, or
    not_applicable.py says why it cannot;
fails: it is then named, with what was raised.

The exit status is 0 where nothing fails. Needs pytest, and scikit-learn or hmmlearn.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from not_applicable import NOT_APPLICABLE

HERE = Path(__file__).resolve().parent


class Suite(NamedTuple):
    package: str
    files: tuple[str, ...]


SUITES = {
    "sklearn-mixture": Suite("sklearn", ("mixture/tests",)),
    "sklearn-impute": Suite("sklearn", ("impute/tests/test_common.py", "impute/tests/test_impute.py")),
    "hmmlearn": Suite("hmmlearn", ("tests",)),
}


class Verdict(NamedTuple):
    kind: str  # "passes", "does not apply" or "fails"
    reason: str


def places_of(suite):
    """Where the tests of a suite are installed; raises FileNotFoundError where they are not."""
    spec = importlib.util.find_spec(suite.package)
    places = [] if spec is None else [Path(spec.origin).parent / file for file in suite.files]
    if not places or not all(place.exists() for place in places):
        raise FileNotFoundError(f"{suite.package} is not installed with its tests.")
    return places


def verdict(name, test, outcome):
    """What an outcome says of emlearn."""
    if outcome["outcome"] == "passed" and outcome["called"]:
        return Verdict("passes", "")
    if outcome["outcome"] == "passed":
        return Verdict("does not apply", "calls none of the classes that emlearn has")
    for pattern, reason in NOT_APPLICABLE[name]:
        if re.search(pattern, test):
            return Verdict("does not apply", reason)
    if outcome["outcome"] == "xfailed":
        return Verdict("does not apply", "expected to fail by its own library")
    if outcome["outcome"] == "skipped":
        return Verdict("does not apply", "skipped by its own library")
    return Verdict("fails", outcome["error"])


def run(name, select=None, files=None):
    """Verdict and outcome of each test of a suite, or of some of its files; raises where pytest did not run."""
    suite = SUITES[name] if files is None else SUITES[name]._replace(files=files)
    places = places_of(suite)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        paths = [str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(path for path in paths if path),
            "PEER_SUITE": name,
            "PEER_REPORT": str(report),
            "SKLEARN_RUN_FLOAT32_TESTS": "1",
        }
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "--no-header",
            "-p",
            "plugin",
            "-p",
            "no:cacheprovider",
        ]
        command += ["-c", os.devnull, f"--rootdir={folder}", "-W", "ignore", "--tb=no", "-p", "no:xdist"]
        command += [*(["-k", select] if select else []), *map(str, places)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if not report.exists():
            raise RuntimeError(f"pytest did not run:\n{done.stdout}\n{done.stderr}")
        outcomes = json.loads(report.read_text("utf-8"))
    return {test: (verdict(name, test, outcome), outcome) for test, outcome in outcomes.items()}


def main():
    parser = argparse.ArgumentParser(description="Peers' own tests against emlearn.")
    parser.add_argument("suites", nargs="*", help=f"of {', '.join(SUITES)}; all by default")
    parser.add_argument("-k", dest="select", help="tests to select, as pytest does")
    parser.add_argument("--reasons", action="store_true", help="list the tests that do not apply too")
    parser.add_argument("--slowest", type=int, default=0, help="list so many of the slowest tests")
    arguments = parser.parse_args()
    unknown = set(arguments.suites) - set(SUITES)
    if unknown:
        parser.error(f"unknown suites {sorted(unknown)}: there are {', '.join(SUITES)}")
    n_failed = 0
    for name in arguments.suites or SUITES:
        found = run(name, arguments.select)
        package = {"sklearn": "scikit-learn"}.get(SUITES[name].package, SUITES[name].package)
        counts = Counter(result.kind for result, _ in found.values())
        n_failed += counts["fails"]
        applying = counts["passes"] + counts["fails"]
        print(
            f"{name} ({package} {importlib.metadata.version(package)}): {counts['passes']} of {applying} pass;"
        )
        print(f"    {counts['does not apply']} others do not apply")
        reasons = Counter(result.reason for result, _ in found.values() if result.kind == "does not apply")
        for reason, count in reasons.most_common():
            print(f"    {count:5d}  {reason}")
        for test, (result, _) in found.items():
            if result.kind == "fails" or (arguments.reasons and result.kind == "does not apply"):
                print(f"    {result.kind}: {test}: {' '.join(result.reason.split())[:300]}")
        slowest = sorted(found.items(), key=lambda item: -item[1][1]["seconds"])[: arguments.slowest]
        for test, (_, outcome) in slowest:
            print(f"    {outcome['seconds']:7.1f} s  {test}")
    return 1 if n_failed else 0


if __name__ == "__main__":
    sys.exit(main())
