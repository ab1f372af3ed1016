//! Points of the server's clock as points in time.
//!
//! Owns the form of RFC 3339 in UTC with milliseconds.

use std::time::{SystemTime, UNIX_EPOCH};

use bowline_proto::Time;

use crate::clock::Clock;

const DAY_S: u64 = 24 * 3_600;

/// When that was or will be, as `2026-01-31T23:59:59.123Z`. A clock that is set while the server
/// runs moves the past with it: what is shown is how long ago something was, from now.
pub(crate) fn rfc3339(clock: Clock, at: Time) -> String {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_ms = since_1970.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    });
    let ago_ms = clock.now().as_millis();
    format((now_ms + at.as_millis()).saturating_sub(ago_ms))
}

fn format(unix_ms: u64) -> String {
    let (seconds, ms) = (unix_ms / 1_000, unix_ms % 1_000);
    let (day, second) = (seconds / DAY_S, seconds % DAY_S);
    let (year, month, day) = date(day);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// The date of a day since 1970: whole years first, then whole months.
fn date(mut day: u64) -> (u64, u64, u64) {
    let mut year = 1970;
    loop {
        let days = if is_leap(year) { 366 } else { 365 };
        // Years beyond four digits have no form, and end the loop.
        if day < days || year == 9_999 {
            break;
        }
        day -= days;
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1;
    for days in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if day < days {
            break;
        }
        day -= days;
        month += 1;
    }
    (year, month, day.min(30) + 1)
}

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (unix_s, expected) in [
            (0, "1970-01-01T00:00:00.007Z"),
            (951_782_399, "2000-02-28T23:59:59.007Z"),
            (951_782_400, "2000-02-29T00:00:00.007Z"),
            (951_868_800, "2000-03-01T00:00:00.007Z"),
            (1_798_761_599, "2026-12-31T23:59:59.007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.007Z"),
        ] {
            assert_eq!(format(unix_s * 1_000 + 7), expected);
        }
        assert!(format(u64::MAX).starts_with("9999-12-31"));
    }
}
