//! Reads what callgrind wrote: for each call of the function that was counted
//! its instructions, the functions that it came to, and where the program's
//! own instructions stand, which tells those that lock the bus.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::process::Command;

/// One call of the counted function.
#[derive(Debug, Default)]
pub struct Call {
    /// Instructions.
    pub instructions: u64,
    /// The functions that were called, by name, those above the counted one included.
    pub functions: BTreeSet<String>,
    /// Addresses in the program of the instructions that were executed.
    pub addresses: BTreeSet<u64>,
}

/// The calls in `text`, a file with `--dump-after` and `--dump-instr=yes` of `program`.
pub fn calls(text: &str, program: &Path) -> Vec<Call> {
    let program = program.display().to_string();
    let (mut functions, mut objects) = (Names::default(), Names::default());
    let parts = text.split("\npart: ").filter(|part| part.contains("Trigger: --dump-after"));
    parts.map(|part| call(part, &program, &mut functions, &mut objects)).collect()
}

fn call(part: &str, program: &str, functions: &mut Names, objects: &mut Names) -> Call {
    let mut call = Call::default();
    let (mut at, mut is_ours, mut is_call) = (0u64, false, false);
    for line in part.lines() {
        if let Some(rest) = line.strip_prefix("summary: ") {
            call.instructions = rest.trim().parse().expect("a sum");
        } else if let Some(rest) = line.strip_prefix("ob=") {
            is_ours = objects.name(rest) == program;
        } else if let Some(rest) = line.strip_prefix("cob=") {
            objects.name(rest);
        } else if let Some(rest) = line.strip_prefix("fn=").or_else(|| line.strip_prefix("cfn=")) {
            call.functions.insert(functions.name(rest).to_owned());
        } else if line.starts_with("calls=") {
            // The next line holds the cost of the whole call, at the place of the call.
            is_call = true;
        } else if let Some(address) = line.split(' ').next().and_then(|word| address(word, at)) {
            at = address;
            if is_ours && !is_call {
                call.addresses.insert(at);
            }
            is_call = false;
        }
    }
    call
}

/// An address, as such or by its distance to the one before.
fn address(word: &str, before: u64) -> Option<u64> {
    match word.split_at_checked(1)? {
        ("*", "") => Some(before),
        ("+", more) => Some(before + more.parse::<u64>().ok()?),
        ("-", less) => Some(before - less.parse::<u64>().ok()?),
        _ => u64::from_str_radix(word.strip_prefix("0x")?, 16).ok(),
    }
}

/// Names by number: callgrind writes each once.
#[derive(Default)]
struct Names(BTreeMap<String, String>);

impl Names {
    fn name(&mut self, text: &str) -> &str {
        let (number, name) = text.split_once(' ').unwrap_or((text, ""));
        let known = self.0.entry(number.to_owned()).or_default();
        if !name.is_empty() {
            name.clone_into(known);
        }
        known
    }
}

/// Where in `program` instructions stand that lock the bus: what every lock,
/// reference count and shared counter begins with. `None` without objdump.
pub fn locking_instructions(program: &Path) -> Option<HashSet<u64>> {
    let run = Command::new("objdump").args(["-d", "--no-show-raw-insn"]).arg(program).output().ok()?;
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let text = String::from_utf8_lossy(&run.stdout).into_owned();
    let locking = text.lines().filter_map(|line| {
        let (address, instruction) = line.trim_start().split_once(":\t")?;
        let locks =
            instruction.starts_with("lock ") || instruction.starts_with("xchg ") && instruction.contains('(');
        if locks { u64::from_str_radix(address, 16).ok() } else { None }
    });
    Some(locking.collect())
}
