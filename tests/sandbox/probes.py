"""Attempts to get out: each prints REACHED when it succeeded.

Every one is seen to succeed in a sandbox without walls, so that it is known to work, and must fail behind them. Names
in capitals are filled in by `Targets`.
"""

from __future__ import annotations

import ctypes
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

SECRET = "the-servers-secret"
_CTYPES = "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
_CONNECT = """
import errno, socket
probe = socket.socket({family}, {kind})
probe.settimeout(0.3)
if probe.connect_ex({address}) not in (errno.EPERM, errno.EACCES, errno.ENETUNREACH):
    print("REACHED")
"""

PROBES: Mapping[str, str] = {
    "read the users": "open('/etc/passwd').read(); print('REACHED')",
    "read a file of the server": "print('REACHED' if 'SECRET' in open('SECRET_FILE').read() else '')",
    "read it through a link": (
        "import os\nos.symlink('SECRET_FILE', 'link')\nprint('REACHED' if 'SECRET' in open('link').read() else '')"
    ),
    "read it by a link that changes": """
import os, threading
def swap():
    while True:
        for target in ("/dev/null", "SECRET_FILE"):
            os.symlink(target, "new"); os.replace("new", "link")
threading.Thread(target=swap, daemon=True).start()
for _ in range(20000):
    try:
        if "SECRET" in open("link").read():
            print("REACHED")
            break
    except OSError:
        pass
""",
    "list the server's folder": "import os; os.listdir('FOLDER'); print('REACHED')",
    "read the server's environment": (
        "there = open('/proc/SERVER_PID/environ','rb').read()\nprint('REACHED' if b'SECRET' in there else '')"
    ),
    "read the server's memory file": (
        "f = open('/proc/SERVER_PID/mem', 'rb', 0)\nf.seek(ADDRESS)\n"
        "print('REACHED' if b'SECRET' in f.read(LENGTH) else '')"
    ),
    "read the server's memory": _CTYPES
    + """
class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
there = ctypes.create_string_buffer(LENGTH)
mine, theirs = Vector(ctypes.addressof(there), LENGTH), Vector(ADDRESS, LENGTH)
libc.process_vm_readv(SERVER_PID, ctypes.byref(mine), 1, ctypes.byref(theirs), 1, 0)
print("REACHED" if b"SECRET" in there.raw else "")
""",
    "trace the server": _CTYPES + "print('REACHED' if libc.ptrace(0x4206, SERVER_PID, 0, 0) == 0 else '')",
    "look for the server by handle": _CTYPES + "os.pidfd_open(SERVER_PID); print('REACHED')",
    "signal the server": "import os; os.kill(SERVER_PID, 0); print('REACHED')",
    "signal everybody": "import os; os.kill(-1, 0); print('REACHED')",
    "write outside": "open('FOLDER/planted', 'w').write('x'); print('REACHED')",
    "write into Python": "import os; open(os.__file__, 'r+b'); print('REACHED')",
    "write into the system": "import os; fd = os.open('/usr/lib', os.O_TMPFILE | os.O_RDWR); print('REACHED')",
    "go to the root by /proc": "open('/proc/self/root/etc/passwd').read(); print('REACHED')",
    "go to the server's root": "open('/proc/SERVER_PID/root/etc/passwd').read(); print('REACHED')",
    "open the kernel's settings": "open('/proc/sys/kernel/core_pattern', 'r+'); print('REACHED')",
    "go up and out": "open('../' * 30 + 'SECRET_FILE'.lstrip('/')).read(); print('REACHED')",
    "break out with chroot": (
        "import os\nos.mkdir('c')\nfd = os.open('/', 0)\nos.chroot('c')\nos.fchdir(fd)\n"
        "open('etc/passwd').read(); print('REACHED')"
    ),
    "open by handle": _CTYPES
    + """
handle = (ctypes.c_uint32 * 40)(128)
where = ctypes.c_int()
answer = libc.name_to_handle_at(-100, os.__file__.encode(), handle, ctypes.byref(where), 0)
print("REACHED" if answer == 0 else "")
""",
    "connect to the server": _CONNECT.format(
        family="socket.AF_INET", kind="socket.SOCK_STREAM", address="('127.0.0.1', PORT)"
    ),
    "connect by IPv6": "import socket; socket.socket(socket.AF_INET6); print('REACHED')",
    "connect to the cloud's metadata": _CONNECT.format(
        family="socket.AF_INET", kind="socket.SOCK_STREAM", address="('169.254.169.254', 80)"
    ),
    "send a datagram": _CONNECT.format(family="socket.AF_INET", kind="socket.SOCK_DGRAM", address="('127.0.0.1', 53)"),
    "send to a UNIX socket": (
        "import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect('UNIX_SOCKET')\nprint('REACHED')"
    ),
    "send to an abstract socket": (
        "import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect('\\0ABSTRACT')\nprint('REACHED')"
    ),
    "speak to the kernel by netlink": "import socket; socket.socket(socket.AF_NETLINK, 3); print('REACHED')",
    "become root": "import os; os.setuid(0); print('REACHED')",
    "become another user": "import os; os.setuid(1234); print('REACHED')",
    "mount": _CTYPES
    + """
os.mkdir("m")
if libc.mount(b"tmpfs", b"m", b"tmpfs", 0, None) == 0:
    print("REACHED")
    libc.umount2(b"m", 2)
""",
    "make namespaces": _CTYPES + "print('REACHED' if libc.unshare(0x10000000) == 0 else '')",
    "make namespaces by clone": _CTYPES
    + "pid = libc.syscall(56 if os.uname().machine == 'x86_64' else 220, 0x10000000 | 17, 0, 0, 0, 0)\n"
    + "if pid == 0: os._exit(0)\nprint('REACHED' if pid > 0 else '')",
    "use rings of io": _CTYPES
    + "p = (ctypes.c_uint8 * 120)()\nprint('REACHED' if libc.syscall(425, 4, p) >= 0 else '')",
    "keep memory in a hidden file": "import os; os.memfd_create('x'); print('REACHED')",
    "keep keys": _CTYPES
    + "n = 250 if os.uname().machine == 'x86_64' else 219\nprint('REACHED' if libc.syscall(n, 0, -3, 0) >= 0 else '')",
    "outlive its guard": _CTYPES + "print('REACHED' if libc.prctl(1, 0) == 0 else '')",
    "take 4 GB": "import mmap; taken = mmap.mmap(-1, 4 << 30); print('REACHED')",
    "fork without end": """
import os, signal
for number in range(100):
    if os.fork() == 0:
        signal.pause()
print("REACHED")
""",
    "start threads without end": """
import threading
hold = threading.Event()
for number in range(100):
    threading.Thread(target=hold.wait, daemon=True).start()
print("REACHED")
""",
    "open files without end": "held = [open('/dev/null') for _ in range(200)]; print('REACHED')",
    "write a long file": "f = open('long', 'wb')\nf.truncate(200_000_000)\nf.flush(); print('REACHED')",
    "fill the folder": """
for number in range(20):
    with open(f"part{number}", "wb") as file:
        file.write(bytes(8_000_000))
print("REACHED")
""",
}

