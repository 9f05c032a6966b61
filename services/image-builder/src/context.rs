//! Assembles a build context: the image's folder with the included folders in it, cut off from everything else.

use std::{
    fs::{self, File, FileTimes, Permissions},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Component, Path, PathBuf},
    time::{Duration, SystemTime},
};

use kfops_core::{Failure, Reason};

use crate::request::ImageSpec;

/// Every file's time stamp: when a commit was unpacked says nothing about it, and layers with equal content are equal.
const STAMP: Duration = Duration::from_secs(1_735_689_600);

/// An assembled context.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) folder: PathBuf,
    pub(crate) dockerfile: PathBuf,
}

/// Copies what `image` needs from `source` into the folder `into`, which must not exist yet.
pub(crate) fn assemble(source: &Path, image: &ImageSpec, into: &Path) -> Result<Context, Failure> {
    let source = source.canonicalize().map_err(|error| broken(&error))?;
    let folder = inside(&source, &image.context, "context")?;
    copy_folder(&folder, into, into, &image.context)?;
    for include in &image.include {
        let folder = inside(&source, include, "include")?;
        let name = Path::new(include).components().next_back();
        let Some(Component::Normal(name)) = name else {
            return Err(invalid(format!("include `{include}` has no name of its own"))
                .action("include folders below the root of the repository"));
        };
        let target = into.join(name);
        if target.symlink_metadata().is_ok() {
            return Err(invalid(format!(
                "include `{include}` would replace `{}`, which the build context has already",
                name.to_string_lossy()
            ))
            .action("rename one of the two"));
        }
        copy_folder(&folder, &target, into, include)?;
    }
    let wanted = into.join(&image.dockerfile);
    let root = into.canonicalize().map_err(|error| broken(&error))?;
    let dockerfile =
        wanted.canonicalize().ok().filter(|path| path.starts_with(&root) && path.is_file()).ok_or_else(|| {
            invalid(format!("there is no file {}/{}", image.context.trim_end_matches('/'), image.dockerfile))
                .action("add the Dockerfile, or name it with `dockerfile`")
        })?;
    Ok(Context { folder: root, dockerfile })
}

/// The folder at `path`, which lies in the source even after following links.
fn inside(source: &Path, path: &str, what: &str) -> Result<PathBuf, Failure> {
    let missing = || {
        invalid(format!("the {what} `{path}` is not a folder of the repository"))
            .action(format!("correct `{what}` in kfops.yaml"))
    };
    let real = source.join(path).canonicalize().map_err(|_| missing())?;
    if !real.starts_with(source) {
        return Err(invalid(format!("the {what} `{path}` leads out of the repository")));
    }
    if real.is_dir() { Ok(real) } else { Err(missing()) }
}

fn copy_folder(from: &Path, to: &Path, root: &Path, shown: &str) -> Result<(), Failure> {
    for entry in walkdir::WalkDir::new(from).follow_links(false).sort_by_file_name() {
        let entry = entry.map_err(|error| broken(&error))?;
        let relative = entry.path().strip_prefix(from).map_err(|error| broken(&error))?;
        let target = to.join(relative);
        let kind = entry.file_type();
        if kind.is_dir() {
            fs::create_dir_all(&target).map_err(|error| broken(&error))?;
        } else if kind.is_symlink() {
            let link = fs::read_link(entry.path()).map_err(|error| broken(&error))?;
            let at = target.strip_prefix(root).map_err(|error| broken(&error))?;
            if !stays_inside(at, &link) {
                return Err(invalid(format!("link `{shown}/{}` leads out of the build context", relative.display()))
                    .action("include the folder that it leads to, or copy the file"));
            }
            symlink(link, &target).map_err(|error| broken(&error))?;
        } else if kind.is_file() {
            copy_file(entry.path(), &target).map_err(|error| broken(&error))?;
        } else {
            return Err(invalid(format!("`{shown}/{}` is neither file, folder nor link", relative.display())));
        }
    }
    Ok(())
}

/// With git's two modes and the one time stamp.
fn copy_file(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::copy(from, to)?;
    let executable = fs::metadata(from)?.permissions().mode() & 0o100 != 0;
    fs::set_permissions(to, Permissions::from_mode(if executable { 0o755 } else { 0o644 }))?;
    File::options().write(true).open(to)?.set_times(FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + STAMP))
}

fn stays_inside(at: &Path, link: &Path) -> bool {
    let mut depth = at.components().count().saturating_sub(1);
    for part in link.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            _ => return false,
        }
    }
    true
}

fn invalid(message: String) -> Failure {
    Failure::new(Reason::SourceInvalid, message)
}

fn broken(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Reason::StoreUnavailable, format!("assembling the build context: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(context: &str, include: &[&str]) -> ImageSpec {
        ImageSpec {
            name: "i".into(),
            context: context.into(),
            dockerfile: "Dockerfile".into(),
            include: include.iter().map(ToString::to_string).collect(),
            build_args: Default::default(),
        }
    }

    fn source() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        for path in ["images/a", "lib/deep", "images/b"] {
            fs::create_dir_all(source.join(path)).unwrap();
        }
        fs::write(source.join("images/a/Dockerfile"), "FROM scratch").unwrap();
        fs::write(source.join("lib/deep/x.py"), "1").unwrap();
        fs::write(source.join("lib/run.sh"), "1").unwrap();
        fs::set_permissions(source.join("lib/run.sh"), Permissions::from_mode(0o775)).unwrap();
        (folder, source)
    }

    #[test]
    fn included_folders_stand_under_their_last_names() {
        let (folder, source) = source();
        let into = folder.path().join("context");
        let context = assemble(&source, &image("images/a", &["lib/deep/", "lib"]), &into).unwrap();
        assert!(context.dockerfile.ends_with("Dockerfile"));
        assert!(into.join("deep/x.py").is_file() && into.join("lib/deep/x.py").is_file());
        assert_eq!(fs::metadata(into.join("lib/run.sh")).unwrap().permissions().mode() & 0o777, 0o755);
        assert!(!into.join("images").exists());
    }

    #[test]
    fn collisions_and_missing_things_are_errors() {
        let (folder, source) = source();
        fs::create_dir_all(source.join("images/a/lib")).unwrap();
        let fail = |number: u32, image: &ImageSpec| {
            assemble(&source, image, &folder.path().join(format!("c{number}"))).unwrap_err().message
        };
        assert!(fail(1, &image("images/a", &["lib"])).contains("replace `lib`"));
        assert!(fail(2, &image("images/none", &[])).contains("context `images/none`"));
        assert!(fail(3, &image("images/b", &[])).contains("no file images/b/Dockerfile"));
        assert!(fail(4, &image("images/a", &["."])).contains("no name"));
    }

    #[test]
    fn links_do_not_lead_out() {
        let (folder, source) = source();
        fs::create_dir_all(folder.path().join("secret")).unwrap();
        symlink("../../secret", source.join("images/out")).unwrap();
        symlink("../../lib/run.sh", source.join("images/b/link")).unwrap();
        fs::write(folder.path().join("secret/Dockerfile"), "x").unwrap();
        let fail = |number: u32, image: &ImageSpec| {
            assemble(&source, image, &folder.path().join(format!("c{number}"))).unwrap_err().message
        };
        assert!(fail(1, &image("images/out", &[])).contains("leads out of the repository"));
        assert!(fail(2, &image("images/a", &["images/out"])).contains("leads out of the repository"));
        assert!(fail(3, &image("images/b", &[])).contains("leads out of the build context"));
    }
}
