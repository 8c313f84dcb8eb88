//! Gates, model versions and aliases.

use phalanx_core::{Input, Rejected};
use phalanx_protocol::view::JobState;

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
