//! Each checker passes a clean log and fails on the fault that is its own.

use super::*;
use crate::{log::Track, rng::Rng};

const CLIENTS: usize = 4;
const HTTP: u64 = 20;
const SEEDS: u64 = 50;

/// Four clients on two channels: HTTP publications, two upstream messages of each client, one
/// broken link with recovery, one explicit gap.
fn clean() -> Vec<String> {
    let mut lines = Vec::new();
    let mut log = vec![Vec::new(); 2];
    for (channel, entries) in log.iter_mut().enumerate() {
        for number in 1..=HTTP {
            entries.push(format!("p-{channel}-{number}"));
            if number % 10 == 0 {
                entries.extend((0..CLIENTS).map(|client| format!("u-{channel}-{client}-{number}")));
            }
        }
        for (index, m) in entries.iter().enumerate() {
            let offset = index + 1;
            let line = match m.strip_prefix("u-").map(|rest| rest.split('-').nth(1)) {
                Some(client) => format!(
                    r#"{{"record":"upstream","client":"c{}","m":"{m}","channel":"ch{channel}","pad_len":0}}"#,
                    client.unwrap()
                ),
                None => format!(
                    r#"{{"record":"published","m":"{m}","channel":"ch{channel}","outcome":"acked",
                    "position":"e{channel}.{offset}.t","duplicate":false,"attempts":1,"pad_len":3}}"#
                ),
            };
            lines.push(line);
        }
    }
    for client in 0..CLIENTS {
        lines.push(format!(
            r#"{{"event":"started","client":"c{client}","t_us":1}}"#
        ));
        for (channel, entries) in log.iter().enumerate() {
            lines.push(format!(
                r#"{{"record":"expect","client":"c{client}","channel":"ch{channel}"}}"#
            ));
            watch(&mut lines, client, channel, entries);
        }
    }
    lines
}

fn watch(lines: &mut Vec<String>, client: usize, channel: usize, entries: &[String]) {
    let subscribed = |position: &str, recovered: bool, reason: &str| {
        format!(
            r#"{{"event":"subscribed","client":"c{client}","channel":"ch{channel}",
            "position":"{position}","recovered":{recovered},"reason":{reason}}}"#
        )
    };
    // The channels don't exist yet: the position is the engine's.
    lines.push(subscribed("absent.0.123", true, r#""new""#));
    for (index, m) in entries.iter().enumerate() {
        let offset = index + 1;
        match (client, offset) {
            (1, 8) => lines.push(subscribed(&format!("e{channel}.7.t"), true, "null")),
            (2, 5..12) => continue,
            (2, 12) => {
                lines.push(subscribed(
                    &format!("e{channel}.11.t"),
                    false,
                    r#""expired""#,
                ));
            }
            _ => {}
        }
        let pad_len = if m.starts_with('p') { 3 } else { 0 };
        lines.push(format!(
            r#"{{"event":"delivered","client":"c{client}","channel":"ch{channel}","t_us":{offset},
            "position":"e{channel}.{offset}.t","m":"{m}","pad_len":{pad_len}}}"#
        ));
        if m.starts_with(&format!("u-{channel}-{client}-")) {
            lines.push(format!(
                r#"{{"event":"acked","client":"c{client}","m":"{m}"}}"#
            ));
        }
    }
}

fn read(lines: &[String]) -> History {
    let mut history = History::default();
    // The ledger is read first.
    let (ledger, events): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line.contains("record"));
    for line in ledger {
        history.take_record(line).unwrap();
    }
    for line in events {
        history.take_event(line).unwrap();
    }
    history
}

fn failing(history: &History) -> Vec<&'static str> {
    CHECKERS
        .iter()
        .filter(|checker| {
            let findings = (checker.check)(history);
            assert_eq!(findings.total > 0, !findings.samples.is_empty());
            findings.total > 0
        })
        .map(|checker| checker.name)
        .collect()
}

/// Replaces the one line that contains all of these; none removes it.
fn edit(lines: &mut Vec<String>, parts: &[&str], replacement: Option<(&str, &str)>) {
    let hits: Vec<usize> = (0..lines.len())
        .filter(|index| parts.iter().all(|part| lines[*index].contains(part)))
        .collect();
    assert_eq!(hits.len(), 1, "{parts:?} is in {} lines", hits.len());
    match replacement {
        Some((from, to)) => lines[hits[0]] = lines[hits[0]].replace(from, to),
        None => {
            lines.remove(hits[0]);
        }
    }
}

