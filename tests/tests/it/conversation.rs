//! A person's conversation with the bot of a running system.

use std::{path::Path, time::Duration};

use kfops_local::{
    client::Client,
    demo::{Repository, WorkTree, ended},
};
use kfops_proto::{
    build::{ListBuildsRequest, build_service_client::BuildServiceClient},
    pipeline::{ListRunsRequest, Run, run_service_client::RunServiceClient},
    serving::{ListRolloutsRequest, rollout_service_client::RolloutServiceClient},
};
use kfops_tests::{local_up::LocalUp, wait};
use serde_json::{Value as Json, json};

pub(crate) const REPOSITORY: &str = "local/iris";
const LIMIT: Duration = Duration::from_secs(90);

/// A running system, and the author's work tree.
pub(crate) struct Conversation {
    pub(crate) local: LocalUp,
    pub(crate) tree: WorkTree,
    pub(crate) forge: Repository,
    client: Client,
}

impl Conversation {
    pub(crate) async fn start(tree: WorkTree, state: &Path) -> Self {
        let local = LocalUp::start_with_faults(tree.path(), state).await.unwrap();
        let (forge, client) = (local.forge(REPOSITORY).unwrap(), local.client().unwrap());
        Self { local, tree, forge, client }
    }

    pub(crate) async fn open(&self, title: &str, branch: &str) -> i64 {
        self.forge.open_pull_request(title, branch, "main", "").await.unwrap()
    }

    /// Pushes a branch of the work tree.
    pub(crate) async fn push(&self, branch: &str) {
        let remote = format!("{}/{REPOSITORY}.git", self.local.endpoints.forge);
        self.tree.push(&remote, branch).await.unwrap();
    }

    /// Writes a comment and waits for the end of its command, which must be that one.
    pub(crate) async fn say(&self, pull: i64, text: &str, state: &str) -> Json {
        let comment = self.write(pull, text).await;
        self.end(pull, comment, state).await
    }

    /// Writes a comment.
    pub(crate) async fn write(&self, pull: i64, text: &str) -> String {
        self.forge.comment(pull, text).await.unwrap().to_string()
    }

    pub(crate) async fn end(&self, pull: i64, comment: String, state: &str) -> Json {
        let of = |command: &Json| command["commentId"] == comment.as_str();
        let command = self.command(pull, "the command's end", |command| of(command) && ended(command)).await;
        assert_eq!(command["state"], format!("STATE_{state}"), "{command:#}\n{}", self.local.log());
        command
    }

    /// Waits until a step of the comment's command is under way.
    pub(crate) async fn running(&self, pull: i64, comment: &str, title: &str) -> Json {
        let runs = |step: &Json| step["title"] == title && step["state"] == "STEP_STATE_RUNNING";
        let fits = |command: &Json| {
            assert!(command["commentId"] != comment || !ended(command), "it ended before {title}: {command:#}");
            command["commentId"] == comment && command["steps"].as_array().into_iter().flatten().any(runs)
        };
        self.command(pull, title, fits).await
    }

    /// Waits for a command of the pull request.
    pub(crate) async fn command(&self, pull: i64, what: &str, fits: impl Fn(&Json) -> bool) -> Json {
        let found = wait::until(what, LIMIT, async || {
            let commands = self.client.commands(REPOSITORY, pull).await.ok()?;
            commands.into_iter().find(|command| fits(command))
        });
        match found.await {
            Ok(command) => command,
            Err(error) => panic!("{error}: {:#?}\n{}", self.client.commands(REPOSITORY, pull).await, self.local.log()),
        }
    }

    /// Waits until the bot's comment about a command says that.
    pub(crate) async fn told(&self, pull: i64, command: &Json, words: &str) {
        let marker = format!("<!-- kfops:{} -->", id(command));
        let told = wait::until(words, LIMIT, async || {
            let comments = self.forge.comments(pull).await.ok()?;
            // Between `@` and a login stands what keeps GitHub from a mention.
            let texts = comments.iter().filter_map(|comment| comment["body"].as_str());
            texts.map(|text| text.replace('\u{200b}', "")).find(|text| text.contains(&marker) && text.contains(words))
        });
        if let Err(error) = told.await {
            panic!("{error}: {:#?}", self.forge.comments(pull).await);
        }
    }

