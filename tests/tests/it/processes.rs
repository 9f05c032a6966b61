//! The five services as five processes, with a token instead of a GitHub App: started from settings files, healthy, one command through all of them, ended in two stages.

use std::time::Duration;

use kfops_forge::{Forge, Role};
use kfops_local::{
    client::Client,
    demo::{Repository, ended},
};
use kfops_tests::{
    binaries::{self, Process},
    wait,
};

use crate::{fixture, judge::judge};

#[tokio::test(flavor = "multi_thread")]
async fn five_processes_carry_a_command() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let tree = fixture::repository(&root.join("iris"), &["first"], &[]).await;
    let settings = kfops_forge::Settings {
        exchange_log: Some(root.join("forge.jsonl")),
        ..kfops_forge::Settings::new(root.join("forge"))
    }
    .account("author", Role::Admin, "author-token")
    .account("kfops[bot]", Role::Admin, "bot-token");
    let forge = Forge::start(settings).await.unwrap();
    forge.import_repository("local", "iris", tree.path()).await.unwrap();

    let ports: Vec<u16> = binaries::SERVICES.iter().map(|_| binaries::free_port().unwrap()).collect();
    let address = |service: &str| {
        let index = binaries::SERVICES.iter().position(|s| *s == service).unwrap();
        format!("http://127.0.0.1:{}", ports[index])
    };
    let scraped: Vec<u16> = binaries::SERVICES.iter().map(|_| binaries::free_port().unwrap()).collect();
    let mut processes = Vec::new();
    for ((service, port), metrics) in binaries::SERVICES.iter().zip(&ports).zip(&scraped) {
        let mut settings = binaries::minimal_settings(service, *port, root);
        settings = match *service {
            "scm-bot" => {
                settings
                    .replace("http://127.0.0.1:9", &forge.api_url())
                    .replace("token: none", "bot_login: 'kfops[bot]', repositories: [local/iris]")
                    + &format!(
                        "workers: {{image_builder: '{}', pipeline_runner: '{}', serving_deployer: '{}'}}\n",
                        address("image-builder"),
                        address("pipeline-runner"),
                        address("serving-deployer")
                    )
            }
            "gateway" => settings + &format!("scm_bot: '{}'\n", address("scm-bot")),
            _ => settings,
        };
        settings += &format!("telemetry: {{metrics_listen: '127.0.0.1:{metrics}'}}\n");
        let path = root.join(format!("{service}.yaml"));
        std::fs::write(&path, settings).unwrap();
        // The token comes through the environment, as a Kubernetes Secret would.
        let env: &[(&str, &str)] =
            if *service == "scm-bot" { &[("KFOPS_SCM_BOT_GITHUB__TOKEN", "bot-token")] } else { &[] };
        let name = format!("kfops-{service}");
        processes.push(Process::start(&name, &["--settings", path.to_str().unwrap()], env, root).unwrap());
    }
    for (process, service) in processes.iter().zip(binaries::SERVICES) {
        let healthy = binaries::wait_healthy(&address(service), Duration::from_secs(60)).await;
        healthy.unwrap_or_else(|error| panic!("{error}\n{}", process.log()));
    }
    let hook = format!("{}/webhooks/github", address("gateway"));
    forge.add_hook("local", "iris", "kfops", &hook, &String::from("secret").into(), &["issue_comment"]).await.unwrap();

    let repository = Repository::new(&forge.api_url(), "local/iris", "author-token").unwrap();
    let number = repository.open_pull_request("First", "first", "main", "").await.unwrap();
    repository.comment(number, "/build_run").await.unwrap();
    let client = Client::new(&address("gateway"), "http://127.0.0.1:9").unwrap();
    let logs = || processes.iter().map(|p| format!("--- {}\n{}", p.name, p.log())).collect::<String>();
    let command = wait::until("/build_run to end", Duration::from_secs(180), async || {
        let commands = client.commands("local/iris", number).await.ok()?;
        commands.into_iter().next().filter(ended)
    });
    let command = command.await.unwrap_or_else(|error| panic!("{error}\n{}", logs()));
    assert_eq!(command["state"], "STATE_SUCCEEDED", "{command:#}\n{}", logs());
    assert!(command["lineage"]["model"]["digest"].as_str().unwrap().starts_with("sha256:"));
    assert!(command["lineage"]["metrics"]["accuracy"].as_f64().unwrap() > 0.9);

    // The token is no App's: what would be a check run is a status of the commit.
    let commit = command["commit"].as_str().unwrap();
    let status = wait::until("the status", Duration::from_secs(10), async || {
        let status = repository.get(&format!("/commits/{commit}/status")).await.ok()?;
        (status["state"] == "success").then_some(status)
    });
    let status = status.await.unwrap_or_else(|error| panic!("{error}\n{}", logs()));
    assert_eq!(status["statuses"][0]["context"], "kfops/build_run");
    assert!(repository.check_runs(commit).await.unwrap().is_empty());

    counted(&scraped).await;

    for process in processes.iter_mut().rev() {
        let code = process.terminate(Duration::from_secs(30)).await.unwrap();
        assert_eq!(code, Some(0), "{}:\n{}", process.name, process.log());
    }
    forge.stop().await;
    judge(&root.join("forge.jsonl"), 0);
}

/// What Prometheus finds after one webhook and one `/build_run`.
async fn counted(ports: &[u16]) {
    for (service, port) in binaries::SERVICES.iter().zip(ports) {
        let page = reqwest::get(format!("http://127.0.0.1:{port}/metrics")).await.unwrap();
        assert!(page.headers()["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
        let page = page.text().await.unwrap();
        let one = |series: &str| {
            let value = page.lines().find_map(|line| line.strip_prefix(series)?.trim().parse::<f64>().ok());
            assert_eq!(value, Some(1.0), "{service}: {series}\n{page}");
        };
        match *service {
            // The bot's own comment is one, too.
            "gateway" => {
                assert!(page.contains(r#"kfops_webhooks_total{event="issue_comment",result="accepted"} "#), "{page}")
            }
            "scm-bot" => {
                one(r#"kfops_command_duration_seconds_count{verb="build_run",state="succeeded"}"#);
                one(r#"kfops_command_step_duration_seconds_count{step="run",state="succeeded"}"#);
                assert!(page.contains("\nkfops_commands_open 0\n"), "{page}");
                assert!(page.contains(r#"kfops_github_request_duration_seconds_count{call=""#), "{page}");
            }
            "image-builder" => one(r#"kfops_work_duration_seconds_count{resource="builds",state="succeeded"}"#),
            "pipeline-runner" => {
                one(r#"kfops_work_duration_seconds_count{resource="pipelineVersions",state="succeeded"}"#);
                one(r#"kfops_work_duration_seconds_count{resource="runs",state="succeeded"}"#);
            }
            _ => assert!(page.contains("kfops_build_info{version="), "{page}"),
        }
        let documented = include_str!("../../../docs/metrics.md");
        for name in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
            assert!(documented.contains(&format!("| `{name}` |")), "docs/metrics.md does not know {name}");
        }
    }
}
