//! Work over many pieces at once whose results come in the order of the pieces:
//! so that what is made of a source is the same bits on any number of threads.
//!
//! One thread cuts pieces off, some work on them, and the caller's folds the
//! results. All queues are short: memory is bounded by a few pieces.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, mpsc},
    thread,
};

use crate::PrepareError;

/// Pieces that are worked on or wait, for each thread that works.
const PIECES_AHEAD: usize = 2;

/// Threads that work on pieces: as many as the machine has processors, up to a point.
pub(crate) fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from).min(16)
}

/// Does `work` on every piece, and `fold` on every result in the order of the pieces, until the first error.
///
/// `lost` is the error of a piece whose work ended in a panic.
pub(crate) fn ordered<P: Send, R: Send>(
    threads: usize,
    pieces: impl Iterator<Item = Result<P, PrepareError>> + Send,
    work: impl Fn(P) -> Result<R, PrepareError> + Sync,
    mut fold: impl FnMut(R) -> Result<(), PrepareError>,
    lost: impl Fn() -> PrepareError + Sync,
) -> Result<(), PrepareError> {
    let threads = threads.max(1);
    let (to_work, waiting) = mpsc::sync_channel::<(P, mpsc::Sender<Result<R, PrepareError>>)>(threads);
    let (in_order, results) = mpsc::sync_channel(threads * PIECES_AHEAD);
    let waiting = Mutex::new(waiting);
    let (work, waiting, lost) = (&work, &waiting, &lost);
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut pieces = pieces;
            loop {
                // A reader of damaged files may panic, too.
                let next = catch_unwind(AssertUnwindSafe(|| pieces.next()));
                let Some(piece) = next.unwrap_or_else(|_| Some(Err(lost()))) else { break };
                let (done, result) = mpsc::channel();
                // Either end is gone if folding has ended with an error.
                if in_order.send(result).is_err() {
                    break;
                }
                let sent = match piece {
                    Ok(piece) => to_work.send((piece, done)).is_ok(),
                    Err(error) => {
                        let _ = done.send(Err(error));
                        false
                    }
                };
                if !sent {
                    break;
                }
            }
        });
        for _ in 0..threads {
            scope.spawn(move || {
                loop {
                    let next = waiting.lock().expect("invariant: nobody panics while waiting").recv();
                    let Ok((piece, done)) = next else { break };
                    let result = catch_unwind(AssertUnwindSafe(|| work(piece)));
                    // Without a result the sender is dropped, which the other end notices.
                    if let Ok(result) = result {
                        let _ = done.send(result);
                    }
                }
            });
        }
        for result in results {
            fold(result.recv().map_err(|_| lost())??)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost() -> PrepareError {
        PrepareError::Crashed { path: "lost".into() }
    }

    #[test]
    fn results_come_in_the_order_of_the_pieces_on_any_number_of_threads() {
        for threads in 1..6 {
            let mut seen = Vec::new();
            let work = |piece: u64| {
                std::thread::sleep(std::time::Duration::from_micros(piece * 7 % 50));
                Ok(piece * 2)
            };
            let fold = |result| {
                seen.push(result);
                Ok(())
            };
            ordered(threads, (0..200).map(Ok), work, fold, lost).unwrap();
            assert_eq!(seen, (0..200).map(|piece| piece * 2).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_first_error_in_the_order_of_the_pieces_ends_it() {
        let refuse = |piece: u64| match piece {
            7.. => Err(PrepareError::Crashed { path: piece.to_string().into() }),
            _ => Ok(()),
        };
        let error = ordered(3, (0..1_000_000).map(Ok), refuse, Ok, lost).unwrap_err();
        assert!(error.to_string().starts_with("7:"), "{error}");
    }

    #[test]
    fn a_panic_becomes_an_error() {
        let error = ordered(2, (0..9).map(Ok), |piece: u64| Ok(1 / (piece - 4)), |_: u64| Ok(()), lost);
        assert!(error.unwrap_err().to_string().starts_with("lost"));
    }
}
