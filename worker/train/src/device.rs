//! Where a process computes: on its processor, or on one NVIDIA GPU (feature `cuda`).
//! Names of devices, and opening one without a panic where it is not there. The only
//! module that names burn's backends.
//!
//! A process computes on one device. burn keeps settings and a generator of random
//! numbers per process, and one worker per GPU is what placement counts with.

use std::{fmt, str::FromStr};

use burn::{
    backend::{Autodiff, Backend, Flex, tensor::FloatTensor},
    tensor::{Device, Tensor},
};

#[cfg(feature = "cuda")]
use burn::backend::Cube;

/// A device by its name: `cpu`, or `cuda:1` for the second GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceName {
    /// The processor.
    #[default]
    Cpu,
    /// The GPU of this number, as the driver counts them (`CUDA_VISIBLE_DEVICES`).
    Cuda(u16),
}

/// What was said is no device's name.
#[derive(Debug, thiserror::Error)]
#[error("expected `cpu`, `cuda`, or `cuda:N` for the GPU of number N, got `{0}`")]
pub struct NoDeviceName(String);

/// A device cannot be computed on.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The program was built without it.
    #[error(
        "`{0}` needs a program that was built for GPUs: `cargo build --release -p phalanx --features cuda`, \
         after `scripts/llvm.sh`"
    )]
    NotBuilt(DeviceName),
    /// The machine has no NVIDIA driver.
    #[error("`{0}`: this machine has no NVIDIA driver (libcuda.so cannot be loaded)")]
    NoDriver(DeviceName),
    /// The driver is there and does not work, for example because there is no GPU.
    #[error("`{device}`: the NVIDIA driver says {reason}")]
    Driver {
        /// What was asked for.
        device: DeviceName,
        /// Its answer.
        reason: String,
    },
    /// There are fewer GPUs.
    #[error("`{device}`: this machine has {count} GPUs, counted from 0")]
    NoSuchGpu {
        /// What was asked for.
        device: DeviceName,
        /// How many there are.
        count: usize,
    },
    /// burn would choose kernels by measuring them.
    #[error(
        "`{0}`: this program was built with burn's feature `autotune`, whose choice of kernels differs from run \
         to run, and so would the results: build it without"
    )]
    Autotuned(DeviceName),
}

/// A device that can be computed on.
#[derive(Debug, Clone)]
pub struct ComputeDevice {
    burn: Device,
    /// A GPU's number and kind.
    gpu: Option<(u16, String)>,
}

impl ComputeDevice {
    /// The processor.
    pub fn cpu() -> Self {
        Self { burn: Device::flex(), gpu: None }
    }

    /// The device of this name. A GPU is asked for its kind and not used yet.
    ///
    /// # Errors
    ///
    /// Where the program or the machine does not have it: see [`DeviceError`].
    pub fn open(name: DeviceName) -> Result<Self, DeviceError> {
        match name {
            DeviceName::Cpu => Ok(Self::cpu()),
            #[cfg(not(feature = "cuda"))]
            DeviceName::Cuda(_) => Err(DeviceError::NotBuilt(name)),
            #[cfg(feature = "cuda")]
            DeviceName::Cuda(index) => {
                let gpu = Some((index, crate::gpu::kind(index)?));
                Ok(Self { burn: Device::cuda(usize::from(index)), gpu })
            }
        }
    }

    /// What decides a GPU's results, beside the version of its driver's compiler: its
    /// model, for example `nvidia-h100-80gb-hbm3`, and the version of CUDA that its
    /// driver offers. Nothing for the processor.
    pub fn kind(&self) -> Option<&str> {
        self.gpu.as_ref().map(|(_, kind)| kind.as_str())
    }

    /// Whether it is a GPU.
    pub fn is_gpu(&self) -> bool {
        self.gpu.is_some()
    }

    /// The number of the GPU.
    #[cfg(feature = "cuda")]
    pub(crate) fn gpu(&self) -> Option<u16> {
        self.gpu.as_ref().map(|(index, _)| *index)
    }

    pub(crate) fn burn(&self) -> &Device {
        &self.burn
    }
}

