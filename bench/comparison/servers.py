"""Servers: PostgreSQL, nginx, Redis. Each runs in a folder of its own, started once for a way, and is
asked by its own benchmark's client, which is never recorded. What counts is the processor time of the
server's processes (and of what traces them) while it is asked."""
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import time

from comparison.measure import LogUse, Sample, end_group, plain_environment, why
from comparison.ways import Unable

STOP_SECONDS = 30


# ---- Processor time of a tree of processes -----------------------------------------------------

def stat_fields(pid):
    """Of /proc/PID/stat, from the third on; None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def tree(root):
    """Fields of the process and its descendants, by pid."""
    fields = {int(name): stat_fields(name) for name in os.listdir("/proc") if name.isdigit()}
    fields = {pid: found for pid, found in fields.items() if found}
    found, grown = {root}, True
    while grown:
        more = {pid for pid, one in fields.items() if int(one[1]) in found}
        grown = not more <= found
        found |= more
    return {pid: fields[pid] for pid in found if pid in fields}


def living_ns(pid):
    try:
        return time.clock_gettime_ns(~pid << 3 | 2)  # the clock that clock_getcpuclockid names
    except OSError:
        return 0


def tree_cpu_ns(root):
    """Of living processes exactly, of the waited-for ones to the kernel's tick (10 ms)."""
    tick_ns = 1e9 / os.sysconf("SC_CLK_TCK")
    return sum(living_ns(pid) + (int(fields[13]) + int(fields[14])) * tick_ns
               for pid, fields in tree(root).items())


def tree_peak_bytes(root):
    peak = 0
    for pid in tree(root):
        try:
            with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
                found = re.search(r"VmHWM:\s*(\d+)", file.read())
        except (FileNotFoundError, ProcessLookupError):
            continue
        peak = max(peak, int(found.group(1)) * 1024 if found else 0)
    return peak


# ---- A server, and asking it -------------------------------------------------------------------

class ServerSession:
    """`address`: of a Unix socket or a port of the loopback, to see that it listens. `user`: that
    it runs as."""

    def __init__(self, place, way, timeout, folder, command, address, user=None):
        self.place, self.timeout, self.folder, self.address = place, timeout, folder, address
        self.way, self.user = way, user
        self.log, self.operations = LogUse(place.shmrec), 0
        self.spool = place.new_folder(user)
        self.said = os.path.join(self.spool, "said")
        with open(self.said, "wb") as said:
            self.process = subprocess.Popen(
                way.command(command, self.spool), cwd=folder, stdin=subprocess.DEVNULL, stdout=said,
                stderr=said, start_new_session=True, env={**plain_environment(), **way.environment},
                **as_user(user))
        try:
            self.await_listening()
        except Unable:
            self.close()
            raise

    def await_listening(self):
        end = time.monotonic() + self.timeout
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise Unable("did not start: " + why(self.output(), self.process.returncode))
            family = socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET
            with socket.socket(family) as probe:
                if probe.connect_ex(self.address) == 0:
                    return
            time.sleep(0.02)
        raise Unable(f"did not listen in {self.timeout:.0f} s")

    def output(self):
        with open(self.said, encoding="utf-8", errors="replace") as file:
            return file.read()

    def ask(self, command):
        """The client's output."""
        try:
            done = subprocess.run(command, cwd=self.folder, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  timeout=self.timeout, env=plain_environment(), **as_user(self.user))
        except subprocess.TimeoutExpired:
            raise Unable(f"no answer in {self.timeout:.0f} s") from None
        if done.returncode != 0:
            raise Unable(why(done.stdout, done.returncode))
        return done.stdout

    def timed(self, command):
        """Output, processor time of the server, and the time by the clock."""
        cpu, begin = tree_cpu_ns(self.process.pid), time.perf_counter()
        said = self.ask(command)
        wall = time.perf_counter() - begin
        time.sleep(0.02)  # what ends with a connection
        return said, tree_cpu_ns(self.process.pid) - cpu, wall * 1e9

    def sample(self, operations, cpu_ns, wall_ns):
        if operations <= 0 or cpu_ns <= 0:
            raise Unable("nothing was done in a sample's time")
        return Sample(cpu_ns / operations, wall_ns / operations, operations,
                      tree_peak_bytes(self.process.pid))

    def end(self):
        """In order, so that a recording ends as it would; the whole group if that takes too long."""
        self.stop()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        end_group(self.process)
        self.process.wait()

    def close(self):
        self.end()
        if self.way.recorded:
            self.log.add(self.spool)
        shutil.rmtree(self.spool, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def stop(self):
        try:
            with open(os.path.join(self.folder, self.PID_FILE), encoding="ascii") as file:
                os.kill(int(file.readline()), self.STOP_SIGNAL)
        except (OSError, ValueError):
            end_group(self.process)


def as_user(user):
    """For subprocess: a user, if we are root."""
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}


