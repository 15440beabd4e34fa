// Calls about sockets, and about System V and POSIX objects that processes share (written_areas.h).
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/sockios.h>
#include <mqueue.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/unit/written_areas.h"

namespace shmrec::syscalls {
namespace {

sockaddr_in loopback(uint16_t port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET, address.sin_port = port;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

uint16_t port_of(int fd) {
  sockaddr_in address = {};
  socklen_t bytes = sizeof address;
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &bytes);
  return address.sin_port;
}

uint32_t* length(WrittenOracle& o, uint32_t bytes) { return o.put(bytes); }

void pairs(WrittenOracle& o) {
  for (int type : {SOCK_STREAM, SOCK_DGRAM}) {
    int32_t* fds = o.put(std::array<int32_t, 2>{})->data();
    o.done(SYS_socketpair, AF_UNIX, type, 0, fds);
    close(fds[0]), close(fds[1]);
  }
  // The kernel writes the descriptors before it knows that it has no such sockets.
  o.fails(EPROTONOSUPPORT, SYS_socketpair, AF_UNIX, SOCK_STREAM, 77, o.room(8));
  o.any(SYS_socketpair, AF_INET, SOCK_STREAM, 0, o.room(8));
}

void connections(WrittenOracle& o) {
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  o.done(SYS_bind, listener, o.put(loopback(0)), sizeof(sockaddr_in));
  listen(listener, 8);
  const uint16_t port = port_of(listener);
  const auto connected = [&] {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    o.done(SYS_connect, fd, o.put(loopback(port)), sizeof(sockaddr_in));
    return fd;
  };
  for (uint32_t bytes : {0u, 5u, 16u, 60u}) {
    const int client = connected();
    const int server = static_cast<int>(o.done(SYS_accept, listener, o.room(60), length(o, bytes)));
    o.done(SYS_getsockname, client, o.room(60), length(o, bytes));
    o.done(SYS_getpeername, client, o.room(60), length(o, bytes));
    close(client), close(server);
  }
  const int client = connected();
  const int server = static_cast<int>(o.done(SYS_accept4, listener, o.room(60), length(o, 60), 0));
  o.fails(EINVAL, SYS_getsockname, client, o.room(60), length(o, static_cast<uint32_t>(-1)));
  o.fails(EFAULT, SYS_getsockname, client, o.at_end(8), length(o, 60));
  o.done(SYS_getsockopt, client, IPPROTO_TCP, TCP_INFO, o.room(400), length(o, 400));
  o.done(SYS_getsockopt, client, IPPROTO_TCP, TCP_INFO, o.room(50), length(o, 50));
  o.done(SYS_getsockopt, client, IPPROTO_TCP, TCP_CONGESTION, o.room(50), length(o, 50));
  o.done(SYS_setsockopt, client, IPPROTO_TCP, TCP_NODELAY, o.put(1), 4);
  o.done(SYS_ioctl, client, SIOCATMARK, o.room(4));
  o.done(SYS_ioctl, client, SIOCOUTQNSD, o.room(4));
  o.done(SYS_sendto, client, o.text("hello"), 5, 0, 0, 0);
  o.done(SYS_recvfrom, server, o.room(50), 50, 0, o.room(20), length(o, 20));
  o.fails(EAGAIN, SYS_recvfrom, server, o.room(50), 50, MSG_DONTWAIT, 0, 0);
  o.interrupted(SYS_recvfrom, server, o.room(50), 50, 0, 0, 0);
  o.interrupted(SYS_accept, listener, o.room(20), length(o, 20));
  close(client), close(server), close(listener);
}

void options(WrittenOracle& o) {
  const gid_t groups[] = {1, 2, 3};
  if (!getuid() && !getgroups(0, nullptr)) setgroups(3, groups);
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) abort();
  for (int name : {SO_ERROR, SO_RCVBUF, SO_TYPE, SO_LINGER, SO_PEERCRED, SO_RCVTIMEO, SO_DOMAIN,
                   SO_COOKIE, SO_PEERSEC})
    o.any(SYS_getsockopt, pair[0], SOL_SOCKET, name, o.room(64), length(o, 64));
  o.done(SYS_getsockopt, pair[0], SOL_SOCKET, SO_RCVBUF, o.room(2), length(o, 2));
  o.fails(ENOPROTOOPT, SYS_getsockopt, pair[0], SOL_SOCKET, 9999, o.room(8), length(o, 8));
  // The length is told although the buffer is too short. (Who may not change groups has what he
  // has.)
  o.any(SYS_getsockopt, pair[0], SOL_SOCKET, SO_PEERGROUPS, o.room(64), length(o, 0));
  o.any(SYS_getsockopt, pair[0], SOL_SOCKET, SO_PEERGROUPS, o.room(400), length(o, 400));
  sock_filter all[] = {{BPF_LD | BPF_ABS | BPF_W, 0, 0, 0}, {BPF_RET | BPF_K, 0, 0, 0xFFFFFFFF}};
  const sock_fprog program = {2, all};
  setsockopt(pair[0], SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
  // Its length counts instructions of eight bytes.
  o.done(SYS_getsockopt, pair[0], SOL_SOCKET, SO_GET_FILTER, o.room(64), length(o, 2));
  o.done(SYS_getsockopt, pair[0], SOL_SOCKET, SO_GET_FILTER, 0, length(o, 0));
  close(pair[0]), close(pair[1]);
}

struct Receiver {
  WrittenOracle& o;
  uint32_t name_bytes = 32, control_bytes = 64;
  std::vector<size_t> vectors = {4, 40};

