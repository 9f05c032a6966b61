//! Archives: good ones, hostile ones, damaged ones, and a disk that is full.

use flate2::{Compression, write::GzEncoder};

use super::*;

type Builder = tar::Builder<GzEncoder<Vec<u8>>>;

fn archive(build: impl FnOnce(&mut Builder)) -> Vec<u8> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    build(&mut builder);
    builder.into_inner().unwrap().finish().unwrap()
}

fn file(builder: &mut Builder, path: &str, text: &str) {
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    // Set the raw name: the builder itself refuses `..`.
    header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
    header.set_cksum();
    builder.append(&header, text.as_bytes()).unwrap();
}

fn link(builder: &mut Builder, path: &str, target: &str) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    builder.append_link(&mut header, path, target).unwrap();
}

async fn extract(bytes: Vec<u8>) -> (tempfile::TempDir, Result<(), Failure>) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(format!("file://{}/store", folder.path().display())).unwrap();
    let source = SourceRef { key: "sources/o/r/c.tar.gz".into(), digest: Digest::of(&bytes) };
    store.put(&source.key, bytes).await.unwrap();
    let limits = ArchiveLimits { bytes: 1000, entries: 10 };
    let result = extract_source(&store, &source, &folder.path().join("out"), limits).await;
    (folder, result)
}

#[tokio::test]
async fn unpacks_without_the_top_folder() {
    let (folder, result) = extract(archive(|b| {
        file(b, "o-r-3f2c1e7/src/a.py", "1");
        link(b, "o-r-3f2c1e7/b.py", "src/a.py");
    }))
    .await;
    result.unwrap();
    assert_eq!(std::fs::read_to_string(folder.path().join("out/b.py")).unwrap(), "1");
}

#[tokio::test]
async fn refuses_what_leads_out() {
    let cases: [fn(&mut Builder); 5] = [
        |b| file(b, "top/../../evil", "x"),
        |b| file(b, "/etc/evil", "x"),
        |b| link(b, "top/l", "/etc/passwd"),
        |b| link(b, "top/a/l", "../../x"),
        |b| (0..20).for_each(|i| file(b, &format!("top/{i}"), "x")),
    ];
    for (number, case) in cases.into_iter().enumerate() {
        let (folder, result) = extract(archive(case)).await;
        assert_eq!(result.unwrap_err().reason, Reason::SourceInvalid, "case {number}");
        assert!(!folder.path().join("evil").exists());
    }
}

#[tokio::test]
async fn an_archive_that_was_damaged_later_is_found_out_at_the_next_read() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(format!("file://{}/store", folder.path().display())).unwrap();
    let bytes = archive(|b| file(b, "top/a", "1"));
    let source = SourceRef { key: "s/a.tar.gz".into(), digest: Digest::of(&bytes) };
    store.put(&source.key, bytes.clone()).await.unwrap();
    let extract =
        async |to: &str| extract_source(&store, &source, &folder.path().join(to), ArchiveLimits::default()).await;
    extract("whole").await.unwrap();
    let path = store.local_path(&source.key).unwrap();
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    for (to, damaged) in [("truncated", &bytes[..bytes.len() / 2]), ("flipped", &flipped[..]), ("empty", &[])] {
        std::fs::write(&path, damaged).unwrap();
        let failure = extract(to).await.unwrap_err();
        assert_eq!((failure.reason, failure.retryable), (Reason::SourceInvalid, false), "{to}");
        assert!(failure.message.contains("s/a.tar.gz: it is damaged"), "{failure}");
        assert!(failure.action.contains("remove the object"), "{failure:?}");
        assert!(!folder.path().join(to).exists(), "something of it was unpacked");
    }
    std::fs::remove_file(&path).unwrap();
    let failure = extract("gone").await.unwrap_err();
    assert_eq!((failure.reason, failure.retryable), (Reason::SourceUnavailable, true));
}

#[tokio::test]
async fn a_full_disk_is_no_fault_of_the_archive() {
    let folder = tempfile::tempdir().unwrap();
    let small = folder.path().join("small");
    std::fs::create_dir(&small).unwrap();
    let Some(_mounted) = Mounted::new(&small) else {
        eprintln!("nothing can be mounted here: a full disk is not tested");
        return;
    };
    let store = Store::open(format!("file://{}/store", folder.path().display())).unwrap();
    let bytes = archive(|b| file(b, "top/a", &"x".repeat(3 << 20)));
    let source = SourceRef { key: "s/a.tar.gz".into(), digest: Digest::of(&bytes) };
    store.put(&source.key, bytes).await.unwrap();
    let extracted = extract_source(&store, &source, &small.join("out"), ArchiveLimits::default()).await;
    let failure = extracted.unwrap_err();
    assert_eq!((failure.reason, failure.retryable), (Reason::StoreUnavailable, true), "{failure}");

    // And a store on it refuses, keeps what it has, and leaves no half object.
    std::fs::remove_dir_all(small.join("out")).unwrap();
    let store = Store::open(format!("file://{}/store", small.display())).unwrap();
    store.put("kept", "1").await.unwrap();
    let large = folder.path().join("large");
    std::fs::write(&large, vec![7; 5 << 20]).unwrap();
    let failure = store.put_file("large", &large).await.unwrap_err();
    assert_eq!((failure.reason, failure.retryable), (Reason::StoreUnavailable, true), "{failure}");
    assert!(!store.exists("large").await.unwrap());
    assert_eq!(store.get("kept").await.unwrap(), "1");
}

/// A file system of 1 MiB.
struct Mounted(PathBuf);

impl Mounted {
    fn new(at: &Path) -> Option<Self> {
        let mut mount = std::process::Command::new("mount");
        let mount = mount.args(["-t", "tmpfs", "-o", "size=1m", "kfops-test"]).arg(at).output();
        mount.is_ok_and(|output| output.status.success()).then(|| Self(at.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        std::process::Command::new("umount").arg("--lazy").arg(&self.0).status().ok();
    }
}

#[tokio::test]
async fn refuses_another_digest() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(format!("file://{}", folder.path().display())).unwrap();
    store.put("k", "bytes").await.unwrap();
    let source = SourceRef { key: "k".into(), digest: Digest::of(b"other") };
    let failure =
        extract_source(&store, &source, &folder.path().join("out"), ArchiveLimits::default()).await.unwrap_err();
    assert_eq!(failure.reason, Reason::SourceInvalid);
}
