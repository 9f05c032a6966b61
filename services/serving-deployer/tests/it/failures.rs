//! Rollouts that fail, are canceled or wait: what was live stays live, and nothing is lost.

use kfops_proto::{
    common::{Model, Reason},
    serving::{Rollout, State},
};
use serde_json::json;

use crate::{
    load::Load,
    models::model,
    world::{FILES, SERVICE, TEMPLATE, World, eventually, is_at, predict, put_source, rollout, strategy, titles},
};

fn reason(rollout: &Rollout) -> (Reason, &str) {
    let Some(failure) = &rollout.failure else { panic!("not failed: {:#?}", rollout.steps) };
    (failure.reason(), &failure.message)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_models_never_become_live_and_no_request_is_lost() {
    let mut world = World::start().await;
    world.deploy("good", "tree", strategy(&[])).await;
    let good = world.ended("good").await;
    assert_eq!(good.state(), State::Succeeded, "{:?}", good.failure);
    let load = Load::start(&good.endpoint, 4, json!([5.1, 3.5, 1.4, 0.2]));

    world.deploy("three", "three", strategy(&[50])).await;
    let failed = world.ended("three").await;
    let (why, text) = reason(&failed);
    assert_eq!((failed.state(), why), (State::Failed, Reason::ProofFailed));
    assert!(
        text.starts_with("revision iris-00002 did not answer the sample request: 500, `ValueError: X has 4 features"),
        "{text}"
    );
    assert!(text.ends_with(". Live stays iris-00001"), "{text}");
    assert!(failed.failure.as_ref().unwrap().log_tail.contains("ValueError"));
    assert_eq!(titles(&failed), ["revision", "proof", "restore"]);

    for (id, says) in [("corrupt", "cannot load the model model.joblib"), ("empty", "must hold one file")] {
        world.deploy(id, id, strategy(&[50])).await;
        let failed = world.ended(id).await;
        let (why, text) = reason(&failed);
        assert_eq!((failed.state(), why), (State::Failed, Reason::RevisionNotReady), "{text}");
        assert!(text.contains(says) && text.ends_with("Live stays iris-00001"), "{text}");
    }

    // A model is code: of the service's state it sees its own script only, of hidden folders nothing, and it may not write.
    if kfops_process::Sandbox::detect().await == kfops_process::Sandbox::Bubblewrap {
        world.deploy("nosy", "nosy", strategy(&[50])).await;
        let failed = world.ended("nosy").await;
        assert!(
            reason(&failed).1.contains("500, `RuntimeError: revisions,servers,model_server.py`"),
            "{}",
            reason(&failed).1
        );
    }

    // Fails for some requests only, which the proof does not send: the gate sees it.
    let large = Load::start(&good.endpoint, 2, json!([7.7, 3.0, 6.1, 2.3]));
    world.deploy("flaky", "flaky", strategy(&[50])).await;
    let failed = world.ended("flaky").await;
    let (why, text) = reason(&failed);
    assert_eq!((failed.state(), why), (State::Failed, Reason::GateFailed), "{text}");
    assert!(
        text.starts_with("revision iris-0000") && text.contains(" at 50 %: ") && text.contains("requests failed"),
        "{text}"
    );
    let seen = large.stop().await;
    assert!(seen.failed > 0 && seen.errors.iter().all(|e| e.contains("flower too large")), "{:?}", seen.errors);

    let mut by_latency = strategy(&[50]);
    by_latency.max_p99_increase = 0.5;
    world.deploy("slow", "slow", by_latency).await;
    let failed = world.ended("slow").await;
    let (why, text) = reason(&failed);
    assert_eq!((failed.state(), why), (State::Failed, Reason::GateFailed), "{text}");
    assert!(text.contains("p99 latency"), "{text}");

    let service = world.inference_service().await;
    assert_eq!(service.live_revision, "iris-00001");
    let mut states = service.revisions.iter().map(|r| r.state.as_str());
    assert!(states.next() == Some("ready") && states.all(|state| state == "failed"), "{:?}", service.revisions);
    let seen = load.stop().await;
    println!("load: {} sent, {} failed, {:?}", seen.sent, seen.failed, seen.revisions);
    assert_eq!(seen.failed, 0, "{:?}", seen.errors);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_at_a_time_and_a_cancel_restores() {
    let mut world = World::start().await;
    world.deploy("first", "tree", strategy(&[])).await;
    let first = world.ended("first").await;
    assert_eq!(first.state(), State::Succeeded, "{:?}", first.failure);

    let mut long = strategy(&[50]);
    long.hold = Some(prost_types::Duration { seconds: 20, nanos: 0 });
    world.deploy("second", "deeper", long).await;
    world.deploy("third", "deeper", strategy(&[])).await;
    world.deploy("fourth", "tree", strategy(&[])).await;
    world.until("second", |r| is_at(r, "canary 50 %")).await;
    assert_eq!(world.get("third").await.state(), State::Pending);
    let canceled = world.cancel("third").await;
    assert_eq!((canceled.state(), reason(&canceled).0), (State::Canceled, Reason::Canceled));
    assert!(canceled.revision.is_empty() && canceled.end_time.is_some());

    let load = Load::start(&first.endpoint, 4, json!([5.1, 3.5, 1.4, 0.2]));
    world.cancel("second").await;
    let canceled = world.ended("second").await;
    assert_eq!((canceled.state(), reason(&canceled).0), (State::Canceled, Reason::Canceled));
    assert_eq!(titles(&canceled), ["revision", "proof", "canary 50 %", "restore"]);
    assert!(reason(&canceled).1.ends_with("Live stays iris-00001"));

    let fourth = world.ended("fourth").await;
    assert_eq!(fourth.state(), State::Succeeded, "{:?}", fourth.failure);
    assert_eq!((fourth.revision.as_str(), fourth.previous_revision.as_str()), ("iris-00003", "iris-00001"));
    let seen = load.stop().await;
    assert_eq!(seen.failed, 0, "{:?}", seen.errors);
    // What has ended stays as it is.
    assert_eq!(world.cancel("fourth").await.state(), State::Succeeded);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_the_request_or_the_repository_is_said() {
    let mut world = World::start().await;
    let source = put_source(world.path(), FILES).await;
    let valid = rollout(source.clone(), model("tree"), strategy(&[]));
    let bad_requests = [
        ("rollout.inference_service", Rollout { inference_service: "iris; touch x".into(), ..valid.clone() }),
        ("rollout.strategy.canary", Rollout { strategy: Some(strategy(&[50, 10])), ..valid.clone() }),
        ("rollout.run", Rollout { run: "$(touch x)".into(), ..valid.clone() }),
        ("rollout.model", Rollout { model: None, ..valid.clone() }),
    ];
    for (field, request) in bad_requests {
        let failure = world.create("bad", request).await.unwrap_err();
        assert_eq!((failure.reason, failure.resource.as_str()), (kfops_core::Reason::InvalidArgument, field));
    }
    let failure = world.create("Bad Id", valid.clone()).await.unwrap_err();
    assert_eq!(failure.resource, "rollout_id");

    // Asking twice is asking once; asking for something else under the same id is refused.
    let missing = Rollout { template_path: "../../../etc/passwd".into(), ..valid.clone() };
    world.create("escape", missing.clone()).await.unwrap();
    world.create("escape", missing).await.unwrap();
    let failure = world.create("escape", valid.clone()).await.unwrap_err();
    assert_eq!(failure.reason, kfops_core::Reason::AlreadyExists);
    let ended = world.ended("escape").await;
    assert_eq!((ended.state(), reason(&ended).0), (State::Failed, Reason::TemplateInvalid));
    assert!(reason(&ended).1.contains("no file `../../../etc/passwd`"), "{}", reason(&ended).1);
    assert_eq!(titles(&ended), ["revision"]);

    let pod = TEMPLATE.replace("InferenceService", "Pod");
    let hostile = "import os\nos.symlink('/', '/tmp/x')\nraise SystemExit('gone')\n";
    let files = [("pod.yaml", pod.as_str()), ("bad.py", hostile), ("not.json", "{")];
    let source = put_source(world.path(), &files).await;
    for (id, template, sample, expected, says) in [
        ("pod", "pod.yaml", "", Reason::TemplateInvalid, "kind is `Pod`"),
        ("python", "bad.py", "", Reason::TemplateInvalid, "the deployment function gave no InferenceService"),
        ("absent", "absent.yaml", "", Reason::TemplateInvalid, "no file `absent.yaml`"),
        ("sample", "bad.py", "not.json", Reason::TemplateInvalid, "bad.py"),
    ] {
        let request = Rollout {
            template_path: template.into(),
            sample_path: sample.into(),
            golden_path: String::new(),
            ..rollout(source.clone(), model("tree"), strategy(&[]))
        };
        world.create(id, request).await.unwrap();
        let ended = world.ended(id).await;
        let (why, text) = reason(&ended);
        assert_eq!((ended.state(), why), (State::Failed, expected), "{text}");
        assert!(text.contains(says), "{text}");
        assert!(ended.revision.is_empty());
    }
    let mut unknown = source;
    unknown.digest = kfops_core::Digest::of(b"other").to_string();
    world.create("digest", rollout(unknown, model("tree"), strategy(&[]))).await.unwrap();
    assert_eq!(reason(&world.ended("digest").await).0, Reason::SourceInvalid);
    let changed = Model { digest: kfops_core::Digest::of(b"other").to_string(), ..model("tree") };
    world.create("changed", rollout(put_source(world.path(), FILES).await, changed, strategy(&[]))).await.unwrap();
    let ended = world.ended("changed").await;
    let (why, text) = reason(&ended);
    assert_eq!((ended.state(), why), (State::Failed, Reason::ModelMissing), "{text}");
    assert!(text.contains("is not the one that run r-1 wrote"), "{text}");
    let service = world.inference_service().await;
    assert_eq!((service.name.as_str(), service.live_revision.as_str(), service.revisions.len()), (SERVICE, "", 1));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_refuses_undoes_the_rollout_and_the_record_is_kept_later() {
    let mut world = World::start().await;
    world.deploy("one", "tree", strategy(&[])).await;
    let one = world.ended("one").await;
    assert_eq!(one.state(), State::Succeeded, "{:?}", one.failure);
    let mut long = strategy(&[50]);
    long.hold = Some(prost_types::Duration { seconds: 600, nanos: 0 });
    world.deploy("two", "deeper", long).await;
    world.until("two", |r| r.steps.last().is_some_and(|s| s.title == "canary 50 %" && s.requests > 0)).await;

    // Another process has the database: readers read, writers do not write.
    let database = rusqlite::Connection::open(world.path().join("state/serving-deployer.db")).unwrap();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    let two = world.ended("two").await;
    assert_eq!((two.state(), reason(&two).0), (State::Failed, Reason::StoreUnavailable), "{:?}", two.failure);
    assert!(two.failure.as_ref().unwrap().retryable);
    assert_eq!(world.inference_service().await.revisions[0].percent, 100);
    for _ in 0..20 {
        let (status, revision, _) = predict(&one.endpoint, json!({"instances": [[5.1, 3.5, 1.4, 0.2]]})).await;
        assert_eq!((status, revision.as_str()), (200, "iris-00001"));
    }
    database.execute_batch("ROLLBACK").unwrap();
    let kept =
        || -> bool { database.query_row("SELECT ended FROM rollouts WHERE id = 'two'", [], |row| row.get(0)).unwrap() };
    eventually("the end is kept", async || kept()).await;
    let mut world = world.restart().await;
    assert_eq!(world.get("two").await.end_time, two.end_time);
    world.stop().await;
}
