//! Gates, model versions and aliases.

use phalanx_core::{Input, Rejected};
use phalanx_protocol::{
    message::{Finished, Incumbent},
    view::JobState,
};

use crate::bench::Bench;

const REGISTER: [(&str, &str); 2] = [("register.model", "demo"), ("register.alias", "newest")];

#[test]
fn a_failed_gate_lists_every_gate_and_registers_nothing() {
    let gates = ("evaluate.gates", r#"["accuracy >= 0.5", "accuracy >= 0.95", "f1 > 0.1"]"#);
    let (mut bench, job, _) = Bench::train(1, &[REGISTER[0], gates]);
    bench.finish(&job);
    bench.check(&job, JobState::Failed);
    let reason = "the model is not registered: gate `accuracy >= 0.5` holds: accuracy is 0.9; \
                  gate `accuracy >= 0.95` failed: accuracy is 0.9; \
                  gate `f1 > 0.1` failed: the test split has no f1: it has accuracy";
    assert_eq!(bench.job(&job).reason.as_deref(), Some(reason));
    bench.write();
    assert!(bench.coordinator.models().is_empty());
}

const RELATIVE: (&str, &str) = ("evaluate.gates", r#"["accuracy >= @newest - 0.01"]"#);

#[test]
fn a_gate_against_another_version_holds_for_the_first_one_and_is_decided_after_that() {
    let (mut bench, first, members) = Bench::train(1, &[REGISTER[0], REGISTER[1], RELATIVE]);
    let assignment = bench.assignment(members[0]);
    assert_eq!(assignment.incumbents, [("newest".to_owned(), Incumbent::NoneYet)].into());
    bench.finish_with(&first, |end| {
        end.moot = [("accuracy - @newest".to_owned(), "there is no version yet".to_owned())].into();
        end.compared = [("newest".to_owned(), None)].into();
    });
    bench.check_said(&first, "gate `accuracy >= @newest - 0.01` holds: there is no version yet");
    bench.write();
    bench.confirm(members[0]);

    let second = bench.submit(&[REGISTER[0], REGISTER[1], RELATIVE]);
    bench.form(&second);
    let assignment = bench.assignment(members[0]);
    let Incumbent::Version { version, dataset, .. } = &assignment.incumbents["newest"] else {
        panic!("{:?}", assignment.incumbents)
    };
    assert_eq!((*version, dataset.as_str()), (1, "d1"));
    bench.finish_with(&second, |end| {
        end.metrics.insert("accuracy - @newest".to_owned(), -0.02);
        end.compared = [("newest".to_owned(), Some(1))].into();
    });
    bench.check(&second, JobState::Failed);
    let reason = bench.job(&second).reason.unwrap_or_default();
    assert!(reason.ends_with("failed: accuracy - @newest is -0.02"), "{reason}");
}

#[test]
fn a_version_that_was_compared_with_another_than_the_alias_names_now_is_measured_again() {
    let (mut bench, first, members) = Bench::train(1, &REGISTER);
    bench.finish(&first);
    bench.write();
    bench.confirm(members[0]);
    let second = bench.submit(&[REGISTER[0], RELATIVE]);
    bench.form(&second);
    let generation = bench.job(&second).generation;
    let outcome = |end: &mut Finished, version: u64| {
        end.metrics.insert("accuracy - @newest".to_owned(), 0.0);
        end.compared = [("newest".to_owned(), Some(version))].into();
    };
    bench.step(&second, 20);
    bench.finish_with(&second, |end| outcome(end, 7));
    bench.check_said(&second, "`@newest` means version 1 by now: the test split is measured again");
    assert!(bench.job(&second).generation > generation);
    bench.confirm(members[0]);
    bench.form_held(&second, 20);
    bench.finish_with(&second, |end| outcome(end, 1));
    bench.write();
    bench.check(&second, JobState::Done);
}

#[test]
fn a_name_that_no_version_has_is_told_with_those_that_there_are() {
    let (mut bench, first, members) = Bench::train(1, &REGISTER);
    bench.finish(&first);
    bench.write();
    bench.confirm(members[0]);
    let gate = ("evaluate.gates", r#"["accuracy >= @champoin"]"#);
    let second = bench.submit(&[REGISTER[0], gate]);
    bench.form(&second);
    let unknown = Incumbent::Unknown { known: "1, newest".to_owned() };
    assert_eq!(bench.assignment(members[0]).incumbents, [("champoin".to_owned(), unknown)].into());
    bench.finish_with(&second, |end| end.compared = [("champoin".to_owned(), None)].into());
    bench.check(&second, JobState::Failed);
}

#[test]
fn each_finished_job_makes_a_version_and_moves_the_alias() {
    let (mut bench, first, members) = Bench::train(1, &REGISTER);
    bench.finish(&first);
    bench.write();
    bench.confirm(members[0]);
    let second = bench.submit(&REGISTER);
    bench.form(&second);
    bench.finish(&second);
    bench.write();

    let model = bench.coordinator.model("demo").expect("a model");
    let versions: Vec<_> = model.versions.iter().map(|v| (v.version, v.parent, v.job.as_str())).collect();
    assert_eq!(versions, [(1, None, "demo-1"), (2, Some(1), "demo-2")]);
    assert_eq!(model.aliases.get("newest"), Some(&2));
    let history: Vec<_> = model.alias_history.iter().map(|c| (c.from, c.to, c.by.as_str())).collect();
    assert_eq!(history, [(None, 1, "demo-1"), (Some(1), 2, "demo-2")]);
}

#[test]
fn a_model_whose_manifest_cannot_be_written_is_registered_after_a_resume() {
    let (mut bench, job, _) = Bench::train(1, &REGISTER);
    bench.finish(&job);
    bench.fail_to_write();
    bench.check(&job, JobState::Paused);
    bench.restart();
    bench.check(&job, JobState::Paused);
    bench.call(Input::Resume { job: job.clone(), workers: None }).expect("a paused job goes on");
    bench.check(&job, JobState::Registering);
    bench.write();
    bench.check(&job, JobState::Done);
    assert_eq!(bench.coordinator.models()[0].versions.len(), 1);
}

#[test]
fn an_alias_is_moved_by_a_user_and_its_changes_are_kept() {
    let (mut bench, job, members) = Bench::train(1, &REGISTER);
    bench.finish(&job);
    bench.write();
    bench.confirm(members[0]);
    let set = |bench: &mut Bench, model: &str, alias: &str, version| {
        let (model, alias, by) = (model.to_owned(), alias.to_owned(), "user".to_owned());
        bench.call(Input::SetAlias { model, alias, version, by }).map(|_| ())
    };
    set(&mut bench, "demo", "production", 1).expect("an alias");
    set(&mut bench, "demo", "production", 1).expect("the same again");
    assert_eq!(set(&mut bench, "nothing", "a", 1), Err(Rejected::UnknownModel("nothing".to_owned())));
    let unknown = Rejected::UnknownVersion { model: "demo".to_owned(), version: 2 };
    assert_eq!(set(&mut bench, "demo", "a", 2), Err(unknown));
    for wrong in ["", "A", "3"] {
        assert_eq!(set(&mut bench, "demo", wrong, 1), Err(Rejected::WrongAlias(wrong.to_owned())));
    }
    bench.restart();
    let model = bench.coordinator.model("demo").expect("a model");
    let history: Vec<_> = model.alias_history.iter().map(|c| (c.alias.as_str(), c.by.as_str())).collect();
    assert_eq!(history, [("newest", "demo-1"), ("production", "user")]);
}
