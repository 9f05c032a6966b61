//! The life of a pull request, through octocrab where it has a call for it.

use kfops_forge::Protection;
use octocrab::models::IssueState;
use octocrab::models::pulls::{MergeableState, ReviewAction};
use octocrab::params;
use serde_json::{Value, json};

use crate::world::{BOT, OWNER, REPO, Receiver, World, client, git, token};

#[tokio::test]
async fn lives_from_opening_to_merge() {
    let world = World::start().await;
    let crab = world.crab(BOT);
    let pulls = crab.pulls(OWNER, REPO);
    let author = world.crab("author");
    let opened = author.pulls(OWNER, REPO).create("Deeper trees", "feature", "main").body("why").send().await.unwrap();
    assert_eq!((opened.number, opened.state), (1, Some(IssueState::Open)));
    let head = git(&world.source, &["rev-parse", "feature"]);
    assert_eq!(opened.head.sha, head);
    assert_eq!(opened.head.repo.unwrap().full_name.unwrap(), "team/iris");
    assert_eq!(opened.mergeable_state, Some(MergeableState::Clean));

    // The base moves: behind, and base.sha with it.
    let main = world.grow("main", "NEWS.md", "news\n").await;
    let state = async || pulls.get(1).await.unwrap().mergeable_state;
    assert_eq!(state().await, Some(MergeableState::Clean), "nobody asks for an up-to-date branch");
    let strict = Protection { up_to_date: true, ..Protection::default() };
    world.forge.protections().protect("team/iris", "main", strict);
    let pull = pulls.get(1).await.unwrap();
    assert_eq!((pull.mergeable, pull.mergeable_state), (Some(true), Some(MergeableState::Behind)));
    assert_eq!(pull.base.sha, main);
    let compare = crab.commits(OWNER, REPO).compare("main", "feature").send().await.unwrap();
    assert_eq!((compare.ahead_by, compare.behind_by), (1, 1));
    assert_eq!(compare.files.unwrap().len(), 1);

    assert!(pulls.update_branch(1).await.unwrap());
    let pull = pulls.get(1).await.unwrap();
    assert_ne!(pull.head.sha, head);
    assert_eq!(pull.mergeable_state, Some(MergeableState::Clean));
    let again = world.send("PUT", "/pulls/1/update-branch", Some(BOT), json!({})).await;
    assert_eq!(again.status, 422, "{}", again.json);

    // Merge: another sha 409, the right one 200, again 405.
    let wrong = world.send("PUT", "/pulls/1/merge", Some(BOT), json!({ "sha": head })).await;
    assert_eq!(wrong.status, 409);
    assert_eq!(wrong.json["message"], "Head branch was modified. Review and try the merge again.");
    let stranger = world.send("PUT", "/pulls/1/merge", Some("helper"), json!({ "sha": pull.head.sha })).await;
    assert_eq!(stranger.status, 403);
    let merged = pulls.merge(1).sha(pull.head.sha.clone()).title("Ship it").send().await.unwrap();
    assert!(merged.merged);
    let second = world.send("PUT", "/pulls/1/merge", Some(BOT), json!({ "sha": pull.head.sha })).await;
    assert_eq!((second.status, &second.json["message"]), (405, &json!("Pull Request is not mergeable")));
    assert!(pulls.is_merged(1).await.unwrap());
    let pull = pulls.get(1).await.unwrap();
    assert_eq!((pull.state, pull.merged), (Some(IssueState::Closed), Some(true)));
    assert_eq!(pull.merge_commit_sha, merged.sha);
    assert_eq!(pull.merged_by.unwrap().login, BOT);
    assert_eq!(pull.base.sha, main);

    // Git agrees.
    let bare = world.folder.path().join("forge/repos/team/iris.git");
    assert_eq!(git(&bare, &["rev-parse", "main"]), merged.sha.unwrap());
    assert_eq!(git(&bare, &["show", "main:src/train.py"]), "depth = 4");
    assert_eq!(git(&bare, &["log", "-1", "--format=%s", "main"]), "Ship it");
    world.forge.stop().await;
}

#[tokio::test]
async fn squash_and_rebase_make_their_own_commits() {
    let world = World::start().await;
    let bare = world.folder.path().join("forge/repos/team/iris.git");
    world.grow("feature", "src/extra.py", "x = 1\n").await;
    world.grow("main", "NEWS.md", "news\n").await;
    git(&world.source, &["branch", "-q", "other", "feature"]);
    git(&world.source, &["switch", "-q", "other"]);
    world.forge.import_repository(OWNER, REPO, &world.source).await.unwrap();
    world.grow("other", "src/other.py", "y = 2\n").await;
    let one = world.open().await;
    let two = world.open_from("other", "Other", "").await;
    let crab = world.crab("author");
    let squashed = crab.pulls(OWNER, REPO).merge(one).method(params::pulls::MergeMethod::Squash).send().await.unwrap();
    let squashed = squashed.sha.unwrap();
    assert_eq!(git(&bare, &["log", "-1", "--format=%s", &squashed]), format!("Deeper trees (#{one})"));
    assert_eq!(git(&bare, &["rev-list", "--count", &format!("{squashed}^..{squashed}")]), "1");
    let rebased = crab.pulls(OWNER, REPO).merge(two).method(params::pulls::MergeMethod::Rebase).send().await.unwrap();
    let rebased = rebased.sha.unwrap();
    assert_eq!(git(&bare, &["show", &format!("{rebased}:src/other.py")]), "y = 2");
    assert_eq!(git(&bare, &["rev-list", "--merges", "--count", &format!("{squashed}..{rebased}")]), "0");
    assert_eq!(git(&bare, &["log", "-1", "--format=%an", &rebased]), "Author");
    world.forge.stop().await;
}

