//! Comments, labels, reviews and check runs: changes of the database that cause webhooks.

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::events::Scene;
use crate::hub::Hub;
use crate::model::{CheckAction, CheckFields, CheckRun, Comment, Issue, Label, Repository, Review, User};
use crate::pulls::check_body;
use crate::store;

/// What happens to the labels of an issue.
#[derive(Debug, Clone)]
pub(crate) enum Relabel {
    Add(Vec<String>),
    Set(Vec<String>),
    Remove(String),
}

impl Hub {
    fn scene(&self, repository: &Repository, actor: &User) -> Scene {
        Scene::new(&self.urls, repository, actor)
    }

    pub(crate) async fn add_comment(
        &self,
        repository: &Repository,
        actor: &User,
        issue: &Issue,
        body: &str,
    ) -> Result<Comment> {
        if body.trim().is_empty() {
            return Err(Error::custom("IssueComment", "body", "body can't be blank"));
        }
        check_body("IssueComment", body)?;
        let scene = self.scene(repository, actor);
        let (issue, number, body) = (issue.id, issue.number, body.to_owned());
        self.change(move |db| {
            let id = store::create_comment(db, issue, &scene.sender, &body)?;
            let comment = store::comment(db, scene.repository.id, id)?.ok_or(Error::NotFound)?;
            scene.comment(db, "created", number, &comment, None)?;
            Ok(comment)
        })
        .await
    }

    pub(crate) async fn edit_comment(
        &self,
        repository: &Repository,
        actor: &User,
        id: i64,
        body: &str,
    ) -> Result<Comment> {
        if body.trim().is_empty() {
            return Err(Error::custom("IssueComment", "body", "body can't be blank"));
        }
        check_body("IssueComment", body)?;
        let (scene, body) = (self.scene(repository, actor), body.to_owned());
        self.change(move |db| {
            let before = store::comment(db, scene.repository.id, id)?.ok_or(Error::NotFound)?;
            if before.body == body {
                return Ok(before);
            }
            store::edit_comment(db, id, &body)?;
            let comment = store::comment(db, scene.repository.id, id)?.ok_or(Error::NotFound)?;
            scene.comment(db, "edited", comment.number, &comment, Some(&before.body))?;
            Ok(comment)
        })
        .await
    }

    pub(crate) async fn delete_comment(&self, repository: &Repository, actor: &User, id: i64) -> Result<()> {
        let scene = self.scene(repository, actor);
        self.change(move |db| {
            let comment = store::comment(db, scene.repository.id, id)?.ok_or(Error::NotFound)?;
            store::delete_comment(db, id)?;
            scene.comment(db, "deleted", comment.number, &comment, None)
        })
        .await
    }

    /// Changes the labels of an issue and tells what they are now. Removing one that is not there is a 404.
    pub(crate) async fn relabel(
        &self,
        repository: &Repository,
        actor: &User,
        issue: &Issue,
        how: Relabel,
    ) -> Result<Vec<Label>> {
        let named = match &how {
            Relabel::Add(names) | Relabel::Set(names) => names.as_slice(),
            Relabel::Remove(name) => std::slice::from_ref(name),
        };
        if named.iter().any(|name| name.trim().is_empty() || name.chars().count() > 50) {
            return Err(Error::field("Label", "name", "invalid"));
        }
        let facts = match &issue.pull {
            Some(pull) => Some(self.facts(repository, issue, pull).await?),
            None => None,
        };
        let (scene, issue) = (self.scene(repository, actor), issue.clone());
        self.change(move |db| {
            let id = scene.repository.id;
            let (mut added, mut removed) = (Vec::new(), Vec::new());
            match how {
                Relabel::Add(names) => {
                    for name in &names {
                        added.extend(store::add_label(db, id, issue.id, name)?);
                    }
                }
                Relabel::Set(names) => (added, removed) = store::set_labels(db, id, issue.id, &names)?,
                Relabel::Remove(name) => {
                    removed.push(store::remove_label(db, id, issue.id, &name)?.ok_or(Error::NotFound)?);
                }
            }
            if !added.is_empty() || !removed.is_empty() {
                store::touch(db, issue.id)?;
            }
            scene.labels(db, &issue, facts.as_ref(), &added, &removed)?;
            Ok(store::issue(db, id, issue.number)?.map(|issue| issue.labels).unwrap_or_default())
        })
        .await
    }

