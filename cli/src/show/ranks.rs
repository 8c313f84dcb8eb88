//! How fast a job's ranks are, and who of them is slow.

use phalanx_protocol::view::RankView;

use super::{
    style::{BAD, styled},
    table::{Column, indented, table},
};

/// All ranks of which that is known.
pub(super) fn ranks(ranks: &[RankView]) -> String {
    let mut table = table(&[
        Column::Figure("rank"),
        Column::Figure("worker"),
        Column::Figure("own time of a step"),
        Column::Figure("waiting"),
        Column::Figure("beside the median"),
        Column::Text(""),
    ]);
    for rank in ranks {
        table.add_row([
            rank.rank.to_string(),
            rank.worker.to_string(),
            milliseconds(rank.step_seconds),
            format!("{:.0} %", 100.0 * rank.waiting),
            rank.slowdown.map(|slowdown| format!("{slowdown:.2} ×")).unwrap_or_default(),
            if rank.straggler { styled(BAD, "straggler") } else { String::new() },
        ]);
    }
    indented(&table)
}

/// Three digits of a time, as steps take.
fn milliseconds(seconds: f64) -> String {
    let millis = 1e3 * seconds;
    let decimals = if millis < 10.0 { 2 } else { usize::from(millis < 100.0) };
    format!("{millis:.decimals$} ms")
}

#[cfg(test)]
mod tests {
    use phalanx_protocol::id::WorkerId;

    use super::*;

    #[test]
    fn a_straggler_is_marked_and_what_is_not_known_yet_left_out() {
        let rank = |rank, step_seconds, waiting, slowdown| RankView {
            rank,
            worker: WorkerId::new(u64::from(rank) + 7),
            step_seconds,
            waiting,
            slowdown,
            straggler: slowdown.is_some_and(|slowdown| slowdown > 1.5),
        };
        let text = ranks(&[
            rank(0, 0.002_51, 0.5, Some(1.0)),
            rank(1, 0.1255, 0.0, Some(50.0)),
            rank(2, 0.03, 0.1, None),
        ]);
        let text = anstream::adapter::strip_str(&text).to_string();
        let rows: Vec<Vec<&str>> =
            text.lines().skip(2).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[0], ["0", "7", "2.51", "ms", "50", "%", "1.00", "×"]);
        assert_eq!(rows[1], ["1", "8", "126", "ms", "0", "%", "50.00", "×", "straggler"]);
        assert_eq!(rows[2], ["2", "9", "30.0", "ms", "10", "%"]);
    }
}
