package agent

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/agent/hostnet"
	"github.com/berth-project/berth/internal/watch"
	"github.com/berth-project/berth/internal/wholefile"
	"github.com/berth-project/berth/spec"
)

// fenceFile holds, in the state folder, what the next process must know of the last contact and of what is withdrawn.
const fenceFile = "fence.json"

// keepEvery is how much newer a contact must be to be written down. An older one than the true one is safe.
const keepEvery = 5 * time.Second

// fence is the part of the owner's loop that withdraws seats' addresses which may be another host's. Only the loop touches it.
type fence struct {
	file      string
	log       logrus.FieldLogger
	contact   time.Time
	linked    time.Time             // when a BGP session was established last, or when the process began
	withdrawn map[netip.Addr]string // address -> why
	cutOff    bool
	kept      fenceData
	first     fenceData // as the last process left it
}

// fenceData is the file.
type fenceData struct {
	Contact   time.Time
	Version   uint64       // of the document in force then
	Withdrawn []netip.Addr // sorted
}

// newFence goes on from where the last process was. The state of a process that wrote none is that nothing was ever heard.
func newFence(file string, log logrus.FieldLogger, now time.Time) *fence {
	f := &fence{file: file, log: log, linked: now, withdrawn: map[netip.Addr]string{}}
	b, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(b, &f.kept)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.WithError(err).Warn("what is known of the last contact with the scheduler cannot be read; it counts as long ago")
	}
	f.first, f.contact = f.kept, f.kept.Contact
	for _, a := range f.kept.Withdrawn {
		f.withdrawn[a] = "it was withdrawn before the process began"
	}
	return f
}

// newer takes the contact of this process, if there was one.
func (f *fence) newer(v *watch.Value[time.Time]) (time.Time, <-chan struct{}) {
	at, changed := v.Get()
	if at.IsZero() {
		at = f.contact
	}
	return at, changed
}

// decide says which addresses are withdrawn from now on, writes it down, and when to decide again. version is the document's.
func (f *fence) decide(in hostnet.FenceInput, version uint64) time.Time {
	if in.Up {
		f.linked = in.Now
	}
	in.Contact, in.Linked, in.Before = f.contact, f.linked, slices.Collect(maps.Keys(f.withdrawn))
	if version < f.first.Version && f.contact.Equal(f.first.Contact) {
		in.Contact = time.Time{} // the document on disk is older than what was heard then, so it is not what the scheduler said
	}
	out := hostnet.Fences(in)
	if out.CutOff != f.cutOff {
		if f.cutOff = out.CutOff; f.cutOff {
			f.log.WithField("contact", f.contact).Error("this host is cut off: it withdraws its seats' addresses until the scheduler says whose they are")
		} else {
			f.log.Info("this host is no longer cut off")
		}
	}
	for _, a := range slices.SortedFunc(maps.Keys(out.Withdrawn), netip.Addr.Compare) {
		if f.withdrawn[a] == "" {
			f.log.WithFields(logrus.Fields{"address": a.String(), "reason": out.Withdrawn[a]}).Warn("an address is withdrawn")
		}
	}
	for _, a := range slices.SortedFunc(maps.Keys(f.withdrawn), netip.Addr.Compare) {
		if out.Withdrawn[a] == "" {
			f.log.WithField("address", a.String()).Info("an address is no longer withdrawn: it is this host's, or no container has it")
		}
	}
	f.withdrawn = out.Withdrawn
	f.keep(version)
	return out.Again
}

// keep writes down what a process that begins now must know.
func (f *fence) keep(version uint64) {
	d := fenceData{Contact: f.contact.Round(0), Version: version, Withdrawn: slices.SortedFunc(maps.Keys(f.withdrawn), netip.Addr.Compare)}
	if slices.Equal(d.Withdrawn, f.kept.Withdrawn) && d.Version == f.kept.Version && d.Contact.Sub(f.kept.Contact) < keepEvery {
		return
	}
	b, err := json.Marshal(d)
	if err == nil {
		err = wholefile.Replace(f.file, b) // a crash of the host ends its containers, too
	}
	if err != nil {
		f.log.WithError(err).Error("the withdrawn addresses are not written down; a process that begins now would not know them")
		return
	}
	f.kept = d
}

// fenceInput is what the fence is decided from; what the fence itself remembers is added there.
func (w *netOwner) fenceInput(now time.Time) hostnet.FenceInput {
	in := hostnet.FenceInput{
		Now: now, Up: w.learned.Up, Endpoints: w.endpoints.List, Seats: map[netip.Addr]bool{}, Tasks: map[netip.Addr]bool{},
		Blocks: w.doc.Blocks, Taken: w.doc.Taken, Elsewhere: map[netip.Addr]bool{}, Withdrawn: w.doc.Withdrawn,
	}
	// Without peers nobody is told of an address that moves here or away: where its packets go is not for the host to say, and there is no
	// telling a dead scheduler from being cut off.
	if w.doc.BGP != nil && len(w.doc.BGP.Peers) > 0 {
		in.After = w.doc.FenceAfter
	}
	for _, s := range w.doc.Seats {
		in.Seats[s.Address] = true
	}
	for _, c := range w.snap.Containers {
		for _, a := range c.Addresses {
			in.Tasks[a] = in.Tasks[a] || c.Labels[spec.LabelTask] != ""
		}
	}
	for _, r := range w.learned.Routes {
		if r.Prefix.IsSingleIP() {
			in.Elsewhere[r.Prefix.Addr()] = true
		}
	}
	for _, p := range w.learned.Contested {
		in.Elsewhere[p.Addr()] = true
	}
	return in
}
