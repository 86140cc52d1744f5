//! Starts the servers: a database, a store of keys and a web server, each with a client that keeps it busy.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use super::{
    Load,
    sandbox::{Sandbox, free_port},
};

/// Longer than any capture; clients end before.
const CLIENT_SECONDS: &str = "600";

/// Bytes of the page that the web server packs and encrypts.
const PAGE_BYTES: usize = 32 << 10;

const NGINX_CONF: &str = include_str!("nginx.conf");

/// Starts `postgres` under pgbench: transactions that write, and queries that sort and join.
pub(super) fn postgres(sandbox: &Sandbox) -> Result<Load> {
    let programs = postgres_folder()?;
    let (folder, port) = (sandbox.path(), free_port()?.to_string());
    let data = folder.join("data");
    let mut make = sandbox.command(programs.join("initdb"))?;
    make.arg("--pgdata").arg(&data).args(["--auth=trust", "--no-sync", "--locale=C"]);
    sandbox.finish(make)?;
    let mut server = sandbox.command(programs.join("postgres"))?;
    server.arg("-D").arg(&data).args(["-p", &port, "-k"]).arg(folder);
    for setting in ["fsync=off", "listen_addresses=127.0.0.1", "shared_buffers=64MB"] {
        server.args(["-c", setting]);
    }
    let mut server = sandbox.start(server)?;
    sandbox.wait_for_port(port.parse()?, &mut server)?;
    let client = |arguments: &[&str]| -> Result<Command> {
        let mut client = sandbox.command(programs.join("pgbench"))?;
        client.args(["-h", "127.0.0.1", "-p", &port]).args(arguments).arg("postgres");
        Ok(client)
    };
    let query = sandbox.write(
        "query.sql",
        "select b.bid, count(*), sum(a.abalance), max(md5(a.aid::text || b.bid::text)) \
         from pgbench_accounts a join pgbench_branches b using (bid) where a.aid < 2000 \
         group by b.bid order by 3;\n",
    )?;
    sandbox.finish(client(&["--initialize", "--scale=2", "--quiet"])?)?;
    let query = format!("--file={}@1", query.display());
    let clients = ["-c", "4", "-j", "1", "-T", CLIENT_SECONDS, "-b", "tpcb-like@8", &query];
    let client = sandbox.start(client(&clients)?)?;
    Ok(Load { measured: server, client: Some(client) })
}

/// Starts Redis under redis-benchmark.
pub(super) fn redis(sandbox: &Sandbox) -> Result<Load> {
    let port = free_port()?;
    let text = port.to_string();
    let mut server = sandbox.command("/usr/bin/redis-server")?;
    server.args(["--port", &text, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    server.arg("--dir").arg(sandbox.path());
    let mut server = sandbox.start(server)?;
    sandbox.wait_for_port(port, &mut server)?;
    let mut client = sandbox.command("/usr/bin/redis-benchmark")?;
    client.args(["-p", &text, "-q", "-l", "-c", "20", "-P", "8", "-n", "20000", "-r", "1000"]);
    client.args(["-t", "set,get,incr,lpush,lpop,sadd,hset,spop,zadd,lrange_100,mset"]);
    let client = sandbox.start(client)?;
    Ok(Load { measured: server, client: Some(client) })
}

/// Starts nginx under ab: pages over TLS, packed for every answer, with a new session every few hundred.
pub(super) fn nginx(sandbox: &Sandbox) -> Result<Load> {
    let port = free_port()?;
    let folder = sandbox.path();
    let page: String =
        (0..PAGE_BYTES / 16).map(|number| format!("{:015x}\n", number * number)).collect();
    sandbox.write("pages/page.txt", page)?;
    let mut certificate = sandbox.command("/usr/bin/openssl")?;
    certificate
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"])
        .arg("-keyout")
        .arg(folder.join("key.pem"))
        .arg("-out")
        .arg(folder.join("certificate.pem"));
    sandbox.finish(certificate)?;
    let conf = NGINX_CONF
        .replace("FOLDER", &folder.display().to_string())
        .replace("PORT", &port.to_string());
    let conf = sandbox.write("nginx.conf", conf)?;
    let mut server = sandbox.command("/usr/sbin/nginx")?;
    server.args(["-e", "stderr", "-p"]).arg(folder).arg("-c").arg(conf);
    let mut server = sandbox.start(server)?;
    sandbox.wait_for_port(port, &mut server)?;
    let mut client = sandbox.command("/usr/bin/ab")?;
    client.args(["-q", "-k", "-c", "16", "-t", CLIENT_SECONDS, "-n", "100000000"]);
    client.args(["-H", "Accept-Encoding: gzip"]).arg(format!("https://127.0.0.1:{port}/page.txt"));
    let client = sandbox.start(client)?;
    Ok(Load { measured: server, client: Some(client) })
}

/// The folder of the newest `postgres`: Debian keeps the servers of all versions apart.
fn postgres_folder() -> Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").context("PostgreSQL is not installed")?;
    let newest = versions
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|version| postgres_programs(*version).join("postgres").is_file())
        .max();
    newest.map(postgres_programs).context("PostgreSQL is not installed")
}

fn postgres_programs(version: u32) -> PathBuf {
    PathBuf::from(format!("/usr/lib/postgresql/{version}/bin"))
}
