"""The pure parts of a `bowline.v1` client: frames, positions, the outbox, backoff and close codes.

Nothing here touches a socket, a clock or the event loop, so all of it is tested directly.
"""
from __future__ import annotations

import base64
import json
import random
import re
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Callable, Deque, Dict, List, NamedTuple, Optional, Tuple

SUBPROTOCOL = "bowline.v1"
DELIVER, SEEN, FAULT = "deliver", "seen", "fault"
DIAL, STOP, NEW_TOKEN = "dial", "stop", "new_token"
NESTING_MAX = 127  # Levels of arrays and objects in `data`; the message around it is one more.
BESIDE_DATA_MAX = 4096  # Bytes of a frame beside its `data`.
_POSITION = re.compile(r"([0-9a-f]{16})\.(0|[1-9][0-9]{0,15})\.[0-9a-f]{8}")
_SPACE = " \t\r\n"


def dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def too_deep(data: Any, levels: int = NESTING_MAX) -> bool:
    if isinstance(data, dict):
        data = data.values()
    elif not isinstance(data, (list, tuple)):
        return False
    return levels == 0 or any(too_deep(value, levels - 1) for value in data)


# --- frames ---------------------------------------------------------------------------------------

# What this client reads of a message; other types and fields are ignored.
_TYPES: Dict[str, Any] = {
    "channel": str, "position": str, "reason": str, "code": str, "message": str, "connection": str, "session": str,
    "user": str, "tag": str, "recovered": bool, "retry": bool, "resumed": bool, "seq": int, "id": (int, str),
    "missed": int, "acked": int, "after_ms": int, "retry_after_ms": int, "subscriptions": dict, "inflight_max": int,
    "session_ttl_ms": int, "ping_interval_ms": int, "pong_timeout_ms": int, "message_bytes_max": int,
    "max_reconnect_attempts": int,
}
_REQUIRED = {
    "welcome": "session resumed acked inflight_max session_ttl_ms ping_interval_ms pong_timeout_ms message_bytes_max"
               " max_reconnect_attempts",
    "subscribed": "channel", "unsubscribed": "channel", "message": "channel", "acked": "seq",
    "error": "code", "reply": "", "gap": "channel reason", "reconnect": "after_ms reason",
}


def readable(message: Any) -> bool:
    """Whether a value is a message of which the fields that this client reads are as they should be."""
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        return False
    kind = message["type"]
    if kind not in _REQUIRED:
        return True
    given = {name: value for name, value in message.items() if value is not None}
    outcomes = given.get("subscriptions", {}) if kind == "welcome" else {}
    return (
        all(name in given for name in _REQUIRED[kind].split())
        and all(isinstance(given[name], kinds) for name, kinds in _TYPES.items() if name in given)
        and all(isinstance(o, dict) and readable(_outcome(c, o)) for c, o in outcomes.items())
    )


def _outcome(channel: str, outcome: Dict[str, Any]) -> Dict[str, Any]:
    """An entry of `welcome.subscriptions` as the message that it stands for."""
    error = outcome.get("error")
    if error is None:
        return {**outcome, "type": "subscribed", "channel": channel}
    return {**error, "type": "error"} if isinstance(error, dict) else {"type": "error"}


def decode_text(text: str) -> List[Dict[str, Any]]:
    """The messages of a text frame; one that can't be read is skipped. ValueError where its end can't be found."""
    decoder, messages, at = json.JSONDecoder(), [], 0
    while True:
        while at < len(text) and text[at] in _SPACE:
            at += 1
        if at == len(text):
            return messages
        try:
            value, at = decoder.raw_decode(text, at)
        except RecursionError as error:
            raise ValueError("nested too deep") from error
        if readable(value) and _with_bytes(value):
            messages.append(value)


def decode_binary(payload: bytes) -> List[Dict[str, Any]]:
    """The one message of a binary frame, with its payload as `data`; none where the header can't be read."""
    header, separator, data = payload.partition(b"\n")
    try:
        messages = decode_text(header.decode())
    except ValueError:
        messages = []
    if not separator or len(messages) != 1 or "data" in messages[0]:
        return []
    return [{**messages[0], "data": data}]


def _with_bytes(message: Dict[str, Any]) -> bool:
    """Puts bytes in the place of `data_b64`; False where these are none."""
    try:
        if "data_b64" in message:
            message["data"] = base64.b64decode(message.pop("data_b64"), validate=True)
    except (ValueError, TypeError):
        return False
    return True


def encode(head: Dict[str, Any], data: Optional[bytes], binary: bool) -> Tuple[bool, bytes]:
    """(is it a binary frame, the frame). `data` is raw bytes if `binary`, else JSON text."""
    text = dumps(head).encode()
    if binary:
        return True, text + b"\n" + (data or b"")
    return False, text if data is None else text[:-1] + b',"data":' + data + b"}"


# --- positions ------------------------------------------------------------------------------------


