// A thread of Rust that counts in memory shared with a child process.
use std::sync::atomic::{AtomicU64, Ordering};

extern "C" {
    fn mmap(addr: *mut u8, len: usize, prot: i32, flags: i32, fd: i32, offset: i64) -> *mut u8;
    fn fork() -> i32;
    fn wait(status: *mut i32) -> i32;
    fn _exit(status: i32) -> !;
}

#[repr(C)]
pub struct Shared {
    count: AtomicU64,
    name: [u8; 16],
    values: [i32; 8],
}

#[inline(never)]
fn change(shared: &mut Shared) {
    shared.count.fetch_add(5, Ordering::SeqCst); // atomic
    shared.values[3] = 4711; // index
    shared.name[..4].copy_from_slice(b"rust"); // slice
}

fn main() {
    let shared = unsafe {
        let page = mmap(std::ptr::null_mut(), 4096, 3, 0x21, -1, 0);
        &mut *(page as *mut Shared)
    };
    unsafe {
        if fork() == 0 {
            change(shared);
            _exit(0);
        }
        let mut status = 0;
        wait(&mut status);
    }
    assert_eq!(shared.count.load(Ordering::SeqCst), 5);
    assert_eq!(shared.values[3], 4711);
}
