"""What all displays draw with."""

import math

import numpy as np

# Okabe and Ito's colours, told apart by colour-blind readers as well: orange, blue, green, pink, sky, yellow.
PALETTE = ["#d55e00", "#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#e0b000"]
# For more components: the twelve colours, neither pale nor dark, found to have the greatest least distance
# (25 in CIELAB) to any eye, whether it sees all colours or is blind to red, green or blue.
WIDE_PALETTE = [
    *("#d55e00", "#0072b2", "#ffb40f", "#96695a", "#4b00ff", "#a5c3ff"),
    *("#00d269", "#b45aff", "#3c4b5a", "#6900b4", "#872d0f", "#c3b4b4"),
]
LINE_STYLES = ["-", "--", "-.", ":"]


def pyplot():
    """matplotlib.pyplot, imported when something is drawn."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("Drawing needs matplotlib, which is not installed.") from error
    return plt


def axes_of(ax):
    """The axes to draw in, new ones where none are given."""
    return pyplot().subplots(layout="constrained")[1] if ax is None else ax


def component_colors(colors, K):
    """Colours as an array (K, 3)."""
    from matplotlib.colors import to_rgb

    if colors is None:
        palette = PALETTE if len(PALETTE) >= K else WIDE_PALETTE
        colors = [palette[k % len(palette)] for k in range(K)]
    if len(colors) != K:
        raise ValueError(f"colors has {len(colors)} entries, but there are {K} components.")
    return np.array([to_rgb(color) for color in colors])


def component_lines(ax, colors, line_kwargs):
    """Styles of the components' lines: strong colours, and further dashes after every six."""
    from matplotlib.cbook import normalize_kwargs
    from matplotlib.lines import Line2D

    given = normalize_kwargs(line_kwargs, Line2D)
    return [
        {
            "color": color,
            "linestyle": LINE_STYLES[k // len(PALETTE) % len(LINE_STYLES)],
            "linewidth": 2,
            **given,
        }
        for k, color in enumerate(strong(ax, colors))
    ]


def ground(ax):
    """Colour of the background of axes."""
    from matplotlib.colors import to_rgb

    opaque = [face for face in (ax.get_facecolor(), ax.figure.get_facecolor()) if face[3] > 0]
    return np.array(to_rgb(opaque[0] if opaque else "white"))


def ink(ax):
    """Colour of the text of axes."""
    from matplotlib.colors import to_rgb

    return np.array(to_rgb(ax.xaxis.label.get_color()))


def grey(ax, level):
    """A grey of the style's own, from 0, the colour of text, to 1, that of the background."""
    return (1 - level) * ink(ax) + level * ground(ax)


def strong(ax, colors, share=0.3):
    """Colours moved towards that of text, for lines over points of the same colours."""
    return (1 - share) * colors + share * ink(ax)


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
