//! Measures how long each syscall takes, into one histogram for each process and syscall and CPU.
//!
//! The common path is two array lookups and no hash: on `sys_enter` one store of a packed start, on `sys_exit` its
//! load, and additions to a slot that belongs to this CPU alone.

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_get_smp_processor_id, bpf_ktime_get_ns};
use aya_ebpf::programs::RawTracePointContext;
use profiler_common::abi::CALL_STARTS as CALL_STARTS_LEN;
use profiler_common::abi::latency::{
    BUCKETS, ERRNOS, LatencySlot, SLOT_IA32, SYSCALL_NUMBER_MAX, bucket_of, call_start, slot_hash,
    slot_key,
};
use profiler_common::abi::outcome::Outcome;

use crate::maps::{
    CALL_STARTS, CALL_STARTS_OVERFLOW, LATENCY, LATENCY_EMPTY, LATENCY_OVERFLOW, setting,
};
use crate::task;

/// Remembers the start of a call: arguments of the tracepoint are (registers, number).
#[inline(always)]
pub fn enter(ctx: &RawTracePointContext) -> Result<(), Outcome> {
    let nr: u64 = ctx.arg(1);
    if nr > u64::from(SYSCALL_NUMBER_MAX) {
        return Err(Outcome::CallUnknownNumber);
    }
    let (tgid, tid) = task::split(bpf_get_current_pid_tgid());
    if !task::is_target(tgid) {
        return Ok(());
    }
    let slot = start_slot(tid).ok_or(Outcome::CallStartLost)?;
    // SAFETY: the slot is a live element of the array; one aligned word is read and written at once.
    let held = unsafe { slot.read_volatile() };
    // SAFETY: the helper takes nothing.
    let start = call_start::pack(tid, nr as u32, unsafe { bpf_ktime_get_ns() });
    if held == 0 || call_start::is_of(held, tid) {
        // SAFETY: as above.
        unsafe { slot.write_volatile(start) };
        return Ok(());
    }
    CALL_STARTS_OVERFLOW.insert(tid, start, 0).map_err(|_| Outcome::CallStartLost)
}

/// Adds the call that ends to its histogram: arguments of the tracepoint are (registers, result).
#[inline(always)]
pub fn exit(ctx: &RawTracePointContext) -> Result<(), Outcome> {
    let (tgid, tid) = task::split(bpf_get_current_pid_tgid());
    let slot = start_slot(tid).ok_or(Outcome::CallStartLost)?;
    // SAFETY: the slot is a live element of the array; one aligned word is read and written at once.
    let mut start = unsafe { slot.read_volatile() };
    if call_start::is_of(start, tid) {
        // SAFETY: as above.
        unsafe { slot.write_volatile(0) };
    } else {
        start = take_overflowed_start(tgid, tid)?;
    }
    // SAFETY: the helper takes nothing.
    let latency_ns = call_start::elapsed_ns(start, unsafe { bpf_ktime_get_ns() });
    let call = Call { nr: call_start::number(start), latency_ns, result: ctx.arg(1) };
    let slots_per_cpu = setting!(latency_slots_per_cpu);
    let key = slot_key(tgid, call.nr);
    // SAFETY: the helper takes nothing.
    let cpu = unsafe { bpf_get_smp_processor_id() } as u32;
    let index = cpu * slots_per_cpu + (slot_hash(key) & slots_per_cpu.wrapping_sub(1));
    let slot = LATENCY.get_ptr_mut(index).ok_or(Outcome::CallHistogramLost)?;
    // SAFETY: the slot is a live element of the array. Only programs on this CPU write to it, and this tracepoint runs
    // without preemption.
    unsafe {
        if (*slot).key != key {
            if (*slot).key != 0 {
                return add_overflowed(ctx, &call, key);
            }
            claim(ctx, slot, key);
        }
        (*slot).sum_ns += call.latency_ns;
        if call.latency_ns > (*slot).max_ns {
            (*slot).max_ns = call.latency_ns;
        }
        if let Some(bucket) = call.bucket(slot) {
            *bucket += 1;
        }
        if let Some(error) = call.error(slot) {
            *error += 1;
        }
    }
    Ok(())
}

