// Panics with panic=abort, in a thread, beside shared memory that it has written: what a Rust program leaves.
// Built by e2e/cores.py: rustc -g -C panic=abort.
use std::ffi::c_void;

extern "C" {
    fn mmap(at: *mut c_void, bytes: usize, protection: i32, flags: i32, fd: i32, offset: i64) -> *mut c_void;
}

#[inline(never)]
fn fall(depth: i32, words: *mut i32) -> i32 {
    let number = 4711 + depth;
    if depth == 0 {
        panic!("at {}", unsafe { words.read_volatile() });
    }
    fall(depth - 1, words) + number
}

fn main() {
    let words = unsafe { mmap(std::ptr::null_mut(), 4096, 3, 0x21, -1, 0) } as *mut i32;
    unsafe { words.write_volatile(17) };
    let address = words as usize;
    let thread = std::thread::spawn(move || fall(2, address as *mut i32));
    std::process::exit(thread.join().unwrap());
}
