//! What a client asks of the machine that executes.
use lre_proto::re;
use std::collections::BTreeSet;
use std::fmt;

/// An ordered multimap of properties: one name may have several values (REAPI, `Platform`).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform(BTreeSet<(String, String)>);

impl Platform {
    /// From pairs in any order.
    pub fn new<N: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    /// From the wire. Unsorted properties are accepted: the action digest is over the bytes that
    /// the client sent, so nothing depends on the order here.
    #[must_use]
    pub fn from_wire(wire: &re::Platform) -> Self {
        Self::new(wire.properties.iter().map(|p| (p.name.clone(), p.value.clone())))
    }

    /// The wire form, sorted by name and value as REAPI asks.
    #[must_use]
    pub fn to_wire(&self) -> re::Platform {
        let property =
            |(name, value): (&str, &str)| re::platform::Property { name: name.to_owned(), value: value.to_owned() };
        re::Platform { properties: self.iter().map(property).collect() }
    }

    /// All pairs, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// All values of `name`, in order.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.iter().filter(move |(n, _)| *n == name).map(|(_, value)| value)
    }

    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<_> = self.iter().map(|(name, value)| format!("{name}={value}")).collect();
        f.write_str(&pairs.join(" "))
    }
}
