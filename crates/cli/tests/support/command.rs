//! The binary as a process: started, told, and waited for.

use std::{
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

/// Nothing here takes so long to end.
const EXIT_DEADLINE: Duration = Duration::from_secs(20);

pub(crate) fn bowline(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bowline"));
    command.args(arguments);
    // The machine's own variables must not decide.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("BOWLINE_") || name.starts_with("WEBSOCKET_") {
            command.env_remove(name);
        }
    }
    // Nor may the tests leave data where they run.
    command.env("BOWLINE_ENGINE_KIND", "memory");
    command
}

pub(crate) fn signal(child: &Child, name: &str) {
    let id = child.id().to_string();
    let sent = Command::new("kill").args(["-s", name, &id]).status();
    assert!(sent.unwrap().success());
}

pub(crate) fn exit_code(child: &mut Child) -> Option<i32> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        assert!(begun.elapsed() < EXIT_DEADLINE, "it did not end");
        thread::yield_now();
    }
}
