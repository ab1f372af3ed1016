"""What the client tells its application."""
from __future__ import annotations

import asyncio
from typing import Any, NamedTuple, Optional


class Message(NamedTuple):
    channel: str
    position: Optional[str]
    data: Any
    user: Optional[str]
    tag: Optional[str]


class Subscribed(NamedTuple):
    channel: str
    position: Optional[str]
    recovered: bool
    reason: Optional[str]


class SubscribeFailed(NamedTuple):
    channel: str
    code: str
    message: str


class Gap(NamedTuple):
    channel: str
    position: Optional[str]
    reason: str
    missed: Optional[int]


class Unsubscribed(NamedTuple):
    channel: str
    code: Optional[str]


class State(NamedTuple):
    state: str


class Welcome(NamedTuple):
    resumed: bool
    reason: Optional[str]
    acked: int
    connection: Optional[str]


class Fault(NamedTuple):
    code: str
    message: str


class Dropped(Exception):
    """The message will not be sent again. `fate` is "refused" (certainly not stored) or "unknown"."""

    def __init__(self, fate: str, code: str):
        super().__init__(f"{code} ({fate})")
        self.fate, self.code = fate, code


class RequestFailed(Exception):
    def __init__(self, code: str, message: str = ""):
        super().__init__(f"{code}: {message}")
        self.code = code


class Ticket(NamedTuple):
    """`stored` ends with None or Dropped. `reply` (of a `send`) ends with data, Dropped or RequestFailed."""

    stored: "asyncio.Future[None]"
    reply: "asyncio.Future[Any]"
