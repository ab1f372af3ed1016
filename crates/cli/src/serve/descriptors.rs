//! How many files the process may open: each connection is one.
//!
//! Owns the warning about too few. Must not change the limit: that is the system's business.

/// Beside connections: the log, the listener, the runtime's own.
const RESERVE: usize = 64;

/// Says at the start what would otherwise show as refused connections under load.
pub(super) fn warn_if_few(connections_max: usize) {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let Some((soft, hard)) = open_files(&limits) else {
        return;
    };
    let needed = connections_max.saturating_add(RESERVE);
    if soft < needed {
        tracing::warn!(
            soft,
            hard,
            needed,
            "the limit of open files (nofile) is below websocket.max_connections: about {} \
             connections fit, further ones wait unanswered. Raise it with `ulimit -n {needed}`, \
             LimitNOFILE={needed} (systemd) or --ulimit nofile={needed} (docker), or lower \
             websocket.max_connections",
            soft.saturating_sub(RESERVE)
        );
    }
}

/// The soft and the hard limit; `unlimited` is more than any need.
fn open_files(limits: &str) -> Option<(usize, usize)> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    let mut words = line
        .split_whitespace()
        .map(|word| word.parse().unwrap_or(usize::MAX));
    Some((words.next()?, words.next()?))
}

#[cfg(test)]
mod tests {
    use super::open_files;

    #[test]
    fn the_limits_of_this_process_can_be_read() {
        let own = std::fs::read_to_string("/proc/self/limits").unwrap();
        let (soft, hard) = open_files(&own).expect("a line for open files");
        assert!(0 < soft && soft <= hard);
        let text = "Limit  Soft  Hard\nMax open files            1024        unlimited   files\n";
        assert_eq!(open_files(text), Some((1_024, usize::MAX)));
        assert_eq!(open_files("Max processes 1 1"), None);
    }
}
