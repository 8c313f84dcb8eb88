//! A harness around the real binary: jobs in a folder of their own, processes
//! that are started, interrupted and killed, and what they say.

mod api;
mod certificates;
mod cluster;
mod disk;
mod etcd;
mod job;
mod network;
mod process;
mod script;
mod seaweed;
mod wait;

pub use api::Api;
pub use certificates::Certificates;
pub use cluster::{Cluster, free_addresses};
pub use disk::SmallDisk;
pub use etcd::Etcd;
pub use job::{Job, examples};
pub use network::{Cut, Network};
pub use process::{Ended, Home, Running, Signal, binary, expect_gone, freeze, send};
pub use script::{root, script};
pub use seaweed::SeaweedFs;
pub use wait::{Deadline, eventually};
