//! Repositories that were renamed or archived.

use kfops_forge::Forge;
use serde_json::{Value, json};

use crate::world::{BOT, OWNER, REPO, World, client, crab, git_there, settings, token};

#[tokio::test]
async fn the_old_name_leads_to_the_new_one() {
    let world = World::start().await;
    world.open().await;
    let id = world.get("").await.json["id"].clone();
    world.forge.rename_repository(OWNER, REPO, "flowers").await.unwrap();
    let moved = world.get("/pulls/1?per_page=1").await;
    let place = format!("{}/repositories/{id}/pulls/1?per_page=1", world.forge.url());
    assert_eq!((moved.status, &moved.json["message"]), (301, &json!("Moved Permanently")));
    assert_eq!((moved.header("location"), &moved.json["url"]), (place.as_str(), &json!(place)));
    let followed: Value = client().get(&place).bearer_auth(token(BOT)).send().await.unwrap().json().await.unwrap();
    assert_eq!(followed["base"]["repo"]["full_name"], "team/flowers");
    let written = world.send("POST", "/issues/1/comments", Some(BOT), json!({ "body": "x" })).await;
    assert_eq!((written.status, written.header("location").ends_with("/issues/1/comments")), (307, true));
    // octocrab follows by itself, git too.
    let pull = crab(&world.forge, BOT).pulls(OWNER, REPO).get(1).await.unwrap();
    assert_eq!(pull.number, 1);
    let (good, text) = git_there(&world.source, &["ls-remote", &world.forge.clone_url(OWNER, REPO), "main"]).await;
    assert!(good && text.contains("refs/heads/main"), "{text}");

    // The name is free again.
    world.forge.import_repository(OWNER, REPO, &world.source).await.unwrap();
    assert_eq!(world.get("").await.json["full_name"], "team/iris");
    world.forge.stop().await;
}

#[tokio::test]
async fn a_rename_that_was_cut_off_is_finished() {
    let world = World::start().await;
    world.open().await;
    world.forge.rename_repository(OWNER, REPO, "flowers").await.unwrap();
    let folder = world.folder.path().to_owned();
    world.forge.stop().await;
    // As if the power had gone before the folder was moved.
    let home = folder.join("forge/repos/team");
    std::fs::rename(home.join("flowers.git"), home.join("iris.git")).unwrap();
    let forge = Forge::start(settings(&folder)).await.unwrap();
    let pull = crab(&forge, BOT).pulls(OWNER, "flowers").get(1).await.unwrap();
    assert_eq!(pull.mergeable, Some(true));
    forge.stop().await;
}

#[tokio::test]
async fn an_archived_repository_is_read_only() {
    let world = World::start().await;
    world.open().await;
    world.forge.set_archived(OWNER, REPO, true).await.unwrap();
    assert_eq!(world.get("").await.json["archived"], true);
    let refused = world.send("POST", "/issues/1/comments", Some(BOT), json!({ "body": "x" })).await;
    assert_eq!((refused.status, &refused.json["message"]), (403, &json!("Repository was archived so is read-only.")));
    let (pushed, _) = git_there(&world.source, &["push", &world.forge.clone_url(OWNER, REPO), "feature:other"]).await;
    assert!(!pushed);
    let edit = json!({ "archived": false });
    assert_eq!(world.send("PATCH", "", Some("team"), edit.clone()).await.status, 401, "no token");
    assert_eq!(world.send("PATCH", "", Some("author"), edit).await.status, 403);
    world.forge.set_archived(OWNER, REPO, false).await.unwrap();
    assert_eq!(world.send("POST", "/issues/1/comments", Some(BOT), json!({ "body": "x" })).await.status, 201);
    world.forge.stop().await;
}
