//! Opens the database file: makes it, migrates it, refuses what is not ours.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::failed;
use crate::store::StoreError;

/// Marks a SQLite file as a store of ours: "FLMW".
const APPLICATION_ID: i32 = 0x464c_4d57;

/// Scripts by which a store grows from version `index` to `index + 1`; what is released never changes.
const MIGRATIONS: [&str; 3] =
    [include_str!("schema_1.sql"), include_str!("schema_2.sql"), include_str!("schema_3.sql")];

/// Largest store that is read through at start. 256 MiB take about a second; larger ones are only checked where they
/// are read, because a restart must not take minutes.
const CHECKED_BYTES_MAX: u64 = 256 << 20;

/// How long a statement waits for a lock before it fails. Only one process may have the file open, so this is only ever
/// a checkpoint.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// More than the different statements of one connection.
const STATEMENTS_MAX: usize = 64;

/// Keeps the plan of a statement whatever values are bound to it. SQLite would else plan it anew with each one, to look
/// at statistics that this store has none of.
fn keep_plans(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

/// Takes the lock that keeps a second collector out; it is free again when the file is dropped, also by a crash.
///
/// The lock lies in a file beside the store: SQLite's own locks are lost when any other handle to its file is closed.
pub(super) fn lock(path: &Path) -> Result<File, StoreError> {
    let lock_path = beside(path, ".lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&lock_path)
        .map_err(|error| unusable(path, format!("{error} on `{}`", lock_path.display())))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(unusable(path, "it is in use by another collector".to_owned()))
        }
        Err(TryLockError::Error(error)) => Err(unusable(path, format!("failed to lock: {error}"))),
    }
}

/// The name of a file that belongs to the store.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Opens the one connection that writes.
pub(super) fn open_writer(path: &Path) -> Result<Connection, StoreError> {
    // Profiles are nobody else's business; SQLite gives its other files the mode of this one. What fails here fails
    // again below, in SQLite's words.
    drop(OpenOptions::new().create_new(true).write(true).mode(0o600).open(path));
    let mut connection = Connection::open(path).map_err(|error| explain(path, error))?;
    prepare(&mut connection, path).map_err(|error| match error {
        StoreError::Database { source, .. } | StoreError::Disk { source, .. } => {
            match source.downcast::<rusqlite::Error>() {
                Ok(source) => explain(path, *source),
                Err(source) => unusable(path, source.to_string()),
            }
        }
        other => other,
    })?;
    Ok(connection)
}

/// Opens a connection that only reads.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection =
        Connection::open_with_flags(path, flags).map_err(failed("open the store to read"))?;
    let open = failed("open the store to read");
    connection.busy_timeout(LOCK_WAIT).map_err(open)?;
    keep_plans(&connection).map_err(open)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(connection)
}

fn prepare(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let open = failed("open the store");
    connection.busy_timeout(LOCK_WAIT).map_err(open)?;
    keep_plans(connection).map_err(open)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    let is_new = check_owner(connection, path)?;
    if is_new {
        // Must stand before the first table: space freed by retention can then go back to the file system.
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL").map_err(open)?;
        connection.pragma_update(None, "application_id", APPLICATION_ID).map_err(open)?;
    }
    connection.pragma_update(None, "journal_mode", "WAL").map_err(open)?;
    // FULL: a commit is on the disk before the agent is told so, also when power fails.
    connection.pragma_update(None, "synchronous", "FULL").map_err(open)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20).map_err(open)?;
    connection.pragma_update(None, "cache_size", -32_768).map_err(open)?;
    migrate(connection, path)?;
    check(connection, path)
}

/// Refuses a file of another program; returns whether it is empty.
pub(super) fn check_owner(connection: &Connection, path: &Path) -> Result<bool, StoreError> {
    let open = failed("open the store");
    let id: i32 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(open)?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(open)?;
    let is_new = id == 0 && tables == 0;
    if !is_new && id != APPLICATION_ID {
        let reason = "it is a SQLite file of another program; name another file";
        return Err(unusable(path, reason.to_owned()));
    }
    Ok(is_new)
}

