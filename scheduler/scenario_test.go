package scheduler

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/launch"
	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/scheduler/store"
	"github.com/berth-project/berth/spec"
)

var update = flag.Bool("update", false, "rewrite the expected output of the scenarios")

// TestScenarios runs testdata/*.txt. A scenario is a list of commands; below each stands, indented, what the engine was
// told and what was published. Time is fake; nothing happens between commands.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scenarios", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			synctest.Test(t, func(t *testing.T) {
				p := newPlay(t)
				defer p.stop()
				for line := range strings.Lines(string(text)) {
					line = strings.TrimRight(line, "\n")
					if strings.HasPrefix(line, "    ") {
						continue
					}
					got.WriteString(line + "\n")
					if line == "" || strings.HasPrefix(line, "#") {
						continue
					}
					for _, out := range p.do(line) {
						got.WriteString("    " + out + "\n")
					}
				}
			})
			if *update {
				if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(string(text), got.String()); d != "" {
				t.Errorf("(-want +got, -update rewrites)\n%s", d)
			}
		})
	}
}

// play is one scenario under way.
type play struct {
	t      *testing.T
	w      *world
	store  *store.Memory
	s      *Scheduler
	events *api.Log
	sub    *api.Subscription
	cancel context.CancelFunc
	done   chan error
	pools  []spec.Pool
	bgp    *spec.BGP
	nodes  []spec.BGPHost
	held   map[string]spec.Held
	holder map[string]string // the host that tells of a held address; all do of the others
	hosts  map[string]bool
	nets   map[string]uint64 // what the hosts' networks were answered last
	fence  time.Duration
	warned []string // of the last change
	mute   bool     // the hosts' agents
}

func newPlay(t *testing.T) *play {
	p := &play{t: t, w: newWorld(), store: store.NewMemory(), held: map[string]spec.Held{}, holder: map[string]string{}, hosts: map[string]bool{}, nets: map[string]uint64{},
		pools: []spec.Pool{{Name: "p", CIDR: netip.MustParsePrefix("10.1.0.0/28")}}}
	p.start()
	return p
}

