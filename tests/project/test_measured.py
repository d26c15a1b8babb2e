"""Pictures of ratios show what the page of benchmarks says, misses as misses."""

import csv
from pathlib import Path

DOC = Path(__file__).resolve().parents[2] / "doc"


def test_every_ratio_stands_in_its_row_of_the_benchmarks():
    lines = [" ".join(line.split()) for line in (DOC / "benchmarks.rst").read_text("utf-8").splitlines()]
    with open(DOC / "figures" / "ratios.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 50
    for row in rows:
        said = {row["ratio"].removeprefix("1/")} | {row["lowest"]} - {""}
        found = [line for line in lines if line.startswith(row["row"]) and said <= set(line.split())]
        assert found, f"doc/benchmarks.rst has no row {row['row']!r} with {said}"
        if row["target"] and "/" not in row["ratio"]:
            missed = float(row["lowest"] or row["ratio"]) < float(row["target"])
            for line in found:
                assert ("MISSED" in line or "below target" in line) <= missed, row
                assert (line.split()[-1] == "met") <= (not missed), row


def test_pictures_are_those_of_the_page():
    with open(DOC / "figures" / "ratios.csv", encoding="utf-8") as file:
        pictures = {row["picture"] for row in csv.DictReader(file)}
    page = (DOC / "measured.rst").read_text("utf-8")
    assert all(f"figures/ratios.py {picture}\n" in page for picture in pictures)
