"""A small client for `bowline.v1`, written from PROTOCOL.md alone.

    client = Client("ws://127.0.0.1:8000/ws", {"news": None}, on_event=handler)
    client.start()
    ticket = client.publish("news", {"hello": "world"})
    await ticket.stored        # raises Dropped
    await client.close()

`on_event` is a coroutine function. It gets Message, Subscribed, SubscribeFailed, Gap and Unsubscribed; those of one
channel come in order and one at a time. `on_status` is a plain function and gets State, Welcome, Closed and Fault.
A client that is `blocked` (refused, replaced, or at the end of its attempts) has ended, like one that was closed; the
next one has a session of its own.
"""
from __future__ import annotations

import asyncio
import itertools
import random
import secrets
from collections import deque
from typing import Any, Awaitable, Callable, Deque, Dict, List, Optional, Union

import protocol as p
from events import (
    Dropped, Fault, Gap, Message, RequestFailed, State, SubscribeFailed, Subscribed, Ticket, Unsubscribed, Welcome,
)
from websocket import BINARY, TEXT, Closed, WebSocket

INBOX_MAX = 256  # Messages of one channel that wait for the handler; beyond it the channel is paused.
OUTBOX_MAX = 10_000
UPTIME_MIN = 10.0  # Seconds after which a link that ends is no failure like those before it.
ADVISED_AFTER = 1.0  # A link that replaced another is not left sooner: servers must not keep a client dialling.
REPLIES_MAX = 1_000  # Acknowledged sends whose reply has not come.
REPLY_AFTER_ACK = 10.0  # To a `send` that was written twice the server may say no more than `acked`.
REQUESTS_MAX = 100  # Requests that wait for an answer.
SUBSCRIPTIONS_MAX = 1_000
BEGUN_MAX = 100  # Of these, channels that the server began by itself: `hello` must have room for their names.


class _Subscription:
    def __init__(self, channel: str, cursor: Any, begun: bool = False):
        self.channel = channel
        self.begun = begun  # By the server, unasked.
        self.cursor = cursor  # A *from* value at first, then the position of what was taken last.
        self.handled: Optional[str] = None
        self.pending = True  # Asked for and not yet answered on this link: what arrives is not ours.
        self.paused = False  # The handler is behind; taken up again from the cursor when it is not.
        self.unplaced = False  # The last answer had no position: there is no history.
        self.faulty = False  # Offsets were left out, and nothing was delivered since.
        self.missed = 0


class _Link:
    def __init__(self, ws: WebSocket, asked: Dict[str, _Subscription]):
        self.ws, self.asked = ws, asked
        self.stays_until = 0.0
        self.reader: Optional[asyncio.Task] = None
        self.leave = asyncio.get_running_loop().create_future()  # Done when it is time to dial the next one.
        self.restart_after: Optional[float] = None
        self.fenced = False  # A newer hello is out: nothing numbered is written here, and no `subscribe`.
        self.hold = False  # A refusal asked to wait before the numbers go on.


