//! Which webhooks a change causes. They are queued in the transaction of the change, so none is lost or made up.

use rusqlite::Connection;
use serde_json::{Map, Value, json};

use crate::app_calls::installation_of;
use crate::error::Result;
use crate::json::{self, Facts, Urls};
use crate::model::{CheckRun, Comment, Hook, Issue, Label, Repository, User};
use crate::store;

/// The names that a hook may subscribe to here.
pub(crate) const EVENTS: &[&str] = &[
    "*",
    "check_run",
    "deployment",
    "deployment_status",
    "issue_comment",
    "issues",
    "ping",
    "pull_request",
    "pull_request_review",
    "push",
    "status",
];

/// Where an event happens and who caused it.
#[derive(Debug, Clone)]
pub(crate) struct Scene {
    pub(crate) urls: Urls,
    pub(crate) repository: Repository,
    pub(crate) sender: User,
}

impl Scene {
    pub(crate) fn new(urls: &Urls, repository: &Repository, sender: &User) -> Self {
        Self { urls: urls.clone(), repository: repository.clone(), sender: sender.clone() }
    }

    /// Queues an event for every hook that wants it.
    pub(crate) fn emit(&self, db: &Connection, event: &str, action: Option<&str>, fields: Value) -> Result<()> {
        self.emit_to(db, event, action, fields, None)
    }

    /// The same, where only one app is told: what people ask of a check run goes to the app that made it.
    fn emit_to(
        &self,
        db: &Connection,
        event: &str,
        action: Option<&str>,
        fields: Value,
        app: Option<i64>,
    ) -> Result<()> {
        let wanted = |hook: &Hook| {
            hook.active
                && hook.events.iter().any(|name| name == "*" || name == event)
                && (app.is_none() || hook.app_id.is_none() || hook.app_id == app)
        };
        let mut hooks = store::hooks(db, self.repository.id, store::Page::ALL)?;
        hooks.extend(store::app_hooks(db)?);
        let hooks: Vec<Hook> = hooks.into_iter().filter(wanted).collect();
        if hooks.is_empty() {
            return Ok(());
        }
        let payload = self.payload(db, action, fields)?;
        hooks.iter().try_for_each(|hook| self.enqueue(db, hook, (event, action), payload.clone()))
    }

    /// Queues a payload. An app is told which installation it is for.
    fn enqueue(&self, db: &Connection, hook: &Hook, event: (&str, Option<&str>), mut payload: Value) -> Result<()> {
        let mut installation = None;
        if let Some(bot) = hook.app_id {
            // Where an App is not installed it hears nothing.
            let Some(id) = installation_of(db, bot, &self.repository)? else { return Ok(()) };
            payload["installation"] = json!({ "id": id, "node_id": json::node("I", id) });
            installation = Some(id);
        }
        store::enqueue(db, hook, self.repository.id, installation, event, &payload.to_string())
    }

    fn payload(&self, db: &Connection, action: Option<&str>, fields: Value) -> Result<Value> {
        let mut payload = Map::new();
        if let Some(action) = action {
            payload.insert("action".to_owned(), action.into());
        }
        if let Value::Object(fields) = fields {
            payload.extend(fields);
        }
        let repository = store::repository_by_id(db, self.repository.id)?;
        payload.insert("repository".to_owned(), json::repository(&self.urls, &repository, None));
        if repository.owner.organization {
            payload.insert("organization".to_owned(), json::organization(&self.urls, &repository.owner));
        }
        payload.insert("sender".to_owned(), json::user(&self.urls, &self.sender));
        // What REST tells of an issue and a payload does not.
        if let Some(Value::Object(issue)) = payload.get_mut("issue") {
            issue.remove("closed_by");
        }
        Ok(Value::Object(payload))
    }

    /// `ping`, to one hook.
    pub(crate) fn ping(&self, db: &Connection, hook: i64) -> Result<()> {
        let Some(hook) = store::hook(db, self.repository.id, hook)? else { return Ok(()) };
        let fields = json!({
            "zen": "Practicality beats purity.",
            "hook_id": hook.id,
            "hook": json::hook(&self.urls, &self.repository, &hook, None),
        });
        let payload = self.payload(db, None, fields)?;
        self.enqueue(db, &hook, ("ping", None), payload)
    }

    /// `issue_comment`: created, edited or deleted. An edit tells the text before.
    pub(crate) fn comment(
        &self,
        db: &Connection,
        action: &str,
        number: i64,
        comment: &Comment,
        before: Option<&str>,
    ) -> Result<()> {
        let Some(issue) = store::issue(db, self.repository.id, number)? else { return Ok(()) };
        let mut fields = json!({
            "issue": json::issue(&self.urls, &self.repository, &issue),
            "comment": json::comment(&self.urls, &self.repository, comment, issue.pull.is_some()),
        });
        if let Some(before) = before {
            fields["changes"] = json!({ "body": { "from": before } });
        }
        self.emit(db, "issue_comment", Some(action), fields)
    }

    /// `pull_request` with any action; `more` are the fields that only this action has.
    pub(crate) fn pull(&self, db: &Connection, action: &str, number: i64, facts: &Facts, more: Value) -> Result<()> {
        let Some(issue) = store::issue(db, self.repository.id, number)? else { return Ok(()) };
        let Some(pull) = &issue.pull else { return Ok(()) };
        // GitHub has not computed the merge yet when it sends this.
        let facts = Facts { mergeable: None, mergeable_state: "unknown", ..facts.clone() };
        let mut fields = json!({
            "number": number,
            "pull_request": json::pull(&self.urls, &self.repository, &issue, pull, Some(&facts)),
        });
        merge(&mut fields, more);
        self.emit(db, "pull_request", Some(action), fields)
    }

    /// `pull_request` or `issues`: labeled or unlabeled.
    pub(crate) fn labels(
        &self,
        db: &Connection,
        issue: &Issue,
        facts: Option<&Facts>,
        added: &[Label],
        removed: &[Label],
    ) -> Result<()> {
        let actions =
            removed.iter().map(|label| ("unlabeled", label)).chain(added.iter().map(|label| ("labeled", label)));
        for (action, label) in actions {
            let more = json!({ "label": json::label(&self.urls, &self.repository, label) });
            match facts {
                Some(facts) => self.pull(db, action, issue.number, facts, more)?,
                None => self.issue(db, action, issue.number, more)?,
            }
        }
        Ok(())
    }

    /// `issues` with any action.
    pub(crate) fn issue(&self, db: &Connection, action: &str, number: i64, more: Value) -> Result<()> {
        let Some(issue) = store::issue(db, self.repository.id, number)? else { return Ok(()) };
        let mut fields = json!({ "issue": json::issue(&self.urls, &self.repository, &issue) });
        merge(&mut fields, more);
        self.emit(db, "issues", Some(action), fields)
    }

    /// `check_run`: created, completed, rerequested or requested_action.
    pub(crate) fn check_run(&self, db: &Connection, action: &str, run: &CheckRun, more: Value) -> Result<()> {
        let pulls = store::issues_of_sha(db, self.repository.id, &run.head_sha)?;
        let mut fields = json!({ "check_run": json::check_run(&self.urls, &self.repository, run, &pulls) });
        merge(&mut fields, more);
        let asked = matches!(action, "rerequested" | "requested_action");
        self.emit_to(db, "check_run", Some(action), fields, asked.then_some(run.app.id))
    }
}

fn merge(fields: &mut Value, more: Value) {
    if let (Value::Object(fields), Value::Object(more)) = (fields, more) {
        fields.extend(more);
    }
}
