//! Decides which service a process is, from what it and the system say about it.
//!
//! Pure; [`facts`](super::facts) reads the facts.

use super::container::Placement;
use super::{Identity, TableOptions};

/// Version where nothing tells one.
const UNKNOWN: &str = "unknown";

/// Service of all threads of the kernel.
const KERNEL: &str = "kernel";

/// Digits of a build id that are shown as version, enough to tell builds apart.
const BUILD_ID_DIGITS: usize = 12;

/// Longest value taken from a process, in bytes; longer ones are cut. Kubernetes names end at 253.
const VALUE_BYTES_MAX: usize = 256;

/// What is known about a process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Name of its first thread.
    pub comm: String,
    /// Release of the running kernel, for threads of the kernel.
    pub kernel_thread: Option<String>,
    /// File name of the executable without its folder.
    pub executable: Option<String>,
    /// Build id of the executable in hex.
    pub build_id: Option<String>,
    /// Arguments, the first is the program.
    pub arguments: Vec<String>,
    /// What the OpenTelemetry variables of its environment say.
    pub telemetry: Telemetry,
    /// Where its control groups put it.
    pub placement: Placement,
}

/// Resource attributes of OpenTelemetry that matter here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Telemetry {
    service: Option<String>,
    version: Option<String>,
    instance: Option<String>,
    environment: Option<String>,
    pod: Option<String>,
}

impl Telemetry {
    /// Reads `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` from the bytes of `/proc/PID/environ`.
    pub(super) fn parse(environ: &[u8]) -> Self {
        let mut telemetry = Self::default();
        let mut service = None;
        for variable in environ.split(|byte| *byte == 0) {
            if let Some(name) = variable.strip_prefix(b"OTEL_SERVICE_NAME=") {
                service = cleaned(&String::from_utf8_lossy(name));
            } else if let Some(list) = variable.strip_prefix(b"OTEL_RESOURCE_ATTRIBUTES=") {
                telemetry.read_attributes(&String::from_utf8_lossy(list));
            }
        }
        // The specification puts the variable of its own above the attribute.
        telemetry.service = service.or(telemetry.service);
        telemetry
    }

    /// Reads `key=value,key=value` with percent-encoded values.
    fn read_attributes(&mut self, list: &str) {
        for (key, value) in list.split(',').filter_map(|pair| pair.split_once('=')) {
            let value = cleaned(&percent_decoded(value));
            let place = match key.trim() {
                "service.name" => &mut self.service,
                "service.version" => &mut self.version,
                "service.instance.id" => &mut self.instance,
                "deployment.environment.name" | "deployment.environment" => &mut self.environment,
                "k8s.pod.name" => &mut self.pod,
                _ => continue,
            };
            if value.is_some() {
                *place = value;
            }
        }
    }
}

/// Decides the identity: flags first, then what the process says, then what the system says, then its program.
pub(super) fn identify(facts: &Facts, options: &TableOptions) -> Identity {
    let Facts { telemetry, placement, .. } = facts;
    Identity {
        service: options.service.clone().unwrap_or_else(|| service(facts)),
        version: options.version.clone().unwrap_or_else(|| version(facts)),
        unit: telemetry
            .instance
            .clone()
            .or_else(|| placement.pod.clone())
            .or_else(|| placement.container.clone())
            .unwrap_or_else(|| options.host.clone()),
        labels: labels(facts),
    }
}

fn service(facts: &Facts) -> String {
    if facts.kernel_thread.is_some() {
        return KERNEL.to_owned();
    }
    // The id of a container changes with each release, so it is no service; the program in it is.
    let unit = match (&facts.placement.container, &facts.placement.systemd_unit) {
        (None, Some(unit)) => unit.strip_suffix(".service").and_then(cleaned),
        _ => None,
    };
    facts
        .telemetry
        .service
        .clone()
        .or(unit)
        .or_else(|| facts.executable.as_deref().map(|name| program(name, &facts.arguments)))
        .or_else(|| cleaned(&facts.comm))
        .unwrap_or_else(|| UNKNOWN.to_owned())
}

fn version(facts: &Facts) -> String {
    let build = facts.build_id.as_deref().map(|id| id.chars().take(BUILD_ID_DIGITS).collect());
    facts
        .telemetry
        .version
        .clone()
        .or_else(|| facts.kernel_thread.clone())
        .or(build)
        .unwrap_or_else(|| UNKNOWN.to_owned())
}

