//! Where each tensor of a model lies in the buckets that are reduced: the trained ones,
//! whose gradients they hold, from the model's end to its beginning, because that is
//! how they become final; then the others (running statistics), whose changes they
//! hold; then a tail of [`TAIL`] numbers.
//!
//! Tensors are known by their path in the module; burn's own parameter ids are
//! random, so they are set to the place in the walk.

use std::{collections::BTreeMap, ops::Range};

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    tensor::{Bool, DType, FloatDType, Gradients, Int, Tensor, TensorData},
};

use phalanx_collective::{BucketPlan, Buffer, Reduction};

use crate::{boundary::Awaited, device::Parameter, error::SnapshotError, mean::Mean};

/// Numbers at the end of the last bucket: the loss, and room for two of the trainer's.
pub const TAIL: usize = 4;

/// Every tensor of a model, in the order in which a walk over the module meets them.
#[derive(Debug, Clone)]
pub struct Layout {
    slots: Vec<Slot>,
    plan: BucketPlan,
    /// Numbers in each bucket.
    bucket_lens: Vec<usize>,
    /// Buckets that hold gradients only and may be rounded, from the first on.
    rounded: usize,
    tail: Place,
}

/// One tensor.
#[derive(Debug, Clone)]
pub struct Slot {
    /// Path in the module, as in `blocks.0.convolution.weight`.
    pub path: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Where its gradient, or its change, lies.
    pub place: Place,
    /// Whether it has a gradient.
    pub trained: bool,
}

/// Some numbers of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// Which bucket.
    pub bucket: usize,
    /// Where in it.
    pub range: Range<usize>,
}

impl Layout {
    /// The layout of `module` in buckets of about `bucket_bytes`. With `apart`, gradients share
    /// no bucket with the rest.
    ///
    /// # Errors
    ///
    /// Where it has a parameter that is not of f32: neither the reduction nor a
    /// checkpoint could carry it.
    pub(crate) fn of<M: Module>(module: &M, bucket_bytes: usize, apart: bool) -> Result<Self, String> {
        let mut survey = Walk::new(Survey::default());
        module.visit(&mut survey);
        let Survey { mut slots, unfit } = survey.act;
        if let Some((path, kind)) = unfit {
            return Err(format!("parameter `{path}` holds {kind}, expected f32"));
        }
        let (trained, others): (Vec<_>, Vec<_>) = (0..slots.len()).partition(|slot| slots[*slot].trained);
        let gradients = trained.len();
        let order: Vec<_> = trained.into_iter().rev().chain(others).collect();
        let lens: Vec<_> = order.iter().map(|slot| slots[*slot].len()).chain([TAIL]).collect();
        let (gradients, rest) = lens.split_at(if apart { gradients } else { 0 });
        let plan = BucketPlan::of_groups(&[gradients, rest], bucket_bytes);
        let rounded = (0..plan.len()).filter(|bucket| plan.tensors(*bucket).end <= gradients.len()).count();
        let place = |tensor| {
            let (bucket, range) = plan.place(tensor);
            Place { bucket, range }
        };
        for (tensor, slot) in order.iter().enumerate() {
            slots[*slot].place = place(tensor);
        }
        let bucket_lens = (0..plan.len()).map(|bucket| plan.elements(bucket).len()).collect();
        let tail = place(order.len());
        Ok(Self { slots, plan, bucket_lens, rounded, tail })
    }

    /// The tensors, in walking order.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Numbers in all trained tensors.
    pub fn trained_len(&self) -> usize {
        self.slots.iter().filter(|slot| slot.trained).map(Slot::len).sum()
    }

    /// How tensors and tail are put into buckets.
    pub(crate) fn plan(&self) -> &BucketPlan {
        &self.plan
    }

    /// Numbers in each bucket.
    pub fn bucket_lens(&self) -> &[usize] {
        &self.bucket_lens
    }

    /// Memory for the buckets, all zeros.
    pub fn buckets(&self) -> Vec<Buffer> {
        self.bucket_lens.iter().map(|len| vec![0.0; *len].into()).collect()
    }

    /// Where the [`TAIL`] lies.
    pub fn tail(&self) -> &Place {
        &self.tail
    }

    /// How a bucket is added up.
    pub(crate) fn reduction(&self, bucket: usize) -> Reduction {
        if bucket < self.rounded { Reduction::Bf16Sum } else { Reduction::Sum }
    }

    /// Whether any tensor is not trained.
    pub(crate) fn has_untrained(&self) -> bool {
        self.slots.iter().any(|slot| !slot.trained)
    }

