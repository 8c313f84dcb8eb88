//! Where in `report.json` a value stands, so that the page can say it of every figure. Owns no state.

use std::fmt;

/// A JSON pointer (RFC 6901).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pointer(String);

impl Pointer {
    /// The whole report.
    pub(crate) fn root() -> Self {
        Self(String::new())
    }

    /// The field `name` of what stands here. Several fields deep are given with a `/` between them by
    /// [`Pointer::fields`].
    pub(crate) fn field(&self, name: &str) -> Self {
        Self(format!("{}/{}", self.0, name.replace('~', "~0").replace('/', "~1")))
    }

    /// A field of a field, and so on: `found/classes`.
    pub(crate) fn fields(&self, names: &str) -> Self {
        names.split('/').fold(self.clone(), |at, name| at.field(name))
    }

    /// The element number `index` of the list that stands here.
    pub(crate) fn item(&self, index: usize) -> Self {
        Self(format!("{}/{index}", self.0))
    }

    /// The elements of the list that stands here, each with its pointer.
    pub(crate) fn items<'a, T>(&self, list: &'a [T]) -> impl Iterator<Item = (Self, &'a T)> {
        list.iter().enumerate().map(|(index, item)| (self.item(index), item))
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_as_json_pointers_ask() {
        let json = serde_json::json!({ "metrics": { "f1[a/b~c]": [0.5, 0.25] } });
        let at = Pointer::root().field("metrics").field("f1[a/b~c]").item(1);
        assert_eq!(json.pointer(&at.to_string()), Some(&serde_json::json!(0.25)));
        assert_eq!(Pointer::root().fields("metrics/x").to_string(), "/metrics/x");
    }
}
