//! The stand-in answers as a real KFP API server 2.17.0 was seen to answer (`check/`).
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use tokio::process::Command;

async fn check(program: &str) {
    let mut command = Command::new(kfops_kfp_standin::python().unwrap());
    let work = command.args(["-B", program]).current_dir(kfops_kfp_standin::folder().join("check")).kill_on_drop(true);
    let ended = tokio::time::timeout(Duration::from_secs(120), work.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr);
    println!("{said}");
    assert!(ended.status.success(), "{program}: {said}");
}

#[tokio::test]
async fn answers_are_those_that_were_observed() {
    check("check_observed.py").await;
}

#[tokio::test]
async fn runs_behave_as_they_were_observed() {
    check("check_runs.py").await;
}
