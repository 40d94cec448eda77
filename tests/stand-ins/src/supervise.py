"""Runs commands one after the other and ends them when the process that started this one ends.

Started by process.rs with a JSON object as its argument, and with a pipe as standard input that nobody
writes to: the system closes it when the owner ends, however it ends, on whichever thread it was opened.
The supervisor is a session of its own, so that Ctrl-C on a terminal reaches the owner first.

The keys of the object: `commands` (all but the last must succeed; `{scratch}` stands for the scratch
folder), `environment`, `log` (a file), `stop` (a signal's number), `scratch` (where to make a folder that
goes with the process, or null), `unprivileged` (null, or the folder of the environment's packages, with
programs that refuse to run as root), `parts` (the folders in there that they need), `namespaces`
(whether a user namespace may be tried for that).
"""

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading

PATIENCE_SECONDS = 5
CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1
NOBODY = 65534


def enter_user_namespace():
    """Becomes an ordinary user in the eyes of itself and its children, while for files it stays root:
    so no folder on the way to them must be opened to others. False where the system forbids it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "unshare") or libc.unshare(CLONE_NEWUSER) != 0:
        return False
    for name, text in (("setgroups", "deny"), ("uid_map", "1000 0 1"), ("gid_map", "1000 0 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    return True


def die_with_supervisor():
    """Also when the supervisor itself is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Supervisor:
    def __init__(self, task):
        self.task = task
        self.lock = threading.Lock()
        self.stopping = False
        self.child = None
        self.as_user = {}
        self.scratch = None
        self.programs = None

    def prepare(self):
        parent = self.task["scratch"]
        root = self.task["unprivileged"] and os.geteuid() == 0
        if root and not (self.task["namespaces"] and enter_user_namespace()):
            # Another user cannot reach what lies in root's folders, so the programs are copied.
            self.as_user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
            parent = tempfile.gettempdir()
        if parent is None:
            return
        self.scratch = tempfile.mkdtemp(prefix="scratch-", dir=parent)
        if self.as_user:
            os.chmod(self.scratch, 0o755)
            self.programs = os.path.join(self.scratch, "programs")
            for part in self.task["parts"]:
                source = os.path.join(self.task["unprivileged"], part)
                if os.path.isdir(source):
                    shutil.copytree(source, os.path.join(self.programs, part), symlinks=True)
            os.chown(self.scratch, NOBODY, NOBODY)

    def words(self, command):
        for word in command:
            if self.programs:
                word = word.replace(self.task["unprivileged"], self.programs)
            yield word.replace("{scratch}", self.scratch or "")

    def run(self):
        code = 0
        for command in self.task["commands"]:
            with self.lock:
                if self.stopping:
                    break
                self.child = subprocess.Popen(
                    list(self.words(command)),
                    env=self.task["environment"],
                    cwd=self.scratch,
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                    preexec_fn=die_with_supervisor,
                    **self.as_user,
                )
            code = self.child.wait()
            # What it left behind in its group.
            self.signal(signal.SIGKILL)
            if code != 0:
                break
        return code

    def signal(self, number):
        try:
            os.killpg(self.child.pid, number)
        except (ProcessLookupError, PermissionError):
            pass

    def stop_with_owner(self):
        while os.read(0, 1):
            pass
        with self.lock:
            self.stopping = True
            child = self.child
        if child is None or child.poll() is not None:
            return
        self.signal(self.task["stop"])
        try:
            child.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)


def main():
    os.setsid()
    task = json.loads(sys.argv[1])
    log = os.open(task["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    supervisor = Supervisor(task)
    try:
        supervisor.prepare()
        threading.Thread(target=supervisor.stop_with_owner, daemon=True).start()
        code = supervisor.run()
    finally:
        if supervisor.scratch:
            shutil.rmtree(supervisor.scratch, ignore_errors=True)
    # The thread may still wait for the owner.
    sys.stdout.flush()
    os._exit(code if 0 <= code < 256 else 1)


main()
