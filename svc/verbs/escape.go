package verbs

import (
	"fmt"
	"strings"

	"github.com/berth-project/berth/unit"
)

const escapeHelp = `systemd-escape [OPTIONS...] TEXT...

Writes texts so that they can be parts of units' names.

     --suffix=SUFFIX       make names of units of that kind
     --template=TEMPLATE   put them into a template
  -p --path                they are paths
  -u --unescape            the reverse; with --template, or --instance, of an instance's name
     --instance            only the instance's part of a name
  -m --mangle              make a name of a unit of what a person types

Example: systemctl start "$(systemd-escape --template=backup@.service /srv/data)"
`

// escaping is what systemd-escape(1) is asked for.
type escaping struct {
	suffix, template                 string
	path, unescape, instance, mangle bool
}

// escapeTexts is systemd-escape(1).
func escapeTexts(c *call, args []string) int {
	found, texts, err := parse([]option{
		{long: "help", short: 'h'}, {long: "version"}, {long: "suffix", value: true}, {long: "template", value: true}, {long: "path", short: 'p'},
		{long: "unescape", short: 'u'}, {long: "instance"}, {long: "mangle", short: 'm'},
	}, args)
	if err != nil {
		c.errorf("systemd-escape: %s", err)
		return exitFailure
	}
	var e escaping
	for _, o := range found {
		switch o.name {
		case "help":
			c.printf("%s", escapeHelp)
			return exitOK
		case "version":
			c.printf("%s\n", version)
			return exitOK
		case "suffix":
			e.suffix = strings.TrimPrefix(o.value, ".")
		case "template":
			e.template = o.value
		case "path":
			e.path = true
		case "unescape":
			e.unescape = true
		case "instance":
			e.instance = true
		case "mangle":
			e.mangle = true
		}
	}
	if wrong := e.check(texts); wrong != "" {
		c.errorf("%s", wrong)
		return exitFailure
	}
	out := make([]string, len(texts))
	for i, text := range texts {
		var wrong string
		if out[i], wrong = e.one(text); wrong != "" {
			c.errorf("%s", wrong)
			return exitFailure
		}
	}
	c.printf("%s\n", strings.Join(out, " "))
	return exitOK
}

// check says what cannot be meant, in systemd's sentences; "" if nothing.
func (e *escaping) check(texts []string) string {
	switch {
	case len(texts) == 0:
		return "Not enough arguments."
	case e.template != "" && e.suffix != "":
		return "--suffix= and --template= may not be combined."
	case (e.template != "" || e.suffix != "") && e.mangle:
		return "--suffix= and --template= are not compatible with --mangle."
	case e.suffix != "" && e.unescape:
		return "--suffix is not compatible with --unescape."
	case e.path && e.mangle:
		return "--path may not be combined with --mangle."
	case e.instance && !e.unescape:
		return "--instance must be used in conjunction with --unescape."
	case e.instance && e.template != "":
		return "--instance may not be combined with --template."
	case e.template != "" && !unit.IsTemplate(e.template):
		return fmt.Sprintf("Template name %s is not a valid template unit name.", e.template)
	case e.suffix != "" && !unit.ValidName("x."+e.suffix):
		return fmt.Sprintf("Invalid unit suffix type %s.", e.suffix)
	}
	return ""
}

func (e *escaping) one(text string) (out, wrong string) {
	switch {
	case e.unescape:
		return e.reverse(text)
	case e.mangle:
		return escapeName(unit.Complete(text)), ""
	case e.path && strings.Contains("/"+text+"/", "/../"):
		return "", fmt.Sprintf("Input '%s' is not a valid file system path, failed to escape it.", text)
	}
	out = unit.Escape(text)
	if e.path {
		out = unit.EscapePath(text)
	}
	switch {
	case e.template != "":
		return unit.Instance(e.template, out), ""
	case e.suffix != "":
		return out + "." + e.suffix, ""
	}
	return out, ""
}

func (e *escaping) reverse(text string) (out, wrong string) {
	if e.template != "" || e.instance {
		template, instance := unit.Template(text)
		switch {
		case template == "":
			return "", fmt.Sprintf("Unit %s is not a valid template instance.", text)
		case e.template != "" && template != e.template:
			return "", fmt.Sprintf("Unit %s template %s does not match specified template %s.", text, template, e.template)
		}
		text = instance
	}
	if !e.path {
		return unit.Unescape(text), ""
	}
	if text == "-" {
		return "/", ""
	}
	return "/" + unit.Unescape(text), ""
}
