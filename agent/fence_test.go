package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-project/berth/agent/bgp/bgptest"
	"github.com/berth-project/berth/spec"
)

// away takes the scheduler away from the host, or brings it back.
func (w *netWorld) away(away bool) {
	w.sched.mu.Lock()
	w.sched.away = away
	w.sched.mu.Unlock()
	d, _ := w.sched.doc.Get()
	w.sched.doc.Set(d) // polls that are held end
	synctest.Wait()
}

// fenceWorld is two hosts: one has a seat in its block and one on a borrowed address, and a container that somebody started.
func fenceWorld(t *testing.T) (one, two *netWorld) {
	var fabric bgptest.Fabric
	one, two = newNetWorld(t, fabric.Speaker(addr("192.0.2.1"))), newNetWorld(t, fabric.Speaker(addr("192.0.2.2")))
	one.sched.doc.Set(fenceDoc(1, "10.1.0.2", "10.1.0.77"))
	other := netDoc(1, "10.1.0.16/28", "192.0.2.2", "192.0.2.1")
	other.FenceAfter = 4 * time.Minute
	two.sched.doc.Set(other)
	synctest.Wait()
	one.attach("aaaaaaaaaaaa", "10.1.0.2")
	one.attach("bbbbbbbbbbbb", "10.1.0.77")
	one.attach("cccccccccccc", "10.1.0.3")
	one.wantRoutes(allHere)
	return one, two
}

const (
	allHere = "10.1.0.0/28 , 10.1.0.2/32 brtaaaaaaaaaaa, 10.1.0.3/32 brtccccccccccc, 10.1.0.16/28 via 192.0.2.2, 10.1.0.77/32 brtbbbbbbbbbbb"
	alone   = "10.1.0.0/28 , 10.1.0.2/32 brtaaaaaaaaaaa, 10.1.0.3/32 brtccccccccccc, 10.1.0.77/32 brtbbbbbbbbbbb"
	fenced  = "10.1.0.0/28 , 10.1.0.3/32 brtccccccccccc"
)

func fenceDoc(version uint64, seats ...string) *spec.HostDocument {
	doc := netDoc(version, "10.1.0.0/28", "192.0.2.1", "192.0.2.2")
	doc.FenceAfter = 4 * time.Minute
	for i, a := range seats {
		s := seat("/web", i)
		s.Address = addr(a)
		doc.Seats = append(doc.Seats, s)
	}
	return doc
}

// A host loses scheduler and peers, withdraws, and comes back when one of its addresses is another host's.
func TestPartitionedHostComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := fenceWorld(t)
		defer func() { one.stop(); two.stop() }()
		one.away(true)
		one.speaker.Cut(true)
		time.Sleep(3*time.Minute + 50*time.Second)
		synctest.Wait()
		one.wantRoutes(alone) // within the time nothing of its own is withdrawn
		time.Sleep(11 * time.Second)
		synctest.Wait()
		one.wantRoutes(fenced)
		if errs := one.net.Status(t.Context()).Errors; len(errs) != 1 || !strings.Contains(errs[0], "fencing: ") {
			t.Errorf("status says %q", errs)
		}
		for _, l := range one.router.Path().Links {
			if closed := l.Name != "brtccccccccccc"; closed != (len(l.Senders) == 0) {
				t.Errorf("link %s may send as %v", l.Name, l.Senders)
			}
		}

		// Killed and started, it knows.
		one.stop()
		one.start()
		one.wantRoutes(fenced)

		// Meanwhile the borrowed address is leased to a seat on the other host.
		two.attach("dddddddddddd", "10.1.0.77")
		one.speaker.Cut(false)
		synctest.Wait()
		const peers = "10.1.0.0/28 , 10.1.0.3/32 brtccccccccccc, 10.1.0.16/28 via 192.0.2.2, 10.1.0.77/32 via 192.0.2.2"
		one.wantRoutes(peers) // peers alone bring nothing back
		one.sched.doc.Set(fenceDoc(2, "10.1.0.2"))
		one.away(false)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		one.wantRoutes("10.1.0.0/28 , 10.1.0.2/32 brtaaaaaaaaaaa, 10.1.0.3/32 brtccccccccccc, 10.1.0.16/28 via 192.0.2.2, 10.1.0.77/32 via 192.0.2.2")

		// The container of the other goes; the address comes back with a new one.
		one.docker("NetworkDriver.Leave", `{"EndpointID":"bbbbbbbbbbbb"}`, "NetworkDriver.DeleteEndpoint", `{"EndpointID":"bbbbbbbbbbbb"}`, "IpamDriver.ReleaseAddress", `{"PoolID":"blue","Address":"10.1.0.77"}`)
		two.docker("NetworkDriver.Leave", `{"EndpointID":"dddddddddddd"}`, "NetworkDriver.DeleteEndpoint", `{"EndpointID":"dddddddddddd"}`)
		one.sched.doc.Set(fenceDoc(3, "10.1.0.2", "10.1.0.77"))
		synctest.Wait()
		one.attach("eeeeeeeeeeee", "10.1.0.77")
		one.wantRoutes("10.1.0.0/28 , 10.1.0.2/32 brtaaaaaaaaaaa, 10.1.0.3/32 brtccccccccccc, 10.1.0.16/28 via 192.0.2.2, 10.1.0.77/32 brteeeeeeeeeee")
	})
}

