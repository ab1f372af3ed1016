//! What a rewriting leaves opens again: whatever is committed between its steps, as the threads of
//! `embedded` do, and wherever a start was interrupted before it.

use super::*;
use crate::{
    SimDisk, SimPlan,
    contract::{IdempotencyKey, Producer},
};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// One of `few:*` keeps 3 messages, and is forgotten after two days without any.
fn open(disk: &SimDisk, clock: &ManualClock, log: LogConfig) -> Result<Inline, OpenError> {
    let config = EngineConfig {
        channel_forget_after: DAY,
        ..few()
    };
    let log = LogConfig {
        segment_bytes: 4_096,
        ..log
    };
    let draw: Entropy = Box::new(|| getrandom::u64().ok());
    Inline::open(
        Arc::new(disk.clone()),
        config,
        log,
        Arc::new(clock.clone()),
        draw,
    )
}

fn trimming_at_once() -> LogConfig {
    LogConfig {
        trim_grace: Duration::ZERO,
        ..LogConfig::default()
    }
}

fn put(engine: &Inline, channel: &str, size: usize) -> Appended {
    let entry = Append {
        producer: None,
        effect: Effect::Publish {
            channel: channel.into(),
            data: Data::Binary(vec![b'x'; size].into()),
            user: None,
            tag: None,
            key: None,
        },
    };
    append_only(engine, vec![entry])[0].expect("there is room")
}

fn detail(engine: &Inline, name: &str) -> u64 {
    let details = engine.stats().details;
    let found = details.iter().find(|(found, _)| *found == name);
    found.map(|(_, count)| *count).expect("it is counted")
}

/// What is left of the channel's messages; none without a record.
fn count(engine: &Inline, channel: &str) -> Option<usize> {
    let limit = PageLimit {
        count: 1_000,
        bytes: 1 << 20,
    };
    let page = block_on(engine.read(channel, 0, limit)).expect("it answers");
    page.map(|page| page.publications.len())
}

/// Opens the log again, by reading it and, once it has hints, by these.
fn reopen(disk: &SimDisk, clock: &ManualClock, what: &str) -> Inline {
    let whole = |log| {
        open(disk, clock, log).unwrap_or_else(|error| panic!("{what}: it does not open: {error}"))
    };
    let engine = whole(trimming_at_once());
    let mut pace = |_: u64| true;
    while engine.compactor.tend(&engine.shared, &mut pace) {}
    drop(engine);
    let engine = whole(LogConfig {
        open_check_bytes: 0,
        ..trimming_at_once()
    });
    assert!(detail(&engine, "segments_hinted_at_opening") > 0, "{what}");
    engine
}

/// The channel is forgotten, or begun anew, between any two steps of the rewriting of its segments.
#[test]
fn a_channel_that_ends_while_its_segments_are_rewritten_leaves_a_log_that_opens() {
    type Ending = fn(&Inline);
    let forgotten: Ending = |engine| commit_only(engine, Work::Tick);
    let begun_anew: Ending = |engine| {
        put(engine, "few:a", 10);
    };
    for (ending, left) in [(forgotten, None), (begun_anew, Some(1))] {
        let mut steps = u64::MAX;
        let mut ends_at = 0;
        while ends_at < steps {
            let what = format!("{left:?}, step {ends_at}");
            let disk = SimDisk::new(SimPlan::default());
            let clock = ManualClock::default();
            let engine = open(&disk, &clock, trimming_at_once()).expect("it opens");
            while detail(&engine, "segments") < 4 {
                put(&engine, "few:a", 100);
            }
            // The last ones stand in a segment that is not rewritten.
            for _ in 0..3 {
                put(&engine, "few:a", 100);
            }
            clock.advance(2 * DAY + HOUR);
            steps = 0;
            let mut pace = |_: u64| {
                if steps == ends_at {
                    ending(&engine);
                }
                steps += 1;
                true
            };
            assert!(engine.compactor.round(&engine.shared, &mut pace), "{what}");
            drop(engine);
            let engine = reopen(&disk, &clock, &what);
            assert_eq!(count(&engine, "few:a"), left, "{what}");
            ends_at += 1;
        }
        assert!(steps >= 3, "{steps} steps");
    }
}

