//! Holds the invariants of ARCHITECTURE.md: who may import whom, read from the manifests.

use std::{collections::BTreeSet, path::Path};

/// Our own packages that a crate's manifest names in this section.
fn imports(krate: &str, section: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(krate)
        .join("Cargo.toml");
    let manifest = std::fs::read_to_string(&path).expect("the crate has a manifest");
    manifest
        .lines()
        .skip_while(|line| *line != format!("[{section}]"))
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| name.starts_with("bowline"))
        .map(str::to_owned)
        .collect()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn dependencies_point_one_way() {
    for (krate, allowed) in [
        ("ws", &[][..]),
        ("proto", &[]),
        ("engine", &["bowline-proto"]),
        ("server", &["bowline-engine", "bowline-proto", "bowline-ws"]),
        ("client", &["bowline-proto", "bowline-ws"]),
        ("harness", &[]),
        ("bench", &[]),
        (
            "sim",
            &["bowline", "bowline-engine", "bowline-proto", "bowline-ws"],
        ),
    ] {
        let found = imports(krate, "dependencies");
        let allowed = names(allowed);
        let surplus: Vec<_> = found.difference(&allowed).collect();
        assert!(surplus.is_empty(), "{krate} must not import {surplus:?}");
    }
}

#[test]
fn the_reader_of_manifests_sees_what_is_there() {
    assert!(imports("server", "dependencies").contains("bowline-proto"));
    assert!(imports("engine", "dependencies").contains("bowline-proto"));
}

#[test]
fn the_core_does_no_io() {
    for krate in ["ws", "proto"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(krate)
            .join("Cargo.toml");
        let manifest = std::fs::read_to_string(path).expect("the crate has a manifest");
        let runtime = manifest
            .split("[dev-dependencies]")
            .next()
            .expect("there is a first part");
        for io in [
            "tokio",
            "hyper",
            "axum",
            "getrandom",
            "rand",
            "socket2",
            "mio",
        ] {
            let named = runtime
                .lines()
                .any(|line| line.split(['.', ' ']).next() == Some(io));
            assert!(!named, "{krate} must not use {io}");
        }
    }
}

/// What a checker of the simulation names is what was seen and said, never what decides.
#[test]
fn the_checkers_of_the_simulation_see_no_machine() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sim/src/check");
    let mut looked_at = 0;
    for entry in std::fs::read_dir(folder).expect("the checkers have a folder") {
        let path = entry.expect("it can be listed").path();
        if path.ends_with("tests.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a checker can be read");
        for machine in [
            "client::",
            "server::",
            "bowline_engine",
            "node::",
            "store::",
            "world::",
        ] {
            assert!(
                !text.contains(machine),
                "{} must not see {machine}",
                path.display()
            );
        }
        looked_at += 1;
    }
    assert!(looked_at >= 8, "only {looked_at} checkers were found");
}
