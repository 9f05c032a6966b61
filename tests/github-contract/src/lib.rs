//! GitHub's published description of itself as a judge of exchanges: requests, answers and webhooks that do not fit it
//! are violations, which name the operation, the place and what is wrong. For tests.
//!
//! The description comes from npm packages: the OpenAPI document of `@octokit/openapi`, the schemas of
//! `@octokit/webhooks-schemas`, the GraphQL schema of `@octokit/graphql-schema`. `make test` installs them from a lock
//! file and names the files in the environment.

mod dialect;
mod document;
pub mod examples;
mod exchange;
mod graphql;
mod http;
mod known;
mod layer;
mod schemas;
mod violation;
mod webhook;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{document::Document, graphql::GraphQl, schemas::Schemas, webhook::Webhooks};
pub use crate::{
    exchange::{Exchange, HttpExchange, WebhookExchange},
    layer::{Judging, JudgingLayer},
    violation::{Side, Violation},
};

/// Compares exchanges with GitHub's description. Cheap to clone; schemas are compiled when first needed.
#[derive(Debug, Clone)]
pub struct Judge(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    document: Document,
    schemas: Schemas,
    webhooks: Webhooks,
    graphql: GraphQl,
}

impl Judge {
    /// The judge of this process, from the files that KFOPS_GITHUB_OPENAPI, KFOPS_GITHUB_WEBHOOKS and
    /// KFOPS_GITHUB_SCHEMA name.
    pub fn from_env() -> Result<Self> {
        static ONE: OnceLock<Judge> = OnceLock::new();
        if let Some(judge) = ONE.get() {
            return Ok(judge.clone());
        }
        let judge = Self::load(
            &variable("KFOPS_GITHUB_OPENAPI")?,
            &variable("KFOPS_GITHUB_WEBHOOKS")?,
            &variable("KFOPS_GITHUB_SCHEMA")?,
        )?;
        Ok(ONE.get_or_init(|| judge).clone())
    }

    /// A judge from an OpenAPI document, a JSON schema of all webhooks and a GraphQL schema.
    pub fn load(openapi: &Path, webhooks: &Path, schema: &Path) -> Result<Self> {
        let root = json(openapi)?;
        Ok(Self(Arc::new(Parts {
            document: Document::new(&root).with_context(|| format!("reading {}", openapi.display()))?,
            schemas: Schemas::openapi(root),
            webhooks: Webhooks::new(json(webhooks)?),
            graphql: GraphQl::new(schema.to_owned()),
        })))
    }

    /// What is wrong with an exchange; nothing when it is as GitHub describes it.
    #[must_use]
    pub fn exchange(&self, exchange: &Exchange) -> Vec<Violation> {
        match exchange {
            Exchange::Http(exchange) => self.http(exchange),
            Exchange::Webhook(webhook) => self.webhook(&webhook.event, &webhook.payload),
        }
    }

    /// What is wrong with a request to the API and its answer.
    #[must_use]
    pub fn http(&self, exchange: &HttpExchange) -> Vec<Violation> {
        http::Check { document: &self.0.document, schemas: &self.0.schemas, graphql: &self.0.graphql }.run(exchange)
    }

    /// What is wrong with a webhook's payload.
    #[must_use]
    pub fn webhook(&self, event: &str, payload: &Value) -> Vec<Violation> {
        self.0.webhooks.check(event, payload)
    }

    /// What is wrong in a log of exchanges, one JSON object a line.
    pub fn log(&self, text: &str) -> Result<Vec<Violation>> {
        let mut all = Vec::new();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let exchange: Exchange =
                serde_json::from_str(line).with_context(|| format!("line {} is not an exchange", number + 1))?;
            all.extend(self.exchange(&exchange));
        }
        Ok(all)
    }

    /// Whether a path without its prefix can be one of the REST or GraphQL API: its first segment is known.
    #[must_use]
    pub fn is_api(&self, path: &str) -> bool {
        path == "/graphql" || self.0.document.is_api(path)
    }

    /// A layer that judges everything that passes it.
    #[must_use]
    pub fn layer(&self) -> JudgingLayer {
        JudgingLayer::new(self.clone())
    }
}

/// A file that `make test` names in the environment.
pub(crate) fn variable(name: &str) -> Result<PathBuf> {
    let value = std::env::var_os(name)
        .with_context(|| format!("{name} is not set: `make test` sets it (deploy/github-description prints it)"))?;
    Ok(PathBuf::from(value))
}

pub(crate) fn json(path: &Path) -> Result<Value> {
    let text = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("reading {}", path.display()))
}
