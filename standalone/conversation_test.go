package standalone

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"github.com/berth-project/berth/internal/docker"
)

// told is a status update in short, as in testdata/conversation.jsonl.
type told struct {
	Type, Task, State, Source, Reason, Message string
	Agent, Executor                            bool
	UUID, Container                            string // symbols
	Address, Network                           string // "agent", "bridge", "any" or the address itself
}

// TestConversation replays what a framework and a real Mesos master said to each other: the same calls must get the same
// codes, and each task the same updates with the same main fields, in the same order. The file has the calls in full; of
// the events it has the updates and errors, in short. Offers are left out, as their moments differ: a name like O3 stands
// for the next offer that was not used yet, or for the one that the name was first used for.
func TestConversation(t *testing.T) {
	file, err := os.ReadFile("testdata/conversation.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.stop()
		w.host().MemMiB, w.host().DiskMiB = 23081, 252899
		w.start()
		if err := w.docker.CreateNetwork(t.Context(), docker.NetworkSpec{Name: "mnet", Driver: "bridge", Subnet: netip.MustParsePrefix("172.31.77.0/24")}); err != nil {
			t.Fatal(err)
		}
		p := &player{world: w, t: t, names: map[string]string{"AGENT": w.agentID()}, queues: map[string][]mesos.TaskStatus{}}
		lines := bufio.NewScanner(bytes.NewReader(file))
		lines.Buffer(nil, 1<<20)
		for n := 1; lines.Scan(); n++ {
			p.line = n
			var l struct {
				Call   json.RawMessage
				Status int
				Event  *told
			}
			if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
				t.Fatalf("line %d: %v", n, err)
			}
			if l.Event != nil {
				p.event(l.Event)
			} else {
				p.call(l.Call, l.Status)
			}
		}
	})
}

// player is the framework's side.
type player struct {
	*world
	t      *testing.T
	line   int
	f, old *fw
	names  map[string]string // symbol -> what it stands for
	queues map[string][]mesos.TaskStatus
	offers []string // not used yet
}

func (p *player) fail(format string, args ...any) {
	p.t.Helper()
	p.t.Fatalf("line %d: %s", p.line, fmt.Sprintf(format, args...))
}

func (p *player) call(raw json.RawMessage, status int) {
	text := string(raw)
	for i := 30; i >= 0; i-- { // UUID19 before UUID1
		for _, kind := range []string{"UUID", "O"} {
			name := fmt.Sprintf("%s%d", kind, i)
			if !strings.Contains(text, `"`+name+`"`) {
				continue
			}
			if p.names[name] == "" && kind == "O" {
				p.names[name] = p.offer()
			}
			text = strings.ReplaceAll(text, `"`+name+`"`, `"`+p.names[name]+`"`)
		}
	}
	for _, name := range []string{"AGENT", "FRAMEWORK"} {
		text = strings.ReplaceAll(text, `"`+name+`"`, `"`+p.names[name]+`"`)
	}
	c := new(scheduler.Call)
	if err := json.Unmarshal([]byte(text), c); err != nil {
		p.fail("%v in %s", err, text)
	}
	if c.Type == scheduler.Call_SUBSCRIBE {
		p.old, p.f = p.f, p.open(c.Subscribe.FrameworkInfo)
		p.offers = nil
		return
	}
	stream := p.f.stream
	if status == 400 {
		p.f.stream = "of somebody else"
	}
	if got := p.f.post(c); got != status {
		p.fail("%s got %d, want %d", c.Type, got, status)
	}
	p.f.stream = stream
}

// offer is the next offer that has something in it for a small task.
func (p *player) offer() string {
	for len(p.offers) == 0 {
		p.pump()
	}
	id := p.offers[0]
	p.offers = p.offers[1:]
	return id
}

// pump sorts in the next event of the engine, and lets containers do what their command says.
func (p *player) pump() {
	e := p.f.next(3 * time.Minute)
	switch {
	case e == nil:
		p.fail("nothing more comes")
	case e.Type == scheduler.Event_OFFERS:
		p.offers = append(p.offers, e.Offers.Offers[0].ID.Value)
	case e.Type == scheduler.Event_UPDATE:
		s := e.Update.Status
		p.queues[s.TaskID.Value] = append(p.queues[s.TaskID.Value], s)
		if s.GetState() == mesos.TASK_STARTING {
			p.behave(containerName(s.ContainerStatus.ContainerID.Value))
		}
	}
}

