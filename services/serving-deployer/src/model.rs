//! A model must be the one that its run wrote: it is code, and it runs here.

use std::path::PathBuf;

use kfops_core::{Digest, Failure, Reason};
use kfops_store::{Store, digest_folder, digest_stored};

use crate::service::Model;

/// Where a model lies; a place that is neither cannot be looked at.
enum Place<'a> {
    Folder(PathBuf),
    Stored(&'a Store, String),
}

impl<'a> Place<'a> {
    fn of(store: &'a Store, model: &Model) -> Option<Self> {
        let folder = model.uri.strip_prefix("file://").filter(|path| path.starts_with('/'));
        folder
            .map(|path| Self::Folder(path.into()))
            .or_else(|| store.key_of(&model.uri).map(|key| Self::Stored(store, key)))
    }

    async fn holds_something(&self) -> Result<bool, Failure> {
        match self {
            Self::Folder(path) => Ok(tokio::fs::try_exists(path).await.is_ok_and(|there| there)),
            Self::Stored(store, key) => Ok(!store.list(key).await?.is_empty()),
        }
    }

    async fn digest(self) -> Result<Option<Digest>, Failure> {
        match self {
            Self::Folder(path) => {
                tokio::task::spawn_blocking(move || digest_folder(&path).map(Some)).await.map_err(Failure::internal)?
            }
            Self::Stored(store, key) => digest_stored(store, &key).await,
        }
    }
}

/// Fails when there is nothing at the model's place, e.g. of a revision that was live long ago.
pub(crate) async fn present(store: &Store, model: &Model, run: &str) -> Result<(), Failure> {
    match Place::of(store, model) {
        Some(place) if !place.holds_something().await? => Err(gone(model, run)),
        _ => Ok(()),
    }
}

fn gone(model: &Model, run: &str) -> Failure {
    Failure::new(Reason::ModelMissing, format!("there is no model at {}{}", model.uri, of_run(run))).action(
        "its files are gone from the model store: run again, then roll out that run, or go back to another revision",
    )
}

fn of_run(run: &str) -> String {
    match run.trim_start_matches("runs/") {
        "" => String::new(),
        run => format!(", where run {run} wrote it"),
    }
}

/// Fails when the files at the model's place are gone, or are not those that `run` wrote. Without a digest there is
/// nothing to compare.
pub(crate) async fn verify(store: &Store, model: &Model, run: &str) -> Result<(), Failure> {
    present(store, model, run).await?;
    let Some(place) = Place::of(store, model).filter(|_| !model.digest.is_empty()) else { return Ok(()) };
    match place.digest().await? {
        None => Err(gone(model, run)),
        Some(found) if found.to_string() != model.digest => {
            let run = run.trim_start_matches("runs/");
            let text = format!(
                "model {} is not the one that run {run} wrote: its digest is {found}, not {}",
                model.uri, model.digest
            );
            Err(Failure::new(Reason::ModelMissing, text)
                .action("the files were changed after the run: run again, then roll out that run"))
        }
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_changed_model_is_not_served() {
        let work = tempfile::tempdir().unwrap();
        let store = Store::open(format!("file://{}", work.path().join("store").display())).unwrap();
        let folder = work.path().join("model");
        std::fs::create_dir(&folder).unwrap();
        let file = folder.join("model.joblib");
        std::fs::write(&file, "good").unwrap();
        let digest = digest_folder(&folder).unwrap().to_string();
        let model = Model { uri: format!("file://{}", folder.display()), digest: digest.clone(), size_bytes: 4 };
        verify(&store, &model, "runs/r-1").await.unwrap();

        std::fs::write(&file, "evil").unwrap();
        let failure = verify(&store, &model, "runs/r-1").await.unwrap_err();
        assert_eq!(failure.reason, Reason::ModelMissing);
        assert!(failure.message.contains("not the one that run r-1 wrote: its digest is sha256:"), "{failure}");
        assert!(failure.message.ends_with(&format!(", not {digest}")), "{failure}");
        verify(&store, &Model { digest: String::new(), ..model.clone() }, "runs/r-1").await.unwrap();

        std::fs::remove_dir_all(&folder).unwrap();
        let failure = verify(&store, &model, "runs/r-1").await.unwrap_err();
        assert_eq!(failure.reason, Reason::ModelMissing);
        assert!(failure.message.ends_with(", where run r-1 wrote it"), "{failure}");
        assert!(failure.action.contains("run again") && !failure.retryable, "{failure:?}");
    }

    #[tokio::test]
    async fn a_model_in_the_store_is_looked_at_there() {
        let objects = std::sync::Arc::new(object_store::memory::InMemory::new());
        let store = Store::over(objects, "s3://bucket/prefix");
        let work = tempfile::tempdir().unwrap();
        std::fs::write(work.path().join("model.joblib"), "good").unwrap();
        let stored = kfops_store::put_folder(&store, "models/r-1", work.path()).await.unwrap();
        let model = Model { uri: stored.uri, digest: stored.digest.to_string(), size_bytes: 4 };
        assert_eq!(model.uri, "s3://bucket/prefix/models/r-1");
        verify(&store, &model, "runs/r-1").await.unwrap();
        // What is elsewhere is for the model server to find.
        verify(&store, &Model { uri: "s3://other/m".into(), ..model.clone() }, "runs/r-1").await.unwrap();

        store.put("models/r-1/model.joblib", "evil").await.unwrap();
        let failure = verify(&store, &model, "runs/r-1").await.unwrap_err();
        assert!(failure.message.contains("not the one that run r-1 wrote: its digest is sha256:"), "{failure}");
        store.delete("models/r-1/model.joblib").await.unwrap();
        let failure = verify(&store, &model, "runs/r-1").await.unwrap_err();
        assert!(failure.message.ends_with("models/r-1, where run r-1 wrote it"), "{failure}");
    }
}
