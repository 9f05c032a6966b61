//! What a caller needs for a method of the API.

/// Group of the resources that stand for the API in RBAC. They are not the ledger's (`kfops.dev`): who may call the API may
/// not write the ledger.
pub(crate) const GROUP: &str = "api.kfops.dev";

/// A verb on a resource, for RBAC.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Right {
    /// E.g. `create`.
    pub(crate) verb: &'static str,
    /// `commands` or `locks`.
    pub(crate) resource: &'static str,
    /// Of one command; empty for all.
    pub(crate) name: String,
}

impl Right {
    /// For a method, named as in the protos, and the resource name that it is asked for, e.g. `commands/c-1`.
    pub(crate) fn of(method: &str, name: &str) -> Self {
        // What is not listed needs the right to everything: a new method is closed until it stands here.
        let (verb, resource) = match method {
            "CreateCommand" => ("create", "commands"),
            "GetCommand" => ("get", "commands"),
            "ListCommands" => ("list", "commands"),
            "WatchCommand" => ("watch", "commands"),
            "CancelCommand" => ("cancel", "commands"),
            "ReadCommandLog" => ("get", "commands/log"),
            "ListLocks" => ("list", "locks"),
            _ => ("*", "*"),
        };
        let name = name.strip_prefix("commands/").filter(|_| verb != "create").unwrap_or_default();
        Self { verb, resource, name: name.to_owned() }
    }

    /// Resource and subresource.
    pub(crate) fn parts(&self) -> (&'static str, Option<&'static str>) {
        match self.resource.split_once('/') {
            Some((resource, part)) => (resource, Some(part)),
            None => (self.resource, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::EXPOSED;

    #[test]
    fn every_exposed_method_has_one() {
        let pool = prost_reflect::DescriptorPool::decode(kfops_proto::FILE_DESCRIPTOR_SET).unwrap();
        let exposed = pool.services().filter(|service| EXPOSED.contains(&service.full_name()));
        let methods: Vec<_> = exposed.flat_map(|service| service.methods().collect::<Vec<_>>()).collect();
        assert!(!methods.is_empty());
        for method in methods {
            assert_ne!(Right::of(method.name(), "").verb, "*", "{}", method.name());
        }
    }

    #[test]
    fn names_are_for_single_commands() {
        assert_eq!(Right::of("GetCommand", "commands/c-1").name, "c-1");
        assert_eq!(Right::of("ListCommands", "").name, "");
        assert_eq!(Right::of("ReadCommandLog", "commands/c-1").parts(), ("commands", Some("log")));
        assert_eq!(Right::of("DropEverything", "").verb, "*");
    }
}
