//! Measures an all-reduce between processes of this machine.
//!
//!     allreduce [--ranks 2] [--transport shm|tcp|auto] [--memory bucket|caller] [--bytes 1024,65536] [--seconds 1]
//!
//! Prints one line of JSON per size.

use std::{env, error::Error, process::Command, time::Duration};

use phalanx_collective::{
    Transport,
    bench::{AllReduceBench, VectorMemory, serve},
};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments == ["rank"] {
        return Ok(serve()?);
    }
    let mut bench = AllReduceBench {
        ranks: 2,
        transport: Transport::Auto,
        memory: VectorMemory::Bucket,
        bytes: vec![1 << 10, 1 << 16, 1 << 20, 1 << 22, 1 << 24, 1 << 26],
        time: Duration::from_secs(1),
    };
    for pair in arguments.chunks(2) {
        let [name, value] = pair else { return Err(format!("{pair:?} has no value").into()) };
        match name.as_str() {
            "--ranks" => bench.ranks = value.parse()?,
            "--bytes" => bench.bytes = value.split(',').map(str::parse).collect::<Result<_, _>>()?,
            "--seconds" => bench.time = Duration::try_from_secs_f64(value.parse()?)?,
            "--transport" => {
                bench.transport = match value.as_str() {
                    "shm" => Transport::SharedMemory,
                    "tcp" => Transport::Tcp,
                    "auto" => Transport::Auto,
                    other => return Err(format!("no transport is called {other}").into()),
                }
            }
            "--memory" => {
                bench.memory = match value.as_str() {
                    "bucket" => VectorMemory::Bucket,
                    "caller" => VectorMemory::Caller,
                    other => return Err(format!("no memory is called {other}").into()),
                }
            }
            other => return Err(format!("no option is called {other}").into()),
        }
    }
    let exe = env::current_exe()?;
    let times = bench.run(|| {
        let mut command = Command::new(&exe);
        command.arg("rank");
        command
    })?;
    times.iter().for_each(|times| println!("{}", times.to_json()));
    Ok(())
}
