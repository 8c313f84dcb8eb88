//! Dates and times as numbers: the parts of a date that `[data.encode] dates` names, in UTC.

use std::f64::consts::TAU;

use jiff::{SignedDuration, Timestamp, Zoned, tz::TimeZone};
use phalanx_protocol::spec::{DatePart, parse_time};
use serde::{Deserialize, Serialize};

use crate::encoder::Scale;

/// Seconds of a day.
const DAY_SECONDS: f64 = 86_400.0;

/// One part of a date, as it is encoded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DateRule {
    pub(crate) part: DatePart,
    /// For parts that are numbers; a cycle is left as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scale: Option<Scale>,
}

/// What a part of a date is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum PartValue {
    Number(f64),
    /// The fraction of a cycle that has passed, of 0 to 1.
    Cycle(f64),
}

/// A date and time.
#[derive(Debug, Clone)]
pub(crate) struct Date {
    seconds: f64,
    civil: Zoned,
}

impl Date {
    /// Reads a cell; `None` if it is no date between the years -9999 and 9999.
    pub(crate) fn parse(cell: &str) -> Option<Self> {
        let seconds = parse_time(cell)?;
        let duration = SignedDuration::try_from_secs_f64(seconds).ok()?;
        let civil = Timestamp::from_duration(duration).ok()?.to_zoned(TimeZone::UTC);
        Some(Self { seconds, civil })
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.seconds
    }

    pub(crate) fn part(&self, part: DatePart) -> PartValue {
        let civil = &self.civil;
        let weekday = f64::from(civil.weekday().to_monday_zero_offset());
        let second_of_day = self.seconds.rem_euclid(DAY_SECONDS);
        match part {
            DatePart::Year => PartValue::Number(civil.year().into()),
            DatePart::Month => PartValue::Number(civil.month().into()),
            DatePart::Day => PartValue::Number(civil.day().into()),
            DatePart::Weekday => PartValue::Number(weekday),
            DatePart::Hour => PartValue::Number(civil.hour().into()),
            DatePart::MonthCycle => PartValue::Cycle(f64::from(civil.month() - 1) / 12.0),
            DatePart::DayCycle => {
                PartValue::Cycle(f64::from(civil.day() - 1) / f64::from(civil.days_in_month()))
            }
            DatePart::WeekdayCycle => PartValue::Cycle(weekday / 7.0),
            DatePart::HourCycle => PartValue::Cycle(second_of_day / DAY_SECONDS),
            DatePart::Elapsed => PartValue::Number(self.seconds),
        }
    }
}

impl DateRule {
    /// Numbers that this part becomes.
    pub(crate) fn width(&self) -> usize {
        if is_cycle(self.part) { 2 } else { 1 }
    }

    /// Writes the part's numbers.
    pub(crate) fn encode(&self, date: &Date, out: &mut [f32]) {
        match (date.part(self.part), self.scale) {
            (PartValue::Number(number), Some(scale)) => out[0] = scale.apply(number),
            (PartValue::Number(number), None) => out[0] = number as f32,
            (PartValue::Cycle(fraction), _) => {
                let (sine, cosine) = (TAU * fraction).sin_cos();
                (out[0], out[1]) = (sine as f32, cosine as f32);
            }
        }
    }
}

/// Whether a part comes again and again.
pub(crate) fn is_cycle(part: DatePart) -> bool {
    match part {
        DatePart::Year
        | DatePart::Month
        | DatePart::Day
        | DatePart::Weekday
        | DatePart::Hour
        | DatePart::Elapsed => false,
        DatePart::MonthCycle | DatePart::DayCycle | DatePart::WeekdayCycle | DatePart::HourCycle => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_date_are_those_of_a_calendar() {
        let date = Date::parse("2024-02-29 18:00:00").unwrap();
        let check = |part, expected| assert_eq!(date.part(part), expected, "{part:?}");
        check(DatePart::Year, PartValue::Number(2024.0));
        check(DatePart::Month, PartValue::Number(2.0));
        check(DatePart::Day, PartValue::Number(29.0));
        check(DatePart::Weekday, PartValue::Number(3.0));
        check(DatePart::Hour, PartValue::Number(18.0));
        check(DatePart::Elapsed, PartValue::Number(1_709_229_600.0));
        check(DatePart::MonthCycle, PartValue::Cycle(1.0 / 12.0));
        check(DatePart::DayCycle, PartValue::Cycle(28.0 / 29.0));
        check(DatePart::WeekdayCycle, PartValue::Cycle(3.0 / 7.0));
        check(DatePart::HourCycle, PartValue::Cycle(0.75));
        assert!(Date::parse("1e300").is_none());
        assert!(Date::parse("31.12.2024").is_none());
    }

    #[test]
    fn a_cycle_ends_where_it_begins() {
        let encode = |cell| {
            let mut out = [0.0; 2];
            DateRule { part: DatePart::HourCycle, scale: None }.encode(&Date::parse(cell).unwrap(), &mut out);
            out
        };
        assert_eq!(encode("1969-12-31"), [0.0, 1.0]);
        let late = encode("1969-12-31 23:59:59");
        assert!(late[0].abs() < 1e-3 && (late[1] - 1.0).abs() < 1e-3, "{late:?}");
    }
}
