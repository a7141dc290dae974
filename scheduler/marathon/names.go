package marathon

import (
	"net/url"
	"strings"

	"github.com/berth-project/berth/spec"
)

// isLabel says whether s consists of lower case letters and digits, and of the characters of inner between them.
func isLabel(s, inner string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		edge := i == 0 || i == len(s)-1
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || !edge && strings.IndexByte(inner, c) >= 0 {
			continue
		}
		return false
	}
	return s != ""
}

// isSegment is the rule for one part of an id: labels joined by dots.
func isSegment(s string) bool {
	for _, label := range strings.Split(s, ".") {
		if !isLabel(label, "-") {
			return false
		}
	}
	return true
}

// isRawID is the pattern of an id as sent: relative or absolute, with ".." and doubled slashes.
func isRawID(s string) bool {
	for _, part := range strings.Split(s, "/") {
		if part != "" && part != ".." && !isSegment(part) {
			return false
		}
	}
	return true
}

func isPortName(s string) bool { return isLabel(s, "-") }

// isNetworkName is the pattern of a container network's name.
func isNetworkName(s string) bool { return isLabel(s, "-_") }

// isExecutor: nothing, "//cmd", or a path without empty parts.
func isExecutor(s string) bool {
	if s == "" || s == "//cmd" {
		return true
	}
	for _, part := range strings.Split(strings.TrimPrefix(s, "/"), "/") {
		if part == "" {
			return false
		}
	}
	return true
}

// resolve makes an id as sent absolute, relative to base.
func resolve(raw string, base spec.AppID) spec.AppID {
	full := raw
	if !strings.HasPrefix(raw, "/") {
		full = string(base) + "/" + raw
	}
	var parts []string
	for _, part := range strings.Split(full, "/") {
		switch part {
		case "", ".":
		case "..":
			parts = parts[:max(len(parts)-1, 0)]
		default:
			parts = append(parts, part)
		}
	}
	return spec.AppID("/" + strings.Join(parts, "/"))
}

// isReserved lists the last segments that are operations in the API's paths.
func isReserved(segment string) bool {
	switch segment {
	case "restart", "tasks", "versions", ".", "..":
		return true
	}
	return false
}

// isURI holds a URI to RFC 3986's characters, which net/url alone does not.
func isURI(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] == 0x7f || strings.IndexByte("\"<>\\^`{|}", s[i]) >= 0 {
			return false
		}
	}
	_, err := url.Parse(s)
	return err == nil
}

// isArchive says whether Mesos's fetcher would unpack what the URI names, judged by the ending of the path.
func isArchive(uri string) bool {
	path := uri
	if u, err := url.Parse(uri); err == nil && u.Path != "" {
		path = u.Path
	}
	for _, ending := range []string{".tar", ".tar.gz", ".tar.bz2", ".tar.xz", ".gz", ".tgz", ".tbz2", ".txz", ".zip"} {
		if strings.HasSuffix(path, ending) {
			return true
		}
	}
	return false
}
