//! A model must be the one that its run wrote: it is code, and it runs here.

use std::path::PathBuf;

use kfops_core::{Failure, Reason};

use crate::service::Model;

/// The place of a model on this machine.
fn place(model: &Model) -> Option<PathBuf> {
    model.uri.strip_prefix("file://").filter(|path| path.starts_with('/')).map(PathBuf::from)
}

/// Fails when there is nothing at the model's place, e.g. of a revision that was live long ago.
pub(crate) async fn present(model: &Model, run: &str) -> Result<(), Failure> {
    let Some(path) = place(model) else { return Ok(()) };
    if tokio::fs::try_exists(&path).await.is_ok_and(|there| there) {
        return Ok(());
    }
    Err(Failure::new(Reason::ModelMissing, format!("there is no model at {}{}", model.uri, of_run(run))).action(
        "its files are gone from the model store: run again, then roll out that run, or go back to another revision",
    ))
}

fn of_run(run: &str) -> String {
    match run.trim_start_matches("runs/") {
        "" => String::new(),
        run => format!(", where run {run} wrote it"),
    }
}

/// Fails when the files at the model's place are gone, or are not those that `run` wrote. Without a digest there is
/// nothing to compare.
pub(crate) async fn verify(model: &Model, run: &str) -> Result<(), Failure> {
    let Some(path) = place(model) else { return Ok(()) };
    present(model, run).await?;
    if model.digest.is_empty() {
        return Ok(());
    }
    let digest = move || kfops_store::digest_folder(&path);
    let found = tokio::task::spawn_blocking(digest).await.map_err(Failure::internal)??;
    match found {
        found if found.to_string() != model.digest => {
            let run = run.trim_start_matches("runs/");
            let text = format!(
                "model {} is not the one that run {run} wrote: its digest is {found}, not {}",
                model.uri, model.digest
            );
            Err(Failure::new(Reason::ModelMissing, text)
                .action("the files were changed after the run: run again, then roll out that run"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_changed_model_is_not_served() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("model.joblib");
        std::fs::write(&file, "good").unwrap();
        let digest = kfops_store::digest_folder(folder.path()).unwrap().to_string();
        let model = Model { uri: format!("file://{}", folder.path().display()), digest: digest.clone(), size_bytes: 4 };
        verify(&model, "runs/r-1").await.unwrap();

        std::fs::write(&file, "evil").unwrap();
        let failure = verify(&model, "runs/r-1").await.unwrap_err();
        assert_eq!(failure.reason, Reason::ModelMissing);
        assert!(failure.message.contains("not the one that run r-1 wrote: its digest is sha256:"), "{failure}");
        assert!(failure.message.ends_with(&format!(", not {digest}")), "{failure}");
        verify(&Model { digest: String::new(), ..model.clone() }, "runs/r-1").await.unwrap();

        std::fs::remove_dir_all(folder.path()).unwrap();
        let failure = verify(&model, "runs/r-1").await.unwrap_err();
        assert_eq!(failure.reason, Reason::ModelMissing);
        assert!(failure.message.ends_with(", where run r-1 wrote it"), "{failure}");
        assert!(failure.action.contains("run again") && !failure.retryable, "{failure:?}");
    }
}
