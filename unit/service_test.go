package unit

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestService reads settings and looks at one field each.
func TestService(t *testing.T) {
	const start = "ExecStart=/bin/d\n"
	for _, tc := range []struct {
		name, text string
		get        func(*Service) any
		want       any
	}{
		{"a command alone is simple", start, func(s *Service) any { return s.Type }, Simple},
		{"a bus name makes it dbus", start + "BusName=org.x", func(s *Service) any { return s.Type }, DBus},
		{"only a stop command is oneshot", "ExecStop=/bin/d\nRemainAfterExit=yes", func(s *Service) any { return s.Type }, Oneshot},
		{"oneshot has no time-out", start + "Type=oneshot", func(s *Service) any { return s.TimeoutStart }, time.Duration(0)},
		{"oneshot with its own time-out", start + "Type=oneshot\nTimeoutStartSec=5", func(s *Service) any { return s.TimeoutStart }, 5 * time.Second},
		{"the time-out otherwise", start, func(s *Service) any { return s.TimeoutStart }, 90 * time.Second},
		{"0 is for ever", start + "TimeoutSec=0", func(s *Service) any { return s.TimeoutStop }, time.Duration(0)},
		{"infinity is for ever", start + "TimeoutStopSec=infinity", func(s *Service) any { return s.TimeoutStop }, time.Duration(0)},
		{"bad values keep what was", start + "TimeoutStopSec=soon", func(s *Service) any { return s.TimeoutStop }, 90 * time.Second},
		{"restart 100 ms later", start, func(s *Service) any { return s.RestartSec }, 100 * time.Millisecond},
		{"restart at once", start + "RestartSec=0", func(s *Service) any { return s.RestartSec }, time.Duration(0)},
		{"restart", start + "Restart=on-failure", func(s *Service) any { return s.Restart }, RestartOnFailure},
		{"a pid file below /run", start + "PIDFile=x/d.pid", func(s *Service) any { return s.PIDFile }, "/run/x/d.pid"},
		{"a pid file of old", start + "PIDFile=/var/run/d.pid", func(s *Service) any { return s.PIDFile }, "/run/d.pid"},
		{"exit codes by number, name and signal", start + "SuccessExitStatus=143 DATAERR SIGKILL", func(s *Service) any { return s.Success },
			ExitStatuses{[]int{143, 65}, []string{"SIGKILL"}}},
		{"an empty value forgets", start + "SuccessExitStatus=1\nSuccessExitStatus=", func(s *Service) any { return s.Success }, ExitStatuses{}},
		{"signals by any name", start + "KillSignal=QUIT", func(s *Service) any { return s.KillSignal }, "SIGQUIT"},
		{"signals by number", start + "KillSignal=2", func(s *Service) any { return s.KillSignal }, "SIGINT"},
		{"real-time signals", start + "KillSignal=RTMIN+3", func(s *Service) any { return s.KillSignal }, "SIGRTMIN+3"},
		{"a restart's signal is the stop's", start + "KillSignal=HUP", func(s *Service) any { return s.RestartKillSignal }, "SIGHUP"},
		{"notify listens to the main process", start + "Type=notify", func(s *Service) any { return s.NotifyAccess }, "main"},
		{"umask", start + "UMask=0077", func(s *Service) any { return s.UMask }, uint32(0o77)},
		{"niceness", start + "Nice=5", func(s *Service) any { return *s.Nice }, 5},
		{"a better niceness is not to be had", start + "Nice=-5", func(s *Service) any { return s.Nice }, (*int)(nil)},
		{"no protection from the OOM killer", start + "OOMScoreAdjust=-900", func(s *Service) any { return s.OOMScoreAdjust }, (*int)(nil)},
		{"limits", start + "LimitNOFILE=1024:4K\nLimitCORE=infinity", func(s *Service) any { return s.Limits },
			[]Limit{{"NOFILE", 1024, 4096}, {"CORE", ^uint64(0), ^uint64(0)}}},
		{"the last limit counts", start + "LimitNPROC=1\nLimitNPROC=2", func(s *Service) any { return s.Limits }, []Limit{{"NPROC", 2, 2}}},
		{"limits of time", start + "LimitCPU=2min", func(s *Service) any { return s.Limits }, []Limit{{"CPU", 120, 120}}},
		{"limits of niceness", start + "LimitNICE=-10", func(s *Service) any { return s.Limits }, []Limit{{"NICE", 30, 30}}},
		{"environment", start + `Environment="A=b c" D='e' "F=%n" A=z`, func(s *Service) any { return s.Environment }, []string{"A=z", "D=e", "F=t.service"}},
		{"environment files", start + "EnvironmentFile=-/etc/default/d\nEnvironmentFile=/e", func(s *Service) any { return s.EnvironmentFiles },
			[]EnvironmentFile{{"/etc/default/d", true}, {"/e", false}}},
		{"folders get their mode whenever it comes", start + "RuntimeDirectory=a b/c:d\nRuntimeDirectoryMode=0750", func(s *Service) any { return s.RuntimeDirectory },
			[]Directory{{"/run/a", []string{}, 0o750}, {"/run/b/c", []string{"/run/d"}, 0o750}}},
		{"folders stay below theirs", start + "StateDirectory=../etc", func(s *Service) any { return s.StateDirectory }, []Directory(nil)},
		{"folders that stay", start + "RuntimeDirectoryPreserve=restart", func(s *Service) any { return s.RuntimeDirectoryPreserve }, "restart"},
		{"output to a file", start + "StandardOutput=append:/var/log/d", func(s *Service) any { return s.Stdout }, Output{"append", "/var/log/d"}},
		{"syslog is the journal", start + "StandardOutput=syslog", func(s *Service) any { return s.Stdout }, Output{Target: "journal"}},
		{"a home to work in", start + "WorkingDirectory=~", func(s *Service) any { return s.WorkingDirectory }, "~"},
		{"a folder that may be missing", start + "WorkingDirectory=-/srv", func(s *Service) any { return s.WorkingDirMayMiss }, true},
		{"only the start without privileges", start + "ExecReload=/bin/r\nPermissionsStartOnly=true", func(s *Service) any { return s.ExecReload[0].FullPrivilege }, true},
		{"the start has none of them", start + "ExecReload=/bin/r\nPermissionsStartOnly=true", func(s *Service) any { return s.ExecStart[0].FullPrivilege }, false},
		{"runtime maximum", start + "RuntimeMaxSec=1h", func(s *Service) any { return s.RuntimeMax }, time.Hour},
		{"capabilities", start + "AmbientCapabilities=CAP_NET_BIND_SERVICE cap_chown", func(s *Service) any { return s.AmbientCapabilities },
			[]string{"CAP_NET_BIND_SERVICE", "CAP_CHOWN"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			u := service(tc.text)
			if u.Load != Loaded {
				t.Fatalf("%s: %s", u.Load, u.Problem)
			}
			if got := tc.get(u.Service); !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got %#v, want %#v; ignored %v", got, tc.want, u.Ignored)
			}
		})
	}
}

