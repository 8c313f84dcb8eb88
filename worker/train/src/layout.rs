//! Where each tensor of a model lies in the flat vector that is reduced: first
//! the trained ones, whose gradients it holds, then the others (running
//! statistics), whose changes it holds.
//!
//! Tensors are known by their path in the module; burn's own parameter ids are
//! random, so they are set to the place in the walk.

use std::{collections::BTreeMap, ops::Range};

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    tensor::{Bool, DType, Gradients, Int, Tensor, TensorData},
};

use crate::error::SnapshotError;

/// Every tensor of a model, in the order in which a walk over the module meets them.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    slots: Vec<Slot>,
    trained_len: usize,
    len: usize,
}

/// One tensor.
#[derive(Debug, Clone)]
pub struct Slot {
    /// Path in the module, as in `blocks.0.convolution.weight`.
    pub path: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its place in the flat vector.
    pub range: Range<usize>,
    /// Whether it has a gradient.
    pub trained: bool,
}

impl Layout {
    /// The layout of `module`.
    ///
    /// # Errors
    ///
    /// Where it has a parameter that is not of f32: neither the reduction nor a
    /// checkpoint could carry it.
    pub(crate) fn of<M: Module>(module: &M) -> Result<Self, String> {
        let mut survey = Walk::new(Survey::default());
        module.visit(&mut survey);
        let Survey { mut slots, unfit } = survey.act;
        if let Some((path, kind)) = unfit {
            return Err(format!("parameter `{path}` holds {kind}, expected f32"));
        }
        let mut len = 0;
        let mut trained_len = 0;
        for trained in [true, false] {
            for slot in slots.iter_mut().filter(|slot| slot.trained == trained) {
                slot.range = len..len + slot.shape.iter().product::<usize>();
                len = slot.range.end;
            }
            if trained {
                trained_len = len;
            }
        }
        Ok(Self { slots, trained_len, len })
    }

    /// The tensors, in walking order.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Numbers in all trained tensors.
    pub fn trained_len(&self) -> usize {
        self.trained_len
    }

    /// Numbers in all tensors.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the model has no tensors at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The tensor whose parameter id is `id`, which `with_ids` gave it.
    pub(crate) fn by_id(&self, id: u64) -> Option<&Slot> {
        self.slots.get(usize::try_from(id).ok()?)
    }

    /// Writes the gradients into their places of `flat`; a tensor that the loss
    /// does not depend on gets zeros.
    pub(crate) fn read_gradients<M: Module>(&self, module: &M, gradients: &mut Gradients, flat: &mut [f32]) {
        module.visit(&mut Walk::new(ReadGradients { layout: self, gradients, flat }));
    }

    /// Writes the values of the tensors that are not trained into their places of `flat`.
    pub(crate) fn read_untrained<M: Module>(&self, module: &M, flat: &mut [f32]) {
        module.visit(&mut Walk::new(ReadUntrained { layout: self, flat }));
    }

    /// `module` with the tensors that are not trained set from `flat`.
    pub(crate) fn write_untrained<M: Module>(&self, module: M, flat: &[f32]) -> M {
        module.map(&mut Write { next: 0, value: |index: usize| self.untrained(index, flat) })
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

    /// The gradients in `flat` as a tensor each.
    pub(crate) fn gradient_data<'a>(
        &'a self,
        flat: &'a [f32],
    ) -> impl Iterator<Item = (ParamId, TensorData)> + 'a {
        let trained = self.slots.iter().enumerate().filter(|(_, slot)| slot.trained);
        trained.map(|(index, slot)| (id(index), slot.data(flat)))
    }

    fn untrained(&self, index: usize, flat: &[f32]) -> Option<TensorData> {
        let slot = &self.slots[index];
        (!slot.trained).then(|| slot.data(flat))
    }
}

impl Slot {
    fn data(&self, flat: &[f32]) -> TensorData {
        TensorData::new(flat[self.range.clone()].to_vec(), self.shape.clone())
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
        self.slots.push(Slot { path, shape, range: 0..0, trained: tensor.is_require_grad() });
    }

    fn at_other(&mut self, path: &[String], kind: &'static str) {
        self.unfit.get_or_insert_with(|| (path.join("."), kind.to_owned()));
    }
}

struct ReadGradients<'a> {
    layout: &'a Layout,
    gradients: &'a mut Gradients,
    flat: &'a mut [f32],
}

impl Act for ReadGradients<'_> {
    fn at<const D: usize>(&mut self, index: usize, _path: &[String], tensor: Tensor<D>) {
        let slot = &self.layout.slots[index];
        if !slot.trained {
            return;
        }
        let place = &mut self.flat[slot.range.clone()];
        match tensor.grad_remove(self.gradients) {
            Some(gradient) => copy(gradient.into_data(), place),
            None => place.fill(0.0),
        }
    }
}

struct ReadUntrained<'a> {
    layout: &'a Layout,
    flat: &'a mut [f32],
}

impl Act for ReadUntrained<'_> {
    fn at<const D: usize>(&mut self, index: usize, _path: &[String], tensor: Tensor<D>) {
        let slot = &self.layout.slots[index];
        if !slot.trained {
            copy(tensor.into_data(), &mut self.flat[slot.range.clone()]);
        }
    }
}

struct ReadAll(Vec<(String, TensorData)>);

impl Act for ReadAll {
    fn at<const D: usize>(&mut self, _index: usize, path: &[String], tensor: Tensor<D>) {
        self.0.push((path.join("."), tensor.into_data()));
    }
}

fn copy(data: TensorData, place: &mut [f32]) {
    place.copy_from_slice(data.as_slice::<f32>().expect("invariant: models compute in f32"));
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