  msghdr header() const {
    msghdr message = {};
    message.msg_name = o.room(name_bytes), message.msg_namelen = name_bytes;
    message.msg_control = o.room(control_bytes), message.msg_controllen = control_bytes;
    std::vector<iovec> parts;
    for (size_t bytes : vectors) parts.push_back({o.room(bytes), bytes});
    message.msg_iov = o.vectors(parts), message.msg_iovlen = parts.size();
    message.msg_flags = 0x55;
    return message;
  }
  msghdr* one() const { return o.put(header()); }
  mmsghdr* many(size_t count) const {
    std::vector<mmsghdr> messages;
    for (size_t i = 0; i < count; ++i) messages.push_back({header(), 0x77777777});
    return static_cast<mmsghdr*>(
        memcpy(o.room(count * sizeof(mmsghdr)), messages.data(), count * sizeof(mmsghdr)));
  }
};

void send_descriptor(int by, int fd) {
  char byte[6] = "hello", control[CMSG_SPACE(sizeof(int))] = {};
  iovec part = {byte, 5};
  msghdr message = {};
  message.msg_iov = &part, message.msg_iovlen = 1;
  message.msg_control = control, message.msg_controllen = sizeof control;
  cmsghdr* head = CMSG_FIRSTHDR(&message);
  head->cmsg_level = SOL_SOCKET, head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(head), &fd, sizeof fd);
  if (sendmsg(by, &message, 0) < 0) abort();
}

void messages(WrittenOracle& o) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair)) abort();
  for (uint32_t control : {64u, 20u, 10u, 0u}) {
    const int given = dup(0);
    send_descriptor(pair[1], given);
    close(given);
    o.done(SYS_recvmsg, pair[0], Receiver{.o = o, .control_bytes = control}.one(), 0);
  }
  o.fails(EAGAIN, SYS_recvmsg, pair[0], Receiver{o}.one(), MSG_DONTWAIT);
  o.interrupted(SYS_recvmsg, pair[0], Receiver{o}.one(), 0);
  for (int i = 0; i < 3; ++i)
    if (::send(pair[1], "hello", 5, 0) != 5) abort();
  o.done(SYS_recvmmsg, pair[0], Receiver{o}.many(2), 2, 0, o.put(timespec{1, 0}));
  o.done(SYS_recvmmsg, pair[0], Receiver{o}.many(3), 3, MSG_DONTWAIT, o.put(timespec{1, 0}));
  o.fails(EAGAIN, SYS_recvmmsg, pair[0], Receiver{o}.many(2), 2, MSG_DONTWAIT, 0);
  const auto quiet = [&] { return Receiver{.o = o, .name_bytes = 0, .control_bytes = 0}; };
  const auto without_address = [&](mmsghdr* all, size_t count) {
    for (size_t i = 0; i < count; ++i) {
      all[i].msg_hdr.msg_name = nullptr, all[i].msg_hdr.msg_control = nullptr;
      all[i].msg_hdr.msg_namelen = 0, all[i].msg_hdr.msg_controllen = 0;
    }
    return all;
  };
  o.done(SYS_sendmmsg, pair[1], without_address(quiet().many(3), 3), 3, 0);
  o.done(SYS_sendmsg, pair[1], &without_address(quiet().many(1), 1)->msg_hdr, 0);
  o.done(SYS_recvmsg, pair[0], Receiver{.o = o, .vectors = {2, 3}}.one(), MSG_TRUNC);
  close(pair[0]), close(pair[1]);
}

