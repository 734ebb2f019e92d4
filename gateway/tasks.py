"""Tasks, and the whole process: how one ends, how one serves several, and how the collector is set."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine, Hashable
from typing import TypeVar

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


async def stop(task: asyncio.Task[None] | None) -> None:
    """Cancel a task, where there is one, and return when it has ended, however it ended."""
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def together(
    running: dict[K, asyncio.Task[T]], key: K, work: Callable[[], Coroutine[None, None, T]]
) -> T:
    """What ``work`` brings; whoever wants the same meanwhile waits for the same, and nobody who leaves ends
    it."""
    task = running.get(key)
    if task is None:
        task = running[key] = asyncio.create_task(work())
        task.add_done_callback(lambda done: _over(running, key, done))
    return await asyncio.shield(task)


def _over(running: dict[K, asyncio.Task[T]], key: K, task: asyncio.Task[T]) -> None:
    running.pop(key, None)
    if not task.cancelled():
        task.exception()  # read once, so that a task whose caller has gone does not warn of it


def settle() -> None:
    """Once a server has started: what is there now stays (catalogues, tables, code), so the collector need
    not walk through it again, nor start after every few objects: a seventh of a check's CPU, a fifth of a
    search's. What is made afterwards is collected as ever, and of what is replaced only what was there at the
    start and refers to itself stays in memory."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
