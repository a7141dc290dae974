package admit

import (
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"strings"

	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/spec"
)

// checkFetch refuses what no engine of Berth's could fetch, so that it is said before any task fails.
func checkFetch(list []spec.Fetch, at string, p Policy, f *marathon.Faults) {
	for i, item := range list {
		if reason := p.fetchFault(item.URI); reason != "" {
			f.Add(fmt.Sprintf("%s(%d)/uri", at, i), "%s", reason)
		}
		if d := item.DestPath; d != "" && (!filepath.IsLocal(d) || path.Clean(d) == ".") {
			f.Add(fmt.Sprintf("%s(%d)/destPath", at, i), "must be a path in the sandbox, without \"..\"")
		}
	}
}

func (p Policy) fetchFault(uri string) string {
	u, err := url.Parse(strings.TrimLeft(uri, " \t"))
	if err != nil {
		return "" // the definition's own rules say so
	}
	switch scheme := strings.ToLower(u.Scheme); scheme {
	case "http", "https":
		if u.Host == "" {
			return "names no server"
		}
		return ""
	case "file", "":
		if u.Host != "" && u.Host != "localhost" {
			return "must name a file of the host: file:///path"
		}
		if !path.IsAbs(u.Path) {
			return "must be an http, https or file URL, or an absolute path"
		}
		return p.hostPathFault(u.Path)
	default:
		return "scheme " + scheme + " is not supported: http, https and file are"
	}
}