/// The channel's beginning stands in an earlier segment, which is not worth rewriting, and its end
/// in a later one.
#[test]
fn a_segment_between_a_channels_beginning_and_its_end_is_rewritten() {
    let disk = SimDisk::new(SimPlan::default());
    let clock = ManualClock::default();
    let engine = open(&disk, &clock, LogConfig::default()).expect("it opens");
    let fill = |channel, size, segments| {
        while detail(&engine, "segments") < segments {
            put(&engine, channel, size);
        }
    };
    put(&engine, "few:a", 100);
    fill("kept", 300, 2);
    fill("few:a", 100, 3);
    for _ in 0..3 {
        put(&engine, "few:a", 100);
    }
    fill("kept", 300, 4);
    drop(engine);
    clock.advance(2 * DAY + HOUR);
    // Nothing is trimmed yet, but a channel that is overdue begins anew.
    let engine = open(&disk, &clock, LogConfig::default()).expect("it opens");
    assert_eq!(
        put(&engine, "few:a", 10).position.expect("history").offset,
        1
    );
    assert!(engine.compact(1));
    assert_eq!(detail(&engine, "compactions"), 1);
    drop(engine);
    let engine = reopen(&disk, &clock, "a segment between");
    assert_eq!(count(&engine, "few:a"), Some(1));
}

/// The power goes, or the process is killed, after any change that the very first start makes.
#[test]
fn a_log_whose_first_start_was_interrupted_takes_messages_and_opens() {
    let mut frameless = 0;
    for seed in 0..16 {
        for changes in 0.. {
            let what = format!("seed {seed}, {changes} changes");
            let disk = SimDisk::new(SimPlan {
                seed,
                ..SimPlan::default()
            });
            let clock = ManualClock::default();
            let again = || {
                let opened = open(&disk, &clock, LogConfig::default());
                opened.unwrap_or_else(|error| panic!("{what}: it does not open: {error}"))
            };
            disk.die_after(changes);
            if open(&disk, &clock, LogConfig::default()).is_ok() {
                break;
            }
            if seed % 2 == 0 {
                disk.crash();
            } else {
                disk.die_after(u64::MAX);
            }
            let engine = again();
            frameless += u64::from(detail(&engine, "commits") == 0);
            engine.compact(4);
            put(&engine, "kept", 10);
            drop(engine);
            let engine = again();
            assert_eq!(count(&engine, "kept"), Some(1), "{what}");
            engine.compact(4);
            put(&engine, "kept", 10);
            drop(engine);
            assert_eq!(count(&again(), "kept"), Some(2), "{what}");
        }
    }
    assert!(frameless > 0, "none was left with a segment without frames");
}

/// A rewritten segment whose name may not last: which file a later one stands behind is not known, and
/// the next sync of the names would not tell.
#[test]
fn a_rewriting_whose_name_may_not_last_ends_the_acknowledging() {
    ends_the_acknowledging(SimPlan {
        broken_name_sync_permille: 1_000,
        ..SimPlan::default()
    });
}

/// As above: the name leads to the rewritten segment, though the disk has answered an error.
#[test]
fn a_rename_that_is_done_with_an_error_ends_the_acknowledging() {
    ends_the_acknowledging(SimPlan {
        late_rename_permille: 1_000,
        ..SimPlan::default()
    });
}

fn ends_the_acknowledging(plan: SimPlan) {
    let disk = SimDisk::new(SimPlan::default());
    let clock = ManualClock::default();
    let engine = open(&disk, &clock, trimming_at_once()).expect("it opens");
    while detail(&engine, "segments") < 3 {
        put(&engine, "few:a", 100);
    }
    disk.set_plan(plan);
    engine.compact(1);
    assert_eq!(detail(&engine, "compaction_failures"), 1);
    disk.set_plan(SimPlan::default());
    assert!(
        matches!(engine.health(), EngineHealth::Refusing(why) if why.contains("restart")),
        "{:?}",
        engine.health()
    );
    let refused = block_on(engine.append(vec![publish("few:a", "x")]));
    assert_eq!(refused, [Err(AppendError::StorageUnavailable)]);
    assert!(!engine.compact(1), "it is not tried again");
    assert_eq!(count(&engine, "few:a"), Some(3));
    drop(engine);
    disk.crash();
    let engine = open(&disk, &clock, trimming_at_once()).expect("it opens");
    assert_eq!(count(&engine, "few:a"), Some(3));
}

