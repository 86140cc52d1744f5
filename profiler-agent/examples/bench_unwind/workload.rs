//! The load: generated C without frame pointers, whose stacks have a chosen depth and many different places.
//!
//! Every function takes a frame of another size, keeps other registers, and calls one of all functions by chance from
//! one of a few places, down to the chosen depth, where it works for a while. So each sample has another stack, and how
//! many different addresses the rule cache meets is the number of functions times the number of places. The chance is
//! seeded: every run has the same load.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};

/// Name of the program, by which its stacks are found in a capture.
pub(crate) const PROGRAM: &str = "deep";

/// Frames above the first generated function: `_start`, two of the C library, `main`.
const FRAMES_ABOVE: u32 = 4;

/// Shared libraries that the functions are spread over; as many again are in the program itself.
const LIBRARIES: u32 = 4;

/// Bytes of local variables; with saved registers and return address the frames take 16 to 256 bytes.
const ROOMS: [u32; 8] = [1, 8, 24, 40, 64, 96, 144, 200];

/// Turns of the loop at the leaf: some tens of microseconds, so that nearly all samples have the full depth.
const LEAF_TURNS: u32 = 40_000;

/// How many different places the stacks go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spread {
    /// Name in the table.
    pub(crate) name: &'static str,
    functions: u32,
    calls: u32,
}

/// Few addresses: after a few samples every one is in the rule cache.
pub(crate) const HOT: Spread = Spread { name: "hot", functions: 8, calls: 1 };

/// A service: 1,600 return addresses of each process, and the leaves.
pub(crate) const WIDE: Spread = Spread { name: "wide", functions: 400, calls: 4 };

/// 12,800 return addresses, three times as many as the rule cache has entries: most frames go to the tables.
pub(crate) const COLD: Spread = Spread { name: "cold", functions: 1600, calls: 8 };

/// A compiled program with its libraries.
#[derive(Debug)]
pub(crate) struct Workload {
    program: PathBuf,
}

impl Workload {
    /// Generates and compiles it in `folder`.
    pub(crate) fn build(folder: &Path, spread: Spread) -> Result<Self> {
        let folder = folder.join(spread.name);
        fs::create_dir_all(&folder).context("failed to create a folder for the load")?;
        let mut chance = Chance(0x5eed);
        let mut libraries = Vec::new();
        for library in 0..=LIBRARIES {
            let path = folder.join(format!("part{library}.c"));
            fs::write(&path, source_of_part(library, spread, &mut chance))
                .with_context(|| format!("failed to write `{}`", path.display()))?;
            if library < LIBRARIES {
                let shared = folder.join(format!("libpart{library}.so"));
                compile(&["-shared", "-fPIC"], &[&path], &shared)?;
                libraries.push(shared);
            }
        }
        let main = folder.join("main.c");
        fs::write(&main, source_of_main(spread))
            .with_context(|| format!("failed to write `{}`", main.display()))?;
        let program = folder.join(PROGRAM);
        let own = folder.join(format!("part{LIBRARIES}.c"));
        let mut inputs = vec![main.as_path(), own.as_path()];
        inputs.extend(libraries.iter().map(PathBuf::as_path));
        compile(&["-Wl,-rpath,$ORIGIN"], &inputs, &program)?;
        Ok(Self { program })
    }

    /// Starts one process for each CPU, whose stacks are `frames` deep.
    pub(crate) fn start(&self, frames: u32) -> Result<Load> {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let mut load = Load(Vec::new());
        for seed in 0..cpus {
            let child = Command::new(&self.program)
                .args([frames.saturating_sub(FRAMES_ABOVE + 1).to_string(), seed.to_string()])
                .stdin(Stdio::null())
                .spawn()
                .with_context(|| format!("failed to run `{}`", self.program.display()))?;
            load.0.push(child);
        }
        Ok(load)
    }
}

/// Ends the processes whatever happens.
pub(crate) struct Load(Vec<Child>);

