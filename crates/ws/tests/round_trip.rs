//! Whatever is encoded, masked, fragmented and cut arrives as the same events, for both roles.

use bowline_ws::{
    CloseCode, CloseFrame, ControlPayload, Decoder, Event, Limits, MaskKey, MessageKind,
    ProtocolError, Role, encode_close, encode_fragment, encode_ping, encode_pong,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

const LIMITS: Limits = Limits {
    message_bytes_max: 1 << 20,
};

/// What one side sends: control frames may stand between any two frames.
#[derive(Debug, Clone)]
enum Sent {
    Text {
        text: String,
        cuts: Vec<Index>,
        between: Vec<Control>,
    },
    Binary {
        bytes: Vec<u8>,
        cuts: Vec<Index>,
        between: Vec<Control>,
    },
    Control(Control),
}

#[derive(Debug, Clone)]
enum Control {
    Ping(Vec<u8>),
    Pong(Vec<u8>),
}

fn control() -> impl Strategy<Value = Control> {
    let payload = || vec(any::<u8>(), 0..=125);
    prop_oneof![
        payload().prop_map(Control::Ping),
        payload().prop_map(Control::Pong)
    ]
}

fn sent() -> impl Strategy<Value = Sent> {
    let cuts = || vec(any::<Index>(), 0..5);
    let between = || vec(control(), 0..3);
    // Sizes on both sides of the three length forms.
    let bytes = prop_oneof![
        8 => vec(any::<u8>(), 0..300),
        1 => vec(any::<u8>(), 65_530..65_540),
    ];
    prop_oneof![
        ("\\PC{0,200}", cuts(), between()).prop_map(|(text, cuts, between)| Sent::Text {
            text,
            cuts,
            between
        }),
        (bytes, cuts(), between()).prop_map(|(bytes, cuts, between)| Sent::Binary {
            bytes,
            cuts,
            between
        }),
        control().prop_map(Sent::Control),
    ]
}

/// Draws mask keys from a seed, as a client must do from entropy.
struct Keys(Option<u32>);

impl Keys {
    fn next(&mut self) -> Option<MaskKey> {
        let state = self.0.as_mut()?;
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Some(state.to_be_bytes())
    }
}

fn put_control(control: &Control, keys: &mut Keys, wire: &mut Vec<u8>) -> Event<'static> {
    let payload = |bytes: &Vec<u8>| ControlPayload::new(bytes.clone()).expect("at most 125");
    match control {
        Control::Ping(bytes) => {
            wire.extend(encode_ping(&payload(bytes), keys.next()));
            Event::Ping(payload(bytes))
        }
        Control::Pong(bytes) => {
            wire.extend(encode_pong(&payload(bytes), keys.next()));
            Event::Pong(payload(bytes))
        }
    }
}

/// Writes a message in fragments, cut anywhere, characters included.
fn put_message(
    (kind, payload): (MessageKind, &[u8]),
    (cuts, between): (&[Index], &[Control]),
    keys: &mut Keys,
    (wire, events): (&mut Vec<u8>, &mut Vec<Event<'static>>),
) {
    let mut ends: Vec<usize> = cuts
        .iter()
        .map(|cut| cut.index(payload.len() + 1))
        .collect();
    ends.push(payload.len());
    ends.sort_unstable();
    let mut between = between.iter();
    let mut start = 0;
    for (index, &end) in ends.iter().enumerate() {
        let first = (index == 0).then_some(kind);
        let last = index + 1 == ends.len();
        wire.extend(encode_fragment(
            first,
            last,
            &payload[start..end],
            keys.next(),
        ));
        start = end;
        if !last && let Some(control) = between.next() {
            events.push(put_control(control, keys, wire));
        }
    }
}

fn put_all(sent: &[Sent], keys: &mut Keys) -> (Vec<u8>, Vec<Event<'static>>) {
    let mut wire = Vec::new();
    let mut events = Vec::new();
    for item in sent {
        let out = (&mut wire, &mut events);
        match item {
            Sent::Text {
                text,
                cuts,
                between,
            } => {
                put_message(
                    (MessageKind::Text, text.as_bytes()),
                    (cuts, between),
                    keys,
                    out,
                );
                events.push(Event::Text(text.clone().into()));
            }
            Sent::Binary {
                bytes,
                cuts,
                between,
            } => {
                put_message((MessageKind::Binary, bytes), (cuts, between), keys, out);
                events.push(Event::Binary(bytes.clone().into()));
            }
            Sent::Control(control) => events.push(put_control(control, keys, &mut wire)),
        }
    }
    let close = CloseFrame::new(CloseCode::GOING_AWAY, "Ende ✓");
    wire.extend(encode_close(Some(&close), keys.next()));
    events.push(Event::Close(Some(close)));
    (wire, events)
}

/// Decodes `wire` in reads whose lengths are taken from `reads` in turn.
fn decode(role: Role, wire: &[u8], reads: &[usize]) -> Result<Vec<Event<'static>>, ProtocolError> {
    let mut decoder = Decoder::new(role, LIMITS);
    let mut events = Vec::new();
    let mut rest = wire;
    for &read in reads.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at(read.min(rest.len()));
        rest = later;
        let mut bytes = now.to_vec();
        let mut input = bytes.as_mut_slice();
        while let Some(event) = decoder.decode(&mut input)? {
            events.push(event.into_owned());
        }
        assert!(input.is_empty());
    }
    assert_eq!(decoder.buffered_bytes(), 0);
    Ok(events)
}

proptest! {
    #[test]
    fn what_is_encoded_arrives(
        sent in vec(sent(), 0..8),
        reads in vec(1_usize..2000, 1..10),
        key_seed in any::<u32>(),
    ) {
        for (role, seed) in [(Role::Server, Some(key_seed)), (Role::Client, None)] {
            let (wire, expected) = put_all(&sent, &mut Keys(seed));
            prop_assert_eq!(&decode(role, &wire, &[wire.len()])?, &expected);
            prop_assert_eq!(&decode(role, &wire, &reads)?, &expected);
        }
    }
}

#[test]
fn every_single_cut_and_every_fixed_read_length_agree() {
    let sent = [
        Sent::Text {
            text: "a€😀".repeat(20),
            cuts: vec![],
            between: vec![],
        },
        Sent::Control(Control::Ping(vec![1; 125])),
        Sent::Binary {
            bytes: vec![9; 300],
            cuts: vec![],
            between: vec![],
        },
        Sent::Text {
            text: String::new(),
            cuts: vec![],
            between: vec![],
        },
    ];
    for (role, seed) in [(Role::Server, Some(7)), (Role::Client, None)] {
        let (wire, expected) = put_all(&sent, &mut Keys(seed));
        for length in 1..wire.len() {
            assert_eq!(
                decode(role, &wire, &[length]).unwrap(),
                expected,
                "reads of {length}"
            );
            let cut = [length, wire.len()];
            assert_eq!(
                decode(role, &wire, &cut).unwrap(),
                expected,
                "cut at {length}"
            );
        }
    }
}
