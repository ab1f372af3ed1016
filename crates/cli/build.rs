//! Tells the binary which commit it was built from, where that is known.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=BOWLINE_COMMIT");
    // A checkout moves HEAD, a commit writes its log; neither exists in a source archive.
    for file in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", file]) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    let commit = std::env::var("BOWLINE_COMMIT")
        .ok()
        .or_else(|| git(&["rev-parse", "--short=12", "HEAD"]))
        .unwrap_or_else(|| "unknown commit".to_owned());
    // Under `cargo run` the program finds it in its environment, where `BOWLINE_…` would be a setting.
    println!("cargo:rustc-env=BUILT_FROM={commit}");
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}