/// What of a log's publications outlives them ends as well: keys after their window, and the numbers of
/// sessions when a later one is stored. Nothing but these is ever to be given back here.
#[test]
fn marks_that_have_ended_are_given_back() {
    const WINDOW: Duration = Duration::from_secs(10);
    const WINDOWS: u64 = 100;
    const PER_WINDOW: u64 = 60;
    const SESSIONS: u64 = 200;
    // Several segments for the marks of one window or two, and for what is not yet rewritten.
    const BYTES_MAX: u64 = 64 << 10;
    let marked = |number: u64, is_keyed: bool| {
        let id = |number: u64| (u128::from(number) + 1).to_be_bytes();
        let mut entry = publish("few:a", "x");
        match &mut entry.effect {
            Effect::Publish { key, .. } if is_keyed => *key = Some(IdempotencyKey(id(number))),
            _ => {
                entry.producer = Some(Producer {
                    session: SessionKey(id(number % SESSIONS)),
                    seq: number + 1,
                });
            }
        }
        entry
    };
    for (is_keyed, log_bytes_max) in [(true, 1 << 30), (true, BYTES_MAX), (false, BYTES_MAX)] {
        let disk = SimDisk::new(SimPlan::default());
        let clock = ManualClock::default();
        let config = EngineConfig {
            key_window: WINDOW,
            ..few()
        };
        let log = LogConfig {
            segment_bytes: 4_096,
            log_bytes_max,
            ..trimming_at_once()
        };
        let draw: Entropy = Box::new(|| getrandom::u64().ok());
        let engine = Inline::open(
            Arc::new(disk.clone()),
            config,
            log,
            Arc::new(clock.clone()),
            draw,
        );
        let engine = engine.expect("it opens");
        for number in 0..WINDOWS * PER_WINDOW {
            clock.advance(WINDOW / PER_WINDOW as u32);
            let outcome = block_on(engine.append(vec![marked(number, is_keyed)]));
            assert!(outcome[0].is_ok(), "{outcome:?} for number {number}");
            let bytes = detail(&engine, "log_bytes");
            assert!(bytes <= BYTES_MAX, "{bytes} bytes after number {number}");
        }
        // What lasts is not written again and again.
        clock.advance(WINDOW);
        while engine.compact(1) {}
        let before = detail(&engine, "compactions");
        for _ in 0..WINDOWS {
            clock.advance(WINDOW);
            engine.compact(1);
        }
        let after = detail(&engine, "compactions");
        assert!(after - before <= 16, "{before} and then {after}");
    }
}

/// The log's last segment is rewritten, of which only an early message counts, and nothing is
/// committed behind it.
#[test]
fn a_rewriting_does_not_set_the_logs_time_back() {
    let disk = SimDisk::new(SimPlan::default());
    let clock = ManualClock::default();
    let again = || open(&disk, &clock, trimming_at_once()).expect("it opens");
    let engine = again();
    for _ in 0..10 {
        put(&engine, "few:a", 100);
    }
    clock.advance(HOUR);
    engine.close();
    let ended_s = engine.clock().now_s;
    drop(engine);
    let engine = again();
    assert!(engine.compact(1));
    assert_eq!(detail(&engine, "compactions"), 1);
    drop(engine);
    clock.set_back(DAY);
    let opened_s = again().clock().now_s;
    assert!(opened_s >= ended_s, "{opened_s} after {ended_s}");
}

/// More channels than an entry pays for have history that has expired: an idle moment, or the first
/// entry that has no room, trims all of it.
#[test]
fn a_full_log_has_room_again_once_its_history_has_expired() {
    const CHANNELS: usize = 200;
    let put = |engine: &Inline, channel: usize| {
        let mut entry = publish("", "x");
        if let Effect::Publish { channel: name, .. } = &mut entry.effect {
            *name = format!("old:{channel}").into();
        }
        append_only(engine, vec![entry])[0]
    };
    for is_idle in [true, false] {
        let disk = SimDisk::new(SimPlan::default());
        let clock = ManualClock::default();
        let log = LogConfig {
            log_bytes_max: 64 << 10,
            ..trimming_at_once()
        };
        let engine = open(&disk, &clock, log).expect("it opens");
        let full = (0..).map(|number| put(&engine, number % CHANNELS));
        let taken = full.take_while(Result::is_ok).count();
        assert!(taken > CHANNELS, "{taken}");
        clock.advance(DAY);
        if is_idle {
            commit_only(&engine, Work::Tick);
        } else {
            assert_eq!(put(&engine, 0), Err(AppendError::StorageFull));
        }
        assert_eq!(engine.stats().messages, 0);
        while engine.compact(1) {}
        put(&engine, 0).expect("there is room");
    }
}

