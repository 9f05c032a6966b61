//! Files and archives.

use std::collections::BTreeMap;
use std::io::Read as _;

use http_body_util::BodyExt as _;

use crate::world::{BOT, OWNER, REPO, World, client, git, token};

#[tokio::test]
async fn files_are_read_at_a_ref() {
    let world = World::start().await;
    let crab = world.crab(BOT);
    let repos = crab.repos(OWNER, REPO);
    let mut found = repos.get_content().path("src/train.py").r#ref("feature").send().await.unwrap();
    assert_eq!(found.take_items()[0].decoded_content().unwrap(), "depth = 4\n");
    let mut listed = repos.get_content().path("src").send().await.unwrap();
    assert_eq!(listed.take_items()[0].path, "src/train.py");
    let mut root = repos.get_content().send().await.unwrap();
    assert_eq!(root.take_items().iter().map(|one| one.r#type.clone()).collect::<Vec<_>>(), ["file", "dir"]);
    let raw = client()
        .get(world.url("/contents/src/train.py"))
        .header("accept", "application/vnd.github.raw+json")
        .bearer_auth(token(BOT))
        .send()
        .await
        .unwrap();
    assert_eq!(raw.text().await.unwrap(), "depth = 3\n");
    for absent in [
        "/contents/none",
        "/contents/..%2f..%2fHEAD",
        "/contents/README.md?ref=main~1",
        "/contents/README.md?ref=--help",
    ] {
        assert_eq!(world.get(absent).await.status, 404, "{absent}");
    }
    let reference = repos.get_ref(&octocrab::params::repos::Reference::Branch("feature".into())).await.unwrap();
    assert_eq!(reference.ref_field, "refs/heads/feature");
    let commit = crab.commits(OWNER, REPO).get("feature").await.unwrap();
    assert_eq!(commit.commit.message, "deeper");
    assert_eq!(commit.files.unwrap()[0].filename, "src/train.py");
    assert_eq!(world.get("/git/ref/heads/none").await.status, 404);
    assert_eq!(repos.get().await.unwrap().default_branch.unwrap(), "main");
    world.forge.stop().await;
}

#[tokio::test]
async fn archives_have_one_top_folder() {
    let world = World::start().await;
    let sha = git(&world.source, &["rev-parse", "feature"]);
    let response = world.get("/tarball/feature").await;
    assert_eq!(response.status, 302);
    assert!(response.header("location").contains(&sha));
    let archive = world.crab(BOT).repos(OWNER, REPO).download_tarball(sha.clone()).await.unwrap();
    assert_eq!(archive.headers()["content-type"], "application/x-gzip");
    let bytes = archive.into_body().collect().await.unwrap().to_bytes();
    let mut entries = BTreeMap::new();
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(bytes.as_ref()));
    for entry in tar.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        entries.insert(path, text);
    }
    let top = format!("team-iris-{}", &sha[..7]);
    assert_eq!(entries[&format!("{top}/src/train.py")], "depth = 4\n");
    assert!(
        entries.keys().filter(|path| *path != "pax_global_header").all(|path| path.starts_with(&format!("{top}/")))
    );
    assert_eq!(world.get("/tarball/none").await.status, 404);
    world.forge.stop().await;
}
