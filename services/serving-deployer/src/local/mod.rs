//! The ports over one machine: KServe's Python server as a process per revision, Envoy before them.

mod admin;
mod config;
mod envoy;
mod functions;
mod orphan;
mod prober;
mod runtime;

use std::sync::Arc;

use kfops_core::{Failure, SystemClock};
use kfops_process::Sandbox;
use kfops_store::Store;
use kfops_telemetry::Tracer;

use crate::{Ports, Settings};

impl Ports {
    /// Starts nothing yet.
    pub async fn local(settings: &Settings, tracer: Tracer) -> Result<Self, Failure> {
        std::fs::create_dir_all(&settings.state).map_err(|error| {
            Failure::internal(format!("cannot make the state folder {}: {error}", settings.state.display()))
        })?;
        let state = settings.state.canonicalize().map_err(Failure::internal)?;
        let sandbox = Sandbox::detect().await;
        // The router's admin socket lies in the state.
        let mut hidden = vec![state.clone()];
        hidden.extend(settings.hide.iter().map(|folder| folder.canonicalize().unwrap_or_else(|_| folder.clone())));
        Ok(Self {
            runtime: Arc::new(runtime::Processes::new(settings, &state, sandbox.clone(), hidden.clone())?),
            router: Arc::new(Arc::new(envoy::Envoy::new(settings, &state)?)),
            prober: Arc::new(prober::Http::new()?),
            functions: Arc::new(functions::Python::new(settings, &state, sandbox, hidden)),
            store: Store::open(&settings.store)?,
            clock: Arc::new(SystemClock),
            tracer,
        })
    }
}
