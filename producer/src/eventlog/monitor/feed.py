"""The live feed: what every open page is told once a second, over a websocket. Encoded once, whatever their number."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

from fastapi import WebSocket, WebSocketDisconnect

from eventlog.config import Config
from eventlog.monitor.drills import Drills
from eventlog.monitor.refresher import Refresher
from eventlog.monitor.views import History, Live, Overview

PAGES = 200  # that may be open at once
SEND_SECONDS = 10.0  # a page that has not taken a message for so long is given up; it connects anew when it wakes
TRY_AGAIN_LATER = 1013


@dataclass(eq=False)
class _Page:
    """An open page; only the newest message waits for one that does not keep up."""

    waiting: str = ""
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Feed:
    """Everything but ``publish`` runs on the event loop."""

    def __init__(self, refresher: Refresher, drills: Drills, config: Config) -> None:
        self._refresher, self._drills, self._config = refresher, drills, config
        self._pages: set[_Page] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def publish(self) -> None:
        """Tell every page what is known now. From any thread."""
        loop = self._loop
        if loop is None or not self._pages:
            return
        text = self._message(history=False)
        with contextlib.suppress(RuntimeError):  # the loop may be closing
            loop.call_soon_threadsafe(self._put, text)

    async def serve(self, websocket: WebSocket) -> None:
        """Tell one page everything until it goes."""
        await websocket.accept()
        if len(self._pages) >= PAGES:
            await websocket.close(TRY_AGAIN_LATER, f"{PAGES} pages are open already")
            return
        self._loop = asyncio.get_running_loop()
        page = _Page()
        self._pages.add(page)  # before the history is read, so that nothing falls between the two
        tasks = [asyncio.create_task(self._send(websocket, page)), asyncio.create_task(_listen(websocket))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._pages.discard(page)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self, websocket: WebSocket, page: _Page) -> None:
        text = self._message(history=True)
        # A page that has gone or is frozen ends this task, and with it the connection.
        with contextlib.suppress(WebSocketDisconnect, RuntimeError, TimeoutError):
            while True:
                async with asyncio.timeout(SEND_SECONDS):
                    await websocket.send_text(text)
                await page.changed.wait()
                page.changed.clear()
                text = page.waiting

    def _put(self, text: str) -> None:
        for page in self._pages:
            page.waiting = text
            page.changed.set()

    def _message(self, *, history: bool) -> str:
        moment, stage = self._refresher.latest(), self._drills.stage()
        return Live(
            now=Overview.of(moment, stage, self._config) if moment else None,
            stage=stage,
            history=History.of(self._refresher.history(), self._refresher.interval) if history else None,
        ).model_dump_json(exclude_none=False)


async def _listen(websocket: WebSocket) -> None:
    """Wait until the page goes; it has nothing to say."""
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
        while True:
            await websocket.receive_bytes()