    /// Numbers of builds, runs and rollouts.
    pub(crate) async fn work(&self) -> (usize, usize, usize) {
        let services = &self.local.endpoints.services;
        let builds = BuildServiceClient::new(kfops_rpc::connect(&services.image_builder).unwrap())
            .list_builds(ListBuildsRequest::default())
            .await
            .unwrap();
        let rollouts = RolloutServiceClient::new(kfops_rpc::connect(&services.serving_deployer).unwrap())
            .list_rollouts(ListRolloutsRequest::default())
            .await
            .unwrap();
        (builds.get_ref().builds.len(), self.runs().await.len(), rollouts.get_ref().rollouts.len())
    }

    pub(crate) async fn runs(&self) -> Vec<Run> {
        let channel = kfops_rpc::connect(&self.local.endpoints.services.pipeline_runner).unwrap();
        RunServiceClient::new(channel).list_runs(ListRunsRequest::default()).await.unwrap().into_inner().runs
    }

    /// Which revision answers.
    pub(crate) async fn asked(&self, endpoint: &str, sample: &str) -> String {
        let request = reqwest::Client::new().post(endpoint).header("content-type", "application/json");
        let response = request.body(sample.to_owned()).send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
        response.headers()["kfops-revision"].to_str().unwrap().to_owned()
    }

    /// The check run of a command.
    pub(crate) async fn check(&self, command: &Json) -> Json {
        let commit = command["commit"].as_str().unwrap();
        let found = wait::until("the check run", LIMIT, async || {
            let checks = self.forge.check_runs(commit).await.ok()?;
            checks.into_iter().find(|check| check["external_id"] == id(command))
        });
        found.await.unwrap()
    }

    /// Presses a button of a command's check run on the forge's page, as soon as the page has it.
    pub(crate) async fn press(&self, pull: i64, command: &Json, button: &str) {
        let check = self.check(command).await["id"].to_string();
        let url = format!("{}/{REPOSITORY}/pull/{pull}", self.local.endpoints.forge);
        let token = wait::until(button, LIMIT, async || {
            let page = reqwest::get(&url).await.ok()?.text().await.ok()?;
            let form = page.split("<form").find(|form| form.contains(&format!("name=\"check\" value=\"{check}\"")))?;
            form.contains(&format!("value=\"{button}\"")).then_some(())?;
            let (_, rest) = form.split_once("name=\"token\" value=\"")?;
            Some(rest.split('"').next()?.to_owned())
        });
        let form = [("token", token.await.unwrap()), ("user", "author".to_owned())];
        let form = form.into_iter().chain([("check", check), ("press", button.to_owned())]);
        let body: Vec<String> = form.map(|(name, value)| format!("{name}={value}")).collect();
        let pressed = reqwest::Client::new()
            .post(url)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body.join("&"))
            .send()
            .await
            .unwrap();
        assert_eq!(pressed.status().as_u16(), 200, "{}", pressed.text().await.unwrap());
    }

    /// The next webhook of a comment never arrives.
    pub(crate) async fn drop_next_comment(&self) {
        let rule = json!({"webhooks": {"event": "issue_comment.created", "times": 1}, "fault": {"kind": "drop"}});
        let url = format!("{}/_forge/faults", self.local.endpoints.forge);
        let made = reqwest::Client::new().post(url).json(&rule).send().await.unwrap();
        assert_eq!(made.status().as_u16(), 201);
    }

    /// Whether what was to go wrong went wrong.
    pub(crate) async fn fault_hit(&self) -> bool {
        let url = format!("{}/_forge/faults", self.local.endpoints.forge);
        let faults: Json = reqwest::get(url).await.unwrap().json().await.unwrap();
        faults["webhooks"][0]["hits"] == 1
    }

    pub(crate) async fn labelled(&self, pull: i64) -> bool {
        let pull = self.forge.pull_request(pull).await.unwrap();
        pull["labels"].as_array().unwrap().iter().any(|label| label["name"] == "Deployed-to-production")
    }
}

pub(crate) fn id(command: &Json) -> &str {
    command["name"].as_str().unwrap().trim_start_matches("commands/")
}
