"""Stands in for libmount's module of Python, which is in no Debian 12, where crun's tests ask it for mounts (conformance/crun-tests)."""


class Table:
    """A file in the form of /proc/self/mountinfo, proc(5)."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            self.mounts = [Mount(line.split()) for line in file if line.strip()]

    def find_target(self, target):
        """The uppermost mount there, or None."""
        return next((mount for mount in reversed(self.mounts) if mount.target == target), None)


class Mount:
    def __init__(self, fields):
        self.target, self.vfs_options, self.fs_options = fields[4], fields[5], fields[-1]
