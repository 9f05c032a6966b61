//! Links of `/why`: each is missed when it is gone, and none is taken for another.

use std::sync::{Arc, Mutex};

use super::{
    super::fakes::{COMMIT, Known, TARGET, World, command, digest, driver, good},
    *,
};
use crate::{
    command::{Restored, State},
    ports::Created,
    report::Checked,
    verb::Verb,
};

const ARCHIVE: &[u8] = b"files";

/// The command that built, ran and deployed everything.
fn ship() -> Command {
    let mut ship = command("c-0", Verb::Ship);
    for stage in [Stage::Build, Stage::Compile, Stage::Run, Stage::Rollout, Stage::Label] {
        let step = ship.step_mut(stage);
        step.state = StepState::Succeeded;
        step.start = Some(std::time::SystemTime::now());
        step.end = step.start;
    }
    ship.lineage.version = Some("v-1".into());
    ship.lineage.inference_service = TARGET.into();
    ship.lineage.revision = "iris-00007".into();
    ship
}

async fn chain(commands: Vec<Command>, break_it: impl FnOnce(&mut Known)) -> Chain {
    let folder = tempfile::tempdir().unwrap();
    let mut known = good(&Digest::of(ARCHIVE));
    break_it(&mut known);
    let driver = driver(folder.path(), &World(Arc::new(Mutex::new(known))), Verb::Why).await;
    driver.engine.store.put("sources/o/r/c.tar.gz", ARCHIVE.to_vec()).await.unwrap();
    for command in commands {
        let mut ended = command.clone();
        let Created::New(stored) = driver.engine.ledger.create(command).await.unwrap() else { panic!("twice") };
        (ended.seq, ended.version) = (stored.seq, stored.version);
        (ended.outcome, ended.state) = (Some(State::Succeeded), State::Succeeded);
        driver.engine.ledger.update(ended).await.unwrap().unwrap();
    }
    driver.chain(Environment::Production, TARGET.into()).await
}

fn not_holding(chain: &Chain) -> Vec<(&str, Checked)> {
    let links = chain.links.iter().filter(|link| link.checked != Checked::Holds);
    links.map(|link| (link.title, link.checked)).collect()
}

#[tokio::test]
async fn every_link_holds() {
    let chain = chain(vec![ship()], |_| {}).await;
    let titles: Vec<&str> = chain.links.iter().map(|link| link.title).collect();
    assert_eq!(titles, ["revision", "rollout", "model", "run", "version", "images", "source", "commit"]);
    assert_eq!(not_holding(&chain), [], "{chain:#?}");
    let run = &chain.links[3].found;
    assert!(run.ends_with(" · parameters: max_depth 5; seed 1 · metrics: accuracy 0.953"), "{run}");
    let commit = &chain.links[7].found;
    assert!(commit.contains("pull request 7, merged as 9999999, labelled; by /ship c-0"), "{commit}");
}

#[tokio::test]
async fn what_was_set_is_told_from_what_the_file_says() {
    let mut set = ship();
    set.arguments = vec!["--set".into(), "max_depth=5".into()];
    set.lineage.run = Some("r-1".into());
    // These files are no archive: what they say is not known.
    let run = chain(vec![set], |_| {}).await.links[3].found.clone();
    assert!(run.contains(" · parameters: max_depth 5 by --set; seed 1 · "), "{run}");
    let run = good(&Digest::of(ARCHIVE)).runs["r-1"].clone();
    let said: Parameters = [("max_depth".to_owned(), 4.into())].into();
    assert!(
        made_with(&run, &run.arguments, Some(&said))
            .contains("max_depth 5 by --set, kfops.yaml says 4; seed 1 by --set, kfops.yaml says nothing of it")
    );
}

#[tokio::test]
async fn each_break_is_found() {
    use Checked::Broken;
    type Break = fn(&mut Known);
    let cases: [(&str, Break); 9] = [
        ("revision", |known| known.revisions[0].state = "failed".into()),
        ("rollout", |known| known.rollouts.clear()),
        ("rollout", |known| known.rollouts.get_mut("d-1").unwrap().model.digest = digest("other")),
        ("model", |known| known.runs.get_mut("r-1").unwrap().model.as_mut().unwrap().digest = digest("other")),
        ("run", |known| known.runs.get_mut("r-1").unwrap().commit = "1".repeat(40)),
        ("version", |known| known.versions.get_mut("v-1").unwrap().spec_digest.clear()),
        ("images", |known| known.builds.clear()),
        ("source", |known| known.versions.get_mut("v-1").unwrap().source.digest = digest("other")),
        ("commit", |known| known.merged = false),
    ];
    for (title, break_it) in cases {
        let chain = chain(vec![ship()], break_it).await;
        assert_eq!(not_holding(&chain), [(title, Broken)], "{chain:#?}");
        let link = chain.links.iter().find(|link| link.title == title).unwrap();
        assert!(!link.means.is_empty(), "{link:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_asked_is_not_broken() {
    let chain = chain(vec![ship()], |known| known.away = true).await;
    assert_eq!(chain.links.iter().filter(|link| link.checked == Checked::Unknown).count(), 2, "{chain:#?}");
    let forgotten = self::chain(Vec::new(), |_| {}).await;
    let titles: Vec<&str> = not_holding(&forgotten).into_iter().map(|(title, _)| title).collect();
    assert_eq!(titles, ["images", "commit"], "{forgotten:#?}");
}

#[tokio::test]
async fn a_rollback_is_followed_to_the_deployment() {
    let mut back = command("c-1", Verb::Rollback);
    back.pull_request = 8;
    back.lineage.inference_service = TARGET.into();
    back.lineage.revision = "iris-00009".into();
    back.lineage.restored = Some(Restored {
        revision: "iris-00007".into(),
        rollout: "d-1".into(),
        serving: kfops_project::Serving { name: "iris".into(), template: "t".into(), sample: None, golden: None },
        pull_request: 7,
        replaces: "iris-00008".into(),
    });
    let step = back.step_mut(Stage::Rollout);
    step.state = StepState::Succeeded;
    step.end = Some(std::time::SystemTime::now());
    let chain = chain(vec![ship(), back], |known| {
        known.revisions[0].name = "iris-00009".into();
        known.rollouts.get_mut("d-1").unwrap().revision = "iris-00009".into();
    })
    .await;
    assert_eq!(not_holding(&chain), [], "{chain:#?}");
    assert!(chain.restored.starts_with("iris-00009 brings back the model of iris-00007"), "{}", chain.restored);
    assert!(chain.links[7].found.contains("by /ship c-0"), "{chain:#?}");
    assert_eq!(chain.links[7].found.get(..7), COMMIT.get(..7));
}
