"""Tests of the client as a whole: the test plays the server, in virtual time."""
import asyncio
import functools
import json
import selectors
import unittest
from unittest import mock

import bowline as b
from websocket import TEXT, Closed

A = "9f1c44d07b2e6a10"
WELCOME = {
    "type": "welcome", "connection": "1", "resumed": True, "user": None, "node": "n", "acked": 0, "inflight_max": 64,
    "session_ttl_ms": 86_400_000, "ping_interval_ms": 10**9, "pong_timeout_ms": 10_000, "message_bytes_max": 65_536,
    "max_reconnect_attempts": 10, "subscriptions": {},
}


def at(offset):
    return f"{A}.{offset}.5d3ab7c1"


def standing(offset, **fields):
    return {"position": at(offset), "recovered": True, **fields}


class Clock(selectors.DefaultSelector):
    """Time passes where nothing else is left to do."""

    now = 0.0

    def select(self, timeout=None):
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("nothing will ever happen")
        if not ready and timeout > 0:
            self.now += timeout + 1e-6
        return ready


def virtual(test):
    @functools.wraps(test)
    def run(self):
        clock = Clock()
        loop = asyncio.SelectorEventLoop(clock)
        loop.time = lambda: clock.now
        try:
            loop.run_until_complete(test(self))
        finally:
            mock.patch.stopall()
            left = [task for task in asyncio.all_tasks(loop) if task.cancel()]
            loop.run_until_complete(asyncio.wait(left) if left else asyncio.sleep(0))
            loop.close()
    return run


class Socket:
    """A link, with the server's side of it."""

    def __init__(self):
        self._to_client, self._to_server, self.closed = asyncio.Queue(), [], None

    def send(self, opcode, payload):
        self._to_server.append(json.loads(payload.partition(b"\n")[0]))

    async def receive(self):
        said = await self._to_client.get()
        if isinstance(said, Closed):
            raise said
        return TEXT, said

    def close(self, code, reason=""):
        self.closed = code

    def abort(self):
        self._to_client.put_nowait(Closed(1006, "aborted"))

    async def says(self, *messages):
        """What the client writes thereupon."""
        for message in messages:
            self._to_client.put_nowait(message if isinstance(message, bytes) else json.dumps(message).encode())
        return await self.hears()

    async def ends(self, code=1006, reason=""):
        self._to_client.put_nowait(Closed(code, reason))
        return await self.hears()

    async def hears(self):
        await asyncio.sleep(0.001)
        heard, self._to_server = self._to_server, []
        return heard


class Played:
    """A client, and what it has told its application."""

    def __init__(self, channels=None, **options):
        self.statuses, self.events, self._dialled = [], [], []
        mock.patch.object(b.WebSocket, "connect", self._connect).start()
        hears = {"on_event": self._on_event, "on_status": self.statuses.append}
        self.client = b.Client("ws://test/ws", channels, **hears, **options)
        self.client.start()

    async def _on_event(self, event):
        self.events.append(event)

    async def _connect(self, url, subprotocol):
        self._dialled.append(Socket())
        return self._dialled[-1]

    async def dial(self):
        """The next link, and its hello."""
        while not self._dialled:
            await asyncio.sleep(0.01)
        link = self._dialled.pop()
        return link, (await link.hears())[0]

    async def open(self, **fields):
        """The next link, welcomed, and what the client wrote thereupon."""
        link, hello = await self.dial()
        return link, await link.says({**WELCOME, "session": hello["session"], **fields})

    async def publish(self, link, *data):
        """The tickets; the numbers are written."""
        tickets = [self.client.publish("c", value) for value in data]
        await link.hears()
        return tickets

    def faults(self):
        return [status.code for status in self.statuses if isinstance(status, b.Fault)]

    def states(self):
        return [status.state for status in self.statuses if isinstance(status, b.State)]


def message(offset, channel="c"):
    return {"type": "message", "channel": channel, "position": at(offset), "data": offset}


def refusal(seq, code="forbidden", retry=False, **fields):
    return {"type": "error", "seq": seq, "code": code, "message": "", "retry": retry, **fields}


def numbered(written):
    return [(m["type"], m["seq"]) for m in written if "seq" in m]


def named(written):
    return [(m["type"], m["channel"]) for m in written if "channel" in m and "seq" not in m]