class Client:
    def __init__(
        self,
        url: str,
        channels: Optional[Dict[str, Any]] = None,
        *,
        token: Union[None, str, Callable[[], str]] = None,
        on_event: Callable[[Any], Awaitable[None]],
        on_status: Callable[[Any], None] = lambda status: None,
        backoff_min: float = 1.0,
        backoff_max: float = 30.0,
        attempts_max: Optional[int] = None,
        connect_timeout: float = 10.0,
        resend_stored: bool = False,
    ):
        self._url, self._token = url, token
        self._on_event, self._on_status = on_event, on_status
        self._backoff = (backoff_min, backoff_max)
        self._attempts_max, self._connect_timeout = attempts_max, connect_timeout
        self._resend_stored = resend_stored
        self._session, self._number = secrets.token_urlsafe(16), 0
        self._outbox = p.Outbox()
        self._awaiting_reply: Dict[int, p.Entry] = {}
        self._subscriptions = {c: _Subscription(c, f) for c, f in (channels or {}).items()}
        self._inboxes: Dict[str, Deque[Any]] = {}
        self._answers: Dict[int, Callable[[Dict[str, Any]], None]] = {}
        self._requests: set = set()
        self._ids = itertools.count(2)
        self._limits = {"inflight_max": 64, "message_bytes_max": float("inf"), "session_ttl_ms": 86_400_000,
                        "max_reconnect_attempts": 10}
        self._expiry: Optional[asyncio.TimerHandle] = None
        self._link: Optional[_Link] = None
        self._run_task: Optional[asyncio.Task] = None
        self._drains: set = set()
        self._proved = False  # This link has stored something.
        self._stopped = False

    # --- what the application calls ---

    def start(self) -> None:
        """Once: a session that has ended must not be used again."""
        if self._run_task:
            raise RuntimeError("a client is started once")
        self._run_task = asyncio.get_running_loop().create_task(self._run())
        self._run_task.add_done_callback(self._crashed)

    def publish(self, channel: str, data: Any, tag: Optional[str] = None) -> Ticket:
        """Numbered: it is resent until it is acknowledged, and takes effect once."""
        return self._enqueue({"type": "publish", "channel": channel, **_given(tag=tag)}, data)

    def send(self, data: Any, method: Optional[str] = None) -> Ticket:
        """Numbered as well, to the application behind the server."""
        return self._enqueue({"type": "send", **_given(method=method)}, data)

    def subscribe(self, channel: str, start: Any = None) -> None:
        """One that is there already, maybe because the server began it, goes on as it is."""
        if channel in self._subscriptions:
            return
        if len(self._subscriptions) >= SUBSCRIPTIONS_MAX:
            self._hand_over(SubscribeFailed(channel, "too_many_subscriptions", "There is no room for another channel."))
            return
        self._subscriptions[channel] = subscription = _Subscription(channel, start)
        self._ask(subscription)

    def unsubscribe(self, channel: str) -> None:
        if self._subscriptions.pop(channel, None):
            self._leave(channel)
            self._hand_over(Unsubscribed(channel, None))

    def request(self, kind: str, **fields: Any) -> "asyncio.Future[Any]":
        """`history`, `presence`, `refresh` or a volatile `publish`: ends with the reply's data or RequestFailed."""
        future = _future()

        def answer(message: Dict[str, Any]) -> None:
            self._requests.discard(future)
            if message["type"] == "error":
                _fail(future, RequestFailed(message["code"], message.get("message", "")))
            else:
                _succeed(future, message.get("data"))

        if self._link is None:
            _fail(future, RequestFailed("not_connected"))
        elif len(self._requests) >= REQUESTS_MAX:
            _fail(future, RequestFailed("too_many_requests"))
        elif len(p.dumps(fields.get("data")).encode()) > self._limits["message_bytes_max"]:
            _fail(future, RequestFailed("message_too_big"))
        else:
            self._requests.add(future)
            self._request(kind, fields, answer)
        return future

    async def close(self) -> None:
        """Ends the session with `bye`. What is not acknowledged is reported as dropped."""
        self._stopped = True
        if self._run_task:
            self._run_task.cancel()
        link = self._link
        if link and link.reader and not link.reader.done():
            self._write({"type": "bye"})
            await asyncio.wait({link.reader}, timeout=2)
            link.reader.cancel()
            self._forget(link)
            self._link = None
        self._drop_all("closed")
        for task in self._drains:
            task.cancel()
        self._on_status(State("closed"))

    # --- dialling ---

    async def _run(self) -> None:
        attempt = failures = 0  # Without a welcome; without a number acked or a link that lived a while.
        delay = 0.0
        while True:
            if delay:
                self._on_status(State("waiting"))
                await asyncio.sleep(delay)
            link, lasted, self._proved = None, False, False
            try:
                link = await self._dial()
                attempt, began = 0, _now()
                ended = await self._follow(link)
                lasted = _now() - began >= UPTIME_MIN
            except Closed as closed:
                ended = closed
            if self._proved or lasted:
                failures = 0
            if ended is None:
                delay = 0.0  # Advised to move: the next link is made before this one is left.
                continue
            verdict, (code, advice_ms) = p.after_close(ended.code, ended.reason), p.close_reason(ended.reason)
            attempts_max = self._attempts_max or self._limits["max_reconnect_attempts"]
            token_owed = verdict == p.NEW_TOKEN
            if verdict == p.STOP or (token_owed and not callable(self._token)) or attempt + 1 >= attempts_max:
                self._stop(code)
                return
            if link and link.restart_after is not None:
                delay = random.uniform(0, link.restart_after)
            elif token_owed and (lasted if link else attempt == 0):
                delay = 0.0  # With a new token at once, but not over and over.
            else:
                delay = p.backoff(failures, *self._backoff, max(ended.retry_after_ms, advice_ms))
            attempt, failures = attempt + 1, failures + 1

    async def _dial(self) -> _Link:
        """A link that has its welcome. Until then an older one, if there is one, goes on delivering."""
        self._number += 1
        self._on_status(State("connecting"))
        dialled: List[_Link] = []
        try:
            messages = await asyncio.wait_for(self._hello(dialled), self._connect_timeout)
        except asyncio.CancelledError:
            for link in dialled:
                link.ws.abort()
            raise
        except (Closed, asyncio.TimeoutError, ValueError) as error:
            for link in dialled:
                link.ws.abort()
            closed = error if isinstance(error, Closed) else Closed(1006, "no welcome in time")
            if dialled:
                self._on_status(closed)
            if self._link:  # The older link goes on.
                self._link.fenced = False
                self._ask_missing(self._link)
                self._pump()
            raise closed from error
        link, old = dialled[0], self._link
        self._link = link
        if old:
            self._forget(old)
            link.stays_until = _now() + ADVISED_AFTER
        self._welcome(link, messages[0])
        link.reader = asyncio.get_running_loop().create_task(self._read(link, messages[1:]))
        return link

    async def _hello(self, dialled: List[_Link]) -> List[Dict[str, Any]]:
        ws = await WebSocket.connect(self._url, p.SUBPROTOCOL)
        for channel, subscription in self._subscriptions.items():
            subscription.paused |= len(self._inboxes.get(channel, ())) >= INBOX_MAX
        link = _Link(ws, {c: s for c, s in self._subscriptions.items() if not s.paused})
        dialled.append(link)
        self._on_status(State("handshaking"))
        if self._link:
            self._link.fenced = True
        token = self._token() if callable(self._token) else self._token
        hello = {
            "type": "hello", "id": 1, **_given(token=token), "session": self._session, "link": self._number,
            "first": self._outbox.first, "next": self._outbox.next,
            "subscribe": {c: s.cursor for c, s in link.asked.items()},
            "client": {"name": "bowline-python-example"},
        }
        ws.send(TEXT, p.dumps(hello).encode())
        while True:
            messages = await _receive(ws)
            while messages and messages[0]["type"] != "welcome":
                messages.pop(0)  # If it is a refusal, the close that follows says what to do.
            if messages:
                return messages

    async def _follow(self, link: _Link) -> Optional[Closed]:
        """Until the link ends, or until it is time to make the next one (None)."""
        await asyncio.wait({link.reader, link.leave}, return_when=asyncio.FIRST_COMPLETED)
        if not link.reader.done():
            return None
        return link.reader.result()

    def _stop(self, code: str, message: str = "The client has given up.") -> None:
        self._stopped = True
        if self._link:
            self._forget(self._link)
            self._link = None
        self._on_status(State("blocked"))
        if code:
            self._on_status(Fault(code, message))
        self._drop_all(code or "closed")

    def _crashed(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and task.exception():
            self._stop("internal", repr(task.exception()))

    # --- one link ---

    async def _read(self, link: _Link, messages: List[Dict[str, Any]]) -> Closed:
        try:
            while True:
                for message in messages:
                    if self._link is not link:
                        return Closed(1006, "superseded")
                    self._handle(link, message)
                messages = await _receive(link.ws)
        except Closed as closed:
            self._on_status(closed)
            if self._link is link:
                self._forget(link)
                self._link = None
            return closed

    def _forget(self, link: _Link) -> None:
        """The link is gone or superseded: what was asked on it will not be answered."""
        link.ws.abort()
        self._outbox.relink()
        waiting, self._answers = self._answers, {}
        for answer in waiting.values():
            answer({"type": "error", "code": "connection_lost", "retry": True, "lost": True})
        lost, self._awaiting_reply = self._awaiting_reply, {}
        for entry in lost.values():
            _fail(entry.reply, RequestFailed("reply_lost"))

    def _welcome(self, link: _Link, message: Dict[str, Any]) -> None:
        self._limits.update({k: message[k] for k in self._limits if k in message})
        link.ws.silence_max = (message["ping_interval_ms"] + message["pong_timeout_ms"]) / 1000
        self._on_status(State("open"))
        self._on_status(Welcome(message["resumed"], message.get("reason"), message["acked"], message.get("connection")))
        if message["session"] != self._session:
            self._session = message["session"]
            self._report(self._outbox.new_session(message.get("reason") or "session_lost"))
        elif not self._resend_stored:
            self._acked(message["acked"], final=True)
        self._report(self._outbox.give_up("message_too_big", lambda e: not e.fits(message["message_bytes_max"])))
        self._expire()
        for channel, outcome in (message.get("subscriptions") or {}).items():
            self._begin(link, channel, outcome, link.asked.get(channel))
        self._ask_missing(link)
        self._pump()

    def _handle(self, link: _Link, message: Dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "message":
            self._message(message)
        elif kind == "acked":
            self._proved = True
            self._acked(message["seq"])
            self._pump()
        elif kind == "ping":
            handled = {c: s.handled for c, s in self._subscriptions.items() if s.handled}
            self._write({"type": "pong", **_given(ts=message.get("ts")), "positions": handled})
        elif kind == "error" and message.get("seq") is not None:
            self._refused(link, message)
        elif kind == "reply" and message.get("seq") is not None:
            self._replied(message)
        elif kind in ("reply", "error", "subscribed", "unsubscribed") and message.get("id") is not None:
            answer = self._answers.pop(message["id"], None)
            if answer:
                answer(message)
        elif kind == "gap":
            self._gap(message)
        elif kind == "subscribed":
            self._begin(link, message["channel"], message, self._subscriptions.get(message["channel"]))
        elif kind == "unsubscribed":
            subscription = self._subscriptions.get(message["channel"])
            if subscription and not subscription.pending:
                del self._subscriptions[message["channel"]]
                self._hand_over(Unsubscribed(message["channel"], message.get("code")))
        elif kind == "reconnect":
            self._advised(link, message)
        elif kind == "expiring" and callable(self._token):
            self.request("refresh", token=self._token())
        elif kind == "error":
            self._on_status(Fault(message["code"], message.get("message", "")))

    def _advised(self, link: _Link, message: Dict[str, Any]) -> None:
        """A `url` in the advice is not followed: this client's allow-list is the URL that it was given."""
        after = min(message["after_ms"] / 1000, p.ADVICE_MAX)
        if message["reason"] == "restart":
            link.restart_after = after
        else:
            asyncio.get_running_loop().call_at(max(_now() + after, link.stays_until), _succeed, link.leave, None)

    # --- channels ---

    def _ask(self, subscription: _Subscription) -> None:
        channel, link = subscription.channel, self._link
        subscription.pending = True
        if link is None or link.fenced:  # The next hello asks for it, or what follows on its welcome.
            if link:
                link.asked.pop(channel, None)
            return
        link.asked[channel] = subscription
        fields = {"channel": channel, "position": subscription.cursor}
        self._request("subscribe", fields, lambda answer: self._outcome(subscription, answer))

    def _ask_later(self, subscription: _Subscription, delay: float) -> None:
        """Unless it is asked for in a hello before."""
        subscription.pending = True
        channel = subscription.channel
        self._later(delay, lambda: self._subscriptions.get(channel) is subscription and not subscription.paused
                    and self._ask(subscription))

    def _ask_missing(self, link: _Link) -> None:
        for channel, subscription in list(self._subscriptions.items()):
            if link.asked.get(channel) is not subscription and not subscription.paused:
                self._ask(subscription)

    def _leave(self, channel: str) -> None:
        self._request("unsubscribe", {"channel": channel}, lambda answer: None)

    def _begin(self, link: _Link, channel: str, outcome: Dict[str, Any], asked: Optional[_Subscription]) -> None:
        """An answer in `welcome` to what `hello` asked, if it did, or a channel that the server adds by itself."""
        subscription, refused = self._subscriptions.get(channel), outcome.get("error")
        if subscription is None and asked is None and not refused and self._has_room(channel):
            asked = subscription = _Subscription(channel, None, begun=True)
            self._subscriptions[channel] = link.asked[channel] = subscription
        if subscription and subscription is asked and not subscription.paused:
            self._outcome(subscription, outcome)
        elif not refused:  # There is no room for it, or the application has changed its mind since.
            self._leave(channel)

    def _has_room(self, channel: str) -> bool:
        begun = sum(s.begun for s in self._subscriptions.values())
        return len(self._subscriptions) < SUBSCRIPTIONS_MAX and begun < BEGUN_MAX and len(channel.encode()) <= 255

    def _outcome(self, subscription: _Subscription, answer: Dict[str, Any]) -> None:
        channel = subscription.channel
        if self._subscriptions.get(channel) is not subscription or answer.get("lost"):
            return
        error = answer.get("error") or (answer if answer.get("type") == "error" else None)
        if error is None:
            position, recovered, reason = p.recovery(subscription.cursor, subscription.unplaced, answer)
            subscription.pending, subscription.cursor = False, position
            subscription.unplaced = position is None
            self._hand_over(Subscribed(channel, position, recovered, reason))
        elif error["code"] == "already_subscribed":  # An `unsubscribe` before it was not taken.
            self._leave(channel)
            self._ask_later(subscription, p.resubscribe_delay())
        else:
            self._hand_over(SubscribeFailed(channel, error["code"], error.get("message", "")))
            if error.get("retry"):
                self._ask_later(subscription, p.resubscribe_delay(error.get("retry_after_ms") or 0))
            else:
                del self._subscriptions[channel]

    def _message(self, message: Dict[str, Any]) -> None:
        channel, position = message["channel"], message.get("position")
        subscription = self._subscriptions.get(channel)
        if subscription is None or subscription.pending or subscription.paused:
            return
        verdict = p.judge(subscription.cursor, position)
        if verdict == p.FAULT:
            self._on_status(Fault("offset_jump", f"{channel}: {position} after {subscription.cursor}"))
            self._leave(channel)
            if subscription.faulty:  # Again, and nothing was delivered in between.
                self._ask_later(subscription, p.resubscribe_delay())
            else:
                self._ask(subscription)
            subscription.faulty = True
        if verdict != p.DELIVER:
            return
        if len(self._inboxes.get(channel, ())) >= INBOX_MAX:
            self._overflow(subscription, position)
            return
        if subscription.missed:
            self._hand_over(Gap(channel, None, "slow", subscription.missed))
            subscription.missed = 0
        subscription.faulty = False
        if position is not None:
            subscription.cursor = position
        self._hand_over(Message(channel, position, message.get("data"), message.get("user"), message.get("tag")))

    def _overflow(self, subscription: _Subscription, position: Optional[str]) -> None:
        """The handler is too slow. The log keeps what has positions; the rest is lost, and said to be."""
        if position is None:
            subscription.missed += 1
            return
        subscription.paused = True
        self._leave(subscription.channel)

    def _gap(self, message: Dict[str, Any]) -> None:
        subscription = self._subscriptions.get(message["channel"])
        if subscription is None or subscription.pending or subscription.paused:
            return
        position, reason = message.get("position"), message["reason"]
        ahead = p.distance(subscription.cursor, position)
        if reason == "expired" and ahead is not None and ahead <= 0:
            return  # An older link has delivered what retention took from this one.
        if position is not None:
            subscription.cursor = position
        self._hand_over(Gap(message["channel"], position, reason, message.get("missed")))

    def _hand_over(self, event: Any) -> None:
        """Into the channel's inbox. The cursor has moved already: the inbox outlives the link."""
        inbox = self._inboxes.get(event.channel)
        if inbox is not None:
            inbox.append(event)
            return
        self._inboxes[event.channel] = deque([event])
        task = asyncio.get_running_loop().create_task(self._drain(event.channel))
        self._drains.add(task)
        task.add_done_callback(self._drains.discard)

    async def _drain(self, channel: str) -> None:
        inbox = self._inboxes[channel]
        while inbox:
            event = inbox[0]
            try:
                await self._on_event(event)
            except Exception as error:  # A handler's failure must not end its channel.
                context = {"message": f"the handler of {channel} failed", "exception": error}
                asyncio.get_running_loop().call_exception_handler(context)
            inbox.popleft()
            subscription = self._subscriptions.get(channel)
            if subscription and isinstance(event, Message):
                subscription.handled = event.position
        del self._inboxes[channel]
        subscription = self._subscriptions.get(channel)
        if subscription and subscription.paused:
            subscription.paused = False
            self._ask(subscription)

    # --- upstream ---

    def _enqueue(self, head: Dict[str, Any], data: Any) -> Ticket:
        if self._stopped or len(self._outbox.entries) >= OUTBOX_MAX:
            raise Dropped("refused", "closed" if self._stopped else "outbox_full")
        binary = isinstance(data, (bytes, bytearray))
        if not binary and p.too_deep(data):
            raise Dropped("refused", "too_deep")
        try:
            payload = bytes(data) if binary else p.dumps(data).encode()
        except (TypeError, ValueError) as error:
            raise Dropped("refused", "unsupported_data") from error
        entry = p.Entry(head, payload, binary, _now(), _future(), _future())
        if not entry.fits(self._limits["message_bytes_max"]):
            raise Dropped("refused", "message_too_big")
        self._outbox.entries.append(entry)
        if self._expiry is None:
            self._expire()
        self._pump()
        return Ticket(entry.stored, entry.reply)

    def _expire(self) -> None:
        """Gives up what is old, now and from then on: the session's record must outlive what counts on it."""
        if self._expiry:
            self._expiry.cancel()
        age_max = self._limits["session_ttl_ms"] / 1000 / 2
        self._report(self._outbox.give_up("expired", lambda entry: entry.born <= _now() - age_max))
        oldest, self._expiry = self._outbox.oldest(), None
        if oldest is not None:
            self._expiry = asyncio.get_running_loop().call_at(oldest + age_max, self._expire)

    def _pump(self) -> None:
        link = self._link
        while link and not link.fenced and not link.hold:
            entry = self._outbox.take(self._limits["inflight_max"])
            if entry is None:
                return
            binary, frame = entry.frame()
            link.ws.send(BINARY if binary else TEXT, frame)

    def _acked(self, seq: int, final: bool = False) -> None:
        """`final`: by `welcome`, after which no reply can come."""
        for entry in self._outbox.acked(seq):
            _succeed(entry.stored, None)
            if entry.head["type"] != "send" or entry.reply.done():
                continue
            lost = RequestFailed("reply_lost")
            if final:
                _fail(entry.reply, lost)
                continue
            while len(self._awaiting_reply) >= REPLIES_MAX:
                _fail(self._awaiting_reply.pop(next(iter(self._awaiting_reply))).reply, lost)
            self._awaiting_reply[entry.seq] = entry
            if entry.rewritten:
                asyncio.get_running_loop().call_later(REPLY_AFTER_ACK, _fail, entry.reply, lost)

    def _replied(self, message: Dict[str, Any]) -> None:
        entry = self._awaiting_reply.pop(message["seq"], None)
        waiting = [entry] if entry else [e for e in self._outbox.entries if e.seq == message["seq"]]
        for entry in waiting:
            _succeed(entry.reply, message.get("data"))

    def _refused(self, link: _Link, message: Dict[str, Any]) -> None:
        seq, code = message["seq"], message["code"]
        handled = self._awaiting_reply.pop(seq, None)
        if handled:  # Its number is acked: the reply alone can't come.
            _fail(handled.reply, RequestFailed("reply_lost"))
            return
        refusals = self._outbox.refusals
        lost = self._outbox.refused(seq, code, bool(message.get("retry")))
        if lost is None:
            return
        self._report(lost)
        if message.get("retry"):
            link.hold = True
            delay = p.resend_delay(code, refusals, message.get("retry_after_ms") or 0)
            self._later(delay, lambda: self._release(link))
        else:
            self._pump()

    def _release(self, link: _Link) -> None:
        link.hold = False
        self._pump()

    def _report(self, lost: List[p.Lost]) -> None:
        for entry, fate, code in lost:
            _fail(entry.stored, Dropped(fate, code))
            _fail(entry.reply, Dropped(fate, code))

    def _drop_all(self, code: str) -> None:
        self._report(self._outbox.give_up(code, lambda entry: True))
        if self._expiry:
            self._expiry.cancel()

    # --- writing ---

    def _request(self, kind: str, fields: Dict[str, Any], answer: Callable[[Dict[str, Any]], None]) -> None:
        """Nothing without a link: a subscription is then asked for in the next hello."""
        if self._link:
            number = next(self._ids)
            self._answers[number] = answer
            self._write({"type": kind, "id": number, **fields})

    def _write(self, message: Dict[str, Any]) -> None:
        if self._link:
            self._link.ws.send(TEXT, p.dumps(message).encode())

    def _later(self, delay: float, action: Callable[[], Any]) -> None:
        """On the present link only; the next one starts afresh."""
        link = self._link
        asyncio.get_running_loop().call_later(delay, lambda: self._link is link and link and action())


async def _receive(ws: WebSocket) -> List[Dict[str, Any]]:
    opcode, payload = await ws.receive()
    try:
        return p.decode_binary(payload) if opcode == BINARY else p.decode_text(payload.decode())
    except ValueError as error:  # Where its end can't be found, neither can what follows; it is in the log.
        ws.close(1002, "not JSON")
        raise Closed(1002, str(error)) from error


def _now() -> float:
    return asyncio.get_running_loop().time()


def _given(**fields: Any) -> Dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _future() -> "asyncio.Future[Any]":
    future = asyncio.get_running_loop().create_future()
    future.add_done_callback(lambda f: f.cancelled() or f.exception())  # Nobody has to look at it.
    return future


def _succeed(future: "asyncio.Future[Any]", value: Any) -> None:
    if not future.done():
        future.set_result(value)


def _fail(future: "asyncio.Future[Any]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
