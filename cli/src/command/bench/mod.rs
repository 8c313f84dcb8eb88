//! `phalanx bench`: how fast workers train, and how fast they add up their
//! gradients, without a coordinator.

mod allreduce;
mod step;

use clap::{Args, Subcommand, ValueEnum};
use phalanx_agent::Transport;

use self::{
    allreduce::AllReduce,
    step::{Step, StepRank},
};
use crate::error::{CliError, Exit};

/// Measure how fast this machine trains
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx bench step examples/mnist.toml
  phalanx bench step examples/mnist.toml --workers 2
  phalanx bench allreduce --ranks 2 --transport tcp")]
pub(crate) struct Bench {
    #[command(subcommand)]
    what: What,
}

/// What is measured.
#[derive(Debug, Subcommand)]
enum What {
    Step(Step),
    Allreduce(AllReduce),
    #[command(hide = true)]
    StepRank(StepRank),
}

/// What carries numbers between two processes.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Carrier {
    /// Shared memory, and TCP between machines
    Auto,
    /// Shared memory
    Shm,
    /// TCP
    Tcp,
}

impl From<Carrier> for Transport {
    fn from(carrier: Carrier) -> Self {
        match carrier {
            Carrier::Auto => Self::Auto,
            Carrier::Shm => Self::SharedMemory,
            Carrier::Tcp => Self::Tcp,
        }
    }
}

impl Bench {
    /// Measures.
    pub(crate) async fn run(self) -> Result<Exit, CliError> {
        match self.what {
            What::Step(step) => return Box::pin(step.run()).await,
            What::Allreduce(reduce) => reduce.run()?,
            What::StepRank(rank) => rank.run().await?,
        }
        Ok(Exit::Done)
    }
}