def fate(ticket):
    dropped = ticket.stored.exception()
    return dropped.fate, dropped.code


class Upstream(unittest.TestCase):
    @virtual
    async def test_a_skip_waits_until_nothing_before_it_is_unanswered(self):
        played = Played()
        link, _ = await played.open()
        await played.publish(link, 1, 2, "x" * 100, 4)
        await link.ends()
        link, written = await played.open(message_bytes_max=50)
        self.assertEqual(numbered(written), [("publish", 1), ("publish", 2)])
        self.assertEqual(numbered(await link.says({"type": "acked", "seq": 1})), [])
        self.assertEqual(numbered(await link.says({"type": "acked", "seq": 2})), [("skip", 3), ("publish", 4)])

    @virtual
    async def test_what_is_given_up_on_its_way_is_skipped_where_it_is_refused(self):
        played = Played()
        link, _ = await played.open(session_ttl_ms=20_000)
        tickets = await played.publish(link, 1, 2)
        await asyncio.sleep(11)
        self.assertEqual([fate(t) for t in tickets], [("unknown", "expired")] * 2)
        self.assertEqual(await link.hears(), [])
        tickets = await played.publish(link, 3)
        self.assertEqual(numbered(await link.says(refusal(1))), [("skip", 1)])
        self.assertEqual(numbered(await link.says({"type": "acked", "seq": 1})), [("skip", 2), ("publish", 3)])

    @virtual
    async def test_a_late_refusal_after_an_unknown_fate_says_nothing_of_the_first_attempt(self):
        played = Played()
        link, _ = await played.open()
        first, second = await played.publish(link, 1, 2)
        await link.says(refusal(1, "fate_unknown", retry=True, retry_after_ms=1000))
        await asyncio.sleep(2)
        self.assertEqual(numbered(await link.hears()), [("publish", 1), ("publish", 2)])
        await link.says(refusal(1), {"type": "acked", "seq": 1}, refusal(2))
        self.assertEqual([fate(first), fate(second)], [("unknown", "forbidden")] * 2)
        third, = await played.publish(link, 3)
        await link.says({"type": "acked", "seq": 2}, refusal(3))
        self.assertEqual(fate(third), ("refused", "forbidden"))

    @virtual
    async def test_the_application_may_have_had_a_send_that_was_on_its_way(self):
        played = Played()
        link, _ = await played.open()
        sent, published = played.client.send(1), played.client.publish("c", 2)
        await link.ends()
        link, _ = await played.open()
        await link.says(refusal(1, "no_handler"), {"type": "acked", "seq": 1}, refusal(2))
        self.assertEqual([fate(sent), fate(published)], [("unknown", "no_handler"), ("refused", "forbidden")])

    @virtual
    async def test_messages_are_given_up_at_half_of_the_sessions_time_on_an_open_link_too(self):
        played = Played()
        link, _ = await played.open(session_ttl_ms=100_000)
        ticket, = await played.publish(link, 1)
        await asyncio.sleep(49)
        self.assertFalse(ticket.stored.done())
        later, = await played.publish(link, 2)
        await asyncio.sleep(2)
        self.assertEqual(fate(ticket), ("unknown", "expired"))
        self.assertFalse(later.stored.done())
        await asyncio.sleep(49)
        self.assertTrue(later.stored.done())

    @virtual
    async def test_a_shorter_session_gives_up_earlier_and_without_a_link(self):
        played = Played(connect_timeout=1e6)
        ticket = played.client.publish("c", 1)
        link, hello = await played.dial()
        await asyncio.sleep(86_400 / 2 + 1)
        self.assertEqual(fate(ticket), ("refused", "expired"))
        ticket = played.client.publish("c", 2)
        await asyncio.sleep(60)
        await link.says({**WELCOME, "session": hello["session"], "session_ttl_ms": 100_000})
        self.assertEqual(fate(ticket), ("refused", "expired"))

    @virtual
    async def test_the_wait_after_a_refusal_is_the_servers_or_grows(self):
        played = Played()
        link, _ = await played.open()
        await played.publish(link, 1)
        self.assertEqual(numbered(await link.says(refusal(1, "out_of_order", retry=True))), [("publish", 1)])
        with mock.patch("random.uniform", lambda low, high: high):
            self.assertEqual(await link.says(refusal(1, "out_of_order", retry=True)), [])
            await asyncio.sleep(0.6)
            self.assertEqual(numbered(await link.hears()), [("publish", 1)])
        await link.says(refusal(1, "storage_full", retry=True, retry_after_ms=10**9))
        await asyncio.sleep(299)
        self.assertEqual(await link.hears(), [])
        await asyncio.sleep(2)
        self.assertEqual(numbered(await link.hears()), [("publish", 1)])

    @virtual
    async def test_a_refusal_of_what_is_done_changes_nothing(self):
        played = Played()
        link, _ = await played.open()
        await played.publish(link, 1, 2)
        await link.says({"type": "acked", "seq": 1})
        self.assertEqual(await link.says(refusal(1, "out_of_order", retry=True)), [])
        self.assertEqual(await link.says({"type": "ping", "ts": 7}), [{"type": "pong", "ts": 7, "positions": {}}])

    @virtual
    async def test_what_no_server_would_read_gets_no_number(self):
        played = Played()
        nested = 1
        for _ in range(128):
            nested = [nested]
        for code, data in ("too_deep", nested), ("unsupported_data", {1, 2}), ("unsupported_data", "\ud800"):
            with self.assertRaises(b.Dropped) as refused:
                played.client.publish("c", data)
            self.assertEqual((refused.exception.fate, refused.exception.code), ("refused", code))
        with self.assertRaises(b.Dropped):
            played.client.send(1, method="m" * 4096)
        queued = played.client.publish("c", "x" * 400)
        link, written = await played.open(message_bytes_max=300)
        self.assertEqual((fate(queued), written), (("refused", "message_too_big"), []))
        played.client.publish("c", nested[0])
        self.assertEqual(numbered(await link.hears()), [("publish", 1)])

    @virtual
    async def test_a_reply_that_can_not_come_is_reported(self):
        played = Played()
        link, _ = await played.open()
        before, twice = played.client.send(1), played.client.send(2)
        await link.ends()
        link, _ = await played.open(acked=1)
        self.assertEqual(before.reply.exception().code, "reply_lost")
        once = played.client.send(3)
        await link.says({"type": "acked", "seq": 3})
        await asyncio.sleep(11)
        self.assertEqual((twice.reply.exception().code, once.reply.done()), ("reply_lost", False))
        await link.says({"type": "reply", "seq": 3, "data": "late"})
        self.assertEqual(once.reply.result(), "late")


