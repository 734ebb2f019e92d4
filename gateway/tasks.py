"""The end of what runs in the background."""

from __future__ import annotations

import asyncio


async def stop(task: asyncio.Task[None] | None) -> None:
    """Cancel a task, where there is one, and return when it has ended, however it ended."""
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