def needed(*programs):
    for program in programs:
        if not shutil.which(program, path=SEARCHED):
            raise Unable(f"{program} is not installed (tools/install-packages --bench)")


POSTGRES = next((f"/usr/lib/postgresql/{version}/bin" for version in range(30, 9, -1)
                 if os.path.exists(f"/usr/lib/postgresql/{version}/bin/postgres")), "/nowhere")
SEARCHED = os.pathsep.join([POSTGRES, os.environ.get("PATH", ""), "/usr/sbin"])


# ---- PostgreSQL --------------------------------------------------------------------------------

CLIENTS = 2
SETTINGS = """
listen_addresses = ''
fsync = off
autovacuum = off
shared_buffers = 64MB
huge_pages = off
max_connections = 20
dynamic_shared_memory_type = mmap
"""  # mmap: what posix leaves in /dev/shm when a server is killed, nobody removes


class Postgres(ServerSession):
    PID_FILE, STOP_SIGNAL = "data/postmaster.pid", signal.SIGINT  # a fast stop

    def __init__(self, place, way, timeout, folder, options=()):
        self.options = options
        user = postgres_user()
        command = [f"{POSTGRES}/postgres", "-D", f"{folder}/data", "-k", folder]
        super().__init__(place, way, timeout, folder, command, f"{folder}/.s.PGSQL.5432", user)
        end = time.monotonic() + timeout  # it listens before it lets anybody in
        while True:
            try:
                self.ask([f"{POSTGRES}/psql", "-X", "-h", folder, "-U", "bench", "-c", "select 1",
                          "postgres"])
                return
            except Unable as error:
                died, said = self.process.poll(), self.output()
                if died is not None or time.monotonic() > end:
                    self.close()
                    raise error if died is None else Unable("did not start: " + why(said, died))
                time.sleep(0.1)

    def pgbench(self, *words):
        return self.timed([f"{POSTGRES}/pgbench", "-h", self.folder, "-U", "bench", "-n", "-c",
                           str(CLIENTS), "-j", "1", *self.options, *words, "postgres"])

    def measure(self, seconds):
        """Less what a connection costs."""
        _, connection_ns, _ = self.pgbench("-t", "1")
        said, cpu, wall = self.pgbench("-T", str(max(1, round(seconds * 4))))
        made = int(re.search(r"transactions actually processed: (\d+)", said).group(1))
        self.operations += made + CLIENTS
        return self.sample(made - CLIENTS, cpu - connection_ns, wall)


def postgres_user():
    return "postgres" if os.getuid() == 0 else None