#[test]
fn a_clean_log_passes_and_is_counted() {
    let history = read(&clean());
    assert_eq!(failing(&history), Vec::<&str>::new());
    let totals = totals(&history);
    assert_eq!(totals.deliveries, 2 * (28 * 4 - 7));
    assert_eq!((totals.recovered, totals.explicit_gaps), (2, 2));
    assert_eq!((totals.published, totals.upstream_acked), (40, 16));
}

#[test]
fn every_plant_is_seen_by_its_checker_wherever_it_is() {
    let mut history = read(&clean());
    for seed in 0..SEEDS {
        for kind in Plant::ALL {
            let mut rng = Rng::new(seed);
            let (index, before): (usize, Track) = plant(&mut history, kind, &mut rng).unwrap();
            let seen = failing(&history);
            assert!(
                seen.contains(&kind.checker()),
                "seed {seed}, {kind:?}: {seen:?}"
            );
            history.tracks[index] = before;
        }
    }
    assert_eq!(failing(&history), Vec::<&str>::new());
}

#[test]
fn a_dropped_tail_is_a_loss_and_nothing_else() {
    let mut lines = clean();
    edit(
        &mut lines,
        &["delivered", "\"c3\"", "\"ch0\"", "e0.28.t"],
        None,
    );
    assert_eq!(failing(&read(&lines)), ["no loss"]);
}

#[test]
fn two_messages_at_one_place_are_two_orders() {
    let mut lines = clean();
    // Both change places in the eyes of one client, whose offsets still rise.
    edit(
        &mut lines,
        &["delivered", "\"c3\"", "\"p-0-3\""],
        Some(("p-0-3", "p-0-x")),
    );
    edit(
        &mut lines,
        &["delivered", "\"c3\"", "\"p-0-4\""],
        Some(("p-0-4", "p-0-3")),
    );
    edit(
        &mut lines,
        &["delivered", "\"c3\"", "\"p-0-x\""],
        Some(("p-0-x", "p-0-4")),
    );
    assert!(failing(&read(&lines)).contains(&"one order"));
}

#[test]
fn a_subscription_that_never_came_is_a_loss() {
    let mut lines = clean();
    lines.retain(|line| !(line.contains("event") && line.contains("\"c0\",\"channel\":\"ch1\"")));
    assert!(failing(&read(&lines)).contains(&"no loss"));
}

#[test]
fn an_acked_message_that_nobody_got_is_a_loss_even_without_a_position() {
    let mut lines = clean();
    lines.push(
        r#"{"record":"upstream","client":"c0","m":"u-x","channel":"ch0","pad_len":0}"#.into(),
    );
    lines.push(r#"{"event":"acked","client":"c0","m":"u-x"}"#.into());
    assert_eq!(failing(&read(&lines)), ["no loss"]);
}

#[test]
fn a_gap_excuses_its_range_only() {
    let mut lines = clean();
    // The gap of c2 says 11 and goes on at 12; one more offset is missing without a word.
    edit(
        &mut lines,
        &["delivered", "\"c2\"", "\"ch0\"", "e0.12.t"],
        None,
    );
    assert_eq!(failing(&read(&lines)), ["no loss", "no silent gap"]);
    let mut lines = clean();
    edit(
        &mut lines,
        &["delivered", "\"c2\"", "\"ch0\"", "e0.4.t"],
        None,
    );
    assert_eq!(
        failing(&read(&lines)),
        Vec::<&str>::new(),
        "it lies within the gap"
    );
}

#[test]
fn recovered_true_over_missing_messages_is_a_silent_gap() {
    let mut lines = clean();
    edit(
        &mut lines,
        &["subscribed", "\"c2\"", "\"ch0\"", "e0.11.t"],
        Some(("false", "true")),
    );
    assert!(failing(&read(&lines)).contains(&"no silent gap"));
}

#[test]
fn another_epoch_without_a_word_is_a_silent_gap() {
    let mut lines = clean();
    for line in lines.iter_mut().filter(|line| line.contains("\"c3\"")) {
        for offset in 20..=28 {
            *line = line.replace(&format!("e0.{offset}.t"), &format!("other.{offset}.t"));
        }
    }
    assert!(failing(&read(&lines)).contains(&"no silent gap"));
}

/// After its kill the server begins anew: c3 gets a repeated message there as the first of an epoch.
fn another_life(lines: &mut Vec<String>, told: bool) {
    if told {
        lines.push(
            r#"{"event":"subscribed","client":"c3","channel":"ch0",
            "position":"absent.0.124","recovered":false,"reason":"unknown_epoch"}"#
                .into(),
        );
    }
    lines.push(
        r#"{"event":"delivered","client":"c3","channel":"ch0","t_us":1,
        "position":"next.1.t","m":"p-0-3","pad_len":3}"#
            .into(),
    );
}

