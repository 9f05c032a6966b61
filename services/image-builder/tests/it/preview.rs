//! What a build would find, without one.

use std::time::Instant;

use kfops_proto::{
    build::{ListBuildsRequest, State},
    common::Reason,
};

use crate::world::{World, image, unique};

#[tokio::test]
async fn a_preview_says_what_exists_and_what_is_wrong_and_leaves_nothing() {
    let world = World::new().await;
    let service = world.start().await;
    let new = format!("FROM scratch\nCOPY x /{}\n", unique(world.folder.path()));
    let files = [
        ("kept/Dockerfile", "FROM scratch\nCOPY x /x\n"),
        ("kept/x", "1"),
        ("new/Dockerfile", new.as_str()),
        ("new/x", "1"),
        ("none/x", "1"),
    ];
    let source = world.source(&files).await;
    service.create("b-1", &source, vec![image("kept", "kept")]).await;
    let built = service.succeeded("b-1").await;

    let names = ["kept", "new", "none", "absent"];
    let images = || names.iter().map(|name| image(name, name)).collect::<Vec<_>>();
    let began = Instant::now();
    let preview = service.preview(&source, images()).await;
    println!("preview of {} images: {:.2} s", names.len(), began.elapsed().as_secs_f64());
    assert_eq!((preview.name.as_str(), preview.state()), ("builds/preview", State::Pending));
    let [kept, new, none, absent] = &preview.results[..] else { panic!("{:#?}", preview.results) };
    assert!(kept.reused && kept.failure.is_none(), "{kept:#?}");
    assert_eq!(kept.image, built.results[0].image);
    assert_eq!(kept.content_digest, built.results[0].content_digest);
    assert!(!new.reused && new.content_digest.starts_with("sha256:") && new.failure.is_none(), "{new:#?}");
    for (result, says) in [(none, "there is no file none/Dockerfile"), (absent, "context `absent` is not a folder")] {
        let failure = result.failure.clone().unwrap();
        assert_eq!((result.state(), failure.reason()), (State::Failed, Reason::SourceInvalid));
        assert!(
            failure.message.starts_with(&format!("image {}: ", result.image.as_ref().unwrap().name)),
            "{failure:?}"
        );
        assert!(failure.message.contains(says) && !failure.action.is_empty(), "{failure:?}");
    }

    // Nothing was kept, and nothing was built for it.
    let listed = service.client.clone().list_builds(ListBuildsRequest::default()).await.unwrap().into_inner();
    assert_eq!(listed.builds.iter().map(|b| b.name.as_str()).collect::<Vec<_>>(), ["builds/b-1"]);
    let left = std::fs::read_dir(&world.settings.state).unwrap().flatten().map(|e| e.file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with("preview-")).collect();
    assert!(left.is_empty(), "{left:?}");

    // A real build of the same has the same digests; then all of it exists.
    service.create("b-2", &source, images()[..2].to_vec()).await;
    let second = service.succeeded("b-2").await;
    assert!(second.results[0].reused && !second.results[1].reused, "{:#?}", second.results);
    assert_eq!(second.results[1].content_digest, new.content_digest);
    let again = service.preview(&source, images()[..2].to_vec()).await;
    assert!(again.results.iter().all(|r| r.reused), "{:#?}", again.results);
}

#[tokio::test]
async fn a_preview_knows_the_digest_of_a_stand_in_and_makes_none() {
    let mut world = World::new().await;
    let dockerfile = format!("FROM python:3.11-slim\nRUN : {}\n", unique(world.folder.path()));
    let source = world.source(&[("i/Dockerfile", &dockerfile)]).await;
    {
        let service = world.start().await;
        service.create("b-1", &source, vec![image("i", "i")]).await;
        let built = service.succeeded("b-1").await;
        let preview = service.preview(&source, vec![image("i", "i")]).await;
        assert_eq!(preview.results[0].content_digest, built.results[0].content_digest);
        assert!(preview.results[0].reused, "{:#?}", preview.results);
    }
    // Where none was made yet, nothing can stand on it, and nothing is made to find that out.
    world.settings.local.cache = Some(world.folder.path().join("empty-cache"));
    let service = world.start().await;
    let preview = service.preview(&source, vec![image("i", "i")]).await;
    let result = &preview.results[0];
    assert!(!result.reused && result.content_digest.is_empty() && result.failure.is_none(), "{result:#?}");
    assert!(!world.folder.path().join("empty-cache/base-images").exists());
}
