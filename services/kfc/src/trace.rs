//! `kfc trace`.

use kfops_core::{Failure, Reason};
use kfops_local::waterfall;

use crate::{
    client::Client,
    exit::Exit,
    name,
    output::{Format, Output},
    server::Server,
    view,
};

/// Draws the trace of a command, or prints it as OTLP JSON.
pub(crate) async fn run(
    client: &Client,
    server: &Server,
    given: &str,
    traces: Option<String>,
    output: &Output,
) -> Result<(), Exit> {
    let asked = traces.map(|address| reqwest::Url::parse(&format!("{}/", address.trim_end_matches('/')))).transpose();
    let asked =
        asked.map_err(|error| Exit::usage(format!("--traces: {error}"), "write it like http://127.0.0.1:7404"))?;
    let store = asked.or_else(|| server.traces.clone()).ok_or_else(|| {
        Exit::usage(
            "it is not known where traces are kept",
            "give --traces or KFOPS_TRACES, or run this below the folder of `kfc local up`",
        )
    })?;
    let name = name::resolve(client, given).await?;
    let command = client.get(&format!("v1/{name}"), &[]).await?;
    let id = command["traceId"].as_str().unwrap_or_default();
    if id.len() != 32 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
        let failure = Failure::new(Reason::NotFound, format!("{name} has no trace")).on(name);
        return Err(Exit::Failed(failure.action("commands that are refused at once have none")));
    }
    let trace = client.get_from(&store, &format!("v1/traces/{id}")).await.map_err(|failure| match failure.reason {
        Reason::NotFound => Exit::Failed(
            Failure::new(Reason::NotFound, format!("nothing of the trace {id} has arrived yet"))
                .on(name.as_str())
                .action("spans come as work ends: try again in some seconds"),
        ),
        _ => failure.into(),
    })?;
    match output.format {
        Format::Json | Format::Yaml => output.value(&trace),
        Format::Name => output.line(id),
        Format::Table => {
            output.line(&format!("trace {id}  {}", view::title(&command)));
            output.bytes(waterfall::draw(&trace, output.width()).as_bytes());
            if !view::has_ended(&command) {
                output.line("the command still runs: more spans come as work ends");
            }
        }
    }
    Ok(())
}
