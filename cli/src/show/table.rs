//! The one look that all tables have: no frame, a bold head, a line beneath it.

use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, Table};

/// How a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    /// Words, from the left.
    Text(&'static str),
    /// Figures, from the right.
    Figure(&'static str),
}

/// A table with these columns and no rows.
pub(super) fn table(columns: &[Column]) -> Table {
    let mut table = bare();
    table.set_header(columns.iter().map(|column| {
        let (Column::Text(name) | Column::Figure(name)) = column;
        Cell::new(name).add_attribute(Attribute::Bold)
    }));
    for (column, kind) in table.column_iter_mut().zip(columns) {
        if matches!(kind, Column::Figure(_)) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// A table without a head, its columns one after the other.
pub(super) fn bare() -> Table {
    let mut table = Table::new();
    // A line below the head and nothing else.
    table.load_preset("     ──             ").set_content_arrangement(ContentArrangement::Disabled);
    table.enforce_styling();
    table
}

/// The table as text, moved in by two, with no blanks at the ends of lines.
pub(super) fn indented(table: &Table) -> String {
    let mut table = table.clone();
    if let Some(last) = table.column_count().checked_sub(1).and_then(|last| table.column_mut(last)) {
        last.set_padding((1, 0));
    }
    table.lines().map(|line| format!("  {}\n", line.trim_end())).collect()
}