SAME_USER: Mapping[str, str] = {
    "change a file's mode": "import os; os.chmod('SECRET_FILE', 0o600); print('REACHED')",
    "change a file's owner": "import os; os.chown('SECRET_FILE', os.getuid(), -1); print('REACHED')",
    "change a file's times": "import os; os.utime('SECRET_FILE'); print('REACHED')",
    "change a file's attributes": "import os; os.setxattr('SECRET_FILE', 'user.x', b'y'); print('REACHED')",
    "cut a file short": "import os; os.truncate('SECRET_FILE', 18); print('REACHED')",
    "link to a file": "import os, time; os.link('SECRET_FILE', f'SECRET_FILE-{time.time()}'); print('REACHED')",
    "slow the server down": (
        "import os; now = os.getpriority(os.PRIO_PROCESS, 0)\n"
        "os.setpriority(os.PRIO_PROCESS, SERVER_PID, now); print('REACHED')"
    ),
    "bind the server to a processor": "import os; os.sched_setaffinity(SERVER_PID, range(64)); print('REACHED')",
    "limit the server": "import resource; resource.prlimit(SERVER_PID, resource.RLIMIT_NOFILE); print('REACHED')",
    "signal the server by a file": (
        "import fcntl, os\nr, w = os.pipe()\nfcntl.fcntl(r, fcntl.F_SETOWN, SERVER_PID); print('REACHED')"
    ),
    "signal a thread of the server": "import signal; signal.pthread_kill; " + _CTYPES
    + "n = 234 if os.uname().machine == 'x86_64' else 131\n"
    + "print('REACHED' if libc.syscall(n, SERVER_PID, SERVER_PID, 0) == 0 else '')",
    "send to a UNIX socket from a pair": (
        "import errno, socket\na, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)\nb.close()\n"
        "if a.connect_ex('UNIX_SOCKET') not in (errno.EPERM, errno.EACCES): print('REACHED')"
    ),
    "watch the server's files": _CTYPES
    + "fd = libc.inotify_init()\nprint('REACHED' if libc.inotify_add_watch(fd, b'SECRET_FILE', 0xfff) > 0 else '')",
    "fork": "import os\nif os.fork() == 0: os._exit(0)\nos.wait(); print('REACHED')",
    "run a program": "import subprocess; subprocess.run(['true'], check=True); print('REACHED')",
    "write a file": "open('file', 'w').write('x'); print('REACHED')",
    "make a nameless file": "import os; os.open('.', os.O_TMPFILE | os.O_RDWR); print('REACHED')",
    "make small threads without end": """
import threading, time
threading.stack_size(65536)
hold = threading.Event()
for number in range(1000):
    threading.Thread(target=hold.wait, daemon=True).start()
time.sleep(2)
print("REACHED")
""",
}  # fmt: skip
"""What namespaces would keep away."""

