"""Decoded clips kept in memory, so that training decodes each clip once."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Iterator
from threading import Condition

import torch
import torch.nn.functional as F

from hvgcli import video
from hvgcli.data.clips import Clip, fitted_size
from hvgcli.data.pictures import read_jpeg
from hvgcli.errors import MediaError
from hvgcli.video import Frames


def resize_uint8(frames: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Bilinear, antialiased resize of uint8 (T, H, W, 3) frames to `size` (height, width), rounded to uint8.

    The same filter as `pyramid.downsample_space`, on bytes: several times faster, at most half a step of 255 off.
    """
    if tuple(frames.shape[1:3]) == size:
        return frames
    resized = F.interpolate(frames.permute(0, 3, 1, 2), size=size, mode="bilinear", antialias=True)
    return resized.permute(0, 2, 3, 1)


def decode(clip: Clip, short_side: int | None = None, numbers: range | None = None) -> torch.Tensor:
    """Decode a clip, or some of its frames, to uint8 (T, H, W, 3) RGB with a short side of at most `short_side`.

    Args:
        clip: what to decode, in a file of its own or in a shard.
        short_side: pixels; None keeps the size.
        numbers: frames of the clip, rising; all of them by default. Only what is needed for them is decoded:
            from the key frame before the first one to the last one.

    Returns:
        Those frames; fewer when the file holds fewer frames than its header says.

    Raises:
        MediaError: the file cannot be decoded as far as that.
    """
    numbers = range(clip.frames) if numbers is None else numbers
    size = fitted_size(clip.height, clip.width, short_side)
    frames = torch.empty((len(numbers), *size, 3), dtype=torch.uint8)
    count = 0
    for count, frame in enumerate(iter_clip(clip, numbers), start=1):
        frames[count - 1] = resize_uint8(torch.from_numpy(frame)[None], size)[0]
    if not count:
        raise MediaError(f"{clip.path}: has no frames" + (f" from {numbers[0]} on" if numbers and numbers[0] else ""))
    return frames if count == len(numbers) else frames[:count].clone()


def iter_clip(clip: Clip, numbers: range) -> Iterator[Frames]:
    """The frames of those rising numbers of a clip, uint8 (H, W, 3), one by one; fewer when the file holds fewer.

    Raises:
        MediaError: the file cannot be decoded as far as that, or its frames are of another size than the clip's.
    """
    for frame in _frames(clip, numbers):
        if frame.shape[:2] != (clip.height, clip.width):
            raise MediaError(
                f"{clip.path}: frames are {frame.shape[1]}x{frame.shape[0]}, not {clip.width}x{clip.height}: "
                "the file has changed since it was listed"
            )
        yield frame


def _frames(clip: Clip, numbers: range) -> Iterator[Frames]:
    if clip.member is not None and clip.member.codec == "jpeg":
        return (read_jpeg(clip.path, part) for part in clip.member.read(numbers))
    start, stop = clip.start + numbers.start, clip.start + numbers.stop
    data = None if clip.member is None else clip.member.read()[0]
    every = video.iter_frames(clip.path, start=start, stop=stop, seek=True, data=data)
    return itertools.islice(every, 0, None, numbers.step)


class FrameCache:
    """Decoded clips, the least recently used dropped first. Safe to share between threads.

    A clip that two threads ask for at the same time is decoded once.

    Args:
        limit_bytes: most bytes of frames kept. A clip larger than that is decoded at every use.
        short_side: pixels that the shorter side is scaled down to when decoding; None keeps all.
    """

    def __init__(self, limit_bytes: int, short_side: int | None = None) -> None:
        self.limit_bytes = limit_bytes
        self.short_side = short_side
        self.bytes = 0
        self._kept: OrderedDict[Clip, torch.Tensor] = OrderedDict()
        self._failed: dict[Clip, str] = {}
        self._busy: set[Clip] = set()
        self._changed = Condition()

    def __len__(self) -> int:
        return len(self._kept)

    def frames(self, clip: Clip) -> torch.Tensor:
        """All frames of a clip, uint8 (T, H, W, 3). Shared: read it only.

        Raises:
            MediaError: the clip cannot be decoded. It is not tried again.
        """
        with self._changed:
            self._changed.wait_for(lambda: clip not in self._busy)
            if clip in self._failed:
                raise MediaError(self._failed[clip])
            if clip in self._kept:
                self._kept.move_to_end(clip)
                return self._kept[clip]
            self._busy.add(clip)
        try:
            frames = decode(clip, self.short_side)
        except MediaError as error:
            self._failed[clip] = str(error)
            raise
        else:
            self._keep(clip, frames)
            return frames
        finally:
            with self._changed:
                self._busy.discard(clip)
                self._changed.notify_all()

    def window(self, clip: Clip, numbers: range) -> torch.Tensor:
        """The frames `numbers` of a clip, uint8 (T, H, W, 3). Shared: read it only.

        Of a clip that cannot be kept, only what these frames need is decoded: a window of a video of two
        hours does not decode two hours.

        Raises:
            MediaError: they cannot be decoded, or the clip has fewer frames than its header says.
        """
        if self._fits(clip):
            whole = self.frames(clip)
            frames, has = whole[numbers.start : numbers.stop : numbers.step], whole.shape[0]
        else:
            frames = decode(clip, self.short_side, numbers)
            has = numbers[len(frames) - 1] + 1
        if len(frames) < len(numbers):
            raise MediaError(f"{clip.path}: has {has} frames, not {clip.frames} as its header says")
        return frames

    def _fits(self, clip: Clip) -> bool:
        height, width = fitted_size(clip.height, clip.width, self.short_side)
        return clip.frames * height * width * 3 <= self.limit_bytes

    def _keep(self, clip: Clip, frames: torch.Tensor) -> None:
        with self._changed:
            if frames.nbytes > self.limit_bytes or clip in self._kept:
                return
            self._kept[clip] = frames
            self.bytes += frames.nbytes
            while self.bytes > self.limit_bytes:
                _, dropped = self._kept.popitem(last=False)
                self.bytes -= dropped.nbytes
