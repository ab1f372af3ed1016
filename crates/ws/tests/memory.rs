//! What the decoder takes from the allocator: nothing between messages nor for whole ones, never
//! what a peer only announced, never beyond the limit, and no panic on any bytes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bowline_ws::{
    Decoder, Deflater, Extensions, Inflater, Limits, MessageKind, ProtocolError, Role,
    encode_fragment, encode_message, frame_header,
};
use proptest::collection::vec;
use proptest::prelude::*;

use agreed::agreed;

#[path = "support/agreed.rs"]
mod agreed;

/// Counts what this thread allocates; tests run on threads of their own.
struct Counting;

thread_local! {
    static LIVE_BYTES: Cell<isize> = const { Cell::new(0) };
    static PEAK_BYTES: Cell<isize> = const { Cell::new(0) };
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

fn count(delta_bytes: isize) {
    let live = LIVE_BYTES.get() + delta_bytes;
    LIVE_BYTES.set(live);
    PEAK_BYTES.set(PEAK_BYTES.get().max(live));
    if delta_bytes > 0 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
    }
}

// SAFETY: every call is handed to the system's allocator as it came; the counters are plain
// thread-local cells without destructors, which don't allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise for `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: `block` came from `alloc` above with this `layout`.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What decoding took.
#[derive(Debug)]
struct Taken {
    /// The most bytes that were held at once.
    peak_bytes: isize,
    allocations: usize,
    /// The bytes still held by the decoder.
    live_bytes: isize,
    result: Result<usize, ProtocolError>,
}

/// Decodes `wire` in pieces, in place; events are counted and dropped at once.
fn measure(decoder: &mut Decoder, wire: &mut [u8], piece_bytes: usize) -> Taken {
    measure_with(decoder, &mut Inflater::new(), wire, piece_bytes)
}

fn measure_with(
    decoder: &mut Decoder,
    inflater: &mut Inflater,
    wire: &mut [u8],
    piece_bytes: usize,
) -> Taken {
    let live_before = LIVE_BYTES.get();
    let allocations_before = ALLOCATIONS.get();
    PEAK_BYTES.set(live_before);
    let mut result = Ok(0);
    for mut input in wire.chunks_mut(piece_bytes) {
        loop {
            match decoder.decode_with(&mut input, inflater) {
                Ok(Some(_)) => result = result.map(|events| events + 1),
                Ok(None) => break,
                Err(error) => result = Err(error),
            }
        }
    }
    Taken {
        peak_bytes: PEAK_BYTES.get() - live_before,
        allocations: ALLOCATIONS.get() - allocations_before,
        live_bytes: LIVE_BYTES.get() - live_before,
        result,
    }
}

/// The bytes of a message's record beside its buffer, and of a control frame in part.
const FIXED_BYTES: isize = 96 + 125 * 2;
/// What an inflater holds from its first message on.
const INFLATER_BYTES: isize = 57 * 1024;

fn server(message_bytes_max: usize) -> Decoder {
    Decoder::new(Role::Server, Limits { message_bytes_max })
}

/// A server's decoder that takes compressed messages.
fn inflating(message_bytes_max: usize) -> Decoder {
    let extensions = agreed("permessage-deflate");
    assert_ne!(extensions, Extensions::NONE);
    server(message_bytes_max).with_extensions(extensions)
}

/// A compressed message of so many bytes `a`, as a client sends it.
fn compressed(body_bytes: usize) -> Vec<u8> {
    let body = vec![b'a'; body_bytes];
    let frame = Deflater::new().encode_message(MessageKind::Text, &body, Some([1, 2, 3, 4]));
    frame.expect("it gets shorter").to_vec()
}

#[test]
fn a_decoder_between_messages_is_a_few_words() {
    assert_eq!(size_of::<Decoder>(), 64);
    assert_eq!(size_of::<Inflater>(), size_of::<usize>());
}

