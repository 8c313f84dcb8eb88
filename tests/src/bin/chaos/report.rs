//! What is printed at the end.

use std::collections::BTreeMap;

use crate::round::Outcome;

/// Prints the tables of all rounds. Returns whether all went well.
pub(crate) fn print(outcomes: &[Outcome]) -> bool {
    let mut faults = BTreeMap::new();
    for (kind, count) in outcomes.iter().flat_map(|outcome| &outcome.faults) {
        *faults.entry(*kind).or_insert(0) += count;
    }
    println!("\n{:<14} {:>8}", "fault", "injected");
    for (kind, count) in &faults {
        println!("{kind:<14} {count:>8}");
    }
    println!(
        "\n{:<8} {:>8} {:>7} {:>8} {:>12} {:>8} {:>10}  {:<12} audit",
        "seed", "seconds", "faults", "steps", "generations", "repeated", "pauses", "hash"
    );
    for outcome in outcomes {
        let Outcome { seed, time, faults, pauses, steps, generations, same_hash, audit, .. } = outcome;
        let count: u32 = faults.values().sum();
        let repeated = audit.as_ref().map_or(0, |verdict| verdict.steps_repeated);
        let hash = match same_hash {
            Some(true) => "the same",
            Some(false) => "ANOTHER",
            None => "NONE",
        };
        let verdict = match audit {
            Some(verdict) if verdict.is_right() => format!("exactly once, {} samples", verdict.samples),
            Some(verdict) => format!("WRONG in {} places", verdict.violation_count),
            None => "NONE".to_owned(),
        };
        let seconds = time.as_secs();
        println!(
            "{seed:<8} {seconds:>8} {count:>7} {steps:>8} {generations:>12} {repeated:>8} {pauses:>10}  {hash:<12} {verdict}"
        );
    }
    let failed: Vec<_> = outcomes.iter().filter(|outcome| !outcome.wrong.is_empty()).collect();
    for outcome in &failed {
        println!("\nFAILED with seed {}: {}", outcome.seed, outcome.wrong.join("; "));
        println!("{}", outcome.events);
    }
    let (failed, all) = (failed.len(), outcomes.len());
    println!(
        "\n{} of {all} rounds ended in the same bits, with every sample in exactly one step",
        all - failed
    );
    failed == 0
}
