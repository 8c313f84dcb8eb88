//! A model's state as named tensors: parameters, optimizer moments and counters.
//! Names are paths in the model, so that any rank of any generation understands
//! them; the order of names is the order of the hash. What a lane keeps for itself has
//! `lane.N/` before its names, and enters the hash by a hash of its own, so that a rank
//! knows the hash of the whole without the lanes of others.

use std::collections::BTreeMap;

use burn::tensor::{Bytes, DType, TensorData};
use phalanx_protocol::reference::HashHex;
use safetensors::{
    Dtype,
    tensor::{TensorInfo, TensorView},
};

const PARAMETER: &str = "model/";
const MOMENT: &str = "optimizer/";
const SCALAR: &str = "optimizer.scalar/";
const LANE: &str = "lane.";

/// Named tensors.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct State {
    tensors: BTreeMap<String, StateTensor>,
}

/// One tensor: little-endian numbers in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StateTensor {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: bytes::Bytes,
}

/// What burn holds, to be shared.
struct Owned(Bytes);

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A counter or a flag of an optimizer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Number {
    Int(i64),
    UInt(u64),
    Float(f64),
    Bool(bool),
}

impl State {
    /// Adds a parameter.
    pub(crate) fn insert_parameter(&mut self, path: &str, data: TensorData) {
        self.tensors.insert(format!("{PARAMETER}{path}"), StateTensor::from_f32(data));
    }

    /// Adds a tensor that the optimizer keeps for a parameter.
    pub(crate) fn insert_moment(&mut self, path: &str, field: &str, data: TensorData) {
        self.tensors.insert(format!("{MOMENT}{path}/{field}"), StateTensor::from_f32(data));
    }

    /// Adds a number that the optimizer keeps for a parameter.
    pub(crate) fn insert_scalar(&mut self, path: &str, field: &str, number: Number) {
        self.tensors.insert(format!("{SCALAR}{path}/{field}"), StateTensor::from_number(number));
    }

    /// Adds a tensor under its whole name.
    pub(crate) fn insert(&mut self, name: &str, view: &TensorView<'_>) {
        let bytes = bytes::Bytes::copy_from_slice(view.data());
        let tensor = StateTensor { dtype: view.dtype(), shape: view.shape().to_vec(), bytes };
        self.tensors.insert(name.to_owned(), tensor);
    }

    /// Adds what another state has.
    pub(crate) fn extend(&mut self, other: Self) {
        self.tensors.extend(other.tensors);
    }

    /// The parameters, by path.
    pub(crate) fn parameters(&self) -> BTreeMap<String, TensorData> {
        self.under(PARAMETER).filter_map(|(path, tensor)| Some((path.to_owned(), tensor.to_f32()?))).collect()
    }

    /// The parameters alone, under their paths: what a finished model consists of.
    pub(crate) fn exported(&self) -> Self {
        let tensors = self.under(PARAMETER).map(|(path, tensor)| (path.to_owned(), tensor.clone()));
        Self { tensors: tensors.collect() }
    }

    /// The state whose parameters are what [`exported`](Self::exported) gave.
    pub(crate) fn imported(self) -> Self {
        let tensors = self.tensors.into_iter().map(|(path, tensor)| (format!("{PARAMETER}{path}"), tensor));
        Self { tensors: tensors.collect() }
    }

    /// What a lane keeps for itself of a state of its own: the optimizer's, under the lane's name.
    pub(crate) fn kept_by_lane(self, lane: u32) -> Self {
        let kept = self.tensors.into_iter().filter(|(name, _)| !name.starts_with(PARAMETER));
        Self { tensors: kept.map(|(name, tensor)| (format!("{LANE}{lane}/{name}"), tensor)).collect() }
    }

    /// The state of one lane: the parameters, and what [`kept_by_lane`](Self::kept_by_lane) gave.
    pub(crate) fn of_lane(&self, lane: u32) -> Self {
        let parameters = self.tensors.iter().filter(|(name, _)| name.starts_with(PARAMETER));
        let mut tensors: BTreeMap<_, _> =
            parameters.map(|(name, tensor)| (name.clone(), tensor.clone())).collect();
        let prefix = format!("{LANE}{lane}/");
        tensors.extend(self.under(&prefix).map(|(name, tensor)| (name.to_owned(), tensor.clone())));
        Self { tensors }
    }

    /// The hashes of what lanes keep, as far as it is here.
    pub(crate) fn lane_hashes(&self) -> LaneHashes {
        let mut hashers: BTreeMap<u32, blake3::Hasher> = BTreeMap::new();
        for (name, tensor) in &self.tensors {
            if let Some(lane) = lane_of(name) {
                tensor.enter(hashers.entry(lane).or_default(), name);
            }
        }
        hashers.into_iter().map(|(lane, hasher)| (lane, hasher.finalize().to_hex().to_string())).collect()
    }

