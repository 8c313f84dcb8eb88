//! What the benchmark is told on its command line.

/// What is measured.
pub(crate) struct Options {
    pub(crate) workers: usize,
    /// How long something happens every second.
    pub(crate) seconds: u64,
    /// In seconds.
    pub(crate) lease: u64,
}

impl Options {
    /// What the command line says, or the end of the process.
    pub(crate) fn read() -> Self {
        let mut options = Self { workers: 1_000, seconds: 60, lease: 5 };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let value = arguments.next().unwrap_or_else(|| usage(&format!("{name} wants a value")));
            let number = || value.parse().unwrap_or_else(|_| usage(&format!("{name}: {value} is no number")));
            match name.as_str() {
                "--workers" => options.workers = number() as usize,
                "--seconds" => options.seconds = number(),
                "--lease" => options.lease = number(),
                _ => usage(&format!("unknown option {name}")),
            }
        }
        options
    }
}

fn usage(problem: &str) -> ! {
    eprintln!("error: {problem}\nusage: fleet [--workers N] [--seconds N] [--lease SECONDS]");
    std::process::exit(2);
}
