//! As much YAML as a card's head needs, so that YAML 1.1 (Python's) and 1.2 (the Hub's) read the same. Owns
//! the text that is being written.

/// Lines of YAML.
#[derive(Debug, Default)]
pub(super) struct Yaml(String);

impl Yaml {
    pub(super) fn into_text(self) -> String {
        self.0
    }

    /// `key:`, with what follows below it.
    pub(super) fn open(&mut self, indent: usize, key: &str) {
        self.line(indent, &format!("{key}:"));
    }

    /// `key: "text"`.
    pub(super) fn text(&mut self, indent: usize, key: &str, text: &str) {
        self.line(indent, &format!("{key}: {}", quoted(text)));
    }

    /// `key: 0.5`. JSON has no number that is not finite, and neither has a card: it is left out.
    pub(super) fn number(&mut self, indent: usize, key: &str, value: f64) {
        if value.is_finite() {
            self.line(indent, &format!("{key}: {}", number(value)));
        }
    }

    /// `key:` with a list of texts below; nothing without texts.
    pub(super) fn texts<'a>(&mut self, key: &str, texts: impl IntoIterator<Item = &'a str>) {
        let mut texts = texts.into_iter().peekable();
        if texts.peek().is_some() {
            self.open(0, key);
            texts.for_each(|text| self.line(0, &format!("- {}", quoted(text))));
        }
    }

    fn line(&mut self, indent: usize, text: &str) {
        self.0.push_str(&" ".repeat(indent));
        self.0.push_str(text);
        self.0.push('\n');
    }
}

/// A text in double quotes, whatever is in it.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            // Control characters, separators of lines, byte order marks and what is no character.
            '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A number that no reader takes for a text: with a point, and a sign in the exponent.
fn number(value: f64) -> String {
    let text = format!("{value:?}");
    match text.split_once('e') {
        None => text,
        Some((digits, power)) => {
            let point = if digits.contains('.') { "" } else { ".0" };
            let sign = if power.starts_with('-') { "" } else { "+" };
            format!("{digits}{point}e{sign}{power}")
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_numbers_in_every_yaml() {
        let texts = [0.5, 1.0, 1e-7, 1.5e300, -2e20].map(number);
        assert_eq!(texts, ["0.5", "1.0", "1.0e-7", "1.5e+300", "-2.0e+20"]);
    }

    proptest! {
        #[test]
        fn quoted_texts_are_read_back(text in any::<String>()) {
            // A double-quoted scalar without other escapes is a JSON string as well.
            let quoted = quoted(&text);
            prop_assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), text);
            let breaks_a_line = quoted.contains(['\n', '\r', '\u{85}', '\u{2028}']);
            prop_assert!(!breaks_a_line);
        }
    }
}
