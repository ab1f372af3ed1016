//! `bowline log` looks at logs alone.

use std::fs;

use super::{command::Server, run};

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
    let embedded = ["--dev", "--engine", "embedded", "--data-dir", path];
    let mut server = Server::start(&embedded).process;
    server.signal("TERM");
    assert_eq!(server.exit_code(), Some(0));
    for action in ["verify", "dump", "stats"] {
        let (code, said) = run(&["log", action, path]);
        assert_eq!(code, Some(0), "{action}: {said}");
        assert!(said.contains("good: 0 channels"), "{action}: {said}");
    }
    fs::remove_dir_all(&folder).unwrap();
}
