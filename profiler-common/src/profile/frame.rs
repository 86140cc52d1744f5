//! One frame of a stack, by name.

/// What kind of code a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FrameKind {
    /// Compiled user code.
    Native,
    /// Compiled user code, inlined into the frame before it.
    Inlined,
    /// Kernel code.
    Kernel,
    /// Code made at run time and named by its runtime.
    Jit,
    /// A marker of ours, such as `[truncated]`; it is not a function.
    Marker,
}

/// One frame of a stack.
///
/// `function` is the demangled name, or `module+0xoffset` (file offset, hex) when the address has no name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Frame {
    /// What kind of code this is.
    pub kind: FrameKind,
    /// Demangled name, or `module+0xoffset`, or a marker in square brackets.
    pub function: String,
    /// File name of the executable or library without its folder; `[kernel]`, `[vdso]`, `[jit]`, or empty.
    pub module: String,
    /// Source file, or empty.
    pub file: String,
    /// Source line, or 0.
    pub line: u32,
    /// Build id of the module in hex for unnamed frames, else empty.
    pub build_id: String,
}

impl Frame {
    /// A marker frame such as `[truncated]`.
    #[must_use]
    pub fn marker(name: &str) -> Self {
        Self {
            kind: FrameKind::Marker,
            function: name.to_owned(),
            module: String::new(),
            file: String::new(),
            line: 0,
            build_id: String::new(),
        }
    }

    /// The frame as it stands in folded text: kernel functions carry the suffix `_[k]`, inlined ones `_[i]`, and those
    /// of a runtime `_[j]`, as `perf` script collapsers write them.
    #[must_use]
    pub fn folded_name(&self) -> String {
        let suffix = match self.kind {
            FrameKind::Kernel => "_[k]",
            FrameKind::Inlined => "_[i]",
            FrameKind::Jit => "_[j]",
            FrameKind::Native | FrameKind::Marker => "",
        };
        // A semicolon separates frames and a line break separates stacks, so neither may stand in a name.
        let name = self.function.replace([';', '\n', '\r'], ":");
        format!("{name}{suffix}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_separators_cannot_break_folded_text() {
        let mut frame = Frame::marker("operator;\n()");
        frame.kind = FrameKind::Kernel;
        assert_eq!(frame.folded_name(), "operator::()_[k]");
    }
}
