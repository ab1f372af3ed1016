//! The record of long runs: `docs/proof/NAME.json`, which `scripts/proof.py` sums and judges.
//!
//! Owns how a run is appended: on which commit, and on which content of the paths that its claim rests
//! on. Must not know what was run. A dirty tree has no name, so that a run on it can't be recorded.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use serde::{Deserialize, Serialize};

use crate::command::{hear, run};

/// What a run may change in the tree without making it dirty: the records themselves.
const RECORDS: [&str; 2] = [":(exclude)docs/proof", ":(exclude)docs/proof.md"];

/// A run that will be recorded.
#[derive(Debug)]
pub struct ProofRun {
    path: PathBuf,
    commit: String,
    tree: String,
    begun: Instant,
}

/// A run can't be recorded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The file can't be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not of the form that is asked for.
    #[error("{path}: {problem}")]
    Form {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: serde_json::Error,
    },
    /// `git` (or `date`) can't be asked, or refuses.
    #[error("{0}")]
    Git(io::Error),
    /// What was run is not what a commit holds.
    #[error("the tree is dirty, so that the run can't be recorded; commit first:\n{0}")]
    Dirty(String),
}

/// The whole file, as `scripts/proof.py` reads it.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    name: String,
    title: String,
    command: String,
    paths: Vec<String>,
    owed: BTreeMap<String, u64>,
    runs: Vec<Run>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Run {
    commit: String,
    /// Of the content of `paths` at that commit: the same content may have many commits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tree: Option<String>,
    date: String,
    seed: u64,
    seconds: u64,
    passed: bool,
    totals: BTreeMap<String, u64>,
}

impl ProofRun {
    /// Begins a run that shall be recorded in this file, which says already what it is about.
    ///
    /// # Errors
    /// The file is missing or malformed, or the tree around it is dirty: told before the run, not after.
    pub fn begin(path: &Path) -> Result<Self, ProofError> {
        let path = path.canonicalize().map_err(io_error(path))?;
        let record = read(&path)?;
        let folder = path.parent().unwrap_or(&path);
        let top = git(folder, &["rev-parse", "--show-toplevel"])?;
        let top = Path::new(top.trim());
        let status = [&["status", "--porcelain", "--", "."][..], &RECORDS].concat();
        let dirty = git(top, &status)?;
        if !dirty.is_empty() {
            return Err(ProofError::Dirty(dirty));
        }
        Ok(Self {
            commit: git(top, &["rev-parse", "--short", "HEAD"])?.trim().into(),
            tree: content(top, &record.paths)?,
            path,
            begun: Instant::now(),
        })
    }

    /// Appends it. Totals are sums: what was counted, by its name.
    pub fn end(
        self,
        seed: u64,
        passed: bool,
        totals: BTreeMap<String, u64>,
    ) -> Result<(), ProofError> {
        let failed = io_error(&self.path);
        // Runs of the same kind may end at the same time.
        let lock = File::open(&self.path).map_err(&failed)?;
        lock.lock().map_err(&failed)?;
        let mut record = read(&self.path)?;
        record.runs.push(Run {
            commit: self.commit,
            tree: Some(self.tree),
            date: today()?,
            seed,
            seconds: self.begun.elapsed().as_secs(),
            passed,
            totals,
        });
        let form = |problem| ProofError::Form {
            path: self.path.clone(),
            problem,
        };
        let mut text = serde_json::to_string_pretty(&record).map_err(form)?;
        text.push('\n');
        // In place, not by a rename: the lock belongs to this file.
        fs::write(&self.path, text).map_err(failed)
    }
}

/// A name for the content of these paths at HEAD; tests are none of it.
fn content(top: &Path, paths: &[String]) -> Result<String, ProofError> {
    let mut list = vec!["ls-tree", "-r", "HEAD", "--"];
    list.extend(paths.iter().map(String::as_str));
    let listed = git(top, &list)?;
    let is_test = |line: &&str| {
        let path = line.split_once('\t').map_or("", |(_, path)| path);
        path.split('/')
            .any(|part| matches!(part, "tests" | "tests.rs"))
    };
    let product = listed.lines().filter(|line| !is_test(line));
    let listed: String = product.map(|line| format!("{line}\n")).collect();
    let hash = git_with(top, &["hash-object", "--stdin"], &listed)?;
    Ok(hash.chars().take(12).collect())
}

