//! Conditions on columns, as SQL writes them: comparisons with texts and numbers, `is null`, joined by
//! `and`. Owns the parsed condition.

use phalanx_assess::{Column, Table, TableError};

/// The rows that meet all of some comparisons.
pub(crate) struct Condition {
    text: String,
    all: Vec<Comparison>,
}

struct Comparison {
    column: String,
    wanted: Wanted,
}

enum Wanted {
    Missing(bool),
    Text(Operator, String),
    Number(Operator, f64),
}

#[derive(Clone, Copy)]
enum Operator {
    Is,
    IsNot,
    Less,
    AtMost,
    More,
    AtLeast,
}

/// Longer ones first.
const OPERATORS: [(&str, Operator); 7] = [
    ("<=", Operator::AtMost),
    (">=", Operator::AtLeast),
    ("<>", Operator::IsNot),
    ("!=", Operator::IsNot),
    ("<", Operator::Less),
    (">", Operator::More),
    ("=", Operator::Is),
];

impl Operator {
    fn holds<T: PartialOrd + ?Sized>(self, value: &T, other: &T) -> bool {
        match self {
            Self::Is => value == other,
            Self::IsNot => value != other,
            Self::Less => value < other,
            Self::AtMost => value <= other,
            Self::More => value > other,
            Self::AtLeast => value >= other,
        }
    }
}

impl Condition {
    /// # Errors
    ///
    /// Where it is none of this form.
    pub(crate) fn parse(text: &str) -> Result<Self, TableError> {
        let mut words = Words { rest: text.trim() };
        let mut all = Vec::new();
        loop {
            let comparison = words.comparison();
            all.push(comparison.map_err(|reason| TableError::Condition { condition: text.to_owned(), reason })?);
            if words.rest.is_empty() {
                return Ok(Self { text: text.to_owned(), all });
            }
            if !words.keyword("and") {
                let reason = format!("expected `and` or its end, found `{}`", words.rest);
                return Err(TableError::Condition { condition: text.to_owned(), reason });
            }
        }
    }

    /// Which rows meet it.
    ///
    /// # Errors
    ///
    /// Where a column is absent, or is compared with what it does not hold.
    pub(crate) fn mask(&self, table: &dyn Table) -> Result<Vec<bool>, TableError> {
        let mut mask: Option<Vec<bool>> = None;
        for Comparison { column, wanted } in &self.all {
            let unfit = |reason: &str| TableError::Condition {
                condition: self.text.clone(),
                reason: format!("`{column}` {reason}"),
            };
            let met: Vec<bool> = match (table.column(column)?, wanted) {
                (Column::Texts(values), Wanted::Missing(missing)) => {
                    values.iter().map(|value| value.is_none() == *missing).collect()
                }
                (Column::Numbers(values), Wanted::Missing(missing)) => {
                    values.iter().map(|value| value.is_nan() == *missing).collect()
                }
                (Column::Texts(values), Wanted::Text(operator, text)) => {
                    let met = |value: &Option<String>| {
                        value.as_deref().is_some_and(|value| operator.holds(value, text.as_str()))
                    };
                    values.iter().map(met).collect()
                }
                (Column::Numbers(values), Wanted::Number(operator, number)) => {
                    values.iter().map(|value| !value.is_nan() && operator.holds(value, number)).collect()
                }
                (Column::Texts(_), Wanted::Number(..)) => return Err(unfit("holds texts: write 'text'")),
                (Column::Numbers(_), Wanted::Text(..)) => return Err(unfit("holds numbers")),
            };
            mask = Some(match mask {
                None => met,
                Some(mask) => mask.into_iter().zip(met).map(|(one, other)| one && other).collect(),
            });
        }
        Ok(mask.unwrap_or_default())
    }
}