def filled_postgres(place):
    needed("postgres", "initdb", "pgbench")

    def fill():
        folder, user = place.new_folder(postgres_user()), postgres_user()
        subprocess.run([f"{POSTGRES}/initdb", "-D", f"{folder}/data", "-A", "trust", "-U", "bench",
                        "--no-sync", "--no-instructions"], check=True, cwd=folder,
                       stdout=subprocess.DEVNULL, **as_user(user))
        with open(f"{folder}/data/postgresql.conf", "a", encoding="ascii") as file:
            file.write(SETTINGS)
        server = Postgres(place, place.alone, 60, folder)
        server.ask([f"{POSTGRES}/pgbench", "-h", folder, "-U", "bench", "-i", "-s", "2", "-q",
                    "postgres"])
        server.end()
        return folder
    return place.once("filled postgres", fill)


def postgres(*options):
    def open_session(place, way, timeout):
        folder = place.new_folder(postgres_user())
        subprocess.run(["cp", "-a", filled_postgres(place) + "/data", folder], check=True)
        return Postgres(place, way, timeout, folder, options)
    return open_session


# ---- nginx -------------------------------------------------------------------------------------

NGINX_CONF = """
worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error.log crit; {user}
events {{ worker_connections 64; }}
http {{
  access_log off; keepalive_requests 1000000000; client_body_temp_path {folder};
  proxy_temp_path {folder}; fastcgi_temp_path {folder}; uwsgi_temp_path {folder};
  scgi_temp_path {folder};
  limit_req_zone $binary_remote_addr zone=requests:1m rate=1000000r/s;
  limit_conn_zone $binary_remote_addr zone=connections:1m;
  server {{
    listen 127.0.0.1:{port}; root {folder}/site;
    limit_req zone=requests burst=100000 nodelay; limit_conn connections 64;
  }}
}}
"""


class Nginx(ServerSession):
    PID_FILE, STOP_SIGNAL = "pid", signal.SIGQUIT

    def measure(self, seconds):
        said, cpu, wall = self.timed(
            ["ab", "-q", "-k", "-c", "4", "-n", "100000000", "-t", str(max(1, round(seconds * 2))),
             f"http://127.0.0.1:{self.address[1]}/page.txt"])
        made = int(re.search(r"Complete requests:\s+(\d+)", said).group(1))
        refused = re.search(r"Non-2xx responses:\s+(\d+)", said)
        if refused:
            raise Unable(f"{refused.group(1)} of {made} requests were refused")
        self.operations += made
        return self.sample(made, cpu, wall)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def nginx(place, way, timeout):
    needed("nginx", "ab")
    folder, port = place.new_folder(), free_port()
    os.mkdir(f"{folder}/site")
    with open(f"{folder}/site/page.txt", "w", encoding="ascii") as file:
        file.write("x" * 1000)
    with open(f"{folder}/conf", "w", encoding="ascii") as file:
        name = pwd.getpwuid(os.getuid()).pw_name
        file.write(NGINX_CONF.format(folder=folder, port=port,
                                     user=f"user {name};" if name == "root" else ""))
    command = [shutil.which("nginx", path=SEARCHED), "-p", folder, "-c", f"{folder}/conf"]
    return Nginx(place, way, timeout, folder, command, ("127.0.0.1", port))


# ---- Redis -------------------------------------------------------------------------------------

class Redis(ServerSession):
    PID_FILE, STOP_SIGNAL = "pid", signal.SIGTERM

    def requests(self, count):
        return self.timed(["redis-benchmark", "-s", self.address, "-q", "-t", "get,set", "-c", "4",
                           "-n", str(count)])[1:]

    def measure(self, seconds):
        count = 1000
        while True:
            cpu, wall = self.requests(count)
            self.operations += 2 * count
            if wall >= seconds * 1e9 and cpu >= seconds * 1e8:
                return self.sample(2 * count, cpu, wall)
            count *= 4


def redis(place, way, timeout):
    needed("redis-server", "redis-benchmark")
    folder = place.new_folder()
    command = [shutil.which("redis-server"), "--port", "0", "--unixsocket", f"{folder}/socket",
               "--save", "", "--appendonly", "no", "--pidfile", f"{folder}/pid", "--dir", folder]
    return Redis(place, way, timeout, folder, command, f"{folder}/socket")
