//! A forge that is killed goes on where it was.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use kfops_forge::{Forge, NewPullRequest};
use serde_json::{Value, json};

use crate::world::{BOT, OWNER, REPO, Receiver, World, client, crab, git, settings, token, until};

#[tokio::test]
async fn what_was_not_sent_is_sent_by_the_next_start() {
    let world = World::with(|mut settings| {
        settings.hold_deliveries = true;
        settings
    })
    .await;
    let number = world.open().await;
    let receiver = Receiver::start().await;
    let secret = "s".into();
    // The hook's address of before is gone; the same key moves it.
    world.forge.add_hook(OWNER, REPO, "kfops", "http://127.0.0.1:9/", &secret, &["issue_comment"]).await.unwrap();
    let comment = world.forge.comment(OWNER, REPO, number, "author", "/build_run").await.unwrap();
    world.forge.stop().await;

    let mut again = settings(world.folder.path());
    again.hold_deliveries = true;
    let forge = Forge::start(again).await.unwrap();
    forge.add_hook(OWNER, REPO, "kfops", &receiver.url, &secret, &["issue_comment"]).await.unwrap();
    assert!(receiver.all().is_empty());
    forge.deliver();
    let received = receiver.wait("issue_comment.created").await;
    assert_eq!(received.json()["comment"]["id"], json!(comment));

    // Everything is as it was, and asking twice is asking once.
    let imported = forge.import_repository(OWNER, REPO, &world.source).await.unwrap();
    assert!(imported.updated.is_empty() && imported.diverged.is_empty());
    let twin = NewPullRequest { author: "author", head: "feature", base: "main", title: "other", body: "" };
    let same = forge.open_pull_request(OWNER, REPO, twin).await.unwrap();
    assert_eq!(same, number);
    assert_eq!(crab(&forge, BOT).pulls(OWNER, REPO).get(number).await.unwrap().title.unwrap(), "Deeper trees");
    forge.stop().await;
}

#[tokio::test]
async fn an_import_keeps_what_was_merged_here() {
    let world = World::start().await;
    let number = world.open().await;
    let merged = world.crab(BOT).pulls(OWNER, REPO).merge(number).send().await.unwrap().sha.unwrap();
    let imported = world.forge.import_repository(OWNER, REPO, &world.source).await.unwrap();
    assert!(imported.updated.is_empty() && imported.diverged.is_empty(), "{imported:?}");
    git(&world.source, &["switch", "-q", "main"]);
    crate::world::commit(&world.source, "x", "y", "another way");
    let imported = world.forge.import_repository(OWNER, REPO, &world.source).await.unwrap();
    assert_eq!(imported.diverged, ["main"]);
    assert_eq!(world.get("/commits/main").await.json["sha"], json!(merged));
    world.forge.stop().await;
}

#[tokio::test]
async fn a_merge_that_was_cut_off_is_finished() {
    let world = World::start().await;
    let number = world.open().await;
    let forge = world.folder.path().join("forge");
    let bare = forge.join("repos/team/iris.git");
    let (main, head) = (git(&bare, &["rev-parse", "main"]), git(&bare, &["rev-parse", "feature"]));
    world.forge.stop().await;
    // As it stands between the compare-and-swap and the transaction: a squash, which only the intent can explain.
    let tree = git(&bare, &["rev-parse", "feature^{tree}"]);
    let squash = git(&bare, &["commit-tree", &tree, "-p", &main, "-m", "squashed"]);
    let database = rusqlite::Connection::open(forge.join("forge.db")).unwrap();
    let by = "(SELECT id FROM users WHERE login = 'boss')";
    let changed =
        database.execute(&format!("UPDATE pulls SET merging_sha = ?1, merging_by = {by}"), [&squash]).unwrap();
    assert_eq!(changed, 1);
    drop(database);
    git(&bare, &["update-ref", "refs/heads/main", &squash, &main]);

    let forge = Forge::start(settings(world.folder.path())).await.unwrap();
    let pull = crab(&forge, BOT).pulls(OWNER, REPO).get(number).await.unwrap();
    assert_eq!((pull.merged, pull.merge_commit_sha.as_deref()), (Some(true), Some(squash.as_str())));
    assert_eq!((pull.merged_by.unwrap().login.as_str(), pull.base.sha.as_str()), ("boss", main.as_str()));
    assert_eq!(pull.head.sha, head);
    forge.stop().await;
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Starts the binary on a free port and reads its address.
fn start(world: &World) -> (Process, String) {
    let source = world.source.display();
    let mut child = Command::new(env!("CARGO_BIN_EXE_kfops-forge"))
        .args(["--listen", "127.0.0.1:0", "--user", &format!("{BOT}:write:{}", token(BOT))])
        .args(["--import", &format!("{OWNER}/{REPO}={source}"), "--root"])
        .arg(world.folder.path().join("process"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (Process(child), line.trim().to_owned())
}

#[tokio::test]
async fn the_binary_survives_sigkill() {
    let world = World::start().await;
    let receiver = Receiver::start().await;
    let (process, url) = start(&world);
    let call = async |method: &str, url: &str, path: &str, body: Value| {
        let request = client().request(method.parse().unwrap(), format!("{url}/repos/{OWNER}/{REPO}{path}"));
        let request = if body.is_null() { request } else { request.json(&body) };
        request.bearer_auth(token(BOT)).send().await.unwrap().json::<Value>().await.unwrap()
    };
    let pull = json!({ "title": "x", "head": "feature", "base": "main" });
    assert_eq!(call("POST", &url, "/pulls", pull).await["number"], 1);
    let hook = json!({ "config": { "url": receiver.url, "content_type": "json" }, "events": ["issue_comment"] });
    call("POST", &url, "/hooks", hook).await;
    receiver.wait("ping").await;
    // The answer to a comment is the promise that it is kept and sent.
    for index in 0..20 {
        call("POST", &url, "/issues/1/comments", json!({ "body": format!("c{index}") })).await;
    }
    drop(process);
    let (_process, url) = start(&world);
    let comments = call("GET", &url, "/issues/1/comments?per_page=100", Value::Null).await;
    assert_eq!(comments.as_array().unwrap().len(), 20);
    until("every comment arrives", async || {
        let all = receiver.all();
        let has = |index| all.iter().any(|one| one.json()["comment"]["body"] == json!(format!("c{index}")));
        (0..20).all(has).then_some(())
    })
    .await;
    assert_eq!(call("GET", &url, "/pulls/1", Value::Null).await["mergeable_state"], "clean");
}

#[tokio::test]
async fn a_folder_has_one_forge_and_no_stale_locks() {
    let world = World::start().await;
    let number = world.open().await;
    let second = Forge::start(settings(world.folder.path())).await.unwrap_err();
    assert!(second.message.contains("another forge"), "{second}");
    world.forge.stop().await;
    let lock = world.folder.path().join("forge/repos/team/iris.git/refs/heads/main.lock");
    std::fs::write(&lock, "").unwrap();
    let forge = Forge::start(settings(world.folder.path())).await.unwrap();
    assert!(!lock.exists());
    assert!(crab(&forge, BOT).pulls(OWNER, REPO).merge(number).send().await.unwrap().merged);
    forge.stop().await;
}
