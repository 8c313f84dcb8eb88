//! The resource `TrainingJob`, as Kubernetes holds it. What is in its `spec` is looked at when a job is made of it and not
//! before: a resource with a mistake must not keep all others from being read.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use phalanx_protocol::{
    id::{JOB_NAME_CHARS_MAX, is_name},
    spec::JobSpec,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The group of the resource, and what labels and annotations of ours begin with.
pub(crate) const GROUP: &str = "phalanx.dev";

/// Its version.
pub(crate) const VERSION: &str = "v1alpha1";

/// Its kind.
pub(crate) const KIND: &str = "TrainingJob";

/// Its name in paths.
pub(crate) const PLURAL: &str = "trainingjobs";

/// What keeps a resource there until its job is over.
pub(crate) const FINALIZER: &str = "phalanx.dev/job";

/// A training job, as Kubernetes holds it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct TrainingJob {
    #[serde(default)]
    pub(crate) metadata: ObjectMeta,
    /// The job file; its `name` may be left out.
    #[serde(default)]
    pub(crate) spec: Value,
    /// What was last told of it, if anything.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(crate) status: Value,
}

impl Resource for TrainingJob {
    type DynamicType = ();
    type Scope = kube::core::NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        KIND.into()
    }

    fn group((): &()) -> Cow<'_, str> {
        GROUP.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        VERSION.into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        PLURAL.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl TrainingJob {
    /// A resource for a job, which is named after it.
    pub(crate) fn of(spec: &JobSpec) -> Self {
        let mut value = spec.to_written();
        let name = value.as_object_mut().and_then(|spec| spec.remove("name"));
        let name = name.and_then(|name| name.as_str().map(str::to_owned));
        Self { metadata: ObjectMeta { name, ..ObjectMeta::default() }, spec: value, status: Value::Null }
    }

    pub(crate) fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// What tells it from one of the same name that was there before.
    pub(crate) fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    /// Grows with each change of `spec`.
    pub(crate) fn generation(&self) -> i64 {
        self.metadata.generation.unwrap_or_default()
    }

    /// Grows with each change of anything; `None` where it is no number, which tells nothing then.
    pub(crate) fn version(&self) -> Option<u64> {
        self.metadata.resource_version.as_ref()?.parse().ok()
    }

    /// Whether it was deleted, and waits for its finalizers.
    pub(crate) fn is_deleted(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    pub(crate) fn has_finalizer(&self) -> bool {
        self.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
    }

    /// The job that it asks for.
    ///
    /// # Errors
    ///
    /// All mistakes, each with the path of the field.
    pub(crate) fn job_spec(&self) -> Result<JobSpec, Vec<String>> {
        let mut spec = self.spec.clone();
        if let Some(fields) = spec.as_object_mut() {
            let name = self.name();
            let fits = is_name(name) && name.len() <= JOB_NAME_CHARS_MAX;
            if !fits && !fields.contains_key("name") {
                return Err(vec![format!(
                    "`metadata.name` must be up to {JOB_NAME_CHARS_MAX} lower-case letters, digits and `-`, got `{name}`; or \
                     give the job another name in `spec.name`"
                )]);
            }
            fields.entry("name").or_insert_with(|| json!(name));
        }
        let spec: JobSpec = serde_path_to_error::deserialize(spec).map_err(|error| {
            let path = match error.path().to_string() {
                path if path == "." => String::new(),
                path => format!(".{path}"),
            };
            vec![format!("`spec{path}`: {}", error.inner())]
        })?;
        let mistakes = phalanx_server::problems(&spec);
        if mistakes.is_empty() { Ok(spec) } else { Err(mistakes) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A right resource.
    pub(crate) fn resource(name: &str) -> TrainingJob {
        let spec = json!({
            "data": {"target": "label", "csv": {"path": "/data/points.csv"}},
            "model": {"mlp": {"hidden": [8]}},
            "train": {"batch_size": 8, "steps": 3, "learning_rate": 0.1},
        });
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            uid: Some(format!("uid-of-{name}")),
            generation: Some(1),
            ..ObjectMeta::default()
        };
        TrainingJob { metadata, spec, status: Value::Null }
    }

    #[test]
    fn a_resource_and_a_job_say_the_same() {
        let spec = resource("points").job_spec().expect("it is right");
        assert_eq!(spec.name, "points");
        let again = TrainingJob::of(&spec);
        assert_eq!(again.name(), "points");
        assert!(again.spec.get("name").is_none() && !again.spec.to_string().contains("null"));
        assert_eq!(again.job_spec(), Ok(spec));
    }

    #[test]
    fn mistakes_name_their_fields() {
        let check = |path: &str, value: Value, expected: &str| {
            let mut wrong = resource("points");
            *wrong.spec.pointer_mut(path).expect("the field is there") = value;
            let mistakes = wrong.job_spec().expect_err("it is wrong").join("\n");
            assert!(mistakes.contains(expected), "{mistakes}");
        };
        check("/train/steps", json!("many"), "`spec.train.steps`");
        check("/train/learning_rate", json!(7), "train.learning_rate");
        check("/data/csv/path", json!("points.csv"), "must be absolute");
        check("/model", json!({"mpl": {}}), "`spec.model");
        check("/train/batch_size", json!(9), "lanes");
        check("", Value::Null, "`spec`");
    }

    #[test]
    fn a_name_that_no_job_can_have_is_told_from_other_mistakes() {
        let mistakes = resource("a.b").job_spec().expect_err("a dot");
        assert!(mistakes[0].contains("metadata.name"), "{mistakes:?}");
        let mut named = resource("a.b");
        named.spec["name"] = json!("ab");
        assert_eq!(named.job_spec().map(|spec| spec.name), Ok("ab".to_owned()));
    }
}
