//! The bot's client before the forge, as an App and with a token, with the judge between them.

use std::{
    sync::{Arc, LazyLock},
    time::{Duration, SystemTime},
};

use aws_lc_rs::{
    encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der},
    rsa::{KeyPair, KeySize},
    signature::KeyPair as _,
};
use axum::Router;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use kfops_core::{Reason, SystemClock};
use kfops_forge::{AppRegistration, Forge, MergeMethods, NewPullRequest, Protection, Role, Settings};
use kfops_github_contract::{Judge, JudgingLayer};
use kfops_scm_bot::{
    AppSettings, GitHubSettings, MergeMethod,
    command::{MergeState, Repository},
    github::GitHubClient,
    ports::{Annotation, Button, CheckRun, Deployment, DeploymentState, GitHub as _, Merged, Meter, Post, Written},
};
use tokio::net::TcpListener;

use crate::{
    forge::world::{forward, repository},
    lines,
};

const APP: u64 = 4711;
const OWNER: &str = "team";
const BOT: &str = "kfops[bot]";
const MARKER: &str = "<!-- kfops:c-1 -->";

/// Private and public.
static KEYS: LazyLock<(String, String)> = LazyLock::new(|| {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let pem = |kind: &str, der: &[u8]| {
        format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", BASE64_STANDARD.encode(der))
    };
    let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    (pem("PRIVATE KEY", private.as_ref()), pem("PUBLIC KEY", public.as_ref()))
});

struct World {
    client: GitHubClient,
    forge: Forge,
    layer: JudgingLayer,
    repository: Repository,
    meter: Meter,
    folder: tempfile::TempDir,
}