/// The same while the log has room.
#[test]
fn an_idle_moment_trims_what_has_expired() {
    let disk = SimDisk::new(SimPlan::default());
    let clock = ManualClock::default();
    let engine = open(&disk, &clock, trimming_at_once()).expect("it opens");
    for number in 0..100 {
        put(&engine, &format!("old:{number}"), 10);
    }
    clock.advance(DAY);
    commit_only(&engine, Work::Tick);
    assert_eq!(engine.stats().messages, 0);
}

/// The first three segments are rewritten under the name of the first, and the second to the fourth
/// under that of the second: the fourth is nowhere else.
#[test]
fn a_segment_that_is_covered_in_part_is_refused_and_stays() {
    let disk = SimDisk::new(SimPlan::default());
    let clock = ManualClock::default();
    let engine = open(&disk, &clock, trimming_at_once()).expect("it opens");
    while detail(&engine, "segments") < 5 {
        put(&engine, "few:a", 100);
    }
    let files = || engine.shared.read_state().expect("sound").files.in_order();
    let rewrite = |disk: &SimDisk, originals: &[_]| {
        let mut pace = |_: u64| true;
        crate::compact::compact(disk, &engine.shared, originals, 0, 1, &mut pace)
            .expect("it is rewritten");
    };
    let (originals, other) = (files(), disk.copy(1));
    rewrite(&disk, &originals[..3]);
    rewrite(&other, &originals[1..4]);
    drop(engine);
    let second = crate::names::segment(2);
    let from = other.open(&second).expect("it is there");
    let mut bytes = vec![0; from.size().expect("a size") as usize];
    from.read_at(&mut bytes, 0).expect("it is there");
    let to = disk.create(&second).expect("its name is free");
    to.write_at(&bytes, 0).expect("room");
    disk.remove(&crate::names::segment(4)).expect("it is there");
    let report = crate::offline::OfflineLog::on(Arc::new(disk.clone())).verify();
    let damage = report.expect("it is read").damage;
    assert_eq!(damage[0].file, second);
    let refused = open(&disk, &clock, trimming_at_once()).err();
    assert!(
        matches!(&refused, Some(OpenError::Damaged { damage, .. }) if damage.file == second),
        "{refused:?}"
    );
    assert!(disk.open(&second).is_ok());
}

/// Else the opening would go on with a file that no name leads to any more.
#[test]
fn an_opening_whose_rename_is_done_with_an_error_is_refused() {
    let disk = SimDisk::new(SimPlan::default());
    let clock = ManualClock::default();
    let engine = open(&disk, &clock, trimming_at_once()).expect("it opens");
    put(&engine, "few:a", 10);
    drop(engine);
    disk.set_plan(SimPlan {
        late_rename_permille: 1_000,
        ..SimPlan::default()
    });
    let refused = open(&disk, &clock, trimming_at_once()).err();
    assert!(matches!(refused, Some(OpenError::Io { .. })), "{refused:?}");
    disk.set_plan(SimPlan::default());
    let engine = open(&disk, &clock, trimming_at_once()).expect("it opens");
    assert_eq!(count(&engine, "few:a"), Some(1));
}

/// All segments have hints, and none of them is to be read but the last.
#[test]
fn the_last_segment_is_never_opened_by_its_hint() {
    let disk = SimDisk::new(SimPlan::default());
    let clock = ManualClock::default();
    let engine = open(&disk, &clock, trimming_at_once()).expect("it opens");
    while detail(&engine, "segments") < 3 {
        put(&engine, "kept", 300);
    }
    drop(engine);
    let engine = open(&disk, &clock, trimming_at_once()).expect("it opens");
    while engine.compact(1) {}
    assert_eq!(detail(&engine, "hint_files_written"), 3);
    drop(engine);
    let log = LogConfig {
        open_check_bytes: 0,
        ..trimming_at_once()
    };
    let engine = open(&disk, &clock, log).expect("it opens");
    assert_eq!(detail(&engine, "segments"), 3);
    assert_eq!(detail(&engine, "segments_hinted_at_opening"), 2);
}