/// What is left to read.
struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    fn comparison(&mut self) -> Result<Comparison, String> {
        let column = self.column()?;
        if self.keyword("is") {
            let missing = !self.keyword("not");
            return match self.keyword("null") {
                true => Ok(Comparison { column, wanted: Wanted::Missing(missing) }),
                false => Err(format!("expected `null`, found `{}`", self.rest)),
            };
        }
        let found = OPERATORS.iter().find_map(|(symbol, operator)| {
            Some((*operator, self.rest.strip_prefix(symbol)?.trim_start()))
        });
        let Some((operator, rest)) = found else {
            return Err(format!("expected a comparison such as `= 'text'` or `>= 60`, found `{}`", self.rest));
        };
        self.rest = rest;
        if let Some(text) = self.quoted('\'') {
            return Ok(Comparison { column, wanted: Wanted::Text(operator, text) });
        }
        let end = self.rest.find(char::is_whitespace).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        match word.parse::<f64>().ok().filter(|number| number.is_finite()) {
            Some(number) => {
                self.rest = rest.trim_start();
                Ok(Comparison { column, wanted: Wanted::Number(operator, number) })
            }
            None => Err(format!("expected a number or a 'text', found `{word}`")),
        }
    }

    /// `name` or `"any name"`.
    fn column(&mut self) -> Result<String, String> {
        if let Some(name) = self.quoted('"') {
            return Ok(name);
        }
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        let end = self.rest.find(|c| !is_name(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        if name.is_empty() {
            return Err(format!("expected a column, found `{}`", self.rest));
        }
        self.rest = rest.trim_start();
        Ok(name.to_owned())
    }

    /// A text in quotes, which stand twice where they are part of it.
    fn quoted(&mut self, quote: char) -> Option<String> {
        let mut rest = self.rest.strip_prefix(quote)?;
        let mut text = String::new();
        loop {
            let (before, after) = rest.split_once(quote)?;
            text.push_str(before);
            match after.strip_prefix(quote) {
                Some(after) => {
                    text.push(quote);
                    rest = after;
                }
                None => {
                    self.rest = after.trim_start();
                    return Some(text);
                }
            }
        }
    }

    fn keyword(&mut self, keyword: &str) -> bool {
        let Some((word, rest)) = self.rest.split_at_checked(keyword.len()) else { return false };
        let ends = rest.chars().next().is_none_or(|c| !c.is_alphanumeric() && c != '_');
        let is_it = ends && word.eq_ignore_ascii_case(keyword);
        if is_it {
            self.rest = rest.trim_start();
        }
        is_it
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::Columns;

    fn table() -> Columns {
        let texts = |values: &[Option<&str>]| Column::Texts(values.iter().map(|v| v.map(str::to_owned)).collect());
        let columns = [
            ("sex", texts(&[Some("f"), Some("m"), None, Some("it's")])),
            ("age", Column::Numbers(vec![20.0, 60.0, 70.0, f64::NAN])),
            ("a b", Column::Numbers(vec![1.0; 4])),
        ];
        Columns(columns.map(|(name, column)| (name.to_owned(), column)).into())
    }

    #[test]
    fn conditions_select_rows_and_unknown_meets_none() {
        let check = |text: &str, expected: [bool; 4]| {
            assert_eq!(table().mask(text).unwrap(), expected, "{text}");
        };
        check("sex = 'f'", [true, false, false, false]);
        check("sex <> 'f'", [false, true, false, true]);
        check("sex='it''s'", [false, false, false, true]);
        check("age >= 60 and sex is not null", [false, true, false, false]);
        check("sex IS NULL AND \"a b\" = 1", [false, false, true, false]);
        check("age<70", [true, true, false, false]);
        check("age is null", [false, false, false, true]);
    }

    #[test]
    fn what_is_no_condition_says_where() {
        let check = |text: &str, expected: &str| {
            let error = table().mask(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        };
        check("sex", "expected a comparison");
        check("sex = f", "expected a number or a 'text', found `f`");
        check("age > 'x'", "`age` holds numbers");
        check("sex = 1", "`sex` holds texts");
        check("height > 1", "there is no column `height`: there are a b, age, sex");
        check("age > 1 or age < 0", "expected `and` or its end, found `or age < 0`");
        check("", "expected a column");
    }
}
