//! Two minutes of real faults in a real cluster: see `tests/src/bin/chaos`. The seed is always the
//! same here, so that a failure is not one of luck alone; `chaos --seed S` tries others.

use std::process::Command;

#[test]
fn two_minutes_of_faults_change_no_bit_and_lose_no_sample() {
    let mut chaos = Command::new(env!("CARGO_BIN_EXE_chaos"));
    let status = chaos.args(["--seed", "1", "--minutes", "2"]).status().expect("it can be started");
    assert!(status.success(), "{status}: the rounds above tell what went wrong and with which seed");
}
