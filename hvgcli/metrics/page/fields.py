"""Reading JSON that may be damaged: errors name the file, the place in it, and what was expected."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hvgcli.errors import MediaError


class Fields:
    """One JSON object. `where` names it in errors, like `eval/evaluation.json: metrics[2]`.

    Every method raises `MediaError` where the value is of another kind than it says.
    """

    def __init__(self, data: object, where: str) -> None:
        if not isinstance(data, dict):
            raise MediaError(f"{where} is damaged: it is {_shown(data)}, not an object")
        self.data: dict[str, Any] = data
        self.where = where

    def text(self, key: str, default: str | None = None) -> str:
        """A text; `default` where there is none, without which it must be there."""
        value = self.data.get(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, str):
            raise self._damaged(key, value, "a text")
        return value

    def number(self, key: str) -> float | None:
        """A number, or None where it is null or not there."""
        value = self.data.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._damaged(key, value, "a number")
        try:
            return float(value)
        except OverflowError:
            raise self._damaged(key, "a huge whole number", "a number") from None

    def whole(self, key: str) -> int | None:
        """A whole number, or None where it is null or not there."""
        value = self.data.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise self._damaged(key, value, "a whole number")
        return value

    def items(self, key: str) -> list[Any]:
        """A list; empty where it is null or not there."""
        value = self.data.get(key)
        if value is not None and not isinstance(value, list):
            raise self._damaged(key, value, "a list")
        return value or []

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts."""
        return tuple(self._each(key, str, "a text"))

    def numbers(self, key: str) -> tuple[float, ...]:
        """A list of numbers; null is NaN."""
        values = (float("nan") if value is None else value for value in self.items(key))
        return tuple(float(value) for value in self._checked(key, values, (int, float), "a number"))

    def objects(self, key: str) -> list[Fields]:
        """A list of objects."""
        return [Fields(value, f"{self.where}: {key}[{i}]") for i, value in enumerate(self.items(key))]

    def nested(self, key: str) -> Fields:
        """An object; an empty one where it is null or not there."""
        value = self.data.get(key)
        return Fields({} if value is None else value, f"{self.where}: {key}")

    def _each(self, key: str, kind: type, name: str) -> Iterator[Any]:
        return self._checked(key, iter(self.items(key)), (kind,), name)

    def _checked(self, key: str, values: Iterator[Any], kinds: tuple[type, ...], name: str) -> Iterator[Any]:
        for place, value in enumerate(values):
            if isinstance(value, bool) or not isinstance(value, kinds):
                raise self._damaged(f"{key}[{place}]", value, name)
            yield value

    def _damaged(self, key: str, value: object, expected: str) -> MediaError:
        return MediaError(f"{self.where} is damaged: {key} is {_shown(value)}, not {expected}")


def _shown(value: object) -> str:
    """A value in an error, short."""
    if value is None:
        return "missing"
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = repr(value)
    return text if len(text) <= 40 else text[:39] + "\N{HORIZONTAL ELLIPSIS}"


def flattened(data: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested values as `outer.inner` -> text, in their order."""
    flat: dict[str, str] = {}
    for key, value in data.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            flat |= flattened(value, f"{name}.")
        elif value is not None:
            flat[name] = _plain(value)
    return flat


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_plain(part) for part in value)
    return f"{value:,}" if isinstance(value, int) and abs(value) >= 10000 else str(value)