fn read(path: &Path) -> Result<Record, ProofError> {
    let text = fs::read_to_string(path).map_err(io_error(path))?;
    serde_json::from_str(&text).map_err(|problem| ProofError::Form {
        path: path.to_owned(),
        problem,
    })
}

/// The date in UTC. The standard library has no calendar, and this is asked once a run.
fn today() -> Result<String, ProofError> {
    let date = run(&["date", "-u", "+%F"]).map_err(ProofError::Git)?;
    Ok(date.trim().into())
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> ProofError {
    move |source| ProofError::Io {
        path: path.to_owned(),
        source,
    }
}

fn git(folder: &Path, arguments: &[&str]) -> Result<String, ProofError> {
    git_with(folder, arguments, "")
}

fn git_with(folder: &Path, arguments: &[&str], input: &str) -> Result<String, ProofError> {
    let mut command = Command::new("git");
    hear(command.current_dir(folder).args(arguments), input).map_err(ProofError::Git)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A repository with one record and one source file; removed when dropped.
    struct Repository(PathBuf);

    impl Repository {
        fn new(name: &str) -> Self {
            let folder =
                std::env::temp_dir().join(format!("bowline-proof-{}-{name}", std::process::id()));
            fs::create_dir_all(folder.join("docs/proof")).unwrap();
            fs::create_dir_all(folder.join("code")).unwrap();
            fs::write(folder.join("code/a"), "1").unwrap();
            let record = r#"{"name":"x","title":"t","command":"c","paths":["code"],
                "owed":{"acked":10},"runs":[]}"#;
            fs::write(folder.join("docs/proof/x.json"), record).unwrap();
            let repository = Self(folder);
            repository.git(&["init", "-q"]);
            repository.commit();
            repository
        }

        fn git(&self, arguments: &[&str]) {
            let identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"];
            git(&self.0, &[&identity, arguments].concat()).unwrap();
        }

        fn commit(&self) {
            self.git(&["add", "."]);
            self.git(&["commit", "-q", "--allow-empty", "-m", "x"]);
        }

        fn record(&self) -> PathBuf {
            self.0.join("docs/proof/x.json")
        }

        fn run(&self) -> Result<(), ProofError> {
            let totals = BTreeMap::from([("acked".to_owned(), 4)]);
            ProofRun::begin(&self.record())?.end(7, true, totals)
        }
    }

    impl Drop for Repository {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn runs_are_appended_with_their_commit_and_its_content() {
        let repository = Repository::new("append");
        repository.run().unwrap();
        repository.commit();
        repository.run().unwrap();
        // A test is no part of what runs.
        fs::write(repository.0.join("code/tests.rs"), "2").unwrap();
        repository.commit();
        repository.run().unwrap();
        fs::write(repository.0.join("code/a"), "2").unwrap();
        repository.commit();
        repository.run().unwrap();
        let runs = read(&repository.record()).unwrap().runs;
        assert_eq!(runs.len(), 4);
        assert_ne!(runs[0].commit, runs[1].commit);
        assert_eq!(runs[0].tree, runs[1].tree);
        assert_eq!(runs[1].tree, runs[2].tree);
        assert_ne!(runs[2].tree, runs[3].tree);
        assert_eq!((runs[3].seed, runs[3].totals["acked"]), (7, 4));
        assert_eq!(runs[3].date.len(), "2000-01-01".len());
    }

    #[test]
    fn a_run_on_a_dirty_tree_is_not_recorded() {
        let repository = Repository::new("dirty");
        fs::write(repository.0.join("code/a"), "2").unwrap();
        assert!(matches!(repository.run(), Err(ProofError::Dirty(_))));
        repository.commit();
        fs::write(repository.0.join("new"), "").unwrap();
        assert!(matches!(repository.run(), Err(ProofError::Dirty(_))));
        assert!(read(&repository.record()).unwrap().runs.is_empty());
    }
}
