package scheduler

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/mesos"
	"github.com/berth-project/berth/spec"
)

// volumeCommand runs the commands of scenarios that are about persistent volumes and hosts that go away.
func (p *play) volumeCommand(f []string) error {
	ctx := context.Background()
	switch f[0] {
	case "away", "back": // away HOST
		p.w.mu.Lock()
		defer p.w.mu.Unlock()
		p.w.hosts[f[1]].away = f[0] == "away"
		p.w.reach(f[1])
	case "wipe": // wipe SEAT, or an app's whole DELETE .../tasks?wipe=true
		o := api.KillOptions{Wipe: true}
		var ids []string
		snap, err := p.s.Snapshot(ctx)
		if err != nil {
			return err
		}
		app := spec.AppID(f[1])
		if seat, err := spec.ParseSeatID(f[1]); err == nil {
			app = seat.App
		} else {
			o.Idle = app
		}
		for _, t := range snap.Tasks[app] {
			if o.Idle != "" || t.Seat.String() == f[1] {
				ids = append(ids, t.ID)
			}
		}
		_, _, err = p.s.Kill(ctx, ids, o)
		return err
	case "removes": // removes HOST: its agent has removed what the document names
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		d, err := p.s.HostDocument(ctx, f[1], 0)
		if err != nil || d == nil {
			return fmt.Errorf("no document: %w", err)
		}
		for _, path := range d.FreeVolumes {
			p.w.say("%s removes %s", f[1], briefPath(path))
		}
		return p.s.Report(context.Background(), spec.HostReport{Host: f[1], Networks: map[string]string{"p": ""}, FreedVolumes: d.FreeVolumes})
	case "check": // check SEAT tcp=yes|no exec=CODE: the results of a pod's two checks
		p.w.mu.Lock()
		t, err := p.w.find(f[1])
		p.w.mu.Unlock()
		if err != nil {
			return err
		}
		tcp, exec := spec.CheckHealth{Known: true, Alive: f[2] == "tcp=yes"}, spec.CheckHealth{Known: true, Response: spec.ProbeResponse{Exited: true}}
		if _, err := fmt.Sscanf(f[3], "exec=%d", &exec.Response.ExitCode); err != nil {
			return err
		}
		return p.s.Report(ctx, spec.HostReport{Host: t.host, Networks: map[string]string{"p": ""}, Health: map[string][]spec.CheckHealth{t.owner(): {tcp, exec}}})
	case "volumes", "status":
	default:
		return fmt.Errorf("unknown command %s", f[0])
	}
	return nil
}

// status is in short what clients see of a pod's instances: their volumes, and the containers with the results of checks.
func (p *play) status(pod string) []string {
	var answer struct {
		Instances []struct {
			Status       string
			LocalVolumes []struct{ PersistenceID string }
			Containers   []struct {
				Name        string
				CheckResult json.RawMessage
			}
		}
	}
	w := p.serve("GET", "/v2/pods"+pod+"::status", "")
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		return []string{err.Error()}
	}
	var out []string
	for _, i := range answer.Instances {
		text := i.Status
		for _, v := range i.LocalVolumes {
			text += " " + idText.ReplaceAllString(v.PersistenceID, "ID")
		}
		for _, c := range i.Containers {
			text += fmt.Sprintf(" %s=%s", c.Name, c.CheckResult)
		}
		out = append(out, text)
	}
	return out
}

// briefPath is a volume's folder without its random id.
func briefPath(path string) string { return path[:max(0, len(path)-37)] }

// reach tells of the host's tasks that it can be reached, or not. Offers of a host that is away are taken back.
func (w *world) reach(host string) {
	away := w.hosts[host].away
	for _, id := range slices.Sorted(maps.Keys(w.offers)) {
		if away && w.offers[id] == host {
			delete(w.offers, id)
			w.send(mesos.Rescinded{OfferID: id})
		}
	}
	for _, t := range w.live() {
		if t.host != host {
			continue
		}
		if t.state = "TASK_RUNNING"; away {
			t.state = "TASK_UNREACHABLE"
		}
		w.status(t, "")
	}
	delete(w.refused, host)
	w.offer()
}

// volumes lists the seats' volumes, what tasks mount, and what clients see of them.
func (p *play) volumes(snap *api.Snapshot) []string {
	var out []string
	seats := slices.SortedFunc(maps.Keys(snap.Seats), func(a, b spec.SeatID) int { return strings.Compare(a.String(), b.String()) })
	for _, id := range seats {
		for _, v := range snap.Seats[id].Volumes {
			text := fmt.Sprintf("%s %s %d MiB on %s", id, briefPath(v.Path), v.SizeMiB, v.Host)
			if v.Freed {
				text += ", freed"
			}
			out = append(out, text)
		}
	}
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	for _, t := range p.w.live() {
		for _, m := range t.Volumes {
			what := briefPath(strings.TrimPrefix(m.HostPath, "/volumes/"))
			if m.Shared != "" {
				what = "the instance's " + m.Shared
			}
			text := fmt.Sprintf("%s mounts %s at %s", t.name(), what, m.ContainerPath)
			if m.ReadOnly {
				text += " to read"
			}
			out = append(out, text)
		}
	}
	return out
}
