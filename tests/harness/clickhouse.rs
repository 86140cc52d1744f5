//! Debian's `ClickHouse` as 2 shards of 2 replicas beside one `ZooKeeper`, on free ports and in a folder of its own.
//!
//! Rests on nothing else of the harness, so that the tests of the collector can use it too.

use std::fs;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Shards, and replicas of each.
const SHARDS: usize = 2;
const REPLICAS: usize = 2;

/// Longest time for a server to answer after its start.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// Name of the cluster in the servers' settings.
const CLUSTER: &str = "flamewatch_test";

/// Where Debian's package `zookeeper` has its program.
const ZOOKEEPER: &str = "/usr/share/java/zookeeper.jar";

/// Why a cluster cannot be started here, or `None` if it can.
#[must_use]
pub fn missing() -> Option<String> {
    if find("clickhouse-server").is_none() {
        return Some("needs Debian's package clickhouse-server".to_owned());
    }
    if !Path::new(ZOOKEEPER).exists() || find("java").is_none() {
        return Some("needs Debian's package zookeeper".to_owned());
    }
    None
}

/// A cluster that runs; it ends when this value does.
#[derive(Debug)]
pub struct Cluster {
    zookeeper: Child,
    servers: Vec<Server>,
}

#[derive(Debug)]
struct Server {
    folder: PathBuf,
    ports: Ports,
    process: Option<Child>,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    http: u16,
    tcp: u16,
    interserver: u16,
}

impl Cluster {
    /// Starts all servers below `folder`, and waits until they answer.
    ///
    /// # Errors
    ///
    /// When one does not.
    pub fn start(folder: &Path) -> Result<Self> {
        let zookeeper_port = free_port()?;
        let zookeeper = start_zookeeper(&folder.join("zookeeper"), zookeeper_port)?;
        // From here on it is ended with the cluster, whatever happens.
        let mut cluster = Self { zookeeper, servers: Vec::new() };
        for _ in 0..SHARDS * REPLICAS {
            let ports = Ports { http: free_port()?, tcp: free_port()?, interserver: free_port()? };
            let folder = folder.join(format!("server-{}", cluster.servers.len()));
            cluster.servers.push(Server { folder, ports, process: None });
        }
        let tcp: Vec<u16> = cluster.servers.iter().map(|server| server.ports.tcp).collect();
        for at in 0..cluster.servers.len() {
            cluster.servers[at].configure(at, zookeeper_port, &tcp)?;
        }
        eventually("ZooKeeper answers", || {
            Ok(TcpStream::connect(("127.0.0.1", zookeeper_port)).map(drop)?)
        })?;
        for server in &mut cluster.servers {
            server.start()?;
        }
        for server in &mut cluster.servers {
            server.wait()?;
        }
        Ok(cluster)
    }

    /// What `--store` takes.
    #[must_use]
    pub fn address(&self, database: &str) -> String {
        let hosts: Vec<String> =
            self.servers.iter().map(|server| format!("127.0.0.1:{}", server.ports.http)).collect();
        format!("clickhouse://{}/{database}?cluster={CLUSTER}", hosts.join(","))
    }

    /// Kills a server as a crash would (SIGKILL).
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn kill(&mut self, server: usize) -> Result<()> {
        let mut process = self.servers[server].process.take().context("the server does not run")?;
        process.kill().context("failed to kill the server")?;
        process.wait().context("failed to wait for the killed server")?;
        Ok(())
    }

