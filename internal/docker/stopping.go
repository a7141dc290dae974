package docker

import (
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ending is the news that a container ends, before its state says so. The engine tells of a signal right after it has sent it,
// and of a death before it can describe it; up to ten seconds lie between "docker stop" and the end of a container that ignores
// TERM, in which its clients should not come any more.
type ending struct {
	at    time.Time // by the engine's clock
	heard time.Time // by ours, which goes on evenly when somebody sets the machine's
	died  bool
}

// stopPatience is how long a container that was told to end is believed to do so: a program may take TERM for something else.
// Longer stop timeouts prolong it.
const stopPatience = time.Minute

// heed notes what an event says of a container's end, and whether that is news for readers.
func (f *follower) heed(e Event) bool {
	c, known := f.known[e.Container]
	now := time.Now()
	switch e.Action {
	case "die":
		f.endings[e.Container] = ending{at: e.Time, heard: now, died: true}
	case "kill":
		signal, err := strconv.Atoi(e.Labels["signal"])
		// After a death it is one of the next run: the engine sends none to what is dead.
		if have, already := f.endings[e.Container]; err != nil || already && !have.died || !c.endsBy(signal) {
			return false
		}
		f.endings[e.Container] = ending{at: e.Time, heard: now}
	default:
		return false
	}
	if !known {
		return false
	}
	marked := f.mark(c, now)
	f.known[c.ID] = marked
	return !marked.Stopping.Equal(c.Stopping)
}

// mark puts into a container what is known of its end. A later start, and the end itself, make old news of it.
func (f *follower) mark(c Container, now time.Time) Container {
	c.Stopping = time.Time{}
	e, ok := f.endings[c.ID]
	switch {
	case !ok:
	case !c.Running || c.StartedAt.After(e.at), !e.died && now.Sub(e.heard) > max(stopPatience, c.StopTimeout):
		delete(f.endings, c.ID)
	default:
		c.Stopping = e.at
	}
	return c
}

// settle forgets a death that the engine has described by now: it answers for a container that dies only when it has done with
// it. What was started again since then is told by this order, and not by clocks, which may have been set back in between.
func (f *follower) settle(id string) {
	if f.endings[id].died {
		delete(f.endings, id)
	}
}

// remark takes the word back for containers that were told to end, and did not. It says whether there are any.
func (f *follower) remark(now time.Time) bool {
	changed := false
	for id := range f.endings {
		c, known := f.known[id]
		if !known {
			delete(f.endings, id)
			continue
		}
		marked := f.mark(c, now)
		f.known[id], changed = marked, changed || !marked.Stopping.Equal(c.Stopping)
	}
	return changed
}

// endsBy says whether the signal is one by which people and programs end the container.
func (c Container) endsBy(signal int) bool {
	switch unix.Signal(signal) {
	case unix.SIGTERM, unix.SIGINT, unix.SIGKILL:
		return true
	}
	return signal > 0 && signal == signalNumber(c.StopSignal)
}

// realtime is the first real-time signal as libc counts them.
const realtime = 34

// signalNumber reads a signal as images name them: "SIGQUIT", "QUIT", "3" or "RTMIN+3"; 0: none such.
func signalNumber(name string) int {
	if n, err := strconv.Atoi(name); err == nil {
		return n
	}
	name = strings.TrimPrefix(strings.ToUpper(name), "SIG")
	if more, ok := strings.CutPrefix(name, "RTMIN+"); ok {
		n, err := strconv.Atoi(more)
		if err != nil {
			return 0
		}
		return realtime + n
	}
	return int(unix.SignalNum("SIG" + name))
}