void datagrams(WrittenOracle& o) {
  const int a = socket(AF_INET, SOCK_DGRAM, 0), b = socket(AF_INET, SOCK_DGRAM, 0);
  const sockaddr_in any_port = loopback(0);
  bind(a, reinterpret_cast<const sockaddr*>(&any_port), sizeof any_port);
  const int on = 1, off = 0;
  setsockopt(a, SOL_SOCKET, SO_TIMESTAMP, &on, sizeof on);
  setsockopt(a, IPPROTO_IP, IP_PKTINFO, &on, sizeof on);
  const auto send = [&] {
    o.done(SYS_sendto, b, o.text("datagram"), 8, 0, o.put(loopback(port_of(a))),
           sizeof(sockaddr_in));
  };
  for (uint32_t bytes : {0u, 4u, 16u, 40u}) {
    send();
    o.done(SYS_recvfrom, a, o.room(20), 20, 0, o.room(40), length(o, bytes));
  }
  send();
  o.fails(EINVAL, SYS_recvfrom, a, o.room(20), 20, 0, o.room(40),
          length(o, static_cast<uint32_t>(-1)));  // but the data has been written
  send();
  o.done(SYS_recvfrom, a, o.room(3), 3, MSG_TRUNC, 0, 0);
  send();
  o.done(SYS_recvmsg, a, Receiver{.o = o, .name_bytes = 8, .control_bytes = 200}.one(), 0);
  send();
  o.done(SYS_recvmsg, a, Receiver{.o = o, .control_bytes = 40}.one(), 0);
  send();
  o.fails(EFAULT, SYS_recvfrom, a, o.at_end(4), 20, 0, 0, 0);
  send();
  o.done(SYS_ioctl, a, FIONREAD, o.room(4));
  o.done(SYS_ioctl, a, SIOCOUTQ, o.room(4));
  setsockopt(a, SOL_SOCKET, SO_TIMESTAMP, &off, sizeof off);
  o.any(SYS_recvfrom, a, o.room(20), 20, MSG_DONTWAIT, 0, 0);
  o.any(SYS_ioctl, a, 0x8906, o.room(16));      // SIOCGSTAMP
  o.any(SYS_ioctl, a, 0x80108907, o.room(16));  // SIOCGSTAMPNS_NEW
  o.done(SYS_ioctl, a, FIOGETOWN, o.room(4));
  o.done(SYS_ioctl, a, FIONBIO, o.put(1));
  close(a), close(b);
}

void interfaces(WrittenOracle& o) {
  const int fd = socket(AF_INET, SOCK_DGRAM, 0);
  ifreq request = {};
  strcpy(request.ifr_name, "lo");
  for (uint32_t command :
       {SIOCGIFFLAGS, SIOCGIFADDR, SIOCGIFNETMASK, SIOCGIFBRDADDR, SIOCGIFMTU, SIOCGIFHWADDR,
        SIOCGIFINDEX, SIOCGIFTXQLEN, SIOCGIFMETRIC, SIOCGIFMAP, SIOCGIFDSTADDR})
    o.any(SYS_ioctl, fd, command, o.put(request));
  request.ifr_ifindex = 1;
  o.any(SYS_ioctl, fd, SIOCGIFNAME, o.put(request));
  ifconf list = {};
  list.ifc_len = 200, list.ifc_buf = reinterpret_cast<char*>(o.room(200));
  o.done(SYS_ioctl, fd, SIOCGIFCONF, o.put(list));
  list.ifc_buf = nullptr;
  o.done(SYS_ioctl, fd, SIOCGIFCONF, o.put(list));
  close(fd);
}

// ---- Objects that processes share ---------------------------------------------------------------

