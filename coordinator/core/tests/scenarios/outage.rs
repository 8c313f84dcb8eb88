//! An object store that is away while a job trains, forms and ends.

use std::time::Duration;

use phalanx_protocol::{
    message::Event,
    view::{JobState, JobView},
};

use crate::bench::Bench;

fn away() -> Event {
    Event::StoreAway { lasting: Duration::from_secs(7), why: "connection refused".to_owned() }
}

/// How often the store was said to be away, and to be back.
fn said(job: &JobView) -> (usize, usize) {
    let count = |text| job.messages.iter().filter(|message| message.text.contains(text)).count();
    (count("the object store does not answer"), count("answers again"))
}

#[test]
fn an_outage_is_told_once_with_its_start_its_end_and_the_last_checkpoint() {
    let (mut bench, job, members) = Bench::train(3, &[]);
    bench.save(&job, 5);
    for member in &members {
        bench.report(*member, &job, away());
    }
    let stalled = bench.job(&job);
    assert_eq!(stalled.state, JobState::Training);
    let outage = stalled.store_away.clone().expect("it is away");
    assert_eq!(outage.since.as_second(), bench.now.as_secs() as i64 - 7);
    let reason = stalled.reason.expect("it says so");
    assert!(reason.contains("stalled") && reason.contains("of step 5"), "{reason}");
    bench.step(&job, 9);
    assert_eq!(bench.job(&job).step, 9, "training goes on");

    bench.wait(Duration::from_secs(20), &members);
    bench.report(members[0], &job, Event::StoreBack);
    assert!(bench.job(&job).store_away.is_some(), "others still wait");
    bench.save_parts(&job, 10);
    let after = bench.job(&job);
    assert_eq!((after.store_away, after.reason), (None, None), "whoever has written is answered");
    assert_eq!(said(&bench.job(&job)), (1, 1));
    bench.check_said(&job, "the object store answers again, after 27 s");
}

#[test]
fn an_outage_goes_on_over_a_restart_and_the_next_generation() {
    let (mut bench, job, members) = Bench::train(2, &[]);
    bench.step(&job, 3);
    bench.report(members[0], &job, away());
    bench.restart();
    assert!(bench.job(&job).store_away.is_some());
    // Who told of it is lost; the other one finds it back.
    bench.call(phalanx_core::Input::Detach { worker: members[0] }).expect("leaving is taken");
    bench.confirm(members[1]);
    bench.form_held(&job, 3);
    assert!(bench.job(&job).store_away.is_some());
    bench.report(members[1], &job, Event::StoreBack);
    assert_eq!(bench.job(&job).store_away, None);
    assert_eq!(said(&bench.job(&job)), (1, 1));
}

#[test]
fn ranks_that_wait_for_the_store_to_load_their_state_are_given_time() {
    let (mut bench, job, members) = Bench::train(2, &[]);
    bench.save(&job, 5);
    for member in &members {
        bench.call(phalanx_core::Input::Detach { worker: *member }).expect("leaving is taken");
    }
    let others = bench.attach(2);
    let assignment = bench.assignment(others[0]);
    assert_eq!(assignment.resume.map(|resume| resume.step), Some(5));
    bench.report(others[0], &job, away());
    let generation = bench.job(&job).generation;
    bench.wait(crate::bench::LEASE * 200, &others);
    bench.check(&job, JobState::Forming);
    assert_eq!(bench.job(&job).generation, generation, "nobody is replaced");
    bench.report(others[0], &job, Event::StoreBack);
    bench.form(&job);
}

#[test]
fn a_job_at_its_end_says_that_it_waits_for_the_store() {
    let (mut bench, job, members) = Bench::train(1, &[]);
    bench.step(&job, 20);
    bench.report(members[0], &job, away());
    bench.report(members[0], &job, Event::Evaluating);
    bench.check_said(
        &job,
        "the object store still does not answer: the last checkpoint and the model's files wait",
    );
    bench.report(members[0], &job, Event::StoreBack);
    bench.save_parts(&job, 20);
    bench.write();
    bench.finish(&job);
    bench.check(&job, JobState::Done);
}

#[test]
fn others_join_while_a_manifest_waits_for_the_store() {
    let (mut bench, job, members) = Bench::train(2, &[("workers.max", "3")]);
    bench.step(&job, 5);
    bench.save_parts(&job, 5);
    let joined = bench.attach(1);
    bench.confirm(joined[0]);
    bench.report(joined[0], &job, Event::Fetched);
    for member in &members {
        bench.report(*member, &job, Event::Stopped { step: 6 });
        bench.confirm(*member);
    }
    bench.confirm(joined[0]);
    assert_eq!(bench.form_held(&job, 6).len(), 3);
}
