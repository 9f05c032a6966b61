//! The story: a first model, a better one under load, a broken one that changes nothing, and the first one back.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use kfops_core::{Failure, Reason};
use serde_json::{Value as Json, json};

use super::{
    forge::Repository,
    load::Load,
    report::{Report, command_entry, links_to, print_lineage, spans_by_service, write_report},
    teller::{follow, indented, outcome},
    work_tree::WorkTree,
};
use crate::{client::Client, system::System, waterfall};

/// How the demo is run.
#[derive(Debug, Clone)]
pub struct DemoOptions {
    /// Where the report goes.
    pub report: Option<PathBuf>,
    /// Requests a second while the model changes.
    pub rate: u32,
}

/// Fewest requests that must cross the change of the model.
const MIN_REQUESTS: u64 = 2000;
/// The repository of the story.
pub const REPOSITORY: &str = "demo/iris";

/// Tells the story on a running system.
pub async fn run(system: &System, work: &Path, options: &DemoOptions) -> Result<Report, Failure> {
    let tree = WorkTree::create(&work.join("iris")).await?;
    system.import(REPOSITORY, tree.path()).await?;
    let story = Story {
        client: Client::new(&system.endpoints().api, &system.endpoints().traces)?,
        forge: Repository::new(&system.endpoints().forge, REPOSITORY, system.user_token())?,
        remote: format!("{}/{REPOSITORY}.git", system.endpoints().forge),
        pages: format!("{}/{REPOSITORY}", system.endpoints().forge),
        tree,
        commands: Vec::new(),
        predictions: Vec::new(),
        plan: String::new(),
    };
    story.tell(system, options).await
}

struct Story {
    client: Client,
    forge: Repository,
    remote: String,
    pages: String,
    tree: WorkTree,
    commands: Vec<Json>,
    predictions: Vec<Json>,
    plan: String,
}

impl Story {
    async fn tell(mut self, system: &System, options: &DemoOptions) -> Result<Report, Failure> {
        let begun = Instant::now();
        let first = self.first_model().await?;
        let endpoint = text(&first, &["lineage", "endpoint"]);
        self.predict(&endpoint, "the first model").await?;

        let second = self.pull_request_that_changes_the_model().await?;
        let load = Load::start(endpoint.clone(), self.sample()?, options.rate)?;
        println!("\n  (from here on {} requests a second reach {endpoint})", options.rate);
        let shipped = self.say(second, "/ship", "SUCCEEDED").await?;
        self.predict(&endpoint, "the second model").await?;
        self.broken_model(&text(&shipped, &["lineage", "revision"])).await?;
        self.predict(&endpoint, "still the second model").await?;
        let back = self.roll_back(second, &first).await?;
        self.predict(&endpoint, "the first model again").await?;
        let waiting = Instant::now();
        while load.sent() < MIN_REQUESTS && waiting.elapsed() < Duration::from_secs(120) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let load = load.stop().await;
        println!(
            "\nload: {} requests sent, {} failed, p50 {} ms, p99 {} ms",
            load.sent, load.failed, load.p50_ms, load.p99_ms
        );
        expect(load.failed == 0, || {
            format!("{} requests were lost, the first: {}", load.failed, load.first_failure.clone().unwrap_or_default())
        })?;
        expect(load.sent >= MIN_REQUESTS, || format!("only {} requests were sent", load.sent))?;

        let mut report = self.report(system, begun.elapsed()).await?;
        report.load = Some(load);
        report.rollback = json!({
            "revision": back["lineage"]["revision"],
            "replaces": back["lineage"]["previousRevision"],
            "model": back["lineage"]["model"],
            "commit": back["lineage"]["commit"],
        });
        report.endpoint = endpoint;
        let traces = self.traces().await?;
        report.spans = traces.iter().map(|(id, trace)| (id.clone(), spans_by_service(trace))).collect();
        let ship_trace = text(&shipped, &["traceId"]);
        let built = self.commands.iter().find(|command| command["verb"] == "VERB_BUILD_RUN");
        let built = built.map(|command| text(command, &["traceId"])).unwrap_or_default();
        expect(links_to(&traces[&text(&first, &["traceId"])], &built), || {
            "the first /deploy's trace has no link to the trace of its /build_run".into()
        })?;
        self.check_spans(&traces, &ship_trace)?;
        println!("\nthe trace of pull request {second}'s /ship:\n{}", waterfall::draw(&traces[&ship_trace], 110));
        print_lineage(&shipped["lineage"]);
        if let Some(path) = &options.report {
            write_report(path, &mut report, &traces)?;
            println!("\nreport: {}\ntraces: {}", path.display(), report.trace_file);
        }
        println!("\nthe story took {:.0} s", begun.elapsed().as_secs_f64());
        Ok(report)
    }

