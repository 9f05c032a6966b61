//! GitHub as it is: pull requests, people, what was written, and the webhooks that it sent.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use kfops_scm_bot::{
    MergeMethod,
    command::{MergeState, Merging, PullRequest},
    ports::{CheckRun, Deployment, DeploymentState, Merged, Review},
};
use serde_json::json;

use crate::repository;

pub(crate) const HEAD: &str = "3f2c1e73f2c1e73f2c1e73f2c1e73f2c1e73f2c1";
pub(crate) const BOT: &str = "kfops[bot]";

#[derive(Debug, Clone)]
pub(crate) struct Pull {
    pub(crate) head: String,
    pub(crate) author: String,
    pub(crate) base: String,
    pub(crate) fork: bool,
    pub(crate) open: bool,
    pub(crate) draft: bool,
    pub(crate) merged: bool,
    pub(crate) mergeable: Option<bool>,
    pub(crate) merge_state: MergeState,
    pub(crate) behind: u64,
    /// Heads after the first, and when they were pushed.
    pub(crate) pushes: Vec<(SystemTime, String)>,
    /// Commits that were merged.
    pub(crate) merges: Vec<String>,
    pub(crate) labels: BTreeSet<String>,
    pub(crate) reviews: Vec<Review>,
    /// Successful checks, by commit.
    pub(crate) succeeded: BTreeMap<String, Vec<String>>,
}

impl Pull {
    pub(crate) fn new(head: &str) -> Self {
        Self {
            head: head.into(),
            author: "author".into(),
            base: "main".into(),
            fork: false,
            open: true,
            draft: false,
            merged: false,
            mergeable: Some(true),
            merge_state: MergeState::Free,
            behind: 0,
            pushes: Vec::new(),
            merges: Vec::new(),
            labels: BTreeSet::new(),
            reviews: Vec::new(),
            succeeded: BTreeMap::new(),
        }
    }

    pub(crate) fn seen(&self, number: u64, now: SystemTime) -> PullRequest {
        PullRequest {
            head: self.head.clone(),
            author: self.author.clone(),
            base: self.base.clone(),
            open: self.open,
            merged: self.merged,
            fork: self.fork,
            draft: self.draft,
            mergeable: self.mergeable,
            merge_state: self.merge_state,
            merge_commit: self.merged.then(|| merge_commit(number)),
            seen: now,
        }
    }

    pub(crate) fn review(&mut self, user: &str, state: &str) {
        let commit = self.head.clone();
        self.reviews.push(Review { user: user.into(), insider: true, state: state.into(), commit });
    }
}

pub(crate) fn merge_commit(number: u64) -> String {
    format!("{number:0>2}").repeat(20)
}

#[derive(Debug, Clone)]
pub(crate) struct Comment {
    pub(crate) id: u64,
    pub(crate) pull: u64,
    pub(crate) user: String,
    pub(crate) body: String,
    pub(crate) at: SystemTime,
    pub(crate) edits: usize,
    /// Its author deleted it or wrote something else into it: since when, and what it says since.
    pub(crate) taken_back: Option<(SystemTime, Option<String>)>,
}

#[derive(Debug, Clone)]
pub(crate) struct Check {
    pub(crate) id: u64,
    pub(crate) run: CheckRun,
}

#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) id: u64,
    pub(crate) deployment: Deployment,
    pub(crate) statuses: Vec<DeploymentState>,
}

/// A webhook.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) guid: String,
    pub(crate) event: String,
    pub(crate) action: String,
    pub(crate) payload: Bytes,
    pub(crate) at: SystemTime,
}

#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) pulls: BTreeMap<u64, Pull>,
    pub(crate) comments: Vec<Comment>,
    pub(crate) checks: Vec<Check>,
    pub(crate) deployments: Vec<Record>,
    pub(crate) permissions: BTreeMap<String, String>,
    /// Where people write from now on.
    pub(crate) repository: String,
    /// Members of `organization/team`.
    pub(crate) teams: BTreeMap<String, BTreeSet<String>>,
    /// kfops.yaml of the default branch.
    pub(crate) base: Option<String>,
    /// kfops.yaml of the commits; of all that are not named, the one under "".
    pub(crate) projects: BTreeMap<String, String>,
    /// How the repository merges.
    pub(crate) merging: Merging,
    /// What was merged: the pull request, its commit, and the commit whose model was live then.
    pub(crate) merged_over: Vec<(u64, String, Option<String>)>,
    /// What GitHub says to the next merge, if it refuses it.
    pub(crate) merge_refusal: Option<String>,
    /// Webhooks, in the order in which they were sent.
    pub(crate) sent: Vec<Sent>,
    /// Calls, e.g. `look`.
    pub(crate) calls: Vec<&'static str>,
    /// Somebody sent by hand again what never arrived.
    pub(crate) sent_again: bool,
    /// The last id of what the bot posted.
    pub(crate) ids: u64,
    /// The last id of a comment that is not the bot's: what people write has the same id whatever the bot posts before.
    pub(crate) asked: u64,
}

