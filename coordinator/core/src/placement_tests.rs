//! Examples and the numbered properties of placement.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
struct Hand {
    kind: &'static str,
    tasks: Vec<String>,
    idle: bool,
}

fn hand(kind: &'static str, idle: bool) -> Hand {
    Hand { kind, tasks: Vec::new(), idle }
}

fn candidates(hands: &[Hand]) -> Vec<Candidate<'_>> {
    let numbered = (1..).map(WorkerId::new).zip(hands);
    numbered
        .map(|(worker, hand)| Candidate { worker, kind: hand.kind, tasks: &hand.tasks, idle: hand.idle })
        .collect()
}

fn needs(workers_min: usize, workers_max: usize) -> Waiting<'static> {
    Waiting { workers_min, workers_max, task: None, kind: None }
}

fn check(queue: &[Waiting<'_>], hands: &[Hand], expected: &[&str]) {
    let verdicts = place(queue, &candidates(hands));
    let words: Vec<String> = verdicts
        .iter()
        .map(|verdict| match verdict {
            Verdict::Start(workers) => workers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            Verdict::Wait(shortage) => shortage.to_string(),
        })
        .collect();
    assert_eq!(words, expected);
}

#[test]
fn a_job_takes_up_to_its_maximum_and_leaves_the_rest() {
    let idle = vec![hand("a", true); 5];
    check(&[needs(1, 2), needs(2, 4)], &idle, &["1 2", "3 4 5"]);
}

#[test]
fn kinds_are_not_mixed() {
    let hands = [hand("a", true), hand("b", true), hand("b", true)];
    check(&[needs(1, 4)], &hands, &["2 3"]);
    check(&[needs(3, 4)], &hands, &["waits for 3 workers of one kind: 2 attached"]);
    let stays = Waiting { kind: Some("a"), ..needs(1, 4) };
    check(&[stays], &hands, &["1"]);
}

#[test]
fn a_waiting_job_holds_back_idle_workers_only_if_the_cluster_is_large_enough_for_it() {
    let hands = [hand("a", true), hand("a", false)];
    let busy = "waits for 2 idle workers: of 2 that fit, 1 can be had now";
    let behind = "waits for 1 idle worker: of 2 that fit, 0 can be had now";
    check(&[needs(2, 2), needs(1, 1)], &hands, &[busy, behind]);
    check(&[needs(3, 3), needs(1, 1)], &hands, &["waits for 3 workers of one kind: 2 attached", "1"]);
}

#[test]
fn a_waiting_job_says_why() {
    check(&[needs(1, 1)], &[], &["waits for workers: none is attached"]);
    let own = Waiting { task: Some("mine"), ..needs(1, 1) };
    check(
        &[own],
        &[hand("a", true)],
        &["waits for a worker that has the task `mine`: none of the 1 attached has it"],
    );
    let stays = Waiting { kind: Some("b"), ..needs(1, 1) };
    check(
        &[stays],
        &[hand("a", true)],
        &["waits for a worker of kind b, on which it began: none of the 1 attached is"],
    );
    let own_and_stays = Waiting { kind: Some("b"), ..own };
    let able = Hand { tasks: vec!["mine".to_owned()], ..hand("a", true) };
    check(
        &[own_and_stays],
        &[hand("b", true)],
        &["waits for a worker that has the task `mine`: none of the 1 attached has it"],
    );
    check(
        &[own_and_stays],
        &[able, hand("b", true)],
        &[
            "waits for a worker that has the task `mine` and is of kind b, on which it began: none of those attached \
           is both",
        ],
    );
}

#[test]
fn ten_thousand_jobs_on_a_thousand_workers_are_placed() {
    let hands: Vec<Hand> = (0..1_000).map(|n| hand(if n % 2 == 0 { "a" } else { "b" }, n % 3 == 0)).collect();
    let queue: Vec<Waiting<'_>> = (0..10_000).map(|n| needs(1 + n % 8, 8)).collect();
    let started =
        place(&queue, &candidates(&hands)).iter().filter(|v| matches!(v, Verdict::Start(_))).count();
    assert!(started >= 40, "{started}");
}

fn any_hand() -> impl Strategy<Value = Hand> {
    (prop::sample::select(vec!["a", "b", "c"]), any::<bool>(), any::<bool>()).prop_map(
        |(kind, task, idle)| Hand {
            kind,
            tasks: if task { vec!["mine".to_owned()] } else { Vec::new() },
            idle,
        },
    )
}

fn any_waiting() -> impl Strategy<Value = Waiting<'static>> {
    let kind = prop::sample::select(vec![None, Some("a"), Some("d")]);
    (1..5_usize, 0..5_usize, any::<bool>(), kind).prop_map(|(workers_min, more, task, kind)| Waiting {
        workers_min,
        workers_max: workers_min + more,
        task: task.then_some("mine"),
        kind,
    })
}

