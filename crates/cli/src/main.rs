//! The command `bowline`: serve, publish, tail, mint a token, and look at the configuration or at a log.
//!
//! Owns the exit codes. Must not know how anything is done: each command has a module of its own.
#![forbid(unsafe_code)]

mod args;
mod log;
mod logging;
mod output;
mod publish;
mod serve;
mod settings;
mod tail;
mod token;
mod url;

use std::{fmt::Display, process::ExitCode};

use clap::Parser;

use args::{Cli, Command, ConfigAction, SettingsArgs};
use settings::{Loaded, Settings, load};

/// Something failed while it ran.
const FAILED: u8 = 1;
/// The command or the configuration can't be used (clap's own code for the former).
const USAGE: u8 = 2;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(arguments) => with_settings(&arguments, serve),
        Command::Publish(arguments) => or_blame(
            publish::publish(&arguments),
            publish::PublishError::is_usage,
        ),
        Command::Tail(arguments) => match tail::tail(&arguments) {
            // Whoever has read enough wants to hear no more.
            Err(tail::TailError::Unread) => ExitCode::from(FAILED),
            ended => or_blame(ended, tail::TailError::is_usage),
        },
        Command::Token(arguments) => with_settings(&arguments.settings, |loaded| {
            let minted = token::token(&arguments, &loaded.settings);
            or_blame(minted, token::TokenError::is_usage)
        }),
        Command::Log { action } => or_report(log::log(&action), FAILED),
        Command::Config { action } => match action {
            ConfigAction::Check(arguments) => with_settings(&arguments, |loaded| {
                warn(&loaded);
                or_report(output::print("The configuration is good.\n"), FAILED)
            }),
            ConfigAction::Print(arguments) => with_settings(&arguments, |mut loaded| {
                warn(&loaded);
                or_report(output::print(&settings::print(&mut loaded)), FAILED)
            }),
        },
    }
}

fn serve(loaded: Loaded) -> ExitCode {
    let log = match logging::start(&loaded.settings) {
        Ok(log) => log,
        Err(error) => return report(&format!("the log can't be written: {error}"), FAILED),
    };
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    match serve::serve(loaded.settings, &log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log.say(&format!("bowline: {error}"));
            ExitCode::from(FAILED)
        }
    }
}

fn with_settings(arguments: &SettingsArgs, then: impl FnOnce(Loaded) -> ExitCode) -> ExitCode {
    match load(&arguments.sources(), Settings::default()) {
        Ok(loaded) => then(loaded),
        Err(problems) => {
            for problem in &problems {
                output::say(problem);
            }
            let count = problems.len();
            output::say(format_args!(
                "{count} problem(s) in the configuration; nothing was started"
            ));
            ExitCode::from(USAGE)
        }
    }
}

fn warn(loaded: &Loaded) {
    for warning in &loaded.warnings {
        output::say(format_args!("warning: {warning}"));
    }
}

fn or_report(result: Result<(), impl Display>, code: u8) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error, code),
    }
}

/// By whose fault it failed decides the code.
fn or_blame<E: Display>(result: Result<(), E>, is_usage: fn(&E) -> bool) -> ExitCode {
    let code = match &result {
        Err(error) if is_usage(error) => USAGE,
        _ => FAILED,
    };
    or_report(result, code)
}

fn report(error: &impl Display, code: u8) -> ExitCode {
    output::say(error);
    ExitCode::from(code)
}