#[test]
fn compressed_messages_leave_nothing_with_their_connection() {
    let inflater = &mut Inflater::new();
    let mut wire = compressed(50_000);
    let taken = measure_with(&mut inflating(65_536), inflater, &mut wire.clone(), 10);
    assert_eq!(taken.result, Ok(1));
    assert!(
        (1..=INFLATER_BYTES).contains(&taken.live_bytes),
        "{taken:?}"
    );
    // The state is the thread's: many more connections hold no further byte, however their
    // messages arrive.
    let before = LIVE_BYTES.get();
    let mut decoders: Vec<_> = (0..100).map(|_| inflating(65_536)).collect();
    let held_by_list = LIVE_BYTES.get() - before;
    for (index, decoder) in decoders.iter_mut().enumerate() {
        let taken = measure_with(decoder, inflater, &mut wire.clone(), 1 + index);
        assert_eq!((taken.result, taken.live_bytes), (Ok(1), 0));
        assert_eq!(decoder.buffered_bytes(), 0);
    }
    assert_eq!(LIVE_BYTES.get() - before, held_by_list);
    drop(decoders);
    let taken = measure_with(&mut inflating(65_536), inflater, &mut wire, 1 << 20);
    assert!(taken.peak_bytes <= 2 * 50_000 + FIXED_BYTES, "{taken:?}");
}

#[test]
fn a_bomb_takes_no_more_than_the_limit() {
    let inflater = &mut Inflater::new();
    measure_with(&mut inflating(1_000), inflater, &mut compressed(500), 1_000);
    for message_bytes_max in [1_000, 65_536] {
        // 16 MB in 16 KB, whole or in pieces.
        let wire = compressed(16 << 20);
        for piece_bytes in [wire.len(), 1_000] {
            let mut decoder = inflating(message_bytes_max);
            let taken = measure_with(&mut decoder, inflater, &mut wire.clone(), piece_bytes);
            assert!(matches!(
                taken.result,
                Err(ProtocolError::MessageTooBig { .. })
            ));
            // While it grows, a buffer stands beside the one that it replaces; beyond it there is
            // what arrived of the message.
            let bound = 2 * message_bytes_max as isize + 16 * 1_024 * 2 + FIXED_BYTES;
            assert!(taken.peak_bytes <= bound, "{piece_bytes}: {taken:?}");
            assert!(taken.live_bytes <= 0, "{taken:?}");
        }
    }
}