    /// Tensors that the optimizer keeps for the parameter at `path`, by field.
    pub(crate) fn moments<'a>(&'a self, path: &'a str) -> impl Iterator<Item = (&'a str, TensorData)> + 'a {
        let fields = self.under(MOMENT).filter_map(move |(name, tensor)| Some((field(name, path)?, tensor)));
        fields.filter_map(|(field, tensor)| Some((field, tensor.to_f32()?)))
    }

    /// Numbers that the optimizer keeps for the parameter at `path`, by field.
    pub(crate) fn scalars<'a>(&'a self, path: &'a str) -> impl Iterator<Item = (&'a str, Number)> + 'a {
        let fields = self.under(SCALAR).filter_map(move |(name, tensor)| Some((field(name, path)?, tensor)));
        fields.filter_map(|(field, tensor)| Some((field, tensor.to_number()?)))
    }

    /// All tensors, in the order of their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &StateTensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// BLAKE3 over the cursor, over names, types, shapes and numbers of all tensors that are not
    /// a lane's, and over the hashes of the lanes.
    pub(crate) fn hash(&self, cursor: u64, lanes: &LaneHashes) -> HashHex {
        let mut hasher = blake3::Hasher::new();
        number(&mut hasher, cursor);
        for (name, tensor) in self.tensors.iter().filter(|(name, _)| lane_of(name).is_none()) {
            tensor.enter(&mut hasher, name);
        }
        for (lane, hash) in lanes {
            number(&mut hasher, u64::from(*lane));
            hasher.update(hash.as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }

    fn under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a StateTensor)> {
        let from = self.tensors.range(prefix.to_owned()..);
        from.map_while(move |(name, tensor)| Some((name.strip_prefix(prefix)?, tensor)))
    }
}

/// The hash of what each lane keeps.
pub(crate) type LaneHashes = BTreeMap<u32, HashHex>;

/// Whose tensor it is, if it is a lane's.
pub(crate) fn lane_of(name: &str) -> Option<u32> {
    name.strip_prefix(LANE)?.split_once('/')?.0.parse().ok()
}

/// Puts a number into a hash.
fn number(hasher: &mut blake3::Hasher, value: u64) {
    hasher.update(&value.to_le_bytes());
}

/// The field in `path/field`.
fn field<'a>(name: &'a str, path: &str) -> Option<&'a str> {
    name.strip_prefix(path)?.strip_prefix('/')
}

impl StateTensor {
    /// Bytes of its numbers.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The type of its numbers.
    pub(crate) fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Its numbers, shared.
    pub(crate) fn bytes(&self) -> bytes::Bytes {
        self.bytes.clone()
    }

    /// Its place in a file of `offset..`.
    pub(crate) fn info(&self, offset: usize) -> TensorInfo {
        let data_offsets = (offset, offset + self.len());
        TensorInfo { dtype: self.dtype, shape: self.shape.clone(), data_offsets }
    }

    /// Puts the tensor, and its name, into a hash.
    fn enter(&self, hasher: &mut blake3::Hasher, name: &str) {
        number(hasher, name.len() as u64);
        hasher.update(name.as_bytes());
        hasher.update(self.dtype.to_string().as_bytes());
        number(hasher, self.shape.len() as u64);
        for side in &self.shape {
            number(hasher, *side as u64);
        }
        hasher.update(&self.bytes);
    }

    fn from_f32(data: TensorData) -> Self {
        assert_eq!(data.dtype(), DType::F32, "models and their optimizers keep f32");
        let (bytes, shape, _) = data.into_parts();
        Self { dtype: Dtype::F32, shape: shape.to_vec(), bytes: bytes::Bytes::from_owner(Owned(bytes)) }
    }

    fn from_number(number: Number) -> Self {
        let (dtype, bytes) = match number {
            Number::Int(value) => (Dtype::I64, value.to_le_bytes().to_vec()),
            Number::UInt(value) => (Dtype::U64, value.to_le_bytes().to_vec()),
            Number::Float(value) => (Dtype::F64, value.to_le_bytes().to_vec()),
            Number::Bool(value) => (Dtype::BOOL, vec![u8::from(value)]),
        };
        Self { dtype, shape: Vec::new(), bytes: bytes.into() }
    }

    /// `None` where it holds anything but f32.
    fn to_f32(&self) -> Option<TensorData> {
        let bytes = Bytes::from_bytes_vec(self.bytes.to_vec());
        (self.dtype == Dtype::F32).then(|| TensorData::from_bytes(bytes, self.shape.clone(), DType::F32))
    }

    /// `None` where it is no number.
    fn to_number(&self) -> Option<Number> {
        let word = || self.bytes.as_ref().try_into().ok();
        match self.dtype {
            Dtype::I64 => word().map(i64::from_le_bytes).map(Number::Int),
            Dtype::U64 => word().map(u64::from_le_bytes).map(Number::UInt),
            Dtype::F64 => word().map(f64::from_le_bytes).map(Number::Float),
            Dtype::BOOL => self.bytes.first().map(|byte| Number::Bool(*byte != 0)),
            _ => None,
        }
    }
}