TARGETS_ONLY_ROOT_HAS = {
    "write into the system", "open the kernel's settings", "break out with chroot", "become root",
    "become another user", "mount", "write into Python", "go to the server's root", "signal everybody",
}  # fmt: skip
"""What also fails without walls where the tests do not run as root."""


class Targets:
    """Something to reach: a process with secrets, a folder with a secret file, listening sockets."""

    def __init__(self, folder: Path) -> None:
        """Make all of it below `folder`."""
        self._folder = folder
        self._stack = ExitStack()
        (folder / "secret").write_text(SECRET)
        self._port = self._listen(socket.AF_INET, ("127.0.0.1", 0)).getsockname()[1]
        self._listen(socket.AF_UNIX, str(folder / "socket"))
        self._abstract = f"folkmoot-probe-{self._port}"
        self._listen(socket.AF_UNIX, f"\0{self._abstract}")
        code = (
            f"import ctypes, sys; held = ctypes.create_string_buffer(b'{SECRET}')\n"
            "print(ctypes.addressof(held), flush=True); sys.stdin.read()"
        )
        self._victim = self._stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={"KEY": SECRET},
            )
        )
        assert self._victim.stdout is not None
        self._address = self._victim.stdout.readline().strip()

    def _listen(self, family: int, address: object) -> socket.socket:
        listener = self._stack.enter_context(socket.socket(family))
        listener.bind(address)
        listener.listen()
        return listener

    def fill_in(self, probe: str) -> str:
        """Return the probe, aimed."""
        for name, value in (
            ("SECRET_FILE", self._folder / "secret"),
            ("UNIX_SOCKET", self._folder / "socket"),
            ("SERVER_PID", self._victim.pid),
            ("FOLDER", self._folder),
            ("ADDRESS", self._address),
            ("LENGTH", len(SECRET)),
            ("ABSTRACT", self._abstract),
            ("PORT", self._port),
            ("SECRET", SECRET),
        ):
            probe = probe.replace(name, str(value))
        return probe

    def close(self) -> None:
        """Take all of it away."""
        self._victim.communicate()
        self._stack.close()


@contextmanager
def targets(folder: Path) -> Iterator[Targets]:
    """Give something to reach."""
    there = Targets(folder)
    try:
        yield there
    finally:
        there.close()


assert ctypes  # the probes need it where they run, so it must be there