impl Default for ComputeDevice {
    fn default() -> Self {
        Self::cpu()
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl FromStr for DeviceName {
    type Err = NoDeviceName;

    fn from_str(text: &str) -> Result<Self, NoDeviceName> {
        let wrong = || NoDeviceName(text.to_owned());
        match text.split_once(':') {
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => Ok(Self::Cuda(0)),
            Some(("cuda", index)) if index.bytes().all(|digit| digit.is_ascii_digit()) => {
                index.parse().map(Self::Cuda).map_err(|_| wrong())
            }
            _ => Err(wrong()),
        }
    }
}

/// A parameter of a model that is trained, as the backend has it.
#[derive(Debug, Clone)]
pub(crate) enum Parameter {
    Flex(FloatTensor<Autodiff<Flex>>),
    #[cfg(feature = "cuda")]
    Cube(Box<FloatTensor<Autodiff<Cube>>>),
}

impl Parameter {
    /// # Panics
    ///
    /// Where the tensor takes no part in backpropagation.
    pub(crate) fn of<const D: usize>(tensor: Tensor<D>) -> Self {
        #[cfg(feature = "cuda")]
        if let Ok(parameter) = tensor.clone().try_into_primitive::<Autodiff<Cube>>() {
            return Self::Cube(Box::new(parameter));
        }
        let parameter = tensor.try_into_primitive::<Autodiff<Flex>>();
        Self::Flex(parameter.expect("invariant: models are trained on the device they were built on"))
    }
}

/// A backend that models are trained on.
pub(crate) trait Computes: Backend {
    /// The parameter, if it is this backend's.
    fn own(parameter: &Parameter) -> Option<&FloatTensor<Autodiff<Self>>>;

    /// What holds the numbers as a tensor; burn does not check how many dimensions it is said to have.
    fn tensor(numbers: FloatTensor<Self>) -> Tensor<1>;
}

impl Computes for Flex {
    fn own(parameter: &Parameter) -> Option<&FloatTensor<Autodiff<Self>>> {
        match parameter {
            Parameter::Flex(parameter) => Some(parameter),
            #[cfg(feature = "cuda")]
            Parameter::Cube(_) => None,
        }
    }

    fn tensor(numbers: FloatTensor<Self>) -> Tensor<1> {
        Tensor::from_primitive::<Self>(numbers)
    }
}

#[cfg(feature = "cuda")]
impl Computes for Cube {
    fn own(parameter: &Parameter) -> Option<&FloatTensor<Autodiff<Self>>> {
        match parameter {
            Parameter::Cube(parameter) => Some(parameter),
            Parameter::Flex(_) => None,
        }
    }

    fn tensor(numbers: FloatTensor<Self>) -> Tensor<1> {
        Tensor::from_primitive::<Self>(numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_known_by_its_name() {
        for (text, name) in
            [("cpu", DeviceName::Cpu), ("cuda:0", DeviceName::Cuda(0)), ("cuda:13", DeviceName::Cuda(13))]
        {
            assert_eq!(text.parse::<DeviceName>().expect(text), name);
            assert_eq!(name.to_string(), text);
        }
        assert_eq!("cuda".parse::<DeviceName>().expect("the first one"), DeviceName::Cuda(0));
        for wrong in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:+1", "cuda:70000", "cpu:0", "CUDA"] {
            let error = wrong.parse::<DeviceName>().expect_err(wrong);
            assert!(error.to_string().contains("cuda:N"), "{error}");
        }
    }

    #[test]
    fn the_processor_is_always_there() {
        let device = ComputeDevice::open(DeviceName::Cpu).expect("it is there");
        assert!(!device.is_gpu() && device.kind().is_none());
    }

    #[test]
    #[cfg(not(feature = "cuda"))]
    fn a_program_without_gpus_says_how_to_build_one_with() {
        let error = ComputeDevice::open(DeviceName::Cuda(1)).expect_err("it was built without");
        assert!(error.to_string().contains("--features cuda"), "{error}");
    }

    /// True with and without a GPU: there is none of this number.
    #[test]
    #[cfg(feature = "cuda")]
    fn a_gpu_that_is_not_there_is_an_error() {
        let error = ComputeDevice::open(DeviceName::Cuda(60_000)).expect_err("nobody has that many");
        assert!(error.to_string().contains("cuda:60000"), "{error}");
    }
}
