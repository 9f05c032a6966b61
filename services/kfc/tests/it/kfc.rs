//! Starts `kfc` and what it talks to.

use std::{path::Path, process::Output, time::Duration};

use kfops_gateway::{Ports, Secret, Service, Settings};
use kfops_rpc::Lifecycle;
use kfops_telemetry::Tracer;
use tempfile::TempDir;

use crate::bot::Bot;

/// A gateway, the scm-bot behind it, and an empty folder to run `kfc` in.
pub(crate) struct World {
    pub(crate) bot: Bot,
    pub(crate) api: String,
    pub(crate) folder: TempDir,
    life: Lifecycle,
}

/// What `kfc` said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl World {
    pub(crate) async fn new() -> Self {
        let (bot, life) = (Bot::default(), Lifecycle::new());
        let mut settings = Settings { scm_bot: bot.serve(&life).await, ..Settings::default() };
        settings.webhook.secrets.push(Secret::new("secret"));
        settings.api.loopback_user = Some("local".into());
        let service = Service::build(settings, Ports::local(Tracer::disabled())).await.unwrap();
        let (listener, address) = kfops_rpc::bind("127.0.0.1:0").await.unwrap();
        tokio::spawn(service.serve(listener, life.clone()));
        Self { bot, api: format!("http://{address}"), folder: tempfile::tempdir().unwrap(), life }
    }

    /// `kfc` with these arguments, against this world.
    pub(crate) async fn kfc(&self, args: &[&str]) -> Said {
        kfc(self.folder.path(), &[("KFOPS_SERVER", &self.api)], args).await
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.life.stop();
    }
}

/// `kfc` in a folder, with nothing of our environment but what is given.
pub(crate) async fn kfc(folder: &Path, env: &[(&str, &str)], args: &[&str]) -> Said {
    let run = tokio::process::Command::new(env!("CARGO_BIN_EXE_kfc"))
        .args(args)
        .current_dir(folder)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        // Whatever repository the tests' folder is in, the work tree is not ours.
        .env("GIT_CEILING_DIRECTORIES", folder.parent().unwrap_or(folder))
        .envs(env.iter().copied())
        .kill_on_drop(true)
        .output();
    let Output { status, stdout, stderr } = tokio::time::timeout(Duration::from_secs(60), run).await.unwrap().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: status.code().unwrap_or(-1), out: text(stdout), err: text(stderr) }
}
