//! NCCL and CUDA's driver, as far as a group of GPUs needs them: vectors on a GPU, a
//! stream of its own with the one kernel that adds, and a communicator.
//!
//! Both libraries are loaded when they are first asked for; they are asked whether they
//! are there before anything else, since calling one that is absent panics. The kernel is
//! PTX text, which the driver compiles: that needs neither a toolkit nor a third library.
#![expect(unsafe_code, reason = "NCCL and the driver are C; each block says why it may be called")]

use std::{
    ffi::{c_char, c_int, c_void},
    mem::MaybeUninit,
    ops::Range,
    sync::Arc,
};

use cudarc::{
    driver::{
        CudaContext, CudaEvent, CudaFunction, CudaSlice, CudaStream, DevicePtr as _, DriverError,
        LaunchConfig, PushKernelArg as _, sys as driver,
    },
    nccl::{result, sys},
    nvrtc::Ptx,
};

use crate::gpu::GpuError;

/// The kernel.
const ADD: &str = include_str!("add.ptx");

/// Threads of a block, and blocks at the most: enough to keep the largest GPU's memory busy.
const THREADS: u32 = 256;
const BLOCKS_MAX: u32 = 4_096;

/// Some f32 on the GPU that this process computes on.
#[derive(Debug)]
pub struct GpuVector {
    address: u64,
    len: usize,
}

impl GpuVector {
    /// The `len` numbers at `address`.
    ///
    /// # Safety
    ///
    /// They lie on the GPU that the group was connected with. Until the vector is
    /// dropped, the memory stays theirs; and during an operation of the group nothing
    /// else reads or writes them: work on other streams that does must have ended.
    pub unsafe fn new(address: u64, len: usize) -> Self {
        Self { address, len }
    }

    /// How many numbers.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// # Panics
    ///
    /// Where it has no such elements.
    pub(crate) fn span(&self, elements: Range<usize>) -> Span {
        assert!(elements.start <= elements.end && elements.end <= self.len, "elements of another vector");
        let address = self.address + (elements.start * size_of::<f32>()) as u64;
        Span { address, len: elements.len() }
    }
}

/// Elements of a [`GpuVector`] or a [`Room`] that lives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    address: u64,
    len: usize,
}

/// Memory of the group's own.
#[derive(Debug)]
pub(crate) struct Room {
    memory: CudaSlice<f32>,
    vector: GpuVector,
}

impl Room {
    pub(crate) fn len(&self) -> usize {
        self.memory.len()
    }

    pub(crate) fn span(&self, elements: Range<usize>) -> Span {
        self.vector.span(elements)
    }
}

/// Whether NCCL and a driver can be loaded.
pub(crate) fn is_present() -> bool {
    // SAFETY: the calls load libraries that many processes load.
    unsafe { driver::is_culib_present() && sys::is_culib_present() }
}

/// A GPU, with a stream of the group's own.
#[derive(Debug)]
pub(crate) struct Gpu {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    add: CudaFunction,
}

impl Gpu {
    /// The GPU of this number; [`is_present`] has been asked. Its context is the primary
    /// one, which burn uses, too.
    pub(crate) fn open(index: u16) -> Result<Self, GpuError> {
        let context = CudaContext::new(index.into()).map_err(driver_failed("opening the GPU"))?;
        let stream = context.new_stream().map_err(driver_failed("making a stream"))?;
        let module =
            context.load_module(Ptx::from_src(ADD)).map_err(driver_failed("compiling the kernel"))?;
        let add = module.load_function("phalanx_add").map_err(driver_failed("finding the kernel"))?;
        Ok(Self { context, stream, add })
    }

    /// What no other GPU has.
    pub(crate) fn uuid(&self) -> Result<[u8; 16], GpuError> {
        let uuid = self.context.uuid().map_err(driver_failed("asking for the GPU's UUID"))?;
        Ok(uuid.bytes.map(|byte| byte.to_ne_bytes()[0]))
    }

