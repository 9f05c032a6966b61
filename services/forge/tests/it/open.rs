//! Opening a pull request on the repository's page.

use serde_json::json;

use crate::world::{BOT, OWNER, REPO, Receiver, World, client, commit, git};

const PAGE: &str = "/team/iris/pulls";

/// The page as a person reads it, without the template's way of writing characters.
async fn page(world: &World) -> String {
    client().get(format!("{}{PAGE}", world.forge.url())).send().await.unwrap().text().await.unwrap()
}

/// What a browser makes of an attribute.
fn unescape(text: &str) -> String {
    let plain = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
    plain.replace("&#x27;", "'").replace("&#x2f;", "/").replace("&amp;", "&")
}

fn value(form: &str, name: &str) -> String {
    let rest = form.split_once(&format!("name=\"{name}\" value=\"")).unwrap().1;
    unescape(rest.split_once('"').unwrap().0)
}

/// The forms of a page, as a browser would send them.
fn forms(html: &str) -> Vec<Vec<(String, String)>> {
    let one = |form: &str| {
        assert_eq!(unescape(form.split_once('"').unwrap().0), PAGE);
        let user = form.split_once("\" selected>").unwrap().0.rsplit_once("value=\"").unwrap().1;
        let mut fields: Vec<_> = ["token", "head", "title"].map(|name| (name.to_owned(), value(form, name))).into();
        fields.push(("user".to_owned(), unescape(user)));
        fields
    };
    html.split("<form class=\"body\" method=\"post\" action=\"").skip(1).map(one).collect()
}

fn with(form: &[(String, String)], name: &str, value: &str) -> Vec<(String, String)> {
    let mut form: Vec<_> = form.iter().filter(|(known, _)| known != name).cloned().collect();
    form.push((name.to_owned(), value.to_owned()));
    form
}

async fn post(world: &World, form: &[(String, String)], origin: &str) -> reqwest::Response {
    let url = format!("{}{PAGE}", world.forge.url());
    client().post(url).header("origin", origin).form(form).send().await.unwrap()
}

#[tokio::test]
async fn a_person_opens_a_pull_request() {
    let world = World::start().await;
    let receiver = Receiver::start().await;
    world.forge.add_hook(OWNER, REPO, "t", &receiver.url, &"s".into(), &["pull_request"]).await.unwrap();
    let own = world.forge.url().to_owned();
    let found = forms(&page(&world).await);
    assert_eq!(found.len(), 1, "main is not offered");
    let form = with(&found[0], "body", "a *better* model");
    assert_eq!((value_of(&form, "head"), value_of(&form, "title")), ("feature", "deeper"));
    assert_eq!(value_of(&form, "user"), "author");

    let opened = post(&world, &with(&form, "user", "boss"), &own).await;
    assert_eq!((opened.status().as_u16(), &opened.headers()["location"]), (303, &"/team/iris/pull/1".parse().unwrap()));
    let pull = world.get("/pulls/1").await.json;
    assert_eq!((&pull["title"], &pull["body"]), (&json!("deeper"), &json!("a *better* model")));
    assert_eq!((&pull["base"]["ref"], &pull["user"]["login"]), (&json!("main"), &json!("boss")));
    assert_eq!(receiver.wait("pull_request.opened").await.json()["sender"]["login"], "boss");
    assert!(forms(&page(&world).await).is_empty(), "it has a pull request");

    // The same form once more, as after a step back.
    let again = post(&world, &form, &own).await;
    assert_eq!(again.status(), 422);
    assert!(unescape(&again.text().await.unwrap()).contains("A pull request already exists for team:feature."));
    world.send("PATCH", "/pulls/1", Some("boss"), json!({ "state": "closed" })).await;
    assert_eq!(forms(&page(&world).await).len(), 1, "a closed one is in nobody's way");
    world.forge.stop().await;
}

