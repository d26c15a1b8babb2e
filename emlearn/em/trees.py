"""Arithmetic on nested NamedTuples of arrays, the form of all parameters and statistics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Tree = Any  # an array, a float, or a (named) tuple of trees


def tree_map(function: Callable[..., Any], first: Tree, *others: Tree) -> Tree:
    """Apply ``function`` leaf by leaf to trees of one shape."""
    if isinstance(first, tuple):
        leaves = [tree_map(function, *branch) for branch in zip(first, *others, strict=True)]
        return type(first)(*leaves) if hasattr(first, "_fields") else tuple(leaves)
    return function(first, *others)


def add(a: Tree, b: Tree) -> Tree:
    """Sum of two trees, leaf by leaf."""
    return tree_map(lambda x, y: x + y, a, b)


def leaves(tree: Tree) -> list[Any]:
    """Leaves from left to right."""
    if not isinstance(tree, tuple):
        return [tree]
    found = []
    for branch in tree:
        if isinstance(branch, tuple):
            found += leaves(branch)
        else:
            found.append(branch)
    return found
