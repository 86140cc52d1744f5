//! Starts the runtimes: interpreters and virtual machines, each with a program that uses their native parts.

use anyhow::Result;

use super::{Load, sandbox::Sandbox};

/// Starts `python3`.
pub(super) fn python(sandbox: &Sandbox) -> Result<Load> {
    let script = sandbox.write("load.py", include_str!("load.py"))?;
    let mut command = sandbox.command("/usr/bin/python3")?;
    command.arg(script);
    Ok(Load { measured: sandbox.start(command)?, client: None })
}

/// Starts Node.js.
pub(super) fn node(sandbox: &Sandbox) -> Result<Load> {
    let script = sandbox.write("load.js", include_str!("load.js"))?;
    let mut command = sandbox.command("/usr/bin/node")?;
    command.arg(script);
    Ok(Load { measured: sandbox.start(command)?, client: None })
}

/// Starts a Java virtual machine as it comes.
pub(super) fn java(sandbox: &Sandbox) -> Result<Load> {
    start_java(sandbox, &[])
}

/// Starts one whose compiler keeps frame pointers.
pub(super) fn java_with_frame_pointers(sandbox: &Sandbox) -> Result<Load> {
    start_java(sandbox, &["-XX:+PreserveFramePointer"])
}

fn start_java(sandbox: &Sandbox, options: &[&str]) -> Result<Load> {
    let source = sandbox.write("Load.java", include_str!("Load.java"))?;
    let mut compile = sandbox.command("/usr/bin/javac")?;
    compile.arg("-d").arg(sandbox.path()).arg(source);
    sandbox.finish(compile)?;
    let mut command = sandbox.command("/usr/bin/java")?;
    command.arg("-Xmx256m").args(options).arg("-cp").arg(sandbox.path()).arg("Load");
    Ok(Load { measured: sandbox.start(command)?, client: None })
}
