//! Which kind of processor this is, as far as it decides the bits: the same
//! numbers come out where the same instructions are used.

/// The kind of processor, for example `x86-64-v4`. A generation is made of workers
/// of one kind.
pub(crate) fn processor_kind() -> String {
    #[cfg(target_arch = "x86_64")]
    {
        x86_level().to_owned()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        std::env::consts::ARCH.to_owned()
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