class Channels(unittest.TestCase):
    @virtual
    async def test_an_offset_fault_asks_again_at_once_and_then_after_a_pause(self):
        played = Played({"c": None})
        link, _ = await played.open(subscriptions={"c": standing(4)})
        written = await link.says(message(6))
        self.assertEqual(named(written), [("unsubscribe", "c"), ("subscribe", "c")])
        self.assertEqual((written[1]["position"], played.faults()), (at(4), ["offset_jump"]))
        answer = {"type": "subscribed", "id": written[1]["id"], "channel": "c", **standing(4)}
        with mock.patch("random.uniform", lambda low, high: high):
            self.assertEqual(named(await link.says(answer, message(6))), [("unsubscribe", "c")])
        await asyncio.sleep(4.9)
        self.assertEqual(await link.hears(), [])
        await asyncio.sleep(0.2)
        written = await link.hears()
        self.assertEqual(named(written), [("subscribe", "c")])
        # Something is delivered: the next fault is a first one.
        answer["id"] = written[0]["id"]
        written = await link.says(answer, message(5), message(7))
        self.assertEqual(named(written), [("unsubscribe", "c"), ("subscribe", "c")])
        self.assertEqual([e.data for e in played.events if isinstance(e, b.Message)], [5])

    @virtual
    async def test_channels_that_the_server_adds_are_bounded(self):
        played = Played({"own": None})
        begun = {f"user:{n}": standing(0) for n in range(b.BEGUN_MAX + 1)}
        link, written = await played.open(subscriptions={"own": standing(0), **begun})
        self.assertEqual(named(written), [("unsubscribe", f"user:{b.BEGUN_MAX}")])
        added = {"type": "subscribed", "channel": "more", **standing(0)}
        self.assertEqual(named(await link.says(added, message(1, "more"))), [("unsubscribe", "more")])
        await link.says({"type": "unsubscribed", "channel": "user:7", "code": "forbidden"})
        self.assertEqual(named(await link.says(added, message(1, "more"))), [])
        self.assertEqual([e.channel for e in played.events if isinstance(e, b.Message)], ["more"])

    @virtual
    async def test_an_unsubscribe_that_was_not_taken_is_written_again(self):
        played = Played({"c": None})
        link, _ = await played.open(subscriptions={"c": standing(4)})
        written = await link.says(message(6))
        error = {"type": "error", "id": written[1]["id"], "code": "already_subscribed", "message": "", "retry": False}
        self.assertEqual(named(await link.says(error)), [("unsubscribe", "c")])
        await asyncio.sleep(5.1)
        self.assertEqual(named(await link.hears()), [("subscribe", "c")])
        self.assertFalse([e for e in played.events if isinstance(e, b.SubscribeFailed)])

    @virtual
    async def test_a_channel_that_is_refused_for_now_is_asked_for_after_the_advice_and_up_to_5_s(self):
        played = Played({"c": None})
        error = {"code": "rate_limited", "message": "", "retry": True, "retry_after_ms": 3000}
        with mock.patch("random.uniform", lambda low, high: high):
            link, _ = await played.open(subscriptions={"c": {"error": error}})
        await asyncio.sleep(7.9)
        self.assertEqual(await link.hears(), [])
        await asyncio.sleep(0.2)
        self.assertEqual(named(await link.hears()), [("subscribe", "c")])

    @virtual
    async def test_where_an_old_link_has_delivered_more_nothing_is_missing(self):
        played = Played({"c": None})
        old, _ = await played.open(subscriptions={"c": standing(4)})
        await old.says({"type": "reconnect", "after_ms": 0, "reason": "drain"})
        link, hello = await played.dial()
        await old.says(message(5), message(6))
        gap = {"type": "gap", "channel": "c", "reason": "expired", "position": at(6), "missed": 1}
        expired = {"position": at(5), "recovered": False, "reason": "expired"}
        welcome = {**WELCOME, "session": hello["session"], "subscriptions": {"c": expired}}
        await link.says(welcome, message(6), gap, message(7))
        self.assertEqual([e.data for e in played.events if isinstance(e, b.Message)], [5, 6, 7])
        self.assertIn(b.Subscribed("c", at(6), True, None), played.events)
        self.assertFalse([e for e in played.events if isinstance(e, b.Gap)])

    @virtual
    async def test_nothing_is_asked_for_on_a_link_that_is_being_replaced(self):
        played = Played({"c": None})
        old, _ = await played.open(subscriptions={"c": standing(4)})
        await old.says({"type": "reconnect", "after_ms": 0, "reason": "drain"})
        link, hello = await played.dial()
        played.client.subscribe("d")
        played.client.publish("c", 1)
        self.assertEqual(await old.hears(), [])
        written = await link.says({**WELCOME, "session": hello["session"], "subscriptions": {"c": standing(4)}})
        self.assertEqual((named(written), numbered(written)), ([("subscribe", "d")], [("publish", 1)]))
        # If the new one fails the old one goes on.
        await link.says({"type": "reconnect", "after_ms": 1000, "reason": "drain"})
        newest, _ = await played.dial()
        played.client.subscribe("e")
        await newest.ends()
        self.assertEqual(named(await link.hears()), [("subscribe", "e")])


