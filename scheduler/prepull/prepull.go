// Package prepull keeps which images hosts are to have ahead of a rollout, and how far the hosts are. It is not stored: who waits
// for a pull asks again when the scheduler was started anew, and hosts that have the image say so at once.
package prepull

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/berth-project/berth/spec"
)

// Keep is how long a wish is known: for longer than any pull should take, and not for ever, as hosts that are off would else pull
// images later that nobody needs any more.
const Keep = time.Hour

// ErrTooMany says that as many wishes are under way as may be.
var ErrTooMany = errors.New("as many images as may be are being pulled; wait for some of them")

// Book holds the wishes. The zero Book is ready.
type Book struct {
	wishes []*wish // by number
	last   uint64
}

type wish struct {
	spec.ImagePull
	hosts map[string]spec.PullResult // with number 0: it has not spoken of it
	until time.Time
}

// Row is one host of a View.
type Row struct {
	Host  string
	State spec.PullState // "": it has not spoken of it
	Note  string
}

// View is one wish and how far the hosts are.
type View struct {
	spec.ImagePull
	Until time.Time
	Hosts []Row // by name
}

// Ask takes in a wish. The same wish again, while it is under way, is that one.
func (b *Book) Ask(image string, hosts []string, refresh bool, now time.Time) (uint64, error) {
	w := &wish{ImagePull: spec.ImagePull{Image: image, Refresh: refresh}, hosts: map[string]spec.PullResult{}, until: now.Add(Keep)}
	for _, h := range hosts {
		w.hosts[h] = spec.PullResult{}
	}
	for _, known := range b.wishes {
		if known.Image == image && known.Refresh == refresh && !known.over() && slices.Equal(known.names(), w.names()) {
			return known.Number, nil
		}
	}
	if len(b.wishes) >= spec.MaxPulls {
		at := slices.IndexFunc(b.wishes, (*wish).over)
		if at < 0 {
			return 0, ErrTooMany
		}
		b.wishes = slices.Delete(b.wishes, at, at+1)
	}
	// Microseconds keep the numbers growing over restarts.
	b.last = max(b.last+1, uint64(now.UnixMicro()))
	w.Number = b.last
	b.wishes = append(b.wishes, w)
	return w.Number, nil
}

func (w *wish) names() []string { return slices.Sorted(maps.Keys(w.hosts)) }

// over says that every host is done, in one way or the other.
func (w *wish) over() bool {
	for _, r := range w.hosts {
		if r.State != spec.PullDone && r.State != spec.PullFailed {
			return false
		}
	}
	return true
}

// Of are the wishes that a host is to fulfil, by number.
func (b *Book) Of(host string) []spec.ImagePull {
	var out []spec.ImagePull
	for _, w := range b.wishes {
		if _, asked := w.hosts[host]; asked {
			out = append(out, w.ImagePull)
		}
	}
	return out
}

// Hosts are those that a wish is about, sorted.
func (b *Book) Hosts(number uint64) []string {
	if w := b.find(number); w != nil {
		return w.names()
	}
	return nil
}

// Heard takes in what a host tells. What it tells of others than its wishes is passed over.
func (b *Book) Heard(host string, results []spec.PullResult) {
	for _, r := range results {
		if w := b.find(r.Number); w != nil {
			if _, asked := w.hosts[host]; asked {
				w.hosts[host] = r
			}
		}
	}
}

// Expire forgets what is too old. hosts are those whose documents change by it; next is when the next wish expires, zero: there is none.
func (b *Book) Expire(now time.Time) (hosts []string, next time.Time) {
	b.wishes = slices.DeleteFunc(b.wishes, func(w *wish) bool {
		if now.Before(w.until) {
			if next.IsZero() || w.until.Before(next) {
				next = w.until
			}
			return false
		}
		hosts = append(hosts, w.names()...)
		return true
	})
	slices.Sort(hosts)
	return slices.Compact(hosts), next
}

// View is a wish by its number; nil: it is not known, or no longer.
func (b *Book) View(number uint64) *View {
	w := b.find(number)
	if w == nil {
		return nil
	}
	v := &View{ImagePull: w.ImagePull, Until: w.until}
	for _, h := range w.names() {
		r := w.hosts[h]
		v.Hosts = append(v.Hosts, Row{Host: h, State: r.State, Note: r.Note})
	}
	return v
}

func (b *Book) find(number uint64) *wish {
	for _, w := range b.wishes {
		if w.Number == number {
			return w
		}
	}
	return nil
}

// Valid says whether a text can be the name of an image: it is only passed on, but must not be taken for anything else.
func Valid(image string) bool {
	return image != "" && len(image) <= 512 && !strings.ContainsAny(image, " \t\r\n\"'\\") && image[0] != '-' && image[0] != '/'
}
