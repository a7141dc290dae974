package api

import (
	"net/http"
	"strings"

	"github.com/berth-project/berth/spec"
)

// dryRun says whether the client only wants to know what a change would do. Marathon knows this for groups; here it also
// holds for apps.
func dryRun(r *http.Request) bool { return flag(r, "dryRun", false) }

// noDryRun refuses the parameter where there is no dry run: to change something for a client that asked not to would be
// worse than an error.
func noDryRun(r *http.Request) error {
	if dryRun(r) {
		return fail(http.StatusBadRequest, "dryRun is not possible on %s %s; nothing was changed.", r.Method, r.URL.Path)
	}
	return nil
}

// respondSteps answers a dry run: the steps that the deployment would have.
func respondSteps(w http.ResponseWriter, r *http.Request, c *Changed) error {
	steps := make([]stepJSON, 0, len(c.Steps))
	for _, s := range c.Steps {
		steps = append(steps, encodeStep(s))
	}
	return respond(w, r, http.StatusOK, map[string]any{"steps": steps})
}

// announce puts into the headers what every answer to a change has: the deployment's id, and what the client should know
// although the change was taken.
func announce(w http.ResponseWriter, c *Changed) {
	h := w.Header()
	if c.DeploymentID != "" {
		h.Set(deploymentHeader, c.DeploymentID)
	}
	if len(c.InPlace) > 0 {
		h.Set(InPlaceHeader, idList(c.InPlace))
	}
	for _, text := range c.Warnings {
		h.Add("Warning", warning(text))
	}
}

// InPlaceHeader names the apps that a change alters without restarting any instance, separated by commas.
const InPlaceHeader = "Berth-In-Place"

// idList is as much of a list of ids as a header has room for.
func idList(ids []spec.AppID) string {
	const room = 4000
	var b strings.Builder
	for _, id := range ids {
		if b.Len()+len(id) > room {
			break
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(string(id))
	}
	return b.String()
}

// maxWarning bounds one warning: proxies refuse answers whose headers are too long.
const maxWarning = 1000

// warning is a text as a Warning header's value (RFC 7234, section 5.5): code 199, "miscellaneous".
func warning(text string) string {
	var b strings.Builder
	for _, c := range text {
		switch {
		case b.Len() >= maxWarning:
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c < ' ' || c == 0x7f:
			b.WriteByte(' ')
		case c > 0x7e: // a header is ASCII
			b.WriteByte('?')
		default:
			b.WriteRune(c)
		}
	}
	return `199 berth "` + b.String() + `"`
}