    /// Pull request 1: trained, deployed, predicts. Pull request 2 branches off before it is merged.
    async fn first_model(&mut self) -> Result<Json, Failure> {
        self.tree.branch("deeper-tree", "main").await?;
        self.tree.edit("kfops.yaml", "max_depth: 2", "max_depth: 3")?;
        self.tree.edit("images/trainer/Dockerfile", "WORKDIR /app", "WORKDIR /app\nENV IRIS_TREE=deeper")?;
        self.tree.commit("A deeper tree").await?;
        self.tree.push(&self.remote, "deeper-tree").await?;

        self.tree.branch("first-model", "main").await?;
        self.tree.edit("README.md", "\n", "\n\nOwned by the iris team.\n")?;
        self.tree.commit("The first model").await?;
        self.tree.push(&self.remote, "first-model").await?;
        let number = self
            .forge
            .open_pull_request("The first model", "first-model", "main", "Deploys a decision tree of depth 2.")
            .await?;
        println!("\npull request {number}: The first model ({}/pull/{number})", self.pages);
        let plan = self.say(number, "/plan", "SUCCEEDED").await?;
        self.plan = text(&plan, &["answer"]);
        println!("{}", indented(&self.plan));
        expect(self.plan.contains("2 of 2 would be built"), || "the plan does not say that images are missing".into())?;
        self.say(number, "/build_run", "SUCCEEDED").await?;
        let deployed = self.say(number, "/deploy", "SUCCEEDED").await?;
        self.expect_label(number, "Deployed-to-production").await?;
        Ok(deployed)
    }

