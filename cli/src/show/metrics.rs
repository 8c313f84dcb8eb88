//! The metrics of a split: single figures, figures by class, and the confusion
//! matrix where it is small enough to be read.

use std::collections::BTreeMap;

use comfy_table::{Attribute, Cell, CellAlignment, Color};
use phalanx_protocol::message::{Confusion, Metrics};

use super::{
    number::{count, figure},
    table::{Column, bare, indented, table},
};

/// More classes make no table: `--json` has them all.
const CLASSES_SHOWN_MAX: usize = 12;

/// All that is known of a split, as tables one below the other.
pub(super) fn metrics(metrics: &Metrics, confusion: Option<&Confusion>) -> String {
    let mut text = indented(&overall(metrics));
    let classes = by_class(metrics);
    let order: Vec<&str> = match confusion {
        Some(confusion) => confusion.classes.iter().map(String::as_str).collect(),
        None => classes.keys().copied().collect(),
    };
    if order.len() > CLASSES_SHOWN_MAX {
        text.push_str(&format!("\n  {} classes; --json shows the figures of each\n", order.len()));
        return text;
    }
    if !classes.is_empty() {
        text.push('\n');
        text.push_str(&indented(&class_table(&classes, &order)));
    }
    if let Some(confusion) = confusion {
        text.push('\n');
        text.push_str(&indented(&matrix(confusion)));
    }
    text
}

/// Figures of the whole split, in the order in which people ask for them.
fn overall(metrics: &Metrics) -> comfy_table::Table {
    const FIRST: &[&str] =
        &["accuracy", "precision", "recall", "f1", "roc_auc", "r2", "rmse", "mae", "bits_per_byte"];
    let rank = |name: &str| FIRST.iter().position(|first| *first == name).unwrap_or(FIRST.len());
    let mut whole: Vec<(&String, &f64)> = metrics.iter().filter(|(name, _)| !name.contains('[')).collect();
    whole.sort_by_key(|(name, _)| (rank(name), name.as_str()));
    let mut table = bare();
    for (name, value) in whole {
        table.add_row([Cell::new(name), Cell::new(figure(*value)).set_alignment(CellAlignment::Right)]);
    }
    table
}

/// `f1[setosa] = 1` as `setosa → f1 → 1`.
fn by_class(metrics: &Metrics) -> BTreeMap<&str, BTreeMap<&str, f64>> {
    let mut classes: BTreeMap<&str, BTreeMap<&str, f64>> = BTreeMap::new();
    for (name, value) in metrics {
        // Gates look at slices and groups, too, whose figures are called alike.
        let of_part =
            |(metric, class): &(&str, &str)| metric.starts_with("fairness.") || class.starts_with("slice:");
        let parts = name.strip_suffix(']').and_then(|name| name.split_once('['));
        if let Some((metric, class)) = parts.filter(|parts| !of_part(parts)) {
            classes.entry(class).or_default().insert(metric, *value);
        }
    }
    classes
}

fn class_table(classes: &BTreeMap<&str, BTreeMap<&str, f64>>, order: &[&str]) -> comfy_table::Table {
    const NAMES: [&str; 4] = ["precision", "recall", "f1", "roc_auc"];
    let known = NAMES.iter().filter(|name| classes.values().any(|class| class.contains_key(*name)));
    let known: Vec<&'static str> = known.copied().collect();
    let columns: Vec<Column> =
        std::iter::once(Column::Text("class")).chain(known.iter().map(|name| Column::Figure(name))).collect();
    let mut table = table(&columns);
    for class in order {
        let figures = classes.get(class);
        let cells = known.iter().map(|name| {
            figures
                .and_then(|figures| figures.get(name))
                .map_or_else(|| "–".to_owned(), |value| figure(*value))
        });
        table.add_row(std::iter::once((*class).to_owned()).chain(cells));
    }
    table
}

/// Truths down, predictions across; what is right stands on the diagonal.
fn matrix(confusion: &Confusion) -> comfy_table::Table {
    let mut table = bare();
    let head = std::iter::once("truth \\ predicted").chain(confusion.classes.iter().map(String::as_str));
    table.set_header(head.map(|text| Cell::new(text).add_attribute(Attribute::Bold)));
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for (truth, (class, counts)) in confusion.classes.iter().zip(&confusion.counts).enumerate() {
        let cells = counts.iter().enumerate().map(|(prediction, times)| {
            let cell = Cell::new(if *times == 0 { "·".to_owned() } else { count(*times) });
            match (truth == prediction, *times) {
                (true, _) => cell.fg(Color::Green).add_attribute(Attribute::Bold),
                (false, 0) => cell.add_attribute(Attribute::Dim),
                (false, _) => cell,
            }
        });
        table.add_row(std::iter::once(Cell::new(class)).chain(cells));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn classes_have_tables_of_their_own() {
        let values = [
            ("accuracy", 0.9),
            ("log_loss", 0.25),
            ("f1", 0.875),
            ("f1[no]", 0.9),
            ("f1[yes]", 0.85),
            ("recall[no]", 0.95),
        ];
        let values: Metrics = values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        let confusion = Confusion {
            classes: vec!["no".to_owned(), "yes".to_owned()],
            counts: vec![vec![1_900, 100], vec![0, 12]],
        };
        insta::assert_snapshot!(plain(&metrics(&values, Some(&confusion))));
    }

    #[test]
    fn many_classes_are_only_counted() {
        let classes: Vec<String> = (0..13).map(|class| class.to_string()).collect();
        let confusion = Confusion { counts: vec![vec![0; 13]; 13], classes };
        let text = metrics(&Metrics::from([("accuracy".to_owned(), 0.5)]), Some(&confusion));
        assert!(plain(&text).ends_with("13 classes; --json shows the figures of each\n"), "{text}");
    }
}
