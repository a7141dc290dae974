package unit

import (
	"fmt"
	"path"
	"strings"
)

var resources = []string{
	"CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NOFILE", "AS", "NPROC", "MEMLOCK", "LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME",
}

// folderSettings are RuntimeDirectory= and its like.
func (l *loader) folderSettings(s *Service) map[string]setter {
	table := map[string]setter{"RuntimeDirectoryPreserve": preserve(&s.RuntimeDirectoryPreserve)}
	for _, kind := range []struct {
		name, base string
		into       *[]Directory
	}{
		{"Runtime", "/run", &s.RuntimeDirectory}, {"State", "/var/lib", &s.StateDirectory}, {"Cache", "/var/cache", &s.CacheDirectory},
		{"Logs", "/var/log", &s.LogsDirectory}, {"Configuration", "/etc", &s.ConfigurationDirectory},
	} {
		perm := new(uint32)
		*perm = 0o755
		l.folderModes = append(l.folderModes, folderMode{kind.into, perm})
		table[kind.name+"Directory"] = directories(kind.base, kind.into)
		table[kind.name+"DirectoryMode"] = mode(perm)
	}
	return table
}

// folderMode is the mode of all folders of a kind: it may be told before or after them.
type folderMode struct {
	folders *[]Directory
	mode    *uint32
}

func preserve(into *string) setter {
	return func(v string) error {
		if v == "restart" {
			*into = v
			return nil
		}
		yes, err := ParseBool(v)
		if err == nil {
			if *into = "no"; yes {
				*into = "yes"
			}
		}
		return err
	}
}

// directories takes relative paths, each with names that shall lead to it: "app:old/app".
func directories(base string, into *[]Directory) setter {
	return func(v string) error {
		if v == "" {
			*into = nil
			return nil
		}
		all, err := words(v, unescape)
		if err != nil {
			return err
		}
		for _, w := range all {
			names := strings.Split(w, ":")
			for i, n := range names {
				if n == "" || path.IsAbs(n) || strings.Contains("/"+n+"/", "/../") || n == "." {
					return fmt.Errorf("%q is not a path below %s", n, base)
				}
				names[i] = path.Join(base, n)
			}
			*into = append(*into, Directory{Path: names[0], Links: names[1:]})
		}
		return nil
	}
}

// limit takes "soft:hard", or one number for both.
func (l *loader) limit(resource string) setter {
	return func(v string) error {
		s := l.unit.Service
		soft, hard, both := strings.Cut(v, ":")
		low, err := limitValue(resource, soft)
		if err != nil {
			return err
		}
		high := low
		if both {
			if high, err = limitValue(resource, hard); err != nil {
				return err
			}
		}
		if low > high {
			return fmt.Errorf("the soft limit of %q is above its hard one", v)
		}
		for i := range s.Limits {
			if s.Limits[i].Resource == resource {
				s.Limits[i] = Limit{resource, low, high}
				return nil
			}
		}
		s.Limits = append(s.Limits, Limit{resource, low, high})
		return nil
	}
}

func limitValue(resource, v string) (uint64, error) {
	if v == "infinity" {
		return ^uint64(0), nil
	}
	switch resource {
	case "CPU", "RTTIME":
		d, err := ParseDuration(v)
		if err == nil && resource == "CPU" {
			return uint64((d + 999_999_999) / 1_000_000_000), nil
		}
		if plainNumber(v) {
			return uint64(d / 1_000_000_000), nil // without a unit it is microseconds already
		}
		return uint64(d / 1000), err
	case "NICE":
		return niceLimit(v)
	}
	return parseSize(v)
}

func plainNumber(v string) bool { return v != "" && strings.Trim(v, "0123456789") == "" }

// niceLimit takes the kernel's 1 to 40, or a niceness with its sign: "+19" is 1.
func niceLimit(v string) (uint64, error) {
	var n int
	if _, err := fmt.Sscanf(v, "%d", &n); err != nil {
		return 0, fmt.Errorf("%q is not a niceness", v)
	}
	if strings.HasPrefix(v, "+") || strings.HasPrefix(v, "-") {
		n = 20 - n
	}
	if n < 0 || n > 40 {
		return 0, fmt.Errorf("%q is not a niceness", v)
	}
	return uint64(n), nil
}