func (p *play) start() {
	state, err := p.store.Load(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	p.events = api.NewLog(10000)
	p.sub = p.events.Subscribe(api.SubscribeOptions{})
	p.s, err = New(Options{Store: p.store, State: state, Engine: p.w, Events: p.events, Pools: p.pools, BGP: p.bgp, Hosts: p.nodes,
		Launch: launch.Options{BaseImage: spec.BaseImage, SeatsDir: "/seats", VolumesDir: "/volumes"}, AddressRest: time.Minute, FenceAfter: p.fence})
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel, p.done = cancel, make(chan error, 1)
	go func(s *Scheduler) { p.done <- s.Run(ctx) }(p.s)
	calm()
	p.report()
}

// report is what the hosts' agents say.
func (p *play) report() {
	if p.mute {
		calm()
		return
	}
	for _, name := range slices.Sorted(maps.Keys(p.hosts)) {
		r := spec.HostReport{Host: name, Networks: map[string]string{}}
		for _, pool := range p.pools {
			r.Networks[pool.Name] = ""
		}
		for _, a := range slices.Sorted(maps.Keys(p.held)) {
			if on := p.holder[a]; on == "" || on == name {
				r.Held = append(r.Held, p.held[a])
			}
		}
		if err := p.s.Report(context.Background(), r); err != nil && !errors.Is(err, errStopped) {
			p.t.Fatal(err)
		}
	}
	calm()
}

func (p *play) stop() {
	p.cancel()
	<-p.done
	p.sub.Close()
}

// do runs one command and returns what followed.
func (p *play) do(line string) []string {
	f := strings.Fields(line)
	var out []string
	if err := p.command(f); err != nil {
		text, _, _ := strings.Cut(err.Error(), " Deployments: ") // their ids are random
		out = append(out, "error: "+text)
	}
	calm()
	consistent(p.t, p.s)
	for _, w := range p.warned {
		out = append(out, "warning: "+w)
	}
	p.warned = nil
	out = append(out, p.w.said()...)
	for e, ok := p.sub.Next(time.Now()); ok; e, ok = p.sub.Next(time.Now()) {
		if text := brief(e); text != "" {
			out = append(out, text)
		}
	}
	if isHTTP(f[0]) {
		out = append(p.http(f), out...)
	}
	if slices.Contains([]string{"queue", "ps", "doc", "sizes", "record", "ports", "answers", "volumes", "leases", "seats", "blocks", "drains"}, f[0]) {
		out = append(out, p.show(f[0])...)
	}
	if f[0] == "status" { // status POD
		out = append(out, p.status(f[1])...)
	}
	if f[0] == "why" {
		out = append(out, p.why(f[1])...)
	}
	return out
}

// brief keeps the events that tell the story.
func brief(e api.Event) string {
	switch e.Type {
	case api.EventStatusUpdate:
		id := fmt.Sprint(e.Fields["taskId"])
		app, task, _ := strings.Cut(id, ".")
		if !strings.Contains(task, "._app.") {
			app += ":" + task[strings.LastIndexByte(task, '.')+1:]
		}
		return fmt.Sprintf("event %v of %s", e.Fields["taskStatus"], app)
	case api.EventDeploymentSuccess, api.EventDeploymentFailed, api.EventDeploymentStepSuccess, api.EventAppTerminated, api.EventUnhealthyInstanceKill:
		return "event " + e.Type
	}
	return ""
}

func (p *play) command(f []string) error {
	ctx := context.Background()
	switch f[0] {
	case "host": // host NAME CPUS MEM [ATTRIBUTE=VALUE...]
		h := &worldHost{name: f[1]}
		fmt.Sscan(f[2], &h.cpus)
		fmt.Sscan(f[3], &h.mem)
		for _, kv := range f[4:] {
			k, v, _ := strings.Cut(kv, "=")
			if h.attributes == nil {
				h.attributes = map[string]string{}
			}
			h.attributes[k] = v
		}
		p.w.mu.Lock()
		p.w.hosts[f[1]] = h
		p.w.offer()
		p.w.mu.Unlock()
		p.hosts[f[1]] = true
		p.report()
	case "fleet": // fleet {"Pools":[...],"Hosts":[...]}: the scheduler is started again, over hosts that route
		var r struct {
			Pools []spec.Pool
			Hosts []spec.BGPHost
		}
		if err := json.Unmarshal([]byte(strings.Join(f[1:], " ")), &r); err != nil {
			return err
		}
		p.stop()
		p.pools, p.nodes, p.bgp = r.Pools, r.Hosts, &spec.BGP{AS: 64512}
		p.start()
	case "dead": // dead HOST: nobody there is heard any more
		delete(p.hosts, f[1])
		p.w.mu.Lock()
		delete(p.w.hosts, f[1])
		p.w.mu.Unlock()
	case "hold": // hold ADDRESS BY [HOST]: without one, all hosts tell of it
		if len(f) > 3 {
			p.holder[f[1]] = f[3]
		}
		p.held[f[1]] = spec.Held{Address: netip.MustParseAddr(f[1]), By: f[2]}
		p.report()
	case "outlive": // outlive SEAT: its task fails, and the container runs on
		p.w.mu.Lock()
		t, err := p.w.find(f[1])
		if err != nil {
			p.w.mu.Unlock()
			return err
		}
		p.held[t.address] = spec.Held{Address: netip.MustParseAddr(t.address), By: "its last container", Task: t.TaskID, Seat: t.seat}
		p.w.set(t, "TASK_FAILED", "docker run ended")
		p.w.mu.Unlock()
		p.report()
	case "net": // net HOST [applies]: the process of the host's network asks, and is answered; what it was answered last is in force
		var applied uint64
		if len(f) > 2 {
			applied = p.nets[f[1]]
		}
		ctx, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		d, err := p.s.NetDocument(ctx, f[1], p.nets[f[1]], applied)
		if d != nil {
			p.nets[f[1]] = d.Version
		}
		return err
	case "declare": // declare HOST: an operator says that it is dead
		_, err := p.s.HostDead(ctx, f[1])
		return err
	case "drain": // drain HOST [REASON]
		_, err := p.s.DrainHost(ctx, f[1], strings.Join(f[2:], " "))
		return err
	case "undrain": // undrain HOST
		return p.s.UndrainHost(ctx, f[1])
	case "fence": // fence DURATION: from the next start on
		var err error
		p.fence, err = time.ParseDuration(f[1])
		return err
	case "free":
		delete(p.held, f[1])
		delete(p.holder, f[1])
		p.report()
	case "put": // put {json}: create or update
		return p.put(strings.Join(f[1:], " "), false)
	case "pod": // pod {json}
		return p.pod(strings.Join(f[1:], " "), false)
	case "lose": // lose SEAT:CONTAINER: the engine forgets the task and says nothing
		p.w.mu.Lock()
		defer p.w.mu.Unlock()
		t, err := p.w.find(f[1])
		if err != nil {
			return err
		}
		delete(p.w.tasks, t.TaskID)
	case "force":
		return p.put(strings.Join(f[1:], " "), true)
	case "delete", "restart":
		c := api.Change{Decide: func(api.Tree) (api.Tree, error) {
			if f[0] == "delete" {
				return api.Tree{Apps: map[spec.AppID]*spec.App{spec.AppID(f[1]): nil}}, nil
			}
			return api.Tree{}, nil
		}}
		if f[0] == "restart" {
			c.Restart = []spec.AppID{spec.AppID(f[1])}
		}
		_, err := p.s.Change(ctx, c)
		return err
	case "cancel", "revert":
		snap, err := p.s.Snapshot(ctx)
		if err != nil {
			return err
		}
		if len(snap.Deployments) == 0 {
			return errors.New("no deployment runs")
		}
		_, err = p.s.CancelDeployment(ctx, snap.Deployments[0].ID, f[0] == "cancel")
		return err
	case "task": // task SEAT STATE [MESSAGE]
		p.w.mu.Lock()
		defer p.w.mu.Unlock()
		t, err := p.w.find(f[1])
		if err != nil {
			return err
		}
		p.w.set(t, "TASK_"+strings.ToUpper(f[2]), strings.Join(f[3:], " "))
		p.w.offer()
	case "returns": // returns SEAT: the unreachable task of the seat can be reached again
		p.w.mu.Lock()
		defer p.w.mu.Unlock()
		for _, t := range p.w.live() {
			if t.seat.String() == f[1] && t.state == "TASK_UNREACHABLE" {
				p.w.set(t, "TASK_RUNNING", "")
				return nil
			}
		}
		return errors.New("no unreachable task in " + f[1])
	case "kill": // kill SEAT [scale]
		p.w.mu.Lock()
		t, err := p.w.find(f[1])
		p.w.mu.Unlock()
		if err != nil {
			return err
		}
		_, _, err = p.s.Kill(ctx, []string{t.owner(), t.owner()}, api.KillOptions{Scale: len(f) > 2})
		return err
	case "health", "drained", "ready": // health SEAT ok|bad; ready SEAT yes|no [ANSWER]
		p.w.mu.Lock()
		t, err := p.w.find(f[1])
		p.w.mu.Unlock()
		if err != nil {
			return err
		}
		r := spec.HostReport{Host: t.host, Networks: map[string]string{"p": ""}}
		switch f[0] {
		case "drained": // drained SEAT [LEFT NOTE]: with connections that are left
			now := time.Now()
			d := spec.Drain{Heard: now, Out: now, Over: now}
			if len(f) > 3 {
				d.Left, _ = strconv.Atoi(f[2])
				d.Unsure = strings.Join(f[3:], " ")
			}
			r.Drained, r.Drains = []string{t.owner()}, map[string]spec.Drain{t.owner(): d}
		case "ready":
			h := spec.CheckHealth{Known: true, Alive: f[2] == "yes"}
			if len(f) > 3 {
				h.Response = spec.ProbeResponse{Status: 503, Body: f[3]}
			}
			r.Health = map[string][]spec.CheckHealth{t.owner(): {h}}
		default:
			r.Health = map[string][]spec.CheckHealth{t.owner(): {{Known: true, Alive: f[2] == "ok", LastSuccess: time.Now()}}}
		}
		return p.s.Report(ctx, r)
	case "quota": // quota SEAT CPUS [ALLOWANCE]: the host measures it
		p.w.mu.Lock()
		t, err := p.w.find(f[1])
		p.w.mu.Unlock()
		if err != nil {
			return err
		}
		var u spec.Usage
		fmt.Sscan(f[2], &u.CPUQuota)
		if len(f) > 3 {
			u.Base = u.CPUQuota
			fmt.Sscan(f[3], &u.CPUQuota)
		}
		return p.s.Report(ctx, spec.HostReport{Host: t.host, Networks: map[string]string{"p": ""}, Usage: map[string]spec.Usage{t.owner(): u}})
	case "advance":
		d, err := time.ParseDuration(f[1])
		if err != nil {
			return err
		}
		time.Sleep(d) // the bubble's clock
	case "silent": // silent on|off: the engine takes its time to answer what is asked
		p.w.mu.Lock()
		p.w.silent = f[1] == "on"
		asked := p.w.asked
		if !p.w.silent {
			p.w.asked = nil
		}
		p.w.mu.Unlock()
		if f[1] == "off" {
			return p.w.Reconcile(ctx, asked)
		}
	case "auto":
		p.w.mu.Lock()
		p.w.auto = f[1] == "on"
		p.w.mu.Unlock()
	case "agents": // agents off|on: nobody on the hosts speaks any more
		if p.mute = f[1] == "off"; !p.mute {
			p.report()
		}
	case "crash": // crash [SEAT STATE]: the scheduler dies without a word and starts again; meanwhile a task changes
		p.stop()
		if len(f) > 1 {
			if err := p.command(append([]string{"task"}, f[1:]...)); err != nil {
				p.start()
				return err
			}
		}
		p.start()
	case "queue", "ps", "doc", "sizes", "record", "ports", "answers", "leases", "seats", "blocks", "why", "drains":
	case "GET", "POST", "PUT", "PATCH", "DELETE", "tree": // METHOD PATH [BODY]; tree PATH
	default:
		return p.volumeCommand(f)
	}
	return nil
}

func (p *play) put(text string, force bool) error {
	changed, err := p.s.Change(context.Background(), api.Change{Force: force, Decide: func(current api.Tree) (api.Tree, error) {
		o := marathon.Options{DefaultNetworkName: "p"}
		var named struct{ ID spec.AppID }
		if err := json.Unmarshal([]byte(text), &named); err != nil {
			return api.Tree{}, err
		}
		app, err := current.Apps[named.ID], error(nil)
		if app != nil {
			app, err = marathon.UpdateApp(app, []byte(text), true, o)
		} else {
			app, err = marathon.DecodeApp([]byte(text), o)
		}
		if err != nil {
			return api.Tree{}, err
		}
		return api.Tree{Apps: map[spec.AppID]*spec.App{app.ID: app}}, nil
	}})
	if err == nil {
		p.warned = changed.Warnings
	}
	return err
}

func (p *play) pod(text string, force bool) error {
	_, err := p.s.Change(context.Background(), api.Change{Force: force, Decide: func(api.Tree) (api.Tree, error) {
		app, err := marathon.DecodePod([]byte(text), marathon.Options{DefaultNetworkName: "p"})
		if err != nil {
			return api.Tree{}, err
		}
		return api.Tree{Apps: map[spec.AppID]*spec.App{app.ID: app}}, nil
	}})
	return err
}

// deploymentID hides what is random in explanations.
var deploymentID = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`)

// why asks the API why an app is as it is.
func (p *play) why(app string) []string {
	server, err := api.New(api.Options{Backend: p.s, Events: p.events})
	if err != nil {
		p.t.Fatal(err)
	}
	rec := httptest.NewRecorder()
	server.Handler("").ServeHTTP(rec, httptest.NewRequest("GET", "/berth/v1/why?app="+app, nil))
	var w api.Why
	if err := json.Unmarshal(rec.Body.Bytes(), &w); err != nil {
		p.t.Fatal(rec.Body.String(), err)
	}
	out := []string{w.State + ": " + w.Summary}
	for _, c := range w.Causes {
		line := fmt.Sprintf("%s %s: %s", c.Kind, c.App, c.Text)
		if c.Until != "" {
			line += " (until " + c.Until + ")"
		}
		out = append(out, line)
	}
	for _, r := range w.Hosts.Refused {
		out = append(out, fmt.Sprintf("refused: %d of %d hosts: %s: %s", r.Hosts, w.Hosts.Known, r.Reason, r.Example))
	}
	if a := w.Addresses; a != nil {
		out = append(out, fmt.Sprintf("pool %s: %d of %d free, %d leased, %d resting, %d held", a.Pool, a.Free, a.Size, a.Leased, a.Resting, a.Held))
		if a.Kept > 0 {
			out[len(out)-1] += fmt.Sprintf(", %d kept for docker run", a.Kept)
		}
	}
	for i := range out {
		out[i] = deploymentID.ReplaceAllString(out[i], "<id>")
	}
	return out
}

func (p *play) show(what string) []string {
	snap, err := p.s.Snapshot(context.Background())
	if err != nil {
		p.t.Fatal(err)
	}
	var out []string
	switch what {
	case "volumes":
		out = p.volumes(snap)
	case "seats":
		for id, seat := range snap.Seats {
			out = append(out, fmt.Sprintf("%s %s", id, seat.Hostname))
		}
		slices.Sort(out)
	case "leases":
		for _, l := range snap.Leases {
			text := fmt.Sprintf("%s of %s", l.Address, l.Seat)
			if !l.IdleSince.IsZero() {
				text += ", resting"
			}
			if l.Pinned {
				text += ", pinned"
			}
			out = append(out, text)
		}
	case "drains":
		for _, h := range snap.Hosts {
			if h.Drain == nil {
				continue
			}
			out = append(out, fmt.Sprintf("%s: %s; deployment %t", h.Name, h.Drain.Text(), h.Drain.Deployment != ""))
			for _, x := range h.Drain.Tasks {
				out = append(out, fmt.Sprintf("  %s stays=%t %s", x.Task.Seat, x.Stays, x.Why))
			}
		}
	case "queue":
		for _, q := range snap.Queue {
			for _, why := range q.Why {
				out = append(out, fmt.Sprintf("%s x%d: %s", q.App.ID, q.Count, why.Text))
			}
		}
	case "ps":
		for _, id := range []spec.AppID{"/web", "/db", "/api", "/pod"} {
			for _, t := range snap.Tasks[id] {
				text := fmt.Sprintf("%s %s %s %s key=%t", t.Seat, t.Rung, t.Address, snap.Seats[t.Seat].Hostname, len(snap.Seats[t.Seat].HostKeys) == 1)
				for _, c := range t.Containers {
					text += " " + c.Name + "=" + c.State
				}
				out = append(out, text)
			}
		}
	case "sizes": // what each instance may use, by its host's document, and what it holds, by the engine
		for _, d := range p.documents() {
			for _, s := range d.Seats {
				p.w.mu.Lock()
				held := p.w.tasks[s.TaskID].CPUs
				p.w.mu.Unlock()
				out = append(out, fmt.Sprintf("%s may use %v cpus, holds %v; weight %d, maintenance %q", s.Seat, s.CPUs, held, max(1, s.Weight), s.Maintenance))
			}
		}
	case "blocks":
		for _, d := range p.documents() {
			out = append(out, fmt.Sprintf("%s has %v, of which seats have %v", d.Host, d.Blocks, d.Taken))
		}
	case "answers": // to the readiness check
		for _, t := range snap.Tasks["/web"] {
			out = append(out, fmt.Sprintf("%s ready=%t %q", t.Seat, t.Ready, t.Readiness.Body))
		}
	case "ports":
		for _, id := range []spec.AppID{"/web", "/db", "/api", "/pod"} {
			for _, t := range snap.Tasks[id] {
				app := p.s.appOf(t)
				ports := launch.Ports(app, t.HostPorts)
				out = append(out, fmt.Sprintf("%s clients: %s %v, env: %v, own: %v, services: %v %v", t.Seat, t.VisibleHost(), t.ClientPorts, t.Ports, ports, app.PortDefinitions, servicePorts(app)))
			}
		}
	case "record":
		got, err := p.s.Records(context.Background(), "", "")
		if err != nil {
			p.t.Fatal(err)
		}
		for _, d := range got.Deployments {
			out = append(out, fmt.Sprintf("%s %v", d.State, slices.Sorted(maps.Keys(union(nil, d.Deployment.Steps)))))
			out = append(out, resizeLines(d)...)
			out = append(out, stopLines(d.Stops)...)
		}
		if len(got.Stops) > 0 {
			out = append(append(out, "of none"), stopLines(got.Stops)...)
		}
	case "doc":
		for _, d := range p.documents() {
			for _, s := range d.Seats {
				out = append(out, fmt.Sprintf("%s drain=%t temporary=%t %s probes=%d services=%d", s.Seat, s.Drain, s.Temporary, s.Address, len(s.Probes), len(s.Services)))
			}
			for _, a := range d.Withdrawn {
				out = append(out, "to be withdrawn: "+a.String())
			}
			for _, task := range d.Ended {
				out = append(out, "to be stopped: a container of "+strings.SplitN(task, ".", 2)[0])
			}
		}
	}
	if len(out) == 0 {
		out = []string{"nothing"}
	}
	return out
}

// documents are what the hosts have been told, by their names.
func (p *play) documents() []*spec.HostDocument {
	var out []*spec.HostDocument
	for _, name := range slices.Sorted(maps.Keys(p.hosts)) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		d, err := p.s.HostDocument(ctx, name, 0)
		cancel()
		if err != nil || d == nil {
			p.t.Fatal(d, err)
		}
		out = append(out, d)
	}
	return out
}

// resizeLines are the changes in place, with the time after which the hosts had said of all instances that they have it.
func resizeLines(d api.DeploymentRecord) []string {
	var out []string
	for _, id := range d.InPlace {
		out = append(out, fmt.Sprintf("  %s in place", id))
	}
	for _, x := range d.Resized {
		line := fmt.Sprintf("  %s %v -> %v cpus of %v, %d of %d have it", x.App, x.Before, x.CPUs, x.Held, x.Have, x.Instances)
		if !x.InForce.IsZero() {
			line += fmt.Sprintf(" +%v", x.InForce.Sub(x.At).Round(time.Millisecond))
		}
		out = append(out, line)
	}
	return out
}

// stopLines are stops with the times of their steps since each was decided.
func stopLines(stops []api.Stop) []string {
	var out []string
	for _, x := range stops {
		line := fmt.Sprintf("  %s (%s)", x.Seat, x.Reason)
		for _, step := range []struct {
			name string
			at   time.Time
		}{{"heard", x.Heard}, {"out", x.Out}, {"left", x.Over}, {"kill", x.Kill}, {"ended", x.Ended}} {
			if !step.at.IsZero() {
				line += fmt.Sprintf(" %s +%v", step.name, step.at.Sub(x.Wanted).Round(10*time.Millisecond))
			}
		}
		if x.Left > 0 {
			line += fmt.Sprintf(", %d connections", x.Left)
		}
		if x.Note != "" {
			line += ", " + x.Note
		}
		out = append(out, line+" "+x.State)
	}
	return out
}

func servicePorts(app *spec.App) []int {
	var out []int
	if app.Container != nil {
		for _, m := range app.Container.PortMappings {
			out = append(out, m.ServicePort)
		}
	}
	return out
}
