"""What runs in the background, and the whole process: how a task ends, and how the collector is set."""

from __future__ import annotations

import asyncio
import gc


async def stop(task: asyncio.Task[None] | None) -> None:
    """Cancel a task, where there is one, and return when it has ended, however it ended."""
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def settle() -> None:
    """Once a server has started: what is there now stays (catalogues, tables, code), so the collector need
    not walk through it again, nor start after every few objects: a seventh of a check's CPU, a fifth of a
    search's. What is made afterwards is collected as ever, and of what is replaced only what was there at the
    start and refers to itself stays in memory."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
