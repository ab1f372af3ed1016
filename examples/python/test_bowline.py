"""Tests of the pure parts, with the golden vectors: `python3 -m unittest` in this folder."""
import base64
import json
import os
import pathlib
import struct
import unittest

import protocol as p
import websocket as w

A, B = "9f1c44d07b2e6a10", "a41be27790d35c08"
VECTORS = pathlib.Path(__file__).parents[2] / "vectors"


def vectors(name):
    return json.loads((VECTORS / name).read_text(encoding="utf-8"))


def at(epoch, offset, term="5d3ab7c1"):
    return f"{epoch}.{offset}.{term}"


def outbox(count, seqs=True):
    box = p.Outbox()
    for n in range(1, count + 1):
        box.entries.append(p.Entry({"type": "publish", "channel": "c"}, b"%d" % n, False, float(n)))
    if seqs:
        while box.take(64):
            pass
    return box


def numbers(box):
    return [entry.seq for entry in box.entries]


class Frames(unittest.TestCase):
    def test_every_server_vector_decodes(self):
        for vector in vectors("messages/server.json"):
            with self.subTest(vector["name"]):
                if "text" in vector:
                    self.assertTrue(p.decode_text(vector["text"]))
                else:
                    self.assertIn("data", p.decode_binary(base64.b64decode(vector["binary_b64"]))[0])

    def test_what_is_encoded_is_a_client_vector(self):
        texts = {v.get("text") for v in vectors("messages/client.json")}
        chat = p.Entry({"type": "publish", "channel": "chat"}, b'{"text":"hi"}', False, 0.0, seq=9)
        skip = p.Entry({"type": "send"}, b"", False, 0.0, seq=19, skipped=True)
        for entry in (chat, skip):
            self.assertIn(entry.frame()[1].decode(), texts)

    def test_several_messages_in_a_frame_keep_their_order(self):
        messages = p.decode_text('{"type":"acked","seq":1} \n\t{"type":"acked","seq":2}\n')
        self.assertEqual([m["seq"] for m in messages], [1, 2])

    def test_what_can_not_be_read_is_skipped_where_its_end_is_known(self):
        for bad in (
            "[]", '{"seq":1}', "1", '{"type":"acked"}', '{"type":"acked","seq":"1"}', '{"type":"reply","id":[1]}',
            '{"type":"message","channel":"c","data_b64":"?"}', '{"type":"error","code":7}',
        ):
            self.assertEqual([m["seq"] for m in p.decode_text(bad + '{"type":"acked","seq":2}')], [2], bad)
        for bad in ('{"type":"acked"', "[" * 100_000, "x"):
            with self.assertRaises(ValueError):
                p.decode_text(bad)
        for bad in (b'{"type":"send"}', b"{\n", b"\xff\n", b'{"type":"send","data":1}\n', b"\n"):
            self.assertEqual(p.decode_binary(bad), [])
        welcome = next(v["text"] for v in vectors("messages/server.json") if "welcome" in v.get("text", ""))
        message = json.loads(welcome)
        for subscriptions in ({"c": 1}, {"c": {"position": 1}}, {"c": {"error": 1}}, {"c": {"error": {}}}, []):
            self.assertFalse(p.readable({**message, "subscriptions": subscriptions}), subscriptions)

    def test_bytes_and_json_are_encoded_in_their_own_frames(self):
        self.assertEqual(p.encode({"type": "send"}, b"[1]", False), (False, b'{"type":"send","data":[1]}'))
        binary, frame = p.encode({"type": "send"}, b"\n\x00", True)
        self.assertTrue(binary)
        self.assertEqual(p.decode_binary(frame)[0]["data"], b"\n\x00")
        self.assertEqual(p.decode_text('{"type":"message","channel":"c","data_b64":"AAo="}')[0]["data"], b"\x00\n")


