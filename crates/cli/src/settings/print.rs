//! `config print`: every setting with its value and source, as a file that can be used again.
//!
//! Owns the look. Secrets are never printed.

use std::fmt::Write as _;

use toml::Value;

use super::{
    Loaded, Source,
    slot::{Shown, show_span},
    table::SETTINGS,
};

/// The text; `loaded` is only read, though its slots are reached through `&mut`.
pub(crate) fn print(loaded: &mut Loaded) -> String {
    let mut text = String::new();
    let mut section = "";
    for setting in SETTINGS {
        if setting.section != section {
            let space = if section.is_empty() { "" } else { "\n" };
            section = setting.section;
            line(&mut text, format_args!("{space}[{section}]"));
        }
        let source = loaded
            .origins
            .get(&setting.key())
            .unwrap_or(&Source::Default);
        let (name, variable) = (setting.name, setting.variable());
        match (setting.slot)(&mut loaded.settings).show() {
            Shown::Value(value) => line(
                &mut text,
                format_args!("{name} = {value}  # {source}; {variable}"),
            ),
            Shown::Secrets(count) => line(
                &mut text,
                format_args!("# {name}: {count}, not shown; {source}; {variable}"),
            ),
            Shown::Unset => line(&mut text, format_args!("# {name} is not set; {variable}")),
        }
    }
    print_lists(&mut text, loaded);
    text
}

fn print_lists(text: &mut String, loaded: &Loaded) {
    for grant in &loaded.settings.anonymous {
        let names = grant.operations.iter().map(|operation| operation.as_str());
        let allow = Value::from(names.collect::<Vec<_>>());
        let channels = Value::from(grant.pattern.as_str());
        line(
            text,
            format_args!("\n[[access.anonymous]]\nchannels = {channels}\nallow = {allow}"),
        );
    }
    for policy in &loaded.settings.bounds.policies {
        let pattern = Value::from(policy.pattern.as_str());
        line(text, format_args!("\n[[channels]]\npattern = {pattern}"));
        match policy.history {
            None => line(text, format_args!("history = false")),
            Some(kept) => line(
                text,
                format_args!(
                    "history_count = {}\nhistory_bytes = {}\nhistory_age = {}",
                    kept.messages,
                    kept.bytes,
                    show_span(kept.age)
                ),
            ),
        }
    }
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    writeln!(text, "{arguments}").expect("writing to a String never fails");
}
