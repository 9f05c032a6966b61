//! The calls that a run needs.

use std::collections::BTreeMap;

use kfops_core::Digest;
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    client::{Body, Client, segment},
    problem::Problem,
    wire::{Experiment, Healthz, Page, Pipeline, PipelineVersion, Run},
};

/// Most pages of a list that are read.
const PAGES: usize = 50;
/// KFP cuts larger pages to this.
const PAGE: &str = "200";

/// What KFP says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Health {
    /// e.g. `2.17.0`; may be empty, a branch or a commit.
    pub(crate) version: String,
    /// Whether it knows identities and namespaces.
    pub(crate) multi_user: bool,
}

/// A run to be created. Its id is ours.
pub(crate) struct RunRequest<'a> {
    pub(crate) run_id: &'a str,
    pub(crate) name: &'a str,
    pub(crate) description: &'a str,
    pub(crate) experiment: &'a str,
    pub(crate) pipeline: &'a str,
    pub(crate) version: &'a str,
    pub(crate) arguments: &'a BTreeMap<String, Value>,
    pub(crate) pipeline_root: &'a str,
    pub(crate) service_account: Option<&'a str>,
}

impl Client {
    pub(crate) async fn health(&self) -> Result<Health, Problem> {
        let found: Healthz = self.get("healthz", &[]).await?;
        Ok(Health { version: found.tag_name, multi_user: found.multi_user })
    }

    /// The id of the experiment of this name; made when it is missing.
    pub(crate) async fn experiment(&self, name: &str) -> Result<String, Problem> {
        if let Some(id) = self.find_experiment(name).await? {
            return Ok(id);
        }
        let mut body = json!({"display_name": name, "description": "runs of Kfops"});
        if let (Some(namespace), Some(body)) = (&self.namespace, body.as_object_mut()) {
            body.insert("namespace".into(), namespace.as_str().into());
        }
        match self.post::<Experiment>("experiments", &body).await {
            Ok(made) => Ok(made.experiment_id),
            // Somebody was faster, or the answer was lost.
            Err(problem) if problem.is(409) || problem.may_have_worked() => {
                self.find_experiment(name).await?.ok_or(problem)
            }
            Err(problem) => Err(problem),
        }
    }

    async fn find_experiment(&self, name: &str) -> Result<Option<String>, Problem> {
        let found: Vec<Experiment> =
            self.list("experiments", "experiments", &equals("display_name", name), true).await?;
        // An archived one takes no runs, and keeps its name: then KFP says so when a run is made.
        let usable = found.iter().filter(|e| !e.experiment_id.is_empty());
        let exact = usable.max_by_key(|e| (e.storage_state != "ARCHIVED", e.display_name == name));
        Ok(exact.map(|experiment| experiment.experiment_id.clone()))
    }

    /// The id of the pipeline of this name.
    pub(crate) async fn find_pipeline(&self, name: &str) -> Result<Option<String>, Problem> {
        let found: Vec<Pipeline> = self.list("pipelines", "pipelines", &equals("name", name), true).await?;
        // The database compares without case: a name that differs in case only is taken too.
        let known = found.iter().filter(|pipeline| !pipeline.pipeline_id.is_empty());
        Ok(known.max_by_key(|p| p.name == name || p.display_name == name).map(|p| p.pipeline_id.clone()))
    }

    /// Uploads a new pipeline; its first version has the same name. The answer does not name that version.
    pub(crate) async fn upload_pipeline(&self, name: &str, yaml: &str) -> Result<String, Problem> {
        let mut query = vec![("name", name)];
        query.extend(self.namespace.as_deref().map(|namespace| ("namespace", namespace)));
        let made: Pipeline = self.call(Method::POST, "pipelines/upload", &query, multipart(yaml)).await?;
        Ok(made.pipeline_id)
    }

    /// The version of this name: its id and its specification.
    pub(crate) async fn find_version(&self, pipeline: &str, name: &str) -> Result<Option<(String, Value)>, Problem> {
        let path = format!("pipelines/{}/versions", segment(pipeline));
        let found: Vec<PipelineVersion> = self.list(&path, "pipeline_versions", &equals("name", name), false).await?;
        let known = found.into_iter().filter(|version| !version.pipeline_version_id.is_empty());
        let version = known.max_by_key(|version| version.name == name || version.display_name == name);
        Ok(version.map(|version| (version.pipeline_version_id, version.pipeline_spec)))
    }

