package verbs

import (
	"bytes"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Codes of invoke-rc.d and policy-rc.d.
const (
	policyDeny      = 101
	policyBroken    = 102
	policySyntax    = 103
	policyAllow     = 104
	policyUndefined = 105
	policyFallback  = 106
)

const policyHelper = "/usr/sbin/policy-rc.d"

// invoke is one call of invoke-rc.d: an init script's action as maintainer scripts ask for it, if policy-rc.d agrees.
type invoke struct {
	*call
	quiet, force, retry, disclose, query, noFallback, skipNative bool
	name                                                         string
	actions, params                                              []string
}

const invokeUsage = `invoke-rc.d, Debian/SysVinit (/etc/rc?.d) initscript subsystem.

Usage:
  invoke-rc.d [options] <basename> <action> [extra parameters]

  basename - Initscript ID, as per update-rc.d(8)
  action   - Initscript action: start, [force-]stop, [try-]restart, [force-]reload, status

Options: --quiet --force --try-anyway --disclose-deny --query --no-fallback --skip-systemd-native --help
`

func invokeRC(c *call, args []string) int {
	v := &invoke{call: c}
	if len(args) == 0 {
		v.say("syntax error: missing required parameter, --help assumed")
		c.printf("%s", invokeUsage)
		return policySyntax
	}
	var words []string
	for i, arg := range args {
		if len(words) == 2 {
			v.params = args[i:]
			break
		}
		switch arg {
		case "--help":
			c.printf("%s", invokeUsage)
			return exitOK
		case "--quiet":
			v.quiet = true
		case "--force":
			v.force, v.retry = true, true
		case "--try-anyway":
			v.retry = true
		case "--disclose-deny":
			v.disclose = true
		case "--query":
			v.query, v.disclose = true, true
		case "--no-fallback":
			v.noFallback = true
		case "--skip-systemd-native":
			v.skipNative = true
		default:
			if strings.HasPrefix(arg, "--") {
				v.say(`syntax error: unknown option "` + arg + `"`)
				return policySyntax
			}
			words = append(words, arg)
		}
	}
	if len(words) < 2 {
		v.say("syntax error: missing required parameter")
		return policySyntax
	}
	v.name, v.actions = words[0], strings.Fields(words[1])
	return v.run()
}

// say writes a message, unless --quiet.
func (v *invoke) say(text string) {
	if !v.quiet {
		v.errorf("invoke-rc.d: %s", text)
	}
}

func (v *invoke) unit() string { return strings.TrimSuffix(v.name, ".sh") + ".service" }

// silent asks systemctl for its exit code alone.
func (v *invoke) silent(args ...string) int {
	c := *v.call
	c.Stdout, c.Stderr = &bytes.Buffer{}, &bytes.Buffer{}
	return systemctl(&c, args)
}

func (v *invoke) run() int {
	if !v.booted() && v.script(v.name) == "" {
		v.say("unknown initscript, /etc/init.d/" + v.name + " not found.")
	}
	code := v.policy(v.local())
	if v.query {
		return code
	}
	if code != policyDeny && code != policyAllow {
		v.say("policy-rc.d returned error status " + number(code))
		if !v.retry {
			return code
		}
		code = policyBroken
	}
	if v.force || code == policyAllow {
		return v.execute()
	}
	if code == policyDeny && !v.disclose {
		if v.actions[0] == "status" {
			v.say(`emulating initscript action "status", returning "unknown"`)
			return exitUnknown
		}
		return exitOK
	}
	v.say("initscript " + actionWord(v.actions) + ` "` + strings.Join(v.actions, ", ") + `" not executed.`)
	return code
}

// local is the first opinion: what is not enabled is not started. 0: none.
func (v *invoke) local() int {
	if !slices.Contains([]string{"start", "restart", "try-restart"}, v.actions[0]) {
		if v.query {
			return policyUndefined
		}
		return 0
	}
	if !v.booted() {
		return policyDeny
	}
	links, _ := filepath.Glob(v.path("/etc/rc[S2345].d/S[0-9][0-9]" + v.name))
	if v.silent("is-enabled", v.unit()) == exitOK || len(links) > 0 || v.silent("is-active", v.unit()) == exitOK {
		return policyAllow
	}
	return policyDeny
}

// policy asks policy-rc.d, if there is one, and settles what its answer means.
func (v *invoke) policy(local int) int {
	info, err := os.Stat(v.path(policyHelper))
	if err != nil || info.Mode()&0o111 == 0 {
		if local == 0 {
			return policyAllow
		}
		return local
	}
	action := strings.Join(v.actions, " ")
	if local == policyDeny {
		action = "(" + action + ")"
	}
	var args []string
	if v.quiet {
		args = append(args, "--quiet")
	}
	args = append(args, v.name, action)
	if v.booted() {
		args = append(args, number(v.runlevel()))
	}
	var fallback bytes.Buffer
	code, err := v.Run(v.ctx, Program{Path: policyHelper, Args: args, Stdout: &fallback})
	if err != nil {
		code = policyBroken
	}
	return v.settle(code, strings.Fields(fallback.String()))
}

func (v *invoke) settle(code int, fallback []string) int {
	shown := strings.Join(v.actions, ", ")
	switch code {
	case 0:
		code = policyAllow
	case 1:
		code = policyUndefined
	case policyDeny:
		if v.force {
			v.say("Overriding policy-rc.d denied execution of " + shown + ".")
			return policyAllow
		}
		v.say("policy-rc.d denied execution of " + shown + ".")
	}
	switch {
	case v.query:
	case code == policyUndefined:
		v.say("policy-rc.d query returned \"behaviour undefined\",")
		v.say("assuming \"" + shown + "\" is allowed.")
		code = policyAllow
	case code == policyFallback && (v.force || v.noFallback || len(fallback) == 0):
		v.say("ignoring policy-rc.d fallback request: " + strings.Join(fallback, ", ") + ".")
		if code = policyDeny; v.force {
			code = policyAllow
		}
	case code == policyFallback:
		v.actions = fallback
		v.say("executing " + actionWord(fallback) + ` "` + strings.Join(fallback, ", ") + `" instead due to policy-rc.d request.`)
		code = policyAllow
	}
	if code < 100 || code > policyFallback {
		v.say("WARNING: policy-rc.d returned unexpected error status " + number(code) + ", 102 used instead.")
		code = policyBroken
	}
	return code
}

func actionWord(actions []string) string {
	if len(actions) == 1 {
		return "action"
	}
	return "actions"
}

// execute tries the actions until one succeeds.
func (v *invoke) execute() int {
	code := policyBroken
	if v.booted() && v.skipNative && v.units().Unit(v.unit()).SysV == nil {
		return exitOK // deb-systemd-invoke cares for it
	}
	for i, action := range v.actions {
		if len(v.actions) > 1 {
			v.say(`executing initscript action "` + action + `"...`)
		}
		if code = v.act(action); code == exitOK {
			return code
		}
		if i < len(v.actions)-1 {
			v.say(`action "` + action + `" failed, trying next action...`)
		}
	}
	last := v.actions[len(v.actions)-1]
	v.say("initscript " + v.name + `, action "` + last + `" failed.`)
	if v.booted() && slices.Contains([]string{"start", "restart", "try-restart"}, last) {
		systemctl(v.call, []string{"status", "--full", "--no-pager", v.unit()})
	}
	return code
}

// act does one action, by the manager if it knows the service.
func (v *invoke) act(action string) int {
	if !v.booted() {
		if v.script(v.name) == "" {
			return policyBroken
		}
		return v.runScript(v.name, action, v.params)
	}
	u := v.units().Unit(v.unit())
	if u.Load == "masked" && action != "stop" && action != "status" {
		return exitOK
	}
	switch action {
	case "start", "restart", "try-restart", "stop", "status":
		return systemctl(v.call, []string{action, v.unit()})
	case "force-stop":
		return systemctl(v.call, []string{"--signal=KILL", "kill", v.unit()})
	case "reload", "force-reload":
		if canReload(u) {
			return systemctl(v.call, []string{"reload", v.unit()})
		}
		if action == "force-reload" {
			return systemctl(v.call, []string{"restart", v.unit()})
		}
	}
	if script := v.script(v.name); script == "" {
		v.say(path.Join("/etc/init.d", v.name) + " not found.")
		return exitFailure
	}
	return v.runScript(v.name, action, v.params)
}