#[test]
fn the_beginnings_of_compressed_messages_cost_what_they_sent() {
    let inflater = &mut Inflater::new();
    let noise: Vec<u8> = (0..60_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    // A stored block: as long on the wire as inflated.
    let [low, high] = 60_000_u16.to_le_bytes();
    let payload = [&[0x00, low, high, !low, !high], &noise[..]].concat();
    let header = frame_header(
        bowline_ws::Opcode::Binary,
        false,
        payload.len(),
        Some([0; 4]),
    );
    let mut wire = [&header.compressed()[..], &payload].concat();
    let mut decoder = inflating(65_536);
    let mut sent_bytes = 0;
    for piece in wire.chunks_mut(500) {
        sent_bytes += piece.len() as isize;
        let before = LIVE_BYTES.get() - decoder.buffered_bytes() as isize;
        let taken = measure_with(&mut decoder, inflater, piece, 500);
        assert_eq!(taken.result, Ok(0));
        let held_bytes = LIVE_BYTES.get() - before;
        // Twice what came until an inflater is worth it, then that and what it has inflated.
        let bound = if sent_bytes <= 16 * 1_024 {
            2 * sent_bytes + FIXED_BYTES
        } else {
            INFLATER_BYTES + 2 * sent_bytes + FIXED_BYTES
        };
        assert!(held_bytes <= bound, "{held_bytes} after {sent_bytes}");
        assert!(held_bytes <= decoder.buffered_bytes() as isize + FIXED_BYTES);
    }
}

#[test]
fn the_counter_counts() {
    let mut decoder = server(1000);
    let mut wire = encode_message(MessageKind::Text, &[b'a'; 500], Some([1; 4])).to_vec();
    let taken = measure(&mut decoder, &mut wire, 100);
    assert!(taken.allocations > 0, "{taken:?}");
    assert!(taken.peak_bytes >= 500, "{taken:?}");
}

#[test]
fn whole_messages_take_no_heap() {
    let message = encode_message(MessageKind::Text, "grüße".as_bytes(), Some([1, 2, 3, 4]));
    let mut wire = message.repeat(100);
    let piece_bytes = wire.len();
    let taken = measure(&mut server(1000), &mut wire, piece_bytes);
    assert_eq!((taken.allocations, taken.result), (0, Ok(100)));
}

#[test]
fn a_message_in_pieces_is_freed_when_it_is_whole() {
    let mut decoder = server(100_000);
    let mut wire = encode_message(MessageKind::Binary, &[9; 50_000], Some([1; 4])).to_vec();
    let taken = measure(&mut decoder, &mut wire, 1400);
    assert_eq!((taken.live_bytes, taken.result), (0, Ok(1)));
    assert!(taken.peak_bytes <= 2 * 50_000 + FIXED_BYTES, "{taken:?}");
}

#[test]
fn an_announced_length_is_not_reserved() {
    let mut decoder = server(1 << 30);
    let header = frame_header(bowline_ws::Opcode::Binary, true, 1 << 30, Some([1; 4]));
    let taken = measure(&mut decoder, &mut header.to_vec(), 3);
    assert_eq!(
        (taken.allocations, taken.result),
        (0, Ok(0)),
        "a header alone takes no heap"
    );
    let taken = measure(&mut decoder, &mut [7; 1000], 1000);
    assert!(taken.live_bytes <= 1000 + FIXED_BYTES, "{taken:?}");
}

#[test]
fn growing_is_amortised() {
    let mut wire = encode_message(MessageKind::Binary, &vec![9; 1 << 20], Some([1; 4])).to_vec();
    let taken = measure(&mut server(1 << 20), &mut wire, 64);
    assert_eq!(taken.result, Ok(1));
    assert!(taken.allocations <= 20, "{taken:?}");
}

#[test]
fn a_flood_of_fragments_stays_within_the_limit() {
    let mut wire = encode_fragment(Some(MessageKind::Text), false, b"a", Some([1; 4])).to_vec();
    for _ in 0..100_000 {
        wire.extend(encode_fragment(None, false, b"", Some([1; 4])));
    }
    let taken = measure(&mut server(1000), &mut wire, 4096);
    assert_eq!(taken.result, Err(ProtocolError::FragmentFlood));
    assert!(taken.peak_bytes <= 1000 + FIXED_BYTES, "{taken:?}");
    assert_eq!(taken.live_bytes, 0);
}

/// Bytes that look like frames more often than noise does.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        vec(any::<u8>(), 0..40),
        "\\PC{0,40}".prop_map(String::into_bytes)
    ];
    let near_frame = (any::<[u8; 2]>(), 0_u8..=15, any::<bool>(), payload).prop_map(
        |([noise, key], opcode, fin, payload)| {
            let first = opcode | if fin { 0x80 } else { 0 } | if noise > 250 { 0x40 } else { 0 };
            let mut frame = vec![first, 0x80 | payload.len() as u8, key, key, key, key];
            frame.extend(payload.iter().map(|byte| byte ^ key));
            frame
        },
    );
    prop_oneof![
        vec(any::<u8>(), 0..200),
        vec(near_frame, 0..30).prop_map(|frames| frames.concat()),
    ]
}

proptest! {
    #[test]
    fn any_bytes_neither_panic_nor_pass_the_limit(
        mut wire in hostile(),
        piece_bytes in 1_usize..100,
        message_bytes_max in 0_usize..200,
        kind in 0..3,
    ) {
        let limits = Limits { message_bytes_max };
        let inflater = &mut Inflater::new();
        let mut decoder = match kind {
            0 => Decoder::new(Role::Server, limits),
            1 => Decoder::new(Role::Client, limits),
            _ => inflating(message_bytes_max),
        };
        let inflates = kind == 2;
        if inflates {
            // So that what it holds for good is there before the count begins.
            measure_with(&mut inflating(10_000), inflater, &mut compressed(500), 1_000);
        }
        let taken = measure_with(&mut decoder, inflater, &mut wire, piece_bytes);
        // While it grows, a buffer stands beside the one that it replaces. Compressed bytes that
        // are not whole stand beside the message.
        let mut bound = 2 * message_bytes_max as isize + FIXED_BYTES;
        if inflates {
            bound += 2 * (message_bytes_max as isize * 9 / 8 + 64);
        }
        prop_assert!(taken.peak_bytes <= bound, "{:?}", taken);
        prop_assert_eq!(taken.live_bytes, decoder.buffered_bytes() as isize);
        if taken.result.is_err() {
            prop_assert_eq!(taken.live_bytes, 0);
        }
    }
}
