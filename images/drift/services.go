package drift

import (
	"cmp"
	"path"
	"regexp"
	"slices"
	"strings"
)

// wants is a link by which systemd's words enable a unit, runlevels one by which SysV's do.
var (
	wants     = regexp.MustCompile(`^/etc/systemd/system/[^/]+\.(?:wants|requires)/([^/]+)$`)
	wantsDir  = regexp.MustCompile(`^/etc/systemd/system/[^/]+\.(?:wants|requires)$`)
	runlevels = regexp.MustCompile(`^/etc/(?:rc\.d/)?rc[0-6S]\.d(?:/([SK])\d\d(.+))?$`)
	multiUser = regexp.MustCompile(`/rc[2-5]\.d/`)
)

func serviceLink(file string) bool {
	return wants.MatchString(file) || wantsDir.MatchString(file) || runlevels.MatchString(file)
}

// compareServices tells which services start with the instance now, or no longer do. A package with both a unit and a script
// is one service.
func compareServices(links []Change) []ServiceChange {
	on, off := map[string]bool{}, map[string]bool{}
	for _, l := range links {
		if m := wants.FindStringSubmatch(l.Path); m != nil {
			name := strings.TrimSuffix(m[1], ".service")
			on[name], off[name] = on[name] || l.Kind == Added, off[name] || l.Kind == Removed
		}
		if m := runlevels.FindStringSubmatch(l.Path); m != nil && m[1] == "S" && multiUser.MatchString(l.Path) {
			on[m[2]], off[m[2]] = on[m[2]] || l.Kind == Added, off[m[2]] || l.Kind == Removed
		}
	}
	var out []ServiceChange
	for name := range on {
		switch {
		case on[name] && !off[name]:
			out = append(out, ServiceChange{name, Enabled})
		case off[name] && !on[name]:
			out = append(out, ServiceChange{name, Disabled})
		}
	}
	slices.SortFunc(out, func(a, b ServiceChange) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// AccountChange is one user or group that is not as in the image.
type AccountChange struct {
	Name string `json:"name"`
	What string `json:"what"` // user, group, password
	Kind Kind   `json:"kind"`
}

// AccountFiles are the files that say which users and groups there are, and what they tell of.
func AccountFiles() []string { return []string{"/etc/passwd", "/etc/group", "/etc/shadow"} }

func accountFile(file string) bool {
	return path.Dir(file) == "/etc" && slices.Contains([]string{"passwd", "group", "shadow", "gshadow", "subuid", "subgid"}, path.Base(file))
}

// compareAccounts never tells of a password more than that it is another one.
func compareAccounts(before, after map[string]string) []AccountChange {
	var out []AccountChange
	for file, what := range map[string]string{"/etc/passwd": "user", "/etc/group": "group", "/etc/shadow": "password"} {
		was, is := accountLines(before[file]), accountLines(after[file])
		for name, rest := range is {
			old, known := was[name]
			switch {
			case what == "password" && (hash(rest) == "" || known && hash(old) == hash(rest)):
			case what == "password":
				out = append(out, AccountChange{name, what, Changed})
			case !known:
				out = append(out, AccountChange{name, what, Added})
			case old != rest:
				out = append(out, AccountChange{name, what, Changed})
			}
		}
		for name := range was {
			if _, known := is[name]; !known && what != "password" {
				out = append(out, AccountChange{name, what, Removed})
			}
		}
	}
	slices.SortFunc(out, func(a, b AccountChange) int {
		return cmp.Or(-strings.Compare(a.What, b.What), strings.Compare(a.Name, b.Name))
	})
	return out
}

func accountLines(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		if name, rest, ok := strings.Cut(strings.TrimRight(line, "\n"), ":"); ok {
			out[name] = rest
		}
	}
	return out
}

// hash is the password's of a shadow line without its name; "" where there is none. One behind a lock ("!") is a secret, too.
func hash(rest string) string {
	h, _, _ := strings.Cut(rest, ":")
	if h = strings.TrimLeft(h, "!*"); strings.HasPrefix(h, "$") || len(h) == 13 {
		return h
	}
	return ""
}

// WithoutPasswords is /etc/shadow with those passwords closed that are not in the image's: a password that somebody set is a
// secret. names are whose they were. An account keeps its other ways to log in.
func WithoutPasswords(image, shadow string) (text string, names []string) {
	was := accountLines(image)
	var out strings.Builder
	for line := range strings.Lines(shadow) {
		name, rest, ok := strings.Cut(strings.TrimRight(line, "\n"), ":")
		if !ok || hash(rest) == "" || hash(rest) == hash(was[name]) {
			out.WriteString(line)
			continue
		}
		_, tail, _ := strings.Cut(rest, ":")
		out.WriteString(name + ":*:" + tail + "\n")
		names = append(names, name)
	}
	return out.String(), names
}
