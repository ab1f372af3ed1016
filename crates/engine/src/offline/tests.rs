//! A log looked at without a server: what is sound is shown, what is damaged is found.

use bowline_proto::Data;

use super::*;
use crate::{
    Embedded, LogConfig,
    conformance::block_on,
    contract::{Append, Effect, Engine},
    embedded::tests::Folder,
};

fn publish(text: &str) -> Append {
    Append {
        producer: None,
        effect: Effect::Publish {
            channel: "news".into(),
            data: Data::Json(text.to_owned().into()),
            user: Some("ann".into()),
            tag: None,
            key: None,
        },
    }
}

fn written() -> Folder {
    let folder = Folder::new();
    let log = LogConfig {
        segment_bytes: 4_096,
        ..LogConfig::default()
    };
    let engine = Embedded::open(&folder.0, EngineConfig::default(), log).expect("it opens");
    for number in 0..100 {
        block_on(engine.append(vec![publish(&number.to_string())]))[0].expect("there is room");
    }
    folder
}

#[test]
fn a_sound_log_is_shown_as_it_was_written() {
    let folder = written();
    let log = OfflineLog::open(&folder.0).expect("a folder");
    let (mut frames, mut texts) = (0, Vec::new());
    let report = log.dump(|frame, records| {
        frames += 1;
        assert_eq!(frame.seq, frames);
        for record in records.iter().filter(|record| record.kind == "publish") {
            let user = FieldValue::Text("ann".to_owned());
            assert!(record.fields.contains(&("user", user)));
            texts.push(String::from_utf8_lossy(record.data.expect("data")).into_owned());
        }
        ControlFlow::Continue(())
    });
    let report = report.expect("it is read");
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.channels, report.messages), (1, 100));
    assert!(report.segments.len() > 1);
    assert!(report.segments.last().is_some_and(|last| last.is_closed));
    let expected: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    assert_eq!(texts, expected);
}

#[test]
fn all_damage_is_found_and_opening_is_refused() {
    let folder = written();
    let report = OfflineLog::open(&folder.0).and_then(|log| log.verify());
    let first = report.expect("it is read").segments[0].file.clone();
    let path = folder.0.join(&first);
    let mut bytes = std::fs::read(&path).expect("a file");
    bytes[200] ^= 1;
    std::fs::write(&path, bytes).expect("a file");
    let report = OfflineLog::open(&folder.0).and_then(|log| log.verify());
    let report = report.expect("it is read");
    assert!(!report.is_sound());
    assert_eq!(report.damage[0].file, first);
    assert!((80..=200).contains(&report.damage[0].offset), "{report:?}");
    let refused = Embedded::open(&folder.0, EngineConfig::default(), LogConfig::default());
    let told = refused.err().expect("it is damaged").to_string();
    assert!(
        told.contains(&first) && told.contains("bowline log verify"),
        "{told}"
    );
}

#[test]
fn a_newer_format_is_refused_with_a_sentence() {
    let folder = written();
    let report = OfflineLog::open(&folder.0).and_then(|log| log.verify());
    let first = report.expect("it is read").segments[0].file.clone();
    let path = folder.0.join(&first);
    let mut bytes = std::fs::read(&path).expect("a file");
    bytes[8] = 2;
    std::fs::write(&path, bytes).expect("a file");
    let refused = Embedded::open(&folder.0, EngineConfig::default(), LogConfig::default());
    let told = refused.err().expect("it is newer").to_string();
    assert!(
        told.contains("format version 2") && told.contains("use a newer program"),
        "{told}"
    );
}
