//! State of a version whose bot was a user with a token: it gets its App, and what its webhook had not sent arrives.

use std::time::Duration;

use kfops_forge::{Forge, NewPullRequest, Role, Settings};
use kfops_local::demo::ended;
use kfops_tests::{local_up::LocalUp, wait};
use serde_json::json;

use crate::{fixture, judge::judge};

#[tokio::test(flavor = "multi_thread")]
async fn state_without_an_app_gets_one() {
    let folder = tempfile::tempdir().unwrap();
    let tree = fixture::repository(&folder.path().join("iris"), &["first"], &[]).await;
    let state = folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let secrets = json!({"webhook": "old", "bot_token": "ghs_old", "user_token": "mine"});
    std::fs::write(state.join("secrets.json"), secrets.to_string()).unwrap();
    std::fs::write(state.join("repository"), "local/iris").unwrap();

    let settings = Settings { hold_deliveries: true, bot_tokens_are_apps: true, ..Settings::new(state.join("forge")) }
        .account("author", Role::Admin, "mine")
        .account("kfops[bot]", Role::Admin, "ghs_old");
    let forge = Forge::start(settings).await.unwrap();
    forge.import_repository("local", "iris", tree.path()).await.unwrap();
    let gone = "http://127.0.0.1:9/webhooks/github";
    forge.add_hook("local", "iris", "kfops", gone, &"old".into(), &["issue_comment"]).await.unwrap();
    let new = NewPullRequest { author: "author", head: "first", base: "main", title: "First", body: "" };
    let pull = forge.open_pull_request("local", "iris", new).await.unwrap();
    forge.comment("local", "iris", pull, "author", "/help").await.unwrap();
    forge.stop().await;

    let mut local = LocalUp::start(tree.path(), &state).await.unwrap();
    let (client, pull) = (local.client().unwrap(), i64::try_from(pull).unwrap());
    let answered = async |count: usize| {
        let all = wait::until("the answers", Duration::from_secs(30), async || {
            let commands = client.commands("local/iris", pull).await.ok()?;
            (commands.len() == count && commands.iter().all(ended)).then_some(commands)
        });
        let all = all.await.unwrap_or_else(|error| panic!("{error}\n{}", local.log()));
        assert!(all.iter().all(|command| command["state"] == "STATE_SUCCEEDED"), "{all:#?}");
    };
    answered(1).await;
    let author = local.forge("local/iris").unwrap();
    assert_eq!(author.get("/hooks").await.unwrap(), json!([]), "the webhook of the repository is gone");
    author.comment(pull, "/status").await.unwrap();
    answered(2).await;
    let comments = author.comments(pull).await.unwrap();
    let bots = comments.iter().filter(|comment| comment["user"]["login"] == "kfops[bot]").count();
    assert_eq!(bots, 2, "{comments:#?}");
    assert!(!local.log().contains("does not show what it sent"), "{}", local.log());
    assert!(state.join("github-app.pem").is_file());
    assert_eq!(local.stop().await.unwrap(), Some(0), "{}", local.log());
    judge(&local.forge_log(), 0);
}