void message_queues(WrittenOracle& o) {
  const int queue = static_cast<int>(o.done(SYS_msgget, IPC_PRIVATE, 0600));
  struct {
    long type;
    char text[40];
  } message = {7, "message"};
  o.done(SYS_msgsnd, queue, o.put(message), 20, 0);
  o.done(SYS_msgctl, queue, IPC_STAT, o.room(120));
  o.done(SYS_msgctl, 0, 12 /* MSG_INFO */, o.room(32));
  for (int64_t i = 0, last = o.done(SYS_msgctl, 0, IPC_INFO, o.room(32)); i <= last; ++i)
    for (int command : {11 /* MSG_STAT */, 13 /* MSG_STAT_ANY */})
      o.any(SYS_msgctl, i, command, o.room(120));
  o.fails(E2BIG, SYS_msgrcv, queue, o.room(40), 5, 0, 0);
  o.done(SYS_msgrcv, queue, o.room(40), 5, 0, MSG_NOERROR);
  o.fails(ENOMSG, SYS_msgrcv, queue, o.room(40), 30, 0, IPC_NOWAIT);
  o.interrupted(SYS_msgrcv, queue, o.room(40), 30, 0, 0);
  o.done(SYS_msgsnd, queue, o.put(message), 20, 0);
  o.fails(EFAULT, SYS_msgrcv, queue, o.at_end(12), 30, 0, 0);
  o.done(SYS_msgctl, queue, IPC_RMID, 0);
}

void semaphores(WrittenOracle& o) {
  const int set = static_cast<int>(o.done(SYS_semget, IPC_PRIVATE, 5, 0600));
  o.done(SYS_semctl, set, 0, SETALL, o.put(std::array<uint16_t, 5>{1, 2, 3, 4, 5}));
  o.done(SYS_semctl, set, 0, GETALL, o.room(10));
  o.done(SYS_semctl, set, 0, IPC_STAT, o.room(104));
  o.done(SYS_semctl, set, 1, GETVAL, 0);
  o.done(SYS_semctl, 0, 0, SEM_INFO, o.room(40));
  for (int64_t i = 0, last = o.done(SYS_semctl, 0, 0, IPC_INFO, o.room(40)); i <= last; ++i)
    for (int command : {18 /* SEM_STAT */, 20 /* SEM_STAT_ANY */})
      o.any(SYS_semctl, i, 0, command, o.room(104));
  o.done(SYS_semop, set, o.put(sembuf{0, -1, 0}), 1);
  o.fails(EAGAIN, SYS_semop, set, o.put(sembuf{0, -1, IPC_NOWAIT}), 1);
  o.interrupted(SYS_semop, set, o.put(sembuf{0, -1, 0}), 1);
  o.fails(EAGAIN, SYS_semtimedop, set, o.put(sembuf{0, -1, 0}), 1, o.put(timespec{0, 1000}));
  o.done(SYS_semctl, set, 0, IPC_RMID, 0);
}

void shared_memory(WrittenOracle& o) {
  const int segment = static_cast<int>(o.done(SYS_shmget, IPC_PRIVATE, 4096, 0600));
  o.done(SYS_shmctl, segment, IPC_STAT, o.room(112));
  o.done(SYS_shmctl, 0, 14 /* SHM_INFO */, o.room(48));
  for (int64_t i = 0, last = o.done(SYS_shmctl, 0, IPC_INFO, o.room(72)); i <= last; ++i)
    for (int command : {13 /* SHM_STAT */, 15 /* SHM_STAT_ANY */})
      o.any(SYS_shmctl, i, command, o.room(112));
  o.done(SYS_shmctl, segment, IPC_RMID, 0);
}

void posix_queues(WrittenOracle& o) {
  const std::string name = "shmrec-written-" + std::to_string(getpid());
  const mq_attr attributes = {0, 4, 64, 0, {}};
  const int queue =
      static_cast<int>(o.any(SYS_mq_open, o.text(name), O_RDWR | O_CREAT, 0600, o.put(attributes)));
  if (queue < 0) return;
  o.done(SYS_mq_timedsend, queue, o.text("message"), 7, 3, 0);
  o.done(SYS_mq_getsetattr, queue, 0, o.room(64));
  o.fails(EMSGSIZE, SYS_mq_timedreceive, queue, o.room(5), 5, o.room(4), 0);
  o.done(SYS_mq_timedreceive, queue, o.room(64), 64, o.room(4), 0);
  o.interrupted(SYS_mq_timedreceive, queue, o.room(64), 64, o.room(4), 0);
  o.fails(ETIMEDOUT, SYS_mq_timedreceive, queue, o.room(64), 64, o.room(4), o.put(timespec{1, 0}));
  o.done(SYS_mq_unlink, o.text(name));
  close(queue);
}

}  // namespace

void written_by_sockets(WrittenOracle& o) {
  pairs(o);
  connections(o);
  options(o);
  messages(o);
  datagrams(o);
  interfaces(o);
}

void written_by_ipc(WrittenOracle& o) {
  message_queues(o);
  semaphores(o);
  shared_memory(o);
  posix_queues(o);
}

}  // namespace shmrec::syscalls