    async fn pull_request_that_changes_the_model(&mut self) -> Result<i64, Failure> {
        let number =
            self.forge.open_pull_request("A deeper tree", "deeper-tree", "main", "Depth 3 instead of 2.").await?;
        println!("\npull request {number}: A deeper tree ({}/pull/{number})", self.pages);
        self.say(number, "/deploy", "REFUSED").await?;
        let built = self.say(number, "/build_run", "SUCCEEDED").await?;
        let reused: Vec<&str> =
            built["lineage"]["reusedImages"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
        expect(reused == ["client"], || {
            format!("only the image that changed should have been built, but {reused:?} were reused")
        })?;
        let behind = self.say(number, "/deploy", "REFUSED").await?;
        expect(text(&behind, &["failure", "reason"]) == "REASON_BEHIND_BASE", || {
            "the refusal does not say that the branch is behind".into()
        })?;
        println!("  (the author updates the branch)");
        self.forge.update_branch(number).await?;
        Ok(number)
    }

    async fn broken_model(&mut self, live: &str) -> Result<(), Failure> {
        self.tree.fetch(&self.remote, "main").await?;
        self.tree.branch("three-features", "FETCH_HEAD").await?;
        self.tree.edit("kfops.yaml", "features: 4", "features: 3")?;
        self.tree.commit("Three features are enough").await?;
        self.tree.push(&self.remote, "three-features").await?;
        let number = self
            .forge
            .open_pull_request("Three features are enough", "three-features", "main", "They are not.")
            .await?;
        println!("\npull request {number}: Three features are enough ({}/pull/{number})", self.pages);
        self.say(number, "/build_run", "SUCCEEDED").await?;
        let failed = self.say(number, "/deploy", "FAILED").await?;
        expect(text(&failed, &["failure", "reason"]) == "REASON_PROOF_FAILED", || {
            "the broken model did not fail at the proof".into()
        })?;
        println!("  (live stays {live})");
        Ok(())
    }

    /// The model of the first pull request again, without a build or a run, under the same load.
    async fn roll_back(&mut self, number: i64, first: &Json) -> Result<Json, Failure> {
        println!("\npull request {number}: second thoughts ({}/pull/{number})", self.pages);
        let back = self.say(number, "/rollback", "SUCCEEDED").await?;
        let digest = |command: &Json| text(command, &["lineage", "model", "digest"]);
        expect(digest(&back) == digest(first), || "the rollback did not bring the first model back".into())?;
        self.expect_label(text(first, &["pullRequest"]).parse().unwrap_or_default(), "Deployed-to-production").await?;
        Ok(back)
    }

    async fn say(&mut self, pull_request: i64, comment: &str, state: &str) -> Result<Json, Failure> {
        println!("\n  > {comment}");
        let id = self.forge.comment(pull_request, comment).await?;
        let command = follow(&self.client, REPOSITORY, pull_request, id, false).await?;
        println!("{}", outcome(&command));
        if text(&command, &["state"]) != format!("STATE_{state}") {
            let tail = text(&command, &["failure", "logTail"]);
            return Err(Failure::new(
                Reason::Internal,
                format!("{comment} in pull request {pull_request} should have ended as {state}:{}", outcome(&command)),
            )
            .log_tail(&tail));
        }
        self.commands.push(command.clone());
        Ok(command)
    }

    async fn predict(&mut self, endpoint: &str, what: &str) -> Result<(), Failure> {
        let away = |error: reqwest::Error| Failure::new(Reason::ProofFailed, format!("{endpoint}: {error}"));
        let request =
            reqwest::Client::new().post(endpoint).header("content-type", "application/json").body(self.sample()?);
        let response = request.timeout(Duration::from_secs(10)).send().await.map_err(away)?;
        let revision =
            response.headers().get("kfops-revision").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        let answer: Json = response.json().await.map_err(away)?;
        println!("  {what} ({revision}) predicts {answer}");
        self.predictions.push(json!({"what": what, "revision": revision, "answer": answer}));
        Ok(())
    }

    fn sample(&self) -> Result<String, Failure> {
        std::fs::read_to_string(self.tree.path().join("serving/sample.json")).map_err(Failure::internal)
    }

    async fn expect_label(&self, pull_request: i64, label: &str) -> Result<(), Failure> {
        let pull = self.forge.pull_request(pull_request).await?;
        let has = pull["labels"].as_array().is_some_and(|labels| labels.iter().any(|l| l["name"] == label));
        expect(has && pull["merged"] == true, || {
            format!("pull request {pull_request} should be merged and labelled {label}")
        })
    }

    /// Every command's trace, once its root span has arrived.
    async fn traces(&self) -> Result<BTreeMap<String, Json>, Failure> {
        let mut traces = BTreeMap::new();
        let begun = Instant::now();
        for command in &self.commands {
            let id = text(command, &["traceId"]);
            let trace = loop {
                let trace = self.client.trace(&id).await?;
                let complete = trace.as_ref().is_some_and(|t| waterfall::problems(t).is_empty());
                if complete || begun.elapsed() > Duration::from_secs(15) {
                    break trace.unwrap_or_else(|| json!({"resourceSpans": []}));
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            };
            traces.insert(id, trace);
        }
        Ok(traces)
    }

    fn check_spans(&self, traces: &BTreeMap<String, Json>, ship: &str) -> Result<(), Failure> {
        for (id, trace) in traces {
            let problems = waterfall::problems(trace);
            expect(problems.is_empty(), || format!("trace {id}: {}", problems.join("; ")))?;
        }
        let services = traces.get(ship).map(spans_by_service).unwrap_or_default();
        let wanted = [
            "kfops-gateway",
            "kfops-scm-bot",
            "kfops-image-builder",
            "kfops-pipeline-runner",
            "kfops-serving-deployer",
            "envoy",
            "iris",
        ];
        let missing: Vec<&str> = wanted.into_iter().filter(|name| !services.contains_key(*name)).collect();
        expect(missing.is_empty(), || format!("the trace of /ship has no span of {}", missing.join(", ")))
    }

    async fn report(&self, system: &System, took: Duration) -> Result<Report, Failure> {
        let mut report = Report {
            predictions: self.predictions.clone(),
            plan: self.plan.clone(),
            seconds: took.as_secs_f64(),
            ..Report::default()
        };
        for command in &self.commands {
            report.commands.push(command_entry(command));
            let lineage = &command["lineage"];
            let made = |step: &str| command["steps"].as_array().into_iter().flatten().any(|s| s["title"] == step);
            if made("build") {
                let reused = lineage["reusedImages"].as_array().cloned().unwrap_or_default();
                for image in lineage["images"].as_array().into_iter().flatten() {
                    let how = if reused.contains(&image["name"]) { "reused" } else { "built" };
                    report.images.push(json!({"command": command["name"], "name": image["name"], "digest": image["digest"], "how": how}));
                }
                report.versions.push(json!({"id": lineage["pipelineVersion"], "spec_digest": lineage["specDigest"], "commit": command["commit"]}));
            }
            if made("run") {
                report
                    .runs
                    .push(json!({"id": lineage["run"], "metrics": lineage["metrics"], "model": lineage["model"]}));
            }
        }
        report.revisions = system.revisions().await?;
        Ok(report)
    }
}

fn text(json: &Json, path: &[&str]) -> String {
    path.iter().fold(json, |value, key| &value[*key]).as_str().unwrap_or_default().to_owned()
}

fn expect(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(Failure::new(Reason::Internal, otherwise())) }
}
