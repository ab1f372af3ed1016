//! What is printed: where and what was measured, then one line for each figure.

use std::{fs, process::Command};

/// Prints the command line, the commit and the machine.
pub(crate) fn print_header() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    println!("bench {}", arguments.join(" "));
    println!("commit {}", commit());
    let profile = if cfg!(debug_assertions) {
        "debug: clients and the bare loop are slow"
    } else {
        "release"
    };
    println!("build {profile}");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("machine {cores} cores, Linux {}", kernel.trim());
    println!();
    println!(
        "{:<72} {:>12} {:>12} {:>7}",
        "", "server", "bare loop", "ratio"
    );
}

/// What was measured of the server and of the bare loop, and the one in terms of the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figure {
    server: f64,
    bare: f64,
    ratio: f64,
}

impl Figure {
    /// Of one measurement of each.
    pub(crate) fn new(server: f64, bare: f64) -> Self {
        let ratio = server / bare;
        Self {
            server,
            bare,
            ratio,
        }
    }

    /// Of several: the median of each side, and of the ratios within the pairs.
    pub(crate) fn median(pairs: &[(f64, f64)]) -> Self {
        let over = |value: fn(&(f64, f64)) -> f64| median(pairs.iter().map(value).collect());
        Self {
            server: over(|(server, _)| *server),
            bare: over(|(_, bare)| *bare),
            ratio: over(|(server, bare)| server / bare),
        }
    }
}

/// Prints one figure.
pub(crate) fn print_row(what: &str, unit: &str, figure: Figure) {
    let Figure {
        server,
        bare,
        ratio,
    } = figure;
    let ratio = if bare > 0.0 {
        format!("{ratio:.2}")
    } else {
        "-".to_owned()
    };
    let what = format!("{what}, {unit}");
    println!("{what:<72} {server:>12.2} {bare:>12.2} {ratio:>7}");
}

/// Prints a sentence between figures.
pub(crate) fn print_note(text: &str) {
    println!("{text}");
}

/// The middle one; of an even number, the mean of the two.
pub(crate) fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    let middle = samples.len() / 2;
    match samples.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => samples[middle],
        _ => f64::midpoint(samples[middle - 1], samples[middle]),
    }
}

fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".to_owned();
    };
    let clean =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|s| s.is_empty());
    if clean {
        commit
    } else {
        format!("{commit}, with changes that are not committed")
    }
}

#[cfg(test)]
mod tests {
    use super::{Figure, median};

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![9.0, 1.0, 5.0]), 5.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 100.0]), 3.0);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn the_ratio_is_that_of_pairs() {
        let figure = Figure::median(&[(2.0, 1.0), (6.0, 3.0), (4.0, 4.0)]);
        assert_eq!((figure.server, figure.bare, figure.ratio), (4.0, 3.0, 2.0));
    }
}
