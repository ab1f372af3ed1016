"""A minimal WebSocket client (RFC 6455) over asyncio.

It owns the opening handshake, framing, masking, and the deadline for received bytes. It knows nothing of
what the messages mean, and offers no extensions.
"""
from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import struct
from typing import Optional, Tuple
from urllib.parse import urlsplit

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
CONTINUATION = 0
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
MESSAGE_BYTES_MAX = 64 * 1024 * 1024  # Far above any frame of a server; it only stops a broken one.
READ_BYTES = 64 * 1024
BODY_BYTES_MAX = 4096  # Of an answer that is no upgrade.


class Closed(Exception):
    """The link is gone, or was never made. `code` is a close code; 1006 where no close frame came."""

    def __init__(self, code: int, reason: str = "", retry_after_ms: int = 0):
        super().__init__(f"{code} {reason}")
        self.code, self.reason, self.retry_after_ms = code, reason, retry_after_ms


class Violation(Exception):
    """The peer broke RFC 6455; `code` is what the link is closed with."""

    def __init__(self, code: int, reason: str):
        super().__init__(reason)
        self.code, self.reason = code, reason


def mask(payload: bytes, key: bytes) -> bytes:
    """XOR with the repeated key (RFC 6455, 5.3); it is its own inverse."""
    size = len(payload)
    keys = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(keys, "big")).to_bytes(size, "big")


def encode_frame(opcode: int, payload: bytes, key: bytes) -> bytes:
    """One unfragmented, masked frame (5.2)."""
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", 0x80 | opcode, 0x80 | size)
    elif size < 65536:
        head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, size)
    return head + key + mask(payload, key)


def decode_frame(buffer: bytearray) -> Optional[Tuple[bool, int, bytes]]:
    """Takes (fin, opcode, payload) off the front of `buffer`; None while it is not complete."""
    if len(buffer) < 2:
        return None
    first, second = buffer[0], buffer[1]
    opcode, size, start = first & 0x0F, second & 0x7F, 2
    if first & 0x70 or second & 0x80:
        raise Violation(1002, "reserved bit, or a masked frame from the server")
    if opcode >= CLOSE and (size > 125 or not first & 0x80):
        raise Violation(1002, "long or fragmented control frame")
    if size >= 126:
        start = 4 if size == 126 else 10
        if len(buffer) < start:
            return None
        size = int.from_bytes(buffer[2:start], "big")
    if size > MESSAGE_BYTES_MAX:
        raise Violation(1009, "frame too big")
    if len(buffer) < start + size:
        return None
    payload = bytes(buffer[start : start + size])
    del buffer[: start + size]
    return bool(first & 0x80), opcode, payload