// TestRefused: what systemd does not load we do not, either, and for the same reason.
func TestRefused(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"nothing to do", "Type=simple", "no ExecStart=, ExecStop="},
		{"nothing to start", "ExecStop=/bin/x\nType=simple", "which is only allowed for Type=oneshot"},
		{"nothing that stays", "ExecStop=/bin/x", "RemainAfterExit=yes"},
		{"two commands", "ExecStart=/bin/x\nExecStart=/bin/y", "more than one ExecStart="},
		{"oneshot for ever", "ExecStart=/bin/x\nType=oneshot\nRestart=always", "isn't allowed for Type=oneshot"},
		{"a relative program", "ExecStart=bin/x", "neither an absolute path nor a plain name"},
		{"a folder as a program", "ExecStart=/bin/", "is a folder"},
		{"an open quote", `ExecStart=/bin/x "a`, "unbalanced quotes"},
		{"a specifier that is none", "ExecStart=/bin/x %9", "unknown specifier"},
		{"no name after @", "ExecStart=@/bin/x", "has to follow"},
		{"a user that cannot be", "ExecStart=/bin/x\nUser=a:b", "not the name of a user"},
		{"a relative place to work", "ExecStart=/bin/x\nWorkingDirectory=srv", "neither an absolute path nor ~"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			u := service(tc.text)
			if u.Load != BadSetting || !strings.Contains(u.Problem, tc.want) || u.Service != nil {
				t.Errorf("%s: %q, want %q", u.Load, u.Problem, tc.want)
			}
		})
	}
}

// TestIgnored: what has no effect says why, and nothing else does.
func TestIgnored(t *testing.T) {
	for _, tc := range []struct{ line, want string }{
		{"ProtectSystem=full", "file system"},
		{"SystemCallFilter=@system-service", "sandbox"},
		{"MemoryMax=1G", "control group"},
		{"WatchdogSignal=ABRT", "watchdog"},
		{"OOMScoreAdjust=-1000", "out-of-memory"},
		{"Nonsense=1", "unknown key in section [Service]"},
		{"X-Private=1", ""},
		{"ExecReload=-bin/x", "neither an absolute"},
		{"TimeoutSec=soon", "not a span of time"},
		{"Restart=maybe", "none of its values"},
		{"StandardInput=tty", "terminal"},
		{"StandardInput=socket", ""},
		{"LimitNOFILE=9:8", "above its hard one"},
		{"Environment=A", "not an assignment"},
		{"EnvironmentFile=x", "not an absolute path"},
		{"TTYPath=/dev/tty1", "terminal"},
		{"IgnoreSIGPIPE=false", ""},
		{"[Socket]\nListenStream=1", "not one of a service"},
		{"[X-Mine]\nA=b", ""},
		{"[Unit]\nStopWhenUnneeded=yes", "until it is stopped"},
		{"[Unit]\nConditionPathExists=etc", "not an absolute path"},
		{"[Unit]\nConditionMoon=full", "unknown key"},
		{"[Unit]\nAfter=x", "not the name of a unit"},
		{"[Install]\nWantedBy=multi-user.target", ""},
		{"nonsense", "not understood"},
	} {
		t.Run(tc.line, func(t *testing.T) {
			u := service("ExecStart=/bin/d\n" + tc.line)
			if u.Load != Loaded {
				t.Fatal(u.Problem)
			}
			switch {
			case tc.want == "" && len(u.Ignored) > 0:
				t.Errorf("ignored: %v", u.Ignored)
			case tc.want != "" && (len(u.Ignored) != 1 || !strings.Contains(u.Ignored[0].Reason, tc.want)):
				t.Errorf("ignored: %v, want %q", u.Ignored, tc.want)
			}
		})
	}
}
