//! Names of commands as people give them.

use kfops_core::ResourceId;

use crate::{client::Client, exit::Exit};

/// `commands/{id}` of an id, a full name, or `latest`.
pub(crate) async fn resolve(client: &Client, given: &str) -> Result<String, Exit> {
    if given == "latest" {
        let page = client.get("v1/commands", &[("pageSize", "1")]).await?;
        let name = page["commands"][0]["name"].as_str().map(str::to_owned);
        return name.ok_or_else(|| Exit::usage("there is no command yet", "start one, e.g. `kfc build --pr 1`"));
    }
    let id = given.strip_prefix("commands/").unwrap_or(given);
    match ResourceId::parse(id) {
        Ok(id) => Ok(format!("commands/{id}")),
        Err(error) => Err(Exit::usage(error.to_string(), "see `kfc list`, or use `latest`")),
    }
}
