// Command bench measures how long an instance takes from being asked for to answering SSH on its own address, against a plain
// `docker run` of the same image on the same machine, in turns, and prints both and their ratio. With -network it measures Berth's
// network instead: the routed path against bare veth pairs and Docker's bridge, how soon a router reaches a new address, and how soon
// ten thousand routes are in the kernel, in the form that the command table reads; with -start, what the base image costs by itself; with -consul, how
// soon a real Consul has what runs; with -quota, how exact CPU quotas are; with -agent, what `berth agent` costs a host.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/berth-project/berth/integration/rig"
)

func main() {
	runs := flag.Int("n", 15, "runs of each kind")
	binary := flag.String("berth", "", "the berth command to measure (default: built from this checkout)")
	image := flag.String("image", "berth/base:bookworm", "the image to start")
	limit := flag.Float64("limit", 1.10, "fail when the ratio of the medians is above this; 0: only print")
	network := flag.Bool("network", false, "measure the network")
	start := flag.Bool("start", false, "measure the image alone: how soon its sshd answers, its size, its memory")
	quota := flag.Bool("quota", false, "measure CPU quotas: how exact they are, how soon they are repaired and changed")
	window := flag.Duration("window", 4*time.Second, "with -quota: how long each quota is measured")
	rounds := flag.Int("rounds", 9, "with -network: how often each path is measured")
	connects := flag.Int("connects", 100, "with -network: how many addresses the router is to reach")
	consul := flag.Bool("consul", false, "measure how soon instances and containers are in a real Consul")
	whole := flag.Bool("agent", false, "measure what the whole agent costs on a host with 300 containers")
	every := flag.Duration("agent-every", 10*time.Second, "with -agent: time between two measurements of all containers")
	intervals := flag.Int("agent-intervals", 6, "with -agent: how many intervals to measure")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	t := &bench{ctx: ctx}
	var ratio float64
	ok := t.run(func() {
		if *start {
			measureStart(t, *image, *runs)
			return
		}
		if *quota {
			measureQuota(t, *image, *window, *runs)
			return
		}
		path := build(t, *binary)
		if *whole {
			measureAgent(t, path, *every, *intervals)
			return
		}
		if *consul {
			measureConsul(t, path, *image, *runs)
			return
		}
		if *network {
			measureNetwork(t, path, *image, *rounds, *connects)
			return
		}
		ratio = compare(t, path, *image, *runs)
	})
	switch {
	case !ok:
		os.Exit(1)
	case *limit > 0 && ratio > *limit: // 0 where there is nothing to compare
		fmt.Fprintf(os.Stderr, "the ratio %.3f is above %.2f\n", ratio, *limit)
		os.Exit(1)
	}
}

// build makes the command unless there is one to measure already.
func build(t *bench, binary string) string {
	if binary != "" {
		path, err := filepath.Abs(binary)
		if err != nil {
			t.Fatalf("find %s: %v", binary, err)
		}
		return path
	}
	dir, err := os.MkdirTemp("", "berth-bench-")
	if err != nil {
		t.Fatalf("make a folder: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "berth")
	if out, err := exec.CommandContext(t.ctx, "go", "build", "-o", path, "github.com/berth-project/berth/cmd/berth").CombinedOutput(); err != nil {
		t.Fatalf("build berth: %v\n%s", err, out)
	}
	return path
}

// compare runs both kinds in turns, so that whatever else the machine does hits both alike.
func compare(t *bench, binary, image string, runs int) float64 {
	b := rig.New(t, rig.Options{Binary: binary})
	plain := newPlain(t, image)
	berth := newViaBerth(t, b, image)
	// The first of each kind pays for cold caches, and Berth's for creating the network.
	plain.measure()
	berth.measure()
	var docker, own []time.Duration
	for n := range runs {
		docker = append(docker, plain.measure())
		own = append(own, berth.measure())
		fmt.Printf("run %2d   docker run %s   berth %s\n", n+1, ms(docker[n]), ms(own[n]))
	}
	show("docker run to SSH banner", docker)
	show("POST to SSH banner      ", own)
	ratio := median(own).Seconds() / median(docker).Seconds()
	fmt.Printf("ratio of the medians      %.3f\n", ratio)
	return ratio
}

func show(what string, d []time.Duration) {
	s := slices.Sorted(slices.Values(d))
	fmt.Printf("%s  median %s   quartiles %s .. %s   range %s .. %s\n",
		what, ms(median(d)), ms(s[len(s)/4]), ms(s[len(s)*3/4]), ms(s[0]), ms(s[len(s)-1]))
}

func median[T float64 | time.Duration](d []T) T {
	s := slices.Sorted(slices.Values(d))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

func ms(d time.Duration) string { return fmt.Sprintf("%6.1f ms", float64(d.Microseconds())/1000) }
