//! burn's generator of random numbers. There is one in a process; whoever draws
//! from it seeds it first and keeps everybody else away meanwhile.

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::Device;

static GENERATOR: Mutex<()> = Mutex::new(());

/// Seeds the generator. It belongs to the caller while the guard lives.
pub(crate) fn seeded(device: &Device, seed: u64) -> MutexGuard<'static, ()> {
    let guard = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    device.seed(seed);
    guard
}
