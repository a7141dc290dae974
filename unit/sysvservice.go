package unit

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

// facilities are what LSB's "$..." names stand for.
var facilities = map[string]string{
	"$local_fs": "", "$network": "network-online.target", "$named": "nss-lookup.target", "$portmap": "rpcbind.target",
	"$remote_fs": "remote-fs.target", "$syslog": "", "$time": "time-sync.target",
}

// generated are the settings that systemd-sysv-generator would write for a script: it forks, its end is not the script's business, and it counts
// as running after "start" has ended well. Drop-ins come after them. Of two that the generator writes we know better: without control groups the
// main process has to be found, and no file has said that it is not to be restarted.
func (s *Set) generated(script *SysV) []line {
	var lines []line
	add := func(section, key, value string) {
		lines = append(lines, line{Setting{section, key, strings.ReplaceAll(value, "%", "%%")}, script.Script, 0})
	}
	kind := "SYSV: "
	if script.LSB {
		kind = "LSB: "
	}
	add("Unit", "Documentation", "man:systemd-sysv-generator(8)")
	add("Unit", "SourcePath", script.Script)
	add("Unit", "Description", kind+script.Description)
	remain := "yes"
	if script.PIDFile != "" {
		remain = "no"
	}
	for _, kv := range [][2]string{
		{"Type", "forking"}, {"TimeoutSec", "5min"}, {"IgnoreSIGPIPE", "no"}, {"KillMode", "process"}, {"RemainAfterExit", remain},
		{"PIDFile", script.PIDFile},
	} {
		if kv[1] != "" {
			add("Service", kv[0], kv[1])
		}
	}
	if script.LSB {
		add("Service", "SuccessExitStatus", fmt.Sprintf("%d %d", exitNames["NOTINSTALLED"], exitNames["NOTCONFIGURED"]))
	}
	add("Service", "ExecStart", script.Script+" start")
	add("Service", "ExecStop", script.Script+" stop")
	if text, err := s.tree.readFile(script.Script); err == nil && reloadLabel.MatchString(text) {
		add("Service", "ExecReload", script.Script+" reload")
	}
	return lines
}

// reloadLabel is "reload" as a label of a case: a script that only prints it in its usage does not have it.
var reloadLabel = regexp.MustCompile(`(?m)^\s*\(?(["']?[\w-]+["']?\s*\|\s*)*["']?reload["']?\s*[|)]`)

var (
	shellVariable = regexp.MustCompile(`(?m)^[ \t]*(?:(?:export|readonly|local)[ \t]+)?(\w+)=("[^"\n]*"|'[^'\n]*'|[^\s;#]*)`)
	shellValue    = regexp.MustCompile(`\$(?:\{(\w+)(?::?[-=]([^${}]*))?\}|(\w+))`)
	pidVariable   = regexp.MustCompile(`(?i)pid_?f(ile)?|^pid$`)
)

// pidGuesses evaluates the plain assignments of a script and keeps those that name a pid file.
func pidGuesses(text string) []string {
	vars := map[string]string{}
	var found []string
	for _, m := range shellVariable.FindAllStringSubmatch(text, -1) {
		raw := strings.Trim(m[2], `"`)
		value := strings.Trim(raw, "'")
		if !strings.HasPrefix(raw, "'") {
			value = substitute(value, vars)
		}
		if strings.ContainsAny(value, "$`(*\"") {
			continue
		}
		if vars[m[1]] = value; pidVariable.MatchString(m[1]) && path.IsAbs(value) && path.Ext(value) != "" && path.Base(value)[0] != '.' {
			var clean string
			_ = pidFile(&clean)(path.Clean(value))
			found = append(found, clean)
		}
	}
	return unique(found)
}

// substitute puts variables into a value, the innermost first: "${A:-$B/x}".
func substitute(value string, vars map[string]string) string {
	for range maxNesting {
		before := value
		value = shellValue.ReplaceAllStringFunc(value, func(ref string) string {
			parts := shellValue.FindStringSubmatch(ref)
			if v := vars[parts[1]+parts[3]]; v != "" {
				return v
			}
			return parts[2]
		})
		if value == before {
			break
		}
	}
	return value
}

// maxNesting bounds how deep defaults are put into defaults, as a value may name itself.
const maxNesting = 5

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
