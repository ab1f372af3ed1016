//! Records come back as they were written, and anything is read without a panic.

use proptest::prelude::*;

use super::*;

fn ids() -> impl Strategy<Value = ChannelId> {
    (any::<u32>(), any::<u32>()).prop_map(|(slot, generation)| ChannelId { slot, generation })
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..40)
}

proptest! {
    #[test]
    fn publications_come_back_whole_and_alone(
        id in ids(),
        offset in 0..u64::MAX,
        back in proptest::option::of(0..100_u64),
        is_binary: bool,
        data in bytes(),
        user in proptest::option::of(bytes()),
        tag in proptest::option::of(bytes()),
        session in proptest::option::of((any::<[u8; 16]>(), any::<u64>())),
        key in proptest::option::of((any::<[u8; 16]>(), any::<u64>())),
    ) {
        let record = Record::Publish(Publish {
            id,
            offset,
            floor: back.map(|back| offset.saturating_sub(back)),
            is_binary,
            data: &data,
            user: user.as_deref(),
            tag: tag.as_deref(),
            session: session.map(|(session, seq)| (SessionKey(session), seq)),
            key,
        });
        let mut out = Vec::new();
        record.encode(&mut out);
        let mut cursor = Cursor(&out);
        prop_assert_eq!(Record::decode(&mut cursor), Some(record));
        prop_assert!(cursor.0.is_empty());
        prop_assert_eq!(Publish::decode_alone(&out).map(Record::Publish), Some(record));
        for bit in 0..out.len() * 8 {
            let mut flipped = out.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Publish::decode_alone(&flipped), None);
        }
    }

    #[test]
    fn the_others_come_back(id in ids(), epoch: u64, number: u64, term: u32, name in bytes(), raw: [u8; 16]) {
        let session = SessionKey(raw);
        let position = Some(KeyPosition { epoch, offset: number, term });
        for record in [
            Record::Create { id, epoch, name: &name },
            Record::Advance { session, seq: number },
            Record::EndSession { session },
            Record::Floor { id, floor: number },
            Record::Forget { id },
            Record::Gone { id, last: number, term },
            Record::Key { key: raw, body: epoch, position },
            Record::Key { key: raw, body: epoch, position: None },
            Record::Time { time_ms: number },
            Record::Term { term },
            Record::Close,
            Record::End,
        ] {
            let mut out = Vec::new();
            record.encode(&mut out);
            let mut cursor = Cursor(&out);
            prop_assert_eq!(Record::decode(&mut cursor), Some(record));
            prop_assert!(cursor.0.is_empty());
            for length in 0..out.len() {
                prop_assert_eq!(Record::decode(&mut Cursor(&out[..length])), None);
            }
        }
    }

    #[test]
    fn anything_is_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut cursor = Cursor(&bytes);
        while Record::decode(&mut cursor).is_some() {}
        Publish::decode_alone(&bytes);
    }
}
