//! Where the gateway is.

use std::path::{Path, PathBuf};

use kfops_core::{Failure, Reason};
use reqwest::Url;
use serde::Deserialize;

use crate::exit::Exit;

/// Where the gateway is, and what else is known of its surroundings.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) api: Url,
    pub(crate) traces: Option<Url>,
    /// The only repository of a local system, "owner/name".
    pub(crate) repository: Option<String>,
    /// Of `kfc local up`.
    pub(crate) local: bool,
}

/// `.kfops/endpoints.json`, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Endpoints {
    api: String,
    traces: Option<String>,
    repository: Option<String>,
}

/// `--server` or KFOPS_SERVER, else the local system of this folder or one above, else the default address.
pub(crate) fn find(asked: Option<String>) -> Result<Server, Exit> {
    if let Some(address) = asked.filter(|address| !address.is_empty()) {
        return Ok(Server { api: url("--server", &address)?, traces: None, repository: None, local: false });
    }
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    if let Some(path) = here.ancestors().map(|folder| folder.join(".kfops/endpoints.json")).find(|path| path.is_file())
    {
        return local(&path);
    }
    // The default of `kfc local up`.
    let api = url("--server", "http://127.0.0.1:7401")?;
    Ok(Server { api, traces: None, repository: None, local: false })
}

fn local(path: &Path) -> Result<Server, Exit> {
    let name = path.display().to_string();
    let unreadable =
        |error: String| Exit::usage(format!("{name}: {error}"), "start `kfc local up` again, or give --server");
    let text = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    let endpoints: Endpoints = serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))?;
    let api = loopback(&name, &endpoints.api)?;
    let traces = endpoints.traces.map(|address| loopback(&name, &address)).transpose()?;
    let folder = path.ancestors().nth(2).and_then(|folder| folder.canonicalize().ok());
    let folder = folder.filter(|folder| folder.file_name().is_some());
    let repository = endpoints.repository.or_else(|| folder.as_deref().map(kfops_local::system::repository_of_folder));
    Ok(Server { api, traces, repository, local: true })
}

/// The file lies in a repository: it must not send tokens elsewhere.
fn loopback(file: &str, address: &str) -> Result<Url, Exit> {
    let url = url(file, address)?;
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let here = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if here {
        return Ok(url);
    }
    let failure = Failure::new(Reason::InvalidArgument, format!("{file}: {address} is not on this machine"));
    Err(Exit::Usage(failure.action("remove the file if it is not yours, and give --server")))
}

fn url(what: &str, address: &str) -> Result<Url, Exit> {
    let with_slash = format!("{}/", address.trim_end_matches('/'));
    match Url::parse(&with_slash) {
        Ok(url) if ["http", "https"].contains(&url.scheme()) && url.has_host() => Ok(url),
        _ => Err(Exit::usage(format!("{what}: `{address}` is not a base URL"), "write it like http://127.0.0.1:7401")),
    }
}
