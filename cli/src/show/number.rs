//! Numbers as people read them.

use std::time::Duration;

use indicatif::{DecimalBytes, HumanCount};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

/// A metric or a loss: four decimals, or a power of ten where that says nothing.
pub(crate) fn figure(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        "0".to_owned()
    } else if !(1e-3..1e9).contains(&size) {
        format!("{value:.3e}")
    } else if size >= 1_000.0 {
        let rounded = size.round();
        let sign = if value < 0.0 { "-" } else { "" };
        format!("{sign}{}", count(rounded as u64))
    } else {
        format!("{value:.4}")
    }
}

/// A number of things: `6,400`.
pub(crate) fn count(value: u64) -> String {
    HumanCount(value).to_string()
}

/// A size: `1.43 MB`.
pub(crate) fn bytes(value: u64) -> String {
    DecimalBytes(value).to_string()
}

/// A duration to the second: `1m 12s`; `0.4s` below one.
pub(crate) fn duration(value: Duration) -> String {
    if value < Duration::from_secs(1) {
        return format!("{:.1}s", value.as_secs_f64());
    }
    let seconds = SignedDuration::from_secs(i64::try_from(value.as_secs()).unwrap_or(i64::MAX));
    format!("{seconds:#}")
}

/// The time between two moments; none if they are the wrong way round.
pub(crate) fn between(begin: Timestamp, end: Timestamp) -> Duration {
    end.duration_since(begin).try_into().unwrap_or_default()
}

/// A moment in the zone of whoever reads it: `2026-11-24 17:05:33`.
pub(crate) fn moment(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_keep_what_can_be_read() {
        for (value, expected) in [
            (0.0, "0"),
            (0.97754, "0.9775"),
            (-2.5, "-2.5000"),
            (123_456.7, "123,457"),
            (-1_234.0, "-1,234"),
            (0.000_012_3, "1.230e-5"),
            (3.2e12, "3.200e12"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(figure(value), expected);
        }
    }

    #[test]
    fn durations_are_told_to_the_second() {
        for (millis, expected) in [(400, "0.4s"), (1_900, "1s"), (72_000, "1m 12s"), (3_600_000, "1h")] {
            assert_eq!(duration(Duration::from_millis(millis)), expected);
        }
    }
}
