//! Downloads a Debian package with apt and unpacks it, as an ordinary user and without installing it.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::progress::Progress;
use crate::{Error, Result};

/// A package's files and its version.
pub(super) struct Unpacked {
    /// The directory that would be `/` if the package were installed.
    pub root: PathBuf,
    /// The Debian version, `1.0.0-1`.
    pub version: String,
}

/// Whether this machine has apt.
pub(super) fn is_available() -> bool {
    match Command::new("apt-get").arg("--version").output() {
        Ok(output) => output.status.success(),
        Err(_) => false,
    }
}

/// Downloads `package` into the empty folder `work` and unpacks it there.
///
/// Missing or outdated package lists are fetched into our own folder `lists`: the system's belong to root.
pub(super) fn fetch(package: &str, work: &Path, lists: &Path, progress: &mut dyn Progress) -> Result<Unpacked> {
    progress.line(&format!("fetching the package {package}"));
    let mut apt = Apt { work: work.to_owned(), options: Vec::new() };
    if let Err(first) = apt.run(&["download", package]) {
        if !lists_are_to_blame(&first) {
            return Err(failed(package, &first));
        }
        progress.line("fetching apt's package lists");
        apt.use_private_lists(lists)?;
        apt.run(&["update"]).map_err(|message| failed(package, &message))?;
        apt.run(&["download", package]).map_err(|message| failed(package, &message))?;
    }
    let deb = find_deb(work).ok_or_else(|| failed(package, "apt-get left no .deb"))?;
    let version = dpkg_deb([OsStr::new("-f"), deb.as_os_str(), OsStr::new("Version")])?;
    let root = work.join("root");
    dpkg_deb([OsStr::new("-x"), deb.as_os_str(), root.as_os_str()])?;
    Ok(Unpacked { root, version })
}

struct Apt {
    work: PathBuf,
    options: Vec<String>,
}

impl Apt {
    fn run(&self, words: &[&str]) -> Result<(), String> {
        let output = Command::new("apt-get")
            // As root, apt would download as a user that cannot write to our folder.
            .args(["-q", "-o", "APT::Sandbox::User=root"])
            .args(&self.options)
            .args(words)
            .env("LC_ALL", "C")
            .current_dir(&self.work)
            .output()
            .map_err(|e| format!("apt-get did not start: {e}"))?;
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
    }

    fn use_private_lists(&mut self, lists: &Path) -> Result<()> {
        for folder in ["lists/partial", "cache/archives/partial"] {
            let folder = lists.join(folder);
            std::fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        }
        let lists = std::path::absolute(lists).map_err(Error::io("find", lists))?;
        for (option, folder) in [("Dir::State::Lists", "lists"), ("Dir::Cache", "cache")] {
            self.options.extend(["-o".to_owned(), format!("{option}={}", lists.join(folder).display())]);
        }
        Ok(())
    }
}

fn lists_are_to_blame(message: &str) -> bool {
    ["Unable to locate package", "Can't select candidate version", "404", "Can't find a source"]
        .iter()
        .any(|sign| message.contains(sign))
}

fn find_deb(folder: &Path) -> Option<PathBuf> {
    let mut entries = std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    entries.find(|path| path.extension().is_some_and(|extension| extension == "deb"))
}

fn dpkg_deb<const N: usize>(words: [&OsStr; N]) -> Result<String> {
    let output = Command::new("dpkg-deb").args(words).output().map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            Error::Data("apt-get is installed but dpkg-deb, which unpacks its packages, is not".into())
        }
        _ => Error::Data(format!("dpkg-deb did not start: {error}")),
    })?;
    if !output.status.success() {
        return Err(Error::Data(format!("dpkg-deb failed: {}", String::from_utf8_lossy(&output.stderr).trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn failed(package: &str, message: &str) -> Error {
    Error::Data(format!(
        "cannot fetch the package {package}: {message}\n\
         Train on a text of your own instead: --set data.source='[\"my.txt\"]'"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_stale_lists_are_worth_an_update() {
        assert!(lists_are_to_blame("E: Unable to locate package r-cran-janeaustenr"));
        assert!(lists_are_to_blame("E: Failed to fetch x.deb  404  Not Found"));
        assert!(!lists_are_to_blame("Temporary failure resolving 'mirror'"));
        let text = failed("pkg", "no route").to_string();
        assert!(text.contains("the package pkg: no route") && text.contains("data.source"), "{text}");
    }
}
