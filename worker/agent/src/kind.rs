//! Which kind of machine this is, as far as it decides the bits: the same numbers
//! come out where the same instructions and the same mathematical library are used, and
//! on GPUs of one model with one version of the driver, whose compiler makes the kernels.

use std::fs;

use phalanx_train::ComputeDevice;

/// Where the version of NVIDIA's driver stands.
const DRIVER_VERSION: &str = "/sys/module/nvidia/version";

/// The kind of machine, for example `x86-64-v4-5d0a81f7`, or with a GPU
/// `x86-64-v4-5d0a81f7+nvidia-h100-80gb-hbm3-cuda13.0-580.65.06`. A generation is made
/// of workers of one kind. The processor belongs to it with a GPU, too: learning rates,
/// norms and metrics are computed there.
pub(crate) fn machine_kind(device: &ComputeDevice) -> String {
    let processor = format!("{}-{:08x}", processor(), library_fingerprint());
    match device.kind() {
        None => processor,
        Some(gpu) => format!("{processor}+{gpu}{}", driver_version(fs::read_to_string(DRIVER_VERSION).ok())),
    }
}

/// The version in a kind; nothing where it cannot be read.
fn driver_version(content: Option<String>) -> String {
    let version = content.as_deref().map(str::trim).filter(|version| !version.is_empty());
    version.map_or_else(String::new, |version| format!("-{version}"))
}

fn processor() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        x86_level()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        std::env::consts::ARCH
    }
}

/// The highest micro-architecture level (x86-64 psABI) whose vector instructions
/// are all there.
#[cfg(target_arch = "x86_64")]
fn x86_level() -> &'static str {
    let v3 = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("f16c");
    let v4 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512cd")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    match (v3, v4) {
        (true, true) => "x86-64-v4",
        (true, false) => "x86-64-v3",
        (false, _) => "x86-64-v2",
    }
}

/// A hash of what the system's mathematical library makes of some numbers. Its
/// functions are right to less than a unit in the last place, but not to the bit, and
/// another version may round otherwise.
fn library_fingerprint() -> u32 {
    let mut hasher = blake3::Hasher::new();
    for number in 1..=4_096_u16 {
        let x = f32::from(std::hint::black_box(number)) / 173.0;
        for value in [x.exp(), (-x).exp(), x.ln(), x.tanh(), x.sin(), x.cos(), x.powf(0.7)] {
            hasher.update(&value.to_le_bytes());
        }
        let x = f64::from(x);
        for value in [x.exp(), (-x).exp(), x.ln(), x.tanh(), x.sin(), x.cos(), x.powf(0.7)] {
            hasher.update(&value.to_le_bytes());
        }
    }
    let hash = hasher.finalize();
    u32::from_le_bytes(hash.as_bytes()[..4].try_into().expect("invariant: a hash has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_is_a_kind_of_its_own() {
        let kind = machine_kind(&ComputeDevice::cpu());
        assert!(!kind.contains('+') && kind.len() > "-00000000".len(), "{kind}");
    }

    #[test]
    fn the_drivers_version_is_told_where_it_can_be_read() {
        assert_eq!(driver_version(Some("580.65.06\n".to_owned())), "-580.65.06");
        assert_eq!(driver_version(Some("\n".to_owned())), "");
        assert_eq!(driver_version(None), "");
    }
}