    pub(crate) async fn add_review(
        &self,
        repository: &Repository,
        actor: &User,
        issue: &Issue,
        state: &str,
        body: &str,
        commit: &str,
    ) -> Result<Review> {
        check_body("PullRequestReview", body)?;
        let scene = self.scene(repository, actor);
        let (issue, state, body, commit) = (issue.clone(), state.to_owned(), body.to_owned(), commit.to_owned());
        self.change(move |db| {
            let review = store::create_review(db, issue.id, &scene.sender, &state, &body, &commit)?;
            let Some(pull) = &issue.pull else { return Err(Error::NotFound) };
            let mut told = crate::json::review(&scene.urls, &scene.repository, issue.number, &review);
            // Webhooks write the state small, REST writes it large.
            told["state"] = review.state.to_lowercase().into();
            let fields = json!({
                "review": told,
                "pull_request": crate::json::pull(&scene.urls, &scene.repository, &issue, pull, None),
            });
            scene.emit(db, "pull_request_review", Some("submitted"), fields)?;
            Ok(review)
        })
        .await
    }

    pub(crate) async fn create_check(
        &self,
        repository: &Repository,
        actor: &User,
        sha: String,
        fields: CheckFields,
    ) -> Result<CheckRun> {
        let scene = self.scene(repository, actor);
        self.change(move |db| {
            let run = store::create_check_run(db, scene.repository.id, &sha, &scene.sender, &fields)?;
            scene.check_run(db, "created", &run, json!({}))?;
            if run.fields.status == "completed" {
                scene.check_run(db, "completed", &run, json!({}))?;
            }
            Ok(run)
        })
        .await
    }

    /// Changes a check run by `edit`, on its newest state.
    pub(crate) async fn update_check(
        &self,
        repository: &Repository,
        actor: &User,
        id: i64,
        edit: impl FnOnce(&mut CheckFields) -> Result<()> + Send + 'static,
    ) -> Result<CheckRun> {
        let scene = self.scene(repository, actor);
        self.change(move |db| {
            let mut run = store::check_run(db, scene.repository.id, id)?.ok_or(Error::NotFound)?;
            if run.app.id != scene.sender.id {
                return Err(Error::Forbidden(
                    "Invalid app_id. The check run can only be changed by the app that created it.".to_owned(),
                ));
            }
            let completed = run.fields.status == "completed";
            edit(&mut run.fields)?;
            store::update_check_run(db, &run)?;
            if !completed && run.fields.status == "completed" {
                scene.check_run(db, "completed", &run, json!({}))?;
            }
            Ok(run)
        })
        .await
    }

    /// A person pressed a button of a check run, or asked for it to run again.
    pub(crate) async fn press(
        &self,
        repository: &Repository,
        actor: &User,
        id: i64,
        identifier: Option<&str>,
    ) -> Result<CheckRun> {
        let (scene, identifier) = (self.scene(repository, actor), identifier.map(str::to_owned));
        self.change(move |db| {
            let run = store::check_run(db, scene.repository.id, id)?.ok_or(Error::NotFound)?;
            match identifier {
                None => scene.check_run(db, "rerequested", &run, json!({}))?,
                Some(identifier) => {
                    let known = |action: &CheckAction| action.identifier == identifier;
                    if !run.fields.actions.iter().any(known) {
                        return Err(Error::NotFound);
                    }
                    let more: Value = json!({ "requested_action": { "identifier": identifier } });
                    scene.check_run(db, "requested_action", &run, more)?;
                }
            }
            Ok(run)
        })
        .await
    }
}