#[tokio::test]
async fn a_refusal_is_shown_on_the_page() {
    let world = World::start().await;
    let own = world.forge.url().to_owned();
    let form = with(&forms(&page(&world).await)[0], "body", "kept <b>");
    for (name, text, status, wanted) in [
        ("title", "  ", 422, "A pull request needs a title."),
        ("head", "gone<i>", 422, "The branch gone<i> is gone."),
        ("head", "--all", 422, "The branch --all is gone."),
        ("head", "main", 422, "No commits between main and main"),
        ("user", "stranger", 403, "stranger may not do this"),
    ] {
        let refused = post(&world, &with(&form, name, text), &own).await;
        assert_eq!(refused.status(), status, "{name}={text}");
        let html = refused.text().await.unwrap();
        assert!(unescape(&html).contains(wanted), "{wanted} in {html}");
        assert!(!html.contains("<i>"), "{html}");
        if name != "head" {
            assert!(html.contains("kept &lt;b&gt;</textarea>"), "what was written stays: {html}");
        }
    }
    assert_eq!(world.get("/pulls").await.json, json!([]));
    world.forge.stop().await;
}

#[tokio::test]
async fn no_other_site_opens_one() {
    let world = World::start().await;
    let own = world.forge.url().to_owned();
    let form = forms(&page(&world).await).remove(0);
    assert_eq!(post(&world, &form, "http://evil.example").await.status(), 403);
    assert_eq!(post(&world, &with(&form, "token", "wrong"), &own).await.status(), 403);
    assert_eq!(post(&world, &with(&form, "user", BOT), &own).await.status(), 404);
    let url = format!("{own}{PAGE}");
    let fetched = client().post(&url).header("sec-fetch-site", "cross-site").form(&form).send().await.unwrap();
    assert_eq!(fetched.status(), 403);
    let rebound = client().post(&url).header("host", "evil.example").form(&form).send().await.unwrap();
    assert_eq!(rebound.status(), 403);
    // The token of another form is none for this one.
    world.open().await;
    let thread = client().get(format!("{own}/team/iris/pull/1")).send().await.unwrap().text().await.unwrap();
    assert_eq!(post(&world, &with(&form, "token", &value(&thread, "token")), &own).await.status(), 403);
    assert_eq!(world.get("/pulls").await.json.as_array().unwrap().len(), 1);
    world.forge.stop().await;
}

#[tokio::test]
async fn a_hostile_branch_is_opened_by_its_name() {
    let world = World::start().await;
    let branch = "$(touch${IFS}x)`id`;x|y&'\"><script>alert(1)</script>";
    let subject = "$(touch x) \"><script>alert(2)</script> {{ 7*7 }} '";
    git(&world.source, &["switch", "-q", "-c", branch, "feature"]);
    commit(&world.source, "x", "z\n", subject);
    world.forge.import_repository(OWNER, REPO, &world.source).await.unwrap();
    let html = page(&world).await;
    assert!(!html.contains("<script"), "{html}");
    let found = forms(&html);
    assert_eq!(found.len(), 2);
    let form = found.into_iter().find(|form| value_of(form, "head") == branch).unwrap();
    assert_eq!(value_of(&form, "title"), subject);
    let own = world.forge.url().to_owned();
    let opened = post(&world, &form, &own).await;
    assert_eq!((opened.status().as_u16(), &opened.headers()["location"]), (303, &"/team/iris/pull/1".parse().unwrap()));
    let pull = world.get("/pulls/1").await.json;
    assert_eq!((&pull["head"]["ref"], &pull["title"]), (&json!(branch), &json!(subject)));
    assert!(!page(&world).await.contains("<script"));
    world.forge.stop().await;
}

#[tokio::test]
async fn a_page_without_pull_requests_says_how_to_push() {
    let world = World::start().await;
    let hint = format!("git push {} my-branch", world.forge.clone_url(OWNER, REPO));
    assert!(!unescape(&page(&world).await).contains(&hint), "there is a branch to open");
    git(&world.source, &["merge", "-q", "--ff-only", "feature"]);
    world.forge.import_repository(OWNER, REPO, &world.source).await.unwrap();
    let html = page(&world).await;
    assert!(forms(&html).is_empty() && unescape(&html).contains(&hint), "{html}");

    // Who is not trusted reads, and gets no form.
    let closed = World::with(|mut settings| {
        settings.trust_loopback = false;
        settings
    })
    .await;
    let html = page(&closed).await;
    assert!(html.contains("deeper") && forms(&html).is_empty(), "{html}");
    closed.forge.stop().await;
    world.forge.stop().await;
}

fn value_of<'a>(form: &'a [(String, String)], name: &str) -> &'a str {
    &form.iter().find(|(known, _)| known == name).unwrap().1
}