#[tokio::test]
async fn conflicts_are_dirty_and_not_merged() {
    let world = World::start().await;
    let number = world.open().await;
    world.grow("main", "src/train.py", "depth = 9\n").await;
    let pull = world.crab(BOT).pulls(OWNER, REPO).get(number).await.unwrap();
    assert_eq!((pull.mergeable, pull.mergeable_state), (Some(false), Some(MergeableState::Dirty)));
    for method in ["merge", "squash", "rebase"] {
        let answer = world.send("PUT", "/pulls/1/merge", Some(BOT), json!({ "merge_method": method })).await;
        assert_eq!(answer.status, 405, "{method}: {}", answer.json);
    }
    let update = world.send("PUT", "/pulls/1/update-branch", Some(BOT), Value::Null).await;
    assert_eq!(update.status, 422);
    world.forge.stop().await;
}

#[tokio::test]
async fn refuses_what_github_refuses() {
    let world = World::start().await;
    world.open().await;
    let twin = json!({ "title": "x", "head": "feature", "base": "main" });
    let twin = world.send("POST", "/pulls", Some("author"), twin).await;
    assert_eq!(twin.status, 422);
    assert_eq!(twin.json["errors"][0]["message"], "A pull request already exists for team:feature.");
    for (body, field) in [
        (json!({ "title": "x", "head": "nowhere", "base": "main" }), "head"),
        (json!({ "title": "x", "head": "$(touch x)", "base": "main" }), "head"),
        (json!({ "title": "x", "head": "main", "base": "main~1" }), "base"),
        (json!({ "head": "feature", "base": "main" }), "title"),
        (json!({ "title": "x", "head": "main", "base": "main" }), "base"),
    ] {
        let answer = world.send("POST", "/pulls", Some("author"), body.clone()).await;
        assert_eq!((answer.status, answer.json["errors"][0]["field"].as_str()), (422, Some(field)), "{body}");
        assert!(answer.json["documentation_url"].is_string());
    }
    let broken = client().post(world.url("/pulls")).bearer_auth(token("author")).body("{").send().await.unwrap();
    assert_eq!(broken.status(), 400);
    assert_eq!(world.send("PUT", "/pulls/99/merge", Some(BOT), json!({})).await.status, 404);
    world.forge.stop().await;
}

#[tokio::test]
async fn closes_reviews_and_lists_files() {
    let world = World::start().await;
    let number = world.open().await;
    let crab = world.crab("boss");
    let pulls = crab.pulls(OWNER, REPO);
    let files = pulls.list_files(number).await.unwrap();
    assert_eq!((files.items[0].filename.as_str(), files.items[0].additions), ("src/train.py", 1));
    assert!(files.items[0].patch.as_ref().unwrap().starts_with("@@ -1 +1 @@\n-depth = 3\n+depth = 4"));

    let review = json!({ "event": "APPROVE", "body": "fine" });
    let own = world.send("POST", "/pulls/1/reviews", Some("author"), review.clone()).await;
    assert_eq!(own.status, 422);
    let approved = world.send("POST", "/pulls/1/reviews", Some("boss"), review).await;
    assert_eq!((approved.status, &approved.json["state"]), (200, &json!("APPROVED")));
    let reviews = pulls.list_reviews(number).send().await.unwrap();
    assert_eq!(reviews.items[0].user.as_ref().unwrap().login, "boss");
    let _ = ReviewAction::Approve;

    let closed = pulls.update(number).state(params::pulls::State::Closed).title("New title").send().await.unwrap();
    assert_eq!((closed.state, closed.title.as_deref()), (Some(IssueState::Closed), Some("New title")));
    assert_eq!(pulls.list().send().await.unwrap().items.len(), 0);
    assert_eq!(pulls.list().state(params::State::All).send().await.unwrap().items.len(), 1);
    let reopened = pulls.update(number).state(params::pulls::State::Open).send().await.unwrap();
    assert_eq!(reopened.state, Some(IssueState::Open));
    world.forge.stop().await;
}

#[tokio::test]
async fn a_merge_outside_is_seen_as_merged() {
    let world = World::start().await;
    let number = world.open().await;
    let receiver = Receiver::start().await;
    let secret = "s".into();
    world.forge.add_hook(OWNER, REPO, "test", &receiver.url, &secret, &["pull_request"]).await.unwrap();
    git(&world.source, &["switch", "-q", "main"]);
    git(&world.source, &["merge", "-q", "--no-ff", "-m", "by hand", "feature"]);
    world.forge.import_repository(OWNER, REPO, &world.source).await.unwrap();
    let closed = receiver.wait("pull_request.closed").await.json();
    assert_eq!(closed["pull_request"]["merged"], true);
    assert!(world.crab(BOT).pulls(OWNER, REPO).is_merged(number).await.unwrap());
    world.forge.stop().await;
}
