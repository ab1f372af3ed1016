//! `bowline log` looks at logs alone.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::Stdio,
};

use super::{bowline, exit_code, run, signal};

#[test]
fn a_folder_without_a_log_is_none_that_is_good() {
    let folder = std::env::temp_dir().join(format!("bowline-no-log-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("notes.txt"), "").unwrap();
    let path = folder.to_str().unwrap();
    for action in ["verify", "dump", "stats"] {
        let told = format!("bowline: there is no log in {path}\n");
        assert_eq!(run(&["log", action, path]), (Some(1), told), "{action}");
    }
    let mut server = bowline(&["serve", "--dev", "--listen", "127.0.0.1:0"])
        .args(["--engine", "embedded", "--data-dir", path])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(server.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    signal(&server, "TERM");
    assert_eq!(exit_code(&mut server), Some(0), "{line}");
    for action in ["verify", "dump", "stats"] {
        let (code, said) = run(&["log", action, path]);
        assert_eq!(code, Some(0), "{action}: {said}");
        assert!(said.contains("good: 0 channels"), "{action}: {said}");
    }
    fs::remove_dir_all(&folder).unwrap();
}
