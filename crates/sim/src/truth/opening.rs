//! The account compared with a log that was opened again.
//!
//! Nothing that was committed is missing, unless an older disk was put back or the channel was
//! forgotten; what is new had an unknown fate.

use std::{
    collections::BTreeMap,
    ops::{ControlFlow, Range},
    sync::Arc,
};

use bowline_engine::{
    PageLimit, SimDisk,
    offline::{FieldValue, OfflineLog, RecordView},
};
use bowline_proto::recovery::ChannelState;
use bytes::Bytes;

use super::{Entry, Record, Truth, When};
use crate::node::Node;

/// Pages of this size are read at an opening.
const PAGE: PageLimit = PageLimit {
    count: 1_000,
    bytes: 1 << 20,
};

/// A log that was opened again.
pub(crate) struct Opening<'a> {
    pub(crate) now_ms: u64,
    pub(crate) node: &'a Node,
    pub(crate) disk: &'a SimDisk,
    /// Its disk was put back.
    pub(crate) is_older: bool,
}

impl Truth {
    /// Compares with the log as it was opened.
    pub(crate) fn reconcile(&mut self, opening: &Opening<'_>, channels: &[Arc<str>]) {
        self.rewinds += u64::from(opening.is_older);
        // What nobody has heard of was committed in an order that nothing tells.
        let commit = self.next_commit();
        // It stands in the log behind what was heard of, as long as it is that log.
        let earliest_ms = if opening.is_older { 0 } else { self.heard_ms };
        let when = When::Found(earliest_ms, opening.now_ms);
        if opening.is_older {
            // With the log went the keys by which a repetition is known.
            let live = self.live.values().flatten();
            self.cut.extend(live.map(|(data, _)| data.clone()));
        }
        for channel in channels {
            let Ok(state) = opening.node.channel(channel) else {
                self.faults.push(format!("log: {channel} can't be read"));
                continue;
            };
            match state {
                ChannelState::NoHistory => {}
                ChannelState::Absent => self.lose(channel, opening, None),
                ChannelState::Present(record) => {
                    self.lose(channel, opening, Some((record.epoch, record.head)));
                    let known = self.record(channel, record.epoch).map_or(0, Record::head);
                    if known + 1 < record.floor {
                        let unseen = known + 1..record.floor;
                        let found = on_disk(opening.disk, channel, record.epoch);
                        self.find(channel, record.epoch, unseen, &found, (commit, when));
                    }
                    self.compare(channel, opening, record.floor - 1, (commit, when));
                }
            }
        }
    }

    /// Takes back what the log has no more: of the record that it has, what is behind its head; and every
    /// later one. Of a channel that was forgotten it has none.
    fn lose(&mut self, channel: &Arc<str>, opening: &Opening<'_>, present: Option<(u64, u64)>) {
        let Some(newest) = self.newest(channel) else {
            return;
        };
        let is_forgotten = self.is_forgotten(channel, newest, opening.now_ms);
        let known = present.and_then(|(epoch, head)| {
            let mut records = self.records(channel).iter();
            let index = records.position(|record| record.epoch == epoch)?;
            Some((index + 1, head))
        });
        let (count, head) = match known {
            Some(known) => known,
            None if is_forgotten && !opening.is_older => return,
            None => (0, 0),
        };
        let records = self.records.entry(channel.clone()).or_default();
        let later = records.split_off(count).into_iter();
        let mut lost: Vec<Entry> = later.flat_map(|it| it.entries.into_values()).collect();
        if let Some(last) = records.last_mut() {
            lost.extend(last.entries.split_off(&(head + 1)).into_values());
            if opening.is_older {
                last.last_ms = 0;
            }
        } else {
            self.records.remove(channel);
        }
        if !opening.is_older && !lost.is_empty() {
            let problem = format!("log: {channel} has lost {} by a restart", lost.len());
            self.faults.push(problem);
        }
        self.cut.extend(lost.into_iter().map(|entry| entry.data));
    }

    /// Takes from the disk what was written with an unknown fate, and has expired before anyone could
    /// read it.
    fn find(
        &mut self,
        channel: &Arc<str>,
        epoch: u64,
        unseen: Range<u64>,
        found: &BTreeMap<u64, (u32, Bytes)>,
        (commit, when): (u64, When),
    ) {
        for offset in unseen {
            let Some((term, data)) = found.get(&offset) else {
                let problem = format!("log: {channel} counts {offset}, which is not on the disk");
                self.faults.push(problem);
                continue;
            };
            let entry = Entry {
                term: *term,
                data: data.clone(),
                commit,
            };
            self.put(channel, epoch, offset, entry, when);
        }
    }

    fn compare(
        &mut self,
        channel: &Arc<str>,
        opening: &Opening<'_>,
        from: u64,
        (commit, when): (u64, When),
    ) {
        let mut after = from;
        while let Ok(Some(page)) = opening.node.read(channel, after, PAGE) {
            for publication in &page.publications {
                after = publication.offset;
                let record = self.record(channel, page.epoch);
                match record.and_then(|record| record.entries.get(&after)) {
                    None => self.add(channel, page.epoch, publication, commit, when),
                    Some(known)
                        if known.term == publication.term
                            && known.data == *publication.data.bytes() => {}
                    // A write of unknown fate that only the older disk has kept.
                    Some(_) if opening.is_older => {
                        self.lose(channel, opening, Some((page.epoch, after - 1)));
                        self.add(channel, page.epoch, publication, commit, when);
                    }
                    Some(_) => {
                        let problem = format!("log: {channel} has another {after} after a restart");
                        self.faults.push(problem);
                    }
                }
            }
            if page.publications.is_empty() || after >= page.head {
                return;
            }
        }
    }
}

/// What a channel's record has on the disk, expired or not: term and payload by offset.
fn on_disk(disk: &SimDisk, channel: &str, epoch: u64) -> BTreeMap<u64, (u32, Bytes)> {
    let (mut its, mut found) = (None, BTreeMap::new());
    let looked = OfflineLog::on(Arc::new(disk.clone())).dump(|frame, records| {
        let mut term = frame.term;
        for record in records {
            let id = (number(record, "channel"), number(record, "generation"));
            let is_its_beginning = record.kind == "create"
                && text(record, "name") == Some(channel)
                && text(record, "epoch") == Some(&format!("{epoch:016x}"));
            if is_its_beginning {
                its = Some(id);
            } else if record.kind == "term" {
                // What was rewritten keeps its term.
                let kept = text(record, "term").and_then(|hex| u32::from_str_radix(hex, 16).ok());
                term = kept.unwrap_or(term);
            } else if let (Some(offset), Some(data)) = (number(record, "offset"), record.data)
                && its == Some(id)
            {
                found.insert(offset, (term, Bytes::copy_from_slice(data)));
            }
        }
        ControlFlow::Continue(())
    });
    looked.map_or_else(|_| BTreeMap::new(), |_| found)
}

fn field<'a>(record: &'a RecordView<'_>, name: &str) -> Option<&'a FieldValue> {
    let mut fields = record.fields.iter();
    fields.find_map(|(field, value)| (*field == name).then_some(value))
}

fn number(record: &RecordView<'_>, name: &str) -> Option<u64> {
    match field(record, name)? {
        FieldValue::Number(number) => Some(*number),
        _ => None,
    }
}

fn text<'a>(record: &'a RecordView<'_>, name: &str) -> Option<&'a str> {
    match field(record, name)? {
        FieldValue::Text(text) | FieldValue::Hex(text) => Some(text),
        _ => None,
    }
}