class Positions(unittest.TestCase):
    def test_the_clients_rule(self):
        for cursor, position, verdict in [
            (at(A, 4), at(A, 5), p.DELIVER), (at(A, 4), at(A, 4), p.SEEN), (at(A, 4), at(A, 1), p.SEEN),
            (at(A, 4), at(A, 6), p.FAULT), (at(A, 4), at(B, 5), p.FAULT), (at(A, 4), at(B, 1), p.FAULT),
            (at(A, 0), at(B, 1), p.DELIVER), (at(A, 0), at(B, 2), p.FAULT), (at(A, 4), None, p.DELIVER),
            (None, at(A, 1), p.FAULT), (at(A, 9), at(A, 10, "00000000"), p.DELIVER),
        ]:
            self.assertEqual(p.judge(cursor, position), verdict, (cursor, position))

    def test_only_whole_positions_are_positions(self):
        for bad in (None, "first", {"last": 2}, A, f"{A}.01.5d3ab7c1", f"{A}.1.5d3ab7c", at(A.upper(), 1)):
            self.assertIsNone(p.parse_position(bad), bad)

    def test_the_cursor_stays_where_an_old_link_has_delivered_more(self):
        def after(cursor, position, recovered=True, reason=None, unplaced=False):
            answer = {"position": position, "recovered": recovered, "reason": reason}
            return p.recovery(cursor, unplaced, answer)

        stays = (at(A, 9), True, None)
        self.assertEqual(after(at(A, 9), at(A, 5)), stays)
        self.assertEqual(after(at(A, 9), at(A, 5), False, "expired"), stays)
        for cursor, position, reason in [
            (at(A, 9), at(A, 5), "rewound"), (at(A, 9), at(A, 5), "unknown_epoch"), (at(A, 9), at(A, 30), "expired"),
        ]:
            self.assertEqual(after(cursor, position, False, reason), (position, False, reason))
        self.assertEqual(after(at(A, 0), at(B, 0)), (at(B, 0), True, None))
        self.assertEqual(after("first", None, True, "new"), (None, True, "new"))
        # A break without history is a gap.
        self.assertEqual(after(None, None, True, "new", unplaced=True), (None, False, "no_history"))


class Upstream(unittest.TestCase):
    def test_numbers_are_given_when_first_written_and_never_past_the_window(self):
        box = outbox(5, seqs=False)
        self.assertEqual((box.first, box.next), (1, 1))
        while box.take(3):
            pass
        self.assertEqual(numbers(box), [1, 2, 3, None, None])
        self.assertEqual([e.seq for e in box.acked(2)], [1, 2])
        self.assertEqual((box.sent, box.first, box.next), (1, 3, 4))
        self.assertEqual(box.take(3).seq, 4)

    def test_a_lost_link_sends_the_same_numbers_again(self):
        box = outbox(3)
        box.acked(1)
        box.relink()
        self.assertEqual([box.take(64).seq for _ in range(2)], [2, 3])

    def test_a_refusal_sends_again_from_its_number(self):
        box = outbox(4)
        box.acked(1)
        self.assertEqual(box.refused(2, "storage_full", True), [])
        self.assertEqual([box.take(64).seq for _ in range(3)], [2, 3, 4])
        for other in (1, 3, 9):
            self.assertIsNone(box.refused(other, "out_of_order", True))

    def test_a_skip_stays_until_it_is_acknowledged(self):
        box = outbox(2)
        self.assertEqual([x.fate for x in box.refused(1, "forbidden", False)], ["refused"])
        self.assertEqual(box.first, 1)
        self.assertEqual(box.take(64).frame(), (False, b'{"type":"skip","seq":1}'))
        self.assertEqual([e.seq for e in box.acked(2)], [2])
        self.assertEqual((box.first, box.next), (3, 3))

    def test_a_skip_is_written_only_as_the_first(self):
        box = outbox(4)
        box.relink()
        box.give_up("expired", lambda entry: entry.seq in (2, 3))
        self.assertEqual((box.take(64).seq, box.take(64)), (1, None))
        box.acked(1)
        self.assertEqual((box.take(64).frame()[1], box.take(64)), (b'{"type":"skip","seq":2}', None))
        box.acked(2)
        self.assertEqual([box.take(64).seq for _ in range(2)], [3, 4])

    def test_what_is_too_big_for_a_frame(self):
        entry = outbox(1).entries[0]
        self.assertEqual([entry.fits(size) for size in (0, 1)], [False, True])
        entry.head["tag"] = "t" * p.BESIDE_DATA_MAX
        self.assertFalse(entry.fits(1))

    def test_a_new_session_loses_what_was_written_and_numbers_the_rest_anew(self):
        box = outbox(4, seqs=False)
        box.take(64), box.take(64)
        lost = box.new_session("session_lost")
        self.assertEqual([(x.entry.data, x.fate) for x in lost], [(b"1", "unknown"), (b"2", "unknown")])
        self.assertEqual((box.take(64).data, box.first, box.next), (b"3", 1, 2))

    def test_old_messages_are_given_up_without_a_hole_in_the_numbers(self):
        box = outbox(4, seqs=False)
        box.take(64)
        lost = box.give_up("expired", lambda entry: entry.born < 2.5)
        self.assertEqual([x.fate for x in lost], ["unknown", "refused"])
        self.assertEqual((numbers(box), box.entries[0].skipped), ([1, None, None], True))

    def test_a_frame_has_its_number_and_its_data(self):
        entry = outbox(1).entries[0]
        self.assertEqual(entry.frame(), (False, b'{"type":"publish","seq":1,"channel":"c","data":1}'))


