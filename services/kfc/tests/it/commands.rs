//! Commands through the gateway: what is printed, and the exit codes.

use kfops_proto::command::Lock;
use serde_json::Value as Json;
use tokio::process::Command;

use crate::kfc::{World, kfc};

#[tokio::test]
async fn a_build_to_its_end() {
    let world = World::new().await;
    let said = world.kfc(&["build", "trainer", "--pr", "3", "--repo", "o/r", "-w"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    let lines: Vec<&str> = said.out.lines().collect();
    assert!(lines[0].starts_with("commands/kfc-") && lines[0].ends_with("  /build trainer on o/r#3"), "{said:?}");
    assert_eq!(lines[1], "✓ gate                        21 s  up to date with `main`");
    assert_eq!(lines[2], "✓ build                       21 s  2 images");
    assert_eq!(lines[3], "/build succeeded after 1 m 12 s");
    assert_eq!(lines.len(), 4);
    assert!(!said.out.contains('\u{1b}'), "colours in a pipe");
}

#[tokio::test]
async fn a_failure_is_1_and_a_refusal_is_3() {
    let world = World::new().await;
    let said = world.kfc(&["run", "--pr", "3", "--repo", "o/r", "--set", "a=1", "--set", "b=2", "--wait"]).await;
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("/run --set=a=1 --set=b=2 on o/r#3"), "{said:?}");
    assert!(said.out.contains("✗ task train                  21 s  exit code 1 [31m\n"), "{said:?}");
    let end = "/run failed after 1 m 12 s: task train failed\n  | line 1\n  | line 2\n  look at the log\n";
    assert!(said.out.ends_with(end), "{said:?}");
    let said = world.kfc(&["deploy", "--pr", "3", "--repo", "o/r", "--force", "--run-id", "r-1", "-w"]).await;
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.out.contains("/deploy --run-id=r-1 --force on o/r#3"), "{said:?}");
    assert!(said.out.contains("/deploy refused after 1 m 12 s: the branch is 2 commits behind `main`"), "{said:?}");
    let said = world.kfc(&["build", "--pr", "3", "--repo", "o/forbidden"]).await;
    assert_eq!((said.code, said.err.as_str()), (3, "kfc: local may not command o/forbidden\n"));
}

