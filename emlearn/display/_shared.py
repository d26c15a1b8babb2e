"""What all displays draw with."""

import math

import numpy as np

# Okabe and Ito's colours, told apart by colour-blind readers as well: orange, blue, green, pink, sky, yellow.
PALETTE = ["#d55e00", "#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#e0b000"]


def pyplot():
    """matplotlib.pyplot, imported when something is drawn."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("Drawing needs matplotlib, which is not installed.") from error
    return plt


def axes_of(ax):
    """The axes to draw in, new ones where none are given."""
    return pyplot().subplots()[1] if ax is None else ax


def component_colors(colors, K):
    """Colours as an array (K, 3)."""
    import matplotlib
    from matplotlib.colors import to_rgb

    if colors is None:
        turbo = matplotlib.colormaps["turbo"]
        colors = PALETTE[:K] if len(PALETTE) >= K else turbo(np.linspace(0.05, 0.95, K))
    if len(colors) != K:
        raise ValueError(f"colors has {len(colors)} entries, but there are {K} components.")
    return np.array([to_rgb(color) for color in colors])


def component_labels(labels, weights):
    """Names of components for a legend, with their weights."""
    if labels is None:
        labels = [f"component {k}" for k in range(len(weights))]
    elif len(labels) != len(weights):
        raise ValueError(f"labels has {len(labels)} entries, but there are {len(weights)} components.")
    return [f"{label} ({weight:.0%})" for label, weight in zip(labels, weights, strict=True)]


def point_size(n):
    """Small points for many rows, so that they do not hide one another."""
    return float(np.clip(20 * math.sqrt(500 / max(n, 1)), 2, 20))


def percent(share):
    """A share in whole per cent, which looks like 0 or 1 only if it is."""
    if 0 < share < 0.005:
        return "<1 %"
    return ">99 %" if 0.995 <= share < 1 else f"{share:.0%}".replace("%", " %")