class Reconnecting(unittest.TestCase):
    def test_backoff_doubles_up_to_its_bound_and_obeys_the_server(self):
        for attempt in range(40):
            bound = min(30, 0.5 * 2**attempt)
            self.assertTrue(0 <= p.backoff(attempt, 0.5, 30) <= bound)
        delays = [p.backoff(10, 0.5, 30, retry_after_ms=4_000) for _ in range(100)]
        self.assertTrue(all(4 <= delay <= 6 for delay in delays))
        self.assertGreater(max(delays) - min(delays), 0.5, "all would come at the same time")
        self.assertLessEqual(p.backoff(0, 0.5, 30, retry_after_ms=10**9), 751)

    def test_every_close_is_judged_as_the_vectors_say(self):
        strategies = {"backoff": p.DIAL, "block": p.STOP, "new_token": p.NEW_TOKEN}
        closes = [v for v in vectors("judgements.json")["verdicts"] if v["evidence"]["kind"] == "close"]
        for vector in closes:
            evidence = vector["evidence"]
            with self.subTest(evidence):
                verdict = p.after_close(evidence["code"], evidence["reason"])
                self.assertEqual(verdict, strategies[vector["strategy"]])
        classes = {"auth": p.NEW_TOKEN, "policy": p.STOP, "protocol": p.STOP}
        for row in vectors("codes.json"):
            verdict = p.after_close(4400, json.dumps({"code": row["code"]}))
            self.assertEqual(verdict, classes.get(row["class"], p.DIAL), row["code"])

    def test_a_reason_is_read_field_by_field(self):
        self.assertEqual(p.close_reason('{"code":"overloaded","retry_after_ms":2000}'), ("overloaded", 2000))
        self.assertEqual(p.close_reason('{"code":"overloaded","retry_after_ms":"x"}'), ("overloaded", 0))
        self.assertEqual(p.close_reason('{"code":null,"retry_after_ms":7}'), ("", 7))
        for odd in ("", "going away", "[]", '{"retry_after_ms":-1}'):
            self.assertEqual(p.close_reason(odd), ("", 0))

    def test_a_refusal_by_http_is_judged_as_a_close(self):
        def after(status, body="", **headers):
            closed = w.refused(status, headers, body)
            return p.after_close(closed.code, closed.reason), closed.retry_after_ms

        self.assertEqual(after("401"), (p.NEW_TOKEN, 0))
        self.assertEqual(after("403"), (p.STOP, 0))
        self.assertEqual(after("403", '{"code":"too_many_attempts"}'), (p.DIAL, 0))
        self.assertEqual(after("503", **{"retry-after": "3"}), (p.DIAL, 3000))
        self.assertEqual(after("404", '{"code":"not_found"}', **{"retry-after": "3"}), (p.DIAL, 0))
        for status in ("200", "302", "413", "502", "x", ""):
            self.assertEqual(after(status), (p.DIAL, 0), status)


class WebSocketFrames(unittest.TestCase):
    def test_sizes_and_masking(self):
        for size in (0, 1, 125, 126, 65535, 65536):
            payload = os.urandom(size)
            frame = bytearray(w.encode_frame(w.BINARY, payload, b"\x01\x02\x03\x04"))
            start = 2 + (0 if size < 126 else 2 if size < 65536 else 8)
            self.assertEqual(w.mask(bytes(frame[start + 4 :]), b"\x01\x02\x03\x04"), payload)
            server = bytearray([frame[0], frame[1] & 0x7F]) + frame[2:start] + payload + b"rest"
            for cut in range(min(start + size, 12)):
                self.assertIsNone(w.decode_frame(bytearray(server[:cut])))
            self.assertEqual(w.decode_frame(server), (True, w.BINARY, payload))
            self.assertEqual(server, b"rest")

    def test_violations(self):
        for head in (b"\xc1\x00", b"\x81\x80", b"\x09\x00", b"\x88\x7e", b"\x82\x7f" + struct.pack("!Q", 1 << 40)):
            with self.assertRaises(w.Violation):
                w.decode_frame(bytearray(head))


if __name__ == "__main__":
    unittest.main()
