"""The unit of systemd that runs a pipeline: what it may do, and nothing else.

Not among the walls are ``MemoryDenyWriteExecute=``, for kernels are compiled into memory, which is first written and then run, and ``ProcSubset=pid``, for
compilers and Torch look into ``/proc/cpuinfo``.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

from flowedge import __version__
from flowedge.runtime.operate.fitness import Account, has_group, is_below
from flowedge.runtime.operate.needs import Needs

MARK = "# Written by `flowedge service install`"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}\Z")
_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+\Z")
START_S, STOP_S, WATCHDOG_S = 600, 90, 60


@dataclass(frozen=True)
class Unit:
    """One service.

    Attributes
    ----------
    name : without ``flowedge-`` and ``.service``
    flow : of the pipeline, the whole path
    python : what runs it
    programs : all folders that it comes from
    options : of `flowedge run`, besides those that every service has
    needs : what the pipeline names
    who : whom the service is
    is_user : of the user's own systemd, which may raise fewer walls
    credentials : files that are handed to it, by name
    environment : file with variables
    memory_max : bytes
    """

    name: str
    flow: Path
    python: str
    needs: Needs
    who: Account = field(default_factory=Account)
    programs: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    is_user: bool = False
    credentials: dict[str, Path] = field(default_factory=dict)
    environment: Path | None = None
    memory_max: int = 2 << 30

    @property
    def file(self) -> str:
        """What systemd calls it."""
        return f"flowedge-{self.name}.service"

    @property
    def _folder(self) -> str:
        """Of state, cache and runtime, below those of the system."""
        return f"flowedge/{self.name}"

    def text(self) -> str:
        """The unit as it is written."""
        parts = [
            f"{MARK} {__version__}; changes are lost with the next one.",
            "",
            "[Unit]",
            f"Description=FlowEdge: {_escaped(self.flow.name)}",
            "Wants=network-online.target",
            "After=network-online.target",
            "StartLimitIntervalSec=300",
            "StartLimitBurst=10",
            "",
            "[Service]",
            *self._running(),
            *(self._files()),
            *(_SECCOMP if self.is_user else self._walls()),
            "",
            "[Install]",
            f"WantedBy={'default' if self.is_user else 'multi-user'}.target",
            "",
        ]
        if self.is_user:  # there is no network-online.target there
            parts = [p for p in parts if "network-online" not in p]
        return "\n".join(parts)

    def _running(self) -> list[str]:
        words = [
            self.python, "-P", "-m", "flowedge", "run", str(self.flow), "--checkpoint", f"\0S/{self._folder}/state",
            "--log", "json", "--quiet", *self.options,
        ]  # fmt: skip
        return [
            "Type=notify",
            "NotifyAccess=main",
            f"ExecStart={' '.join(map(quoted, words))}",
            "ExecReload=/bin/kill -HUP $MAINPID",
            f"WatchdogSec={WATCHDOG_S}",
            f"TimeoutStartSec={START_S}",
            f"TimeoutStopSec={STOP_S}",
            "Restart=on-failure",
            "RestartSec=5",
            "SuccessExitStatus=130",
            "RestartPreventExitStatus=1 2 5",
            f"MemoryMax={self.memory_max}",
            "TasksMax=256",
            "LimitNOFILE=65536",
            "LimitCORE=0",
        ]

    def _files(self) -> list[str]:
        out = [
            f"StateDirectory={self._folder}",
            "StateDirectoryMode=0750",
            f"CacheDirectory={self._folder}",
            "CacheDirectoryMode=0750",
            f"RuntimeDirectory={self._folder}",
            f"WorkingDirectory=%S/{self._folder}",
            f"Environment=FLOWEDGE_CACHE=%C/{self._folder} PYTHONUNBUFFERED=1",
        ]
        if self.environment is not None:
            out.append(f"EnvironmentFile={_escaped(str(self.environment))}")
        out += [
            f"LoadCredential={n}:{_escaped(str(p))}" for n, p in sorted(self.credentials.items())
        ]
        return out

    def _walls(self) -> list[str]:
        """What a service of the system is kept from."""
        needs = self.needs
        state = f"/var/lib/{self._folder}"
        written = sorted(p for p in needs.writes if not is_below(p, state))
        in_homes = any(is_below(p, home) for p in (*needs.all_paths, str(self.flow), *self.programs) for home in ("/home", "/root", "/run/user"))  # fmt: skip
        out = ["DynamicUser=yes"] if not self.who.name else [f"User={self.who.name}"]
        out += [f"ReadWritePaths={_escaped(path)}" for path in written]
        out += [
            "ProtectSystem=strict",
            f"ProtectHome={'read-only' if in_homes else 'yes'}",
            "PrivateTmp=yes",
            "ProtectProc=invisible",
            "ProtectKernelTunables=yes",
            "ProtectKernelModules=yes",
            "ProtectKernelLogs=yes",
            "ProtectControlGroups=yes",
            "ProtectClock=yes",
            "ProtectHostname=yes",
            "RemoveIPC=yes",
            "KeyringMode=private",
            "PrivateMounts=yes",
            "UMask=0027",
        ]
        if needs.devices or needs.has_cuda:
            out += ["DevicePolicy=closed", *(f"DeviceAllow={_escaped(d)} rw" for d in sorted(needs.devices))]  # fmt: skip
            if needs.has_cuda:
                out += ["DeviceAllow=char-nvidia* rw"]
            groups = [x for x in (*["dialout"] * bool(needs.devices), *["video"] * needs.has_cuda) if has_group(x)]  # fmt: skip
            out += [f"SupplementaryGroups={' '.join(groups)}"] if groups else []
        else:
            out += ["PrivateDevices=yes"]
        if needs.has_low_port:
            out += ["AmbientCapabilities=CAP_NET_BIND_SERVICE", "CapabilityBoundingSet=CAP_NET_BIND_SERVICE"]  # fmt: skip
        else:
            out += ["PrivateUsers=yes", "CapabilityBoundingSet=", "AmbientCapabilities="]
        out += [f"RestrictNamespaces={'user net' if needs.has_isolated else 'yes'}"]
        return [*out, *_SECCOMP, *([_LANDLOCK] if needs.has_isolated else [])]


_SECCOMP = [
    "NoNewPrivileges=yes",
    "LockPersonality=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@privileged @resources",
    "SystemCallErrorNumber=EPERM",
]
"""What needs no rights to be given away, and is there for services of users, too."""


_LANDLOCK = "SystemCallFilter=landlock_create_ruleset landlock_add_rule landlock_restrict_self"
"""By which models in processes of their own are cut off (`flowedge.models.confine`)."""


def name_of(text: str) -> str:
    """A name for a service, from that of a file.

    Raises
    ------
    ValueError
        it is none that systemd takes
    """
    if not _NAME.match(text):
        message = f"`{text}` is no name for a service (letters, digits, `_`, `.`, `-`); give one with `--name`"
        raise ValueError(message)
    return text


def _escaped(text: str) -> str:
    """A text in which systemd replaces nothing."""
    return text.replace("%", "%%")


def quoted(word: str) -> str:
    """A word of a command line, as ExecStart= takes it; a NUL in front of a letter stands for the specifier.

    Examples
    --------
    >>> print(quoted("/data/100 %.flow"))
    "/data/100 %%.flow"
    >>> print(quoted("limit=$x"))
    "limit=$$x"
    """
    escaped = _escaped(word).replace("$", "$$").replace("\0", "%")
    if _PLAIN.match(escaped):
        return escaped
    return '"' + escaped.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
