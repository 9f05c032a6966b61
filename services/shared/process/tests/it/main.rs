//! Real children.

use std::time::{Duration, Instant};

use kfops_process::{Command, Confinement, Limits, LogTail, Sandbox, read_regular};
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn environment_is_bare_and_output_is_kept() {
    let ended = Command::new("env").env("GIVEN", "1").run(&CancellationToken::new()).await.unwrap();
    assert!(ended.success());
    assert!(ended.output.contains("GIVEN=1"));
    assert!(!ended.output.contains("CARGO"), "{}", ended.output);
}

#[tokio::test]
async fn time_limit_ends_grandchildren_too() {
    let marker = format!("{}.{}", 98_000 + std::process::id() % 1000, std::process::id());
    let begun = Instant::now();
    let script = format!("sleep {marker} & sleep {marker}");
    let ended = Command::new("sh")
        .args(["-c", &script])
        .timeout(Duration::from_millis(300))
        .run(&CancellationToken::new())
        .await
        .unwrap();
    assert!(ended.timed_out);
    assert!(begun.elapsed() < Duration::from_secs(20));
    let left =
        Command::new("pgrep").args(["-f", &format!("^sleep {marker}")]).run(&CancellationToken::new()).await.unwrap();
    assert_eq!(left.code, Some(1), "left behind: {}", left.output);
}

#[tokio::test]
async fn cancellation_ends_it() {
    let cancel = CancellationToken::new();
    cancel.cancel();
    let ended = Command::new("sleep").arg("100").run(&cancel).await.unwrap();
    assert!(ended.canceled);
}

#[test]
fn links_and_pipes_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let (secret, link, pipe) = (folder.path().join("secret"), folder.path().join("link"), folder.path().join("pipe"));
    std::fs::write(&secret, "token").unwrap();
    std::os::unix::fs::symlink(&secret, &link).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert_eq!(LogTail::read(&secret, 100), "token");
    assert_eq!(LogTail::read(&link, 100), "");
    assert_eq!(LogTail::read(&pipe, 100), "");
    assert_eq!(read_regular(&secret, 5).unwrap(), b"token");
    assert!(read_regular(&secret, 4).is_err());
    assert!(read_regular(&pipe, 4).is_err());
}

#[tokio::test]
async fn a_missing_program_is_a_clear_failure() {
    let failure = Command::new("no-such-program-here").run(&CancellationToken::new()).await;
    // With setpriv in between, the failure is setpriv's exit code 127 and its message.
    match failure {
        Ok(ended) => assert!(ended.output.contains("no-such-program-here"), "{}", ended.output),
        Err(failure) => assert!(failure.message.contains("no-such-program-here")),
    }
}

#[tokio::test]
async fn sandbox_has_no_network_and_cannot_write() {
    let sandbox = Sandbox::detect().await;
    if sandbox == Sandbox::None {
        eprintln!("no sandbox on this machine");
        return;
    }
    let inside = tempfile::tempdir().unwrap();
    let script = format!("cat /proc/net/dev | wc -l; echo x > {0}/ok; ulimit -v", inside.path().display());
    let command = Command::new("sh").args(["-c", &script]);
    let ended =
        sandbox.wrap(command, &[inside.path()], &Limits::default()).run(&CancellationToken::new()).await.unwrap();
    assert!(ended.success(), "{}", ended.output);
    let mut lines = ended.output.lines();
    // Two header lines and the loopback device.
    assert_eq!(lines.next().map(str::trim), Some("3"), "{}", ended.output);
    assert_eq!(lines.next().map(str::trim), Some("4194304"));
    assert!(inside.path().join("ok").exists());
    if sandbox == Sandbox::Bubblewrap {
        let target = std::env::current_dir().unwrap().join("written-from-the-sandbox");
        let command = Command::new("touch").arg(&target);
        let ended =
            sandbox.wrap(command, &[inside.path()], &Limits::default()).run(&CancellationToken::new()).await.unwrap();
        assert!(!ended.success());
        assert!(!target.exists());
    }
}

#[tokio::test]
async fn hidden_folders_look_empty_but_for_what_is_shown() {
    let sandbox = Sandbox::detect().await;
    if sandbox != Sandbox::Bubblewrap {
        eprintln!("only bubblewrap hides");
        return;
    }
    let outer = tempfile::tempdir().unwrap();
    let (mine, tools) = (outer.path().join("mine"), outer.path().join("tools"));
    for folder in [&mine, &tools] {
        std::fs::create_dir(folder).unwrap();
    }
    std::fs::write(outer.path().join("secret"), "s").unwrap();
    std::fs::write(tools.join("tool"), "t").unwrap();
    let confinement =
        Confinement { writable: &[&mine], readable: &[&tools], hidden: &[outer.path()], network: true, limits: None };
    let script = format!("cd {}; ls; cat tools/tool; echo w > mine/w; echo w > tools/w", outer.path().display());
    let command = Command::new("sh").args(["-c", &script]);
    let ended = sandbox.confine(command, &confinement).run(&CancellationToken::new()).await.unwrap();
    assert!(ended.output.starts_with("mine\ntools\nt"), "{}", ended.output);
    assert!(!ended.success());
    assert!(mine.join("w").exists());
}

#[tokio::test]
async fn what_leaves_its_session_ends_with_the_sandbox() {
    let sandbox = Sandbox::detect().await;
    if sandbox == Sandbox::None {
        eprintln!("no sandbox on this machine");
        return;
    }
    let marker = format!("{}.{}", 96_000, std::process::id());
    let look = async || {
        let look = Command::new("pgrep").args(["-f", &format!("^sleep {marker}$")]);
        look.run(&CancellationToken::new()).await.unwrap().code == Some(0)
    };
    for canceled in [false, true] {
        // Leaves once the daemon is there, or stays until it is canceled, deaf to SIGTERM.
        let stay = if canceled { "sleep 1000" } else { "true" };
        let script =
            format!("trap '' TERM; setsid sleep {marker} & until pgrep -f '^sleep {marker}$'; do :; done; {stay}");
        let command = Command::new("sh").args(["-c", &script]);
        let confinement = Confinement { network: true, ..Confinement::default() };
        let cancel = CancellationToken::new();
        let run = sandbox.confine(command, &confinement).run(&cancel);
        let watch = async {
            while canceled && !look().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            if canceled {
                cancel.cancel();
            }
        };
        let (ended, ()) =
            tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(run, watch) }).await.unwrap();
        assert_eq!(ended.unwrap().canceled, canceled);
        let gone = async {
            while look().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap();
    }
}

#[tokio::test]
async fn what_runs_in_a_sandbox_is_asked_to_end() {
    let sandbox = Sandbox::detect().await;
    if sandbox == Sandbox::None {
        eprintln!("no sandbox on this machine");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    // Ends by itself once it was asked, and has something to say first.
    let script = "trap 'echo asked; exit 0' TERM; echo ready; while :; do sleep 0.1; done";
    let command = Command::new("sh").args(["-c", script]).log(&log);
    let confinement = Confinement { writable: &[folder.path()], network: true, ..Confinement::default() };
    let mut child = sandbox.confine(command, &confinement).spawn().unwrap();
    let says = async |text: &str| {
        while !LogTail::read(&log, 100).contains(text) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), says("ready")).await.unwrap();
    child.terminate(Duration::from_secs(60)).await;
    // The shell may say of its sleep that it was ended.
    assert!(LogTail::read(&log, 100).ends_with("asked\n"), "{}", LogTail::read(&log, 100));
    assert!(child.wait().await.unwrap().success());
}