    /// Uploads a version.
    pub(crate) async fn upload_version(&self, pipeline: &str, name: &str, yaml: &str) -> Result<String, Problem> {
        let query = [("pipelineid", pipeline), ("name", name)];
        let made: PipelineVersion =
            self.call(Method::POST, "pipelines/upload_version", &query, multipart(yaml)).await?;
        Ok(made.pipeline_version_id)
    }

    /// Creates a run. Not idempotent: asked twice, KFP answers 500 and starts a second workflow.
    pub(crate) async fn create_run(&self, run: &RunRequest<'_>) -> Result<Run, Problem> {
        let mut body = json!({
            "run_id": run.run_id,
            "display_name": run.name,
            "description": run.description,
            "experiment_id": run.experiment,
            "pipeline_version_reference": {"pipeline_id": run.pipeline, "pipeline_version_id": run.version},
            "runtime_config": {"parameters": run.arguments, "pipeline_root": run.pipeline_root},
        });
        if let (Some(account), Some(body)) = (run.service_account, body.as_object_mut()) {
            body.insert("service_account".into(), account.into());
        }
        self.post("runs", &body).await
    }

    /// The run; `full` asks the release after 2.17 for its tasks. None where there is none.
    pub(crate) async fn run(&self, id: &str, full: bool) -> Result<Option<Run>, Problem> {
        let query: &[(&str, &str)] = if full { &[("view", "FULL")] } else { &[] };
        match self.get(&format!("runs/{}", segment(id)), query).await {
            Ok(run) => Ok(Some(run)),
            Err(problem) if problem.is(404) => Ok(None),
            Err(problem) => Err(problem),
        }
    }

    /// Runs of this display name, newest last.
    pub(crate) async fn runs_named(&self, name: &str) -> Result<Vec<Run>, Problem> {
        self.list("runs", "runs", &equals("display_name", name), true).await
    }

    /// Asks a run to end. One that has ended, is ending or is not there needs no asking.
    pub(crate) async fn terminate(&self, id: &str) -> Result<(), Problem> {
        let path = format!("runs/{}:terminate", segment(id));
        match self.call::<Value>(Method::POST, &path, &[], Body::Empty).await {
            Ok(_) => Ok(()),
            Err(problem) if problem.is(400) || problem.is(404) => Ok(()),
            Err(problem) => Err(problem),
        }
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T, Problem> {
        self.call(Method::GET, path, query, Body::Empty).await
    }

    async fn post<T: serde::de::DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T, Problem> {
        self.call(Method::POST, path, &[], Body::Json(body.to_string().into_bytes())).await
    }

    /// All pages of a list, `title` is the field with the rows.
    async fn list<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        title: &str,
        filter: &str,
        namespaced: bool,
    ) -> Result<Vec<T>, Problem> {
        let (mut found, mut token) = (Vec::new(), String::new());
        for _ in 0..PAGES {
            let mut query = vec![("page_size", PAGE), ("filter", filter), ("page_token", token.as_str())];
            query.retain(|(_, value)| !value.is_empty());
            query.extend(self.namespace.as_deref().filter(|_| namespaced).map(|namespace| ("namespace", namespace)));
            let mut page: Page = self.get(path, &query).await?;
            if let Some(rows) = page.rest.remove(title) {
                let rows: Vec<T> = serde_json::from_value(rows)
                    .map_err(|error| Problem::Unanswered(format!("{title} are not KFP's: {error}")))?;
                found.extend(rows);
            }
            if page.next_page_token.is_empty() {
                break;
            }
            token = page.next_page_token;
        }
        Ok(found)
    }
}

fn equals(key: &str, value: &str) -> String {
    json!({"predicates": [{"operation": "EQUALS", "key": key, "string_value": value}]}).to_string()
}

/// The one field of an upload. The boundary follows from the text, so it is not in it.
fn multipart(yaml: &str) -> Body {
    let boundary = format!("kfops-{}", Digest::of(yaml.as_bytes()).hex());
    let body = format!(
        "--{boundary}\r\ncontent-disposition: form-data; name=\"uploadfile\"; filename=\"pipeline.yaml\"\r\n\
         content-type: application/yaml\r\n\r\n{yaml}\r\n--{boundary}--\r\n"
    );
    Body::Multipart(format!("multipart/form-data; boundary={boundary}"), body.into_bytes())
}
