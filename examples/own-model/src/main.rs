//! A worker binary with a model of its own beside the built-in ones. It takes the
//! flags of `phalanx worker`.

mod mixture;

use std::process::ExitCode;

use mixture::Mixture;
use phalanx_train::Tasks;

fn main() -> ExitCode {
    phalanx_agent::main(Tasks::new().with("mixture", Mixture::new))
}
