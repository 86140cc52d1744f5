//! The forms a capture can be written in, and what they have in common.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use profiler_common::profile::Frame;

use super::{folded, html, pprof, speedscope, svg};
use crate::fold::{ServiceWindow, Window};

/// A capture, ready to be written.
#[derive(Debug, Clone)]
pub struct Captured {
    /// What was seen.
    pub window: Window,
    /// What was sampled, for people: a command, processes, a host.
    pub title: String,
    /// Samples per second and CPU.
    pub frequency_hz: u32,
    /// Samples that the kernel took.
    pub taken: u64,
    /// Samples that never arrived, by reason.
    pub lost: Vec<(String, u64)>,
}

impl Captured {
    /// Number of samples in the profile.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.window.services.iter().map(|service| service.profile.total()).sum()
    }

    /// Number of samples lost for any reason.
    #[must_use]
    pub fn lost_total(&self) -> u64 {
        self.lost.iter().map(|(_, samples)| samples).sum()
    }

    /// Length in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.window.end_unix_ns.saturating_sub(self.window.start_unix_ns) as f64 / 1e9
    }

    /// One line for people: samples, losses, length and frequency.
    #[must_use]
    pub fn subtitle(&self) -> String {
        format!(
            "{} samples, {} lost, {:.1} s at {} Hz",
            self.samples(),
            self.lost_total(),
            self.seconds(),
            self.frequency_hz
        )
    }

    /// (service, frames root first, samples) of each unique stack.
    pub fn stacks(&self) -> impl Iterator<Item = (&ServiceWindow, Vec<&Frame>, u64)> {
        self.window.services.iter().flat_map(|service| {
            service.profile.named_stacks().map(move |(frames, count)| (service, frames, count))
        })
    }

    /// Folded stacks with the service as root: (frames root first, samples).
    pub fn folded(&self) -> impl Iterator<Item = (Vec<String>, u64)> {
        self.stacks().map(|(service, frames, count)| {
            let root = Frame::marker(&service.identity.service).folded_name();
            let names = frames.into_iter().map(Frame::folded_name);
            (std::iter::once(root).chain(names).collect(), count)
        })
    }
}

/// A form, chosen by the ending of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A picture for browsers.
    Svg,
    /// A page with a flame graph and a summary.
    Html,
    /// Text, one line for each stack.
    Folded,
    /// For `go tool pprof`.
    Pprof,
    /// For speedscope.
    Speedscope,
}

impl Form {
    /// Chooses the form by the ending of a file name.
    ///
    /// # Errors
    ///
    /// When the ending is none of the known ones.
    pub fn of(path: &Path) -> anyhow::Result<Self> {
        const ENDINGS: &[(&str, Form)] = &[
            (".speedscope.json", Form::Speedscope),
            (".pb.gz", Form::Pprof),
            (".svg", Form::Svg),
            (".html", Form::Html),
            (".folded", Form::Folded),
        ];
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let form = ENDINGS.iter().find(|(ending, _)| name.ends_with(ending));
        form.map(|(_, form)| *form).ok_or_else(|| {
            anyhow!(
                "`{}` has no ending of a known form: .svg .html .folded .pb.gz .speedscope.json",
                path.display()
            )
        })
    }

    /// Writes a capture in this form.
    ///
    /// # Errors
    ///
    /// When the form cannot express it.
    pub fn render(self, captured: &Captured) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::Svg => svg::render(captured),
            Self::Html => html::render(captured),
            Self::Folded => folded::render(captured),
            Self::Pprof => pprof::render(captured),
            Self::Speedscope => speedscope::render(captured),
        }
    }
}

/// Checks that a file can be written, before a long capture is taken for nothing.
///
/// # Errors
///
/// When the folder does not exist or takes no file, or the name is that of a folder.
pub fn check_writable(path: &Path) -> anyhow::Result<()> {
    if path.is_dir() {
        bail!("failed to write `{}`: it is a folder", path.display());
    }
    tempfile::NamedTempFile::new_in(folder_of(path))
        .map(drop)
        .with_context(|| format!("failed to write `{}`", path.display()))
}

/// Replaces a file whole, so that nobody ever reads half of it.
///
/// # Errors
///
/// When any step fails; what was there before is still there then.
pub fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let replace = || -> anyhow::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder_of(path))?;
        file.write_all(bytes)?;
        // A temporary file is private; a capture is as readable as any file.
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644))?;
        file.persist(path)?;
        Ok(())
    };
    replace().with_context(|| format!("failed to write `{}`", path.display()))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::process::Identity;
    use profiler_common::abi::sample::WalkEnd;
    use profiler_common::profile::{FrameKind, Profile, Quality};

    pub(crate) fn frame(kind: FrameKind, function: &str, module: &str, line: u32) -> Frame {
        let file = if line > 0 { "main.c" } else { "" };
        Frame {
            kind,
            function: function.to_owned(),
            module: module.to_owned(),
            file: file.to_owned(),
            line,
            build_id: if function.contains("+0x") { "abcd".to_owned() } else { String::new() },
        }
    }

    /// Two stacks of one service: native, inlined and kernel frames, and one without a name.
    pub(crate) fn captured() -> Captured {
        let main = frame(FrameKind::Native, "main", "shop", 10);
        let inlined = frame(FrameKind::Inlined, "sum<int>", "shop", 20);
        let kernel = frame(FrameKind::Kernel, "vfs_fsync", "[kernel]", 0);
        let unnamed = frame(FrameKind::Native, "libz.so+0x1f0", "libz.so", 0);
        let mut profile = Profile::default();
        profile.add(&[main.clone(), inlined, unnamed], 3);
        profile.add(&[main, kernel], 2);
        let identity = Identity {
            service: "shop".to_owned(),
            version: "v1".to_owned(),
            unit: "host".to_owned(),
            labels: Vec::new(),
        };
        let mut walks = Quality::default();
        walks.add(WalkEnd::Root.name(), 5);
        let service =
            ServiceWindow { identity, period_ns: 10_000_000, profile, walks, syscalls: Vec::new() };
        Captured {
            window: Window {
                start_unix_ns: 1_000_000_000,
                end_unix_ns: 3_000_000_000,
                services: vec![service],
            },
            title: "shop <test>".to_owned(),
            frequency_hz: 100,
            taken: 6,
            lost: vec![("ring_full".to_owned(), 1)],
        }
    }

    #[test]
    fn the_ending_chooses_the_form() {
        for (name, form) in [
            ("a.svg", Form::Svg),
            ("a.html", Form::Html),
            ("a.folded", Form::Folded),
            ("a.pb.gz", Form::Pprof),
            ("a.speedscope.json", Form::Speedscope),
        ] {
            assert_eq!(Form::of(Path::new(name)).unwrap(), form);
        }
        for name in ["a.json", "svg", "a.pb", ""] {
            assert!(Form::of(Path::new(name)).unwrap_err().to_string().contains(".pb.gz"));
        }
    }

    #[test]
    fn a_failed_write_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.svg");
        write(&path, b"first").unwrap();
        write(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert!(write(&path.join("below"), b"third").is_err());
        assert!(check_writable(Path::new("/nonexistent/a.svg")).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
