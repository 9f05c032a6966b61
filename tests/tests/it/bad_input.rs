//! Hostile and broken input against a whole running system: clear answers, nothing executed, nothing lost.

use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use kfops_local::demo::ended;
use kfops_tests::{local_up::LocalUp, wait};
use sha2::Sha256;

use crate::{fixture, judge::judge};

const REPOSITORY: &str = "local/iris";
const HOSTILE_BRANCH: &str = "$(touch$IFS'pwned')";

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_answered_and_executes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let tree = fixture::repository(&folder.path().join("iris"), &["good"], &[]).await;
    tree.branch(HOSTILE_BRANCH, "main").await.unwrap();
    tree.edit("kfops.yaml", "context: images/client", "contxt: images/client").unwrap();
    tree.edit("kfops.yaml", "sample: serving/sample.json", "sample: serving/smaple.json").unwrap();
    tree.commit("`<img src=x onerror=alert(1)>` @everyone | x").await.unwrap();
    let mut local = LocalUp::start(tree.path(), &folder.path().join("state")).await.unwrap();

    webhooks(&local).await;
    let forge = local.forge(REPOSITORY).unwrap();
    let hostile =
        forge.open_pull_request("<script>alert(1)</script> $(touch pwned)", HOSTILE_BRANCH, "main", "x").await.unwrap();

    // Nothing in here is a command.
    let noise = "<script>alert(2)</script>\n\nplease do not /deploy yet\n\n```\n/deploy\n```\n\n> /deploy\n\n<!--\n/deploy\n-->\n\n`/deploy`\n\n# /deploy";
    forge.comment(hostile, noise).await.unwrap();
    forge.comment(hostile, "/biuld_run").await.unwrap();
    let suggestion = wait::until("the suggestion", Duration::from_secs(30), async || {
        let comments = forge.comments(hostile).await.ok()?;
        comments.into_iter().find(|c| c["user"]["login"] == "kfops[bot]")
    });
    let suggestion = suggestion.await.unwrap_or_else(|error| panic!("{error}\n{}", local.log()));
    // Markdown: an underscore may be escaped.
    assert!(suggestion["body"].as_str().unwrap().replace('\\', "").contains("/build_run"), "{suggestion:#}");

    // Errors of kfops.yaml, all of them, with their places.
    forge.comment(hostile, "/build").await.unwrap();
    let client = local.client().unwrap();
    let command = wait::until("the build's end", Duration::from_secs(60), async || {
        let commands = client.commands(REPOSITORY, hostile).await.ok()?;
        commands.into_iter().find(|c| c["verb"] == "VERB_BUILD").filter(ended)
    });
    let command = command.await.unwrap_or_else(|error| panic!("{error}\n{}", local.log()));
    assert_eq!(command["failure"]["reason"], "REASON_CONFIG_INVALID", "{command:#}");
    let comments = forge.comments(hostile).await.unwrap();
    let said = comments.iter().filter_map(|c| c["body"].as_str()).collect::<String>();
    assert!(said.contains("contxt") && said.contains("kfops.yaml:"), "{said}");

    let page = reqwest::get(format!("{}/{REPOSITORY}/pull/{hostile}", local.endpoints.forge))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(page.contains("&lt;script&gt;alert"), "the title is shown as text");
    assert!(!page.contains("<script>alert"), "a script reached the page");

    // Still alive, and a good pull request works.
    let good = forge.open_pull_request("Good", "good", "main", "").await.unwrap();
    forge.comment(good, "/help").await.unwrap();
    let helped = wait::until("/help", Duration::from_secs(30), async || {
        let commands = client.commands(REPOSITORY, good).await.ok()?;
        commands.into_iter().next().filter(ended)
    });
    assert_eq!(helped.await.unwrap()["state"], "STATE_SUCCEEDED");
    let commands = client.commands(REPOSITORY, hostile).await.unwrap();
    let taken: Vec<_> = commands.iter().filter(|c| c["state"] != "STATE_REFUSED").map(|c| c["verb"].clone()).collect();
    assert_eq!(taken, ["VERB_BUILD"], "noise became a command: {commands:#?}");
    assert_eq!(commands.len(), 2, "the typo and /build: {commands:#?}");

    assert_eq!(local.stop().await.unwrap(), Some(0), "{}", local.log());
    judge(&local.forge_log(), 0);
    for root in [folder.path(), &std::env::current_dir().unwrap()] {
        let find = tokio::process::Command::new("find")
            .arg(root)
            .args(["-name", "pwned*", "-not", "-path", "*/refs/*"])
            .output()
            .await
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&find.stdout), "", "something was executed");
    }
}

async fn webhooks(local: &LocalUp) {
    let secrets: serde_json::Value =
        serde_json::from_slice(&std::fs::read(local.state().join("secrets.json")).unwrap()).unwrap();
    let secret = secrets["webhook"].as_str().unwrap();
    let post = async |body: Vec<u8>, signature: String| {
        let request = reqwest::Client::new()
            .post(format!("{}/webhooks/github", local.endpoints.api))
            .header("content-type", "application/json")
            .header("x-github-event", "issue_comment")
            .header("x-github-delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958")
            .header("x-hub-signature-256", signature);
        // A server may close the connection on a body that it will not read.
        request.body(body).send().await.map(|response| response.status().as_u16())
    };
    assert_eq!(post(b"{}".to_vec(), sign("wrong", b"{}")).await.unwrap(), 401);
    assert_eq!(post(b"{}".to_vec(), String::new()).await.unwrap(), 401);
    let broken = b"{\"action\": ".to_vec();
    assert_eq!(post(broken.clone(), sign(secret, &broken)).await.unwrap(), 400);
    let large = vec![b' '; 30 << 20];
    let signature = sign(secret, &large);
    match post(large, signature).await {
        Ok(status) => assert_eq!(status, 413),
        Err(error) => assert!(error.is_request() || error.is_body(), "{error:?}"),
    }
}

fn sign(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}
