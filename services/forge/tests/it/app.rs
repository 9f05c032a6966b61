//! An App: its JWT, its installations, their tokens.

use std::sync::LazyLock;
use std::time::Duration;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use kfops_forge::{AppRegistration, Forge, Settings};
use octocrab::Octocrab;
use octocrab::models::{AppId, InstallationId};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::graphql::send;
use crate::world::{Answer, BOT, OWNER, REPO, World, ask, client, settings, token};

const APP: u64 = 4711;

/// PKCS #8 and X.509, both PEM.
static KEYS: LazyLock<(String, String)> = LazyLock::new(keys);

fn keys() -> (String, String) {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let pem = |kind: &str, der: &[u8]| {
        format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", BASE64_STANDARD.encode(der))
    };
    let private: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let public: aws_lc_rs::encoding::PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    (pem("PRIVATE KEY", private.as_ref()), pem("PUBLIC KEY", public.as_ref()))
}

async fn register(forge: &Forge) {
    let app = AppRegistration {
        id: APP,
        slug: "kfops-app",
        owner: OWNER,
        public_key: &KEYS.1,
        webhook_secret: Some(&"secret".into()),
        permissions: &[("checks", "write"), ("metadata", "read")],
        events: &["issue_comment"],
    };
    forge.register_app(app).await.unwrap();
}

/// A forge with a second repository, as strict as GitHub about check runs.
async fn world(change: impl FnOnce(Settings) -> Settings) -> (World, u64) {
    let world = World::with(|settings| change(Settings { bot_tokens_are_apps: false, ..settings })).await;
    world.forge.create_repository(OWNER, "other", "main").await.unwrap();
    register(&world.forge).await;
    let installation = world.forge.install_app(APP, OWNER, &[REPO]).await.unwrap();
    (world, installation)
}

fn jwt(claims: &Value) -> String {
    signed(claims, &KEYS.0)
}

fn signed(claims: &Value, key: &str) -> String {
    encode(&Header::new(Algorithm::RS256), claims, &EncodingKey::from_rsa_pem(key.as_bytes()).unwrap()).unwrap()
}

fn claims() -> Value {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    json!({ "iat": now - 30, "exp": now + 300, "iss": APP.to_string() })
}

async fn get(world: &World, path: &str, token: &str) -> Answer {
    ask(client().get(format!("{}{path}", world.forge.url())).bearer_auth(token)).await
}

async fn post(world: &World, path: &str, token: &str, body: Value) -> Answer {
    ask(client().post(format!("{}{path}", world.forge.url())).bearer_auth(token).json(&body)).await
}

/// A fresh token of the installation.
async fn grant(world: &World, installation: u64, body: Value) -> Answer {
    post(world, &format!("/app/installations/{installation}/access_tokens"), &jwt(&claims()), body).await
}

fn text<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.json[name].as_str().unwrap()
}

