//! What ranks get when something goes wrong: an error that says what, in time, on
//! every rank; never a hang and never a sum.

mod support;

use std::{
    io::{self, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use phalanx_collective::{CollectiveError, Field, Group, GroupConfig, Listener, Operation, WireError};
use support::{PATIENT, TRANSPORTS, abort, config, form_a_group, listener, on_ranks, on_ranks_within};

fn reduce(group: &mut Group, len: usize) -> Result<(), CollectiveError> {
    let mut lanes: Vec<_> = group.lanes().map(|_| vec![1.0; len]).collect();
    group.all_reduce_lanes(&mut lanes, &mut vec![0.0; len])
}

/// Connects two ranks whose settings `change` makes differ. Their results, by rank.
fn connect_two(change: impl Fn(&mut GroupConfig) + Sync) -> [Result<Group, CollectiveError>; 2] {
    let listeners = [listener(), listener()];
    let config = config(4, &listeners);
    thread::scope(|scope| {
        let ranks = [0, 1].map(|rank| {
            let mut config = GroupConfig { rank, ..config.clone() };
            change(&mut config);
            let listener = &listeners[rank as usize];
            scope.spawn(move || Group::connect(listener, config, &abort()))
        });
        ranks.map(|rank| rank.join().expect("a rank does not panic"))
    })
}

#[test]
fn a_rank_that_is_gone_is_an_error_on_all_others() {
    for transport in TRANSPORTS {
        let errors = on_ranks(transport, 3, 3, |mut group| match group.rank() {
            1 => None,
            _ => Some(reduce(&mut group, 3_000_000).expect_err("rank 1 is gone")),
        });
        for error in errors.iter().flatten() {
            assert!(matches!(error, CollectiveError::Lost { .. }), "{error}");
        }
        let named = |error: &CollectiveError| matches!(error, CollectiveError::Lost { rank: 1, .. });
        assert!(errors.iter().flatten().any(named), "the first to notice names it: {errors:?}");
    }
}

#[test]
fn a_rank_of_a_hypercube_that_is_gone_is_an_error_on_all_others() {
    for transport in TRANSPORTS {
        let ends = on_ranks(transport, 16, 16, |mut group| match group.rank() {
            5 => None,
            _ => Some(group.barrier().and_then(|()| reduce(&mut group, 1_000)).expect_err("rank 5 is gone")),
        });
        for error in ends.iter().flatten() {
            assert!(matches!(error, CollectiveError::Lost { .. }), "{error}");
        }
    }
}

#[test]
fn a_group_is_broken_after_its_first_error() {
    for transport in TRANSPORTS {
        on_ranks(transport, 2, 2, |mut group| {
            if group.rank() == 0 {
                assert!(reduce(&mut group, 10).is_err());
                assert!(matches!(reduce(&mut group, 10), Err(CollectiveError::Broken)));
                assert!(matches!(group.barrier(), Err(CollectiveError::Broken)));
            }
        });
    }
}

#[test]
fn vectors_of_different_lengths_are_never_added() {
    for transport in TRANSPORTS {
        for lens in [[10, 11, 10], [1, 0, 1], [1_000_000, 1_000_001, 1_000_000]] {
            let errors = on_ranks(transport, 3, 3, |mut group| {
                let len = lens[group.rank() as usize];
                reduce(&mut group, len).expect_err("lengths differ")
            });
            let told = |error: &CollectiveError| {
                matches!(error, CollectiveError::Disagreement { field: Field::Subject, .. })
            };
            assert!(errors.iter().any(told), "{errors:?}");
            let ended =
                |error: &CollectiveError| told(error) || matches!(error, CollectiveError::Lost { .. });
            assert!(errors.iter().all(ended), "{errors:?}");
        }
    }
}

#[test]
fn ranks_in_different_operations_are_told_so() {
    for transport in TRANSPORTS {
        let errors = on_ranks(transport, 2, 2, |mut group| match group.rank() {
            0 => group.barrier().expect_err("rank 1 does something else"),
            _ => reduce(&mut group, 0).expect_err("rank 0 does something else"),
        });
        let told = |error: &CollectiveError| {
            matches!(
                error,
                CollectiveError::Operation { expected: Operation::Barrier, actual: Operation::AllReduce, .. }
                    | CollectiveError::Operation {
                        expected: Operation::AllReduce,
                        actual: Operation::Barrier,
                        ..
                    }
            )
        };
        assert!(errors.iter().any(told), "{errors:?}");
    }
}

#[test]
fn a_silent_rank_ends_the_wait_after_the_timeout() {
    // A message that fits into the system's buffers, and one that does not.
    for (transport, len) in
        TRANSPORTS.into_iter().flat_map(|transport| [(transport, 10), (transport, 8_000_000)])
    {
        // Connecting must not take as long on a busy machine.
        let timeout = Duration::from_secs(2);
        let waited = std::sync::Barrier::new(2);
        on_ranks_within(timeout, transport, 2, 2, |mut group| {
            if group.rank() == 0 {
                let begun = Instant::now();
                let error = reduce(&mut group, len).expect_err("rank 1 is silent");
                assert!(matches!(&error, CollectiveError::Timeout { ranks, .. } if *ranks == [1]), "{error}");
                assert!(begun.elapsed() >= timeout);
            }
            waited.wait();
        });
    }
}

#[test]
fn wrong_arguments_are_errors_and_end_the_group_for_all() {
    for transport in TRANSPORTS {
        let errors = on_ranks(transport, 4, 2, |mut group| match group.rank() {
            0 => group.all_reduce_lanes(&mut [vec![1.0]], &mut [0.0]).expect_err("one lane is missing"),
            _ => reduce(&mut group, 1).expect_err("rank 0 gave up"),
        });
        assert!(matches!(errors[0], CollectiveError::Argument { actual: 1, .. }), "{}", errors[0]);
        assert!(matches!(errors[1], CollectiveError::Lost { rank: 0, .. }), "{}", errors[1]);

        on_ranks(transport, 1, 1, |mut group| {
            let error = group.all_reduce_lanes(&mut [vec![1.0; 2]], &mut [0.0]).expect_err("lengths differ");
            assert!(matches!(error, CollectiveError::Argument { actual: 2, .. }), "{error}");
        });
        on_ranks(transport, 1, 1, |mut group| {
            let error = group.broadcast(1, &mut Vec::new()).expect_err("there is no rank 1");
            assert!(matches!(error, CollectiveError::Argument { actual: 1, .. }), "{error}");
        });
    }
}

#[test]
fn settings_that_are_no_groups_are_errors() {
    let listeners = [listener(), listener()];
    let right = config(2, &listeners);
    let wrong = [
        GroupConfig { job: String::new(), ..right.clone() },
        GroupConfig { job: "x".repeat(129), ..right.clone() },
        GroupConfig { rank: 2, ..right.clone() },
        GroupConfig { lanes: 1, ..right.clone() },
        GroupConfig { lanes: 65, ..right.clone() },
        GroupConfig { peers: Vec::new(), ..right.clone() },
        GroupConfig { timeout: Duration::ZERO, ..right.clone() },
        GroupConfig { timeout: Duration::MAX, ..right },
    ];
    for config in wrong {
        let result = Group::connect(&listeners[0], config.clone(), &abort());
        assert!(matches!(result, Err(CollectiveError::Argument { .. })), "{config:?}");
    }
}

#[test]
fn ranks_that_disagree_on_the_lanes_are_both_told() {
    for (rank, result) in connect_two(|config| config.lanes += config.rank).into_iter().enumerate() {
        let error = result.expect_err("lanes differ");
        let (expected, actual) = if rank == 0 { (4, 5) } else { (5, 4) };
        match error {
            CollectiveError::Disagreement { field: Field::Lanes, expected: e, actual: a, .. } => {
                assert_eq!((e, a), (expected, actual));
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_rank_of_an_older_generation_is_refused() {
    let listeners = [listener(), listener()];
    let alone = GroupConfig { generation: 5, ..config(1, &listeners[..1]) };
    let _newer = Group::connect(&listeners[0], alone, &abort()).expect("it is alone");
    let stale = GroupConfig { generation: 4, rank: 1, ..config(2, &listeners) };
    let error = Group::connect(&listeners[1], stale, &abort()).expect_err("rank 0 is past it");
    assert!(matches!(error, CollectiveError::Refused { rank: 0, generation: 4, newest: 5 }), "{error}");
}

#[test]
fn a_generation_is_opened_once_and_never_after_a_newer_one() {
    let listeners = [listener()];
    for (generation, newest) in [(3, None), (3, Some(3)), (2, Some(3)), (4, None)] {
        let config = GroupConfig { generation, ..config(1, &listeners) };
        match (Group::connect(&listeners[0], config, &abort()), newest) {
            (Ok(_), None) => {}
            (Err(CollectiveError::Superseded { newest, .. }), Some(expected)) => {
                assert_eq!(newest, expected);
            }
            (result, newest) => panic!("generation {generation}: {result:?} instead of {newest:?}"),
        }
    }
}

#[test]
fn a_listener_serves_one_generation_after_another() {
    let listeners = [listener(), listener()];
    for generation in 1..=5 {
        let config = GroupConfig { generation, ..config(4, &listeners) };
        thread::scope(|scope| {
            for (rank, listener) in (0..).zip(&listeners) {
                let config = GroupConfig { rank, ..config.clone() };
                scope.spawn(move || {
                    let mut group = Group::connect(listener, config, &abort()).expect("both come");
                    reduce(&mut group, 1_000).expect("both take part");
                });
            }
        });
    }
}

#[test]
fn a_rank_that_cannot_be_reached_is_named_at_once() {
    let own = listener();
    let closed = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port is free");
    let addr = closed.local_addr().expect("it is bound");
    drop(closed);
    let peers = vec![addr, own.local_addr()];
    let config = GroupConfig { rank: 1, peers, ..config(2, &[]) };
    let error = Group::connect(&own, config, &abort()).expect_err("nobody listens there");
    assert!(matches!(error, CollectiveError::Unreachable { rank: 0, .. }), "{error}");
}

#[test]
fn what_answers_in_another_protocol_is_no_rank() {
    let own = listener();
    let stranger = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port is free");
    let peers = vec![stranger.local_addr().expect("it is bound"), own.local_addr()];
    let config = GroupConfig { rank: 1, peers, ..config(2, &[]) };
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = stranger.accept().expect("rank 1 dials");
            stream.write_all(&[b'?'; 4_096]).expect("it is sent");
            io::copy(&mut stream, &mut io::sink())
        });
        let error = Group::connect(&own, config, &abort()).expect_err("that is no rank");
        assert!(matches!(error, CollectiveError::Malformed { rank: 0, cause: WireError::Magic }), "{error}");
    });
}

#[test]
fn strangers_at_the_door_keep_no_group_from_forming() {
    let listeners = [listener(), listener()];
    let mut strangers = Vec::new();
    for listener in &listeners {
        for words in [&b""[..], b"phalanx", b"GET / HTTP/1.1\r\n\r\n", &[0xff; 10_000]] {
            let mut stream = TcpStream::connect(listener.local_addr()).expect("it listens");
            // It may be closed to us before all is sent.
            let _ = stream.write_all(words);
            strangers.push(stream);
        }
    }
    form_a_group(&listeners);
}

#[test]
fn an_abort_ends_the_making_of_a_group() {
    let listeners = [listener(), listener()];
    let (config, handle) = (config(2, &listeners), abort());
    let error = thread::scope(|scope| {
        let rank = scope.spawn(|| Group::connect(&listeners[0], config, &handle));
        handle.abort();
        rank.join().expect("a rank does not panic").expect_err("rank 1 never comes")
    });
    assert!(matches!(error, CollectiveError::Aborted), "{error}");
}

#[test]
fn a_rank_that_never_comes_ends_the_making_of_a_group_after_the_timeout() {
    let listeners = [listener(), listener(), listener()];
    let config = GroupConfig { timeout: Duration::from_millis(200), rank: 1, ..config(3, &listeners) };
    let error = Group::connect(&listeners[1], config, &abort()).expect_err("the others never come");
    assert!(matches!(&error, CollectiveError::Timeout { ranks, .. } if *ranks == [0, 2]), "{error}");
}

#[test]
fn a_rank_that_gives_up_while_the_group_forms_ends_it_for_all() {
    let listeners = [listener(), listener(), listener()];
    let config = config(3, &listeners);
    let begun = Instant::now();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| Group::connect(&listeners[0], config.clone(), &abort()));
        let timeout = Duration::from_millis(200);
        let hasty = GroupConfig { rank: 1, timeout, ..config.clone() };
        assert!(Group::connect(&listeners[1], hasty, &abort()).is_err(), "rank 2 never comes");
        let error = waiting.join().expect("a rank does not panic").expect_err("rank 1 gave up");
        assert!(matches!(error, CollectiveError::Lost { rank: 1, .. }), "{error}");
    });
    assert!(begun.elapsed() < PATIENT);
}

#[test]
fn a_rank_that_is_aborted_ends_the_group_for_all() {
    for transport in TRANSPORTS {
        let errors = on_ranks(transport, 3, 3, |mut group| {
            group.barrier().expect("all ranks take part");
            match group.rank() {
                // It waits for rank 2, which does nothing, until another thread aborts it.
                0 => {
                    let handle = group.abort_handle();
                    let aborting = thread::spawn(move || handle.abort());
                    let error = reduce(&mut group, 1_000_000).expect_err("it is aborted");
                    aborting.join().expect("it does not panic");
                    Some(error)
                }
                1 => Some(reduce(&mut group, 1_000_000).expect_err("rank 0 is aborted")),
                _ => None,
            }
        });
        assert!(
            matches!(errors[0], Some(CollectiveError::Aborted | CollectiveError::Lost { .. })),
            "{errors:?}"
        );
        assert!(matches!(errors[1], Some(CollectiveError::Lost { .. })), "{errors:?}");
    }
}

#[test]
fn a_port_in_use_is_said_to_be() {
    let listener = listener();
    let error = Listener::bind(listener.local_addr()).expect_err("it is taken");
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}
