"""HTML from Python: every text is escaped unless it is `Html` already."""

from __future__ import annotations

from html import escape

VOID = {"img", "input", "br", "col"}
MINUS = "\N{MINUS SIGN}"

Attribute = str | int | float | bool | None


class Html(str):
    """Text that is HTML: goes into a page as it is."""

    __slots__ = ()


def text(value: object) -> Html:
    """`value` as HTML: escaped, without control characters (HTML has no way to write them)."""
    if isinstance(value, Html):
        return value
    return Html(escape("".join(c if c.isprintable() else " " for c in str(value))))


def join(*children: object) -> Html:
    """Children one after the other; None is left out."""
    return Html("".join(text(child) for child in children if child is not None))


def tag(name: str, *children: object, **attributes: Attribute) -> Html:
    """An element. `class_` stands for `class`, `aria_label` for `aria-label`; True is a bare attribute, and
    None and False leave it out."""
    written = "".join(_attribute(key, value) for key, value in attributes.items() if value is not None)
    start = f"<{name}{written}>"
    return Html(start) if name in VOID else Html(f"{start}{join(*children)}</{name}>")


def _attribute(key: str, value: Attribute) -> str:
    if value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{text(value)}"'


def hidden(words: object) -> Html:
    """Words for screen readers only."""
    return tag("span", words, class_="hidden")


def number(value: float | None) -> str:
    """A number for people, four digits or so; a dash where there is none."""
    if value is None:
        return "\N{EN DASH}"
    size = abs(value)
    if size and not 1e-3 <= size < 1e7:
        return f"{value:.2e}".replace("-", MINUS, 1) if value < 0 else f"{value:.2e}"
    places = 0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 10 else 3 if size >= 1 else 4
    return f"{value:,.{places}f}".replace("-", MINUS) if size else "0"
