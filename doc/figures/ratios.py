"""Pictures of measured ratios: every number of ratios.csv stands in the row of doc/benchmarks.rst it names."""

import csv
from fractions import Fraction

import matplotlib.pyplot as plt
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator

GREY, MET, MISSED = "#555555", "#0072B2", "#D55E00"  # of Okabe and Ito; misses have a marker of their own too


def number(text):
    """A ratio, which may be written as the inverse of what was measured."""
    over = text.split("/")
    return float(text) if len(over) == 1 else 1 / float(Fraction(over[1]))


def rows_of(picture):
    with open("ratios.csv", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["picture"] == picture]


def draw(picture):
    """A dot a row, the other library's time over emlearn's, and a line to the lowest ratio behind a mean."""
    rows = rows_of(picture)
    _, ax = plt.subplots(figsize=(5.2, 1.1 + 0.3 * len(rows)), layout="constrained")
    ax.axvline(1, color="black", linewidth=1)
    for y, row in enumerate(rows):
        ratio = number(row["ratio"])
        lowest = number(row["lowest"] or row["ratio"])
        color, marker = GREY, "o"
        if row["target"]:
            missed = lowest < number(row["target"])
            color, marker = (MISSED, "X") if missed else (MET, "o")
            ax.plot(number(row["target"]), y, "|", color="black", markersize=13, markeredgewidth=2)
        ax.plot([lowest, ratio], [y, y], color=color, linewidth=2)
        ax.plot(ratio, y, marker, color=color, markersize=8)
        shown = f"{ratio:.2g}" if ratio < 10 else f"{ratio:.0f}"
        ax.annotate(shown, (1.01, y), xycoords=("axes fraction", "data"), va="center")
    ax.set_yticks(range(len(rows)), [row["what"].strip() for row in rows])
    ax.set(xscale="log", ylim=(len(rows) - 0.4, -0.6), xlabel="times as fast as the other")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter("")
    ax.grid(axis="x", alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
    legend = [
        Line2D([], [], color=MET, marker="o", linewidth=0, label="met"),
        Line2D([], [], color=MISSED, marker="X", linewidth=0, label="missed"),
        Line2D([], [], color="black", marker="|", linewidth=0, markersize=12, label="target"),
    ]
    if any(row["target"] for row in rows):
        ax.figure.legend(handles=legend, loc="outside upper right", ncols=3, frameon=False)


def iterations():
    draw("iterations")


def quality():
    draw("quality")


def small():
    draw("small")


def variational():
    draw("variational")


def chains():
    draw("chains")


def imputation():
    draw("imputation")


def regressions():
    draw("regressions")


def races():
    draw("races")
