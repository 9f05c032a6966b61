//! A model must be the one that its run wrote: it is code, and it runs here.

use std::path::PathBuf;

use kfops_core::{Failure, Reason};

use crate::service::Model;

/// Fails when the files at the model's place are not those that `run` wrote. Without a digest there is nothing to
/// compare; whether there is a model at all is for the runtime to say.
pub(crate) async fn verify(model: &Model, run: &str) -> Result<(), Failure> {
    let Some(path) = model.uri.strip_prefix("file://").filter(|path| path.starts_with('/')).map(PathBuf::from) else {
        return Ok(());
    };
    if model.digest.is_empty() {
        return Ok(());
    }
    let digest = move || path.exists().then(|| kfops_store::digest_folder(&path)).transpose();
    let found = tokio::task::spawn_blocking(digest).await.map_err(Failure::internal)??;
    match found {
        Some(found) if found.to_string() != model.digest => {
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

        // That there is none is said by the runtime.
        std::fs::remove_dir_all(folder.path()).unwrap();
        verify(&model, "runs/r-1").await.unwrap();
    }
}
