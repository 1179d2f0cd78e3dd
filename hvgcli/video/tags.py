"""The tags of files, and the provenance that ours carry in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hvgcli.errors import MediaError
from hvgcli.video.files import reason
from hvgcli.video.opening import opened
from hvgcli.video.pictures import FIRST_FRAME


def _picture_tags(path: Path) -> dict[str, str]:
    """Text chunks of a PNG, or the comment of a GIF."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            tags = dict(image.info)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise MediaError(f"{path}: cannot be read as a picture ({reason(error)})") from error
    text = {key: value.decode("utf-8", "replace") if isinstance(value, bytes) else value for key, value in tags.items()}
    return {str(key).lower(): value for key, value in text.items() if isinstance(value, str)}


def read_metadata(path: Path) -> dict[str, str]:
    """The tags of a file, keys in lower case: of the container, the text chunks of a PNG, or the comment of a GIF.

    For a folder of frames, those of its first frame.

    Raises:
        MediaError: the file is missing or cannot be read.
    """
    first = path / FIRST_FRAME
    if first.is_file():
        path = first
    if path.suffix.lower() in (".png", ".gif") and path.is_file():
        return _picture_tags(path)
    with opened(path) as (container, _):
        return {key.lower(): value for key, value in container.metadata.items()}


def provenance(path: Path) -> dict[str, Any] | None:
    """What `VideoWriter` or `write_image` was given as `metadata`, or None where a file carries none.

    It comes from the file as it is: treat it as untrusted.

    Raises:
        MediaError: as `read_metadata`.
    """
    try:
        found = json.loads(read_metadata(path).get("comment", ""))
    except (ValueError, RecursionError):
        return None
    made = found.get("hvg") if isinstance(found, dict) else None
    return made if isinstance(made, dict) else None
