// Package unit knows systemd's unit files and SysV's init scripts. It decides: a file tree comes in as an fs.FS, values go out, which
// package svc carries out under S6. Names, defaults and exit codes are systemd 252's, as its manual pages systemd.unit(5),
// systemd.service(5), systemd.exec(5), systemd.kill(5) and systemctl(1) tell them.
package unit

import "time"

// Kind is what a unit is: the suffix of its name, without the dot.
type Kind string

// Kinds that mean something in a container, and those that are only read.
const (
	KindService Kind = "service"
	KindTarget  Kind = "target"
	KindTimer   Kind = "timer"
	KindSocket  Kind = "socket"
	KindPath    Kind = "path"
	KindMount   Kind = "mount"
)

// LoadState is whether a unit could be read, in systemd's words.
type LoadState string

// Load states.
const (
	Loaded     LoadState = "loaded"
	NotFound   LoadState = "not-found"
	BadSetting LoadState = "bad-setting"
	Masked     LoadState = "masked"
)

// FileState is how a unit is installed, as `systemctl is-enabled` prints it.
type FileState string

// File states.
const (
	Enabled   FileState = "enabled"
	Disabled  FileState = "disabled"
	Static    FileState = "static"
	Indirect  FileState = "indirect"
	Alias     FileState = "alias"
	MaskedF   FileState = "masked"
	Generated FileState = "generated" // of a SysV script
	// EnabledRuntime, LinkedF and MaskedRuntime: by a link below /run, by a link to a file outside the search path.
	EnabledRuntime FileState = "enabled-runtime"
	LinkedF        FileState = "linked"
	MaskedRuntime  FileState = "masked-runtime"
)

// Unit is one unit with its drop-ins applied and its specifiers resolved.
type Unit struct {
	Name        string // "nginx.service", "getty@tty1.service"
	Names       []string
	Kind        Kind
	Description string
	Docs        []string
	Path        string   // the file it is from, or the SysV script; empty when not found
	DropIns     []string // in the order in which they were applied
	Load        LoadState
	Problem     string // why Load is not Loaded, or what of the file is wrong, for a person
	SysV        *SysV  // not nil if an init script is what starts it

	After, Before                         []string
	Requires, Requisite, Wants, BindsTo   []string
	PartOf, Conflicts, PropagatesReloadTo []string
	ReloadPropagatedFrom                  []string // reloaded with these (ReloadsWith)
	Conditions                            []Condition
	StartLimitBurst                       int           // 0: no limit
	StartLimitInterval                    time.Duration // 0: no limit
	OnFailure, OnSuccess                  []string      // started when this one fails, or ends well
	RefuseManualStart, RefuseManualStop   bool          // only as another's dependency

	Service *Service // of a service that is loaded
	Timer   *Timer   // of a timer that is loaded
	Socket  *Socket  // of a socket that is loaded
	Passed  []Passed // the sockets of a service; whoever starts it has asked Set.Passed
	Install Install

	// Settings is every setting as it stands after drop-ins and specifiers, in order, for `systemctl show` and `cat`.
	Settings []Setting
	// Ignored are settings that have no effect in a container, each with the reason.
	Ignored []Ignored
}

// Setting is one assignment of a unit file.
type Setting struct{ Section, Key, Value string }

// Ignored is a setting without effect.
type Ignored struct{ Setting, Reason string }

// Condition is a Condition…= or Assert…= line.
type Condition struct {
	Assert  bool   // a failed one is an error, not a silent skip
	Test    string // without "Condition": "PathExists", "Virtualization"
	Trigger bool   // "|": one of these has to hold
	Negate  bool
	Value   string
}

// Install is the [Install] section.
type Install struct {
	WantedBy, RequiredBy, Alias, Also []string
	DefaultInstance                   string
}

// Type is Service's Type=.
type Type string

// Types. TypeDBus and TypeIdle run as TypeSimple, TypeNotifyReload as TypeNotify whose reload is a signal.
const (
	Simple       Type = "simple"
	ExecType     Type = "exec"
	Forking      Type = "forking"
	Oneshot      Type = "oneshot"
	Notify       Type = "notify"
	NotifyReload Type = "notify-reload"
	DBus         Type = "dbus"
	Idle         Type = "idle"
)

// Restart is Service's Restart=.
type Restart string

// Restart policies.
const (
	RestartNo         Restart = "no"
	RestartAlways     Restart = "always"
	RestartOnSuccess  Restart = "on-success"
	RestartOnFailure  Restart = "on-failure"
	RestartOnAbnormal Restart = "on-abnormal"
	RestartOnAbort    Restart = "on-abort"
	RestartOnWatchdog Restart = "on-watchdog"
)

// KillMode is whom a stop reaches.
type KillMode string

// Kill modes. There are no control groups of their own in a container: the group is all descendants of the service.
const (
	KillGroup   KillMode = "control-group"
	KillMixed   KillMode = "mixed"
	KillProcess KillMode = "process"
	KillNone    KillMode = "none"
)

