//! The lists of tables: `[[channels]]` and `[[access.anonymous]]`.
//!
//! Owns their keys. Must not know which channels exist.

use bowline::{Grant, Operation};
use bowline_engine::{ChannelPolicy, Retention};
use toml::{Table, Value};

use super::{
    Loading, Source, nearest,
    slot::{Raw, Slot},
};

const CHANNEL_KEYS: [&str; 5] = [
    "pattern",
    "history",
    "history_count",
    "history_bytes",
    "history_age",
];
const GRANT_KEYS: [&str; 2] = ["channels", "allow"];

impl Loading {
    pub(super) fn read_channels(&mut self, entries: Vec<Value>, source: &Source) {
        self.origins.insert("channels".to_owned(), source.clone());
        for (index, entry) in entries.into_iter().enumerate() {
            let at = format!("channels[{index}]");
            let Some(mut entry) = self.entry(&at, entry, &CHANNEL_KEYS, source) else {
                continue;
            };
            let mut retention = Retention::default();
            let mut kept = true;
            let set = |slot: Slot<'_>, value: Option<Value>| match value.map(Raw::from_toml) {
                None => Ok(false),
                Some(Some(raw)) => {
                    let written = raw.show();
                    let set = slot.set(raw).map(|()| true);
                    set.map_err(|problem| format!("{problem}; {written}"))
                }
                Some(None) => Err("takes one value".to_owned()),
            };
            let mut messages = u64::from(retention.messages);
            let mut bounds = Vec::new();
            for (key, slot) in [
                ("history", Slot::Flag(&mut kept)),
                ("history_count", Slot::Amount(&mut messages)),
                ("history_bytes", Slot::Total(&mut retention.bytes)),
                ("history_age", Slot::Span(&mut retention.age)),
            ] {
                match set(slot, entry.remove(key)) {
                    Ok(true) if key != "history" => bounds.push(key),
                    Ok(_) => {}
                    Err(problem) => self.problem(&format!("{at}.{key}"), source, &problem),
                }
            }
            match u32::try_from(messages) {
                Ok(count) => retention.messages = count,
                Err(_) => self.problem(&format!("{at}.history_count"), source, "is too large"),
            }
            if let (false, Some(key)) = (kept, bounds.first()) {
                let problem = format!("means nothing beside {key}; leave one of them out");
                self.problem(&format!("{at}.history"), source, &problem);
            }
            let pattern = self.text(&at, "pattern", entry.remove("pattern"), source);
            if let Some(pattern) = &pattern {
                self.check_unique(&at, pattern, source);
            }
            self.settings.bounds.policies.push(ChannelPolicy {
                pattern: pattern.unwrap_or_else(|| "?".to_owned()),
                history: kept.then_some(retention),
            });
        }
    }

    /// The first table with a pattern decides: another one would mean nothing.
    fn check_unique(&mut self, at: &str, pattern: &str, source: &Source) {
        let mut policies = self.settings.bounds.policies.iter();
        if let Some(first) = policies.position(|policy| policy.pattern == pattern) {
            let problem =
                format!("is that of channels[{first}], which decides; leave one of them out");
            self.problem(&format!("{at}.pattern"), source, &problem);
        }
    }

    pub(super) fn read_grants(&mut self, entries: Vec<Value>, source: &Source) {
        self.origins
            .insert("access.anonymous".to_owned(), source.clone());
        for (index, entry) in entries.into_iter().enumerate() {
            let at = format!("access.anonymous[{index}]");
            let Some(mut entry) = self.entry(&at, entry, &GRANT_KEYS, source) else {
                continue;
            };
            let mut operations = Vec::new();
            for name in match entry.remove("allow").map(Raw::from_toml) {
                Some(Some(Raw::List(names))) => names,
                Some(Some(Raw::One(name))) => vec![name],
                _ => Vec::new(),
            } {
                match Operation::ALL
                    .into_iter()
                    .find(|operation| operation.as_str() == name)
                {
                    Some(operation) => operations.push(operation),
                    None => self.problem(
                        &format!("{at}.allow"),
                        source,
                        "takes subscribe, publish, history and presence",
                    ),
                }
            }
            if operations.is_empty() {
                self.problem(&format!("{at}.allow"), source, "grants nothing");
            }
            if let Some(pattern) = self.text(&at, "channels", entry.remove("channels"), source) {
                if !is_pattern(&pattern) {
                    let problem = "must be a channel name, or its beginning followed by one *";
                    self.problem(&format!("{at}.channels"), source, problem);
                }
                self.settings.anonymous.push(Grant {
                    pattern,
                    operations,
                });
            }
        }
    }

    /// The entry as a table whose keys are all known.
    fn entry(
        &mut self,
        at: &str,
        entry: Value,
        keys: &[&'static str],
        source: &Source,
    ) -> Option<Table> {
        let Value::Table(entry) = entry else {
            let list = at.split_once('[').map_or(at, |(list, _)| list);
            self.problem(at, source, &format!("must be a table: [[{list}]]"));
            return None;
        };
        for key in entry.keys().filter(|key| !keys.contains(&key.as_str())) {
            let problem = match nearest::nearest(key, keys.iter().copied()) {
                Some(near) => format!("no such key; did you mean {near}?"),
                None => format!("no such key; there are {}", keys.join(", ")),
            };
            self.problem(&format!("{at}.{key}"), source, &problem);
        }
        Some(entry)
    }

    fn text(
        &mut self,
        at: &str,
        key: &str,
        value: Option<Value>,
        source: &Source,
    ) -> Option<String> {
        match value {
            Some(Value::String(text)) => Some(text),
            _ => {
                let problem = "is needed: a channel name, or its beginning followed by *";
                self.problem(&format!("{at}.{key}"), source, problem);
                None
            }
        }
    }
}

/// A channel's name, or the beginning of one followed by `*`.
pub(crate) fn is_pattern(text: &str) -> bool {
    let name = text.strip_suffix('*').unwrap_or(text);
    !text.is_empty() && !name.contains('*')
}
