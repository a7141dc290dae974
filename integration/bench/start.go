package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/berth-project/berth/integration/rig"
)

// measureStart measures what the image's own init, services and loggers cost against sshd as the only process of a container of the same
// image: until its banner, in turns, and the memory of a container with nothing to do, in the form of `go test -bench`.
func measureStart(t *bench, image string, runs int) {
	p := newPlain(t, image)
	// What sshd needs before it starts; the shell becomes it.
	alone := []string{"-c", "mkdir -p /run/sshd && exec /usr/sbin/sshd -D -e -h /etc/berth/ssh_host_ed25519_key"}
	whole := func() time.Duration { return p.start(nil, nil) }
	only := func() time.Duration { return p.start([]string{"--entrypoint", "/bin/sh"}, alone) }
	whole() // caches
	only()
	var with, without []time.Duration
	for range runs {
		with = append(with, whole())
		without = append(without, only())
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	fmt.Printf("BenchmarkStart 1 %.1f ms-to-banner %.1f ms-sshd-alone %.1f ms-over\n", ms(median(with)), ms(median(without)), ms(median(with)-median(without)))
	size, err := strconv.ParseFloat(p.e.Docker("image", "inspect", "--format", "{{.Size}}", image), 64)
	if err != nil {
		t.Fatalf("read the size of %s: %v", image, err)
	}
	fmt.Printf("BenchmarkImage 1 %.1f MB\n", size/1e6)
	memory, processes := p.idle()
	fmt.Printf("BenchmarkIdle 1 %.2f MB-resident %d processes\n", memory/1e6, processes)
}

// idle is what a container has resident that is not page cache once its boot is over, and in how many processes.
func (p *plain) idle() (bytes float64, processes int) {
	address := p.free.take()
	id := p.e.Docker("run", "-d", "--network", p.network, "--ip", address, "--volume", p.keys+":/etc/berth:ro", p.image)
	p.t.Cleanup(func() { p.e.Docker("rm", "-f", id) })
	banner(p.t, address)
	var pids []string
	rig.Eventually(p.t, 30*time.Second, "the boot is over", func() error {
		lines := strings.Fields(p.e.Docker("top", id, "-eo", "pid,comm"))[2:]
		pids = pids[:0]
		for pair := range slices.Chunk(lines, 2) {
			if pair[1] == "berth-svc" || pair[1] == "sh" {
				return fmt.Errorf("%s still runs", pair[1])
			}
			pids = append(pids, pair[0])
		}
		return nil
	})
	for _, pid := range pids {
		bytes += anonymous(p.t, pid)
	}
	return bytes, len(pids)
}

// anonymous is the memory of a process that is in no file. Pages that two processes share after a fork count twice.
func anonymous(t *bench, pid string) float64 {
	text, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		t.Fatalf("read the memory of process %s: %v", pid, err)
	}
	sum := 0.0
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) > 1 && (words[0] == "RssAnon:" || words[0] == "RssShmem:") {
			kib, _ := strconv.ParseFloat(words[1], 64)
			sum += kib * 1024
		}
	}
	return sum
}
