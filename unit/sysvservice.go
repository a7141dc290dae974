package unit

import (
	"path"
	"regexp"
	"strings"
	"time"
)

// facilities are what LSB's "$..." names stand for.
var facilities = map[string]string{
	"$local_fs": "", "$network": "network-online.target", "$named": "nss-lookup.target", "$portmap": "rpcbind.target",
	"$remote_fs": "remote-fs.target", "$syslog": "", "$time": "time-sync.target",
}

// convert makes a service of an init script, as systemd-sysv-generator would: it forks, its end is not the script's business, and it counts as
// running after "start" has ended well.
func (s *Set) convert(u *Unit) {
	script, sv := u.SysV, u.Service
	kind := "SYSV: "
	if script.LSB {
		kind = "LSB: "
	}
	if u.Description == "" {
		u.Description = kind + script.Description
	}
	if u.Docs == nil {
		u.Docs = []string{"man:systemd-sysv-generator(8)"}
	}
	command := func(verb string) []Command {
		return []Command{{Path: script.Script, Args: []string{script.Script, verb}}}
	}
	if sv.Type == "" {
		sv.Type = Forking
	}
	sv.ExecStart, sv.ExecStop = command("start"), command("stop")
	if text, err := s.tree.readFile(script.Script); err == nil && knowsReload(text) {
		sv.ExecReload = command("reload")
	}
	sv.PIDFile, sv.GuessMainPID, sv.RemainAfterExit = script.PIDFile, false, script.PIDFile == ""
	sv.KillMode = KillProcess
	sv.TimeoutStart, sv.TimeoutStop = 5*time.Minute, 5*time.Minute
	if script.LSB {
		sv.Success.Codes = append(sv.Success.Codes, exitNames["NOTINSTALLED"], exitNames["NOTCONFIGURED"])
	}
	s.order(u)
}

// reloadWord is "reload" as a label of a case: a script that only prints it in its usage does not have it.
var reloadWord = regexp.MustCompile(`(?m)^[^#\n]*(^|[\s|("'])reload(["']?\s*\||["']?\))`)

func knowsReload(text string) bool { return reloadWord.MatchString(text) }

// order says what a script starts after. What it needs is only wanted, as the one who started the machine by links never failed for it.
func (s *Set) order(u *Unit) {
	own := strings.TrimSuffix(path.Base(u.SysV.Script), ".sh")
	add := func(name string, want bool) {
		facility, known := facilities[name]
		switch {
		case known && facility == "" || name == own:
			return
		case strings.HasPrefix(name, "$") && !known:
			return
		case !known:
			facility = s.resolve(ScriptUnit(name))
		}
		if !ValidName(facility) || facility == u.Name {
			return
		}
		u.After = append(u.After, facility)
		if want && known {
			u.Wants = append(u.Wants, facility)
		}
	}
	for _, name := range u.SysV.Required {
		add(name, true)
	}
	for _, name := range u.SysV.Should {
		add(name, false)
	}
	for _, name := range u.SysV.Before {
		if unit := s.resolve(ScriptUnit(name)); !strings.HasPrefix(name, "$") && ValidName(unit) && unit != u.Name {
			u.Before = append(u.Before, unit)
		}
	}
	u.Before = append(u.Before, "multi-user.target")
	if u.SysV.LSB {
		return
	}
	// Without a header it is the numbers that tell the order, among scripts that have none, either.
	for name, other := range s.sysv {
		if other != u.SysV && !other.LSB && other.StartOrder < u.SysV.StartOrder {
			u.After = append(u.After, name)
		}
	}
}
