// Command list measures GET /v2/apps?embed=apps.tasks at the size of a large installation: the real scheduler with a real
// store and the real API on a loopback listener, over simulated hosts, with clients that ask again and again while rolling
// updates run. Beside each figure stands that of a handler that serves the same bytes from memory: the floor.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"syscall"
	"time"
)

// size is what is simulated.
type size struct {
	apps, tasks, big int // big: the instances of the largest app, which count in tasks
	hosts            int
	clients          int
	every            time.Duration // each client's pause between the beginnings of two requests
	measure          time.Duration
	batch            int // apps that one rolling update changes
}

func main() {
	var z size
	flag.IntVar(&z.apps, "apps", 1000, "apps")
	flag.IntVar(&z.tasks, "tasks", 10000, "tasks over all apps")
	flag.IntVar(&z.big, "big", 1000, "tasks of the largest app")
	flag.IntVar(&z.hosts, "hosts", 200, "simulated hosts")
	flag.IntVar(&z.clients, "clients", 20, "clients; every other one accepts gzip")
	flag.DurationVar(&z.every, "every", 2*time.Second, "how often each client asks")
	flag.DurationVar(&z.measure, "measure", 30*time.Second, "how long to measure each kind, in four turns")
	flag.IntVar(&z.batch, "update", 50, "apps that one rolling update changes")
	limit := flag.Duration("limit", 150*time.Millisecond, "fail when the 99th percentile is above this, unless the floor's is above half of it: then the machine is too busy to tell; 0: only print")
	profile := flag.String("cpuprofile", "", "write a CPU profile of the measured time to this file")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	worst, floor, err := run(ctx, z, *profile)
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench list:", err)
		os.Exit(1)
	case *limit > 0 && worst > *limit && floor > *limit/2:
		fmt.Fprintf(os.Stderr, "the 99th percentile %s is above %s, but that from memory is %s: this machine is too busy to tell\n", ms(worst), ms(*limit), ms(floor))
	case *limit > 0 && worst > *limit:
		fmt.Fprintf(os.Stderr, "the 99th percentile %s is above %s\n", ms(worst), ms(*limit))
		os.Exit(1)
	}
}

// turns is how often the two kinds of measurement follow each other.
const turns = 4

// path is the request that is measured.
const path = "/v2/apps?embed=apps.tasks"

// run does it all and returns the worst 99th percentile of the list, and of the same bytes from memory.
func run(ctx context.Context, z size, profile string) (worst, floor time.Duration, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	b, err := begin(ctx, z)
	if err != nil {
		return 0, 0, err
	}
	defer b.end()
	fmt.Printf("list of %d tasks in %d apps on %d simulated hosts; %d clients, one request each %s; %d CPUs\n",
		z.tasks, z.apps, z.hosts, z.clients, z.every, runtime.GOMAXPROCS(0))
	began := time.Now()
	if err := b.deploy(ctx); err != nil {
		return 0, 0, err
	}
	fmt.Printf("deployment of %d apps to %d running tasks  %.1f s\n", z.apps, z.tasks, time.Since(began).Seconds())
	if err := b.quiet(ctx); err != nil {
		return 0, 0, err
	}

	if profile != "" {
		file, err := os.Create(profile)
		if err != nil {
			return 0, 0, fmt.Errorf("create profile: %w", err)
		}
		defer file.Close()
		if err := pprof.StartCPUProfile(file); err != nil {
			return 0, 0, fmt.Errorf("profile: %w", err)
		}
		defer pprof.StopCPUProfile()
	}
	updates := b.update(ctx)
	loop := b.watchLoop(ctx)
	static, err := b.static(ctx)
	if err != nil {
		return 0, 0, err
	}
	// In turns, so that whatever else the machine does hits both alike.
	list, memory := newAnswers(), newAnswers()
	for range turns {
		ask(ctx, z, b.url+path, list)
		ask(ctx, z, static, memory)
	}
	list.sort()
	memory.sort()
	waits := loop()
	pprof.StopCPUProfile()
	done, err := updates()
	if err != nil {
		return 0, 0, err
	}

	fmt.Printf("while rolling updates of %d apps each ran (%d finished, %d tasks started)\n", z.batch, done, b.started())
	for _, packed := range []bool{false, true} {
		l, f := list.of(packed), memory.of(packed)
		if len(l.took) == 0 || len(f.took) == 0 {
			return 0, 0, fmt.Errorf("no answers (gzip %t): %w", packed, l.err())
		}
		l.show(encoding(packed)+" from berth ", l.bytes)
		f.show(encoding(packed)+" from memory", f.bytes)
		fmt.Printf("%s ratio        p50 %.2f   p99 %.2f\n", encoding(packed), l.at(0.5).Seconds()/f.at(0.5).Seconds(), l.at(0.99).Seconds()/f.at(0.99).Seconds())
		worst, floor = max(worst, l.at(0.99)), max(floor, f.at(0.99))
	}
	fmt.Printf("owner loop: waits of others for their turn  p50 %s   p99 %s   longest %s   (%d probes)\n", ms(waits.at(0.5)), ms(waits.at(0.99)), ms(waits.at(1)), len(waits.took))
	return worst, floor, nil
}
