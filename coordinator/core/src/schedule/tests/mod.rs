//! Tests of the scheduler: `examples` of one situation each, the numbered
//! `properties` on random clusters, and how long a large one takes.

mod examples;
mod properties;
mod speed;
mod world;
