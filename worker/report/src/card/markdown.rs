//! Markdown as GitHub and Hugging Face read it, with whatever comes from outside escaped. Owns the text
//! that is being written.

/// A document in the making.
#[derive(Debug, Default)]
pub(super) struct Document(String);

impl Document {
    /// The document that begins with these lines.
    pub(super) fn new(head: String) -> Self {
        Self(head)
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }

    /// A heading of `level` 1 to 6.
    pub(super) fn heading(&mut self, level: usize, title: &str) {
        self.paragraph(&format!("{} {title}", "#".repeat(level)));
    }

    /// A paragraph of Markdown.
    pub(super) fn paragraph(&mut self, text: &str) {
        self.0.push_str(text.trim_end());
        self.0.push_str("\n\n");
    }

    /// A list of Markdown lines.
    pub(super) fn list(&mut self, items: &[String]) {
        let lines: Vec<String> = items.iter().map(|item| format!("- {item}")).collect();
        if !lines.is_empty() {
            self.paragraph(&lines.join("\n"));
        }
    }

    /// A table; columns after the first are aligned to the right.
    pub(super) fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        if rows.is_empty() {
            return;
        }
        let line = |cells: Vec<&str>| format!("| {} |", cells.join(" | "));
        let rule = head.iter().enumerate().map(|(at, _)| if at == 0 { "---" } else { "---:" }).collect();
        let mut lines = vec![line(head.to_vec()), line(rule)];
        lines.extend(rows.iter().map(|row| line(row.iter().map(String::as_str).collect())));
        self.paragraph(&lines.join("\n"));
    }

    /// Text that is shown as it is.
    pub(super) fn block(&mut self, language: &str, text: &str) {
        let fence = "`".repeat(longest_run(text).max(2) + 1);
        self.paragraph(&format!("{fence}{language}\n{}\n{fence}", text.trim_end()));
    }
}

/// Text from outside on one line, none of which is markup.
pub(super) fn text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if c.is_control() => escaped.push(' '),
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '<' | '>' | '(' | ')' | '#' | '+' | '-'
            | '!' | '|' | '~' | '$' | '&' | '.' => {
                // A point or dash is markup at the beginning of a line only, and would look odd elsewhere.
                if !matches!(c, '.' | '-' | '+' | '(' | ')' | '!') || escaped.is_empty() {
                    escaped.push('\\');
                }
                escaped.push(c);
            }
            c => escaped.push(c),
        }
    }
    escaped
}

/// Text from outside as code within a line, or within a cell of a table.
pub(super) fn code(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let line = line.replace('|', "\\|");
    let fence = "`".repeat(longest_run(&line) + 1);
    let space = if line.is_empty() || line.starts_with('`') || line.ends_with('`') { " " } else { "" };
    format!("{fence}{space}{line}{space}{fence}")
}

/// The longest run of backticks.
fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_is_no_markup() {
        assert_eq!(text("a_b <b> | [x](y)\n# z"), "a\\_b \\<b\\> \\| \\[x\\](y) \\# z");
        assert_eq!(text("- 1.5 & so on"), "\\- 1.5 \\& so on");
        assert_eq!(code("a `b` | c"), "``a `b` \\| c``");
        assert_eq!(code("`"), "`` ` ``");
    }

    #[test]
    fn a_block_cannot_be_closed_from_within() {
        let mut document = Document::default();
        document.block("toml", "a\n```\nb\n");
        assert_eq!(document.into_text(), "````toml\na\n```\nb\n````\n\n");
    }
}