impl Default for Hub {
    fn default() -> Self {
        let permissions = [("author", "write"), ("mate", "write"), ("stranger", "read"), ("boss", "admin")];
        Self {
            pulls: (1..=4).map(|number| (number, Pull::new(&head(number)))).collect(),
            comments: Vec::new(),
            checks: Vec::new(),
            deployments: Vec::new(),
            repository: "o/r".into(),
            permissions: permissions.map(|(user, has)| (user.to_owned(), has.to_owned())).into(),
            teams: [("o/ml-platform".to_owned(), BTreeSet::from(["mate".to_owned()]))].into(),
            base: Some(repository::PROJECT.into()),
            projects: [(String::new(), repository::PROJECT.to_owned())].into(),
            merging: Merging { queue: false, methods: vec![MergeMethod::Merge] },
            merged_over: Vec::new(),
            merge_refusal: None,
            sent: Vec::new(),
            calls: Vec::new(),
            sent_again: false,
            ids: 1000,
            asked: 0,
        }
    }
}

/// A time as GitHub writes it: whole seconds.
pub(crate) fn second(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

/// The first head of a pull request.
pub(crate) fn head(number: u64) -> String {
    if number == 1 { HEAD.into() } else { format!("{number:x}").repeat(40) }
}

impl Hub {
    pub(crate) fn id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    pub(crate) fn pull(&mut self, number: u64) -> &mut Pull {
        self.pulls.get_mut(&number).unwrap()
    }

    /// kfops.yaml of the heads.
    pub(crate) fn set_project(&mut self, text: &str) {
        self.projects.insert(String::new(), text.into());
    }

    pub(crate) fn project(&self, commit: &str) -> &str {
        self.projects.get(commit).unwrap_or(&self.projects[""])
    }

    /// Bodies of the bot's comments.
    pub(crate) fn said(&self) -> Vec<String> {
        self.comments.iter().filter(|comment| comment.user == BOT).map(|comment| comment.body.clone()).collect()
    }

    pub(crate) fn bearers(&self, label: &str) -> Vec<u64> {
        self.pulls.iter().filter(|(_, pull)| pull.labels.contains(label)).map(|(number, _)| *number).collect()
    }

    pub(crate) fn merge(&mut self, number: u64, commit: &str) -> Merged {
        if let Some(why) = self.merge_refusal.take() {
            return Merged::No(why);
        }
        let pull = self.pull(number);
        if !pull.open || pull.draft || pull.mergeable == Some(false) {
            return Merged::No("Pull Request is not mergeable".into());
        }
        if pull.merge_state != MergeState::Free {
            return Merged::No("405 At least 1 approving review is required".into());
        }
        if pull.head != commit {
            return Merged::No("Head branch was modified. Review and try the merge again.".into());
        }
        (pull.open, pull.merged) = (false, true);
        pull.merges.push(commit.to_owned());
        let base = pull.base.clone();
        // The others lack what was merged.
        self.pulls.values_mut().filter(|pull| pull.open && pull.base == base).for_each(|pull| pull.behind += 1);
        Merged::Yes(merge_commit(number))
    }

    fn send(&mut self, event: &str, action: &str, mut payload: serde_json::Value, now: SystemTime) -> Sent {
        payload["action"] = action.into();
        payload["repository"] = json!({"full_name": self.repository});
        let sent = Sent {
            guid: format!("guid-{}", self.sent.len() + 1),
            event: event.into(),
            action: action.into(),
            payload: serde_json::to_vec(&payload).unwrap().into(),
            at: now,
        };
        self.sent.push(sent.clone());
        sent
    }

    /// Someone writes a comment.
    pub(crate) fn comment(&mut self, pull: u64, user: &str, body: &str, now: SystemTime) -> Sent {
        self.asked += 1;
        let id = self.asked;
        self.comments.push(Comment {
            id,
            pull,
            user: user.into(),
            body: body.into(),
            at: now,
            edits: 0,
            taken_back: None,
        });
        self.send(
            "issue_comment",
            "created",
            json!({
                "issue": {"number": pull, "pull_request": {}, "title": "$(touch x) `id`"},
                "comment": {"id": id, "body": body, "user": {"login": user, "type": "User"}, "created_at": second(now)},
                "sender": {"login": user, "type": "User"},
            }),
            now,
        )
    }

    /// Someone pushes; the pull request has then all of its base.
    pub(crate) fn push(&mut self, number: u64, head: &str, now: SystemTime) -> Sent {
        let pull = self.pull(number);
        let before = std::mem::replace(&mut pull.head, head.to_owned());
        pull.behind = 0;
        pull.pushes.push((now, head.to_owned()));
        let payload = json!({
            "number": number, "before": before, "after": head,
            "pull_request": {"head": {"sha": head}, "updated_at": second(now)},
        });
        self.send("pull_request", "synchronize", payload, now)
    }

    /// The author of a comment deletes it, or writes something else into it.
    pub(crate) fn take_back(&mut self, comment: u64, now: SystemTime, instead: Option<&str>) {
        let kept = self.comments.iter_mut().find(|kept| kept.id == comment).unwrap();
        if instead != Some(kept.body.as_str()) {
            kept.taken_back.get_or_insert_with(|| (now, instead.map(str::to_owned)));
        }
    }

    /// Someone presses a button of a command's check run, if there is one.
    pub(crate) fn press(&mut self, command: &str, button: &str, user: &str, now: SystemTime) -> Option<Sent> {
        let check = self.checks.iter().find(|check| check.run.external_id == command)?.id;
        let payload = json!({
            "requested_action": {"identifier": button},
            "check_run": {"id": check, "external_id": command},
            "sender": {"login": user, "type": "User"},
        });
        Some(self.send("check_run", "requested_action", payload, now))
    }

    pub(crate) fn since(&self, since: SystemTime) -> Vec<Sent> {
        self.sent.iter().filter(|sent| sent.at >= since).cloned().collect()
    }
}

/// Long enough for everything.
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);