// A scheduler that is dead takes no network down, not even when the router restarts, or berth net; but an address that another host
// announces is that one's.
func TestSchedulerIsDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := fenceWorld(t)
		defer func() { one.stop(); two.stop() }()
		one.away(true)
		two.away(true)
		time.Sleep(time.Hour)
		synctest.Wait()
		one.wantRoutes(allHere)
		one.speaker.Cut(true)
		time.Sleep(20 * time.Second)
		one.speaker.Cut(false)
		synctest.Wait()
		one.wantRoutes(allHere)
		one.stop()
		one.start()
		time.Sleep(time.Minute)
		synctest.Wait()
		one.wantRoutes(allHere)

		two.attach("dddddddddddd", "10.1.0.77")
		synctest.Wait()
		one.wantRoutes("10.1.0.0/28 , 10.1.0.2/32 brtaaaaaaaaaaa, 10.1.0.3/32 brtccccccccccc, 10.1.0.16/28 via 192.0.2.2, 10.1.0.77/32 via 192.0.2.2")
		two.wantRoutes("10.1.0.0/28 via 192.0.2.1, 10.1.0.16/28 , 10.1.0.77/32 brtddddddddddd")
		two.docker("NetworkDriver.Leave", `{"EndpointID":"dddddddddddd"}`, "NetworkDriver.DeleteEndpoint", `{"EndpointID":"dddddddddddd"}`)
		one.wantRoutes("10.1.0.0/28 , 10.1.0.2/32 brtaaaaaaaaaaa, 10.1.0.3/32 brtccccccccccc, 10.1.0.16/28 via 192.0.2.2")
		one.away(false)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		one.wantRoutes(allHere)
	})
}

// A host in contact withdraws what the document says, confirms it, and keeps what is its own against another's announcement.
func TestHostInContact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := fenceWorld(t)
		defer func() { one.stop(); two.stop() }()
		two.attach("dddddddddddd", "10.1.0.77") // it was cut off, say, and is late to withdraw
		one.wantRoutes(allHere)
		doc := fenceDoc(7, "10.1.0.77")
		doc.Withdrawn = append(doc.Withdrawn, addr("10.1.0.2"))
		one.sched.doc.Set(doc)
		synctest.Wait()
		one.wantRoutes("10.1.0.0/28 , 10.1.0.3/32 brtccccccccccc, 10.1.0.16/28 via 192.0.2.2, 10.1.0.77/32 brtbbbbbbbbbbb")
		time.Sleep(time.Second)
		if said := one.sched.applied(); said != "7" {
			t.Errorf("in force is %s", said)
		}
	})
}

// What cannot be read of the last process counts as if nothing was ever heard.
func TestUnreadableFence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := fenceWorld(t)
		defer func() { one.stop(); two.stop() }()
		one.stop()
		if err := os.WriteFile(filepath.Join(one.dir, fenceFile), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		one.away(true)
		one.speaker.Cut(true)
		one.start()
		one.wantRoutes(alone)
		time.Sleep(31 * time.Second)
		synctest.Wait()
		one.wantRoutes(fenced)
	})
}

// A process that has lost the document keeps withdrawn what the one before it withdrew.
func TestFenceWithoutDocument(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := fenceWorld(t)
		defer func() { one.stop(); two.stop() }()
		one.away(true)
		one.speaker.Cut(true)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		one.wantRoutes(fenced)
		one.stop()
		if err := os.Remove(filepath.Join(one.dir, "net-document.json")); err != nil {
			t.Fatal(err)
		}
		one.start()
		one.wantRoutes("10.1.0.3/32 brtccccccccccc")
		for _, l := range one.router.Path().Links {
			if closed := l.Name != "brtccccccccccc"; closed != (len(l.Senders) == 0) {
				t.Errorf("link %s may send as %v", l.Name, l.Senders)
			}
		}
	})
}