#[tokio::test]
async fn a_cut_watch_goes_on() {
    let world = World::new().await;
    *world.bot.cuts.lock().unwrap() = 2;
    let said = world.kfc(&["build-run", "--pr", "3", "--repo", "o/r", "-w"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(said.out.matches("gate").count(), 1, "{said:?}");
    assert_eq!(*world.bot.cuts.lock().unwrap(), 0);
}

#[tokio::test]
async fn names_json_and_yaml() {
    let world = World::new().await;
    let said = world.kfc(&["ship", "--pr", "3", "--repo", "o/r", "--output", "name"]).await;
    let name = said.out.trim_end();
    assert!(name.starts_with("commands/kfc-") && !name.contains('\n'), "{said:?}");
    assert_eq!(said.err, format!("follow it: kfc watch {}\n", name.trim_start_matches("commands/")));
    let said = world.kfc(&["watch", name, "--output", "json"]).await;
    let json: Json = serde_json::from_str(&said.out).unwrap();
    assert_eq!(json["state"], "STATE_SUCCEEDED");
    assert_eq!(json["verb"], "VERB_SHIP");
    let said = world.kfc(&["--output", "yaml", "show", "latest"]).await;
    assert!(said.out.contains("verb: VERB_SHIP"), "{said:?}");
    let said = world.kfc(&["show", name]).await;
    assert!(said.out.contains("/ship on o/r#3") && said.out.contains("✓ build"), "{said:?}");
    let said = world.kfc(&["logs", name, "--step", "image trainer"]).await;
    assert_eq!(said.out, "[image trainer]\none\ntwo\n");
    let said = world.kfc(&["cancel", name]).await;
    assert!(said.out.ends_with("/ship on o/r#3  canceled\n"), "{said:?}");
}

#[tokio::test]
async fn lists_over_pages() {
    let world = World::new().await;
    let said = world.kfc(&["list"]).await;
    assert_eq!((said.code, said.out.as_str()), (0, "no commands yet\n"));
    for _ in 0..5 {
        world.kfc(&["build", "--pr", "3", "--repo", "o/r"]).await;
    }
    let said = world.kfc(&["list"]).await;
    assert_eq!(said.out.lines().count(), 6, "{said:?}");
    assert!(said.out.starts_with("ID ") && said.out.contains("o/r#3"), "{said:?}");
    let said = world.kfc(&["list", "--limit", "3", "--output", "name"]).await;
    assert_eq!(said.out.lines().count(), 3);
    let said = world.kfc(&["list", "--output", "json"]).await;
    assert_eq!(serde_json::from_str::<Json>(&said.out).unwrap()["commands"].as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn wrong_usage_is_2_and_says_what_to_do() {
    let world = World::new().await;
    let cases: &[(&[&str], &str)] = &[
        (&["build", "--repo", "o/r"], "the working tree without one cannot be built or run yet"),
        (&["build", "--repo", "o/r"], "give --pr NUMBER"),
        (&["plan", "--repo", "o/r"], "kfc: no pull request is named\n  give --pr NUMBER"),
        (&["status", "--repo", "o/r"], "kfc: no pull request is named\n  give --pr NUMBER"),
        (&["why", "--repo", "o/r"], "give --pr NUMBER, or the name of a model"),
        (&["retry", "--repo", "o/r"], "give --pr NUMBER, or the id of a command"),
        (&["build", "--pr", "3"], "give --repo OWNER/NAME"),
        (&["build", "--pr", "3", "--repo", "../x"], "not a repository"),
        (&["build", "--pr", "3", "--repo", "o/r", "-o", "x.yaml"], "--config-override"),
        (&["build", "--pr", "0", "--repo", "o/r"], "--pr"),
        (&["show", "$(touch x)"], "is not a valid id"),
        (&["show", "../../readyz"], "is not a valid id"),
        (&["show", "none"], "there is no command commands/none"),
        (&["show", "latest"], "there is no command yet"),
        (&["burn"], "burn"),
        (&["--server", "ftp://x", "list"], "is not a base URL"),
        (&["check", "no-such-folder"], "no-such-folder"),
        (&["local", "up", "--repo", "no-such-folder"], "kfc: --repo no-such-folder: "),
    ];
    for (args, words) in cases {
        let said = world.kfc(args).await;
        assert_eq!(said.code, 2, "{args:?}: {said:?}");
        assert!(said.err.contains(words), "{args:?}: {said:?}");
    }
}

#[tokio::test]
async fn flags_of_kfops_1_are_ignored_aloud() {
    let world = World::new().await;
    let args = ["run", "--pr", "3", "--repo", "o/r", "--version-id", "v-1", "-n", "team", "--kubeflow-url", "http://k"];
    let said = world.kfc(&args).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.err.contains("--namespace is ignored") && said.err.contains("--kubeflow-url is ignored"), "{said:?}");
    assert!(said.out.contains("--version-id=v-1"), "{said:?}");
}

#[tokio::test]
async fn nobody_there_is_4() {
    let folder = tempfile::tempdir().unwrap();
    let said = kfc(folder.path(), &[("KFOPS_SERVER", "http://127.0.0.1:1")], &["list"]).await;
    assert_eq!(said.code, 4, "{said:?}");
    assert!(said.err.contains("nobody answers at http://127.0.0.1:1/") && said.err.contains("--server"), "{said:?}");
}

#[tokio::test]
async fn the_repository_comes_from_the_work_tree() {
    let world = World::new().await;
    for args in [&["init", "-q"][..], &["remote", "add", "origin", "git@github.com:acme/iris.git"]] {
        assert!(Command::new("git").args(args).current_dir(&world.folder).status().await.unwrap().success());
    }
    let said = world.kfc(&["status", "--pr", "1"]).await;
    assert!(said.out.contains("/status on acme/iris#1"), "{said:?}");
}

#[tokio::test]
async fn a_local_system_is_found_from_below() {
    let world = World::new().await;
    let state = world.folder.path().join("iris/.kfops");
    let below = world.folder.path().join("iris/src/deep");
    std::fs::create_dir_all(&state).unwrap();
    std::fs::create_dir_all(&below).unwrap();
    let endpoints = serde_json::json!({"api": world.api, "traces": "http://127.0.0.1:1", "models": ""});
    std::fs::write(state.join("endpoints.json"), endpoints.to_string()).unwrap();
    let said = kfc(&below, &[], &["build_run", "--pr", "1"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("/build_run on local/iris#1"), "{said:?}");
    // A repository cannot send us, and our token, elsewhere.
    std::fs::write(state.join("endpoints.json"), r#"{"api": "http://192.0.2.1:80"}"#).unwrap();
    let said = kfc(&below, &[("KFOPS_TOKEN", "t")], &["list"]).await;
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("is not on this machine"), "{said:?}");
}

#[tokio::test]
async fn completion_scripts() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let said = kfc(folder.path(), &[], &["completion", shell]).await;
        assert_eq!(said.code, 0);
        for word in ["build_run", "rollback", "promote", "unlock", "locks", "why", "staging"] {
            assert!(said.out.contains(word), "{shell}: {word}");
        }
    }
    let script = kfc(folder.path(), &[], &["completion", "bash"]).await.out;
    let checked = Command::new("bash").args(["-n", "-c", &script]).status().await.unwrap();
    assert!(checked.success());
}

#[tokio::test]
async fn every_verb_with_its_words() {
    let world = World::new().await;
    let cases: &[(&[&str], &str)] = &[
        (&["plan"], "/plan on"),
        (&["promote"], "/promote on"),
        (&["rollback", "--to", "iris-00005"], "/rollback --to=iris-00005 on"),
        (&["rollback"], "/rollback on"),
        (&["cancel"], "/cancel on"),
        (&["cancel", "c-1"], "/cancel c-1 on"),
        (&["retry"], "/retry on"),
        (&["retry", "commands/c-1"], "/retry c-1 on"),
        (&["why"], "/why on"),
        (&["unlock"], "/unlock production on"),
        (&["unlock", "staging"], "/unlock staging on"),
        (&["deploy", "--canary", "5,25"], "/deploy --canary=5,25 on"),
        (&["staging-deploy", "--canary", "0"], "/staging_deploy --canary=0 on"),
        (&["staging_deploy", "--force"], "/staging_deploy --force on"),
        (&["ship", "--set", "a=1", "--force", "--canary", "10"], "/ship --set=a=1 --force --canary=10 on"),
    ];
    for (args, words) in cases {
        let said = world.kfc(&[args, &["--pr", "3", "--repo", "o/r"][..]].concat()).await;
        assert_eq!(said.code, 0, "{args:?}: {said:?}");
        assert!(said.out.lines().next().unwrap().ends_with(&format!("  {words} o/r#3")), "{args:?}: {said:?}");
    }
    let help = world.kfc(&["staging_deploy", "--help"]).await.out;
    assert!(help.contains("--force") && help.contains("changes nothing") && !help.contains("Even if"), "{help}");
    assert!(world.kfc(&["deploy", "--help"]).await.out.contains("Even if the pull request is behind its base"));
    let said = world.kfc(&["unlock", "everything", "--pr", "3", "--repo", "o/r"]).await;
    assert_eq!(said.code, 2, "{said:?}");
}

#[tokio::test]
async fn answers_are_for_the_terminal() {
    let world = World::new().await;
    let said = world.kfc(&["plan", "--pr", "3", "--repo", "o/r"]).await;
    let (_, answer) = said.out.split_once('\n').unwrap();
    assert_eq!(answer, "Plan of o/r\n\n   link\n✓  run\n", "{said:?}");
    let said = world.kfc(&["why", "--pr", "3", "--repo", "o/r", "--output", "json"]).await;
    let json: Json = serde_json::from_str(&said.out).unwrap();
    assert!(json["answer"].as_str().unwrap().starts_with("**Why** of `o/r`"), "{json}");
    let said = world.kfc(&["status", "--pr", "3", "--repo", "o/r", "--output", "name"]).await;
    assert!(said.out.starts_with("commands/kfc-") && said.out.lines().count() == 1, "{said:?}");
    let said = world.kfc(&["show", said.out.trim()]).await;
    assert!(said.out.contains("Status of o/r\n"), "{said:?}");
    // One that acts says what it did, after its steps.
    let said = world.kfc(&["unlock", "--pr", "3", "--repo", "o/r", "-w"]).await;
    assert!(said.out.contains("✓ gate") && said.out.contains("Unlock of o/r\n"), "{said:?}");
}

#[tokio::test]
async fn why_finds_the_pull_request_of_a_model() {
    let world = World::new().await;
    let said = world.kfc(&["why", "iris"]).await;
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("no command is known that deployed iris") && said.err.contains("--pr"), "{said:?}");
    world.kfc(&["deploy", "--pr", "8", "--repo", "o/r"]).await;
    let said = world.kfc(&["why", "iris"]).await;
    assert!(said.out.contains("/why on o/r#8"), "{said:?}");
    let said = world.kfc(&["why", "9", "--repo", "o/r"]).await;
    assert!(said.out.contains("/why on o/r#9"), "{said:?}");
    let said = world.kfc(&["why", "../x"]).await;
    assert!(said.code == 2 && said.err.contains("neither a model nor a pull request"), "{said:?}");
    // A command is enough to find its pull request.
    let said = world.kfc(&["retry", "latest"]).await;
    assert!(said.out.contains("/retry kfc-") && said.out.contains(" on o/r#"), "{said:?}");
}

#[tokio::test]
async fn locks_are_listed() {
    let world = World::new().await;
    let said = world.kfc(&["locks"]).await;
    assert_eq!((said.code, said.out.as_str()), (0, "nothing was deployed yet\n"), "{said:?}");
    *world.bot.locks.lock().unwrap() = vec![Lock {
        target: "namespaces/live/inferenceServices/iris".into(),
        holder: "commands/c-1".into(),
        fence: 3,
        since: Some(prost_types::Timestamp { seconds: 1_795_000_000, nanos: 5 }),
        queue: vec!["commands/c-2".into(), "commands/c-3".into()],
    }];
    let said = world.kfc(&["locks"]).await;
    let line = "namespaces/live/inferenceServices/iris  held by c-1 since 2026-11-18 11:06:40; waiting: c-2, c-3\n";
    assert_eq!((said.code, said.out.as_str()), (0, line), "{said:?}");
    let said = world.kfc(&["locks", "--output", "json"]).await;
    assert_eq!(serde_json::from_str::<Json>(&said.out).unwrap()["locks"][0]["fence"], "3");
    let said = world.kfc(&["locks", "--output", "name"]).await;
    assert_eq!(said.out, "namespaces/live/inferenceServices/iris\n");
}
