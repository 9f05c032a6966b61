//! Pins references to images of a build to their digests.

use kfops_core::Failure;

use crate::{
    ir::{Ir, invalid},
    version::Image,
};

/// How a repository may name an image of its build, whatever the registry.
const SCHEME: &str = "kfops://";

/// Pins every reference to one of `images`. What looks like an image of this build but is none of them is refused.
pub(crate) fn pin(ir: &mut Ir, images: &[Image]) -> Result<usize, Failure> {
    let mut pinned = 0;
    for (executor, image) in ir.images_mut() {
        let reference = resolve(image, images)
            .map_err(|failure| failure.on(format!("deploymentSpec.executors.{executor}.container.image")))?;
        if let Some(reference) = reference {
            *image = reference;
            pinned += 1;
        }
    }
    Ok(pinned)
}

/// The pinned reference; None for images of others.
fn resolve(reference: &str, images: &[Image]) -> Result<Option<String>, Failure> {
    if let Some(rest) = reference.strip_prefix(SCHEME) {
        let name = rest.split([':', '@']).next().unwrap_or_default();
        return match images.iter().find(|image| image.name == name) {
            Some(image) => Ok(Some(image.reference())),
            None => Err(unknown(reference, images)),
        };
    }
    let (rest, digest) = reference.split_once('@').map_or((reference, None), |(rest, digest)| (rest, Some(digest)));
    let name = without_tag(rest);
    if let Some(image) = images.iter().find(|image| image.repository == name || image.name == name) {
        // Another digest was written on purpose: an older build of the image.
        return Ok(digest.is_none_or(|digest| digest == image.digest.as_str()).then(|| image.reference()));
    }
    // A neighbour in the registry: most likely a typo or an image that was not built.
    let neighbour = |image: &Image| folder(name).is_some_and(|f| folder(&image.repository) == Some(f));
    if digest.is_none() && images.iter().any(neighbour) {
        return Err(unknown(reference, images));
    }
    Ok(None)
}

fn unknown(reference: &str, images: &[Image]) -> Failure {
    let reference: String = reference.chars().take(200).collect();
    let names: Vec<&str> = images.iter().map(|image| image.name.as_str()).collect();
    let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    invalid(format!("`{reference}` looks like an image of this build, but the build has: {names}")).action(
        "correct the name, or add the image to the configuration; an image of another build is named with its digest",
    )
}

/// `localhost:5000/iris/trainer:1` gives `localhost:5000/iris/trainer`.
fn without_tag(reference: &str) -> &str {
    let name_at = reference.rfind('/').map_or(0, |slash| slash + 1);
    match reference[name_at..].find(':') {
        Some(colon) => &reference[..name_at + colon],
        None => reference,
    }
}

/// What stands before the last part, when it is more than the registry's host.
fn folder(repository: &str) -> Option<&str> {
    repository.rsplit_once('/').map(|(folder, _)| folder).filter(|folder| folder.contains('/'))
}

#[cfg(test)]
mod tests {
    use kfops_core::Digest;

    use super::*;

    fn images() -> Vec<Image> {
        let image = |name: &str| Image {
            name: name.into(),
            repository: format!("localhost:5000/iris/{name}"),
            digest: Digest::of(name.as_bytes()),
        };
        vec![image("trainer"), image("evaluator")]
    }

    #[test]
    fn every_way_to_name_an_image_is_pinned() {
        let trainer = images()[0].reference();
        for reference in [
            "localhost:5000/iris/trainer",
            "localhost:5000/iris/trainer:v1",
            "localhost:5000/iris/trainer:{{workflow.parameters.version_id}}",
            "kfops://trainer",
            "kfops://trainer:latest",
            "trainer",
            "trainer:latest",
            trainer.as_str(),
        ] {
            assert_eq!(resolve(reference, &images()).unwrap().as_ref(), Some(&trainer), "{reference}");
        }
    }

    #[test]
    fn images_of_others_stay() {
        let other = format!("localhost:5000/iris/trainer@{}", Digest::of(b"older"));
        for reference in ["python:3.11", "localhost:5000/python:3.11", "ghcr.io/a/trainer:1", "", &other] {
            assert_eq!(resolve(reference, &images()).unwrap(), None, "{reference}");
        }
    }

    #[test]
    fn what_only_looks_like_ours_is_refused() {
        for reference in ["kfops://trainr", "localhost:5000/iris/trainr:1", "kfops://"] {
            let failure = resolve(reference, &images()).unwrap_err();
            assert!(failure.message.contains("trainer, evaluator"), "{}", failure.message);
        }
    }
}
