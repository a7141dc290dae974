package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/spec"
)

// records are the deployments that the scheduler remembers, as it tells of them.
type records struct {
	Deployments []deploymentRecord
	Stops       []api.Stop
}

type deploymentRecord struct {
	deployment
	State        string
	Ended        time.Time
	Stops        []api.Stop
	StopsOmitted int
	Steps        []json.RawMessage
	InPlace      []spec.AppID
	Resized      []api.Resize
}

// deploymentID is how deployments' ids look; no app is called so by anybody who types its name.
var deploymentID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// showRecords shows how the deployments of an app went, or one deployment.
func (c *cli) showRecords(a *apiClient, name string) error {
	query := "app=" + url.QueryEscape(string(absolute(name)))
	if deploymentID.MatchString(name) {
		query = "id=" + name
	}
	var got records
	if c.output == "json" {
		var raw any
		if _, err := a.call(http.MethodGet, "/berth/v1/deployments?"+query, nil, &raw); err != nil {
			return doing(err, "show deployments of %s", name)
		}
		return c.printJSON(raw)
	}
	if _, err := a.call(http.MethodGet, "/berth/v1/deployments?"+query, nil, &got); err != nil {
		return doing(err, "show deployments of %s", name)
	}
	if len(got.Deployments)+len(got.Stops) == 0 {
		c.say("Nothing is remembered of %s: the scheduler remembers the last deployments since it was started.", name)
		return nil
	}
	for i, d := range got.Deployments {
		if i > 0 {
			fmt.Fprintln(c.out)
		}
		fmt.Fprintf(c.out, "%s  %s  %s  %s%s\n", d.ID, d.Version, d.State, strings.Join(append(d.AffectedApps, d.AffectedPods...), ","), lasted(d))
		for _, line := range inPlace(d) {
			fmt.Fprintln(c.out, "  "+line)
		}
		if d.StopsOmitted > 0 {
			fmt.Fprintf(c.out, "  %d earlier stops are no longer known\n", d.StopsOmitted)
		}
		if err := c.printStops(d.Stops); err != nil {
			return err
		}
	}
	if len(got.Stops) > 0 {
		fmt.Fprintln(c.out, "\nStopped outside of any deployment:")
		return c.printStops(got.Stops)
	}
	return nil
}

// lasted is how long a deployment that is over took.
func lasted(d deploymentRecord) string {
	began, err := time.Parse(time.RFC3339Nano, d.Version)
	if err != nil || d.Ended.IsZero() || len(d.Steps) == 0 {
		return ""
	}
	return fmt.Sprintf("  took %.1fs", max(0, d.Ended.Sub(began).Seconds())) // versions differ by a millisecond at least, also of changes at one moment
}

// inPlace are what a deployment changed in place, a line each.
func inPlace(d deploymentRecord) []string {
	var out []string
	resized := map[spec.AppID]bool{}
	for _, r := range d.Resized {
		resized[r.App] = true
		line := fmt.Sprintf("%s: %s -> %s cpus in place; %s are held", r.App, cores(r.Before), cores(r.CPUs), cores(r.Held))
		if r.Client != "" {
			line += "; asked for from " + r.Client
		}
		switch {
		case !r.InForce.IsZero():
			line += fmt.Sprintf("; in force on %d of %d instances after %.3fs", r.Have, r.Instances, r.InForce.Sub(r.At).Seconds())
		case r.Instances > 0:
			line += fmt.Sprintf("; in force on %d of %d instances", r.Have, r.Instances)
		}
		out = append(out, line)
	}
	for _, id := range d.InPlace {
		if !resized[id] {
			out = append(out, fmt.Sprintf("%s: changed in place", id))
		}
	}
	return out
}

func (c *cli) printStops(stops []api.Stop) error {
	if len(stops) == 0 {
		return nil
	}
	rows := make([][]string, 0, len(stops))
	for _, s := range stops {
		after := func(at time.Time) string {
			if at.IsZero() {
				return ""
			}
			return fmt.Sprintf("+%.3f", at.Sub(s.Wanted).Seconds())
		}
		open := ""
		if !s.Over.IsZero() {
			open = strconv.Itoa(s.Left)
		}
		rows = append(rows, []string{
			fmt.Sprintf("%s.%d", s.App, s.Index), s.Host, s.Wanted.UTC().Format("2006-01-02T15:04:05.000Z"), after(s.Out), after(s.Over), open, after(s.Kill),
			after(s.Ended), s.State, s.Reason, s.Note,
		})
	}
	return c.printTable([]string{"INSTANCE", "HOST", "STOP", "OUT", "LEFT", "OPEN", "KILL", "ENDED", "STATE", "REASON", "NOTE"}, rows, "NOTE")
}
