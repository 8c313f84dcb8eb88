//! Numbers as people read them: as many digits as say something. Owns no state.
//!
//! A number that is none (NaN, infinite) is a dash: JSON has no such numbers, so a report that came
//! from a file has none.

/// What stands where there is no number.
pub(crate) const NONE: &str = "–";

/// How a number is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Four digits that count; a whole number as it is.
    Number,
    /// A number that somebody chose: the same without zeros at its end.
    Chosen,
    /// So many digits behind the point.
    Decimals(usize),
    /// Four digits that count, and a sign.
    Change,
    /// So many digits behind the point, and a sign.
    Signed(usize),
    /// A share of 1 in percent.
    Percent,
    /// How often chance does something.
    Probability,
    /// A size in bytes.
    Bytes,
    /// A time in seconds.
    Seconds,
}

impl Shown {
    /// Digits behind the point that fit a figure whose interval has these ends: two of those that the
    /// interval leaves open.
    pub(crate) fn by_interval(lower: f64, upper: f64) -> Self {
        let half = (upper - lower).abs() / 2.0;
        if !(half.is_finite() && half > 0.0) {
            return Self::Number;
        }
        Self::Decimals((1 - half.log10().floor() as i32).clamp(0, 6) as usize)
    }

    /// The text.
    pub(crate) fn text(self, value: f64) -> String {
        if !value.is_finite() {
            return NONE.to_owned();
        }
        match self {
            Self::Number => number(value),
            Self::Chosen => chosen(number(value)),
            Self::Decimals(decimals) => fixed(value, decimals),
            Self::Change => signed(value, number(value)),
            Self::Signed(decimals) => signed(value, fixed(value, decimals)),
            Self::Percent => format!("{} %", fixed(100.0 * value, percent_decimals(value))),
            Self::Probability if (0.0..0.001).contains(&value) => "< 0.001".to_owned(),
            Self::Probability => fixed(value, 3),
            Self::Bytes => bytes(value),
            Self::Seconds => seconds(value),
        }
    }
}

/// A count, with commas between thousands.
pub(crate) fn count(value: u64) -> String {
    grouped(&value.to_string())
}

fn number(value: f64) -> String {
    let size = value.abs();
    if size >= 1e9 || (size > 0.0 && size < 1e-4) {
        return minus(&format!("{value:.2e}"));
    }
    if value.fract() == 0.0 {
        return fixed(value, 0);
    }
    let decimals = match size {
        1000.0.. => 0,
        100.0.. => 1,
        10.0.. => 2,
        1.0.. => 3,
        0.001.. => 4,
        _ => 6,
    };
    fixed(value, decimals)
}

fn chosen(text: String) -> String {
    let is_plain = text.contains('.') && !text.contains('e');
    if is_plain { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// With commas between thousands, and a minus that is as wide as a plus.
fn fixed(value: f64, decimals: usize) -> String {
    if value.abs() >= 1e15 {
        return minus(&format!("{value:.2e}"));
    }
    let text = format!("{:.decimals$}", value.abs());
    let is_zero = text.bytes().all(|byte| byte == b'0' || byte == b'.');
    let sign = if value < 0.0 && !is_zero { "−" } else { "" };
    match text.split_once('.') {
        Some((whole, rest)) => format!("{sign}{}.{rest}", grouped(whole)),
        None => format!("{sign}{}", grouped(&text)),
    }
}

fn signed(value: f64, text: String) -> String {
    let is_zero = text.bytes().all(|byte| byte == b'0' || byte == b'.');
    if value > 0.0 && !is_zero { format!("+{text}") } else { text }
}

fn percent_decimals(value: f64) -> usize {
    match value.abs() {
        0.01.. => 1,
        0.001.. => 2,
        _ => 3,
    }
}

fn bytes(value: f64) -> String {
    let units = ["bytes", "kB", "MB", "GB", "TB", "PB"];
    let (mut value, mut unit) = (value, 0);
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = if unit == 0 || value >= 99.95 { 0 } else { 1 };
    format!("{} {}", fixed(value, decimals), units[unit])
}

fn seconds(value: f64) -> String {
    let whole = value.round();
    if value < 10.0 {
        format!("{} s", fixed(value, 2))
    } else if whole < 60.0 {
        format!("{} s", fixed(value, 0))
    } else if whole < 3600.0 {
        format!("{} min {} s", fixed((whole / 60.0).floor(), 0), fixed(whole % 60.0, 0))
    } else {
        let minutes = (value / 60.0).round();
        format!("{} h {} min", fixed((minutes / 60.0).floor(), 0), fixed(minutes % 60.0, 0))
    }
}

fn minus(text: &str) -> String {
    text.replace('-', "−")
}

fn grouped(digits: &str) -> String {
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(shown: Shown, cases: &[(f64, &str)]) {
        let found: Vec<String> = cases.iter().map(|(value, _)| shown.text(*value)).collect();
        let expected: Vec<&str> = cases.iter().map(|(_, text)| *text).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn numbers_have_four_digits_that_count() {
        check(
            Shown::Number,
            &[
                (0.91531, "0.9153"),
                (0.8, "0.8000"),
                (1.0, "1"),
                (0.0, "0"),
                (-0.0, "0"),
                (12.3456, "12.35"),
                (281.44, "281.4"),
                (1_234_567.8, "1,234,568"),
                (0.000_451, "0.000451"),
                (-1.5, "−1.500"),
                (4.25e-7, "4.25e−7"),
                (-3e12, "−3.00e12"),
                (f64::NAN, "–"),
                (f64::INFINITY, "–"),
            ],
        );
    }

    #[test]
    fn an_interval_says_how_many_digits_count() {
        assert_eq!(Shown::by_interval(0.9088, 0.9218), Shown::Decimals(4));
        assert_eq!(Shown::by_interval(0.88, 0.94), Shown::Decimals(3));
        assert_eq!(Shown::by_interval(250.0, 310.0), Shown::Decimals(0));
        assert_eq!(Shown::by_interval(0.5, 0.5), Shown::Number);
        assert_eq!(Shown::by_interval(f64::NEG_INFINITY, 0.5), Shown::Number);
    }

    #[test]
    fn shares_changes_sizes_and_times_have_their_units() {
        check(
            Shown::Percent,
            &[
                (0.2408, "24.1 %"),
                (0.012, "1.2 %"),
                (0.0092, "0.92 %"),
                (0.0004, "0.040 %"),
                (1.0, "100.0 %"),
            ],
        );
        check(
            Shown::Signed(3),
            &[(0.0121, "+0.012"), (-0.2, "−0.200"), (0.0001, "0.000"), (-0.0001, "0.000")],
        );
        check(Shown::Probability, &[(0.0312, "0.031"), (0.0002, "< 0.001")]);
        check(Shown::Bytes, &[(812.0, "812 bytes"), (3_974_305.0, "4.0 MB"), (123_456.0, "123 kB")]);
        check(
            Shown::Seconds,
            &[
                (2.345, "2.35 s"),
                (59.7, "1 min 0 s"),
                (67.0, "1 min 7 s"),
                (3_599.9, "1 h 0 min"),
                (9_000.0, "2 h 30 min"),
            ],
        );
        assert_eq!(count(48_842), "48,842");
    }
}
