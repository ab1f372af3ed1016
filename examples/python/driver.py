"""The harness's driver contract (crates/harness/DRIVERS.md) over the example client: JSON lines on stdio."""
from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any, Dict, List, Optional

import bowline as b

LINE_BYTES_MAX = 1 << 20
FLUSH_SECONDS = 0.01
QUIT_SECONDS = 4
STARTED_AT = time.monotonic_ns()


class Events:
    """Batches events for stdout; each is flushed within FLUSH_SECONDS."""

    def __init__(self) -> None:
        self._lines: List[str] = []

    def write(self, event: str, client: Optional[str] = None, **fields: Any) -> None:
        line = {"event": event}
        if client is not None:
            line["client"] = client
        line.update({name: value for name, value in fields.items() if value is not None})
        line["t_us"] = (time.monotonic_ns() - STARTED_AT) // 1000
        if not self._lines:
            asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)
        self._lines.append(json.dumps(line, separators=(",", ":")))

    def flush(self) -> None:
        if self._lines:
            text, self._lines = "\n".join(self._lines) + "\n", []
            sys.stdout.write(text)
            sys.stdout.flush()


class Driven:
    """One client, and the application behind it, which only writes down what it sees."""

    def __init__(self, name: str, command: Dict[str, Any], events: Events):
        self._name, self._events, self._muted = name, events, False
        self._frozen_until: Dict[Optional[str], float] = {}
        options = command.get("options") or {}
        seconds = {"backoff_min": "backoff_min_ms", "backoff_max": "backoff_max_ms",
                   "connect_timeout": "connect_timeout_ms"}
        self._client = b.Client(
            command["url"], command["channels"], token=command.get("token"),
            on_event=self._on_event, on_status=self._on_status,
            attempts_max=options.get("attempts_max"), resend_stored=bool(options.get("resend_stored")),
            **{name: options[key] / 1000 for name, key in seconds.items() if key in options},
        )
        self._emit("started")
        self._client.start()

    def command(self, command: Dict[str, Any]) -> None:
        cmd = command["cmd"]
        if cmd == "publish":
            self._numbered(command["m"], lambda: self._client.publish(command["channel"], command["data"]))
        elif cmd == "send":
            self._numbered(command["m"], lambda: self._client.send(command["data"], command.get("method")))
        elif cmd == "subscribe":
            self._client.subscribe(command["channel"], command["from"])
        elif cmd == "unsubscribe":
            self._client.unsubscribe(command["channel"])
        elif cmd == "freeze_reader":
            self._frozen_until[command.get("channel")] = time.monotonic() + command["ms"] / 1000
        else:
            raise ValueError("unknown cmd")

    async def stop(self, report: bool) -> None:
        self._muted = True
        await self._client.close()
        if report:
            self._events.write("stopped", self._name)

    def _emit(self, event: str, **fields: Any) -> None:
        if not self._muted:
            self._events.write(event, self._name, **fields)

    def _numbered(self, m: str, write: Any) -> None:
        try:
            ticket = write()
        except b.Dropped as dropped:
            self._emit("dropped", m=m, fate=dropped.fate, reason=dropped.code)
            return

        def stored(future: "asyncio.Future[None]") -> None:
            dropped = future.exception()
            if dropped is None:
                self._emit("acked", m=m)
            else:
                self._emit("dropped", m=m, fate=dropped.fate, reason=dropped.code)

        def reply(future: "asyncio.Future[Any]") -> None:
            if future.exception() is None:
                self._events.write("reply", self._name, m=m, data=future.result()) if not self._muted else None
            elif isinstance(future.exception(), b.RequestFailed):
                self._emit("error", code=future.exception().code)

        ticket.stored.add_done_callback(stored)
        ticket.reply.add_done_callback(reply)

    async def _on_event(self, event: Any) -> None:
        while True:
            until = max(self._frozen_until.get(None, 0), self._frozen_until.get(event.channel, 0))
            left = until - time.monotonic()
            if left <= 0:
                break
            await asyncio.sleep(left)
        if isinstance(event, b.Message):
            data = event.data if isinstance(event.data, dict) else {}
            m, pad = data.get("m"), data.get("pad")
            self._emit("delivered", channel=event.channel, position=event.position,
                       m=m if isinstance(m, str) else "", pad_len=len(pad) if isinstance(pad, str) else None)
        elif isinstance(event, b.Subscribed):
            self._emit("subscribed", **event._asdict())
        elif isinstance(event, b.SubscribeFailed):
            self._emit("subscribe_error", channel=event.channel, code=event.code)
        elif isinstance(event, b.Gap):
            self._emit("gap", **event._asdict())
        elif isinstance(event, b.Unsubscribed):
            self._emit("unsubscribed", **event._asdict())

    def _on_status(self, status: Any) -> None:
        if isinstance(status, b.State):
            self._emit("state", state=status.state)
        elif isinstance(status, b.Welcome):
            self._emit("welcome", **status._asdict())
        elif isinstance(status, b.Closed):
            self._emit("closed", code=status.code, reason=status.reason or None)
        elif isinstance(status, b.Fault):
            self._emit("error", code=status.code, message=status.message)


class Driver:
    def __init__(self) -> None:
        self._events = Events()
        self._clients: Dict[str, Driven] = {}
        self._stopping: set = set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        stdin = asyncio.StreamReader(limit=LINE_BYTES_MAX)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
        self._events.write("ready", driver="python", version="0.1", contract=1)
        while True:
            try:
                line = await stdin.readline()
                if not line or self._command(json.loads(line)):
                    break
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                self._events.write("error", code="bad_command", message=repr(error))
        last = [loop.create_task(driven.stop(report=False)) for driven in self._clients.values()]
        if last or self._stopping:
            await asyncio.wait({*last, *self._stopping}, timeout=QUIT_SECONDS)
        self._events.flush()

    def _command(self, command: Dict[str, Any]) -> bool:
        """Whether it was the last one."""
        cmd = command["cmd"]
        if cmd == "quit":
            return True
        name = command["client"]
        if cmd == "start":
            if name in self._clients:
                raise ValueError("the client runs already")
            self._clients[name] = Driven(name, command, self._events)
        elif cmd == "stop":
            task = asyncio.get_running_loop().create_task(self._clients.pop(name).stop(report=True))
            self._stopping.add(task)
            task.add_done_callback(self._stopping.discard)
        else:
            self._clients[name].command(command)
        return False


if __name__ == "__main__":
    asyncio.run(Driver().run())
