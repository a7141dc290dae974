package recipe

import (
	"fmt"
	"slices"
	"strings"
)

// services are the recipe's, or else those of its language.
func (d *draft) services() []Service {
	if len(d.Services) > 0 {
		return d.Services
	}
	return d.lang.services
}

// healthScript is where the image's checks are.
const healthScript = "/usr/lib/berth/health"

// addServices makes the services, in the supervisor's form, and the health check of all of them. All of it goes below folders that
// are root's and 0755 everywhere, so one step may copy it.
func (d *draft) addServices() {
	list := d.services()
	at := d.next()
	var names []string
	var needs []Entry
	for _, s := range list {
		switch d.Supervisor {
		case S6:
			needs = append(needs, s6Service(at+"/etc/s6/services", s)...)
		case Units:
			needs = append(needs, unitOf(at+"/etc/systemd/system", s, list)...)
		default:
			continue
		}
		names = append(names, s.Name)
	}
	title := "add services " + strings.Join(names, ", ")
	script, check := d.health(list)
	switch {
	case check == "" && names == nil:
		return
	case check != "":
		needs = append(needs, content(at+healthScript, script, 0o755))
		if title += " and their health check"; names == nil {
			title = "add the health check"
		}
	}
	d.add(Step{Title: title, Text: "COPY " + words(at+"/", "/"), Needs: needs})
	if check != "" {
		d.add(Step{Title: "name the health check", Text: check})
	}
}

// logger is what the base image keeps the logs of its services with.
const logger = "/usr/lib/berth/log"

// s6Service is a service folder of the base image.
func s6Service(at string, s Service) []Entry {
	at += "/" + s.Name
	var b strings.Builder
	b.WriteString("#!/bin/sh\n# The service " + s.Name + " of berth.yaml.\nexec 2>&1\n")
	if s.User != "" {
		fmt.Fprintf(&b, "USER=%s LOGNAME=%s HOME=~%s\nexport USER LOGNAME HOME\n", s.User, s.User, s.User)
	}
	for _, v := range s.Environment {
		fmt.Fprintf(&b, "export %s=%s\n", v.Name, quoted(v.Value))
	}
	directory := s.Directory
	if directory == "" {
		directory = "/"
	}
	// A program that cannot start is tried again by s6 once a second.
	fmt.Fprintf(&b, "cd %s || exit 1\nexec ", quoted(directory))
	if s.User != "" {
		b.WriteString("s6-setuidgid " + s.User + " ")
	}
	command := s.Command
	if s.Shell {
		command = []string{"/bin/sh", "-c", s.Command[0]}
	}
	for i, word := range command {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(quoted(word))
	}
	b.WriteByte('\n')
	return []Entry{
		content(at+"/run", b.String(), 0o755),
		content(at+"/order", fmt.Sprintf("%d\n", s.Order), 0o644),
		// Bases from before journalctl have no logger: what the service says is then in the container's log only.
		content(at+"/log/run", "#!/bin/sh\n[ -x "+logger+" ] && exec "+logger+" "+s.Name+".service\nexec cat\n", 0o755),
	}
}

// quoted is a word that the shell takes as it is.
func quoted(w string) string { return "'" + strings.ReplaceAll(w, "'", `'\''`) + "'" }

// unitOf is a unit file, and the link that enables it. Services of lower order start before it.
func unitOf(at string, s Service, all []Service) []Entry {
	var b strings.Builder
	b.WriteString("[Unit]\nDescription=" + s.Name + " of berth.yaml\n")
	var before []string
	for _, other := range all {
		if other.Order < s.Order {
			before = append(before, other.Name+".service")
		}
	}
	slices.Sort(before)
	after := strings.Join(append([]string{"network.target"}, before...), " ")
	fmt.Fprintf(&b, "After=%s\n\n[Service]\nType=exec\nRestart=always\nRestartSec=1\n", after)
	if s.User != "" {
		b.WriteString("User=" + s.User + "\n")
	}
	if s.Directory != "" {
		b.WriteString("WorkingDirectory=" + strings.ReplaceAll(s.Directory, "%", "%%") + "\n")
	}
	for _, v := range s.Environment {
		b.WriteString("Environment=" + unitWord(v.Name+"="+v.Value, false) + "\n")
	}
	command := s.Command
	if s.Shell {
		command = []string{"/bin/sh", "-c", s.Command[0]}
	}
	b.WriteString("ExecStart=")
	for i, word := range command {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(unitWord(word, true))
	}
	b.WriteString("\n\n[Install]\nWantedBy=multi-user.target\n")
	file := s.Name + ".service"
	return []Entry{
		content(at+"/"+file, b.String(), 0o644),
		{Name: at + "/multi-user.target.wants/" + file, Link: "../" + file, Mode: 0o777},
	}
}

// unitWord is a word as systemd.syntax(7) reads it; in a command line, $ would begin a variable.
func unitWord(w string, command bool) string {
	w = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\t", `\t`, "%", "%%").Replace(w)
	if command {
		w = strings.ReplaceAll(w, "$", "$$")
	}
	return `"` + w + `"`
}

// health is one script for all checks, as an image has one health check, and the instruction that names it; empty without checks.
func (d *draft) health(list []Service) (script, instruction string) {
	type named struct {
		name  string
		check *Check
	}
	var all []named
	if d.Health != nil {
		all = append(all, named{d.Name, d.Health})
	}
	for _, s := range list {
		if s.Health != nil {
			all = append(all, named{s.Name, s.Health})
		}
	}
	if len(all) == 0 {
		return "", ""
	}
	script = "#!/bin/bash\n# The checks of berth.yaml: says which of them fails.\n"
	total := *all[0].check
	total.Timeout = 0
	for _, n := range all {
		c := n.check
		script += fmt.Sprintf("timeout %d %s || { echo %s; exit 1; }\n", c.Timeout, c.command(), quoted(n.name+" is not well: "+c.what()))
		total.Interval, total.Retries = min(total.Interval, c.Interval), max(total.Retries, c.Retries)
		total.Start, total.Timeout = max(total.Start, c.Start), total.Timeout+c.Timeout
	}
	return script, fmt.Sprintf("HEALTHCHECK --interval=%ds --timeout=%ds --start-period=%ds --retries=%d CMD %s",
		total.Interval, total.Timeout+1, total.Start, total.Retries, words(healthScript))
}

func (c *Check) command() string {
	switch {
	case c.HTTP != "":
		return fmt.Sprintf("curl -fsS -o /dev/null %s", quoted(fmt.Sprintf("http://127.0.0.1:%d%s", c.Port, c.HTTP)))
	case c.TCP:
		return fmt.Sprintf("bash -c '</dev/tcp/127.0.0.1/%d'", c.Port)
	}
	return "/bin/sh -c " + quoted(c.Command)
}

func (c *Check) what() string {
	switch {
	case c.HTTP != "":
		return fmt.Sprintf("no good answer from port %d, path %s", c.Port, c.HTTP)
	case c.TCP:
		return fmt.Sprintf("nothing listens on port %d", c.Port)
	}
	return c.Command + " failed"
}
