//! Every ledger compares comments and pushes, whichever comes first.

use kfops_scm_bot::{
    command::{Command, Repository},
    ports::Accepted,
    push::Push,
};

use super::{Factory, OpenOwned as _, at, command, delivery};

fn written(id: &str, second: u64) -> Command {
    let mut command = command(id);
    command.written = Some(at(second));
    command
}

fn push(before: &str, head: &str, second: u64) -> Push {
    let repository = Repository::parse("o/r").unwrap();
    Push { repository, pull_request: 1, before: before.into(), head: head.into(), at: at(second) }
}

pub(crate) async fn comments_are_bound_by_the_newest_push<F: Factory>() {
    let ledger = F::new().open_owned().await;
    let ledger = ledger.1.as_ref();
    let commands = vec![written("c-5", 5), written("c-15", 15), written("c-20", 20), command("c-api")];
    ledger.accept(delivery("g-1", at(1)), commands).await.unwrap();
    let elsewhere = Push { pull_request: 2, ..push("a", "b", 90) };
    assert_eq!(ledger.accept_push(delivery("p-0", at(1)), elsewhere, at(40)).await.unwrap(), Some(Vec::new()));
    let changed = ledger.accept_push(delivery("p-1", at(30)), push("a", "b", 10), at(40)).await.unwrap().unwrap();
    assert_eq!(changed.len(), 1);
    assert_eq!(
        (changed[0].id.as_str(), changed[0].superseded_by.as_deref(), changed[0].updated),
        ("c-5", Some("b"), at(40))
    );
    assert_eq!(changed[0], ledger.get("c-5").await.unwrap());
    assert_eq!(ledger.accept_push(delivery("p-1", at(30)), push("b", "c", 20), at(40)).await.unwrap(), None);
    assert_eq!(ledger.get("c-15").await.unwrap().superseded_by, None);
    // Two in one second, told in the wrong order; then one from long before.
    let changed = ledger.accept_push(delivery("p-2", at(30)), push("c", "d", 20), at(40)).await.unwrap().unwrap();
    assert_eq!(changed.iter().map(|command| command.id.as_str()).collect::<Vec<_>>(), ["c-5", "c-15", "c-20"]);
    for (id, push) in [("p-3", push("b", "c", 20)), ("p-4", push("0", "a", 2))] {
        assert_eq!(ledger.accept_push(delivery(id, at(30)), push, at(40)).await.unwrap(), Some(Vec::new()), "{id}");
    }
    // What comes after it is compared with the newest; once it is forgotten, with nothing.
    let by = async |guid: &str, command: Command| {
        let accepted = ledger.accept(delivery(guid, at(31)), vec![command]).await.unwrap();
        let Accepted::New(new) = accepted else { panic!("{guid} was there") };
        assert_eq!(new[0], ledger.get(&new[0].id).await.unwrap());
        new[0].superseded_by.clone()
    };
    assert_eq!(by("g-2", written("c-19", 19)).await.as_deref(), Some("d"));
    assert_eq!(by("g-3", written("c-21", 20)).await, None);
    assert_eq!(by("g-4", command("c-api-2")).await, None);
    ledger.compact(at(21), at(0)).await.unwrap();
    assert_eq!(by("g-5", written("c-18", 18)).await, None);
}
