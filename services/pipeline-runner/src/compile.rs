//! Compiling a version: in the sandbox, checked, pinned, kept.

use std::collections::BTreeMap;

use kfops_core::{Digest, Failure};
use kfops_telemetry::metrics::worked;
use tokio_util::sync::CancellationToken;

use crate::{
    arguments::Parameter,
    engine::Engine,
    ir::Ir,
    life::canceled,
    pin::pin,
    ports::CompileJob,
    spans,
    version::{Phase, PipelineVersion},
};

/// What a compilation gives.
struct Compiled {
    digest: Digest,
    parameters: BTreeMap<String, Parameter>,
}

impl Engine {
    /// From pending (or interrupted) to an end.
    pub(crate) async fn compile_version(&self, id: &str, cancel: &CancellationToken) -> Result<(), Failure> {
        let stopping = self.stopping();
        let _permit = tokio::select! {
            biased;
            () = cancel.cancelled() => None,
            () = stopping.cancelled() => return Ok(()),
            permit = self.compiles.acquire() => Some(permit.map_err(Failure::internal)?),
        };
        let now = self.now();
        let sandbox = self.ports.compiler.isolation();
        let version = self
            .versions
            .update(id, move |version| {
                version.life.begin(now);
                version.sandbox =
                    if version.spec.is_yaml() { "none needed: the pipeline is compiled YAML".into() } else { sandbox };
            })
            .await?;
        let mut phases = Vec::new();
        let compiled = if cancel.is_cancelled() {
            Err(canceled(&version.name()))
        } else {
            self.compile(&version, &mut phases, cancel).await
        };
        self.end_version(version, compiled, phases).await
    }

    async fn compile(
        &self,
        version: &PipelineVersion,
        phases: &mut Vec<Phase>,
        cancel: &CancellationToken,
    ) -> Result<Compiled, Failure> {
        let spec = &version.spec;
        let job = CompileJob {
            version: version.life.id.clone(),
            source: spec.source.clone(),
            path: spec.path.clone(),
            function: spec.function.clone(),
            is_yaml: spec.is_yaml(),
            images: spec.images.clone(),
            log_key: version.log_key(),
        };
        let text = self.phase("sandbox", phases, self.ports.compiler.compile(&job, cancel)).await?;
        let check = async {
            let mut ir = Ir::parse(&text)?;
            self.ports.compiler.check(&ir.pipeline, cancel).await?;
            let pinned = pin(&mut ir, &spec.images)?;
            tracing::info!(pipeline_version = version.life.id, pinned, "compiled");
            Ok(ir)
        };
        let ir = self.phase("check", phases, check).await?;
        let yaml = ir.to_yaml()?;
        let digest = Digest::of(yaml.as_bytes());
        self.ports.store.put(&version.spec_key(), yaml).await?;
        Ok(Compiled { digest, parameters: ir.parameters() })
    }

    async fn phase<T>(
        &self,
        name: &str,
        phases: &mut Vec<Phase>,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let start = self.now();
        let result = work.await;
        let error = result.as_ref().err().map(|failure| failure.message.clone());
        phases.push(Phase { name: name.into(), start, end: self.now(), error });
        result
    }

    async fn end_version(
        &self,
        mut version: PipelineVersion,
        compiled: Result<Compiled, Failure>,
        phases: Vec<Phase>,
    ) -> Result<(), Failure> {
        version.phases = phases;
        let failure = match compiled {
            Ok(compiled) => {
                version.spec_digest = Some(compiled.digest);
                version.parameters = compiled.parameters;
                None
            }
            Err(failure) if failure.resource.is_empty() => Some(failure.on(version.name())),
            Err(failure) => Some(failure),
        };
        let now = self.now();
        version.life.end(failure, now);
        worked("pipelineVersions", version.life.failure.as_ref(), (version.life.create_time, now));
        if let Some(failure) = &version.life.failure {
            tracing::info!(pipeline_version = version.life.id, reason = %failure.reason, error = %failure, "not compiled");
        }
        spans::of_version(&version).into_iter().for_each(|span| self.ports.tracer.record(span));
        self.ports.tracer.flush_before_end().await;
        let id = version.life.id.clone();
        self.versions.update_anyway(&id, move |kept| *kept = version).await?;
        Ok(())
    }
}
