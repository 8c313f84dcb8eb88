//! The promise: a job ends in the same bits on any number of workers, however
//! often it was stopped, and whatever was killed.

use phalanx_tests::{Home, Job, Signal, expect_gone, send};

fn same_hash_on_any_number_of_workers(job: &Job) {
    let expected = Home::new().run(job, 1);
    for workers in 2..=4 {
        assert_eq!(Home::new().run(job, workers), expected, "{workers} workers");
    }
}

#[test]
fn a_perceptron_ends_in_the_same_bits_on_one_to_four_workers() {
    same_hash_on_any_number_of_workers(&Job::mlp());
}

#[test]
fn a_convolutional_network_ends_in_the_same_bits_on_one_to_four_workers() {
    same_hash_on_any_number_of_workers(&Job::cnn());
}

#[test]
fn a_transformer_ends_in_the_same_bits_on_one_to_four_workers() {
    same_hash_on_any_number_of_workers(&Job::gpt());
}

#[test]
fn eight_workers_on_fewer_cores_end_in_the_same_bits_as_one() {
    let job = Job::cnn().lanes(8);
    assert_eq!(Home::new().run(&job, 8), Home::new().run(&job, 1));
}

/// Long enough to be disturbed, with a checkpoint every few steps.
fn long_job() -> Job {
    Job::mlp().steps(1_500).with("[checkpoint]\nevery = 100\nkeep = 3\n")
}

#[test]
fn an_interrupted_job_goes_on_with_another_number_of_workers_to_the_same_bits() {
    let job = long_job();
    let expected = Home::new().run(&job, 1);

    let home = Home::new();
    let running = home.start(&job, 2);
    home.wait_for_checkpoint("mlp-1", 1);
    running.signal(Signal::INT);
    let ended = running.wait();
    assert_eq!(ended.code, Some(130), "{ended:#?}");
    let said = ended.stdout + &ended.stderr;
    assert!(said.contains("phalanx resume mlp-1"), "says how to go on: {said}");

    let ended = home.phalanx(&["resume", "mlp-1", "--workers", "3"]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(home.state_hash("mlp-1"), expected);
}

#[test]
fn a_cancelled_job_is_resumed_to_the_same_bits() {
    let job = long_job();
    let expected = Home::new().run(&job, 1);

    let home = Home::new();
    let running = home.start(&job, 1);
    home.wait_for_checkpoint("mlp-1", 1);
    assert_eq!(home.phalanx(&["cancel", "mlp-1"]).code, Some(0));
    assert_eq!(running.wait().code, Some(1), "a cancelled job is not done");

    let ended = home.phalanx(&["resume", "mlp-1", "--workers", "4"]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(home.state_hash("mlp-1"), expected);
}

#[test]
fn after_kill_minus_nine_of_everything_a_job_is_resumed_to_the_same_bits() {
    let job = long_job();
    let expected = Home::new().run(&job, 1);

    let home = Home::new();
    let running = home.start(&job, 2);
    home.wait_for_checkpoint("mlp-1", 2);
    running.kill_all();
    assert_eq!(running.wait().code, None, "killed by a signal");

    let ended = home.phalanx(&["resume", "mlp-1", "--workers", "2"]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(home.state_hash("mlp-1"), expected);
}

#[test]
fn no_worker_outlives_a_run_that_was_killed() {
    let home = Home::new();
    let running = home.start(&long_job(), 2);
    home.wait_for_checkpoint("mlp-1", 1);
    let workers = running.children();
    assert_eq!(workers.len(), 2);
    running.signal(Signal::KILL);
    expect_gone(&workers);
}

#[test]
fn a_job_whose_worker_was_killed_goes_on_without_it_to_the_same_bits() {
    goes_on_without_a_killed_worker(&long_job());
}

#[test]
fn lanes_that_train_on_their_own_outlive_a_worker_to_the_same_bits() {
    goes_on_without_a_killed_worker(&long_job().with("[train.diloco]\nlocal_steps = 30\n"));
}

fn goes_on_without_a_killed_worker(job: &Job) {
    let expected = Home::new().run(job, 1);

    let home = Home::new();
    let running = home.start(job, 3);
    home.wait_for_checkpoint("mlp-1", 1);
    let worker = *running.children().last().expect("there are workers");
    send(worker, Signal::KILL);
    let ended = running.wait();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let finished = home.job("mlp-1");
    assert_eq!(finished.state_hash.as_ref(), Some(&expected));
    assert!(finished.generation.get() >= 2, "another generation was formed");
}

#[test]
fn a_checkpoint_with_a_flipped_byte_is_detected_and_the_one_before_is_used() {
    let job = long_job();
    let expected = Home::new().run(&job, 1);

    let home = Home::new();
    let running = home.start(&job, 2);
    home.wait_for_checkpoint("mlp-1", 2);
    running.signal(Signal::INT);
    assert_eq!(running.wait().code, Some(130));

    let step = home.job("mlp-1").checkpoints.pop().expect("it was saved").step;
    let folders = home.path().join("store/checkpoints/mlp-1");
    let entries = |folder: &std::path::Path| {
        let entries = std::fs::read_dir(folder).expect("the checkpoints' folder is there");
        entries.filter_map(Result::ok).map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let newest = entries(&folders)
        .into_iter()
        .find(|folder| folder.to_string_lossy().ends_with(&format!("-s{step}")))
        .expect("the newest checkpoint has a folder");
    let part = entries(&newest)
        .into_iter()
        .find(|path| path.extension().is_some_and(|extension| extension == "safetensors"))
        .expect("a checkpoint has parts");
    let mut bytes = std::fs::read(&part).expect("the part can be read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&part, bytes).expect("the part can be written");

    let ended = home.phalanx(&["resume", "mlp-1", "--workers", "2"]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let finished = home.job("mlp-1");
    assert_eq!(finished.state_hash.as_ref(), Some(&expected));
    let told = finished.messages.iter().any(|message| message.text.contains("damaged"));
    assert!(told, "the damage is reported: {:#?}", finished.messages);
}