impl Drop for Load {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // An error means that it ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn compile(flags: &[&str], inputs: &[&Path], output: &Path) -> Result<()> {
    let status = Command::new("cc")
        .args(["-O2", "-fomit-frame-pointer", "-fno-optimize-sibling-calls", "-w"])
        .args(flags)
        .args(inputs)
        .arg("-o")
        .arg(output)
        .status()
        .context("failed to run `cc`")?;
    ensure!(status.success(), "`cc` ended with {status} for `{}`", output.display());
    Ok(())
}

/// Writing to a string cannot fail.
macro_rules! line {
    ($text:expr, $($format:tt)*) => { let _ = writeln!($text, $($format)*); };
}

fn source_of_part(part: u32, spread: Spread, chance: &mut Chance) -> String {
    let mut text = String::new();
    line!(text, "typedef unsigned (*function)(unsigned left, unsigned state);");
    line!(text, "extern function functions[{}];", spread.functions);
    let own: Vec<u32> =
        (0..spread.functions).filter(|number| number % (LIBRARIES + 1) == part).collect();
    for number in &own {
        write_function(&mut text, *number, spread, chance);
    }
    line!(text, "void fill{part}(void) {{");
    for number in own {
        line!(text, "  functions[{number}] = f{number};");
    }
    line!(text, "}}");
    text
}

fn write_function(text: &mut String, number: u32, spread: Spread, chance: &mut Chance) {
    let room = ROOMS[chance.below(ROOMS.len() as u32) as usize];
    line!(text, "__attribute__((noinline)) unsigned f{number}(unsigned left, unsigned state) {{");
    line!(text, "  volatile unsigned char room[{room}];");
    line!(text, "  room[state % {room}] = left;");
    // What lives across the call is saved by the function: up to all six registers, rbp among them.
    let kept = chance.below(6);
    for value in 0..kept {
        line!(text, "  unsigned kept{value} = state * {}u + left;", chance.next() | 1);
        // Else the compiler would compute it again.
        line!(text, "  __asm__ volatile(\"\" : \"+r\"(kept{value}));");
    }
    line!(text, "  unsigned sum = 0;");
    line!(text, "  if (left == 0) {{");
    line!(text, "    for (unsigned turn = 0; turn < {LEAF_TURNS}; turn++)");
    line!(text, "      state = state * {}u + turn;", chance.next() | 1);
    line!(text, "    return state;");
    line!(text, "  }}");
    line!(text, "  state = state * 1664525u + 1013904223u;");
    line!(text, "  function next = functions[(state >> 8) % {}];", spread.functions);
    line!(text, "  switch ((state >> 4) % {}) {{", spread.calls);
    for call in 0..spread.calls {
        // Each place goes on differently, so that the compiler cannot make one of them all.
        line!(text, "  case {call}: sum = next(left - 1, state) * {}u; break;", chance.next() | 1);
    }
    line!(text, "  }}");
    for value in 0..kept {
        line!(text, "  sum = sum * 31 + kept{value};");
    }
    line!(text, "  return sum + room[0];");
    line!(text, "}}");
}

fn source_of_main(spread: Spread) -> String {
    let mut text = String::from("#include <stdlib.h>\n");
    line!(text, "typedef unsigned (*function)(unsigned left, unsigned state);");
    line!(text, "function functions[{}];", spread.functions);
    line!(text, "volatile unsigned result;");
    for part in 0..=LIBRARIES {
        line!(text, "void fill{part}(void);");
    }
    line!(text, "int main(int count, char **arguments) {{");
    for part in 0..=LIBRARIES {
        line!(text, "  fill{part}();");
    }
    line!(text, "  unsigned left = atoi(arguments[1]), state = atoi(arguments[2]);");
    line!(text, "  for (;;) {{");
    line!(text, "    state = state * 22695477u + 1;");
    line!(text, "    result = functions[(state >> 8) % {}](left, state);", spread.functions);
    line!(text, "  }}");
    line!(text, "}}");
    text
}

/// Numbers that are the same in every run; good enough to shuffle functions (Numerical Recipes' generator).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }

    fn below(&mut self, limit: u32) -> u32 {
        self.next() % limit
    }
}