/// Moves the start of the `execve` to the number that the thread has from now on: when another thread than the main
/// one calls it, the kernel gives it the main thread's number. Arguments of the tracepoint are (task, old tid, …).
#[inline(always)]
pub fn follow_exec(ctx: &RawTracePointContext) {
    if setting!(latency_slots_per_cpu) == 0 {
        return;
    }
    let (_, tid) = task::split(bpf_get_current_pid_tgid());
    let old_tid: u32 = ctx.arg(1);
    if old_tid == tid {
        return;
    }
    let (Some(old), Some(new)) = (start_slot(old_tid), start_slot(tid)) else { return };
    // SAFETY: both slots are live elements of the array; one aligned word is read and written at once.
    unsafe {
        let start = old.read_volatile();
        if call_start::is_of(start, old_tid) {
            old.write_volatile(0);
            let held = new.read_volatile();
            if held == 0 || call_start::is_of(held, tid) {
                new.write_volatile(call_start::with_tid(start, tid));
            }
        }
    }
    // An error means that it held none.
    let _ = CALL_STARTS_OVERFLOW.remove(old_tid);
}

/// Forgets the call that the current thread dies in, so that the next thread with this number does not end it.
#[inline(always)]
pub fn forget_thread() {
    if setting!(latency_slots_per_cpu) == 0 {
        return;
    }
    let (_, tid) = task::split(bpf_get_current_pid_tgid());
    let Some(slot) = start_slot(tid) else { return };
    // SAFETY: the slot is a live element of the array; one aligned word is read and written at once.
    unsafe {
        if call_start::is_of(slot.read_volatile(), tid) {
            slot.write_volatile(0);
            return;
        }
    }
    // An error means that it held none.
    let _ = CALL_STARTS_OVERFLOW.remove(tid);
}

#[inline(always)]
fn start_slot(tid: u32) -> Option<*mut u64> {
    CALL_STARTS.get_ptr_mut(tid & (CALL_STARTS_LEN - 1))
}

/// The rare case of `exit`: another thread held the slot, or the call began before we looked.
#[inline(always)]
fn take_overflowed_start(tgid: u32, tid: u32) -> Result<u64, Outcome> {
    match CALL_STARTS_OVERFLOW.get_ptr(tid) {
        Some(start) => {
            // SAFETY: the element is removed by this thread only.
            let start = unsafe { start.read_volatile() };
            let _ = CALL_STARTS_OVERFLOW.remove(tid);
            Ok(start)
        }
        None if task::is_target(tgid) => Err(Outcome::CallWithoutStart),
        None => Err(Outcome::CallFiltered),
    }
}

/// A call that ended.
struct Call {
    nr: u32,
    latency_ns: u64,
    result: i64,
}

impl Call {
    /// The counter of its latency.
    ///
    /// # Safety
    ///
    /// `slot` leads to a live slot.
    #[inline(always)]
    unsafe fn bucket(&self, slot: *mut LatencySlot) -> Option<*mut u32> {
        let bucket = opaque(u64::from(bucket_of(self.latency_ns))) as usize;
        // SAFETY: the index is checked, and the caller vouches for the slot.
        (bucket < BUCKETS).then(|| unsafe { (&raw mut (*slot).buckets).cast::<u32>().add(bucket) })
    }

    /// The counter of its error, or `None` when it succeeded.
    ///
    /// # Safety
    ///
    /// `slot` leads to a live slot.
    #[inline(always)]
    unsafe fn error(&self, slot: *mut LatencySlot) -> Option<*mut u32> {
        const EINTR: u64 = 4;
        if self.result >= 0 || self.result < -4095 {
            return None;
        }
        let errno = match self.result.unsigned_abs() {
            // The kernel's own ERESTART…: the call was interrupted, and may be started again.
            512..=516 => EINTR,
            errno => errno,
        };
        let errno = opaque(if errno < ERRNOS as u64 { errno } else { 0 }) as usize;
        // SAFETY: the index is checked, and the caller vouches for the slot.
        (errno < ERRNOS).then(|| unsafe { (&raw mut (*slot).errors).cast::<u32>().add(errno) })
    }
}

