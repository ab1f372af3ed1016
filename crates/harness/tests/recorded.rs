//! What `harness run --proof` records of a run that could not be carried through.

use std::{fs, path::Path, process::Command};

fn git(folder: &Path, arguments: &[&str]) {
    let identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"];
    let mut git = Command::new("git");
    let ended = git.current_dir(folder).args(identity).args(arguments);
    assert!(ended.status().expect("git runs").success());
}

#[test]
fn a_server_that_ends_is_a_failed_run_and_one_that_is_not_there_is_none() {
    let folder = std::env::temp_dir().join(format!("bowline-recorded-{}", std::process::id()));
    let record = folder.join("docs/proof/x.json");
    fs::create_dir_all(record.parent().unwrap()).unwrap();
    let text = r#"{"name":"x","title":"t","command":"c","paths":["docs"],"owed":{},"runs":[]}"#;
    fs::write(&record, text).unwrap();
    fs::write(folder.join(".gitignore"), "logs").unwrap();
    git(&folder, &["init", "-q"]);
    git(&folder, &["add", "."]);
    git(&folder, &["commit", "-q", "-m", "x"]);
    let runs = [("/nowhere/bowline", "first", 0), ("false", "second", 1)];
    for (server, logs, recorded) in runs {
        let mut harness = Command::new(env!("CARGO_BIN_EXE_harness"));
        harness.args(["run", "restarts", "--short", "--driver", "true"]);
        harness.args(["--server", server, "--proof"]).arg(&record);
        harness.arg("--logs").arg(folder.join("logs").join(logs));
        assert_eq!(harness.status().unwrap().code(), Some(2), "{server}");
        let text = fs::read_to_string(&record).unwrap();
        let failed = text.matches("\"passed\": false").count();
        assert_eq!(failed, recorded, "{server}: {text}");
    }
    fs::remove_dir_all(folder).unwrap();
}
