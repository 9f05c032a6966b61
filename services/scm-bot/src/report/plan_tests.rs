//! What `/plan` says: every part, and in its place what could not be found out.

use std::time::{Duration, UNIX_EPOCH};

use kfops_core::{Reason, TraceContext};
use serde_json::json;

use super::*;
use crate::command::{Origin, Repository};

fn command() -> Command {
    let on = (Repository::parse("o/r").unwrap(), 7);
    let trace = TraceContext::from_random([1; 24]);
    Command::new("c-1".into(), Verb::Plan, on, "author".into(), Origin::Api, trace, UNIX_EPOCH)
}

fn measured(run: &str, accuracy: f64) -> Measured {
    Measured { run: run.into(), metrics: [("accuracy".to_owned(), accuracy)].into() }
}

fn away() -> Failure {
    Failure::new(Reason::WorkerUnavailable, "nobody answers at 127.0.0.1:1")
}

fn full() -> Plan {
    let argument = |name: &str, here, base| Argument { name: name.into(), here, base };
    let live = "spec:\n  predictor:\n    model:\n      storageUri: s3://m/r-1\n      protocolVersion: v1\n";
    Plan {
        default_branch: "main".into(),
        images: Ok(vec![("trainer".into(), false), ("client".into(), true)]),
        pipeline: ("iris".into(), "pipelines/iris.py".into()),
        arguments: vec![
            argument("max_depth", Some(json!(5)), Some(json!(3))),
            argument("seed", Some(json!("a`b")), None),
            argument("old", None, Some(json!(true))),
            argument("same", Some(json!(1)), Some(json!(1))),
        ],
        base_known: true,
        run: Ok(Some(measured("r-2", 0.967))),
        serving: Some(Serving {
            target: "namespaces/live/inferenceServices/iris".into(),
            strategy: Strategy { canary: vec![10, 50], ..Strategy::default() },
            now: Ok(Some(Now {
                revision: "iris-00006".into(),
                model: format!("sha256:{}", "0".repeat(64)),
                manifest: live.into(),
                run: Ok(measured("r-1", 0.953)),
            })),
            model: Some(format!("sha256:{}", "9".repeat(64))),
            manifest: Ok(live.replace("r-1", "r-2")),
            lock: Ok(Held { environment: "production", holder: None, since: None, queue: Vec::new() }),
        }),
        verdicts: vec![
            Verdict { verb: Verb::Ship, refusals: Ok(Vec::new()) },
            Verdict {
                verb: Verb::Deploy,
                refusals: Ok(vec![
                    Failure::new(Reason::BehindBase, "the branch is 2 commits behind main").action("update it"),
                ]),
            },
        ],
        merge: ("main".into(), "squash"),
    }
}

#[test]
fn everything() {
    let shown = plan(&command(), &full(), UNIX_EPOCH + Duration::from_secs(9));
    for said in [
        "**Images** · 1 of 2 would be built\n\n- trainer: would be built\n- client: exists already\n",
        "**Pipeline** · iris from `pipelines/iris.py`, compiled against these images\n",
        "- max\\_depth: `5` (`3` in main)\n",
        "- seed: `\"a'b\"` (not in main)\n- old: not set any more (`true` in main)\n- same: `1`\n",
        "`/deploy` takes `r-2`, which is of this commit\n\naccuracy 0.953 → 0.967 (+0.014), against `r-1` of `iris-00006`",
        "**Serving** · `namespaces/live/inferenceServices/iris` · canary 10 %, 50 %, each watched for 10s\n",
        "`sha256:999999999999` replaces `sha256:000000000000` of `iris-00006`\n",
        "```diff\n--- iris-00006\n+++ this commit\n@@ -1,5 +1,5 @@\n",
        "-      storageUri: s3://m/r-1\n+      storageUri: s3://m/r-2\n",
        "**Lock** · free\n",
        "- `/ship`: yes\n- `/deploy`: no\n  - the branch is 2 commits behind main: update it\n",
        "#7 at",
        "goes into `main` (squash)",
    ] {
        assert!(shown.contains(said), "{said}\nis not in\n{shown}");
    }
    assert!(!shown.contains("placeholder") && !shown.contains("found out"));
}

#[test]
fn what_cannot_be_found_out_is_said_in_its_place() {
    let mut some = full();
    some.images = Err(away());
    some.run = Ok(None);
    let serving = some.serving.as_mut().unwrap();
    serving.model = None;
    serving.now = Err(away());
    serving.lock = Err(away());
    some.verdicts[0].refusals = Err(away());
    let shown = plan(&command(), &some, UNIX_EPOCH);
    assert_eq!(shown.matches("could not be found out: nobody answers at 127.0.0.1:1").count(), 4, "{shown}");
    assert!(shown.contains("there is no run of this commit yet"), "{shown}");
    assert!(shown.contains("The storage URI is a placeholder"), "{shown}");
    assert!(shown.contains("```yaml\nspec:"), "{shown}");
    some.serving.as_mut().unwrap().now = Ok(None);
    assert!(plan(&command(), &some, UNIX_EPOCH).contains("/iris` · no canary: nothing is live yet\n"));
    some.serving = None;
    assert!(plan(&command(), &some, UNIX_EPOCH).contains("nothing is deployed"));
}

#[test]
fn a_hostile_manifest_stays_in_its_block() {
    let mut hostile = full();
    let serving = hostile.serving.as_mut().unwrap();
    serving.manifest = Ok(format!("```\n</details> @team\n{}", "x: y\n".repeat(9000)));
    let shown = plan(&command(), &hostile, UNIX_EPOCH);
    assert!(shown.len() < 20_000 && shown.contains("… and more"), "{}", shown.len());
    let mut html = String::new();
    pulldown_cmark::html::push_html(&mut html, pulldown_cmark::Parser::new(&shown));
    let (_, rest) = html.split_once("<pre>").unwrap();
    let (_, after) = rest.split_once("</pre>").unwrap();
    assert!(!after.contains("@team") && after.contains("Would it be let through"), "{after}");
}