/// Keeps the low ten bits, without the compiler knowing what it knows of the value: so that the check that follows
/// stays for the verifier to see.
#[inline(always)]
fn opaque(mut value: u64) -> u64 {
    // SAFETY: one instruction on one register.
    unsafe { core::arch::asm!("{0} &= 0x3ff", inout(reg) value, options(pure, nomem, nostack)) };
    value
}

const _: () = assert!(BUCKETS <= 0x400 && ERRNOS <= 0x400);

/// Makes a free slot that of a process and a syscall.
///
/// # Safety
///
/// `slot` leads to a live slot that only this CPU writes to.
#[inline(always)]
unsafe fn claim(ctx: &RawTracePointContext, slot: *mut LatencySlot, key: u64) {
    // SAFETY: the caller vouches for the slot.
    unsafe {
        (*slot).start_ns = task::start_ns();
        (*slot).flags = flags_of(ctx);
        // Last, and at once: the agent reads a slot only when it has a key.
        (&raw mut (*slot).key).write_volatile(key);
    }
}

/// Whether the registers say that the call came from 32-bit code, whose syscalls have other numbers.
#[inline(always)]
fn flags_of(ctx: &RawTracePointContext) -> u64 {
    /// Offset of `cs` in `pt_regs` of `x86_64`.
    const REGISTERS_CS: u32 = 136;
    /// Selector of 32-bit user code.
    const USER32_CS: u64 = 0x23;
    let is_ia32 = task::read_at::<u64>(ctx.arg(0), REGISTERS_CS) & 0xffff == USER32_CS;
    if is_ia32 { SLOT_IA32 } else { 0 }
}

/// Adds a call whose slot belongs to another process or syscall to the table that all CPUs share.
#[inline(always)]
fn add_overflowed(ctx: &RawTracePointContext, call: &Call, key: u64) -> Result<(), Outcome> {
    if LATENCY_OVERFLOW.get_ptr(key).is_none() {
        let empty = LATENCY_EMPTY.get_ptr_mut(0).ok_or(Outcome::CallHistogramLost)?;
        // SAFETY: the pointer leads to this CPU's own element. An error of the insertion means that another CPU was
        // faster, or that the table is full; the lookup below tells which.
        unsafe {
            claim(ctx, empty, key);
            let _ = LATENCY_OVERFLOW.insert(key, &*empty, u64::from(BPF_NOEXIST));
        }
    }
    let slot = LATENCY_OVERFLOW.get_ptr_mut(key).ok_or(Outcome::CallHistogramLost)?;
    // SAFETY: the pointer leads to a live element; additions are atomic because all CPUs share it. Without a
    // compare-and-exchange the maximum can miss one of two calls that end at the same moment.
    unsafe {
        atomic_add(&raw mut (*slot).sum_ns, call.latency_ns);
        if call.latency_ns > (*slot).max_ns {
            (*slot).max_ns = call.latency_ns;
        }
        if let Some(bucket) = call.bucket(slot) {
            atomic_increment(bucket);
        }
        if let Some(error) = call.error(slot) {
            atomic_increment(error);
        }
    }
    Err(Outcome::CallOverflowed)
}

/// # Safety
///
/// `word` leads to a live, aligned word.
#[inline(always)]
unsafe fn atomic_add(word: *mut u64, value: u64) {
    // SAFETY: the caller vouches for the word. Rust has no atomic addition for a target without compare-and-exchange;
    // this instruction exists since the first BPF.
    unsafe {
        core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) word, in(reg) value);
    }
}

/// # Safety
///
/// `word` leads to a live, aligned word.
#[inline(always)]
unsafe fn atomic_increment(word: *mut u32) {
    // SAFETY: the caller vouches for the word; as above.
    unsafe {
        core::arch::asm!("lock *(u32 *)({0} + 0) += {1}", in(reg) word, in(reg) 1u64);
    }
}
