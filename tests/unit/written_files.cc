// Calls about files, names, pipes and what waits for them (written_areas.h).
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/stat.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

#include <filesystem>

#include "tests/unit/written_areas.h"

namespace shmrec::syscalls {
namespace {

constexpr int kHere = AT_FDCWD;

// A directory with a file of 100 bytes, a link to it and a FIFO.
struct Files {
  std::string directory, file, link, fifo;
  int fd, directory_fd;

  Files() {
    char name[] = "/tmp/written_test.XXXXXX";
    directory = mkdtemp(name);
    file = directory + "/file", link = directory + "/link", fifo = directory + "/fifo";
    fd = open(file.c_str(), O_RDWR | O_CREAT, 0600);
    fill();
    if (symlink("file", link.c_str()) || mkfifo(fifo.c_str(), 0600)) abort();
    directory_fd = open(directory.c_str(), O_RDONLY | O_DIRECTORY);
  }
  void fill() const {
    if (ftruncate(fd, 0) || pwrite(fd, std::string(100, 'x').c_str(), 100, 0) != 100) abort();
  }
  ~Files() {
    close(fd);
    close(directory_fd);
    std::filesystem::remove_all(directory);
  }
};

void reads(WrittenOracle& o, const Files& files) {
  const int fd = files.fd;
  lseek(fd, 90, SEEK_SET);
  EXPECT_EQ(o.done(SYS_read, fd, o.room(50), 50), 10);
  EXPECT_EQ(o.done(SYS_read, fd, o.room(50), 50), 0);
  o.fails(EBADF, SYS_read, -1, o.room(50), 50);
  o.fails(EFAULT, SYS_pread64, fd, 1, 50, 0);
  EXPECT_EQ(o.done(SYS_pread64, fd, o.room(200), 200, 40), 60);
  o.any(SYS_pread64, fd, o.at_end(20), 60, 0);
  const auto pair = [&o] {
    iovec vectors[] = {{o.room(16), 16}, {o.room(100), 100}};
    return o.vectors({vectors[0], vectors[1]});
  };
  lseek(fd, 0, SEEK_SET);
  EXPECT_EQ(o.done(SYS_readv, fd, pair(), 2), 100);
  EXPECT_EQ(o.done(SYS_preadv, fd, pair(), 2, 90, 0), 10);
  EXPECT_EQ(o.done(SYS_preadv2, fd, pair(), 2, 50, 0, 0), 50);
  o.any(SYS_preadv, fd, o.vectors({{o.room(8), 8}, {o.at_end(20), 60}}), 2, 0, 0);
  o.done(SYS_pwrite64, fd, o.text("abc"), 3, 0);
  o.done(SYS_pwritev, fd, pair(), 2, 0, 0);
  o.done(SYS_pwritev2, fd, pair(), 2, 0, 0, 0);
  lseek(fd, 0, SEEK_SET);
  o.done(SYS_write, fd, o.text("abc"), 3);
  o.done(SYS_writev, fd, pair(), 1);
  files.fill();
}

void directories(WrittenOracle& o, const Files& files) {
  const auto list = [&](uint32_t call, size_t bytes, int error) {
    lseek(files.directory_fd, 0, SEEK_SET);
    o.call(error ? -error : WrittenOracle::kDone, call, files.directory_fd, o.room(bytes), bytes);
  };
  for (uint32_t call : {SYS_getdents, SYS_getdents64}) {
    list(call, 2000, 0);
    list(call, 70, 0);
    list(call, 10, EINVAL);
    lseek(files.directory_fd, 0, SEEK_SET);
    o.any(call, files.directory_fd, o.at_end(60), 2000);
  }
  o.done(SYS_getcwd, o.room(4096), 4096);
  o.fails(ERANGE, SYS_getcwd, o.room(1), 1);
  o.fails(EFAULT, SYS_getcwd, o.at_end(1), 4096);
  for (size_t bytes : {2, 64}) {
    o.done(SYS_readlink, o.text(files.link), o.room(bytes), bytes);
    o.done(SYS_readlinkat, kHere, o.text(files.link), o.room(bytes), bytes);
  }
  o.fails(EINVAL, SYS_readlink, o.text(files.file), o.room(64), 64);
}

void statuses(WrittenOracle& o, const Files& files) {
  o.done(SYS_stat, o.text(files.file), o.room(144));
  o.fails(ENOENT, SYS_stat, o.text("/nowhere"), o.room(144));
  o.done(SYS_lstat, o.text(files.link), o.room(144));
  o.done(SYS_fstat, files.fd, o.room(144));
  o.fails(EFAULT, SYS_fstat, files.fd, o.at_end(100));
  o.done(SYS_newfstatat, kHere, o.text(files.file), o.room(144), 0);
  o.done(SYS_statx, kHere, o.text(files.file), 0, STATX_BASIC_STATS | STATX_BTIME, o.room(256));
  o.done(SYS_statfs, o.text(files.file), o.room(120));
  o.done(SYS_fstatfs, files.fd, o.room(120));
  struct stat status;
  fstat(files.fd, &status);
  o.any(SYS_ustat, status.st_dev, o.room(32));
  o.any(451, files.fd, o.put(std::array<uint64_t, 2>{0, 4096}), o.room(40), 0);  // cachestat
  o.any(468, kHere, o.text(files.file), o.room(64), 24, 0);                      // file_getattr
  o.any(468, kHere, o.text(files.file), o.room(64), 64, 0);
}

void attributes(WrittenOracle& o, const Files& files) {
  const auto name = [&o] { return o.text("user.shmrec"); };
  const auto set = o.any(SYS_setxattr, o.text(files.file), name(), o.text("value"), 5, 0);
  for (size_t bytes : {0, 2, 64}) {
    o.any(SYS_getxattr, o.text(files.file), name(), o.room(bytes), bytes);
    o.any(SYS_lgetxattr, o.text(files.file), name(), o.room(bytes), bytes);
    o.any(SYS_fgetxattr, files.fd, name(), o.room(bytes), bytes);
    o.any(SYS_listxattr, o.text(files.file), o.room(bytes), bytes);
    o.any(SYS_llistxattr, o.text(files.file), o.room(bytes), bytes);
    o.any(SYS_flistxattr, files.fd, o.room(bytes), bytes);
    struct {
      uint64_t value;
      uint32_t size, flags;
    } arguments = {reinterpret_cast<uint64_t>(o.room(bytes)), static_cast<uint32_t>(bytes), 0};
    o.any(464, kHere, o.text(files.file), 0, name(), o.put(arguments), 16);  // getxattrat
    o.any(465, kHere, o.text(files.file), 0, o.room(bytes), bytes);          // listxattrat
  }
  if (set < 0) return;
  o.done(SYS_fsetxattr, files.fd, name(), o.text("longer value"), 12, 0);
  o.done(SYS_lsetxattr, o.text(files.file), name(), o.text("v"), 1, 0);
  o.done(SYS_removexattr, o.text(files.file), name());
}

// Calls that write nothing to memory.
void names(WrittenOracle& o, const Files& files) {
  const std::string a = files.directory + "/a", b = files.directory + "/b";
  o.done(SYS_access, o.text(files.file), R_OK);
  o.done(SYS_faccessat, kHere, o.text(files.file), R_OK);
  o.done(SYS_faccessat2, kHere, o.text(files.file), R_OK, 0);
  o.done(SYS_mkdir, o.text(a), 0700);
  o.done(SYS_rename, o.text(a), o.text(b));
  o.done(SYS_rmdir, o.text(b));
  o.done(SYS_mkdirat, kHere, o.text(a), 0700);
  o.done(SYS_renameat, kHere, o.text(a), kHere, o.text(b));
  o.done(SYS_renameat2, kHere, o.text(b), kHere, o.text(a), 0);
  o.done(SYS_unlinkat, kHere, o.text(a), AT_REMOVEDIR);
  o.done(SYS_link, o.text(files.file), o.text(a));
  o.done(SYS_unlink, o.text(a));
  o.done(SYS_linkat, kHere, o.text(files.file), kHere, o.text(a), 0);
  o.done(SYS_symlink, o.text("x"), o.text(b));
  o.done(SYS_unlinkat, kHere, o.text(b), 0);
  o.done(SYS_symlinkat, o.text("x"), kHere, o.text(b));
  o.done(SYS_chmod, o.text(a), 0600);
  o.done(SYS_fchmodat, kHere, o.text(a), 0600);
  o.any(SYS_chown, o.text(a), -1, -1);
  o.any(SYS_lchown, o.text(a), -1, -1);
  o.any(SYS_fchownat, kHere, o.text(a), -1, -1, 0);
  o.done(SYS_truncate, o.text(a), 100);
  o.done(SYS_utime, o.text(a), o.put(std::array<int64_t, 2>{1, 2}));
  o.done(SYS_utimes, o.text(a), o.put(std::array<int64_t, 4>{1, 2, 3, 4}));
  o.done(SYS_futimesat, kHere, o.text(a), o.put(std::array<int64_t, 4>{1, 2, 3, 4}));
  o.done(SYS_utimensat, kHere, o.text(a), o.put(std::array<int64_t, 4>{1, 2, 3, 4}), 0);
  o.done(SYS_mknod, o.text(a + "1"), S_IFIFO | 0600, 0);
  o.done(SYS_mknodat, kHere, o.text(a + "2"), S_IFIFO | 0600, 0);
  close(static_cast<int>(o.done(SYS_open, o.text(a), O_RDONLY)));
  close(static_cast<int>(o.done(SYS_openat, kHere, o.text(a), O_RDONLY)));
  close(static_cast<int>(o.done(SYS_creat, o.text(a + "3"), 0600)));
  const std::array<uint64_t, 3> how = {O_RDONLY, 0, 0};
  close(static_cast<int>(o.done(SYS_openat2, kHere, o.text(a), o.put(how), sizeof how)));
  close(static_cast<int>(o.done(SYS_memfd_create, o.text("name"), 0)));
}

void locks(WrittenOracle& o, const Files& files) {
  struct flock whole = {F_WRLCK, SEEK_SET, 0, 0, 0};
  int ready[2];
  if (pipe(ready)) abort();
  const pid_t child = fork();
  if (!child) {
    fcntl(files.fd, F_SETLK, &whole);
    if (write(ready[1], "", 1) != 1) _exit(1);
    pause();
  }
  char byte;
  if (::read(ready[0], &byte, 1) != 1) abort();
  o.done(SYS_fcntl, files.fd, F_GETLK, o.put(whole));
  o.done(SYS_fcntl, files.fd, F_OFD_GETLK, o.put(whole));
  o.fails(EAGAIN, SYS_fcntl, files.fd, F_SETLK, o.put(whole));
  o.interrupted(SYS_fcntl, files.fd, F_SETLKW, o.put(whole));
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  o.done(SYS_fcntl, files.fd, F_GETLK, o.put(whole));
  o.done(SYS_fcntl, files.fd, F_SETLK, o.put(whole));
  o.done(SYS_fcntl, files.fd, F_GETOWN_EX, o.room(8));
  o.any(SYS_fcntl, files.fd, 17 /* F_GETOWNER_UIDS */, o.room(8));
  o.any(SYS_fcntl, files.fd, F_GET_RW_HINT, o.room(8));
  o.any(SYS_fcntl, files.fd, F_SET_RW_HINT, o.put(uint64_t{2}));
  o.done(SYS_fcntl, files.fd, F_GETFL, 0);
  close(ready[0]), close(ready[1]);
}

void file_ioctls(WrittenOracle& o, const Files& files) {
  const int fd = files.fd;
  o.any(SYS_ioctl, fd, FIGETBSZ, o.room(4));
  o.any(SYS_ioctl, fd, FIONREAD, o.room(4));
  o.any(SYS_ioctl, fd, FIOQSIZE, o.room(8));
  o.any(SYS_ioctl, fd, FS_IOC_GETFLAGS, o.room(8));
  o.any(SYS_ioctl, fd, FS_IOC_GETVERSION, o.room(8));
  o.any(SYS_ioctl, fd, FS_IOC_FSGETXATTR, o.room(28));
  o.any(SYS_ioctl, fd, FS_IOC_GETFSLABEL, o.room(256));
  o.any(SYS_ioctl, fd, 0x80111500, o.room(17));  // FS_IOC_GETFSUUID
  o.done(SYS_ioctl, fd, FIOCLEX, 0);
  const auto with_room = [&o](const auto& head, size_t more) {
    return memcpy(o.room(sizeof head + more), &head, sizeof head);
  };
  fiemap map = {};
  map.fm_length = 4096, map.fm_flags = FIEMAP_FLAG_SYNC, map.fm_extent_count = 4;
  o.any(SYS_ioctl, fd, FS_IOC_FIEMAP, with_room(map, 4 * sizeof(fiemap_extent)));
  file_dedupe_range dedupe = {};
  dedupe.src_length = 64, dedupe.dest_count = 1;
  o.any(SYS_ioctl, fd, FIDEDUPERANGE, with_room(dedupe, sizeof(file_dedupe_range_info)));
  o.any(SYS_ioctl, fd, 0xDEAD0001, o.room(64));
}

void handles(WrittenOracle& o, const Files& files) {
  struct {
    uint32_t bytes;
    int32_t type;
    uint8_t data[128];
  } handle = {128, 0, {}};
  constexpr int kUnique = 1;  // AT_HANDLE_MNT_ID_UNIQUE
  for (int flags : {0, kUnique}) {
    handle.bytes = 128;
    o.any(SYS_name_to_handle_at, kHere, o.text(files.file), o.put(handle), o.room(8), flags);
    handle.bytes = 2;
    o.any(SYS_name_to_handle_at, kHere, o.text(files.file), o.put(handle), o.room(8), flags);
  }
}

void mounts(WrittenOracle& o) {
  struct statx status;
  if (syscall(SYS_statx, kHere, "/", 0, 0x4000 /* STATX_MNT_ID_UNIQUE */, &status)) return;
  struct {
    uint32_t size, spare;
    uint64_t id, param;
  } request = {24, 0, 0, 0x1F};
  memcpy(&request.id, reinterpret_cast<char*>(&status) + 0x90, 8);
  o.any(457, o.put(request), o.room(4096), 4096, 0);  // statmount
  o.any(457, o.put(request), o.room(520), 520, 0);
  request.id = ~0ull, request.param = 0;          // of the root
  o.any(458, o.put(request), o.room(80), 10, 0);  // listmount
  o.any(458, o.put(request), o.room(8), 1, 0);
}

void copies(WrittenOracle& o, const Files& files) {
  int pipes[2];
  if (pipe(pipes)) abort();
  const int copy = memfd_create("copy", 0);
  o.done(SYS_sendfile, copy, files.fd, o.put(int64_t{10}), 20);
  o.fails(EBADF, SYS_sendfile, -1, files.fd, o.put(int64_t{10}), 20);
  o.done(SYS_splice, files.fd, o.put(int64_t{5}), pipes[1], 0, 30, 0);
  o.done(SYS_splice, pipes[0], 0, copy, o.put(int64_t{5}), 10, 0);
  const int beside = open((files.directory + "/beside").c_str(), O_RDWR | O_CREAT, 0600);
  o.any(SYS_copy_file_range, files.fd, o.put(int64_t{1}), beside, o.put(int64_t{2}), 20, 0);
  close(beside);
  o.done(SYS_vmsplice, pipes[1], o.vectors({{o.room(50), 50}}), 1, 0);
  o.done(SYS_vmsplice, pipes[0], o.vectors({{o.room(10), 10}, {o.room(30), 30}}), 2, 0);
  int second[2];
  if (pipe(second)) abort();
  o.done(SYS_tee, pipes[0], second[1], 10, 0);
  for (int fd : {pipes[0], pipes[1], second[0], second[1], copy}) close(fd);
}

void pipes(WrittenOracle& o) {
  const auto close_both = [](const int32_t* fds) { close(fds[0]), close(fds[1]); };
  int32_t* fds = o.put(std::array<int32_t, 2>{})->data();
  o.done(SYS_pipe, fds);
  close_both(fds);
  fds = o.put(std::array<int32_t, 2>{})->data();
  o.done(SYS_pipe2, fds, O_CLOEXEC);
  close_both(fds);
  o.fails(EINVAL, SYS_pipe2, o.room(8), 0x123);
  o.fails(EFAULT, SYS_pipe, o.at_end(4));
  int ends[2];
  if (pipe2(ends, O_NONBLOCK)) abort();
  o.fails(EAGAIN, SYS_read, ends[0], o.room(100), 100);
  if (::write(ends[1], "hello", 5) != 5) abort();
  o.done(SYS_ioctl, ends[0], FIONREAD, o.room(4));
  o.done(SYS_read, ends[0], o.room(100), 100);
  close_both(ends);
  if (pipe(ends)) abort();
  o.interrupted(SYS_read, ends[0], o.room(100), 100);
  close_both(ends);
}

void polls(WrittenOracle& o) {
  int ends[2];
  if (pipe(ends)) abort();
  const auto fds = [&] {
    return o.put(std::array<pollfd, 3>{{{ends[0], POLLIN, 0x55}, {ends[1], 0, 0x55}, {-1, 1, 7}}});
  };
  const auto time = [&o](int64_t seconds, int64_t nanoseconds) {
    return o.put(timespec{seconds, nanoseconds});
  };
  const auto sets = [&] {
    std::array<uint64_t, 1> set = {1ull << ends[0]};
    return o.put(set);
  };
  const int highest = ends[0] + 1;
  o.done(SYS_poll, fds(), 3, 0);
  o.interrupted(SYS_poll, fds(), 3, -1);
  o.done(SYS_ppoll, fds(), 3, time(0, 1000), 0, 8);
  o.interrupted(SYS_ppoll, fds(), 3, time(10, 0), 0, 8);
  o.fails(EINVAL, SYS_ppoll, fds(), 3, time(0, -1), 0, 8);
  o.done(SYS_select, highest, sets(), sets(), sets(), time(0, 1000));
  o.interrupted(SYS_select, highest, sets(), 0, 0, time(10, 0));
  o.done(SYS_pselect6, highest, sets(), 0, 0, time(0, 1000), 0);
  o.interrupted(SYS_pselect6, highest, sets(), 0, 0, time(10, 0), 0);
  const int closed = dup(0);
  close(closed);
  o.fails(EBADF, SYS_select, 64, o.put(1ull << (closed % 64)), 0, 0, time(1, 0));
  if (::write(ends[1], "x", 1) != 1) abort();
  o.done(SYS_poll, fds(), 3, 100);
  o.done(SYS_ppoll, fds(), 3, time(10, 0), 0, 8);
  o.done(SYS_select, highest, sets(), 0, 0, time(10, 0));
  o.done(SYS_pselect6, highest, sets(), 0, 0, time(10, 0), 0);
  close(ends[0]), close(ends[1]);
}

void epolls(WrittenOracle& o) {
  int ends[2];
  if (pipe(ends)) abort();
  const int epoll = epoll_create1(0);
  o.done(SYS_epoll_ctl, epoll, EPOLL_CTL_ADD, ends[0], o.put(epoll_event{EPOLLIN, {}}));
  o.done(SYS_epoll_wait, epoll, o.room(48), 4, 0);
  o.interrupted(SYS_epoll_wait, epoll, o.room(48), 4, -1);
  if (::write(ends[1], "x", 1) != 1) abort();
  o.done(SYS_epoll_wait, epoll, o.room(48), 4, 0);
  o.done(SYS_epoll_pwait, epoll, o.room(48), 4, 0, 0, 8);
  o.done(SYS_epoll_pwait2, epoll, o.room(48), 4, o.put(timespec{0, 0}), 0, 8);
  o.any(SYS_epoll_wait, epoll, o.at_end(6), 4, 0);
  o.any(SYS_ioctl, epoll, 0x80088A02, o.room(8));  // EPIOCGPARAMS
  for (int fd : {ends[0], ends[1], epoll}) close(fd);
}

void event_descriptors(WrittenOracle& o, const Files& files) {
  const int event = eventfd(3, 0);
  o.done(SYS_read, event, o.room(8), 8);
  o.fails(EINVAL, SYS_read, event, o.room(4), 4);
  const int timer = timerfd_create(CLOCK_MONOTONIC, 0);
  const itimerspec soon = {{0, 0}, {0, 1000}};
  o.done(SYS_timerfd_settime, timer, 0, o.put(soon), o.room(32));
  o.done(SYS_timerfd_gettime, timer, o.room(32));
  o.done(SYS_read, timer, o.room(8), 8);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  const int signals =
      static_cast<int>(o.done(SYS_signalfd4, -1, o.put(uint64_t{1ull << (SIGUSR2 - 1)}), 8, 0));
  raise(SIGUSR2);
  o.done(SYS_read, signals, o.room(300), 300);
  sigprocmask(SIG_UNBLOCK, &set, nullptr);
  const int watch = inotify_init();
  o.done(SYS_inotify_add_watch, watch, o.text(files.directory), IN_CREATE);
  close(creat((files.directory + "/new").c_str(), 0600));
  o.done(SYS_ioctl, watch, FIONREAD, o.room(4));
  o.done(SYS_read, watch, o.room(300), 300);
  for (int fd : {event, timer, signals, watch}) close(fd);
}

}  // namespace

void written_by_files(WrittenOracle& o) {
  const Files files;
  reads(o, files);
  directories(o, files);
  statuses(o, files);
  attributes(o, files);
  names(o, files);
  locks(o, files);
  file_ioctls(o, files);
  handles(o, files);
  mounts(o);
  copies(o, files);
  event_descriptors(o, files);
}

void written_by_waits(WrittenOracle& o) {
  pipes(o);
  polls(o);
  epolls(o);
}

}  // namespace shmrec::syscalls