#[tokio::test]
async fn octocrab_is_an_app() {
    let (world, installation) = world(|settings| settings).await;
    world.open().await;
    let key = EncodingKey::from_rsa_pem(KEYS.0.as_bytes()).unwrap();
    let builder = Octocrab::builder().base_uri(world.forge.api_url()).unwrap();
    let app = builder.app(AppId(APP), key).build().unwrap();
    let own: octocrab::models::App = app.current().app().await.unwrap();
    assert_eq!(own.slug.as_deref(), Some("kfops-app"));
    let found = app.apps().get_repository_installation(OWNER, REPO).await.unwrap();
    assert_eq!((found.id.0, found.account.login.as_str()), (installation, OWNER));
    let crab = app.installation(InstallationId(installation)).unwrap();
    let head = crab.pulls(OWNER, REPO).get(1).await.unwrap().head.sha;
    let run = crab.checks(OWNER, REPO).create_check_run("kfops", &head).send().await.unwrap();
    let rest = world.get(&format!("/check-runs/{}", run.id)).await.json;
    assert_eq!((&rest["app"]["id"], &rest["app"]["slug"]), (&json!(APP), &json!("kfops-app")));
    let comment = crab.issues(OWNER, REPO).create_comment(1, "hello").await.unwrap();
    assert_eq!((comment.user.login.as_str(), comment.user.r#type.as_str()), ("kfops-app[bot]", "Bot"));
    world.forge.stop().await;
}

#[tokio::test]
async fn a_jwt_is_checked_as_github_checks_it() {
    let (world, _) = world(|settings| settings).await;
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let issued = "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued";
    let expires = "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the \
                   assertion expires";
    let far = "'Expiration time' claim ('exp') is too far in the future";
    let unreadable = "A JSON web token could not be decoded";
    let with = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        jwt(&claims)
    };
    let mut tampered = jwt(&claims());
    tampered.replace_range(10..11, "_");
    let stranger = signed(&claims(), &keys().0);
    let symmetric = encode(&Header::default(), &claims(), &EncodingKey::from_secret(KEYS.1.as_bytes())).unwrap();
    assert_eq!(get(&world, "/app", &jwt(&claims())).await.json["slug"], "kfops-app");
    assert_eq!(get(&world, "/api/v3/app", &with("iss", json!(APP))).await.status, 200);
    for (token, status, message) in [
        (with("iat", json!(now + 120)), 401, issued),
        (with("iat", json!("now")), 401, issued),
        (with("exp", json!(now - 1)), 401, expires),
        (with("exp", json!(now + 700)), 401, far),
        (with("iss", json!(9)), 404, "Integration not found"),
        (tampered, 401, unreadable),
        (stranger, 401, unreadable),
        (symmetric, 401, unreadable),
        ("a.b.c".to_owned(), 401, unreadable),
        (token(BOT), 401, unreadable),
    ] {
        let answer = get(&world, "/app", &token).await;
        assert_eq!((answer.status, text(&answer, "message")), (status, message), "{token}");
    }
    // It is good for nothing but the App itself.
    let answer = post(&world, "/repos/team/iris/issues", &jwt(&claims()), json!({ "title": "x" })).await;
    assert_eq!(answer.status, 401);
    assert_eq!(send(&world, &jwt(&claims()), "{ viewer { login } }", Value::Null).await.status, 401);
    world.forge.stop().await;
}

#[tokio::test]
async fn an_installation_sees_its_repositories_only() {
    let (world, installation) = world(|settings| settings).await;
    let number = world.open().await;
    let made = grant(&world, installation, json!({})).await;
    let token = text(&made, "token");
    assert_eq!((made.status, &made.json["repository_selection"]), (201, &json!("selected")));
    assert!(token.starts_with("ghs_") && token.len() > 500, "{token}");
    assert_eq!(made.json["permissions"], json!({ "checks": "write", "metadata": "read" }));
    let expires = text(&made, "expires_at");
    let expires = OffsetDateTime::parse(expires, &time::format_description::well_known::Rfc3339).unwrap();
    let life = expires - OffsetDateTime::now_utc();
    assert!(life > time::Duration::minutes(59) && life <= time::Duration::hours(1), "{life}");
    let listed = get(&world, "/installation/repositories", token).await.json;
    assert_eq!((&listed["total_count"], &listed["repositories"][0]["full_name"]), (&json!(1), &json!("team/iris")));
    assert_eq!(get(&world, "/repos/team/iris", token).await.status, 200);
    assert_eq!(get(&world, "/repos/team/other", token).await.status, 404);
    assert_eq!(get(&world, "/user", token).await.status, 403);
    let look = "{ viewer { login } seen: repository(owner: \"team\", name: \"iris\") { id }
      hidden: repository(owner: \"team\", name: \"other\") { id } }";
    let answer = send(&world, token, look, Value::Null).await.json;
    assert_eq!(answer["data"]["viewer"]["login"], "kfops-app[bot]");
    assert!(answer["data"]["seen"]["id"].is_string() && answer["data"]["hidden"].is_null(), "{answer}");
    let hidden = get(&world, "/repos/team/other", &crate::world::token(BOT)).await.json["node_id"].clone();
    let node = "query($id: ID!) { node(id: $id) { id } }";
    let answer = send(&world, token, node, json!({ "id": hidden })).await.json;
    assert_eq!(answer["errors"][0]["type"], "NOT_FOUND");

    // Check runs are for Apps, whichever way.
    let sha = world.get(&format!("/pulls/{number}")).await.json["head"]["sha"].clone();
    let body = json!({ "name": "kfops", "head_sha": sha });
    assert_eq!(post(&world, "/repos/team/iris/check-runs", token, body.clone()).await.status, 201);
    let person = world.send("POST", "/check-runs", Some(BOT), body).await;
    assert_eq!((person.status, text(&person, "message")), (403, "You must authenticate via a GitHub App."));
    let make = "mutation($id: ID!, $sha: GitObjectID!) {
      createCheckRun(input: { repositoryId: $id, headSha: $sha, name: \"x\" }) { checkRun { id } } }";
    let variables = json!({ "id": world.get("").await.json["node_id"], "sha": sha });
    let refused = send(&world, &crate::world::token(BOT), make, variables.clone()).await.json;
    assert_eq!(refused["errors"][0]["type"], "FORBIDDEN", "{refused}");
    let made = send(&world, token, make, variables).await.json;
    assert!(made["data"]["createCheckRun"]["checkRun"]["id"].is_string(), "{made}");

    for body in
        [json!({ "repositories": ["other"] }), json!({ "permissions": { "checks": "write", "contents": "read" } })]
    {
        assert_eq!(grant(&world, installation, body).await.status, 422);
    }
    let narrow =
        grant(&world, installation, json!({ "repositories": ["iris"], "permissions": { "checks": "read" } })).await;
    assert_eq!((narrow.status, &narrow.json["permissions"]), (201, &json!({ "checks": "read" })));
    assert_eq!(grant(&world, installation + 1, json!({})).await.status, 404);
    assert_eq!(get(&world, "/repos/team/other/installation", &jwt(&claims())).await.status, 404);
    world.forge.stop().await;
}

#[tokio::test]
async fn a_token_ends_and_an_app_stays() {
    let (over, installation) = world(|settings| Settings { installation_token_life: Duration::ZERO, ..settings }).await;
    let made = grant(&over, installation, json!({})).await;
    let answer = get(&over, "/repos/team/iris", text(&made, "token")).await;
    assert_eq!((answer.status, text(&answer, "message")), (401, "Bad credentials"));
    over.forge.stop().await;
    let folder = over.folder;
    let forge = Forge::start(settings(folder.path())).await.unwrap();
    let world = World { forge, source: over.source, folder };
    let made = grant(&world, installation, json!({})).await;
    assert_eq!(get(&world, "/repos/team/iris", text(&made, "token")).await.status, 200);
    let clone = format!("http://x-access-token:{}@{}/team/iris.git", text(&made, "token"), world.forge.addr());
    let target = world.folder.path().join("clone");
    crate::world::git_there(world.folder.path(), &["clone", "-q", &clone, target.to_str().unwrap()]).await;
    assert!(target.join("README.md").is_file());
    world.forge.stop().await;
}

#[tokio::test]
async fn an_unchanged_answer_costs_nothing() {
    let (world, _) = world(|settings| settings).await;
    let first = world.get("").await;
    for name in
        ["date", "etag", "x-github-request-id", "x-ratelimit-limit", "x-ratelimit-reset", "x-ratelimit-resource"]
    {
        assert!(!first.header(name).is_empty(), "{name}");
    }
    let again = client().get(world.url("")).bearer_auth(token(BOT)).header("if-none-match", first.header("etag"));
    let again = ask(again).await;
    assert_eq!((again.status, again.header("x-ratelimit-used")), (304, first.header("x-ratelimit-used")));
    let answer = send(&world, &token(BOT), "{ rateLimit { remaining } }", Value::Null).await;
    assert_eq!((answer.header("x-ratelimit-resource"), answer.header("x-ratelimit-used")), ("graphql", "1"));
    assert_eq!(answer.json["data"]["rateLimit"]["remaining"].to_string(), answer.header("x-ratelimit-remaining"));
    world.forge.stop().await;
}
