//! `kfc logs`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kfops_core::Failure;

use crate::{client::Client, exit::Exit, name, output::Output};

/// Prints the log of a step: as it is, or on a terminal without control characters.
pub(crate) async fn run(client: &Client, given: &str, step: &str, output: &Output) -> Result<(), Exit> {
    let name = name::resolve(client, given).await?;
    let mut lines = client.stream(&format!("v1/{name}:readLog"), &[("step", step)]).await?;
    while let Some(chunk) = lines.next().await? {
        let data = STANDARD.decode(chunk["data"].as_str().unwrap_or_default());
        output.foreign(&data.map_err(|error| Exit::Failed(Failure::internal(error)))?);
    }
    Ok(())
}