#[test]
fn a_killed_server_may_store_a_message_again_in_its_next_life_and_says_that_it_is_another() {
    let killed = || {
        let mut lines = clean();
        lines.push(r#"{"record":"killed"}"#.into());
        lines
    };
    // Those who come back after the end have nothing to show for the new epoch.
    let others = |lines: &mut Vec<String>| {
        lines.retain(|line| !(line.contains("expect") && line.contains("\"ch0\"")));
    };
    let mut lines = killed();
    another_life(&mut lines, true);
    others(&mut lines);
    assert_eq!(failing(&read(&lines)), Vec::<&str>::new());
    let mut lines = killed();
    another_life(&mut lines, false);
    others(&mut lines);
    assert_eq!(failing(&read(&lines)), ["no silent gap"]);
    // Twice in one life is twice, killed or not; and without a kill nothing excuses a second place.
    let mut lines = killed();
    another_life(&mut lines, true);
    another_life(&mut lines, false);
    others(&mut lines);
    assert_eq!(failing(&read(&lines)), ["no double", "one order"]);
    let mut lines = clean();
    another_life(&mut lines, true);
    others(&mut lines);
    assert_eq!(failing(&read(&lines)), ["no double"]);
}

#[test]
fn refused_and_unanswered_messages_are_seen() {
    let ack = ["acked", "\"u-0-1-10\""];
    let mut lines = clean();
    edit(&mut lines, &ack, None);
    assert_eq!(failing(&read(&lines)), ["upstream once"]);
    let refused = r#"dropped","fate":"refused","reason":"forbidden"#;
    let mut lines = clean();
    edit(&mut lines, &ack, Some(("acked", refused)));
    assert_eq!(failing(&read(&lines)), ["upstream once"]);
    let mut lines = clean();
    edit(
        &mut lines,
        &ack,
        Some(("acked", &refused.replace("refused", "unknown"))),
    );
    assert_eq!(
        failing(&read(&lines)),
        Vec::<&str>::new(),
        "an unknown fate may appear once"
    );
    let mut lines = clean();
    edit(
        &mut lines,
        &["published", "\"p-0-2\""],
        Some(("\"acked", "\"refused")),
    );
    assert_eq!(failing(&read(&lines)), ["upstream once"]);
}

#[test]
fn a_session_out_of_order_is_seen() {
    let mut lines = clean();
    // The commands of c1 to ch0 were given the other way round.
    edit(
        &mut lines,
        &["\"upstream\"", "u-0-1-10"],
        Some(("u-0-1-10", "u-0-1-xx")),
    );
    edit(
        &mut lines,
        &["\"upstream\"", "u-0-1-20"],
        Some(("u-0-1-20", "u-0-1-10")),
    );
    edit(
        &mut lines,
        &["\"upstream\"", "u-0-1-xx"],
        Some(("u-0-1-xx", "u-0-1-20")),
    );
    assert_eq!(failing(&read(&lines)), ["upstream once"]);
}

#[test]
fn a_publish_that_took_effect_twice_is_seen() {
    let mut lines = clean();
    for line in lines
        .iter_mut()
        .filter(|line| line.contains("delivered") && line.contains("e0.27.t"))
    {
        *line = line.replace("u-0-2-20", "u-0-1-10");
    }
    let seen = failing(&read(&lines));
    assert!(
        seen.contains(&"upstream once") && seen.contains(&"no double"),
        "{seen:?}"
    );
}

#[test]
fn what_nobody_published_or_what_came_damaged_is_not_authentic() {
    let mut lines = clean();
    edit(&mut lines, &["published", "\"p-0-3\""], None);
    assert_eq!(failing(&read(&lines)), ["authentic"]);
    let mut lines = clean();
    edit(
        &mut lines,
        &["delivered", "\"c0\"", "\"p-0-3\""],
        Some((r#"pad_len":3"#, r#"pad_len":2"#)),
    );
    assert_eq!(failing(&read(&lines)), ["authentic"]);
}

#[test]
fn lines_that_break_the_contract_are_refused() {
    let mut history = History::default();
    for line in [
        "not json",
        r#"{"event":"delivered","client":"c","channel":"ch","position":"1.2","m":"p"}"#,
        r#"{"event":"delivered","client":"c","channel":"ch"}"#,
        r#"{"event":"subscribed","client":"c","channel":"ch"}"#,
        r#"{"event":"dropped","client":"c","m":"u","fate":"maybe"}"#,
        r#"{"event":"error","code":"bad_command"}"#,
    ] {
        assert!(history.take_event(line).is_err(), "{line}");
    }
    history
        .take_event(r#"{"event":"closed","client":"c","code":1006}"#)
        .unwrap();
    history
        .take_event(r#"{"event":"of a later version"}"#)
        .unwrap();
}