class Links(unittest.TestCase):
    @virtual
    async def test_what_waits_for_an_answer_is_told_that_the_connection_was_lost(self):
        played = Played()
        early = played.client.request("presence", channel="c")
        link, _ = await played.open()
        asked = [played.client.request("presence", channel="c") for _ in range(b.REQUESTS_MAX + 1)]
        await link.ends()
        codes = [future.exception().code for future in [early, asked[-1], *asked[:-1]]]
        self.assertEqual(codes, ["not_connected", "too_many_requests"] + ["connection_lost"] * b.REQUESTS_MAX)

    @virtual
    async def test_a_client_that_was_replaced_ends(self):
        played = Played()
        link, _ = await played.open()
        ticket, = await played.publish(link, 1)
        await link.ends(4409, '{"code":"replaced"}')
        await asyncio.sleep(1000)
        self.assertEqual((fate(ticket), played.faults()), (("unknown", "replaced"), ["replaced"]))
        self.assertEqual((played.states()[-1], played._dialled), ("blocked", []))
        with self.assertRaises(b.Dropped) as refused:
            played.client.publish("c", 2)
        self.assertEqual(refused.exception.code, "closed")

    @virtual
    async def test_a_superseded_link_may_be_replaced(self):
        played = Played()
        old, _ = await played.open()
        await old.says({"type": "reconnect", "after_ms": 0, "reason": "rebalance"})
        link, hello = await played.dial()
        await old.ends(4409, '{"code":"replaced"}')
        await link.says({**WELCOME, "session": hello["session"]})
        self.assertEqual((played.faults(), played.states()[-1]), ([], "open"))

    @virtual
    async def test_a_new_token_is_asked_for_at_once_but_not_over_and_over(self):
        tokens = iter("abcdef")
        played = Played(token=lambda: next(tokens), backoff_min=20.0)
        loop = asyncio.get_running_loop()
        with mock.patch("random.uniform", lambda low, high: high):
            link, hello = await played.dial()
            await link.ends(4401)
            link, hello = await played.open()
            self.assertLess(loop.time(), 1)
            await link.ends(4401, '{"code":"token_expired"}')
            link, _ = await played.open()
            self.assertGreater(loop.time(), 20)
            await asyncio.sleep(11)
            ended = loop.time()
            await link.ends(4401, '{"code":"token_expired"}')
            link, hello = await played.dial()
            self.assertLess(loop.time(), ended + 1)
            self.assertEqual(hello["token"], "d")

    @virtual
    async def test_advice_to_move_is_bounded(self):
        played = Played()
        first, _ = await played.open()
        await first.says({"type": "reconnect", "after_ms": 10**9, "reason": "drain"})
        second, _ = await played.open()
        arrived = asyncio.get_running_loop().time()
        self.assertLess(arrived, 601)
        await second.says({"type": "reconnect", "after_ms": 0, "reason": "drain"})
        await played.dial()
        self.assertGreater(asyncio.get_running_loop().time(), arrived + 0.9)

    @virtual
    async def test_welcome_alone_does_not_begin_the_backoff_anew(self):
        played = Played()
        with mock.patch("random.uniform", lambda low, high: high):
            for failures in range(4):
                link, _ = await played.open()
                ended = asyncio.get_running_loop().time()
                await link.ends()
            link, _ = await played.open()
        self.assertGreater(asyncio.get_running_loop().time(), ended + 7.9)

    @virtual
    async def test_a_message_that_can_not_be_read_is_skipped_or_ends_the_link(self):
        played = Played({"c": None})
        link, _ = await played.open(subscriptions={"c": standing(4)})
        await link.says(
            {"type": "acked"}, {"type": "reply", "id": []}, {"type": "dance"}, b"[] {} 7", b"[" * 100,
        )
        self.assertEqual(link.closed, 1002)
        link, _ = await played.open(subscriptions={"c": standing(4)})
        await link.says({"type": "message", "channel": 7}, {"type": "gap", "channel": "c"}, message(5))
        self.assertEqual([e.data for e in played.events if isinstance(e, b.Message)], [5])

    @virtual
    async def test_a_refusal_before_welcome_leaves_the_word_to_the_close(self):
        played = Played()
        link, _ = await played.dial()
        await link.says({"type": "error", "code": "forbidden", "message": "", "retry": False})
        await link.ends(4403, '{"code":"forbidden"}')
        self.assertEqual((played.faults(), played.states()[-1]), (["forbidden"], "blocked"))

    @virtual
    async def test_bye_ends_what_waits(self):
        played = Played()
        link, _ = await played.open()
        written, = await played.publish(link, 1)
        request = played.client.request("presence", channel="c")
        await link.hears()
        closing = asyncio.ensure_future(played.client.close())
        self.assertEqual(await link.hears(), [{"type": "bye"}])
        await closing
        self.assertEqual((fate(written), request.exception().code), (("unknown", "closed"), "connection_lost"))
        self.assertEqual(played.states()[-1], "closed")


if __name__ == "__main__":
    unittest.main()