def parse_position(position: Any) -> Optional[Tuple[str, int]]:
    """(epoch, offset), or None where it is no position (a first *from* value, or nothing)."""
    match = _POSITION.fullmatch(position) if isinstance(position, str) else None
    return (match[1], int(match[2])) if match else None


def distance(cursor: Any, position: Any) -> Optional[int]:
    """How far `position` is ahead of the cursor; None where they are not of the same epoch."""
    ours, theirs = parse_position(cursor), parse_position(position)
    return theirs[1] - ours[1] if ours and theirs and ours[0] == theirs[0] else None


def judge(cursor: Any, position: Optional[str]) -> str:
    """The client's rule (PROTOCOL.md, 6.1) for a message that arrives at `position`."""
    if position is None:
        return DELIVER
    ours, theirs = parse_position(cursor), parse_position(position)
    if ours is None or theirs is None:
        return FAULT
    step = distance(cursor, position)
    if step is None:  # The channel has been created, or there is no reason for another epoch.
        return DELIVER if ours[1] == 0 and theirs[1] == 1 else FAULT
    return SEEN if step <= 0 else DELIVER if step == 1 else FAULT


def recovery(cursor: Any, unplaced: bool, answer: Dict[str, Any]) -> Tuple[Any, bool, Optional[str]]:
    """(position, recovered, reason) after a `subscribed`, for the client and its application.

    An old link may have delivered beyond what the answer was computed from; then the cursor stays, and nothing is
    missing. Only a log that lost its end sends a reader back. And one that was subscribed before without a position
    (`unplaced`) had none to show: the server takes it for new, but what was published in between is lost.
    """
    position, recovered, reason = answer.get("position"), bool(answer.get("recovered")), answer.get("reason")
    if (distance(cursor, position) or 0) < 0 and (recovered or reason == "expired"):
        return cursor, True, None
    return (position, False, "no_history") if unplaced else (position, recovered, reason)


# --- reconnecting ---------------------------------------------------------------------------------

# Advice of the server is obeyed for so many seconds at most.
ADVICE_MAX = 600.0


def backoff(attempt: int, minimum: float, maximum: float, retry_after_ms: int = 0) -> float:
    """Full jitter, in seconds: between 0 and a bound that doubles. What the server asked for has precedence, and a
    random part, so that those who were told the same do not come at the same time (PROTOCOL.md, 10)."""
    if retry_after_ms:
        advice = min(retry_after_ms / 1000, ADVICE_MAX)
        return advice + random.uniform(0, advice / 4 + 1)
    return random.uniform(0, min(maximum, minimum * 2 ** min(attempt, 30)))


def resend_delay(code: str, refusals: int, retry_after_ms: int) -> float:
    """Seconds until a refused number is written again; `refusals` came since the last `acked` (PROTOCOL.md, 7.5)."""
    if retry_after_ms:
        return min(retry_after_ms / 1000, 300.0)
    if refusals == 0 and code in ("out_of_order", "too_many_inflight"):
        return 0.0
    return random.uniform(0, min(30.0, 0.25 * 2 ** min(refusals, 7)))


def resubscribe_delay(retry_after_ms: int = 0) -> float:
    """Seconds until a channel is asked for again (PROTOCOL.md, 6.1 and 6.2)."""
    return retry_after_ms / 1000 + random.uniform(0, 5)


# The codes of the table by what a client does where they end a link; one that is not here is judged by the number.
_CODES = {
    NEW_TOKEN: "unauthorized token_expired",
    STOP: "malformed hello_expected unknown_type too_deep bad_channel bad_position out_of_order not_found"
          " method_not_allowed unsupported_media_type upgrade_required headers_too_large forbidden origin_not_allowed"
          " disconnected replaced message_too_big too_many_subscriptions not_subscribed already_subscribed no_handler"
          " rejected not_supported key_reused",
    DIAL: "hello_timeout stale send_timeout handler_timeout fate_unknown rate_limited too_many_connections"
          " too_many_attempts too_many_inflight too_many_channels handler_failed storage_full storage_unavailable"
          " internal draining overloaded",
}
_VERDICTS = {code: verdict for verdict, codes in _CODES.items() for code in codes.split()}
_NUMBERS = {4401: NEW_TOKEN, 4407: NEW_TOKEN, **dict.fromkeys((1008, 4403, 4409, 4413, 4422, 4451), STOP)}


def after_close(number: int, reason: str = "") -> str:
    """What a client does after a close that it did not ask for (PROTOCOL.md, 11.1)."""
    return _VERDICTS.get(close_reason(reason)[0]) or _NUMBERS.get(number, DIAL)


def close_reason(reason: str) -> Tuple[str, int]:
    """(code, retry_after_ms) of a close frame's reason or an HTTP body; "" and 0 where it does not say so."""
    try:
        value = json.loads(reason)
    except (ValueError, RecursionError):
        value = None
    code, after = (value.get("code"), value.get("retry_after_ms")) if isinstance(value, dict) else (None, None)
    return code if isinstance(code, str) else "", after if type(after) is int and after > 0 else 0