impl World {
    async fn start(app: bool) -> Self {
        let layer = Judge::from_env().unwrap().layer();
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        repository(&source);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let front = format!("http://{}", listener.local_addr().unwrap());
        let mut settings = Settings::new(folder.path().join("forge"))
            .account(BOT, Role::Admin, "token-of-the-bot")
            .account("author", Role::Write, "token-of-author")
            .account(OWNER, Role::Admin, "token-of-team");
        settings.public_url = Some(front.clone());
        let forge = Forge::start(settings).await.unwrap();
        forge.import_repository(OWNER, "iris", &source).await.unwrap();
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let behind = (http, format!("http://{}", forge.addr()));
        let router = Router::new().fallback(forward).with_state(behind).layer(layer.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let mut settings = GitHubSettings { api_url: format!("{front}/api/v3"), ..GitHubSettings::default() };
        if app {
            register(&forge).await;
            settings.app = Some(AppSettings {
                id: APP.to_string(),
                private_key: Some(KEYS.0.clone().into()),
                ..AppSettings::default()
            });
        } else {
            settings.token = Some("token-of-the-bot".into());
            settings.repositories = vec!["team/iris".into()];
        }
        let client = GitHubClient::new(&settings, Duration::from_secs(20), Arc::new(SystemClock)).unwrap();
        let repository = Repository::parse("team/iris").unwrap();
        Self { client, forge, layer, repository, meter: Meter::default(), folder }
    }

    async fn open(&self) -> u64 {
        let new = NewPullRequest { author: "author", head: "feature", base: "main", title: "more", body: "" };
        self.forge.open_pull_request(OWNER, "iris", new).await.unwrap()
    }

    /// Requests since the last time, without those for the App's own token.
    fn calls(&self) -> Vec<String> {
        self.meter.take().into_iter().map(|call| call.name).collect()
    }

    fn judge(&self) {
        let (seen, wrong) = self.layer.seen();
        assert!(seen > 5 && wrong.is_empty(), "{seen} exchanges{}", lines(&wrong));
    }
}

async fn register(forge: &Forge) {
    let permissions =
        ["checks", "contents", "deployments", "issues", "pull_requests", "statuses"].map(|name| (name, "write"));
    let app = AppRegistration {
        id: APP,
        slug: "kfops",
        owner: OWNER,
        public_key: &KEYS.1,
        webhook_secret: Some(&"secret".into()),
        permissions: &permissions,
        events: &["issue_comment", "pull_request", "check_run"],
    };
    forge.register_app(app).await.unwrap();
    forge.install_app(APP, OWNER, &[]).await.unwrap();
}

fn check(commit: &str) -> CheckRun {
    CheckRun {
        name: "kfops/deploy".into(),
        external_id: "c-1".into(),
        commit: commit.into(),
        started: SystemTime::now(),
        completed: None,
        title: "under way".into(),
        summary: "| a | b |".into(),
        details_url: Some("https://kfops.example/traces/1".into()),
        annotations: Vec::new(),
        buttons: vec![Button::Cancel],
    }
}

fn deployment(commit: &str) -> Deployment {
    Deployment {
        command: "c-1".into(),
        commit: commit.into(),
        environment: "production".into(),
        production: true,
        state: DeploymentState::Success,
        description: "live".into(),
        environment_url: Some("https://iris.example/".into()),
        log_url: None,
    }
}

/// The calls of a `/deploy` that takes no longer than a minute, in the order in which the driver makes them.
async fn deploy(world: &World, number: u64) -> Vec<String> {
    let (client, meter, on) = (&world.client, &world.meter, (&world.repository, number));
    assert_eq!(client.permission(meter, on.0, "author").await.unwrap(), "write");
    let look = client.look(meter, on).await.unwrap();
    assert!(look.pull.open && !look.pull.merged && !look.pull.fork && !look.pull.draft, "{look:?}");
    assert_eq!((look.pull.author.as_str(), look.pull.base.as_str()), ("author", "main"));
    assert_eq!((look.default_branch.as_str(), look.project), ("main", None));
    let head = look.pull.head;
    assert_eq!(client.behind_by(meter, on.0, "main", &head).await.unwrap(), 0);
    let comment = |id: Option<String>, text: &str| Some(Written { id, content: format!("{MARKER}\n{text}") });
    let begun = Post {
        comment: comment(None, "begun"),
        check: Some(Written { id: None, content: check(&head) }),
        deployment: None,
    };
    let begun = client.post(meter, on, &begun).await.unwrap();
    let (text, run) = (begun.comment.unwrap().unwrap(), begun.check.map(Result::unwrap));
    let merged = client.merge(meter, on, &head).await.unwrap();
    assert!(matches!(merged, Merged::Yes(_)), "{merged:?}");
    assert!(client.move_label(meter, on, "Deployed-to-production").await.unwrap().is_empty());
    let mut done = check(&head);
    done.completed = Some(("success", SystemTime::now()));
    done.annotations = vec![Annotation {
        path: "src/train.py".into(),
        line: 1,
        column: Some(2),
        message: "odd".into(),
        warning: true,
    }];
    done.buttons = vec![Button::Retry];
    let last = Post {
        comment: comment(Some(text.clone()), "done"),
        check: Some(Written { id: run.clone(), content: done }),
        deployment: Some(Written { id: None, content: deployment(&head) }),
    };
    let last = client.post(meter, on, &last).await.unwrap();
    assert_eq!(last.comment, Some(Ok(text.clone())));
    let calls = world.calls();
    // Whoever comes after a crash finds it all.
    let since = SystemTime::now() - Duration::from_secs(900);
    let (record, run_of) = (deployment(&head), check(&head));
    let found = client.find(meter, on, MARKER, since, Some(&run_of), Some(&record)).await.unwrap();
    assert_eq!(found.comment, Some(text));
    assert_eq!(found.deployment, last.deployment.unwrap().ok());
    if run.is_some() {
        assert_eq!(found.check, run);
        assert_eq!(last.check, run.map(Ok));
    }
    let look = client.look(meter, on).await.unwrap();
    assert!(look.succeeded.contains(&"kfops/deploy".to_owned()), "{:?}", look.succeeded);
    assert!(look.pull.merged && look.pull.merge_commit.is_some());
    calls
}

#[tokio::test]
async fn an_app_deploys_with_eight_calls() {
    let world = World::start(true).await;
    assert_eq!(world.client.login().await.unwrap().as_deref(), Some("kfops[bot]"));
    let number = world.open().await;
    let calls = deploy(&world, number).await;
    assert!(calls.len() <= 8, "{calls:#?}");
    world.judge();
}

#[tokio::test]
async fn a_token_deploys_with_nine_calls() {
    let world = World::start(false).await;
    let number = world.open().await;
    let calls = deploy(&world, number).await;
    assert!(calls.len() <= 9, "{calls:#?}");
    world.judge();
}

#[tokio::test]
async fn what_forbids_a_merge_is_seen_before_it() {
    let world = World::start(true).await;
    let number = world.open().await;
    let (client, meter, on) = (&world.client, &world.meter, (&world.repository, number));
    let free = client.look(meter, on).await.unwrap();
    assert_eq!((free.pull.merge_state, free.merging.queue), (MergeState::Free, false));
    assert_eq!(free.merging.methods, [MergeMethod::Merge, MergeMethod::Squash, MergeMethod::Rebase]);
    let rules = world.forge.protections();
    rules.protect("team/iris", "main", Protection { approvals: 1, merge_queue: true, ..Protection::default() });
    rules.merge_methods("team/iris", MergeMethods { merge: false, ..MergeMethods::default() });
    let looked = client.look(meter, on).await.unwrap();
    assert_eq!((looked.pull.merge_state, looked.merging.queue), (MergeState::Blocked, true));
    assert_eq!(looked.merging.methods, [MergeMethod::Squash, MergeMethod::Rebase]);
    // By REST, for what GitHub has to compute first.
    let pull = client.pull_request(meter, on.0, number).await.unwrap();
    assert_eq!((pull.mergeable, pull.merge_state), (Some(true), MergeState::Blocked));
    let merged = client.merge(meter, on, &free.pull.head).await.unwrap();
    assert_eq!(merged, Merged::No("405 Merge commits are not allowed on this repository.".into()));
    world.judge();
}

#[tokio::test]
async fn a_label_has_one_bearer() {
    let world = World::start(true).await;
    let number = world.open().await;
    let (client, meter, repository) = (&world.client, &world.meter, &world.repository);
    let label = "Deployed-to-staging";
    assert!(client.move_label(meter, (repository, number), label).await.unwrap().is_empty());
    world.calls();
    // Twice is once.
    assert!(client.move_label(meter, (repository, number), label).await.unwrap().is_empty());
    client.look(meter, (repository, number)).await.unwrap();
    let source = world.folder.path().join("source");
    let git = std::process::Command::new("git").args(["branch", "second", "feature"]).current_dir(&source).output();
    assert!(git.unwrap().status.success());
    world.forge.import_repository(OWNER, "iris", &source).await.unwrap();
    let new = NewPullRequest { author: "author", head: "second", base: "main", title: "again", body: "" };
    let other = world.forge.open_pull_request(OWNER, "iris", new).await.unwrap();
    client.look(meter, (repository, other)).await.unwrap();
    world.calls();
    assert_eq!(client.move_label(meter, (repository, other), label).await.unwrap(), [number]);
    assert_eq!(world.calls(), ["mutation labels"]);
    world.judge();
}

#[tokio::test]
async fn what_is_gone_is_told_part_by_part() {
    let world = World::start(true).await;
    let number = world.open().await;
    let (client, meter, on) = (&world.client, &world.meter, (&world.repository, number));
    let head = client.look(meter, on).await.unwrap().pull.head;
    let post = Post {
        comment: Some(Written { id: Some("IC_nothing".into()), content: "x".into() }),
        check: Some(Written { id: None, content: check(&head) }),
        deployment: None,
    };
    let outcome = client.post(meter, on, &post).await.unwrap();
    assert_eq!(outcome.comment.unwrap().unwrap_err().reason, Reason::NotFound);
    assert!(outcome.check.unwrap().is_ok());
    let missing = client.look(meter, (on.0, 99)).await.unwrap_err();
    assert_eq!(missing.reason, Reason::NotFound, "{missing}");
    let elsewhere = Repository::parse("nobody/nothing").unwrap();
    let missing = client.look(meter, (&elsewhere, 1)).await.unwrap_err();
    assert_eq!(missing.reason, Reason::NotFound, "{missing}");
    assert!(missing.message.contains("not installed"), "{missing}");
}

#[tokio::test]
async fn deliveries_that_never_arrived_are_found() {
    for app in [true, false] {
        let world = World::start(app).await;
        let url = "http://127.0.0.1:9/webhooks/github";
        if app {
            world.forge.set_app_hook(BOT, url, &"secret".into(), &[]).await.unwrap();
        } else {
            world.forge.add_hook(OWNER, "iris", "kfops", url, &"secret".into(), &[]).await.unwrap();
        }
        let number = world.open().await;
        world.forge.comment(OWNER, "iris", number, "author", "/deploy").await.unwrap();
        let since = SystemTime::now() - Duration::from_secs(60);
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        let comment = loop {
            let sent = world.client.deliveries(since).await.unwrap();
            if let Some(comment) = sent.into_iter().find(|one| one.event == "issue_comment") {
                break comment;
            }
            assert!(std::time::Instant::now() < deadline, "app: {app}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        assert_eq!(comment.action, "created");
        let payload = world.client.delivery_payload(&comment).await.unwrap();
        let payload: serde_json::Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(payload["comment"]["body"], "/deploy");
        let later = world.client.deliveries(SystemTime::now() + Duration::from_secs(600)).await.unwrap();
        assert!(later.is_empty());
    }
}
