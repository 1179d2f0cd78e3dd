"""Rows of standing statistics for videos of any length."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hvgcli.layers.table import RowLayout

layouts = st.builds(RowLayout, st.integers(0, 20), st.integers(1, 5), st.integers(0, 6))
totals = st.integers(1, 90)


@settings(deadline=None)
@given(layouts, totals)
def test_any_length_has_a_row_for_each_frame(layout: RowLayout, total: int) -> None:
    rows = layout.index(0, total, total)
    assert layout.serves(total)
    assert rows.shape == (total,)
    assert rows.dtype == torch.int64
    assert rows.min() >= 0
    assert rows.max() < layout.size == layout.head + layout.period + layout.tail


@settings(deadline=None)
@given(layouts, totals)
def test_head_then_body_by_phase_then_tail(layout: RowLayout, total: int) -> None:
    rows = layout.index(0, total, total).tolist()
    for frame, row in enumerate(rows):
        if frame >= total - layout.tail:
            assert row == layout.size - (total - frame)  # the last frame has the last row
        elif frame < layout.head:
            assert row == frame
        else:
            assert row == layout.head + (frame - layout.head) % layout.period


@settings(deadline=None)
@given(layouts, totals, st.lists(st.integers(1, 12), min_size=1, max_size=90))
def test_in_pieces_is_the_whole(layout: RowLayout, total: int, sizes: list[int]) -> None:
    start, parts = 0, []
    for size in [*sizes, total]:
        count = min(size, total - start)
        if count:
            parts.append(layout.index(start, count, total))
        start += count
    assert torch.equal(torch.cat(parts), layout.index(0, total, total))


@settings(deadline=None)
@given(st.integers(1, 20), totals)
def test_a_table_without_a_body_serves_no_longer_video(head: int, total: int) -> None:
    layout = RowLayout(head)
    assert layout.serves(total) == (total <= head)
    if total <= head:
        assert layout.index(0, total, total).tolist() == list(range(total))


def test_written_out() -> None:
    layout = RowLayout(head=4, period=2, tail=3)
    assert layout.index(0, 11, 11).tolist() == [0, 1, 2, 3, 4, 5, 4, 5, 6, 7, 8]
    assert layout.index(0, 5, 5).tolist() == [0, 1, 6, 7, 8]
    assert layout.index(0, 2, 2).tolist() == [7, 8]
