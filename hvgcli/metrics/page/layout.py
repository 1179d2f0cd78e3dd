"""The page around its sections: template, style, script, and a policy that forbids the network."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from importlib.resources import files

from hvgcli import __version__
from hvgcli.metrics.page.markup import Html, join, tag, text

GENERATOR = "hvg report"  # by this a page of ours is known again


def part(name: str) -> str:
    """A file of this package."""
    return files("hvgcli.metrics.page").joinpath(name).read_text(encoding="utf-8")


def policy(style: str, script: str) -> str:
    """The content security policy: files beside the page, our own style and script, and nothing else."""
    return (
        f"default-src 'none'; img-src 'self' file:; media-src 'self' file:; "
        f"style-src '{_digest(style)}'; script-src '{_digest(script)}'; base-uri 'none'; form-action 'none'"
    )


def _digest(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def section(ident: str, title: str, content: Html) -> Html:
    """A part of the page with its heading."""
    return tag("section", tag("h2", title, id=f"{ident}-title"), content, id=ident, aria_labelledby=f"{ident}-title")


def render(title: str, subtitle: str, sections: Sequence[tuple[str, str, Html | None]], after: Html) -> str:
    """The page. sections: (ident, title, content), those without content are left out. `after` is the footer."""
    style, script = part("style.css"), part("script.js")
    shown = [(ident, name, content) for ident, name, content in sections if content is not None]
    links = [tag("li", tag("a", name, href=f"#{ident}")) for ident, name, _ in shown]
    values = {
        "policy": text(policy(style, script)),
        "generator": text(f"{GENERATOR} {__version__}"),
        "title": text(title),
        "subtitle": text(subtitle),
        "links": join(*links),
        "sections": join(*(section(*one) for one in shown)),
        "footer": after,
        "style": Html(style),
        "script": Html(script),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], part("template.html"))