# --- upstream -------------------------------------------------------------------------------------


@dataclass(eq=False)
class Entry:
    """A numbered message on its way. `stored` and `reply` are futures for the caller."""

    head: Dict[str, Any]
    data: bytes
    binary: bool
    born: float
    stored: Any = None
    reply: Any = None
    seq: Optional[int] = None
    skipped: bool = False  # Given up and reported; the number is still owed to the server, as a `skip`.
    rewritten: bool = False  # The server may take it for a duplicate, of which it says no more than `acked`.
    doubtful: bool = False  # It may have had its effect already: a refusal says nothing of that attempt.

    def frame(self) -> Tuple[bool, bytes]:
        if self.skipped:
            return encode({"type": "skip", "seq": self.seq}, None, False)
        return encode({"type": self.head["type"], "seq": self.seq, **self.head}, self.data, self.binary)

    def fits(self, message_bytes_max: float) -> bool:
        """Whether the server would read its frame. It would close the link over one that is too big."""
        beside = encode({**self.head, "seq": 2**53}, b"", False)[1]
        return len(self.data) <= message_bytes_max and len(beside) <= BESIDE_DATA_MAX


class Lost(NamedTuple):
    entry: Entry
    fate: str
    code: str


# Refusals after which the message may still take effect.
_FATE_UNKNOWN = ("fate_unknown", "handler_timeout")


@dataclass
class Outbox:
    """Numbered messages that are not resolved, in order; the first `sent` are on the present link.

    A message that is given up stays, as a `skip`, until the server has acknowledged its number. If it went at once
    and the link broke before the skip arrived, `first` would run ahead of the server, which is a lost session.
    """

    entries: Deque[Entry] = field(default_factory=deque)
    sent: int = 0
    next: int = 1
    refusals: int = 0  # Since the last number was acknowledged.

    @property
    def first(self) -> int:
        number = self.entries[0].seq if self.entries else None
        return self.next if number is None else number

    def take(self, inflight_max: int) -> Optional[Entry]:
        """The next entry to write, with its number; None where none may be written now.

        A `skip` takes every number below its own too, refused or not, so it waits until there is none. Its message
        is answered anyhow where it is on its way.
        """
        if self.sent == len(self.entries):
            return None
        entry = self.entries[self.sent]
        if self.sent >= (1 if entry.skipped else inflight_max):
            return None
        entry.rewritten = entry.seq is not None
        if entry.seq is None:
            entry.seq, self.next = self.next, self.next + 1
        self.sent += 1
        return entry

    def acked(self, seq: int) -> List[Entry]:
        """Forgets all up to `seq`; those that were stored, for the report."""
        stored = []
        while self.entries and self.entries[0].seq is not None and self.entries[0].seq <= seq:
            entry = self.entries.popleft()
            self.sent, self.refusals = max(0, self.sent - 1), 0
            if not entry.skipped:
                stored.append(entry)
        return stored

    def refused(self, seq: int, code: str, retry: bool) -> Optional[List[Lost]]:
        """The server has discarded everything from `seq` on, which is written again, or `seq` is given up.

        None where it is not the first number, which would be a server's mistake: it sends `acked` for those below.
        """
        if not self.entries or self.entries[0].seq != seq:
            return None
        self.sent = 0
        if code in _FATE_UNKNOWN:  # And so may those be that were stored together with it.
            for entry in self.entries:
                entry.doubtful |= entry.seq is not None
        if retry:
            self.refusals += 1
            return []
        entry = self.entries[0]
        lost = [] if entry.skipped else [Lost(entry, "unknown" if entry.doubtful else "refused", code)]
        entry.skipped = True
        return lost

    def relink(self) -> None:
        """The link is gone: everything is written again. The application may have had a `send` that was on its way."""
        for entry in list(self.entries)[: self.sent]:
            entry.doubtful |= entry.head["type"] == "send"
        self.sent = 0

    def give_up(self, code: str, chosen: Callable[[Entry], bool]) -> List[Lost]:
        """Gives up the entries that are chosen. Those with a number stay, as a `skip`."""
        lost = [Lost(entry, "refused" if entry.seq is None else "unknown", code)
                for entry in self.entries if not entry.skipped and chosen(entry)]
        for entry, _, _ in lost:
            entry.skipped = True
        self.entries = deque(e for e in self.entries if e.seq is not None or not e.skipped)
        return lost

    def oldest(self) -> Optional[float]:
        """When the first message that is not given up was born."""
        return next((entry.born for entry in self.entries if not entry.skipped), None)

    def new_session(self, code: str) -> List[Lost]:
        """Written messages have an unknown fate; the others move on, numbered from 1."""
        written = [e for e in self.entries if e.seq is not None]
        self.entries = deque(e for e in self.entries if e.seq is None)
        self.sent, self.next, self.refusals = 0, 1, 0
        return [Lost(e, "unknown", code) for e in written if not e.skipped]