class WebSocket:
    """An open connection. `receive` is for one task at a time; `send` never blocks."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self._reader, self._writer = reader, writer
        self._buffer = bytearray()
        self.silence_max: Optional[float] = None  # Seconds without a byte after which the link is dead.

    @classmethod
    async def connect(cls, url: str, subprotocol: str) -> "WebSocket":
        parts = urlsplit(url)
        tls = parts.scheme == "wss"
        host, port = parts.hostname, parts.port or (443 if tls else 80)
        try:
            reader, writer = await asyncio.open_connection(host, port, ssl=True if tls else None)
        except OSError as error:
            raise Closed(1006, str(error)) from error
        try:
            await handshake(reader, writer, parts, subprotocol)
        except BaseException:
            writer.transport.abort()
            raise
        return cls(reader, writer)

    def send(self, opcode: int, payload: bytes) -> None:
        if not self._writer.is_closing():
            self._writer.write(encode_frame(opcode, payload, os.urandom(4)))

    async def receive(self) -> Tuple[int, bytes]:
        """The next whole text or binary message. Raises Closed."""
        kind, parts, size = None, [], 0
        while True:
            try:
                fin, opcode, payload = await self._frame()
                if opcode == PING:
                    self.send(PONG, payload)
                elif opcode == CLOSE:
                    self._closed_by_peer(payload)
                elif opcode in (TEXT, BINARY, CONTINUATION):
                    if (opcode == CONTINUATION) != (kind is not None):
                        raise Violation(1002, "continuation out of place")
                    kind, size = kind or opcode, size + len(payload)
                    parts.append(payload)
                    if size > MESSAGE_BYTES_MAX:
                        raise Violation(1009, "message too big")
                    if fin:
                        return kind, checked(kind, b"".join(parts))
                elif opcode != PONG:
                    raise Violation(1002, "unknown opcode")
            except Violation as violation:
                self.close(violation.code, violation.reason)
                raise Closed(violation.code, violation.reason) from violation

    def close(self, code: int, reason: str = "") -> None:
        """Sends a close frame, and closes once it is written."""
        self.send(CLOSE, struct.pack("!H", code) + reason.encode()[:123])
        self._writer.close()

    def abort(self) -> None:
        self._writer.transport.abort()

    async def _frame(self) -> Tuple[bool, int, bytes]:
        while True:
            frame = decode_frame(self._buffer)
            if frame is not None:
                return frame
            try:
                chunk = await asyncio.wait_for(self._reader.read(READ_BYTES), self.silence_max)
            except asyncio.TimeoutError as error:
                self.abort()
                raise Closed(1006, "silence") from error
            except OSError as error:
                raise Closed(1006, str(error)) from error
            if not chunk:
                self.abort()
                raise Closed(1006, "end of stream")
            self._buffer += chunk

    def _closed_by_peer(self, payload: bytes) -> None:
        if len(payload) == 1:
            raise Violation(1002, "close frame of one byte")
        code = int.from_bytes(payload[:2], "big") if payload else 1005
        self.close(1000 if code == 1005 else code)
        raise Closed(code, checked(TEXT, payload[2:]).decode())


def checked(kind: int, payload: bytes) -> bytes:
    if kind == TEXT:
        try:
            payload.decode()
        except UnicodeDecodeError as error:
            raise Violation(1007, "text is not UTF-8") from error
    return payload


async def handshake(reader, writer, parts, subprotocol: str) -> None:
    """RFC 6455, section 4.1. A refusal by HTTP status is raised as the close code that means the same."""
    key = base64.b64encode(os.urandom(16)).decode()
    target = (parts.path or "/") + ("?" + parts.query if parts.query else "")
    writer.write(
        f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Protocol: {subprotocol}\r\n\r\n".encode()
    )
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise Closed(1006, "no answer to the upgrade") from error
    status_line, *lines = head.split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    status = status_line.split(" ")[1:2]
    if status != ["101"]:
        raise refused(status[0] if status else "", headers, await body(reader, headers))
    digest = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
    if (
        headers.get("sec-websocket-accept") != digest
        or headers.get("upgrade", "").lower() != "websocket"
        or "upgrade" not in headers.get("connection", "").lower()
        or "sec-websocket-extensions" in headers
        or headers.get("sec-websocket-protocol") != subprotocol
    ):
        raise Closed(1006, "the server did not select " + subprotocol)


async def body(reader, headers: dict) -> str:
    size = headers.get("content-length", "")
    try:
        return (await reader.readexactly(min(int(size), BODY_BYTES_MAX) if size.isdecimal() else 0)).decode()
    except (OSError, asyncio.IncompleteReadError, UnicodeDecodeError):
        return ""


def refused(status: str, headers: dict, said: str) -> Closed:
    """A refusal by HTTP in the form of a close: 4000 + the status, with the body as the reason."""
    if status in ("400", "404", "405", "426"):  # Something in between may have taken the upgrade out.
        return Closed(1006, "HTTP " + status)
    code = 4000 + int(status) if status in ("401", "403", "429", "503") else 1006
    seconds = headers.get("retry-after", "")
    return Closed(code, said, int(seconds) * 1000 if code in (4429, 4503) and seconds.isdecimal() else 0)
