//! Forks and the pull requests that come from them.

use kfops_forge::{NewPullRequest, Role};
use serde_json::{Value, json};

use crate::world::{BOT, OWNER, REPO, Receiver, World, client, commit, git, git_there, token};

/// A fork by `stranger`, with a commit of its own on `feature`, and a pull request from there.
pub(crate) async fn forked(world: &World) -> (u64, String) {
    let made = world.send("POST", "/forks", Some("stranger"), json!({})).await;
    assert_eq!((made.status, &made.json["full_name"]), (202, &json!("stranger/iris")));
    assert_eq!((&made.json["fork"], &made.json["parent"]["full_name"]), (&json!(true), &json!("team/iris")));
    let sha = push(world, "depth = 9\n").await;
    let new =
        NewPullRequest { author: "stranger", head: "stranger:feature", base: "main", title: "From afar", body: "" };
    (world.forge.open_pull_request(OWNER, REPO, new).await.unwrap(), sha)
}

/// Commits on the fork's `feature` and pushes.
async fn push(world: &World, text: &str) -> String {
    git(&world.source, &["switch", "-q", "feature"]);
    let sha = commit(&world.source, "src/train.py", text, "afar");
    let url = world.forge.clone_url("stranger", "iris");
    let url = url.replace("http://", &format!("http://stranger:{}@", token("stranger")));
    let (good, text) = git_there(&world.source, &["push", "-q", &url, "feature"]).await;
    assert!(good, "{text}");
    sha
}

#[tokio::test]
async fn a_pull_request_comes_from_a_fork() {
    let world = World::start().await;
    let receiver = Receiver::start().await;
    world.forge.add_hook(OWNER, REPO, "t", &receiver.url, &"s".into(), &[]).await.unwrap();
    let (number, sha) = forked(&world).await;
    let pull = world.get(&format!("/pulls/{number}")).await.json;
    assert_eq!((&pull["head"]["label"], &pull["head"]["sha"]), (&json!("stranger:feature"), &json!(sha)));
    assert_eq!(
        (&pull["head"]["repo"]["full_name"], &pull["head"]["repo"]["fork"]),
        (&json!("stranger/iris"), &json!(true))
    );
    assert_eq!(
        (&pull["base"]["repo"]["full_name"], &pull["author_association"]),
        (&json!("team/iris"), &json!("NONE"))
    );
    assert_eq!(pull["mergeable"], true);

    // The commit is there in the base repository: as a ref, as a file, as an archive.
    let reference = world.get(&format!("/git/ref/pull/{number}/head")).await.json;
    assert_eq!(reference["object"]["sha"], json!(sha));
    assert_eq!(world.get(&format!("/contents/src/train.py?ref={sha}")).await.status, 200);
    assert_eq!(world.get(&format!("/tarball/{sha}")).await.status, 302);

    // A push to the fork reaches the pull request.
    let newer = push(&world, "depth = 10\n").await;
    let event = receiver.wait("pull_request.synchronize").await.json();
    assert_eq!((&event["before"], &event["after"]), (&json!(sha), &json!(newer)));
    let listed = world.get("/pulls?head=stranger:feature").await.json;
    assert_eq!(listed[0]["number"], number);
    assert_eq!(world.get("/pulls?head=team:feature").await.json, json!([]));

    // GitHub names no pull request of a fork in a check run.
    let run = world.send("POST", "/check-runs", Some(BOT), json!({ "name": "x", "head_sha": newer })).await;
    assert_eq!((run.status, &run.json["pull_requests"]), (201, &json!([])));

    let merged = world.send("PUT", &format!("/pulls/{number}/merge"), Some(BOT), json!({ "sha": newer })).await;
    assert_eq!(merged.status, 200, "{}", merged.json);
    let bare = world.folder.path().join("forge/repos/team/iris.git");
    assert_eq!(
        git(&bare, &["log", "-1", "--format=%s", "main"]),
        format!("Merge pull request #{number} from stranger/feature")
    );
    let pull = world.get(&format!("/pulls/{number}")).await.json;
    assert_eq!((&pull["merged"], &pull["author_association"]), (&json!(true), &json!("CONTRIBUTOR")));
    world.forge.stop().await;
}

#[tokio::test]
async fn a_fork_can_be_deleted() {
    let world = World::start().await;
    let (number, sha) = forked(&world).await;
    world.forge.delete_repository("stranger", "iris").await.unwrap();
    let gone = client().get(format!("{}/repos/stranger/iris", world.forge.url())).send().await.unwrap();
    assert_eq!(gone.status(), 404);
    let pull = world.get(&format!("/pulls/{number}")).await.json;
    assert_eq!((&pull["state"], &pull["head"]["repo"]), (&json!("open"), &Value::Null));
    assert_eq!((&pull["head"]["sha"], &pull["head"]["user"]["login"]), (&json!(sha), &json!("stranger")));
    git(&world.source, &["switch", "-q", "main"]);
    commit(&world.source, "NEWS.md", "news\n", "news");
    world.forge.import_repository(OWNER, REPO, &world.source).await.unwrap();
    assert_eq!(world.get(&format!("/pulls/{number}")).await.json["state"], "open");
    // The owner may fork again.
    assert_eq!(world.send("POST", "/forks", Some("stranger"), json!({})).await.status, 202);
    assert_eq!(world.send("POST", "/forks", Some("stranger"), json!({})).await.status, 202);
    assert_eq!(world.get("/forks").await.json.as_array().unwrap().len(), 1);
    world.forge.stop().await;
}

#[tokio::test]
async fn teams_and_roles() {
    let world = World::start().await;
    world.forge.create_user("mia", Role::Read).await.unwrap();
    world.forge.set_team(OWNER, "Release Managers", &["boss", "mia"]).await.unwrap();
    let ask = async |path: &str| {
        let url = format!("{}/orgs/team/teams/release-managers{path}", world.forge.url());
        let response = client().get(url).bearer_auth(token(BOT)).send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let (status, membership) = ask("/memberships/mia").await;
    assert_eq!((status, &membership["state"], &membership["role"]), (200, &json!("active"), &json!("member")));
    assert_eq!(ask("/memberships/author").await.0, 404);
    assert_eq!(ask("/members").await.1.as_array().unwrap().len(), 2);
    world.forge.set_team(OWNER, "Release Managers", &["boss"]).await.unwrap();
    assert_eq!(ask("/memberships/mia").await.0, 404);
    let repository = world.get("").await.json;
    assert_eq!(repository["owner"]["type"], "Organization");
    world.open().await;
    for (author, association) in
        [("boss", "MEMBER"), ("author", "COLLABORATOR"), ("stranger", "NONE"), ("team", "OWNER")]
    {
        let id = world.forge.comment(OWNER, REPO, 1, author, "hello").await.unwrap();
        let comment = world.get(&format!("/issues/comments/{id}")).await.json;
        assert_eq!(comment["author_association"], association, "{author}");
    }
    world.forge.stop().await;
}
