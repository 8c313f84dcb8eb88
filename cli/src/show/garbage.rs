//! A garbage collection: a line that moves while it goes on, on standard error, and a table at its end.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use phalanx_protocol::view::{GarbageView, GcView};

use super::{
    number::{bytes, count},
    table::{Column, indented, table},
};

/// The line while it goes on; nothing where standard error is no terminal.
#[derive(Debug)]
pub(crate) struct GcProgress(ProgressBar);

impl GcProgress {
    /// The store is looked through.
    pub(crate) fn begin() -> Self {
        let style = ProgressStyle::with_template("{spinner} {msg}").expect("a right template");
        let bar = ProgressBar::new_spinner().with_style(style).with_message("looking through the store");
        bar.enable_steady_tick(Duration::from_millis(120));
        Self(bar)
    }

    /// This much is done.
    pub(crate) fn show(&self, view: &GcView) {
        let total = total(view);
        let (deleted, files) = (count(total.deleted_files), count(total.files));
        self.0.set_message(format!("{deleted} of {files} files deleted, {}", bytes(total.deleted_bytes)));
    }

    /// Takes the line away.
    pub(crate) fn end(self) {
        self.0.finish_and_clear();
    }
}

/// What was found and what became of it.
pub(crate) fn garbage(view: &GcView) -> String {
    let mut text = String::new();
    if view.garbage.is_empty() {
        text.push_str("nothing to delete\n");
    } else {
        let outcome = if view.dry_run { "found" } else { "deleted" };
        let mut table = table(&[Column::Text("kind"), Column::Figure("files"), Column::Figure(outcome)]);
        let kinds = view.garbage.iter().map(|(kind, of_kind)| (kind.as_str(), *of_kind));
        for (name, of_kind) in kinds.chain([("in all", total(view))]) {
            let (files, size) = if view.dry_run {
                (of_kind.files, of_kind.bytes)
            } else {
                (of_kind.deleted_files, of_kind.deleted_bytes)
            };
            table.add_row([name.to_owned(), count(files), bytes(size)]);
        }
        text.push_str(&indented(&table));
    }
    if let Some(job) = &view.preparing {
        text.push_str(&format!("data sets were left alone, since {job} prepares one\n"));
    }
    if view.more {
        text.push_str("there is more: run it again\n");
    }
    text
}

fn total(view: &GcView) -> GarbageView {
    view.garbage.values().fold(GarbageView::default(), |sum, of_kind| GarbageView {
        files: sum.files + of_kind.files,
        bytes: sum.bytes + of_kind.bytes,
        deleted_files: sum.deleted_files + of_kind.deleted_files,
        deleted_bytes: sum.deleted_bytes + of_kind.deleted_bytes,
    })
}

#[cfg(test)]
mod tests {
    use phalanx_protocol::{id::JobId, view::GarbageKind};

    use super::*;

    fn view(dry_run: bool) -> GcView {
        let of_kind = |files, deleted_files| GarbageView {
            files,
            bytes: files * 1_500_000,
            deleted_files,
            deleted_bytes: deleted_files * 1_500_000,
        };
        let garbage =
            [(GarbageKind::Checkpoint, of_kind(1_200, 1_200)), (GarbageKind::Unfinished, of_kind(2, 1))]
                .into();
        GcView { dry_run, garbage, done: true, ..GcView::default() }
    }

    #[test]
    fn a_dry_run_tells_what_was_found_and_a_real_one_what_was_deleted() {
        let rows = |dry_run| -> Vec<Vec<String>> {
            let text = anstream::adapter::strip_str(&garbage(&view(dry_run))).to_string();
            let lines = text.lines().filter(|line| !line.contains('─'));
            lines
                .map(|line| {
                    line.split("  ")
                        .map(str::trim)
                        .filter(|cell| !cell.is_empty())
                        .map(str::to_owned)
                        .collect()
                })
                .collect()
        };
        let found = [
            ["kind", "files", "found"],
            ["checkpoint", "1,200", "1.80 GB"],
            ["unfinished", "2", "3.00 MB"],
            ["in all", "1,202", "1.80 GB"],
        ];
        assert_eq!(rows(true), found);
        let deleted = [
            ["kind", "files", "deleted"],
            ["checkpoint", "1,200", "1.80 GB"],
            ["unfinished", "1", "1.50 MB"],
            ["in all", "1,201", "1.80 GB"],
        ];
        assert_eq!(rows(false), deleted);
    }

    #[test]
    fn what_was_left_is_told() {
        let left = GcView { more: true, preparing: Some(JobId::new("mnist", 3)), ..GcView::default() };
        let text = garbage(&left);
        assert_eq!(
            text,
            "nothing to delete\ndata sets were left alone, since mnist-3 prepares one\nthere is more: run it again\n"
        );
    }
}
