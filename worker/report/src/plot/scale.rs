//! From numbers to places on a drawing, and the round numbers to mark there. Owns no state.

/// The most ticks of an axis, ends included.
const TICKS_MAX: usize = 6;

/// A straight scale between two different finite numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scale {
    from: f64,
    to: f64,
}

impl Scale {
    /// The scale from 0 to 1.
    pub(crate) const UNIT: Self = Self { from: 0.0, to: 1.0 };

    /// One that has room for all finite `values`; `None` where there are none.
    pub(crate) fn over(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let finite = values.into_iter().filter(|value| value.is_finite());
        let (from, to) = finite
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(from, to), value| (from.min(value), to.max(value)));
        if from > to {
            return None;
        }
        // Beyond these, differences of two numbers overflow or vanish.
        let (from, to) = (from.clamp(-1e150, 1e150), to.clamp(-1e150, 1e150));
        let least = 1e-9 * from.abs().max(to.abs()).max(1e-30);
        if to - from > least {
            return Some(Self { from, to });
        }
        let room = if from == 0.0 { 1.0 } else { from.abs() / 2.0 };
        Some(Self { from: from - room, to: to + room })
    }

    /// The same with its ends moved outwards to round numbers.
    pub(crate) fn rounded(self) -> Self {
        let step = self.step();
        let (from, to) = ((self.from / step).floor() * step, (self.to / step).ceil() * step);
        if from.is_finite() && to.is_finite() && to > from { Self { from, to } } else { self }
    }

    /// The lower end.
    pub(crate) fn from(self) -> f64 {
        self.from
    }

    /// The upper end.
    pub(crate) fn to(self) -> f64 {
        self.to
    }

    /// Where `value` lies: 0 at the lower end, 1 at the upper, and never outside.
    pub(crate) fn share(self, value: f64) -> f64 {
        ((value - self.from) / (self.to - self.from)).clamp(0.0, 1.0)
    }

    /// Round numbers on the scale, evenly spaced, each with its text.
    pub(crate) fn ticks(self) -> Vec<(f64, String)> {
        let step = self.step();
        let slack = step * 1e-6;
        let first = ((self.from - slack) / step).ceil();
        let values = (0..TICKS_MAX + 1).map(|at| (first + at as f64) * step);
        let decimals = (-step.log10()).ceil().clamp(0.0, 9.0) as usize;
        let text = |value: f64| tick(value, step, decimals);
        values.take_while(|value| *value <= self.to + slack).map(|value| (value, text(value))).collect()
    }

    /// 1, 2 or 5 times a power of ten, so that there are no more than so many ticks.
    fn step(self) -> f64 {
        let raw = (self.to - self.from) / (TICKS_MAX - 1) as f64;
        let power = 10_f64.powf(raw.log10().floor());
        let times = [1.0, 2.0, 5.0].into_iter().find(|times| times * power >= raw * (1.0 - 1e-9));
        times.unwrap_or(10.0) * power
    }
}

/// The text of a tick: short, since it stands beside others.
fn tick(value: f64, step: f64, decimals: usize) -> String {
    let value = if value.abs() < step * 1e-6 { 0.0 } else { value };
    let (size, text) = (value.abs(), |scaled: f64, unit: &str| {
        let text = format!("{scaled:.1}");
        format!("{}{unit}", text.strip_suffix(".0").unwrap_or(&text))
    });
    let text = if value != 0.0 && (size >= 1e12 || step < 1e-9) {
        format!("{value:.1e}")
    } else if size >= 1e9 {
        text(value / 1e9, "G")
    } else if size >= 1e6 {
        text(value / 1e6, "M")
    } else if size >= 1e4 {
        text(value / 1e3, "k")
    } else {
        format!("{value:.decimals$}")
    };
    text.replace('-', "−")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(from: f64, to: f64, expected: &[&str]) {
        let ticks = Scale::over([from, to]).unwrap().rounded().ticks();
        assert_eq!(ticks.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn ticks_are_round() {
        check(0.0, 1.0, &["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        check(0.31, 0.52, &["0.30", "0.35", "0.40", "0.45", "0.50", "0.55"]);
        check(0.0, 18_000.0, &["0", "5000", "10k", "15k", "20k"]);
        check(-3.0, 4.0, &["−4", "−2", "0", "2", "4"]);
        check(2.0, 2.0, &["1.0", "1.5", "2.0", "2.5", "3.0"]);
    }

    #[test]
    fn nothing_has_no_scale() {
        assert_eq!(Scale::over([f64::NAN, f64::INFINITY]), None);
    }

    proptest! {
        #[test]
        fn any_numbers_have_a_scale_with_few_ticks(values in prop::collection::vec(any::<f64>(), 0..20)) {
            let Some(scale) = Scale::over(values.iter().copied()) else { return Ok(()) };
            for scale in [scale, scale.rounded()] {
                prop_assert!(scale.from < scale.to, "{scale:?}");
                prop_assert!(scale.ticks().len() <= TICKS_MAX + 1, "{:?}", scale.ticks());
                for value in values.iter().filter(|value| value.is_finite()) {
                    prop_assert!((0.0..=1.0).contains(&scale.share(*value)), "{value}");
                }
            }
        }
    }
}
