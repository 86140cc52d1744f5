//! Decides where `up` keeps its state, and that its ports are free, before anything is built.

use std::{
    fs::{self, DirBuilder},
    io::ErrorKind,
    net::{SocketAddr, TcpListener},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

/// Permission bits that let others than the owner write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Makes the state folder ready and returns its absolute path.
///
/// # Errors
///
/// When somebody else could write in it: the agent, running as root, writes below it.
pub(crate) fn prepare_state(folder: &Path) -> Result<PathBuf> {
    let shown = folder.display();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("failed to create the state folder `{shown}`"))?;
    let folder =
        folder.canonicalize().with_context(|| format!("failed to find the folder `{shown}`"))?;
    let metadata = fs::metadata(&folder).with_context(|| format!("failed to inspect `{shown}`"))?;
    if metadata.mode() & WRITABLE_BY_OTHERS != 0 {
        bail!(
            "others may write in `{shown}`, where the agent writes as root; \
             choose another folder with `--state-dir`"
        );
    }
    let ourselves = rustix::process::geteuid().as_raw();
    if metadata.uid() != ourselves {
        bail!(
            "`{shown}` belongs to user {} and you are user {ourselves}; \
             choose another folder with `--state-dir`",
            metadata.uid()
        );
    }
    Ok(folder)
}

/// Fails when `address` is taken, saying which flag chooses another.
pub(crate) fn check_free(flag: &str, address: SocketAddr) -> Result<()> {
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AddrInUse => bail!(
            "port {port} is taken, perhaps by another `cargo xtask up`; end that program \
             (`ss -ltnp 'sport = :{port}'` names it) or choose another port with `{flag} {ip}:{free}`",
            port = address.port(),
            ip = address.ip(),
            free = address.port().saturating_add(10),
        ),
        Err(error) => Err(error).with_context(|| {
            format!("failed to listen on `{address}`; choose another address with `{flag}`")
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_new_state_folder_is_ours_alone() {
        let parent = tempfile::tempdir().unwrap();
        let folder = prepare_state(&parent.path().join("a/state")).unwrap();
        assert_eq!(fs::metadata(folder).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_state_folder_that_others_can_write_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        fs::set_permissions(parent.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        let error = prepare_state(parent.path()).unwrap_err().to_string();
        assert!(error.contains("others may write"), "{error}");
    }

    #[test]
    fn a_taken_port_is_refused_with_what_to_do() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let error = check_free("--http", address).unwrap_err().to_string();
        assert!(error.contains(&format!("port {} is taken", address.port())), "{error}");
        assert!(error.contains("`--http 127.0.0.1:"), "{error}");
        drop(listener);
        check_free("--http", address).unwrap();
    }
}