    /// The tensor whose parameter id is `id`, which `with_ids` gave it.
    pub(crate) fn by_id(&self, id: u64) -> Option<&Slot> {
        self.slots.get(usize::try_from(id).ok()?)
    }

    /// Calls `take` with the place in the walk and the gradient of each trained tensor
    /// that has one.
    pub(crate) fn take_gradients<M: Module>(
        &self,
        module: &M,
        gradients: &mut Gradients,
        take: impl FnMut(usize, &[f32]),
    ) {
        module.visit(&mut Walk::new(TakeGradients { layout: self, gradients, take }));
    }

    /// The gradients where they are, as f32, by place in the walk.
    pub(crate) fn gradient_tensors<M: Module>(
        &self,
        module: &M,
        gradients: &mut Gradients,
    ) -> Vec<Option<Tensor<1>>> {
        let tensors = vec![None; self.slots.len()];
        let mut walk = Walk::new(TakeTensors { layout: self, gradients, tensors });
        module.visit(&mut walk);
        walk.act.tensors
    }

    /// The trained tensors, to be awaited at boundaries.
    pub(crate) fn awaited<M: Module>(&self, module: &M) -> Vec<Awaited> {
        let mut walk = Walk::new(Await { layout: self, awaited: Vec::new() });
        module.visit(&mut walk);
        walk.act.awaited
    }

    /// The values of the tensors that are not trained, by their place in the walk.
    pub(crate) fn untrained<M: Module>(&self, module: &M) -> BTreeMap<usize, Vec<f32>> {
        if !self.has_untrained() {
            return BTreeMap::new();
        }
        let mut walk = Walk::new(ReadUntrained { layout: self, values: BTreeMap::new() });
        module.visit(&mut walk);
        walk.act.values
    }

    /// `module` with the tensors that are not trained set to `values`.
    pub(crate) fn write_untrained<M: Module>(&self, module: M, values: &BTreeMap<usize, Vec<f32>>) -> M {
        let value = |index: usize| {
            let numbers = values.get(&index)?.clone();
            Some(TensorData::new(numbers, self.slots[index].shape.clone()))
        };
        module.map(&mut Write { next: 0, value })
    }

    /// `module` with all tensors set from `values`, by path.
    pub(crate) fn write_all<M: Module>(
        &self,
        module: M,
        values: &BTreeMap<String, TensorData>,
    ) -> Result<M, SnapshotError> {
        for slot in &self.slots {
            let found = values.get(&slot.path).map(|data| data.shape().to_vec());
            if found.as_ref() != Some(&slot.shape) {
                return Err(SnapshotError::Tensor {
                    name: slot.path.clone(),
                    expected: format!("shape {:?}", slot.shape),
                    actual: found.map_or_else(|| "nothing".to_owned(), |shape| format!("shape {shape:?}")),
                });
            }
        }
        let value = |index: usize| values.get(&self.slots[index].path).cloned();
        Ok(module.map(&mut Write { next: 0, value }))
    }

    /// The gradients of a mean as a tensor each.
    pub(crate) fn gradient_data<'a>(
        &'a self,
        mean: &'a Mean<'_>,
    ) -> impl Iterator<Item = (ParamId, TensorData)> + 'a {
        let trained = self.slots.iter().enumerate().filter(|(_, slot)| slot.trained);
        trained
            .map(|(index, slot)| (id(index), TensorData::new(mean.gradient(&slot.place), slot.shape.clone())))
    }
}

impl Slot {
    fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

impl Place {
    /// The numbers at this place.
    ///
    /// # Panics
    ///
    /// Where the buckets are those of another layout.
    pub fn of<'a>(&self, buckets: &'a [impl AsRef<[f32]>]) -> &'a [f32] {
        &buckets[self.bucket].as_ref()[self.range.clone()]
    }
}

/// `module` with each parameter's id set to its place in the walk.
pub(crate) fn with_ids<M: Module>(module: M) -> M {
    module.map(&mut SetIds(0))
}

/// The values of all tensors, by path.
pub(crate) fn values<M: Module>(module: &M) -> Vec<(String, TensorData)> {
    let mut walk = Walk::new(ReadAll(Vec::new()));
    module.visit(&mut walk);
    walk.act.0
}

fn id(index: usize) -> ParamId {
    ParamId::from(index as u64)
}

/// A walk over a module that knows path and place of what it meets.
struct Walk<A> {
    path: Vec<String>,
    next: usize,
    act: A,
}

/// What a [`Walk`] does at each tensor.
trait Act {
    fn at<const D: usize>(&mut self, index: usize, path: &[String], tensor: Tensor<D>);