    pub(crate) fn room(&self, len: usize) -> Result<Room, GpuError> {
        let memory = self.stream.alloc_zeros(len.max(1)).map_err(driver_failed("getting memory"))?;
        let (address, _) = memory.device_ptr(&self.stream);
        let vector = GpuVector { address, len: memory.len() };
        Ok(Room { memory, vector })
    }

    /// Queues `out = left + right`; `out` may be one of them.
    pub(crate) fn add(&self, left: Span, right: Span, out: Span) -> Result<(), GpuError> {
        assert!(left.len == right.len && left.len == out.len, "vectors that are added have one length");
        if out.len == 0 {
            return Ok(());
        }
        let len = out.len as u64;
        let blocks = u32::try_from(out.len.div_ceil(THREADS as usize)).unwrap_or(u32::MAX).min(BLOCKS_MAX);
        let config =
            LaunchConfig { grid_dim: (blocks, 1, 1), block_dim: (THREADS, 1, 1), shared_mem_bytes: 0 };
        let mut launch = self.stream.launch_builder(&self.add);
        launch.arg(&left.address).arg(&right.address).arg(&out.address).arg(&len);
        // SAFETY: these are the kernel's parameters, and it touches `len` numbers of each span, which are
        // spans of vectors that live until the operation has ended.
        unsafe { launch.launch(config) }.map_err(driver_failed("adding"))?;
        Ok(())
    }

    /// Queues a copy.
    pub(crate) fn copy(&self, from: Span, to: Span) -> Result<(), GpuError> {
        assert_eq!(from.len, to.len, "a copy has the length of what is copied");
        self.context.bind_to_thread().map_err(driver_failed("using the GPU"))?;
        let (bytes, stream) = (from.len * size_of::<f32>(), self.stream.cu_stream());
        // SAFETY: both are spans of vectors that live until the operation has ended.
        let copied = unsafe { driver::cuMemcpyDtoDAsync_v2(to.address, from.address, bytes, stream) };
        copied.result().map_err(driver_failed("copying"))
    }

    /// Is complete when everything queued so far is.
    pub(crate) fn mark(&self) -> Result<CudaEvent, GpuError> {
        self.stream.record_event(None).map_err(driver_failed("marking the end"))
    }
}

/// What a group's communicators know each other by.
pub(crate) const ID_BYTES: usize = 128;

/// A new id, of the first rank.
pub(crate) fn new_id() -> Result<Vec<u8>, GpuError> {
    let id = result::get_uniqueid().map_err(nccl_failed("making an id"))?;
    Ok(id.internal.iter().map(|byte| byte.to_ne_bytes()[0]).collect())
}

/// A connected communicator of NCCL's.
#[derive(Debug)]
pub(crate) struct Communicator(sys::ncclComm_t);

// SAFETY: NCCL lets any thread use a communicator, one at a time; it is not `Sync`.
unsafe impl Send for Communicator {}

impl Communicator {
    /// Blocks until all ranks have called it, or NCCL has noticed that one is gone.
    pub(crate) fn connect(
        gpu: &Gpu,
        id: &[u8; ID_BYTES],
        rank: usize,
        world_size: usize,
    ) -> Result<Self, GpuError> {
        gpu.context.bind_to_thread().map_err(driver_failed("using the GPU"))?;
        let id = sys::ncclUniqueId { internal: id.map(|byte| c_char::from_ne_bytes([byte])) };
        let mut communicator = MaybeUninit::uninit();
        // SAFETY: NCCL writes a communicator where it succeeds; the GPU is the thread's current one.
        let connected = unsafe {
            result::comm_init_rank(communicator.as_mut_ptr(), number(world_size), id, number(rank))
        };
        connected.map_err(nccl_failed("connecting"))?;
        // SAFETY: it succeeded.
        Ok(Self(unsafe { communicator.assume_init() }))
    }

