//! Small jobs over the examples' real data, quick enough to be run many times.

use std::path::{Path, PathBuf};

/// The folder with the examples.
pub fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").canonicalize().expect("the examples are there")
}

/// A job file as text, built from a few settings.
#[derive(Debug, Clone)]
pub struct Job {
    name: &'static str,
    data: String,
    model: String,
    train: String,
    rest: String,
}

impl Job {
    /// A perceptron with dropout on the census data: missing values, categories,
    /// two classes.
    pub fn mlp() -> Self {
        let data = format!(
            "[data]\ntarget = \"income\"\n[data.csv]\npath = {:?}\n[data.split]\nby = \"stratified\"\n",
            examples().join("data/adult.csv")
        );
        Self::new("mlp", data, "[model.mlp]\nhidden = [16]\ndropout = 0.1\n")
    }

    /// [`mlp`](Self::mlp) whose test split is most of the data, so that measuring it takes a while.
    pub fn much_to_measure() -> Self {
        let mut job = Self::mlp();
        job.data.push_str("train = 0.2\nvalidation = 0.0\ntest = 0.8\n");
        job
    }

    /// A perceptron of 670,000 numbers on digits, whose steps take milliseconds.
    pub fn wide_mlp() -> Self {
        let data = format!(
            "[data]\ntarget = \"label\"\nobjective = \"classification\"\n[data.parquet]\npath = {:?}\n",
            examples().join("data/mnist.parquet")
        );
        let split = "[data.split]\ntrain = 0.98\nvalidation = 0.0\ntest = 0.02\n";
        let job = Self::new("wide", data + split, "[model.mlp]\nhidden = [512, 512]\n");
        job.train("batch_size", "128").lanes(8)
    }

    /// A convolutional network with batch normalisation and dropout on digits.
    pub fn cnn() -> Self {
        let data = format!(
            "[data]\ntarget = \"label\"\nobjective = \"classification\"\nshape = [1, 28, 28]\n[data.parquet]\npath = {:?}\n",
            examples().join("data/mnist.parquet")
        );
        Self::new(
            "cnn",
            data,
            "[model.cnn]\nchannels = [4, 4]\nhidden = [16]\nnorm = \"batch\"\ndropout = 0.1\n",
        )
    }

    /// A small transformer with dropout on text.
    pub fn gpt() -> Self {
        let data = format!("[data.text]\npath = {:?}\ncontext = 16\n", examples().join("data/kjv.txt"));
        let split = "[data.split]\ntrain = 0.998\nvalidation = 0.001\ntest = 0.001\n";
        Self::new(
            "gpt",
            data + split,
            "[model.gpt]\nlayers = 1\nheads = 2\nwidth = 16\ndropout = 0.1\nsample_bytes = 8\n",
        )
    }

    fn new(name: &'static str, data: String, model: &str) -> Self {
        let train = "[train]\nbatch_size = 48\nlanes = 4\nlearning_rate = 0.003\nclip_norm = 1.0\nseed = 7\n";
        Self { name, data, model: model.to_owned(), train: train.to_owned(), rest: String::new() }.steps(12)
    }

    /// Ends after so many steps.
    #[must_use]
    pub fn steps(self, steps: u64) -> Self {
        self.train("steps", &steps.to_string())
    }

    /// Cuts every batch into so many lanes.
    #[must_use]
    pub fn lanes(self, lanes: u32) -> Self {
        self.train("lanes", &lanes.to_string())
    }

    /// Trains with another setting of `[train]`.
    #[must_use]
    pub fn train(mut self, key: &str, value: &str) -> Self {
        let others = self.train.lines().filter(|line| line.split(' ').next() != Some(key));
        let mut lines: Vec<_> = others.map(str::to_owned).collect();
        lines.push(format!("{key} = {value}"));
        self.train = lines.join("\n") + "\n";
        self
    }

    /// A perceptron with other hidden layers.
    ///
    /// # Panics
    ///
    /// Where it is none.
    #[must_use]
    pub fn hidden(mut self, layers: &str) -> Self {
        let (before, _) = self.model.split_once("hidden = ").expect("a perceptron");
        self.model = format!("{before}hidden = {layers}\n");
        self
    }

    /// Adds further tables, for example `[checkpoint]`.
    #[must_use]
    pub fn with(mut self, tables: &str) -> Self {
        self.rest.push_str(tables);
        self
    }

    /// The name that job ids begin with.
    pub fn name(&self) -> &str {
        self.name
    }

    /// The job file.
    pub fn to_toml(&self) -> String {
        let Self { name, data, model, train, rest } = self;
        format!("name = {name:?}\n{data}{model}{train}{rest}")
    }
}