// Command is one Exec line. Variables of the environment are expanded when it runs (Expand), as files may change until then.
type Command struct {
	Path          string   // absolute, or a name that PATH finds
	Args          []string // with argv[0]; "${A}" and "$A" still in them unless Literal
	IgnoreFailure bool     // "-"
	Argv0         bool     // "@": Args[0] is not Path
	FullPrivilege bool     // "+", "!" and "!!": User, Group and their like are not applied
	Literal       bool     // ":": no variables
}

// EnvironmentFile is a file of assignments that is read at each start.
type EnvironmentFile struct {
	Path     string
	Optional bool // "-": may be missing
}

// Directory is a folder of RuntimeDirectory= and its like, below its base.
type Directory struct {
	Path  string   // absolute
	Links []string // absolute names that point to it
	Mode  uint32
}

// Limit is a resource limit. Infinity is ^uint64(0).
type Limit struct {
	Resource   string // "NOFILE"
	Soft, Hard uint64
}

// Output is where standard output or standard error goes.
type Output struct {
	// Target is "journal", the service's own log, "null", "inherit", "file", "append", "truncate" or "tty"; of the input also "socket", the
	// first one that it is given.
	Target string
	Path   string
}

// Service is what runs. Durations of 0 have systemd's meaning "infinity" where DefaultTimeout is not applied by Load.
type Service struct {
	Type            Type
	RemainAfterExit bool
	PIDFile         string
	GuessMainPID    bool
	NotifyAccess    string

	ExecCondition, ExecStartPre, ExecStart, ExecStartPost []Command
	ExecReload, ExecStop, ExecStopPost                    []Command
	ReloadSignal                                          string // "SIGHUP": of TypeNotifyReload

	Restart                               Restart
	RestartSec                            time.Duration
	RestartUnset                          bool          // no file says Restart=, so Restart is only systemd's default
	TimeoutStart, TimeoutStop             time.Duration // 0: none
	Watchdog                              time.Duration // WatchdogSec; 0: none
	RuntimeMax                            time.Duration // 0: none
	Success, RestartPrevent, RestartForce ExitStatuses

	KillMode                      KillMode
	KillSignal, RestartKillSignal string // "SIGTERM"
	FinalKillSignal               string // "SIGKILL"
	SendSIGKILL, SendSIGHUP       bool
	IgnoreSIGPIPE                 bool // systemd's default: true

	User, Group         string
	DynamicUser         bool // User need not exist: any free id above 61183 will do, User (or the unit's name) is what it is called
	SupplementaryGroups []string
	UMask               uint32
	WorkingDirectory    string // "~" is the user's home
	WorkingDirMayMiss   bool   // "-"
	RootDirectory       string
	Nice                *int
	OOMScoreAdjust      *int
	Limits              []Limit
	Environment         []string // "A=b"
	EnvironmentFiles    []EnvironmentFile
	PassEnvironment     []string
	UnsetEnvironment    []string
	Stdin               Output
	Stdout, Stderr      Output
	SyslogIdentifier    string
	AmbientCapabilities []string
	NoNewPrivileges     bool
	PrivateTmp          bool // told to the reader; a container has a /tmp of its own

	RuntimeDirectory, StateDirectory, CacheDirectory, LogsDirectory, ConfigurationDirectory []Directory
	RuntimeDirectoryPreserve                                                                string // "no", "restart", "yes"

	Sockets []string // socket units that it names; those that name it come to these (Set.Passed)
}

// ExitStatuses are exit codes and signals by name.
type ExitStatuses struct {
	Codes   []int
	Signals []string // "SIGTERM"
}

// SysV is what an init script says of itself.
type SysV struct {
	Script      string // absolute
	LSB         bool   // it has an LSB header
	Provides    []string
	Description string
	Start, Stop []int    // the runlevels in which it is started and stopped, 0 to 6
	Required    []string // Required-Start
	Should      []string // Should-Start
	Before      []string // X-Start-Before
	StartOrder  int      // chkconfig's, 1 to 99; 50 without one
	StopOrder   int
	PIDFile     string // what a line "# pidfile:" or "# PIDFile=" says
	// PIDGuesses are the files that the script's own variables name, as few scripts have such a line. One that is there after the start, with
	// the id of a process that lives, tells the main process; one that is not says nothing.
	PIDGuesses []string
	Process    string // what a line "# processname:" says
}

// Timer is a [Timer] section that cron can keep.
type Timer struct {
	Unit       string
	Cron       []string      // five fields each
	OnBoot     time.Duration // OnBootSec or its like: so long after the container's start it comes once, 0: not
	OnActive   time.Duration // OnUnitActiveSec, 0: none; Cron has it already, at a minute that the timer's name decides
	Persistent bool
	Refused    string // why cron cannot keep it; the other fields are empty then
}