fn fits(job: &Waiting<'_>, worker: &Candidate<'_>) -> bool {
    job.task.is_none_or(|task| worker.tasks.iter().any(|has| has == task))
        && job.kind.is_none_or(|kind| kind == worker.kind)
}

proptest! {
    #[test]
    fn placement_keeps_its_properties(
        queue in prop::collection::vec(any_waiting(), 0..8),
        hands in prop::collection::vec(any_hand(), 0..12),
    ) {
        let workers = candidates(&hands);
        let verdicts = place(&queue, &workers);
        prop_assert_eq!(verdicts.len(), queue.len());
        let mut left: BTreeSet<WorkerId> = workers.iter().filter(|w| w.idle).map(|w| w.worker).collect();
        let by_id = |id: &WorkerId| workers.iter().find(|w| w.worker == *id).expect("an attached worker");
        for (job, verdict) in queue.iter().zip(&verdicts) {
            if let Verdict::Start(given) = verdict {
                prop_assert!((job.workers_min..=job.workers_max).contains(&given.len()), "property 3");
                for worker in given {
                    prop_assert!(left.remove(worker), "property 1");
                    prop_assert!(fits(job, by_id(worker)), "property 2");
                    prop_assert_eq!(by_id(worker).kind, by_id(&given[0]).kind, "property 2");
                }
            }
        }
        prop_assert_eq!(&place(&queue, &workers), &verdicts, "property 6");
        check_nobody_waits_in_vain(&queue, &workers, &verdicts)?;
    }
}

/// Properties 4 and 5, told in another way than the algorithm does: replay the
/// verdicts and look at what each waiting job could have had.
fn check_nobody_waits_in_vain(
    queue: &[Waiting<'_>],
    workers: &[Candidate<'_>],
    verdicts: &[Verdict],
) -> Result<(), TestCaseError> {
    let mut free: BTreeSet<WorkerId> = workers.iter().filter(|w| w.idle).map(|w| w.worker).collect();
    for (job, verdict) in queue.iter().zip(verdicts) {
        let of_kind = |kind: &str, idle_only: bool| {
            workers
                .iter()
                .filter(|w| w.kind == kind && fits(job, w) && (!idle_only || free.contains(&w.worker)))
                .map(|w| w.worker)
                .collect::<Vec<_>>()
        };
        match verdict {
            Verdict::Start(given) => free.retain(|worker| !given.contains(worker)),
            Verdict::Wait(shortage) => {
                for kind in ["a", "b", "c"] {
                    prop_assert!(of_kind(kind, true).len() < job.workers_min, "property 4");
                }
                let large_enough =
                    ["a", "b", "c"].iter().any(|kind| of_kind(kind, false).len() >= job.workers_min);
                prop_assert_eq!(matches!(shortage, Shortage::Busy { .. }), large_enough, "property 5");
                if let Shortage::Busy { idle, .. } = shortage {
                    let held = ["a", "b", "c"]
                        .into_iter()
                        .filter(|kind| of_kind(kind, false).len() >= job.workers_min)
                        .map(|kind| of_kind(kind, true))
                        .rev()
                        .max_by_key(Vec::len)
                        .unwrap_or_default();
                    prop_assert_eq!(held.len(), *idle, "property 5");
                    free.retain(|worker| !held.contains(worker));
                }
            }
        }
    }
    Ok(())
}