func (p *player) behave(name string) {
	s, err := p.docker.Spec(name)
	if err != nil || len(s.Cmd) < 2 {
		return // refused before it was created
	}
	must(0, p.docker.IgnoreTerm(name)) // as a shell that is process 1 does
	var n int
	if _, err := fmt.Sscanf(s.Cmd[1], "exit %d", &n); err == nil {
		p.exitAfter(name, time.Second, n)
	} else if _, err := fmt.Sscanf(s.Cmd[1], "sleep %d", &n); err == nil && n < 1000 {
		p.exitAfter(name, time.Duration(n)*time.Second, 0)
	}
}

func (p *player) exitAfter(name string, d time.Duration, code int) {
	time.AfterFunc(d, func() { _ = p.docker.Exit(name, code) })
}

func (p *player) event(want *told) {
	p.t.Helper()
	switch want.Type {
	case "SUBSCRIBED":
		e := p.f.want(scheduler.Event_SUBSCRIBED)
		p.names["FRAMEWORK"] = e.Subscribed.FrameworkID.Value
		p.f.id = p.names["FRAMEWORK"]
		if m := e.Subscribed.MasterInfo; m.IP != 16777343 || m.GetPort() != 5050 || m.GetPID() != "master@127.0.0.1:5050" || m.GetVersion() != apiVersion || e.Subscribed.GetHeartbeatIntervalSeconds() != 15 {
			p.fail("got %s", brief(e))
		}
	case "ERROR":
		for {
			e := p.old.next(time.Minute)
			if e != nil && e.Type == scheduler.Event_OFFERS {
				continue
			}
			if e == nil || e.Type != scheduler.Event_ERROR || e.Error.Message != want.Message {
				p.fail("got %s, want the error %q", brief(e), want.Message)
			}
			break
		}
		if e := p.old.next(time.Second); e != nil {
			p.fail("the old stream goes on: %s", brief(e))
		}
	case "UPDATE":
		for len(p.queues[want.Task]) == 0 {
			p.pump()
		}
		s := p.queues[want.Task][0]
		p.queues[want.Task] = p.queues[want.Task][1:]
		p.compare(s, want)
	}
}

func (p *player) compare(s mesos.TaskStatus, want *told) {
	p.t.Helper()
	got := told{
		Type: "UPDATE", Task: s.TaskID.Value, State: s.GetState().String(), Source: s.GetSource().String(), Message: s.GetMessage(),
		Agent: s.AgentID != nil, Executor: s.ExecutorID != nil, Address: want.Address,
	}
	if s.Reason != nil {
		got.Reason = s.Reason.String()
	}
	if strings.HasPrefix(got.Message, want.Message) && (want.Message != "" || got.Message == "") {
		got.Message = want.Message // Docker's own words follow; a real master leaves them in the sandbox
	}
	if strings.HasPrefix(want.Message, "Task launched with invalid offers") {
		want.Message = strings.Replace(want.Message, "O2", p.names["O2"], 1)
		got.Message = s.GetMessage()
	}
	if len(s.UUID) > 0 {
		got.UUID = p.symbol(want.UUID, base64.StdEncoding.EncodeToString(s.UUID))
	}
	if c := s.ContainerStatus; c != nil {
		got.Container = p.symbol(want.Container, c.ContainerID.Value)
		n := c.NetworkInfos[0]
		got.Network = n.GetName()
		address := n.IPAddresses[0].GetIPAddress()
		switch {
		case want.Address == "any":
		case address == "127.0.0.1":
			got.Address = "agent"
		case strings.HasPrefix(address, "172.17."):
			got.Address = "bridge"
		default:
			got.Address = address
		}
	}
	if got != *want {
		p.fail("got  %+v\nwant %+v", got, *want)
	}
	if s.Timestamp == nil {
		p.fail("no timestamp")
	}
}

// symbol binds a symbol at its first use, and gives it back if it stands for the value.
func (p *player) symbol(name, value string) string {
	if name == "" {
		return value
	}
	if p.names[name] == "" {
		p.names[name] = value
	}
	if p.names[name] != value {
		return value
	}
	return name
}