fn labels(facts: &Facts) -> Vec<(String, String)> {
    let Facts { telemetry, placement, executable, .. } = facts;
    // In the order of the keys.
    [
        ("container", &placement.container),
        ("environment", &telemetry.environment),
        (Identity::EXECUTABLE, executable),
        ("pod", if telemetry.pod.is_some() { &telemetry.pod } else { &placement.pod }),
        ("systemd_unit", &placement.systemd_unit),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((key.to_owned(), value.clone()?)))
    .collect()
}

/// The program by name: of an interpreter, the script, module or class that it runs.
fn program(executable: &str, arguments: &[String]) -> String {
    let arguments = arguments.get(1..).unwrap_or_default();
    let name = executable.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let run = match name {
        "python" | "pypy" => script(arguments, "-m", &["-W", "-X"]),
        "node" | "nodejs" | "bun" | "deno" => {
            script(arguments, "", &["-r", "--require", "--import"])
        }
        "ruby" | "perl" | "php" => script(arguments, "", &["-I"]),
        "bash" | "sh" | "dash" => script(arguments, "", &["-o"]),
        "java" => java_class(arguments),
        "dotnet" => script(arguments, "", &[]),
        _ => None,
    };
    run.and_then(|run| cleaned(&run)).unwrap_or_else(|| cut(executable).to_owned())
}

/// The first argument that is no option, or the one after the option that names a module.
fn script(arguments: &[String], module_option: &str, with_value: &[&str]) -> Option<String> {
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if !module_option.is_empty() && argument == module_option {
            return arguments.next().cloned();
        }
        // The program itself is an argument; there is no name for it.
        if matches!(argument.as_str(), "-c" | "-e" | "-" | "--eval") {
            return None;
        }
        if with_value.contains(&argument.as_str()) {
            arguments.next();
        } else if !argument.starts_with('-') {
            // An open file has a number for a name.
            let opened = argument.starts_with("/dev/fd/") || argument.starts_with("/proc/");
            return argument.rsplit('/').next().filter(|_| !opened).map(str::to_owned);
        }
    }
    None
}

/// The jar, module or main class that a `java` command runs.
fn java_class(arguments: &[String]) -> Option<String> {
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "-jar" => {
                let jar = arguments.next()?.rsplit('/').next()?;
                return Some(jar.strip_suffix(".jar").unwrap_or(jar).to_owned());
            }
            "-m" | "--module" => return arguments.next()?.rsplit('/').next().map(str::to_owned),
            "-cp"
            | "-classpath"
            | "--class-path"
            | "-p"
            | "--module-path"
            | "--add-modules"
            | "--add-opens"
            | "--add-exports"
            | "--add-reads"
            | "--upgrade-module-path" => {
                arguments.next();
            }
            option if option.starts_with('-') || option.starts_with('@') => {}
            class => return Some(class.to_owned()),
        }
    }
    None
}

/// The value without blanks at its ends and control characters, cut to its limit; `None` when nothing is left.
fn cleaned(value: &str) -> Option<String> {
    let value: String = value.trim().chars().filter(|c| !c.is_control()).collect();
    let value = cut(&value);
    (!value.is_empty()).then(|| value.to_owned())
}

fn cut(value: &str) -> &str {
    &value[..value.floor_char_boundary(VALUE_BYTES_MAX)]
}

