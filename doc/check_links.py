"""Links of the built pages: each leads to a file that is there, and to an anchor that it has.

Addresses of other sites are not asked for; ``sphinx-build -b linkcheck`` does that, where there is a network.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """What a page links to, and the anchors it has."""

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors = [], {"", "top"}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.anchors |= {attrs.get("id"), attrs.get("name")}
        self.links += [attrs[key] for key in ("href", "src", "data", "xlink:href") if attrs.get(key)]


def broken(root):
    """Pairs of a page below root and a link of it that leads nowhere."""
    pages = {path: Page(path) for path in root.resolve().rglob("*.html") if "_static" not in path.parts}
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            there = pages[target].anchors if target in pages else {"", unquote(parts.fragment)}
            if not target.is_file() or unquote(parts.fragment) not in there:
                yield path.relative_to(root.resolve()), link


if __name__ == "__main__":
    found = list(broken(Path(sys.argv[1])))
    for page, link in found:
        print(f"{page}: {link} leads nowhere", file=sys.stderr)
    sys.exit(bool(found))