    /// Starts a killed server again, and waits until it answers.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub fn restart(&mut self, server: usize) -> Result<()> {
        self.servers[server].start()?;
        self.servers[server].wait()
    }

    /// Asks one server; the answer is text.
    ///
    /// # Errors
    ///
    /// When it refuses.
    pub fn ask(&self, server: usize, sql: &str) -> Result<String> {
        ask(self.servers[server].ports.http, sql)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let servers = self.servers.iter_mut().filter_map(|server| server.process.as_mut());
        for process in servers.chain([&mut self.zookeeper]) {
            // What has already ended is as good as killed.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Server {
    fn configure(&self, at: usize, zookeeper: u16, tcp: &[u16]) -> Result<()> {
        let (folder, Ports { http, tcp: own, interserver }) = (self.folder.display(), self.ports);
        for name in ["data", "tmp", "format"] {
            fs::create_dir_all(self.folder.join(name)).context("failed to make a folder")?;
        }
        let shards: Vec<String> = tcp
            .chunks(REPLICAS)
            .map(|replicas| {
                let replica = |port: &u16| {
                    format!("<replica><host>127.0.0.1</host><port>{port}</port></replica>")
                };
                let replicas: String = replicas.iter().map(replica).collect();
                format!(
                    "<shard><internal_replication>true</internal_replication>{replicas}</shard>"
                )
            })
            .collect();
        let (shard, replica, shards) = (at / REPLICAS + 1, at % REPLICAS + 1, shards.concat());
        // Small caches and few threads: four servers share a machine with the test.
        let config = format!(
            "<yandex>
<logger><level>warning</level><log>{folder}/server.log</log><errorlog>{folder}/error.log</errorlog>
<size>10M</size><count>1</count></logger>
<listen_host>127.0.0.1</listen_host><http_port>{http}</http_port><tcp_port>{own}</tcp_port>
<interserver_http_port>{interserver}</interserver_http_port>
<interserver_http_host>127.0.0.1</interserver_http_host>
<path>{folder}/data/</path><tmp_path>{folder}/tmp/</tmp_path>
<format_schema_path>{folder}/format/</format_schema_path>
<users_config>users.xml</users_config><default_profile>default</default_profile>
<default_database>default</default_database>
<mark_cache_size>16777216</mark_cache_size><uncompressed_cache_size>0</uncompressed_cache_size>
<max_concurrent_queries>100</max_concurrent_queries><keep_alive_timeout>3</keep_alive_timeout>
<zookeeper><node><host>127.0.0.1</host><port>{zookeeper}</port></node>
<session_timeout_ms>10000</session_timeout_ms></zookeeper>
<macros><shard>{shard}</shard><replica>{replica}</replica></macros>
<distributed_ddl><path>/clickhouse/task_queue/ddl</path></distributed_ddl>
<remote_servers><{CLUSTER}>{shards}</{CLUSTER}></remote_servers>
</yandex>"
        );
        let users = "<yandex><profiles><default><max_memory_usage>1000000000</max_memory_usage>
<load_balancing>in_order</load_balancing><background_pool_size>8</background_pool_size>
<max_threads>2</max_threads></default></profiles>
<users><default><password></password><networks><ip>127.0.0.1</ip></networks>
<profile>default</profile><quota>default</quota></default></users>
<quotas><default></default></quotas></yandex>";
        fs::write(self.folder.join("config.xml"), config).context("failed to write settings")?;
        fs::write(self.folder.join("users.xml"), users).context("failed to write settings")
    }

    fn start(&mut self) -> Result<()> {
        let program = find("clickhouse-server").context("clickhouse-server is not installed")?;
        let output =
            File::create(self.folder.join("output.log")).context("failed to make a log")?;
        let child = Command::new(program)
            .arg(format!("--config-file={}", self.folder.join("config.xml").display()))
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .context("failed to start clickhouse-server")?;
        self.process = Some(child);
        Ok(())
    }

    fn wait(&mut self) -> Result<()> {
        let port = self.ports.http;
        eventually("a server answers", || ask(port, "SELECT 1").map(drop))
    }
}

fn start_zookeeper(folder: &Path, port: u16) -> Result<Child> {
    fs::create_dir_all(folder).context("failed to make a folder")?;
    let settings = folder.join("zoo.cfg");
    let data = folder.join("data");
    let text = format!(
        "tickTime=500\ndataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\n\
         admin.enableServer=false\nmaxClientCnxns=0\n",
        data.display()
    );
    fs::write(&settings, text).context("failed to write settings")?;
    let output = File::create(folder.join("output.log")).context("failed to make a log")?;
    let errors = output.try_clone().context("failed to share a log")?;
    Command::new("java")
        .args(["-Xmx192m", "-XX:+UseSerialGC", "-Dzookeeper.forceSync=no", "-cp"])
        .arg("/usr/share/java/*")
        .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
        .arg(&settings)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .context("failed to start ZooKeeper")
}

/// One HTTP request, answered by a server that closes afterwards.
fn ask(port: u16, sql: &str) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).context("failed to connect")?;
    stream.set_read_timeout(Some(READY_LIMIT)).context("failed to set a time limit")?;
    let length = sql.len();
    write!(stream, "POST /?wait_end_of_query=1 HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{sql}")
        .context("failed to ask")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).context("failed to read the answer")?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer without a body")?;
    if !head.lines().next().is_some_and(|status| status.contains(" 200 ")) {
        bail!("refused: {body}");
    }
    Ok(body.to_owned())
}

fn eventually(what: &str, mut check: impl FnMut() -> Result<()>) -> Result<()> {
    let begin = Instant::now();
    loop {
        match check() {
            Ok(()) => return Ok(()),
            Err(error) if begin.elapsed() > READY_LIMIT => {
                return Err(error).with_context(|| format!("not in time: {what}"));
            }
            Err(_) => sleep(Duration::from_millis(100)),
        }
    }
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("failed to find a free port")?;
    Ok(listener.local_addr().context("failed to find a free port")?.port())
}

/// A program on the search path, or where Debian keeps those of administrators.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/bin")])
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}
