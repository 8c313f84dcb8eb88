//! What the coordinator does, one situation at a time. `bench` drives it in
//! virtual time and checks its invariants after each input.

#[path = "../support/mod.rs"]
mod support;

mod bench;
mod demand;
mod differ;
mod elastic;
mod garbage;
mod life;
mod loss;
mod outage;
mod registry;
mod restart;
mod schedule;
mod stop;
mod straggler;
