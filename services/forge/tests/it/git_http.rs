//! Clones and pushes by git itself.

use serde_json::{Value, json};

use crate::world::{BOT, OWNER, REPO, Receiver, World, client, commit, git, git_there, token};

#[tokio::test]
async fn a_push_moves_its_pull_request() {
    let world = World::start().await;
    let number = world.open().await;
    let receiver = Receiver::start().await;
    world.forge.add_hook(OWNER, REPO, "t", &receiver.url, &"s".into(), &["push", "pull_request"]).await.unwrap();
    let clone = world.folder.path().join("clone");
    let url = world.forge.clone_url(OWNER, REPO);
    let (good, text) = git_there(world.folder.path(), &["clone", "-q", &url, "clone"]).await;
    assert!(good, "{text}");
    assert_eq!(git(&clone, &["branch", "--show-current"]), "main");
    git(&clone, &["switch", "-q", "feature"]);
    // Larger than git's buffer, so that it is sent in chunks.
    let noise: String = (0..400_000u32).map(|n| format!("{:08x}", n.wrapping_mul(2_654_435_761))).collect();
    let sha = commit(&clone, "data.txt", &noise, "big");
    let (good, text) = git_there(&clone, &["push", "-q", "origin", "feature"]).await;
    assert!(good, "{text}");
    let pull = world.crab(BOT).pulls(OWNER, REPO).get(number).await.unwrap();
    assert_eq!(pull.head.sha, sha);
    assert_eq!(receiver.wait("push").await.json()["pusher"]["name"], "author");
    assert_eq!(receiver.wait("pull_request.synchronize").await.json()["after"], json!(sha));

    // refs/pull/N/head can be fetched and not pushed.
    let (good, text) = git_there(&clone, &["fetch", "-q", "origin", "refs/pull/1/head"]).await;
    assert!(good, "{text}");
    assert_eq!(git(&clone, &["rev-parse", "FETCH_HEAD"]), sha);
    let (good, _) = git_there(&clone, &["push", "-q", "origin", "HEAD:refs/pull/1/head"]).await;
    assert!(!good);
    let (good, text) = git_there(&clone, &["push", "-q", "origin", ":feature"]).await;
    assert!(good, "{text}");
    receiver.wait("pull_request.closed").await;
    world.forge.stop().await;
}

#[tokio::test]
async fn a_push_needs_write() {
    let world = World::with(|mut settings| {
        settings.trust_loopback = false;
        settings
    })
    .await;
    let base = world.forge.url().replace("http://", "");
    let clone = world.folder.path().join("clone");
    let (good, text) =
        git_there(world.folder.path(), &["clone", "-q", &world.forge.clone_url(OWNER, REPO), "clone"]).await;
    assert!(good, "{text}");
    commit(&clone, "x", "y", "more");
    let (good, _) = git_there(&clone, &["push", "-q", "origin", "main"]).await;
    assert!(!good, "without a token");
    for (login, may) in [("helper", false), ("author", true)] {
        let url = format!("http://{login}:{}@{base}/{OWNER}/{REPO}.git", token(login));
        let (good, text) = git_there(&clone, &["push", "-q", &url, "main"]).await;
        assert_eq!(good, may, "{login}: {text}");
    }
    world.forge.stop().await;
}

#[tokio::test]
async fn another_sites_page_cannot_push() {
    let world = World::start().await;
    let target = format!("{}/{OWNER}/{REPO}.git/git-receive-pack", world.forge.url());
    let form = client().post(&target).header("content-type", "text/plain").body("0000").send().await.unwrap();
    assert_eq!(form.status(), 400);
    let rebound = client()
        .post(&target)
        .header("content-type", "application/x-git-receive-pack-request")
        .header("host", "evil.example")
        .body("0000")
        .send()
        .await
        .unwrap();
    assert_eq!(rebound.status(), 401);
    world.forge.stop().await;
}

#[tokio::test]
async fn a_hostile_branch_is_only_a_name() {
    let world = World::start().await;
    let branch = "$(touch$IFS/tmp/kfops-forge-pwned)`id`;x|y&'\"<script>alert(1)</script>";
    git(&world.source, &["switch", "-q", "-c", branch, "main"]);
    commit(&world.source, "--upload-pack=x", "z\n", "--help");
    let imported = world.forge.import_repository(OWNER, REPO, &world.source).await.unwrap();
    assert_eq!(imported.updated, [branch]);
    let title = "<img src=x onerror=alert(1)> $(id) {{ 7*7 }}";
    let number = world.open_from(branch, title, "<script>x</script>").await;
    let encoded: String = branch.bytes().map(|byte| format!("%{byte:02X}")).collect();
    for path in [
        format!("/git/ref/heads/{encoded}"),
        format!("/commits/{encoded}"),
        format!("/compare/main...{encoded}"),
        format!("/contents/--upload-pack=x?ref={encoded}"),
    ] {
        assert_eq!(world.get(&path).await.status, 200, "{path}");
    }
    assert_eq!(world.get(&format!("/tarball/{encoded}")).await.status, 302);
    let pull = world.get(&format!("/pulls/{number}")).await.json;
    assert_eq!((pull["head"]["ref"].as_str(), pull["title"].as_str()), (Some(branch), Some(title)));
    let page =
        client().get(world.forge.pull_request_url(OWNER, REPO, number)).send().await.unwrap().text().await.unwrap();
    assert!(!page.contains("<img src=x") && !page.contains("<script>x") && !page.contains("<script>alert"), "{page}");
    assert!(page.contains("{{ 7*7 }}"));
    world.grow("main", "NEWS", "n\n").await;
    let updated = world.send("PUT", &format!("/pulls/{number}/update-branch"), Some(BOT), Value::Null).await;
    assert_eq!(updated.status, 202, "{}", updated.json);
    let merged = world.send("PUT", &format!("/pulls/{number}/merge"), Some(BOT), json!({})).await;
    assert_eq!(merged.status, 200, "{}", merged.json);
    assert!(!std::path::Path::new("/tmp/kfops-forge-pwned").exists());
    world.forge.stop().await;
}