    /// A parameter of integers or booleans.
    fn at_other(&mut self, _path: &[String], _kind: &'static str) {}
}

impl<A> Walk<A> {
    fn new(act: A) -> Self {
        Self { path: Vec::new(), next: 0, act }
    }
}

impl<A: Act> ModuleVisitor for Walk<A> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.act.at(self.next, &self.path, param.val());
        self.next += 1;
    }

    fn visit_int<const D: usize>(&mut self, _param: &Param<Tensor<D, Int>>) {
        self.act.at_other(&self.path, "integers");
    }

    fn visit_bool<const D: usize>(&mut self, _param: &Param<Tensor<D, Bool>>) {
        self.act.at_other(&self.path, "booleans");
    }
}

#[derive(Default)]
struct Survey {
    slots: Vec<Slot>,
    /// The first parameter that is not of f32, and what it holds.
    unfit: Option<(String, String)>,
}

impl Act for Survey {
    fn at<const D: usize>(&mut self, _index: usize, path: &[String], tensor: Tensor<D>) {
        let (path, shape) = (path.join("."), tensor.dims().to_vec());
        if tensor.dtype() != DType::F32 {
            self.unfit.get_or_insert_with(|| (path.clone(), format!("{:?}", tensor.dtype())));
        }
        let (place, trained) = (Place::default(), tensor.is_require_grad());
        self.slots.push(Slot { path, shape, place, trained });
    }

    fn at_other(&mut self, path: &[String], kind: &'static str) {
        self.unfit.get_or_insert_with(|| (path.join("."), kind.to_owned()));
    }
}

struct TakeGradients<'a, F> {
    layout: &'a Layout,
    gradients: &'a mut Gradients,
    take: F,
}

impl<F: FnMut(usize, &[f32])> Act for TakeGradients<'_, F> {
    fn at<const D: usize>(&mut self, index: usize, _path: &[String], tensor: Tensor<D>) {
        if self.layout.slots[index].trained
            && let Some(gradient) = tensor.grad_remove(self.gradients)
        {
            (self.take)(index, numbers(&gradient.cast(FloatDType::F32).into_data()));
        }
    }
}

struct TakeTensors<'a> {
    layout: &'a Layout,
    gradients: &'a mut Gradients,
    tensors: Vec<Option<Tensor<1>>>,
}

impl Act for TakeTensors<'_> {
    fn at<const D: usize>(&mut self, index: usize, _path: &[String], tensor: Tensor<D>) {
        let slot = &self.layout.slots[index];
        if slot.trained {
            let gradient = tensor.grad_remove(self.gradients);
            self.tensors[index] =
                gradient.map(|gradient| gradient.cast(FloatDType::F32).reshape([slot.len()]));
        }
    }
}

struct Await<'a> {
    layout: &'a Layout,
    awaited: Vec<Awaited>,
}

impl Act for Await<'_> {
    fn at<const D: usize>(&mut self, slot: usize, _path: &[String], tensor: Tensor<D>) {
        if !self.layout.slots[slot].trained {
            return;
        }
        self.awaited.push(Awaited { slot, parameter: Parameter::of(tensor) });
    }
}

struct ReadUntrained<'a> {
    layout: &'a Layout,
    values: BTreeMap<usize, Vec<f32>>,
}

impl Act for ReadUntrained<'_> {
    fn at<const D: usize>(&mut self, index: usize, _path: &[String], tensor: Tensor<D>) {
        if !self.layout.slots[index].trained {
            self.values.insert(index, numbers(&tensor.into_data()).to_vec());
        }
    }
}

struct ReadAll(Vec<(String, TensorData)>);

impl Act for ReadAll {
    fn at<const D: usize>(&mut self, _index: usize, path: &[String], tensor: Tensor<D>) {
        self.0.push((path.join("."), tensor.into_data()));
    }
}

/// What a tensor of a model holds.
pub(crate) fn numbers(data: &TensorData) -> &[f32] {
    data.as_slice::<f32>().expect("invariant: models compute in f32")
}

struct SetIds(usize);

impl ModuleMapper for SetIds {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (_, value, mapper) = param.consume();
        let param = Param::from_mapped_value(id(self.0), value, mapper);
        self.0 += 1;
        param
    }
}

struct Write<F> {
    next: usize,
    value: F,
}

impl<F: Fn(usize) -> Option<TensorData>> ModuleMapper for Write<F> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let value = (self.value)(self.next);
        self.next += 1;
        let Some(value) = value else { return param };
        param.map(|old| {
            let tensor = Tensor::from_data(value, &old.device());
            tensor.set_require_grad(old.is_require_grad())
        })
    }
}
