//! The settings: any file and any environment is either taken whole or answered with problems, and
//! what was taken passes its own check.
#![no_main]

#[expect(dead_code, unused_imports, reason = "the command line uses the rest")]
#[path = "../../crates/cli/src"]
mod cli {
    pub(crate) mod settings;
    pub(crate) mod url;
}

use std::{fs, path::PathBuf, process};

use cli::{
    settings::{Settings, Sources, load},
    url,
};
use libfuzzer_sys::fuzz_target;

fn file() -> PathBuf {
    std::env::temp_dir().join(format!("bowline-fuzz-{}.toml", process::id()))
}

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let (file_text, environment) = text.split_once('\0').unwrap_or((text, ""));
    let environment = environment
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    let path = file();
    fs::write(&path, file_text).expect("the folder for temporary files can be written");
    let sources = Sources {
        file: Some(path.clone()),
        environment,
        ..Sources::default()
    };
    if let Ok(loaded) = load(&sources, Settings::default()) {
        assert_eq!(loaded.settings.server.check(), Ok(()));
        assert_eq!(loaded.settings.bounds.check(), Ok(()));
        assert_eq!(loaded.settings.log.check(), Ok(()));
    }
    let _ = fs::remove_file(path);
});