    /// Queues all transfers that `queue` names, which happen together.
    pub(crate) fn together(&self, queue: impl FnOnce() -> Result<(), GpuError>) -> Result<(), GpuError> {
        result::group_start().map_err(nccl_failed("beginning a round"))?;
        let queued = queue();
        // Ended in any case: NCCL's groups are the thread's.
        let ended = result::group_end().map_err(nccl_failed("queueing a round"));
        queued?;
        ended.map(|_| ())
    }

    pub(crate) fn send(&self, gpu: &Gpu, from: Span, to: usize) -> Result<(), GpuError> {
        let (numbers, stream) = (from.address as *const c_void, gpu.stream.cu_stream().cast());
        // SAFETY: a span of a vector that lives until the operation has ended.
        let sent = unsafe {
            result::send(numbers, from.len, sys::ncclDataType_t::ncclFloat32, number(to), self.0, stream)
        };
        sent.map(|_| ()).map_err(nccl_failed("sending"))
    }

    pub(crate) fn receive(&self, gpu: &Gpu, to: Span, from: usize) -> Result<(), GpuError> {
        let (numbers, stream) = (to.address as *mut c_void, gpu.stream.cu_stream().cast());
        // SAFETY: as in `send`; nothing else writes to it meanwhile.
        let received = unsafe {
            result::recv(numbers, to.len, sys::ncclDataType_t::ncclFloat32, number(from), self.0, stream)
        };
        received.map(|_| ()).map_err(nccl_failed("receiving"))
    }

    /// Queues NCCL's own all-reduce, in its own order.
    pub(crate) fn all_reduce(&self, gpu: &Gpu, from: Span, to: Span) -> Result<(), GpuError> {
        assert_eq!(from.len, to.len, "a sum has the length of what is summed");
        gpu.context.bind_to_thread().map_err(driver_failed("using the GPU"))?;
        let (source, target) = (from.address as *const c_void, to.address as *mut c_void);
        let (kind, sum) = (sys::ncclDataType_t::ncclFloat32, sys::ncclRedOp_t::ncclSum);
        // SAFETY: spans of vectors that live until the operation has ended.
        let reduced = unsafe {
            result::all_reduce(source, target, from.len, kind, sum, self.0, gpu.stream.cu_stream().cast())
        };
        reduced.map(|_| ()).map_err(nccl_failed("summing"))
    }

    /// An error where a transfer in flight has failed, for example because a peer is gone.
    pub(crate) fn check(&self) -> Result<(), GpuError> {
        let mut state = sys::ncclResult_t::ncclSuccess;
        // SAFETY: NCCL writes the state.
        let asked = unsafe { sys::ncclCommGetAsyncError(self.0, &raw mut state) };
        asked.result().and_then(|_| state.result()).map(|_| ()).map_err(nccl_failed("transferring"))
    }
}

impl Drop for Communicator {
    /// Ends what is in flight: a group is dropped when its work is done, or a peer is gone.
    fn drop(&mut self) {
        // SAFETY: it is not used after this. Whether NCCL succeeds changes nothing.
        let _ = unsafe { result::comm_abort(self.0) };
    }
}

fn number(rank: usize) -> c_int {
    c_int::try_from(rank).expect("invariant: a group has at most as many ranks as lanes")
}

pub(crate) fn driver_failed(doing: &'static str) -> impl Fn(DriverError) -> GpuError {
    move |error| GpuError::Driver { doing, reason: error.to_string() }
}

fn nccl_failed(doing: &'static str) -> impl Fn(result::NcclError) -> GpuError {
    move |error| GpuError::Nccl { doing, reason: format!("{:?}", error.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_absent_is_no_panic() {
        // SAFETY: as in `is_present`.
        let (has_driver, has_nccl) = unsafe { (driver::is_culib_present(), sys::is_culib_present()) };
        assert_eq!(is_present(), has_driver && has_nccl);
        if has_nccl {
            // Ids are made on the processor.
            assert_eq!(new_id().expect("NCCL is there").len(), ID_BYTES);
        }
        if has_driver {
            assert!(Gpu::open(60_000).is_err(), "nobody has that many");
        }
    }
}
