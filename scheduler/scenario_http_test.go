package scheduler

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"regexp"
	"strings"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/marathon"
)

func isHTTP(command string) bool {
	switch command {
	case "GET", "POST", "PUT", "PATCH", "DELETE", "tree":
		return true
	}
	return false
}

// serve sends one request through the whole API.
func (p *play) serve(method, path, body string) *httptest.ResponseRecorder {
	server, err := api.New(api.Options{Backend: p.s, Events: p.events, Marathon: marathon.Options{DefaultNetworkName: "p"}})
	if err != nil {
		p.t.Fatal(err)
	}
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	w := httptest.NewRecorder()
	server.Handler("").ServeHTTP(w, r)
	return w
}

var idText = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// http does one call and shows the answer: code, headers of changes, body. "tree PATH" shows a group's tree in short.
func (p *play) http(f []string) []string {
	if f[0] == "tree" {
		w := p.serve("GET", f[1], "")
		var g group
		if err := json.Unmarshal(w.Body.Bytes(), &g); w.Code != 200 || err != nil {
			return []string{fmt.Sprint(w.Code, " ", w.Body, " ", err)}
		}
		return g.outline("")
	}
	w := p.serve(f[0], f[1], strings.Join(f[2:], " "))
	head := fmt.Sprint(w.Code)
	for _, name := range []string{"Location", "Marathon-Deployment-Id"} {
		if v := w.Header().Get(name); v != "" {
			head += " " + name + "=" + v
		}
	}
	return []string{idText.ReplaceAllString(head, "ID"), keyText.ReplaceAllString(idText.ReplaceAllString(w.Body.String(), "ID"), "ssh-ed25519 KEY")}
}

// keyText is a public key, of which every run makes others.
var keyText = regexp.MustCompile(`ssh-ed25519 [A-Za-z0-9+/=]+`)

type group struct {
	ID           string
	Version      string
	Dependencies []string
	EnforceRole  *bool
	Apps         []struct {
		ID        string
		Cmd       string
		Role      string
		Instances int
		Version   string
	}
	Groups []group
}

func (g group) outline(indent string) []string {
	line := indent + g.ID + " of " + g.Version
	if len(g.Dependencies) > 0 {
		line += " after " + strings.Join(g.Dependencies, ", ")
	}
	if g.EnforceRole != nil && *g.EnforceRole {
		line += " enforces its role"
	}
	out := []string{line}
	for _, a := range g.Apps {
		out = append(out, fmt.Sprintf("%s  %s x%d %q %s of %s", indent, a.ID, a.Instances, a.Cmd, a.Role, a.Version))
	}
	for _, child := range g.Groups {
		out = append(out, child.outline(indent+"  ")...)
	}
	return out
}
