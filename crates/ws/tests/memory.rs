//! What the decoder takes from the allocator: nothing between messages nor for whole ones, never
//! what a peer only announced, never beyond the limit, and no panic on any bytes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bowline_ws::{
    Decoder, Limits, MessageKind, ProtocolError, Role, encode_fragment, encode_message,
    frame_header,
};
use proptest::collection::vec;
use proptest::prelude::*;

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
    let live_before = LIVE_BYTES.get();
    let allocations_before = ALLOCATIONS.get();
    PEAK_BYTES.set(live_before);
    let mut result = Ok(0);
    for mut input in wire.chunks_mut(piece_bytes) {
        loop {
            match decoder.decode(&mut input) {
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
const FIXED_BYTES: isize = 64 + 125 * 2;

fn server(message_bytes_max: usize) -> Decoder {
    Decoder::new(Role::Server, Limits { message_bytes_max })
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
        is_server in any::<bool>(),
    ) {
        let role = if is_server { Role::Server } else { Role::Client };
        let mut decoder = Decoder::new(role, Limits { message_bytes_max });
        let taken = measure(&mut decoder, &mut wire, piece_bytes);
        // While it grows, a buffer stands beside the one that it replaces.
        let bound = 2 * message_bytes_max as isize + FIXED_BYTES;
        prop_assert!(taken.peak_bytes <= bound, "{:?}", taken);
        prop_assert_eq!(taken.live_bytes, decoder.buffered_bytes() as isize);
        if taken.result.is_err() {
            prop_assert_eq!(taken.live_bytes, 0);
        }
    }
}
