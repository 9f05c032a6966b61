//! GitHub's GraphQL, over HTTP.

use serde_json::{Value, json};

use crate::world::{Answer, BOT, OWNER, REPO, Receiver, World, ask, client, token};

/// Data and errors of a document.
pub(crate) async fn run(world: &World, login: &str, query: &str, variables: Value) -> Value {
    let answer = send(world, &token(login), query, variables).await;
    assert_eq!(answer.status, 200, "{}", answer.json);
    answer.json
}

pub(crate) async fn send(world: &World, token: &str, query: &str, variables: Value) -> Answer {
    let body = json!({ "query": query, "variables": variables });
    let url = format!("{}/graphql", world.forge.url());
    ask(client().post(url).bearer_auth(token).json(&body)).await
}

fn good(answer: Value) -> Value {
    assert!(answer.get("errors").is_none(), "{answer}");
    answer["data"].clone()
}

const LOOK: &str = "query($owner: String!, $name: String!, $number: Int!, $path: String!) {
  rateLimit { cost remaining resetAt }
  viewer { login }
  repository(owner: $owner, name: $name) {
    id nameWithOwner isPrivate defaultBranchRef { name }
    policy: object(expression: $path) { __typename ... on Blob { text byteSize isBinary isTruncated oid } }
    head: object(expression: \"feature\") { __typename ... on Commit {
      oid
      statusCheckRollup { state contexts(first: 10) {
        nodes { __typename ... on CheckRun { name conclusion status } ... on StatusContext { context state } }
        pageInfo { hasNextPage endCursor } } }
      checkSuites(first: 5) { nodes { app { slug } checkRuns(first: 5, filterBy: { checkName: \"kfops\", checkType: ALL }) {
        nodes { id databaseId name externalId status conclusion } } } }
    } }
    label(name: \"live\") { id name }
    ref(qualifiedName: \"refs/heads/feature\") { id name target { oid } }
    pullRequest(number: $number) {
      id number title state isDraft mergeable merged headRefOid headRefName headRepository { nameWithOwner }
      isCrossRepository baseRefName baseRefOid mergeCommit { oid } author { __typename login }
      reviews(first: 10, states: [APPROVED]) {
        nodes { author { login } authorAssociation state commit { oid } submittedAt } pageInfo { hasNextPage endCursor } }
      comments(last: 2) { nodes { id databaseId body author { __typename login } createdAt viewerDidAuthor }
        pageInfo { hasPreviousPage startCursor } }
      labels(first: 10) { nodes { id name } }
      commits(last: 1) { nodes { commit { oid statusCheckRollup { state } } } }
    }
    pullRequests(first: 10, labels: [\"live\", \"other\"], states: [OPEN]) {
      nodes { id number } pageInfo { hasNextPage } totalCount }
    deployments(last: 5, environments: [\"staging\"], orderBy: { field: CREATED_AT, direction: ASC }) {
      nodes { id databaseId payload environment commitOid state } }
  }
}";

#[tokio::test]
async fn one_look_tells_everything() {
    let world = World::start().await;
    let number = world.open().await;
    let sha = world.get("/pulls/1").await.json["head"]["sha"].as_str().unwrap().to_owned();
    for text in ["one", "two", "three"] {
        world.forge.comment(OWNER, REPO, number, "author", text).await.unwrap();
    }
    let send = |path: &'static str, login: &'static str, body| world.send("POST", path, Some(login), body);
    let approved = send("/pulls/1/reviews", "boss", json!({ "event": "APPROVE" })).await;
    assert_eq!(approved.status, 200);
    send("/pulls/1/reviews", "stranger", json!({ "event": "COMMENT", "body": "hm" })).await;
    send("/issues/1/labels", BOT, json!(["live"])).await;
    let label = world.get("/labels/live").await.json;
    let check = json!({ "name": "kfops", "head_sha": sha, "external_id": "c-1", "status": "in_progress" });
    let check = send("/check-runs", BOT, check).await.json;
    world
        .send("POST", &format!("/statuses/{sha}"), Some("author"), json!({ "state": "success", "context": "ci" }))
        .await;
    let new = json!({ "ref": sha, "environment": "staging", "payload": { "command": "c-1" }, "required_contexts": [] });
    let deployment = send("/deployments", BOT, new).await.json;

    let variables = json!({ "owner": OWNER, "name": REPO, "number": number, "path": "main:src/train.py" });
    let data = good(run(&world, "author", LOOK, variables).await);
    let repository = &data["repository"];
    assert_eq!(data["viewer"]["login"], "author");
    assert_eq!(data["rateLimit"]["cost"], 1);
    assert_eq!(repository["id"], world.get("").await.json["node_id"]);
    assert_eq!(
        (&repository["nameWithOwner"], &repository["defaultBranchRef"]["name"]),
        (&json!("team/iris"), &json!("main"))
    );
    assert_eq!(repository["policy"]["text"], "depth = 3\n");
    assert_eq!((&repository["policy"]["byteSize"], &repository["policy"]["isBinary"]), (&json!(10), &json!(false)));
    let head = &repository["head"];
    assert_eq!((&head["__typename"], &head["oid"]), (&json!("Commit"), &json!(sha)));
    assert_eq!(head["statusCheckRollup"]["state"], "PENDING");
    assert_eq!(
        head["statusCheckRollup"]["contexts"]["nodes"],
        json!([
            { "__typename": "CheckRun", "name": "kfops", "conclusion": null, "status": "IN_PROGRESS" },
            { "__typename": "StatusContext", "context": "ci", "state": "SUCCESS" },
        ])
    );
    let suite = &head["checkSuites"]["nodes"][0];
    assert_eq!(suite["app"]["slug"], "kfops");
    assert_eq!(suite["checkRuns"]["nodes"][0]["id"], check["node_id"]);
    assert_eq!(suite["checkRuns"]["nodes"][0]["externalId"], "c-1");
    assert_eq!(repository["label"]["id"], label["node_id"]);
    assert_eq!(repository["ref"]["target"]["oid"], json!(sha));
    let found = &repository["pullRequest"];
    assert_eq!(
        (&found["state"], &found["mergeable"], &found["merged"]),
        (&json!("OPEN"), &json!("MERGEABLE"), &json!(false))
    );
    assert_eq!((&found["headRefOid"], &found["baseRefName"]), (&json!(sha), &json!("main")));
    assert_eq!(found["author"], json!({ "__typename": "User", "login": "author" }));
    assert_eq!(found["reviews"]["nodes"].as_array().unwrap().len(), 1);
    assert_eq!(found["reviews"]["nodes"][0]["commit"]["oid"], json!(sha));
    let bodies: Vec<_> = found["comments"]["nodes"].as_array().unwrap().iter().map(|one| &one["body"]).collect();
    assert_eq!(bodies, ["two", "three"]);
    assert_eq!(found["comments"]["pageInfo"]["hasPreviousPage"], true);
    assert_eq!(found["comments"]["nodes"][0]["viewerDidAuthor"], true);
    assert_eq!(found["labels"]["nodes"], json!([{ "id": label["node_id"], "name": "live" }]));
    assert_eq!(found["commits"]["nodes"][0]["commit"]["oid"], json!(sha));
    assert_eq!(repository["pullRequests"]["nodes"], json!([{ "id": found["id"], "number": 1 }]));
    assert_eq!(repository["pullRequests"]["totalCount"], 1);
    let listed = &repository["deployments"]["nodes"][0];
    assert_eq!((&listed["id"], &listed["commitOid"]), (&deployment["node_id"], &json!(sha)));
    assert_eq!((&listed["payload"], &listed["state"]), (&json!("{\"command\":\"c-1\"}"), &json!("PENDING")));
    world.forge.stop().await;
}

#[tokio::test]
async fn comments_have_pages_in_both_directions() {
    let world = World::start().await;
    let number = world.open().await;
    for index in 0..5 {
        world.forge.comment(OWNER, REPO, number, "author", &index.to_string()).await.unwrap();
    }
    let query = "query($first: Int, $last: Int, $after: String, $before: String) {
      repository(owner: \"team\", name: \"iris\") { pullRequest(number: 1) {
        comments(first: $first, last: $last, after: $after, before: $before) {
          nodes { body } totalCount pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } } } }";
    for (size, side, cursor, has, order) in [
        ("first", "after", "endCursor", "hasNextPage", "0 1|2 3|4"),
        ("last", "before", "startCursor", "hasPreviousPage", "3 4|1 2|0"),
    ] {
        let (mut pages, mut variables) = (Vec::new(), json!({ size: 2 }));
        loop {
            let data = good(run(&world, BOT, query, variables.clone()).await);
            let found = data["repository"]["pullRequest"]["comments"].clone();
            let bodies: Vec<_> =
                found["nodes"].as_array().unwrap().iter().map(|one| one["body"].as_str().unwrap()).collect();
            pages.push(bodies.join(" "));
            variables[side] = found["pageInfo"][cursor].clone();
            if found["pageInfo"][has] == false {
                break;
            }
        }
        assert_eq!(pages.join("|"), order);
    }
    for (variables, kind) in [
        (json!({}), "MISSING_PAGINATION_BOUNDARIES"),
        (json!({ "first": 101 }), "EXCESSIVE_PAGINATION"),
        (json!({ "first": 1, "after": "x" }), "INVALID_CURSOR_ARGUMENTS"),
    ] {
        let answer = run(&world, BOT, query, variables).await;
        assert_eq!(answer["errors"][0]["type"], kind);
        // What may not be null takes its parent with it.
        assert_eq!(answer["data"]["repository"]["pullRequest"], Value::Null, "{answer}");
    }
    world.forge.stop().await;
}

#[tokio::test]
async fn several_mutations_are_done_in_order_and_fail_alone() {
    let world = World::start().await;
    let number = world.open().await;
    let receiver = Receiver::start().await;
    world.forge.add_hook(OWNER, REPO, "t", &receiver.url, &"s".into(), &[]).await.unwrap();
    let pull = world.get(&format!("/pulls/{number}")).await.json;
    let repository = world.get("").await.json["node_id"].clone();
    let query = "mutation($pull: ID!, $repository: ID!, $sha: GitObjectID!) {
      said: addComment(input: { subjectId: $pull, body: \"working\", clientMutationId: \"m-1\" }) {
        clientMutationId commentEdge { node { id databaseId body author { __typename login } } }
        subject { ... on PullRequest { comments(last: 1) { nodes { body } } } } }
      gone: addComment(input: { subjectId: \"PR_nonsense\", body: \"x\" }) { clientMutationId }
      blank: addComment(input: { subjectId: $pull, body: \" \" }) { clientMutationId }
      made: createCheckRun(input: { repositoryId: $repository, headSha: $sha, name: \"kfops\", externalId: \"c-1\",
        status: IN_PROGRESS, detailsUrl: \"http://x/1\",
        output: { title: \"t\", summary: \"s\", annotations: [{ path: \"kfops.yaml\", message: \"bad\",
          annotationLevel: FAILURE, location: { startLine: 1, endLine: 2, startColumn: 3 } }] },
        actions: [{ label: \"Cancel\", description: \"stop it\", identifier: \"cancel\" }] }) {
        checkRun { id databaseId status conclusion } }
      label: createLabel(input: { repositoryId: $repository, name: \"live\", color: \"00ff00\" }) { label { id } }
    }";
    let variables = json!({ "pull": pull["node_id"], "repository": repository, "sha": pull["head"]["sha"] });
    let answer = run(&world, BOT, query, variables).await;
    let data = &answer["data"];
    assert_eq!(
        (&data["said"]["clientMutationId"], &data["gone"], &data["blank"]),
        (&json!("m-1"), &Value::Null, &Value::Null)
    );
    assert_eq!(data["said"]["subject"]["comments"]["nodes"][0]["body"], "working");
    // GraphQL names the bot of an App without its suffix.
    let comment = &data["said"]["commentEdge"]["node"];
    assert_eq!(comment["author"], json!({ "__typename": "Bot", "login": "kfops" }));
    let errors: Vec<_> = answer["errors"].as_array().unwrap().iter().map(|one| (&one["type"], &one["path"])).collect();
    assert_eq!(errors, [(&json!("NOT_FOUND"), &json!(["gone"])), (&json!("UNPROCESSABLE"), &json!(["blank"]))]);
    let run_id = &data["made"]["checkRun"]["databaseId"];
    let rest = world.get(&format!("/check-runs/{run_id}")).await.json;
    assert_eq!((&rest["node_id"], &rest["status"]), (&data["made"]["checkRun"]["id"], &json!("in_progress")));
    let mut noted = world.get(&format!("/check-runs/{run_id}/annotations")).await.json;
    assert!(noted[0].as_object_mut().unwrap().remove("blob_href").unwrap().as_str().unwrap().ends_with("/kfops.yaml"));
    assert_eq!(
        noted,
        json!([{ "path": "kfops.yaml", "start_line": 1, "end_line": 2, "start_column": 3,
                 "end_column": null, "annotation_level": "failure", "title": null, "message": "bad",
                 "raw_details": null }])
    );
    let sent = receiver.wait("issue_comment.created").await.json();
    assert_eq!((&sent["comment"]["node_id"], &sent["sender"]["login"]), (&comment["id"], &json!(BOT)));
    receiver.wait("check_run.created").await;

    let query = "mutation($comment: ID!, $run: ID!, $repository: ID!, $pull: ID!, $label: ID!, $sha: GitObjectID!) {
      updateIssueComment(input: { id: $comment, body: \"done\" }) { issueComment { body } }
      updateCheckRun(input: { repositoryId: $repository, checkRunId: $run, conclusion: SUCCESS }) {
        checkRun { status conclusion completedAt } }
      addLabelsToLabelable(input: { labelableId: $pull, labelIds: [$label] }) { labelable { labels(first: 5) { nodes { name } } } }
      moved: mergePullRequest(input: { pullRequestId: $pull, expectedHeadOid: \"0000000000000000000000000000000000000000\" }) { clientMutationId }
      mergePullRequest(input: { pullRequestId: $pull, expectedHeadOid: $sha }) { pullRequest { merged state mergeCommit { oid } } }
      removeLabelsFromLabelable(input: { labelableId: $pull, labelIds: [$label] }) { labelable { labels(first: 5) { nodes { name } } } }
    }";
    let variables = json!({ "comment": comment["id"], "run": data["made"]["checkRun"]["id"], "repository": repository,
        "pull": pull["node_id"], "label": data["label"]["label"]["id"], "sha": pull["head"]["sha"] });
    let answer = run(&world, BOT, query, variables).await;
    let data = &answer["data"];
    assert_eq!(data["updateIssueComment"]["issueComment"]["body"], "done");
    assert_eq!(data["updateCheckRun"]["checkRun"]["conclusion"], "SUCCESS");
    assert_eq!(data["addLabelsToLabelable"]["labelable"]["labels"]["nodes"], json!([{ "name": "live" }]));
    assert_eq!(data["removeLabelsFromLabelable"]["labelable"]["labels"]["nodes"], json!([]));
    assert_eq!((&data["moved"], &data["mergePullRequest"]["pullRequest"]["state"]), (&Value::Null, &json!("MERGED")));
    assert_eq!(answer["errors"].as_array().unwrap().len(), 1, "{answer}");
    assert_eq!(answer["errors"][0]["path"], json!(["moved"]));
    for kind in ["issue_comment.edited", "check_run.completed", "pull_request.labeled", "pull_request.closed"] {
        receiver.wait(kind).await;
    }
    world.forge.stop().await;
}

#[tokio::test]
async fn deployments_are_of_refs() {
    let world = World::start().await;
    world.open().await;
    let sha = world.get("/pulls/1").await.json["head"]["sha"].clone();
    let look = "{ repository(owner: \"team\", name: \"iris\") { id ref(qualifiedName: \"feature\") { id } } }";
    let data = good(run(&world, BOT, look, Value::Null).await);
    let (repository, reference) = (&data["repository"]["id"], &data["repository"]["ref"]["id"]);
    assert_eq!(*reference, world.get("/git/ref/heads/feature").await.json["node_id"]);
    let make = "mutation($repository: ID!, $ref: ID!) {
      createDeployment(input: { repositoryId: $repository, refId: $ref, environment: \"staging\", payload: \"{\\\"a\\\":1}\" }) {
        deployment { id databaseId commitOid payload state } } }";
    let variables = json!({ "repository": repository, "ref": reference });
    let status = json!({ "state": "pending", "context": "ci" });
    world.send("POST", &format!("/statuses/{}", sha.as_str().unwrap()), Some("author"), status).await;
    let refused = run(&world, BOT, make, variables.clone()).await;
    assert_eq!(refused["errors"][0]["type"], "UNPROCESSABLE", "a status is pending");
    let status = json!({ "state": "success", "context": "ci" });
    world.send("POST", &format!("/statuses/{}", sha.as_str().unwrap()), Some("author"), status).await;
    let made = good(run(&world, BOT, make, variables).await)["createDeployment"]["deployment"].clone();
    assert_eq!((&made["commitOid"], &made["payload"]), (&sha, &json!("{\"a\":1}")));
    let tell = "mutation($id: ID!) { createDeploymentStatus(input: { deploymentId: $id, state: SUCCESS,
      environmentUrl: \"http://x\" }) { deploymentStatus { state environmentUrl deployment { state } } } }";
    let told = good(run(&world, BOT, tell, json!({ "id": made["id"] })).await);
    let told = &told["createDeploymentStatus"]["deploymentStatus"];
    assert_eq!((&told["state"], &told["deployment"]["state"]), (&json!("SUCCESS"), &json!("ACTIVE")));
    assert_eq!(world.get(&format!("/deployments/{}/statuses", made["databaseId"])).await.json[0]["state"], "success");
    world.forge.stop().await;
}

#[tokio::test]
async fn errors_are_githubs() {
    let world = World::start().await;
    let number = world.open().await;
    for base in ["graphql", "api/graphql"] {
        let url = format!("{}/{base}", world.forge.url());
        let nobody = ask(client().post(&url).json(&json!({ "query": "{ viewer { login } }" }))).await;
        assert_eq!(
            (nobody.status, &nobody.json["message"]),
            (401, &json!("This endpoint requires you to be authenticated."))
        );
        let bad = ask(client().post(&url).bearer_auth("x").json(&json!({ "query": "{ viewer { login } }" }))).await;
        assert_eq!((bad.status, &bad.json["message"]), (401, &json!("Bad credentials")));
        assert_eq!(bad.header("x-ratelimit-resource"), "graphql");
        let garbled = ask(client().post(&url).bearer_auth(token(BOT)).body("{")).await;
        assert_eq!(garbled.status, 400);
    }
    for broken in ["{ nothing }", "{", "{ repository { id } }"] {
        let answer = run(&world, BOT, broken, Value::Null).await;
        assert!(answer.get("data").is_none() && answer["errors"][0]["message"].is_string(), "{answer}");
    }
    let missing = "{ repository(owner: \"team\", name: \"none\") { id } viewer { login } }";
    let answer = run(&world, BOT, missing, Value::Null).await;
    assert_eq!((&answer["data"]["repository"], &answer["data"]["viewer"]["login"]), (&Value::Null, &json!(BOT)));
    let error = &answer["errors"][0];
    assert_eq!((&error["type"], &error["path"]), (&json!("NOT_FOUND"), &json!(["repository"])));
    assert_eq!(error["message"], "Could not resolve to a Repository with the name 'team/none'.");

    // A label's id where a pull request's is wanted, and ids of nothing.
    world.send("POST", "/labels", Some(BOT), json!({ "name": "l" })).await;
    let label = world.get("/labels/l").await.json["node_id"].clone();
    let pull = world.get(&format!("/pulls/{number}")).await.json["node_id"].as_str().unwrap().to_owned();
    let mangled = format!("{}A", &pull[..pull.len() - 1]);
    let merge = "mutation($id: ID!) { mergePullRequest(input: { pullRequestId: $id }) { clientMutationId } }";
    for id in [label, json!(mangled), json!("PR_1"), json!("")] {
        let answer = run(&world, BOT, merge, json!({ "id": id })).await;
        assert_eq!(answer["errors"][0]["type"], "NOT_FOUND", "{answer}");
    }
    let answer = run(&world, "stranger", merge, json!({ "id": pull })).await;
    assert_eq!(answer["errors"][0]["type"], "FORBIDDEN", "{answer}");
    let found =
        good(run(&world, BOT, "query($id: ID!) { node(id: $id) { __typename id } }", json!({ "id": pull })).await);
    assert_eq!(found["node"], json!({ "__typename": "PullRequest", "id": pull }));
    world.forge.stop().await;
}

#[tokio::test]
async fn forks_and_archives_are_known() {
    let world = World::start().await;
    let number = world.open().await;
    let look = "{ repository(owner: \"team\", name: \"iris\") { pullRequest(number: 1) {
      id isCrossRepository headRepository { nameWithOwner } headRef { name } } } }";
    let found = good(run(&world, BOT, look, Value::Null).await)["repository"]["pullRequest"].clone();
    assert_eq!((&found["isCrossRepository"], &found["headRef"]["name"]), (&json!(false), &json!("feature")));
    assert_eq!(found["headRepository"]["nameWithOwner"], "team/iris");
    let (afar, sha) = crate::forks::forked(&world).await;
    let other = look.replace("number: 1", &format!("number: {afar}")).replace("id isCross", "headRefOid isCross");
    let other = good(run(&world, BOT, &other, Value::Null).await)["repository"]["pullRequest"].clone();
    assert_eq!((&other["isCrossRepository"], &other["headRefOid"]), (&json!(true), &json!(sha)));
    assert_eq!(other["headRepository"]["nameWithOwner"], "stranger/iris");
    world.forge.set_archived(OWNER, REPO, true).await.unwrap();
    let say = "mutation($id: ID!) { addComment(input: { subjectId: $id, body: \"x\" }) { clientMutationId } }";
    let answer = run(&world, BOT, say, json!({ "id": found["id"] })).await;
    assert_eq!(answer["errors"][0]["type"], "FORBIDDEN", "{answer}");
    assert_eq!(world.get(&format!("/issues/{number}/comments")).await.json, json!([]));
    world.forge.stop().await;
}
