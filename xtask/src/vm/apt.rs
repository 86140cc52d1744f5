//! Another suite of Debian beside the host's own: its sources, indices and files lie in a folder of ours.
//!
//! Nothing of the host's apt changes. The archive is the one that the host uses; its signatures are checked against
//! Debian's keyring, as for any package.

use std::{
    fs,
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};

/// The keys of all releases of Debian.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// One suite, with its indices fetched.
pub(super) struct Archive {
    folder: PathBuf,
}

impl Archive {
    /// Fetches the indices of `suite` into a folder below `parent`.
    pub(super) fn open(parent: &Path, suite: &str) -> Result<Self> {
        let archive = Self { folder: parent.join(suite) };
        for part in ["lists/partial", "archives/partial"] {
            let part = archive.folder.join(part);
            fs::create_dir_all(&part)
                .with_context(|| format!("failed to create `{}`", part.display()))?;
        }
        let source =
            format!("deb [arch=amd64 signed-by={KEYRING}] {} {suite} main\n", address_of_debian()?);
        for (file, text) in [("sources.list", source.as_str()), ("status", "")] {
            let file = archive.folder.join(file);
            fs::write(&file, text)
                .with_context(|| format!("failed to write `{}`", file.display()))?;
        }
        // What cannot be fetched is an error, and so is a wrong signature.
        output(archive.command("apt-get").args(["update", "--error-on=any"]))?;
        Ok(archive)
    }

    /// Names of all packages that begin with `prefix`.
    pub(super) fn packages(&self, prefix: &str) -> Result<Vec<String>> {
        let names = output(self.command("apt-cache").args(["pkgnames", prefix]))?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Downloads a package and writes the one file in it that fits `patterns`, whole or not at all.
    pub(super) fn unpack(&self, package: &str, patterns: &[&str], to: &Path) -> Result<()> {
        output(self.command("apt-get").args(["download", package]))?;
        let prefix = format!("{package}_");
        let is_it = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix))
        };
        let found: Vec<PathBuf> = fs::read_dir(&self.folder)
            .context("failed to list what was downloaded")?
            .map_while(|entry| Some(entry.ok()?.path()))
            .filter(is_it)
            .collect();
        let [file] = found.as_slice() else {
            bail!("{} files of `{package}` in `{}`", found.len(), self.folder.display());
        };
        let half = to.with_extension("part");
        take_file(file, patterns, &half)
            .with_context(|| format!("failed to unpack `{}`", file.display()))?;
        fs::rename(&half, to).with_context(|| format!("failed to write `{}`", to.display()))?;
        fs::remove_file(file).with_context(|| format!("failed to remove `{}`", file.display()))
    }

    fn command(&self, program: &str) -> Command {
        let folder = self.folder.display();
        let mut command = Command::new(program);
        command.current_dir(&self.folder);
        for option in [
            format!("Dir::Etc::sourcelist={folder}/sources.list"),
            "Dir::Etc::sourceparts=-".to_owned(),
            format!("Dir::State={folder}"),
            format!("Dir::State::lists={folder}/lists"),
            format!("Dir::State::status={folder}/status"),
            format!("Dir::Cache={folder}"),
            // The folder may lie where apt's own user cannot write.
            "APT::Sandbox::User=root".to_owned(),
            "APT::Update::Post-Invoke-Success=".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            "Acquire::Retries=3".to_owned(),
        ] {
            command.args(["-o", &option]);
        }
        command
    }
}

/// Where the host has its packages of Debian from.
fn address_of_debian() -> Result<String> {
    let targets = |release: &str| {
        output(Command::new("apt-get").args(["indextargets", "--format", "$(REPO_URI)"]).args([
            "Created-By: Packages",
            "Origin: Debian",
            release,
        ]))
    };
    let own = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let codename = own.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let codename = codename.context("failed to find the suite of this host: no Debian")?;
    let mut found = targets(&format!("Codename: {codename}"))?;
    if found.is_empty() {
        // Only an index that was fetched once says whose it is.
        output(Command::new("apt-get").arg("update"))?;
        found = targets(&format!("Codename: {codename}"))?;
    }
    let first = found.lines().next();
    first.map(str::to_owned).context("failed to find the archive that this host installs from")
}

/// Writes the one file of a package that fits `patterns`.
fn take_file(package: &Path, patterns: &[&str], to: &Path) -> Result<()> {
    let mut opened = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped())
        .spawn()
        .context("failed to run `dpkg-deb`")?;
    let tar = opened.stdout.take().context("`dpkg-deb` has no output")?;
    let file = File::create(to).with_context(|| format!("failed to create `{}`", to.display()))?;
    // A pattern that fits nothing makes tar fail although the other one fits: the file that comes out is judged.
    Command::new("tar")
        .args(["--extract", "--to-stdout", "--wildcards", "--file=-"])
        .args(patterns)
        .stdin(tar)
        .stdout(file)
        .stderr(Stdio::null())
        .status()
        .context("failed to run `tar`")?;
    let status = opened.wait().context("failed to wait for `dpkg-deb`")?;
    ensure!(status.success(), "`dpkg-deb` ended with {status}");
    let bytes = fs::metadata(to).map_or(0, |facts| facts.len());
    ensure!(bytes > 0, "it has no file such as `{}`", patterns.join("` or `"));
    Ok(())
}

/// Runs a command and returns what it prints; fails with the end of its complaint.
fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("failed to run `{program}`"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    let last = complaint.lines().next_back().unwrap_or("it said nothing");
    ensure!(output.status.success(), "`{program}` ended with {}: {last}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