/// Keeps a file from the eyes of others.
pub(super) fn only_for_its_owner(path: &Path) -> std::io::Result<()> {
    std::fs::set_permissions(path, Permissions::from_mode(0o600))
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let migrate = failed("migrate the store");
    let version: i64 =
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(migrate)?;
    let known = MIGRATIONS.len() as i64;
    if version > known {
        let reason = format!(
            "its schema has version {version}, this build knows up to {known}; run a newer build"
        );
        return Err(unusable(path, reason));
    }
    for (next, script) in (1_i64..).zip(MIGRATIONS).skip_while(|(next, _)| *next <= version) {
        let transaction = connection.transaction().map_err(migrate)?;
        transaction.execute_batch(script).map_err(migrate)?;
        transaction.pragma_update(None, "user_version", next).map_err(migrate)?;
        transaction.commit().map_err(migrate)?;
    }
    Ok(())
}

fn check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    if bytes > CHECKED_BYTES_MAX {
        return Ok(());
    }
    let answer: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(failed("check the store"))?;
    if answer == "ok" {
        Ok(())
    } else {
        Err(unusable(
            path,
            format!("it is damaged ({answer}); put a copy in its place or name another file"),
        ))
    }
}

/// Says in words what SQLite refused.
fn explain(path: &Path, error: rusqlite::Error) -> StoreError {
    let reason = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => "it is not a SQLite file; name another file".to_owned(),
        Some(ErrorCode::DatabaseCorrupt) => {
            format!("it is damaged ({error}); restore a copy or name another file")
        }
        Some(ErrorCode::CannotOpen) if path.parent().is_some_and(|folder| !folder.exists()) => {
            "its folder does not exist".to_owned()
        }
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            format!("it cannot be written ({error})")
        }
        _ => error.to_string(),
    };
    unusable(path, reason)
}

pub(super) fn unusable(path: &Path, reason: String) -> StoreError {
    StoreError::Unusable { path: path.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{SqliteStore, StoreOptions, TimeRange};

    fn refusal(path: &Path) -> String {
        SqliteStore::open(path, StoreOptions::default()).unwrap_err().to_string()
    }

    #[test]
    fn a_file_of_another_program_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("other.db");
        let other = Connection::open(&path).unwrap();
        other.execute_batch("CREATE TABLE t (a)").unwrap();
        drop(other);
        let before = std::fs::read(&path).unwrap();
        assert!(refusal(&path).contains("of another program"), "{}", refusal(&path));
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[test]
    fn a_file_that_is_no_database_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        std::fs::write(&path, "not a database, but long enough to look like one. ".repeat(100))
            .unwrap();
        assert!(refusal(&path).contains("not a SQLite file"), "{}", refusal(&path));
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("newer.db");
        drop(SqliteStore::open(&path, StoreOptions::default()).unwrap());
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        assert!(refusal(&path).contains("version 99"), "{}", refusal(&path));
    }

    #[test]
    fn a_store_of_the_first_version_keeps_its_windows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("old.db");
        let old = Connection::open(&path).unwrap();
        old.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
        old.execute_batch(MIGRATIONS[0]).unwrap();
        old.execute_batch(
            "INSERT INTO series VALUES (1, 'svc', 'v1', 'host', 'unit', '{}'); \
             INSERT INTO block VALUES (1, 1, 10, 20, 7, 70, x''); PRAGMA user_version = 1",
        )
        .unwrap();
        drop(old);
        let store = SqliteStore::open(&path, StoreOptions::default()).unwrap();
        let always = TimeRange { start_unix_ns: 0, end_unix_ns: u64::MAX };
        let catalog = store.catalog(always).unwrap();
        assert_eq!((catalog[0].samples, catalog[0].whole_share), (7, None));
    }

    #[test]
    fn a_second_collector_is_kept_out_until_the_first_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let first = SqliteStore::open(&path, StoreOptions::default()).unwrap();
        assert!(refusal(&path).contains("in use by another collector"));
        drop(first);
        SqliteStore::open(&path, StoreOptions::default()).unwrap();
    }

    #[test]
    fn only_its_owner_may_read_a_new_store() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let _store = SqliteStore::open(&path, StoreOptions::default()).unwrap();
        for file in [path.clone(), beside(&path, "-wal")] {
            let mode = std::fs::metadata(&file).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{}", file.display());
        }
    }

    #[test]
    fn a_damaged_store_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        drop(SqliteStore::open(&path, StoreOptions::default()).unwrap());
        let mut bytes = std::fs::read(&path).unwrap();
        for byte in &mut bytes[4096..12288] {
            *byte = 0xa5;
        }
        std::fs::write(&path, bytes).unwrap();
        assert!(refusal(&path).contains("damaged"), "{}", refusal(&path));
    }
}
