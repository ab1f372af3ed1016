//! What permessage-deflate costs and gains on this machine, by length of message:
//! `cargo run --release -p bowline-ws --example deflate_cost`.
//!
//! The messages are JSON as an application might send it. Times are the least of several rounds, on
//! one thread, with a state that was used before.

use std::time::{Duration, Instant};

use bowline_ws::{Decoder, Deflater, Inflater, Limits, MessageKind, Role, encode_message};

use agreed::agreed;

#[path = "../tests/support/agreed.rs"]
mod agreed;

const ROUNDS: u32 = 40;
const MESSAGE_BYTES: [usize; 8] = [128, 256, 512, 1_024, 2_048, 4_096, 16_384, 65_536];

#[expect(
    clippy::disallowed_methods,
    reason = "the codec has no clock, but this measures it from outside"
)]
fn least(mut work: impl FnMut()) -> Duration {
    let mut least = Duration::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..20 {
            work();
        }
        least = least.min(start.elapsed() / 20);
    }
    least
}

fn main() {
    println!("bytes  compressed  compress us  frame as it is us  inflate us");
    let extensions = agreed("permessage-deflate");
    let (mut deflater, mut inflater) = (Deflater::new(), Inflater::new());
    for bytes in MESSAGE_BYTES {
        let message = message(bytes);
        let frame = deflater
            .encode_message(MessageKind::Text, &message, None)
            .expect("JSON gets shorter");
        let compress = least(|| {
            drop(deflater.encode_message(MessageKind::Text, &message, None));
        });
        let plain = least(|| drop(encode_message(MessageKind::Text, &message, None)));
        let mut received = frame.to_vec();
        let limits = Limits {
            message_bytes_max: bytes,
        };
        let mut decoder = Decoder::new(Role::Client, limits).with_extensions(extensions);
        let inflate = least(|| {
            let decoded = decoder.decode_with(&mut received.as_mut_slice(), &mut inflater);
            assert!(matches!(decoded, Ok(Some(_))));
        });
        let micros = |duration: Duration| duration.as_nanos() as f64 / 1_000.0;
        println!(
            "{bytes:>5}  {:>4} ({:>2} %)  {:>11.1}  {:>17.2}  {:>10.1}",
            frame.len(),
            frame.len() * 100 / bytes,
            micros(compress),
            micros(plain),
            micros(inflate),
        );
    }
}

/// JSON of this length whose values vary and whose names repeat.
fn message(bytes: usize) -> Vec<u8> {
    let mut state = 12_345_u64;
    let mut text = String::from("[");
    while text.len() < bytes {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!(
            "{{\"id\":{},\"user\":\"u{}\",\"price\":{}.{},\"text\":\"the quick brown fox {}\"}},",
            state >> 50,
            state >> 58,
            state >> 54,
            state >> 60,
            state >> 40,
        ));
    }
    text.truncate(bytes);
    text.into_bytes()
}