/// Undoes percent-encoding; what is no valid escape stays as it is.
fn percent_decoded(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escape = tail.get(..2).filter(|_| *first == b'%');
        let digits = escape.and_then(|digits| std::str::from_utf8(digits).ok());
        let plain = digits
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(plain.unwrap_or(*first));
        rest = if plain.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn options() -> TableOptions {
        TableOptions { host: "box".to_owned(), service: None, version: None }
    }

    fn facts(executable: &str, arguments: &str) -> Facts {
        Facts {
            comm: "thread".to_owned(),
            executable: Some(executable.to_owned()),
            build_id: Some("00112233445566778899".to_owned()),
            arguments: arguments.split_whitespace().map(str::to_owned).collect(),
            ..Facts::default()
        }
    }

    #[test]
    fn flags_stand_above_what_the_process_says() {
        let mut facts = facts("app", "app");
        facts.telemetry = Telemetry::parse(b"A=B\0OTEL_SERVICE_NAME=shop\0");
        let mut options = options();
        assert_eq!(identify(&facts, &options).service, "shop");
        options.service = Some("flag".to_owned());
        options.version = Some("v9".to_owned());
        let identity = identify(&facts, &options);
        assert_eq!((identity.service.as_str(), identity.version.as_str()), ("flag", "v9"));
    }

    #[test]
    fn opentelemetry_attributes_are_decoded() {
        let mut facts = facts("app", "app");
        facts.telemetry = Telemetry::parse(
            b"OTEL_RESOURCE_ATTRIBUTES=service.name=check%20out,service.version=1.2%2Bb,\
              service.instance.id=i-7,deployment.environment.name=prod,bad,k=\0",
        );
        let identity = identify(&facts, &options());
        assert_eq!(identity.service, "check out");
        assert_eq!(identity.version, "1.2+b");
        assert_eq!(identity.unit, "i-7");
        let labels = [("environment", "prod"), ("executable", "app")];
        assert_eq!(identity.labels, labels.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn the_variable_stands_above_the_attribute_in_any_order() {
        for environ in [
            &b"OTEL_SERVICE_NAME=a\0OTEL_RESOURCE_ATTRIBUTES=service.name=b"[..],
            &b"OTEL_RESOURCE_ATTRIBUTES=service.name=b\0OTEL_SERVICE_NAME=a"[..],
        ] {
            assert_eq!(Telemetry::parse(environ).service.as_deref(), Some("a"));
        }
    }

    #[test]
    fn a_unit_names_the_service_but_not_that_of_the_container_runtime() {
        let mut facts = facts("nginx", "nginx");
        facts.placement.systemd_unit = Some("web.service".to_owned());
        assert_eq!(identify(&facts, &options()).service, "web");
        assert_eq!(identify(&facts, &options()).unit, "box");
        facts.placement.container = Some("c".repeat(64));
        assert_eq!(identify(&facts, &options()).service, "nginx");
        assert_eq!(identify(&facts, &options()).unit, "c".repeat(64));
        facts.placement.pod = Some("pod-uid".to_owned());
        assert_eq!(identify(&facts, &options()).unit, "pod-uid");
    }

    #[test]
    fn interpreters_are_named_by_what_they_run() {
        let check = |executable: &str, arguments: &str, service: &str| {
            let identity = identify(&facts(executable, arguments), &options());
            assert_eq!(identity.service, service, "{arguments}");
        };
        check("python3.11", "/usr/bin/python3 -u -X dev /srv/shop/serve.py --port 1", "serve.py");
        check("python3", "python3 -m http.server 80", "http.server");
        check("python3", "python3 -c print(1)", "python3");
        check("bash", "bash -e /dev/fd/3", "bash");
        check("bash", "bash -o pipefail /srv/backup.sh /data", "backup.sh");
        check("node", "node --max-old-space-size=1 -r ./trace.js /srv/index.js x", "index.js");
        check("java", "java -Xmx1g -cp a.jar:b.jar com.shop.Main arg", "com.shop.Main");
        check("java", "java -Dx=y -jar /opt/app-1.jar", "app-1");
        check("java", "java", "java");
        check("go-server2", "go-server2 /not/a/script", "go-server2");
    }

    #[test]
    fn versions_fall_back_to_the_build_and_kernel_threads_to_the_kernel() {
        let mut facts = facts("app", "app");
        assert_eq!(identify(&facts, &options()).version, "001122334455");
        facts.build_id = None;
        assert_eq!(identify(&facts, &options()).version, "unknown");
        let thread = Facts { kernel_thread: Some("6.1.0".to_owned()), ..Facts::default() };
        let identity = identify(&thread, &options());
        assert_eq!((identity.service.as_str(), identity.version.as_str()), ("kernel", "6.1.0"));
        let gone = Facts { comm: "sh".to_owned(), ..Facts::default() };
        assert_eq!(identify(&gone, &options()).service, "sh");
    }

    proptest! {
        #[test]
        fn arbitrary_environments_never_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..300), list in "[%a-f0-9=,é.]{0,80}"
        ) {
            let _ = Telemetry::parse(&bytes);
            let text = format!("OTEL_RESOURCE_ATTRIBUTES=service.name={list}");
            let service = Telemetry::parse(text.as_bytes()).service;
            prop_assert!(service.is_none_or(|name| name.len() <= VALUE_BYTES_MAX));
        }
    }
}
